//! A component that passed every check.

use crate::bindings::{Contract, Exports};
use crate::compile::CompileError;
use crate::component::RuleExport;
use crate::config::CheckError;
use crate::descriptor::Descriptor;
use crate::engine::PluginEngine;
use crate::instance::{ConfigError, ConfiguredPlugin, HostState, InstantiateError, Running};
use crate::limits::UPLOAD_BYTES_MAX;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Component, InstancePre};

/// SHA-256 of a component's bytes: the name it is stored and deployed under.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginHash(pub [u8; 32]);

impl PluginHash {
    /// The hash of a component.
    #[must_use]
    pub fn of(wasm: &[u8]) -> Self {
        Self(Sha256::digest(wasm).into())
    }
}

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a plugin's hash is 64 hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for PluginHash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| InvalidHash)?;
        Ok(Self(hash))
    }
}

impl TryFrom<String> for PluginHash {
    type Error = InvalidHash;
    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

impl From<PluginHash> for String {
    fn from(hash: PluginHash) -> String {
        hash.to_string()
    }
}

/// Why a component is refused. All but [`CompileError::Process`] are the component's fault and will be the same another
/// time.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More than [`UPLOAD_BYTES_MAX`].
    #[error("the component is {bytes} bytes long; at most {UPLOAD_BYTES_MAX} are allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
    },
    /// Not even the first four bytes fit.
    #[error("not WebAssembly: it does not begin with \\0asm")]
    NotWebAssembly,
    /// WebAssembly of another kind.
    #[error("this is a core module, not a component: wrap it (drover plugin build does)")]
    CoreModule,
    /// Broken, or it needs a feature of WebAssembly that is not offered.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// Something we do not offer, or not in that version.
    #[error(
        "the component imports {0:?}, which is not offered: a plugin may import drover:plugin/log and nothing else"
    )]
    UnknownImport(String),
    /// It was built against a contract that this host does not know.
    #[error(
        "the component was built against {0}, which is not known here: this host knows drover:plugin {known}", known = known()
    )]
    UnknownContract(String),
    /// It is no plugin, or not a complete one.
    #[error("the component does not export {0}")]
    MissingExport(String),
    /// Names fit, types do not.
    #[error("the component does not fit drover:plugin: {0}")]
    Mismatch(String),
    /// It can't be compiled within limits.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It can't be started, or `describe` fails.
    #[error("the plugin could not describe itself: {0}")]
    Describe(#[source] InstantiateError),
    /// What `describe` says is not acceptable; names the field.
    #[error("the plugin's description is not acceptable: {0}")]
    Descriptor(String),
}

/// The versions of the contract that are known here.
fn known() -> String {
    Contract::ALL.map(|contract| contract.to_string()).join(", ")
}

/// A loaded plugin: checked, compiled, described. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    engine: PluginEngine,
    hash: PluginHash,
    descriptor: Descriptor,
    program: Program,
}

/// What is needed to make instances.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) linked: InstancePre<HostState>,
    pub(crate) exports: Exports,
    /// What each instance may have, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// Name and version, for the log; the hash before they are known.
    pub(crate) name: Arc<str>,
}

impl Plugin {
    pub(crate) fn new(
        engine: &PluginEngine,
        component: &Component,
        hash: PluginHash,
        rule: &RuleExport,
        memory_bytes_max: usize,
    ) -> Result<Self, LoadError> {
        let linked = engine.link(component).map_err(|error| LoadError::Mismatch(format!("{error:#}")))?;
        let exports = Exports::find(component, rule.contract, &rule.name).map_err(LoadError::MissingExport)?;
        let mut program = Program { linked, exports, memory_bytes_max, name: hash.to_string().into() };
        let (described, migrates_from) =
            Running::start(engine, &program, None, Duration::from_millis(engine.limits().configure_ms_max))
                .map_err(|error| match error {
                    InstantiateError::Mismatch(wrong) => LoadError::Mismatch(wrong),
                    other => LoadError::Describe(other),
                })?
                .describe()
                .map_err(LoadError::Describe)?;
        let descriptor = Descriptor::checked(described, migrates_from).map_err(LoadError::Descriptor)?;
        // What a config of null breaks is of no interest: the schema is.
        engine.problems(&descriptor.config_schema, &serde_json::Value::Null).map_err(|error| match error {
            CheckError::Schema(wrong) => LoadError::Descriptor(wrong),
            CheckError::Failed(wrong) => LoadError::Descriptor(format!("config-schema can't be used: {wrong}")),
        })?;
        program.name = format!("{}@{}", descriptor.name, descriptor.version).into();
        Ok(Self { inner: Arc::new(Inner { engine: engine.clone(), hash, descriptor, program }) })
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn hash(&self) -> PluginHash {
        self.inner.hash
    }

    /// What it says of itself.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// Checks `config` against the plugin's schema, then asks the plugin. Blocks while it reads its config.
    ///
    /// # Errors
    /// All breaches of the schema, each with its place; or what the plugin itself has against the config.
    pub fn configure(&self, config: &serde_json::Value) -> Result<ConfiguredPlugin, ConfigError> {
        ConfiguredPlugin::new(self, config)
    }

    pub(crate) fn engine(&self) -> &PluginEngine {
        &self.inner.engine
    }

    pub(crate) fn program(&self) -> &Program {
        &self.inner.program
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {})", self.inner.program.name, self.inner.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_as_it_is_written() {
        let hash = PluginHash::of(b"");
        assert_eq!(hash.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("e3".parse::<PluginHash>(), Err(InvalidHash));
    }
}
