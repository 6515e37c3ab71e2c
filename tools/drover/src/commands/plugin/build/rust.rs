//! Rust: cargo compiles, plugin-sdk says which world it is for.

use super::{read, run, wrapped};
use crate::failure::Failure;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn component(folder: &Path, name: &str, target: Option<&Path>, profile: &str) -> Result<Vec<u8>, Failure> {
    let target = target.map_or_else(|| folder.join("target"), Path::to_owned);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--profile", profile, "--lib", "--target", TARGET, "-p", name]);
    cargo.arg("--manifest-path").arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target);
    run(&mut cargo, &format!("install Rust (https://rustup.rs), then: rustup target add {TARGET}"))?;
    wrapped(&read(&target.join(TARGET).join(profile).join(format!("{}.wasm", name.replace('-', "_"))))?)
}
