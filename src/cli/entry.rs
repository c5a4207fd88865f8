//! One entry as one line of text, in columns that grow with what is printed.

use std::io::Write;

use taskledger::{Change, Entry, EventKind, TaskState};

use crate::cli::fail::Failure;
use crate::cli::out::{Form, Out};
use crate::cli::text::{clip, flow, left, paint, right, safe, width};
use crate::cli::time::stamp;

/// So many entries are fitted into columns together.
const CHUNK: usize = 256;
/// And no more, once they have so many bytes of output.
const CHUNK_BYTES: usize = 4 << 20;
/// An id longer than this pushes its own line only.
const TASK_COLUMNS: usize = 40;
/// How much room the facts of a short line should have.
const SHORT_COLUMNS: usize = 40;
/// How much of a text is shown.
const TEXT_COLUMNS: usize = 60;

/// Whether lines name the task or note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    EachTask,
    OneTask,
}

/// Prints entries in order, as lines of text or of JSON.
pub(crate) fn print(
    entries: impl Iterator<Item = taskledger::Result<Entry>>,
    naming: Naming,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut lines = Lines::new(naming, false);
    for entry in entries {
        match entry {
            Ok(entry) => lines.add(entry, out)?,
            Err(error) => {
                lines.print(out)?;
                return Err(error.into());
            }
        }
    }
    lines.print(out)
}

/// Entries on their way to lines: for people some at a time, so that they fit into columns together.
pub(crate) struct Lines {
    columns: Columns,
    chunk: Vec<Entry>,
    /// About how many bytes of text wait in the chunk.
    bytes: usize,
}

impl Lines {
    /// `short` is one line an entry, cut where a terminal ends; else what does not fit a terminal goes on below.
    pub(crate) fn new(naming: Naming, short: bool) -> Lines {
        Lines { columns: Columns { seq: 1, task: 0, what: 0, naming, short, indent: 0 }, chunk: Vec::new(), bytes: 0 }
    }

    /// All of them so far from the left.
    pub(crate) fn indented(mut self, columns: usize) -> Lines {
        self.columns.indent = columns;
        self
    }

    /// Prints it now or with later ones.
    pub(crate) fn add(&mut self, entry: Entry, out: &mut Out) -> Result<(), Failure> {
        match out.form {
            Form::Json => out.json(&entry)?,
            Form::People => {
                let output =
                    if let Change::Set(output) = entry.event.output_change() { output.as_str().len() } else { 0 };
                self.bytes += output + entry.event.value().map_or(0, |value| value.as_str().len());
                self.chunk.push(entry);
            }
        }
        if self.chunk.len() == CHUNK || self.bytes > CHUNK_BYTES { self.print(out) } else { Ok(()) }
    }

