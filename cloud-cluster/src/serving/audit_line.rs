//! Audit records as JSON: all that their hashes are made of, so that a reader can verify them.

use super::cursor::Cursor;
use fleet_model::EventClass;
use fleet_model::audit::{AuditRecord, Link, Origin};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An act: who did what. Its hash is SHA-256 over `number`, `previous` and what it says (docs/protocol.md, "Audit").
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEvent<'e> {
    /// Made from its first place in a chain: the same in the depot and in the cloud.
    #[schema(example = "17f7c41b35b0337a17f7c41b35b0337a")]
    id: String,
    #[schema(example = "audit")]
    class: &'static str,
    #[serde(rename = "type")]
    #[schema(example = "deployment.changed")]
    kind: &'e str,
    /// Whose affair it is; null: the operator's.
    #[schema(required)]
    tenant: Option<&'e str>,
    /// When it was done: RFC 3339, UTC, milliseconds.
    #[schema(format = DateTime)]
    event_time: String,
    event_time_ms: i64,
    /// The name of an API key, `edge:` and an edge's name, or `drover`.
    #[schema(example = "edge:depot-1")]
    who: &'e str,
    /// The deployment, plugin or edge; empty when it has no name.
    #[schema(example = "zones")]
    about: &'e str,
    /// `done` or `refused`.
    #[schema(example = "done")]
    outcome: &'static str,
    /// Why, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'e str,
    /// Of the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// SHA-256 of the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_hash: Option<String>,
    /// SHA-256 of the config as compact JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_hash: Option<String>,
    /// What else belongs to the act. The hash is over these bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<&'e RawValue>,
    link: AuditLink,
    /// Where it was recorded first, when that was on an edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<AuditOrigin<'e>>,
    /// Give it as `after` to go on behind this event.
    cursor: String,
}

/// A place in a chain.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditLink {
    /// From 1, without holes, in the chain of this tenant.
    number: u64,
    /// Hash of the record before; zeros at the first.
    previous: String,
    hash: String,
}

/// Where a record was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditOrigin<'e> {
    edge: &'e str,
    /// Which life of the edge's log: 16 hex digits.
    epoch: String,
    /// When it reached the cloud.
    received_time_ms: i64,
    link: AuditLink,
}

impl From<&Link> for AuditLink {
    fn from(link: &Link) -> Self {
        Self { number: link.number, previous: hex::encode(link.previous), hash: hex::encode(link.hash) }
    }
}

impl<'e> From<&'e Origin> for AuditOrigin<'e> {
    fn from(origin: &'e Origin) -> Self {
        Self {
            edge: origin.edge.as_str(),
            epoch: format!("{:016x}", origin.epoch),
            received_time_ms: origin.received_time.0,
            link: (&origin.link).into(),
        }
    }
}

impl<'e> AuditEvent<'e> {
    pub(crate) fn of(record: &'e AuditRecord, cursor: Cursor) -> Self {
        let act = &record.act;
        Self {
            id: record.id().to_string(),
            class: EventClass::Audit.as_str(),
            kind: &act.act,
            tenant: act.tenant.as_ref().map(fleet_model::TenantId::as_str),
            event_time: act.time.to_rfc3339(),
            event_time_ms: act.time.0,
            who: &act.who,
            about: &act.about,
            outcome: act.outcome.as_str(),
            reason: &act.reason,
            revision: act.revision,
            plugin_hash: act.plugin_hash.map(hex::encode),
            config_hash: act.config_hash.map(hex::encode),
            // Checked when it came in.
            details: serde_json::from_str(&act.details).ok(),
            link: (&record.link).into(),
            origin: record.origin.as_ref().map(AuditOrigin::from),
            cursor: cursor.to_string(),
        }
    }
}
