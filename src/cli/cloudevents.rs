//! Entries as events of CloudEvents 1.0, in its JSON format: a pure function of an entry.

use serde::Serialize;
use taskledger::{Entry, EventKind};

use crate::cli::time::stamp;

/// Before what happened, in the type of an event.
const TYPE: &str = "dev.taskledger";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    data: &'a Entry,
}

/// The line of an entry of the ledger that is the source.
pub(crate) fn line(entry: &Entry, source: &str, line: &mut Vec<u8>) {
    let event = CloudEvent {
        specversion: "1.0",
        id: entry.seq.to_string(),
        source,
        kind: kind(entry),
        subject: entry.task.as_deref().or(entry.note.as_deref()).filter(|subject| is_string(subject)),
        // The standard has no time beyond the year 9999.
        time: Some(stamp(entry.happened_at())).filter(|time| !time.starts_with('@')),
        datacontenttype: "application/json",
        data: entry,
    };
    serde_json::to_writer(&mut *line, &event).expect("an entry can be written, and memory takes it");
    line.push(b'\n');
}

/// The state that a task comes to, or else what happened.
fn kind(entry: &Entry) -> String {
    let kind = entry.event.kind();
    match (&entry.task, &entry.note, entry.event.state()) {
        (Some(_), _, Some(state)) if kind != EventKind::Created => format!("{TYPE}.task.{state}"),
        (Some(_), _, _) => format!("{TYPE}.task.{kind}"),
        (None, Some(_), _) => format!("{TYPE}.note.{kind}"),
        (None, None, _) => format!("{TYPE}.ledger.{kind}"),
    }
}

/// Whether it is a String as CloudEvents defines it: not empty, without control characters and noncharacters.
fn is_string(text: &str) -> bool {
    let is_nonchar = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    !text.is_empty() && !text.contains(|c: char| c.is_control() || is_nonchar(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_no_characters_that_the_standard_takes_out() {
        for good in ["a", "a/b c", "\"", "é\u{1f600}\u{10fffd}", "\u{fdf0}"] {
            assert!(is_string(good), "{good:?}");
        }
        for bad in ["", "a\nb", "\0", "\u{7f}", "\u{85}", "\u{fdd0}", "\u{fdef}", "\u{fffe}", "\u{1ffff}", "\u{10ffff}"]
        {
            assert!(!is_string(bad), "{bad:?}");
        }
    }
}
