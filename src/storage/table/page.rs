//! The header page and the blocks of a table.
//!
//! Header, 4096 bytes at the start (all integers little-endian):
//! ```text
//!   0  8  magic "TLTABLE1"                    72  8  time of that entry, ms
//!   8  4  CRC-32 of bytes 12 to 4096          80  8  byte at which the segment's accepted frames end
//!  12  2  version: 1                          88  4  chain there
//!  14  2  kind: 1 index, 2 snapshot           92  4  zero
//!  16 16  uuid of the ledger                  96 72  live records by state, after the last seq
//!  32  8  number of the last segment         168  8  notes, after the last seq
//!         that it covers                     176  8  records in the table
//!  40  8  first seq that it covers           184  8  blocks of records
//!  48  8  last seq that it covers            192  8  places of frames
//!  56  8  length of the file                 200     zeros
//!  64  8  floors: the last seq of the ledger
//!         when it was made; else zero
//! ```
//! Behind it blocks of 4096 bytes, numbered from 1: those of records, then of fences, of places, and of the filter.
//! ```text
//!   0  4  CRC-32 of what the header says (uuid, kind, number, last seq), the number of the block, and bytes 4 to 4096
//!   4  2  blocks of records: where the first record that begins here begins, counted from byte 6; 65535 for none
//!   6     4090 bytes
//! ```

use crate::model::seq::Seq;
use crate::storage::bytes::{crc32, get_array, get_u16, get_u32, get_u64, put};
use crate::storage::segment::{FramePlace, Predecessor};
use crate::storage::table::filter::{LINE_BYTES, filter_bytes};

/// Size of the header and of a block, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// What a block holds beside its checksum and its first offset, in bytes.
pub(crate) const BLOCK_PAYLOAD: usize = BLOCK_BYTES - BLOCK_HEAD;
/// Where the payload of a block begins.
pub(crate) const BLOCK_HEAD: usize = 6;
/// First eight bytes of a table.
pub(crate) const TABLE_MAGIC: [u8; 8] = *b"TLTABLE1";
/// The version of tables that is written, and the only one that is read: others are made again.
pub(crate) const TABLE_VERSION: u16 = 1;
/// Where no record begins in a block.
pub(crate) const NONE_BEGINS: u16 = u16::MAX;

/// How many fences, of ten bytes, a block has.
pub(crate) const FENCES: u64 = (BLOCK_PAYLOAD / 10) as u64;
/// A place: seq less the first that the table covers (4), offset (4), time (8).
pub(crate) const PLACE_BYTES: usize = 16;
/// Bytes of the filter that a block has, in whole lines.
pub(crate) const FILTER_BYTES: usize = BLOCK_PAYLOAD / LINE_BYTES * LINE_BYTES;
/// How many places a block has.
pub(crate) const PLACES: u64 = (BLOCK_PAYLOAD / PLACE_BYTES) as u64;

/// What a table covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// One sealed segment.
    Index,
    /// Everything up to the end of a sealed segment.
    Snapshot,
}

/// A table's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableHeader {
    pub kind: TableKind,
    pub uuid: [u8; 16],
    /// The last segment that it covers.
    pub number: u64,
    pub first: Seq,
    pub last: Seq,
    /// Of a floor: the last entry that the ledger had when it was made, so that the one that tells of the prune is behind it.
    /// 0 in other tables.
    pub made: Seq,
    /// When that entry was placed.
    pub at: u64,
    /// Where the frames of the last segment end, and the chain there: what its successor's header says.
    pub end: u64,
    pub chain: u32,
    /// After the last seq.
    pub counts: [u64; 9],
    pub noted: u64,
    pub records: u64,
    pub blocks: u64,
    pub places: u64,
}

impl TableHeader {
    /// Blocks of fences.
    pub(crate) fn fence_blocks(&self) -> u64 {
        self.blocks.div_ceil(FENCES)
    }

    /// The first block of places.
    pub(crate) fn places_from(&self) -> u64 {
        1 + self.blocks + self.fence_blocks()
    }

    /// The first block of the filter.
    pub(crate) fn filter_from(&self) -> u64 {
        self.places_from() + self.places.div_ceil(PLACES)
    }

    /// Size of the filter, in bytes: a snapshot has none, since a look at it is one block for what is there and for what is not.
    pub(crate) fn filter_bytes(&self) -> u64 {
        if self.kind == TableKind::Index { filter_bytes(self.records) } else { 0 }
    }

