//! A walk over all columns of a body at once, event by event. Every byte is input: nothing is believed.
//!
//! Invariants: every element of every column is used exactly once; numbers that lead elsewhere lead back. Texts are only
//! passed on: whoever makes an event of them checks them.

use crate::model::event::{Change, EventKind, Times};
use crate::model::limits::TIME_MS_MAX;
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::codec::columns::{
    Body, CLEARS_FINISHED, CLEARS_STARTED, FLAGS_MASK, HAS_ACTOR, HAS_ATTEMPTS, HAS_CAUSE, HAS_ERROR, HAS_METADATA,
    HAS_OUTPUT, HAS_REASON, HAS_SAID, HAS_TIMES, KEYED, KIND_MASK, LAST_OF_BATCH, Links, NEW_KEY, NO_STATE,
    TIME_CREATED, TIME_FINISHED, TIME_STARTED, TIME_UPDATED, TIMES_MASK, kind_of,
};

/// Why a body with a valid checksum cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// It is not what a writer writes; what is wrong.
    Malformed(String),
    /// It has an event of a later version.
    UnknownEvent(u8),
}

pub(super) fn malformed(what: &str) -> BadBody {
    BadBody::Malformed(what.to_owned())
}

/// The next element of a column.
fn take<T: Copy>(column: &mut &[T], name: &str) -> Result<T, BadBody> {
    take_some(column, 1, name)?.first().copied().ok_or_else(|| malformed("a column has nothing"))
}

/// The next elements of a column.
fn take_some<'a, T>(column: &mut &'a [T], count: usize, name: &str) -> Result<&'a [T], BadBody> {
    let Some((taken, left)) = column.split_at_checked(count) else {
        return Err(BadBody::Malformed(format!("the column of {name} is too short")));
    };
    *column = left;
    Ok(taken)
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

/// Goes over the events of a body, whose first has this seq and time, one after the other.
///
/// # Errors
/// The columns are not what a writer writes, or are of a later version; or what `each` says.
pub(super) fn walk<'a>(
    body: &'a Body<&'a str>,
    first: Seq,
    at: u64,
    each: &mut dyn FnMut(Raw<'a>) -> Result<(), BadBody>,
) -> Result<(), BadBody> {
    let mut cursor = Cursor::new(body);
    let mut at = at;
    for n in 0..body.heads.len() as u64 {
        let seq = first.0.checked_add(n).ok_or_else(|| malformed("its seqs overflow"))?;
        if n > 0 {
            at = at.checked_add(take(&mut cursor.times, "times")?).ok_or_else(|| malformed("its times overflow"))?;
        }
        if at > TIME_MS_MAX {
            return Err(malformed("its times overflow"));
        }
        each(cursor.event(Seq(seq), at)?)?;
    }
    cursor.finish()
}

/// What is left of each column.
#[derive(Default)]
struct Cursor<'a> {
    heads: &'a [u8],
    moves: &'a [u8],
    flags: &'a [u16],
    numbers: &'a [u32],
    ids: &'a [&'a str],
    versions: &'a [u64],
    backs: &'a [u64],
    times: &'a [u64],
    saids: &'a [i64],
    attempts: &'a [u32],
    outputs: &'a [&'a str],
    errors: &'a [&'a str],
    actors: &'a [u32],
    reasons: &'a [u32],
    metas: &'a [u16],
    meta_keys: &'a [u32],
    meta_values: &'a [u32],
    causes: &'a [u64],
    keys: &'a [&'a str],
    key_backs: &'a [u64],
    digests: &'a [u64],
    time_masks: &'a [u8],
    time_stamps: &'a [i64],
}

/// One event as it lies in the columns: its numbers are checked, its texts not yet.
pub(super) struct Raw<'a> {
    pub seq: Seq,
    pub at: u64,
    pub head: u8,
    pub flags: u16,
    pub kind: EventKind,
    pub from: Option<TaskState>,
    pub to: Option<TaskState>,
    pub named: RawName<'a>,
    pub version: Option<u64>,
    pub said: Option<u64>,
    pub attempts: Option<u32>,
    pub json: Option<&'a str>,
    pub error: Option<&'a str>,
    pub actor: Option<u32>,
    pub reason: Option<u32>,
    pub meta_keys: &'a [u32],
    pub meta_values: &'a [u32],
    pub cause: Option<Seq>,
    pub key: Option<&'a str>,
    pub times: Times,
    pub links: Links,
}

