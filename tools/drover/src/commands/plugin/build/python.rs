//! Python: componentize-py puts it into a component with the interpreter and its library.

use super::{contract, read, run};
use crate::failure::Failure;
use std::path::Path;
use std::process::{Command, Stdio};

/// The component that componentize-py writes.
const OUT: &str = "rule.component.wasm";

pub(super) fn component(folder: &Path) -> Result<Vec<u8>, Failure> {
    let folder = folder.canonicalize()?;
    let out = folder.join(OUT);
    let mut command =
        Command::new(std::env::var_os("DROVER_COMPONENTIZE_PY").unwrap_or_else(|| "componentize-py".into()));
    command.current_dir(&folder).arg("-d").arg(contract(Path::new("")));
    // Without WASI: what asks for it traps.
    command.args(["-w", "plugin", "componentize", "--stub-wasi", "rule", "-o", OUT]).stdout(Stdio::null());
    run(&mut command, "pip install -r requirements.txt, or name it in DROVER_COMPONENTIZE_PY")?;
    let component = read(&out)?;
    std::fs::remove_file(&out)?;
    Ok(component)
}
