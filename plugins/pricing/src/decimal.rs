//! Decimals as they are written, and how they are rounded. Nothing here is binary floating point.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Digits before the point in a config.
pub const WHOLE_DIGITS_MAX: usize = 9;
/// Digits after the point in a config. With [`WHOLE_DIGITS_MAX`] a rate times a quantity stays within the 28 digits that
/// a [`Decimal`] keeps, so no product is ever cut.
pub const FRACTION_DIGITS_MAX: usize = 6;

/// A decimal that a customer wrote as a string: `"2.50"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Exact(pub Decimal);

impl Exact {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not digits with at most one point, or has too many of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a decimal of up to {WHOLE_DIGITS_MAX} digits and {FRACTION_DIGITS_MAX} after the point"
            )
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(wrong()),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let fits = (1..=WHOLE_DIGITS_MAX).contains(&whole.len()) && fraction.len() <= FRACTION_DIGITS_MAX;
        if !fits || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        Decimal::from_str_exact(text).map(Self).map_err(|_| wrong())
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ExactVisitor)
    }
}

struct ExactVisitor;

impl Visitor<'_> for ExactVisitor {
    type Value = Exact;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a decimal in a string, such as \"2.50\"")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Exact, E> {
        Exact::parse(text).map_err(E::custom)
    }
}

/// Which neighbour is taken.
#[derive(serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The nearest; from the middle away from zero.
    #[default]
    HalfUp,
    /// The nearest; from the middle to the even one.
    HalfEven,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

/// Rounds to whole increments.
#[derive(serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Rounding {
    /// Which neighbour.
    pub mode: Mode,
    /// Of what the result is a whole multiple; above 0.
    pub increment: Exact,
}

impl Default for Rounding {
    fn default() -> Self {
        Self { mode: Mode::HalfUp, increment: Exact(Decimal::new(1, 2)) }
    }
}

impl Rounding {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str) -> Result<(), String> {
        if self.increment.0 <= Decimal::ZERO {
            return Err(format!("{at}.increment: {} is not above 0", self.increment.0));
        }
        Ok(())
    }

    /// The nearest whole multiple of the increment to `numerator / denominator`. One division decides, so a value that
    /// lies in the middle is seen as such even where it has no finite decimals before the division.
    ///
    /// # Errors
    /// When a number has more digits than a [`Decimal`] holds.
    pub fn fraction(&self, numerator: Decimal, denominator: Decimal) -> Result<Decimal, Overflow> {
        let increments = numerator.checked_div(denominator.checked_mul(self.increment.0).ok_or(Overflow)?);
        let strategy = match self.mode {
            Mode::HalfUp => RoundingStrategy::MidpointAwayFromZero,
            Mode::HalfEven => RoundingStrategy::MidpointNearestEven,
            Mode::Up => RoundingStrategy::AwayFromZero,
            Mode::Down => RoundingStrategy::ToZero,
        };
        let whole = increments.ok_or(Overflow)?.round_dp_with_strategy(0, strategy);
        whole.checked_mul(self.increment.0).ok_or(Overflow)
    }

    /// The nearest whole multiple of the increment.
    ///
    /// # Errors
    /// Those of [`Self::fraction`].
    pub fn apply(&self, value: Decimal) -> Result<Decimal, Overflow> {
        self.fraction(value, Decimal::ONE)
    }
}

/// A number has more digits than a [`Decimal`] holds. With the limits of the config and of trips it can't happen; if it
/// does, nothing is charged rather than something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an amount has more than 28 digits")
    }
}

impl From<Overflow> for String {
    fn from(overflow: Overflow) -> Self {
        overflow.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Decimal {
        Exact::parse(text).unwrap().0
    }

    #[test]
    fn decimals_are_digits_with_a_point() {
        assert_eq!(exact("2.50").to_string(), "2.50");
        assert_eq!(exact("-0.000001").to_string(), "-0.000001");
        for wrong in ["", "-", ".5", "5.", "1e3", "+1", "1_0", " 1", "1234567890", "0.1234567", "1.2.3", "٣"] {
            assert!(Exact::parse(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Exact>("2.5").unwrap_err().to_string().contains("in a string"));
    }

    #[test]
    fn each_mode_takes_its_neighbour() {
        let round = |mode, text: &str, increment: &str| {
            Rounding { mode, increment: Exact(exact(increment)) }.apply(exact(text)).unwrap().to_string()
        };
        assert_eq!(round(Mode::HalfUp, "2.345", "0.01"), "2.35");
        assert_eq!(round(Mode::HalfUp, "-2.345", "0.01"), "-2.35");
        assert_eq!(round(Mode::HalfEven, "2.345", "0.01"), "2.34");
        assert_eq!(round(Mode::Up, "2.341", "0.01"), "2.35");
        assert_eq!(round(Mode::Down, "2.349", "0.01"), "2.34");
        assert_eq!(round(Mode::HalfUp, "2.375", "0.05"), "2.40");
        assert_eq!(round(Mode::HalfUp, "149", "100"), "100");
    }

    #[test]
    fn the_middle_of_a_fraction_without_finite_decimals_is_seen() {
        // 20 seconds at 0.015 a minute are exactly half a cent.
        let cents = Rounding::default();
        let amount = cents.fraction(exact("0.015") * Decimal::from(20), Decimal::from(60)).unwrap();
        assert_eq!(amount.to_string(), "0.01");
        // Three thirds that were divided before are less than 1.
        let third = Decimal::ONE / Decimal::from(3);
        let whole = Rounding { mode: Mode::Down, increment: Exact(Decimal::ONE) };
        assert_eq!(whole.apply(third + third + third), Ok(Decimal::ZERO));
        assert_eq!(whole.fraction(Decimal::from(3), Decimal::from(3)), Ok(Decimal::ONE));
    }
}
