"""Reads the first N lines of an event stream over HTTP/3 with aioquic, and writes them to standard output.

usage: stream_http3.py HOST PORT PATH API_KEY CA_FILE LINES
"""

import asyncio
import socket
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Reader(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.body = b""
        self.status = None
        self.done = asyncio.get_running_loop().create_future()
        self.lines = 0

    def get(self, host, path, key, lines):
        self.lines = lines
        stream = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", host.encode()),
            (b":path", path.encode()),
            (b"authorization", b"Bearer " + key.encode()),
        ]
        self.http.send_headers(stream_id=stream, headers=headers, end_stream=True)
        self.transmit()

    def quic_event_received(self, event):
        for received in self.http.handle_event(event):
            if isinstance(received, HeadersReceived):
                self.status = dict(received.headers).get(b":status")
            elif isinstance(received, DataReceived):
                self.body += received.data
                enough = self.body.count(b"\n") >= self.lines
                if (enough or received.stream_ended) and not self.done.done():
                    self.done.set_result(None)


async def main():
    host, port, path, key, ca, lines = sys.argv[1:7]
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_REQUIRED)
    configuration.load_verify_locations(ca)
    # The name stays for TLS; aioquic would take whichever address comes first, and the cloud has one of IPv4.
    configuration.server_name = host
    address = socket.getaddrinfo(host, int(port), family=socket.AF_INET, type=socket.SOCK_DGRAM)[0][4][0]
    async with connect(address, int(port), configuration=configuration, create_protocol=Reader) as reader:
        reader.get(host, path, key, int(lines))
        await asyncio.wait_for(reader.done, timeout=20)
        if reader.status != b"200":
            sys.exit(f"status {reader.status}: {reader.body!r}")
        wanted = reader.body.split(b"\n")[: int(lines)]
        sys.stdout.buffer.write(b"\n".join(wanted) + b"\n")


asyncio.run(main())
