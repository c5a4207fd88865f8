//! The work that no append should wait for: a spare segment once the active one is half full, and a vouch after a
//! quiet moment. Plain functions; one background thread calls them, and a simulation calls them itself.
//!
//! The thread never holds a lock that a commit waits for while it does I/O. It sleeps without a time limit while
//! nothing is due.

use std::time::Duration;

use crate::error::Result;
use crate::ledger::bell::Call;
use crate::ledger::core::Core;
use crate::ledger::roll::next_capacity;
use crate::ledger::spare;
use crate::storage::frame::FrameKind;

/// How long nothing must have been appended before a vouch is written.
const QUIET: Duration = Duration::from_millis(100);

/// The background thread: returns when the ledger is closed or poisoned.
pub(crate) fn run(core: &Core) {
    // No error is lost: a spare that could not be made is made again by the append that needs it, which says so,
    // and a vouch that failed has poisoned the ledger, which the next append says.
    let sync_every = core.options.durability.sync_every();
    while let Some(call) = core.bell.wait(QUIET, sync_every) {
        let _ = match call {
            Call::Spare => prepare_spare(core),
            Call::Quiet => vouch(core),
            Call::Flush => {
                core.serve();
                Ok(())
            }
            Call::Sync => {
                sync(core);
                Ok(())
            }
        };
    }
}

/// Makes durable what is written, if it is not yet and nobody is at it.
pub(crate) fn sync(core: &Core) {
    let commit = core.commit();
    if commit.is_open() && commit.unsynced && !commit.syncing && !commit.rolling {
        core.sync_written(commit);
    }
}

/// Makes the next segment, if the active one is half full and there is none yet.
///
/// # Errors
/// [`crate::Error::NoSpace`] or [`crate::Error::Io`].
pub(crate) fn prepare_spare(core: &Core) -> Result<()> {
    let mut commit = core.commit();
    // A roll uses the spare's name itself, and no other spare may be made beside it.
    let busy = commit.making || commit.rolling;
    if busy || !commit.wants_spare() || !commit.is_open() {
        return Ok(());
    }
    commit.making = true;
    let capacity = next_capacity(&core.options, Some(commit.active.header.capacity), 0);
    drop(commit);
    // While it is written, flights go on; a roll would wait for this very spare.
    let mut pause = || core.flush();
    let made = spare::check_home(&*core.vfs, &core.dir, core.inode)
        .and_then(|()| spare::prepare(&*core.vfs, &core.dir, core.options.file_mode, capacity, &mut pause));
    let mut commit = core.commit();
    commit.making = false;
    let made = made.map(|spare| commit.spare = Some(spare));
    drop(commit);
    core.landed.notify_all();
    made
}

/// Writes a frame that names all that is durable, if no frame does yet and nothing waits.
///
/// # Errors
/// [`crate::Error::Poisoned`].
pub(crate) fn vouch(core: &Core) -> Result<()> {
    let commit = core.commit();
    if !commit.is_open() || !commit.is_quiet() || commit.vouched >= core.gate.durable() {
        return Ok(());
    }
    core.write_fact(commit, FrameKind::Vouch)
}
