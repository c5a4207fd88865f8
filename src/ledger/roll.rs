//! A roll: seal one segment and start the next.
//!
//! Order: everything placed is synced; the successor is made durable (header, rename, directory sync); the old segment
//! is sealed; only then is anything placed in the new one. A seal therefore always demands a successor that is there.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::core::{Commit, Core, FACTS_BYTES};
use crate::ledger::options::Options;
use crate::ledger::primitives::MutexGuard;
use crate::ledger::spare;
use crate::model::limits::SEGMENT_BYTES_YOUNG;
use crate::model::subject::Each;
use crate::storage::buffer::Buffer;
use crate::storage::frame::FrameSeed;
use crate::storage::segment::{HEADER_BYTES, Predecessor, Reason, SEAL_BYTES, Seal, Segment, SegmentHeader};
use crate::vfs::ops::write_all_at;

/// The size of the segment after one of this size, which must hold a batch that takes `room` bytes.
pub(crate) fn next_capacity(options: &Options, before: Option<u64>, room: u64) -> u64 {
    let young = options.segment_size.min(SEGMENT_BYTES_YOUNG);
    let grown = before.map_or(young, |before| before.saturating_mul(2).clamp(young, options.segment_size));
    let needed = HEADER_BYTES + FACTS_BYTES + room + SEAL_BYTES;
    grown.max(needed).next_multiple_of(spare::CAPACITY_ALIGN)
}

impl Core {
    /// Makes the next segment the active one, which must hold a batch that takes `room` bytes. Nobody else may be rolling.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`] where no spare can be made: nothing has changed. [`Error::Poisoned`] where
    /// it went wrong later.
    pub(crate) fn roll<'a>(&'a self, mut commit: MutexGuard<'a, Commit>, room: u64) -> Result<()> {
        assert!(!commit.rolling, "one roll at a time");
        // Nothing is placed from here on, so what waits can be flushed to its end.
        commit.rolling = true;
        loop {
            commit.usable()?;
            let at_rest;
            (commit, at_rest) = self.step_to_rest(commit);
            if at_rest && !commit.making {
                break;
            } else if at_rest {
                commit = self.wait_landed(commit);
            }
        }
        commit.flying = true;
        let old = Arc::clone(&commit.active);
        let capacity = next_capacity(&self.options, Some(old.header.capacity), room);
        let ready = commit.spare.take().filter(|spare| spare.capacity >= capacity);
        let (placed, placed_at, chain, end) = (commit.placed, commit.placed_at, commit.chain, commit.buffer.end_max());
        drop(commit);

        let prepared = self.salt().and_then(|salt| {
            spare::check_home(&*self.vfs, &self.dir, self.inode)?;
            let spare = ready.map_or_else(
                || spare::prepare(&*self.vfs, &self.dir, self.options.file_mode, capacity, &mut || {}),
                Ok,
            )?;
            Ok((salt, spare))
        });
        let (salt, spare) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let mut commit = self.commit();
                (commit.flying, commit.rolling) = (false, false);
                drop(commit);
                self.landed.notify_all();
                return Err(error);
            }
        };
        let header = SegmentHeader {
            identity: self.identity,
            number: old.header.number + 1,
            base: placed.next(),
            base_at: placed_at,
            capacity: spare.capacity,
            salt,
            reason: Reason::Roll,
            predecessor: Some(Predecessor { number: old.header.number, end, last: placed, chain }),
            epoch: self.epoch,
        };
        let succeeded = spare::publish(&*self.vfs, &self.dir, spare, header).and_then(|new| {
            seal(&old, &new.header)?;
            Ok(new)
        });
        match succeeded {
            Ok(new) => {
                let mut commit = self.commit();
                commit.buffer = Buffer::new(FrameSeed::of(&new.header), self.epoch, HEADER_BYTES);
                commit.vouched = commit.vouched.max(placed);
                let Each { tasks, notes } = &mut commit.numbers;
                for numbers in [tasks, notes] {
                    // They keep the room of as many: the next segment is likely to name about as many.
                    let named = numbers.len();
                    numbers.clear();
                    numbers.shrink_to(named);
                }
                commit.active = Arc::clone(&new);
                // All that was placed is published: what this segment changed is complete.
                self.tasks.write().expect("no reader panics").seal(old.header.number);
                self.segments.write().expect("no reader panics").push(new);
                (commit.flying, commit.rolling) = (false, false);
                drop(commit);
                self.landed.notify_all();
                self.bell.derive();
                Ok(())
            }
            Err(Error::Io { action, path, source }) => {
                self.poison(path, action, std::io::Error::new(source.kind(), source));
                self.commit().usable()
            }
            Err(other) => unreachable!("publishing and sealing fail by I/O only, not by {other}"),
        }
    }

    fn salt(&self) -> Result<u32> {
        let mut salt = [0; 4];
        self.vfs.random(&mut salt).map_err(Error::io("draw random bytes for", &self.dir))?;
        Ok(u32::from_le_bytes(salt))
    }
}

/// Writes the seal slot of a segment whose successor is durable, and syncs it.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn seal(old: &Segment, successor: &SegmentHeader) -> Result<()> {
    let named = successor.predecessor.expect("a successor names its predecessor");
    let seal = Seal {
        epoch: successor.epoch,
        successor: successor.number,
        end: named.end,
        last: named.last,
        chain: named.chain,
    };
    let slot = seal.to_slot(old.header.salt);
    write_all_at(&*old.file, &slot, old.header.area_end()).map_err(Error::io("seal", &old.path))?;
    // A crash before this sync leaves a successor without a seal before it; recovery writes the seal again.
    old.file.sync_data().map_err(Error::io("sync", &old.path))
}
