//! What a server says when it refuses: problem+json (RFC 9457), or plain text from something in between.

use serde::Deserialize;
use std::fmt;

/// Text of an unknown kind is shown up to here.
const TEXT_LEN_MAX: usize = 600;

/// A refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) errors: Vec<Place>,
}

/// A place in the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    #[serde(default)]
    pub(crate) pointer: String,
    #[serde(default)]
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Self>(body) {
            Ok(problem) if !problem.title.is_empty() || !problem.detail.is_empty() => Self { status, ..problem },
            _ => {
                let text: String = String::from_utf8_lossy(body).trim().chars().take(TEXT_LEN_MAX).collect();
                Self { status, title: "The server refused".to_owned(), detail: text, errors: Vec::new() }
            }
        }
    }

    pub(crate) fn is_servers_fault(&self) -> bool {
        self.status >= 500
    }

    /// Whether the same request may well succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_servers_fault() || matches!(self.status, 408 | 425 | 429)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.title, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for place in &self.errors {
            let pointer = if place.pointer.is_empty() { "/" } else { &place.pointer };
            // A single place often says what the whole says.
            let detail = if place.detail == self.detail { "here" } else { &place.detail };
            write!(f, "\n  {pointer}: {detail}")?;
        }
        if self.status == 401 {
            write!(f, "\n  give your key with --api-key or DROVER_API_KEY")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shown_with_their_pointers() {
        let body = br#"{"type":"x","title":"The config was refused","status":422,"detail":"2 problems",
            "errors":[{"pointer":"/config/zones","detail":"missing"},{"pointer":"","detail":"odd"}]}"#;
        let problem = Problem::read(422, body);
        assert_eq!(
            problem.to_string(),
            "The config was refused (HTTP 422): 2 problems\n  /config/zones: missing\n  /: odd"
        );
    }

    #[test]
    fn other_bodies_are_shown_as_they_are() {
        assert_eq!(Problem::read(502, b"bad gateway\n").to_string(), "The server refused (HTTP 502): bad gateway");
        assert_eq!(Problem::read(404, b"\xff{}").detail, "\u{fffd}{}");
    }
}
