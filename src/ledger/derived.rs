//! Indexes and snapshots: which there are, which fit the log, and how they are made.
//!
//! Nothing here is truth. A table that is missing, damaged, stale or foreign is passed over and made again from the log;
//! only a table whose last seq, end and chain are those that a segment's successor states is believed. What cannot be
//! written is not: the ledger then keeps in memory what the table would hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::tasks::Part;
use crate::model::seq::Seq;
use crate::storage::identity::Identity;
use crate::storage::names;
use crate::storage::segment::{FramePlace, Predecessor, Segment};
use crate::storage::table::check::check;
use crate::storage::table::merge::{Merge, Source};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::Class;
use crate::storage::table::write::{Unwritten, write};
use crate::vfs::ops::{Kind, Vfs};

/// The tables that a directory holds, by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// By number of the segment.
    pub indexes: BTreeMap<u64, PathBuf>,
    /// By last seq.
    pub snapshots: BTreeMap<Seq, PathBuf>,
    /// Unfinished files, for the next writer to remove.
    pub unfinished: Vec<PathBuf>,
    /// Anything else; ignored.
    pub strays: Vec<PathBuf>,
}

/// Lists the tables. A directory that is missing or cannot be listed has none.
pub(crate) fn list(vfs: &dyn Vfs, dir: &Path) -> Tables {
    let mut tables = Tables::default();
    for (home, is_index) in [(names::index_dir(dir), true), (names::snapshot_dir(dir), false)] {
        for entry in vfs.list(&home).unwrap_or_default() {
            let path = home.join(&entry.name);
            let name = entry.name.to_str().filter(|_| entry.kind == Kind::File).unwrap_or_default();
            match (names::parse_index(name), names::parse_snapshot(name)) {
                (Some((number, _)), _) if is_index => drop(tables.indexes.insert(number, path)),
                (_, Some(last)) if !is_index => drop(tables.snapshots.insert(last, path)),
                _ if names::is_unfinished(name) => tables.unfinished.push(path),
                _ => tables.strays.push(path),
            }
        }
    }
    tables
}

/// Whether a table is of this log: what it says of the segment's end is what the successor states.
pub(crate) fn fits(header: &TableHeader, identity: &Identity, segment: &Segment, named: &Predecessor) -> Result<(), &'static str> {
    if header.uuid != identity.uuid {
        return Err("it belongs to another ledger");
    }
    let first = match header.kind {
        TableKind::Index => segment.header.base,
        TableKind::Snapshot => Seq::FIRST,
    };
    let stated = (header.number, header.last, header.end, header.chain);
    if (header.first, stated) != (first, (named.number, named.last, named.end, named.chain)) {
        return Err("it is not of this log");
    }
    Ok(())
}

/// The index of a segment, where there is one that fits.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn index_of(
    vfs: &dyn Vfs,
    path: &Path,
    identity: &Identity,
    segment: &Segment,
    named: &Predecessor,
    mmap: bool,
) -> std::result::Result<Arc<Table>, Unfit> {
    let table = Table::open(vfs, path, mmap)?;
    let unfit = |what: &str| Unfit { path: path.to_owned(), what: what.to_owned() };
    if table.header.kind != TableKind::Index {
        return Err(unfit("it is no index"));
    }
    fits(&table.header, identity, segment, named).map_err(unfit)?;
    Ok(Arc::new(table))
}

