//! Plugins at work.

use crate::bindings::newest;
use crate::config::{CheckError, ConfigProblem};
use crate::cpu_clock::{CallClock, thread_cpu_time};
use crate::descriptor::Descriptor;
use crate::engine::PluginEngine;
use crate::journal::PluginJournal;
use crate::limits::{
    CONFIG_BYTES_MAX, CORE_PARTS_MAX, DESCRIPTOR_BYTES_MAX, InstanceLimits, MESSAGE_BYTES_MAX, shortened,
};
use crate::load::{Plugin, Program};
use crate::metrics;
use crate::outcome::{Outcome, checked};
use crate::plugin_log::{Label, PluginLog};
use crate::position::Position;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

/// What the host keeps for one instance.
pub(crate) struct HostState {
    log: PluginLog,
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    call: CallClock,
}

impl HostState {
    pub(crate) fn log(&mut self) -> &mut PluginLog {
        &mut self.log
    }
}

/// Ends a guest that asks for more memory than it may have. Asking is fatal (it is not told no): most guests abort
/// then anyway, and so the reason is known.
#[derive(Debug, thiserror::Error)]
#[error("more memory than the plugin may have")]
struct MemoryLimit;

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            return Err(MemoryLimit.into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    /// The system has no more, or the memory's own maximum is reached.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(MemoryLimit.into())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            return Err(MemoryLimit.into());
        }
        self.table_elements = total;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(MemoryLimit.into())
    }

    fn instances(&self) -> usize {
        CORE_PARTS_MAX
    }

    fn tables(&self) -> usize {
        CORE_PARTS_MAX
    }

    fn memories(&self) -> usize {
        CORE_PARTS_MAX
    }
}

/// Why a config is refused. The plugin that runs is not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More than [`CONFIG_BYTES_MAX`].
    #[error("the config is {bytes} bytes long as compact JSON; at most {CONFIG_BYTES_MAX} are allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
    },
    /// It breaks the plugin's schema, in these places.
    #[error("the config breaks the plugin's schema: {}", lines(.0))]
    Schema(Vec<ConfigProblem>),
    /// It could not be checked against the schema, or checking takes too much.
    #[error("the config can't be checked against the plugin's schema: {0}")]
    Unchecked(String),
    /// The plugin refuses it, or fails over it.
    #[error(transparent)]
    Plugin(#[from] InstantiateError),
}

impl ConfigError {
    /// Whether the same config may go better another time: the machine was too busy to check it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unchecked(_) | Self::Plugin(InstantiateError::TimedOut))
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstantiateError {
    /// `configure` says no, in the plugin's words.
    #[error("the plugin refuses the config: {0}")]
    Refused(String),
    /// A function has another signature than the contract's.
    #[error("the component does not fit drover:plugin: {0}")]
    Mismatch(String),
    /// The plugin crashed.
    #[error("the plugin trapped: {0}")]
    Trapped(String),
    /// It took longer than [`InstanceLimits::configure_ms_max`].
    #[error("the plugin took too long")]
    TimedOut,
    /// It asked for more than [`InstanceLimits::memory_bytes_max`].
    #[error("the plugin ran out of memory")]
    OutOfMemory,
    /// It answered more than it may.
    #[error("the plugin answered too much: {0}")]
    TooMuchOutput(String),
}

/// Why a plugin does not take over rows of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrationError {
    /// It does not name that version in `migrates-from`.
    #[error("its rows have state version {state_version}, and it does not read those of version {from_version}")]
    Unread {
        /// Of the rows that are there.
        from_version: u32,
        /// Of its own rows.
        state_version: u32,
    },
    /// It can't be started.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// `migrate` fails on a row of zeros.
    #[error("its migrate fails on the row of a vehicle that was never seen: {0}")]
    Failed(#[from] EvaluateError),
}

/// Why a batch has no outcome. Nothing of it counts: the rows that went in are still the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The plugin crashed.
    #[error("the plugin trapped: {0}")]
    Trapped(String),
    /// It took longer than [`InstanceLimits::batch_ms_max`].
    #[error("the plugin took too long")]
    TimedOut,
    /// It asked for more than [`InstanceLimits::memory_bytes_max`].
    #[error("the plugin ran out of memory")]
    OutOfMemory,
    /// It answered more than it may.
    #[error("the plugin answered too much: {0}")]
    TooMuchOutput(String),
    /// The plugin refuses the batch, in its words.
    #[error("the plugin refuses the batch: {0}")]
    Rejected(String),
    /// Its answer breaks the contract.
    #[error("the plugin's answer is malformed: {0}")]
    Malformed(String),
}

