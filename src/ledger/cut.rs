//! What goes once a floor stands in its place, and what becomes of a prune that was interrupted.
//!
//! Order of a prune: both copies of the floor are durable; then the entry that tells of it; then the segments go, the oldest
//! first, each removal durable before the next; then what was derived from them, and earlier floors. Until the entry is in the
//! log nothing has happened, and the next writer removes the floor; from then on the next writer goes on where it was
//! interrupted.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::core::Core;
use crate::ledger::create::remove_if_there;
use crate::ledger::derived::{self, Unmade, make};
use crate::ledger::floor::{self, COPIES};
use crate::ledger::parts::Part;
use crate::ledger::spare::check_home;
use crate::model::event::EventKind;
use crate::model::seq::Seq;
use crate::storage::floors;
use crate::storage::log;
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};

/// What the entry that tells of a prune has in its output, beside what is there for people: which floor it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub last: Seq,
    pub chain: u32,
}

impl Told {
    pub(crate) fn of(header: &TableHeader) -> Told {
        Told { last: header.last, chain: header.chain }
    }
}

/// Finishes a prune that was interrupted, or removes what it left where it never came to be. Before anything is appended.
///
/// # Errors
/// Something cannot be read or removed.
pub(crate) fn recover(core: &Core) -> Result<()> {
    let vfs = &*core.vfs;
    let floors = floors::list(vfs, &core.dir)?;
    for path in &floors.unfinished {
        remove_if_there(vfs, path)?;
    }
    let stands_on = core.first_segment()?.header.predecessor;
    for (last, paths) in floors.copies.iter().rev() {
        if stands_on.is_some_and(|named| *last <= named.last) {
            break;
        }
        match copy_of(core, *last, paths) {
            Some(table) if is_told(core, &table.header)? => {
                // No segment goes while one copy only is there.
                let successor = successor_of(core, &table.header);
                if let Some(successor) = successor {
                    make_copies(core, &successor, &mut || Ok(()))?;
                }
                stand_on(core, &table);
                break;
            }
            _ => remove_floor(core, paths)?,
        }
    }
    drop_below(core)
}

/// A copy of a floor that fits the log.
fn copy_of(core: &Core, last: Seq, paths: &[std::path::PathBuf]) -> Option<Arc<Table>> {
    paths.iter().find_map(|path| {
        let table = Table::open(&*core.vfs, path, core.home.mmap).ok()?;
        let named = successor_of(core, &table.header)?.header.predecessor?;
        let fits = table.header.fits(TableKind::Snapshot, &core.identity.uuid, Seq::FIRST, &named).is_ok();
        (fits && table.header.last == last).then(|| Arc::new(table))
    })
}

fn successor_of(core: &Core, header: &TableHeader) -> Option<Arc<Segment>> {
    let segments = core.segments.read().expect("no writer panics").clone();
    let n = segments.position(header.number.checked_add(1)?)?;
    segments.get(n).ok()
}

