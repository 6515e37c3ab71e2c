//! The recordings and reference answers, where they are.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Environment variable that names the directory.
pub const DATA_VARIABLE: &str = "DROVER_REFERENCE_DATA";

/// The directory with recordings and reference answers; `None` in a checkout that has none.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    let named = std::env::var_os(DATA_VARIABLE).map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    named.or(Some(beside)).filter(|path| path.is_dir())
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
