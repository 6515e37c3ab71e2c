//! The latest state of every vehicle.

use fleet_model::{TenantId, VehicleId, VehicleName, VehicleState};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use vehicle_runtime::StateSink;

/// Parts of a tenant's vehicles, each with a lock of its own.
const SHARDS: usize = 8;

/// Tenant, then vehicle, then its state. Written by the runtime's workers, read by requests.
#[derive(Debug, Default)]
pub struct Latest {
    tenants: RwLock<HashMap<TenantId, Arc<Vehicles>>>,
}

/// The vehicles of one tenant, each shard in the order of their ids.
#[derive(Debug, Default)]
struct Vehicles {
    shards: [RwLock<BTreeMap<VehicleId, VehicleState>>; SHARDS],
}

impl Latest {
    /// One vehicle's state.
    #[must_use]
    pub fn vehicle(&self, tenant: &TenantId, vehicle: &VehicleId) -> Option<VehicleState> {
        let vehicles = self.tenant(tenant)?;
        let name = VehicleName::new(tenant.clone(), vehicle.clone());
        vehicles.shards[name.key.shard(SHARDS)].read().get(vehicle).copied()
    }

    /// At most `limit` vehicles in the order of their ids, from the first after `after`.
    #[must_use]
    pub fn page(&self, tenant: &TenantId, after: Option<&VehicleId>, limit: usize) -> Vec<(VehicleId, VehicleState)> {
        let Some(vehicles) = self.tenant(tenant) else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page: Vec<_> = Vec::new();
        for shard in &vehicles.shards {
            let shard = shard.read();
            let range = shard.range::<VehicleId, _>((from, Bound::Unbounded));
            page.extend(range.take(limit).map(|(id, state)| (id.clone(), *state)));
        }
        page.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        page.truncate(limit);
        page
    }

    /// How many vehicles there are, of all tenants.
    #[must_use]
    pub fn count(&self) -> usize {
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        tenants.iter().flat_map(|vehicles| &vehicles.shards).map(|shard| shard.read().len()).sum()
    }

    fn tenant(&self, tenant: &TenantId) -> Option<Arc<Vehicles>> {
        self.tenants.read().get(tenant).cloned()
    }

    fn tenant_or_new(&self, tenant: &TenantId) -> Arc<Vehicles> {
        if let Some(vehicles) = self.tenant(tenant) {
            return vehicles;
        }
        self.tenants.write().entry(tenant.clone()).or_default().clone()
    }
}

impl StateSink for Latest {
    fn changed(&self, states: &[(Arc<VehicleName>, VehicleState)]) {
        let mut known: Option<(TenantId, Arc<Vehicles>)> = None;
        for (name, state) in states {
            if known.as_ref().is_none_or(|(tenant, _)| *tenant != name.tenant) {
                known = Some((name.tenant.clone(), self.tenant_or_new(&name.tenant)));
            }
            if let Some((_, vehicles)) = &known {
                vehicles.shards[name.key.shard(SHARDS)].write().insert(name.vehicle.clone(), *state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::Sequence;
    use proptest::prelude::*;

    fn state(applied: u64) -> VehicleState {
        VehicleState { applied: Sequence(applied), ..VehicleState::default() }
    }

    proptest! {
        #[test]
        fn pages_give_every_vehicle_once_in_order(ids in proptest::collection::btree_set("[a-z]{1,4}", 0..60), limit in 1..20_usize) {
            let latest = Latest::default();
            let tenant: TenantId = "demo".parse().unwrap();
            let states: Vec<_> = ids.iter().map(|id| {
                (Arc::new(VehicleName::new(tenant.clone(), id.parse().unwrap())), state(1))
            }).collect();
            latest.changed(&states);
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = latest.page(&tenant, after.as_ref(), limit);
                prop_assert!(page.len() <= limit);
                seen.extend(page.iter().map(|(id, _)| id.to_string()));
                after = page.last().map(|(id, _)| id.clone());
                if page.len() < limit {
                    break;
                }
            }
            prop_assert_eq!(seen, ids.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn tenants_do_not_see_each_other() {
        let latest = Latest::default();
        let name = |tenant: &str| Arc::new(VehicleName::new(tenant.parse().unwrap(), "bus-1".parse().unwrap()));
        latest.changed(&[(name("a"), state(1)), (name("b"), state(2)), (name("a"), state(3))]);
        let of = |tenant: &str| latest.vehicle(&tenant.parse().unwrap(), &"bus-1".parse().unwrap());
        assert_eq!(of("a"), Some(state(3)));
        assert_eq!(of("b"), Some(state(2)));
        assert_eq!(of("c"), None);
        assert_eq!(latest.count(), 2);
    }
}