/// Whether an entry tells of the prune that made this floor: one that came after the floor.
fn is_told(core: &Core, header: &TableHeader) -> Result<bool> {
    let log = core.log();
    for stored in log.stored(header.made.next().max(log.oldest())) {
        let entry = stored?.entry;
        if entry.kind() == EventKind::Pruned && told_by(&entry.event) == Some(Told::of(header)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn told_by(event: &crate::model::event::Event) -> Option<Told> {
    let told = event.output.set()?.parse().ok()?;
    let number = |name: &str| told.get(name)?.as_u64();
    Some(Told { last: Seq(number("last")?), chain: u32::try_from(number("chain")?).ok()? })
}

fn remove_floor(core: &Core, paths: &[std::path::PathBuf]) -> Result<()> {
    for path in paths {
        remove_if_there(&*core.vfs, path)?;
    }
    sync_dir(core, &names::floor_dir(&core.dir))
}

/// From here on the ledger stands on this floor: what it covers is forgotten.
pub(crate) fn stand_on(core: &Core, floor: &Arc<Table>) {
    let number = floor.header.number;
    // Whoever makes an index finds the part that it is of when it is done.
    let _nobody = core.indexing.lock().expect("nobody panics with it");
    {
        let mut segments = core.segments.write().expect("no reader panics");
        *segments = segments.from(number + 1);
    }
    let mut tasks = core.tasks.write().expect("no reader panics");
    // Where a later snapshot is all there is, it stays.
    if tasks.parts().iter().any(|part| part.end().number <= number) {
        tasks.replace(Arc::clone(floor));
    }
    drop(tasks);
    let mut indexes = core.indexes.lock().expect("nobody panics with it");
    *indexes = indexes.from(number + 1);
}

/// Removes what the floor on which the ledger stands has replaced: segments, what was derived from them, earlier floors.
///
/// # Errors
/// Something cannot be removed; the next call goes on.
pub(crate) fn drop_below(core: &Core) -> Result<()> {
    let Some(floor) = core.first_segment()?.header.predecessor else { return Ok(()) };
    let vfs = &*core.vfs;
    let log_dir = names::log_dir(&core.dir);
    let listing = log::list(vfs, &core.dir)?;
    let below: Vec<_> = listing.segments.into_iter().filter(|(number, ..)| *number <= floor.number).collect();
    if !below.is_empty() {
        check_home(vfs, &core.dir, core.inode)?;
        // What an interrupted prune has removed must not come back below what is removed now.
        sync_dir(core, &log_dir)?;
    }
    for (_, _, path) in below {
        remove_if_there(vfs, &path)?;
        sync_dir(core, &log_dir)?;
    }
    let tables = derived::list(vfs, &core.dir);
    let indexes = tables.indexes.range(..=floor.number).map(|(_, path)| path);
    for path in indexes.chain(tables.snapshots.range(..=floor.last).map(|(_, path)| path)) {
        remove_if_there(vfs, path)?;
    }
    let earlier = floors::list(vfs, &core.dir)?.copies;
    let mut earlier = earlier.range(..floor.last).peekable();
    if earlier.peek().is_none() {
        return Ok(());
    }
    for (_, paths) in earlier {
        remove_floor(core, paths)?;
    }
    Ok(())
}

/// Makes each copy of the floor under a segment again that is missing or was found to be unfit, from the other one.
///
/// # Errors
/// Why one could not be made.
pub(crate) fn make_copies(core: &Core, first: &Segment, pause: &mut dyn FnMut() -> std::io::Result<()>) -> Result<()> {
    let Some(named) = first.header.predecessor else { return Ok(()) };
    let mut unfit: Vec<Unfit> = core.unfit.lock().expect("nobody panics with it").clone();
    let good = floor::copies_under(&core.home, first, &mut unfit);
    let Some(table) = good.first().filter(|_| good.len() < COPIES.len()) else { return Ok(()) };
    let modes = (core.options.dir_mode, core.options.file_mode);
    for path in COPIES.map(|copy| names::floor(&core.dir, named.last, copy)) {
        if good.iter().any(|good| good.path == path) {
            continue;
        }
        check_home(&*core.vfs, &core.dir, core.inode)?;
        let parts = [Part::Table(Arc::clone(table))];
        match make(&core.home, modes, path.clone(), table.header, &parts, &[], pause) {
            Ok(_) => core.unfit.lock().expect("nobody panics with it").retain(|unfit| unfit.path != path),
            // Both are bad, each in its way: what can still be read of them stays as it is.
            Err(Unmade::Unfit(found)) => {
                return Err(Error::damaged(&found.path, None, Some(Seq::FIRST), found.what));
            }
            Err(Unmade::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
///
/// # Errors
/// It cannot be synced.
pub(crate) fn sync_dir(core: &Core, dir: &Path) -> Result<()> {
    core.vfs.sync_dir(dir).map_err(Error::io("sync", dir))
}
