//! `Json`: an output, or the value of a note, as the text it was given in, checked once.
//!
//! The text is kept as written, so that numbers come back as they went in; it is parsed only when a record is
//! asked for.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

/// One JSON value, as its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

/// Why a text is not taken as an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotJson {
    /// It is no JSON; what the parser says.
    Syntax(String),
    /// It nests deeper than the limit.
    Depth(usize),
}

impl Json {
    /// The text of a value.
    pub(crate) fn of(value: &serde_json::Value) -> Json {
        Json(value.to_string().into())
    }

    /// A text whose syntax is checked later, by [`Json::check`].
    pub(crate) fn unchecked(text: &str) -> Json {
        Json(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says `null`, which as an output means no output.
    pub(crate) fn is_null(&self) -> bool {
        self.0.trim_matches([' ', '\t', '\n', '\r']) == "null"
    }

    /// The value.
    ///
    /// # Errors
    /// The parser's message, where the text is no JSON.
    pub(crate) fn parse(&self) -> Result<serde_json::Value, String> {
        serde_json::from_str(&self.0).map_err(|error| error.to_string())
    }

    /// Whether it is JSON and no deeper than this.
    pub(crate) fn check(&self, depth_max: usize) -> Result<(), NotJson> {
        // Few brackets cannot nest deep, and counting them is quick.
        let depth = if brackets_in(&self.0) > depth_max { depth_of(&self.0) } else { 0 };
        if depth > depth_max {
            return Err(NotJson::Depth(depth));
        }
        serde_json::from_str::<serde_json::Value>(&self.0)
            .map(|_| ())
            .map_err(|error| NotJson::Syntax(error.to_string()))
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A line holds one value, and a text may have been given over several lines: JSON has no line break inside
        // of a string, so every one of them is white space.
        let one_line = self.0.replace(['\n', '\r'], " ");
        RawValue::from_string(one_line).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// How many opening brackets there are, in strings too. Sums of one byte are what makes it quick.
fn brackets_in(text: &str) -> usize {
    let opening = |byte: &u8| u8::from(matches!(byte, b'[' | b'{'));
    text.as_bytes().chunks(255).map(|chunk| usize::from(chunk.iter().map(opening).sum::<u8>())).sum()
}

/// How deep the brackets nest outside of strings.
fn depth_of(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::{NOTE_DEPTH_MAX, OUTPUT_DEPTH_MAX};

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert_eq!(depth_of("1"), 0);
        assert_eq!(depth_of(r#"["[[[\"[["]"#), 1);
        assert_eq!(depth_of(r#"{"a":[{"b":1},[2]]}"#), 3);
    }

    #[test]
    fn every_opening_bracket_counts() {
        assert_eq!(brackets_in(r#"{"a[":[1,{}]}"#), 4);
        assert_eq!(brackets_in(&"[".repeat(600)), 600);
    }

    #[test]
    fn the_deepest_allowed_value_is_taken_and_one_more_is_not() {
        let nested = |n: usize| Json::unchecked(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
        for deepest in [OUTPUT_DEPTH_MAX, NOTE_DEPTH_MAX] {
            assert_eq!(nested(deepest).check(deepest), Ok(()));
            assert_eq!(nested(deepest + 1).check(deepest), Err(NotJson::Depth(deepest + 1)));
        }
        assert!(
            matches!(nested(NOTE_DEPTH_MAX + 1).check(usize::MAX), Err(NotJson::Syntax(_))),
            "the parser's own limit"
        );
        assert!(matches!(Json::unchecked("{").check(1), Err(NotJson::Syntax(_))));
    }
}
