//! What was refused, with its reason, for an operator to look at.
//!
//! A block of [`Stream::DEAD_LETTERS`] is a JSON array of [`DeadLetter`]s.

use bytes::Bytes;
use event_log::contract::BLOCK_LEN_MAX;
use event_log::{Append, Block, EventLog, Offset, ReadError, Stream};
use fleet_model::{Reading, Refusal, Sequence, Timestamp, VehicleName};
use serde::{Deserialize, Serialize};

/// Most bytes of a refused payload that are kept.
pub const PAYLOAD_LEN_MAX: usize = 4 * 1_024;
/// Most bytes of an explanation that are kept.
pub const DETAIL_LEN_MAX: usize = 1_024;
/// Most letters in one block.
const LETTERS_PER_BLOCK_MAX: usize = 256;
/// Bytes asked of the log at once.
const READ_BYTES_MAX: usize = 1_024 * 1_024;

/// The door: a payload that is no reading.
pub const STAGE_DEVICE_LINK: &str = "device_link";
/// Admission: a reading that is impossible or contradicts an earlier one.
pub const STAGE_ADMISSION: &str = "admission";
/// The vehicle's actor failed on it.
pub const STAGE_ACTOR: &str = "actor";
/// A plugin failed on it.
pub const STAGE_PLUGIN: &str = "plugin";

/// One refused payload or reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When it was refused, by our clock.
    pub time: Timestamp,
    /// Where: `device_link`, `admission`, `actor` or `plugin`.
    pub stage: String,
    /// Why: the code of a [`Refusal`].
    pub reason: String,
    /// Why, in words.
    pub detail: String,
    /// Whose, where it is known.
    pub tenant: Option<String>,
    /// Which vehicle's, where it is known.
    pub vehicle: Option<String>,
    /// What was refused, its first [`PAYLOAD_LEN_MAX`] bytes; what is not UTF-8 is replaced.
    pub payload: String,
    /// Bytes of what was refused. 0 in letters from before this was noted, and where nothing was read.
    #[serde(default)]
    pub payload_len: u64,
    /// Whether `payload` is only the beginning.
    #[serde(default)]
    pub truncated: bool,
}

impl DeadLetter {
    /// A refused payload, cut to what is kept.
    #[must_use]
    pub fn of_payload(time: Timestamp, stage: &str, reason: Refusal, detail: &str, payload: &[u8]) -> Self {
        let kept = &payload[..payload.len().min(PAYLOAD_LEN_MAX)];
        let mut text = String::from_utf8_lossy(kept).into_owned();
        // What replaces a byte is longer than it.
        let truncated = payload.len() > kept.len() || text.len() > PAYLOAD_LEN_MAX;
        cut(&mut text, PAYLOAD_LEN_MAX);
        let mut detail = detail.to_owned();
        cut(&mut detail, DETAIL_LEN_MAX);
        Self {
            time,
            stage: stage.to_owned(),
            reason: reason.code().to_owned(),
            detail,
            tenant: None,
            vehicle: None,
            payload: text,
            payload_len: payload.len() as u64,
            truncated,
        }
    }

    /// The same with the vehicle it is about.
    #[must_use]
    pub fn about(mut self, name: &VehicleName) -> Self {
        self.tenant = Some(name.tenant.to_string());
        self.vehicle = Some(name.vehicle.to_string());
        self
    }

    /// An admitted reading that an actor or a plugin failed on.
    pub(crate) fn of_reading(
        time: Timestamp,
        stage: &str,
        detail: &str,
        name: &VehicleName,
        sequence: Sequence,
        reading: &Reading,
    ) -> Self {
        let payload = serde_json::json!({
            "sequence": sequence.0,
            "event_time_ms": reading.event_time.0,
            "received_time_ms": reading.received_time.0,
            "latitude": reading.latitude,
            "longitude": reading.longitude,
            "speed": fleet_model::reading::reported(reading.speed),
        });
        Self::of_payload(time, stage, Refusal::Poison, detail, payload.to_string().as_bytes()).about(name)
    }

    /// Everything but the time and the wording: the same refusal of the same thing, found again in a replay.
    pub(crate) fn identity(&self) -> String {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let parts = [&self.stage, &self.reason, &of(&self.tenant), &of(&self.vehicle), &self.payload];
        parts.map(String::as_str).join("\n")
    }
}

/// Blocks for [`Stream::DEAD_LETTERS`], in order. None for no letters.
#[must_use]
pub fn append_of(letters: &[DeadLetter]) -> Vec<Append> {
    let mut appends = Vec::new();
    let mut block = Vec::new();
    let mut count = 0;
    for letter in letters {
        let Ok(json) = serde_json::to_vec(letter) else { continue };
        if count == LETTERS_PER_BLOCK_MAX || block.len() + json.len() + 2 > BLOCK_LEN_MAX {
            appends.push(append(&mut block, &mut count));
        }
        block.push(if count == 0 { b'[' } else { b',' });
        block.extend_from_slice(&json);
        count += 1;
    }
    if count > 0 {
        appends.push(append(&mut block, &mut count));
    }
    appends
}

