//! Runs WebAssembly components that decide about vehicles: the only crate that sees wasmtime.
//!
//! From bytes to answers, each step a type that only the step before can make:
//!
//! ```text
//! bytes --PluginEngine::load--> Plugin --configure--> ConfiguredPlugin --instantiate--> Instance --evaluate--> Outcome
//!         size, imports,         JSON Schema,            cheap enough to do            one thread at a time;
//!         exports, compile,      then the plugin's       again after a trap            a trap ends it
//!         describe               own opinion
//! ```
//!
//! All calls block: `load` may take seconds and belongs on a blocking thread, `evaluate` belongs on the shard's thread.
//! What a plugin may cost is in [`InstanceLimits`] and [`CompileLimits`]. A plugin has no clock, no randomness, no files
//! and no network; the same inputs give the same bytes on every machine.
//!
//! A program that loads plugins calls [`run_compiler_if_asked`] first thing in `main`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bindings;
mod cache;
mod child;
mod compile;
mod component;
mod config;
mod cpu_clock;
mod descriptor;
mod engine;
mod instance;
mod journal;
mod limits;
mod load;
mod metrics;
mod outcome;
mod plugin_log;
mod position;
mod rehearsal;
mod token_bucket;

pub use child::run_compiler_if_asked;
pub use compile::{CompileError, Compiler};
pub use config::ConfigProblem;
pub use cpu_clock::thread_cpu_time;
pub use descriptor::{Descriptor, PluginKind};
pub use engine::{EngineConfig, EngineError, EngineFigures, PluginEngine};
pub use instance::{ConfigError, ConfiguredPlugin, EvaluateError, Instance, InstantiateError, MigrationError};
pub use journal::{JOURNAL_LINES_MAX, JournalClock, JournalCounts, JournalLine, LogLevel, PluginJournal, SharedRate};
pub use limits::{
    CONFIG_BYTES_MAX, CompileLimits, DETAILS_BYTES_MAX, InstanceLimits, ROW_BYTES_MAX, SUBJECT_BYTES_MAX,
    UPLOAD_BYTES_MAX,
};
pub use load::{InvalidHash, LoadError, Plugin, PluginHash};
pub use outcome::{Outcome, Proposal};
pub use position::Position;
pub use rehearsal::{FAILING_CPU_MAX, Failed, Rehearsal, RehearsalFigures, RehearseError, Rehearsed, RehearsedAnswer};
pub use token_bucket::TokenBucket;
