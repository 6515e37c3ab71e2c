//! The main job as one story: a fleet starts, gets its rule, a recording or a simulated town drives through it, the
//! rule is swapped on the way, and everything that was sent arrives at a partner.

use crate::alerts::{self, Alert};
use crate::data;
use crate::fleet::{DEPLOYMENT, Fleet, Semantics, Setup};
use crate::process::{LOOK_AGAIN, Process, wait_for};
use crate::programs::Programs;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Recordings with fewer rows are held where the swap is due: they would be through before anything could happen.
/// Longer ones drive on, and are held half way to their end if the swap is not done by then.
const HELD_AT_ONCE_ROWS: u64 = 50_000;
/// Everything sent has arrived at the partner this long after the last acknowledgement.
const ARRIVED_WITHIN: Duration = Duration::from_secs(120);
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
        /// GeoJSON or GeoJSON.gz.
        zones: PathBuf,
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
    /// A config of the geofence of one's own; `zones` is added when it has none.
    pub config: Option<PathBuf>,
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
    let setup = Setup { cuttable: scenario.cuttable, ..Setup::new(scenario.semantics) };
    let mut fleet = Fleet::start(programs.clone(), directory, setup)?;
    let config = write_rule_config(&fleet, scenario, directory)?;
    say(&format!("deploying {} as {DEPLOYMENT:?}", programs.geofence().display()));
    fleet.deploy(&programs.geofence(), &config)?;
    let alerts_path = directory.join("alerts.ndjson");
    let mut partner = fleet.follow_alerts(&alerts_path)?;

    let total = match &scenario.drive {
        Drive::Recording { recording, .. } => data::rows(recording)?,
        Drive::Simulated { .. } => 0,
    };
    let summary_path = directory.join("summary.json");
    let mut arguments = replay_arguments(scenario);
    // The rebuilt rule is compiled while the recording plays, which may take longer than the rest of it.
    let held_until = directory.join("go-on");
    if let Some(Swap::Rebuilt { at_share }) = scenario.swap
        && !arguments.iter().any(|argument| argument == "--hold-after")
    {
        let held = ["--hold-after".to_owned(), held_after(total, at_share).to_string(), "--hold-until".to_owned()];
        arguments.extend(held.into_iter().chain([held_until.display().to_string()]));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    say(&format!("playing into the edge over MQTT: fleet-replay {}", arguments.join(" ")));
    let started = Instant::now();
    let mut replay = fleet.start_replay(&arguments, &summary_path)?;
    let mut swap = scenario.swap;
    let mut stopped = false;
    while replay.ended()?.is_none() {
        let progress = Progress { dealt_with: dealt_with(&fleet).unwrap_or(0), total };
        if swap.is_some_and(|swap| is_due(swap, progress, started.elapsed())) {
            match swap.take() {
                Some(Swap::Rebuilt { .. }) => {
                    say(&format!("swapping the component for a rebuilt one, after {} readings", progress.dealt_with));
                    fleet.deploy(&programs.geofence_rebuilt(), &config)?;
                    std::fs::write(&held_until, "")?;
                }
                Some(Swap::Stricter { .. }) => swap_for_stricter(&fleet, programs, &config, say)?,
                None => {}
            }
        }
        if disturb(&mut fleet, progress)? == Flow::Stop {
            say("no more readings; letting what was sent arrive");
            swap = None;
            stopped = true;
            replay.interrupt(REPLAY_ENDED_WITHIN)?;
            break;
        }
        partner.check_alive()?;
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
    wait_for_partner(&mut partner, &alerts_path, &edge)?;
    let received = alerts::read(&alerts_path)?;
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(&summary_path)?).context("summary.json")?;
    let report = report(&summary, &edge, &status, &received, seconds);
    std::fs::write(directory.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    fleet.stop()?;
    Ok(Outcome { report, alerts: received })
}

/// The row before which a recording waits for a swap that is due at this share of it.
fn held_after(total: u64, at_share: f64) -> u64 {
    let due = at_share * total as f64;
    if total < HELD_AT_ONCE_ROWS { due.ceil() as u64 } else { ((due + total as f64) / 2.0) as u64 }
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
    if config.get("zones").is_none() {
        let zones_path = match &scenario.drive {
            Drive::Recording { zones, .. } => zones.clone(),
            Drive::Simulated { vehicles, .. } => {
                let path = directory.join("zones.geojson");
                let vehicles = vehicles.to_string();
                fleet.run(fleet.replay().args(["--simulate", &vehicles, "--for", "0s", "--zones-out"]).arg(&path))?;
                path
            }
        };
        config["zones"] = serde_json::from_str(&data::text(&zones_path)?)
            .with_context(|| format!("{} is not GeoJSON", zones_path.display()))?;
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
fn wait_for_partner(partner: &mut Process, alerts_path: &Path, edge: &Value) -> Result<()> {
    let written = stream_figure(edge, "alerts", "next");
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

fn report(summary: &Value, edge: &Value, cloud: &Value, received: &[Alert], seconds: f64) -> Value {
    let stream = stream_figure;
    let written = stream(edge, "alerts", "next");
    let doubled = alerts::doubled(received) as u64;
    let distinct = received.len() as u64 - doubled;
    let counters = &edge["counters"];
    let deployment = edge["deployments"].as_array().and_then(|all| all.first()).cloned().unwrap_or(Value::Null);
    let delivered = cloud["edges"].as_array().and_then(|all| all.first()).map(|e| stream(e, "telemetry", "cloud_next"));
    let mut swap = deployment["swap"].clone();
    if swap.is_object() {
        swap["lost"] = json!(written.saturating_sub(distinct));
        swap["doubled"] = json!(doubled);
    }
    let acknowledged = summary["acknowledged"].as_u64().unwrap_or(0);
    json!({
        "sent": summary["sent"],
        "acknowledged": acknowledged,
        "resent": summary["resent"],
        "refused": counters["refused"],
        "duplicates": counters["repeats"],
        "conflicts": counters["conflicts"],
        "late": counters["late"],
        "durable_at_edge": stream(edge, "telemetry", "next"),
        "delivered_to_cloud": delivered,
        "alerts": received.len(),
        "seconds": seconds,
        "readings_per_second": (acknowledged as f64 / seconds).round(),
        "swap": swap,
    })
}
