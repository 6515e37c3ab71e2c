//! `drover plugin preview`.

use super::read_config;
use crate::Connection;
use crate::client::Client;
use crate::client::lines::Lines;
use crate::failure::Failure;
use crate::output;
use base64::Engine as _;
use bytes::Bytes;
use fleet_model::{DeploymentName, VehicleId};
use http::Method;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Events shown of each list.
const EVENTS_SHOWN: usize = 10;
/// Vehicles shown with their money.
const VEHICLES_SHOWN: usize = 10;
/// Characters of the progress bar.
const BAR_LEN: usize = 30;

/// See what a rule would have done to readings that are there, and what it would change
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin preview my-rule.wasm --config zones.json --from -24h
  drover plugin preview my-rule.wasm --against zones --from -7d --to -1d
  drover plugin preview geofence@1.1.0 --against zones --vehicle WAW-1000 --json | jq '.added.count'

The cloud shows its recorded readings to the rule, and to the rule that is live when --against names its deployment; both
begin without a memory of earlier readings. Nothing is stored, nothing goes live, and a file is not uploaded for good.
Without --config the deployment's config is used. Exit code 3 when the rule or its config is refused.")]
pub(crate) struct Preview {
    /// A component's file, name@version, or hash
    plugin: String,

    /// The config: a JSON file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Compare with this deployment, as it is now
    #[arg(long, value_name = "DEPLOYMENT")]
    against: Option<DeploymentName>,

    /// Readings from here on: a time (2026-05-04T00:00:00Z), or ago (-24h, -30m, -7d); without it from the oldest
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, value_parser = when)]
    from: Option<When>,

    /// Readings before this; without it up to the newest
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, value_parser = when)]
    to: Option<When>,

    /// Only this vehicle; may be given several times
    #[arg(long, value_name = "ID")]
    vehicle: Vec<VehicleId>,

    /// The whole result as JSON
    #[arg(long)]
    json: bool,
}

/// A time, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(jiff::Timestamp),
    Ago(Duration),
}

fn when(text: &str) -> Result<When, String> {
    let Some(ago) = text.strip_prefix('-') else {
        let wrong =
            |error| format!("{text:?} is neither a time such as 2026-05-04T00:00:00Z nor so long ago as -24h: {error}");
        return text.parse().map(When::At).map_err(wrong);
    };
    if let Some(days) = ago.strip_suffix('d') {
        let days: u64 = days.parse().ok().filter(|days| *days < 3_660).ok_or("days are a whole number below 3660")?;
        return Ok(When::Ago(Duration::from_secs(days * 86_400)));
    }
    crate::commands::duration(ago).map(When::Ago)
}

impl When {
    fn told(self, now: jiff::Timestamp) -> String {
        match self {
            Self::At(time) => time.to_string(),
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(jiff::Timestamp::MIN).to_string(),
        }
    }
}

impl Preview {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let body = Bytes::from(self.request(jiff::Timestamp::now())?.to_string());
        let mut client = Client::of_cloud(connection)?;
        let mut answer = client.request(Method::POST, "/v1/previews", Some("application/json"), body).await?;
        let mut lines = Lines::default();
        let mut result = None;
        let mut bar = Bar::default();
        while let Some(chunk) = answer.chunk().await? {
            for line in lines.push(&chunk)? {
                let line: Value = serde_json::from_slice(&line)
                    .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
                if let Some(progress) = line.get("progress") {
                    bar.show(progress);
                } else {
                    result = Some(line);
                }
            }
        }
        bar.clear();
        client.close().await;
        let result = result.ok_or_else(|| Failure::Unreachable("the cloud hung up before the result".to_owned()))?;
        if let Some(problem) = result.get("problem") {
            let said = problem["detail"].as_str().unwrap_or("no reason was given");
            return Err(Failure::Failed(format!("the preview failed: {said}")));
        }
        let preview = &result["preview"];
        if self.json {
            let text = serde_json::to_string_pretty(preview).map_err(|error| Failure::Failed(error.to_string()))?;
            output::say(&text)?;
        } else {
            output::print(page(preview).as_bytes())?;
        }
        Ok(())
    }

    fn request(&self, now: jiff::Timestamp) -> Result<Value, Failure> {
        let mut request = serde_json::Map::new();
        let path = Path::new(&self.plugin);
        if super::is_file(&self.plugin) {
            let wasm = std::fs::read(path)
                .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
            request.insert("component".into(), base64::engine::general_purpose::STANDARD.encode(wasm).into());
        } else {
            request.insert("plugin".into(), self.plugin.clone().into());
        }
        if let Some(config) = &self.config {
            request.insert("config".into(), read_config(config)?);
        }
        if let Some(against) = &self.against {
            request.insert("against".into(), against.to_string().into());
        }
        for (name, when) in [("from", self.from), ("to", self.to)] {
            if let Some(when) = when {
                request.insert(name.into(), when.told(now).into());
            }
        }
        let vehicles: Vec<String> = self.vehicle.iter().map(ToString::to_string).collect();
        request.insert("vehicles".into(), json!(vehicles));
        Ok(Value::Object(request))
    }
}

