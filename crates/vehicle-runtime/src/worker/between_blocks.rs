//! What a worker does between two blocks: checkpoints, swaps, idle vehicles.

use super::job::{Collected, CollectedRows, Job, RowsChange, Swap};
use super::migration;
use super::plugin_stage::Deployed;
use super::supervisor::Shard;
use crate::keys::DeploymentKey;
use crate::leash::{MIGRATE_CPU_MS_MAX, SEARCH_CPU_MS_MAX, TENANT_FAILING_CPU_MS_MAX};
use crate::plugin::Rule;
use fleet_model::{Timestamp, VehicleKey, VehicleName, VehicleState};
use plugin_host::thread_cpu_time;
use std::sync::Arc;
use std::time::Duration;

impl Shard {
    /// Does a job that is no block. Whoever waits for its answer may have gone.
    pub(super) fn between_blocks(&mut self, job: Job) {
        match job {
            // The one job that waits for others: the supervisor's own.
            Job::Block(_) => {}
            Job::Load(vehicles) => self.load(vehicles),
            Job::LoadRows { key, since, rows, done } => {
                self.load_rows(&key, since, rows);
                let _ = done.send(());
            }
            Job::Collect(reply) => {
                let _ = reply.send(self.collect());
            }
            Job::ShowAll(done) => {
                let all: Vec<_> = self.table.iter().map(|entry| (entry.name.clone(), entry.state)).collect();
                self.shared.sink.changed(&all);
                let _ = done.send(());
            }
            #[cfg(test)]
            Job::CountActors(reply) => {
                let _ = reply.send(self.actors.len());
            }
            Job::Passivate { now } => self.passivate(now),
            Job::Migrate { key, rule, row_bytes, done } => {
                let _ = done.send(self.migrate(&key, rule, row_bytes));
            }
            Job::DropMigrated { key } => {
                if let Some(deployed) = self.deployed.get_mut(&key) {
                    deployed.migrated = None;
                }
            }
            Job::Swap(swap) => self.swap(*swap),
            Job::Retire { key, done } => {
                self.deployed.remove(&key);
                let _ = done.send(());
            }
        }
    }

    fn load(&mut self, vehicles: Vec<(Arc<VehicleName>, VehicleState)>) {
        let now = (self.shared.clock)();
        for (name, state) in vehicles {
            self.insert(name, state, now);
        }
    }

    fn load_rows(&mut self, key: &DeploymentKey, since: u64, rows: Vec<(VehicleKey, Vec<u8>)>) {
        let Some(deployed) = self.deployed.get_mut(key) else { return };
        let Some(store) = deployed.stores().find(|store| store.shape.since == since) else { return };
        for (vehicle, row) in rows {
            if let Some(number) = self.numbers.get(&vehicle) {
                store.rows.load(*number, &row);
            }
        }
    }

    fn collect(&mut self) -> Collected {
        let mut collected = Collected::default();
        for entry in &mut self.table {
            if std::mem::take(&mut entry.dirty) {
                collected.vehicles.push((entry.name.clone(), entry.state));
            }
        }
        for (key, deployed) in &mut self.deployed {
            for store in deployed.stores() {
                let changed = store.rows.take_dirty().into_iter();
                let rows: Vec<_> = changed.map(|(number, row)| (self.table[number as usize].name.key, row)).collect();
                if !rows.is_empty() {
                    collected.rows.push(CollectedRows { key: key.clone(), shape: store.shape, rows });
                }
            }
        }
        collected
    }

    fn passivate(&mut self, now: Timestamp) {
        let mut stopped = 0;
        for number in 0..self.table.len() as u32 {
            let entry = &self.table[number as usize];
            if now.since_ms(entry.last_active) < self.shared.passivate_after_ms {
                continue;
            }
            if let Some(actor) = entry.actor.clone() {
                self.forget_actor(number);
                actor.stop(None);
                stopped += 1;
            }
        }
        if stopped > 0 {
            tracing::debug!(stopped, worker = self.index, "idle vehicles' actors were stopped");
        }
    }

    fn migrate(&mut self, key: &DeploymentKey, mut rule: Box<dyn Rule>, row_bytes: u32) -> Result<(), String> {
        let Some(deployed) = self.deployed.get_mut(key) else { return Err("nothing runs under this name".into()) };
        let from = deployed.store.shape.state_version;
        let (now, begun) = ((self.shared.clock)(), thread_cpu_time());
        let is_out = deployed.ledger.tenant_leash.lock().is_out(now, TENANT_FAILING_CPU_MS_MAX);
        let cpu_max = Duration::from_millis(if is_out { SEARCH_CPU_MS_MAX } else { MIGRATE_CPU_MS_MAX });
        let migrated = migration::migrate(rule.as_mut(), from, &deployed.store.rows, row_bytes, cpu_max);
        if migrated.is_err() {
            let cpu = thread_cpu_time().saturating_sub(begun);
            deployed.ledger.tenant_leash.lock().lose(now, cpu);
        }
        deployed.migrated = Some((rule, migrated?));
        Ok(())
    }

    fn swap(&mut self, Swap { activation, rows, trial, behind, done }: Swap) {
        let key = activation.key.clone();
        let ledger = self.ledger(&key.0);
        match (self.deployed.get_mut(&key), rows) {
            (Some(deployed), rows) => deployed.swap(activation, rows, behind),
            (None, RowsChange::Keep(rule) | RowsChange::Restore(rule) | RowsChange::Zero(rule)) => {
                self.deployed.insert(key.clone(), Deployed::new(activation, rule, behind, ledger, false));
            }
            (None, RowsChange::Same | RowsChange::Migrated) => {}
        }
        if let Some(deployed) = self.deployed.get_mut(&key) {
            deployed.change_trial(trial, |number| self.table[number as usize].name.key);
        }
        let _ = done.send(());
    }
}
