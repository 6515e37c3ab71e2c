//! Why a command failed, and which exit code says so.

use crate::client::problem::Problem;

/// See `drover --help` for the exit codes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// The server understood and said no.
    Refused(Problem),
    /// An edge said no.
    RefusedByEdge(String),
    /// The cloud would say no.
    RefusedHere(String),
    /// No connection, or it was lost.
    Unreachable(String),
    /// Everything else.
    Failed(String),
    /// Whoever reads our output has gone: no reason to complain.
    NobodyReads,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::Failed(_) => 1,
            Self::Refused(problem) if problem.is_servers_fault() => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) | Self::RefusedByEdge(_) | Self::RefusedHere(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }

    /// For a person; `None` when there is nothing to say.
    pub(crate) fn said(&self) -> Option<String> {
        match self {
            Self::NobodyReads => None,
            Self::Refused(problem) => Some(problem.to_string()),
            Self::Usage(said)
            | Self::RefusedByEdge(said)
            | Self::RefusedHere(said)
            | Self::Unreachable(said)
            | Self::Failed(said) => Some(said.clone()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}
