//! Places for open event streams: so many in all, and so many of one tenant, so that no tenant takes all.

use super::problem::Problem;
use fleet_model::TenantId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Streams open at a time.
pub(crate) const STREAMS_MAX: usize = 4_096;
/// Streams open at a time of one tenant.
pub(crate) const STREAMS_PER_TENANT_MAX: usize = 512;
/// When to ask again, seconds.
const RETRY_AFTER_S: u32 = 5;

/// All places.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamPlaces(Arc<Mutex<HashMap<Option<TenantId>, usize>>>);

/// One place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    places: StreamPlaces,
    tenant: Option<TenantId>,
}

impl StreamPlaces {
    /// Takes a place, of an operator when there is no tenant.
    pub(crate) fn take(&self, tenant: Option<&TenantId>) -> Result<StreamPlace, Problem> {
        let mut open = self.0.lock();
        let tenant = tenant.cloned();
        let full = if open.values().sum::<usize>() >= STREAMS_MAX {
            Some(format!("{STREAMS_MAX} streams are open"))
        } else if open.get(&tenant).is_some_and(|open| *open >= STREAMS_PER_TENANT_MAX) {
            Some(format!("{STREAMS_PER_TENANT_MAX} streams of this tenant or operator are open"))
        } else {
            None
        };
        if let Some(full) = full {
            return Err(
                Problem::overloaded(format!("{full}: close one, or try again later")).retry_after(RETRY_AFTER_S)
            );
        }
        *open.entry(tenant.clone()).or_default() += 1;
        Ok(StreamPlace { places: self.clone(), tenant })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.places.0.lock();
        if let Some(count) = open.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_does_not_take_the_places_of_others() {
        let places = StreamPlaces::default();
        let [greedy, other] = ["greedy", "other"].map(|name| name.parse::<TenantId>().unwrap());
        let mut taken: Vec<_> = (0..STREAMS_PER_TENANT_MAX).map(|_| places.take(Some(&greedy)).unwrap()).collect();
        assert!(places.take(Some(&greedy)).is_err());
        let of_other = places.take(Some(&other)).unwrap();
        taken.pop();
        let again = places.take(Some(&greedy)).unwrap();
        drop((taken, again, of_other));
        assert!(places.0.lock().is_empty());
    }

    #[test]
    fn together_they_take_no_more_than_there_are() {
        let places = StreamPlaces::default();
        let mut tenants = (0..).map(|number| format!("tenant-{number}").parse::<TenantId>().unwrap());
        let full = STREAMS_MAX / STREAMS_PER_TENANT_MAX;
        let taken: Vec<_> = tenants
            .clone()
            .take(full)
            .flat_map(|tenant| (0..STREAMS_PER_TENANT_MAX).map(move |_| tenant.clone()))
            .map(|tenant| places.take(Some(&tenant)).unwrap())
            .collect();
        assert_eq!(taken.len(), STREAMS_MAX);
        assert!(places.take(tenants.nth(full).as_ref()).is_err());
    }
}
