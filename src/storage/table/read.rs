//! Reading a table in place: one task or note by its hash, all of them in order, and where the frames of a segment are.
//!
//! A block is copied out, and then checked, whenever it is read. What is wrong is [`Unfit`]: no error of the ledger, since
//! the log knows what the table says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::Realm;
use crate::storage::bytes::{get_u16, get_u32, get_u64};
use crate::storage::segment::FramePlace;
use crate::storage::table::fences::{FENCE_BYTES, Fence};
use crate::storage::table::filter::may_hold;
use crate::storage::table::page::{
    BLOCK_BYTES, BLOCK_HEAD, BLOCK_PAYLOAD, FENCES, FILTER_BYTES, NONE_BEGINS, PLACE_BYTES, PLACES, TableHeader,
    TableKind, block_crc, place_from_block,
};
use crate::storage::table::record::{Class, Classes, RECORD_BYTES_MAX, RECORD_HEAD, Record};
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
}

/// One block, checked.
type Block = [u8; BLOCK_BYTES];

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
            Table { path: path.to_owned(), header, seed: header.seed(), file, map, filter: OnceLock::new() }
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

    fn unfit(&self, block: u64, what: &str) -> Unfit {
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

    /// What is known of a task or note.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn find(&self, hash: u64, realm: Realm, key: &str) -> Result<Option<Record>, Unfit> {
        if self.header.kind == TableKind::Index && !may_hold(self.filter()?, hash) {
            return Ok(None);
        }
        let after = self.first_block_from(hash)?;
        // The block before may hold records of this hash behind smaller ones.
        let mut cursor = Cursor::new(after.saturating_sub(1));
        while let Some(head) = cursor.head(self)?.filter(|head| head.hash <= hash) {
            if head.hash < hash {
                cursor.pass(head);
                continue;
            }
            let record = cursor.take(self, head)?;
            if record.class.realm() == realm && *record.key == *key {
                return Ok(Some(record));
            }
        }
        Ok(None)
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

    fn fences(&self, block: u64) -> Result<Block, Unfit> {
        self.block(1 + self.header.blocks + block)
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

    /// All records of some classes from a hash on, in order.
    pub(crate) fn scan(self: &Arc<Self>, from: u64, classes: Classes) -> Scan {
        Scan { table: Arc::clone(self), from, classes, cursor: None, started: false, fences: None }
    }

    /// Where the frame with a seq of the segment begins, which the table must cover.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn place_of(&self, seq: Seq) -> Result<Option<FramePlace>, Unfit> {
        self.last_place(&|place| place.first <= seq)
    }

    /// The last frame that begins at or before a time.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn place_at(&self, at: u64) -> Result<Option<FramePlace>, Unfit> {
        self.last_place(&|place| place.at <= at)
    }

    fn last_place(&self, holds: &dyn Fn(&FramePlace) -> bool) -> Result<Option<FramePlace>, Unfit> {
        let (mut low, mut high) = (0, self.header.places);
        let mut found = None;
        // By blocks first: each is read once.
        while low < high {
            let number = low.midpoint(high) / PLACES;
            let block = self.block(self.header.places_from() + number)?;
            let count = PLACES.min(self.header.places - number * PLACES);
            let place = |n: u64| self.place_in(&block, n);
            if !holds(&place(0)) {
                high = number * PLACES;
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

    /// The place of a frame, counted from 0.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn place(&self, n: u64) -> Result<FramePlace, Unfit> {
        Ok(self.place_in(&self.block(self.header.places_from() + n / PLACES)?, n % PLACES))
    }

    fn place_in(&self, block: &Block, n: u64) -> FramePlace {
        place_from_block(self.header.first, block, BLOCK_HEAD + n as usize * PLACE_BYTES)
    }
}

fn fence_in(block: &Block, n: u64) -> Fence {
    Fence::from_block(block, BLOCK_HEAD + n as usize * FENCE_BYTES)
}

/// A place among the records of a table, at the beginning of one unless a call is on its way.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Of the block, counted from 0.
    number: u64,
    /// The block with this number, once it is read.
    block: Option<Box<Block>>,
    /// Within the payload; `None` where it stands at the first record that begins in the block.
    at: Option<usize>,
}

/// The beginning of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Where it begins, counted from 0.
    pub block: u64,
    length: usize,
    pub hash: u64,
    pub class: Class,
}

/// Bytes of a record's head: length, hash and class.
const HEAD_BYTES: usize = 13;

impl Cursor {
    /// At the first record that begins in a block or behind it.
    pub(super) fn new(number: u64) -> Cursor {
        Cursor { number, block: None, at: None }
    }

    fn load(&mut self, table: &Table) -> Result<&Block, Unfit> {
        let block = match self.block.take() {
            Some(block) => block,
            None => Box::new(table.block(1 + self.number)?),
        };
        Ok(self.block.insert(block))
    }

    /// Finds the byte where it stands; `None` behind the last block.
    fn settle(&mut self, table: &Table) -> Result<Option<usize>, Unfit> {
        while self.number < table.header.blocks {
            match self.at {
                Some(at) if at < BLOCK_PAYLOAD => return Ok(Some(at)),
                Some(at) => self.leave(at),
                None => match get_u16(self.load(table)?, 4) {
                    NONE_BEGINS => (self.number, self.block) = (self.number + 1, None),
                    first => self.at = Some(usize::from(first)),
                },
            }
        }
        Ok(None)
    }

