//! The frozen record types, version 1: plain integers and floats in lists, little-endian, without alignment.
//!
//! A released type is never edited; a change is a `...V2` beside it, and `compatibility.rs` lifts the old to the new.

use fleet_model::event::TraceContext;
use fleet_model::ids::{InvalidId, TenantId, VehicleId, VehicleKey};
use fleet_model::{Event, Reading, Sequence, Timestamp, TroubleCodes, VehicleName};
use rkyv::{Archive, Deserialize, Serialize};

/// Readings of many vehicles, in the order in which they were admitted.
#[derive(Debug, Clone, PartialEq, Default, Archive, Serialize, Deserialize)]
pub struct ReadingBlockV1 {
    /// The vehicles that occur, each once.
    pub vehicles: Vec<VehicleNameV1>,
    /// The readings.
    pub readings: Vec<ReadingV1>,
    /// Trace contexts of the readings that were sampled.
    pub traces: Vec<TraceV1>,
}

/// A vehicle's name in a block's dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct VehicleNameV1 {
    /// [`VehicleKey`] of the two names.
    pub key: u64,
    /// [`TenantId`].
    pub tenant: String,
    /// [`VehicleId`].
    pub vehicle: String,
}

/// One reading: 105 bytes. A signal that was not reported is NaN.
#[derive(Debug, Clone, Copy, PartialEq, Archive, Serialize, Deserialize)]
pub struct ReadingV1 {
    /// Index into the block's `vehicles`.
    pub vehicle: u32,
    /// Place among the vehicle's readings.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch, the device's clock.
    pub event_time: i64,
    /// Milliseconds since the Unix epoch, the edge's clock.
    pub received_time: i64,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres.
    pub odometer: f64,
    /// Metres.
    pub altitude: f32,
    /// Degrees.
    pub heading: f32,
    /// Metres per second.
    pub speed: f32,
    /// Metres.
    pub horizontal_accuracy: f32,
    /// Hours.
    pub engine_hours: f32,
    /// Revolutions per minute.
    pub engine_speed: f32,
    /// Percent.
    pub fuel_level: f32,
    /// Percent.
    pub state_of_charge: f32,
    /// Degrees Celsius.
    pub engine_coolant_temperature: f32,
    /// Volts.
    pub battery_voltage: f32,
    /// 1 on, 0 off, 255 not reported.
    pub ignition: u8,
    /// [`fleet_model::TroubleCodes::words`].
    pub trouble_codes: [u16; 8],
}

/// Trace context of one record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TraceV1 {
    /// Index into the block's records.
    pub record: u32,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C span id of the sender's span.
    pub span_id: [u8; 8],
}

/// Events of many vehicles, in the order in which they were decided.
#[derive(Debug, Clone, PartialEq, Default, Archive, Serialize, Deserialize)]
pub struct EventBlockV1 {
    /// The vehicles that occur, each once.
    pub vehicles: Vec<VehicleNameV1>,
    /// The plugins that occur, each once.
    pub plugins: Vec<PluginNameV1>,
    /// The events.
    pub events: Vec<EventV1>,
    /// Trace contexts of the events whose readings were sampled.
    pub traces: Vec<TraceV1>,
}

/// A plugin in a block's dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct PluginNameV1 {
    /// The deployment it ran under.
    pub deployment: String,
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
}

/// One event.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct EventV1 {
    /// [`fleet_model::EventId`].
    pub id: [u8; 16],
    /// [`fleet_model::EventKind`] as a number.
    pub kind: u16,
    /// Index into the block's `vehicles`.
    pub vehicle: u32,
    /// Index into the block's `plugins`.
    pub plugin: u32,
    /// The reading that caused it.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub event_time: i64,
    /// Milliseconds since the Unix epoch.
    pub received_time: i64,
    /// A figure that belongs to the kind; NaN when there is none.
    pub value: f64,
    /// The zone or rule it is about.
    pub subject: String,
    /// What else belongs to the kind: a JSON object, or nothing.
    pub details: Option<String>,
}

impl VehicleNameV1 {
    /// The dictionary entry of a vehicle.
    #[must_use]
    pub fn of(name: &VehicleName) -> Self {
        Self { key: name.key.0, tenant: name.tenant.to_string(), vehicle: name.vehicle.to_string() }
    }
}

impl ArchivedVehicleNameV1 {
    /// The vehicle's key as the sender computed it.
    #[must_use]
    pub fn key(&self) -> VehicleKey {
        VehicleKey(self.key.to_native())
    }

