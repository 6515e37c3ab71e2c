//! `drover plugin logs`.

use crate::Connection;
use crate::client::{Client, encoded, with_query};
use crate::failure::Failure;
use crate::output;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// How often it is asked for what came. Edges send what their rules log once a second.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait after the cloud could not be reached.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
const HEADS: [&str; 6] = ["TIME", "LEVEL", "EDGE", "DEPLOYMENT", "VEHICLE", "TEXT"];
/// Lines come one by one, so widths are chosen beforehand.
const WIDTHS: [usize; 6] = [24, 5, 12, 14, 12, 4];

/// Read what a plugin logged on edges, or follow it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin logs my-rule                       what is kept, and done
  drover plugin logs my-rule --follow              what is kept, then what comes
  drover plugin logs my-rule --json | jq -r 'select(.level == \"warn\").text'

The cloud keeps the newest 1,000 lines of each plugin, in memory; an edge keeps 256 of each deployment for a cloud that it cannot
reach. VEHICLE is there when a call was about one vehicle alone. Lines beyond a deployment's rate (10 a second, unless the
edge's config says otherwise) are dropped and counted: the log says so, and `drover plugin cost` says how many.")]
pub(crate) struct Logs {
    /// The plugin's own name; `drover plugin list` lists yours
    name: String,

    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Page {
    lines: Vec<Box<RawValue>>,
    next: String,
    #[serde(default)]
    missed: u64,
}

impl Logs {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        if !self.json {
            output::print(output::aligned(&HEADS.map(str::to_owned), &WIDTHS).as_bytes())?;
        }
        if self.follow {
            tokio::select! {
                failed = self.follow(&mut client) => failed?,
                pressed = tokio::signal::ctrl_c() => pressed?,
            }
        } else {
            self.read(&mut client, None).await?;
        }
        client.close().await;
        Ok(())
    }

    /// Prints what came after a cursor. Answers the next one.
    async fn read(&self, client: &mut Client, after: Option<&str>) -> Result<String, Failure> {
        let path = format!("/v1/plugins/{}/logs", encoded(&self.name));
        let page: Page = client.get(&with_query(&path, &[("after", after)])).await?;
        if page.missed > 0 {
            eprintln!("drover: {} lines came and are not kept any more", page.missed);
        }
        for line in &page.lines {
            if self.json {
                output::say(line.get())?;
            } else {
                output::print(row(line.get())?.as_bytes())?;
            }
        }
        Ok(page.next)
    }

    async fn follow(&self, client: &mut Client) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        let mut wait = ASK_EVERY;
        loop {
            match self.read(client, after.as_deref()).await {
                Ok(next) => {
                    after = Some(next);
                    wait = ASK_EVERY;
                }
                // What was never reached may be misspelt; what was is waited for.
                Err(Failure::Unreachable(why)) if after.is_some() => {
                    if wait == ASK_EVERY {
                        eprintln!("drover: {why}; trying again");
                    }
                    client.disconnect();
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(wait).await;
        }
    }
}

fn row(line: &str) -> Result<String, Failure> {
    let line: Value = serde_json::from_str(line)
        .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
    let cells = ["time", "level", "edge", "deployment", "vehicle", "text"].map(|name| output::cell(&line[name]));
    Ok(output::aligned(&cells, &WIDTHS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{Server, options};
    use serde_json::json;

    fn line(text: &str) -> Value {
        json!({"time": "2026-05-04T08:00:00.000Z", "edge": "depot-1", "deployment": "zones", "trial": false,
            "vehicle": null, "level": "info", "text": text})
    }

    #[test]
    fn a_line_is_a_row() {
        let shown = row(&line("17 zones").to_string()).unwrap();
        assert_eq!(shown, "2026-05-04T08:00:00.000Z  info   depot-1       zones           -             17 zones\n");
    }

    #[tokio::test]
    async fn what_came_since_is_asked_for_by_the_cursor() {
        let server = Server::start(|request| {
            let next = if request.contains("/v1/plugins/my-rule/logs?after=7-1 ") {
                json!({"lines": [line("second")], "next": "7-2", "missed": 3})
            } else {
                assert!(request.contains("/v1/plugins/my-rule/logs "), "{request}");
                json!({"lines": [line("first")], "next": "7-1", "missed": 0})
            };
            (200, next.to_string())
        })
        .await;
        let logs = Logs { name: "my-rule".into(), follow: false, json: true };
        let mut client = Client::of_cloud(&options(&server, false)).unwrap();
        let next = logs.read(&mut client, None).await.unwrap();
        assert_eq!(logs.read(&mut client, Some(&next)).await.unwrap(), "7-2");
    }
}
