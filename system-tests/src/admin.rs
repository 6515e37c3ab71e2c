//! Asks a loopback HTTP listener one thing: enough of HTTP/1.1 for our own admin pages, without a client library.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An admin page answers within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// GETs a path and answers the body.
///
/// # Errors
/// When there is no answer, or one other than 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&address, ANSWERED_WITHIN).with_context(|| format!("connect {address}"))?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("read {address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer from {address}{path}"))?;
    if !head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
        bail!("{address}{path} answered {head:?}: {body}");
    }
    Ok(body.to_owned())
}
