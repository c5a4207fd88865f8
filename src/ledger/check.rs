//! Decides whether a batch may be appended and what its entries are: pure, over what is placed. Deciding is apart
//! from placing, so that nothing changes until everything is known to hold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::ledger::batch::{Batch, Item, ReceiptItem};
use crate::model::canon::request_digest;
use crate::model::entry::Entry;
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::limits;
use crate::model::rules::{Decided, OverLimit, Refusal, check_event, check_key_of, decide, decide_note};
use crate::model::seq::Seq;
use crate::model::slot::{Keyed, Origin, Slot};
use crate::model::subject::{Realm, Subject};
use crate::storage::buffer::Buffer;
use crate::storage::codec::columns::{Links, event_bytes_max};
use crate::storage::table::record::{Class, hash_of};

/// A batch whose items are each within their limits.
#[derive(Debug)]
pub(crate) struct Checked {
    pub items: Vec<CheckedItem>,
    /// Most bytes that it takes in the file.
    pub room: u64,
    pub events: u64,
    /// Most bytes that its events take.
    pub bytes_max: usize,
}

#[derive(Debug)]
pub(crate) struct CheckedItem {
    item: Item,
    /// Where its task or note stands in the order of all.
    pub hash: u64,
    digest: Option<u64>,
    bytes_max: usize,
}

/// Gives what is placed of the task or note of an item: its key, as it is shared, and its slot.
pub(crate) type SlotOf<'a> = dyn Fn(&CheckedItem) -> Option<(Arc<str>, Arc<Slot>)> + 'a;

/// An entry that waits for its place only.
#[derive(Debug)]
pub(crate) struct Planned {
    pub hash: u64,
    pub realm: Realm,
    pub key: Arc<str>,
    pub entry: Entry,
    pub links: Links,
    pub slot: Arc<Slot>,
    /// What the slot before it was.
    pub before: Option<Class>,
    pub bytes_max: usize,
}

/// What a batch comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It may be appended.
    Plan(Vec<Planned>),
    /// It was appended before.
    Replay { before: Replay, rests_on: Seq },
    /// It is refused; the refusal rests on the entry at this seq.
    Refuse { error: Error, rests_on: Seq },
}

/// A batch that was appended before.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Seq of its first event.
    pub batch: Seq,
    /// Of the writer that placed it.
    pub epoch: u32,
    /// How many events are asked for.
    pub events: u64,
    /// The first task or note, and key, that are asked for.
    pub subject: Subject,
    pub key: String,
    /// The places of the events that have a key, in the order in which they are asked for.
    pub known: Vec<ReceiptItem>,
    /// Whether the batch had one event only.
    pub alone: bool,
}

impl Replay {
    /// Whether every event that is asked for is known by its key, in the order of the batch.
    pub(crate) fn knows_all(&self) -> bool {
        let in_order = self.known.iter().zip(self.batch.0..).all(|(item, seq)| item.seq.0 == seq);
        in_order && self.known.len() as u64 == self.events
    }
}

/// Where the log stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub placed: Seq,
    pub placed_at: u64,
    pub now: u64,
    pub epoch: u32,
}

impl CheckedItem {
    pub(crate) fn realm(&self) -> Realm {
        self.item.subject.realm()
    }

    pub(crate) fn key(&self) -> &str {
        self.item.subject.key()
    }
}

/// Looks at each item of a batch by itself.
///
/// # Errors
/// [`Error::Limit`].
pub(crate) fn check_batch(batch: Batch, hash_key: &[u8; 16]) -> Result<Checked, Error> {
    let whole = |what, problem| Err(Error::Limit { subject: None, what, problem });
    let events = batch.len();
    if events == 0 {
        return whole("batch", "has no event".to_owned());
    }
    if events > limits::BATCH_EVENTS_MAX {
        return whole("batch", format!("has {events} events, at most {} are allowed", limits::BATCH_EVENTS_MAX));
    }
    let mut items = Vec::with_capacity(batch.items.len());
    let mut bytes_total = 0;
    for item in batch.items {
        let (realm, key) = (item.subject.realm(), item.subject.key());
        let over = |OverLimit { what, problem }| Error::Limit { subject: short(realm, key), what, problem };
        check_key_of(realm, key).map_err(over)?;
        let (mut bytes_max, mut digest) = (0, None);
        if let Some(event) = &item.event {
            check_event(event).map_err(over)?;
            bytes_max = event_bytes_max(key, event);
            if bytes_max > Buffer::EVENT_BYTES_MAX {
                let problem = format!("takes {bytes_max} bytes, at most {} fit a frame", Buffer::EVENT_BYTES_MAX);
                return Err(Error::Limit { subject: Some(item.subject), what: "event", problem });
            }
            digest = event.key.as_ref().map(|_| request_digest(hash_key, &item.subject, event));
            bytes_total += bytes_max;
        }
        let hash = hash_of(hash_key, realm, item.subject.key());
        items.push(CheckedItem { item, hash, digest, bytes_max });
    }
    let mut keys = HashSet::new();
    for CheckedItem { item, .. } in &items {
        if let Some(key) = item.event.as_ref().and_then(|event| event.key.as_deref())
            && !keys.insert((&item.subject, key))
        {
            let problem = format!("{key:?} is used twice in the batch");
            return Err(Error::Limit { subject: Some(item.subject.clone()), what: "key", problem });
        }
    }
    let room = Buffer::room(items.iter().map(|item| item.bytes_max).filter(|&bytes| bytes > 0));
    if room > limits::BATCH_BYTES_MAX as u64 {
        return whole("batch", format!("takes {room} bytes, at most {} are allowed", limits::BATCH_BYTES_MAX));
    }
    Ok(Checked { items, room, events: events as u64, bytes_max: bytes_total })
}

