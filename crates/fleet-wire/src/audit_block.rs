//! The frozen record type of audit, version 1, as in `block.rs`: little-endian, without alignment, never edited.

use fleet_model::audit::{Act, ActOutcome, AuditRecord, InvalidAct, Link, Origin};
use fleet_model::{EdgeId, InvalidId, TenantId, Timestamp};
use rkyv::{Archive, Deserialize, Serialize};

/// Audit records of one log, in the order in which they were recorded.
#[derive(Debug, Clone, PartialEq, Default, Archive, Serialize, Deserialize)]
pub struct AuditBlockV1 {
    /// The records.
    pub records: Vec<AuditV1>,
}

/// One audit record.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AuditV1 {
    /// Milliseconds since the Unix epoch, the recorder's clock.
    pub time: i64,
    /// [`TenantId`]; empty: the operator's affair.
    pub tenant: String,
    /// Who acted.
    pub who: String,
    /// [`fleet_model::ActKind`] by its name.
    pub act: String,
    /// The deployment, plugin or edge.
    pub about: String,
    /// Of the deployment.
    pub revision: Option<u64>,
    /// SHA-256 of the component.
    pub plugin_hash: Option<[u8; 32]>,
    /// SHA-256 of the config.
    pub config_hash: Option<[u8; 32]>,
    /// [`ActOutcome`] as a number.
    pub outcome: u8,
    /// In words; empty: none.
    pub reason: String,
    /// A JSON object; empty: none.
    pub details: String,
    /// Its place in this log's chain of the tenant.
    pub link: LinkV1,
    /// Where it was recorded first, if not in this log.
    pub origin: Option<OriginV1>,
}

/// A place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LinkV1 {
    /// From 1.
    pub number: u64,
    /// Hash of the record before; zeros at the first.
    pub previous: [u8; 32],
    /// SHA-256 over number, previous hash and content.
    pub hash: [u8; 32],
}

/// Where a record was made that another log gave.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct OriginV1 {
    /// [`EdgeId`].
    pub edge: String,
    /// Which life of its log.
    pub epoch: u64,
    /// Milliseconds since the Unix epoch, the taker's clock.
    pub received_time: i64,
    /// Its place in the chain there.
    pub link: LinkV1,
}

/// Why bytes that can be read are no audit record. Not worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudit {
    /// A tenant or edge that is none.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// A number that stands for no outcome.
    #[error("outcome {0} is unknown: this build is too old for the sender")]
    Outcome(u8),
    /// A text, time or number that is out of bounds.
    #[error(transparent)]
    Act(#[from] InvalidAct),
}

impl AuditBlockV1 {
    /// Lays out records as one block.
    #[must_use]
    pub fn of<'r>(records: impl IntoIterator<Item = &'r AuditRecord>) -> Self {
        Self { records: records.into_iter().map(AuditV1::of).collect() }
    }
}

impl AuditV1 {
    fn of(record: &AuditRecord) -> Self {
        let AuditRecord { act, origin, link } = record;
        Self {
            time: act.time.0,
            tenant: act.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            who: act.who.clone(),
            act: act.act.clone(),
            about: act.about.clone(),
            revision: act.revision,
            plugin_hash: act.plugin_hash,
            config_hash: act.config_hash,
            outcome: act.outcome as u8,
            reason: act.reason.clone(),
            details: act.details.clone(),
            link: LinkV1::of(*link),
            origin: origin.as_ref().map(|origin| OriginV1 {
                edge: origin.edge.to_string(),
                epoch: origin.epoch,
                received_time: origin.received_time.0,
                link: LinkV1::of(origin.link),
            }),
        }
    }
}

impl LinkV1 {
    fn of(link: Link) -> Self {
        Self { number: link.number, previous: link.previous, hash: link.hash }
    }
}

impl ArchivedLinkV1 {
    fn to_link(&self) -> Link {
        Link { number: self.number.to_native(), previous: self.previous, hash: self.hash }
    }
}

impl ArchivedAuditV1 {
    /// The record, checked: names, lengths, ranges. Whether its chain holds is not asked here.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn to_record(&self) -> Result<AuditRecord, InvalidAudit> {
        let tenant = if self.tenant.is_empty() { None } else { Some(TenantId::new(&self.tenant)?) };
        let origin = match self.origin.as_ref() {
            Some(origin) => Some(Origin {
                edge: EdgeId::new(&origin.edge)?,
                epoch: origin.epoch.to_native(),
                received_time: Timestamp(origin.received_time.to_native()),
                link: origin.link.to_link(),
            }),
            None => None,
        };
        let act = Act {
            time: Timestamp(self.time.to_native()),
            tenant,
            who: self.who.to_string(),
            act: self.act.to_string(),
            about: self.about.to_string(),
            revision: self.revision.as_ref().map(|revision| revision.to_native()),
            plugin_hash: self.plugin_hash.as_ref().copied(),
            config_hash: self.config_hash.as_ref().copied(),
            outcome: ActOutcome::from_code(self.outcome).ok_or(InvalidAudit::Outcome(self.outcome))?,
            reason: self.reason.to_string(),
            details: self.details.to_string(),
        };
        let record = AuditRecord { act, origin, link: self.link.to_link() };
        record.check()?;
        Ok(record)
    }
}
