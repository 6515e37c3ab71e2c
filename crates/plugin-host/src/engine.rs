//! The engine all plugins of a process run in.

use crate::bindings::newest;
use crate::cache::ArtifactCache;
use crate::compile::{CompileError, Compiler, compile};
use crate::config::{self, CheckError, ConfigProblem};
use crate::instance::HostState;
use crate::limits::{CompileLimits, InstanceLimits, WASM_STACK_BYTES};
use crate::load::{LoadError, Plugin, PluginHash};
use crate::{component, metrics};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, EngineWeak, OptLevel};

/// The grain of time limits. Calls count these ticks; a busy machine makes them longer, never shorter.
const TICK: Duration = Duration::from_millis(1);

/// How plugins are compiled, kept and limited.
#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    /// Where compiled plugins are kept between starts; `None` (the default) compiles each time. Made with mode 0700;
    /// one that others may write to is refused.
    pub cache_dir: Option<PathBuf>,
    /// What each instance may use.
    pub limits: InstanceLimits,
    /// Where components are compiled and configs checked. Default: in a child process.
    pub compiler: Compiler,
    /// What such a child may use.
    pub compile_limits: CompileLimits,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The cache directory can't be used.
    #[error("the plugin cache can't be used: {0}")]
    Cache(#[source] io::Error),
    /// This machine can't run plugins.
    #[error("plugins can't be run here: {0}")]
    Runtime(String),
}

/// What an engine has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineFigures {
    /// Components compiled.
    pub compiles: u64,
    /// Components taken compiled from the cache.
    pub cache_hits: u64,
}

/// Loads plugins. Cheap to clone; its clock thread ends with the last clone and the last plugin.
#[derive(Clone)]
pub struct PluginEngine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<HostState>,
    cache: Option<ArtifactCache>,
    config: EngineConfig,
    compiles: AtomicU64,
    cache_hits: AtomicU64,
}

impl PluginEngine {
    /// Starts the engine and its clock.
    ///
    /// # Errors
    /// When the cache directory is missing and can't be made, or others may write to it; when the machine is not
    /// supported.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let runtime = |error: wasmtime::Error| EngineError::Runtime(format!("{error:#}"));
        let engine = wasmtime_engine().map_err(runtime)?;
        let mut linker = Linker::new(&engine);
        newest::link(&mut linker, HostState::log).map_err(runtime)?;
        let open = |dir| ArtifactCache::open(dir, engine_key(&engine)).map_err(EngineError::Cache);
        let cache = config.cache_dir.as_deref().map(open).transpose()?;
        start_clock(engine.weak())
            .map_err(|error| EngineError::Runtime(format!("no thread for the clock: {error}")))?;
        let inner = Inner { engine, linker, cache, config, compiles: AtomicU64::new(0), cache_hits: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a component, compiles it or takes it from the cache, and asks it who it is. Blocks, for seconds if it has
    /// to be compiled.
    ///
    /// # Errors
    /// Says which check the component fails, and names the import, export or field that is at fault.
    pub fn load(&self, wasm: &[u8]) -> Result<Plugin, LoadError> {
        let rule = component::check(wasm)?;
        let hash = PluginHash::of(wasm);
        let (component, compiled) = self.component(wasm, hash)?;
        let plugin = Plugin::new(self, &component, hash, &rule, self.limits().memory_for(wasm.len()))?;
        // Only what passed every check: what is refused leaves no file, and pushes none out.
        if let (Some(artifact), Some(cache)) = (compiled, &self.inner.cache)
            && let Err(error) = cache.put(hash, &artifact)
        {
            tracing::warn!(plugin = %hash, %error, "a compiled plugin can't be kept; it will be compiled again");
        }
        Ok(plugin)
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn figures(&self) -> EngineFigures {
        EngineFigures {
            compiles: self.inner.compiles.load(Ordering::Relaxed),
            cache_hits: self.inner.cache_hits.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn limits(&self) -> &InstanceLimits {
        &self.inner.config.limits
    }

    /// What is wrong with a config by a plugin's schema.
    pub(crate) fn problems(&self, schema: &Value, config: &Value) -> Result<Vec<ConfigProblem>, CheckError> {
        config::problems(self.inner.config.compiler, &self.inner.config.compile_limits, schema, config)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Links a component to what the host offers; fails with the import that does not fit.
    pub(crate) fn link(&self, component: &Component) -> wasmtime::Result<InstancePre<HostState>> {
        self.inner.linker.instantiate_pre(component)
    }

    /// The component compiled, and the artifact when it was compiled now.
    fn component(&self, wasm: &[u8], hash: PluginHash) -> Result<(Component, Option<Vec<u8>>), CompileError> {
        if let Some(component) = self.cached(hash) {
            self.inner.cache_hits.fetch_add(1, Ordering::Relaxed);
            metrics::cache_hit();
            return Ok((component, None));
        }
        let config = &self.inner.config;
        let limits = config.compile_limits.for_component(wasm.len());
        let artifact = compile(config.compiler, &limits, wasm)?;
        self.inner.compiles.fetch_add(1, Ordering::Relaxed);
        metrics::compiled();
        let component = self
            .deserialize(&artifact)
            .map_err(|error| CompileError::Process(format!("the artifact can't be loaded: {error:#}")))?;
        Ok((component, Some(artifact)))
    }

    fn cached(&self, hash: PluginHash) -> Option<Component> {
        let cache = self.inner.cache.as_ref()?;
        let artifact = cache.get(hash)?;
        self.deserialize(&artifact)
            .inspect_err(|error| {
                tracing::warn!(plugin = %hash, error = format!("{error:#}"), "a compiled plugin does not fit this engine");
                cache.discard(hash);
            })
            .ok()
    }

    #[allow(unsafe_code)]
    fn deserialize(&self, artifact: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what wasmtime's compiler made: they come over a pipe from the child this process
        // started, checksum and all, or out of a directory that only this account may write to (cache.rs says why
        // that is enough), again checksummed. wasmtime itself refuses those of another version or other settings.
        unsafe { Component::deserialize(&self.inner.engine, artifact) }
    }
}

/// The one engine configuration: the parent and the compiling child must agree.
pub(crate) fn wasmtime_engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        // The same bits on every machine: no choice of NaN, no relaxed operations, no threads (not compiled in).
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .wasm_component_model(true);
    Engine::new(&config)
}

/// What an artifact depends on besides the component: wasmtime's version, its settings, the instruction set.
fn engine_key(engine: &Engine) -> [u8; 32] {
    struct Digesting(Sha256);
    impl Hasher for Digesting {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // Nobody asks: the digest is taken instead.
        }
    }
    let mut hasher = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

fn start_clock(engine: EngineWeak) -> io::Result<()> {
    let tick = move || {
        loop {
            std::thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new().name("plugin-clock".into()).spawn(tick).map(drop)
}
