//! The entries of the log: all of them from a seq on, or those of one task or note.
//!
//! A history is a walk along the differences that each entry holds to the entry before of the same task or note. Only entries
//! up to the head at which the question was asked are shown.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::storage::codec::columns::Stored as StoredEvent;
use crate::storage::log::{Decoder, LogEntry, decode_body, frame_with};
use crate::storage::scan::{Frame, frame_at};
use crate::storage::segment::{FramePlace, Segment};

/// The segments as of some head.
#[derive(Debug, Clone)]
pub(crate) struct LogView {
    pub segments: Vec<Arc<Segment>>,
    pub head: Seq,
    /// Whether single frames of sealed segments are looked at in memory.
    pub mmap: bool,
}

/// The entries of a ledger in order. An entry that cannot be read back is an error, and ends it.
#[derive(Debug)]
pub struct Entries {
    inner: Stored,
}

/// The entries of one task or note, oldest first.
#[derive(Debug)]
pub struct History {
    entries: std::vec::IntoIter<Entry>,
}

/// As [`Entries`], with what is stored beside each entry.
#[derive(Debug)]
pub(crate) struct Stored {
    log: LogView,
    from: Seq,
    segment: usize,
    decoder: Option<Decoder>,
    places: std::vec::IntoIter<FramePlace>,
    ready: std::vec::IntoIter<LogEntry>,
    failed: bool,
}

impl LogView {
    /// The entries from a seq on.
    pub(crate) fn entries(&self, from: Seq) -> Entries {
        Entries { inner: self.stored(from) }
    }

    /// As [`LogView::entries`], with what is stored beside each.
    pub(crate) fn stored(&self, from: Seq) -> Stored {
        let from = from.max(Seq::FIRST);
        let segment = self.segments.partition_point(|segment| segment.header.base <= from).saturating_sub(1);
        Stored {
            log: self.clone(),
            from,
            segment,
            decoder: None,
            places: Vec::new().into_iter(),
            ready: Vec::new().into_iter(),
            failed: false,
        }
    }

    /// The entries of a task or note whose last is at this seq, oldest first; none for one that never was.
    ///
    /// # Errors
    /// One of them cannot be read back.
    pub(crate) fn history(&self, realm: Realm, key: &str, last: Option<Seq>) -> Result<History> {
        let mut entries = Vec::new();
        let mut seq = last.unwrap_or(Seq::ZERO);
        let mut version = None;
        let mut frame: Option<(Arc<Segment>, Frame)> = None;
        while seq != Seq::ZERO {
            let holds = |(_, frame): &(Arc<Segment>, Frame)| (frame.header.first..frame.header.next()).contains(&seq);
            let (segment, here) = match frame.take().filter(holds) {
                Some(frame) => frame,
                None => frame_with(&self.segments, seq, self.mmap)?,
            };
            let index = (seq.0 - here.header.first.0) as usize;
            let stored = decode_body(&segment, &here)?.into_iter().nth(index);
            let follows = |entry: &Entry| version.is_none_or(|version| entry.version.is_some_and(|v| v + 1 == version));
            let fits = |stored: &StoredEvent| {
                let StoredEvent { entry, named, links } = stored;
                let first = entry.version == Some(1);
                links.back < seq && first == (links.back == Seq::ZERO) && named.realm() == Some(realm) && follows(entry)
            };
            let Some(mut stored) = stored.filter(fits) else {
                let what = format!("an entry of a {}'s history is missing", realm.word());
                return Err(Error::damaged(&segment.path, here.offset, Some(seq), what));
            };
            stored.entry.set_subject(Some(realm.subject(key)));
            version = stored.entry.version;
            seq = stored.links.back;
            entries.push(stored.entry);
            frame = Some((segment, here));
        }
        entries.reverse();
        Ok(History { entries: entries.into_iter() })
    }
}

impl Stored {
    /// Decodes the next frame; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let Some(segment) = self.log.segments.get(self.segment) else { return Ok(false) };
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                none => {
                    let places = segment.frames.read().expect("no writer panics").clone();
                    self.places = places.into_iter();
                    none.insert(Decoder::new(segment))
                }
            };
            let Some(place) = self.places.next().filter(|place| place.first <= self.log.head) else {
                self.decoder = None;
                self.segment += 1;
                continue;
            };
            let frame = frame_at(segment, place.offset, place.first, None)?;
            self.ready = decoder.decode(segment, &frame)?.into_iter();
            return Ok(true);
        }
    }
}

impl Iterator for Stored {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Result<LogEntry>> {
        while !self.failed {
            match self.ready.next() {
                Some(entry) if entry.entry.seq > self.log.head => return None,
                Some(entry) if entry.entry.seq >= self.from => return Some(Ok(entry)),
                Some(_) => {}
                None => match self.advance() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => {
                        self.failed = true;
                        return Some(Err(error));
                    }
                },
            }
        }
        None
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.inner.next().map(|entry| entry.map(|entry| entry.entry))
    }
}

impl Iterator for History {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.entries.next().map(Ok)
    }
}
