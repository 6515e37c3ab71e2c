//! A config that was checked and made ready: what is watched, and where the memory of each watcher stands in a row.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::calendar::parse_instant;
use crate::config::{
    DURATION_S_MAX, Direction, Extreme, ID_BYTES_MAX, SERVICES_MAX, SLOTS_MAX, WATCHED_MAX, Written, WrittenMargin,
    WrittenMethod, WrittenRemainingLife, WrittenSchedule, WrittenService, WrittenThreshold, WrittenTrend,
    WrittenTroubleCodes, conditions, days_ms, duration_ms, positive, positive_duration_ms, within,
};
use crate::model::Model;
use crate::remaining_life::RemainingLife;
use crate::schedule::{Margin, Progress, Schedule, Service};
use crate::signal::{Comparison, Signal};
use crate::state::{Layout, key_of};
use crate::threshold::{Run, Threshold};
use crate::trend::{Method, SAMPLES_MAX, Source, Trend};
use crate::trouble_codes::{Memory, TroubleCodes, code_of};

const KM: f64 = 1_000.0;
const DAYS_MAX: f64 = DURATION_S_MAX / 86_400.0;
const KM_MAX: f64 = 10_000_000.0;
const HOURS_MAX: f64 = 1_000_000.0;
const MONTHS_MAX: u32 = 120;

/// What is watched.
pub struct Plan {
    /// A silence longer than this, milliseconds, is between two trips; none: no silence is.
    pub trip_gap_ms: Option<i64>,
    /// Whether a trip begins when the ignition is turned on.
    pub trip_starts_with_ignition: bool,
    /// By distance, hours and calendar.
    pub schedules: Vec<Schedule>,
    /// What was done, by vehicle and number of the schedule, in order of time.
    pub services: BTreeMap<(u64, usize), Vec<Service>>,
    /// Runs.
    pub thresholds: Vec<Threshold>,
    /// Predictions.
    pub trends: Vec<Trend>,
    /// Models.
    pub remaining_life: Vec<RemainingLife>,
    /// None: codes are not followed.
    pub trouble_codes: Option<TroubleCodes>,
    /// A record for each of these, in this order.
    pub layout: Layout,
}

impl Plan {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check_ids(&written)?;
        let schedules = each("schedules", written.schedules, schedule)?;
        let thresholds = each("thresholds", written.thresholds, threshold)?;
        let trends = each("trends", written.trends, |at, it| trend(at, it, &schedules))?;
        let remaining_life = each("remaining_life", written.remaining_life, remaining_life)?;
        let codes = written.trouble_codes.map(trouble_codes).transpose()?;
        let records = schedules
            .iter()
            .map(|it| (key_of("schedule", &it.id), Progress::BYTES))
            .chain(thresholds.iter().map(|it| (key_of("threshold", &it.id), Run::BYTES)))
            .chain(trends.iter().map(|it| (trend_key(it), it.method.bytes())))
            .chain(remaining_life.iter().map(|it| (remaining_life_key(it), it.bytes())))
            .chain(codes.iter().map(|it| (key_of("trouble_codes", ""), Memory::bytes(it.slots))));
        Ok(Self {
            layout: Layout::new(records)?,
            trip_gap_ms: written.trip_gap_s.map(|it| duration_ms("trip_gap_s", it)).transpose()?,
            trip_starts_with_ignition: written.trip_starts_with_ignition,
            services: services(written.services, &schedules)?,
            schedules,
            thresholds,
            trends,
            remaining_life,
            trouble_codes: codes,
        })
    }
}

/// Samples of another signal, method or length mean something else: they are not this trend's.
fn trend_key(trend: &Trend) -> u64 {
    let source = match trend.source {
        Source::Signal(signal) => signal.name(),
        Source::Schedule(_) => "",
    };
    let meaning = format!("trend {} {source} {}", trend.method.name(), trend.sample_every_ms);
    key_of(&meaning, &trend.id)
}

/// The same for a model with other features.
fn remaining_life_key(life: &RemainingLife) -> u64 {
    let mut meaning = format!("remaining_life {}", life.sample_every_ms);
    for signal in &life.inputs {
        let _ = write!(meaning, " {}", signal.name());
    }
    let _ = write!(meaning, " {}", life.model.meaning());
    key_of(&meaning, &life.id)
}

fn each<W, T>(
    list: &str,
    written: Vec<W>,
    mut check: impl FnMut(&str, W) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    within(&format!("{list}: their number"), written.len(), 0, WATCHED_MAX)?;
    written.into_iter().enumerate().map(|(at, it)| check(&format!("{list}[{at}]"), it)).collect()
}

