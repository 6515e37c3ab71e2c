//! What a tenant notices of a neighbour whose rules loop, eat memory and flood: milliseconds from the edge's receipt of a
//! reading to the partner's receipt of the alert about it, in pairs of windows. In both the neighbour's vehicles drive and
//! it uploads a version after the other; in one of them these are sound.
//!
//! `cargo xtask bench plugins` builds what it needs and runs it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/swaps/counting_rule.rs"]
mod counting_rule;
#[path = "../../crates/plugin-host/tests/host/guest.rs"]
#[allow(dead_code, reason = "shared with the plugin host's tests")]
mod guest;

use anyhow::{Context, Result, ensure};
use counting_rule::component;
use guest::{Guest, answer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use system_tests::figures::{self, median, quantile};
use system_tests::fleet::{DEMO, Fleet, NEIGHBOUR, Setup, Tenant};
use system_tests::process::{Process, wait_for};
use system_tests::{Programs, Semantics};

const PAIRS: usize = 3;
/// What a failing rule may take from others is limited by the minute.
const WINDOW: Duration = Duration::from_secs(60);
/// After a window, for what is on its way and for the breaker.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two uploads of the neighbour.
const UPLOAD_EVERY: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(60);
/// Of each tenant: 200 vehicles, ten readings a second each.
const DRIVE: [&str; 6] = ["--simulate", "200", "--every", "100ms", "--readings-per-message", "1"];

/// What the neighbour's versions do, in turn.
fn evils() -> [(&'static str, String); 3] {
    let flood = "(drop (memory.grow (i32.const 100)))".to_owned() + &answer(100_000);
    [
        ("loops", "(loop $again (br $again)) ".to_owned() + &answer(0)),
        ("eats memory", "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) ".to_owned() + &answer(0)),
        ("floods", flood),
    ]
}

/// A partner that follows the alerts, and notes how old each is.
struct Partner {
    child: Child,
    /// When the alert came, and milliseconds since the edge had received its reading.
    ages: Arc<Mutex<Vec<(Instant, f64)>>>,
}

impl Partner {
    fn follow(fleet: &Fleet) -> Result<Self> {
        let mut command = fleet.drover();
        command.args(["events", "--class", "alerts", "--follow", "--format", "ndjson"]);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("start drover events")?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let ages: Arc<Mutex<Vec<(Instant, f64)>>> = Arc::default();
        let noted = ages.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1_000.0;
                let event: Value = serde_json::from_str(&line).unwrap();
                let received: jiff::Timestamp = event["received_time"].as_str().unwrap().parse().unwrap();
                noted.lock().unwrap().push((Instant::now(), now - received.as_millisecond() as f64));
            }
        });
        Ok(Self { child, ages })
    }

    fn between(&self, from: Instant, to: Instant) -> Vec<f64> {
        let ages = self.ages.lock().unwrap();
        let within = ages.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, age)| *age).collect()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The neighbour's uploads.
struct Neighbour<'f> {
    fleet: &'f Fleet,
    scratch: &'f Path,
    uploads: usize,
}

impl Neighbour<'_> {
    fn deploy(&mut self, wasm: &[u8]) -> Result<()> {
        self.uploads += 1;
        let file = self.file();
        std::fs::write(&file, wasm)?;
        deploy(self.fleet, &NEIGHBOUR, &file)
    }

    fn file(&self) -> PathBuf {
        self.scratch.join("neighbour.wasm")
    }

    /// Uploads on and on for as long as a window is. Answers when it began and ended.
    fn window(&mut self, evil: bool) -> Result<(Instant, Instant)> {
        let begun = Instant::now();
        while begun.elapsed() + UPLOAD_EVERY <= WINDOW {
            let at = Instant::now();
            let version = format!("1.1.{}", self.uploads);
            let wasm = if evil {
                let (_, evaluate) = evils()[self.uploads % 3].clone();
                let version = Box::leak(version.into_boxed_str());
                Guest { name: "counter", version, evaluate, ..Guest::default() }.component()
            } else {
                component(&version, 1, 100, None)?
            };
            self.deploy(&wasm)?;
            std::thread::sleep(UPLOAD_EVERY.saturating_sub(at.elapsed()));
        }
        std::thread::sleep(WINDOW.saturating_sub(begun.elapsed()));
        Ok((begun, Instant::now()))
    }
}

