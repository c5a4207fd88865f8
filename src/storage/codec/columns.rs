//! The body of a frame with events, as columns.
//!
//! Each column holds one field of the events that have it, so that an absent field costs nothing and equal things
//! lie side by side. Byte layout in docs/format.md. Invariant: `event_bytes_max` is never less than what an event takes.

use std::collections::HashMap;
use std::sync::Arc;

use bincode::{BorrowDecode, Encode};

use crate::model::entry::Entry;
use crate::model::event::{Change, Event, EventKind, Times};
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::codec::bodies;

pub(super) const KIND_MASK: u8 = 0x0f;
pub(super) const INFERRED: u8 = 0x10;
pub(super) const LAST_OF_BATCH: u8 = 0x20;
pub(super) const NEW_KEY: u8 = 0x40;
pub(super) const KEYED: u8 = 0x80;

/// The kind of a removed note: its number alone says that an event is about a note, as that of noted does.
const NOTE_REMOVED: u8 = 11;

/// The half byte of a move that stands for no state.
pub(super) const NO_STATE: u8 = 15;

pub(super) const HAS_ATTEMPTS: u16 = 1;
pub(super) const HAS_OUTPUT: u16 = 1 << 1;
pub(super) const HAS_ERROR: u16 = 1 << 2;
pub(super) const HAS_METADATA: u16 = 1 << 3;
pub(super) const HAS_ACTOR: u16 = 1 << 4;
pub(super) const HAS_SAID: u16 = 1 << 5;
pub(super) const HAS_REASON: u16 = 1 << 6;
pub(super) const CLEARS_OUTPUT: u16 = 1 << 7;
pub(super) const CLEARS_ERROR: u16 = 1 << 8;
pub(super) const HAS_CAUSE: u16 = 1 << 9;
pub(super) const HAS_TIMES: u16 = 1 << 10;
pub(super) const FLAGS_MASK: u16 = (1 << 11) - 1;

pub(super) const TIME_CREATED: u8 = 1;
pub(super) const TIME_UPDATED: u8 = 1 << 1;
pub(super) const TIME_STARTED: u8 = 1 << 2;
pub(super) const TIME_FINISHED: u8 = 1 << 3;
pub(super) const CLEARS_STARTED: u8 = 1 << 4;
pub(super) const CLEARS_FINISHED: u8 = 1 << 5;
pub(super) const TIMES_MASK: u8 = (1 << 6) - 1;

/// All columns of one frame; texts are those of a writer, or lie in the bytes that are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) struct Body<Text> {
    /// Kind in the low four bits; inferred, last of its batch, names a new task or note, keyed.
    pub heads: Vec<u8>,
    /// State before in the high four bits, state after in the low four; 15 for none.
    pub moves: Vec<u8>,
    /// Which optional fields the event has.
    pub flags: Vec<u16>,
    /// The task or note, by its number in this segment.
    pub numbers: Vec<u32>,
    /// The task or note, by its key, where the segment has not named it before; it gets the next number of its kind.
    pub ids: Vec<Text>,
    pub versions: Vec<u64>,
    /// Seq less that of the event before of the same task or note, from version 2 on.
    pub backs: Vec<u64>,
    /// Time less that of the event before, from the frame's second event on.
    pub times: Vec<u64>,
    /// Said time less the event's time.
    pub saids: Vec<i64>,
    pub attempts: Vec<u32>,
    /// JSON: outputs, and what notes say.
    pub outputs: Vec<Text>,
    pub errors: Vec<Text>,
    /// Texts that repeat (actors, reasons, metadata keys and values), each once a frame.
    pub words: Vec<Text>,
    pub actors: Vec<u32>,
    pub reasons: Vec<u32>,
    /// How many metadata keys the event sets or takes away.
    pub metas: Vec<u16>,
    pub meta_keys: Vec<u32>,
    /// Word of the value plus one; 0 takes the key away.
    pub meta_values: Vec<u32>,
    pub rare: Option<Rare<Text>>,
}

/// The columns that most frames do not need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) struct Rare<Text> {
    /// Seq less that of the cause.
    pub causes: Vec<u64>,
    pub keys: Vec<Text>,
    /// Seq less that of the keyed event before of the same task or note; 0 for none.
    pub key_backs: Vec<u64>,
    pub digests: Vec<u64>,
    /// Which of the four times an observed event states or clears.
    pub time_masks: Vec<u8>,
    /// Stated times less the time that the event happened.
    pub time_stamps: Vec<i64>,
    /// Reserved, one area of type, length and value a batch: event in the frame, type, value.
    pub extras: Vec<(u16, u16, Vec<u8>)>,
}

