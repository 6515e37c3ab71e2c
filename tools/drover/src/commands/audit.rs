//! `drover audit`, and how acts are shown.

use crate::Connection;
use crate::client::{Client, with_query};
use crate::failure::Failure;
use crate::output;
use fleet_model::audit::{Act, AuditRecord, Chain, Link, Origin};
use fleet_model::{EdgeId, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Records per page.
const PAGE: &str = "1000";
/// Bytes of a hash that are shown: enough to compare by eye.
const HASH_SHOWN: usize = 16;

/// Check the record of who did what
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// Read all acts that the key may see, and say whether their chains of hashes hold
    Verify(Verify),
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  drover audit verify

Each tenant's acts are a chain: a record holds the hash of the one before it. Acts of edges are in the chain of the edge
too. Says for each chain up to which record it is complete, with the last hash, or where it is broken (exit code 1).
Keep what it says: that the end was not cut off, or all of it made anew, shows in the number and hash of last time.
`drover events --class audit` shows the acts.")]
pub(crate) struct Verify {}

/// An act as the server writes it.
#[derive(Deserialize)]
pub(super) struct Line {
    #[serde(rename = "type")]
    act: String,
    tenant: Option<TenantId>,
    #[serde(default)]
    event_time: String,
    event_time_ms: i64,
    who: String,
    about: String,
    outcome: String,
    #[serde(default)]
    reason: String,
    revision: Option<u64>,
    plugin_hash: Option<Hash>,
    config_hash: Option<Hash>,
    details: Option<Box<RawValue>>,
    link: ShownLink,
    origin: Option<ShownOrigin>,
    #[serde(default)]
    cursor: String,
}

#[derive(Deserialize)]
struct ShownLink {
    number: u64,
    previous: Hash,
    hash: Hash,
}

#[derive(Deserialize)]
struct ShownOrigin {
    edge: EdgeId,
    epoch: String,
    received_time_ms: i64,
    link: ShownLink,
}

/// 64 hex digits.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Hash([u8; 32]);

impl TryFrom<String> for Hash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash).map_err(|_| format!("{text:?} is not 64 hex digits"))?;
        Ok(Self(hash))
    }
}

impl From<ShownLink> for Link {
    fn from(link: ShownLink) -> Self {
        Self { number: link.number, previous: link.previous.0, hash: link.hash.0 }
    }
}

impl Line {
    /// Time, who, act, about what, outcome.
    pub(super) fn row(self) -> [String; 5] {
        let about = match (self.about.is_empty(), self.revision, self.plugin_hash) {
            (true, _, Some(Hash(hash))) => hex::encode(hash)[..HASH_SHOWN].to_owned(),
            (true, ..) => "-".to_owned(),
            (false, Some(revision), _) => format!("{} #{revision}", self.about),
            (false, None, _) => self.about,
        };
        let outcome = if self.reason.is_empty() { self.outcome } else { format!("{}: {}", self.outcome, self.reason) };
        [self.event_time, self.who, self.act, about, outcome]
    }

    fn record(self) -> Result<AuditRecord, String> {
        let origin = match self.origin {
            None => None,
            Some(ShownOrigin { edge, epoch, received_time_ms, link }) => {
                let epoch = u64::from_str_radix(&epoch, 16).map_err(|error| format!("epoch {epoch:?}: {error}"))?;
                Some(Origin { edge, epoch, received_time: Timestamp(received_time_ms), link: link.into() })
            }
        };
        let act = Act {
            time: Timestamp(self.event_time_ms),
            tenant: self.tenant,
            who: self.who,
            act: self.act,
            about: self.about,
            revision: self.revision,
            plugin_hash: self.plugin_hash.map(|hash| hash.0),
            config_hash: self.config_hash.map(|hash| hash.0),
            outcome: self.outcome.parse()?,
            reason: self.reason,
            details: self.details.map(|details| details.get().to_owned()).unwrap_or_default(),
        };
        Ok(AuditRecord { act, origin, link: self.link.into() })
    }
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: String,
    more: bool,
}

