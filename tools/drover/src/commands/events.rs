//! `drover events`.

use super::audit;
use crate::Connection;
use crate::client::lines::Lines;
use crate::client::{Client, with_query};
use crate::failure::Failure;
use crate::output::{self, TableOrNdjson};
use bytes::Bytes;
use fleet_model::{EventClass, VehicleId};
use http::Method;
use rand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// A stream says something, if only an empty line, every 15 s. Twice nothing, and a bit: it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(40);
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LONGEST: Duration = Duration::from_secs(5);
/// Events per page when not following.
const PAGE: &str = "1000";
const HEADS: [&str; 6] = ["TIME", "TYPE", "VEHICLE", "WHERE", "PLUGIN", "AGE"];
/// Rows come one by one, so widths are chosen beforehand.
const WIDTHS: [usize; 6] = [24, 18, 14, 18, 18, 8];
/// The same for acts.
const ACT_HEADS: [&str; 5] = ["TIME", "WHO", "ACT", "ABOUT", "OUTCOME"];
const ACT_WIDTHS: [usize; 5] = [24, 18, 23, 20, 7];

/// Read events, or follow them as they come
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover events                                    all that is kept, and done
  drover events --follow                           all that is kept, then what comes
  drover events --follow --after now               only what comes
  drover events --vehicle WAW-1000 --format ndjson | jq .zone
  drover events --class telemetry --follow         readings, as they reach the cloud
  drover events --class audit                      who did what: uploads, deployments, swaps on edges
  drover events --follow --format ndjson --after alerts-00000001-2a4 >> events.ndjson

With ndjson, each line is an event with the bytes that the server sent. Its `cursor` is what --after takes: resuming
there repeats and misses nothing. A lost connection is resumed the same way by itself.")]
pub(crate) struct Events {
    /// Class of events: telemetry (readings), alerts, billing or audit
    #[arg(long, value_name = "CLASS", default_value = "alerts")]
    class: EventClass,

    /// Only events of this vehicle
    #[arg(long, value_name = "VEHICLE")]
    vehicle: Option<VehicleId>,

    /// Only what comes after this cursor; `now`: only what is new
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,

    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// table or ndjson
    #[arg(long, value_enum, default_value = "table")]
    format: TableOrNdjson,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    more: bool,
}

/// What the table shows of an event.
#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    vehicle: String,
    zone: Option<String>,
    subject: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    #[serde(default)]
    event_time: String,
    event_time_ms: Option<i64>,
    plugin: Option<ShownPlugin>,
}

#[derive(Deserialize)]
struct ShownPlugin {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

impl Events {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        if !self.follow {
            self.read(&mut client).await?;
        } else {
            tokio::select! {
                failed = self.follow(&mut client) => failed?,
                pressed = tokio::signal::ctrl_c() => pressed?,
            }
        }
        client.close().await;
        Ok(())
    }

