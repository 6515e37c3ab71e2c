//! Tables and lines on stdout.

use std::io::{self, Write};

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TableOrJson {
    /// For people
    Table,
    /// For programs
    Json,
}

/// How a stream is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TableOrNdjson {
    /// For people
    Table,
    /// For programs: a line of JSON each, as the server sent it
    Ndjson,
}

/// Prints rows under their heads, each column as wide as it needs.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut text = String::new();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&heads).chain(rows) {
        text.push_str(&aligned(row, &widths));
    }
    print(text.as_bytes())
}

/// One row of columns with these widths, and a line end.
pub(crate) fn aligned(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        // What comes from devices and servers must not steer the terminal.
        let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        line.push_str(&format!("{cell:<width$}  "));
    }
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}

/// Writes and flushes. A reader that has gone away is an error like others: the caller ends.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// A line of text.
pub(crate) fn say(line: &str) -> io::Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// `850 ms`, `12.3 s`, `5 min`, `3 h`, `12 d`.
pub(crate) fn age(ms: i64) -> String {
    match ms {
        ..0 => format!("-{}", age(ms.saturating_neg())),
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// The cell for a value that may be missing.
pub(crate) fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Milliseconds since the epoch, now.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (ms, said) in [
            (0, "0 ms"),
            (1_234, "1.2 s"),
            (-5_000, "-5.0 s"),
            (600_000, "10 min"),
            (8_000_000, "2 h"),
            (i64::MAX, "106751991167 d"),
        ] {
            assert_eq!(age(ms), said);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(aligned(&["a\x1b[2J".to_owned(), "b".to_owned()], &[8, 1]), "a\u{fffd}[2J     b\n");
    }
}
