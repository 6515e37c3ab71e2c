//! The HTTP API through real sockets: TLS, QUIC, and the clients of other crates.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod audit;
mod client;
mod cloud;
mod foreign;
#[path = "../../../crates/plugin-host/tests/host/guest.rs"]
#[allow(dead_code, reason = "shared with the plugin host's tests")]
mod guest;
mod hostile;
mod openapi;
mod places;
mod plugin_pages;
mod previews;
mod rows;
mod rules;
mod same_bytes;
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod streams;
mod tags;
mod trials;
mod vehicles;
