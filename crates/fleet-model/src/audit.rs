//! Who did what: acts, and the chain of hashes that binds their records.
//!
//! ```text
//!   zeros <-- record 1 <-- record 2 <-- record 3 <-- head
//!             each holds: its number, the hash before it, and SHA-256 over both and all that it says
//! ```
//! Each log has one chain per tenant, so that a tenant can verify its own without reading others'. Where a log takes
//! over what another log recorded, the record goes into the taker's chain and keeps its link in the giver's
//! ([`Origin`]): both can be verified.
//!
//! What a chain shows, and what not: whoever changes, removes or exchanges a record has to make all later hashes anew.
//! It is noticed by everybody who kept a later one: the cloud of its edges, a reader of what was read.

use crate::event::EventId;
use crate::ids::{EdgeId, TenantId};
use crate::time::{TIMESTAMP_MAX, Timestamp};
use sha2::{Digest, Sha256};
use std::fmt;

/// Longest name of who acted, bytes.
pub const WHO_LEN_MAX: usize = 128;
/// Longest name of an act, bytes.
pub const ACT_LEN_MAX: usize = 64;
/// Longest name of what an act is about, bytes.
pub const ABOUT_LEN_MAX: usize = 256;
/// Longest reason that is kept, bytes.
pub const REASON_LEN_MAX: usize = 2_048;
/// Longest details, bytes.
pub const DETAILS_LEN_MAX: usize = 4_096;

/// What the hashes begin with: nothing else that is hashed can be taken for a record.
const HASHED_PREFIX: &[u8] = b"drover audit v1\n";
/// Who acts when it is a program of ours by itself; edges are `edge:` and their name.
pub const DROVER: &str = "drover";
/// What the name of an edge stands behind.
pub const EDGE_PREFIX: &str = "edge:";

/// An edge as one who acts.
#[must_use]
pub fn edge(edge: &EdgeId) -> String {
    format!("{EDGE_PREFIX}{edge}")
}

macro_rules! act_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The acts that this build records. They are stored by name: a reader may meet others, of newer builds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ActKind { $($(#[$doc])* $name,)* }

        impl ActKind {
            /// Every kind.
            pub const ALL: &[ActKind] = &[$(ActKind::$name,)*];

            /// As it is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(ActKind::$name => $text,)* }
            }
        }
    };
}

act_kinds! {
    /// A component was uploaded and is kept.
    PluginUploaded = "plugin.uploaded";
    /// A component did not pass its checks.
    PluginRefused = "plugin.refused";
    /// A component was not signed as its tenant's must be.
    SignatureRefused = "signature.refused";
    /// A rule was tried on what is recorded.
    PreviewRun = "preview.run";
    /// A deployment was put, or replaced by another revision.
    DeploymentChanged = "deployment.changed";
    /// A deployment went back to the revision before.
    DeploymentRolledBack = "deployment.rolled_back";
    /// A revision that was tried is live, or goes on as a canary.
    DeploymentPromoted = "deployment.promoted";
    /// A change of a deployment was refused, by the cloud or by an edge.
    DeploymentRefused = "deployment.refused";
    /// A revision runs on an edge from an offset on.
    DeploymentActivated = "deployment.activated";
    /// A deployment ended on an edge.
    DeploymentRetired = "deployment.retired";
    /// A deployment decides nothing on an edge until it is resumed.
    DeploymentSuspended = "deployment.suspended";
    /// A suspended deployment decides again.
    DeploymentResumed = "deployment.resumed";
    /// A revision kept failing on live data and was stopped.
    BreakerOpened = "breaker.opened";
    /// A revision is tried beside the live one on an edge, or is tried in another way than before.
    TrialStarted = "trial.started";
    /// A trial ended on an edge.
    TrialEnded = "trial.ended";
    /// A vehicle has other tags than before.
    VehicleTagged = "vehicle.tagged";
    /// Other tags for a vehicle were refused.
    TagsRefused = "tags.refused";
    /// An edge came for the first time.
    EdgeConnected = "edge.connected";
}

impl fmt::Display for ActKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of an act. The number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ActOutcome {
    /// It took effect.
    Done = 1,
    /// It did not; the reason says why.
    Refused = 2,
}

impl ActOutcome {
    /// As APIs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The outcome of a stored number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Done, Self::Refused].into_iter().find(|outcome| *outcome as u8 == code)
    }
}

impl std::str::FromStr for ActOutcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Done, Self::Refused].into_iter().find(|outcome| outcome.as_str() == text);
        known.ok_or_else(|| format!("unknown outcome {text:?}: done or refused"))
    }
}

