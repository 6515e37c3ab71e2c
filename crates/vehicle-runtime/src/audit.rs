//! The one place where audit records are written: an act and its record become durable in one commit.
//!
//! ```text
//!   act + its own commit --> number it, hash it over the head of its tenant's chain --> one commit: the act's
//!                                                                                       snapshots, record, new head
//! ```
//! A log has one trail, shared by all that act on it: one commit of acts at a time, since each record holds the hash of
//! the one before it. Acts are rare; nothing else waits for them.

use crate::config::Clock;
use crate::keys;
use crate::metrics;
use crate::record_format::{self, AuditHeadRecord, encode};
use bytes::Bytes;
use event_log::{Append, Appended, Bounds, Commit, CommitError, Committed, EventLog, Offset, Snapshot};
use event_log::{SourcePosition, Stream};
use fleet_model::audit::{Act, ActKind, AuditRecord, Chain, Origin};
use fleet_model::{EdgeId, EventClass, TenantId};
use fleet_wire::frame::Placement;
use fleet_wire::{AuditBlockV1, AuditFrame, BuildError};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The audit records of one log. Clones share it.
#[derive(Clone)]
pub struct AuditTrail(Arc<Inner>);

struct Inner {
    log: Arc<dyn EventLog>,
    clock: Clock,
    /// Who acts when the node does something by itself.
    node: String,
    turn: tokio::sync::Mutex<Turn>,
    recorded: Counter<u64>,
}

/// Whose turn it is to commit acts.
#[derive(Default)]
struct Turn {
    /// A commit was handed in, and nobody heard what became of it: its task was ended.
    unheard: bool,
}

impl std::fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditTrail").field("node", &self.0.node).finish_non_exhaustive()
    }
}

/// What goes into the stream: records one after the other, and where they came from.
struct Sealed {
    records: Vec<AuditRecord>,
    heads: BTreeMap<Option<TenantId>, Chain>,
}

