//! Both logs of this crate do what every log does.

use std::sync::Arc;

use tempfile::TempDir;

use crate::conformance::{self, Subject};
use crate::{EventLog, MemoryLog, RedbLog, RedbOptions};

struct InMemory;

impl Subject for InMemory {
    type Place = MemoryLog;

    fn place(&self) -> MemoryLog {
        MemoryLog::new()
    }

    fn open(&self, place: &MemoryLog) -> Arc<dyn EventLog> {
        Arc::new(place.clone())
    }
}

struct InRedb(RedbOptions);

impl Subject for InRedb {
    type Place = TempDir;

    fn place(&self) -> TempDir {
        TempDir::new().unwrap()
    }

    fn open(&self, place: &TempDir) -> Arc<dyn EventLog> {
        Arc::new(RedbLog::open(&place.path().join("log.redb"), self.0.clone()).unwrap())
    }
}

#[test]
fn memory_conforms() {
    conformance::run(&InMemory);
}

#[test]
fn redb_conforms() {
    conformance::run(&InRedb(RedbOptions::default()));
}

#[test]
fn redb_conforms_with_a_queue_for_two() {
    conformance::run(&InRedb(RedbOptions { queue_commits_max: 2, queue_bytes_max: 10, ..RedbOptions::default() }));
}
