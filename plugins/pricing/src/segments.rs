//! Prices that depend on a quantity, as GBFS writes them in `per_km_pricing` and `per_min_pricing`.
//!
//! ```text
//!            start          start+interval  start+2·interval     end
//!  0 ─────────●───────────────●───────────────●───────────────────○────▶ quantity
//!             rate            rate            rate                no more
//! ```

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::decimal::{Exact, Overflow};
use crate::measure::Quantity;

/// When the rate of an interval is due.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// At the interval's beginning, which is how GBFS has it: whoever drives 10.1 of intervals of 1 pays 11.
    #[default]
    Begun,
    /// At the interval's end: whoever drives 10.9 pays 10.
    Completed,
    /// By the part of the interval that was used, to the last digit.
    Prorated,
}

/// One segment. Segments may overlap; each adds its price.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The quantity from which the segment counts, itself included.
    #[serde(default)]
    pub start: Exact,
    /// The price of each interval; may be negative.
    pub rate: Exact,
    /// The quantity after which the rate is due again. 0: the rate is due once.
    pub interval: Exact,
    /// The quantity from which nothing more is due, itself included; none: no end.
    #[serde(default)]
    pub end: Option<Exact>,
    /// When an interval is due.
    #[serde(default)]
    pub due: Due,
}

impl Segment {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str) -> Result<(), String> {
        let (start, interval) = (self.start.0, self.interval.0);
        if start < Decimal::ZERO {
            return Err(format!("{at}.start: {start} is below 0"));
        }
        if interval < Decimal::ZERO {
            return Err(format!("{at}.interval: {interval} is below 0"));
        }
        if let Some(Exact(end)) = self.end.filter(|end| end.0 <= start) {
            return Err(format!("{at}.end: {end} is not above start, {start}"));
        }
        if self.due != Due::Begun && interval.is_zero() {
            return Err(format!("{at}.interval: 0 is due once, and goes with due begun only"));
        }
        if self.due == Due::Prorated && self.rate_of_one().is_none() {
            let rate = self.rate.0;
            return Err(format!(
                "{at}.interval: {rate} divided by {interval} has no end; write the rate of another interval"
            ));
        }
        Ok(())
    }

    /// What is due for this quantity, as the numerator over the quantity's own denominator.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn price(&self, quantity: &Quantity) -> Result<Decimal, Overflow> {
        let (start, interval, rate) = (self.start.0, self.interval.0, self.rate.0);
        if !quantity.is_at_least(start)? {
            return Ok(Decimal::ZERO);
        }
        let over = |value: Decimal| value.checked_mul(quantity.denominator).ok_or(Overflow);
        if interval.is_zero() {
            return over(rate);
        }
        let mut upto = quantity.numerator;
        let mut at_end = false;
        if let Some(Exact(end)) = self.end {
            let end = over(end)?;
            at_end = upto >= end;
            upto = upto.min(end);
        }
        let used = upto.checked_sub(over(start)?).ok_or(Overflow)?;
        if self.due == Due::Prorated {
            return self.rate_of_one().ok_or(Overflow)?.checked_mul(used).ok_or(Overflow);
        }
        let intervals = used.checked_div(over(interval)?).ok_or(Overflow)?;
        let count = match self.due {
            Due::Completed => intervals.floor(),
            // The end itself is no longer due, so an interval that would begin there is not counted.
            _ if at_end => intervals.ceil(),
            _ => intervals.floor() + Decimal::ONE,
        };
        over(count.checked_mul(rate).ok_or(Overflow)?)
    }

    /// The rate of a quantity of 1, if it has finite decimals.
    fn rate_of_one(&self) -> Option<Decimal> {
        let rate = self.rate.0.checked_div(self.interval.0)?;
        (rate.checked_mul(self.interval.0)? == self.rate.0 && rate.scale() <= 12).then_some(rate)
    }
}

/// What all segments ask for this quantity, as the numerator over the quantity's own denominator.
///
/// # Errors
/// When a number has too many digits.
pub fn price(segments: &[Segment], quantity: &Quantity) -> Result<Decimal, Overflow> {
    let mut sum = Decimal::ZERO;
    for segment in segments {
        sum = sum.checked_add(segment.price(quantity)?).ok_or(Overflow)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(json: &str) -> Vec<Segment> {
        serde_json::from_str(json).unwrap()
    }

    fn ask(segments: &[Segment], quantity: &str) -> String {
        let quantity = Quantity::of(Exact::parse(quantity).unwrap().0);
        price(segments, &quantity).unwrap().normalize().to_string()
    }

    /// Nothing for the first 10 km, then 1 for each, from 25 km on 0.50 for each and 3 for every 5 of them.
    #[test]
    fn the_example_of_gbfs() {
        let tiers = segments(
            r#"[{"start":"10","rate":"1","interval":"1","end":"25"},
                {"start":"25","rate":"0.50","interval":"1"},
                {"start":"25","rate":"3","interval":"5"}]"#,
        );
        let asked = ["0", "9.9", "10", "10.5", "11", "24.9", "25", "29.9", "30"].map(|km| ask(&tiers, km));
        assert_eq!(asked, ["0", "0", "1", "1", "2", "15", "18.5", "20.5", "24"]);
    }

    #[test]
    fn an_interval_of_0_is_due_once() {
        let once = segments(r#"[{"start":"2","rate":"4","interval":"0"}]"#);
        assert_eq!(["1.9", "2", "200"].map(|km| ask(&once, km)), ["0", "4", "4"]);
    }

    #[test]
    fn an_interval_that_the_end_cuts_is_due_once() {
        let cut = segments(r#"[{"rate":"2","interval":"3","end":"7"}]"#);
        assert_eq!(["0", "2.9", "3", "6", "7", "99"].map(|km| ask(&cut, km)), ["2", "2", "4", "6", "6", "6"]);
    }

    #[test]
    fn completed_and_prorated() {
        let completed = segments(r#"[{"start":"1","rate":"2","interval":"0.2","due":"completed"}]"#);
        assert_eq!(["1", "1.19", "1.2", "1.39"].map(|km| ask(&completed, km)), ["0", "0", "2", "2"]);
        let prorated = segments(r#"[{"start":"1","rate":"3","interval":"10","end":"21","due":"prorated"}]"#);
        assert_eq!(["1", "2", "21", "30"].map(|km| ask(&prorated, km)), ["0", "0.3", "6", "6"]);
    }

    #[test]
    fn what_can_not_be_is_refused_by_field() {
        let error = |json: &str| segments(json)[0].check("s").unwrap_err();
        assert_eq!(error(r#"[{"start":"-1","rate":"1","interval":"1"}]"#), "s.start: -1 is below 0");
        assert_eq!(error(r#"[{"start":"2","rate":"1","interval":"1","end":"2"}]"#), "s.end: 2 is not above start, 2");
        assert!(error(r#"[{"rate":"1","interval":"-1"}]"#).starts_with("s.interval"));
        assert!(error(r#"[{"rate":"1","interval":"0","due":"completed"}]"#).starts_with("s.interval"));
        assert!(error(r#"[{"rate":"1","interval":"3","due":"prorated"}]"#).starts_with("s.interval"));
    }
}
