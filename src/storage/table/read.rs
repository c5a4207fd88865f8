//! Reading a table in place: its blocks, what its fences and filter say, and where the frames of a segment are.
//!
//! A block is copied out, and then checked, whenever it is read; filters and fences stay in memory then. What is wrong is [`Unfit`]: no error of the ledger, since
//! the log knows what the table says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::storage::bytes::get_u32;
use crate::storage::segment::FramePlace;
use crate::storage::table::fences::{FENCE_BYTES, Fence};
use crate::storage::table::page::{
    BLOCK_BYTES, BLOCK_HEAD, FENCES, FILTER_BYTES, PLACE_BYTES, PLACES, TableHeader, block_crc, place_from_block,
};
use crate::storage::table::record::Record;
use crate::vfs::map::Map;
use crate::vfs::ops::{Access, Vfs, VfsFile, read_full_at};

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub path: PathBuf,
    pub what: String,
}

/// A table that is open for reading.
#[derive(Debug)]
pub(crate) struct Table {
    pub path: PathBuf,
    pub header: TableHeader,
    seed: u32,
    file: Arc<dyn VfsFile>,
    map: Option<Map>,
    /// Read when it is first asked.
    filter: OnceLock<Vec<u8>>,
    /// The first blocks of fences, each read when it is first asked.
    fences: Vec<OnceLock<Arc<Block>>>,
}

/// So many blocks of fences stay in memory, 4 KiB each: those of 400 MiB of records.
const FENCE_BLOCKS_KEPT: u64 = 256;

/// One block, checked.
pub(super) type Block = [u8; BLOCK_BYTES];

