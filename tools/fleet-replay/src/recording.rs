//! Reads a recording: a CSV file, gzipped or not, whose columns are found by name.
//!
//! `vehicle`, `lat`, `lon` and one of `ts` (seconds) and `ts_ms` must be there; the others of [`FIELDS`] may be; what is
//! in no list is passed over. Rows are played in file order. A file with a column `poll_first` is one that was polled
//! from a feed: it is played in the order of the polls, by vehicle within one.
//!
//! What a device got wrong is kept as it was, so that the edge can refuse it: an empty time is sent as the text in
//! `raw_time`, or not at all; an empty coordinate is left out. Coordinates are sent with the digits of the file.

use crate::message::{Reading, Vehicle};
use flate2::read::MultiGzDecoder;
use fleet_model::{TenantId, VehicleId};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// How long one poll of a polled feed took, for pacing.
const POLL_INTERVAL_MS: i64 = 11_000;
/// A recording is held in memory; this many rows take about 10 GB.
const ROWS_MAX: usize = 50_000_000;
/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The columns that become a field of the reading, in the order in which they are sent: column, field, and how a cell
/// is written there.
pub(crate) const FIELDS: [(&str, &str, Cell); 16] = [
    ("lat", "latitude", Cell::Number),
    ("lon", "longitude", Cell::Number),
    ("altitude_m", "altitude", Cell::Number),
    ("heading_deg", "heading", Cell::Number),
    ("accuracy_m", "horizontal_accuracy", Cell::Number),
    ("speed_kmh", "speed", Cell::Divided(3.6)),
    ("odometer_m", "odometer", Cell::Number),
    ("odometer_km", "odometer", Cell::Divided(0.001)),
    ("engine_hours", "engine_hours", Cell::Number),
    ("rpm", "engine_speed", Cell::Number),
    ("coolant_c", "engine_coolant_temperature", Cell::Number),
    ("module_voltage_v", "battery_voltage", Cell::Number),
    ("fuel_level_pct", "fuel_level", Cell::Number),
    ("state_of_charge_pct", "state_of_charge", Cell::Number),
    ("ignition", "ignition", Cell::Switch),
    ("dtc", "dtc", Cell::Codes),
];
/// What a cell of trouble codes says when there is none; an empty one says nothing.
const NO_CODES: &str = "none";

/// How a cell is written into a reading.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell {
    /// With the digits of the file.
    Number,
    /// A number in another unit: what the field's unit is in the column's.
    Divided(f64),
    /// 0 or 1.
    Switch,
    /// Trouble codes with `;` between them, or [`NO_CODES`].
    Codes,
}

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("it has no column {missing}; its columns are: {found}")]
    MissingColumn { missing: &'static str, found: String },
    #[error("it has two columns for {field}, {column} and another: leave one out")]
    TwoColumns { field: &'static str, column: &'static str },
    #[error("line {line}: {problem}")]
    Row { line: u64, problem: String },
    #[error("{0}")]
    NotCsv(String),
    #[error("it has no rows")]
    Empty,
    #[error("it has more than {ROWS_MAX} rows")]
    TooLong,
}

/// A recording in the order in which it is played.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) readings: Vec<Reading>,
    pub(crate) vehicles: usize,
}

impl Recording {
    /// Reads a file, gzipped or not: told by its first bytes, not by its name.
    pub(crate) fn open(path: &Path, tenant: &TenantId) -> Result<Self, RecordingError> {
        let mut start = Vec::new();
        File::open(path)?.take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
        let file = BufReader::new(File::open(path)?);
        if start == GZIP_MAGIC { Self::read(MultiGzDecoder::new(file), tenant) } else { Self::read(file, tenant) }
    }