impl Body<Arc<str>> {
    /// Takes the events out and leaves the room.
    fn clear(&mut self) {
        let Body {
            heads,
            moves,
            flags,
            numbers,
            ids,
            versions,
            backs,
            times,
            saids,
            attempts,
            outputs,
            errors,
            words,
            actors,
            reasons,
            metas,
            meta_keys,
            meta_values,
            rare,
        } = self;
        heads.clear();
        moves.clear();
        flags.clear();
        numbers.clear();
        ids.clear();
        versions.clear();
        backs.clear();
        times.clear();
        saids.clear();
        attempts.clear();
        outputs.clear();
        errors.clear();
        words.clear();
        actors.clear();
        reasons.clear();
        metas.clear();
        meta_keys.clear();
        meta_values.clear();
        *rare = None;
    }
}

/// How an event names its task or note. Each of the two has numbers of its own in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// By the key, which gets this segment's next number.
    New(Realm, Arc<str>),
    /// By the number that this segment gave it.
    Known(Realm, u32),
    /// Not at all: a control entry.
    Control,
}

impl Named {
    /// Whether it is a task or a note; `None` for a control entry.
    pub(crate) fn realm(&self) -> Option<Realm> {
        match self {
            Named::New(realm, _) | Named::Known(realm, _) => Some(*realm),
            Named::Control => None,
        }
    }
}

/// The number that stands for an event's kind and what it is about.
fn kind_number(kind: EventKind, named: &Named) -> u8 {
    match (kind, named.realm()) {
        (EventKind::Removed, Some(Realm::Notes)) => NOTE_REMOVED,
        _ => kind.number(),
    }
}

/// The kind of event that a number stands for, and what it is about; `None` for a control entry.
pub(super) fn kind_of(number: u8) -> Option<(EventKind, Option<Realm>)> {
    if number == NOTE_REMOVED {
        return Some((EventKind::Removed, Some(Realm::Notes)));
    }
    let kind = EventKind::from_number(number)?;
    let realm = match kind {
        EventKind::Noted => Some(Realm::Notes),
        kind if kind.is_control() => None,
        _ => Some(Realm::Tasks),
    };
    Some((kind, realm))
}

/// What is stored with an entry, beside the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Links {
    /// The entry before of the same task or note; `Seq(0)` for none.
    pub back: Seq,
    /// The keyed entry before of the same; `Seq(0)` for none.
    pub key_back: Seq,
    /// The digest of the request, for a keyed event.
    pub digest: Option<u64>,
    pub last_of_batch: bool,
}

/// One decoded event; what it is about is still to be filled in from `named`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub entry: Entry,
    pub named: Named,
    pub links: Links,
}

/// Collects events into columns.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    body: Body<Arc<str>>,
    words: HashMap<Arc<str>, u32>,
    last_at: u64,
}

impl Columns {
    pub(crate) fn is_empty(&self) -> bool {
        self.body.heads.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.body.heads.len()
    }

    /// Adds one event.
    pub(crate) fn push(&mut self, entry: &Entry, named: &Named, links: &Links) {
        let event = &entry.event;
        let mut head = kind_number(event.kind, named);
        let set = |head: &mut u8, bit, on| *head |= if on { bit } else { 0 };
        set(&mut head, INFERRED, event.inferred);
        set(&mut head, LAST_OF_BATCH, links.last_of_batch);
        set(&mut head, NEW_KEY, matches!(named, Named::New(..)));
        set(&mut head, KEYED, event.key.is_some());
        let state = |state: Option<TaskState>| state.map_or(NO_STATE, TaskState::number);
        let mut flags = 0;
        let first = self.is_empty();
        let body = &mut self.body;
        body.heads.push(head);
        body.moves.push(state(entry.from) << 4 | state(event.to));
        match named {
            Named::New(_, key) => body.ids.push(Arc::clone(key)),
            Named::Known(_, number) => body.numbers.push(*number),
            Named::Control => {}
        }
        if let Some(version) = entry.version {
            body.versions.push(version);
            if version > 1 {
                body.backs.push(entry.seq.0 - links.back.0);
            }
        }
        if !first {
            body.times.push(entry.at - self.last_at);
        }
        self.last_at = entry.at;
        if let Some(said) = entry.said {
            flags |= HAS_SAID;
            body.saids.push(difference(said, entry.at));
        }
        if let Some(attempts) = event.attempts {
            flags |= HAS_ATTEMPTS;
            body.attempts.push(attempts);
        }
        if event.output == Change::Clear {
            flags |= CLEARS_OUTPUT;
        }
        if let Some(json) = event.output.set().or(event.value.as_ref()) {
            flags |= HAS_OUTPUT;
            body.outputs.push(json.shared());
        }
        match &event.error {
            Change::Keep => {}
            Change::Clear => flags |= CLEARS_ERROR,
            Change::Set(text) => {
                flags |= HAS_ERROR;
                body.errors.push(Arc::from(text.as_str()));
            }
        }
        if let Some(actor) = &event.actor {
            flags |= HAS_ACTOR;
            let word = self.word(actor);
            self.body.actors.push(word);
        }
        if let Some(reason) = &event.reason {
            flags |= HAS_REASON;
            let word = self.word(reason);
            self.body.reasons.push(word);
        }
        if !event.metadata.is_empty() {
            flags |= HAS_METADATA;
            self.body.metas.push(u16::try_from(event.metadata.len()).expect("at most 256 keys an event"));
            for (key, value) in &event.metadata {
                let key = self.word(key);
                self.body.meta_keys.push(key);
                let value = value.as_ref().map_or(0, |value| self.word(value) + 1);
                self.body.meta_values.push(value);
            }
        }
        if let Some(cause) = event.cause {
            flags |= HAS_CAUSE;
            self.rare().causes.push(entry.seq.0 - cause.0);
        }
        if let (Some(key), Some(digest)) = (&event.key, links.digest) {
            let back = if links.key_back == Seq::ZERO { 0 } else { entry.seq.0 - links.key_back.0 };
            let rare = self.rare();
            rare.keys.push(Arc::from(key.as_str()));
            rare.key_backs.push(back);
            rare.digests.push(digest);
        }
        if event.times != Times::default() {
            flags |= HAS_TIMES;
            self.push_times(&event.times, entry.happened_at());
        }
        self.body.flags.push(flags);
    }