impl Table {
    /// Opens a table and reads its header; `mmap` looks at its blocks in memory.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, mmap: bool) -> Result<Table, Unfit> {
        let looked = Table::look(vfs, path, mmap).unwrap_or_else(|error| Err(error.to_string()));
        looked.map_err(|what| Unfit { path: path.to_owned(), what })
    }

    /// As [`Table::open`], where it matters whether it cannot be used or cannot be had.
    ///
    /// # Errors
    /// The system's answer; within, why it cannot be used.
    pub(crate) fn look(vfs: &dyn Vfs, path: &Path, mmap: bool) -> io::Result<Result<Table, String>> {
        let file = vfs.open(path, Access::Read)?;
        let length = file.len()?;
        let mut page = vec![0; BLOCK_BYTES];
        let read = read_full_at(&*file, &mut page, 0)?;
        page.truncate(read);
        Ok(TableHeader::from_page(&page, length).map(|header| {
            let map = mmap.then(|| file.map(length).ok()).flatten();
            let fences = (0..header.fence_blocks().min(FENCE_BLOCKS_KEPT)).map(|_| OnceLock::new()).collect();
            let (path, seed, filter) = (path.to_owned(), header.seed(), OnceLock::new());
            Table { path, header, seed, file, map, filter, fences }
        }))
    }

    /// What a record of it says.
    ///
    /// # Errors
    /// Its bytes are no slot.
    pub(crate) fn slot_of(&self, record: &Record) -> Result<Slot, Unfit> {
        let unfit = |what| Unfit { path: self.path.clone(), what: format!("the record of {:?}: {what}", record.key) };
        record.slot().map_err(unfit)
    }

    pub(super) fn unfit(&self, block: u64, what: &str) -> Unfit {
        Unfit { path: self.path.clone(), what: format!("{what}, byte {}", block * BLOCK_BYTES as u64) }
    }

    /// A block of the file, checked.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn block(&self, number: u64) -> Result<Block, Unfit> {
        let mut block = [0; BLOCK_BYTES];
        let offset = number * BLOCK_BYTES as u64;
        let read = match &self.map {
            Some(map) => map.read_at(&mut block, offset),
            None => {
                read_full_at(&*self.file, &mut block, offset).map_err(|error| self.unfit(number, &error.to_string()))?
            }
        };
        if read < BLOCK_BYTES {
            return Err(self.unfit(number, "it ends within a block"));
        }
        if block_crc(self.seed, number, &block) != get_u32(&block, 0) {
            return Err(self.unfit(number, "the checksum of a block does not match"));
        }
        Ok(block)
    }

    /// The first block of records, from 0, whose fence is not below this hash; their number where all are below.
    pub(super) fn first_block_from(&self, hash: u64) -> Result<u64, Unfit> {
        let (mut low, mut high) = (0, self.header.blocks);
        // Hashes are even, so that the first guess is nearly right; from there on steps double.
        let mut guess = ((u128::from(hash) * u128::from(high)) >> 64) as u64;
        let mut step = 1;
        while low < high {
            let fences = self.fences(guess.min(high - 1).max(low) / FENCES)?;
            let first = guess.min(high - 1).max(low) / FENCES * FENCES;
            let count = FENCES.min(self.header.blocks - first);
            let fence = |n: u64| fence_in(&fences, n).hash;
            if fence(0) >= hash {
                high = high.min(first);
                guess = first.saturating_sub(step);
            } else if fence(count - 1) < hash {
                low = low.max(first + count);
                guess = first + count - 1 + step;
            } else {
                let (mut below, mut not) = (0, count - 1);
                while below + 1 < not {
                    let middle = below.midpoint(not);
                    if fence(middle) < hash { below = middle } else { not = middle }
                }
                return Ok(first + not);
            }
            step = step.saturating_mul(4 * FENCES);
        }
        Ok(low)
    }

    pub(super) fn fences(&self, block: u64) -> Result<Arc<Block>, Unfit> {
        let kept = self.fences.get(block as usize);
        if let Some(fences) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(fences));
        }
        let read = Arc::new(self.block(1 + self.header.blocks + block)?);
        Ok(kept.map_or_else(|| Arc::clone(&read), |kept| Arc::clone(kept.get_or_init(|| Arc::clone(&read)))))
    }

    /// Says to the disk that filter and fences will be read, as far as they stay in memory and are not there yet.
    pub(crate) fn hint_guides(&self) {
        if self.filter.get().is_none() {
            let blocks = self.header.filter_bytes().div_ceil(FILTER_BYTES as u64);
            self.hint(self.header.filter_from(), blocks);
        }
        if self.fences.iter().all(|fences| fences.get().is_none()) {
            self.hint(1 + self.header.blocks, self.fences.len() as u64);
        }
    }

    /// Says to the disk that so many blocks will be read.
    pub(super) fn hint(&self, first: u64, blocks: u64) {
        if blocks > 0 {
            self.file.will_read(first * BLOCK_BYTES as u64, blocks * BLOCK_BYTES as u64);
        }
    }

    /// The filter of an index; empty for a snapshot.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(super) fn filter(&self) -> Result<&[u8], Unfit> {
        if let Some(filter) = self.filter.get() {
            return Ok(filter);
        }
        let mut left = self.header.filter_bytes() as usize;
        let mut filter = Vec::with_capacity(left);
        for number in self.header.filter_from().. {
            if left == 0 {
                break;
            }
            let bytes = left.min(FILTER_BYTES);
            filter.extend_from_slice(self.block(number)?.get(BLOCK_HEAD..BLOCK_HEAD + bytes).unwrap_or_default());
            left -= bytes;
        }
        Ok(self.filter.get_or_init(|| filter))
    }

    /// Where the frame with a seq of the segment begins, which the table must cover.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn place_of(&self, seq: Seq) -> Result<Option<FramePlace>, Unfit> {
        // Frames hold about as many entries each, so that the place lies among the places as the seq does among the seqs.
        let TableHeader { first, last, places, .. } = self.header;
        let (before, all) = (seq.0.saturating_sub(first.0), last.0.saturating_sub(first.0).saturating_add(1));
        let near = u128::from(before) * u128::from(places) / u128::from(all);
        self.last_place(u64::try_from(near).unwrap_or(places), &|place| place.first <= seq)
    }

    /// The last frame that begins at or before a time.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn place_at(&self, at: u64) -> Result<Option<FramePlace>, Unfit> {
        self.last_place(self.header.places / 2, &|place| place.at <= at)
    }

    /// The last place that holds, where all before it do, too; searched from a place on that is near it.
    fn last_place(&self, near: u64, holds: &dyn Fn(&FramePlace) -> bool) -> Result<Option<FramePlace>, Unfit> {
        let (mut low, mut high) = (0, self.header.places);
        let (mut next, mut step) = (near, PLACES);
        let mut found = None;
        // By blocks first: each is read once. Steps from the likely one double until the place is between two of them.
        while low < high {
            let number = if (low..high).contains(&next) { next } else { low.midpoint(high) } / PLACES;
            let block = self.block(self.header.places_from() + number)?;
            let count = PLACES.min(self.header.places - number * PLACES);
            let place = |n: u64| self.place_in(&block, n);
            if !holds(&place(0)) {
                high = number * PLACES;
                next = high.saturating_sub(step);
                step = step.saturating_mul(2);
                continue;
            }
            let (mut yes, mut no) = (0, count);
            while yes + 1 < no {
                let middle = yes.midpoint(no);
                if holds(&place(middle)) { yes = middle } else { no = middle }
            }
            found = Some(place(yes));
            if no < count {
                break;
            }
            low = number * PLACES + count;
            next = low.saturating_add(step - PLACES);
            step = step.saturating_mul(2);
        }
        Ok(found)
    }

    /// What the fences say of each block of records.
    pub(super) fn all_fences(&self) -> impl Iterator<Item = Result<Fence, Unfit>> {
        (0..self.header.fence_blocks()).flat_map(move |n| {
            let block = self.fences(n);
            let count = FENCES.min(self.header.blocks - n * FENCES);
            (0..count).map(move |fence| block.as_ref().map(|block| fence_in(block, fence)).map_err(Unfit::clone))
        })
    }

    /// The places of all frames.
    ///
    /// # Errors
    /// A block cannot be read; then there is an error in place of each of its places.
    pub(crate) fn all_places(&self) -> impl Iterator<Item = Result<FramePlace, Unfit>> {
        (0..self.header.places.div_ceil(PLACES)).flat_map(move |n| {
            let block = self.block(self.header.places_from() + n);
            let count = PLACES.min(self.header.places - n * PLACES);
            (0..count).map(move |place| block.as_ref().map(|block| self.place_in(block, place)).map_err(Unfit::clone))
        })
    }

    /// The places of a frame, counted from 0, and of those behind it in the same block; none behind the last.
    ///
    /// # Errors
    /// The block cannot be read.
    pub(crate) fn places_from(&self, n: u64) -> Result<Vec<FramePlace>, Unfit> {
        let end = self.header.places.min((n / PLACES + 1) * PLACES);
        if n >= end {
            return Ok(Vec::new());
        }
        let block = self.block(self.header.places_from() + n / PLACES)?;
        Ok((n..end).map(|n| self.place_in(&block, n % PLACES)).collect())
    }

    fn place_in(&self, block: &Block, n: u64) -> FramePlace {
        place_from_block(self.header.first, block, BLOCK_HEAD + n as usize * PLACE_BYTES)
    }
}

pub(super) fn fence_in(block: &Block, n: u64) -> Fence {
    Fence::from_block(block, BLOCK_HEAD + n as usize * FENCE_BYTES)
}
