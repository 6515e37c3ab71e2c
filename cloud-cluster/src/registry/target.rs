//! For which vehicles a deployment is: those that it names, and those that have one of its tags. Pure.
//!
//! Edges know nothing of tags. What they are told is the list that comes of them here.

use fleet_model::{Scope, Tag, Tags, VehicleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Which of the tenant's vehicles a revision is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Target {
    /// Those that are named, which need not exist yet.
    #[serde(default)]
    pub vehicles: Scope,
    /// Those that have one of these tags, beside the ones that are named; empty where all are named.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Target {
    /// All vehicles.
    pub const ALL: Self = Self { vehicles: Scope::ALL, tags: Tags::NONE };

    /// Those named and those tagged. Where nothing is named and no tag is given it is no vehicle, not all.
    #[must_use]
    pub fn only(vehicles: impl IntoIterator<Item = VehicleId>, tags: Tags) -> Self {
        Self { vehicles: Scope::only(vehicles), tags }
    }

    /// Whether a vehicle with these tags is one of them.
    #[must_use]
    pub fn has(&self, vehicle: &VehicleId, tags: &Tags) -> bool {
        self.vehicles.has(vehicle) || self.tags.has_any_of(tags)
    }

    /// The vehicles that it is for as long as their tags stay as they are.
    #[must_use]
    pub fn resolved(&self, tags: &VehicleTags) -> Scope {
        match self.vehicles.vehicles() {
            Some(named) if !self.tags.is_empty() => {
                Scope::only(named.iter().chain(tags.with_any_of(&self.tags)).cloned())
            }
            _ => self.vehicles.clone(),
        }
    }
}

/// The tags of one tenant's vehicles, those with none left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VehicleTags(BTreeMap<VehicleId, Tags>);

impl VehicleTags {
    /// Those of one vehicle.
    #[must_use]
    pub fn of(&self, vehicle: &VehicleId) -> &Tags {
        static NONE: Tags = Tags::NONE;
        self.0.get(vehicle).unwrap_or(&NONE)
    }

    /// How many vehicles have any.
    #[must_use]
    pub fn vehicles(&self) -> usize {
        self.0.len()
    }

    /// The vehicles with this tag in the order of their ids, from the first after `after`.
    pub fn with(&self, tag: &Tag, after: Option<&VehicleId>) -> impl Iterator<Item = &VehicleId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.0.range::<VehicleId, _>((from, Bound::Unbounded));
        range.filter(move |(_, its)| its.has(tag)).map(|(vehicle, _)| vehicle)
    }

    /// The vehicles with one of these tags.
    pub fn with_any_of(&self, tags: &Tags) -> impl Iterator<Item = &VehicleId> {
        self.0.iter().filter(|(_, its)| its.has_any_of(tags)).map(|(vehicle, _)| vehicle)
    }

    /// Gives a vehicle these tags in the place of those that it had.
    pub(super) fn set(&mut self, vehicle: VehicleId, tags: Tags) {
        if tags.is_empty() {
            self.0.remove(&vehicle);
        } else {
            self.0.insert(vehicle, tags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn vehicle(number: u8) -> VehicleId {
        format!("bus-{number}").parse().unwrap()
    }

    fn tags(numbers: &BTreeSet<u8>) -> Tags {
        Tags::new(numbers.iter().map(|number| format!("tag-{number}").parse().unwrap())).unwrap()
    }

    fn few() -> impl Strategy<Value = BTreeSet<u8>> {
        proptest::collection::btree_set(0..5_u8, 0..4)
    }

    proptest! {
        #[test]
        fn a_target_is_what_is_named_and_what_is_tagged_after_any_changes_of_tags(
            changes in proptest::collection::vec((0..8_u8, few()), 0..30),
            named in few(),
            wanted in few(),
        ) {
            let target = Target::only(named.iter().map(|number| vehicle(*number)), tags(&wanted));
            let (mut known, mut model) = (VehicleTags::default(), BTreeMap::<u8, BTreeSet<u8>>::new());
            for (number, given) in changes {
                known.set(vehicle(number), tags(&given));
                model.insert(number, given);
                let tagged = model.iter().filter(|(_, its)| !its.is_disjoint(&wanted)).map(|(number, _)| number);
                let expected: BTreeSet<_> = named.iter().chain(tagged).map(|number| vehicle(*number)).collect();
                let resolved = target.resolved(&known);
                prop_assert_eq!(resolved.vehicles(), Some(&expected));
                for number in 0..8 {
                    let vehicle = vehicle(number);
                    prop_assert_eq!(target.has(&vehicle, known.of(&vehicle)), resolved.has(&vehicle));
                }
                prop_assert_eq!(known.vehicles(), model.values().filter(|its| !its.is_empty()).count());
            }
        }

        #[test]
        fn vehicles_with_a_tag_come_in_order_from_any_place_on(
            given in proptest::collection::btree_map(0..20_u8, few(), 0..20),
            after in proptest::option::of(0..20_u8),
        ) {
            let mut known = VehicleTags::default();
            given.iter().for_each(|(number, its)| known.set(vehicle(*number), tags(its)));
            let after = after.map(vehicle);
            let found: Vec<_> = known.with(&"tag-1".parse().unwrap(), after.as_ref()).cloned().collect();
            let having: BTreeSet<_> = given.iter().filter(|(_, its)| its.contains(&1)).map(|(it, _)| vehicle(*it)).collect();
            let expected: Vec<_> = having.into_iter().filter(|it| after.as_ref().is_none_or(|after| it > after)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_tag_that_no_vehicle_has_is_for_no_vehicle_and_not_for_all() {
        let target = Target::only([], tags(&[1].into()));
        assert_eq!(target.resolved(&VehicleTags::default()), Scope::only([]));
        assert!(!target.has(&vehicle(1), &Tags::NONE));
        assert!(Target::ALL.resolved(&VehicleTags::default()).is_all());
    }

    #[test]
    fn revisions_of_before_there_were_tags_are_for_whom_they_were() {
        let read = |text: &str| serde_json::from_str::<Target>(text).unwrap();
        assert_eq!(read("{}"), Target::ALL);
        let some = Target::only([vehicle(1)], Tags::NONE);
        assert_eq!(read(r#"{"vehicles":["bus-1"]}"#), some);
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"vehicles":["bus-1"]}"#);
    }
}
