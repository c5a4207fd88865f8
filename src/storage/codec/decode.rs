//! From the columns of a body back to its events. Every byte is input: nothing is believed.
//!
//! Invariants: every element of every column is used exactly once, and every text is within the limits that a writer
//! keeps; else the body is refused.

use crate::model::entry::Entry;
use crate::model::event::{Change, Event, EventKind, Times};
use crate::model::json::Json;
use crate::model::limits;
use crate::model::rules::{check_event, check_key_of, check_note_fields};
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::codec::bodies;
use crate::storage::codec::columns::{
    Body, CLEARS_ERROR, CLEARS_FINISHED, CLEARS_OUTPUT, CLEARS_STARTED, FLAGS_MASK, HAS_ACTOR, HAS_ATTEMPTS, HAS_CAUSE,
    HAS_ERROR, HAS_METADATA, HAS_OUTPUT, HAS_REASON, HAS_SAID, HAS_TIMES, INFERRED, KEYED, KIND_MASK, LAST_OF_BATCH,
    Links, NEW_KEY, NO_STATE, Named, Stored, TIME_CREATED, TIME_FINISHED, TIME_STARTED, TIME_UPDATED, TIMES_MASK,
    kind_of,
};

/// Why a body with a valid checksum cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// It is not what a writer writes; what is wrong.
    Malformed(String),
    /// It has an event of a later version.
    UnknownEvent(u8),
}

/// Decodes the events of a frame whose first has this seq and time.
///
/// # Errors
/// The bytes are not what a writer writes, or are of a later version.
pub(crate) fn decode(bytes: &[u8], first: Seq, at: u64, count: u16) -> Result<Vec<Stored>, BadBody> {
    let body: Body = bodies::decode(bytes).map_err(BadBody::Malformed)?;
    if body.heads.len() != usize::from(count) {
        return Err(malformed("it does not hold the number of events that its header states"));
    }
    check_expansion(&body)?;
    let mut events = Vec::with_capacity(body.heads.len());
    let mut cursor = Cursor::new(body);
    let mut at = at;
    for n in 0..u64::from(count) {
        let seq = first.0.checked_add(n).ok_or_else(|| malformed("its seqs overflow"))?;
        if n > 0 {
            at = at.checked_add(take(&mut cursor.times, "times")?).ok_or_else(|| malformed("its times overflow"))?;
        }
        if at > limits::TIME_MS_MAX {
            return Err(malformed("its times overflow"));
        }
        events.push(cursor.event(Seq(seq), at)?);
    }
    cursor.finish()?;
    Ok(events)
}

/// Refuses a body that names so few words so often that its texts would fill the memory.
fn check_expansion(body: &Body) -> Result<(), BadBody> {
    let word = |number: u32| body.words.get(number as usize).map_or(0, String::len);
    let references = body.actors.iter().chain(&body.reasons).chain(&body.meta_keys).copied();
    let values = body.meta_values.iter().filter_map(|value| value.checked_sub(1));
    let total: usize = references.chain(values).map(word).sum();
    if total > limits::FRAME_TEXT_BYTES_MAX {
        return Err(malformed("its texts are larger than a frame may say"));
    }
    Ok(())
}

fn malformed(what: &str) -> BadBody {
    BadBody::Malformed(what.to_owned())
}

fn take<T>(column: &mut std::vec::IntoIter<T>, name: &str) -> Result<T, BadBody> {
    column.next().ok_or_else(|| BadBody::Malformed(format!("the column of {name} is too short")))
}

/// `later - earlier` for a seq, where the difference is what is stored.
fn seq_before(seq: Seq, difference: u64) -> Result<Seq, BadBody> {
    seq.0
        .checked_sub(difference)
        .filter(|&earlier| earlier > 0 && difference > 0)
        .map(Seq)
        .ok_or_else(|| malformed("it points back before the first seq"))
}

fn undo_difference(difference: i64, from: u64) -> u64 {
    from.wrapping_add(difference.cast_unsigned())
}

