//! `drover status`.

use crate::Connection;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, TableOrJson};
use fleet_model::EdgeId;
use serde_json::{Value, json};

/// Edges, how far behind they are, and what they run
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover status
  drover status --format json | jq '.edges[].streams'

LAG is what an edge has and the cloud has not: records, and the age of the oldest of them. Needs an operator's key.")]
pub(crate) struct Status {
    /// table or json
    #[arg(long, value_enum, default_value = "table")]
    format: TableOrJson,
}

impl Status {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let body = client.get_bytes("/v1/status").await?;
        match self.format {
            TableOrJson::Json => {
                output::print(&body)?;
                output::print(b"\n")?;
            }
            TableOrJson::Table => {
                let status: Value = serde_json::from_slice(&body)
                    .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
                output::print(page(&status).as_bytes())?;
                output::table(&["EDGE", "LINK", "SEEN", "CLASS", "AT CLOUD", "LAG", "SOFTWARE"], &streams(&status))?;
                output::print(b"\n")?;
                output::table(&["WHERE", "DEPLOYMENT", "REVISION", "PLUGIN", "STATE"], &deployments(&status))?;
                output::print(b"\n")?;
                output::table(&["EDGE", "ADMITTED", "REPEATS", "LATE", "CONFLICTS", "REFUSED"], &counters(&status))?;
            }
        }
        client.close().await;
        Ok(())
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn page(status: &Value) -> String {
    format!(
        "cloud {}: {} vehicles, {} alerts\n\n",
        output::cell(&status["version"]),
        output::cell(&status["vehicles"]),
        output::cell(&status["events"]["alerts"])
    )
}

fn streams(status: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for edge in list(status, "edges") {
        let name = output::cell(&edge["edge"]);
        let link = if edge["connected"].as_bool() == Some(true) { "up" } else { "down" };
        let seen =
            edge["last_seen_ms"].as_i64().map_or_else(|| "-".to_owned(), |ms| format!("{} ago", output::age(ms)));
        let software = output::cell(&edge["software"]);
        let nothing = Value::Null;
        let streams = list(edge, "streams");
        for stream in if streams.is_empty() { std::slice::from_ref(&nothing) } else { streams } {
            let lag = match (stream["lag_offsets"].as_u64(), stream["lag_s"].as_f64()) {
                (Some(0), _) => "none".to_owned(),
                (Some(offsets), Some(seconds)) => format!("{offsets}, {}", output::age((seconds * 1_000.0) as i64)),
                _ => "-".to_owned(),
            };
            let (class, at_cloud) = (output::cell(&stream["class"]), output::cell(&stream["cloud_next"]));
            rows.push(vec![name.clone(), link.to_owned(), seen.clone(), class, at_cloud, lag, software.clone()]);
        }
    }
    rows
}

fn deployments(status: &Value) -> Vec<Vec<String>> {
    let here = json!(EdgeId::CLOUD);
    let of_edges = list(status, "edges").iter().map(|edge| (&edge["edge"], edge));
    let all = of_edges.chain([(&here, status)]);
    let each = all.flat_map(|(place, of)| list(of, "deployments").iter().map(move |deployment| (place, deployment)));
    each.map(|(place, deployment)| {
        let mut state = output::cell(&deployment["state"]);
        if let Some(error) = deployment["error"].as_str() {
            state.push_str(": ");
            state.push_str(error);
        }
        let trial = &deployment["trial"];
        if !trial.is_null() {
            let [stage, of] = [&trial["stage"], &trial["state"]].map(output::cell);
            state.push_str(&format!("; revision {} on trial ({stage}, {of})", output::cell(&trial["revision"])));
        }
        vec![
            output::cell(place),
            output::cell(&deployment["name"]),
            output::cell(&deployment["revision"]),
            format!("{}@{}", output::cell(&deployment["plugin_name"]), output::cell(&deployment["plugin_version"])),
            state,
        ]
    })
    .collect()
}

fn counters(status: &Value) -> Vec<Vec<String>> {
    let row = |edge: &Value| {
        let counters = &edge["counters"];
        let refused: Vec<String> = counters["refused"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let mut cells = vec![output::cell(&edge["edge"])];
        cells.extend(["admitted", "repeats", "late", "conflicts"].map(|name| output::cell(&counters[name])));
        cells.push(if refused.is_empty() { "none".to_owned() } else { refused.join(", ") });
        cells
    };
    list(status, "edges").iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_shown_in_offsets_and_time() {
        let status = json!({"edges": [{
            "edge": "depot-1", "connected": true, "last_seen_ms": 300, "software": "0.1.0",
            "streams": [
                {"class": "telemetry", "cloud_next": 90, "lag_offsets": 10, "lag_s": 2.5},
                {"class": "alerts", "cloud_next": 4, "lag_offsets": 0, "lag_s": 0.0},
            ],
            "counters": {"admitted": 100, "repeats": 1, "late": 2, "conflicts": 0, "refused": {"null_position": 3, "wrong_shape": 0}},
            "deployments": [{"name": "zones", "revision": 2, "plugin_name": "geofence", "plugin_version": "1.0.0",
                "state": "refused", "error": "no such zone"}],
        }, {"edge": "depot-2", "connected": false}],
        "deployments": [{"name": "fares", "revision": 1, "plugin_name": "pricing", "plugin_version": "1.0.0",
            "state": "active", "error": null,
            "trial": {"revision": 2, "stage": "shadow", "state": "active", "error": null}}]});
        let rows = streams(&status);
        assert_eq!(rows[0], ["depot-1", "up", "300 ms ago", "telemetry", "90", "10, 2.5 s", "0.1.0"]);
        assert_eq!(rows[1][5], "none");
        assert_eq!(rows[2], ["depot-2", "down", "-", "-", "-", "-", "-"]);
        assert_eq!(
            deployments(&status),
            [
                ["depot-1", "zones", "2", "geofence@1.0.0", "refused: no such zone"],
                ["cloud", "fares", "1", "pricing@1.0.0", "active; revision 2 on trial (shadow, active)"],
            ]
        );
        assert_eq!(counters(&status)[0], ["depot-1", "100", "1", "2", "0", "3 null_position"]);
    }
}