impl AuditTrail {
    /// The trail of a log; make one per log. `node` is who acts when the node does something by itself: `edge:` and its
    /// name, or `drover`.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, clock: Clock, node: &str) -> Self {
        let meter = opentelemetry::global::meter(observability::METER);
        let recorded = meter.u64_counter(metrics::AUDIT_ACTS).with_description("Acts recorded").build();
        Self(Arc::new(Inner { log, clock, node: node.to_owned(), turn: tokio::sync::Mutex::default(), recorded }))
    }

    /// An act of the node itself, now.
    #[must_use]
    pub fn act(&self, kind: ActKind) -> Act {
        self.act_by(kind, &self.0.node)
    }

    /// An act of somebody, now.
    #[must_use]
    pub fn act_by(&self, kind: ActKind, who: &str) -> Act {
        Act::new((self.0.clock)(), kind, who)
    }

    /// Makes a commit durable together with the records of the acts that it is.
    ///
    /// # Errors
    /// Why it was refused: neither the commit nor a record is in the log then.
    pub async fn commit(&self, commit: Commit, acts: Vec<Act>) -> Result<Committed, CommitError> {
        let turn = self.turn().await?;
        let mut heads = BTreeMap::new();
        let sealed = acts.into_iter().map(|act| (act, None)).collect();
        let sealed = Sealed { records: self.seal(sealed, &mut heads)?, heads };
        let committed = self.write(turn, commit, &sealed, None).await?;
        for AuditRecord { act, .. } in &sealed.records {
            let tenant = act.tenant.as_ref().map(TenantId::as_str);
            tracing::info!(target: "drover::audit", act = act.act, tenant, who = act.who, about = act.about,
                revision = act.revision, outcome = act.outcome.as_str(), reason = act.reason, "act");
            let labels = [KeyValue::new("act", act.act.clone()), KeyValue::new("outcome", act.outcome.as_str())];
            self.0.recorded.add(1, &labels);
        }
        Ok(committed)
    }

    /// Records acts that change nothing that is stored.
    ///
    /// # Errors
    /// Why they are not recorded.
    pub async fn record(&self, acts: Vec<Act>) -> Result<(), CommitError> {
        self.commit(Commit::default(), acts).await.map(drop)
    }

    /// Takes over what an edge recorded, in its order, into the chains here. `position` is where the first of them stands
    /// in the edge's stream; what was taken over before is not taken again.
    ///
    /// # Errors
    /// Why they are refused.
    pub async fn take_over(
        &self,
        edge: &EdgeId,
        records: Vec<AuditRecord>,
        position: SourcePosition,
    ) -> Result<Committed, CommitError> {
        let turn = self.turn().await?;
        // Asked here, where nobody else takes over meanwhile: a repeat must not move the heads.
        let watermark = self.0.log.watermark(&position.source).map_err(broken)?;
        let end = position.first + records.len() as u64;
        if watermark.is_some_and(|(epoch, next)| epoch == position.epoch && end <= next) {
            return Ok(Committed { appended: vec![Appended::Repeat] });
        }
        let received_time = (self.0.clock)();
        let from_there = |AuditRecord { act, link, .. }| {
            (act, Some(Origin { edge: edge.clone(), epoch: position.epoch, received_time, link }))
        };
        let mut heads = BTreeMap::new();
        let sealed = records.into_iter().map(from_there).collect();
        let sealed = Sealed { records: self.seal(sealed, &mut heads)?, heads };
        self.write(turn, Commit::default(), &sealed, Some(position)).await
    }

    /// Waits for its turn, and until the log is as the last one left it.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, Turn>, CommitError> {
        let mut turn = self.0.turn.lock().await;
        if turn.unheard {
            // Commits take effect in the order in which they are handed in.
            self.0.log.submit(Commit::default()).durable().await?;
            turn.unheard = false;
        }
        Ok(turn)
    }

    fn seal(
        &self,
        acts: Vec<(Act, Option<Origin>)>,
        heads: &mut BTreeMap<Option<TenantId>, Chain>,
    ) -> Result<Vec<AuditRecord>, CommitError> {
        let mut records = Vec::with_capacity(acts.len());
        for (act, origin) in acts {
            if !heads.contains_key(&act.tenant) {
                heads.insert(act.tenant.clone(), self.head(act.tenant.as_ref())?);
            }
            if let Some(head) = heads.get_mut(&act.tenant) {
                records.push(head.seal(act, origin));
            }
        }
        Ok(records)
    }

    fn head(&self, tenant: Option<&TenantId>) -> Result<Chain, CommitError> {
        let key = keys::audit_head(tenant);
        let Some(value) = self.0.log.snapshot(&key).map_err(broken)? else { return Ok(Chain::default()) };
        let head = record_format::decode::<AuditHeadRecord>(&value)
            .map_err(|error| CommitError::Broken(format!("{}: {error}; restore the events log", key.escape_ascii())))?;
        Ok(Chain { number: head.number, head: head.hash })
    }

    async fn write(
        &self,
        mut turn: tokio::sync::MutexGuard<'_, Turn>,
        mut commit: Commit,
        sealed: &Sealed,
        position: Option<SourcePosition>,
    ) -> Result<Committed, CommitError> {
        let first_append = commit.appends.len();
        // Foretold: a log has one trail, and nobody else appends to the stream.
        let Bounds { next, .. } = self.0.log.bounds(Stream::AUDIT);
        self.lay_out(&sealed.records, next, position, &mut commit.appends)?;
        commit.snapshots.extend(sealed.heads.iter().map(|(tenant, head)| Snapshot {
            key: keys::audit_head(tenant.as_ref()),
            value: Some(encode(&AuditHeadRecord { number: head.number, hash: head.head })),
        }));
        turn.unheard = true;
        let outcome = self.0.log.submit(commit).durable().await;
        turn.unheard = false;
        let committed = outcome?;
        match committed.appended.get(first_append) {
            Some(Appended::At(at)) if *at != next => {
                Err(CommitError::Broken(format!("somebody else appended audit records: {at} instead of {next}")))
            }
            _ => Ok(committed),
        }
    }

    /// Blocks of records, as large as frames may be.
    fn lay_out(
        &self,
        records: &[AuditRecord],
        first: Offset,
        position: Option<SourcePosition>,
        appends: &mut Vec<Append>,
    ) -> Result<(), CommitError> {
        if records.is_empty() {
            return Ok(());
        }
        let epoch = self.0.log.epoch();
        let at = Placement { class: EventClass::Audit, first_offset: first, epoch, created_ms: (self.0.clock)().0 };
        let frame = AuditFrame::build(&AuditBlockV1::of(records), at);
        match frame {
            Ok(frame) => {
                let bytes: Bytes = frame.bytes().clone();
                appends.push(Append { stream: Stream::AUDIT, count: records.len() as u32, bytes, source: position });
                Ok(())
            }
            Err(BuildError::TooLong(_)) if records.len() > 1 => {
                let (left, right) = records.split_at(records.len() / 2);
                let after = left.len() as u64;
                let beyond = position.clone().map(|p| SourcePosition { first: p.first + after, ..p });
                self.lay_out(left, first, position, appends)?;
                self.lay_out(right, first + after, beyond, appends)
            }
            Err(error) => Err(CommitError::Broken(format!("an audit record cannot be laid out: {error}"))),
        }
    }
}

fn broken(error: event_log::ReadError) -> CommitError {
    CommitError::Broken(error.to_string())
}