/// Walks all columns at once.
struct Cursor {
    heads: std::vec::IntoIter<u8>,
    moves: std::vec::IntoIter<u8>,
    flags: std::vec::IntoIter<u16>,
    numbers: std::vec::IntoIter<u32>,
    ids: std::vec::IntoIter<String>,
    versions: std::vec::IntoIter<u64>,
    backs: std::vec::IntoIter<u64>,
    times: std::vec::IntoIter<u64>,
    saids: std::vec::IntoIter<i64>,
    attempts: std::vec::IntoIter<u32>,
    outputs: std::vec::IntoIter<String>,
    errors: std::vec::IntoIter<String>,
    words: Vec<String>,
    actors: std::vec::IntoIter<u32>,
    reasons: std::vec::IntoIter<u32>,
    metas: std::vec::IntoIter<u16>,
    meta_keys: std::vec::IntoIter<u32>,
    meta_values: std::vec::IntoIter<u32>,
    causes: std::vec::IntoIter<u64>,
    keys: std::vec::IntoIter<String>,
    key_backs: std::vec::IntoIter<u64>,
    digests: std::vec::IntoIter<u64>,
    time_masks: std::vec::IntoIter<u8>,
    time_stamps: std::vec::IntoIter<i64>,
}

impl Cursor {
    fn new(body: Body) -> Cursor {
        let rare = body.rare.unwrap_or_default();
        Cursor {
            heads: body.heads.into_iter(),
            moves: body.moves.into_iter(),
            flags: body.flags.into_iter(),
            numbers: body.numbers.into_iter(),
            ids: body.ids.into_iter(),
            versions: body.versions.into_iter(),
            backs: body.backs.into_iter(),
            times: body.times.into_iter(),
            saids: body.saids.into_iter(),
            attempts: body.attempts.into_iter(),
            outputs: body.outputs.into_iter(),
            errors: body.errors.into_iter(),
            words: body.words,
            actors: body.actors.into_iter(),
            reasons: body.reasons.into_iter(),
            metas: body.metas.into_iter(),
            meta_keys: body.meta_keys.into_iter(),
            meta_values: body.meta_values.into_iter(),
            causes: rare.causes.into_iter(),
            keys: rare.keys.into_iter(),
            key_backs: rare.key_backs.into_iter(),
            digests: rare.digests.into_iter(),
            time_masks: rare.time_masks.into_iter(),
            time_stamps: rare.time_stamps.into_iter(),
        }
    }

    fn word(&self, number: u32) -> Result<String, BadBody> {
        self.words.get(number as usize).cloned().ok_or_else(|| malformed("it names a word that it does not have"))
    }

