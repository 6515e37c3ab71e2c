//! Where a signal, or the used share of a schedule, is going: when it will come to a limit, and how sure that is.
//!
//! Readings are gathered into samples ([`crate::bucket`]). With each new sample a line is laid through them:
//!
//! - **Theil-Sen**: the slope is the median of the slopes between all pairs of the samples kept; the level is the median
//!   of the samples carried along that slope to the newest one's time. Up to 29 % of the samples may be wild. The
//!   *confidence* is the share of the pairs whose own slope leads from that level to the limit within the horizon.
//! - **EWMA**: level and slope, each weighted towards the newest samples (an alpha-beta filter; the slope's weight is
//!   alpha² / (2 - alpha); the first samples weigh as in a least squares line). The *confidence* is that of
//!   [`confidence`] for the distance beyond the limit at the horizon's end, with the deviation that the filter's errors
//!   so far make of level and slope.
//!
//! A prediction is told once, when its confidence is enough and the line itself comes to the limit within the horizon;
//! and again only after the confidence has fallen below half of what is asked.

use crate::bucket::{Bucket, Mean};
use crate::calendar::DAY_MS;
use crate::event::{Event, Kind, confidence, details};
use crate::signal::{Condition, Signal};
use crate::state::{Reader, Writer};

/// The most samples that can be kept. All their pairs are looked at with each new one, and a batch has milliseconds for
/// hundreds of vehicles.
pub const SAMPLES_MAX: usize = 32;

/// A trend that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// Names it in events.
    pub id: String,
    /// What is followed.
    pub source: Source,
    /// Readings count that fulfil all of them.
    pub when: Vec<Condition>,
    /// Milliseconds of a sample.
    pub sample_every_ms: i64,
    /// Samples before the first prediction.
    pub min_samples: usize,
    /// How the line is laid.
    pub method: Method,
    /// What is coming, in the signal's unit; 1 for a schedule.
    pub limit: f64,
    /// Whether it comes from below.
    pub rising: bool,
    /// Milliseconds ahead.
    pub horizon_ms: i64,
    /// 0 to 1.
    pub min_confidence: f64,
}

/// What a trend follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A signal.
    Signal(Signal),
    /// The used share of the schedule of this number.
    Schedule(usize),
}

/// How a line is laid through samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Through the newest samples, this many.
    TheilSen {
        /// 4 to [`SAMPLES_MAX`].
        samples: usize,
    },
    /// Weighted: alpha is 2 / (span + 1).
    Ewma {
        /// Samples.
        span: f64,
    },
}

/// What a row remembers of a trend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    bucket: Bucket,
    mean: Mean,
    /// A prediction was told.
    told: bool,
    line: Line,
}

#[derive(Debug, Clone, PartialEq)]
enum Line {
    /// Samples as (seconds since the Unix epoch, value), oldest first.
    Ring(Vec<(u32, f32)>),
    Filter(Filter),
}

impl Default for Line {
    fn default() -> Self {
        Self::Ring(Vec::new())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Filter {
    samples: u32,
    at_ms: i64,
    level: f64,
    /// Per second.
    slope: f64,
    /// The mean square of the errors.
    error_squared: f64,
}

/// What the line says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outlook {
    samples: usize,
    at_ms: i64,
    level: f64,
    /// Per second.
    slope: f64,
    confidence: f64,
}

const HEADER_BYTES: usize = 1 + Bucket::BYTES + Mean::BYTES;
const FILTER_BYTES: usize = 4 + 8 + 8 + 8 + 8;
const SAMPLE_BYTES: usize = 8;

impl Method {
    /// Bytes of a record.
    #[must_use]
    pub fn bytes(self) -> usize {
        HEADER_BYTES
            + match self {
                Self::TheilSen { samples } => 1 + samples * SAMPLE_BYTES,
                Self::Ewma { .. } => FILTER_BYTES,
            }
    }

    /// Its name in configs and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TheilSen { .. } => "theil_sen",
            Self::Ewma { .. } => "ewma",
        }
    }
}

impl Memory {
    /// Takes it out of a record that was written with this method.
    #[must_use]
    pub fn read(bytes: &[u8], method: Method) -> Self {
        let mut reader = Reader::new(bytes);
        let (told, bucket, mean) = (reader.u8() == 1, Bucket::read(&mut reader), Mean::read(&mut reader));
        let line = match method {
            Method::TheilSen { samples } => {
                let count = usize::from(reader.u8()).min(samples);
                Line::Ring((0..count).map(|_| (reader.u32(), reader.f32())).collect())
            }
            Method::Ewma { .. } => Line::Filter(Filter {
                samples: reader.u32(),
                at_ms: reader.i64(),
                level: reader.f64(),
                slope: reader.f64(),
                error_squared: reader.f64(),
            }),
        };
        Self { bucket, mean, told, line }
    }

