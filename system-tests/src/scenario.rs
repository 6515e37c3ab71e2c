//! The main job as one story: a fleet starts, gets its rule, a recording or a simulated town drives through it, the
//! rule is swapped on the way, and everything that was sent arrives at a partner.

use crate::alerts::{self, Alert, Class};
use crate::data;
use crate::fleet::{DEPLOYMENT, Fleet, IDLE_TIMEOUT_MS, Semantics, Setup};
use crate::process::{LOOK_AGAIN, Process, wait_for};
use crate::programs::Programs;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Recordings with fewer rows wait where the swap is due: they would be through before anything could happen. Longer
/// ones drive on, and wait half way to their end if the swap is not done by then.
const WAIT_AT_ONCE_ROWS: u64 = 50_000;
/// Everything sent has arrived at the partner this long after the last acknowledgement.
const ARRIVED_WITHIN: Duration = Duration::from_secs(120);
/// A drive at least as fast as it happened in which the edge decides about no reading for so long does not go on: pauses
/// of a recording are played as a minute at most.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// `fleet-replay` has written its summary and ended by then.
const REPLAY_ENDED_WITHIN: Duration = Duration::from_secs(30);
/// The partner's program has written its last line and ended by then.
const PARTNER_ENDED_WITHIN: Duration = Duration::from_secs(20);

/// Where readings come from.
#[derive(Debug, Clone)]
pub enum Drive {
    /// A file that `fleet-replay` can play, and the zones to watch (GeoJSON, `.gz` or not).
    Recording {
        /// CSV or CSV.gz.
        recording: PathBuf,
        /// GeoJSON or GeoJSON.gz; nothing for a rule that knows no zones.
        zones: Option<PathBuf>,
    },
    /// A made-up town.
    Simulated {
        /// How many drive.
        vehicles: u32,
        /// For how long.
        seconds: u64,
    },
}

/// The story's parameters.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where readings come from.
    pub drive: Drive,
    /// The component that decides; our geofence when nothing is said.
    pub plugin: Option<PathBuf>,
    /// A config of the geofence of one's own; `zones` is added when it has none.
    pub config: Option<PathBuf>,
    /// What the partner reads, and the report counts as alerts.
    pub class: Class,
    /// What the edge refuses, and whether the rule is plain.
    pub semantics: Semantics,
    /// `1`, `10` or `max`.
    pub speed: String,
    /// Whether and when the rule is swapped.
    pub swap: Option<Swap>,
    /// Further arguments for `fleet-replay`.
    pub replay_arguments: Vec<String>,
    /// Whether the uplink can be cut.
    pub cuttable: bool,
    /// After this long without a packet, edge and cloud take their connection for lost.
    pub idle_timeout_ms: u32,
}

impl Scenario {
    /// A drive as it happens, with the defaults of everything.
    #[must_use]
    pub fn new(drive: Drive) -> Self {
        Self {
            drive,
            plugin: None,
            config: None,
            class: Class::Alerts,
            semantics: Semantics::Normal,
            speed: "1".to_owned(),
            swap: None,
            replay_arguments: Vec::new(),
            cuttable: false,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
        }
    }

    /// A recording as references are computed, at full speed, and with the rule swapped half way.
    #[must_use]
    pub fn reference(recording: PathBuf, zones: PathBuf) -> Self {
        Self {
            semantics: Semantics::Plain,
            speed: "max".to_owned(),
            swap: Some(Swap::Rebuilt { at_share: 0.5 }),
            ..Self::new(Drive::Recording { recording, zones: Some(zones) })
        }
    }

    /// See [`STALLED_AFTER`]; what is played slower may also pause longer.
    fn stalled_after(&self) -> Duration {
        let times: f64 = self.speed.parse().unwrap_or(f64::INFINITY);
        STALLED_AFTER.div_f64(times.clamp(0.01, 1.0))
    }
}

