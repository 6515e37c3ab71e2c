//! What a test that cannot run says. libtest swallows what a passing test prints, so that the word goes into a file,
//! which `cargo xtask test` shows at the end.
//!
//! Nothing but the standard library: the tests of any crate may take this file by its path,
//! `#[path = "../../../system-tests/src/skipped.rs"] mod skipped;`, which draws no arrow between crates.
// Taken by path it is private, and not all of it is used.
#![allow(unreachable_pub, dead_code)]

use std::io::Write;

/// Names the file, to which lines are appended: test, what is missing, and what to do, with tabs between.
pub const SKIPPED_VARIABLE: &str = "DROVER_SKIPPED_TESTS";
/// What is missing in a checkout that has no reference data beside it.
pub const REFERENCE_DATA: &str = "the reference data";

/// Says that this test, or the rest of it, does not run.
///
/// # Panics
/// When the file cannot be written: nobody would know.
#[track_caller]
#[allow(clippy::panic)]
pub fn note(missing: &str, remedy: &str) {
    let place = std::panic::Location::caller();
    let thread = std::thread::current();
    // libtest calls the thread as it calls the test.
    let test = format!("{} ({})", thread.name().unwrap_or("a test"), place.file());
    println!("skipped: {test}: {missing} is not there: {remedy}");
    let Some(path) = std::env::var_os(SKIPPED_VARIABLE) else { return };
    let written = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // One write, so that lines of several processes do not mix.
    let written = written.and_then(|mut file| file.write_all(format!("{test}\t{missing}\t{remedy}\n").as_bytes()));
    if let Err(error) = written {
        panic!("{}: {error}", path.display());
    }
}
