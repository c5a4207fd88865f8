//! The work that no append should wait for: a spare segment once the active one is half full, and a vouch after a
//! quiet moment. Plain functions; one background thread calls them, and a simulation calls them itself.
//!
//! The thread never holds a lock that a commit waits for while it does I/O. It sleeps without a time limit while
//! nothing is due.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::ledger::backlog;
use crate::ledger::bell::Call;
use crate::ledger::core::Core;
use crate::ledger::cut::make_copies;
use crate::ledger::derived::{Unmade, make_snapshot, thin_out};
use crate::ledger::parts::Part;
use crate::ledger::roll::next_capacity;
use crate::ledger::spare;
use crate::model::seq::Seq;
use crate::storage::frame::FrameKind;
use crate::storage::table::page::TableKind;

/// So many indexes at least are merged into a snapshot.
const INDEXES_MIN: usize = 16;
/// So many are, however large the snapshot is.
const INDEXES_MAX: usize = 256;

/// How long nothing must have been appended before a vouch is written.
const QUIET: Duration = Duration::from_millis(100);

/// The background thread: returns when the ledger is closed or poisoned.
pub(crate) fn run(core: &Core) {
    // No error is lost: a spare that could not be made is made again by the append that needs it, which says so,
    // and a vouch that failed has poisoned the ledger, which the next append says.
    let sync_every = core.options.durability.sync_every();
    while let Some(call) = core.bell.wait(QUIET, sync_every) {
        answer(core, call);
    }
}

fn answer(core: &Core, call: Call) {
    let _ = match call {
        Call::Spare => prepare_spare(core),
        Call::Quiet => vouch(core),
        Call::Derive => derive(core),
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

/// Gives each sealed segment its index, and makes a snapshot where one is due. What cannot be made is tried again after the
/// next roll; until then memory holds what it would.
///
/// # Errors
/// Why one could not be made.
pub(crate) fn derive(core: &Core) -> Result<()> {
    derive_by(core, due)?;
    mend_floor(core)
}

/// Makes a copy of the floor again that is missing or cannot be read.
///
/// # Errors
/// Why it could not be made.
fn mend_floor(core: &Core) -> Result<()> {
    if core.bell.is_stopped() {
        return Ok(());
    }
    let _only_one = core.deriving.lock().expect("nobody panics with it");
    make_copies(core, &*core.first_segment()?, &mut pace(core))
}

/// What cannot wait until something long has ended, to be called every now and then on the way; its error says that the
/// ledger was closed.
pub(crate) fn pace(core: &Core) -> impl FnMut() -> io::Result<()> {
    let sync_every = core.options.durability.sync_every();
    move || {
        while let Some(call) = core.bell.due(sync_every) {
            answer(core, call);
        }
        core.bell.go_on()
    }
}

/// Makes a snapshot of all sealed segments, if there is none yet; the last seq that it covers.
///
/// # Errors
/// Why it could not be made.
pub(crate) fn snapshot(core: &Core) -> Result<Seq> {
    core.commit().usable()?;
    // What is sealed while it is made is for the next one: where appends come without end, this would have none either.
    let sealed = core.segments.read().expect("no writer panics").last_base();
    let covers = |part: &Part| is_snapshot(part) && part.end().last.next() >= sealed;
    let is_indexed = |part: &Part| !part.is_layer() && part.end().last.next() >= sealed;
    derive_by(core, |parts| match parts {
        _ if parts.iter().any(covers) => Due::Nothing,
        _ if parts.iter().any(is_indexed) => Due::Snapshot,
        _ => Due::Index,
    })?;
    let parts = Arc::clone(core.tasks.read().expect("no writer panics").parts());
    Ok(parts.iter().find(|part| is_snapshot(part)).map_or(Seq::ZERO, |part| part.end().last))
}

fn is_snapshot(part: &Part) -> bool {
    matches!(part, Part::Table(table) if table.header.kind == TableKind::Snapshot)
}

/// What is to be made next.
enum Due {
    /// The index of the oldest segment that has none, if there is one.
    Index,
    /// A snapshot of all that has its index.
    Snapshot,
    Nothing,
}

/// Makes what is due, by what there is, until nothing is.
fn derive_by(core: &Core, due: impl Fn(&[Part]) -> Due) -> Result<()> {
    if core.bell.is_stopped() {
        return Ok(());
    }
    let _only_one = core.deriving.lock().expect("nobody panics with it");
    let modes = (core.options.dir_mode, core.options.file_mode);
    let mut pause = pace(core);
    loop {
        let parts = Arc::clone(core.tasks.read().expect("no writer panics").parts());
        match due(&parts) {
            Due::Nothing => return Ok(()),
            Due::Index if backlog::shorten(core, &mut pause)? => continue,
            Due::Index => return Ok(()),
            Due::Snapshot => {}
        }
        let segments = core.segments.read().expect("no writer panics").clone();
        let tabled = parts.iter().position(|part| !part.is_layer()).unwrap_or(parts.len());
        let Some(parts @ [newest, ..]) = parts.get(tabled..) else { return Ok(()) };
        let Some((_, named)) = segments.sealed_as(newest.end().number)? else { return Ok(()) };
        match make_snapshot(&core.home, modes, &named, parts, &mut pause) {
            Ok(table) => {
                core.take_in(table);
                thin_out(&core.home)?;
            }
            Err(Unmade::Unfit(unfit)) => core.mend(&unfit)?,
            Err(Unmade::Failed(error)) => return Err(error),
        }
    }
}

/// What is due where nobody asks: an index for each sealed segment, and a snapshot once there are so many indexes that it pays. It
/// is written whole, and each index costs every look.
fn due(parts: &[Part]) -> Due {
    let (mut indexes, mut index_blocks, mut snapshot_blocks) = (0, 0, 0);
    for part in parts {
        match part {
            Part::Layer { .. } => return Due::Index,
            Part::Table(table) if table.header.kind == TableKind::Index => {
                indexes += 1;
                index_blocks += table.header.blocks;
            }
            Part::Table(table) => snapshot_blocks += table.header.blocks,
        }
    }
    let pays = indexes >= INDEXES_MIN && (index_blocks * 4 >= snapshot_blocks || indexes >= INDEXES_MAX);
    if pays { Due::Snapshot } else { Due::Nothing }
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