    /// Length of the file, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        (self.filter_from() + self.filter_bytes().div_ceil(FILTER_BYTES as u64)) * BLOCK_BYTES as u64
    }

    /// The header page.
    pub(crate) fn to_page(self) -> Vec<u8> {
        let mut page = vec![0; BLOCK_BYTES];
        put(&mut page, 0, &TABLE_MAGIC);
        put(&mut page, 12, &TABLE_VERSION.to_le_bytes());
        put(&mut page, 14, &self.kind.number().to_le_bytes());
        put(&mut page, 16, &self.uuid);
        put(&mut page, 88, &self.chain.to_le_bytes());
        let numbers = [
            (32, self.number),
            (40, self.first.0),
            (48, self.last.0),
            (56, self.file_bytes()),
            (64, self.made.0),
            (72, self.at),
            (80, self.end),
            (168, self.noted),
            (176, self.records),
            (184, self.blocks),
            (192, self.places),
        ];
        for (offset, number) in numbers {
            put(&mut page, offset, &number.to_le_bytes());
        }
        for (n, count) in self.counts.iter().enumerate() {
            put(&mut page, 96 + 8 * n, &count.to_le_bytes());
        }
        let crc = crc32(&page, 12);
        put(&mut page, 8, &crc.to_le_bytes());
        page
    }

    /// Reads a header page of a file of so many bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_page(page: &[u8], length: u64) -> Result<TableHeader, String> {
        if page.len() < BLOCK_BYTES {
            return Err(format!("it ends after {} bytes", page.len()));
        }
        if get_array::<8>(page, 0) != TABLE_MAGIC {
            return Err("it does not begin as a table does".to_owned());
        }
        if crc32(page, 12) != get_u32(page, 8) {
            return Err("the checksum of its header does not match".to_owned());
        }
        let version = get_u16(page, 12);
        if version != TABLE_VERSION {
            return Err(format!("it is of version {version}, and this one knows {TABLE_VERSION}"));
        }
        let header = TableHeader {
            kind: match get_u16(page, 14) {
                1 => TableKind::Index,
                2 => TableKind::Snapshot,
                kind => return Err(format!("it is of the unknown kind {kind}")),
            },
            uuid: get_array(page, 16),
            number: get_u64(page, 32),
            first: Seq(get_u64(page, 40)),
            last: Seq(get_u64(page, 48)),
            made: Seq(get_u64(page, 64)),
            at: get_u64(page, 72),
            end: get_u64(page, 80),
            chain: get_u32(page, 88),
            counts: std::array::from_fn(|n| get_u64(page, 96 + 8 * n)),
            noted: get_u64(page, 168),
            records: get_u64(page, 176),
            blocks: get_u64(page, 184),
            places: get_u64(page, 192),
        };
        let sizes = header.blocks.max(header.places).max(header.records);
        if sizes > length || header.file_bytes() != length || get_u64(page, 56) != length {
            return Err(format!("it has {length} bytes, and its header says otherwise"));
        }
        if header.first.0 == 0 || header.last.0 > u64::MAX / 2 || header.last.0 + 1 < header.first.0 {
            return Err("its seqs are impossible".to_owned());
        }
        Ok(header)
    }

    /// Whether it is of this log: what it says of the segment's end is what the successor states. `base` is that of the
    /// segment; a snapshot begins with the first seq there ever was.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn fits(
        &self,
        kind: TableKind,
        uuid: &[u8; 16],
        base: Seq,
        named: &Predecessor,
    ) -> Result<(), &'static str> {
        if self.uuid != *uuid {
            return Err("it belongs to another ledger");
        }
        let first = if kind == TableKind::Index { base } else { Seq::FIRST };
        let says = (self.kind, self.first, self.number, self.last, self.end, self.chain);
        if says != (kind, first, named.number, named.last, named.end, named.chain) {
            return Err("it is not of this log");
        }
        Ok(())
    }

    /// What the checksum of each block begins with, so that no block of another table is taken for one of this.
    pub(crate) fn seed(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.uuid);
        hasher.update(&self.kind.number().to_le_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.update(&self.last.0.to_le_bytes());
        hasher.finalize()
    }
}

impl TableKind {
    fn number(self) -> u16 {
        match self {
            TableKind::Index => 1,
            TableKind::Snapshot => 2,
        }
    }
}

/// The checksum of a block.
pub(crate) fn block_crc(seed: u32, number: u64, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&number.to_le_bytes());
    hasher.update(block.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// The bytes of the place of a frame.
pub(crate) fn place_to_bytes(first: Seq, place: &FramePlace) -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    put(&mut bytes, 0, &((place.first.0 - first.0) as u32).to_le_bytes());
    put(&mut bytes, 4, &(place.offset as u32).to_le_bytes());
    put(&mut bytes, 8, &place.at.to_le_bytes());
    bytes
}

/// The place at an offset of a block.
pub(crate) fn place_from_block(first: Seq, block: &[u8], offset: usize) -> FramePlace {
    FramePlace {
        first: Seq(first.0 + u64::from(get_u32(block, offset))),
        offset: u64::from(get_u32(block, offset + 4)),
        at: get_u64(block, offset + 8),
    }
}
