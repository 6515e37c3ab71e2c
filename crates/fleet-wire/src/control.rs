//! What edge and cloud say to each other besides frames: small JSON messages, each behind its length.
//!
//! ```text
//!  0  length of the message   u32, little-endian
//!  4  the message             JSON, UTF-8
//! ```
//! JSON because these messages evolve and are rare; what is frequent travels as frames. A field that a receiver does
//! not know is passed over, one that a sender does not know has a default, and a message of an unknown type is
//! [`Unknown`](ToEdge::Unknown), not an error: either side may be the newer one.

mod encoded_set;
mod plugin_report;

pub use encoded_set::{EncodedSet, EncodedSpec};
pub use plugin_report::{
    LINES_BYTES_MAX, LINES_MAX, LinesReport, ReportedLine, ReportedRule, USAGE_ENTRIES_MAX, UsageCounts, UsageEntry,
    UsageReport,
};

use fleet_model::{DeploymentName, Depots, EventClass, Place, Scope, TenantId, TrialMode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What TLS negotiates. A peer that does not offer it is no Drover of this protocol.
pub const ALPN: &[u8] = b"drover/1";
/// Version of the messages here.
pub const PROTOCOL: u16 = 1;
/// Bytes of length before a message.
pub const PREFIX_LEN: usize = 4;
/// Largest message of an edge.
pub const MESSAGE_LEN_MAX: usize = 1_024 * 1_024;
/// Largest first message of a stream: its sender may still turn out to be a stranger.
pub const OPENING_LEN_MAX: usize = 16 * 1_024;
/// Largest message of the cloud. Deployments carry their configs, and zones with 100,000 corners are 4 MB of GeoJSON.
/// Whoever changes deployments keeps all of them below it: an edge that cannot be told the set is told nothing.
pub const DEPLOYMENTS_LEN_MAX: usize = 32 * 1_024 * 1_024;
/// Largest plugin.
pub const PLUGIN_LEN_MAX: usize = 20 * 1_024 * 1_024;
/// Bytes of an acknowledgement on a class stream: the next offset expected, little-endian.
pub const ACK_LEN: usize = 8;

/// Why bytes are not a message. None of these is worth a retry with the same bytes.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Over the limit for this place.
    #[error("a message of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Bytes.
        len: usize,
        /// Allowed here.
        max: usize,
    },
    /// Not what was due.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The first message of every stream; the edge opens them all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamOpen {
    /// The control stream: the first of a connection, and only one.
    Control(Hello),
    /// Frames of one class. The cloud answers with a [`ClassReply`].
    Class {
        /// Which.
        class: EventClass,
        /// Which life of the edge's log.
        epoch: u64,
        /// The oldest record that this log still has: what is below and not in the cloud was shed, and never comes.
        #[serde(default)]
        first: u64,
    },
    /// A plugin's bytes. The cloud answers with a [`PluginReply`] and the bytes.
    Plugin {
        /// SHA-256 of the component, 64 hexadecimal digits.
        hash: String,
    },
}

/// Who an edge is and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// Its name; must be the one in its certificate.
    pub edge: String,
    /// Name and version of the program.
    #[serde(default)]
    pub software: String,
    /// Record versions it sends.
    #[serde(default)]
    pub records: Vec<u8>,
    /// Which life each of its logs has, by class.
    #[serde(default)]
    pub epochs: BTreeMap<EventClass, u64>,
}

/// What the cloud says on the control stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToEdge {
    /// Hello is accepted; streams may be opened.
    Welcome {
        /// [`PROTOCOL`].
        protocol: u16,
        /// Name and version of the program.
        #[serde(default)]
        software: String,
    },
    /// Hello is not accepted. The cloud closes the connection after this.
    Refused {
        /// For the operator: what to do.
        reason: String,
    },
    /// What the edge shall run; replaces what was said before.
    Deployments(DeploymentSet),
    /// From a newer cloud.
    #[serde(other)]
    Unknown,
}

/// What the edge says on the control stream after [`StreamOpen::Control`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToCloud {
    /// How it stands.
    Status(EdgeStatus),
    /// What its rules used.
    PluginUsage(UsageReport),
    /// What its rules logged.
    PluginLines(LinesReport),
    /// From a newer edge.
    #[serde(other)]
    Unknown,
}

