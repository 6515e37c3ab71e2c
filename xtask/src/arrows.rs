//! Which of our crates may use which: ARCHITECTURE.md's arrows, held against `cargo metadata`.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each crate and what it may use of ours. Dev-dependencies are free: tests may reach further.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("fleet-model", &[]),
    ("fleet-wire", &["fleet-model"]),
    ("event-log", &["fleet-model"]),
    ("plugin-host", &["fleet-model"]),
    ("observability", &["fleet-model"]),
    ("vehicle-runtime", &["fleet-model", "fleet-wire", "event-log", "plugin-host", "observability"]),
    ("drover-edge", &["fleet-model", "fleet-wire", "event-log", "plugin-host", "vehicle-runtime", "observability"]),
    ("drover-cloud", &["fleet-model", "fleet-wire", "event-log", "plugin-host", "vehicle-runtime", "observability"]),
    ("drover", &["fleet-model", "plugin-host"]),
    ("fleet-replay", &["fleet-model"]),
    ("plugin-sdk", &[]),
    ("geofence", &["plugin-sdk"]),
    ("maintenance", &["plugin-sdk"]),
    ("pricing", &["plugin-sdk"]),
    ("system-tests", &[]),
    ("xtask", &["system-tests"]),
];

/// Fails when a crate uses one of ours that it may not, or is not in the list.
pub(crate) fn check() -> Result<()> {
    let text =
        workspace::output(workspace::cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let wrong: Vec<String> = packages.iter().flat_map(violations).collect();
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

fn violations(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name} is not in the list of xtask/src/arrows.rs: say what it may use")];
    };
    let ours = |dependency: &str| ALLOWED.iter().any(|(known, _)| *known == dependency);
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| ours(dependency) && !allowed.contains(dependency))
        .map(|dependency| format!("{name} must not use {dependency}: see the arrows in ARCHITECTURE.md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arrow_against_the_grain_is_found() {
        let package =
            |name: &str, uses: &str, kind: Value| json!({"name": name, "dependencies": [{"name": uses, "kind": kind}]});
        assert_eq!(violations(&package("fleet-model", "event-log", Value::Null)).len(), 1);
        assert_eq!(violations(&package("fleet-model", "event-log", json!("dev"))).len(), 0);
        assert_eq!(violations(&package("fleet-wire", "fleet-model", Value::Null)).len(), 0);
        assert_eq!(violations(&package("newcomer", "serde", Value::Null)).len(), 1);
    }
}
