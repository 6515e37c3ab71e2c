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
const RULE: &str = "my-tariff";

/// A reading of van-1 with this odometer, `second` seconds into the day.
fn drive(fleet: &Fleet, second: u32, odometer: u32) -> Result<()> {
    let reading = json!({"vehicle": "van-1", "event_time": format!("2026-05-04T08:00:{second:02}Z"), "latitude": 52.2,
        "longitude": 21.0, "odometer": odometer});
    post(fleet, &reading)
}

fn post(fleet: &Fleet, readings: &Value) -> Result<()> {
    let status = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--output", "/dev/null"])
        .args(["--user", &format!("fleet:{}", fleet.device_password())])
        .args(["--header", "Content-Type: application/json", "--data-binary", &readings.to_string()])
        .arg(format!("http://{}/v1/readings", fleet.http()))
        .stdin(Stdio::null())
        .status()
        .context("start curl")?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// The charges that a partner reads.
fn charges(fleet: &Fleet) -> Result<Vec<Value>> {
    let lines = fleet.run(fleet.drover().args(["events", "--class", "billing", "--format", "ndjson"]))?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Waits until so many charges are there; their amounts.
fn amounts(fleet: &Fleet, count: usize) -> Result<Vec<String>> {
    wait_for("the charges", SEEN_WITHIN, || {
        let charges = charges(fleet)?;
        let amounts = charges.iter().map(|charge| charge["details"]["amount"].as_str().unwrap_or("?").to_owned());
        Ok((charges.len() >= count).then(|| amounts.collect()))
    })
}

fn config(directory: &Path, cents: u32) -> Result<std::path::PathBuf> {
    let path = directory.join(format!("{cents}.json"));
    std::fs::write(&path, json!({"cents": cents, "currency": "EUR"}).to_string())?;
    Ok(path)
}

#[test]
fn a_tariff_is_written_tried_seen_charged_changed_and_taken_back() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut fleet = Fleet::start(Programs::beside_this_test()?, scratch.path(), Setup::new(Semantics::Normal))?;
    let project = scratch.path().join(RULE);
    let component = project.join(format!("{RULE}.wasm"));
    fleet.run(fleet.drover().args(["plugin", "new", RULE, "--kind", "pricing", "--into"]).arg(scratch.path()))?;
    let tested = fleet.run(fleet.drover().args(["plugin", "test"]).arg(&project))?;
    assert!(tested.contains("1 cases hold"), "{tested}");

    let deploy = |fleet: &Fleet, cents| -> Result<String> {
        let config = config(scratch.path(), cents)?;
        fleet.run(fleet.drover().args(["deploy", RULE, "--plugin"]).arg(&component).arg("--config").arg(config))
    };
    deploy(&fleet, 31)?;
    for (second, odometer) in [(0, 120_400), (1, 120_900), (2, 124_100)] {
        drive(&fleet, second, odometer)?;
    }
    assert_eq!(amounts(&fleet, 1)?, ["1.24"]);
    let charge = &charges(&fleet)?[0];
    assert_eq!(
        (&charge["class"], &charge["type"], &charge["subject"]),
        (&json!("billing"), &json!("charge.line"), &json!("distance"))
    );
    assert_eq!(charge["plugin"]["name"], RULE);
    let alerts = fleet.run(fleet.drover().args(["events", "--class", "alerts", "--format", "ndjson"]))?;
    assert_eq!(alerts, "", "a charge is no alert");

    // What would dearer kilometres have changed?
    let dearer = config(scratch.path(), 50)?;
    let mut preview = fleet.drover();
    preview.args(["plugin", "preview"]).arg(&component).arg("--config").arg(&dearer).args([
        "--against",
        RULE,
        "--json",
    ]);
    let preview: Value = serde_json::from_str(&fleet.run(&mut preview)?)?;
    assert_eq!((&preview["readings"], &preview["changed"]["count"]), (&json!(3), &json!(1)), "{preview}");
    let money = json!({"currency": "EUR", "live": "1.24", "candidate": "2.00", "difference": "0.76"});
    assert_eq!(preview["money"][0], money);
    assert_eq!(preview["money"][1]["vehicle"], "van-1");
    let mut page = fleet.drover();
    page.args(["plugin", "preview"]).arg(&component).arg("--config").arg(&dearer).args(["--against", RULE]);
    let page = fleet.run(&mut page)?;
    assert!(page.contains("EUR: 1.24 -> 2.00 (+0.76)"), "{page}");

    // The change keeps what each vehicle drove, and so does going back; a crash doubles no charge.
    deploy(&fleet, 50)?;
    drive(&fleet, 3, 125_000)?;
    assert_eq!(amounts(&fleet, 2)?, ["1.24", "0.50"]);
    fleet.kill_edge()?;
    fleet.start_edge()?;
    fleet.run(fleet.drover().args(["rollback", RULE]))?;
    drive(&fleet, 4, 127_000)?;
    assert_eq!(amounts(&fleet, 3)?, ["1.24", "0.50", "0.62"]);
    fleet.wait_until_delivered(SEEN_WITHIN)?;
    assert_eq!(charges(&fleet)?.len(), 3);
    fleet.stop()
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
        post(&fleet, &json!(readings))?;
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
