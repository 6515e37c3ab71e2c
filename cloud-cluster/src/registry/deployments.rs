//! Deployments: a component put to work under a name, with a config.

use super::publishing::PublishError;
use super::record::{DeploymentRecord, PluginRecord, Revision, TrialPlan, VERSION};
use super::{DEPLOYMENTS_PER_TENANT_MAX, HISTORY_MAX, Registry, StorageError, Target};
use fleet_model::{ActKind, DeploymentName, Depots, Place, TenantId};
use fleet_wire::control::DEPLOYMENTS_LEN_MAX;
use plugin_host::{ConfigError, ConfigProblem, MigrationError, PluginHash};
use serde_json::Value;

/// Why a deployment stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No component of this tenant is called so.
    #[error("you have no component {0:?}: give name@version or the hash of one that you uploaded")]
    UnknownPlugin(String),
    /// The config breaks the component's schema, in these places.
    #[error("the config breaks the schema of {plugin}")]
    Schema {
        /// Which component.
        plugin: String,
        /// Where and how.
        problems: Vec<ConfigProblem>,
    },
    /// The config is too large, or the component itself refused it.
    #[error("{plugin} refuses the config: {what}")]
    Config {
        /// Which component.
        plugin: String,
        /// In its words.
        what: String,
    },
    /// It would find rows of another state version, and does not take them over.
    #[error(
        "{plugin} cannot take over the state that vehicles have from {running}: {why}; export `migrate`, or deploy it under \
         another name to start afresh"
    )]
    Rows {
        /// Which component.
        plugin: String,
        /// What runs.
        running: String,
        /// What is wrong.
        why: MigrationError,
    },
    /// No such deployment.
    #[error("you have no deployment {0}")]
    UnknownDeployment(DeploymentName),
    /// A trial is beside something.
    #[error("nothing runs under the name {0} that it could be tried beside: deploy it without a trial first")]
    NothingLive(DeploymentName),
    /// There is no trial.
    #[error("nothing is tried beside {0}")]
    NothingTried(DeploymentName),
    /// It would compare different vehicles.
    #[error("a trial beside {0} is for its depots, vehicles and tags: leave them out, or change those first")]
    OtherTarget(DeploymentName),
    /// What runs has its state where it is.
    #[error("{name} runs {}: state does not move; deploy it there under another name, then take this one back", if *.place == Place::Cloud { "in the cloud" } else { "on edges" })]
    OtherPlace {
        /// Which.
        name: DeploymentName,
        /// Where.
        place: Place,
    },
    /// There are no depots in the cloud.
    #[error(
        "a rule in the cloud decides about a vehicle wherever it reports: leave the depots out, and name vehicles or tags \
         if it is for some"
    )]
    DepotsInCloud,
    /// There is no revision before this one.
    #[error("{0} has no revision before this one")]
    NothingBefore(DeploymentName),
    /// The tenant has as many as it may, or all tenants together have as much as edges can be told.
    #[error(
        "there would be too many deployments: you may have {DEPLOYMENTS_PER_TENANT_MAX}, and those of all tenants \
         together {DEPLOYMENTS_LEN_MAX} bytes with their configs and vehicles; make configs smaller"
    )]
    TooMany,
    /// Worth a retry when storage works again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a change did.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The deployment as it is now.
    pub record: DeploymentRecord,
    /// It was not there before.
    pub created: bool,
}

/// What shall run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// `name@version`, or a hash.
    pub plugin: String,
    /// For it.
    pub config: Value,
    /// Where; `None`: as it is, at first on edges.
    pub place: Option<Place>,
    /// In which depots; `None`: as it is, at first in all.
    pub depots: Option<Depots>,
    /// For which vehicles; `None`: as it is, at first for all.
    pub target: Option<Target>,
    /// How it is tried first; `None`: it is live at once.
    pub trial: Option<TrialPlan>,
}