    /// Prints what was added and is not printed yet.
    pub(crate) fn print(&mut self, out: &mut Out) -> Result<(), Failure> {
        self.columns.print(&self.chunk, out)?;
        self.chunk.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// The widths of the columns so far.
struct Columns {
    seq: usize,
    task: usize,
    what: usize,
    naming: Naming,
    short: bool,
    indent: usize,
}

impl Columns {
    fn print(&mut self, entries: &[Entry], out: &mut Out) -> Result<(), Failure> {
        for entry in entries {
            self.seq = self.seq.max(entry.seq.to_string().len());
            self.task = self.task.max(width(&name(entry)).min(TASK_COLUMNS));
            self.what = self.what.max(width(&what(entry)));
        }
        entries.iter().try_for_each(|entry| Ok(writeln!(out, "{}", self.line(entry, out.columns))?))
    }

    /// An entry as it is printed, for a terminal that has so many columns.
    fn line(&self, entry: &Entry, out_columns: Option<usize>) -> String {
        let task = match self.naming {
            Naming::EachTask => format!("{}  ", left(&name(entry), self.task)),
            Naming::OneTask => String::new(),
        };
        let indent = " ".repeat(self.indent);
        let place = format!("{indent}{}  {}  {task}", right(&entry.seq.to_string(), self.seq), stamp(entry.at));
        let what = left(&what(entry), self.what);
        let colour = |text: &str| paint(entry.event.state().unwrap_or(TaskState::Pending), text);
        let columns = out_columns.unwrap_or(usize::MAX);
        if self.short {
            // Where little room is left, the facts need it more than the eye needs the column.
            let what = if columns < width(&place) + self.what + SHORT_COLUMNS { what.trim_end() } else { &what };
            let facts = format!("  {}", short_facts(entry).join("  "));
            let left = columns.saturating_sub(width(&place));
            let (place, what, facts) =
                (clip(&place, columns), clip(what, left), clip(&facts, left.saturating_sub(width(what))));
            return format!("{place}{}{}", colour(&what), facts.trim_end()).trim_end().to_owned();
        }
        // What does not fit goes below the time of the entry.
        let head = format!("{place}{}", colour(&what));
        flow(head, width(&place) + width(&what), &facts(entry), self.indent + self.seq + 2, out_columns)
    }
}

/// What a glance needs beside the move: which try it is, and what went wrong.
fn short_facts(entry: &Entry) -> Vec<String> {
    let event = &entry.event;
    let attempts = event.attempts_set().map(|attempts| format!("try {attempts}"));
    let error = if let Change::Set(error) = event.error_change() { Some(error.as_str()) } else { None };
    let texts = [error, event.reason()].into_iter().flatten().map(|text| clip(&safe(text), TEXT_COLUMNS).into_owned());
    attempts.into_iter().chain(texts).collect()
}

fn name(entry: &Entry) -> String {
    match (&entry.task, &entry.note) {
        (Some(task), _) => safe(task).into_owned(),
        (None, Some(note)) => format!("note {}", safe(note)),
        (None, None) => "(ledger)".to_owned(),
    }
}

/// What happened, in a word or two.
fn what(entry: &Entry) -> String {
    let event = &entry.event;
    let moved = match (entry.from, event.state()) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (None, Some(to)) => format!("→ {to}"),
        _ => String::new(),
    };
    let mut words = match event.kind() {
        EventKind::Transitioned => moved,
        EventKind::Requeued | EventKind::Observed => format!("{moved}  {}", event.kind()),
        kind => kind.name().to_owned(),
    };
    if event.is_inferred() {
        words.push_str("  inferred");
    }
    words
}

/// Everything else that it says, each in the words that the record uses.
fn facts(entry: &Entry) -> Vec<String> {
    let event = &entry.event;
    let mut facts = Vec::new();
    if let Some(actor) = event.actor() {
        facts.push(format!("by {}", safe(actor)));
    }
    if let Some(reason) = event.reason() {
        facts.push(format!("because {}", clip(&safe(reason), TEXT_COLUMNS)));
    }
    match event.error_change() {
        Change::Keep => {}
        Change::Clear => facts.push("no error".to_owned()),
        Change::Set(error) => facts.push(format!("error {}", clip(&safe(error), TEXT_COLUMNS))),
    }
    if let Some(attempts) = event.attempts_set() {
        facts.push(format!("try {attempts}"));
    }
    match event.output_change() {
        Change::Keep => {}
        Change::Clear => facts.push("no output".to_owned()),
        Change::Set(output) => facts.push(format!("output {}", clip(&safe(output.as_str()), TEXT_COLUMNS))),
    }
    if let Some(value) = event.value() {
        facts.push(format!("value {}", clip(&safe(value.as_str()), TEXT_COLUMNS)));
    }
    for (key, value) in event.metadata() {
        facts.push(match value {
            Some(value) => format!("{}={}", safe(key), clip(&safe(value), TEXT_COLUMNS)),
            None => format!("without {}", safe(key)),
        });
    }
    if let Some(key) = event.idempotency_key() {
        facts.push(format!("key {}", safe(key)));
    }
    if let Some(cause) = event.cause_seq() {
        facts.push(format!("cause {cause}"));
    }
    if let Some(said) = entry.said {
        facts.push(format!("said {}", stamp(said)));
    }
    facts
}