/// An id names what it is about in events of the same kinds, so no two may share it.
fn check_ids(written: &Written) -> Result<(), String> {
    let ids = (written.schedules.iter().map(|it| &it.id).enumerate().map(|it| ("schedules", it)))
        .chain(written.thresholds.iter().map(|it| &it.id).enumerate().map(|it| ("thresholds", it)))
        .chain(written.trends.iter().map(|it| &it.id).enumerate().map(|it| ("trends", it)))
        .chain(written.remaining_life.iter().map(|it| &it.id).enumerate().map(|it| ("remaining_life", it)));
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (list, (at, id)) in ids {
        let field = format!("{list}[{at}].id");
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(format!("{field}: must have 1 to {ID_BYTES_MAX} bytes"));
        }
        if let Some(other) = seen.insert(id, field.clone()) {
            return Err(format!("{field}: {other} is {id:?}, too"));
        }
    }
    Ok(())
}

fn schedule(at: &str, written: WrittenSchedule) -> Result<Schedule, String> {
    let every = &written.every;
    let positive = |field: &str, value: Option<f64>, max: f64| {
        value.map(|it| positive(&format!("{at}.every.{field}"), it, max)).transpose()
    };
    let every_m = positive("odometer_km", every.odometer_km, KM_MAX)?.map(|it| it * KM);
    let every_hours = positive("engine_hours", every.engine_hours, HOURS_MAX)?;
    let every_ms = positive("days", every.days, DAYS_MAX)?.map(|it| days_ms(it).max(1));
    let every_months = every.months.map(|it| within(&format!("{at}.every.months"), it, 1, MONTHS_MAX)).transpose()?;
    if every_m.is_none() && every_hours.is_none() && every_ms.is_none() && every_months.is_none() {
        return Err(format!("{at}.every: names no counter: give odometer_km, engine_hours, days or months"));
    }
    // A margin of a counter that does not count would be passed over in silence.
    let counted = [every_m.is_some(), every_hours.is_some(), every_ms.is_some() || every_months.is_some()];
    let warn_before = margin(&format!("{at}.warn_before"), &written.warn_before, counted)?;
    let overdue_after = margin(&format!("{at}.overdue_after"), &written.overdue_after, counted)?;
    Ok(Schedule {
        every_m,
        every_hours,
        every_ms,
        every_months,
        warn_before,
        overdue_after,
        count_from: written.count_from,
        reset_when: conditions(&format!("{at}.reset_when"), written.reset_when)?,
        id: written.id,
    })
}

fn margin(at: &str, written: &WrittenMargin, counted: [bool; 3]) -> Result<Margin, String> {
    let check = |field: &str, value: Option<f64>, max: f64, counted: bool| {
        let field = format!("{at}.{field}");
        let Some(value) = value else { return Ok(None) };
        if !counted {
            return Err(format!("{field}: every does not name this counter"));
        }
        within(&field, value, 0.0, max).map(Some)
    };
    Ok(Margin {
        metres: check("odometer_km", written.odometer_km, KM_MAX, counted[0])?.map(|it| it * KM),
        hours: check("engine_hours", written.engine_hours, HOURS_MAX, counted[1])?,
        ms: check("days", written.days, DAYS_MAX, counted[2])?.map(days_ms),
    })
}

fn services(
    written: Vec<WrittenService>,
    schedules: &[Schedule],
) -> Result<BTreeMap<(u64, usize), Vec<Service>>, String> {
    within("services: their number", written.len(), 0, SERVICES_MAX)?;
    let mut services: BTreeMap<_, Vec<Service>> = BTreeMap::new();
    for (at, it) in written.into_iter().enumerate() {
        let at = format!("services[{at}]");
        let schedule = schedules
            .iter()
            .position(|schedule| schedule.id == it.schedule)
            .ok_or_else(|| format!("{at}.schedule: there is no schedule {:?}", it.schedule))?;
        let vehicle = vehicle_of(&it.vehicle)
            .ok_or_else(|| format!("{at}.vehicle: {:?} is not 0x and 16 hexadecimal digits", it.vehicle))?;
        let at_ms = parse_instant(&it.time)
            .ok_or_else(|| format!("{at}.time: {:?} is not a time such as 2026-03-01T08:00:00Z", it.time))?;
        let figure = |field: &str, value: Option<f64>, max: f64| {
            value.map(|it| within(&format!("{at}.{field}"), it, 0.0, max)).transpose()
        };
        services.entry((vehicle, schedule)).or_default().push(Service {
            at_ms,
            odometer_m: figure("odometer_km", it.odometer_km, KM_MAX)?.map(|it| it * KM),
            engine_hours: figure("engine_hours", it.engine_hours, HOURS_MAX)?,
        });
    }
    for list in services.values_mut() {
        list.sort_by_key(|it| it.at_ms);
    }
    Ok(services)
}