    fn event(&mut self, seq: Seq, at: u64) -> Result<Stored, BadBody> {
        let head = take(&mut self.heads, "heads")?;
        let (kind, realm) = kind_of(head & KIND_MASK).ok_or(BadBody::UnknownEvent(head & KIND_MASK))?;
        let flags = take(&mut self.flags, "flags")?;
        if flags & !FLAGS_MASK != 0 {
            return Err(malformed("an event has flags that are not known"));
        }
        let has = |flag| flags & flag != 0;
        let moved = take(&mut self.moves, "moves")?;
        let mut event = Event::new(kind, state_of(moved & 0x0f)?);
        let from = state_of(moved >> 4)?;
        let named = match realm {
            None => Named::Control,
            Some(realm) if head & NEW_KEY != 0 => {
                let key = take(&mut self.ids, "ids")?;
                check_key_of(realm, &key)
                    .map_err(|over| BadBody::Malformed(format!("{} {}", over.what, over.problem)))?;
                Named::New(realm, key.into())
            }
            Some(realm) => Named::Known(realm, take(&mut self.numbers, "numbers")?),
        };
        let version = realm.map(|_| take(&mut self.versions, "versions")).transpose()?;
        let back = match version {
            Some(0) => return Err(malformed("a version is 0")),
            Some(1) | None => Seq::ZERO,
            Some(_) => seq_before(seq, take(&mut self.backs, "backs")?)?,
        };
        let said = if has(HAS_SAID) { Some(undo_difference(take(&mut self.saids, "saids")?, at)) } else { None };
        event.inferred = head & INFERRED != 0;
        event.attempts = if has(HAS_ATTEMPTS) { Some(take(&mut self.attempts, "attempts")?) } else { None };
        let json = if has(HAS_OUTPUT) { Some(Json::unchecked(&take(&mut self.outputs, "outputs")?)) } else { None };
        match json {
            Some(json) if kind == EventKind::Noted => event.value = Some(json),
            Some(json) => event.output = Change::Set(json),
            None if has(CLEARS_OUTPUT) => event.output = Change::Clear,
            None => {}
        }
        event.error = match (has(HAS_ERROR), has(CLEARS_ERROR)) {
            (true, _) => Change::Set(take(&mut self.errors, "errors")?),
            (false, true) => Change::Clear,
            (false, false) => Change::Keep,
        };
        if has(HAS_ACTOR) {
            let word = take(&mut self.actors, "actors")?;
            event.actor = Some(self.word(word)?);
        }
        if has(HAS_REASON) {
            let word = take(&mut self.reasons, "reasons")?;
            event.reason = Some(self.word(word)?);
        }
        if has(HAS_METADATA) {
            for _ in 0..take(&mut self.metas, "metadata")? {
                let key = take(&mut self.meta_keys, "metadata keys")?;
                let value = take(&mut self.meta_values, "metadata values")?;
                let value = value.checked_sub(1).map(|word| self.word(word)).transpose()?;
                event.metadata.insert(self.word(key)?, value);
            }
        }
        if has(HAS_CAUSE) {
            event.cause = Some(seq_before(seq, take(&mut self.causes, "causes")?)?);
        }
        let (mut key_back, mut digest) = (Seq::ZERO, None);
        if head & KEYED != 0 {
            event.key = Some(take(&mut self.keys, "keys")?);
            digest = Some(take(&mut self.digests, "digests")?);
            key_back = match take(&mut self.key_backs, "key back differences")? {
                0 => Seq::ZERO,
                difference => seq_before(seq, difference)?,
            };
        }
        if has(HAS_TIMES) {
            event.times = self.times_of(said.unwrap_or(at))?;
        }
        check_event(&event).map_err(|over| BadBody::Malformed(format!("{} {}", over.what, over.problem)))?;
        if realm == Some(Realm::Notes) {
            check_note_fields(&event).map_err(malformed)?;
        }
        if kind == EventKind::Noted && event.value.is_none() {
            return Err(malformed("a note is noted without a value"));
        }
        let links = Links { back, key_back, digest, last_of_batch: head & LAST_OF_BATCH != 0 };
        Ok(Stored { entry: Entry { seq, task: None, note: None, version, at, said, from, event }, named, links })
    }

    fn times_of(&mut self, happened: u64) -> Result<Times, BadBody> {
        let mask = take(&mut self.time_masks, "time masks")?;
        if mask & !TIMES_MASK != 0 {
            return Err(malformed("an event states times that are not known"));
        }
        let mut stamp = |set: u8, clear: u8| -> Result<Change<u64>, BadBody> {
            Ok(match (mask & set != 0, mask & clear != 0) {
                (true, _) => Change::Set(undo_difference(take(&mut self.time_stamps, "time stamps")?, happened)),
                (false, true) => Change::Clear,
                (false, false) => Change::Keep,
            })
        };
        Ok(Times {
            created: stamp(TIME_CREATED, 0)?.set().copied(),
            updated: stamp(TIME_UPDATED, 0)?.set().copied(),
            started: stamp(TIME_STARTED, CLEARS_STARTED)?,
            finished: stamp(TIME_FINISHED, CLEARS_FINISHED)?,
        })
    }

    /// Refuses columns with more elements than the events used.
    fn finish(self) -> Result<(), BadBody> {
        let left = [
            self.moves.len(),
            self.flags.len(),
            self.numbers.len(),
            self.ids.len(),
            self.versions.len(),
            self.backs.len(),
            self.times.len(),
            self.saids.len(),
            self.attempts.len(),
            self.outputs.len(),
            self.errors.len(),
            self.actors.len(),
            self.reasons.len(),
            self.metas.len(),
            self.meta_keys.len(),
            self.meta_values.len(),
            self.causes.len(),
            self.keys.len(),
            self.key_backs.len(),
            self.digests.len(),
            self.time_masks.len(),
            self.time_stamps.len(),
        ];
        if left.iter().any(|&left| left > 0) {
            return Err(malformed("a column is longer than its events need"));
        }
        Ok(())
    }
}

fn state_of(number: u8) -> Result<Option<TaskState>, BadBody> {
    if number == NO_STATE {
        return Ok(None);
    }
    TaskState::from_number(number).map(Some).ok_or_else(|| malformed("a state is not known"))
}
