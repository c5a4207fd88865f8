//! `Refold`: the fold of the log as `verify` does it, of the tasks and notes within one range of hashes.
//!
//! Nothing but the log is asked, and the floor on which it stands where something was pruned. What is held grows with the tasks
//! and notes in the range, and with the entries of one segment, never with all of them; where it is too much the range is made
//! smaller, and the rest is folded when the log is read again.
//!
//! Invariant: what is held is what the entries so far come to; `touched` are those of them that this segment's are about.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::ledger::check::decide_on;
use crate::model::json::Json;
use crate::model::layer::{Held, Layer};
use crate::model::rules::Refusal;
use crate::model::seq::Seq;
use crate::model::slot::{Live, Slot};
use crate::storage::decoder::LogEntry;
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, hash_of};

/// What a task or note takes beside its texts, in bytes: itself, its place in a tree, and what allocating them adds.
const HELD_BYTES: usize = size_of::<Held>() + size_of::<Slot>() + 96;
/// What a remembered key or one of metadata takes beside its texts, in bytes.
const KEY_BYTES: usize = 96;

/// The fold of a range.
#[derive(Debug)]
pub(crate) struct Refold {
    hash_key: [u8; 16],
    hashes: RangeInclusive<u64>,
    /// About how many bytes may be held.
    memory: u64,
    /// About how many are.
    bytes: u64,
    held: Layer,
    /// The hashes of what this segment's entries are about, in any order, and more than once.
    touched: Vec<u64>,
    /// The last entry before this segment.
    before: Seq,
    head: Seq,
    count: Count,
}

/// How many records and notes there are after some entry; of a range, or of all of them put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// When that entry was placed.
    pub at: u64,
    pub by_state: [u64; 9],
    pub noted: u64,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub code: &'static str,
    pub what: String,
    /// Whether nothing behind it can be folded.
    pub ends: bool,
}

/// More would be held than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Why a fold does not begin behind a floor.
#[derive(Debug)]
pub(crate) enum Footless {
    /// As [`Full`].
    Full,
    /// The floor cannot be read.
    Unfit(Unfit),
}

impl Count {
    /// Adds those of another range.
    pub(crate) fn add(&mut self, other: &Count) {
        self.at = other.at;
        self.noted += other.noted;
        for (count, more) in self.by_state.iter_mut().zip(other.by_state) {
            *count += more;
        }
    }

    fn step(&mut self, class: Class, step: i64) {
        let state = class.state().and_then(|state| self.by_state.get_mut(usize::from(state.number())));
        let count = if class.is_note() { Some(&mut self.noted) } else { state };
        if let Some(count) = count {
            *count = count.checked_add_signed(step).expect("only what was there goes away");
        }
    }
}

impl Refold {
    /// Before everything.
    pub(crate) fn new(hash_key: [u8; 16], hashes: RangeInclusive<u64>, memory: u64) -> Refold {
        Refold {
            hash_key,
            hashes,
            memory,
            bytes: 0,
            held: Layer::default(),
            touched: Vec::new(),
            before: Seq::ZERO,
            head: Seq::ZERO,
            count: Count::default(),
        }
    }

    /// Begins behind a floor, with what it has of the range. For a fold of nothing.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn stand_on(&mut self, floor: &Arc<Table>) -> Result<(), Footless> {
        (self.head, self.count.at) = (floor.header.last, floor.header.at);
        self.before = self.head;
        for record in floor.scan(*self.hashes.start(), Class::ALL) {
            let record = record.map_err(Footless::Unfit)?;
            if record.hash > *self.hashes.end() {
                break;
            }
            let slot = Arc::new(floor.slot_of(&record).map_err(Footless::Unfit)?);
            self.count.step(record.class, 1);
            let held = Held { hash: record.hash, realm: record.class.realm(), key: record.key, slot };
            self.bytes += bytes_of(&held.key, &held.slot);
            self.held.put(held);
            if self.bytes > self.memory && self.hashes.start() < self.hashes.end() {
                return Err(Footless::Full);
            }
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> &Count {
        &self.count
    }

    /// All that the entries so far are about, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Held> {
        let end = *self.hashes.end();
        self.held.from(*self.hashes.start()).take_while(move |held| held.hash <= end)
    }

    /// What the entries of this segment are about, in order.
    pub(crate) fn touched(&mut self) -> impl Iterator<Item = &Held> {
        self.touched.sort_unstable();
        self.touched.dedup();
        let (held, before) = (&self.held, self.before);
        self.touched.iter().flat_map(|hash| held.of(*hash)).filter(move |held| held.slot.seq > before)
    }

