//! What is to be paid, by vehicle and currency, under either rule.

use super::Found;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// An amount of a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// Exact.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
}

/// What one vehicle pays in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// The vehicle; `None` for all of the tenant's.
    pub vehicle: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// Under the live rule.
    pub live: Decimal,
    /// Under the candidate.
    pub candidate: Decimal,
}

impl Money {
    /// From a charge's details. `None` when they hold no money, which the plugin host does not let pass.
    pub(super) fn of(details: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Details<'d> {
            amount: &'d str,
            currency: String,
        }
        let details: Details<'_> = serde_json::from_str(details).ok()?;
        Some(Self { amount: Decimal::from_str_exact(details.amount).ok()?, currency: details.currency })
    }
}

/// Per currency first the sum of all vehicles, then each vehicle whose sums differ.
pub(super) fn sums(candidate: &[Found], live: &[Found]) -> Vec<Sums> {
    // Vehicle to live and candidate, per currency.
    let mut by_vehicle: BTreeMap<&str, BTreeMap<&str, [Decimal; 2]>> = BTreeMap::new();
    for (side, found) in [(0, live), (1, candidate)] {
        for found in found {
            let Some(money) = &found.money else { continue };
            let vehicles = by_vehicle.entry(&money.currency).or_default();
            vehicles.entry(found.vehicle.vehicle.as_str()).or_default()[side] += money.amount;
        }
    }
    let mut sums = Vec::new();
    for (currency, vehicles) in by_vehicle {
        let of = |vehicle: Option<&str>, [live, candidate]: [Decimal; 2]| Sums {
            vehicle: vehicle.map(str::to_owned),
            currency: currency.to_owned(),
            live,
            candidate,
        };
        let all = vehicles.values().fold([Decimal::ZERO; 2], |sum, each| [sum[0] + each[0], sum[1] + each[1]]);
        sums.push(of(None, all));
        sums.extend(vehicles.into_iter().filter(|(_, [a, b])| a != b).map(|(vehicle, both)| of(Some(vehicle), both)));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::{EventId, EventKind, Timestamp, VehicleName};

    fn charge(vehicle: &str, amount: &str, currency: &str) -> Found {
        let details = format!(r#"{{"amount":"{amount}","currency":"{currency}"}}"#);
        let vehicle = VehicleName::new("demo".parse().unwrap(), vehicle.parse().unwrap());
        Found {
            id: EventId([0; 16]),
            vehicle,
            kind: EventKind::ChargeLine,
            event_time: Timestamp(0),
            subject: "km".into(),
            value: f64::NAN,
            money: Money::of(&details),
            details: Some(details),
        }
    }

    #[test]
    fn sums_are_exact_and_vehicles_without_a_difference_are_left_out() {
        let live = [charge("a", "0.10", "EUR"), charge("b", "5", "EUR"), charge("b", "1", "PLN")];
        let candidate = [charge("a", "0.10", "EUR"), charge("a", "0.20", "EUR"), charge("b", "5.00", "EUR")];
        let said: Vec<_> = sums(&candidate, &live)
            .into_iter()
            .map(|sum| (sum.vehicle.unwrap_or_default(), sum.currency, sum.live.to_string(), sum.candidate.to_string()))
            .collect();
        let row = |v: &str, c: &str, l: &str, n: &str| (v.to_owned(), c.to_owned(), l.to_owned(), n.to_owned());
        assert_eq!(
            said,
            [
                row("", "EUR", "5.10", "5.30"),
                row("a", "EUR", "0.10", "0.30"),
                row("", "PLN", "1", "0"),
                row("b", "PLN", "1", "0")
            ]
        );
    }

    #[test]
    fn what_is_no_money_has_none() {
        for bad in ["", "{}", r#"{"amount":1,"currency":"EUR"}"#, r#"{"amount":"1e3","currency":"EUR"}"#] {
            assert_eq!(Money::of(bad), None, "{bad}");
        }
    }
}
