//! What a frame must hold beyond being well-formed. `Frame::parse` has proved that it can be read; here it is proved
//! that it makes sense, so that nothing after this door has to ask again.

use super::edge_tenants::Tenants;
use fleet_model::{AuditRecord, EdgeId, VehicleKey, VehicleName, audit};
use fleet_wire::block::ArchivedVehicleNameV1;
use fleet_wire::{ArchivedAuditV1, ArchivedEventV1, ArchivedReadingV1, Frame};
use hashbrown::HashMap;
use serde_json::Value;

/// Vehicles whose names are remembered as checked, per stream. A key costs 200 ns to compute.
const NAMES_MAX: usize = 65_536;
/// Longest details of an event, bytes: what the plugin host allows.
const DETAILS_LEN_MAX: usize = plugin_host::DETAILS_BYTES_MAX;

/// Why a well-formed frame is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameRefused {
    #[error("a vehicle's name is none: {0}")]
    Name(#[from] fleet_model::InvalidId),
    #[error("the key of vehicle {0} of tenant {1} is not made from its name")]
    Key(String, String),
    #[error(
        "vehicle {0} is of tenant {1}, for which this edge may not speak: see its tenants in the [[edges]] of the config"
    )]
    Tenant(String, String),
    #[error("the details of an event of kind {0} are no JSON object: {1}")]
    Details(u16, String),
    #[error("audit record {0}: {1}")]
    Audit(u64, String),
    #[error("the reading of vehicle {vehicle:?}, sequence {sequence}, is at {latitude}, {longitude}")]
    Position { vehicle: String, sequence: u64, latitude: f64, longitude: f64 },
}

/// A frame that makes sense.
#[derive(Debug)]
pub(super) enum Checked {
    /// It is stored as it came.
    AsItCame,
    /// These records go into the cloud's own chains.
    Audit(Vec<AuditRecord>),
}

/// Checks frames of one stream.
pub(super) struct Validator {
    /// Who an audit record says that acted.
    who: String,
    tenants: Tenants,
    names: HashMap<VehicleKey, VehicleName>,
}

impl Validator {
    /// For an edge that may speak for these.
    pub(super) fn new(edge: EdgeId, tenants: Tenants) -> Self {
        Self { who: audit::edge(&edge), tenants, names: HashMap::new() }
    }

    /// Checks the names, whose they are, where readings claim to be, and what events and acts say.
    pub(super) fn check(&mut self, frame: &Frame) -> Result<Checked, FrameRefused> {
        match frame.clone().into_readings() {
            Ok(readings) => {
                let block = readings.block();
                self.names(block.vehicles.iter())?;
                match block.readings.iter().find(|reading| !is_on_earth(reading)) {
                    None => Ok(Checked::AsItCame),
                    Some(reading) => Err(FrameRefused::Position {
                        vehicle: block.vehicles[reading.vehicle_index()].vehicle.to_string(),
                        sequence: reading.sequence().0,
                        latitude: reading.latitude.to_native(),
                        longitude: reading.longitude.to_native(),
                    }),
                }
            }
            Err(frame) => match frame.into_events() {
                Ok(events) => {
                    self.names(events.block().vehicles.iter())?;
                    events.block().events.iter().try_for_each(check_details)?;
                    Ok(Checked::AsItCame)
                }
                Err(frame) => match frame.into_audit() {
                    Ok(audit) => {
                        let records = audit.block().records.iter().map(|archived| self.act(archived));
                        records.collect::<Result<_, _>>().map(Checked::Audit)
                    }
                    Err(_) => Ok(Checked::AsItCame),
                },
            },
        }
    }

    /// An edge records what it did itself, for tenants for which it may speak.
    fn act(&self, archived: &ArchivedAuditV1) -> Result<AuditRecord, FrameRefused> {
        let refused = |what: String| FrameRefused::Audit(archived.link.number.to_native(), what);
        let record = archived.to_record().map_err(|error| refused(error.to_string()))?;
        let act = &record.act;
        if act.who != self.who {
            return Err(refused(format!("it says that {:?} acted, not {:?}", act.who, self.who)));
        }
        if record.origin.is_some() {
            return Err(refused("it was taken over from another log".into()));
        }
        if let Some(tenant) = act.tenant.as_ref().filter(|tenant| !self.tenants.has(tenant)) {
            return Err(refused(format!("it is of tenant {tenant}, for which this edge may not speak")));
        }
        if !act.details.is_empty() {
            let object = serde_json::from_str::<serde_json::Map<String, Value>>(&act.details);
            object.map_err(|error| refused(format!("its details are no JSON object: {error}")))?;
        }
        Ok(record)
    }

    fn names<'a>(&mut self, vehicles: impl Iterator<Item = &'a ArchivedVehicleNameV1>) -> Result<(), FrameRefused> {
        for archived in vehicles {
            let known = self.names.get(&archived.key());
            if known.is_some_and(|name| {
                name.tenant.as_str() == &*archived.tenant && name.vehicle.as_str() == &*archived.vehicle
            }) {
                continue;
            }
            let name = archived.to_name()?;
            if name.key != archived.key() {
                return Err(FrameRefused::Key(name.vehicle.to_string(), name.tenant.to_string()));
            }
            if !self.tenants.has(&name.tenant) {
                return Err(FrameRefused::Tenant(name.vehicle.to_string(), name.tenant.to_string()));
            }
            if self.names.len() >= NAMES_MAX {
                self.names.clear();
            }
            self.names.insert(name.key, name);
        }
        Ok(())
    }
}

