//! `Json`: an output, or the value of a note, as the text it was given in, checked once.
//!
//! The text is kept as written, so that numbers come back as they went in; it is parsed only when a record is
//! asked for.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
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

    /// The text, without a copy of it.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
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
        if is_sound(&self.0, depth_max) {
            return Ok(());
        }
        let depth = depth_of(&self.0);
        if depth > depth_max {
            return Err(NotJson::Depth(depth));
        }
        self.parse().map(|_| ()).map_err(NotJson::Syntax)
    }
}

/// Whether a text is taken as a [`serde_json::Value`] and is no deeper than this, without making one: that would take most of the
/// time of an append with an output. `IgnoredAny` would not do, since it takes numbers and escapes that a value does not. Only a
/// yes counts.
fn is_sound(text: &str, depth_max: usize) -> bool {
    let mut parser = serde_json::Deserializer::from_str(text);
    Sound { depth: depth_max }.deserialize(&mut parser).is_ok() && parser.end().is_ok()
}

/// A value within which so many more may nest.
#[derive(Clone, Copy)]
struct Sound {
    depth: usize,
}

/// A key of an object, unless serde_json means something else by it.
struct SoundKey;

/// Under this key serde_json keeps a text that is to be taken for a value.
const RAW_VALUE_KEY: &str = "$serde_json::private::RawValue";

impl Sound {
    fn within<E: de::Error>(self) -> Result<Sound, E> {
        self.depth.checked_sub(1).map(|depth| Sound { depth }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Sound {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for SoundKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for SoundKey {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        if key == RAW_VALUE_KEY { Err(E::custom("not for a key of one's own")) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let within = self.within()?;
        while items.next_element_seed(within)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let within = self.within()?;
        while items.next_key_seed(SoundKey)?.is_some() {
            items.next_value_seed(within)?;
        }
        Ok(())
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

    #[test]
    fn what_is_taken_is_what_makes_a_value() {
        let texts = [
            r#"{"a":[1,-2,3.5e2,null,true,false,"x\n\u00e9\ud83d\ude00"],"b":{"":{}}, "c" : 18446744073709551616}"#,
            r#"["\ud83d\ude00",1e308,-0.0,0,{"k":"v","k":2}]"#,
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"{"\u0024serde_json::private::RawValue":"[1"}"#,
            r#"[{"$serde_json::private::RawValue":1,"a":2},{"$serde_json::private::Number":"1"}]"#,
            r#""\ud83d""#,
            "1e999",
            "",
            " \t\r\n7 ",
        ];
        let mut counts = [0; 2];
        let mut same = |text: &[u8]| {
            let Ok(text) = std::str::from_utf8(text) else { return };
            let value = serde_json::from_str::<serde_json::Value>(text);
            let sound = is_sound(text, 100);
            assert!(!sound || value.is_ok(), "{text}");
            assert!(sound || value.is_err() || text.contains("private::RawValue"), "{text}");
            let json = Json::unchecked(text);
            assert_eq!(json.check(100).is_ok(), value.is_ok(), "{text}");
            let depth = depth_of(text);
            assert_eq!(json.check(depth).is_ok(), value.is_ok(), "{text}");
            assert!(depth == 0 || json.check(depth - 1) == Err(NotJson::Depth(depth)), "{text}");
            counts[usize::from(value.is_ok())] += 1;
        };
        for text in texts {
            same(text.as_bytes());
            for at in 0..text.len() {
                let (before, after) = text.as_bytes().split_at(at);
                same(before);
                same(&[before, &after[1..]].concat());
                for byte in 0..=0x7f {
                    same(&[before, &[byte], after].concat());
                    same(&[before, &[byte], &after[1..]].concat());
                }
            }
        }
        assert!(counts.iter().all(|&count| count > 10_000), "{counts:?}");
    }
}
