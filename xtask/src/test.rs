//! `cargo xtask test`: every test.

use crate::{build, setup, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use system_tests::skipped::{REFERENCE_DATA, SKIPPED_VARIABLE};

/// Run every test: unit, property and system tests. What was skipped, and why, stands at the end.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Fail when a test was skipped for want of anything but the reference data
    #[arg(long)]
    strict: bool,
}

/// Builds what system tests start, then runs the tests.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    build::programs_and_tests()?;
    println!("running the tests");
    let scratch = tempfile::Builder::new().prefix("drover-test-").tempdir().context("a temporary directory")?;
    let notes = scratch.path().join("skipped");
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(&args.filter).env(SKIPPED_VARIABLE, &notes);
    let tested = workspace::run(&mut cargo);
    let text = match fs::read_to_string(&notes) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("what tests were skipped"),
    };
    let skipped = by_what_is_missing(&text);
    for (missing, Skipped { remedy, tests }) in &skipped {
        println!("skipped for want of {missing} ({remedy}):");
        for test in tests {
            println!("  {test}");
        }
    }
    tested?;
    let wanting: Vec<_> = skipped.keys().copied().filter(|missing| *missing != REFERENCE_DATA).collect();
    if args.strict && !wanting.is_empty() {
        bail!("tests were skipped for want of {}", wanting.join(", "));
    }
    println!("{}", if skipped.is_empty() { "every test passed" } else { "every test that could run passed" });
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Skipped<'t> {
    remedy: &'t str,
    tests: Vec<&'t str>,
}

/// Lines of test, what is missing and what to do, gathered by what is missing.
fn by_what_is_missing(text: &str) -> BTreeMap<&str, Skipped<'_>> {
    let mut skipped = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.split('\t');
        let (Some(test), Some(missing), Some(remedy)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let entry = skipped.entry(missing).or_insert_with(|| Skipped { remedy, tests: Vec::new() });
        if !entry.tests.contains(&test) {
            entry.tests.push(test);
        }
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_once_with_the_tests_that_want_it() {
        let text =
            "a (x.rs)\tcurl\tset up\nb (x.rs)\tthe data\tfetch\nc (y.rs)\tcurl\tset up\na (x.rs)\tcurl\tset up\n";
        let skipped = by_what_is_missing(text);
        assert_eq!(skipped["curl"], Skipped { remedy: "set up", tests: vec!["a (x.rs)", "c (y.rs)"] });
        assert_eq!(skipped["the data"].tests, ["b (x.rs)"]);
        assert!(by_what_is_missing("").is_empty());
    }
}