fn check_details(event: &ArchivedEventV1) -> Result<(), FrameRefused> {
    let code = event.kind.to_native();
    let Some(details) = event.details.as_ref() else { return Ok(()) };
    if details.len() > DETAILS_LEN_MAX {
        return Err(FrameRefused::Details(code, format!("{} bytes, not up to {DETAILS_LEN_MAX}", details.len())));
    }
    serde_json::from_str::<serde_json::Map<String, Value>>(details)
        .map(drop)
        .map_err(|error| FrameRefused::Details(code, error.to_string()))
}

fn is_on_earth(reading: &ArchivedReadingV1) -> bool {
    (-90.0..=90.0).contains(&reading.latitude.to_native()) && (-180.0..=180.0).contains(&reading.longitude.to_native())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::audit::{Act, ActKind, Chain, Origin};
    use fleet_model::{EventClass, Reading, Sequence, Timestamp};
    use fleet_wire::frame::Placement;
    use fleet_wire::{AuditBlockV1, AuditFrame, ReadingBlockV1, ReadingFrame, ReadingV1, VehicleNameV1};

    fn frame(vehicle: VehicleNameV1, latitude: f64, longitude: f64) -> Frame {
        let fix = Reading::fix(Timestamp(0), Timestamp(0), latitude, longitude);
        let readings = vec![ReadingV1::of(0, Sequence(9), &fix)];
        let block = ReadingBlockV1 { vehicles: vec![vehicle], readings, traces: Vec::new() };
        let at = Placement { class: EventClass::Telemetry, first_offset: 0, epoch: 1, created_ms: 0 };
        Frame::parse(ReadingFrame::build(&block, at).unwrap().bytes().clone()).unwrap()
    }

    fn edge() -> EdgeId {
        "depot-1".parse().unwrap()
    }

    fn bus() -> VehicleNameV1 {
        VehicleNameV1::of(&VehicleName::new("demo".parse().unwrap(), "bus-1".parse().unwrap()))
    }

    #[test]
    fn what_makes_sense_passes_and_is_remembered() {
        let mut validator = Validator::new(edge(), Tenants::All);
        for _ in 0..2 {
            validator.check(&frame(bus(), 90.0, -180.0)).unwrap();
        }
        assert_eq!(validator.names.len(), 1);
    }

    #[test]
    fn positions_that_are_nowhere_are_refused() {
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            let refused = Validator::new(edge(), Tenants::All).check(&frame(bus(), latitude, longitude)).unwrap_err();
            assert!(matches!(&refused, FrameRefused::Position { sequence: 9, .. }), "{refused}");
        }
    }

    #[test]
    fn a_name_that_is_none_and_a_key_that_is_not_its_own_are_refused() {
        let mut validator = Validator::new(edge(), Tenants::All);
        let slash = VehicleNameV1 { vehicle: "a/b".into(), ..bus() };
        assert!(matches!(validator.check(&frame(slash, 1.0, 1.0)), Err(FrameRefused::Name(_))));
        // The key of a vehicle that is known, under another name.
        validator.check(&frame(bus(), 1.0, 1.0)).unwrap();
        let thief = VehicleNameV1 { tenant: "other".into(), ..bus() };
        assert!(matches!(validator.check(&frame(thief, 1.0, 1.0)), Err(FrameRefused::Key(..))));
    }

    #[test]
    fn a_vehicle_of_a_tenant_that_is_not_the_edges_is_refused() {
        let other: fleet_model::TenantId = "other".parse().unwrap();
        let mut validator = Validator::new(edge(), Tenants::Only(vec![other.clone()].into()));
        let stranger = validator.check(&frame(bus(), 1.0, 1.0)).unwrap_err();
        assert!(matches!(&stranger, FrameRefused::Tenant(_, tenant) if tenant == "demo"), "{stranger}");
        let own = VehicleNameV1::of(&VehicleName::new(other, "bus-1".parse().unwrap()));
        validator.check(&frame(own, 1.0, 1.0)).unwrap();
    }

    fn recorded(change: impl FnOnce(&mut Act), origin: Option<Origin>) -> Frame {
        let act = Act::new(Timestamp(7), ActKind::DeploymentActivated, "edge:depot-1");
        let mut act = act.of(&"demo".parse().unwrap()).details(r#"{"offset":7}"#);
        change(&mut act);
        let record = Chain::default().seal(act, origin);
        let at = Placement { class: EventClass::Audit, first_offset: 0, epoch: 1, created_ms: 0 };
        let frame = AuditFrame::build(&AuditBlockV1::of([&record]), at).unwrap();
        Frame::parse(frame.bytes().clone()).unwrap()
    }

    #[test]
    fn an_edge_records_what_it_did_itself_and_nothing_else() {
        let only = Tenants::Only(vec!["demo".parse().unwrap()].into());
        let mut validator = Validator::new(edge(), only);
        let checked = validator.check(&recorded(|_| (), None)).unwrap();
        assert!(matches!(checked, Checked::Audit(records) if records.len() == 1 && records[0].is_whole()));
        let link = fleet_model::audit::Link { number: 1, previous: [0; 32], hash: [0; 32] };
        let origin = Origin { edge: edge(), epoch: 1, received_time: Timestamp(1), link };
        for (what, frame) in [
            ("acted", recorded(|act| act.who = "alice".into(), None)),
            ("acted", recorded(|act| act.who = "edge:depot-2".into(), None)),
            ("taken over", recorded(|_| (), Some(origin))),
            ("may not speak", recorded(|act| act.tenant = Some("other".parse().unwrap()), None)),
            ("a JSON object", recorded(|act| act.details = "[]".into(), None)),
            ("no JSON object", recorded(|act| act.details = "{]}".into(), None)),
            ("reason has", recorded(|act| act.reason = "x".repeat(10_000), None)),
        ] {
            let refused = validator.check(&frame).unwrap_err().to_string();
            assert!(refused.contains(what), "{what}: {refused}");
        }
    }
}
