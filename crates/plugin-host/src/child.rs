//! Work on bytes from outside that could take forever or the whole memory, in a process of its own.
//!
//! A small component can be made to compile for a minute or to take half a gigabyte; a JSON Schema can refer to itself
//! until the stack ends. So the program starts itself again with a hidden first argument; the child limits its own CPU
//! time and address space, works from standard input to standard output, and exits. The operating system ends a child
//! that goes beyond; the parent ends one that takes too long.

use crate::compile;
use crate::config;
use crate::limits::{ARTIFACT_BYTES_MAX, CompileLimits, MESSAGE_BYTES_MAX, shortened};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// First argument of a child. No program of ours takes it from a person.
const CHILD_ARGUMENT: &str = "--drover-plugin-child";
/// What a child writes before the checksum and its answer, so that another program's output is never taken for code.
const ANSWER_MAGIC: &[u8; 8] = b"DRVCHLD1";
const ANSWER_HEAD_BYTES: usize = ANSWER_MAGIC.len() + 32;
/// Most that a child reads: a component, or a schema with a config.
const INPUT_BYTES_MAX: u64 = 24 * 1024 * 1024;
/// Exit code of a child that answered.
const EXIT_ANSWERED: u8 = 0;
/// Exit code of a child that found its input faulty; standard error says how.
const EXIT_REFUSED: u8 = 3;
/// Exit code of a child that could not do its work.
const EXIT_FAILED: u8 = 4;

/// What a child can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// A component to an artifact.
    Compile,
    /// A schema and a config to the config's problems.
    CheckConfig,
}

impl Task {
    const ALL: [Task; 2] = [Task::Compile, Task::CheckConfig];

    fn name(self) -> &'static str {
        match self {
            Task::Compile => "compile",
            Task::CheckConfig => "check-config",
        }
    }

    fn run(self, input: &[u8]) -> Result<Vec<u8>, ChildError> {
        match self {
            Task::Compile => compile::in_this_process(input),
            Task::CheckConfig => config::in_this_process(input),
        }
    }
}

/// Why a child has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChildError {
    /// The input is faulty.
    Refused(String),
    /// Beyond the limits.
    TooExpensive(String),
    /// Not the input's fault.
    Failed(String),
}

impl From<io::Error> for ChildError {
    fn from(error: io::Error) -> Self {
        ChildError::Failed(error.to_string())
    }
}

/// Has a child do `task`. Blocks until it ends or is ended.
pub(crate) fn run(task: Task, limits: &CompileLimits, input: &[u8]) -> Result<Vec<u8>, ChildError> {
    let mut child = spawn(task, limits)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(ChildError::Failed("no pipes to the child".into()));
    };
    let (done, answer) = mpsc::channel();
    std::thread::scope(|scope| {
        // A child that dies early closes the pipe: its exit status says more than the broken pipe does.
        scope.spawn(move || drop(stdin.write_all(input)));
        let complaint = scope.spawn(move || {
            let mut bytes = Vec::new();
            drop(stderr.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        scope.spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(ARTIFACT_BYTES_MAX).read_to_end(&mut bytes);
            drop(done.send(read.map(|_| bytes)));
        });
        let answer = answer.recv_timeout(Duration::from_millis(limits.wall_ms_max));
        if answer.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let Ok(answer) = answer else {
            return Err(ChildError::TooExpensive(format!("more than {} ms", limits.wall_ms_max)));
        };
        judge(status, answer?, complaint.join().unwrap_or_default(), limits)
    })
}

fn spawn(task: Task, limits: &CompileLimits) -> io::Result<Child> {
    // On Linux the running program itself, even when its file was replaced by an upgrade meanwhile.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    Command::new(program)
        .args([CHILD_ARGUMENT, task.name(), &limits.cpu_s_max.to_string(), &limits.memory_bytes_max.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What the way a child ended says about its input.
fn judge(
    status: ExitStatus,
    answer: Vec<u8>,
    complaint: String,
    limits: &CompileLimits,
) -> Result<Vec<u8>, ChildError> {
    match status.code() {
        Some(code) if code == i32::from(EXIT_ANSWERED) => {
            unwrapped(answer).ok_or_else(|| ChildError::Failed("this program does not answer as a child".into()))
        }
        Some(code) if code == i32::from(EXIT_REFUSED) => Err(ChildError::Refused(complaint)),
        Some(code) => Err(ChildError::Failed(format!("the child exited with {code}: {complaint}"))),
        None => {
            let (cpu_s, mib) = (limits.cpu_s_max, limits.memory_bytes_max / 1024 / 1024);
            let text = format!("ended by {status} within {cpu_s} s of CPU time and {mib} MiB: {complaint}");
            Err(ChildError::TooExpensive(shortened(text, MESSAGE_BYTES_MAX)))
        }
    }
}

fn unwrapped(mut answer: Vec<u8>) -> Option<Vec<u8>> {
    if answer.len() < ANSWER_HEAD_BYTES || !answer.starts_with(ANSWER_MAGIC) {
        return None;
    }
    let body = answer.split_off(ANSWER_HEAD_BYTES);
    let checksum = Sha256::digest(&body);
    (answer[ANSWER_MAGIC.len()..] == checksum[..]).then_some(body)
}

/// Compiles a plugin (or checks a config) and exits, when this process was started for that; does nothing otherwise.
/// Call it first thing in `main`, before threads, sockets and arguments.
pub fn run_compiler_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_none_or(|first| first != CHILD_ARGUMENT) {
        return;
    }
    let task = arguments.next().and_then(|name| Task::ALL.into_iter().find(|task| task.name() == name));
    let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
    let code = match (task, number(), number()) {
        (Some(task), Some(cpu_s), Some(memory_bytes)) => be_a_child(task, cpu_s, memory_bytes),
        _ => EXIT_FAILED,
    };
    std::process::exit(i32::from(code));
}

fn be_a_child(task: Task, cpu_s: u64, memory_bytes: u64) -> u8 {
    let worked = limit_this_process(cpu_s, memory_bytes).map_err(ChildError::from).and_then(|()| {
        let mut input = Vec::new();
        io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut input)?;
        let answer = task.run(&input)?;
        let mut out = io::stdout().lock();
        out.write_all(ANSWER_MAGIC)?;
        out.write_all(&Sha256::digest(&answer))?;
        out.write_all(&answer)?;
        Ok(out.flush()?)
    });
    let (code, text) = match worked {
        Ok(()) => return EXIT_ANSWERED,
        Err(ChildError::Refused(text)) => (EXIT_REFUSED, text),
        Err(ChildError::TooExpensive(text) | ChildError::Failed(text)) => (EXIT_FAILED, text),
    };
    eprintln!("{text}");
    code
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