pub(super) enum RawName<'a> {
    New(Realm, &'a str),
    Known(Realm, u32),
    Control,
}

impl<'a> Cursor<'a> {
    fn new(body: &'a Body<&'a str>) -> Cursor<'a> {
        let plain = Cursor {
            heads: &body.heads,
            moves: &body.moves,
            flags: &body.flags,
            numbers: &body.numbers,
            ids: &body.ids,
            versions: &body.versions,
            backs: &body.backs,
            times: &body.times,
            saids: &body.saids,
            attempts: &body.attempts,
            outputs: &body.outputs,
            errors: &body.errors,
            actors: &body.actors,
            reasons: &body.reasons,
            metas: &body.metas,
            meta_keys: &body.meta_keys,
            meta_values: &body.meta_values,
            ..Cursor::default()
        };
        match &body.rare {
            None => plain,
            Some(rare) => Cursor {
                causes: &rare.causes,
                keys: &rare.keys,
                key_backs: &rare.key_backs,
                digests: &rare.digests,
                time_masks: &rare.time_masks,
                time_stamps: &rare.time_stamps,
                ..plain
            },
        }
    }

    fn event(&mut self, seq: Seq, at: u64) -> Result<Raw<'a>, BadBody> {
        let head = take(&mut self.heads, "heads")?;
        let (kind, realm) = kind_of(head & KIND_MASK).ok_or(BadBody::UnknownEvent(head & KIND_MASK))?;
        let flags = take(&mut self.flags, "flags")?;
        if flags & !FLAGS_MASK != 0 {
            return Err(malformed("an event has flags that are not known"));
        }
        let has = |flag| flags & flag != 0;
        let moved = take(&mut self.moves, "moves")?;
        let (to, from) = (state_of(moved & 0x0f)?, state_of(moved >> 4)?);
        let named = match realm {
            None => RawName::Control,
            Some(realm) if head & NEW_KEY != 0 => RawName::New(realm, take(&mut self.ids, "ids")?),
            Some(realm) => RawName::Known(realm, take(&mut self.numbers, "numbers")?),
        };
        let version = realm.map(|_| take(&mut self.versions, "versions")).transpose()?;
        let back = match version {
            Some(0) => return Err(malformed("a version is 0")),
            Some(1) | None => Seq::ZERO,
            Some(_) => seq_before(seq, take(&mut self.backs, "backs")?)?,
        };
        let said = if has(HAS_SAID) { Some(undo_difference(take(&mut self.saids, "saids")?, at)) } else { None };
        let attempts = if has(HAS_ATTEMPTS) { Some(take(&mut self.attempts, "attempts")?) } else { None };
        let json = if has(HAS_OUTPUT) { Some(take(&mut self.outputs, "outputs")?) } else { None };
        let error = if has(HAS_ERROR) { Some(take(&mut self.errors, "errors")?) } else { None };
        let actor = if has(HAS_ACTOR) { Some(take(&mut self.actors, "actors")?) } else { None };
        let reason = if has(HAS_REASON) { Some(take(&mut self.reasons, "reasons")?) } else { None };
        let metas = if has(HAS_METADATA) { usize::from(take(&mut self.metas, "metadata")?) } else { 0 };
        let meta_keys = take_some(&mut self.meta_keys, metas, "metadata keys")?;
        let meta_values = take_some(&mut self.meta_values, metas, "metadata values")?;
        let cause = if has(HAS_CAUSE) { Some(seq_before(seq, take(&mut self.causes, "causes")?)?) } else { None };
        let (mut key, mut key_back, mut digest) = (None, Seq::ZERO, None);
        if head & KEYED != 0 {
            key = Some(take(&mut self.keys, "keys")?);
            digest = Some(take(&mut self.digests, "digests")?);
            key_back = match take(&mut self.key_backs, "key back differences")? {
                0 => Seq::ZERO,
                difference => seq_before(seq, difference)?,
            };
        }
        let times = if has(HAS_TIMES) { self.times_of(said.unwrap_or(at))? } else { Times::default() };
        let links = Links { back, key_back, digest, last_of_batch: head & LAST_OF_BATCH != 0 };
        Ok(Raw {
            seq,
            at,
            head,
            flags,
            kind,
            from,
            to,
            named,
            version,
            said,
            attempts,
            json,
            error,
            actor,
            reason,
            meta_keys,
            meta_values,
            cause,
            key,
            times,
            links,
        })
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
