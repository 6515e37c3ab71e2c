//! A whole edge node in this process, behind real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod client;
mod deployments;
mod disk;
mod foreign;
mod gated_log;
mod http;
mod mqtt;
mod program;
mod recovery;
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod started;
mod tls;
