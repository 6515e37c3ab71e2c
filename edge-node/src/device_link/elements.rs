//! Cuts a payload into its elements, so that each is judged by itself and kept by itself.
//!
//! Python and C programs write `NaN` and `Infinity` into what they call JSON. That is the fault of the element it
//! stands in, not of its neighbours: for the cut such a word counts as a number.

use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// Words for numbers that JSON does not have, in any case.
const NOT_FINITE: [&str; 3] = ["nan", "infinity", "inf"];

/// The elements of a payload by their places.
pub(super) struct Elements<'a> {
    payload: &'a [u8],
    /// The payload with a number for each word of [`NOT_FINITE`], byte for byte as long.
    masked: Cow<'a, [u8]>,
    places: Vec<Range<usize>>,
}

/// The bytes of a payload's elements for their dead letters. The payload is cut once, when the first is asked for.
#[derive(Debug)]
pub struct ElementBytes<'a> {
    payload: &'a [u8],
    places: Option<Vec<Range<usize>>>,
}

impl<'a> Elements<'a> {
    /// Cuts a payload; one that is no array is one element.
    ///
    /// # Errors
    /// It is no JSON, whatever stands in its numbers' places.
    pub(super) fn cut(payload: &'a [u8]) -> Result<Self, serde_json::Error> {
        let masked = mask(payload);
        let start = masked.as_ptr().addr();
        let place = |element: &RawValue| {
            let from = element.get().as_ptr().addr() - start;
            from..from + element.get().len()
        };
        let places = if is_array(payload) {
            serde_json::from_slice::<Vec<&RawValue>>(&masked)?.into_iter().map(place).collect()
        } else {
            vec![place(serde_json::from_slice(&masked)?)]
        };
        Ok(Self { payload, masked, places })
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Each element as it was sent; in the place of its text, the complaint about a number that JSON does not have.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<&'a str, String>> {
        self.places.iter().map(|place| {
            // What serde_json took for a value is UTF-8.
            let text = std::str::from_utf8(&self.payload[place.clone()]).map_err(|error| error.to_string())?;
            let masked = &self.masked[place.clone()];
            match text.bytes().zip(masked).position(|(sent, masked)| sent != *masked) {
                Some(at) => Err(not_finite(text, at)),
                None => Ok(text),
            }
        })
    }
}

impl<'a> ElementBytes<'a> {
    /// Of this payload.
    #[must_use]
    pub fn of(payload: &'a [u8]) -> Self {
        Self { payload, places: None }
    }

    /// One element; the whole payload where there is none such.
    pub fn get(&mut self, index: u32) -> &'a [u8] {
        let payload = self.payload;
        let places = self.places.get_or_insert_with(|| match Elements::cut(payload) {
            Ok(elements) if is_array(payload) => elements.places,
            _ => Vec::new(),
        });
        places.get(index as usize).map_or(payload, |place| &payload[place.clone()])
    }
}

pub(super) fn is_array(payload: &[u8]) -> bool {
    payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Writes a number as long over each word of [`NOT_FINITE`] that stands outside of strings.
fn mask(payload: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = Cow::Borrowed(payload);
    let mut at = 0;
    while at < payload.len() {
        if payload[at] == b'"' {
            at = after_string(payload, at);
            continue;
        }
        let len = payload[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = &payload[at..at + len];
        if NOT_FINITE.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())) {
            masked.to_mut()[at..at + len].fill(b'1');
        }
        at += len.max(1);
    }
    masked
}

/// Where the string ends that begins at `from`.
fn after_string(payload: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(byte) = payload.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    payload.len()
}

/// Names the field whose value stands at `at`, and the value.
fn not_finite(element: &str, at: usize) -> String {
    let (before, value) = element.split_at(at);
    let value: String = value.chars().take_while(char::is_ascii_alphanumeric).collect();
    let (before, sign) = before.strip_suffix('-').map_or((before, ""), |before| (before, "-"));
    let field = || before.trim_end().strip_suffix(':')?.trim_end().strip_suffix('"')?.rsplit('"').next();
    let named = field().map_or_else(String::new, |field| format!("/{field}: "));
    format!("{named}{sign}{value} is no number in JSON: leave a signal out when it has no value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(payload: &str) -> Vec<Result<&str, String>> {
        Elements::cut(payload.as_bytes()).unwrap().iter().collect()
    }

    #[test]
    fn an_element_with_a_number_that_json_does_not_have_leaves_the_others_alone() {
        let payload =
            r#" [{"a":1}, {"a": NaN}, {"b":"NaN \" Infinity"}, {"x":[1,{"c" : -Infinity}]}, [nan], inf, -1e5]"#;
        let found = texts(payload);
        assert_eq!(found[0].as_deref(), Ok(r#"{"a":1}"#));
        assert!(found[1].as_ref().unwrap_err().starts_with("/a: NaN is no number"), "{found:?}");
        assert_eq!(found[2].as_deref(), Ok(r#"{"b":"NaN \" Infinity"}"#));
        assert!(found[3].as_ref().unwrap_err().starts_with("/c: -Infinity is"), "{found:?}");
        assert!(found[4].as_ref().unwrap_err().starts_with("nan is"), "{found:?}");
        assert!(found[5].as_ref().unwrap_err().starts_with("inf is"), "{found:?}");
        assert_eq!(found[6].as_deref(), Ok("-1e5"));
        assert!(texts(r#"{"a":NaN}"#)[0].is_err());
    }

    #[test]
    fn what_is_no_json_for_another_reason_stays_so() {
        for payload in ["[NaN NaN]", "[{NaN:1}]", "[NaN,", "[Nano]", "[NaN", "[\"NaN]", "[0NaN]", "[\"\\", ""] {
            assert!(Elements::cut(payload.as_bytes()).is_err(), "{payload}");
        }
    }

    #[test]
    fn a_payload_is_cut_once_and_only_when_asked() {
        let payload = br#"[{"a":1},{"a":NaN},2]"#;
        let mut bytes = ElementBytes::of(payload);
        assert!(bytes.places.is_none());
        assert_eq!(bytes.get(1), br#"{"a":NaN}"#);
        let cut = bytes.places.as_ref().unwrap().as_ptr();
        assert_eq!((bytes.get(0), bytes.get(2), bytes.get(3)), (&br#"{"a":1}"#[..], &b"2"[..], &payload[..]));
        assert_eq!(bytes.places.as_ref().unwrap().as_ptr(), cut, "not again");
        let whole = b"[1,{";
        assert_eq!(ElementBytes::of(whole).get(0), whole);
        assert_eq!(ElementBytes::of(b" 5 ").get(0), b" 5 ");
    }

    proptest! {
        #[test]
        fn what_is_json_is_cut_where_serde_json_cuts_it(
            elements in proptest::collection::vec("[a-z0-9\"\\\\ ,{}\\[\\]:]{0,8}", 1..6)
        ) {
            let payload = serde_json::to_string(&elements).unwrap();
            let expected: Vec<_> = elements.iter().map(|element| serde_json::to_string(element).unwrap()).collect();
            let found: Vec<_> = texts(&payload).into_iter().map(|text| text.unwrap().to_owned()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_text_makes_it_panic(payload in "[\\[\\]{}\",:a-z0-9.eENaI\n\\\\ -]{0,60}") {
            let _ = Elements::cut(payload.as_bytes()).map(|elements| elements.iter().count());
            ElementBytes::of(payload.as_bytes()).get(1);
        }
    }
}
