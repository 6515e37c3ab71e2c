//! Edge and cloud ends of the uplink in one process, over real QUIC on loopback with real certificates: what an edge
//! has in its logs is in the cloud's logs, once and in order, whatever is cut, restarted or refused in between.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod audit;
mod certificates;
mod client;
mod cuts;
mod deployments;
mod flow;
mod hostile;
mod logs;
mod odd_log;
mod plugin_reports;
mod refusals;
mod relay;
mod tenants;
mod world;