/// A swap on the way.
#[derive(Debug, Clone, Copy)]
pub enum Swap {
    /// For a rebuilt component of another version and the same behaviour, when this share (0 to 1) of a recording's
    /// rows is through.
    Rebuilt {
        /// 0 to 1.
        at_share: f64,
    },
    /// For a stricter config of the same component, after this long.
    Stricter {
        /// Since the first reading.
        after: Duration,
    },
}

/// What a disturbance wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    On,
    /// Go on, but not beyond this row of the recording: more is to happen before.
    UpTo(u64),
    /// No more readings: let what was sent arrive, and end.
    Stop,
}

/// How the story ended.
#[derive(Debug)]
pub struct Outcome {
    /// What `report.json` says.
    pub report: Value,
    /// What the partner received.
    pub alerts: Vec<Alert>,
}

impl Outcome {
    /// What Drover promises, held against the report: nothing lost, nothing doubled, all of it in the cloud.
    ///
    /// # Errors
    /// Names each promise that was not kept.
    pub fn check_promises(&self) -> Result<()> {
        let figure = |name: &str| self.report[name].as_u64().with_context(|| format!("the report has no {name}"));
        let mut broken = Vec::new();
        for name in ["alerts_lost", "alerts_doubled"] {
            match figure(name)? {
                0 => {}
                count => broken.push(format!("{name}: {count}")),
            }
        }
        let (durable, delivered) = (figure("durable_at_edge")?, figure("delivered_to_cloud")?);
        if durable != delivered {
            broken.push(format!("{durable} readings are durable at the edge, {delivered} in the cloud"));
        }
        if !broken.is_empty() {
            bail!("{}", broken.join("; "));
        }
        Ok(())
    }
}

/// What a disturbance is told: how many readings the edge has dealt with, of how many.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Admitted, repeated and refused since the start of the story.
    pub dealt_with: u64,
    /// Rows of the recording; 0 for a simulated fleet.
    pub total: u64,
}

