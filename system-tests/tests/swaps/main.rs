//! Two hundred swaps while a town drives as fast as it can: among them versions whose rows are migrated, canaries, shadows,
//! rollbacks, and versions that trap. The rule counts the readings of each vehicle in its row and tells every hundredth; a
//! reading that is lost or doubled on the way, or a row, shows in every figure after it.

mod counting_rule;
#[path = "../../../crates/plugin-host/tests/host/guest.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the plugin host's tests")]
mod guest;

use anyhow::{Context, Result, ensure};
use counting_rule::component;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use system_tests::alerts::Alert;
use system_tests::fleet::{Fleet, Setup, TENANT};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics, alerts};

const SWAPS: u32 = 200;
const DEPLOYMENT: &str = "counter";
/// Every so manieth reading of a vehicle is told.
const EVERY: u64 = 100;
const WITHIN: Duration = Duration::from_secs(60);
/// Which vehicle the trapping versions trap on; it misses readings, all others none.
const TRAPPED: &str = "SIM-0001";

/// What a swap is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Migrating,
    Canary,
    Shadow,
    Trapping,
    Rollback,
}

impl Kind {
    fn of(swap: u32) -> Self {
        match swap % 10 {
            3 => Self::Migrating,
            5 => Self::Canary,
            7 => Self::Trapping,
            9 => Self::Shadow,
            0 if swap.is_multiple_of(20) => Self::Rollback,
            _ => Self::Plain,
        }
    }
}

/// The fleet, as who swaps sees it.
struct Swaps<'f> {
    fleet: &'f Fleet,
    scratch: &'f Path,
    state_version: u32,
    /// Milliseconds: from an order until it was reported, by kind.
    took: BTreeMap<Kind, Vec<f64>>,
    /// As the edge reported them: batches delayed, and the slowest in milliseconds.
    delayed: Vec<(u64, f64)>,
}

