//! The target `wasm32-unknown-unknown` for the rustc that is there.
//!
//! `rustup target add` where it can download. Where it can't, the target's libraries are built from the sources that
//! Debian packages, of exactly rustc's version, and copied into rustc's sysroot (DESIGN §13).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Piece, say_step};
use crate::workspace;

const NAME: &str = "wasm32 target";
const TARGET: &str = "wasm32-unknown-unknown";
/// The suite of Debian that carries newer compilers for its stable release.
const SUITE: &str = "trixie-backports";
/// Where a Debian machine says from where it gets its packages.
const MACHINE_SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
const APT_LIMIT: Duration = Duration::from_secs(300);
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Makes the target available to `cargo build --target wasm32-unknown-unknown`.
pub(crate) fn ensure() -> Result<Piece> {
    let libraries = target_libraries()?;
    if is_installed(&libraries) {
        return Ok(Piece::Ready(format!("in {}", libraries.display())));
    }
    let work = workspace::target_dir()?.join("setup");
    fs::create_dir_all(&work).with_context(|| format!("could not make {}", work.display()))?;
    // Two runs at once would write into the same directories: the second waits and finds it done.
    let lock = File::create(work.join("lock"))?;
    lock.lock().context("could not lock the work directory of setup")?;
    if is_installed(&libraries) {
        return Ok(Piece::Ready(format!("in {}", libraries.display())));
    }
    check_writable(&libraries)?;
    let how = match add_with_rustup(&libraries) {
        Ok(()) => "by rustup".to_owned(),
        Err(refused) => {
            say_step(NAME, &format!("rustup can't: {refused:#}; building it from the distribution's rust-src"));
            build_from_rust_src(&work, &libraries).with_context(|| {
                format!(
                    "the target {TARGET} is missing and could not be built; install it with `rustup target add \
                     {TARGET}` or your distribution's package (Debian: libstd-rust-dev-wasm32), then run this again"
                )
            })?;
            "built from rust-src".to_owned()
        }
    };
    compile_probe(&work)?;
    Ok(Piece::Installed(format!("{how}, in {}", libraries.display())))
}

fn target_libraries() -> Result<PathBuf> {
    let path = workspace::output(workspace::rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(PathBuf::from(path.trim()))
}

fn is_installed(libraries: &Path) -> bool {
    // With a hash in the name as rustup has it, or `libstd.rlib` as cargo builds it.
    let holds = |name: &str| {
        fs::read_dir(libraries).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let file = entry.file_name();
                let rest = file.to_string_lossy().strip_prefix(name).map(str::to_owned);
                rest.is_some_and(|rest| rest == ".rlib" || (rest.starts_with('-') && rest.ends_with(".rlib")))
            })
        })
    };
    holds("libcore") && holds("libstd")
}

fn check_writable(libraries: &Path) -> Result<()> {
    let try_write = || -> std::io::Result<()> {
        fs::create_dir_all(libraries)?;
        let probe = libraries.join(".drover-setup");
        File::create(&probe)?;
        fs::remove_file(probe)
    };
    try_write().with_context(|| {
        format!(
            "the toolchain is not writable by this user ({}): run `cargo xtask setup` once as the user that owns it \
             (root for a system-wide toolchain), or add the target {TARGET} to the image it comes from",
            libraries.display()
        )
    })
}

fn add_with_rustup(libraries: &Path) -> Result<()> {
    if !workspace::on_path("rustup") {
        bail!("there is no rustup");
    }
    say_step(NAME, "trying `rustup target add`");
    let mut rustup = std::process::Command::new("rustup");
    rustup.args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "0");
    rustup.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    workspace::run_within(&mut rustup, RUSTUP_LIMIT)?;
    if !is_installed(libraries) {
        bail!("rustup added the target to another toolchain than rustc's");
    }
    Ok(())
}

fn build_from_rust_src(work: &Path, libraries: &Path) -> Result<()> {
    let version = rustc_version()?;
    let package = download_rust_src(work, &version)?;
    let unpacked = work.join("rust-src");
    remove_if_there(&unpacked)?;
    workspace::run(std::process::Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    let manifest = library.join("sysroot/Cargo.toml");
    if !manifest.is_file() {
        bail!("{} holds no library/sysroot of rustc {version}", package.display());
    }
    say_step(NAME, "building the standard library for it (about a minute)");
    let build = work.join("rust-src-build");
    let mut cargo = workspace::cargo();
    // An own directory: our .cargo/config.toml is not meant for the standard library.
    cargo.current_dir(&library);
    cargo.args(["build", "--quiet", "--release", "--target", TARGET]);
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&build);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let log = work.join("rust-src-build.log");
    cargo.stderr(File::create(&log)?);
    workspace::run_within(&mut cargo, BUILD_LIMIT).with_context(|| format!("the log is {}", log.display()))?;
    install(&build.join(TARGET).join("release/deps"), libraries)?;
    for leftover in [&unpacked, &build] {
        remove_if_there(leftover)?;
    }
    Ok(())
}