/// Something that was done, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When, by the clock of who recorded it.
    pub time: Timestamp,
    /// Whose affair it is; `None`: the operator's.
    pub tenant: Option<TenantId>,
    /// The name of an API key, `edge:` and the name of an edge, or `drover`.
    pub who: String,
    /// An [`ActKind`] by its name.
    pub act: String,
    /// The deployment, plugin, vehicle or edge that it is about; empty when it has no name.
    pub about: String,
    /// Of the deployment.
    pub revision: Option<u64>,
    /// SHA-256 of the component.
    pub plugin_hash: Option<[u8; 32]>,
    /// SHA-256 of the config as compact JSON.
    pub config_hash: Option<[u8; 32]>,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Why, in words; empty when there is nothing to say.
    pub reason: String,
    /// What else belongs to it: a JSON object in one line, or empty.
    pub details: String,
}

impl Act {
    /// An act that took effect.
    #[must_use]
    pub fn new(time: Timestamp, kind: ActKind, who: &str) -> Self {
        Self {
            time,
            tenant: None,
            who: cut(who, WHO_LEN_MAX),
            act: kind.as_str().to_owned(),
            about: String::new(),
            revision: None,
            plugin_hash: None,
            config_hash: None,
            outcome: ActOutcome::Done,
            reason: String::new(),
            details: String::new(),
        }
    }

    /// Whose affair it is.
    #[must_use]
    pub fn of(self, tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), ..self }
    }

    /// The deployment, plugin, vehicle or edge.
    #[must_use]
    pub fn about(self, name: &str) -> Self {
        Self { about: cut(name, ABOUT_LEN_MAX), ..self }
    }

    /// The deployment's revision.
    #[must_use]
    pub fn revision(self, revision: u64) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The component.
    #[must_use]
    pub fn plugin(self, hash: [u8; 32]) -> Self {
        Self { plugin_hash: Some(hash), ..self }
    }

    /// The config.
    #[must_use]
    pub fn config(self, hash: [u8; 32]) -> Self {
        Self { config_hash: Some(hash), ..self }
    }

    /// It did not take effect.
    #[must_use]
    pub fn refused(self, reason: &str) -> Self {
        Self { outcome: ActOutcome::Refused, ..self.because(reason) }
    }

    /// Why it was done.
    #[must_use]
    pub fn because(self, reason: &str) -> Self {
        Self { reason: cut(reason, REASON_LEN_MAX), ..self }
    }

    /// A JSON object as its compact text. One that is too long is left out: half of it would be none.
    #[must_use]
    pub fn details(self, object: &str) -> Self {
        let fits = object.len() <= DETAILS_LEN_MAX;
        Self { details: if fits { object.to_owned() } else { String::new() }, ..self }
    }
}

/// The beginning of a text, whole characters of it.
fn cut(text: &str, len_max: usize) -> String {
    text[..text.floor_char_boundary(len_max)].to_owned()
}

/// A record's place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// From 1.
    pub number: u64,
    /// The hash of the record before; zeros at the first.
    pub previous: [u8; 32],
    /// SHA-256 over number, previous hash and content.
    pub hash: [u8; 32],
}

/// Where a record was made that was taken over from another log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// By whom.
    pub edge: EdgeId,
    /// Which life of its log.
    pub epoch: u64,
    /// When it was taken over, by the taker's clock.
    pub received_time: Timestamp,
    /// Its place in the chain there.
    pub link: Link,
}

/// An act as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// What was done.
    pub act: Act,
    /// Where it was recorded first, if not here.
    pub origin: Option<Origin>,
    /// Its place in this log's chain of the tenant.
    pub link: Link,
}

/// Why a record cannot be one. None of these is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAct {
    /// A text over its limit.
    #[error("{what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A text that is no name.
    #[error("{what} is {found:?}: {allowed}")]
    Text {
        /// Which.
        what: &'static str,
        /// As found.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A time or number out of its range.
    #[error("{what} is {found}, which cannot be")]
    Range {
        /// Which.
        what: &'static str,
        /// As found.
        found: i64,
    },
}

impl AuditRecord {
    /// Made from its first place in a chain: the same in the depot and in the cloud, whenever it is read or sent again.
    #[must_use]
    pub fn id(&self) -> EventId {
        let first = self.origin.as_ref().map_or(&self.link, |origin| &origin.link);
        let mut id = [0; 16];
        id.copy_from_slice(&first.hash[..16]);
        EventId(id)
    }

    /// As it stood in the log that it was taken over from.
    #[must_use]
    pub fn at_origin(&self) -> Option<AuditRecord> {
        let origin = self.origin.as_ref()?;
        Some(AuditRecord { act: self.act.clone(), origin: None, link: origin.link })
    }

