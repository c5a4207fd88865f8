//! From frames to entries: all those of a segment in their order, or single ones.
//!
//! Invariant: a body that is not what a writer writes, or that its header contradicts, gives no entry.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::model::slot::Origin;
use crate::model::subject::Each;
use crate::storage::codec::columns::{Named, Stored};
use crate::storage::codec::decode;
use crate::storage::codec::fact::OpenFact;
use crate::storage::codec::walk::BadBody;
use crate::storage::frame::FrameKind;
use crate::storage::scan::Frame;
use crate::storage::segment::Segment;

/// One entry with what is stored beside it.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    pub entry: Entry,
    pub origin: Origin,
}

/// Turns the frames of one segment, in order from its first, into entries.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The tasks and notes that the segment has named, by number. A number is looked up among those of its own kind
    /// only, so that no bytes can make a note of a task.
    pub named: Each<Vec<Arc<str>>>,
    batch: Seq,
}

impl Decoder {
    pub(crate) fn new(segment: &Segment) -> Decoder {
        Decoder { named: Each::default(), batch: segment.header.base }
    }

    /// The entries of the next frame; none for a local fact.
    ///
    /// # Errors
    /// The body is not what a writer writes, or is of a later version.
    pub(crate) fn decode(&mut self, segment: &Segment, frame: &Frame) -> Result<Vec<LogEntry>> {
        let header = &frame.header;
        if !header.kind.has_events() {
            if header.kind == FrameKind::Open {
                OpenFact::decode(&frame.body).map_err(|what| malformed(segment, frame, what))?;
            }
            return Ok(Vec::new());
        }
        let mut entries = Vec::with_capacity(count_at_most(frame));
        let decoded = decode::decode(&frame.body, header.first, header.at, header.count, &mut |stored| {
            let Stored { mut entry, named, links } = stored;
            let subject = match named {
                Named::Control => None,
                Named::New(realm, key) => {
                    let subject = realm.subject(&*key);
                    self.named.of_mut(realm).push(key);
                    Some(subject)
                }
                Named::Known(realm, number) => match self.named.of(realm).get(number as usize) {
                    Some(key) => Some(realm.subject(&**key)),
                    None => {
                        let what = format!("it names the unknown {} number {number}", realm.word());
                        return Err(BadBody::Malformed(what));
                    }
                },
            };
            entry.set_subject(subject);
            let origin = Origin {
                batch: self.batch,
                last: links.last_of_batch,
                epoch: header.epoch,
                back: links.back,
                key_back: links.key_back,
                digest: links.digest,
            };
            if links.last_of_batch {
                self.batch = entry.seq.next();
            }
            entries.push(LogEntry { entry, origin });
            Ok(())
        });
        decoded.map_err(|bad| unusable(segment, frame, bad))?;
        check_end(segment, frame, entries.last().is_some_and(|last| last.origin.last))?;
        Ok(entries)
    }
}

/// The events of a frame, without the ids that only the frames before it name.
///
/// # Errors
/// As [`Decoder::decode`].
pub(crate) fn decode_body(segment: &Segment, frame: &Frame) -> Result<Vec<Stored>> {
    let header = &frame.header;
    let mut stored = Vec::with_capacity(count_at_most(frame));
    let decoded = decode::decode(&frame.body, header.first, header.at, header.count, &mut |event| {
        stored.push(event);
        Ok(())
    });
    decoded.map_err(|bad| unusable(segment, frame, bad))?;
    check_end(segment, frame, stored.last().is_some_and(|last| last.links.last_of_batch))?;
    Ok(stored)
}

/// One event of a frame, at much less cost than all of them; `None` where the frame does not have it.
///
/// # Errors
/// As [`Decoder::decode`], but that the texts of other events are not looked at.
pub(crate) fn decode_one(segment: &Segment, frame: &Frame, seq: Seq) -> Result<Option<Stored>> {
    let header = &frame.header;
    let decoded = decode::decode_one(&frame.body, header.first, header.at, header.count, seq);
    let decoded = decoded.map_err(|bad| unusable(segment, frame, bad))?;
    check_end(segment, frame, decoded.ends_batch)?;
    Ok(decoded.event)
}

/// How many events a frame may have: an event takes a byte at least, whatever the header states.
fn count_at_most(frame: &Frame) -> usize {
    usize::from(frame.header.count).min(frame.body.len())
}

fn check_end(segment: &Segment, frame: &Frame, ends_batch: bool) -> Result<()> {
    if ends_batch != (frame.header.kind == FrameKind::Events) {
        return Err(malformed(segment, frame, "its header and its body differ on where the batch ends".to_owned()));
    }
    Ok(())
}

fn unusable(segment: &Segment, frame: &Frame, bad: BadBody) -> Error {
    match bad {
        BadBody::Malformed(what) => malformed(segment, frame, what),
        BadBody::UnknownEvent(kind) => Error::Format {
            path: segment.path.clone(),
            what: format!("seq {} or later is an event of the unknown kind {kind}", frame.header.first),
        },
    }
}

fn malformed(segment: &Segment, frame: &Frame, what: String) -> Error {
    Error::damaged(
        &segment.path,
        frame.offset,
        Some(frame.header.first),
        format!("the body of a frame is malformed: {what}"),
    )
}
