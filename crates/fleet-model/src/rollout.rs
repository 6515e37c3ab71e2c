//! For which of a tenant's vehicles a rule decides, and how a new one is tried beside the one that is live.

use crate::ids::{EdgeId, VehicleId, VehicleKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The vehicles that a rule decides for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Option<Arc<BTreeSet<VehicleId>>>);

impl Scope {
    /// All vehicles of the tenant.
    pub const ALL: Self = Self(None);

    /// These, which need not exist yet.
    #[must_use]
    pub fn only(vehicles: impl IntoIterator<Item = VehicleId>) -> Self {
        Self(Some(Arc::new(vehicles.into_iter().collect())))
    }

    /// Whether it is all of them.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The vehicles that are named; `None`: all.
    #[must_use]
    pub fn vehicles(&self) -> Option<&BTreeSet<VehicleId>> {
        self.0.as_deref()
    }

    /// Whether this vehicle is one of them.
    #[must_use]
    pub fn has(&self, vehicle: &VehicleId) -> bool {
        self.0.as_ref().is_none_or(|vehicles| vehicles.contains(vehicle))
    }
}

/// The depots in which a rule decides: these alone, or all, those to come as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Depots(Option<BTreeSet<EdgeId>>);

impl Depots {
    /// All.
    pub const ALL: Self = Self(None);

    /// These, which need not exist yet.
    #[must_use]
    pub fn only(depots: impl IntoIterator<Item = EdgeId>) -> Self {
        Self(Some(depots.into_iter().collect()))
    }

    /// Those that are named; `None`: all.
    #[must_use]
    pub fn named(&self) -> Option<&BTreeSet<EdgeId>> {
        self.0.as_ref()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, edge: &EdgeId) -> bool {
        self.0.as_ref().is_none_or(|depots| depots.contains(edge))
    }
}

/// Where a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On edges, each about the readings that come in there: at once, and while there is no uplink.
    #[default]
    Edge,
    /// In the cloud, about what it has of all depots: wherever a vehicle reports, it has one state.
    Cloud,
}

impl Place {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Cloud => "cloud",
        }
    }
}

/// A share of all vehicles in percent, 1 to 100. Which they are is said by their key alone: the same on every node, and
/// a larger share holds a smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Share(u8);

/// Why a number is no [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share is 1 to 100 percent, not {0}")]
pub struct InvalidShare(u8);

impl Share {
    /// Checks the number.
    ///
    /// # Errors
    /// When it is no percentage, or none at all.
    pub fn new(percent: u8) -> Result<Self, InvalidShare> {
        if (1..=100).contains(&percent) { Ok(Self(percent)) } else { Err(InvalidShare(percent)) }
    }

    /// The percentage.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Whether a vehicle belongs to it.
    #[must_use]
    pub fn has(self, vehicle: VehicleKey) -> bool {
        // The upper half: shards are chosen by all bits, and a share should lie across them.
        (vehicle.0 >> 32) % 100 < u64::from(self.0)
    }
}

impl TryFrom<u8> for Share {
    type Error = InvalidShare;
    fn try_from(percent: u8) -> Result<Self, InvalidShare> {
        Self::new(percent)
    }
}

impl From<Share> for u8 {
    fn from(share: Share) -> u8 {
        share.0
    }
}

/// How a new rule is tried beside the one that is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum TrialMode {
    /// It sees all that the live one sees. What it proposes is compared, and nothing becomes an event.
    Shadow,
    /// It decides for a share of the vehicles; the live one for the rest.
    Canary {
        /// Which share.
        share: Share,
    },
}

impl TrialMode {
    /// Whether the rule that is tried decides for this vehicle, instead of the live one.
    #[must_use]
    pub fn decides_for(self, vehicle: VehicleKey) -> bool {
        match self {
            Self::Shadow => false,
            Self::Canary { share } => share.has(vehicle),
        }
    }

    /// Whether the rule that is tried sees this vehicle.
    #[must_use]
    pub fn sees(self, vehicle: VehicleKey) -> bool {
        self == Self::Shadow || self.decides_for(vehicle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = VehicleKey> {
        let tenant = "demo".parse().unwrap();
        (0..2_000).map(move |n| VehicleKey::of(&tenant, &format!("BUS-{n}").parse().unwrap()))
    }

    #[test]
    fn a_share_is_about_its_percentage_and_grows() {
        let count = |percent| keys().filter(|key| Share::new(percent).unwrap().has(*key)).count();
        assert!((100..300).contains(&count(10)), "{}", count(10));
        assert_eq!(count(100), 2_000);
        assert!(keys().all(|key| !Share(10).has(key) || Share(11).has(key)));
        assert!(Share::new(0).is_err() && Share::new(101).is_err());
    }

    #[test]
    fn a_shadow_sees_all_and_decides_nothing_and_a_canary_decides_for_what_it_sees() {
        let canary = TrialMode::Canary { share: Share(50) };
        for key in keys() {
            assert!(TrialMode::Shadow.sees(key) && !TrialMode::Shadow.decides_for(key));
            assert_eq!(canary.sees(key), canary.decides_for(key));
        }
    }

    #[test]
    fn depots_are_all_or_those_named() {
        let (here, there): (EdgeId, EdgeId) = ("here".parse().unwrap(), "there".parse().unwrap());
        assert!(Depots::ALL.has(&here));
        let one = Depots::only([here.clone()]);
        assert!(one.has(&here) && !one.has(&there));
    }

    #[test]
    fn a_scope_is_all_vehicles_or_those_named() {
        let (one, two): (VehicleId, VehicleId) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert!(Scope::ALL.has(&one) && Scope::only([one.clone()]).has(&one) && !Scope::only([one]).has(&two));
        assert!(!Scope::only([]).has(&two), "naming none is not naming all");
    }
}
