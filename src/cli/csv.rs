//! Entries as rows of CSV (RFC 4180): a pure function of an entry.
//!
//! Rows end in CR LF; a cell is quoted where it has a separator, a quote, a line break, a tab, or a space at an end. Two
//! things protect whoever opens the file: control characters are shown by their pictures, and a text that a spreadsheet would
//! compute gets a `'` before it. A text that begins with `'` gets one, too, so that taking one away gives every text back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use taskledger::{Change, Entry};

use crate::cli::time::stamp;

/// The header, in the order of the cells.
const COLUMNS: [&str; 24] = [
    "seq",
    "task",
    "note",
    "version",
    "at",
    "said",
    "event",
    "inferred",
    "from",
    "to",
    "attempts",
    "output",
    "value",
    "error",
    "cleared",
    "metadata",
    "created_at",
    "updated_at",
    "started_at",
    "finished_at",
    "actor",
    "reason",
    "cause",
    "key",
];

/// A row that is being written.
struct Row<'a> {
    line: &'a mut Vec<u8>,
    cells: usize,
}

impl Row<'_> {
    /// A cell that the ledger words itself, or JSON: nothing in it is computed.
    fn cell(&mut self, text: &str) {
        if self.cells > 0 {
            self.line.push(b',');
        }
        self.cells += 1;
        let text = shown(text);
        let is_quoted =
            text.contains([',', ';', '"', '\n', '\r', '\t']) || text.starts_with(' ') || text.ends_with(' ');
        if is_quoted {
            self.line.push(b'"');
            self.line.extend(text.replace('"', "\"\"").bytes());
            self.line.push(b'"');
        } else {
            self.line.extend(text.bytes());
        }
    }

    /// A cell with what somebody else wrote.
    fn text(&mut self, text: Option<&str>) {
        self.cell(&kept_from_computing(text.unwrap_or_default()));
    }

    fn number(&mut self, number: Option<u64>) {
        self.cell(&number.map_or_else(String::new, |number| number.to_string()));
    }

    fn time(&mut self, millis: Option<u64>) {
        self.cell(&millis.map(stamp).unwrap_or_default());
    }

    fn json(&mut self, value: Option<&impl serde::Serialize>) {
        self.cell(&value.map(|value| serde_json::to_string(value).expect("it was JSON")).unwrap_or_default());
    }

    fn end(self) {
        debug_assert_eq!(self.cells, COLUMNS.len());
        self.line.extend(b"\r\n");
    }
}

/// The text with pictures for what is no text. Tabs and line breaks stay.
fn shown(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && !['\t', '\n', '\r'].contains(&c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let picture = |c: char| match c {
        _ if !acts(c) => c,
        '\u{7f}' => '\u{2421}',
        '\0'..' ' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(picture).collect()
}

/// The text with a `'` before what a spreadsheet would take for a formula, and before a `'`.
fn kept_from_computing(text: &str) -> Cow<'_, str> {
    let is_taken = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠' | '\'');
    if text.starts_with(is_taken) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The first line.
pub(crate) fn header(line: &mut Vec<u8>) {
    let mut row = Row { line, cells: 0 };
    COLUMNS.iter().for_each(|name| row.cell(name));
    row.end();
}

/// The line of an entry.
pub(crate) fn row(entry: &Entry, line: &mut Vec<u8>) {
    let event = &entry.event;
    let mut row = Row { line, cells: 0 };
    row.number(Some(entry.seq.0));
    row.text(entry.task.as_deref());
    row.text(entry.note.as_deref());
    row.number(entry.version);
    row.time(Some(entry.at));
    row.time(entry.said);
    row.cell(event.kind().name());
    row.cell(if event.is_inferred() { "true" } else { "" });
    row.cell(entry.from.map_or("", taskledger::TaskState::name));
    row.cell(event.state().map_or("", taskledger::TaskState::name));
    row.number(event.attempts_set().map(u64::from));
    row.json(event.output_change().set());
    row.json(event.value());
    row.text(event.error_change().set().map(String::as_str));
    row.cell(&cleared(entry).join(" "));
    let metadata: BTreeMap<&str, Option<&str>> = event.metadata().collect();
    row.json((!metadata.is_empty()).then_some(&metadata));
    row.time(event.created_at_set());
    row.time(event.updated_at_set());
    row.time(event.started_at_change().set().copied());
    row.time(event.finished_at_change().set().copied());
    row.text(event.actor());
    row.text(event.reason());
    row.number(event.cause_seq().map(|cause| cause.0));
    row.text(event.idempotency_key());
    row.end();
}

/// The fields that it clears: their own cells are as empty as those of what it leaves alone.
fn cleared(entry: &Entry) -> Vec<&'static str> {
    let event = &entry.event;
    let all = [
        ("output", matches!(event.output_change(), Change::Clear)),
        ("error", matches!(event.error_change(), Change::Clear)),
        ("started_at", matches!(event.started_at_change(), Change::Clear)),
        ("finished_at", matches!(event.finished_at_change(), Change::Clear)),
    ];
    all.into_iter().filter_map(|(name, is_cleared)| is_cleared.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut line = Vec::new();
        Row { line: &mut line, cells: 0 }.text(Some(text));
        String::from_utf8(line).expect("text stays text")
    }

    #[test]
    fn what_would_be_computed_or_begins_with_an_apostrophe_has_one_before_it() {
        for taken in ["=1+1", "+1", "-1", "@sum", "＝1", "'", "'=1"] {
            assert_eq!(text(taken), format!("'{taken}"));
        }
        assert_eq!(text("\t=1"), "\"'\t=1\"");
        assert_eq!(text("\r\n=1"), "\"'\r\n=1\"");
        for plain in ["", "a=1", "1", "é=", "(=1)"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn a_cell_is_quoted_where_a_reader_would_cut_it() {
        for (plain, quoted) in [
            ("a,b", "\"a,b\""),
            ("a;b", "\"a;b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            ("a\rb", "\"a\rb\""),
            (" a", "\" a\""),
            ("a ", "\"a \""),
            ("a b", "a b"),
        ] {
            assert_eq!(text(plain), quoted);
        }
    }

    #[test]
    fn what_is_no_text_is_shown_by_a_picture() {
        assert_eq!(text("a\0b\u{1b}[31m\u{7f}\u{9b}\u{1f}"), "a␀b␛[31m␡\u{fffd}␟");
    }
}
