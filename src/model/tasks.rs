//! A task as it is shown, which tasks to ask for, and how many there are: the words of questions and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::fold::Folded;
use crate::model::notes::Note;
use crate::model::record::TaskRecord;
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::state::TaskState;

/// A task as of some seq: its record and its last place.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Task {
    /// The folded record.
    pub record: TaskRecord,
    /// How many entries the task has had.
    pub version: u64,
    /// The place of its last entry.
    pub seq: Seq,
}

/// How many live records are in each state, as of one seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub(crate) seq: Seq,
    pub(crate) by_state: [u64; 9],
}

/// Which tasks to list, and how many at a time.
///
/// ```
/// use taskledger::{Filter, TaskState};
/// let filter = Filter::new().state(TaskState::Failed).prefix("nightly/").limit(50);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub(crate) states: Vec<TaskState>,
    pub(crate) prefix: String,
    metadata: Vec<(String, String)>,
    updated_since: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<PageToken>,
}

/// Where the next page of a list starts; opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// Of the task that ended the page before.
    pub(crate) hash: u64,
    pub(crate) key: Arc<str>,
}

/// One page of a list.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// The tasks, in the ledger's own stable order.
    pub tasks: Vec<Task>,
    /// For [`Filter::after`], where there may be more.
    pub next: Option<PageToken>,
    /// As of which seq this page is true.
    pub seq: Seq,
}

impl Slot {
    pub(crate) fn task(&self, id: &str) -> Result<Option<Task>, (Seq, String)> {
        let Some(record) = self.record() else { return Ok(None) };
        let record = record.to_record(id).map_err(|message| (self.seq, message))?;
        Ok(Some(Task { record, version: self.version, seq: self.seq }))
    }

    pub(crate) fn note(&self, key: &str) -> Result<Option<Note>, (Seq, String)> {
        let Some(value) = self.value() else { return Ok(None) };
        let value = value.parse().map_err(|message| (self.seq, message))?;
        Ok(Some(Note { key: key.to_owned(), value, version: self.version, seq: self.seq, at: self.at }))
    }
}

impl Filter {
    /// Every task, in one page.
    #[must_use]
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Only tasks in this state; named again, in any of them.
    #[must_use]
    pub fn state(mut self, state: TaskState) -> Filter {
        self.states.push(state);
        self
    }

    /// Only tasks whose id begins so.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Filter {
        self.prefix = prefix.into();
        self
    }

    /// Only tasks that have this metadata.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Filter {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Only tasks that changed at or after this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn updated_since(mut self, millis: u64) -> Filter {
        self.updated_since = Some(millis);
        self
    }

    /// At most so many tasks a page.
    #[must_use]
    pub fn limit(mut self, tasks: usize) -> Filter {
        self.limit = Some(tasks);
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, token: PageToken) -> Filter {
        self.after = Some(token);
        self
    }

    pub(crate) fn matches(&self, record: &Folded) -> bool {
        (self.states.is_empty() || self.states.contains(&record.state))
            && self.updated_since.is_none_or(|since| record.updated_at >= since)
            && self.metadata.iter().all(|(key, value)| record.meta(key) == Some(value))
    }
}

impl Counts {
    /// As of which seq they are true.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// How many records are in this state.
    #[must_use]
    pub fn of(&self, state: TaskState) -> u64 {
        self.by_state.get(usize::from(state.number())).copied().unwrap_or(0)
    }

    /// How many records there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_state.iter().sum()
    }
}

/// `taskledger.counts/1`.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.counts/1")?;
        for state in TaskState::ALL {
            map.serialize_entry(state.name(), &self.of(state))?;
        }
        map.serialize_entry("total", &self.total())?;
        map.serialize_entry("seq", &self.seq)?;
        map.end()
    }
}

/// `taskledger.task/1`: the record's fields (unset ones left out, metadata by key), version and seq.
impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = &self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.task/1")?;
        map.serialize_entry("id", &record.id)?;
        map.serialize_entry("state", &record.state)?;
        map.serialize_entry("attempts", &record.attempts)?;
        map.serialize_entry("created_at", &record.created_at)?;
        map.serialize_entry("updated_at", &record.updated_at)?;
        if let Some(started) = record.started_at {
            map.serialize_entry("started_at", &started)?;
        }
        if let Some(finished) = record.finished_at {
            map.serialize_entry("finished_at", &finished)?;
        }
        if let Some(output) = &record.output {
            map.serialize_entry("output", output)?;
        }
        if let Some(error) = &record.error {
            map.serialize_entry("error", error)?;
        }
        map.serialize_entry("metadata", &record.metadata.iter().collect::<BTreeMap<_, _>>())?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("seq", &self.seq)?;
        map.end()
    }
}