/// An over-long key is named by its beginning, an empty one not at all.
fn short(realm: Realm, key: &str) -> Option<Subject> {
    let end = (0..=key.len().min(80)).rev().find(|&end| key.is_char_boundary(end)).unwrap_or(0);
    key.get(..end).filter(|start| !start.is_empty()).map(|start| realm.subject(start))
}

/// Decides a batch against what is placed. `slot` gives what is placed of a task or note.
pub(crate) fn decide_batch(checked: &Checked, standing: Standing, slot: &SlotOf<'_>) -> Outcome {
    if let Some(outcome) = find_keys(checked, slot) {
        return outcome;
    }
    let mut plan: Vec<Planned> = Vec::with_capacity(checked.items.len());
    // What the items before have made of their tasks and notes.
    let mut changed: HashMap<&Subject, (Arc<str>, Arc<Slot>)> =
        HashMap::with_capacity(checked.items.len().saturating_sub(1));
    let mut placed_at = standing.placed_at;
    let last_event = checked.items.iter().rposition(|item| item.item.event.is_some());
    let batch = standing.placed.next();
    for (n, checked_item) in checked.items.iter().enumerate() {
        let CheckedItem { item, hash, digest, bytes_max } = checked_item;
        let Item { subject, expect, event } = item;
        let realm = subject.realm();
        let before = changed.get(subject).cloned().or_else(|| slot(checked_item));
        let (key, before) = before.map_or((None, None), |(key, slot)| (Some(key), Some(slot)));
        let before = before.as_deref();
        let rests_on = before.map_or(Seq::ZERO, |slot| slot.seq).min(standing.placed);
        let refuse = |error| Outcome::Refuse { error, rests_on };
        if !expect.holds(Slot::found(realm, before)) {
            return refuse(conflict(subject, expect, before));
        }
        let Some(event) = event else { continue };
        let seq = Seq(batch.0 + plan.len() as u64);
        let (at, said) = match place_time(event, standing.now, placed_at) {
            Ok(times) => times,
            Err(stated) => {
                return refuse(Error::Time { subject: subject.clone(), stated, now: standing.now });
            }
        };
        if event.cause.is_some_and(|cause| cause >= seq) {
            return refuse(illegal(subject, event, before, "its cause is not an earlier entry"));
        }
        let decided = match decide_on(realm, before, event) {
            Ok(decided) => decided,
            Err(Refusal::Illegal(reason)) => return refuse(illegal(subject, event, before, reason)),
            Err(Refusal::OverLimit(OverLimit { what, problem })) => {
                return refuse(Error::Limit { subject: Some(subject.clone()), what, problem });
            }
        };
        let mut event = event.clone();
        event.attempts = decided.attempts;
        event.stated = None;
        let entry = Entry {
            seq,
            task: subject.task().map(str::to_owned),
            note: subject.note().map(str::to_owned),
            version: Some(before.map_or(0, |slot| slot.version) + 1),
            at,
            said,
            from: decided.from,
            event,
        };
        let last_of_batch = Some(n) == last_event;
        let origin = Origin {
            batch,
            last: last_of_batch,
            epoch: standing.epoch,
            back: Slot::seq_of(before),
            key_back: Slot::keyed_of(before),
            digest: *digest,
        };
        let after = Slot::after(before, &entry, &origin)
            .unwrap_or_else(|broken| panic!("{subject} was decided and does not fold: {broken:?}"));
        let after = Arc::new(after);
        let key = key.unwrap_or_else(|| Arc::from(subject.key()));
        let links = Links { back: origin.back, key_back: origin.key_back, digest: *digest, last_of_batch };
        if n + 1 < checked.items.len() {
            changed.insert(subject, (Arc::clone(&key), Arc::clone(&after)));
        }
        placed_at = at;
        let before = before.map(|slot| Class::of(realm, slot.live.as_ref()));
        plan.push(Planned { hash: *hash, realm, key, entry, links, slot: after, before, bytes_max: *bytes_max });
    }
    Outcome::Plan(plan)
}

