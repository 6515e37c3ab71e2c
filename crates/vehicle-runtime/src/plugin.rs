//! Rules as the plugin stage sees them. Outside of tests a rule is an instance of a WebAssembly component.

use crate::keys::DeploymentKey;
use crate::leash::RESTART_CPU_MS_MAX;
use plugin_host::{ConfiguredPlugin, Instance, Outcome, PluginHash, PluginJournal, Position};
use std::sync::Arc;
use std::time::Duration;

/// Finds a stored deployment's plugin again when a node restarts.
pub trait PluginSource: Send + Sync + 'static {
    /// The component with this hash, with this config. May block.
    ///
    /// # Errors
    /// Why it cannot be had, for the operator. The node starts nevertheless; the deployment is suspended.
    fn plugin(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, String>;
}

/// For nodes that run no plugins.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPlugins;

impl PluginSource for NoPlugins {
    fn plugin(&self, hash: PluginHash, _config: &serde_json::Value) -> Result<ConfiguredPlugin, String> {
        Err(format!("this node runs no plugins, but {hash} is deployed"))
    }
}

/// Why a rule gave no answer.
#[derive(Debug, Clone)]
pub(crate) struct RuleError {
    pub message: String,
    /// The instance must not be used again.
    pub instance_is_dead: bool,
}

/// One resident instance of a rule, on one worker.
pub(crate) trait Rule: Send {
    fn evaluate(&mut self, positions: &[Position], rows: &[u8]) -> Result<Outcome, RuleError>;
    fn migrate(&mut self, from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, RuleError>;
    /// Says for whom it works, and where its lines go.
    fn attach(&mut self, _key: &DeploymentKey, _journal: &Arc<PluginJournal>) {}
    /// Lets the next call use so much CPU time, if that is less than what each may.
    fn allow(&mut self, _cpu_max: Duration) {}
    /// Says which vehicle the next call is about, when it is only one.
    fn about(&mut self, _vehicle: Option<Arc<str>>) {}
    /// CPU time of the last call, which took `elapsed`.
    fn cpu_time(&self, elapsed: Duration) -> Duration {
        elapsed
    }
    /// Bytes of memory that it has.
    fn memory_bytes(&self) -> usize {
        0
    }
}

/// What a rule says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleFacts {
    pub hash: [u8; 32],
    pub name: String,
    pub version: String,
    pub state_version: u32,
    pub row_bytes: u32,
}

/// A configured rule: makes instances.
pub(crate) trait RuleSource: Send + Sync {
    fn facts(&self) -> &RuleFacts;
    fn start(&self) -> Result<Box<dyn Rule>, String>;
    /// The same on a worker's thread, where others wait for it.
    fn restart(&self) -> Result<Box<dyn Rule>, String> {
        self.start()
    }
    /// The most memory that one instance may have, in bytes.
    fn memory_bytes_max(&self) -> u64 {
        0
    }
}

/// A rule that cannot be had: what is known of it, and why.
pub(crate) struct MissingRule {
    pub facts: RuleFacts,
    pub reason: String,
}

impl RuleSource for MissingRule {
    fn facts(&self) -> &RuleFacts {
        &self.facts
    }

    fn start(&self) -> Result<Box<dyn Rule>, String> {
        Err(self.reason.clone())
    }
}

/// Finds rules again; the inner form of [`PluginSource`].
pub(crate) trait RuleFinder: Send + Sync {
    fn find(&self, hash: [u8; 32], config: &serde_json::Value) -> Result<Arc<dyn RuleSource>, String>;
}

/// A component as a rule.
pub(crate) struct PluginRule {
    facts: RuleFacts,
    plugin: ConfiguredPlugin,
}

impl PluginRule {
    pub(crate) fn of(plugin: ConfiguredPlugin) -> Self {
        let descriptor = plugin.plugin().descriptor();
        let facts = RuleFacts {
            hash: plugin.plugin().hash().0,
            name: descriptor.name.clone(),
            version: descriptor.version.clone(),
            state_version: descriptor.state_version,
            row_bytes: descriptor.row_bytes,
        };
        Self { facts, plugin }
    }
}

impl RuleSource for PluginRule {
    fn facts(&self) -> &RuleFacts {
        &self.facts
    }

    fn start(&self) -> Result<Box<dyn Rule>, String> {
        match self.plugin.instantiate() {
            Ok(instance) => Ok(Box::new(instance)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn restart(&self) -> Result<Box<dyn Rule>, String> {
        match self.plugin.instantiate_within(Duration::from_millis(RESTART_CPU_MS_MAX)) {
            Ok(instance) => Ok(Box::new(instance)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn memory_bytes_max(&self) -> u64 {
        self.plugin.memory_bytes_max() as u64
    }
}

impl Rule for Instance {
    fn evaluate(&mut self, positions: &[Position], rows: &[u8]) -> Result<Outcome, RuleError> {
        Instance::evaluate(self, positions, rows)
            .map_err(|error| RuleError { message: error.to_string(), instance_is_dead: error.instance_is_dead() })
    }

    fn migrate(&mut self, from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, RuleError> {
        Instance::migrate(self, from_version, row_bytes, rows)
            .map_err(|error| RuleError { message: error.to_string(), instance_is_dead: error.instance_is_dead() })
    }

    fn attach(&mut self, (tenant, deployment): &DeploymentKey, journal: &Arc<PluginJournal>) {
        Instance::attach(self, tenant.as_str(), deployment.as_str(), journal.clone());
    }

    fn allow(&mut self, cpu_max: Duration) {
        Instance::allow(self, cpu_max);
    }

    fn about(&mut self, vehicle: Option<Arc<str>>) {
        Instance::about(self, vehicle);
    }

    fn cpu_time(&self, elapsed: Duration) -> Duration {
        Instance::cpu_time(self, elapsed)
    }

    fn memory_bytes(&self) -> usize {
        Instance::memory_bytes(self)
    }
}

/// A [`PluginSource`] as a [`RuleFinder`].
pub(crate) struct PluginFinder(pub Arc<dyn PluginSource>);

impl RuleFinder for PluginFinder {
    fn find(&self, hash: [u8; 32], config: &serde_json::Value) -> Result<Arc<dyn RuleSource>, String> {
        self.0.plugin(PluginHash(hash), config).map(|plugin| Arc::new(PluginRule::of(plugin)) as Arc<dyn RuleSource>)
    }
}
