//! The in-memory file system that tears, fails and crashes on schedule.
//!
//! It is for tests of recovery, this crate's and an embedder's. [`MemVfs`] is where to start. It keeps what was
//! written (which every process sees at once) apart from what is durable, and remembers every operation, so that
//! each state that a power cut may leave at each moment can be made and opened.
//!
//! What it promises about durability is on purpose as little as POSIX and the common file systems do:
//! - A sync of a file makes its bytes and its length durable, and no name.
//! - A new, changed or removed name is durable after a sync of its directory, and a rename from one directory to
//!   another after a sync of both. A new directory needs a sync of its parent.
//! - Until then a power cut leaves any mixture: each sector of 512 bytes in any version that it had, each length,
//!   each change of names that is possible without the lost ones. A rename has happened or not, nothing between.
//! - Bytes within a kept length that were lost read as they were, or as zeros where there were none.

mod content;

mod disk;

mod random;

mod schedule;

mod trace;

mod replay;

mod world;

mod mem;

mod calls;

mod crash;

mod states;

mod cut;

#[cfg(test)]
mod tests;

pub use content::{SECTOR, Sector};
pub use crash::{Choice, Pending, PendingLen, PendingSector, Torn, WORD};
pub use cut::Cuts;
pub use disk::FileId;
pub use mem::MemVfs;
pub use replay::NameOp;
pub use schedule::{CallKind, Effect, Fault, SyncFailure};
pub use states::Limits;
pub use trace::{Op, SyncOutcome};
