//! The entries of the log: all of them from a seq on, or those of one task or note.
//!
//! A history is a walk along the differences that each entry holds to the entry before of the same task or note. Only entries
//! up to the head at which the question was asked are shown.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::log::{LogView, Places};
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::storage::codec::columns::Stored as StoredEvent;
use crate::storage::decoder::{Decoder, LogEntry, decode_body, decode_one};
use crate::storage::scan::{Frame, ReadAhead, frame_after, frame_at};
use crate::storage::segment::{FramePlace, Segment};

/// The entries of a ledger in order. An entry that cannot be read back is an error, and ends it; so is one that was pruned.
#[derive(Debug)]
pub struct Entries {
    inner: Stored,
}

/// The entries of one task or note, oldest first. Those that were pruned are left out; [`History::pruned`] counts them.
#[derive(Debug)]
pub struct History {
    entries: std::vec::IntoIter<Entry>,
    pruned: u64,
}

/// As [`Entries`], with what is stored beside each entry.
#[derive(Debug)]
pub(crate) struct Stored {
    log: LogView,
    from: Seq,
    segment: usize,
    /// Of the segment that it is in.
    open: Option<Open>,
    ready: std::vec::IntoIter<LogEntry>,
    /// Where the frame of these begins.
    offset: u64,
    /// What comes first, and alone.
    refused: Option<Error>,
    failed: bool,
}

/// Reads entries of one task or note by their seqs. The frame that was read last stays at hand.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    log: &'a LogView,
    realm: Realm,
    key: &'a str,
    frame: Option<Picked>,
    /// Bytes of the frames that were read.
    pub read: usize,
}

/// A frame that was read.
#[derive(Debug)]
struct Picked {
    segment: Arc<Segment>,
    frame: Frame,
    /// All of its events but those that were given; once a second one is asked for.
    events: Option<Vec<Option<StoredEvent>>>,
}

#[derive(Debug)]
struct Open {
    decoder: Decoder,
    places: Places,
    /// How many frames were decoded.
    given: u64,
    /// Where those behind them begin, as far as that was looked up.
    next: std::vec::IntoIter<FramePlace>,
    ahead: ReadAhead,
}

impl LogView {
    /// The entries from a seq on.
    pub(crate) fn entries(&self, from: Seq) -> Entries {
        Entries { inner: self.stored(from) }
    }

    /// As [`LogView::entries`], with what is stored beside each.
    pub(crate) fn stored(&self, from: Seq) -> Stored {
        let from = from.max(Seq::FIRST);
        let segment = self.segment_of(from);
        let refused = self.check_kept(from).err();
        Stored {
            log: self.clone(),
            from,
            segment,
            open: None,
            ready: Vec::new().into_iter(),
            offset: 0,
            refused,
            failed: false,
        }
    }

    /// The entries of a task or note whose last is at this seq and has this version, oldest first, without those that were
    /// pruned; none for one that never was.
    ///
    /// # Errors
    /// One of them cannot be read back.
    pub(crate) fn history(&self, realm: Realm, key: &str, last: Option<(Seq, u64)>) -> Result<History> {
        let mut entries = Vec::new();
        let (mut seq, mut version) = last.unwrap_or((Seq::ZERO, 0));
        let mut picker = self.picker(realm, key);
        let oldest = self.oldest();
        while seq >= oldest {
            let stored = picker.take(seq, version)?;
            (seq, version) = (stored.links.back, version - 1);
            entries.push(stored.entry);
        }
        entries.reverse();
        Ok(History { pruned: version, entries: entries.into_iter() })
    }

    /// What reads entries of a task or note by their seqs.
    pub(crate) fn picker<'a>(&'a self, realm: Realm, key: &'a str) -> Picker<'a> {
        Picker { log: self, realm, key, frame: None, read: 0 }
    }