    /// Reads CSV.
    pub(crate) fn read(input: impl Read, tenant: &TenantId) -> Result<Self, RecordingError> {
        let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let columns = Columns::find(csv.headers().map_err(csv_problem)?)?;
        let mut vehicles: HashMap<String, Arc<Vehicle>> = HashMap::new();
        let mut rows: Vec<(i64, Reading)> = Vec::new();
        let mut record = csv::StringRecord::new();
        while csv.read_record(&mut record).map_err(csv_problem)? {
            if rows.len() == ROWS_MAX {
                return Err(RecordingError::TooLong);
            }
            let line = record.position().map_or(0, csv::Position::line);
            let problem = |problem: String| RecordingError::Row { line, problem };
            let row = Row { columns: &columns, record: &record };
            let name = row.text(columns.vehicle);
            let vehicle = match vehicles.get(name) {
                Some(vehicle) => vehicle.clone(),
                None => {
                    let id = VehicleId::new(name).map_err(|invalid| problem(invalid.to_string()))?;
                    let vehicle = Arc::new(Vehicle::new(tenant, id));
                    vehicles.insert(name.to_owned(), vehicle.clone());
                    vehicle
                }
            };
            rows.push(row.reading(vehicle).map_err(problem)?);
        }
        if rows.is_empty() {
            return Err(RecordingError::Empty);
        }
        if columns.poll.is_some() {
            rows.sort_by(|(poll, reading), (other_poll, other)| {
                (poll, reading.vehicle.id.as_str()).cmp(&(other_poll, other.vehicle.id.as_str()))
            });
        }
        let readings = rows.into_iter().map(|(_, reading)| reading).collect();
        Ok(Self { readings, vehicles: vehicles.len() })
    }
}

fn csv_problem(error: csv::Error) -> RecordingError {
    let line = error.position().map(csv::Position::line);
    match (line, error.into_kind()) {
        (_, csv::ErrorKind::Io(io)) => RecordingError::Read(io),
        (line, csv::ErrorKind::Utf8 { err, .. }) => {
            RecordingError::Row { line: line.unwrap_or(0), problem: format!("not UTF-8: {err}") }
        }
        (line, csv::ErrorKind::UnequalLengths { expected_len, len, .. }) => RecordingError::Row {
            line: line.unwrap_or(0),
            problem: format!("it has {len} cells, the header has {expected_len}"),
        },
        (_, kind) => RecordingError::NotCsv(format!("not CSV: {kind:?}")),
    }
}

/// Where the columns are.
#[derive(Debug)]
struct Columns {
    vehicle: usize,
    ts: Option<usize>,
    ts_ms: Option<usize>,
    raw_time: Option<usize>,
    poll: Option<usize>,
    /// Where each of [`FIELDS`] is that is there: place in the file, place in the list.
    fields: Vec<(usize, usize)>,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self, RecordingError> {
        let find = |name: &str| header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
        let missing = |missing: &'static str| RecordingError::MissingColumn {
            missing,
            found: header.iter().collect::<Vec<_>>().join(", "),
        };
        for required in ["lat", "lon"] {
            find(required).ok_or_else(|| missing(required))?;
        }
        let mut fields: Vec<(usize, usize)> = Vec::new();
        for (number, (column, field, _)) in FIELDS.into_iter().enumerate() {
            let Some(place) = find(column) else { continue };
            if fields.iter().any(|(_, other)| FIELDS[*other].1 == field) {
                return Err(RecordingError::TwoColumns { field, column });
            }
            fields.push((place, number));
        }
        let (ts, ts_ms) = (find("ts"), find("ts_ms"));
        if ts.is_none() && ts_ms.is_none() {
            return Err(missing("ts (seconds) or ts_ms (milliseconds)"));
        }
        Ok(Self {
            vehicle: find("vehicle").ok_or_else(|| missing("vehicle"))?,
            ts,
            ts_ms,
            raw_time: find("raw_time"),
            poll: find("poll_first"),
            fields,
        })
    }
}

