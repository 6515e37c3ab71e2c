//! Remaining life of a vehicle's part by a [`Model`] that the config carries.
//!
//! Readings are gathered into samples ([`crate::bucket`]); each sample takes the model further. What remains is told
//! when it comes down to `warn_at`, with the confidence that it is really no more: that of [`confidence`] with the
//! model's own error on units that it was not fitted on. That is told anew only after it has been above `warn_at` by more
//! than twice that error, which a model's wavering is not: the part was replaced. Between the two it may be repeated, so
//! that somebody can follow how it goes down.

use crate::bucket::{Bucket, Mean};
use crate::event::{Event, Kind, confidence, details};
use crate::model::{Life, Model};
use crate::signal::{Condition, Signal};
use crate::state::{Reader, Writer};

/// A model at work, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RemainingLife {
    /// Names it in events.
    pub id: String,
    /// What it is predicted by.
    pub model: Model,
    /// The signal behind each input of the model, in their order.
    pub inputs: Vec<Signal>,
    /// Readings count that fulfil all of them.
    pub when: Vec<Condition>,
    /// Milliseconds of a sample.
    pub sample_every_ms: i64,
    /// Samples before the first prediction.
    pub min_samples: u32,
    /// Remaining life that is told, in the model's unit.
    pub warn_at: f64,
    /// While it is no more than that, it is told again at each sample whose number this divides. `None`: it is not.
    pub repeat_every_samples: Option<u32>,
}

/// What a row remembers of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    told: bool,
    bucket: Bucket,
    means: Vec<Mean>,
    life: Life,
}

impl RemainingLife {
    /// Bytes of a record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        1 + Bucket::BYTES + self.inputs.len() * Mean::BYTES + self.model.life_bytes()
    }

    /// Takes the memory out of a record.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Memory {
        let mut reader = Reader::new(bytes);
        Memory {
            told: reader.u8() == 1,
            bucket: Bucket::read(&mut reader),
            means: self.inputs.iter().map(|_| Mean::read(&mut reader)).collect(),
            life: Life::read(&mut reader, &self.model),
        }
    }

    /// Takes in the values of a reading, one for each input, NaN where there is none; none when the reading does not
    /// count. An event when it completes a sample that leads to one.
    pub fn observe(&self, memory: &mut Memory, values: Option<&[f64]>, now_ms: i64) -> Option<Event> {
        let mut event = None;
        if memory.bucket.ends_before(now_ms, self.sample_every_ms) {
            let sample: Vec<f64> = memory.means.iter().map(Mean::value).collect();
            memory.bucket = Bucket::default();
            memory.means.fill(Mean::default());
            self.model.add(&mut memory.life, &sample);
            event = self.predict(memory, now_ms);
        }
        if let Some(values) = values {
            memory.bucket.take(now_ms);
            for (mean, value) in memory.means.iter_mut().zip(values) {
                mean.take(*value);
            }
        }
        event
    }

    fn predict(&self, memory: &mut Memory, now_ms: i64) -> Option<Event> {
        let samples = memory.life.samples();
        let remaining = self.model.remaining(&memory.life).filter(|_| samples >= self.min_samples)?;
        // The number of samples is remembered anyway, so a repeat needs no memory of its own.
        let is_repeat = memory.told;
        let repeats = self.repeat_every_samples.is_some_and(|every| samples.is_multiple_of(every));
        memory.told = remaining <= if is_repeat { self.warn_at + 2.0 * self.model.rmse() } else { self.warn_at };
        if remaining > self.warn_at || (is_repeat && !repeats) {
            return None;
        }
        Some(Event {
            kind: Kind::Predicted,
            time_ms: now_ms,
            subject: self.id.clone(),
            value: remaining,
            details: details([
                ("method", "model".into()),
                ("remaining", remaining.into()),
                ("unit", self.model.unit().into()),
                ("rmse", self.model.rmse().into()),
                ("samples", samples.into()),
                ("warn_at", self.warn_at.into()),
                ("confidence", confidence(self.warn_at - remaining, self.model.rmse()).into()),
            ]),
        })
    }
}

impl Memory {
    /// Puts it into a record.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut writer = Writer::new(bytes);
        writer.u8(u8::from(self.told));
        self.bucket.write(&mut writer);
        for mean in &self.means {
            mean.write(&mut writer);
        }
        self.life.write(&mut writer);
        writer.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FORMAT;
    use serde_json::json;

    fn wear() -> RemainingLife {
        let model = json!({
            "format": FORMAT, "unit": "days", "remaining_max": 100.0, "rmse": 5.0, "inputs": ["v"],
            "features": [{"of": "newest", "input": "v"}], "coefficients": [1.0]
        });
        RemainingLife {
            id: "brake".to_owned(),
            model: Model::parse(&model.to_string()).unwrap(),
            inputs: vec![Signal::BatteryVoltage],
            when: Vec::new(),
            sample_every_ms: 1_000,
            min_samples: 2,
            warn_at: 20.0,
            repeat_every_samples: None,
        }
    }

    /// Samples of one reading each; the index of the reading that told, and what remained.
    fn told(life: &RemainingLife, values: &[f64]) -> Vec<(usize, f64)> {
        let mut bytes = vec![0; life.bytes()];
        let mut told = Vec::new();
        for (index, &value) in values.iter().enumerate() {
            let mut memory = life.read(&bytes);
            let event = life.observe(&mut memory, Some(&[value]), index as i64 * 1_000);
            memory.write(&mut bytes);
            assert_eq!(life.read(&bytes), memory);
            told.extend(event.map(|it| (index, it.value)));
        }
        told
    }

    #[test]
    fn what_remains_is_told_once_until_it_was_clearly_more() {
        let wear = wear();
        assert_eq!(told(&wear, &[10.0, 19.0, 18.0, 30.0, 18.0, 31.0, 17.0, 0.0]), [(2, 19.0), (7, 17.0)]);
        assert_eq!(told(&wear, &[30.0, f64::NAN, 30.0, 21.0, 22.0]), []);
    }

    #[test]
    fn what_remains_may_be_repeated_while_it_is_little() {
        let every = |samples| RemainingLife { repeat_every_samples: Some(samples), ..wear() };
        // The first sample is one too few; the fourth is above what is told, but not by so much that it begins anew.
        let values = [19.0, 18.0, 17.0, 25.0, 16.0, 15.0, 40.0, 14.0, 0.0];
        let each = [(2, 18.0), (3, 17.0), (5, 16.0), (6, 15.0), (8, 14.0)];
        assert_eq!(told(&every(1), &values), each);
        // Told at once, whatever the number of samples, and then at the sixth and, being new, at the eighth.
        assert_eq!(told(&every(3), &values), [(2, 18.0), (3, 17.0), (6, 15.0), (8, 14.0)]);
        assert_eq!(told(&every(u32::MAX), &values), [(2, 18.0), (8, 14.0)]);
    }
}
