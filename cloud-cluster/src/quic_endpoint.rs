//! QUIC endpoints whose peers learn of a restart at once.
//!
//! A process that was killed said good-bye to nobody: its peers would wait for their idle time-out. So the process that
//! comes after it, on the same address with the same private key, answers a packet of a connection that it does not know
//! with a stateless reset (RFC 9000, section 10.3) that the peer believes.

use aws_lc_rs::hmac;
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use rand::Rng;
use rustls_pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a connection id.
const ID_LEN: usize = 8;

/// The configuration of the endpoint at `address`. The secret is made from the private key, and from the address: two
/// endpoints with one key must not be able to reset each other's connections.
pub(crate) fn config(private_key: &PrivateKeyDer<'_>, address: SocketAddr) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, private_key.secret_der());
    let secret = hmac::sign(&key, format!("drover stateless reset {address}").as_bytes());
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref())));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// quinn's own ids are recognised by the process that made them, and packets with others are dropped unanswered: those
/// of the process before must be answered.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let id: [u8; ID_LEN] = rand::rng().random();
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