struct Row<'a> {
    columns: &'a Columns,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// The reading, and its place in the poll order (0 in a file without one).
    fn reading(&self, vehicle: Arc<Vehicle>) -> Result<(i64, Reading), String> {
        let columns = self.columns;
        let event_time_ms = self.event_time_ms()?;
        let mut payload = String::with_capacity(96);
        if let Some(event_time_ms) = event_time_ms {
            let _ = write!(payload, "{{\"event_time_ms\":{event_time_ms}");
        } else {
            match columns.raw_time.map(|column| self.text(column)).filter(|text| !text.is_empty()) {
                Some(text) => {
                    let _ = write!(payload, "{{\"event_time\":{}", Value::from(text));
                }
                None => payload.push('{'),
            }
        }
        for (place, number) in &columns.fields {
            write_field(&mut payload, FIELDS[*number], self.text(*place))?;
        }
        payload.push('}');
        let poll: i64 = match columns.poll {
            Some(column) => {
                let text = self.text(column);
                text.parse().map_err(|_| format!("poll_first is {text:?}, not a whole number"))?
            }
            None => 0,
        };
        let clock_ms = if columns.poll.is_some() { Some(poll.saturating_mul(POLL_INTERVAL_MS)) } else { event_time_ms };
        Ok((poll, Reading { vehicle, clock_ms, event_time_ms, payload: payload.into() }))
    }

    fn event_time_ms(&self) -> Result<Option<i64>, String> {
        for (name, column, ms_each) in [("ts_ms", self.columns.ts_ms, 1), ("ts", self.columns.ts, 1_000)] {
            let Some(text) = column.map(|column| self.text(column)).filter(|text| !text.is_empty()) else { continue };
            let whole = text.parse::<i64>().ok().and_then(|number| number.checked_mul(ms_each));
            let ms = whole.or_else(|| {
                let ms = text.parse::<f64>().ok()? * ms_each as f64;
                // Beyond 2^53 a float no longer tells milliseconds apart.
                (ms.abs() < 9e15).then(|| ms.round() as i64)
            });
            return ms.map(Some).ok_or_else(|| format!("{name} is {text:?}, not a time"));
        }
        Ok(None)
    }
}