impl Swaps<'_> {
    fn request(&self, method: &str, path: &str, body: &[u8], content_type: &str) -> Result<Value> {
        let file = self.scratch.join("body");
        std::fs::write(&file, body)?;
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--http2", "--request", method, "--cacert"])
            .arg(self.fleet.directory().join("certs/ca.pem"))
            .args(["--header", &format!("Authorization: Bearer {}", self.fleet.api_key())])
            .args(["--header", &format!("Content-Type: {content_type}"), "--data-binary"])
            .arg(format!("@{}", file.display()))
            .arg(format!("https://localhost:{}{path}", self.fleet.serving().port()))
            .output()
            .context("start curl")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let answer: Value = serde_json::from_str(&said).with_context(|| format!("{path}: {said:?}"))?;
        ensure!(output.status.success() && answer["status"].is_null(), "{method} {path}: {answer}");
        Ok(answer)
    }

    /// Uploads a version, and has it deployed, or tried as `trial` says. Answers its revision.
    fn deploy(&self, swap: u32, traps_on: Option<&str>, trial: Option<Value>) -> Result<u64> {
        let wasm = component(&format!("1.0.{swap}"), self.state_version, EVERY, traps_on.map(|name| (TENANT, name)))?;
        let uploaded = self.request("POST", "/v1/plugins", &wasm, "application/wasm")?;
        let mut request = json!({"plugin": uploaded["hash"]});
        if let Some(trial) = trial {
            request["trial"] = trial;
        }
        let path = format!("/v1/deployments/{DEPLOYMENT}");
        let deployed = self.request("PUT", &path, request.to_string().as_bytes(), "application/json")?;
        let revision = if deployed["trial"].is_null() { &deployed["revision"] } else { &deployed["trial"]["revision"] };
        revision.as_u64().context("a revision")
    }

    fn post(&self, what: &str) -> Result<u64> {
        let path = format!("/v1/deployments/{DEPLOYMENT}/{what}");
        self.request("POST", &path, b"", "application/json")?["revision"].as_u64().context("a revision")
    }

    /// What the edge says of the deployment, once `holds` does.
    fn reported(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(what, WITHIN, || {
            last = self.fleet.edge_status()?["deployments"][0].clone();
            Ok(holds(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("the edge says {last}"))
    }

    fn active(&mut self, revision: u64) -> Result<()> {
        let it = self.reported("the swap", |it| it["revision"] == revision && it["state"] == "active")?;
        let swap = &it["swap"];
        let figures = swap["batches_delayed"].as_u64().zip(swap["slowest_batch_ms"].as_f64());
        self.delayed.push(figures.with_context(|| format!("no figures of the swap: {it}"))?);
        Ok(())
    }

    fn swap(&mut self, number: u32) -> Result<()> {
        let kind = Kind::of(number);
        let begun = Instant::now();
        match kind {
            Kind::Plain => {
                let revision = self.deploy(number, None, None)?;
                self.active(revision)?;
            }
            Kind::Migrating => {
                self.state_version += 1;
                let revision = self.deploy(number, None, None)?;
                self.active(revision)?;
            }
            Kind::Canary | Kind::Shadow => {
                let plan = if kind == Kind::Canary { json!({"canary_percent": 50}) } else { json!({"shadow_s": 0}) };
                let revision = self.deploy(number, None, Some(plan))?;
                self.reported("the trial", |it| {
                    let trial = &it["trial"];
                    trial["revision"] == revision
                        && trial["state"] == "active"
                        && trial["figures"]["readings"].as_u64().is_some_and(|readings| readings > 0)
                })?;
                ensure!(self.post("promote")? == revision, "it goes live as the revision that was tried");
                self.active(revision)?;
            }
            Kind::Trapping => {
                let revision = self.deploy(number, Some(TRAPPED), None)?;
                self.reported("the breaker", |it| it["revision"] == revision && it["state"] == "refused")?;
            }
            Kind::Rollback => {
                let revision = self.post("rollback")?;
                self.active(revision)?;
            }
        }
        self.took.entry(kind).or_default().push(begun.elapsed().as_secs_f64() * 1_000.0);
        Ok(())
    }

    fn say(&mut self) {
        for (kind, took) in &mut self.took {
            took.sort_by(f64::total_cmp);
            println!(
                "{kind:?}: {} times, median {:.0} ms, at most {:.0} ms",
                took.len(),
                took[took.len() / 2],
                took[took.len() - 1]
            );
        }
        self.delayed.sort_by(|a, b| a.1.total_cmp(&b.1));
        let batches: u64 = self.delayed.iter().map(|(batches, _)| batches).sum();
        let slowest = |at: usize| self.delayed.get(at).map_or(0.0, |(_, ms)| *ms);
        println!(
            "{} swaps delayed {batches} batches; the slowest batch of each: median {:.2} ms, at most {:.2} ms",
            self.delayed.len(),
            slowest(self.delayed.len() / 2),
            slowest(self.delayed.len().saturating_sub(1))
        );
    }
}

/// The readings of each vehicle, as the cloud counted them.
fn readings(fleet: &Fleet) -> Result<BTreeMap<String, u64>> {
    let vehicles: Vec<Value> =
        serde_json::from_str(&fleet.run(fleet.drover().args(["vehicles", "--format", "json"]))?)?;
    let count = |vehicle: &Value| Some((vehicle["vehicle"].as_str()?.to_owned(), vehicle["sequence"].as_u64()?));
    vehicles.iter().map(|vehicle| count(vehicle).with_context(|| vehicle.to_string())).collect()
}

/// What each vehicle was told to have been counted to, in the order of time.
fn counts(alerts: &[Alert]) -> Result<BTreeMap<&str, Vec<f64>>> {
    let mut by_vehicle: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
    for alert in alerts {
        let value = alert.value.context("a count")?;
        by_vehicle.entry(&alert.vehicle).or_default().push((alert.event_time_ms, value));
    }
    by_vehicle.values_mut().for_each(|told| told.sort_by_key(|(time, _)| *time));
    let values = |told: Vec<(i64, f64)>| told.into_iter().map(|(_, value)| value).collect();
    Ok(by_vehicle.into_iter().map(|(vehicle, told)| (vehicle, values(told))).collect())
}

#[test]
fn two_hundred_swaps_under_load_lose_nothing_double_nothing_and_carry_state() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory: PathBuf = scratch.path().join("fleet");
    let mut fleet = Fleet::start(Programs::beside_this_test()?, &directory, Setup::new(Semantics::Normal))?;
    let mut swaps =
        Swaps { fleet: &fleet, scratch: scratch.path(), state_version: 1, took: BTreeMap::new(), delayed: Vec::new() };
    let first = swaps.deploy(0, None, None)?;
    swaps.reported("the first version", |it| it["revision"] == first && it["state"] == "active")?;
    // More than is needed: it is interrupted after the last swap.
    let summary = scratch.path().join("summary.json");
    let arguments = ["--simulate", "200", "--for", "40000s", "--speed", "max", "--readings-per-message", "10"];
    let mut replay = fleet.start_replay(&arguments, &summary)?;
    let begun = Instant::now();
    for number in 1..=SWAPS {
        swaps.swap(number).with_context(|| format!("swap {number}, {:?}", Kind::of(number)))?;
    }
    let took = begun.elapsed();
    let swapped_under_load = replay.ended()?.is_none();
    swaps.say();
    replay.interrupt(WITHIN)?;
    fleet.wait_until_delivered(WITHIN * 2)?;

    let counters = fleet.edge_status()?["counters"].clone();
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
    println!("{SWAPS} swaps in {:.1} s; sent {}; the edge: {counters}", took.as_secs_f64(), summary["sent"]);
    ensure!(swapped_under_load, "the drive ended before the last swap");
    ensure!(counters["late"] == 0 && counters["conflicts"] == 0, "{counters}");
    ensure!(summary["refused"] == 0 && counters["admitted"].as_u64() >= summary["acknowledged"].as_u64(), "{summary}");
    let readings = readings(&fleet)?;
    ensure!(Some(readings.values().sum::<u64>()) == counters["admitted"].as_u64(), "every reading is there once");

    let alerts = fleet.events(alerts::Class::Alerts)?;
    ensure!(alerts::doubled(&alerts) == 0, "an event is there twice");
    let told = counts(&alerts)?;
    for (vehicle, readings) in readings.iter().filter(|(vehicle, _)| *vehicle != TRAPPED) {
        let expected: Vec<f64> = (1..=readings / EVERY).map(|hundred| (hundred * EVERY) as f64).collect();
        let told = told.get(vehicle.as_str()).map(Vec::as_slice).unwrap_or_default();
        let differs = told.iter().zip(&expected).position(|(told, expected)| told != expected);
        ensure!(
            told == expected,
            "{vehicle}, {readings} readings: told {} of {}, differs at {differs:?}",
            told.len(),
            expected.len()
        );
    }
    let trapped = told.get(TRAPPED).map(Vec::as_slice).unwrap_or_default();
    ensure!(trapped.is_sorted_by(|a, b| a < b), "{TRAPPED} was counted on from where it was: {trapped:?}");
    let letters = fleet.run(fleet.drover().args(["dead-letters", "--edge", &format!("http://{}", fleet.admin())]))?;
    ensure!(letters.contains(TRAPPED), "what it trapped on is kept: {letters}");
    fleet.stop()
}
