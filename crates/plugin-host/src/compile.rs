//! Compiling, in a process of its own.
//!
//! A small component can be made to compile for a minute or to take half a gigabyte. So the program starts itself again
//! with a hidden first argument; the child limits its own CPU time and address space, compiles standard input to standard
//! output, and exits. The operating system ends a child that goes beyond; the parent ends one that takes too long.

use crate::engine::wasmtime_engine;
use crate::limits::{ARTIFACT_BYTES_MAX, CompileLimits, MESSAGE_BYTES_MAX, UPLOAD_BYTES_MAX, shortened};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use wasmtime::Engine;

/// First argument of a child. No program of ours takes it from a person.
const CHILD_ARGUMENT: &str = "--drover-compile-plugin";
/// What a child writes before the checksum and the artifact, so that another program's output is never taken for code.
const ANSWER_MAGIC: &[u8; 8] = b"DRVCODE1";
/// Exit code of a child that compiled.
const EXIT_COMPILED: u8 = 0;
/// Exit code of a child that found the component faulty; standard error says how.
const EXIT_REFUSED: u8 = 3;
/// Exit code of a child that could not do its work.
const EXIT_FAILED: u8 = 4;

/// Where components are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compiler {
    /// In a child process with [`CompileLimits`]: the program calls [`run_compiler_if_asked`] first thing in `main`.
    #[default]
    ChildProcess,
    /// In this process and without limits: for tests and for components of our own.
    InProcess,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
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

impl From<io::Error> for CompileError {
    fn from(error: io::Error) -> Self {
        CompileError::Process(error.to_string())
    }
}

/// Turns a component into an artifact for `engine`.
pub(crate) fn compile(
    engine: &Engine,
    compiler: Compiler,
    limits: &CompileLimits,
    wasm: &[u8],
) -> Result<Vec<u8>, CompileError> {
    match compiler {
        Compiler::InProcess => {
            engine.precompile_component(wasm).map_err(|error| CompileError::Refused(format!("{error:#}")))
        }
        Compiler::ChildProcess => compile_in_child(limits, wasm),
    }
}

fn compile_in_child(limits: &CompileLimits, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut child = spawn(limits)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(CompileError::Process("no pipes to the child".into()));
    };
    let answer_bytes_max = ARTIFACT_BYTES_MAX + (ANSWER_MAGIC.len() + 32) as u64;
    let (done, answer) = mpsc::channel();
    std::thread::scope(|scope| {
        // A child that dies early closes the pipe: its exit status says more than the broken pipe does.
        scope.spawn(move || drop(stdin.write_all(wasm)));
        scope.spawn(move || {
            let mut text = String::new();
            drop(stderr.take(MESSAGE_BYTES_MAX as u64).read_to_string(&mut text));
            let mut bytes = Vec::new();
            let read = stdout.take(answer_bytes_max).read_to_end(&mut bytes);
            drop(done.send(read.map(|_| (bytes, text))));
        });
        let answer = answer.recv_timeout(Duration::from_millis(limits.wall_ms_max));
        if answer.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let Ok(answer) = answer else {
            return Err(CompileError::TooExpensive(format!("more than {} ms", limits.wall_ms_max)));
        };
        let (bytes, text) = answer?;
        judge(status, bytes, &text, limits)
    })
}

fn spawn(limits: &CompileLimits) -> io::Result<Child> {
    // On Linux the running program itself, even when its file was replaced by an upgrade meanwhile.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    Command::new(program)
        .args([CHILD_ARGUMENT, &limits.cpu_s_max.to_string(), &limits.memory_bytes_max.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What the way a child ended says about the component.
fn judge(status: ExitStatus, answer: Vec<u8>, text: &str, limits: &CompileLimits) -> Result<Vec<u8>, CompileError> {
    let text = shortened(text.trim().to_owned(), MESSAGE_BYTES_MAX);
    match status.code() {
        Some(code) if code == i32::from(EXIT_COMPILED) => {
            artifact_in(answer).ok_or_else(|| CompileError::Process("the child's answer is not an artifact".into()))
        }
        Some(code) if code == i32::from(EXIT_REFUSED) => Err(CompileError::Refused(text)),
        Some(code) => Err(CompileError::Process(format!("the child exited with {code}: {text}"))),
        None => Err(CompileError::TooExpensive(format!(
            "the child was ended ({status}) at {} s of CPU time or {} MiB at the latest; {text}",
            limits.cpu_s_max,
            limits.memory_bytes_max / 1024 / 1024,
        ))),
    }
}

fn artifact_in(mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let head = ANSWER_MAGIC.len() + 32;
    if answer.len() < head || !answer.starts_with(ANSWER_MAGIC) {
        return None;
    }
    let artifact = answer.split_off(head);
    let checksum = Sha256::digest(&artifact);
    (answer[ANSWER_MAGIC.len()..] == checksum[..]).then_some(artifact)
}

/// Compiles and exits when this process was started for that; does nothing otherwise. Call it first thing in `main`,
/// before threads, sockets and arguments.
pub fn run_compiler_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_none_or(|first| first != CHILD_ARGUMENT) {
        return;
    }
    let number = |argument: Option<String>| argument.and_then(|text| text.parse::<u64>().ok());
    let code = match (number(arguments.next()), number(arguments.next())) {
        (Some(cpu_s), Some(memory_bytes)) => run_compiler(cpu_s, memory_bytes),
        _ => EXIT_FAILED,
    };
    std::process::exit(i32::from(code));
}

fn run_compiler(cpu_s: u64, memory_bytes: u64) -> u8 {
    let fail = |code: u8, text: String| {
        eprintln!("{text}");
        code
    };
    if let Err(error) = limit_this_process(cpu_s, memory_bytes) {
        return fail(EXIT_FAILED, format!("limits can't be set: {error}"));
    }
    let mut wasm = Vec::new();
    if let Err(error) = io::stdin().lock().take(UPLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut wasm) {
        return fail(EXIT_FAILED, format!("no component to read: {error}"));
    }
    let engine = match wasmtime_engine() {
        Ok(engine) => engine,
        Err(error) => return fail(EXIT_FAILED, format!("{error:#}")),
    };
    let artifact = match engine.precompile_component(&wasm) {
        Ok(artifact) => artifact,
        Err(error) => return fail(EXIT_REFUSED, format!("{error:#}")),
    };
    let mut out = io::stdout().lock();
    let written = out
        .write_all(ANSWER_MAGIC)
        .and_then(|()| out.write_all(&Sha256::digest(&artifact)))
        .and_then(|()| out.write_all(&artifact))
        .and_then(|()| out.flush());
    match written {
        Ok(()) => EXIT_COMPILED,
        Err(error) => fail(EXIT_FAILED, format!("no place for the artifact: {error}")),
    }
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn limit_this_process(cpu_s: u64, memory_bytes: u64) -> io::Result<()> {
    for (resource, value) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_CPU, cpu_s), (libc::RLIMIT_AS, memory_bytes)] {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` is a whole `rlimit` that lives through the call, which only reads it.
        if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit_this_process(_cpu_s: u64, _memory_bytes: u64) -> io::Result<()> {
    Ok(())
}