impl EvaluateError {
    /// Whether the instance can't be called again: make another one.
    #[must_use]
    pub fn instance_is_dead(&self) -> bool {
        match self {
            Self::Trapped(_) | Self::TimedOut | Self::OutOfMemory | Self::TooMuchOutput(_) => true,
            Self::Rejected(_) | Self::Malformed(_) => false,
        }
    }

    /// As metrics write it.
    fn reason(&self) -> &'static str {
        match self {
            Self::Trapped(_) => "trapped",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::TooMuchOutput(_) => "too_much_output",
            Self::Rejected(_) => "rejected",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// How a call into the guest ended without an answer.
enum Failure {
    Trapped(String),
    TimedOut,
    OutOfMemory,
    TooMuchOutput(String),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        if error.is::<MemoryLimit>() {
            return Failure::OutOfMemory;
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return Failure::TimedOut;
        }
        let text = format!("{error:#}");
        // wasmtime's own error for this is private.
        if text.contains("fuel allocated for hostcalls has been exhausted") {
            return Failure::TooMuchOutput("more bytes than allowed".into());
        }
        Failure::Trapped(shortened(text, MESSAGE_BYTES_MAX))
    }
}

impl From<Failure> for EvaluateError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Trapped(text) => Self::Trapped(text),
            Failure::TimedOut => Self::TimedOut,
            Failure::OutOfMemory => Self::OutOfMemory,
            Failure::TooMuchOutput(text) => Self::TooMuchOutput(text),
        }
    }
}

impl From<Failure> for InstantiateError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Trapped(text) => Self::Trapped(text),
            Failure::TimedOut => Self::TimedOut,
            Failure::OutOfMemory => Self::OutOfMemory,
            Failure::TooMuchOutput(text) => Self::TooMuchOutput(text),
        }
    }
}

/// An instance, whatever it is used for.
pub(crate) struct Running {
    store: Store<HostState>,
    functions: newest::Functions,
    configure_max: Duration,
}

impl Running {
    /// Starts an instance, which may run code of the guest.
    pub(crate) fn start(
        engine: &PluginEngine,
        program: &Program,
        label: Option<&Label>,
        start_max: Duration,
    ) -> Result<Self, InstantiateError> {
        let limits = engine.limits();
        let state = HostState {
            log: PluginLog::new(Arc::clone(&program.name), label.cloned(), limits),
            memory_bytes: 0,
            memory_bytes_max: program.memory_bytes_max,
            table_elements: 0,
            table_elements_max: limits.table_elements_max,
            call: CallClock::start(start_max),
        };
        let mut store = Store::new(engine.engine(), state);
        store.limiter(|state| state);
        // The ticks are wall time; whether the guest used its CPU time is looked up when they are over.
        store.epoch_deadline_callback(|mut store| match store.data_mut().call.rest() {
            Some(rest) => Ok(UpdateDeadline::Continue(ticks(rest))),
            None => Err(Trap::Interrupt.into()),
        });
        let first_look = store.data().call.first_look();
        store.set_epoch_deadline(ticks(first_look));
        let instance = program.linked.instantiate(&mut store).map_err(Failure::from)?;
        let functions = program
            .exports
            .bind(&instance, &mut store)
            .map_err(|error| InstantiateError::Mismatch(format!("{error:#}")))?;
        Ok(Self { store, functions, configure_max: start_max })
    }

    fn start_call(&mut self, cpu_max: Duration, output_bytes_max: usize) {
        let state = self.store.data_mut();
        state.log.start_call();
        state.call = CallClock::start(cpu_max);
        let first_look = state.call.first_look();
        self.store.set_epoch_deadline(ticks(first_look));
        self.store.set_hostcall_fuel(output_bytes_max);
    }

    /// What the plugin says of itself, and which older rows it reads where its contract has it say so.
    pub(crate) fn describe(mut self) -> Result<(newest::Descriptor, Option<Vec<u32>>), InstantiateError> {
        self.start_call(self.configure_max, DESCRIPTOR_BYTES_MAX);
        let descriptor = self.functions.describe(&mut self.store).map_err(Failure::from)?;
        self.start_call(self.configure_max, DESCRIPTOR_BYTES_MAX);
        let migrates_from = self.functions.migrates_from(&mut self.store).map_err(Failure::from)?;
        Ok((descriptor, migrates_from))
    }

