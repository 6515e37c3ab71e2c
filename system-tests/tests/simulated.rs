//! The simulated town, and drives that somebody ends early: what was sent arrives all the same.

use anyhow::Result;
use system_tests::scenario::{Drive, Flow, Outcome, Progress, Scenario, play};
use system_tests::{Programs, alerts};

/// A minute's drive that somebody stops.
fn stopped_when(is_enough: impl Fn(Progress) -> bool) -> Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let scenario = Scenario::new(Drive::Simulated { vehicles: 50, seconds: 60 });
    play(&Programs::beside_this_test()?, &scenario, scratch.path(), &|_| {}, &mut |_, progress| {
        Ok(if is_enough(progress) { Flow::Stop } else { Flow::On })
    })
}

#[test]
fn a_drive_that_is_stopped_ends_cleanly_with_everything_delivered() -> Result<()> {
    let outcome = stopped_when(|progress| progress.dealt_with >= 50)?;
    let report = &outcome.report;
    assert!(report["durable_at_edge"].as_u64().is_some_and(|durable| durable >= 50), "{report}");
    outcome.check_promises()?;
    assert_eq!(report["alerts"], outcome.alerts.len(), "{report}");
    assert_eq!(alerts::doubled(&outcome.alerts), 0);
    Ok(())
}

/// The signal may come before `fleet-replay` has begun to catch it.
#[test]
fn a_drive_that_is_stopped_before_it_has_begun_ends_cleanly() -> Result<()> {
    stopped_when(|_| true)?.check_promises()
}
