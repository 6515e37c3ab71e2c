//! From a component to machine code.

use crate::child::{self, ChildError, Task};
use crate::engine::wasmtime_engine;
use crate::limits::CompileLimits;

/// Where bytes from outside are worked on: components compiled, configs checked against plugins' schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compiler {
    /// In a child process with [`CompileLimits`]: the program calls
    /// [`run_compiler_if_asked`](crate::run_compiler_if_asked) first thing in `main`.
    #[default]
    ChildProcess,
    /// In this process and without limits: for tests and for components of our own.
    InProcess,
}

/// Why there is no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The compiler says the component is faulty.
    #[error("the component can't be compiled: {0}")]
    Refused(String),
    /// Beyond [`CompileLimits`].
    #[error("the component takes too much to compile: {0}")]
    TooExpensive(String),
    /// Not the component's fault; may go better another time.
    #[error("the compiler could not be run: {0}")]
    Process(String),
}

impl From<ChildError> for CompileError {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Refused(text) => Self::Refused(text),
            ChildError::TooExpensive(text) => Self::TooExpensive(text),
            ChildError::Failed(text) => Self::Process(text),
        }
    }
}

/// Turns a component into an artifact.
pub(crate) fn compile(compiler: Compiler, limits: &CompileLimits, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    let artifact = match compiler {
        Compiler::InProcess => in_this_process(wasm),
        Compiler::ChildProcess => child::run(Task::Compile, limits, wasm),
    };
    Ok(artifact?)
}

/// The work itself.
pub(crate) fn in_this_process(wasm: &[u8]) -> Result<Vec<u8>, ChildError> {
    let engine = wasmtime_engine().map_err(|error| ChildError::Failed(format!("{error:#}")))?;
    engine.precompile_component(wasm).map_err(|error| ChildError::Refused(format!("{error:#}")))
}
