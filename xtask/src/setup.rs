//! `cargo xtask setup`: makes a machine ready to build and test. Idempotent; says what it finds and what it does.
//! The WebAssembly target is needed; the rest only makes more tests run, so a failure there is said and passed over.

mod plugin_languages;
mod test_tools;
mod wasm_target;

use anyhow::Result;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only the WebAssembly target: no programs for tests.
    #[arg(long)]
    only_wasm: bool,
    /// Also what rules in JavaScript, Python and C are built with, for the tests that try them.
    #[arg(long)]
    plugin_languages: bool,
}

/// What became of one piece.
pub(crate) enum Piece {
    /// Nothing was to be done.
    Ready(String),
    /// It was installed now.
    Installed(String),
    /// It is not there, and why.
    Missing(String),
}

/// Makes the machine ready.
pub(crate) fn run(args: &Args) -> Result<()> {
    say("wasm32 target", &wasm_target::ensure()?);
    if !args.only_wasm {
        say("python for tests", &test_tools::ensure_python());
        say("curl", &test_tools::ensure_program("curl", "curl"));
        if args.plugin_languages {
            say("javascript for rules", &plugin_languages::ensure_javascript());
            say("python and c for rules", &plugin_languages::ensure_python_and_c());
        }
        say("mosquitto clients", &test_tools::ensure_program("mosquitto_pub", "mosquitto-clients"));
    }
    Ok(())
}

/// Only what compiling plugins needs.
pub(crate) fn ensure_wasm() -> Result<()> {
    run(&Args { only_wasm: true, ..Args::default() })
}

/// The same with everything, for the subcommands that need a ready machine.
pub(crate) fn ensure() -> Result<()> {
    run(&Args::default())
}

fn say(name: &str, piece: &Piece) {
    match piece {
        Piece::Ready(what) => println!("setup: {name}: ready ({what})"),
        Piece::Installed(what) => println!("setup: {name}: installed ({what})"),
        Piece::Missing(why) => println!("setup: {name}: MISSING, the tests that need it are skipped: {why}"),
    }
}

/// A step of a piece that takes a while.
fn say_step(name: &str, step: &str) {
    println!("setup: {name}: {step}");
}