impl Audit {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let Self::Verify(Verify {}) = self;
        let mut client = Client::of_cloud(connection)?;
        let mut chains = Chains::default();
        let mut after: Option<String> = None;
        loop {
            let query = [("class", Some("audit")), ("after", after.as_deref()), ("limit", Some(PAGE))];
            let page: Page = client.get(&with_query("/v1/events", &query)).await?;
            for event in &page.events {
                let line: Line = serde_json::from_str(event.get())
                    .map_err(|error| Failure::Failed(format!("this is no act: {error}: {event}")))?;
                chains.take(line).map_err(Failure::Failed)?;
            }
            if !page.more || after.as_ref() == Some(&page.next) {
                break;
            }
            after = Some(page.next);
        }
        client.close().await;
        for line in chains.said() {
            output::say(&line)?;
        }
        match chains.breaks.len() {
            0 => Ok(()),
            broken => Err(Failure::Failed(format!("{broken} breaks: what is recorded is not what was recorded"))),
        }
    }
}

/// What is said of a chain besides its end: whose it is, and on which edge.
type Named = (Option<TenantId>, Option<(EdgeId, u64)>);

/// The chains met so far.
#[derive(Default)]
struct Chains {
    ends: BTreeMap<Named, Chain>,
    breaks: Vec<String>,
}

impl Chains {
    fn take(&mut self, line: Line) -> Result<(), String> {
        let cursor = line.cursor.clone();
        let record = line.record()?;
        let tenant = record.act.tenant.clone();
        let at_edge = record.at_origin().zip(record.origin.clone());
        self.follow((tenant.clone(), None), &record, &cursor);
        if let Some((original, origin)) = at_edge {
            self.follow((tenant, Some((origin.edge, origin.epoch))), &original, &cursor);
        }
        Ok(())
    }

    fn follow(&mut self, named: Named, record: &AuditRecord, cursor: &str) {
        let chain = self.ends.entry(named.clone()).or_default();
        if let Err(broken) = chain.follow(record) {
            let (time, act) = (record.act.time.to_rfc3339(), &record.act.act);
            self.breaks.push(format!("{}: BROKEN: {broken} ({act}, {time}, cursor {cursor})", title(&named)));
        }
    }

    /// Breaks first, then the chains that hold.
    fn said(&self) -> Vec<String> {
        let whole = |named: &Named| {
            let broken = format!("{}: BROKEN", title(named));
            !self.breaks.iter().any(|said| said.starts_with(&broken))
        };
        let ends = self.ends.iter().filter(|(named, _)| whole(named));
        let end = |(named, end): (&Named, &Chain)| {
            format!("{}: complete to {}, {}", title(named), end.number, hex::encode(end.head))
        };
        let mut said: Vec<_> = self.breaks.iter().cloned().chain(ends.map(end)).collect();
        if said.is_empty() {
            said.push("nothing is recorded".to_owned());
        }
        said
    }
}

