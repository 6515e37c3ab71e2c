//! Foreign programs that tests talk to: curl, mosquitto's command line clients, and Python clients in an environment of
//! our own. None is needed to build. Tests look for `<target dir>/setup/python/bin/python3` and on the path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Piece, say_step};
use crate::workspace;

/// What the tests import, pinned: pip's names and versions.
const PYTHON_PACKAGES: [&str; 3] = ["aioquic==1.3.0", "paho-mqtt==2.1.0", "rotel==0.0.1a15"];
/// What Debian calls the part of Python that makes environments.
const VENV_PACKAGES: [&str; 2] = ["python3", "python3-venv"];
const VENV_LIMIT: Duration = Duration::from_secs(120);
pub(super) const PIP_LIMIT: Duration = Duration::from_secs(300);
const APT_LIMIT: Duration = Duration::from_secs(300);

/// Makes the Python environment.
pub(crate) fn ensure_python() -> Piece {
    match python_installed() {
        Ok(piece) => piece,
        Err(error) => Piece::Missing(format!("{error:#}")),
    }
}

/// Installs a program with the machine's package manager, if it is not on the path.
pub(crate) fn ensure_program(program: &str, package: &str) -> Piece {
    if workspace::on_path(program) {
        return Piece::Ready(format!("{program} is on the path"));
    }
    let advice = format!("install the package {package}");
    match apt_install(program, &[package]) {
        Ok(()) if workspace::on_path(program) => Piece::Installed(package.to_owned()),
        Ok(()) => Piece::Missing(format!("the package is installed, but {program} is not on the path; {advice}")),
        Err(error) => Piece::Missing(format!("{error:#}; {advice}")),
    }
}

/// Beside the build's other results: outside git, gone with `cargo clean`.
fn venv() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("setup/python"))
}

fn interpreter(venv: &Path) -> PathBuf {
    venv.join("bin/python3")
}

/// The stamp holds what was asked for: other pins make a new environment.
fn is_stamped(venv: &Path) -> bool {
    fs::read_to_string(venv.join("installed.txt")).is_ok_and(|stamp| stamp == PYTHON_PACKAGES.join("\n"))
        && interpreter(venv).exists()
}

fn python_installed() -> Result<Piece> {
    let venv = venv()?;
    if is_stamped(&venv) {
        return Ok(Piece::Ready(format!("in {}", venv.display())));
    }
    let name = "python for tests";
    say_step(name, &format!("making an environment with {}", PYTHON_PACKAGES.join(", ")));
    if let Err(error) = make_venv(&venv) {
        // Debian has Python without what makes environments.
        apt_install(name, &VENV_PACKAGES).with_context(|| format!("{error:#}"))?;
        make_venv(&venv)?;
    }
    let mut pip = Command::new(interpreter(&venv));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES);
    workspace::run_within(&mut pip, PIP_LIMIT)?;
    let mut import = Command::new(interpreter(&venv));
    import.args(["-c", "import aioquic.h3.connection, paho.mqtt.client"]);
    workspace::run(&mut import)?;
    fs::write(venv.join("installed.txt"), PYTHON_PACKAGES.join("\n"))?;
    Ok(Piece::Installed(format!("in {}", venv.display())))
}

pub(super) fn make_venv(venv: &Path) -> Result<()> {
    if venv.exists() {
        fs::remove_dir_all(venv).with_context(|| format!("could not remove {}", venv.display()))?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(venv).stdout(Stdio::null());
    workspace::run_within(&mut make, VENV_LIMIT)
}

pub(super) fn apt_install(name: &str, packages: &[&str]) -> Result<()> {
    if !workspace::on_path("apt-get") || !is_root() {
        anyhow::bail!("setup installs packages as root on Debian only");
    }
    say_step(name, &format!("installing {} with apt-get", packages.join(" and ")));
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-q=2").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // The lists may be absent or old: first without, then with an update.
    let quick = workspace::run_within(apt_get(&install).stderr(Stdio::null()), APT_LIMIT);
    if quick.is_ok() {
        return Ok(());
    }
    workspace::run_within(&mut apt_get(&["update"]), APT_LIMIT)?;
    workspace::run_within(&mut apt_get(&install), APT_LIMIT)
}

fn is_root() -> bool {
    workspace::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
