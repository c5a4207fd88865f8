//! Reading on in one segment from where the last look ended, while a writer may write to it.
//!
//! Invariants:
//! - Only whole batches up to a seq that is known to be durable are given, each once and in order. It stands behind the
//!   last of them: what comes next may be written again in another way as long as nothing vouches for it, local facts too.
//! - What is not there yet is told apart from damage by its caller, who knows what is vouched for.
//! - One reading gives a batch, or about [`READ_BYTES`] of smaller ones, so that memory is bounded.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result, seqs};
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::storage::decoder::Decoder;
use crate::storage::log::{check_sealed, unknown_frame};
use crate::storage::scan::{
    FRAME_GUESS_BYTES, GAPS_MAX, Position, SEARCHED_BODIES_MAX, Stop, Tail, WINDOW_BYTES, Window, look_behind,
    next_frame, tail, walk,
};
use crate::storage::segment::{Predecessor, Segment};

/// A reading ends after so many bytes of frames.
const READ_BYTES: u64 = 64 << 10;

/// A place in a segment, and what is needed to read on there.
#[derive(Debug)]
pub(crate) struct Cursor {
    segment: Arc<Segment>,
    /// Behind the last batch that was given.
    at: Position,
    decoder: Decoder,
    /// What the next segment says of this one, once there is one.
    successor: Option<Predecessor>,
    /// Bad regions that were passed, since they hide no event.
    gaps: Vec<Range<u64>>,
    /// How much is read at once: little where there is one new frame at a time.
    chunk: usize,
    /// Why frames under good checksums mean nothing. The decoder is then of no use any more.
    malformed: Option<Error>,
}

/// What a reading came to.
#[derive(Debug)]
pub(crate) enum Reading {
    /// At least one.
    Entries(Vec<Entry>),
    /// The next frame is not there, and why.
    Missing { stop: Stop, offset: u64 },
    /// The next batch goes on behind what is durable.
    Beyond,
}

impl Cursor {
    /// Before the first frame of a segment.
    pub(crate) fn start(segment: Arc<Segment>) -> Cursor {
        Cursor {
            at: Position::start_of(&segment),
            decoder: Decoder::new(&segment),
            successor: None,
            gaps: Vec::new(),
            chunk: WINDOW_BYTES,
            malformed: None,
            segment,
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The seq that comes next.
    pub(crate) fn next(&self) -> Seq {
        self.at.next
    }

    pub(crate) fn is_succeeded(&self) -> bool {
        self.successor.is_some()
    }

    /// From here on the segment ends where its successor says, and all of it is durable.
    pub(crate) fn succeed(&mut self, successor: &Segment) {
        self.successor = successor.header.predecessor;
    }

    /// The last seq that this segment can give, where everything up to `durable` is durable.
    pub(crate) fn bound(&self, durable: Seq) -> Seq {
        self.successor.map_or(durable, |named| named.last)
    }

    fn limit(&self) -> u64 {
        self.successor.map_or(self.segment.header.area_end(), |named| named.end)
    }

    /// The next entries up to a seq that is durable. With `search` it goes on behind bad regions that hide no event.
    ///
    /// # Errors
    /// What is there under good checksums is not what a writer writes; or it cannot be read.
    pub(crate) fn read(&mut self, durable: Seq, search: bool) -> Result<Reading> {
        if let Some(malformed) = &self.malformed {
            return Err(malformed.clone());
        }
        let (segment, limit) = (Arc::clone(&self.segment), self.limit());
        let mut window = Window::reading(&segment, self.chunk);
        let (mut end, mut batch, mut entries) = (self.at, Vec::new(), Vec::new());
        let mut bodies = SEARCHED_BODIES_MAX + limit.saturating_sub(end.offset);
        let start = end.offset;
        let missing = loop {
            let stop = match next_frame(&mut window, &end, limit)? {
                Ok(frame) if frame.header.next().0 - 1 > durable.0 => break None,
                Ok(frame) => {
                    end = end.after(&frame);
                    let is_last = frame.header.kind.has_events() && !end.mid_batch;
                    batch.push(frame);
                    if is_last {
                        for frame in batch.drain(..) {
                            let decoded = self.decoder.decode(&segment, &frame);
                            let decoded = decoded.inspect_err(|error| self.malformed = Some(error.clone()))?;
                            entries.extend(decoded.into_iter().map(|stored| stored.entry));
                        }
                        self.at = end;
                        if end.next > durable || end.offset - start >= READ_BYTES {
                            break None;
                        }
                    }
                    continue;
                }
                Err(stop) => stop,
            };
            let searched = search && end.next <= durable && self.gaps.len() < GAPS_MAX;
            // A frame of a later version is no bad region: what it says must not be passed over.
            if searched && !matches!(stop, Stop::Unknown(_)) {
                let resume = look_behind(&segment, end, limit, &mut Tail::default(), &mut bodies)?;
                if let Some(resume) = resume {
                    self.gaps.push(end.offset..resume);
                    end.offset = resume;
                    continue;
                }
            }
            break Some(stop);
        };
        // Who has caught up gets the next frames one by one.
        self.chunk = if self.at.next > durable { FRAME_GUESS_BYTES } else { WINDOW_BYTES };
        Ok(match missing {
            _ if !entries.is_empty() => Reading::Entries(entries),
            Some(stop) => Reading::Missing { stop, offset: end.offset },
            None => Reading::Beyond,
        })
    }

    /// The highest seq that a frame further on calls durable; looks no further than to one that reaches the next entry.
    /// With `deep` also behind what is no frame, up to the end of the segment.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn watermark_ahead(&self, deep: bool) -> Result<Ahead> {
        let limit = self.limit();
        let mut window = Window::reading(&self.segment, self.chunk);
        let (mut end, mut watermark) = (self.at, Seq::ZERO);
        while watermark < self.at.next {
            match next_frame(&mut window, &end, limit)? {
                Ok(frame) => {
                    watermark = watermark.max(frame.header.durable);
                    end = end.after(&frame);
                }
                Err(stop) => {
                    let behind = if deep { tail(&self.segment, end.offset, limit)?.watermark } else { Seq::ZERO };
                    let end = Some((end.offset, stop == Stop::Zeros));
                    return Ok(Ahead { watermark: watermark.max(behind), end });
                }
            }
        }
        Ok(Ahead { watermark, end: None })
    }

    /// Whether the segment ends as its successor says, once everything was given.
    ///
    /// # Errors
    /// It does not; or it cannot be read.
    pub(crate) fn check_end(&self) -> Result<()> {
        let Some(named) = self.successor else { return Ok(()) };
        let mut walked = walk(&self.segment, self.at, named.end, &mut |_| Ok(()))?;
        walked.gaps.extend(self.gaps.iter().cloned());
        check_sealed(&self.segment, &walked, &named).map(drop)
    }

    /// What to say where an entry up to `durable` is missing, and who vouched for it.
    pub(crate) fn lost(&self, stop: Stop, offset: u64, durable: Seq, witness: &str) -> Error {
        if let Stop::Unknown(kind) = stop {
            return unknown_frame(&self.segment, kind);
        }
        let bound = self.bound(durable);
        let lost = seqs(self.at.next, bound);
        let witness = if self.is_succeeded() { "its successor" } else { witness };
        let what = format!("{lost} cannot be read, and {witness} says that it was durable: {stop}");
        Error::damaged(&self.segment.path, offset, Some(self.at.next), what)
    }
}

/// What frames further on say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    pub watermark: Seq,
    /// Where they end, unless it was looked no further; whether nothing was ever written there.
    pub end: Option<(u64, bool)>,
}
