//! Rules as the plugin stage sees them. Outside of tests a rule is an instance of a WebAssembly component.

use plugin_host::{ConfiguredPlugin, Instance, Outcome, PluginHash, Position};
use std::sync::Arc;

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
}

/// A [`PluginSource`] as a [`RuleFinder`].
pub(crate) struct PluginFinder(pub Arc<dyn PluginSource>);

impl RuleFinder for PluginFinder {
    fn find(&self, hash: [u8; 32], config: &serde_json::Value) -> Result<Arc<dyn RuleSource>, String> {
        self.0.plugin(PluginHash(hash), config).map(|plugin| Arc::new(PluginRule::of(plugin)) as Arc<dyn RuleSource>)
    }
}