fn deploy(fleet: &Fleet, tenant: &Tenant, wasm: &Path) -> Result<()> {
    let mut command: Command = fleet.drover_of(tenant);
    fleet.run(command.args(["deploy", "counter", "--no-wait", "--plugin"]).arg(wasm)).map(drop)
}

fn drive(fleet: &Fleet, tenant: &Tenant, scratch: &Path) -> Result<Process> {
    let log = scratch.join(format!("replay-{}.log", tenant.name));
    Process::start("fleet-replay", fleet.replay_of(tenant).args(DRIVE), &log)
}

fn main() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let setup = Setup { neighbour: true, ..Setup::new(Semantics::Normal) };
    let fleet = Fleet::start(Programs::beside_this_test()?, &scratch.path().join("fleet"), setup)?;
    let mine = scratch.path().join("mine.wasm");
    std::fs::write(&mine, component("1.0.0", 1, 1, None)?)?;
    deploy(&fleet, &DEMO, &mine)?;
    let mut neighbour = Neighbour { fleet: &fleet, scratch: scratch.path(), uploads: 0 };
    neighbour.deploy(&component("1.0.0", 1, 100, None)?)?;
    let partner = Partner::follow(&fleet)?;
    let mut drives = [drive(&fleet, &DEMO, scratch.path())?, drive(&fleet, &NEIGHBOUR, scratch.path())?];
    wait_for("the first alerts", WITHIN, || Ok((partner.ages.lock().unwrap().len() > 1_000).then_some(())))?;
    std::thread::sleep(PAUSE);

    let (mut p99, mut p999) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut alerts = 0;
    println!("{:>5} {:>14} {:>14} {:>7}", "pair", "sound p99 ms", "evil p99 ms", "ratio");
    for pair in 0..PAIRS {
        let mut ages = [Vec::new(), Vec::new()];
        // Which comes first takes turns.
        for evil in [pair % 2 == 1, pair % 2 == 0] {
            let (from, to) = neighbour.window(evil)?;
            std::thread::sleep(PAUSE);
            ages[usize::from(evil)] = partner.between(from, to);
        }
        for (told, ages) in p999.iter_mut().zip(&mut ages) {
            alerts += ages.len();
            told.push(quantile(ages, 0.999));
        }
        let [sound, evil] = ages.map(|mut ages| quantile(&mut ages, 0.99));
        println!("{:>5} {sound:>14.1} {evil:>14.1} {:>7.2}", pair + 1, evil / sound);
        p99[0].push(sound);
        p99[1].push(evil);
    }
    let ratios: Vec<f64> = p99[1].iter().zip(&p99[0]).map(|(evil, sound)| evil / sound).collect();
    let acts = fleet.run(fleet.drover_of(&NEIGHBOUR).args(["events", "--class", "audit", "--format", "ndjson"]))?;
    let stopped =
        acts.lines().filter(|line| line.contains("breaker.opened") || line.contains("deployment.suspended")).count();
    ensure!(stopped > 0, "none of the neighbour's rules misbehaved: {acts}");
    for drive in &mut drives {
        drive.interrupt(WITHIN)?;
    }
    drop(partner);
    fleet.stop()?;
    println!(
        "medians of {PAIRS} pairs, {alerts} alerts, {stopped} rules stopped: p99 {:.1} ms beside sound rules, {:.1} ms beside evil ones; ratio {:.2}",
        median(&p99[0]),
        median(&p99[1]),
        median(&ratios),
    );
    println!("p99.9 {:.1} ms beside sound rules, {:.1} ms beside evil ones", median(&p999[0]), median(&p999[1]));
    figures::add(&json!({
        "neighbour_sound_p99_ms": median(&p99[0]),
        "neighbour_evil_p99_ms": median(&p99[1]),
        "neighbour_p99_ratio": median(&ratios),
        "neighbour_sound_p999_ms": median(&p999[0]),
        "neighbour_evil_p999_ms": median(&p999[1]),
        "neighbour_rules_stopped": stopped,
    }))
}
