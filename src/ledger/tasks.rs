//! `Tasks`: all tasks, and the notes beside them, as of one seq, and the questions about them.
//!
//! What sealed segments come to is in parts: tables on disk, or layers in memory where there is no table yet. What the
//! active segment has changed lies over them. One code path for the present and the past.
//!
//! Invariants: the newest part that knows a task or note is right about it; `counts` are the live records by state; what is
//! removed stays known, so that versions go on counting. A copy costs little and does not change with the other.

use std::sync::Arc;

use crate::ledger::parts::{End, Look, Part, find_in};
use crate::model::entry::Entry;
use crate::model::fold::Unfoldable;
use crate::model::layer::{Held, Layer};
use crate::model::notes::{Note, NoteFilter, NotePage, NoteToken};
use crate::model::seq::Seq;
use crate::model::slot::{Origin, Slot};
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::model::tasks::{Counts, Filter, Page, PageToken, Task};
use crate::storage::table::merge::{Known, Merge, Source};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, Classes, hash_of};

/// All tasks and notes as of one seq.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    hash_key: [u8; 16],
    /// The last entry folded in.
    pub head: Seq,
    /// Its time.
    pub at: u64,
    counts: [u64; 9],
    /// How many notes there are.
    noted: u64,
    /// What sealed segments come to, the newest first.
    parts: Arc<Vec<Part>>,
    /// What was changed since.
    recent: Layer,
}

/// Why something cannot be told.
#[derive(Debug, Clone)]
pub(crate) enum Untold {
    /// The stored output or value of the entry at this seq is no JSON; the parser's message.
    Json(Seq, String),
    /// A table cannot be read: the log knows it, too.
    Unfit(Unfit),
}

/// Why an entry cannot be folded.
#[derive(Debug, Clone)]
pub(crate) enum Unfolded {
    /// It does not follow what is there.
    Entry(Unfoldable),
    /// What is there cannot be read.
    Unfit(Unfit),
}

impl From<Unfit> for Untold {
    fn from(unfit: Unfit) -> Untold {
        Untold::Unfit(unfit)
    }
}

impl From<Unfit> for Unfolded {
    fn from(unfit: Unfit) -> Unfolded {
        Unfolded::Unfit(unfit)
    }
}

impl Tasks {
    /// Before everything.
    pub(crate) fn new(hash_key: [u8; 16]) -> Tasks {
        Tasks {
            hash_key,
            head: Seq::ZERO,
            at: 0,
            counts: [0; 9],
            noted: 0,
            parts: Arc::default(),
            recent: Layer::default(),
        }
    }

    pub(crate) fn parts(&self) -> &Arc<Vec<Part>> {
        &self.parts
    }

    /// How many parts have no table.
    pub(crate) fn layers(&self) -> usize {
        self.parts.iter().filter(|part| part.is_layer()).count()
    }

    pub(crate) fn hash_of(&self, realm: Realm, key: &str) -> u64 {
        hash_of(&self.hash_key, realm, key)
    }

    /// What is known of a task or note, also of one that was removed.
    ///
    /// # Errors
    /// A table cannot be read.
    pub(crate) fn find(&self, hash: u64, realm: Realm, key: &str) -> Result<Option<Held>, Unfit> {
        if let Some(held) = self.recent.get(hash, realm, key) {
            return Ok(Some(held.clone()));
        }
        find_in(&self.parts, Look::default(), hash, realm, key)
    }

    /// What was changed of it since the last part.
    pub(crate) fn recent(&self, hash: u64, realm: Realm, key: &str) -> Option<&Held> {
        self.recent.get(hash, realm, key)
    }

    /// As [`Tasks::find`], without a hash at hand.
    ///
    /// # Errors
    /// A table cannot be read.
    pub(crate) fn slot(&self, realm: Realm, key: &str) -> Result<Option<Arc<Slot>>, Unfit> {
        Ok(self.find(self.hash_of(realm, key), realm, key)?.map(|held| held.slot))
    }

