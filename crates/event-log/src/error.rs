//! Why a log could not be opened.

use std::path::PathBuf;

/// Why a log could not be opened. Nothing was changed in the file, save what a repair after a crash had written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody has it open. Worth a retry when they are done.
    #[error("{} is open in another process or a second time in this one", .0.display())]
    Locked(PathBuf),
    /// Something else is in the file. Not worth a retry.
    #[error("{} is not a log: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// A later release wrote it. Not worth a retry: run that release.
    #[error("{} has format {found}; this release reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest that is known here.
        known: u32,
    },
    /// It was a log and is damaged. Not worth a retry: restore it, or start a new one and let the other end send again.
    #[error("{} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// The file system refused: missing folder, rights, a full disk.
    #[error("{} cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
