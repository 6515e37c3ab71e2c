//! Cuts a stream of bytes into lines.

use crate::failure::Failure;
use bytes::{Bytes, BytesMut};

/// A line that is longer is not an event.
const LINE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Holds the beginning of a line until its end has come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    kept: BytesMut,
}

impl Lines {
    /// The whole lines that `chunk` completes, each with its line end.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Bytes>, Failure> {
        let mut lines = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.kept.extend_from_slice(part);
            if self.kept.len() > LINE_LEN_MAX {
                return Err(Failure::Failed(format!("the server sent a line of over {LINE_LEN_MAX} bytes")));
            }
            if part.ends_with(b"\n") {
                lines.push(self.kept.split().freeze());
            }
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let cut: Vec<Bytes> = text.chunks(size).flat_map(|chunk| lines.push(chunk).unwrap()).collect();
            assert_eq!(cut, [&b"{\"a\":1}\n"[..], b"\n", b"{\"b\":2}\n"], "{size}");
        }
    }
}
