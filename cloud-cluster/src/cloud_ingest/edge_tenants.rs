//! For which tenants an edge may speak: the `[[edges]]` of the config. A certificate says who an edge is, not whose.

use fleet_model::{EdgeId, TenantId};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One of the `[[edges]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeEntry {
    /// The common name of its certificate.
    pub name: EdgeId,
    /// Whose vehicles it may carry; it gets their deployments and no others.
    pub tenants: Vec<TenantId>,
}

/// What is wrong with the entries.
#[derive(Debug, thiserror::Error)]
pub enum EdgeTenantsError {
    /// Which entry counts?
    #[error("edges.name = {0}: another entry has this name; put all its tenants into one")]
    Twice(EdgeId),
    /// Nothing that it sends could be taken.
    #[error("edges.tenants = [] of {0}: name at least one tenant")]
    Nobody(EdgeId),
    /// A slip of the pen.
    #[error("edges.tenants of {0} names {1} twice")]
    TenantTwice(EdgeId, TenantId),
}

/// The entries, checked. Without any, every edge that our CA signed may speak for every tenant.
#[derive(Debug, Clone, Default)]
pub struct EdgeTenants(BTreeMap<EdgeId, Arc<[TenantId]>>);

impl EdgeTenants {
    /// Checks the entries.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(entries: &[EdgeEntry]) -> Result<Self, EdgeTenantsError> {
        let mut known = BTreeMap::new();
        for EdgeEntry { name, tenants } in entries {
            if tenants.is_empty() {
                return Err(EdgeTenantsError::Nobody(name.clone()));
            }
            if let Some((_, twice)) = tenants.iter().enumerate().find(|(at, tenant)| tenants[..*at].contains(tenant)) {
                return Err(EdgeTenantsError::TenantTwice(name.clone(), twice.clone()));
            }
            if known.insert(name.clone(), tenants.as_slice().into()).is_some() {
                return Err(EdgeTenantsError::Twice(name.clone()));
            }
        }
        Ok(Self(known))
    }

    /// The tenants that an edge speaks for. `None`: for all.
    #[must_use]
    pub fn only(&self, edge: &EdgeId) -> Option<Arc<[TenantId]>> {
        match self.of(edge) {
            Some(Tenants::All) => None,
            Some(Tenants::Only(some)) => Some(some),
            None => Some([].into()),
        }
    }

    /// `None`: it is not listed, and others are.
    pub(super) fn of(&self, edge: &EdgeId) -> Option<Tenants> {
        if self.0.is_empty() { Some(Tenants::All) } else { self.0.get(edge).cloned().map(Tenants::Only) }
    }
}

/// The tenants of one edge.
#[derive(Debug, Clone)]
pub(super) enum Tenants {
    All,
    Only(Arc<[TenantId]>),
}

impl Tenants {
    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, tenants: &[&str]) -> EdgeEntry {
        EdgeEntry {
            name: name.parse().unwrap(),
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn without_entries_everybody_may_with_some_only_the_listed() {
        let (listed, unlisted) = ("depot-1".parse().unwrap(), "depot-2".parse().unwrap());
        let (demo, other) = ("demo".parse().unwrap(), "other".parse().unwrap());
        let open = EdgeTenants::new(&[]).unwrap();
        assert!(open.of(&unlisted).unwrap().has(&other));
        let closed = EdgeTenants::new(&[entry("depot-1", &["demo"])]).unwrap();
        let tenants = closed.of(&listed).unwrap();
        assert!(tenants.has(&demo) && !tenants.has(&other));
        assert!(closed.of(&unlisted).is_none());
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (entries, words) in [
            (vec![entry("a", &["x"]), entry("a", &["y"])], "edges.name = a"),
            (vec![entry("a", &[])], "at least one tenant"),
            (vec![entry("a", &["x", "y", "x"])], "names x twice"),
        ] {
            let refused = EdgeTenants::new(&entries).unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }
}
