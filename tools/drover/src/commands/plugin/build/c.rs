//! C: any clang compiles it; the header that the project holds exports what the contract says.

use super::{contract, read, run, wrapped};
use crate::failure::Failure;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The module that the compiler writes.
const OUT: &str = "rule.core.wasm";
const HOW: &str = "pip install ziglang (python3 -m ziglang is found), install zig, or name one in DROVER_ZIG";

pub(super) fn component(folder: &Path) -> Result<Vec<u8>, Failure> {
    let out = folder.join(OUT);
    let mut compiler = compiler();
    compiler
        .args(["cc", "-target", "wasm32-freestanding", "-O2", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-o"])
        .arg(&out);
    compiler.arg(folder.join("rule.c"));
    run(&mut compiler, HOW)?;
    let mut module = read(&out)?;
    std::fs::remove_file(&out)?;
    say_world(&mut module, &contract(folder))?;
    wrapped(&module)
}

/// zig by its name, or as Python's package has it.
fn compiler() -> Command {
    if let Some(named) = std::env::var_os("DROVER_ZIG") {
        return Command::new(named);
    }
    let on_path = |path: OsString| std::env::split_paths(&path).any(|folder| folder.join("zig").is_file());
    if std::env::var_os("PATH").is_some_and(on_path) {
        return Command::new("zig");
    }
    let mut python = Command::new("python3");
    python.args(["-m", "ziglang"]);
    python
}

/// Puts the world into a section of the module, as other languages' tools do it.
fn say_world(module: &mut Vec<u8>, wit: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", wit.display()));
    let text = String::from_utf8(read(wit)?).map_err(|error| failed(&error))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str(wit, &text).map_err(|error| failed(&format!("{error:#}")))?;
    let world = resolve.select_world(&[package], Some("plugin")).map_err(|error| failed(&format!("{error:#}")))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| failed(&format!("{error:#}")))
}