/// Plays a scenario. Files are written into `directory`: `alerts.ndjson`, `report.json`, logs, configs and data.
/// `say` is told each step; `disturb` is called again and again while readings flow.
///
/// # Errors
/// When a step fails, with the end of the log of whoever failed.
pub fn play(
    programs: &Programs,
    scenario: &Scenario,
    directory: &Path,
    say: &dyn Fn(&str),
    disturb: &mut dyn FnMut(&mut Fleet, Progress) -> Result<Flow>,
) -> Result<Outcome> {
    say("starting drover-cloud and drover-edge with certificates of their own");
    let setup = Setup {
        cuttable: scenario.cuttable,
        idle_timeout_ms: scenario.idle_timeout_ms,
        ..Setup::new(scenario.semantics)
    };
    let mut fleet = Fleet::start(programs.clone(), directory, setup)?;
    let config = write_rule_config(&fleet, scenario, directory)?;
    let plugin = scenario.plugin.clone().unwrap_or_else(|| programs.geofence());
    say(&format!("deploying {} as {DEPLOYMENT:?}", plugin.display()));
    fleet.deploy(&plugin, &config)?;
    let alerts_path = directory.join("alerts.ndjson");
    let mut partner = fleet.follow(scenario.class, &alerts_path)?;

    let total = match &scenario.drive {
        Drive::Recording { recording, .. } => data::rows(recording)?,
        Drive::Simulated { .. } => 0,
    };
    let summary_path = directory.join("summary.json");
    let mut arguments = replay_arguments(scenario);
    let leash = Leash(directory.join("up-to"));
    if total > 0 {
        arguments.extend(["--up-to".to_owned(), leash.0.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    say(&format!("playing into the edge over MQTT: fleet-replay {}", arguments.join(" ")));
    let started = Instant::now();
    let mut replay = fleet.start_replay(&arguments, &summary_path)?;
    let mut swap = scenario.swap;
    let mut stopped = false;
    let mut pulse = Pulse::new(scenario.stalled_after());
    while replay.ended()?.is_none() {
        let progress = Progress { dealt_with: pulse.felt(dealt_with(&fleet).unwrap_or(0))?, total };
        if swap.is_some_and(|swap| is_due(swap, progress, started.elapsed())) {
            match swap.take() {
                Some(Swap::Rebuilt { .. }) => {
                    say(&format!("swapping the component for a rebuilt one, after {} readings", progress.dealt_with));
                    fleet.deploy(&programs.geofence_rebuilt(), &config)?;
                }
                Some(Swap::Stricter { .. }) => swap_for_stricter(&fleet, programs, &config, say)?,
                None => {}
            }
        }
        let up_to = match disturb(&mut fleet, progress)? {
            Flow::On => total,
            Flow::UpTo(row) => row,
            Flow::Stop => {
                say("no more readings; letting what was sent arrive");
                swap = None;
                stopped = true;
                replay.interrupt(REPLAY_ENDED_WITHIN)?;
                break;
            }
        };
        leash.set(up_to.min(swap.map_or(total, |swap| waits_at(swap, total))))?;
        partner.check_alive()?;
        fleet.check_alive()?;
        std::thread::sleep(LOOK_AGAIN);
    }
    let replay_status = replay.wait(REPLAY_ENDED_WITHIN)?;
    // One that was interrupted says so by its status.
    if !stopped && !replay_status.success() {
        bail!("fleet-replay ended with {replay_status}; the end of its log:\n{}", replay.log_end());
    }
    if swap.is_some() {
        bail!("the drive was over before the rule was swapped: swap earlier, or drive longer");
    }
    say("waiting until everything sent has arrived");
    let status = fleet.wait_until_delivered(ARRIVED_WITHIN)?;
    let seconds = started.elapsed().as_secs_f64();
    let edge = fleet.edge_status()?;
    let written = stream_figure(&edge, scenario.class.as_str(), "next");
    wait_for_partner(&mut partner, &alerts_path, written)?;
    let received = alerts::read(&alerts_path)?;
    let summary = read_summary(&summary_path, stopped)?;
    let report = report(&summary, &edge, &status, &received, written, seconds);
    std::fs::write(directory.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    fleet.stop()?;
    Ok(Outcome { report, alerts: received })
}

/// What `fleet-replay` says about itself. One that was stopped before it had begun says nothing, and sent nothing.
fn read_summary(path: &Path, stopped: bool) -> Result<Value> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display())),
        Err(error) if stopped && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(json!({ "sent": 0, "acknowledged": 0, "refused": 0, "resent": 0 }))
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Whether a drive still goes on.
struct Pulse {
    stalled_after: Duration,
    dealt_with: u64,
    since: Instant,
}

impl Pulse {
    fn new(stalled_after: Duration) -> Self {
        Self { stalled_after, dealt_with: 0, since: Instant::now() }
    }

    /// Takes how many readings were dealt with; an error when that has been the same for too long.
    fn felt(&mut self, dealt_with: u64) -> Result<u64> {
        if dealt_with != self.dealt_with {
            (self.dealt_with, self.since) = (dealt_with, Instant::now());
        } else if self.since.elapsed() > self.stalled_after {
            bail!("no reading was dealt with for {} s, after {dealt_with}", self.stalled_after.as_secs());
        }
        Ok(dealt_with)
    }
}

/// The row at which a recording waits for a swap: the rebuilt rule is compiled while the recording plays, which may take
/// longer than the rest of it.
fn waits_at(swap: Swap, total: u64) -> u64 {
    let Swap::Rebuilt { at_share } = swap else { return total };
    let due = at_share * total as f64;
    if total < WAIT_AT_ONCE_ROWS { due.ceil() as u64 } else { ((due + total as f64) / 2.0) as u64 }
}

/// How far a recording may play: the file that `fleet-replay --up-to` looks at.
struct Leash(PathBuf);

impl Leash {
    fn set(&self, row: u64) -> Result<()> {
        let written = self.0.with_extension("new");
        let moved = std::fs::write(&written, row.to_string()).and_then(|()| std::fs::rename(&written, &self.0));
        moved.with_context(|| format!("write {}", self.0.display()))
    }
}

fn is_due(swap: Swap, progress: Progress, elapsed: Duration) -> bool {
    match swap {
        Swap::Rebuilt { at_share } => {
            progress.total > 0 && progress.dealt_with as f64 >= at_share * progress.total as f64
        }
        Swap::Stricter { after } => elapsed >= after,
    }
}

/// Vehicles must now stay before they count as entered, and leave for good before they count as gone.
fn swap_for_stricter(fleet: &Fleet, programs: &Programs, config: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let mut stricter: Value = serde_json::from_str(&data::text(config)?)?;
    let changes = [("min_inside_s", json!(8)), ("min_outside_s", json!(8)), ("exit_buffer_m", json!(30.0))];
    say("swapping the rule for a stricter config while the fleet drives:");
    for (key, value) in changes {
        let before = stricter.get(key).map_or_else(|| "its default".to_owned(), Value::to_string);
        say(&format!("  {key}: {before} -> {value}"));
        stricter[key] = value;
    }
    let path = config.with_file_name("rule-stricter.json");
    std::fs::write(&path, serde_json::to_string(&stricter)?)?;
    say(fleet.deploy(&programs.geofence(), &path)?.trim_end());
    say("  from here on a vehicle that only touches a zone raises no alert; each vehicle's state was kept");
    Ok(())
}

fn replay_arguments(scenario: &Scenario) -> Vec<String> {
    let mut arguments = match &scenario.drive {
        Drive::Recording { recording, .. } => vec!["--recording".to_owned(), recording.display().to_string()],
        Drive::Simulated { vehicles, seconds } => {
            vec!["--simulate".to_owned(), vehicles.to_string(), "--for".to_owned(), format!("{seconds}s")]
        }
    };
    arguments.extend(["--speed".to_owned(), scenario.speed.clone()]);
    arguments.extend(scenario.replay_arguments.iter().cloned());
    arguments
}

/// The rule's config: the given one, or plain semantics, or a sensible one; with the zones of the drive.
fn write_rule_config(fleet: &Fleet, scenario: &Scenario, directory: &Path) -> Result<PathBuf> {
    let mut config: Value = match (&scenario.config, scenario.semantics) {
        (Some(path), _) => {
            serde_json::from_str(&data::text(path)?).with_context(|| format!("{} is not JSON", path.display()))?
        }
        (None, Semantics::Plain) => json!({ "initial_state": "emit" }),
        (None, Semantics::Normal) => json!({ "initial_state": "emit", "exit_buffer_m": 15.0, "max_accuracy_m": 100.0 }),
    };
    let zones_path = match &scenario.drive {
        Drive::Recording { zones, .. } => zones.clone(),
        Drive::Simulated { vehicles, .. } => {
            let path = directory.join("zones.geojson");
            let vehicles = vehicles.to_string();
            fleet.run(fleet.replay().args(["--simulate", &vehicles, "--for", "0s", "--zones-out"]).arg(&path))?;
            Some(path)
        }
    };
    if let Some(path) = zones_path.filter(|_| config.get("zones").is_none()) {
        config["zones"] =
            serde_json::from_str(&data::text(&path)?).with_context(|| format!("{} is not GeoJSON", path.display()))?;
    }
    let path = directory.join("rule.json");
    std::fs::write(&path, serde_json::to_string(&config)?).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Readings that the edge has decided about since it was set up: durable ones survive a restart, counters do not.
fn dealt_with(fleet: &Fleet) -> Result<u64> {
    let status = fleet.edge_status()?;
    let durable = stream_figure(&status, "telemetry", "next");
    let counters = &status["counters"];
    let refused: u64 = counters["refused"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    Ok(durable + counters["repeats"].as_u64().unwrap_or(0) + refused)
}

/// The partner has everything when it has as many distinct events as the edge has written; then it is interrupted, as
/// a person would do it.
fn wait_for_partner(partner: &mut Process, alerts_path: &Path, written: u64) -> Result<()> {
    wait_for("the partner's last alert", ARRIVED_WITHIN, || {
        partner.check_alive()?;
        let lines = std::fs::read(alerts_path)?.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok((lines >= written).then_some(()))
    })?;
    partner.interrupt(PARTNER_ENDED_WITHIN)?;
    Ok(())
}

/// A figure of a stream in a status; 0 when there is none.
fn stream_figure(status: &Value, class: &str, field: &str) -> u64 {
    let streams = status["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    streams.iter().find(|stream| stream["class"] == class).and_then(|stream| stream[field].as_u64()).unwrap_or(0)
}

fn report(summary: &Value, edge: &Value, cloud: &Value, received: &[Alert], written: u64, seconds: f64) -> Value {
    let stream = stream_figure;
    let doubled = alerts::doubled(received) as u64;
    let distinct = received.len() as u64 - doubled;
    let counters = &edge["counters"];
    let deployment = edge["deployments"].as_array().and_then(|all| all.first()).cloned().unwrap_or(Value::Null);
    let delivered = cloud["edges"].as_array().and_then(|all| all.first()).map(|e| stream(e, "telemetry", "cloud_next"));
    let lost = written.saturating_sub(distinct);
    let mut swap = deployment["swap"].clone();
    if swap.is_object() {
        swap["lost"] = json!(lost);
        swap["doubled"] = json!(doubled);
    }
    let figure = |name: &str| summary[name].as_u64().unwrap_or(0);
    // What was refused was dealt with, too.
    let answered = figure("acknowledged") + figure("refused");
    json!({
        "sent": summary["sent"],
        "acknowledged": summary["acknowledged"],
        "resent": summary["resent"],
        "refused": counters["refused"],
        "duplicates": counters["repeats"],
        "conflicts": counters["conflicts"],
        "late": counters["late"],
        "durable_at_edge": stream(edge, "telemetry", "next"),
        "delivered_to_cloud": delivered,
        "alerts": received.len(),
        "alerts_lost": lost,
        "alerts_doubled": doubled,
        "seconds": seconds,
        "readings_per_second": (answered as f64 / seconds).round(),
        "swap": swap,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_waits_where_the_new_rule_still_has_something_to_decide() {
        let at = |at_share, total| waits_at(Swap::Rebuilt { at_share }, total);
        assert_eq!((at(0.5, 2_001), at(0.5, 300_000), at(0.0, 300_000)), (1_001, 225_000, 150_000));
        assert_eq!(waits_at(Swap::Stricter { after: Duration::ZERO }, 2_000), 2_000);
    }

    #[test]
    fn a_broken_promise_is_named() {
        let outcome = |lost: u64, doubled: u64, delivered: u64| Outcome {
            report: json!({"alerts_lost": lost, "alerts_doubled": doubled, "durable_at_edge": 9,
                "delivered_to_cloud": delivered}),
            alerts: Vec::new(),
        };
        outcome(0, 0, 9).check_promises().unwrap();
        let said = outcome(1, 2, 8).check_promises().unwrap_err().to_string();
        for word in ["alerts_lost: 1", "alerts_doubled: 2", "9 readings", "8 in the cloud"] {
            assert!(said.contains(word), "{said}");
        }
        let no_figures = Outcome { report: json!({}), alerts: Vec::new() };
        assert!(no_figures.check_promises().is_err());
    }

    #[test]
    fn a_drive_that_stands_still_is_an_error_and_a_slow_one_has_longer() {
        let mut pulse = Pulse::new(Duration::ZERO);
        assert_eq!(pulse.felt(5).unwrap(), 5);
        assert!((0..).any(|_| pulse.felt(5).is_err()));
        let slow = |speed: &str| Scenario { speed: speed.to_owned(), ..Scenario::new(town()) }.stalled_after();
        assert_eq!((slow("max"), slow("10"), slow("0.5")), (STALLED_AFTER, STALLED_AFTER, STALLED_AFTER * 2));
    }

    #[test]
    fn a_play_that_was_stopped_before_it_began_sent_nothing() {
        let nowhere = Path::new("/nonexistent/summary.json");
        assert_eq!(read_summary(nowhere, true).unwrap()["sent"], 0);
        assert!(read_summary(nowhere, false).is_err());
    }

    fn town() -> Drive {
        Drive::Simulated { vehicles: 1, seconds: 1 }
    }
}
