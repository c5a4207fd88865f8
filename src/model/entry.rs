//! `Entry`: an event in its place, and its JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::event::{Change, Event, EventKind};
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::{Realm, Subject};

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its place in the ledger: dense, from 1.
    pub seq: Seq,
    /// The task; `None` for an entry of a note, and for a control entry, which is about the ledger itself.
    pub task: Option<String>,
    /// The key of the note, where it is an entry of a note.
    pub note: Option<String>,
    /// The how-many-th entry of its task or note it is: dense, from 1; `None` for a control entry.
    pub version: Option<u64>,
    /// When it was placed, in milliseconds since the Unix epoch; never less than that of the entry before it.
    pub at: u64,
    /// The stated time or the true clock, where it differs from `at`, in milliseconds since the Unix epoch.
    pub said: Option<u64>,
    /// The state that the task was in before; a note has none.
    pub from: Option<TaskState>,
    /// The fact, with the attempts that the ledger counted.
    pub event: Event,
}

impl Entry {
    /// When it happened as far as anybody said: `said`, or else `at`; milliseconds since the Unix epoch.
    #[must_use]
    pub fn happened_at(&self) -> u64 {
        self.said.unwrap_or(self.at)
    }

    /// What it is about, a task or a note; `None` for a control entry.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        self.about().map(|(realm, key)| realm.subject(key))
    }

    /// What it is about: in which namespace, and under which key; `None` for a control entry.
    pub(crate) fn about(&self) -> Option<(Realm, &str)> {
        let task = self.task.as_deref().map(|id| (Realm::Tasks, id));
        task.or_else(|| self.note.as_deref().map(|key| (Realm::Notes, key)))
    }

    /// Makes it an entry about this.
    pub(crate) fn set_subject(&mut self, subject: Option<Subject>) {
        (self.task, self.note) = match subject {
            None => (None, None),
            Some(Subject::Task(id)) => (Some(id), None),
            Some(Subject::Note(key)) => (None, Some(key)),
        };
    }

    pub(crate) fn kind(&self) -> EventKind {
        self.event.kind
    }
}

/// `taskledger.entry/1`: one object, unset fields left out.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = &self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.entry/1")?;
        map.serialize_entry("seq", &self.seq)?;
        optional(&mut map, "task", self.task.as_ref())?;
        optional(&mut map, "note", self.note.as_ref())?;
        optional(&mut map, "version", self.version.as_ref())?;
        map.serialize_entry("at", &self.at)?;
        optional(&mut map, "said", self.said.as_ref())?;
        map.serialize_entry("event", event.kind.name())?;
        if event.inferred {
            map.serialize_entry("inferred", &true)?;
        }
        optional(&mut map, "from", self.from.as_ref())?;
        optional(&mut map, "to", event.to.as_ref())?;
        optional(&mut map, "attempts", event.attempts.as_ref())?;
        change(&mut map, "output", &event.output)?;
        optional(&mut map, "value", event.value.as_ref())?;
        change(&mut map, "error", &event.error)?;
        if !event.metadata.is_empty() {
            map.serialize_entry("metadata", &event.metadata)?;
        }
        optional(&mut map, "created_at", event.times.created.as_ref())?;
        optional(&mut map, "updated_at", event.times.updated.as_ref())?;
        change(&mut map, "started_at", &event.times.started)?;
        change(&mut map, "finished_at", &event.times.finished)?;
        optional(&mut map, "actor", event.actor.as_ref())?;
        optional(&mut map, "reason", event.reason.as_ref())?;
        optional(&mut map, "cause", event.cause.as_ref())?;
        optional(&mut map, "key", event.key.as_ref())?;
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize>(map: &mut M, name: &str, value: Option<&T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

fn change<M: SerializeMap, T: Serialize>(map: &mut M, name: &str, change: &Change<T>) -> Result<(), M::Error> {
    match change {
        Change::Keep => Ok(()),
        Change::Clear => map.serialize_entry(name, &()),
        Change::Set(value) => map.serialize_entry(name, value),
    }
}