/// Progress on stderr, when a person looks.
#[derive(Default)]
struct Bar {
    shown: bool,
}

impl Bar {
    fn show(&mut self, progress: &Value) {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return;
        }
        let share = progress["share"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
        let full = (share * BAR_LEN as f64) as usize;
        let bar: String = "#".repeat(full) + &"-".repeat(BAR_LEN - full);
        let readings = progress["readings"].as_u64().unwrap_or(0);
        let _ = write!(stderr, "\r[{bar}] {:>3.0} %  {readings} readings", share * 100.0);
        let _ = stderr.flush();
        self.shown = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The result for people.
fn page(preview: &Value) -> String {
    let mut text = String::new();
    let count = |name: &str| preview[name].as_u64().unwrap_or(0);
    text.push_str(&format!(
        "{} readings of {} vehicles in {:.1} s ({:.0} a second)\n\n",
        count("readings"),
        count("vehicles"),
        preview["seconds"].as_f64().unwrap_or(0.0),
        preview["readings_per_second"].as_f64().unwrap_or(0.0),
    ));
    for (side, rule) in [("live", &preview["live"]), ("candidate", &preview["candidate"])] {
        if rule.is_object() {
            text.push_str(&rule_line(side, rule));
        }
    }
    if preview["live"].is_object() {
        let pairs = |name: &str| preview[name]["count"].as_u64().unwrap_or(0);
        text.push_str(&format!(
            "\n{} events stay, {} are added, {} removed, {} moved in time, {} say something else\n",
            count("same"),
            pairs("added"),
            pairs("removed"),
            pairs("moved"),
            pairs("changed"),
        ));
        for (sign, name) in [("+", "added"), ("-", "removed")] {
            text.push_str(&listed(&preview[name], |event| format!("  {sign} {}\n", event_line(event))));
        }
        for (sign, name) in [(">", "moved"), ("~", "changed")] {
            text.push_str(&listed(&preview[name], |pair| {
                let (live, candidate) = (&pair["live"], &pair["candidate"]);
                let was = if name == "moved" { output::cell(&live["event_time"]) } else { what_it_says(live) };
                format!("  {sign} {} (was {was})\n", event_line(candidate))
            }));
        }
    } else {
        text.push_str(&listed(&preview["added"], |event| format!("  {}\n", event_line(event))));
    }
    text.push_str(&money(preview));
    text
}

fn rule_line(side: &str, rule: &Value) -> String {
    let events = rule["events"].as_object().into_iter().flatten();
    let events: Vec<String> = events.map(|(kind, count)| format!("{count} {kind}")).collect();
    let events = if events.is_empty() { "no events".to_owned() } else { events.join(", ") };
    let plugin = output::cell(&rule["plugin"]);
    let ns = rule["ns_per_reading"].as_f64().unwrap_or(0.0);
    let mut line = format!("{side:<10} {plugin}: {events}; {ns:.0} ns a reading\n");
    if let Some(failed) = rule["failed"].as_u64().filter(|failed| *failed > 0) {
        line.push_str(&format!("           FAILED on {failed} readings:\n"));
        line.push_str(&rule["failures"].as_array().into_iter().flatten().take(EVENTS_SHOWN).fold(
            String::new(),
            |text, failure| {
                let (vehicle, sequence) = (output::cell(&failure["vehicle"]), output::cell(&failure["sequence"]));
                text + &format!("             {vehicle} #{sequence}: {}\n", output::cell(&failure["error"]))
            },
        ));
    }
    line
}

fn listed(list: &Value, line: impl Fn(&Value) -> String) -> String {
    let all = list["count"].as_u64().unwrap_or(0);
    let first = list["first"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text: String = first.iter().take(EVENTS_SHOWN).map(line).collect();
    let shown = first.len().min(EVENTS_SHOWN) as u64;
    if all > shown {
        text.push_str(&format!("    and {} more; --json has the first {}\n", all - shown, first.len()));
    }
    text
}

fn event_line(event: &Value) -> String {
    let [time, kind, vehicle, subject] =
        ["event_time", "type", "vehicle", "subject"].map(|name| output::cell(&event[name]));
    let says = what_it_says(event);
    format!("{time}  {kind:<20} {vehicle:<14} {subject}{}", if says.is_empty() { says } else { format!("  {says}") })
}

fn what_it_says(event: &Value) -> String {
    let value = event["value"].as_f64().map(|value| value.to_string());
    let details = event["details"].is_object().then(|| event["details"].to_string());
    [value, details].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn money(preview: &Value) -> String {
    let rows = preview["money"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    let mut shown = 0;
    for row in rows {
        let [currency, live, candidate, difference] =
            ["currency", "live", "candidate", "difference"].map(|name| output::cell(&row[name]));
        let sign = if difference.starts_with('-') { "" } else { "+" };
        match row["vehicle"].as_str() {
            None => {
                shown = 0;
                text.push_str(&format!("\n{currency}: {live} -> {candidate} ({sign}{difference})\n"));
            }
            Some(vehicle) if shown < VEHICLES_SHOWN => {
                shown += 1;
                text.push_str(&format!("  {vehicle:<20} {live} -> {candidate} ({sign}{difference})\n"));
            }
            Some(_) => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now: jiff::Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
        let told = |text: &str| when(text).map(|when| when.told(now));
        assert_eq!(told("-24h").unwrap(), "2026-05-03T12:00:00Z");
        assert_eq!(told("-2d").unwrap(), "2026-05-02T12:00:00Z");
        assert_eq!(told("2026-01-01T00:00:00+01:00").unwrap(), "2025-12-31T23:00:00Z");
        for bad in ["", "-", "yesterday", "-24", "-1.5h", "-99999d", "2026-01-01"] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_page_says_what_changes_in_alerts_and_money() {
        let event =
            |time: &str| json!({"type": "geofence.entered", "vehicle": "a", "event_time": time, "subject": "z"});
        let text = page(&json!({
            "readings": 10, "vehicles": 2, "seconds": 0.5, "readings_per_second": 20.0,
            "live": {"plugin": "geofence@1.0.0", "events": {"geofence.entered": 3}, "ns_per_reading": 90.0, "failed": 0},
            "candidate": {"plugin": "geofence@1.1.0", "events": {}, "ns_per_reading": 80.0, "failed": 1,
                "failures": [{"vehicle": "b", "sequence": 5, "error": "the plugin trapped"}]},
            "same": 1, "added": {"count": 12, "first": [event("T1")]}, "removed": {"count": 0, "first": []},
            "moved": {"count": 1, "first": [{"live": event("T2"), "candidate": event("T3")}]},
            "changed": {"count": 0, "first": []},
            "money": [{"currency": "EUR", "live": "1.00", "candidate": "1.50", "difference": "0.50"},
                {"vehicle": "a", "currency": "EUR", "live": "1.00", "candidate": "1.50", "difference": "0.50"}],
        }));
        for part in [
            "10 readings of 2 vehicles",
            "candidate  geofence@1.1.0: no events; 80 ns a reading",
            "b #5: the plugin trapped",
            "1 events stay, 12 are added, 0 removed, 1 moved in time",
            "and 11 more",
            "T3  geofence.entered     a              z (was T2)",
            "EUR: 1.00 -> 1.50 (+0.50)",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