    async fn read(&self, client: &mut Client) -> Result<(), Failure> {
        self.head()?;
        let mut after = self.after.clone();
        loop {
            let page: Page = client.get(&self.path("/v1/events", after.as_deref(), Some(PAGE))).await?;
            let mut text = String::new();
            for event in &page.events {
                text.push_str(&self.line(event.get()));
            }
            output::print(text.as_bytes())?;
            match page.next {
                Some(next) if page.more && after.as_deref() != Some(&next) => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// Ends only by a failure.
    async fn follow(&self, client: &mut Client) -> Result<(), Failure> {
        let mut after = self.start(client).await?;
        self.head()?;
        let mut wait = RECONNECT_FIRST;
        let mut came_before = false;
        let mut said = false;
        loop {
            let mut came = false;
            let lost = match self.stream(client, &mut after, &mut came).await {
                Ok(()) => "the server ended the stream".to_owned(),
                // When it never worked, it is for a person to mend; later it is an outage, and passes.
                Err(Failure::Unreachable(why)) if came || came_before => why,
                Err(Failure::Refused(problem)) if (came || came_before) && problem.may_pass() => problem.to_string(),
                Err(failure) => return Err(failure),
            };
            if came {
                (came_before, said, wait) = (true, false, RECONNECT_FIRST);
            }
            if !std::mem::replace(&mut said, true) {
                eprintln!("drover: {lost}; resuming after the last event");
            }
            client.disconnect();
            tokio::time::sleep(wait.mul_f64(rand::rng().random_range(0.5..=1.0))).await;
            wait = (wait * 2).min(RECONNECT_LONGEST);
        }
    }

    /// Where to begin. `now` becomes the cursor that it stands for: after an outage before the first event, another
    /// `now` would pass over what came meanwhile.
    async fn start(&self, client: &mut Client) -> Result<Option<String>, Failure> {
        if self.after.as_deref() != Some("now") {
            return Ok(self.after.clone());
        }
        let page: Page = client.get(&self.path("/v1/events", Some("now"), Some("1"))).await?;
        Ok(page.next.or_else(|| self.after.clone()))
    }

    /// One connection's part of the stream. `after` moves with each event, `came` says that the stream was opened.
    async fn stream(&self, client: &mut Client, after: &mut Option<String>, came: &mut bool) -> Result<(), Failure> {
        let path = self.path("/v1/events/stream", after.as_deref(), None);
        let mut answer = client.request(Method::GET, &path, None, Bytes::new()).await?;
        *came = true;
        let mut lines = Lines::default();
        loop {
            let chunk = tokio::time::timeout(SILENCE_MAX, answer.chunk())
                .await
                .map_err(|_| Failure::Unreachable(format!("nothing for {} s", SILENCE_MAX.as_secs())))??;
            let Some(chunk) = chunk else { return Ok(()) };
            let mut out = Vec::new();
            let mut last = None;
            for line in lines.push(&chunk)? {
                // An empty line only says that the stream lives.
                if line.trim_ascii().is_empty() {
                    continue;
                }
                match self.format {
                    TableOrNdjson::Ndjson => out.extend_from_slice(&line),
                    TableOrNdjson::Table => out.extend(self.line(&String::from_utf8_lossy(&line)).bytes()),
                }
                last = Some(line);
            }
            output::print(&out)?;
            // Only the last one is needed to resume.
            if let Some(cursor) = last.and_then(|line| serde_json::from_slice::<Cursor>(&line).ok()?.cursor) {
                *after = Some(cursor);
            }
        }
    }

    fn path(&self, path: &str, after: Option<&str>, limit: Option<&str>) -> String {
        let vehicle = self.vehicle.as_ref().map(VehicleId::as_str);
        with_query(
            path,
            &[("class", Some(self.class.as_str())), ("vehicle", vehicle), ("after", after), ("limit", limit)],
        )
    }

    fn head(&self) -> std::io::Result<()> {
        match self.format {
            TableOrNdjson::Table if self.class == EventClass::Audit => {
                output::print(output::aligned(&ACT_HEADS.map(str::to_owned), &ACT_WIDTHS).as_bytes())
            }
            TableOrNdjson::Table => output::print(output::aligned(&HEADS.map(str::to_owned), &WIDTHS).as_bytes()),
            TableOrNdjson::Ndjson => Ok(()),
        }
    }

    fn line(&self, event: &str) -> String {
        if self.format == TableOrNdjson::Ndjson {
            return format!("{event}\n");
        }
        let row = if self.class == EventClass::Audit {
            serde_json::from_str::<audit::Line>(event).map(|act| output::aligned(&act.row(), &ACT_WIDTHS))
        } else {
            let shown = serde_json::from_str::<Shown>(event);
            shown.map(|shown| output::aligned(&shown.row(output::now_ms()), &WIDTHS))
        };
        // Something this version does not know is shown as it is.
        row.unwrap_or_else(|_| format!("{}\n", event.trim_end()))
    }
}

impl Shown {
    fn row(self, now_ms: i64) -> [String; 6] {
        let plugin = self.plugin.map_or_else(|| "-".to_owned(), |plugin| format!("{}@{}", plugin.name, plugin.version));
        let age = self.event_time_ms.map_or_else(|| "-".to_owned(), |time| output::age(now_ms.saturating_sub(time)));
        let position = self.latitude.zip(self.longitude).map(|(lat, lon)| format!("{lat:.5},{lon:.5}"));
        let place = self.zone.or(self.subject).or(position).unwrap_or_else(|| "-".to_owned());
        [self.event_time, self.kind, self.vehicle, place, plugin, age]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{Server, options};

    fn events(follow: bool, format: TableOrNdjson) -> Events {
        Events { class: EventClass::Alerts, vehicle: None, after: None, follow, format }
    }

    #[test]
    fn a_row_shows_the_plugin_and_the_age() {
        let event = r#"{"id":"1","type":"geofence.entered","vehicle":"A","zone":"z","event_time":"2024-02-19T14:41:54.000Z",
            "event_time_ms":1708353714000,"plugin":{"deployment":"d","name":"geofence","version":"1.0.0"}}"#;
        let shown: Shown = serde_json::from_str(event).unwrap();
        let row = shown.row(1_708_353_714_000 + 2_500);
        assert_eq!(
            row,
            ["2024-02-19T14:41:54.000Z", "geofence.entered", "A", "z", "geofence@1.0.0", "2.5 s"].map(str::to_owned)
        );
    }

    #[test]
    fn a_row_of_a_reading_shows_its_position() {
        let reading = r#"{"class":"telemetry","type":"reading","vehicle":"A","event_time":"2024-02-19T14:41:54.000Z",
            "event_time_ms":1708353714000,"latitude":52.2297,"longitude":21.01224444}"#;
        let shown: Shown = serde_json::from_str(reading).unwrap();
        let row = shown.row(1_708_353_714_000);
        assert_eq!(row[1..5], ["reading", "A", "52.22970,21.01224", "-"].map(str::to_owned));
    }

    #[test]
    fn parameters_are_encoded() {
        let events = Events { after: Some("a b&c".to_owned()), ..events(true, TableOrNdjson::Ndjson) };
        assert_eq!(events.path("/v1/events", events.after.as_deref(), None), "/v1/events?class=alerts&after=a%20b%26c");
    }

    #[tokio::test]
    async fn now_is_a_fixed_place_from_the_start() {
        let server = Server::start(|request| {
            assert!(request.contains("/v1/events?class=alerts&after=now&limit=1 "), "{request}");
            (200, r#"{"events":[],"next":"7-2a","more":false}"#.to_owned())
        })
        .await;
        let mut client = Client::of_cloud(&options(&server, false)).unwrap();
        let events = Events { after: Some("now".to_owned()), ..events(true, TableOrNdjson::Ndjson) };
        assert_eq!(events.start(&mut client).await.unwrap().as_deref(), Some("7-2a"));
    }

    /// The server ends the stream after each second event, in the middle of the third; each request's cursor is seen.
    #[tokio::test]
    async fn a_lost_stream_is_resumed_after_the_last_whole_event() {
        for http2 in [false, true] {
            let server = Server::start(|request| {
                assert!(request.contains("authorization: Bearer secret"), "{request}");
                let from: u32 = request
                    .split("after=")
                    .nth(1)
                    .map_or(0, |rest| rest.split_whitespace().next().unwrap().parse().unwrap());
                let event = |n: u32| format!("{{\"cursor\":\"{n}\",\"zone\":\"z\"}}\n");
                (200, format!("{}\n{}{{\"cursor\":\"9", event(from + 1), event(from + 2)))
            })
            .await;
            let mut client = Client::of_cloud(&options(&server, http2)).unwrap();
            let events = events(true, TableOrNdjson::Ndjson);
            let mut after = None;
            for expected in ["2", "4", "6"] {
                let mut came = false;
                let _ = events.stream(&mut client, &mut after, &mut came).await;
                assert!(came);
                assert_eq!(after.as_deref(), Some(expected), "http2: {http2}");
                client.disconnect();
            }
        }
    }
}
