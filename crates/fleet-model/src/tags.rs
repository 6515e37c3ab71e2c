//! Tags: words that a tenant gives to its vehicles.

use crate::ids::Tag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most tags of one vehicle, and most that one deployment names.
pub const TAGS_MAX: usize = 16;

/// A few tags, each once, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<Tag>", into = "BTreeSet<Tag>")]
pub struct Tags(BTreeSet<Tag>);

/// Why these are not [`Tags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} tags are given; at most {TAGS_MAX} are allowed")]
pub struct TooManyTags(usize);

impl Tags {
    /// None.
    pub const NONE: Self = Self(BTreeSet::new());

    /// Checks how many they are. One that is named twice counts once.
    ///
    /// # Errors
    /// When they are more than [`TAGS_MAX`].
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, TooManyTags> {
        let tags: BTreeSet<_> = tags.into_iter().collect();
        if tags.len() > TAGS_MAX { Err(TooManyTags(tags.len())) } else { Ok(Self(tags)) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, tag: &Tag) -> bool {
        self.0.contains(tag)
    }

    /// Whether at least one is in both.
    #[must_use]
    pub fn has_any_of(&self, others: &Self) -> bool {
        !self.0.is_disjoint(&others.0)
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tag> {
        self.0.iter()
    }

    /// As texts, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(Tag::to_string).collect()
    }
}

impl TryFrom<BTreeSet<Tag>> for Tags {
    type Error = TooManyTags;
    fn try_from(tags: BTreeSet<Tag>) -> Result<Self, TooManyTags> {
        Self::new(tags)
    }
}

impl From<Tags> for BTreeSet<Tag> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> impl Iterator<Item = Tag> {
        (0..count).map(|number| format!("tag-{number}").parse().unwrap())
    }

    #[test]
    fn tags_are_few_and_each_is_there_once() {
        assert_eq!(Tags::new(numbered(TAGS_MAX + 1)), Err(TooManyTags(TAGS_MAX + 1)));
        let twice = Tags::new(numbered(TAGS_MAX).chain(numbered(TAGS_MAX))).unwrap();
        assert_eq!(twice.iter().len(), TAGS_MAX);
    }

    #[test]
    fn tags_keep_their_checks_when_deserialised() {
        let read = |text: &str| serde_json::from_str::<Tags>(text);
        assert_eq!(read(r#"["b","a","b"]"#).unwrap().names(), ["a", "b"]);
        assert_eq!(serde_json::to_string(&read(r#"["b","a"]"#).unwrap()).unwrap(), r#"["a","b"]"#);
        assert!(read(r#"["a b"]"#).is_err());
        let many: Vec<_> = numbered(TAGS_MAX + 1).collect();
        assert!(read(&serde_json::to_string(&many).unwrap()).is_err());
    }

    #[test]
    fn no_tags_have_nothing_in_common_with_any() {
        let (some, other) = (Tags::new(numbered(2)).unwrap(), Tags::new(numbered(1)).unwrap());
        assert!(some.has_any_of(&other) && other.has_any_of(&some));
        assert!(!some.has_any_of(&Tags::NONE) && !Tags::NONE.has_any_of(&Tags::NONE));
    }
}
