//! Diagnostic trouble codes as OBD-II devices report them (SAE J2012).

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Codes of one reading. A car that has more reports a handful of root causes; a reading with more is refused.
pub const CODES_MAX: usize = 8;
/// No code in this place.
const NONE: u16 = 0;
/// Letters of the systems: powertrain, chassis, body, network.
const SYSTEMS: [char; 4] = ['P', 'C', 'B', 'U'];

/// The codes that are active on a vehicle: sorted, each once, then zeros. Plain data, copied with its reading.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TroubleCodes([u16; CODES_MAX]);

/// One code, such as P0301. Its two bytes are those on the bus: never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TroubleCode(u16);

/// Not a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no trouble code: use one of P, C, B, U, a digit 0 to 3 and three hexadecimal digits, not P0000")]
pub struct InvalidCode(String);

impl TroubleCodes {
    /// The device does not say.
    pub const NOT_REPORTED: Self = Self([u16::MAX; CODES_MAX]);
    /// The device says that there is none.
    pub const NONE: Self = Self([NONE; CODES_MAX]);

    /// Takes codes in any order; `None` when there are more than [`CODES_MAX`].
    #[must_use]
    pub fn of(codes: impl IntoIterator<Item = TroubleCode>) -> Option<Self> {
        let mut all: Vec<u16> = codes.into_iter().map(|code| code.0).collect();
        all.sort_unstable();
        all.dedup();
        let mut found = [NONE; CODES_MAX];
        found.get_mut(..all.len())?.copy_from_slice(&all);
        Some(Self(found))
    }

    /// The codes as they were stored, whatever they are: [`words`](Self::words) backwards.
    #[must_use]
    pub fn from_words(words: [u16; CODES_MAX]) -> Self {
        Self(words)
    }

    /// Two bytes each, 0 where there is none; all ones when not reported.
    #[must_use]
    pub fn words(self) -> [u16; CODES_MAX] {
        self.0
    }

    /// Whether the device says anything about codes.
    #[must_use]
    pub fn is_reported(self) -> bool {
        self != Self::NOT_REPORTED
    }

    /// The codes; none when not reported.
    pub fn iter(self) -> impl Iterator<Item = TroubleCode> {
        let reported = self.is_reported();
        self.0.into_iter().filter(move |code| reported && *code != NONE).map(TroubleCode)
    }

    /// `None` when not reported.
    #[must_use]
    pub fn reported(self) -> Option<Self> {
        self.is_reported().then_some(self)
    }
}

impl FromStr for TroubleCode {
    type Err = InvalidCode;
    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        let code = || {
            let system = SYSTEMS.iter().position(|system| text.starts_with(*system))? as u16;
            let digits = text.get(1..).filter(|digits| digits.len() == 4)?;
            let is_code = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
            let digits = digits.chars().all(is_code).then(|| u16::from_str_radix(digits, 16).ok())??;
            (digits < 0x4000).then_some(system << 14 | digits).filter(|code| *code != NONE)
        };
        code().map(Self).ok_or_else(|| InvalidCode(text.chars().take(16).collect()))
    }
}

impl fmt::Display for TroubleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04X}", SYSTEMS[usize::from(self.0 >> 14)], self.0 & 0x3fff)
    }
}

impl fmt::Debug for TroubleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for TroubleCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_reported() { f.debug_list().entries(self.iter()).finish() } else { f.write_str("not reported") }
    }
}

/// As a list of texts.
impl Serialize for TroubleCodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|code| code.to_string()))
    }
}

/// From a list of texts.
impl<'de> Deserialize<'de> for TroubleCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = TroubleCodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of up to {CODES_MAX} trouble codes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TroubleCodes, A::Error> {
                let mut codes = Vec::new();
                while let Some(text) = list.next_element::<std::borrow::Cow<'de, str>>()? {
                    if codes.len() == CODES_MAX {
                        return Err(A::Error::invalid_length(CODES_MAX + 1, &self));
                    }
                    codes.push(text.parse::<TroubleCode>().map_err(A::Error::custom)?);
                }
                TroubleCodes::of(codes).ok_or_else(|| A::Error::invalid_length(CODES_MAX + 1, &self))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_they_are_written() {
        for (text, word) in [("P0301", 0x0301), ("C1234", 0x5234), ("B3FFF", 0xbfff), ("U0100", 0xc100), ("P0001", 1)] {
            let code: TroubleCode = text.parse().unwrap();
            assert_eq!((code.0, code.to_string().as_str()), (word, text));
        }
        for bad in ["", "P", "P030", "P03011", "p0301", "X0301", "P4000", "P0000", "P03G1", "P+301", "P0a01", "Pé01"] {
            assert!(bad.parse::<TroubleCode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_sorted_and_holds_each_once() {
        let of = |text: &str| serde_json::from_str::<TroubleCodes>(text);
        let codes = of(r#"["U0100","P0301","P0301"]"#).unwrap();
        assert_eq!(codes, of(r#"["P0301","U0100"]"#).unwrap());
        assert_eq!(serde_json::to_string(&codes).unwrap(), r#"["P0301","U0100"]"#);
        assert_eq!(TroubleCodes::from_words(codes.words()), codes);
        assert_eq!((of("[]").unwrap(), of("[]").unwrap().is_reported()), (TroubleCodes::NONE, true));
        assert_eq!(TroubleCodes::NOT_REPORTED.iter().count(), 0);
        for bad in [r#"["P9999"]"#, r#""P0301""#, "[1]", "{}"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let nine = serde_json::to_string(&(1..=9).map(|n| format!("P000{n}")).collect::<Vec<_>>()).unwrap();
        assert!(of(&nine).unwrap_err().to_string().contains("up to 8 trouble codes"));
    }
}
