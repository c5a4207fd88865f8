//! `Tasks`: all tasks, and the notes beside them, as of one seq, and the questions about them.
//!
//! Invariants: `counts` are the live records by state; what is removed keeps its slot, so that versions go on counting; a
//! task's slot never holds a note, nor a note's a record.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::entry::Entry;
use crate::model::fold::{Folded, Unfoldable};
use crate::model::notes::{Note, NoteFilter, NotePage, NoteToken};
use crate::model::record::TaskRecord;
use crate::model::seq::Seq;
use crate::model::slot::{Live, Origin, Slot};
use crate::model::state::TaskState;
use crate::model::subject::{Each, Realm};

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
    states: Vec<TaskState>,
    prefix: String,
    metadata: Vec<(String, String)>,
    updated_since: Option<u64>,
    limit: Option<usize>,
    after: Option<PageToken>,
}

/// Where the next page of a list starts; opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(Arc<str>);

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

/// All tasks and notes as of one seq.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tasks {
    /// The last entry folded in.
    pub head: Seq,
    /// Its time.
    pub at: u64,
    slots: Each<BTreeMap<Arc<str>, Arc<Slot>>>,
    counts: [u64; 9],
    /// How many notes there are.
    noted: u64,
}

impl Tasks {
    pub(crate) fn slot(&self, realm: Realm, key: &str) -> Option<&Arc<Slot>> {
        self.slots.of(realm).get(key)
    }

    pub(crate) fn slot_with_key(&self, realm: Realm, key: &str) -> Option<(&Arc<str>, &Arc<Slot>)> {
        self.slots.of(realm).get_key_value(key)
    }

    /// All slots of tasks or of notes by key, those of what was removed too.
    #[cfg(feature = "dag-executor")]
    pub(crate) fn slots(&self, realm: Realm) -> impl Iterator<Item = (&Arc<str>, &Arc<Slot>)> {
        self.slots.of(realm).iter()
    }

    /// Puts the slot that follows from an entry in its subject's place, and moves the head there.
    pub(crate) fn put(&mut self, realm: Realm, key: &Arc<str>, slot: Arc<Slot>) {
        assert!(slot.seq > self.head, "entries are folded in order: {} after {}", slot.seq, self.head);
        self.head = slot.seq;
        self.at = slot.at;
        let after = Arc::clone(&slot);
        let slots = self.slots.of_mut(realm);
        let before = match slots.get_mut(key) {
            Some(place) => Some(std::mem::replace(place, slot)),
            None => slots.insert(Arc::clone(key), slot),
        };
        for (slot, step) in [(before.as_deref(), -1_i64), (Some(&*after), 1)] {
            let count = match slot.and_then(|slot| slot.live.as_ref()) {
                None => continue,
                Some(Live::Record(record)) => self.counts.get_mut(usize::from(record.state.number())),
                Some(Live::Value(_)) => Some(&mut self.noted),
            };
            let count = count.expect("every state has a count");
            *count = count.checked_add_signed(step).expect("only what was there goes away");
        }
    }

    /// Folds one stored entry.
    ///
    /// # Errors
    /// The entry does not follow what is there.
    pub(crate) fn replay(&mut self, entry: &Entry, origin: &Origin) -> Result<(), Unfoldable> {
        if entry.seq != self.head.next() {
            return Err(Unfoldable("its seq is not the next one"));
        }
        let Some((realm, key)) = entry.about() else {
            self.head = entry.seq;
            self.at = entry.at;
            return Ok(());
        };
        let (key, before) = match self.slot_with_key(realm, key) {
            Some((key, slot)) => (Arc::clone(key), Some(Arc::clone(slot))),
            None => (Arc::from(key), None),
        };
        let slot = Slot::after(before.as_deref(), entry, origin)?;
        self.put(realm, &key, Arc::new(slot));
        Ok(())
    }

    pub(crate) fn note_count(&self) -> u64 {
        self.noted
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { seq: self.head, by_state: self.counts }
    }

