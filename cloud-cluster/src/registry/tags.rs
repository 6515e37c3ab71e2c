//! Tags of vehicles, and what becomes of the deployments that are for them.

use super::publishing::PublishError;
use super::record::{DeploymentRecord, TagsRecord, VERSION};
use super::target::VehicleTags;
use super::{Registry, StorageError};
use event_log::Snapshot;
use fleet_model::{DeploymentName, Scope, Tags, TenantId, VehicleId};
use fleet_wire::control::{DEPLOYMENTS_LEN_MAX, EncodedSet};
use std::sync::Arc;

/// Vehicles of one tenant that have tags. All of them are in memory, and a deployment may be for each.
pub const TAGGED_VEHICLES_PER_TENANT_MAX: usize = 20_000;

/// Why a vehicle's tags stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The tenant has as many tagged vehicles as it may.
    #[error(
        "you have {TAGGED_VEHICLES_PER_TENANT_MAX} vehicles with tags, which is the limit: remove those of another first"
    )]
    TooManyVehicles,
    /// What edges are told would be too long.
    #[error(
        "edges could not be told of it: with the vehicles that they are for, the deployments of all tenants would have {len} \
         bytes, and {DEPLOYMENTS_LEN_MAX} is the limit; have fewer deployments with tags, or smaller configs"
    )]
    TooLong {
        /// Bytes that it would be.
        len: usize,
    },
    /// Worth a retry when storage works again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a change of tags did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The vehicle's tags now.
    pub tags: Tags,
    /// The deployments that are for the vehicle now and were not, or the other way round.
    pub deployments: Vec<DeploymentName>,
}

impl Registry {
    /// Gives a vehicle, which need not have been heard of, these tags in the place of those that it had. Deployments with
    /// tags are for other vehicles then, and edges are told so; what is tried beside them goes on. `by` is the name of
    /// the caller's key.
    ///
    /// # Errors
    /// See [`TagError`].
    pub async fn tag(&self, tenant: TenantId, vehicle: VehicleId, tags: Tags, by: String) -> Result<Tagged, TagError> {
        let registry = self.clone();
        // On a task of its own: a client that goes away does not stop it between its commit and what memory says.
        let tag = tokio::spawn(async move {
            let tagged = registry.check_and_tag(&tenant, &vehicle, tags, &by).await;
            if let Err(error) = &tagged {
                registry.tags_refused(&tenant, &vehicle, error, &by).await;
            }
            tagged
        });
        tag.await.map_err(StorageError::from)?
    }

    async fn check_and_tag(
        &self,
        tenant: &TenantId,
        vehicle: &VehicleId,
        tags: Tags,
        by: &str,
    ) -> Result<Tagged, TagError> {
        let _one = self.0.changing.lock().await;
        let known = self.vehicle_tags(tenant);
        let before = known.of(vehicle).clone();
        if before == tags {
            return Ok(Tagged { tags, deployments: Vec::new() });
        }
        if before.is_empty() && known.vehicles() >= TAGGED_VEHICLES_PER_TENANT_MAX {
            return Err(TagError::TooManyVehicles);
        }
        let mut next = (*known).clone();
        next.set(vehicle.clone(), tags.clone());
        let changed: Vec<_> = self
            .deployments_of(tenant)
            .into_iter()
            .filter(|record| {
                let target = &record.current.target;
                target.has(vehicle, &before) != target.has(vehicle, &tags)
            })
            .map(|record| DeploymentRecord { changes: record.changes + 1, ..record })
            .collect();
        let told: Vec<_> =
            changed.iter().map(|record| (record.clone(), record.current.target.resolved(&next))).collect();
        let published = self.published_for(told).await?;

        let record = TagsRecord { record_version: VERSION, tenant: tenant.clone(), vehicle: vehicle.clone(), tags };
        let mut snapshots = vec![match record.tags.is_empty() {
            true => Snapshot { key: record.key(), value: None },
            false => super::snapshot(record.key(), &record)?,
        }];
        for record in &changed {
            snapshots.push(super::snapshot(record.key(), record)?);
        }
        let deployments: Vec<_> = changed.iter().map(|record| record.name.clone()).collect();
        let act = self.tagged(&record, &before, &deployments, by);
        self.commit_all(snapshots, act).await?;
        {
            let mut known = self.0.known.write();
            known.tags.insert(tenant.clone(), Arc::new(next));
            known.deployments.extend(changed.into_iter().map(|it| ((it.tenant.clone(), it.name.clone()), it)));
        }
        if let Some(published) = published {
            self.0.published.send_replace(published);
        }
        Ok(Tagged { tags: record.tags, deployments })
    }

    /// What will be published when these are for those vehicles; `None` when nothing changes.
    async fn published_for(&self, changed: Vec<(DeploymentRecord, Scope)>) -> Result<Option<EncodedSet>, TagError> {
        if changed.is_empty() {
            return Ok(None);
        }
        let registry = self.clone();
        let published = tokio::task::spawn_blocking(move || registry.published_for_others(&changed)).await;
        match published.map_err(StorageError::from)? {
            Ok(published) => Ok(Some(published)),
            Err(PublishError::TooLong { len }) => Err(TagError::TooLong { len }),
            Err(PublishError::Storage(error)) => Err(error.into()),
        }
    }

    /// The tags of a tenant's vehicles as they are now.
    #[must_use]
    pub fn vehicle_tags(&self, tenant: &TenantId) -> Arc<VehicleTags> {
        self.0.known.read().tags.get(tenant).cloned().unwrap_or_default()
    }
}
