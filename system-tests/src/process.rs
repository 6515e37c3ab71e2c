//! A started program whose output goes to a file, and which does not outlive its owner.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
///
/// # Errors
/// When `deadline` passes first; the message says what was waited for.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > deadline {
            bail!("{what} did not happen within {} s", deadline.as_secs());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Runs a command to its end and answers what it printed. Ctrl-C on our terminal does not reach it: it is we who decide
/// what that means.
///
/// # Errors
/// When it fails; with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    end_with_us(command);
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        let program = Path::new(command.get_program()).display().to_string();
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!(
            "{program} {} failed ({}):\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard error appended to `log` (and standard output too, unless it was set before with
    /// [`Process::start_with_output`]).
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = append(log)?;
        Self::start_with_output(name, command, output, log)
    }

    /// The same with standard output to a file of its own.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with_output(name: &str, command: &mut Command, output: impl Into<Stdio>, log: &Path) -> Result<Self> {
        end_with_us(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(append(log)?)
            .spawn()
            .with_context(|| format!("start {name}: {:?}", command.get_program()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process' id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Errors with the end of its log when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); the end of its log:\n{}", self.name, self.log_end()),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait_for(&format!("the end of {name}"), deadline, || self.ended())
    }

    /// As the kernel does it to a process that is out of luck: SIGKILL, nothing runs after it.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM: please drain and end.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        signal(self.child.id(), libc::SIGTERM);
        self.wait(deadline)
    }

    /// SIGINT: as Ctrl-C does it.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn interrupt(&mut self, deadline: Duration) -> Result<ExitStatus> {
        signal(self.child.id(), libc::SIGINT);
        self.wait(deadline)
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn append(log: &Path) -> Result<File> {
    File::options().create(true).append(true).open(log).with_context(|| format!("write {}", log.display()))
}

/// Ctrl-C on a terminal reaches the whole process group: the child gets one of its own, so that we decide when it ends.
/// And when we are killed, nobody would end it: the kernel does. A shell that started us in the background has us ignore
/// SIGINT, and the child would until it catches it.
#[allow(unsafe_code)]
fn end_with_us(command: &mut Command) {
    command.process_group(0);
    // SAFETY: between fork and exec only prctl(2) and signal(2) are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

#[allow(unsafe_code)]
fn signal(process: u32, signal: i32) {
    // SAFETY: kill(2) takes plain numbers; the id is that of our own child, which was not waited for yet.
    unsafe {
        libc::kill(process as libc::pid_t, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process group is the fifth field; no name here has a space in it.
    const GROUP: &str = "cut -d' ' -f5 /proc/$$/stat";

    #[test]
    fn ctrl_c_on_our_terminal_does_not_reach_what_we_run() {
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        let ours = String::from_utf8(shell(GROUP).output().unwrap().stdout).unwrap();
        assert_ne!(run(&mut shell(GROUP)).unwrap(), ours);
        let said = run(shell("echo why >&2; exit 3").arg("x")).unwrap_err().to_string();
        assert!(said.contains("why") && said.contains('3'), "{said}");
    }
}