    /// Puts the slot that follows from an entry in its subject's place, which was of this class, and moves the head there.
    pub(crate) fn put(&mut self, held: Held, before: Option<Class>) {
        let slot = &held.slot;
        assert!(slot.seq > self.head, "entries are folded in order: {} after {}", slot.seq, self.head);
        self.head = slot.seq;
        self.at = slot.at;
        let after = Class::of(held.realm, slot.live.as_ref());
        for (class, step) in [(before, -1_i64), (Some(after), 1)] {
            let count = match class {
                Some(class) if class.is_note() => &mut self.noted,
                Some(class) => match class.state().and_then(|state| self.counts.get_mut(usize::from(state.number()))) {
                    Some(count) => count,
                    None => continue,
                },
                None => continue,
            };
            *count = count.checked_add_signed(step).expect("only what was there goes away");
        }
        self.recent.put(held);
    }

    /// Moves the head over entries that are about neither a task nor a note.
    pub(crate) fn reach(&mut self, head: Seq, at: u64) {
        if head > self.head {
            (self.head, self.at) = (head, at);
        }
    }

    /// The hash by which [`Tasks::replay`] looks into the parts for what an entry is about; `None` where it does not.
    pub(crate) fn look_for(&self, entry: &Entry) -> Option<u64> {
        let (realm, key) = entry.about()?;
        let hash = self.hash_of(realm, key);
        (entry.version != Some(1) && self.recent(hash, realm, key).is_none()).then_some(hash)
    }

    /// Folds one stored entry. What it is about is looked for from `start` on, unless it was changed since the last part.
    ///
    /// # Errors
    /// The entry does not follow what is there, or that cannot be read.
    pub(crate) fn replay(&mut self, entry: &Entry, origin: &Origin, start: Look) -> Result<(), Unfolded> {
        if entry.seq != self.head.next() {
            return Err(Unfolded::Entry(Unfoldable("its seq is not the next one")));
        }
        let Some((realm, key)) = entry.about() else {
            self.reach(entry.seq, entry.at);
            return Ok(());
        };
        let hash = self.hash_of(realm, key);
        // One that says it is the first needs no look at the tables, which cost more the more of them do not have it.
        let before = match (self.recent(hash, realm, key), entry.version) {
            (Some(held), _) => Some(held.clone()),
            (None, Some(1)) => None,
            (None, _) => find_in(&self.parts, start, hash, realm, key)?,
        };
        let slot = Slot::after(before.as_ref().map(|held| &*held.slot), entry, origin).map_err(Unfolded::Entry)?;
        let class = before.as_ref().map(|held| Class::of(realm, held.slot.live.as_ref()));
        let key = before.map_or_else(|| Arc::from(key), |held| held.key);
        self.put(Held { hash, realm, key, slot: Arc::new(slot) }, class);
        Ok(())
    }

    /// The segment with this number is sealed: what was changed in it becomes a part of its own, and the next one begins.
    pub(crate) fn seal(&mut self, number: u64) {
        let layer = Arc::new(std::mem::take(&mut self.recent));
        let end = End { number, last: self.head, at: self.at, counts: self.counts, noted: self.noted };
        Arc::make_mut(&mut self.parts).insert(0, Part::Layer { end, layer });
    }

    /// Goes on behind a table that covers what comes next. Nothing may have been changed since the last part.
    pub(crate) fn pass(&mut self, table: Arc<Table>) {
        assert!(self.recent.is_empty(), "what was changed is a part by now");
        let header = table.header;
        (self.head, self.at, self.counts, self.noted) = (header.last, header.at, header.counts, header.noted);
        let parts = Arc::make_mut(&mut self.parts);
        match header.kind {
            TableKind::Index => parts.insert(0, Part::Table(table)),
            TableKind::Snapshot => *parts = vec![Part::Table(table)],
        }
    }

    /// Puts a table in the place of the parts that it covers.
    pub(crate) fn replace(&mut self, table: Arc<Table>) {
        let TableHeader { kind, number, .. } = table.header;
        let covers = |part: &Part| match kind {
            TableKind::Index => part.end().number == number,
            TableKind::Snapshot => part.end().number <= number,
        };
        let parts = Arc::make_mut(&mut self.parts);
        let at = parts.iter().position(covers).expect("a table is made of what is there");
        parts.retain(|part| !covers(part));
        parts.insert(at, Part::Table(table));
    }

