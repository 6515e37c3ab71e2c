//! A customer's day: a rule is begun, tried, seen in a preview, put to work, changed and taken back.

use anyhow::{Context, Result};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::programs::with_plugin_languages;
use system_tests::{Programs, Semantics, skipped};

const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Seconds into the day, and a signal of van-1 with its value.
type Said = (u32, &'static str, f64);

/// A customer's day with a rule of his own: what its language and its kind make different.
struct Day {
    rule: &'static str,
    language: &'static str,
    kind: &'static str,
    /// Of the rule's events; events of the other class are none.
    class: &'static str,
    other_class: &'static str,
    /// What the rule is deployed with, and what it is changed to.
    configs: [Value; 2],
    /// By the first config, by the second, and by the first again: what vehicles say, and what the rule tells of it.
    stages: [(&'static [Said], &'static str); 3],
    /// What `stages` say of an event.
    told: fn(&Value) -> &Value,
    /// The preview of the second config against the first, as JSON and as a page.
    check_preview: fn(&Value, &str),
}

impl Day {
    fn live(&self, programs: Programs, scratch: &Path, find_tools: impl Fn(&mut Command)) -> Result<()> {
        let mut fleet = Fleet::start(programs, scratch, Setup::new(Semantics::Normal))?;
        let project = scratch.join(self.rule);
        let component = project.join(format!("{}.wasm", self.rule));
        let new = ["plugin", "new", self.rule, "--kind", self.kind, "--lang", self.language, "--into"];
        fleet.run(fleet.drover().args(new).arg(scratch))?;
        let mut test = fleet.drover();
        find_tools(test.args(["plugin", "test"]).arg(&project));
        let tested = fleet.run(&mut test)?;
        assert!(tested.contains("1 cases hold"), "{tested}");
        let uploaded = fleet.run(fleet.drover().args(["plugin", "upload"]).arg(&component))?;
        assert!(uploaded.contains(self.rule), "{uploaded}");

        let [config, changed] = [0, 1].map(|number| scratch.join(format!("config-{number}.json")));
        for (path, config) in [&config, &changed].into_iter().zip(&self.configs) {
            std::fs::write(path, config.to_string())?;
        }
        // By what it calls itself: the component is there.
        let version = format!("{}@0.1.0", self.rule);
        let deploy = |fleet: &Fleet, config: &Path| {
            fleet.run(fleet.drover().args(["deploy", self.rule, "--plugin", &version, "--config"]).arg(config))
        };
        deploy(&fleet, &config)?;
        self.pass(&fleet, 0)?;
        let event = &self.events(&fleet, self.class)?[0];
        assert_eq!((&event["class"], &event["plugin"]["name"]), (&json!(self.class), &json!(self.rule)), "{event}");
        assert_eq!(self.events(&fleet, self.other_class)?, [Value::Null; 0]);

        let preview = |more: &[&str]| {
            let mut preview = fleet.drover();
            preview.args(["plugin", "preview"]).arg(&component).arg("--config").arg(&changed);
            fleet.run(preview.args(["--against", self.rule]).args(more))
        };
        (self.check_preview)(&serde_json::from_str(&preview(&["--json"])?)?, &preview(&[])?);

        // The change keeps what is remembered of each vehicle, and so does going back; a crash doubles nothing.
        deploy(&fleet, &changed)?;
        self.pass(&fleet, 1)?;
        fleet.kill_edge()?;
        fleet.start_edge()?;
        fleet.run(fleet.drover().args(["rollback", self.rule]))?;
        self.pass(&fleet, 2)?;
        fleet.wait_until_delivered(SEEN_WITHIN)?;
        assert_eq!(self.events(&fleet, self.class)?.len(), self.stages.len());
        self.check_acts(&fleet)?;
        fleet.stop()
    }

    /// Says what vehicles say in a stage, and waits until a partner reads what is told by then.
    fn pass(&self, fleet: &Fleet, stage: usize) -> Result<()> {
        for (second, signal, value) in self.stages[stage].0 {
            let mut reading = json!({"vehicle": "van-1", "event_time": format!("2026-05-04T08:00:{second:02}Z"),
                "latitude": 52.2, "longitude": 21.0});
            reading[signal] = json!(value);
            fleet.post_readings(&reading)?;
        }
        let told = wait_for("what the rule tells", SEEN_WITHIN, || {
            let events = self.events(fleet, self.class)?;
            Ok((events.len() > stage).then_some(events))
        })?;
        let expected: Vec<&str> = self.stages[..=stage].iter().map(|(_, told)| *told).collect();
        assert_eq!(told.iter().map(self.told).collect::<Vec<_>>(), expected);
        Ok(())
    }

    /// Who did what that day: each act once and in order, though the edge was killed in between. What the cloud did and what
    /// the edge did come on different ways.
    fn check_acts(&self, fleet: &Fleet) -> Result<()> {
        let lines = fleet.run(fleet.drover().args(["events", "--class", "audit", "--format", "ndjson"]))?;
        let acts: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of = |who: &str| -> Vec<(String, Option<u64>)> {
            let its = acts.iter().filter(|act| act["who"] == who);
            its.map(|act| (act["type"].as_str().unwrap_or("?").to_owned(), act["revision"].as_u64())).collect()
        };
        let expected = |acts: &[(&str, Option<u64>)]| -> Vec<(String, Option<u64>)> {
            acts.iter().map(|(act, revision)| ((*act).to_owned(), *revision)).collect()
        };
        let asked = [
            ("plugin.uploaded", None),
            ("deployment.changed", Some(1)),
            ("preview.run", None),
            ("preview.run", None),
            ("deployment.changed", Some(2)),
            ("deployment.rolled_back", Some(3)),
        ];
        assert_eq!(of("demo"), expected(&asked));
        let activated = [1, 2, 3].map(|revision| ("deployment.activated", Some(revision)));
        assert_eq!(of("edge:depot-1"), expected(&activated));
        assert_eq!(acts.len(), asked.len() + activated.len(), "{lines}");
        assert!(acts.iter().all(|act| act["about"] == self.rule && act["outcome"] == "done"), "{lines}");

        let table = fleet.run(fleet.drover().args(["events", "--class", "audit"]))?;
        assert!(
            table.starts_with("TIME ") && table.contains(&format!("deployment.rolled_back   {} #3", self.rule)),
            "{table}"
        );
        let verified = fleet.run(fleet.drover().args(["audit", "verify"]))?;
        let complete = |chain: &str, count: usize| {
            verified.lines().any(|line| line.starts_with(chain) && line.contains(&format!("complete to {count},")))
        };
        assert!(complete("demo:", acts.len()) && complete("demo on depot-1", activated.len()), "{verified}");
        Ok(())
    }

    /// What a partner reads.
    fn events(&self, fleet: &Fleet, class: &str) -> Result<Vec<Value>> {
        let lines = fleet.run(fleet.drover().args(["events", "--class", class, "--format", "ndjson"]))?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

#[test]
fn a_tariff_is_written_tried_seen_charged_changed_and_taken_back() -> Result<()> {
    let day = Day {
        rule: "my-tariff",
        language: "rust",
        kind: "pricing",
        class: "billing",
        other_class: "alerts",
        configs: [json!({"cents": 31, "currency": "EUR"}), json!({"cents": 50, "currency": "EUR"})],
        stages: [
            (&[(0, "odometer", 120_400.0), (1, "odometer", 120_900.0), (2, "odometer", 124_100.0)], "1.24"),
            (&[(3, "odometer", 125_000.0)], "0.50"),
            (&[(4, "odometer", 127_000.0)], "0.62"),
        ],
        told: |charge| {
            assert_eq!((&charge["type"], &charge["subject"]), (&json!("charge.line"), &json!("distance")));
            &charge["details"]["amount"]
        },
        // What would dearer kilometres have changed?
        check_preview: |preview, page| {
            assert_eq!((&preview["readings"], &preview["changed"]["count"]), (&json!(3), &json!(1)), "{preview}");
            let money = json!({"currency": "EUR", "live": "1.24", "candidate": "2.00", "difference": "0.76"});
            assert_eq!(preview["money"][0], money);
            assert_eq!(preview["money"][1]["vehicle"], "van-1");
            assert!(page.contains("EUR: 1.24 -> 2.00 (+0.76)"), "{page}");
        },
    };
    day.live(Programs::beside_this_test()?, tempfile::tempdir()?.path(), |_| ())
}

/// The same day in another language: a border in the north that is moved further north.
#[test]
fn a_border_in_javascript_is_written_tried_seen_told_moved_and_moved_back() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    if !with_plugin_languages(&programs, &mut programs.command("drover")) {
        skipped::note("the tools of other languages than Rust", "cargo xtask setup --plugin-languages");
        return Ok(());
    }
    let day = Day {
        rule: "my-border",
        language: "javascript",
        kind: "geofence",
        class: "alerts",
        other_class: "billing",
        configs: [json!({"latitude": 52.2}), json!({"latitude": 52.4})],
        stages: [
            (&[(0, "latitude", 52.1), (1, "latitude", 52.3), (2, "latitude", 52.35)], "geofence.entered"),
            // It was north of the old border, which its row says, and is not north of the new one.
            (&[(3, "latitude", 52.36)], "geofence.exited"),
            (&[(4, "latitude", 52.37)], "geofence.entered"),
        ],
        told: |alert| &alert["type"],
        check_preview: |preview, page| {
            assert_eq!((&preview["readings"], &preview["removed"]["count"]), (&json!(3), &json!(1)), "{preview}");
            assert_eq!((&preview["added"]["count"], &preview["same"]), (&json!(0), &json!(0)), "{preview}");
            assert!(page.contains("0 are added, 1 removed"), "{page}");
        },
    };
    let tools = programs.clone();
    day.live(programs, tempfile::tempdir()?.path(), |command| {
        assert!(with_plugin_languages(&tools, command), "they were there before");
    })
}

/// The same small rule in four languages: built, and its case holds in each. What they propose is the same to the byte but
/// for who proposes it.
#[test]
fn a_rule_says_the_same_in_every_language() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let scratch = tempfile::tempdir()?;
    for (language, name) in
        [("rust", "north-rust"), ("javascript", "north-js"), ("python", "north-py"), ("c", "north-c")]
    {
        let mut new = programs.command("drover");
        let made = new.args(["plugin", "new", name, "--kind", "geofence", "--lang", language, "--into"]);
        assert!(made.arg(scratch.path()).stdout(Stdio::null()).status()?.success());
        let mut test = programs.command("drover");
        test.args(["plugin", "test"]).arg(scratch.path().join(name));
        if !with_plugin_languages(&programs, &mut test) && language != "rust" {
            skipped::note("the tools of other languages than Rust", "cargo xtask setup --plugin-languages");
            return Ok(());
        }
        let tested = test.output()?;
        let (said, complaint) = (String::from_utf8(tested.stdout)?, String::from_utf8(tested.stderr)?);
        assert!(tested.status.success() && said.contains("1 cases hold"), "{language}: {said}{complaint}");
    }
    // In one fleet, over a made-up town: all four see the same readings.
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    let config = scratch.path().join("north.json");
    std::fs::write(&config, json!({"latitude": 52.2}).to_string())?;
    let names = ["north-rust", "north-js", "north-py", "north-c"];
    for name in names {
        let component = scratch.path().join(name).join(format!("{name}.wasm"));
        fleet.run(fleet.drover().args(["deploy", name, "--plugin"]).arg(component).arg("--config").arg(&config))?;
    }
    let latitudes = [52.1, 52.3, 52.25, 52.19, 52.2, 52.1999, 52.5, 51.0];
    for (second, latitude) in latitudes.into_iter().enumerate() {
        let readings: Vec<Value> = ["a", "b", "c"]
            .into_iter()
            .enumerate()
            .map(|(number, vehicle)| {
                json!({"vehicle": vehicle, "event_time": format!("2026-05-04T08:00:{:02}Z", second * 4 + number),
                    "latitude": latitude + number as f64 / 50.0, "longitude": 21.0})
            })
            .collect();
        fleet.post_readings(&json!(readings))?;
    }
    fleet.wait_until_delivered(SEEN_WITHIN)?;
    let events = fleet.run(fleet.drover().args(["events", "--class", "alerts", "--format", "ndjson"]))?;
    let mut by_rule: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in events.lines() {
        let mut event: Value = serde_json::from_str(line)?;
        let name = event["plugin"]["name"].as_str().context("a plugin")?.to_owned();
        for own in ["id", "plugin", "cursor"] {
            event.as_object_mut().context("an event")?.remove(own);
        }
        by_rule.entry(name).or_default().push(event.to_string());
    }
    by_rule.values_mut().for_each(|events| events.sort());
    let said = &by_rule["north-rust"];
    assert!(said.len() > 6, "{said:?}");
    for name in names {
        assert_eq!(&by_rule[name], said, "{name}");
    }
    fleet.stop()
}

#[test]
fn what_no_key_of_the_tenant_has_signed_is_not_taken() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let scratch = tempfile::tempdir()?;
    let key = |name: &str| -> Result<(std::path::PathBuf, [u8; 32])> {
        let path = scratch.path().join(name);
        let made = programs.command("drover").args(["plugin", "key", "--out"]).arg(&path).output()?;
        let said = String::from_utf8(made.stdout)?;
        let public =
            said.split("public_key = \"").nth(1).and_then(|rest| rest.split('"').next()).context("a public key")?;
        let public = base64::engine::general_purpose::STANDARD.decode(public)?;
        Ok((path, public.try_into().map_err(|_| anyhow::anyhow!("32 bytes"))?))
    };
    let ((ours, public), (another, _)) = (key("ours")?, key("another")?);
    let setup = Setup { signer: Some(public), ..Setup::new(Semantics::Normal) };
    let fleet = Fleet::start(programs.clone(), scratch.path(), setup)?;
    let component = scratch.path().join("geofence.wasm");
    std::fs::copy(programs.geofence(), &component)?;
    let upload = || fleet.drover().args(["plugin", "upload"]).arg(&component).output();
    for signed_with in [None, Some(&another)] {
        if let Some(key) = signed_with {
            fleet.run(fleet.drover().args(["plugin", "sign"]).arg(&component).arg("--key").arg(key))?;
        }
        let refused = upload()?;
        let said = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains("sign"), "{said}");
    }
    fleet.run(fleet.drover().args(["plugin", "sign"]).arg(&component).arg("--key").arg(&ours))?;
    assert!(upload()?.status.success());
    fleet.stop()
}