/// Whether an event may follow what is there of a task or note, and what it comes to.
///
/// # Errors
/// Why it may not.
pub(crate) fn decide_on(realm: Realm, before: Option<&Slot>, event: &Event) -> Result<Decided, Refusal> {
    match realm {
        Realm::Tasks => decide(before.and_then(Slot::record), event),
        Realm::Notes => {
            decide_note(before.is_some_and(|slot| slot.live.is_some()), event).map_err(Refusal::Illegal)?;
            Ok(Decided { from: None, attempts: None })
        }
    }
}

/// Looks the keys of a batch up in the windows of their tasks and notes; `None` where none of them is known.
fn find_keys(checked: &Checked, slot: &SlotOf<'_>) -> Option<Outcome> {
    let mut known: Vec<Keyed> = Vec::new();
    let mut places = Vec::new();
    let mut named = None;
    let mut unknown = 0;
    for checked_item in &checked.items {
        let CheckedItem { item, digest, .. } = checked_item;
        let Some((key, digest)) = item.event.as_ref().and_then(|event| event.key.as_deref()).zip(*digest) else {
            continue;
        };
        let before = slot(checked_item);
        let found = before.as_ref().and_then(|(_, slot)| slot.keys.iter().rev().find(|keyed| &*keyed.key == key));
        let refuse = |seq: Seq| Outcome::Refuse {
            error: Error::Key { subject: item.subject.clone(), key: key.to_owned(), seq },
            rests_on: seq,
        };
        match found {
            Some(keyed) if keyed.digest != digest => return Some(refuse(keyed.seq)),
            Some(keyed) if known.first().is_some_and(|first| first.batch != keyed.batch) => {
                return Some(refuse(keyed.seq));
            }
            Some(keyed) => {
                named.get_or_insert((&item.subject, key));
                let Keyed { seq, version, at, .. } = *keyed;
                places.push(ReceiptItem { subject: item.subject.clone(), seq, version, at });
                known.push(keyed.clone());
            }
            None => unknown += 1,
        }
        if unknown > 0
            && let Some(first) = known.first()
        {
            return Some(refuse(first.seq));
        }
    }
    let (first, (subject, key)) = known.first().zip(named)?;
    let rests_on = known.iter().map(|keyed| keyed.seq).max().unwrap_or(first.seq);
    let before = Replay {
        batch: first.batch,
        epoch: first.epoch,
        events: checked.events,
        subject: subject.clone(),
        key: key.to_owned(),
        known: places,
        alone: first.alone,
    };
    Some(Outcome::Replay { before, rests_on })
}

/// The entry's time, and what was said where it differs; or the stated time that lies too far ahead.
fn place_time(event: &Event, now: u64, placed_at: u64) -> Result<(u64, Option<u64>), u64> {
    if let Some(stated) = event.stated.filter(|&stated| stated > now.saturating_add(limits::STATED_AHEAD_MS_MAX)) {
        return Err(stated);
    }
    let true_time = event.stated.unwrap_or(now);
    let at = true_time.max(placed_at).min(limits::TIME_MS_MAX);
    Ok((at, Some(true_time).filter(|&time| time != at)))
}

fn illegal(subject: &Subject, event: &Event, before: Option<&Slot>, reason: &'static str) -> Error {
    Error::Illegal {
        subject: subject.clone(),
        event: event.kind,
        from: before.and_then(Slot::record).map(|record| record.state),
        to: event.to,
        reason,
    }
}

fn conflict(subject: &Subject, expected: &Expect, before: Option<&Slot>) -> Error {
    let found = Slot::found(subject.realm(), before);
    Error::Conflict {
        subject: subject.clone(),
        expected: Box::new(expected.clone()),
        found: found.to_string(),
        version: found.version,
        state: found.record.map(|(state, _)| state),
        seq: before.map_or(Seq::ZERO, |slot| slot.seq),
        actor: before.and_then(|slot| slot.actor.as_deref()).map(str::to_owned),
        at: before.map_or(0, |slot| slot.at),
    }
}
