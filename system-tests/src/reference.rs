//! Comparisons with answers that independent libraries computed.

use crate::alerts::Alert;
use crate::data;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A transition of a vehicle over a zone's boundary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transition {
    /// Who.
    pub vehicle: String,
    /// When, milliseconds since the Unix epoch.
    pub ms: i64,
    /// Into it, or out of it.
    pub entered: bool,
    /// Where.
    pub zone: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.entered { "enter" } else { "exit" };
        write!(f, "{} {kind} {} at {}", self.vehicle, self.zone, self.ms)
    }
}

/// How two sets of answers compare.
#[derive(Debug)]
pub struct Comparison<R> {
    /// Rows of the reference.
    pub compared: usize,
    /// Rows that both have.
    pub equal: usize,
    /// In the reference, not in ours.
    pub missing: Vec<R>,
    /// In ours, not in the reference.
    pub surplus: Vec<R>,
}

impl<R> Comparison<R> {
    /// Nothing missing, nothing too much.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty()
    }
}

/// The enters and exits of one recording (`warsaw`, `nyc`, `copenhagen`) from `expected_geofence.csv.gz`.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn expected_transitions(directory: &Path, recording: &str) -> Result<Vec<Transition>> {
    let path = directory.join("expected_geofence.csv.gz");
    let mut rows = Vec::new();
    for row in data::open_csv(&path)?.records() {
        let row = row.with_context(|| format!("read {}", path.display()))?;
        let field = |at: usize| row.get(at).with_context(|| format!("{}: a row has no column {at}", path.display()));
        if field(0)? == recording {
            rows.push(Transition {
                vehicle: field(1)?.to_owned(),
                zone: field(2)?.to_owned(),
                entered: field(3)? == "enter",
                ms: field(4)?.parse().with_context(|| format!("{}: ts_ms", path.display()))?,
            });
        }
    }
    Ok(rows)
}

/// Places that one file of zones covers, from `expected_pip.csv.gz`: as a recording, and the enters that it brings.
#[derive(Debug, Default)]
pub struct Places {
    /// CSV for `fleet-replay`: every place is a vehicle of its own that reports once.
    pub recording: String,
    /// An enter for each zone that covers a place.
    pub expected: Vec<Transition>,
}

/// When every vehicle of [`Places`] reports, milliseconds since the Unix epoch.
const PLACES_MS: i64 = 1_700_000_000_000;

/// The places of `expected_pip.csv.gz` by file of zones, as it is named there.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn expected_places(directory: &Path) -> Result<BTreeMap<String, Places>> {
    let path = directory.join("expected_pip.csv.gz");
    let mut table = data::open_csv(&path)?;
    let header = table.headers().with_context(|| format!("read {}", path.display()))?.clone();
    let column = |name: &str| {
        let at = header.iter().position(|column| column == name);
        at.with_context(|| format!("{} has no column {name}", path.display()))
    };
    let [zone_file, lon, lat, zones] = [column("zone_file")?, column("lon")?, column("lat")?, column("zones")?];
    let mut files: BTreeMap<String, Places> = BTreeMap::new();
    for (number, row) in table.records().enumerate() {
        let row = row.with_context(|| format!("read {}", path.display()))?;
        let places = files
            .entry(row[zone_file].to_owned())
            .or_insert_with(|| Places { recording: "vehicle,ts_ms,lat,lon\n".to_owned(), ..Places::default() });
        let vehicle = format!("place-{number}");
        places.recording.push_str(&format!("{vehicle},{PLACES_MS},{},{}\n", &row[lat], &row[lon]));
        places.expected.extend(row[zones].split(';').filter(|zone| !zone.is_empty()).map(|zone| Transition {
            vehicle: vehicle.clone(),
            ms: PLACES_MS,
            entered: true,
            zone: zone.to_owned(),
        }));
    }
    Ok(files)
}

/// The enters and exits among alerts.
#[must_use]
pub fn transitions(alerts: &[Alert]) -> Vec<Transition> {
    alerts
        .iter()
        .filter(|alert| matches!(alert.kind.as_str(), "geofence.entered" | "geofence.exited"))
        .map(|alert| Transition {
            vehicle: alert.vehicle.clone(),
            zone: alert.zone.clone(),
            entered: alert.kind == "geofence.entered",
            ms: alert.event_time_ms,
        })
        .collect()
}

/// Compares as multisets: each row counts as often as it stands there.
#[must_use]
pub fn compare<R: Ord + Clone>(expected: &[R], found: &[R]) -> Comparison<R> {
    let mut counts: BTreeMap<&R, i64> = BTreeMap::new();
    for row in expected {
        *counts.entry(row).or_default() += 1;
    }
    for row in found {
        *counts.entry(row).or_default() -= 1;
    }
    let mut comparison = Comparison { compared: expected.len(), equal: 0, missing: Vec::new(), surplus: Vec::new() };
    for (row, difference) in counts {
        let times = usize::try_from(difference.unsigned_abs()).unwrap_or(usize::MAX);
        let list = if difference > 0 { &mut comparison.missing } else { &mut comparison.surplus };
        list.extend(std::iter::repeat_n(row.clone(), times));
    }
    comparison.equal = comparison.compared - comparison.missing.len();
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vehicle: &str, ms: i64) -> Transition {
        Transition { vehicle: vehicle.into(), ms, entered: true, zone: "z".into() }
    }

    #[test]
    fn a_doubled_row_is_a_surplus_and_a_lost_one_is_missing() {
        let expected = [row("a", 1), row("b", 2)];
        let exact = compare(&expected, &[row("b", 2), row("a", 1)]);
        assert!(exact.is_exact());
        assert_eq!((exact.compared, exact.equal), (2, 2));
        let doubled = compare(&expected, &[row("a", 1), row("a", 1), row("b", 2)]);
        assert_eq!((doubled.surplus.len(), doubled.missing.len()), (1, 0));
        let lost = compare(&expected, &[row("a", 1)]);
        assert_eq!((lost.surplus.len(), lost.missing.len(), lost.equal), (0, 1, 1));
    }
}