    /// Puts it into a record.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut writer = Writer::new(bytes);
        writer.u8(u8::from(self.told));
        self.bucket.write(&mut writer);
        self.mean.write(&mut writer);
        match &self.line {
            Line::Ring(samples) => {
                writer.u8(samples.len() as u8);
                for (at_s, value) in samples {
                    writer.u32(*at_s);
                    writer.f32(*value);
                }
            }
            Line::Filter(filter) => {
                writer.u32(filter.samples);
                writer.i64(filter.at_ms);
                writer.f64(filter.level);
                writer.f64(filter.slope);
                writer.f64(filter.error_squared);
            }
        }
        writer.finish();
    }
}

impl Trend {
    /// Takes in a value, NaN when there is none that counts, of a reading at this event time. An event when it completes
    /// a sample that leads to a prediction.
    pub fn observe(&self, memory: &mut Memory, value: f64, now_ms: i64) -> Option<Event> {
        let mut event = None;
        if memory.bucket.ends_before(now_ms, self.sample_every_ms) {
            let (at_ms, sample) = (memory.bucket.middle_ms(), memory.mean.value());
            (memory.bucket, memory.mean) = (Bucket::default(), Mean::default());
            self.add(&mut memory.line, at_ms, sample);
            event = self.predict(memory, now_ms);
        }
        if !value.is_nan() {
            memory.bucket.take(now_ms);
            memory.mean.take(value);
        }
        event
    }

    /// Forgets what was sampled: the schedule that is followed was reset.
    pub fn reset(&self, memory: &mut Memory) {
        *memory = Memory { line: self.empty_line(), ..Memory::default() };
    }

    fn empty_line(&self) -> Line {
        match self.method {
            Method::TheilSen { .. } => Line::Ring(Vec::new()),
            Method::Ewma { .. } => Line::Filter(Filter::default()),
        }
    }

    fn add(&self, line: &mut Line, at_ms: i64, sample: f64) {
        match (line, self.method) {
            (Line::Ring(ring), Method::TheilSen { samples }) => {
                if ring.len() >= samples {
                    ring.remove(0);
                }
                ring.push((at_ms.div_euclid(1_000).clamp(0, i64::from(u32::MAX)) as u32, sample as f32));
            }
            (Line::Filter(filter), Method::Ewma { span }) => filter.add(at_ms, sample, span),
            _ => {}
        }
    }

    fn predict(&self, memory: &mut Memory, now_ms: i64) -> Option<Event> {
        let outlook = match (&memory.line, self.method) {
            (Line::Ring(ring), _) => self.theil_sen(ring, now_ms),
            (Line::Filter(filter), Method::Ewma { span }) => self.ewma(filter, span, now_ms),
            (Line::Filter(_), Method::TheilSen { .. }) => None,
        }
        .filter(|it| it.samples >= self.min_samples)?;
        if memory.told {
            memory.told = outlook.confidence >= self.min_confidence / 2.0;
            return None;
        }
        let missing = self.missing(outlook.level);
        let towards = self.towards(outlook.slope);
        let ahead_s = if missing <= 0.0 { 0.0 } else { missing / towards };
        // Not below 0, not NaN, and within the horizon.
        let within = (0.0..=self.horizon_s(outlook.at_ms, now_ms)).contains(&ahead_s);
        if outlook.confidence < self.min_confidence || !within {
            return None;
        }
        memory.told = true;
        let expected_ms = outlook.at_ms.saturating_add((ahead_s * 1_000.0).round() as i64).max(now_ms);
        let day_s = DAY_MS as f64 / 1_000.0;
        let days = expected_ms.saturating_sub(now_ms) as f64 / DAY_MS as f64;
        Some(Event {
            kind: Kind::Predicted,
            time_ms: now_ms,
            subject: self.id.clone(),
            value: days,
            details: details([
                ("method", self.method.name().into()),
                ("samples", outlook.samples.into()),
                ("level", outlook.level.into()),
                ("slope_per_day", (outlook.slope * day_s).into()),
                ("limit", self.limit.into()),
                ("expected_ms", expected_ms.into()),
                ("horizon_days", (self.horizon_ms as f64 / DAY_MS as f64).into()),
                ("confidence", outlook.confidence.into()),
            ]),
        })
    }