fn vehicle_of(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").filter(|it| it.len() == 16 && it.bytes().all(|it| it.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

fn threshold(at: &str, written: WrittenThreshold) -> Result<Threshold, String> {
    let when = conditions(&format!("{at}.when"), written.when)?;
    let first = when.first().ok_or_else(|| format!("{at}.when: needs a condition"))?;
    let (extreme_of, extreme_is_max) = match written.extreme {
        Some(extreme) => (extreme.signal, extreme.of == Extreme::Max),
        None => (first.signal, !matches!(first.is, Comparison::Below | Comparison::AtMost)),
    };
    Ok(Threshold {
        extreme_of,
        extreme_is_max,
        when,
        until: conditions(&format!("{at}.until"), written.until)?,
        duration_ms: duration_ms(&format!("{at}.duration_s"), written.duration_s)?,
        at_trip_start: written.at_trip_start,
        across_trips: written.across_trips,
        missing: written.missing,
        event: written.event.kind(),
        report: written.report,
        report_cut_short: written.report_cut_short,
        id: written.id,
    })
}

fn trend(at: &str, written: WrittenTrend, schedules: &[Schedule]) -> Result<Trend, String> {
    let (source, limit, rising) = match (written.signal, &written.schedule) {
        (Some(signal), None) => {
            let limit = written.limit.ok_or_else(|| format!("{at}.limit: is missing"))?;
            let direction = written.direction.ok_or_else(|| format!("{at}.direction: is missing"))?;
            (Source::Signal(signal), limit, direction == Direction::Rising)
        }
        (None, Some(id)) => {
            if written.limit.is_some() || written.direction.is_some() {
                return Err(format!("{at}.schedule: its limit and direction are known: leave them out"));
            }
            let number = schedules.iter().position(|it| it.id == *id);
            let number = number.ok_or_else(|| format!("{at}.schedule: there is no schedule {id:?}"))?;
            (Source::Schedule(number), 1.0, true)
        }
        _ => return Err(format!("{at}: name either a signal or a schedule")),
    };
    let samples = within(&format!("{at}.samples"), written.samples, 4, SAMPLES_MAX)?;
    let span = within(&format!("{at}.span"), written.span, 1.0, 1_000.0)?;
    let (method, min_samples_max) = match written.method {
        WrittenMethod::TheilSen => (Method::TheilSen { samples }, samples),
        WrittenMethod::Ewma => (Method::Ewma { span }, 10_000),
    };
    Ok(Trend {
        source,
        limit,
        rising,
        method,
        when: conditions(&format!("{at}.when"), written.when)?,
        sample_every_ms: positive_duration_ms(&format!("{at}.sample_every_s"), written.sample_every_s)?,
        min_samples: within(&format!("{at}.min_samples"), written.min_samples, 3, min_samples_max)?,
        horizon_ms: days_ms(positive(&format!("{at}.horizon_days"), written.horizon_days, DAYS_MAX)?),
        min_confidence: positive(&format!("{at}.min_confidence"), written.min_confidence, 1.0)?,
        id: written.id,
    })
}

fn remaining_life(at: &str, written: WrittenRemainingLife) -> Result<RemainingLife, String> {
    let model = Model::new(written.model).map_err(|error| format!("{at}.model.{error}"))?;
    if let Some(name) = written.inputs.keys().find(|name| !model.inputs().contains(name)) {
        return Err(format!("{at}.inputs.{name}: the model has no such input"));
    }
    let signal = |name: &String| {
        let signal = written.inputs.get(name).copied().or_else(|| Signal::by_name(name));
        signal.ok_or_else(|| format!("{at}.inputs.{name}: is missing: name the signal behind this input"))
    };
    let repeat = written.repeat_every_samples;
    let repeat = repeat.map(|samples| within(&format!("{at}.repeat_every_samples"), samples, 1, 10_000));
    Ok(RemainingLife {
        inputs: model.inputs().iter().map(signal).collect::<Result<_, _>>()?,
        model,
        when: conditions(&format!("{at}.when"), written.when)?,
        sample_every_ms: positive_duration_ms(&format!("{at}.sample_every_s"), written.sample_every_s)?,
        min_samples: within(&format!("{at}.min_samples"), written.min_samples, 1, 10_000)? as u32,
        warn_at: within(&format!("{at}.warn_at"), written.warn_at, 0.0, 1e9)?,
        repeat_every_samples: repeat.transpose()?,
        id: written.id,
    })
}

fn trouble_codes(written: WrittenTroubleCodes) -> Result<TroubleCodes, String> {
    let readings = |field: &str, count: u16| within(&format!("trouble_codes.{field}"), count, 1, 10_000);
    let ignored = |(at, text): (usize, &String)| {
        code_of(text).ok_or_else(|| format!("trouble_codes.ignore[{at}]: {text:?} is not a code such as P0301"))
    };
    Ok(TroubleCodes {
        raise_after_readings: readings("raise_after_readings", written.raise_after_readings)?,
        raise_after_ms: duration_ms("trouble_codes.raise_after_s", written.raise_after_s)?,
        clear_after_readings: readings("clear_after_readings", written.clear_after_readings)?,
        clear_after_ms: duration_ms("trouble_codes.clear_after_s", written.clear_after_s)?,
        ignore: written.ignore.iter().enumerate().map(ignored).collect::<Result<_, _>>()?,
        slots: within("trouble_codes.slots", written.slots, 1, SLOTS_MAX)?,
    })
}
