//! Fences: for each block of records, the hash of the first that begins in it, and the classes of all that do.
//!
//! They find a record with one or two blocks read, and let a list of one state pass blocks where none is in it.

use crate::storage::bytes::{get_u16, get_u64, put};
use crate::storage::table::record::{Class, Classes};

/// Size of a fence, in bytes: hash (8), classes (2).
pub(crate) const FENCE_BYTES: usize = 10;

/// What is said of a block of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    /// Of the first record that begins in it; where none begins, of the one that reaches into it.
    pub hash: u64,
    pub classes: Classes,
}

/// The fences of a table, as its records come.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    fences: Vec<Fence>,
    /// Of the last record.
    hash: u64,
}

impl Fence {
    pub(crate) fn to_bytes(self) -> [u8; FENCE_BYTES] {
        let mut bytes = [0; FENCE_BYTES];
        put(&mut bytes, 0, &self.hash.to_le_bytes());
        put(&mut bytes, 8, &self.classes.to_le_bytes());
        bytes
    }

    /// The fence at an offset of a block.
    pub(crate) fn from_block(block: &[u8], offset: usize) -> Fence {
        Fence { hash: get_u64(block, offset), classes: get_u16(block, offset + 8) }
    }
}

impl Fences {
    /// A record begins in this block, counted from 0.
    pub(crate) fn begin(&mut self, block: u64, hash: u64, class: Class) {
        self.reach(block);
        if self.fences.len() as u64 == block {
            self.fences.push(Fence { hash, classes: 0 });
        }
        if let Some(fence) = self.fences.last_mut() {
            fence.classes |= class.bit();
        }
        self.hash = hash;
    }

    /// The fences of so many blocks.
    pub(crate) fn finish(mut self, blocks: u64) -> Vec<Fence> {
        self.reach(blocks);
        self.fences
    }

    /// The last record reaches through all blocks up to this one, which have no fence yet.
    fn reach(&mut self, block: u64) {
        let covered = Fence { hash: self.hash, classes: 0 };
        self.fences.resize(self.fences.len().max(block as usize), covered);
    }
}
