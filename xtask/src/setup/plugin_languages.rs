//! What rules in other languages than Rust are built with: jco from npm, componentize-py and zig from PyPI, in folders of
//! our own. Tests look for `<target dir>/setup/languages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::test_tools::{PIP_LIMIT, apt_install, make_venv};
use super::{Piece, say_step};
use crate::workspace;

/// As `drover plugin new` pins them.
const NPM_PACKAGES: [&str; 2] = ["@bytecodealliance/jco@1.35.0", "@bytecodealliance/componentize-js@0.23.0"];
const PYTHON_PACKAGES: [&str; 2] = ["componentize-py==0.25.1", "ziglang==0.17.1"];
const NPM_LIMIT: Duration = Duration::from_secs(300);

/// Installs jco.
pub(crate) fn ensure_javascript() -> Piece {
    installed("javascript", "node_modules/.bin/jco", &NPM_PACKAGES, |folder| {
        if !workspace::on_path("npm") {
            apt_install("javascript for rules", &["nodejs", "npm"]).context("Node 20 with npm is needed")?;
        }
        fs::create_dir_all(folder)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--prefix"]).arg(folder).args(NPM_PACKAGES).stdout(Stdio::null());
        workspace::run_within(&mut npm, NPM_LIMIT)
    })
}

/// Installs componentize-py and zig.
pub(crate) fn ensure_python_and_c() -> Piece {
    installed("python", "bin/componentize-py", &PYTHON_PACKAGES, |folder| {
        make_venv(folder)?;
        let mut pip = Command::new(folder.join("bin/python3"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES);
        workspace::run_within(&mut pip, PIP_LIMIT)
    })
}

/// The stamp holds what was asked for: other pins install anew.
fn installed(name: &str, program: &str, pins: &[&str], install: impl FnOnce(&Path) -> Result<()>) -> Piece {
    let try_it = || -> Result<Piece> {
        let folder: PathBuf = workspace::target_dir()?.join("setup/languages").join(name);
        let (stamp, wanted) = (folder.join("installed.txt"), pins.join("\n"));
        if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) && folder.join(program).exists() {
            return Ok(Piece::Ready(format!("in {}", folder.display())));
        }
        say_step(name, &format!("installing {}", pins.join(" and ")));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
        }
        install(&folder)?;
        fs::write(&stamp, wanted)?;
        Ok(Piece::Installed(format!("in {}", folder.display())))
    };
    try_it().unwrap_or_else(|error| Piece::Missing(format!("{error:#}")))
}