/// The cloud's answer on a class stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClassReply {
    /// Frames may come.
    Resume {
        /// Everything below is durable in the cloud. `None`: nothing of this epoch is, start with the oldest.
        next: Option<u64>,
    },
    /// This stream is not taken.
    Refused {
        /// For the operator: what to do.
        reason: String,
    },
}

/// The cloud's answer on a plugin stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PluginReply {
    /// The component follows, then the end of the stream.
    Found {
        /// Bytes that follow, at most [`PLUGIN_LEN_MAX`].
        len: u64,
    },
    /// It does not.
    Refused {
        /// For the operator: what to do.
        reason: String,
    },
}

/// All that one edge shall run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeploymentSet {
    /// Counts changes.
    pub generation: u64,
    /// In no particular order, each name once per tenant.
    #[serde(default)]
    pub deployments: Vec<DeploymentSpec>,
}

/// A plugin put to work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// For whose vehicles.
    pub tenant: TenantId,
    /// Under which name.
    pub name: DeploymentName,
    /// Counts changes of this deployment.
    pub revision: u64,
    /// SHA-256 of the component, 64 hexadecimal digits. Empty: the cloud has lost what this revision was; keep what
    /// runs under this name. See [`is_available`](Self::is_available).
    pub plugin_hash: String,
    /// The plugin's own name.
    #[serde(default)]
    pub plugin_name: String,
    /// Its version.
    #[serde(default)]
    pub plugin_version: String,
    /// As the tenant wrote it; checked against the plugin's schema.
    #[serde(default)]
    pub config: serde_json::Value,
    /// For which of the tenant's vehicles.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub vehicles: Scope,
    /// What is tried beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialSpec>,
    /// Counts all changes: of the revision, of the vehicles, of the trial. It does not travel.
    #[serde(skip)]
    pub changes: u64,
    /// In which depots. It does not travel: each is told what is for it.
    #[serde(skip)]
    pub depots: Depots,
    /// Whether edges run it, or the cloud itself. It does not travel.
    #[serde(skip)]
    pub place: Place,
}

/// A revision to be tried beside the one that is live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Of the same count as deployments' revisions.
    pub revision: u64,
    /// SHA-256 of the component, 64 hexadecimal digits.
    pub plugin_hash: String,
    /// The plugin's own name.
    #[serde(default)]
    pub plugin_name: String,
    /// Its version.
    #[serde(default)]
    pub plugin_version: String,
    /// As of a deployment.
    #[serde(default)]
    pub config: serde_json::Value,
    /// How.
    #[serde(flatten)]
    pub mode: TrialMode,
}

impl DeploymentSpec {
    /// Whether it can be put to work. If not, it only says that the deployment still exists: left out of the set it
    /// would be ended. An edge of any version refuses the empty hash, and so keeps what runs.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !self.plugin_hash.is_empty()
    }

    /// The same revision when it cannot be given out.
    #[must_use]
    pub fn unavailable(self) -> Self {
        Self { plugin_hash: String::new(), config: serde_json::Value::Null, trial: None, ..self }
    }
}

/// How an edge stands. Every field has a default: it evolves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeStatus {
    /// Name and version of the program.
    pub software: String,
    /// Its streams to the cloud.
    pub streams: Vec<StreamStatus>,
    /// All readings below have been applied by the actors.
    pub applied_offset: u64,
    /// What admission counted since the log was made.
    pub counters: EdgeCounters,
    /// What runs on it.
    pub deployments: Vec<DeploymentStatus>,
}

/// One class's way to the cloud, in offsets of the edge's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Which.
    pub class: EventClass,
    /// The oldest record that the edge still has.
    #[serde(default)]
    pub first: u64,
    /// Where its next record will stand.
    #[serde(default)]
    pub next: u64,
    /// The cloud has everything below.
    #[serde(default)]
    pub acked: u64,
    /// Milliseconds since the oldest record that the cloud has not acknowledged was written. `None` when it has all.
    #[serde(default)]
    pub oldest_unacked_ms: Option<i64>,
}

