//! What the ledger has already of what is being imported: which version a line is, and how it compares.
//!
//! A file that is imported again after an interruption comes in the ledger's own order, so a cursor over all entries
//! runs along with it. Where the order differs, the history of the line's task is read once, and dropped when the
//! import has caught up with it. For tasks that are new nothing is read at all.

use std::collections::HashMap;
use std::iter::Peekable;

use serde_json::{Value, json};
use taskledger::{Entries, Entry, Ledger, Seq};

use crate::cli::fail::Failure;
use crate::cli::line::{BadLine, Line};
use crate::cli::time::stamp;

/// What is known of the tasks that were named so far.
pub(crate) struct Known<'a> {
    ledger: &'a Ledger,
    cursor: Peekable<Entries>,
    was_empty: bool,
    tasks: HashMap<String, Progress>,
}

/// How far a task has come.
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
    /// It is this version, the next of its task.
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
            cursor: ledger.entries(Seq::FIRST).peekable(),
            was_empty: ledger.head() == Seq::ZERO,
            tasks: HashMap::new(),
        }
    }

    /// Finds the place of the next line of its task, and takes it.
    pub(crate) fn place(&mut self, line: &Line<'_>) -> Result<Place, Failure> {
        if !self.tasks.contains_key(&line.task) {
            let there = self.versions(&line.task)?;
            self.tasks.insert(line.task.clone(), Progress { there, top: there, ..Progress::default() });
        }
        let progress = self.tasks.get_mut(&line.task).expect("put there just now");
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

    /// Makes a note that nothing waits any more.
    pub(crate) fn committed(&mut self, task: &str) {
        if let Some(progress) = self.tasks.get_mut(task) {
            progress.there = progress.top;
        }
    }

    /// How many versions a task has in the ledger, when it is named for the first time.
    fn versions(&self, task: &str) -> Result<u64, Failure> {
        if self.was_empty {
            return Ok(0);
        }
        if let Some(task) = self.ledger.get(task)? {
            return Ok(task.version);
        }
        // Never there, which costs nothing to find out, or removed.
        match self.ledger.history(task)?.last() {
            Some(last) => Ok(last?.version.unwrap_or(0)),
            None => Ok(0),
        }
    }

    /// Compares a line with the entry that is there in its place, in the fields that it gives.
    pub(crate) fn compare(
        &mut self,
        line: &Line<'_>,
        version: u64,
    ) -> Result<Result<Option<Difference>, BadLine>, Failure> {
        if let Some(entry) = self.under_cursor(&line.task, version)? {
            return Ok(difference(line, &entry));
        }
        let progress = self.tasks.get_mut(&line.task).expect("the line was placed before");
        let history = match progress.history.take() {
            Some(history) if history.last().is_some_and(|last| last.version >= Some(version)) => history,
            _ => self.ledger.history(&line.task)?.collect::<Result<_, _>>()?,
        };
        let index = history.partition_point(|entry| entry.version < Some(version));
        let entry = history.get(index).filter(|entry| entry.version == Some(version));
        let entry = entry.ok_or_else(|| {
            Failure::new("INTERNAL", format!("{}: version {version} is there and not in its history", line.task))
        })?;
        let difference = difference(line, entry);
        if version < progress.there {
            progress.history = Some(history);
        }
        Ok(difference)
    }

    /// The entry of this task and version, if it is the next one that the cursor has not passed.
    fn under_cursor(&mut self, task: &str, version: u64) -> Result<Option<Entry>, Failure> {
        loop {
            let entry = match self.cursor.peek() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Err(error.clone().into()),
                None => return Ok(None),
            };
            let is_it = entry.task.as_deref() == Some(task) && entry.version == Some(version);
            let seen =
                entry.task.as_deref().map_or(Some(u64::MAX), |task| self.tasks.get(task).map(|known| known.seen));
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
