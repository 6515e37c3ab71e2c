//! `drover dead-letters`.

use crate::Connection;
use crate::client::{Client, with_query};
use crate::failure::Failure;
use crate::output::{self, TableOrNdjson};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Letters per page.
const PAGE: &str = "500";
/// Of a payload, a table shows the beginning.
const PAYLOAD_SHOWN: usize = 60;

/// What an edge refused, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover dead-letters --edge http://127.0.0.1:9464
  drover dead-letters --edge http://127.0.0.1:9464 --reason null_position --format ndjson

Asks the edge itself, on its admin listener (`[admin] listen` in edge.toml; addresses.json in its data directory).")]
pub(crate) struct DeadLetters {
    /// The edge's admin listener
    #[arg(long, value_name = "URL")]
    edge: String,

    /// Only those refused for this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,

    /// Begin at this offset
    #[arg(long, value_name = "OFFSET")]
    after: Option<u64>,

    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: usize,

    /// table or ndjson
    #[arg(long, value_enum, default_value = "table")]
    format: TableOrNdjson,
}

#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<Box<RawValue>>,
    #[serde(default)]
    next: u64,
    #[serde(default)]
    more: bool,
}

impl DeadLetters {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_edge(&self.edge, connection.ca.as_deref())?;
        let mut letters: Vec<Box<RawValue>> = Vec::new();
        let mut after = self.after;
        loop {
            let from = after.map(|after| after.to_string());
            let query = [("after", from.as_deref()), ("reason", self.reason.as_deref()), ("limit", Some(PAGE))];
            let page: Page = client.get(&with_query("/v1/dead-letters", &query)).await?;
            letters.extend(page.dead_letters);
            if letters.len() >= self.limit || !page.more || after.is_some_and(|after| page.next <= after) {
                break;
            }
            after = Some(page.next);
        }
        letters.truncate(self.limit);
        match self.format {
            TableOrNdjson::Ndjson => {
                let lines: String = letters.iter().map(|letter| format!("{}\n", letter.get())).collect();
                output::print(lines.as_bytes())?;
            }
            TableOrNdjson::Table => {
                let rows: Vec<Vec<String>> = letters.iter().map(|letter| row(letter.get())).collect();
                output::table(&["OFFSET", "TIME", "REASON", "VEHICLE", "DETAIL", "PAYLOAD"], &rows)?;
            }
        }
        Ok(())
    }
}

fn row(letter: &str) -> Vec<String> {
    let letter: Value = serde_json::from_str(letter).unwrap_or_default();
    let mut cells = ["offset", "time", "reason", "vehicle", "detail"].map(|name| output::cell(&letter[name])).to_vec();
    let payload = letter["payload"].as_str().unwrap_or_default();
    let mut shown: String = payload.chars().take(PAYLOAD_SHOWN).collect();
    if shown.len() < payload.len() {
        shown.push_str("...");
    }
    cells.push(shown);
    cells
}
