//! Where the programs under test are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the geofence that is swapped in: the same behaviour under another name.
pub const REBUILT_VERSION: &str = "1.0.1-rebuilt";

/// The built binaries and plugins.
#[derive(Debug, Clone)]
pub struct Programs {
    directory: PathBuf,
    plugins: PathBuf,
}

impl Programs {
    /// Those in a cargo target directory, of one profile (`debug`, `release`).
    #[must_use]
    pub fn in_target(target: &Path, profile: &str) -> Self {
        Self { directory: target.join(profile), plugins: target.join("plugins") }
    }

    /// Those beside the running test. `cargo xtask test` builds them before it runs the tests.
    ///
    /// # Errors
    /// Says to use `cargo xtask test` when they are not there.
    pub fn beside_this_test() -> Result<Self> {
        let test = std::env::current_exe().context("where this test is")?;
        let profile = test.parent().and_then(Path::parent).context("tests run from target/<profile>/deps")?;
        let target = profile.parent().context("a profile is inside a target directory")?;
        let programs = Self { directory: profile.to_owned(), plugins: target.join("plugins") };
        programs.check()?;
        Ok(programs)
    }

    /// # Errors
    /// Names what is missing and how to get it.
    pub fn check(&self) -> Result<()> {
        let binaries = ["drover-edge", "drover-cloud", "drover", "fleet-replay"].map(|name| self.directory.join(name));
        for path in binaries.iter().chain([&self.geofence()]) {
            if !path.exists() {
                bail!("{} is not built: `cargo xtask test` builds it before it runs the tests", path.display());
            }
        }
        Ok(())
    }

    /// A program, not started yet.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.directory.join(name))
    }

    /// Our geofence component.
    #[must_use]
    pub fn geofence(&self) -> PathBuf {
        self.plugins.join("geofence.wasm")
    }

    /// Our maintenance component.
    #[must_use]
    pub fn maintenance(&self) -> PathBuf {
        self.plugins.join("maintenance.wasm")
    }

    /// Our pricing component.
    #[must_use]
    pub fn pricing(&self) -> PathBuf {
        self.plugins.join("pricing.wasm")
    }

    /// The geofence built again under another version.
    #[must_use]
    pub fn geofence_rebuilt(&self) -> PathBuf {
        self.plugins.join(format!("geofence-{REBUILT_VERSION}.wasm"))
    }
}

/// Points `drover plugin build` at the tools that `cargo xtask setup --plugin-languages` installed; false where it has not.
#[must_use]
pub fn with_plugin_languages(programs: &Programs, command: &mut Command) -> bool {
    let Some(languages) = programs.plugins.parent().map(|target| target.join("setup/languages")) else { return false };
    let jco = languages.join("javascript/node_modules/.bin/jco");
    let bin = languages.join("python/bin");
    let componentize_py = bin.join("componentize-py");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
    let there = jco.exists() && componentize_py.exists();
    // zig is found through the Python that has it.
    command.env("PATH", std::env::join_paths(paths).unwrap_or(path.clone()));
    command.env("DROVER_JCO", jco).env("DROVER_COMPONENTIZE_PY", componentize_py);
    there
}

/// The Python that `cargo xtask setup` made for tests; `None` where it could not.
#[must_use]
pub fn python(programs: &Programs) -> Option<PathBuf> {
    let target = programs.plugins.parent()?;
    Some(target.join("setup/python/bin/python3")).filter(|path| path.exists())
}