/// The version as `1.95.0`; a nightly or beta has no package.
fn rustc_version() -> Result<String> {
    let about = workspace::output(workspace::rustc().arg("-vV"))?;
    let release = about.lines().find_map(|line| line.strip_prefix("release: ")).context("rustc names no release")?;
    if release.contains('-') {
        bail!("rustc {release} is no stable release, so no distribution packages its sources");
    }
    Ok(release.to_owned())
}

/// Downloads the package with lists and directories of our own, so that the machine's package manager is not touched.
fn download_rust_src(work: &Path, version: &str) -> Result<PathBuf> {
    let machine = fs::read_to_string(MACHINE_SOURCES)
        .with_context(|| format!("{MACHINE_SOURCES} is not there: not a Debian machine?"))?;
    let apt = work.join("apt");
    remove_if_there(&apt)?;
    for directory in ["lists/partial", "archives/partial", "packages"] {
        fs::create_dir_all(apt.join(directory))?;
    }
    let sources = apt.join("private.sources");
    fs::write(&sources, first_stanza_with_suite(&machine, SUITE)?)?;
    let apt_get = |arguments: &[&str]| {
        let mut command = std::process::Command::new("apt-get");
        command.arg("-q=2").args(["-o", "APT::Sandbox::User="]);
        for (key, value) in [
            ("Dir::Etc::SourceList", sources.as_path()),
            ("Dir::Etc::SourceParts", Path::new("-")),
            ("Dir::State::lists", &apt.join("lists")),
            ("Dir::Cache::archives", &apt.join("archives")),
            ("Dir::Cache::pkgcache", Path::new("")),
            ("Dir::Cache::srcpkgcache", Path::new("")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command.args(arguments).current_dir(apt.join("packages"));
        command
    };
    say_step(NAME, &format!("downloading rust-src {version} from {SUITE}"));
    workspace::run_within(&mut apt_get(&["update"]), APT_LIMIT)?;
    workspace::run_within(&mut apt_get(&["download", &format!("rust-src={version}*")]), APT_LIMIT)?;
    let mut packages = fs::read_dir(apt.join("packages"))?.flatten().map(|entry| entry.path());
    packages.find(|path| path.extension().is_some_and(|it| it == "deb")).context("apt-get downloaded no package")
}

/// The machine's first source, with another suite.
fn first_stanza_with_suite(sources: &str, suite: &str) -> Result<String> {
    let stanza: Vec<&str> =
        sources.lines().skip_while(|line| line.trim().is_empty()).take_while(|line| !line.trim().is_empty()).collect();
    let mut named = false;
    let mut text = String::new();
    for line in stanza {
        if line.starts_with("Suites:") {
            named = true;
            text.push_str(&format!("Suites: {suite}\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !named {
        bail!("the first stanza of {MACHINE_SOURCES} names no suite");
    }
    Ok(text)
}

/// Copies the libraries; `libcore` goes last, since [`is_installed`] asks for it: a broken copy is not taken for a whole one.
fn install(built: &Path, libraries: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(built)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "rlib"))
        .collect();
    if files.is_empty() {
        bail!("the build left no libraries in {}", built.display());
    }
    files.sort_by_key(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcore")));
    fs::create_dir_all(libraries)?;
    for file in &files {
        let name = file.file_name().context("a library has no name")?;
        fs::copy(file, libraries.join(name)).with_context(|| format!("could not write to {}", libraries.display()))?;
    }
    Ok(())
}

/// Compiles and links a function, which proves that the libraries fit rustc and that the linker is there.
fn compile_probe(work: &Path) -> Result<()> {
    let source = work.join("probe.rs");
    fs::write(&source, "#[unsafe(no_mangle)] pub extern \"C\" fn probe() -> usize { vec![1].len() }\n")?;
    let mut rustc = workspace::rustc();
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--target", TARGET, "-o"]);
    rustc.arg(work.join("probe.wasm")).arg(&source);
    workspace::run(&mut rustc).context("the target was installed, but rustc can't build for it")
}

fn remove_if_there(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_source_is_the_first_stanza_with_another_suite() {
        let machine =
            "Types: deb\nURIs: somewhere\nSuites: bookworm bookworm-updates\nSigned-By: key\n\nTypes: deb\nSuites: x\n";
        let private = first_stanza_with_suite(machine, "new").unwrap();
        assert_eq!(private, "Types: deb\nURIs: somewhere\nSuites: new\nSigned-By: key\n");
        assert!(first_stanza_with_suite("Types: deb\n", "new").is_err());
    }
}
