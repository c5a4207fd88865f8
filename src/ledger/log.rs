//! `LogView`: the segments as of some head, and where the frame with a seq is.
//!
//! The frames of the active segment are known in memory, those of a sealed one from its index. Where there is none that fits,
//! the segment is walked once, and its frames are known in memory, too.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::derived::index_of;
use crate::ledger::primitives::Mutex;
use crate::ledger::recent::Recent;
use crate::ledger::segments::{Home, Segments};
use crate::model::seq::Seq;
use crate::storage::decoder::decode_body;
use crate::storage::log::{find_frames, replay_sealed};
use crate::storage::scan::frame_at;
use crate::storage::segment::FramePlace;
use crate::storage::table::read::{Table, Unfit};

/// The segments as of some head.
#[derive(Debug, Clone)]
pub(crate) struct LogView {
    pub segments: Segments,
    pub head: Seq,
    pub home: Arc<Home>,
    pub indexes: Indexes,
}

/// Indexes that were used lately, by the number of their segment; `None` where there is none that fits.
pub(crate) type Indexes = Arc<Mutex<Recent<Option<Arc<Table>>>>>;

/// Where the frames of a segment are.
#[derive(Debug)]
pub(crate) enum Places {
    Index(Arc<Table>),
    Walked(Vec<FramePlace>),
}

impl LogView {
    /// The oldest entry that is kept; one ahead of the head where none was ever appended.
    pub(crate) fn oldest(&self) -> Seq {
        self.segments.first_base()
    }

    /// That an entry is not below those that are kept.
    ///
    /// # Errors
    /// [`Error::Pruned`].
    pub(crate) fn check_kept(&self, seq: Seq) -> Result<()> {
        let oldest = self.oldest();
        if seq < oldest { Err(Error::Pruned { oldest }) } else { Ok(()) }
    }

    /// The position of the segment with a seq.
    pub(crate) fn segment_of(&self, seq: Seq) -> usize {
        self.segments.with(seq)
    }

    /// Whether a segment has a successor.
    pub(crate) fn is_sealed(&self, n: usize) -> bool {
        n + 1 < self.segments.len()
    }

    /// Where the frames of a segment are.
    ///
    /// # Errors
    /// It must be walked, and that cannot be done.
    pub(crate) fn places(&self, n: usize) -> Result<Places> {
        match self.index(n)? {
            Some(index) => Ok(Places::Index(index)),
            None => self.walked(n).map(Places::Walked),
        }
    }

    /// Where the frame with a seq of a segment begins.
    ///
    /// # Errors
    /// The segment must be walked, and that cannot be done.
    pub(crate) fn place_of(&self, n: usize, seq: Seq) -> Result<Option<FramePlace>> {
        self.last_place(n, &|place| place.first <= seq, &|index| index.place_of(seq))
    }

    /// Where the last frame of a segment begins whose first entry was placed at or before a time.
    ///
    /// # Errors
    /// As [`LogView::place_of`].
    pub(crate) fn place_at(&self, n: usize, time: u64) -> Result<Option<FramePlace>> {
        self.last_place(n, &|place| place.at <= time, &|index| index.place_at(time))
    }

    fn last_place(
        &self,
        n: usize,
        holds: &dyn Fn(&FramePlace) -> bool,
        in_index: &dyn Fn(&Table) -> std::result::Result<Option<FramePlace>, Unfit>,
    ) -> Result<Option<FramePlace>> {
        let last = |places: &[FramePlace]| {
            let n = places.partition_point(holds);
            n.checked_sub(1).and_then(|n| places.get(n)).copied()
        };
        let segment = self.segments.get(n)?;
        {
            let frames = segment.frames.read().expect("no writer panics");
            if !frames.is_empty() {
                return Ok(last(&frames));
            }
        }
        if let Some(index) = self.index(n)?
            && let Ok(place) = in_index(&index)
        {
            return Ok(place);
        }
        self.walked(n).map(|frames| last(&frames))
    }

    /// The last entry that was placed at or before a time; `Seq(0)` where none was.
    ///
    /// # Errors
    /// [`Error::Pruned`] where the entry after the last one that was pruned is later; or an entry that was placed then cannot be read back.
    pub(crate) fn seq_at(&self, time: u64) -> Result<Seq> {
        if self.oldest() > Seq::FIRST && self.segments.get(0)?.header.base_at > time {
            return Err(Error::Pruned { oldest: self.oldest() });
        }
        // The last segment that begins no later.
        let (mut n, mut after) = (0, self.segments.len());
        while n + 1 < after {
            let middle = n.midpoint(after);
            match self.segments.get(middle)?.header.base_at <= time {
                true => n = middle,
                false => after = middle,
            }
        }
        let segment = self.segments.get(n)?;
        let before = Seq(segment.header.base.0 - 1);
        let Some(place) = self.place_at(n, time)? else { return Ok(before) };
        let frame = frame_at(&segment, place.offset, place.first, None)?;
        let within = decode_body(&segment, &frame)?.into_iter().take_while(|stored| stored.entry.at <= time);
        Ok(within.last().map_or(before, |stored| stored.entry.seq).min(self.head))
    }

    /// The index of a sealed segment; `None` where there is none that fits, or its frames are known in memory.
    ///
    /// # Errors
    /// A segment cannot be opened.
    pub(crate) fn index(&self, n: usize) -> Result<Option<Arc<Table>>> {
        if !self.is_sealed(n) {
            return Ok(None);
        }
        let segment = self.segments.get(n)?;
        if !segment.frames.read().expect("no writer panics").is_empty() {
            return Ok(None);
        }
        let number = segment.header.number;
        let known = self.indexes.lock().expect("nobody panics with it").get(number);
        if let Some(known) = known {
            return Ok(known);
        }
        let (_, named) = self.segments.sealed(n)?;
        let index = index_of(&self.home, &segment, &named, &mut Vec::new());
        self.indexes.lock().expect("nobody panics with it").put(number, index.clone());
        Ok(index)
    }

    /// The frames that are known in memory; a sealed segment without any is walked first.
    pub(crate) fn walked(&self, n: usize) -> Result<Vec<FramePlace>> {
        if !self.is_sealed(n) {
            let active = self.segments.get(n)?;
            let frames = || active.frames.read().expect("no writer panics").clone();
            let known = frames();
            if known.is_empty() && self.head >= active.header.base {
                // It was sealed after this view was made, and what was known of it went when it got its index.
                find_frames(&active)?;
                return Ok(frames());
            }
            return Ok(known);
        }
        let (segment, named) = self.segments.sealed(n)?;
        if named.last >= segment.header.base && segment.frames.read().expect("no writer panics").is_empty() {
            replay_sealed(&segment, &named, &mut |_, _| Ok(()))?;
        }
        let frames = segment.frames.read().expect("no writer panics").clone();
        Ok(frames)
    }
}

impl Places {
    /// The places of a frame, counted from 0, and of some behind it; none behind the last.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(crate) fn some_from(&self, n: u64) -> std::result::Result<Vec<FramePlace>, Unfit> {
        match self {
            Places::Walked(places) => Ok(places.get(n as usize..).unwrap_or_default().to_vec()),
            Places::Index(index) => index.places_from(n),
        }
    }
}