/// What admission counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeCounters {
    /// Readings admitted.
    pub admitted: u64,
    /// Readings that were there before.
    pub repeats: u64,
    /// Of the admitted: older than the newest of their vehicle.
    pub late: u64,
    /// Readings of an instant that has another one.
    pub conflicts: u64,
    /// Readings refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Vehicles known.
    pub vehicles: u64,
}

/// How a deployment fares on an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// For whose vehicles.
    pub tenant: TenantId,
    /// Under which name.
    pub name: DeploymentName,
    /// Which revision this is about.
    #[serde(default)]
    pub revision: u64,
    /// How far it came.
    #[serde(default)]
    pub state: DeploymentPhase,
    /// Why it was refused.
    #[serde(default)]
    pub error: Option<String>,
    /// The plugin's own name.
    #[serde(default)]
    pub plugin_name: String,
    /// Its version.
    #[serde(default)]
    pub plugin_version: String,
    /// For how many vehicles it decides; `None`: for all.
    #[serde(default)]
    pub vehicles: Option<u64>,
    /// What changing to it cost.
    #[serde(default)]
    pub swap: Option<SwapFigures>,
    /// How the trial beside it fares.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
}

/// How a trial fares on an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialStatus {
    /// Which revision is tried.
    pub revision: u64,
    /// How; while it is loading and when it was refused, how it would be.
    #[serde(flatten)]
    pub mode: TrialMode,
    /// How far it came.
    #[serde(default)]
    pub state: DeploymentPhase,
    /// Why it was refused.
    #[serde(default)]
    pub error: Option<String>,
    /// What it did.
    #[serde(default)]
    pub figures: TrialFigures,
}

/// What a trial did on one edge since it began there, or since the edge's last start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrialFigures {
    /// Readings that it was shown.
    pub readings: u64,
    /// Batches on which it failed.
    pub failures: u64,
    /// As a canary: events that it decided.
    pub events: u64,
    /// In the shadow: proposals that the live rule made as well.
    pub same: u64,
    /// The same event with another time, figure or details.
    pub changed: u64,
    /// Proposals that only it made.
    pub added: u64,
    /// Events that only the live rule made.
    pub removed: u64,
    /// The newest differences in words, oldest first.
    pub differences: Vec<String>,
}

/// How far a deployment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentPhase {
    /// Fetched, compiled, configured.
    #[default]
    Loading,
    /// It decides.
    Active,
    /// It does not; what ran before still does.
    Refused,
    /// From a newer edge.
    #[serde(other)]
    Unknown,
}

/// What a swap cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SwapFigures {
    /// The version before; empty when there was none.
    pub from_version: String,
    /// The version now.
    pub to_version: String,
    /// Batches that waited for it.
    pub batches_delayed: u64,
    /// The longest wait.
    pub slowest_batch_ms: f64,
    /// From the order to the last worker.
    pub swap_ms: f64,
}

/// Codes with which a stream is reset or a connection closed; they are sent: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong.
    Done = 0,
    /// The program ends; come back.
    ShuttingDown = 1,
    /// The certificate names no edge, or another one than Hello.
    Identity = 2,
    /// Hello was not accepted.
    Refused = 3,
    /// A message or its place breaks this protocol.
    Protocol = 4,
    /// The same edge has connected again.
    Superseded = 5,
    /// More connections than the cloud takes.
    Busy = 6,
    /// A message was due and did not come.
    Overdue = 7,
    /// A frame is damaged or contradicts the stream.
    BadFrame = 16,
    /// The log did not take it: the disk is full or broken.
    NotDurable = 17,
}

impl Code {
    /// The code of a number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        use Code::*;
        [Done, ShuttingDown, Identity, Refused, Protocol, Superseded, Busy, Overdue, BadFrame, NotDurable]
            .into_iter()
            .find(|code| *code as u64 == number)
    }
}

/// A message with its length before it.
///
/// # Errors
/// When it is longer than `len_max`.
pub fn encode<T: Serialize>(message: &T, len_max: usize) -> Result<Vec<u8>, ControlError> {
    let mut bytes = vec![0; PREFIX_LEN];
    serde_json::to_writer(&mut bytes, message)?;
    let prefix = prefix(bytes.len() - PREFIX_LEN, len_max)?;
    bytes[..PREFIX_LEN].copy_from_slice(&prefix);
    Ok(bytes)
}

