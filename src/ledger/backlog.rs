//! Sealed segments that have no index yet. What they come to is held in memory until they have one.
//!
//! Invariant: where a background thread makes indexes, no append that has rolled returns while more than one segment waits
//! for its own; the rolling one helps. So memory, and what the next opening folds, stay bounded however fast is appended, and
//! while a snapshot is made.
//!
//! Lock order: `indexing`, then `commit`, then `tasks`. Who has rolled holds none of them.

use std::io;
use std::sync::Arc;

use crate::error::Result;
use crate::ledger::core::Core;
use crate::ledger::derived::{Unmade, make_index};
use crate::ledger::options::Maintenance;

/// So many sealed segments may have no index when an append that has rolled returns: who opens after a crash folds them.
pub(crate) const LAG_MAX: usize = 1;

/// Gives the oldest of them its index; whether there was one. Waits for whoever makes one.
///
/// # Errors
/// Why it could not be made: memory goes on holding what it would.
pub(crate) fn shorten(core: &Core, pause: &mut dyn FnMut() -> io::Result<()>) -> Result<bool> {
    let _only_one = core.indexing.lock().expect("nobody panics with it");
    index_oldest(core, pause)
}

/// To be called by one who has rolled: makes indexes as long as too many segments wait for theirs. `may_wait` says whether it
/// may wait for another who makes one: not the background thread, which may be that other itself.
pub(crate) fn help(core: &Core, may_wait: bool) {
    while core.options.maintenance == Maintenance::Thread && layers(core) > LAG_MAX {
        let held = match may_wait {
            true => Some(core.indexing.lock().expect("nobody panics with it")),
            false => core.indexing.try_lock().ok(),
        };
        // One that cannot be made costs memory; the background thread tries again.
        if held.is_none() || !index_oldest(core, &mut || Ok(())).unwrap_or(false) {
            return;
        }
    }
}

/// How many sealed segments have no index.
pub(crate) fn layers(core: &Core) -> usize {
    core.tasks.read().expect("no writer panics").layers()
}

/// As [`shorten`], by one who holds `indexing`.
fn index_oldest(core: &Core, pause: &mut dyn FnMut() -> io::Result<()>) -> Result<bool> {
    let modes = (core.options.dir_mode, core.options.file_mode);
    loop {
        let parts = Arc::clone(core.tasks.read().expect("no writer panics").parts());
        let segments = core.segments.read().expect("no writer panics").clone();
        let Some(part) = parts.iter().rev().find(|part| part.is_layer()) else { return Ok(false) };
        let Some((segment, named)) = segments.sealed_as(part.end().number)? else { return Ok(false) };
        match make_index(&core.home, modes, &segment, &named, part, pause) {
            Ok(table) => {
                core.take_in(table);
                core.indexes.lock().expect("nobody panics with it").remove(segment.header.number);
                segment.frames.write().expect("no reader panics").clear();
                return Ok(true);
            }
            Err(Unmade::Unfit(unfit)) => core.mend(&unfit)?,
            Err(Unmade::Failed(error)) => return Err(error),
        }
    }
}