    fn push_times(&mut self, times: &Times, happened: u64) {
        let mut mask = 0;
        let rare = self.rare();
        let stated = [
            (TIME_CREATED, 0, Change::from_stated(times.created)),
            (TIME_UPDATED, 0, Change::from_stated(times.updated)),
            (TIME_STARTED, CLEARS_STARTED, times.started),
            (TIME_FINISHED, CLEARS_FINISHED, times.finished),
        ];
        for (set, clear, change) in stated {
            match change {
                Change::Keep => {}
                Change::Clear => mask |= clear,
                Change::Set(time) => {
                    mask |= set;
                    rare.time_stamps.push(difference(time, happened));
                }
            }
        }
        rare.time_masks.push(mask);
    }

    fn rare(&mut self) -> &mut Rare<Arc<str>> {
        self.body.rare.get_or_insert_default()
    }

    /// The number of a text among the frame's words.
    fn word(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.words.get(text) {
            return number;
        }
        let number = u32::try_from(self.body.words.len()).expect("a frame has fewer than 2^32 words");
        let text = Arc::from(text);
        self.body.words.push(Arc::clone(&text));
        self.words.insert(text, number);
        number
    }

    /// Adds the bytes of the body to others; the columns are empty afterwards, and keep their room.
    pub(crate) fn finish(&mut self, bytes: &mut Vec<u8>) {
        bodies::encode_to(&self.body, bytes);
        self.body.clear();
        self.words.clear();
        self.last_at = 0;
    }
}

/// Most bytes that the columns of a body take beside the events: the lengths of the columns themselves.
pub(crate) const COLUMNS_BYTES_MAX: usize = 27 * 5;

/// Most bytes that an event adds to a body. Every integer is taken at its longest.
pub(crate) fn event_bytes_max(key: &str, event: &Event) -> usize {
    const INT: usize = 9;
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 2 * INT);
    let metadata =
        |(key, value): (&String, &Option<String>)| key.len() + 4 * INT + value.as_ref().map_or(0, String::len);
    // Head, move, flags; number or id; version, back, time, said; attempts.
    let fixed = 1 + 1 + 3 + INT + 4 * INT + INT;
    fixed
        + key.len()
        + event.output.set().or(event.value.as_ref()).map_or(0, |json| json.as_str().len() + INT)
        + event.error.set().map_or(0, |text| text.len() + INT)
        + text(&event.actor)
        + text(&event.reason)
        + event.metadata.iter().map(metadata).sum::<usize>()
        + event.cause.map_or(0, |_| INT)
        + event.key.as_ref().map_or(0, |key| key.len() + 3 * INT)
        + if event.times == Times::default() { 0 } else { 1 + 4 * INT }
}

/// A difference of two times; it wraps, so that every pair of times has one.
fn difference(time: u64, from: u64) -> i64 {
    time.wrapping_sub(from).cast_signed()
}

impl Change<u64> {
    fn from_stated(time: Option<u64>) -> Change<u64> {
        time.map_or(Change::Keep, Change::Set)
    }
}
