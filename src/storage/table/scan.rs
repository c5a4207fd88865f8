//! The records of a table: one task or note by its hash, or all of them in order.
//!
//! Invariant: nothing that a block says leads out of the table's records.

use std::sync::Arc;

use crate::model::subject::Realm;
use crate::storage::bytes::{get_u16, get_u32, get_u64};
use crate::storage::table::filter::may_hold;
use crate::storage::table::page::{BLOCK_HEAD, BLOCK_PAYLOAD, FENCES, NONE_BEGINS, TableKind};
use crate::storage::table::read::{Block, Table, Unfit, fence_in};
use crate::storage::table::record::{Class, Classes, RECORD_BYTES_MAX, RECORD_HEAD, Record};

impl Table {
    /// What is known of a task or note.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn find(&self, hash: u64, realm: Realm, key: &str) -> Result<Option<Record>, Unfit> {
        self.block_of(hash)?.map_or(Ok(None), |block| self.find_from(block, hash, realm, key))
    }

    /// The block of records in which those of a hash begin, if there are any; `None` where there are none. That is known from filter
    /// and fences alone.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn block_of(&self, hash: u64) -> Result<Option<u64>, Unfit> {
        if self.header.kind == TableKind::Index && !may_hold(self.filter()?, hash) {
            return Ok(None);
        }
        // The block before may hold records of this hash behind smaller ones.
        self.first_block_from(hash).map(|after| Some(after.saturating_sub(1)))
    }

    /// As [`Table::find`], from the block that [`Table::block_of`] has named.
    ///
    /// # Errors
    /// A block cannot be read.
    pub(crate) fn find_from(&self, block: u64, hash: u64, realm: Realm, key: &str) -> Result<Option<Record>, Unfit> {
        let mut cursor = Cursor::new(block);
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

    /// Says to the disk that [`Table::find_from`] will most likely read this block, and the next one, into which a record may reach.
    pub(crate) fn hint_look(&self, block: u64) {
        self.hint(1 + block, 2);
    }

    /// All records of some classes from a hash on, in order.
    pub(crate) fn scan(self: &Arc<Self>, from: u64, classes: Classes) -> Scan {
        Scan { table: Arc::clone(self), from, classes, cursor: None, started: false, fences: None }
    }
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
    fences: Option<(u64, Arc<Block>)>,
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
                self.fences = Some((block, self.table.fences(block)?));
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