    /// Seconds from a sample to the end of the horizon, which is ahead of the reading at hand.
    fn horizon_s(&self, at_ms: i64, now_ms: i64) -> f64 {
        self.horizon_ms.saturating_add(now_ms.saturating_sub(at_ms).max(0)) as f64 / 1_000.0
    }

    /// How much is missing to the limit: 0 or less at it and beyond.
    fn missing(&self, level: f64) -> f64 {
        if self.rising { self.limit - level } else { level - self.limit }
    }

    /// A slope towards the limit is above 0.
    fn towards(&self, slope: f64) -> f64 {
        if self.rising { slope } else { -slope }
    }

    fn theil_sen(&self, ring: &[(u32, f32)], now_ms: i64) -> Option<Outlook> {
        let (newest_s, _) = *ring.last()?;
        let mut slopes: Vec<f64> = Vec::with_capacity(ring.len() * ring.len() / 2);
        for (at, one) in ring.iter().enumerate() {
            for other in &ring[at + 1..] {
                if other.0 > one.0 {
                    slopes.push((f64::from(other.1) - f64::from(one.1)) / f64::from(other.0 - one.0));
                }
            }
        }
        let slope = median(&mut slopes)?;
        let mut levels: Vec<f64> =
            ring.iter().map(|it| f64::from(it.1) + slope * (f64::from(newest_s) - f64::from(it.0))).collect();
        let level = median(&mut levels)?;
        let at_ms = i64::from(newest_s) * 1_000;
        let horizon_s = self.horizon_s(at_ms, now_ms);
        let missing = self.missing(level);
        let leading = slopes.iter().filter(|it| self.towards(**it) * horizon_s >= missing).count();
        Some(Outlook { samples: ring.len(), at_ms, level, slope, confidence: leading as f64 / slopes.len() as f64 })
    }

    fn ewma(&self, filter: &Filter, span: f64, now_ms: i64) -> Option<Outlook> {
        if filter.samples < 3 {
            return None;
        }
        let (alpha, beta) = (alpha_of(span), beta_of(span));
        let horizon_s = self.horizon_s(filter.at_ms, now_ms);
        let sample_s = self.sample_every_ms as f64 / 1_000.0;
        // How much of a sample's variance such a filter leaves in its level and its slope.
        let left = alpha * (4.0 - beta - 2.0 * alpha);
        let of_level = (2.0 * alpha * alpha + 2.0 * beta - 3.0 * alpha * beta) / left;
        let of_slope = 2.0 * beta * beta / left;
        // And how much a least squares line leaves, which it is at first.
        let count = f64::from(filter.samples);
        let of_level = greater(of_level, 2.0 * (2.0 * count - 1.0) / (count * (count + 1.0)));
        let of_slope = greater(of_slope, 12.0 / (count * (count * count - 1.0)));
        let steps = horizon_s / sample_s;
        let deviation = (filter.error_squared * (of_level + of_slope * steps * steps)).sqrt();
        let beyond = self.towards(filter.slope) * horizon_s - self.missing(filter.level);
        Some(Outlook {
            samples: filter.samples as usize,
            at_ms: filter.at_ms,
            level: filter.level,
            slope: filter.slope,
            confidence: confidence(beyond, deviation),
        })
    }
}