    /// The next segment begins.
    pub(crate) fn next_segment(&mut self) {
        self.touched.clear();
        self.before = self.head;
    }

    /// Checks one entry against what is before it, and folds it.
    ///
    /// # Errors
    /// [`Full`] where more would be held than may be, and the range can be made smaller.
    pub(crate) fn entry(&mut self, stored: &LogEntry) -> Result<Option<Problem>, Full> {
        let entry = &stored.entry;
        let time = (entry.at < self.count.at)
            .then(|| ("TIME", format!("its time {} is before that of the entry before it", entry.at)));
        let told =
            |problem: Option<(&'static str, String)>, ends| problem.map(|(code, what)| Problem { code, what, ends });
        if entry.seq != self.head.next() {
            return Ok(told(time.or(Some(("FOLD", "its seq is not the next one".to_owned()))), true));
        }
        (self.head, self.count.at) = (entry.seq, entry.at);
        let Some((realm, key)) = entry.about() else { return Ok(told(time, false)) };
        let hash = hash_of(&self.hash_key, realm, key);
        if !self.hashes.contains(&hash) {
            return Ok(told(time, false));
        }
        let mut held = self.held.get_mut(hash, realm, key);
        let before = held.as_deref().map(|held| &*held.slot);
        let problem = time.or_else(|| problem_of(stored, before));
        let slot = match Slot::after(before, entry, &stored.origin) {
            Ok(slot) => unshared(slot),
            Err(unfoldable) => return Ok(told(problem.or(Some(("FOLD", unfoldable.0.to_owned()))), true)),
        };
        if let Some(before) = before {
            self.count.step(Class::of(realm, before.live.as_ref()), -1);
            self.bytes -= bytes_of(key, before);
        }
        self.count.step(Class::of(realm, slot.live.as_ref()), 1);
        self.bytes += bytes_of(key, &slot);
        match &mut held {
            // Nobody else has it, so that it is changed where it is.
            Some(held) => *Arc::make_mut(&mut held.slot) = slot,
            None => self.held.put(Held { hash, realm, key: Arc::from(key), slot: Arc::new(slot) }),
        }
        self.touched.push(hash);
        if self.bytes > self.memory && self.hashes.start() < self.hashes.end() {
            return Err(Full);
        }
        Ok(told(problem, false))
    }
}

/// About how many bytes of memory this takes.
fn bytes_of(key: &str, slot: &Slot) -> u64 {
    let texts = match &slot.live {
        None => 0,
        Some(Live::Value(value)) => value.as_str().len(),
        Some(Live::Record(record)) => {
            let metadata = record.metadata.iter().map(|(key, value)| KEY_BYTES + key.len() + value.len());
            let output = record.output.as_ref().map_or(0, |output| output.as_str().len());
            output + record.error.as_ref().map_or(0, |error| error.len()) + metadata.sum::<usize>()
        }
    };
    let keys: usize = slot.keys.iter().map(|keyed| KEY_BYTES + keyed.key.len()).sum();
    (HELD_BYTES + key.len() + slot.actor.as_ref().map_or(0, |actor| actor.len()) + texts + keys) as u64
}

/// The same with a text of its own. That of the entry is of the thread that decoded it, and to free another thread's memory is to
/// wait for it: that took half of the time.
fn unshared(mut slot: Slot) -> Slot {
    let text = match &mut slot.live {
        Some(Live::Record(record)) => record.output.as_mut(),
        Some(Live::Value(value)) => Some(value),
        None => None,
    };
    if let Some(text) = text {
        *text = Json::unchecked(text.as_str());
    }
    slot
}

/// What is wrong with an entry beside what keeps it from being folded.
fn problem_of(stored: &LogEntry, before: Option<&Slot>) -> Option<(&'static str, String)> {
    let entry = &stored.entry;
    let back = Slot::seq_of(before);
    let (realm, _) = entry.about()?;
    let whose = realm.word();
    let origin = &stored.origin;
    if origin.back != back {
        let what = format!("it points back to seq {}, and its {whose}'s entry before is seq {back}", origin.back);
        return Some(("LINK", what));
    }
    let key_back = Slot::keyed_of(before);
    if entry.event.key.is_some() && origin.key_back != key_back {
        let what =
            format!("it names seq {} as its {whose}'s keyed entry before, and that is seq {key_back}", origin.key_back);
        return Some(("LINK", what));
    }
    match decide_on(realm, before, &entry.event) {
        Ok(_) => None,
        Err(Refusal::Illegal(reason)) => Some(("ILLEGAL", reason.to_owned())),
        Err(Refusal::OverLimit(over)) => Some(("LIMIT", format!("{} {}", over.what, over.problem))),
    }
}