fn append(block: &mut Vec<u8>, count: &mut usize) -> Append {
    block.push(b']');
    let bytes = Bytes::from(std::mem::take(block));
    Append { stream: Stream::DEAD_LETTERS, count: std::mem::take(count) as u32, bytes, source: None }
}

/// When the newest letter of a block of [`Stream::DEAD_LETTERS`] was written, milliseconds since the Unix epoch.
///
/// # Errors
/// When it holds no letters.
pub fn block_time_ms(block: &Block) -> Result<i64, String> {
    let letters: Vec<DeadLetter> = serde_json::from_slice(&block.bytes).map_err(|error| error.to_string())?;
    letters.iter().map(|letter| letter.time.0).max().ok_or_else(|| "it holds no letters".to_owned())
}

/// The letters from offset `from` on, at most `limit`, with their offsets. What was trimmed is passed over.
///
/// # Errors
/// See [`ReadError`].
pub fn read(log: &dyn EventLog, from: Offset, limit: usize) -> Result<Vec<(Offset, DeadLetter)>, ReadError> {
    let mut found = Vec::new();
    let bounds = log.bounds(Stream::DEAD_LETTERS);
    let mut at = from.max(bounds.first);
    while at < bounds.next && found.len() < limit {
        let blocks = log.read(Stream::DEAD_LETTERS, at, READ_BYTES_MAX)?;
        let Some(last) = blocks.last() else { break };
        let next = last.first + u64::from(last.count);
        for block in &blocks {
            let letters: Vec<DeadLetter> = serde_json::from_slice(&block.bytes)
                .map_err(|e| ReadError::Damaged { at: block.first, what: e.to_string() })?;
            let placed = (block.first..).zip(letters).filter(|(offset, _)| *offset >= at);
            found.extend(placed.take(limit - found.len()));
        }
        at = next;
    }
    Ok(found)
}

fn cut(text: &mut String, len_max: usize) {
    let mut len = text.len().min(len_max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    text.truncate(len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{Commit, MemoryLog};

    fn letter(number: i64, payload: &[u8]) -> DeadLetter {
        DeadLetter::of_payload(Timestamp(number), STAGE_ADMISSION, Refusal::NullPosition, "no fix", payload)
    }

    #[test]
    fn payloads_are_cut_and_made_text() {
        let cut = letter(1, &[0xff; 3 * PAYLOAD_LEN_MAX]);
        assert!(cut.payload.len() <= PAYLOAD_LEN_MAX && cut.payload.starts_with('\u{fffd}'));
    }

    #[test]
    fn a_letter_says_whether_it_holds_everything() {
        let told = |payload: &[u8]| (letter(1, payload).truncated, letter(1, payload).payload_len);
        assert_eq!(told(b"{"), (false, 1));
        assert_eq!(told(&[b'x'; PAYLOAD_LEN_MAX]), (false, PAYLOAD_LEN_MAX as u64));
        assert_eq!(told(&[b'x'; PAYLOAD_LEN_MAX + 1]), (true, PAYLOAD_LEN_MAX as u64 + 1));
        assert_eq!(told(&[0xff; PAYLOAD_LEN_MAX / 2]), (true, PAYLOAD_LEN_MAX as u64 / 2), "replaced bytes are longer");
    }

    #[test]
    fn letters_from_before_the_length_was_noted_are_read() {
        let mut old = serde_json::to_value(letter(1, b"x")).unwrap();
        let members = old.as_object_mut().unwrap();
        members.remove("payload_len");
        members.remove("truncated");
        assert_eq!(serde_json::from_value::<DeadLetter>(old).unwrap().payload, "x");
    }

    #[test]
    fn letters_come_back_from_any_offset() {
        let log = MemoryLog::new();
        let letters: Vec<_> = (0..1_000).map(|i| letter(i, &[b'x'; 3_000])).collect();
        for appends in letters.chunks(700).map(append_of) {
            assert!(appends.iter().all(|append| append.bytes.len() <= BLOCK_LEN_MAX));
            log.submit(Commit { appends, ..Default::default() }).wait().unwrap();
        }
        for (from, limit) in [(0, 1_000), (0, 1), (255, 3), (256, 300), (999, 9), (1_000, 9)] {
            let found = read(&log, from, limit).unwrap();
            let expected: Vec<_> = (from..1_000).take(limit).map(|i| (i, letters[i as usize].clone())).collect();
            assert_eq!(found, expected, "{from} {limit}");
        }
        assert!(append_of(&[]).is_empty());
    }
}
