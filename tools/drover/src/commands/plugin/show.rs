//! `drover plugin show`.

use crate::Connection;
use crate::client::{Client, encoded, with_query};
use crate::failure::Failure;
use crate::output;
use serde_json::Value;

/// Characters of a hash that are shown; enough to deploy by is --json.
const HASH_SHOWN: usize = 12;

/// Show a plugin: its versions, its config, and where it is at work
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin show geofence
  drover plugin show geofence --version 1.0.0 --json | jq .config_schema

CONFIG lists what the newest version's config takes, from its schema. An edge that took a version back says why: when a budget
was exceeded, which one, what was measured, and where it is raised. Exit code 3 when you have no such plugin.")]
pub(crate) struct Show {
    /// The plugin's own name; `drover plugin list` lists yours
    name: String,

    /// Show the config of this version
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,

    /// The whole answer as JSON, with the config schema
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let path = format!("/v1/plugins/{}", encoded(&self.name));
        let body = client.get_bytes(&with_query(&path, &[("version", self.version.as_deref())])).await?;
        client.close().await;
        if self.json {
            output::print(&body)?;
            output::print(b"\n")?;
            return Ok(());
        }
        let page: Value = serde_json::from_slice(&body)
            .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
        let kind = output::cell(&page["versions"][0]["kind"]);
        output::say(&format!("{}, a rule of kind {kind}\n", output::cell(&page["name"])))?;
        output::table(&["VERSION", "BYTES", "UPLOADED", "BY", "SIGNED BY", "HASH"], &versions(&page))?;
        output::say(&format!("\nconfig of {}:\n", output::cell(&page["schema_of"])))?;
        output::table(&["CONFIG", "TYPE", "DEFAULT", "WHAT"], &config(&page["config_schema"]))?;
        output::say("")?;
        output::table(&["DEPLOYMENT", "REVISION", "VERSION", "EDGE", "STATE"], &deployments(&page))?;
        Ok(())
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn versions(page: &Value) -> Vec<Vec<String>> {
    let row = |version: &Value| {
        let mut cells: Vec<String> = ["version", "size", "uploaded_time", "uploaded_by", "signed_by"]
            .map(|name| output::cell(&version[name]))
            .into();
        cells.push(output::cell(&version["hash"]).chars().take(HASH_SHOWN).collect());
        cells
    };
    list(page, "versions").iter().map(row).collect()
}

/// The first level of the schema: what one looks up.
fn config(schema: &Value) -> Vec<Vec<String>> {
    let required: Vec<&str> = list(schema, "required").iter().filter_map(Value::as_str).collect();
    let row = |(key, of): (&String, &Value)| {
        let default = match of.get("default") {
            Some(default) => default.to_string(),
            None if required.contains(&key.as_str()) => "required".to_owned(),
            None => "-".to_owned(),
        };
        let what = of["description"].as_str().unwrap_or_default();
        let first = what.split_once(". ").map_or(what, |(first, _)| first).trim_end_matches('.');
        vec![key.clone(), output::cell(&of["type"]), default, first.to_owned()]
    };
    schema["properties"].as_object().into_iter().flatten().map(row).collect()
}

fn deployments(page: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for deployment in list(page, "deployments") {
        let own = ["name", "revision", "version"].map(|name| output::cell(&deployment[name]));
        let edges = list(deployment, "edges");
        if edges.is_empty() {
            rows.push([&own[..], &["-".to_owned(), "pending".to_owned()]].concat());
        }
        for edge in edges {
            let mut state = output::cell(&edge["state"]);
            if edge["revision"] != deployment["revision"] {
                state.push_str(&format!(" (revision {})", output::cell(&edge["revision"])));
            }
            if let Some(error) = edge["error"].as_str() {
                state.push_str(": ");
                state.push_str(error);
            }
            rows.push([&own[..], &[output::cell(&edge["edge"]), state]].concat());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_is_made_of_rows() {
        let page = json!({
            "versions": [{"version": "1.0.0", "size": 9, "uploaded_time": "2026-05-04T08:00:00.000Z", "uploaded_by": "demo",
                "signed_by": null, "hash": "0123456789abcdef"}],
            "deployments": [
                {"name": "zones", "revision": 2, "version": "1.0.0", "edges": [
                    {"edge": "depot-1", "revision": 2, "state": "active", "error": null},
                    {"edge": "depot-2", "revision": 1, "state": "refused", "error": "it used 30600 ms of CPU time"}]},
                {"name": "yards", "revision": 1, "version": "1.0.0", "edges": []}],
        });
        assert_eq!(versions(&page)[0], ["1.0.0", "9", "2026-05-04T08:00:00.000Z", "demo", "-", "0123456789ab"]);
        let rows = deployments(&page);
        assert_eq!(rows[0], ["zones", "2", "1.0.0", "depot-1", "active"]);
        assert_eq!(rows[1][4], "refused (revision 1): it used 30600 ms of CPU time");
        assert_eq!(rows[2][3..], ["-", "pending"]);
        let schema = json!({"required": ["zones"], "properties": {
            "zones": {"type": "object", "description": "The zones. In GeoJSON."},
            "exit_buffer_m": {"type": "number", "default": 0.5, "description": "Hysteresis."}}});
        let mut rows = config(&schema);
        rows.sort();
        assert_eq!(
            rows,
            [["exit_buffer_m", "number", "0.5", "Hysteresis"], ["zones", "object", "required", "The zones"]]
        );
    }
}
