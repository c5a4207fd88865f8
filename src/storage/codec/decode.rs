//! From the columns of a body back to its events. Every byte is input: nothing is believed.
//!
//! Invariants: every text of an event that is made is within the limits that a writer keeps, and all texts of a body together
//! within those of a frame; else the body is refused, as it is where its columns do not fit together (walk.rs).

use crate::model::entry::Entry;
use crate::model::event::{Change, Event, EventKind};
use crate::model::json::Json;
use crate::model::limits;
use crate::model::rules::{OverLimit, check_event, check_key_of, check_note_fields};
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::storage::codec::bodies;
use crate::storage::codec::columns::{Body, CLEARS_ERROR, CLEARS_OUTPUT, INFERRED, Named, Stored};
use crate::storage::codec::walk::{BadBody, Raw, RawName, malformed, walk};

/// Decodes the events of a frame whose first has this seq and time, and gives each away as soon as it is made.
///
/// # Errors
/// The bytes are not what a writer writes, or are of a later version, and the events before that count for nothing; or what
/// `each` says.
pub(crate) fn decode(
    bytes: &[u8],
    first: Seq,
    at: u64,
    count: u16,
    each: &mut dyn FnMut(Stored) -> Result<(), BadBody>,
) -> Result<(), BadBody> {
    let body = open(bytes, count)?;
    walk(&body, first, at, &mut |raw| each(raw.build(&body.words)?))
}

/// As [`decode`], but only one of the events is made, and the texts of the others are not looked at.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_one(bytes: &[u8], first: Seq, at: u64, count: u16, wanted: Seq) -> Result<Decoded, BadBody> {
    let body = open(bytes, count)?;
    let mut decoded = Decoded { event: None, ends_batch: false };
    walk(&body, first, at, &mut |raw| {
        decoded.ends_batch = raw.links.last_of_batch;
        if raw.seq == wanted {
            decoded.event = Some(raw.build(&body.words)?);
        }
        Ok(())
    })?;
    Ok(decoded)
}

/// One event of a frame.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// `None` where the frame does not have it.
    pub event: Option<Stored>,
    /// Whether the frame's last event is the last of its batch.
    pub ends_batch: bool,
}

/// The columns of a body of so many events.
fn open(bytes: &[u8], count: u16) -> Result<Body<&str>, BadBody> {
    let body: Body<&str> = bodies::decode(bytes).map_err(BadBody::Malformed)?;
    if body.heads.len() != usize::from(count) {
        return Err(malformed("it does not hold the number of events that its header states"));
    }
    check_expansion(&body)?;
    Ok(body)
}

/// Refuses a body that names so few words so often that its texts would fill the memory.
fn check_expansion(body: &Body<&str>) -> Result<(), BadBody> {
    let word = |number: u32| body.words.get(number as usize).map_or(0, |word| word.len());
    let references = body.actors.iter().chain(&body.reasons).chain(&body.meta_keys).copied();
    let values = body.meta_values.iter().filter_map(|value| value.checked_sub(1));
    let total: usize = references.chain(values).map(word).sum();
    if total > limits::FRAME_TEXT_BYTES_MAX {
        return Err(malformed("its texts are larger than a frame may say"));
    }
    Ok(())
}

impl Raw<'_> {
    /// Makes the event, with its texts.
    fn build(self, words: &[&str]) -> Result<Stored, BadBody> {
        let word = |number: u32| words.get(number as usize).map(|&word| word.to_owned());
        let word = |number| word(number).ok_or_else(|| malformed("it names a word that it does not have"));
        let over = |over: OverLimit| BadBody::Malformed(format!("{} {}", over.what, over.problem));
        let named = match self.named {
            RawName::New(realm, key) => {
                check_key_of(realm, key).map_err(over)?;
                Named::New(realm, key.into())
            }
            RawName::Known(realm, number) => Named::Known(realm, number),
            RawName::Control => Named::Control,
        };
        let mut event = Event::new(self.kind, self.to);
        event.inferred = self.head & INFERRED != 0;
        event.attempts = self.attempts;
        let json = self.json.map(Json::unchecked);
        match json {
            Some(json) if self.kind == EventKind::Noted => event.value = Some(json),
            Some(json) => event.output = Change::Set(json),
            None if self.flags & CLEARS_OUTPUT != 0 => event.output = Change::Clear,
            None => {}
        }
        event.error = match self.error {
            Some(text) => Change::Set(text.to_owned()),
            None if self.flags & CLEARS_ERROR != 0 => Change::Clear,
            None => Change::Keep,
        };
        event.actor = self.actor.map(word).transpose()?;
        event.reason = self.reason.map(word).transpose()?;
        for (&key, &value) in self.meta_keys.iter().zip(self.meta_values) {
            event.metadata.insert(word(key)?, value.checked_sub(1).map(word).transpose()?);
        }
        event.cause = self.cause;
        event.key = self.key.map(str::to_owned);
        event.times = self.times;
        check_event(&event).map_err(over)?;
        if named.realm() == Some(Realm::Notes) {
            check_note_fields(&event).map_err(malformed)?;
        }
        if self.kind == EventKind::Noted && event.value.is_none() {
            return Err(malformed("a note is noted without a value"));
        }
        let Raw { seq, version, at, said, from, .. } = self;
        let entry = Entry { seq, task: None, note: None, version, at, said, from, event };
        Ok(Stored { entry, named, links: self.links })
    }
}
