//! How a fleet is set up: its tenants, and what of it stands in the configs.

use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

/// The tenant of a demo fleet.
pub const TENANT: &str = "demo";
/// So long that an edge which had to wait for it after a kill of the cloud would be too late for every test.
pub const IDLE_TIMEOUT_MS: u32 = 600_000;

/// A tenant, with what its people and devices show.
#[derive(Debug)]
pub struct Tenant {
    /// Its name, which is also its API key's.
    pub name: &'static str,
    pub(super) api_key: &'static str,
    pub(super) device_user: &'static str,
    pub(super) device_password: &'static str,
}

/// The tenant of a demo fleet.
pub const DEMO: Tenant = Tenant {
    name: TENANT,
    api_key: "demo-key-for-loopback-only",
    device_user: "fleet",
    device_password: "demo-password-for-loopback-only",
};

/// Another one, on the same machines.
pub const NEIGHBOUR: Tenant = Tenant {
    name: "neighbour",
    api_key: "neighbour-key-for-loopback-only",
    device_user: "neighbours",
    device_password: "neighbour-password-for-loopback-only",
};

/// What the edge refuses beyond the impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// The defaults.
    Normal,
    /// Clocks in the future are taken as they are: for comparing with answers computed from plain files.
    Plain,
}

/// How a fleet is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What the edge refuses.
    pub semantics: Semantics,
    /// Whether the uplink goes through a [`Link`] that can be cut.
    pub cuttable: bool,
    /// After this long without a packet, edge and cloud take their connection for lost.
    pub idle_timeout_ms: u32,
    /// An OTLP collector (HTTP) to which both programs send every payload's trace.
    pub collector: Option<SocketAddr>,
    /// Logs for programs instead of for people.
    pub json_logs: bool,
    /// The Ed25519 public key (32 bytes) whose signature components need; without it they need none.
    pub signer: Option<[u8; 32]>,
    /// Whether [`NEIGHBOUR`] is there as well.
    pub neighbour: bool,
    /// Readings that the edge may have, MiB; its default otherwise.
    pub telemetry_mib_max: Option<u64>,
}

impl Setup {
    /// A fleet with these semantics and nothing special.
    #[must_use]
    pub fn new(semantics: Semantics) -> Self {
        Self {
            semantics,
            cuttable: false,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
            collector: None,
            json_logs: false,
            signer: None,
            neighbour: false,
            telemetry_mib_max: None,
        }
    }

    fn all(&self) -> impl Iterator<Item = &'static Tenant> {
        std::iter::once(&DEMO).chain(self.neighbour.then_some(&NEIGHBOUR))
    }

    /// The part of cloud.toml about tenants and their keys.
    pub(super) fn tenants(&self) -> String {
        self.all().map(|tenant| self.tenant(tenant)).collect()
    }

    fn tenant(&self, tenant: &Tenant) -> String {
        let Tenant { name, api_key, .. } = tenant;
        let signatures = match self.signer {
            None => "require_signatures = false".to_owned(),
            Some(key) => {
                let key = base64::engine::general_purpose::STANDARD.encode(key);
                format!("plugin_keys = [{{ name = \"tester\", public_key = \"{key}\" }}]")
            }
        };
        format!(
            r#"[[tenants]]
name = "{name}"
{signatures}
[[api_keys]]
name = "{name}"
tenant = "{name}"
sha256 = "{}"
operator = {}
"#,
            sha256_hex(api_key),
            *name == TENANT,
        )
    }

    /// The part of edge.toml about what is kept.
    pub(super) fn retention(&self) -> String {
        self.telemetry_mib_max.map_or_else(String::new, |max| format!("[retention]\ntelemetry_mib_max = {max}\n"))
    }

    /// The part of edge.toml about devices.
    pub(super) fn credentials(&self) -> String {
        let entry = |tenant: &Tenant| {
            format!(
                r#"[[device_link.credentials]]
username = "{}"
password_sha256 = "{}"
tenant = "{}"
"#,
                tenant.device_user,
                sha256_hex(tenant.device_password),
                tenant.name,
            )
        };
        self.all().map(entry).collect()
    }

    pub(super) fn observability(&self) -> String {
        let log = if self.json_logs { "json" } else { "human" };
        let mut section = format!("[observability]\nlog = \"{log}\"\n");
        if let Some(collector) = self.collector {
            section.push_str(&format!("otlp_endpoint = \"http://{collector}\"\n"));
            section.push_str("trace_sample_ratio = 1.0\nmetrics_interval_s = 1\n");
        }
        section
    }
}

fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