/// The newest snapshot that fits, of those that cover no more than the segments before the last; and why others do not.
pub(crate) fn newest_snapshot(
    vfs: &dyn Vfs,
    snapshots: &BTreeMap<Seq, PathBuf>,
    identity: &Identity,
    segments: &[Arc<Segment>],
    mmap: bool,
) -> (Option<Arc<Table>>, Vec<Unfit>) {
    let mut unfits = Vec::new();
    for path in snapshots.values().rev() {
        let found = Table::open(vfs, path, mmap).and_then(|table| {
            let unfit = |what: &str| Unfit { path: path.clone(), what: what.to_owned() };
            if table.header.kind != TableKind::Snapshot {
                return Err(unfit("it is no snapshot"));
            }
            let n = segments.binary_search_by_key(&table.header.number, |segment| segment.header.number);
            let pair = n.ok().and_then(|n| segments.get(n).zip(segments.get(n + 1)));
            let named = pair.and_then(|(segment, next)| Some((segment, next.header.predecessor?)));
            let (segment, named) = named.ok_or_else(|| unfit("it covers more than the log has"))?;
            fits(&table.header, identity, segment, &named).map_err(unfit)?;
            Ok(Arc::new(table))
        });
        match found {
            Ok(table) => return (Some(table), unfits),
            Err(unfit) => unfits.push(unfit),
        }
    }
    (None, unfits)
}

/// What a new table is to say.
pub(crate) struct Plan<'a> {
    pub path: PathBuf,
    pub header: TableHeader,
    /// The newest first.
    pub parts: &'a [Part],
    pub places: &'a [FramePlace],
}

/// Why a table was not made.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// One that it is made of cannot be read.
    Unfit(Unfit),
    Failed(Error),
}

/// Makes a table: written, synced, read back whole, and only then given its name. When this returns it is durable.
///
/// # Errors
/// Why it was not made; nothing is left of it.
pub(crate) fn make(
    vfs: &dyn Vfs,
    dir: &Path,
    modes: (u32, u32),
    plan: &Plan<'_>,
    mmap: bool,
    pause: &mut dyn FnMut(),
) -> std::result::Result<Arc<Table>, Unmade> {
    let home = plan.path.parent().expect("a table lies in a directory");
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Unmade::Failed(Error::io(action, &path)(source))
    };
    match vfs.create_dir(home, modes.0) {
        Ok(()) => vfs.sync_dir(dir).map_err(failed("sync", dir))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", home)(error)),
    }
    let unfinished = names::unfinished(&plan.path);
    remove(vfs, &unfinished).map_err(failed("remove", &unfinished))?;
    let made = write_and_check(vfs, modes.1, plan, &unfinished, pause).and_then(|()| {
        // One that stands there under the name does not fit, or it would not be made again.
        remove(vfs, &plan.path).map_err(failed("remove", &plan.path))?;
        vfs.rename(&unfinished, &plan.path).map_err(failed("publish", &plan.path))?;
        vfs.sync_dir(home).map_err(failed("sync", home))
    });
    if let Err(unmade) = made {
        // If it cannot be removed, the next writer does.
        let _ = vfs.remove(&unfinished);
        return Err(unmade);
    }
    Table::open(vfs, &plan.path, mmap).map(Arc::new).map_err(Unmade::Unfit)
}

fn write_and_check(
    vfs: &dyn Vfs,
    mode: u32,
    plan: &Plan<'_>,
    path: &Path,
    pause: &mut dyn FnMut(),
) -> std::result::Result<(), Unmade> {
    let file = vfs.create(path, mode).map_err(Error::io("create", path)).map_err(Unmade::Failed)?;
    let sources: Vec<Source<'_>> = plan.parts.iter().map(Part::source).collect();
    let mut records = Merge::new(sources, 0, Class::ALL).map(|known| known.map(|known| known.into_record()));
    write(path, &*file, plan.header, &mut records, plan.places, pause).map_err(|unwritten| match unwritten {
        Unwritten::Source(unfit) => Unmade::Unfit(unfit),
        Unwritten::Failed(error) => Unmade::Failed(error),
    })?;
    let written = Table::open(vfs, path, false).and_then(|table| check(&table, pause));
    written.map_err(|unfit| Unmade::Failed(Error::damaged(&unfit.path, None, None, unfit.what)))
}

/// Removes a file that may be missing.
fn remove(vfs: &dyn Vfs, path: &Path) -> std::io::Result<()> {
    match vfs.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