    /// Puts other parts in the place of those that end no later than a segment.
    pub(crate) fn mend(&mut self, number: u64, parts: &[Part]) {
        let newer = self.parts.iter().take_while(|part| part.end().number > number);
        self.parts = Arc::new(newer.chain(parts).cloned().collect());
    }

    pub(crate) fn note_count(&self) -> u64 {
        self.noted
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { seq: self.head, by_state: self.counts }
    }

    /// What is known of some classes, in order, from a place on, which is left out itself.
    pub(crate) fn walk<'a>(
        &'a self,
        after: Option<(u64, Realm, &'a str)>,
        classes: Classes,
    ) -> impl Iterator<Item = Result<Known, Unfit>> {
        self.merge(self.parts.iter(), after, classes)
    }

    /// As [`Tasks::walk`], of all tasks, also removed ones, but without the parts that end no later than a seq. What had
    /// entries since is among them, and more.
    pub(crate) fn touched_since<'a>(
        &'a self,
        since: Seq,
        after: Option<(u64, Realm, &'a str)>,
    ) -> impl Iterator<Item = Result<Known, Unfit>> {
        self.merge(self.parts.iter().take_while(move |part| part.end().last > since), after, Class::TASKS)
    }

    fn merge<'a>(
        &'a self,
        parts: impl Iterator<Item = &'a Part>,
        after: Option<(u64, Realm, &'a str)>,
        classes: Classes,
    ) -> impl Iterator<Item = Result<Known, Unfit>> {
        let recent = std::iter::once(Source::Layer(&self.recent));
        let sources = recent.chain(parts.map(Part::source)).collect();
        let from = after.map_or(0, |(hash, ..)| hash);
        let is_before = move |known: &Known| after.is_some_and(|after| known.place() <= after);
        Merge::new(sources, from, classes).skip_while(move |known| known.as_ref().is_ok_and(is_before))
    }

    /// The live record of a task.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn get(&self, task: &str) -> Result<Option<Task>, Untold> {
        self.slot(Realm::Tasks, task)?.map_or(Ok(None), |slot| slot.task(task).map_err(json))
    }

    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn list(&self, filter: &Filter) -> Result<Page, Untold> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut page = Page { tasks: Vec::new(), next: None, seq: self.head };
        let after = filter.after.as_ref().map(|token| (token.hash, Realm::Tasks, &*token.key));
        let mut last = None;
        for known in self.walk(after, classes_of(&filter.states)) {
            let known = known?;
            if !known.key().starts_with(&filter.prefix) {
                continue;
            }
            let slot = known.slot()?;
            if !slot.record().is_some_and(|record| filter.matches(record)) {
                continue;
            }
            if page.tasks.len() >= limit {
                page.next = last;
                break;
            }
            page.tasks.extend(slot.task(known.key()).map_err(json)?);
            last = Some(PageToken { hash: known.place().0, key: Arc::clone(known.key()) });
        }
        Ok(page)
    }

    /// The note under this key.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn note(&self, key: &str) -> Result<Option<Note>, Untold> {
        self.slot(Realm::Notes, key)?.map_or(Ok(None), |slot| slot.note(key).map_err(json))
    }

    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn notes(&self, filter: &NoteFilter) -> Result<NotePage, Untold> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut page = NotePage { notes: Vec::new(), next: None, seq: self.head };
        let after = filter.after.as_ref().map(|token| (token.hash, Realm::Notes, &*token.key));
        let mut last = None;
        for known in self.walk(after, Class::NOTE.bit()) {
            let known = known?;
            if !known.key().starts_with(&filter.prefix) {
                continue;
            }
            if page.notes.len() >= limit {
                page.next = last;
                break;
            }
            let slot = known.slot()?;
            page.notes.extend(slot.note(known.key()).map_err(json)?);
            last = Some(NoteToken { hash: known.place().0, key: Arc::clone(known.key()) });
        }
        Ok(page)
    }
}

fn json((seq, message): (Seq, String)) -> Untold {
    Untold::Json(seq, message)
}

/// The classes of tasks in these states; of all live ones where none is named.
fn classes_of(states: &[TaskState]) -> Classes {
    let named = states.iter().fold(0, |classes, state| classes | Class::of_state(*state).bit());
    if named == 0 { Class::LIVE_TASKS } else { named }
}