fn greater(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

fn alpha_of(span: f64) -> f64 {
    2.0 / (span + 1.0)
}

fn beta_of(span: f64) -> f64 {
    let alpha = alpha_of(span);
    alpha * alpha / (2.0 - alpha)
}

impl Filter {
    fn add(&mut self, at_ms: i64, sample: f64, span: f64) {
        let (alpha, beta) = (alpha_of(span), beta_of(span));
        let elapsed_s = at_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        if self.samples > 0 && elapsed_s <= 0.0 {
            return;
        }
        let count = f64::from(self.samples) + 1.0;
        if self.samples == 0 {
            self.level = sample;
        } else {
            let error = sample - (self.level + self.slope * elapsed_s);
            // The first samples weigh as in a least squares line through all of them: a line that began with the first
            // two alone would take long to forget their noise.
            let alpha_now = greater(alpha, 2.0 * (2.0 * count - 1.0) / (count * (count + 1.0)));
            let beta_now = greater(beta, 6.0 / (count * (count + 1.0)));
            self.level = sample - (1.0 - alpha_now) * error;
            self.slope += beta_now * error / elapsed_s;
            // Two samples make any line: the second is no error yet.
            if self.samples > 1 {
                self.error_squared += greater(alpha, 1.0 / (count - 2.0)) * (error * error - self.error_squared);
            }
        }
        self.at_ms = at_ms;
        self.samples = self.samples.saturating_add(1);
    }
}

/// None of nothing. Brings the values into another order.
fn median(values: &mut [f64]) -> Option<f64> {
    let (count, middle) = (values.len(), values.len() / 2);
    if count == 0 {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if count % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn falling(method: Method) -> Trend {
        Trend {
            id: "battery".to_owned(),
            source: Source::Signal(Signal::BatteryVoltage),
            when: Vec::new(),
            sample_every_ms: DAY_MS,
            min_samples: 8,
            method,
            limit: 11.8,
            rising: false,
            horizon_ms: 14 * DAY_MS,
            min_confidence: 0.8,
        }
    }

    /// Hourly values by day; the events with the day of each.
    fn told(trend: &Trend, days: usize, value: impl Fn(usize) -> f64) -> Vec<(usize, Event)> {
        let mut bytes = vec![0; trend.method.bytes()];
        let mut told = Vec::new();
        for hour in 0..days * 24 {
            let mut memory = Memory::read(&bytes, trend.method);
            let event = trend.observe(&mut memory, value(hour), hour as i64 * HOUR_MS);
            memory.write(&mut bytes);
            assert_eq!(Memory::read(&bytes, trend.method), memory);
            told.extend(event.map(|it| (hour / 24, it)));
        }
        told
    }

    /// From 13.0 V down 0.03 V a day: 11.8 V is 40 days away. A ripple of 0.02 V over two days.
    fn wearing(hour: usize) -> f64 {
        13.0 - 0.03 * hour as f64 / 24.0 + if (hour / 24).is_multiple_of(2) { 0.01 } else { -0.01 }
    }

    const METHODS: [Method; 2] = [Method::TheilSen { samples: 16 }, Method::Ewma { span: 8.0 }];

    #[test]
    fn a_limit_is_predicted_within_the_horizon_and_once() {
        for method in METHODS {
            let told = told(&falling(method), 45, wearing);
            assert_eq!(told.len(), 1, "{told:?}");
            let (day, event) = &told[0];
            assert!((24..=32).contains(day), "{method:?} {day}");
            let expected_day = event.details["expected_ms"].as_f64().unwrap() / DAY_MS as f64;
            assert!((expected_day - 40.0).abs() < 2.0, "{method:?} {expected_day}");
            assert!((event.details["slope_per_day"].as_f64().unwrap() + 0.03).abs() < 0.005);
            assert!(event.details["confidence"].as_f64().unwrap() >= 0.8);
            assert!((event.value - (expected_day - *day as f64)).abs() < 0.1);
        }
    }

    #[test]
    fn what_does_not_go_there_is_not_predicted() {
        for method in METHODS {
            let flat = |hour: usize| 12.6 + if (hour / 24).is_multiple_of(2) { 0.05 } else { -0.05 };
            assert_eq!(told(&falling(method), 60, flat), []);
            assert_eq!(told(&falling(method), 60, |hour| 12.0 + 0.001 * hour as f64), []);
            assert_eq!(told(&falling(method), 60, |_| f64::NAN), []);
            assert_eq!(told(&falling(method), 7, |hour| 13.0 - 0.1 * hour as f64 / 24.0), [], "too few samples");
        }
    }

    #[test]
    fn wild_samples_do_not_bend_a_theil_sen_line() {
        let trend = falling(METHODS[0]);
        let wild = |hour: usize| if hour / 24 % 5 == 3 { 4.0 } else { wearing(hour) };
        let told = told(&trend, 45, wild);
        let expected_day = told[0].1.details["expected_ms"].as_f64().unwrap() / DAY_MS as f64;
        assert!((expected_day - 40.0).abs() < 3.0, "{expected_day}");
    }

    #[test]
    fn a_prediction_may_come_back_when_it_had_gone() {
        for method in METHODS {
            // A new battery on day 39.
            let told = told(&falling(method), 120, |hour| wearing(if hour < 39 * 24 { hour } else { hour - 39 * 24 }));
            assert_eq!(told.len(), 2, "{told:?}");
        }
    }

    #[test]
    fn a_reset_forgets_the_samples() {
        for method in METHODS {
            let trend = falling(method);
            let mut memory = Memory::read(&vec![7; method.bytes()], method);
            trend.reset(&mut memory);
            assert_eq!(memory, Memory::read(&vec![0; method.bytes()], method));
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