/// Appends a field, or nothing when its cell is empty.
fn write_field(payload: &mut String, (column, field, cell): (&str, &str, Cell), text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    if !payload.ends_with('{') {
        payload.push(',');
    }
    let _ = write!(payload, "\"{field}\":");
    let number = || text.parse::<f64>().map_err(|_| format!("{column} is {text:?}, not a number"));
    let _ = match cell {
        Cell::Number | Cell::Divided(_) if !number()?.is_finite() => write!(payload, "{}", Value::from(text)),
        Cell::Divided(unit) => write!(payload, "{}", number()? / unit),
        // The digits of the file, when JSON can write them.
        Cell::Number if serde_json::from_str::<&RawValue>(text).is_ok() => write!(payload, "{text}"),
        Cell::Number => write!(payload, "{}", number()?),
        Cell::Switch => match text {
            "0" | "1" => write!(payload, "{}", text == "1"),
            _ => return Err(format!("{column} is {text:?}, not 0 or 1")),
        },
        Cell::Codes if text == NO_CODES => write!(payload, "[]"),
        Cell::Codes => write!(payload, "{}", Value::from(text.split(';').map(str::trim).collect::<Vec<_>>())),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(csv: &str) -> Result<Recording, RecordingError> {
        Recording::read(csv.as_bytes(), &TenantId::new("demo").unwrap())
    }

    fn payloads(csv: &str) -> Vec<String> {
        read(csv).unwrap().readings.iter().map(|reading| reading.payload.to_string()).collect()
    }

    #[test]
    fn columns_are_found_by_name_and_units_converted() {
        let sent = payloads(
            "note,lon,lat,ts_ms,vehicle,speed_kmh,rpm,coolant_c,module_voltage_v,fuel_level_pct\n\
             x,12.3504943,55.8928029,1711293780825,CPH-01,36,1819,90.5,12.46,47.058823\n\
             x,12.350,-0.10,1711293780826,CPH-01,,,,,\n",
        );
        assert_eq!(
            sent,
            [
                "{\"event_time_ms\":1711293780825,\"latitude\":55.8928029,\"longitude\":12.3504943,\"speed\":10,\
                 \"engine_speed\":1819,\"engine_coolant_temperature\":90.5,\"battery_voltage\":12.46,\
                 \"fuel_level\":47.058823}",
                "{\"event_time_ms\":1711293780826,\"latitude\":-0.10,\"longitude\":12.350}",
            ]
        );
    }

    #[test]
    fn whatever_a_reading_can_carry_has_a_column() {
        let sent = payloads(
            "vehicle,ts_ms,lat,lon,odometer_km,altitude_m,heading_deg,accuracy_m,engine_hours,state_of_charge_pct,\
             ignition,dtc\n\
             a,1,1,2,12.345,8.25,270,3.5,1200.1,55,1,P0301;U0100\na,2,1,2,,,,,,,0,none\n",
        );
        assert_eq!(
            sent,
            [
                "{\"event_time_ms\":1,\"latitude\":1,\"longitude\":2,\"altitude\":8.25,\"heading\":270,\
                 \"horizontal_accuracy\":3.5,\"odometer\":12345,\"engine_hours\":1200.1,\"state_of_charge\":55,\
                 \"ignition\":true,\"dtc\":[\"P0301\",\"U0100\"]}",
                "{\"event_time_ms\":2,\"latitude\":1,\"longitude\":2,\"ignition\":false,\"dtc\":[]}",
            ]
        );
        assert_eq!(
            payloads("vehicle,ts_ms,lat,lon,odometer_m\na,1,1,2,1609.344\n"),
            ["{\"event_time_ms\":1,\"latitude\":1,\"longitude\":2,\"odometer\":1609.344}"]
        );
    }

    /// What the edge takes is told by its schema.
    #[test]
    fn the_schema_of_readings_has_each_field_and_no_other() {
        let schema: Value = serde_json::from_str(include_str!("../../../docs/reading.schema.json")).unwrap();
        let known = schema["$defs"]["reading"]["properties"].as_object().unwrap();
        let mut fields: Vec<&str> = FIELDS.iter().map(|(_, field, _)| *field).collect();
        fields.extend(["vehicle", "event_time", "event_time_ms"]);
        assert!(fields.iter().all(|field| known.contains_key(*field)), "{fields:?}");
        assert!(known.keys().all(|field| fields.contains(&field.as_str())), "{known:?}");
    }

    #[test]
    fn a_polled_feed_is_played_in_the_order_of_its_polls() {
        let recording = read(
            "vehicle,ts,lat,lon,poll_first,raw_time\n\
             B,20,1,1,2,\nB,30,1,2,4,\nA,21,1,3,4,\nA,5,1,4,2,\nA,22,1,5,4,\n",
        )
        .unwrap();
        let order: Vec<_> =
            recording.readings.iter().map(|r| (r.vehicle.id.as_str(), r.event_time_ms.unwrap())).collect();
        assert_eq!(order, [("A", 5_000), ("B", 20_000), ("A", 21_000), ("A", 22_000), ("B", 30_000)]);
        assert_eq!(recording.vehicles, 2);
        assert_eq!(recording.readings[0].clock_ms, Some(22_000));
    }

    #[test]
    fn what_the_device_got_wrong_is_sent_as_it_was() {
        let sent = payloads(
            "vehicle,ts,lat,lon,raw_time\n\
             A,,52.2,21.0,2024-02-1916:30:08\nA,,52.2,21.0,\nA,1,,21.0,\nA,2,.5,NaN,\nA,1.5,0,0,\n",
        );
        assert_eq!(
            sent,
            [
                "{\"event_time\":\"2024-02-1916:30:08\",\"latitude\":52.2,\"longitude\":21.0}",
                "{\"latitude\":52.2,\"longitude\":21.0}",
                "{\"event_time_ms\":1000,\"longitude\":21.0}",
                "{\"event_time_ms\":2000,\"latitude\":0.5,\"longitude\":\"NaN\"}",
                "{\"event_time_ms\":1500,\"latitude\":0,\"longitude\":0}",
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_with_its_place() {
        for (csv, said) in [
            ("vehicle,ts,lat\n", "it has no column lon; its columns are: vehicle, ts, lat"),
            ("vehicle,lat,lon\nA,1,2\n", "it has no column ts (seconds) or ts_ms (milliseconds)"),
            ("vehicle,ts,lat,lon\n", "it has no rows"),
            ("vehicle,ts,lat,lon\nA,1,2,3\nA,soon,2,3\n", "line 3: ts is \"soon\", not a time"),
            ("vehicle,ts,lat,lon\nA,1,2,x\n", "line 2: lon is \"x\", not a number"),
            ("vehicle,ts,lat,lon\nA,1,2\n", "line 2: it has 3 cells, the header has 4"),
            ("vehicle,ts,lat,lon\na/b,1,2,3\n", "line 2: vehicle contains '/'"),
            ("vehicle,ts,lat,lon,ignition\nA,1,2,3,on\n", "line 2: ignition is \"on\", not 0 or 1"),
            ("vehicle,ts,lat,lon,odometer_km,odometer_m\n", "it has two columns for odometer, odometer_km and another"),
            ("vehicle,ts,lat,lon,poll_first\nA,1,2,3,now\n", "line 2: poll_first is \"now\", not a whole number"),
        ] {
            let error = read(csv).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error} / {said}");
        }
    }

    #[test]
    fn gzip_is_told_by_its_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let plain = "vehicle,ts,lat,lon\nA,1,2,3\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, plain.as_bytes()).unwrap();
        let tenant = TenantId::new("demo").unwrap();
        for (name, bytes) in [("misnamed.csv", gzip.finish().unwrap()), ("plain.gz", plain.as_bytes().to_vec())] {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Recording::open(&path, &tenant).unwrap().readings.len(), 1);
        }
    }

    #[test]
    fn the_reference_recordings_are_read_whole() {
        let directory = std::env::var_os("DROVER_REFERENCE_DATA")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), Into::into);
        for (name, rows, vehicles) in [
            ("gps_warsaw_bus.csv.gz", 311_852, 867),
            ("gps_nyc_bus.csv.gz", 4_964, 18),
            ("gps_copenhagen_obd.csv.gz", 2_116, 10),
        ] {
            let path = directory.join(name);
            if !path.exists() {
                crate::skipped::note(crate::skipped::REFERENCE_DATA, "set DROVER_REFERENCE_DATA to their directory");
                continue;
            }
            let recording = Recording::open(&path, &TenantId::new("demo").unwrap()).unwrap();
            assert_eq!((recording.readings.len(), recording.vehicles), (rows, vehicles), "{name}");
            for reading in &recording.readings {
                serde_json::from_str::<serde_json::Value>(&reading.payload).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn coordinates_arrive_as_the_same_numbers(latitude in any::<f64>(), longitude in any::<f64>()) {
            prop_assume!(latitude.is_finite() && longitude.is_finite());
            let sent = payloads(&format!("vehicle,ts,lat,lon\nA,1,{latitude},{longitude:e}\n"));
            // As text: serde_json itself reads floats a hair off unless it is told not to.
            let fields: HashMap<&str, &serde_json::value::RawValue> = serde_json::from_str(&sent[0]).unwrap();
            prop_assert_eq!(fields["latitude"].get().parse::<f64>().unwrap(), latitude);
            prop_assert_eq!(fields["longitude"].get().parse::<f64>().unwrap(), longitude);
        }

        #[test]
        fn a_mutated_file_is_read_or_refused_but_nothing_breaks(
            changes in proptest::collection::vec((0usize..120, any::<u8>()), 0..8),
            cut in 0usize..130,
        ) {
            let mut bytes = b"vehicle,ts,lat,lon,speed_kmh,poll_first,raw_time\n\
                WAW-1,1708353714,52.2246,21.094576,30,2,\nWAW-2,,52.219147,21.015667,,3,\"2024\"\n".to_vec();
            for (place, byte) in changes {
                if let Some(found) = bytes.get_mut(place) {
                    *found = byte;
                }
            }
            bytes.truncate(cut);
            if let Ok(recording) = Recording::read(&bytes[..], &TenantId::new("demo").unwrap()) {
                for reading in recording.readings {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&reading.payload).is_ok());
                }
            }
        }
    }
}
