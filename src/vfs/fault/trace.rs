//! What the trace keeps: every operation that changed something or made something durable.
//!
//! Invariants:
//! - The trace and the state before it are enough to rebuild every later state.
//! - Calls that change nothing (reads, lists, opens, refused and failed calls) are not in it.

use std::path::Path;
use std::sync::Arc;

use super::disk::FileId;

/// One operation. Paths are absolute and normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A directory was created.
    CreateDir {
        /// Its path.
        path: Arc<Path>,
        /// The permission bits that were asked for.
        mode: u32,
    },
    /// An empty file was created.
    Create {
        /// Its path.
        path: Arc<Path>,
        /// Its number.
        file: FileId,
        /// The permission bits that were asked for.
        mode: u32,
    },
    /// Bytes were written; of a short or failed write only those that arrived.
    Write {
        /// The number of the file.
        file: FileId,
        /// Where the first byte went.
        offset: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// The bytes of a file were synced.
    SyncData {
        /// The number of the file.
        file: FileId,
        /// What that did to the disk.
        outcome: SyncOutcome,
    },
    /// A file was renamed.
    Rename {
        /// Its path before.
        from: Arc<Path>,
        /// Its path after.
        to: Arc<Path>,
        /// Its number.
        file: FileId,
    },
    /// A file was renamed onto another, which has no name then.
    Replace {
        /// Its path before.
        from: Arc<Path>,
        /// Its path after.
        to: Arc<Path>,
        /// Its number.
        file: FileId,
        /// The number of the one that was there.
        replaced: FileId,
    },
    /// A file was removed.
    Remove {
        /// Its path.
        path: Arc<Path>,
        /// Its number.
        file: FileId,
    },
    /// The names in a directory were made durable.
    SyncDir {
        /// Its path.
        path: Arc<Path>,
    },
    /// A lock was taken.
    Lock {
        /// The number of the lock file.
        file: FileId,
    },
    /// A lock was given back.
    Unlock {
        /// The number of the lock file.
        file: FileId,
    },
}

/// What a call of `sync_data` did to the disk, whatever it told its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOutcome {
    /// All that was written is durable.
    Durable,
    /// What was written since the last sync never reaches the disk, though it can still be read.
    Lost,
    /// What was written since the last sync is gone, and the file reads as it is on disk.
    Reverted,
}
