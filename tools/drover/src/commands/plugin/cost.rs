//! `drover plugin cost`.

use crate::Connection;
use crate::client::{Client, encoded, with_query};
use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// See what plugins used on edges: CPU time, memory, events, log lines
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin cost                               all your plugins, the last 30 days
  drover plugin cost geofence --from 2026-05-01 --to 2026-05-31
  drover plugin cost geofence --json | jq '.[0].days[] | {day, cpu_ms}'

Days are in UTC, by the edge's clock; 400 are kept. CPU is the time in the rule's calls, on trial as well. An edge tells it every
5 s, and after an outage; nothing is counted twice. What a rule may use is [budgets] of the edge's config.")]
pub(crate) struct Cost {
    /// The plugin's own name; without it all of yours
    name: Option<String>,

    /// The first day, such as 2026-05-01; without it 29 days before the last
    #[arg(long, value_name = "DAY")]
    from: Option<String>,

    /// The last day; without it today
    #[arg(long, value_name = "DAY")]
    to: Option<String>,

    /// The answers as a JSON list, one entry per plugin
    #[arg(long)]
    json: bool,
}

impl Cost {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let names: BTreeSet<String> = match &self.name {
            Some(name) => BTreeSet::from([name.clone()]),
            None => {
                let all: Value = client.get("/v1/plugins").await?;
                let all = all["plugins"].as_array().into_iter().flatten();
                all.filter_map(|plugin| plugin["name"].as_str().map(str::to_owned)).collect()
            }
        };
        let mut costs = Vec::new();
        for name in names {
            let path = format!("/v1/plugins/{}/cost", encoded(&name));
            let days = [("from", self.from.as_deref()), ("to", self.to.as_deref())];
            costs.push(client.get::<Value>(&with_query(&path, &days)).await?);
        }
        client.close().await;
        if self.json {
            output::say(&json!(costs).to_string())?;
            return Ok(());
        }
        let heads = [
            "PLUGIN",
            "DAY",
            "EDGE",
            "DEPLOYMENT",
            "READINGS",
            "CPU",
            "US/READING",
            "EVENTS",
            "EVENT BYTES",
            "FAILED",
            "LINES",
            "DROPPED",
            "MEMORY",
        ];
        output::table(&heads, &rows(&costs))?;
        Ok(())
    }
}

fn rows(costs: &[Value]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for cost in costs {
        let name = output::cell(&cost["name"]);
        for day in cost["days"].as_array().into_iter().flatten() {
            let place = ["day", "edge", "deployment"].map(|key| output::cell(&day[key]));
            rows.push([std::slice::from_ref(&name), &place[..], &used(day)].concat());
        }
        let days = format!("{} to {}", output::cell(&cost["from"]), output::cell(&cost["to"]));
        rows.push([&[name, days, "all".to_owned(), "all".to_owned()], &used(&cost["total"])[..]].concat());
    }
    rows
}

fn used(of: &Value) -> Vec<String> {
    let (cpu_ms, readings) = (of["cpu_ms"].as_f64().unwrap_or(0.0), of["readings"].as_u64().unwrap_or(0));
    let each = if readings == 0 { "-".to_owned() } else { format!("{:.2}", cpu_ms * 1_000.0 / readings as f64) };
    let memory = of["memory_bytes_high"].as_u64().unwrap_or(0) as f64 / 1_048_576.0;
    vec![
        readings.to_string(),
        output::age(cpu_ms as i64),
        each,
        output::cell(&of["events"]),
        output::cell(&of["event_bytes"]),
        output::cell(&of["failures"]),
        output::cell(&of["log_lines_kept"]),
        output::cell(&of["log_lines_dropped"]),
        format!("{memory:.1} MiB"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_day_and_the_last_is_the_sum() {
        let used = json!({"readings": 2_000, "batches": 8, "cpu_ms": 30.5, "events": 4, "event_bytes": 400, "failures": 1,
            "log_lines_kept": 3, "log_lines_dropped": 2, "memory_bytes_high": 1_572_864});
        let mut day = used.clone();
        day["day"] = json!("2026-05-04");
        day["edge"] = json!("depot-1");
        day["deployment"] = json!("zones");
        let cost = json!({"name": "geofence", "from": "2026-05-01", "to": "2026-05-04", "total": used, "days": [day]});
        let rows = rows(&[cost]);
        let figures = ["2000", "30 ms", "15.25", "4", "400", "1", "3", "2", "1.5 MiB"];
        assert_eq!(rows[0], [&["geofence", "2026-05-04", "depot-1", "zones"][..], &figures].concat());
        assert_eq!(rows[1], [&["geofence", "2026-05-01 to 2026-05-04", "all", "all"][..], &figures].concat());
    }
}
