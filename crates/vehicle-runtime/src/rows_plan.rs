//! What becomes of a deployment's rows when another activation follows.
//!
//! ```text
//!   same plugin, same state version      Keep      the rows go on
//!   back to the one that ran before      Restore   its rows as they were when it was replaced
//!   same plugin, another state version   Migrate   `migrate` reads them, at the barrier
//!   otherwise                            Zero
//! ```
//! Rows that are replaced stay, in the workers and stored, for as long as a rollback may take them up again.

use crate::deployment::{Activation, Running};
use crate::error::DeployError;
use crate::plugin::{Rule, RuleFacts};
use crate::runtime::Core;
use crate::worker::{Job, RowsChange};

/// One for each worker; `None` for a suspended activation, which needs none.
pub(crate) type Instances = Vec<Option<Box<dyn Rule>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowsPlan {
    Keep,
    Restore,
    Migrate,
    Zero,
}

fn plan(running: Option<&RuleFacts>, previous: Option<&RuleFacts>, next: &RuleFacts) -> RowsPlan {
    let Some(running) = running else { return RowsPlan::Zero };
    let same_rows = |facts: &RuleFacts| {
        (&facts.name, facts.state_version, facts.row_bytes) == (&next.name, next.state_version, next.row_bytes)
    };
    let same_plugin = running.name == next.name;
    // Rows of a newer version mean nothing to an older one; those of an older one are fresher than what was replaced.
    let goes_back = !same_plugin || running.state_version > next.state_version;
    if same_rows(running) {
        RowsPlan::Keep
    } else if goes_back && previous.is_some_and(same_rows) {
        RowsPlan::Restore
    } else if same_plugin {
        RowsPlan::Migrate
    } else {
        RowsPlan::Zero
    }
}

impl Core {
    /// Decides what becomes of the rows, and has them migrated beside the running ones when they need it.
    pub(crate) async fn prepare_rows(
        &self,
        activation: &mut Activation,
        running: Option<&Running>,
        instances: Instances,
    ) -> Result<Vec<RowsChange>, DeployError> {
        let previous = running.and_then(|running| running.previous.as_ref());
        let current = running.map(|running| &running.current);
        let facts = |activation: &Activation| activation.rule.facts().clone();
        let plan = plan(current.map(facts).as_ref(), previous.map(facts).as_ref(), activation.rule.facts());
        match (plan, current, previous) {
            (RowsPlan::Keep, Some(current), _) => {
                activation.rows_since = current.rows_since;
                Ok(instances.into_iter().map(RowsChange::Keep).collect())
            }
            (RowsPlan::Restore, _, Some(previous)) => {
                activation.rows_since = previous.rows_since;
                Ok(instances.into_iter().map(RowsChange::Restore).collect())
            }
            (RowsPlan::Migrate, Some(current), _) => {
                activation.rows_since = activation.generation;
                let count = instances.len();
                self.migrate(activation, activation, current, instances).await?;
                Ok((0..count).map(|_| RowsChange::Migrated).collect())
            }
            _ => {
                activation.rows_since = activation.generation;
                Ok(instances.into_iter().map(RowsChange::Zero).collect())
            }
        }
    }

    /// The change does not come about: what `Migrate` made is of no use.
    pub(crate) fn drop_migrated(&self, activation: &Activation) {
        self.cast_all(|| Job::DropMigrated { key: activation.key.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_on_come_back_are_read_or_begin_anew() {
        let facts = |name: &str, state_version| RuleFacts {
            hash: [0; 32],
            name: name.into(),
            version: String::new(),
            state_version,
            row_bytes: 8 * state_version,
        };
        let (one, two, other) = (facts("zones", 1), facts("zones", 2), facts("other", 1));
        assert_eq!(plan(None, None, &one), RowsPlan::Zero);
        assert_eq!(plan(Some(&one), Some(&two), &one), RowsPlan::Keep);
        assert_eq!(plan(Some(&one), None, &two), RowsPlan::Migrate);
        assert_eq!(plan(Some(&two), Some(&one), &one), RowsPlan::Restore);
        assert_eq!(plan(Some(&other), Some(&one), &one), RowsPlan::Restore);
        assert_eq!(plan(Some(&two), None, &one), RowsPlan::Migrate, "the plugin may know a way");
        assert_eq!(plan(Some(&one), Some(&two), &two), RowsPlan::Migrate, "what it has is fresher");
        assert_eq!(plan(Some(&one), Some(&two), &other), RowsPlan::Zero);
    }
}