    /// Finds the frame with a seq, and reads it; from memory where that is asked for and its segment is sealed.
    ///
    /// # Errors
    /// It cannot be read back.
    fn frame_with(&self, seq: Seq) -> Result<(Arc<Segment>, Frame)> {
        let n = self.segment_of(seq);
        let segment = self.segments.get(n)?;
        let Some(place) = self.place_of(n, seq)? else {
            return Err(Error::damaged(&segment.path, None, Some(seq), "no frame has it"));
        };
        let map = (self.home.mmap && self.is_sealed(n)).then(|| segment.map()).flatten();
        let frame = frame_at(&segment, place.offset, place.first, map)?;
        Ok((segment, frame))
    }
}

impl Picker<'_> {
    /// The entry at a seq, which must be this version of its task or note, so that it is not 0. An entry is given once as long
    /// as its frame is at hand.
    ///
    /// # Errors
    /// It cannot be read back, or is another one.
    pub(crate) fn take(&mut self, seq: Seq, version: u64) -> Result<StoredEvent> {
        let event = match self.frame.as_mut().filter(|picked| picked.holds(seq)) {
            Some(picked) => picked.again(seq)?,
            None => {
                let (segment, frame) = self.log.frame_with(seq)?;
                self.read += frame.body.len();
                let event = decode_one(&segment, &frame, seq)?;
                self.frame = Some(Picked { segment, frame, events: None });
                event
            }
        };
        let realm = self.realm;
        let fits = |stored: &StoredEvent| {
            let StoredEvent { entry, named, links } = stored;
            let is_linked = links.back < seq && (version == 1) == (links.back == Seq::ZERO);
            is_linked && entry.version == Some(version) && named.realm() == Some(realm)
        };
        let Some(mut stored) = event.filter(fits) else {
            let picked = self.frame.as_ref().expect("a frame was read");
            let what = format!("an entry of a {}'s history is missing", realm.word());
            return Err(Error::damaged(&picked.segment.path, picked.frame.offset, Some(seq), what));
        };
        stored.entry.set_subject(Some(realm.subject(self.key)));
        Ok(stored)
    }
}

impl Picked {
    fn holds(&self, seq: Seq) -> bool {
        let header = &self.frame.header;
        seq >= header.first && seq.0 - header.first.0 < u64::from(header.count)
    }

    /// Another event of the frame. Where one is asked for, more may be, so that all are made.
    fn again(&mut self, seq: Seq) -> Result<Option<StoredEvent>> {
        let events = match &mut self.events {
            Some(events) => events,
            none => none.insert(decode_body(&self.segment, &self.frame)?.into_iter().map(Some).collect()),
        };
        Ok(events.get_mut((seq.0 - self.frame.header.first.0) as usize).and_then(Option::take))
    }
}

impl Stored {
    /// Where in its segment the frame of the entry that was given last begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Decodes the next frame; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if self.segment >= self.log.segments.len() {
                return Ok(false);
            }
            let segment = self.log.segments.get(self.segment)?;
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let places = self.log.places(self.segment)?;
                    let (next, ahead) = (Vec::new().into_iter(), ReadAhead::default());
                    none.insert(Open { decoder: Decoder::new(&segment), places, given: 0, next, ahead })
                }
            };
            if open.next.len() == 0 {
                match open.places.some_from(open.given) {
                    Ok(some) => open.next = some.into_iter(),
                    Err(_) => {
                        open.places = Places::Walked(self.log.walked(self.segment)?);
                        continue;
                    }
                }
            }
            let Some(place) = open.next.next().filter(|place| place.first <= self.log.head) else {
                self.open = None;
                self.segment += 1;
                continue;
            };
            open.given += 1;
            let frame = frame_after(&segment, place.offset, place.first, &mut open.ahead)?;
            self.ready = open.decoder.decode(&segment, &frame)?.into_iter();
            self.offset = frame.offset;
            return Ok(true);
        }
    }
}

impl Iterator for Stored {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Result<LogEntry>> {
        if let Some(refused) = self.refused.take() {
            self.failed = true;
            return Some(Err(refused));
        }
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

impl History {
    /// How many entries there were before the first of these, and were pruned: 0 where the history is whole.
    #[must_use]
    pub fn pruned(&self) -> u64 {
        self.pruned
    }
}

impl Iterator for History {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.entries.next().map(Ok)
    }
}