impl Registry {
    /// Makes what is wanted the next revision, or tries it beside the one that is live. When it is refused, what ran before
    /// stays; when it is what runs already, nothing changes. A trial that goes on ends. `by` is the name of the caller's
    /// key.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        wanted: Wanted,
        by: String,
    ) -> Result<Changed, DeployError> {
        let registry = self.clone();
        let deploy = tokio::spawn(async move {
            let deployed = registry.check_and_deploy(tenant.clone(), name.clone(), wanted, &by).await;
            if let Err(error) = &deployed {
                registry.change_refused(&tenant, &name, ("deployment", error), &by).await;
            }
            deployed
        });
        deploy.await.map_err(StorageError::from)?
    }

    /// Ends the trial; without one, makes the revision before the current one the next one.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn rollback(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        by: String,
    ) -> Result<DeploymentRecord, DeployError> {
        let registry = self.clone();
        let rollback = tokio::spawn(async move {
            let back = registry.go_back(&tenant, &name, &by).await;
            if let Err(error) = &back {
                registry.change_refused(&tenant, &name, ("rollback", error), &by).await;
            }
            back
        });
        rollback.await.map_err(StorageError::from)?
    }

    async fn go_back(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        by: &str,
    ) -> Result<DeploymentRecord, DeployError> {
        let _one = self.0.changing.lock().await;
        let known = self.deployment(tenant, name);
        let known = known.ok_or_else(|| DeployError::UnknownDeployment(name.clone()))?;
        if known.trial.is_some() {
            let now = (self.0.clock)();
            let ended = known.without_trial(&format!("rolled back with the key {by}"), now);
            return self.put(ended, ActKind::TrialEnded, by).await;
        }
        let before = known.history.last().cloned().ok_or_else(|| DeployError::NothingBefore(name.clone()))?;
        let back = Revision { revision: known.next_revision(), changed_time: (self.0.clock)(), ..before };
        self.put(known.followed_by(back), ActKind::DeploymentRolledBack, by).await
    }

    async fn check_and_deploy(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        wanted: Wanted,
        by: &str,
    ) -> Result<Changed, DeployError> {
        let Wanted { plugin, config, place, depots, target, trial } = wanted;
        let plugin = self.find_plugin(&tenant, &plugin).ok_or(DeployError::UnknownPlugin(plugin))?;
        let known = self.deployment(&tenant, &name);
        let place = place.or(known.as_ref().map(|known| known.place)).unwrap_or_default();
        if place == Place::Cloud && depots.as_ref().is_some_and(|depots| *depots != Depots::ALL) {
            return Err(DeployError::DepotsInCloud);
        }
        if let Some(known) = &known {
            known.stays_at(place)?;
        }
        let known = known.map(|known| known.current);
        if trial.is_some() {
            let live = known.as_ref().ok_or_else(|| DeployError::NothingLive(name.clone()))?;
            let other = depots.as_ref().is_some_and(|depots| *depots != live.depots)
                || target.as_ref().is_some_and(|target| *target != live.target);
            if other {
                return Err(DeployError::OtherTarget(name));
            }
        }
        self.check_rows(&tenant, &name, &plugin, &config).await?;
        let config = self.check_and_keep_config(&plugin, config).await?;
        let next = Revision {
            revision: 1,
            plugin: plugin.hash,
            plugin_name: plugin.name,
            plugin_version: plugin.version,
            config,
            changed_time: (self.0.clock)(),
            depots: depots.or_else(|| known.as_ref().map(|live| live.depots.clone())).unwrap_or_default(),
            target: target.or_else(|| known.map(|live| live.target)).unwrap_or_default(),
        };
        match trial {
            Some(plan) => self.begin_trial(tenant, name, next, plan, by).await,
            None => self.change(tenant, name, place, next, by).await,
        }
    }

    /// Makes `next` the current revision, unless it is that already. What it refers to was checked and is stored.
    pub(super) async fn change(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        place: Place,
        next: Revision,
        by: &str,
    ) -> Result<Changed, DeployError> {
        let _one = self.0.changing.lock().await;
        if let Some(known) = self.deployment(&tenant, &name) {
            known.stays_at(place)?;
        }
        let record = match self.deployment(&tenant, &name) {
            // What edges were told as damaged they take up only as a new revision.
            Some(known) if known.current.is_as(&next) && known.trial.is_none() && self.is_available(&tenant, &name) => {
                return Ok(Changed { record: known, created: false });
            }
            Some(known) => {
                let revision = known.next_revision();
                let known = known.without_trial("another revision was deployed", (self.0.clock)());
                known.followed_by(Revision { revision, ..next })
            }
            None if self.deployments_of(&tenant).len() >= DEPLOYMENTS_PER_TENANT_MAX => {
                return Err(DeployError::TooMany);
            }
            None => DeploymentRecord {
                record_version: VERSION,
                tenant,
                name,
                place,
                current: next,
                history: Vec::new(),
                trial: None,
                ended_trial: None,
                last_revision: 1,
                changes: 0,
            },
        };
        let created = record.history.is_empty();
        Ok(Changed { record: self.put(record, ActKind::DeploymentChanged, by).await?, created })
    }

    /// Tries `next` beside what runs, unless just that goes on. What it refers to was checked and is stored.
    async fn begin_trial(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        next: Revision,
        plan: TrialPlan,
        by: &str,
    ) -> Result<Changed, DeployError> {
        let _one = self.0.changing.lock().await;
        let known = self.deployment(&tenant, &name).ok_or_else(|| DeployError::NothingLive(name.clone()))?;
        let goes_on = known.trial.as_ref().is_some_and(|trial| trial.revision.is_as(&next) && trial.plan == plan);
        let Some(mode) = plan.first().filter(|_| !goes_on) else {
            return Ok(Changed { record: known, created: false });
        };
        let now = (self.0.clock)();
        let next = Revision { revision: known.next_revision(), changed_time: now, ..next };
        let record = known.trying(next, plan, mode, now);
        Ok(Changed { record: self.put(record, ActKind::TrialStarted, by).await?, created: false })
    }

    async fn check_and_keep_config(&self, plugin: &PluginRecord, config: Value) -> Result<PluginHash, DeployError> {
        let label = format!("{}@{}", plugin.name, plugin.version);
        let loaded = self.load(plugin.hash).await?;
        let registry = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            loaded.configure(&config)?;
            Ok::<_, ConfigError>(registry.0.configs.put(config.to_string().as_bytes()))
        });
        match checked.await.map_err(StorageError::from)? {
            Ok(kept) => Ok(kept.map_err(StorageError::from)?),
            Err(ConfigError::Schema(problems)) => Err(DeployError::Schema { plugin: label, problems }),
            Err(other) => Err(DeployError::Config { plugin: label, what: other.to_string() }),
        }
    }

    /// Stores, remembers, publishes. The caller holds `changing`. What can fail does so before the commit: a change that
    /// is durable is also told.
    pub(super) async fn put(
        &self,
        mut record: DeploymentRecord,
        act: ActKind,
        by: &str,
    ) -> Result<DeploymentRecord, DeployError> {
        record.changes += 1;
        let (registry, next) = (self.clone(), record.clone());
        let published = tokio::task::spawn_blocking(move || registry.published_with(&next)).await;
        let published = published.map_err(StorageError::from)?.map_err(|error| match error {
            PublishError::TooLong { .. } => {
                tracing::warn!(tenant = %record.tenant, deployment = %record.name, "a deployment was refused: {error}");
                DeployError::TooMany
            }
            PublishError::Storage(error) => error.into(),
        })?;
        self.commit(record.key(), &record, self.deployed(act, &record, by)).await?;
        let key = (record.tenant.clone(), record.name.clone());
        self.0.known.write().deployments.insert(key, record.clone());
        self.0.published.send_replace(published);
        Ok(record)
    }

    pub(super) fn find_plugin(&self, tenant: &TenantId, wanted: &str) -> Option<PluginRecord> {
        if let Ok(hash) = wanted.parse() {
            return self.plugin(tenant, hash);
        }
        let (name, version) = wanted.split_once('@')?;
        self.plugins(tenant).into_iter().find(|known| known.name == name && known.version == version)
    }

    /// The deployments of a tenant, by name.
    #[must_use]
    pub fn deployments_of(&self, tenant: &TenantId) -> Vec<DeploymentRecord> {
        let known = self.0.known.read();
        known.deployments.values().filter(|record| record.tenant == *tenant).cloned().collect()
    }

    /// One deployment of a tenant.
    #[must_use]
    pub fn deployment(&self, tenant: &TenantId, name: &DeploymentName) -> Option<DeploymentRecord> {
        self.0.known.read().deployments.get(&(tenant.clone(), name.clone())).cloned()
    }

    /// The config of a revision.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub async fn config_of(&self, revision: &Revision) -> Result<Value, StorageError> {
        let (registry, hash) = (self.clone(), revision.config);
        tokio::task::spawn_blocking(move || registry.config(hash)).await?
    }
}

impl Revision {
    /// Whether it would decide the same.
    fn is_as(&self, other: &Self) -> bool {
        (self.plugin, self.config, &self.depots, &self.target)
            == (other.plugin, other.config, &other.depots, &other.target)
    }
}

impl DeploymentRecord {
    fn stays_at(&self, place: Place) -> Result<(), DeployError> {
        match self.place {
            same if same == place => Ok(()),
            other => Err(DeployError::OtherPlace { name: self.name.clone(), place: other }),
        }
    }

    /// The number of the next revision.
    pub(super) const fn next_revision(&self) -> u64 {
        self.last_revision + 1
    }

    /// With the counts that a record of before there were trials lacks: its revisions were all its changes.
    pub(super) fn with_counts(self) -> Self {
        let revision = self.current.revision;
        Self { last_revision: self.last_revision.max(revision), changes: self.changes.max(revision), ..self }
    }

    /// The record after `next` became live.
    pub(super) fn followed_by(self, next: Revision) -> Self {
        let mut history = self.history;
        history.push(self.current);
        if history.len() > HISTORY_MAX {
            history.remove(0);
        }
        let last_revision = self.last_revision.max(next.revision);
        Self { current: next, history, last_revision, ..self }
    }
}
