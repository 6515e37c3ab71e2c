//! The simulated town, and a drive that somebody ends early: what was sent arrives all the same.

use anyhow::Result;
use system_tests::scenario::{Drive, Flow, Scenario, play};
use system_tests::{Programs, Semantics, alerts};

#[test]
fn a_drive_that_is_stopped_ends_cleanly_with_everything_delivered() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let scenario = Scenario {
        drive: Drive::Simulated { vehicles: 50, seconds: 60 },
        config: None,
        semantics: Semantics::Normal,
        speed: "1".to_owned(),
        swap: None,
        replay_arguments: Vec::new(),
        cuttable: false,
    };
    let outcome = play(&Programs::beside_this_test()?, &scenario, scratch.path(), &|_| {}, &mut |_, progress| {
        Ok(if progress.dealt_with >= 50 { Flow::Stop } else { Flow::On })
    })?;
    let report = &outcome.report;
    assert!(report["durable_at_edge"].as_u64().is_some_and(|durable| durable >= 50), "{report}");
    assert_eq!(report["delivered_to_cloud"], report["durable_at_edge"], "{report}");
    assert_eq!(report["alerts"], outcome.alerts.len(), "{report}");
    assert_eq!(alerts::doubled(&outcome.alerts), 0);
    Ok(())
}