    /// Looks at the next so many tasks after an id, and gives where each live one stands to `visit`; the id to go on
    /// after, as long as there is more.
    pub(crate) fn look_over(
        &self,
        after: Option<&str>,
        tasks: usize,
        mut visit: impl FnMut(&Arc<str>, u64, TaskState, u32),
    ) -> Option<Arc<str>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (id, slot) in self.slots.tasks.range::<str, _>((start, Bound::Unbounded)).take(tasks) {
            if let Some(record) = slot.record() {
                visit(id, slot.version, record.state, record.attempts);
            }
            last = Some(id);
        }
        last.cloned()
    }

    /// The live record of a task.
    ///
    /// # Errors
    /// The parser's message and the seq of the task's last entry, where a stored output is no JSON.
    pub(crate) fn get(&self, task: &str) -> Result<Option<Task>, (Seq, String)> {
        self.slot(Realm::Tasks, task).map_or(Ok(None), |slot| slot.task(task))
    }

    /// # Errors
    /// As [`Tasks::get`].
    pub(crate) fn list(&self, filter: &Filter) -> Result<Page, (Seq, String)> {
        let start = match &filter.after {
            Some(PageToken(last)) if **last >= *filter.prefix => Bound::Excluded(&**last),
            _ => Bound::Included(filter.prefix.as_str()),
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut page = Page { tasks: Vec::new(), next: None, seq: self.head };
        let mut last = None;
        for (id, slot) in self.slots.tasks.range::<str, _>((start, Bound::Unbounded)) {
            if !id.starts_with(&filter.prefix) {
                break;
            }
            if !slot.record().is_some_and(|record| filter.matches(record)) {
                continue;
            }
            if page.tasks.len() >= limit {
                page.next = last.map(PageToken);
                break;
            }
            page.tasks.extend(slot.task(id)?);
            last = Some(Arc::clone(id));
        }
        Ok(page)
    }

    /// The note under this key.
    ///
    /// # Errors
    /// The parser's message and the seq of the note's last entry, where a stored value is no JSON.
    pub(crate) fn note(&self, key: &str) -> Result<Option<Note>, (Seq, String)> {
        self.slot(Realm::Notes, key).map_or(Ok(None), |slot| slot.note(key))
    }

    /// # Errors
    /// As [`Tasks::note`].
    pub(crate) fn notes(&self, filter: &NoteFilter) -> Result<NotePage, (Seq, String)> {
        let start = match &filter.after {
            Some(NoteToken(last)) if **last >= *filter.prefix => Bound::Excluded(&**last),
            _ => Bound::Included(filter.prefix.as_str()),
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut page = NotePage { notes: Vec::new(), next: None, seq: self.head };
        let mut last = None;
        for (key, slot) in self.slots.notes.range::<str, _>((start, Bound::Unbounded)) {
            if !key.starts_with(&filter.prefix) {
                break;
            }
            if slot.live.is_none() {
                continue;
            }
            if page.notes.len() >= limit {
                page.next = last.map(NoteToken);
                break;
            }
            page.notes.extend(slot.note(key)?);
            last = Some(Arc::clone(key));
        }
        Ok(page)
    }
}

impl Slot {
    fn task(&self, id: &str) -> Result<Option<Task>, (Seq, String)> {
        let Some(record) = self.record() else { return Ok(None) };
        let record = record.to_record(id).map_err(|message| (self.seq, message))?;
        Ok(Some(Task { record, version: self.version, seq: self.seq }))
    }

    fn note(&self, key: &str) -> Result<Option<Note>, (Seq, String)> {
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

    fn matches(&self, record: &Folded) -> bool {
        (self.states.is_empty() || self.states.contains(&record.state))
            && self.updated_since.is_none_or(|since| record.updated_at >= since)
            && self.metadata.iter().all(|(key, value)| record.metadata.get(key) == Some(value))
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