    fn configure(&mut self, config: &str) -> Result<(), InstantiateError> {
        self.start_call(self.configure_max, DESCRIPTOR_BYTES_MAX);
        let answer = self.functions.configure(&mut self.store, config).map_err(Failure::from)?;
        answer.map_err(|text| InstantiateError::Refused(shortened(text, MESSAGE_BYTES_MAX)))
    }
}

/// A deadline of at least `time`: the tick that is running counts for nothing.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// A plugin with a config it accepts. Cheap to clone; every instance is configured alike.
#[derive(Clone)]
pub struct ConfiguredPlugin {
    plugin: Plugin,
    config: Arc<str>,
    label: Option<Label>,
}

impl ConfiguredPlugin {
    pub(crate) fn new(plugin: &Plugin, config: &serde_json::Value) -> Result<Self, ConfigError> {
        let text = config.to_string();
        if text.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { bytes: text.len() });
        }
        let schema = &plugin.descriptor().config_schema;
        let problems = plugin.engine().problems(schema, config).map_err(|error| match error {
            CheckError::Schema(wrong) | CheckError::Failed(wrong) => ConfigError::Unchecked(wrong),
        })?;
        if !problems.is_empty() {
            return Err(ConfigError::Schema(problems));
        }
        let configured = Self { plugin: plugin.clone(), config: text.into(), label: None };
        configured.instantiate()?;
        Ok(configured)
    }

    /// The same for a tenant's deployment: what its instances log says so.
    #[must_use]
    pub fn labelled(self, tenant: &str, deployment: &str) -> Self {
        Self { label: Some(Label { tenant: tenant.into(), deployment: deployment.into(), journal: None }), ..self }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Whether it takes over rows of an older state version: it says that it reads them, if its contract asks, and it
    /// reads one of a vehicle that was never seen, which is zeros whatever the version. Blocks: before a swap, not in it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check_migration(&self, from_version: u32, row_bytes: u32) -> Result<(), MigrationError> {
        let Descriptor { migrates_from, state_version, .. } = self.plugin.descriptor();
        if migrates_from.as_ref().is_some_and(|versions| !versions.contains(&from_version)) {
            return Err(MigrationError::Unread { from_version, state_version: *state_version });
        }
        let mut instance = self.instantiate()?;
        instance.migrate(from_version, row_bytes, &vec![0; row_bytes as usize])?;
        Ok(())
    }

    /// Makes an instance and configures it. Blocks while the plugin reads its config: do it before a swap, not in it.
    ///
    /// # Errors
    /// A plugin that took its config once takes it again, so an error means a limit of this machine, such as time.
    pub fn instantiate(&self) -> Result<Instance, InstantiateError> {
        let each_max = Duration::from_millis(self.plugin.engine().limits().configure_ms_max);
        self.started(each_max, || each_max)
    }

    /// The same where others wait meanwhile: its start and `configure` together may use so much CPU time, if that is less
    /// than [`InstanceLimits::configure_ms_max`].
    ///
    /// # Errors
    /// As [`ConfiguredPlugin::instantiate`].
    pub fn instantiate_within(&self, cpu_max: Duration) -> Result<Instance, InstantiateError> {
        let both_max = cpu_max.min(Duration::from_millis(self.plugin.engine().limits().configure_ms_max));
        let begun = thread_cpu_time();
        self.started(both_max, || both_max.saturating_sub(thread_cpu_time().saturating_sub(begun)))
    }

    /// `configure_max` says what is left for `configure` after the start.
    fn started(&self, start_max: Duration, configure_max: impl Fn() -> Duration) -> Result<Instance, InstantiateError> {
        let engine = self.plugin.engine();
        let limits = engine.limits();
        let mut running = Running::start(engine, self.plugin.program(), self.label.as_ref(), start_max)?;
        running.configure_max = configure_max();
        running.configure(&self.config)?;
        let batch_max = Duration::from_millis(limits.batch_ms_max);
        Ok(Instance { running, plugin: self.plugin.clone(), batch_max, call_max: batch_max, dead: false })
    }

    /// The most memory that one instance may have, in bytes.
    #[must_use]
    pub fn memory_bytes_max(&self) -> usize {
        self.plugin.program().memory_bytes_max
    }
}

impl fmt::Debug for ConfiguredPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfiguredPlugin({:?}, config of {} bytes)", self.plugin, self.config.len())
    }
}

/// One instance of a configured plugin. It holds no state of vehicles, so any instance can serve any vehicle and any
/// batch may be given to another one again. Its life ends with the first error for which
/// [`EvaluateError::instance_is_dead`].
pub struct Instance {
    running: Running,
    plugin: Plugin,
    batch_max: Duration,
    call_max: Duration,
    dead: bool,
}

