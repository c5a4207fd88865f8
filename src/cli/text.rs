//! Making foreign text safe to print, and fitting it into columns.
//!
//! Ids, errors, reasons and the like come from anywhere. Printed for people, nothing of them may move the cursor,
//! change a colour, turn the direction of writing or hide: such characters are printed as escapes.

use std::borrow::Cow;

use taskledger::{Counts, TaskState};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character would do something else than show itself.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with every character that would act written as an escape such as `\n` or `\u{1b}`.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// As [`safe`], but line breaks stay.
pub(crate) fn safe_lines(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(safe).collect();
    lines.join("\n")
}

/// How many columns a safe text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A safe text, cut to at most so many columns.
pub(crate) fn clip(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let Some(mut left) = columns.checked_sub(1) else { return Cow::Borrowed("") };
    let kept: String = text
        .chars()
        .take_while(|c| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect();
    Cow::Owned(kept + "…")
}

/// The text, then spaces up to a width.
pub(crate) fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Spaces, then the text, up to a width.
pub(crate) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// A line of a head, which takes so many columns, and of facts; where a terminal has not so many, the facts that do not
/// fit go on below, behind an indent.
pub(crate) fn flow(head: String, wide: usize, facts: &[String], indent: usize, columns: Option<usize>) -> String {
    let (mut line, mut here) = (head, wide);
    for fact in facts {
        here += 2 + width(fact);
        if columns.is_some_and(|columns| here > columns) {
            line.truncate(line.trim_end().len());
            line.push('\n');
            line.push_str(&" ".repeat(indent));
            here = indent + width(fact);
        } else {
            line.push_str("  ");
        }
        line.push_str(fact);
    }
    line.truncate(line.trim_end().len());
    line
}

/// A text in the colour of a state. The writer takes colours out where nobody would see them.
pub(crate) fn paint(state: TaskState, text: &str) -> String {
    let colour = match state {
        TaskState::Completed => 32,
        TaskState::Failed | TaskState::DeadLettered => 31,
        TaskState::Running => 36,
        TaskState::Retrying => 33,
        TaskState::Pending | TaskState::Ready | TaskState::Cancelled | TaskState::Skipped => return text.to_owned(),
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// A number of bytes in a unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// As uuids are commonly written.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut rest = hex.as_str();
    let parts = [8, 4, 4, 4, 12].map(|digits| {
        let (part, after) = rest.split_at(digits);
        rest = after;
        part
    });
    parts.join("-")
}

/// How many tasks are in each state that has any, in their colours.
pub(crate) fn by_state(counts: Counts) -> String {
    let some = TaskState::ALL.into_iter().filter(|&state| counts.of(state) > 0);
    let each: Vec<String> = some.map(|state| paint(state, &format!("{} {state}", counts.of(state)))).collect();
    each.join(", ")
}

/// The singular or plural of a noun with its number.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// An argument as a shell takes it.
pub(crate) fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_act_are_escaped_and_others_stay() {
        assert_eq!(safe("a\u{1b}[31mb\r\n\t\u{7f}\u{9b}"), r"a\u{1b}[31mb\r\n\t\u{7f}\u{9b}");
        assert_eq!(safe("x\u{202e}y\u{2066}z\u{200b}\u{feff}"), r"x\u{202e}y\u{2066}z\u{200b}\u{feff}");
        assert_eq!(safe("näïve ✓ 東京 \\"), "näïve ✓ 東京 \\");
        assert_eq!(safe_lines("a\n\u{7}b"), "a\n\\u{7}b");
    }

    #[test]
    fn text_is_cut_and_padded_by_columns() {
        assert_eq!(clip("東京東京", 5), "東京…");
        assert_eq!(clip("東京", 4), "東京");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!((clip("a", 0), clip("ab", 1)), ("".into(), "…".into()));
        assert_eq!(left("東", 4), "東  ");
        assert_eq!(right("7", 3), "  7");
    }

    #[test]
    fn facts_that_do_not_fit_go_on_below() {
        let facts = ["bb".to_owned(), "東京".to_owned(), "c".to_owned()];
        let flown = |columns| flow("a ".to_owned(), 2, &facts, 1, columns);
        assert_eq!(flown(None), "a   bb  東京  c");
        assert_eq!(flown(Some(15)), "a   bb  東京  c");
        assert_eq!(flown(Some(14)), "a   bb  東京\n c");
        assert_eq!(flown(Some(11)), "a   bb\n 東京  c");
        assert_eq!(flown(Some(1)), "a\n bb\n 東京\n c");
    }

    #[test]
    fn a_shell_takes_what_it_is_given() {
        assert_eq!(shell("/tmp/a-b_c.d"), "/tmp/a-b_c.d");
        assert_eq!(shell("it's here"), r"'it'\''s here'");
        assert_eq!(shell(""), "''");
    }
}