fn title((tenant, edge): &Named) -> String {
    let tenant = tenant.as_ref().map_or("the operator's acts", TenantId::as_str);
    match edge {
        None => tenant.to_owned(),
        Some((edge, epoch)) => format!("{tenant} on {edge} ({epoch:016x})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{Server, options};
    use fleet_model::audit::ActKind;
    use serde_json::{Value, json};

    fn shown(record: &AuditRecord) -> Value {
        let link = |link: &Link| json!({"number": link.number, "previous": hex::encode(link.previous), "hash": hex::encode(link.hash)});
        let act = &record.act;
        let mut shown = json!({"type": act.act, "tenant": act.tenant, "event_time": act.time.to_rfc3339(),
            "event_time_ms": act.time.0, "who": act.who, "about": act.about, "outcome": act.outcome.as_str(),
            "link": link(&record.link), "cursor": format!("audit-00000001-{:x}", record.link.number)});
        if !act.reason.is_empty() {
            shown["reason"] = json!(act.reason);
        }
        if let Some(hash) = act.plugin_hash {
            shown["plugin_hash"] = json!(hex::encode(hash));
        }
        if let Some(origin) = &record.origin {
            shown["origin"] = json!({"edge": origin.edge, "epoch": format!("{:016x}", origin.epoch),
                "received_time_ms": origin.received_time.0, "link": link(&origin.link)});
        }
        shown
    }

    /// Acts of a tenant: in the cloud, and on an edge.
    fn acts() -> Vec<Value> {
        let (mut here, mut there) = (Chain::default(), Chain::default());
        let act = |kind| Act::new(Timestamp(1_708_353_714_000), kind, "alice").of(&"demo".parse().unwrap());
        let mut of_edge = |act: Act| {
            let link = there.seal(act.clone(), None).link;
            let edge = "depot-1".parse().unwrap();
            (act, Some(Origin { edge, epoch: u64::MAX, received_time: Timestamp(5), link }))
        };
        let all = [
            (act(ActKind::PluginRefused).plugin([7; 32]).refused("no"), None),
            of_edge(act(ActKind::DeploymentActivated).about("zones").revision(1)),
            (act(ActKind::DeploymentChanged).about("zones").revision(2), None),
            of_edge(act(ActKind::DeploymentActivated).about("zones").revision(2)),
        ];
        let with_revision = |record: AuditRecord| {
            let mut line = shown(&record);
            if let Some(revision) = record.act.revision {
                line["revision"] = json!(revision);
            }
            line
        };
        all.into_iter().map(|(act, origin)| with_revision(here.seal(act, origin))).collect()
    }

    async fn verified(acts: Vec<Value>) -> (Result<(), String>, Vec<String>) {
        let mut chains = Chains::default();
        for act in &acts {
            chains.take(serde_json::from_value(act.clone()).unwrap()).unwrap();
        }
        let server = Server::start(move |request| {
            let first = !request.contains("after=");
            assert!(request.contains("/v1/events?class=audit&"), "{request}");
            let events: Vec<_> = if first { acts[..2].to_vec() } else { acts[2..].to_vec() };
            (200, json!({"events": events, "next": "audit-00000001-2", "more": first}).to_string())
        })
        .await;
        let ran = Audit::Verify(Verify {}).run(&options(&server, false)).await;
        (ran.map_err(|failure| failure.said().unwrap_or_default()), chains.said())
    }

    #[tokio::test]
    async fn whole_chains_are_complete_and_a_broken_one_is_named() {
        let (ran, said) = verified(acts()).await;
        assert_eq!(ran, Ok(()));
        let demo = acts()[3]["link"]["hash"].as_str().unwrap().to_owned();
        let depot = acts()[3]["origin"]["link"]["hash"].as_str().unwrap().to_owned();
        let depot = format!("demo on depot-1 (ffffffffffffffff): complete to 2, {depot}");
        assert_eq!(said, [format!("demo: complete to 4, {demo}"), depot]);

        let mut changed = acts();
        changed[2]["who"] = json!("bob");
        let (ran, said) = verified(changed).await;
        assert_eq!(ran, Err("1 breaks: what is recorded is not what was recorded".into()));
        assert!(said[0].starts_with("demo: BROKEN: record 3 was changed"), "{said:?}");
        assert!(said[0].contains("deployment.changed") && said[0].contains("audit-00000001-3"), "{said:?}");
        assert!(said[1].starts_with("demo on depot-1") && said[1].contains("complete to 2"), "{said:?}");

        let mut fewer = acts();
        fewer.remove(1);
        let (ran, said) = verified(fewer).await;
        assert!(ran.unwrap_err().starts_with("2 breaks"));
        assert!(said.iter().all(|line| line.contains("missing")), "{said:?}");
    }

    #[test]
    fn a_row_shows_when_who_what_about_what_and_why_not() {
        let row = |act: &Value| serde_json::from_value::<Line>(act.clone()).unwrap().row();
        let acts = acts();
        let time = "2024-02-19T14:41:54.000Z";
        assert_eq!(row(&acts[0]), [time, "alice", "plugin.refused", "0707070707070707", "refused: no"]);
        assert_eq!(row(&acts[2]), [time, "alice", "deployment.changed", "zones #2", "done"]);
    }
}
