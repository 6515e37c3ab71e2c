//! The HTTP API through real sockets: TLS, QUIC, and the clients of other crates.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod client;
mod cloud;
mod foreign;
mod hostile;
mod openapi;
mod previews;
mod rules;
mod same_bytes;
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod streams;
mod vehicles;