    /// Checks both names. The key is computed again, not believed.
    ///
    /// # Errors
    /// Says which name is no id.
    pub fn to_name(&self) -> Result<VehicleName, InvalidId> {
        Ok(VehicleName::new(TenantId::new(&self.tenant)?, VehicleId::new(&self.vehicle)?))
    }
}

impl ReadingV1 {
    /// The record of an admitted reading.
    #[must_use]
    pub fn of(vehicle: u32, sequence: Sequence, reading: &Reading) -> Self {
        Self {
            vehicle,
            sequence: sequence.0,
            event_time: reading.event_time.0,
            received_time: reading.received_time.0,
            latitude: reading.latitude,
            longitude: reading.longitude,
            odometer: reading.odometer,
            altitude: reading.altitude,
            heading: reading.heading,
            speed: reading.speed,
            horizontal_accuracy: reading.horizontal_accuracy,
            engine_hours: reading.engine_hours,
            engine_speed: reading.engine_speed,
            fuel_level: reading.fuel_level,
            state_of_charge: reading.state_of_charge,
            engine_coolant_temperature: reading.engine_coolant_temperature,
            battery_voltage: reading.battery_voltage,
            ignition: reading.ignition,
            trouble_codes: reading.trouble_codes.words(),
        }
    }
}

impl ArchivedReadingV1 {
    /// Place among the vehicle's readings.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence(self.sequence.to_native())
    }

    /// Index into the block's `vehicles`.
    #[must_use]
    pub fn vehicle_index(&self) -> usize {
        self.vehicle.to_native() as usize
    }

    /// The reading; copies 100 bytes.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading {
            event_time: Timestamp(self.event_time.to_native()),
            received_time: Timestamp(self.received_time.to_native()),
            latitude: self.latitude.to_native(),
            longitude: self.longitude.to_native(),
            odometer: self.odometer.to_native(),
            altitude: self.altitude.to_native(),
            heading: self.heading.to_native(),
            speed: self.speed.to_native(),
            horizontal_accuracy: self.horizontal_accuracy.to_native(),
            engine_hours: self.engine_hours.to_native(),
            engine_speed: self.engine_speed.to_native(),
            fuel_level: self.fuel_level.to_native(),
            state_of_charge: self.state_of_charge.to_native(),
            engine_coolant_temperature: self.engine_coolant_temperature.to_native(),
            battery_voltage: self.battery_voltage.to_native(),
            ignition: self.ignition,
            trouble_codes: TroubleCodes::from_words(self.trouble_codes.map(|word| word.to_native())),
        }
    }
}

impl TraceV1 {
    /// The context of record number `record`.
    #[must_use]
    pub fn of(record: u32, trace: TraceContext) -> Self {
        Self { record, trace_id: trace.trace_id, span_id: trace.span_id }
    }
}

impl ArchivedTraceV1 {
    /// As the model has it.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        TraceContext { trace_id: self.trace_id, span_id: self.span_id }
    }
}

impl EventBlockV1 {
    /// Lays out events as one block, names once each.
    #[must_use]
    pub fn of<'e>(events: impl IntoIterator<Item = &'e Event>) -> Self {
        let mut block = Self::default();
        let mut vehicles = std::collections::HashMap::new();
        let mut plugins = std::collections::HashMap::new();
        for event in events {
            let vehicle = *vehicles.entry(event.vehicle.key).or_insert_with(|| {
                block.vehicles.push(VehicleNameV1::of(&event.vehicle));
                block.vehicles.len() as u32 - 1
            });
            let plugin = *plugins.entry(&event.plugin).or_insert_with(|| {
                let p = &event.plugin;
                block.plugins.push(PluginNameV1 {
                    deployment: p.deployment.clone(),
                    name: p.name.clone(),
                    version: p.version.clone(),
                    hash: p.hash,
                });
                block.plugins.len() as u32 - 1
            });
            if let Some(trace) = event.trace {
                block.traces.push(TraceV1::of(block.events.len() as u32, trace));
            }
            block.events.push(EventV1 {
                id: event.id.0,
                kind: event.kind as u16,
                vehicle,
                plugin,
                sequence: event.sequence.0,
                event_time: event.event_time.0,
                received_time: event.received_time.0,
                value: event.value,
                subject: event.subject.clone(),
                details: event.details.clone(),
            });
        }
        block
    }
}