    /// Goes to a byte that may lie in a later block; those between are not read.
    fn leave(&mut self, at: usize) {
        if at >= BLOCK_PAYLOAD {
            (self.number, self.block) = (self.number + (at / BLOCK_PAYLOAD) as u64, None);
        }
        self.at = Some(at % BLOCK_PAYLOAD);
    }

    /// Copies bytes from where it stands, and goes behind them.
    fn read(&mut self, table: &Table, mut out: &mut [u8]) -> Result<(), Unfit> {
        while !out.is_empty() {
            let Some(at) = self.settle(table)? else {
                return Err(table.unfit(table.header.blocks, "a record reaches over the end"));
            };
            let rest = self.load(table)?.get(BLOCK_HEAD + at..).unwrap_or_default();
            let count = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(rest.get(..count).unwrap_or_default());
            out = later;
            self.at = Some(at + count);
        }
        Ok(())
    }

    /// The beginning of the next record; `None` at the end.
    pub(super) fn head(&mut self, table: &Table) -> Result<Option<Head>, Unfit> {
        let Some(at) = self.settle(table)? else { return Ok(None) };
        let here = self.number;
        let room = (table.header.blocks - here) * BLOCK_PAYLOAD as u64 - at as u64;
        if room < HEAD_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        self.read(table, &mut head)?;
        let length = get_u32(&head, 0) as usize;
        if length == 0 {
            return Ok(None);
        }
        if !(RECORD_HEAD..=RECORD_BYTES_MAX).contains(&length) || 4 + length as u64 > room {
            return Err(table.unfit(1 + here, "a record has an impossible length"));
        }
        let class = head.last().copied().and_then(Class::from_number);
        let class = class.ok_or_else(|| table.unfit(1 + here, "a record is of no known class"))?;
        Ok(Some(Head { block: here, length, hash: get_u64(&head, 4), class }))
    }

    /// Goes behind the record whose head was read.
    pub(super) fn pass(&mut self, head: Head) {
        self.leave(self.at.expect("it stands within a record") + head.length - (HEAD_BYTES - 4));
    }

    /// The record whose head was read.
    pub(super) fn take(&mut self, table: &Table, head: Head) -> Result<Record, Unfit> {
        let here = self.number;
        let mut rest = vec![0; head.length - (HEAD_BYTES - 4)];
        self.read(table, &mut rest)?;
        Record::from_parts(head.hash, head.class, &rest).map_err(|what| table.unfit(1 + here, &what))
    }
}

/// The records of a table in order. What cannot be read is an error, and ends it.
#[derive(Debug)]
pub(crate) struct Scan {
    table: Arc<Table>,
    from: u64,
    classes: Classes,
    /// `None` at the end.
    cursor: Option<Cursor>,
    started: bool,
    /// The fences that were looked at last, and which block of them it is.
    fences: Option<(u64, Box<Block>)>,
}

impl Scan {
    /// Where the records are from.
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    fn advance(&mut self) -> Result<Option<Record>, Unfit> {
        if !self.started {
            self.started = true;
            // The block before may hold records from this hash on behind smaller ones.
            let first = if self.from == 0 { 0 } else { self.table.first_block_from(self.from)?.saturating_sub(1) };
            self.cursor = Some(Cursor::new(first));
        }
        let table = Arc::clone(&self.table);
        while let Some(mut cursor) = self.cursor.take() {
            if self.classes != Class::ALL && cursor.at.is_none_or(|at| at >= BLOCK_PAYLOAD || cursor.block.is_none()) {
                cursor = match self.next_with(cursor)? {
                    Some(cursor) => cursor,
                    None => return Ok(None),
                };
            }
            let Some(head) = cursor.head(&table)? else { return Ok(None) };
            let record = if head.hash >= self.from && head.class.bit() & self.classes != 0 {
                Some(cursor.take(&table, head)?)
            } else {
                cursor.pass(head);
                None
            };
            self.cursor = Some(cursor);
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// Where a block is about to be read: the cursor, or one at the first block behind it in which a record of the
    /// classes begins; `None` where there is none.
    fn next_with(&mut self, cursor: Cursor) -> Result<Option<Cursor>, Unfit> {
        let here = cursor.number + cursor.at.map_or(0, |at| (at / BLOCK_PAYLOAD) as u64);
        for number in here..self.table.header.blocks {
            let block = number / FENCES;
            if self.fences.as_ref().is_none_or(|(at, _)| *at != block) {
                self.fences = Some((block, Box::new(self.table.fences(block)?)));
            }
            let (_, fences) = self.fences.as_ref().expect("it was read just now");
            if fence_in(fences, number % FENCES).classes & self.classes != 0 {
                return Ok(Some(if number == here { cursor } else { Cursor::new(number) }));
            }
        }
        Ok(None)
    }
}

impl Iterator for Scan {
    type Item = Result<Record, Unfit>;

    fn next(&mut self) -> Option<Result<Record, Unfit>> {
        if self.started && self.cursor.is_none() {
            return None;
        }
        self.advance().transpose()
    }
}
