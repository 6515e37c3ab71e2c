//! The recordings and reference answers, where they are.

use crate::skipped;
use anyhow::{Context, Result, anyhow, bail};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Environment variable that names the directory.
pub const DATA_VARIABLE: &str = "DROVER_REFERENCE_DATA";

/// The directory with recordings and reference answers; `None` in a checkout that has none.
///
/// # Errors
/// When the variable names something that is no directory.
pub fn directory() -> Result<Option<PathBuf>> {
    find(std::env::var_os(DATA_VARIABLE).map(PathBuf::from), &beside())
}

/// The same for a test, which then says that it does not run.
///
/// # Errors
/// As [`directory`].
#[track_caller]
pub fn directory_or_skip() -> Result<Option<PathBuf>> {
    let found = directory()?;
    if found.is_none() {
        skipped::note(skipped::REFERENCE_DATA, &format!("set {DATA_VARIABLE} to their directory"));
    }
    Ok(found)
}

/// Whether the checkout is one that has the data beside it, or should have.
#[must_use]
pub fn is_expected() -> bool {
    std::env::var_os(DATA_VARIABLE).is_some() || beside().parent().is_some_and(Path::is_dir)
}

fn beside() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

fn find(named: Option<PathBuf>, beside: &Path) -> Result<Option<PathBuf>> {
    match named {
        Some(named) if named.is_dir() => Ok(Some(named)),
        Some(named) => bail!("{DATA_VARIABLE} is {}, which is no directory", named.display()),
        None => Ok(Some(beside.to_owned()).filter(|path| path.is_dir())),
    }
}

/// Opens a file as it is or through gzip, by its first bytes.
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = std::fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let compressed = reader.fill_buf().with_context(|| format!("read {}", path.display()))?.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { Box::new(flate2::read::MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// Opens a CSV file with a header.
///
/// # Errors
/// When it cannot be read.
pub fn open_csv(path: &Path) -> Result<csv::Reader<Box<dyn Read>>> {
    Ok(csv::Reader::from_reader(open(path)?))
}

/// The rows of a CSV file, each by the names of its columns.
///
/// # Errors
/// When it cannot be read, or a row lacks a column or has another type there.
pub fn records<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    open_csv(path)?.deserialize().collect::<Result<_, _>>().with_context(|| format!("read {}", path.display()))
}

/// A decimal as it is written, exactly.
///
/// # Errors
/// Says what is none.
pub fn decimal(text: &str) -> Result<Decimal> {
    // It has an error type that is no std error.
    text.parse().map_err(|error| anyhow!("{text:?} is no decimal: {error}"))
}

/// Rows below the header.
///
/// # Errors
/// When it cannot be read.
pub fn rows(path: &Path) -> Result<u64> {
    let mut reader = open_csv(path)?;
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record).with_context(|| format!("row {} of {}", rows + 2, path.display()))? {
        rows += 1;
    }
    Ok(rows)
}

/// The whole text of a file as it is or through gzip.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_are_named_must_be_there_and_those_beside_may_be() {
        let here = tempfile::tempdir().unwrap();
        let nowhere = here.path().join("nowhere");
        assert_eq!(find(Some(here.path().to_owned()), &nowhere).unwrap(), Some(here.path().to_owned()));
        assert_eq!(find(None, here.path()).unwrap(), Some(here.path().to_owned()));
        assert_eq!(find(None, &nowhere).unwrap(), None);
        let refused = find(Some(nowhere), here.path()).unwrap_err().to_string();
        assert!(refused.contains(DATA_VARIABLE) && refused.contains("nowhere"), "{refused}");
    }
}