impl Instance {
    /// Asks the plugin about a batch. `rows` holds the state of the vehicles that occur, in rows of the descriptor's
    /// `row_bytes`; a position's `slot` names its row. A vehicle's positions stand in order of their time.
    ///
    /// # Errors
    /// Nothing of the batch counts then. The plugin crashed or went beyond a limit and the instance is dead; or it
    /// refused the batch, or answered what the contract forbids, and the instance may be asked again.
    pub fn evaluate(&mut self, positions: &[Position], rows: &[u8]) -> Result<Outcome, EvaluateError> {
        debug_assert!(
            positions.iter().all(|position| {
                let row_bytes = self.plugin.descriptor().row_bytes as usize;
                (position.slot as usize + 1) * row_bytes <= rows.len()
            }),
            "every slot has its row"
        );
        let (functions, store) = self.start_call(rows.len())?;
        let answer = functions.evaluate(store, positions, rows);
        let answer = self.end_call(answer)?;
        checked(answer, positions, rows.len(), self.plugin.descriptor().kind, self.limits())
            .map_err(|error| self.failed(error))
    }

    /// Turns rows of an older state version into rows of this one.
    ///
    /// # Errors
    /// As [`Instance::evaluate`]; `Rejected` when the plugin can't read that version.
    pub fn migrate(&mut self, from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        let old_rows = rows.len().checked_div(row_bytes as usize).unwrap_or(0);
        let expected = old_rows * self.plugin.descriptor().row_bytes as usize;
        let (functions, store) = self.start_call(expected)?;
        let answer = functions.migrate(store, from_version, row_bytes, rows);
        let answer = self.end_call(answer)?;
        if answer.len() == expected {
            return Ok(answer);
        }
        let wrong = format!("{} bytes came back for {old_rows} rows, not {expected}", answer.len());
        Err(self.failed(EvaluateError::Malformed(wrong)))
    }

    /// The plugin it is an instance of.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Whether it can't be called again.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Says for whom it works: its lines name the tenant and the deployment and go into the journal, and those that it
    /// wrote before do so now.
    pub fn attach(&mut self, tenant: &str, deployment: &str, journal: Arc<PluginJournal>) {
        let label = Label { tenant: tenant.into(), deployment: deployment.into(), journal: Some(journal) };
        self.running.store.data_mut().log.attach(label);
    }

    /// Lets the next calls use so much CPU time, if that is less than [`InstanceLimits::batch_ms_max`].
    pub fn allow(&mut self, cpu_max: Duration) {
        self.call_max = cpu_max.min(self.batch_max);
    }

    /// CPU time of the last call, which took `elapsed` by the wall's clock. To be asked at once, on the same thread.
    #[must_use]
    pub fn cpu_time(&self, elapsed: Duration) -> Duration {
        self.running.store.data().call.used(elapsed)
    }

    /// Says which vehicle the next calls are about, when it is only one: their lines name it.
    pub fn about(&mut self, vehicle: Option<Arc<str>>) {
        self.running.store.data_mut().log.about(vehicle);
    }

    /// Bytes of all its memories together.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.running.store.data().memory_bytes
    }

    /// Lines it tried to log beyond its quota.
    #[must_use]
    pub fn log_lines_dropped(&self) -> u64 {
        self.running.store.data().log.dropped()
    }

    fn limits(&self) -> &InstanceLimits {
        self.plugin.engine().limits()
    }

    fn start_call(&mut self, rows_len: usize) -> Result<(&newest::Functions, &mut Store<HostState>), EvaluateError> {
        if self.dead {
            return Err(EvaluateError::Trapped("an earlier call ended this instance".into()));
        }
        let output_bytes_max = self.limits().output_bytes_max.saturating_add(rows_len);
        self.running.start_call(self.call_max, output_bytes_max);
        Ok((&self.running.functions, &mut self.running.store))
    }

    fn end_call<T>(&mut self, answer: wasmtime::Result<Result<T, String>>) -> Result<T, EvaluateError> {
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(text)) => EvaluateError::Rejected(shortened(text, MESSAGE_BYTES_MAX)),
            Err(error) => Failure::from(error).into(),
        };
        Err(self.failed(error))
    }

    fn failed(&mut self, error: EvaluateError) -> EvaluateError {
        metrics::call_failed(error.reason());
        self.dead |= error.instance_is_dead();
        error
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({:?}, dead: {})", self.plugin, self.dead)
    }
}
