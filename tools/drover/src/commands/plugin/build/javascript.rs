//! JavaScript: jco puts it into a component with QuickJS.

use super::{contract, read, run};
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The component that jco writes.
const OUT: &str = "rule.component.wasm";

pub(super) fn component(folder: &Path) -> Result<Vec<u8>, Failure> {
    let folder = folder.canonicalize()?;
    let jco = jco(&folder);
    let out = folder.join(OUT);
    let mut command = Command::new(&jco);
    // Paths are relative to where it runs. Without WASI: what asks for it traps.
    command.current_dir(&folder).args(["componentize", "rule.js", "--world-name", "plugin", "--out", OUT, "--wit"]);
    command.arg(contract(Path::new("")));
    command.args(["--backend", "quickjs", "--backend-qjs-disable-async", "--backend-qjs-stub-wasi"]);
    command.stdout(std::process::Stdio::null());
    run(&mut command, "run `npm install` in the project (it needs Node 20), or name jco in DROVER_JCO")?;
    let component = read(&out)?;
    std::fs::remove_file(&out)?;
    Ok(component)
}

fn jco(folder: &Path) -> PathBuf {
    let own = folder.join("node_modules/.bin/jco");
    match std::env::var_os("DROVER_JCO") {
        Some(named) => named.into(),
        None if own.exists() => own,
        None => "jco".into(),
    }
}
