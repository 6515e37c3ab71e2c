//! `drover plugin check`.

use super::read_config;
use crate::failure::Failure;
use crate::output;
use plugin_host::{ConfigError, EngineConfig, LoadError, Plugin, PluginEngine};
use std::path::{Path, PathBuf};

/// Check a component here, as the cloud would: imports, exports, limits, description, config
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin check target/plugins/geofence.wasm
  drover plugin check geofence.wasm --config zones.json
  drover plugin check geofence.wasm --schema > geofence.schema.json

Nothing is uploaded. Exit code 3 when the component or the config would be refused; each wrong field is named.")]
pub(crate) struct Check {
    /// A WebAssembly component
    file: PathBuf,

    /// A config to check against the component's schema, and with the component itself
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the schema of the config, and nothing else
    #[arg(long, conflicts_with = "config")]
    schema: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let plugin = load(&engine()?, &self.file)?;
        let descriptor = plugin.descriptor();
        if self.schema {
            let schema = serde_json::to_string_pretty(&descriptor.config_schema)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            output::say(&schema)?;
            return Ok(());
        }
        output::say(&format!("{}@{}: a {} plugin", descriptor.name, descriptor.version, descriptor.kind))?;
        output::say(&format!("hash           {}", plugin.hash()))?;
        output::say(&format!(
            "state          {} bytes per vehicle, version {}",
            descriptor.row_bytes, descriptor.state_version
        ))?;
        if let Some(versions) = &descriptor.migrates_from {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            let versions = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
            output::say(&format!("migrates from  {versions}"))?;
        }
        let Some(path) = &self.config else {
            output::say("config         not checked: give one with --config")?;
            return Ok(());
        };
        let configured = plugin.configure(&read_config(path)?).map_err(|error| refused_config(path, &error))?;
        let instance = configured.instantiate().map_err(|error| Failure::Failed(error.to_string()))?;
        output::say(&format!("config         {} fits", path.display()))?;
        output::say(&format!("memory         {} KiB with this config", instance.memory_bytes() / 1024))?;
        Ok(())
    }
}

/// An engine as the cloud has it.
pub(super) fn engine() -> Result<PluginEngine, Failure> {
    PluginEngine::new(EngineConfig::default()).map_err(|error| Failure::Failed(error.to_string()))
}

/// Loads a component from a file.
pub(super) fn load(engine: &PluginEngine, file: &Path) -> Result<Plugin, Failure> {
    let wasm =
        std::fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
    engine.load(&wasm).map_err(|error| match &error {
        LoadError::Compile(plugin_host::CompileError::Process(_)) => Failure::Failed(error.to_string()),
        _ => Failure::RefusedHere(format!("{} would be refused: {error}", file.display())),
    })
}

/// Says each place where a config does not fit.
pub(super) fn refused_config(path: &Path, error: &ConfigError) -> Failure {
    let said = match error {
        ConfigError::Schema(problems) => {
            let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            format!("{} does not fit the plugin's schema:{}", path.display(), lines.concat())
        }
        other => format!("{} would be refused: {other}", path.display()),
    };
    Failure::RefusedHere(said)
}