fn prefix(len: usize, len_max: usize) -> Result<[u8; PREFIX_LEN], ControlError> {
    match u32::try_from(len) {
        Ok(short) if len <= len_max => Ok(short.to_le_bytes()),
        _ => Err(ControlError::TooLong { len, max: len_max }),
    }
}

/// How many bytes follow a prefix. Call before taking memory for them.
///
/// # Errors
/// When they are more than `len_max`.
pub fn message_len(prefix: [u8; PREFIX_LEN], len_max: usize) -> Result<usize, ControlError> {
    let len = u32::from_le_bytes(prefix) as usize;
    if len > len_max { Err(ControlError::TooLong { len, max: len_max }) } else { Ok(len) }
}

/// The message in the bytes that followed a prefix.
///
/// # Errors
/// When they are not such a message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: T) {
        let bytes = encode(&message, MESSAGE_LEN_MAX).unwrap();
        let (prefix, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(message_len(*prefix, MESSAGE_LEN_MAX).unwrap(), body.len());
        assert_eq!(decode::<T>(body).unwrap(), message);
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        round_trip(StreamOpen::Control(Hello {
            protocol: PROTOCOL,
            edge: "depot-1".into(),
            software: "drover-edge 0.1.0".into(),
            records: vec![1],
            epochs: [(EventClass::Telemetry, u64::MAX), (EventClass::Alerts, 0)].into(),
        }));
        round_trip(StreamOpen::Class { class: EventClass::Alerts, epoch: u64::MAX, first: 7 });
        round_trip(StreamOpen::Plugin { hash: "00".repeat(32) });
        round_trip(ClassReply::Resume { next: None });
        round_trip(ClassReply::Resume { next: Some(u64::MAX) });
        round_trip(PluginReply::Found { len: 7 });
        round_trip(ToEdge::Deployments(DeploymentSet {
            generation: 3,
            deployments: vec![DeploymentSpec { changes: 0, ..spec("demo", 2) }],
        }));
        round_trip(ToCloud::Status(EdgeStatus {
            streams: vec![StreamStatus {
                class: EventClass::Telemetry,
                first: 1,
                next: 9,
                acked: 5,
                oldest_unacked_ms: Some(12),
            }],
            ..EdgeStatus::default()
        }));
    }

    fn spec(tenant: &str, revision: u64) -> DeploymentSpec {
        DeploymentSpec {
            tenant: tenant.parse().unwrap(),
            name: "zones".parse().unwrap(),
            revision,
            plugin_hash: "ab".repeat(32),
            plugin_name: "geofence".into(),
            plugin_version: "1.0.0".into(),
            config: serde_json::json!({"zones": {"type": "FeatureCollection"}}),
            vehicles: Scope::ALL,
            trial: None,
            changes: revision,
            depots: Depots::ALL,
            place: Place::Edge,
        }
    }

    #[test]
    fn vehicles_and_trials_travel_and_old_edges_read_what_they_know() {
        let trial = TrialSpec {
            revision: 3,
            plugin_hash: "cd".repeat(32),
            plugin_name: "geofence".into(),
            plugin_version: "1.1.0".into(),
            config: serde_json::json!({}),
            mode: TrialMode::Canary { share: fleet_model::Share::new(10).unwrap() },
        };
        let tried = DeploymentSpec {
            vehicles: Scope::only(["BUS-1".parse().unwrap()]),
            trial: Some(trial),
            changes: 0,
            ..spec("demo", 2)
        };
        round_trip(tried.clone());
        let json = serde_json::to_value(&tried).unwrap();
        assert_eq!((&json["vehicles"][0], &json["trial"]["mode"]), (&"BUS-1".into(), &"canary".into()));
        let plain = serde_json::to_value(spec("demo", 2)).unwrap();
        assert!(plain.get("vehicles").is_none() && plain.get("trial").is_none(), "{plain}");
    }

    #[test]
    fn a_deployment_for_no_vehicle_is_not_one_for_all() {
        let nobody = DeploymentSpec { vehicles: Scope::only([]), changes: 0, ..spec("demo", 2) };
        round_trip(nobody.clone());
        assert_eq!(serde_json::to_value(&nobody).unwrap()["vehicles"], serde_json::json!([]));
    }

    #[test]
    fn an_encoded_set_is_the_message_and_shares_its_bytes() {
        let mut set = EncodedSet::default();
        for deployments in [vec![], vec![spec("a", 3)], vec![spec("a", 3), spec("b", 4)]] {
            for spec in &deployments {
                set = set.with(EncodedSpec::new(spec.clone()).unwrap());
            }
            let pieces = set.encode(MESSAGE_LEN_MAX).unwrap();
            let bytes = pieces.concat();
            let (prefix, body) = bytes.split_first_chunk().unwrap();
            assert_eq!(message_len(*prefix, MESSAGE_LEN_MAX).unwrap(), body.len());
            assert_eq!(body.len(), set.message_len());
            let generation = deployments.iter().map(|spec| spec.revision).sum();
            let deployments = deployments.into_iter().map(|spec| DeploymentSpec { changes: 0, ..spec }).collect();
            let expected = DeploymentSet { generation, deployments };
            assert_eq!(decode::<ToEdge>(body).unwrap(), ToEdge::Deployments(expected));
            let again = set.clone().encode(MESSAGE_LEN_MAX).unwrap();
            let bodies = pieces.iter().zip(&again).skip(1);
            assert!(bodies.clone().all(|(one, other)| one.as_ptr() == other.as_ptr()), "no bytes are copied");
            assert!(matches!(set.encode(body.len() - 1), Err(ControlError::TooLong { .. })));
        }
    }

    #[test]
    fn a_set_is_the_same_until_one_of_its_deployments_changes() {
        let set = |specs: &[(&str, u64)]| {
            let one = |set: EncodedSet, (tenant, revision): &(&str, u64)| {
                set.with(EncodedSpec::new(spec(tenant, *revision)).unwrap())
            };
            specs.iter().fold(EncodedSet::default(), one)
        };
        let both = set(&[("a", 1), ("b", 1)]);
        let later = both.with(EncodedSpec::new(spec("b", 2)).unwrap());
        assert!(both.is_same(&both.clone()) && !both.is_same(&later));
        let of = |set: &EncodedSet, tenant: &str| set.only(|spec| spec.tenant.as_str() == tenant);
        assert!(of(&both, "a").is_same(&of(&later, "a")), "a change of another tenant is none");
        assert!(!of(&both, "b").is_same(&of(&later, "b")));
        assert_eq!((of(&later, "b").generation, of(&later, "b").deployments.len()), (2, 1));
    }

    #[test]
    fn what_a_newer_peer_says_is_passed_over() {
        assert_eq!(decode::<ToEdge>(br#"{"type":"sing","song":"la"}"#).unwrap(), ToEdge::Unknown);
        assert_eq!(decode::<ToCloud>(br#"{"type":"sing"}"#).unwrap(), ToCloud::Unknown);
        let status: EdgeStatus = decode(br#"{"applied_offset":7,"mood":"good"}"#).unwrap();
        assert_eq!(status.applied_offset, 7);
        assert_eq!(decode::<DeploymentPhase>(br#""dreaming""#).unwrap(), DeploymentPhase::Unknown);
    }

    #[test]
    fn limits_hold_before_memory_is_taken() {
        assert!(matches!(message_len([0xff; 4], OPENING_LEN_MAX), Err(ControlError::TooLong { .. })));
        let long = StreamOpen::Plugin { hash: "x".repeat(OPENING_LEN_MAX) };
        assert!(matches!(encode(&long, OPENING_LEN_MAX), Err(ControlError::TooLong { .. })));
    }

    #[test]
    fn strange_bytes_are_refused_in_words() {
        for bytes in
            [&b""[..], b"{", b"null", b"[]", br#"{"type":"control"}"#, br#"{"type":"class","class":"x","epoch":1}"#]
        {
            assert!(decode::<StreamOpen>(bytes).is_err(), "{bytes:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(decode::<ToEdge>(deep.as_bytes()).is_err());
    }

    #[test]
    fn codes_lead_back() {
        for number in 0..32 {
            if let Some(code) = Code::from_number(number) {
                assert_eq!(code as u64, number);
            }
        }
        assert_eq!(Code::from_number(16), Some(Code::BadFrame));
    }
}
