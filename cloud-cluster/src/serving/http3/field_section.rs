//! Reads the names of a request's header fields before the HTTP/3 library does.
//!
//! The library (h3 0.0.8) keeps the last of several equal pseudo-headers and takes them in any place; RFC 9114 §4.3
//! calls both malformed. This walks the QPACK field lines (RFC 9204 §4.5) and looks only at the names. We allow no
//! dynamic table, so every name is in the static table or spelled out. What is no valid field line at all is left to
//! the library, which refuses it.

/// Why a field section is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A pseudo-header stands twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// A pseudo-header after an ordinary field.
    #[error("{0} stands after an ordinary header field")]
    Misplaced(&'static str),
    /// A pseudo-header that no request has.
    #[error("a request has no such pseudo-header")]
    NotOfRequests,
    /// A pseudo-header among the trailers.
    #[error("trailers have no pseudo-headers")]
    InTrailers,
}

/// Which section of the request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Before the body.
    Headers,
    /// After the body.
    Trailers,
}

/// Name, and the same as QPACK's Huffman code writes it.
const PSEUDO: [(&str, &[u8]); 5] = [
    (":method", &[0xb9, 0x49, 0x53, 0x39, 0xe4]),
    (":scheme", &[0xb8, 0x82, 0x4e, 0x5a, 0x4b]),
    (":authority", &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f]),
    (":path", &[0xb9, 0x58, 0xd3, 0x3f]),
    (":protocol", &[0xb9, 0x5d, 0x87, 0x49, 0xc8, 0x7a, 0x3f]),
];
/// The first seven bits of every Huffman-coded name that starts with a colon.
const HUFFMAN_COLON: u8 = 0b101_1100;

/// Checks that pseudo-headers come first, once each, and only those of requests.
pub(super) fn check(encoded: &[u8], section: Section) -> Result<(), Malformed> {
    let mut lines = Cursor(encoded);
    // Required insert count and base.
    if lines.integer(8).is_none() || lines.integer(7).is_none() {
        return Ok(());
    }
    let mut seen = [false; PSEUDO.len()];
    let mut ordinary = false;
    while let Some(name) = lines.name() {
        let Some(pseudo) = name.pseudo()? else {
            ordinary = true;
            continue;
        };
        if section == Section::Trailers {
            return Err(Malformed::InTrailers);
        }
        if ordinary {
            return Err(Malformed::Misplaced(PSEUDO[pseudo].0));
        }
        if std::mem::replace(&mut seen[pseudo], true) {
            return Err(Malformed::Twice(PSEUDO[pseudo].0));
        }
    }
    Ok(())
}

enum Name<'b> {
    Static(u64),
    Literal { huffman: bool, bytes: &'b [u8] },
}

impl Name<'_> {
    /// Which of [`PSEUDO`] it is; `None` for an ordinary field.
    fn pseudo(&self) -> Result<Option<usize>, Malformed> {
        match *self {
            // Places in the static table, RFC 9204 appendix A.
            Name::Static(0) => Ok(Some(2)),
            Name::Static(1) => Ok(Some(3)),
            Name::Static(15..=21) => Ok(Some(0)),
            Name::Static(22 | 23) => Ok(Some(1)),
            Name::Static(24..=28 | 63..=71) => Err(Malformed::NotOfRequests),
            Name::Static(_) => Ok(None),
            Name::Literal { huffman, bytes } => {
                let colon = match bytes.first() {
                    Some(first) if huffman => first >> 1 == HUFFMAN_COLON,
                    Some(first) => *first == b':',
                    None => false,
                };
                if !colon {
                    return Ok(None);
                }
                let known =
                    PSEUDO.iter().position(|(name, coded)| bytes == if huffman { coded } else { name.as_bytes() });
                known.map(Some).ok_or(Malformed::NotOfRequests)
            }
        }
    }
}

struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    /// The name of the next field line; steps over its value.
    fn name(&mut self) -> Option<Name<'b>> {
        let first = *self.0.first()?;
        if first & 0b1000_0000 != 0 {
            // Indexed: name and value from the static table.
            let index = self.integer(6)?;
            return (first & 0b0100_0000 != 0).then_some(Name::Static(index));
        }
        if first & 0b0100_0000 != 0 {
            // A name from the static table, the value spelled out.
            let index = self.integer(4)?;
            self.text(7)?;
            return (first & 0b0001_0000 != 0).then_some(Name::Static(index));
        }
        if first & 0b0010_0000 != 0 {
            let huffman = first & 0b0000_1000 != 0;
            let bytes = self.text(3)?;
            self.text(7)?;
            return Some(Name::Literal { huffman, bytes });
        }
        // Only a dynamic table has what remains.
        None
    }

    /// An integer with a prefix of `bits` bits (RFC 7541 §5.1).
    fn integer(&mut self, bits: u8) -> Option<u64> {
        let mask = ((1_u16 << bits) - 1) as u8;
        let (first, mut rest) = self.0.split_first()?;
        let mut value = u64::from(first & mask);
        if first & mask == mask {
            let mut shift = 0;
            loop {
                let (byte, after) = rest.split_first()?;
                rest = after;
                value = value.checked_add(u64::from(byte & 0x7f).checked_shl(shift)?)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 56 {
                    return None;
                }
            }
        }
        self.0 = rest;
        Some(value)
    }

    /// A string whose length has a prefix of `bits` bits.
    fn text(&mut self, bits: u8) -> Option<&'b [u8]> {
        let len = usize::try_from(self.integer(bits)?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: u8 = 0b1100_0000 | 17;
    const HTTPS: u8 = 0b1100_0000 | 23;
    const PATH: u8 = 0b1100_0000 | 1;
    const AUTHORITY_A: [u8; 3] = [0b0101_0000, 1, b'a'];
    const ACCEPT: u8 = 0b1100_0000 | 29;

    fn section(lines: &[&[u8]]) -> Vec<u8> {
        std::iter::once(&[0, 0][..]).chain(lines.iter().copied()).flatten().copied().collect()
    }

    fn literal(name: &[u8], huffman: bool) -> Vec<u8> {
        let mut line = vec![0b0010_0000 | if huffman { 0b1000 } else { 0 }];
        if name.len() < 7 {
            line[0] |= name.len() as u8;
        } else {
            line[0] |= 7;
            line.push(name.len() as u8 - 7);
        }
        line.extend_from_slice(name);
        line.extend_from_slice(&[1, b'x']);
        line
    }

    #[test]
    fn an_ordinary_request_passes() {
        let encoded = section(&[&[GET, HTTPS, PATH], &AUTHORITY_A, &[ACCEPT], &literal(b"user-agent", false)]);
        assert_eq!(check(&encoded, Section::Headers), Ok(()));
    }

    #[test]
    fn twice_misplaced_unknown_and_trailing_pseudo_headers_are_named() {
        let twice = Err(Malformed::Twice(":path"));
        let head = [GET, HTTPS, PATH];
        assert_eq!(check(&section(&[&head, &[PATH]]), Section::Headers), twice);
        assert_eq!(check(&section(&[&head, &literal(b":path", false)]), Section::Headers), twice);
        assert_eq!(check(&section(&[&head, &literal(PSEUDO[3].1, true)]), Section::Headers), twice);
        assert_eq!(
            check(&section(&[&head, &[ACCEPT], &AUTHORITY_A]), Section::Headers),
            Err(Malformed::Misplaced(":authority"))
        );
        assert_eq!(check(&section(&[&literal(b":evil", false)]), Section::Headers), Err(Malformed::NotOfRequests));
        assert_eq!(check(&section(&[&[0b1100_0000 | 25]]), Section::Headers), Err(Malformed::NotOfRequests));
        assert_eq!(check(&section(&[&[PATH]]), Section::Trailers), Err(Malformed::InTrailers));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes, Section::Headers);
        }
    }
}