#[test]
fn a_case_that_does_not_hold_and_a_component_that_would_be_refused_are_told() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let scratch = tempfile::tempdir()?;
    let cases = scratch.path().join("cases");
    std::fs::create_dir(&cases)?;
    let case = json!({"config": {"zones": {"type": "FeatureCollection", "features": []}}, "readings": [], "events": [
        {"type": "geofence.entered", "vehicle": "a", "event_time": "2026-05-04T08:00:00Z", "subject": "nowhere"}]});
    std::fs::write(cases.join("wrong.json"), case.to_string())?;
    let mut test = programs.command("drover");
    let tested =
        test.args(["plugin", "test"]).arg(scratch.path()).arg("--component").arg(programs.geofence()).output()?;
    let said = String::from_utf8(tested.stdout)?;
    assert_eq!(tested.status.code(), Some(1), "{said}");
    assert!(said.contains("WRONG") && said.contains("- {\"type\":\"geofence.entered\""), "{said}");

    let no_component = scratch.path().join("no.wasm");
    std::fs::write(&no_component, b"\0asm\x01\0\0\0")?;
    let checked = programs.command("drover").args(["plugin", "check"]).arg(&no_component).output()?;
    let said = String::from_utf8(checked.stderr)?;
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(said.contains("core module"), "{said}");
    let misfit = scratch.path().join("misfit.json");
    std::fs::write(&misfit, r#"{"zonez": 1}"#)?;
    let mut check = programs.command("drover");
    let checked = check.args(["plugin", "check"]).arg(programs.geofence()).arg("--config").arg(&misfit).output()?;
    let said = String::from_utf8(checked.stderr)?;
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(said.contains("zonez"), "{said}");
    Ok(())
}
