//! An edge of our own making, for what a proper one does not do.

use crate::certificates::Authority;
use crate::world::soon;
use fleet_wire::control::{self, Code, Hello, PROTOCOL, StreamOpen, ToEdge};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;

pub async fn read<T: DeserializeOwned>(recv: &mut RecvStream) -> T {
    let mut prefix = [0; 4];
    recv.read_exact(&mut prefix).await.unwrap();
    let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
    recv.read_exact(&mut body).await.unwrap();
    control::decode(&body).unwrap()
}

pub fn message<T: serde::Serialize>(message: &T) -> Vec<u8> {
    control::encode(message, control::MESSAGE_LEN_MAX).unwrap()
}

pub fn hello(edge: &str) -> StreamOpen {
    StreamOpen::Control(Hello {
        protocol: PROTOCOL,
        edge: edge.into(),
        software: "a stranger".into(),
        records: vec![1],
        epochs: Default::default(),
    })
}

/// A client of our own, with a good certificate and bad manners.
pub struct Client {
    pub connection: Connection,
    _endpoint: Endpoint,
}

impl Client {
    pub async fn connect(authority: &Authority, cloud: SocketAddr, alpn: &[u8]) -> Result<Self, ConnectionError> {
        Self::connect_as("depot-1", TransportConfig::default(), authority, cloud, alpn).await
    }

    async fn connect_as(
        edge: &str,
        transport: TransportConfig,
        authority: &Authority,
        cloud: SocketAddr,
        alpn: &[u8],
    ) -> Result<Self, ConnectionError> {
        let pair = authority.issue(edge);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()];
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.private_key).unwrap())
            .unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        let connection = endpoint.connect_with(config, cloud, "localhost").unwrap().await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    pub async fn open(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, recv)
    }

    /// Connected and welcomed.
    pub async fn welcomed(authority: &Authority, cloud: SocketAddr) -> (Self, SendStream, RecvStream) {
        Self::welcomed_as("depot-1", TransportConfig::default(), authority, cloud).await
    }

    pub async fn welcomed_as(
        edge: &str,
        transport: TransportConfig,
        authority: &Authority,
        cloud: SocketAddr,
    ) -> (Self, SendStream, RecvStream) {
        let client = Self::connect_as(edge, transport, authority, cloud, control::ALPN).await.unwrap();
        let (send, mut recv) = client.open(&message(&hello(edge))).await;
        assert!(matches!(read(&mut recv).await, ToEdge::Welcome { .. }));
        (client, send, recv)
    }

    pub async fn closed_with(&self) -> Option<Code> {
        match soon("the cloud closes", self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => Code::from_number(close.error_code.into_inner()),
            other => panic!("{other:?}"),
        }
    }
}

pub async fn reset_code(recv: &mut RecvStream) -> Option<Code> {
    match soon("the stream is reset", recv.read_to_end(1_000)).await {
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Code::from_number(code.into_inner()),
        other => panic!("{other:?}"),
    }
}
