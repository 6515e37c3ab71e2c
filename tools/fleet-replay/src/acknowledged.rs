//! Writes down what was acknowledged: a line of JSON per reading.

use crate::message::Message;
use anyhow::Context;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Goes nowhere unless a file was asked for.
pub(crate) struct Acknowledged {
    file: Option<Mutex<Output>>,
}

struct Output {
    path: PathBuf,
    writer: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl Acknowledged {
    pub(crate) fn into_file(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = match path {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
                Some(Mutex::new(Output { path: path.to_owned(), writer: BufWriter::new(file), failed: None }))
            }
            None => None,
        };
        Ok(Self { file })
    }

    pub(crate) fn record(&self, message: &Message) {
        let Some(file) = &self.file else { return };
        let mut output = file.lock().unwrap_or_else(PoisonError::into_inner);
        for event_time_ms in &message.event_times_ms {
            // Ids hold no character that JSON would escape.
            let vehicle = &message.vehicle.id;
            let written = match event_time_ms {
                Some(time) => writeln!(output.writer, r#"{{"vehicle":"{vehicle}","event_time_ms":{time}}}"#),
                None => writeln!(output.writer, r#"{{"vehicle":"{vehicle}","event_time_ms":null}}"#),
            };
            if let Err(error) = written {
                output.failed.get_or_insert(error);
            }
        }
    }

    /// Flushes; says if any of it could not be written.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut output = file.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = output.writer.flush();
        let outcome = match output.failed.take() {
            Some(error) => Err(error),
            None => flushed,
        };
        outcome.with_context(|| format!("write {}", output.path.display()))
    }
}
