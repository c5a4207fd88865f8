//! What the ledger has already of what is being imported: which version a line is, and how it compares.
//!
//! A file that is imported again after an interruption comes in the ledger's own order, so a cursor over all entries
//! runs along with it. Where the order differs, the history of the line's task is read once, and dropped when the
//! import has caught up with it. For tasks that are new nothing is read at all.

use std::collections::HashMap;
use std::iter::Peekable;

use serde_json::{Value, json};
use taskledger::{Entries, Entry, History, Ledger, Seq, Subject};

use crate::cli::fail::Failure;
use crate::cli::line::{BadLine, Line};
use crate::cli::time::stamp;

/// What is known of the tasks and notes that were named so far.
pub(crate) struct Known<'a> {
    ledger: &'a Ledger,
    cursor: Peekable<Entries>,
    was_empty: bool,
    subjects: HashMap<Subject, Progress>,
}

/// How far a task or note has come.
#[derive(Default)]
struct Progress {
    /// Lines that named it.
    lines: u64,
    /// Versions that can be read back from the ledger.
    there: u64,
    /// Versions with those that wait to be committed.
    top: u64,
    /// The latest version that a line has been.
    seen: u64,
    history: Option<Vec<Entry>>,
}

/// Where a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is this version, the next of its task or note.
    Next(u64),
    /// This version is in the ledger.
    There(u64),
    /// This version waits to be committed: commit, and ask again.
    Waiting,
    /// It would leave a gap behind this version.
    Gap(u64),
}

/// How a line and the entry in its place differ.
#[derive(Debug)]
pub(crate) struct Difference {
    pub field: String,
    /// There; null for nothing.
    pub expected: Value,
    /// In the line.
    pub found: Value,
}

impl<'a> Known<'a> {
    pub(crate) fn new(ledger: &'a Ledger) -> Known<'a> {
        Known {
            ledger,
            cursor: ledger.entries(ledger.report().oldest).peekable(),
            was_empty: ledger.head() == Seq::ZERO,
            subjects: HashMap::new(),
        }
    }

    /// Finds the place of the next line of its task or note, and takes it.
    pub(crate) fn place(&mut self, line: &Line<'_>) -> Result<Place, Failure> {
        if !self.subjects.contains_key(&line.subject) {
            let there = self.versions(&line.subject)?;
            self.subjects.insert(line.subject.clone(), Progress { there, top: there, ..Progress::default() });
        }
        let progress = self.subjects.get_mut(&line.subject).expect("put there just now");
        let version = line.version.unwrap_or(progress.lines + 1);
        let place = match version {
            _ if version <= progress.there => Place::There(version),
            _ if version <= progress.top => return Ok(Place::Waiting),
            _ if version == progress.top + 1 => Place::Next(version),
            _ => return Ok(Place::Gap(progress.top)),
        };
        progress.lines += 1;
        progress.top = progress.top.max(version);
        progress.seen = progress.seen.max(version);
        Ok(place)
    }

    /// Remembers that nothing waits any more.
    pub(crate) fn committed(&mut self, subject: &Subject) {
        if let Some(progress) = self.subjects.get_mut(subject) {
            progress.there = progress.top;
        }
    }

    /// How many versions a task or note has in the ledger, when it is named for the first time.
    fn versions(&self, subject: &Subject) -> Result<u64, Failure> {
        if self.was_empty {
            return Ok(0);
        }
        let version = match subject {
            Subject::Task(id) => self.ledger.get(id)?.map(|task| task.version),
            Subject::Note(key) => self.ledger.note(key)?.map(|note| note.version),
        };
        if let Some(version) = version {
            return Ok(version);
        }
        // Never there, which costs nothing to find out, or removed.
        match self.history(subject)?.last() {
            Some(last) => Ok(last?.version.unwrap_or(0)),
            None => Ok(0),
        }
    }

    fn history(&self, subject: &Subject) -> Result<History, Failure> {
        Ok(match subject {
            Subject::Task(id) => self.ledger.history(id)?,
            Subject::Note(key) => self.ledger.note_history(key)?,
        })
    }

    /// Compares a line with the entry that is there in its place, in the fields that it gives.
    pub(crate) fn compare(
        &mut self,
        line: &Line<'_>,
        version: u64,
    ) -> Result<Result<Option<Difference>, BadLine>, Failure> {
        if let Some(entry) = self.under_cursor(&line.subject, version)? {
            return Ok(difference(line, &entry));
        }
        let progress = self.subjects.get_mut(&line.subject).expect("the line was placed before");
        let (there, history) = (progress.there, progress.history.take());
        let history = match history {
            Some(history) if history.last().is_some_and(|last| last.version >= Some(version)) => history,
            _ => self.history(&line.subject)?.collect::<Result<_, _>>()?,
        };
        let index = history.partition_point(|entry| entry.version < Some(version));
        let entry = history.get(index).filter(|entry| entry.version == Some(version));
        let entry = entry.ok_or_else(|| {
            if history.first().is_none_or(|first| first.version > Some(version)) {
                return Failure::new("PRUNED", format!("{}: version {version} was there and was pruned", line.subject));
            }
            Failure::new("INTERNAL", format!("{}: version {version} is there and not in its history", line.subject))
        })?;
        let difference = difference(line, entry);
        if version < there
            && let Some(progress) = self.subjects.get_mut(&line.subject)
        {
            progress.history = Some(history);
        }
        Ok(difference)
    }

    /// The entry of this subject and version, if it is the next one that the cursor has not passed.
    fn under_cursor(&mut self, subject: &Subject, version: u64) -> Result<Option<Entry>, Failure> {
        loop {
            let entry = match self.cursor.peek() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Err(error.clone().into()),
                None => return Ok(None),
            };
            let about = entry.subject();
            let is_it = about.as_ref() == Some(subject) && entry.version == Some(version);
            let seen = about.map_or(Some(u64::MAX), |about| self.subjects.get(&about).map(|known| known.seen));
            if !is_it && entry.version > seen {
                return Ok(None);
            }
            let entry = self.cursor.next().transpose()?;
            if is_it {
                return Ok(entry);
            }
        }
    }
}

/// The first field in which a line and an entry differ.
fn difference(line: &Line<'_>, entry: &Entry) -> Result<Option<Difference>, BadLine> {
    if let Some(stated) = line.stated.filter(|&stated| stated != entry.happened_at()) {
        return Ok(Some(Difference {
            field: "at".to_owned(),
            expected: json!(stamp(entry.happened_at())),
            found: json!(stamp(stated)),
        }));
    }
    let there = serde_json::to_value(entry).map_err(|error| BadLine::whole(error.to_string()))?;
    let same = |field: &str, found: &Value| match there.get(field) {
        Some(expected) => expected == found,
        // What an entry leaves out because it is empty may be written out in a line.
        None => match field {
            "inferred" => *found == json!(false),
            "metadata" => *found == json!({}),
            _ => false,
        },
    };
    let differs = line.given()?.into_iter().find(|(field, found)| !same(field, found));
    Ok(differs.map(|(field, found)| {
        let expected = there.get(&field).cloned().unwrap_or(Value::Null);
        Difference { field, expected, found }
    }))
}
