//! What benchmarks measured: medians, and where they are collected.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The file that `cargo xtask bench` collects figures in: an object a line, flat keys with their units.
pub const FIGURES_VARIABLE: &str = "DROVER_BENCH_FIGURES";

/// Adds an object of figures to the file that the environment names, if it names one.
///
/// # Errors
/// When it cannot be written.
pub fn add(figures: &Value) -> Result<()> {
    std::env::var_os(FIGURES_VARIABLE).map_or(Ok(()), |path| add_to(Path::new(&path), figures))
}

/// Adds an object of figures to a file.
///
/// # Errors
/// When it cannot be written.
pub fn add_to(path: &Path, figures: &Value) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{figures}")).with_context(|| format!("write {}", path.display()))
}

/// All figures of such a file in one object.
///
/// # Errors
/// Names the line that is no object.
pub fn collected(text: &str) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for line in text.lines() {
        let figures: Map<String, Value> = serde_json::from_str(line).with_context(|| format!("figures: {line}"))?;
        all.extend(figures);
    }
    Ok(all)
}

/// The middle one; NaN of none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    quantile(&mut figures.to_vec(), 0.5)
}

/// The figure below which `share` (0 to 1) of them are; sorts them. NaN of none.
#[must_use]
pub fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * share) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantiles_are_of_the_figures_in_their_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        let mut hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!((quantile(&mut hundred, 0.99), quantile(&mut hundred, 1.0)), (99.0, 99.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn figures_of_several_benchmarks_are_one_object() {
        let all = collected("{\"a_ms\": 1.5}\n{\"b\": 2}\n").unwrap();
        assert_eq!(Value::Object(all), json!({ "a_ms": 1.5, "b": 2 }));
        assert!(collected("[1]").is_err());
    }
}