    /// Whether the hash is that of what the record says.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        hash_of(&self.link, &self.act, self.origin.as_ref()) == self.link.hash
    }

    /// Checks lengths, names and ranges. Whether the chain holds is another question.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidAct> {
        let act = &self.act;
        for (what, text, max) in [
            ("who", &act.who, WHO_LEN_MAX),
            ("act", &act.act, ACT_LEN_MAX),
            ("about", &act.about, ABOUT_LEN_MAX),
            ("reason", &act.reason, REASON_LEN_MAX),
            ("details", &act.details, DETAILS_LEN_MAX),
        ] {
            if text.len() > max {
                return Err(InvalidAct::TooLong { what, len: text.len(), max });
            }
        }
        let in_name = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
        if act.act.is_empty() || !act.act.chars().all(in_name) {
            let allowed = "lower-case letters, . and _ are allowed";
            return Err(InvalidAct::Text { what: "act", found: act.act.clone(), allowed });
        }
        for (what, text, may_be_empty) in
            [("who", &act.who, false), ("about", &act.about, true), ("details", &act.details, true)]
        {
            // JSON has such characters only between its parts, and a record is shown as one line.
            if text.chars().any(char::is_control) || (text.is_empty() && !may_be_empty) {
                let allowed = "it must not be empty, nor hold control characters";
                return Err(InvalidAct::Text { what, found: text.clone(), allowed });
            }
        }
        let object = act.details.is_empty() || (act.details.starts_with('{') && act.details.ends_with('}'));
        if !object {
            let allowed = "a JSON object is allowed, with nothing before and after it";
            return Err(InvalidAct::Text { what: "details", found: act.details.clone(), allowed });
        }
        let times = [("time", Some(act.time)), ("received time", self.origin.as_ref().map(|o| o.received_time))];
        for (what, time) in times {
            if let Some(time) = time.filter(|time| !(Timestamp(0)..=TIMESTAMP_MAX).contains(time)) {
                return Err(InvalidAct::Range { what, found: time.0 });
            }
        }
        let links = [Some(self.link), self.origin.as_ref().map(|origin| origin.link)];
        if links.into_iter().flatten().any(|link| link.number == 0) {
            return Err(InvalidAct::Range { what: "number", found: 0 });
        }
        Ok(())
    }
}

/// SHA-256 over what a record says and where it stands. Integers are big-endian; a text stands behind its length, and
/// what may be absent behind a byte that says whether it is there.
fn hash_of(link: &Link, act: &Act, origin: Option<&Origin>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(HASHED_PREFIX);
    hash.update(link.number.to_be_bytes());
    hash.update(link.previous);
    hash.update(act.time.0.to_be_bytes());
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    text(act.tenant.as_ref().map_or("", TenantId::as_str));
    [&act.who, &act.act, &act.about, &act.reason, &act.details].into_iter().for_each(|part| text(part));
    hash.update([act.outcome as u8]);
    match act.revision {
        Some(revision) => {
            hash.update([1]);
            hash.update(revision.to_be_bytes());
        }
        None => hash.update([0]),
    }
    for part in [act.plugin_hash, act.config_hash] {
        match part {
            Some(part) => {
                hash.update([1]);
                hash.update(part);
            }
            None => hash.update([0]),
        }
    }
    match origin {
        Some(Origin { edge, epoch, received_time, link }) => {
            hash.update([1]);
            hash.update((edge.as_str().len() as u64).to_be_bytes());
            hash.update(edge.as_str());
            hash.update(epoch.to_be_bytes());
            hash.update(received_time.0.to_be_bytes());
            hash.update(link.number.to_be_bytes());
            hash.update(link.previous);
            hash.update(link.hash);
        }
        None => hash.update([0]),
    }
    hash.finalize().into()
}

/// Where a chain ends: what the next record follows on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// Of the last record; 0 when there is none.
    pub number: u64,
    /// Its hash; zeros when there is none.
    pub head: [u8; 32],
}

/// Where a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainBreak {
    /// Another record was due: some are missing, doubled, or in another order.
    #[error("record {expected} was due, and {found} is there: records are missing, doubled or exchanged")]
    Number {
        /// Due.
        expected: u64,
        /// There.
        found: u64,
    },
    /// It follows on another record than the one before it.
    #[error("record {number} does not follow on the record before it: one of the two was replaced")]
    Previous {
        /// Which.
        number: u64,
    },
    /// It does not say what it said when it was recorded.
    #[error("record {number} was changed after it was recorded")]
    Content {
        /// Which.
        number: u64,
    },
}

impl Chain {
    /// Records an act as the next one.
    #[must_use]
    pub fn seal(&mut self, act: Act, origin: Option<Origin>) -> AuditRecord {
        let mut link = Link { number: self.number + 1, previous: self.head, hash: [0; 32] };
        link.hash = hash_of(&link, &act, origin.as_ref());
        *self = Self { number: link.number, head: link.hash };
        AuditRecord { act, origin, link }
    }

    /// Takes the next record of a chain that is verified. After a break it goes on from there, so that the next one
    /// is found as well.
    ///
    /// # Errors
    /// How the chain does not hold here.
    pub fn follow(&mut self, record: &AuditRecord) -> Result<(), ChainBreak> {
        let before = std::mem::replace(self, Self { number: record.link.number, head: record.link.hash });
        let (expected, found) = (before.number.saturating_add(1), record.link.number);
        if found != expected {
            return Err(ChainBreak::Number { expected, found });
        }
        if !record.is_whole() {
            return Err(ChainBreak::Content { number: found });
        }
        if record.link.previous != before.head {
            return Err(ChainBreak::Previous { number: found });
        }
        Ok(())
    }
}
