//! Indexes and snapshots: which there are, which fit the log, and how they are made.
//!
//! Nothing here is truth. A table that is missing, damaged, stale or foreign is passed over and made again from the log;
//! only a table whose last seq, end and chain are those that a segment's successor states is believed. What cannot be
//! written is not: the ledger then keeps in memory what the table would hold.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::floor;
use crate::ledger::fold::fold;
use crate::ledger::parts::{End, Part};
use crate::ledger::segments::{Home, Segments};
use crate::ledger::tasks::Tasks;
use crate::model::seq::Seq;
use crate::storage::log::replay_sealed;
use crate::storage::names;
use crate::storage::segment::{FramePlace, Predecessor, Segment};
use crate::storage::table::check::check;
use crate::storage::table::merge::{Known, Merge};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::Class;
use crate::storage::table::write::{Unwritten, write};
use crate::vfs::ops::{Kind, Vfs};

/// So many segments without an index are held in memory while a ledger is opened; the background thread makes theirs later.
const LAYERS_MAX: usize = 8;

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

/// What folding sealed segments came to.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub tasks: Tasks,
    /// Bad regions that hide no entry, in the segments that were read.
    pub gaps: Vec<(PathBuf, Range<u64>)>,
    /// Tables that could not be used, and why.
    pub unfit: Vec<Unfit>,
}

/// Folds the first `count` of the segments, each of which has a successor: the newest snapshot, or the floor where there is
/// none and something was pruned, the indexes behind it, and the log where one is missing. Where many of these have none,
/// `keep` gives them an index, with these modes of directories and files; where that fails, memory holds what it would.
///
/// # Errors
/// Damage to what is read of the log; or it cannot be read.
pub(crate) fn fold_sealed(
    home: &Home,
    segments: &Segments,
    count: usize,
    keep: Option<(u32, u32)>,
    known_unfit: &[Unfit],
) -> Result<Sealed> {
    let mut unfit = known_unfit.to_vec();
    loop {
        let avoided = unfit.len();
        let mut gaps = Vec::new();
        let folded = fold_once(home, segments, count, keep, &mut unfit, &mut gaps)?;
        if let Some(tasks) = folded {
            return Ok(Sealed { tasks, gaps, unfit });
        }
        // Each round knows one more, of which there are not many.
        assert!(unfit.len() > avoided, "a table that cannot be used is named");
    }
}

/// As [`fold_sealed`]; `None` where a table turned out to be unfit on the way, which is then added to `unfit`.
fn fold_once(
    home: &Home,
    segments: &Segments,
    count: usize,
    keep: Option<(u32, u32)>,
    unfit: &mut Vec<Unfit>,
    gaps: &mut Vec<(PathBuf, Range<u64>)>,
) -> Result<Option<Tasks>> {
    let mut tasks = Tasks::new(home.identity.hash_key);
    let mut from = 0;
    if let Some((n, snapshot)) = newest_snapshot(home, segments, count, unfit)? {
        from = n + 1;
        tasks.pass(snapshot);
    } else if let Some(floor) = floor::under(home, &*segments.get(0)?, unfit)? {
        tasks.pass(floor);
    }
    for n in from..count {
        let (segment, named) = segments.sealed(n)?;
        let segment = &*segment;
        match index_of(home, segment, &named, unfit) {
            Some(index) => tasks.pass(index),
            None => {
                match fold(&mut tasks, &segment.path, &mut |visit| replay_sealed(segment, &named, visit))? {
                    Ok(found) => gaps.extend(found.into_iter().map(|gap| (segment.path.clone(), gap))),
                    Err(broken) => {
                        unfit.push(broken);
                        return Ok(None);
                    }
                }
                tasks.seal(segment.header.number);
                let part = tasks.parts().first().cloned().expect("it was sealed just now");
                if tasks.layers() > LAYERS_MAX
                    && let Some(modes) = keep
                    && let Ok(index) = make_index(home, modes, segment, &named, &part, &mut || Ok(()))
                {
                    segment.frames.write().expect("no reader panics").clear();
                    tasks.replace(index);
                }
            }
        }
    }
    Ok(Some(tasks))
}

/// The newest snapshot that fits of those that end with one of the first `count` segments, and the position of that.
///
/// # Errors
/// A segment cannot be opened.
fn newest_snapshot(
    home: &Home,
    segments: &Segments,
    count: usize,
    unfit: &mut Vec<Unfit>,
) -> Result<Option<(usize, Arc<Table>)>> {
    // Behind the last segment nothing is sealed, and what ends before the first one was pruned.
    let end = if count + 1 < segments.len() { segments.get(count)?.header.base } else { segments.last_base() };
    for path in list(&*home.vfs, &home.dir).snapshots.range(segments.first_base()..end).rev().map(|(_, path)| path) {
        if unfit.iter().any(|unfit| unfit.path == *path) {
            continue;
        }
        let found = match Table::open(&*home.vfs, path, home.mmap) {
            Err(found) => found,
            Ok(table) => {
                let n = segments.position(table.header.number).filter(|n| *n < count);
                let fits = match n {
                    None => Err("it covers more than the log has"),
                    Some(n) => {
                        let (segment, named) = segments.sealed(n)?;
                        let base = segment.header.base;
                        table.header.fits(TableKind::Snapshot, &home.identity.uuid, base, &named).map(|()| n)
                    }
                };
                match fits {
                    Ok(n) => return Ok(Some((n, Arc::new(table)))),
                    Err(what) => Unfit { path: path.clone(), what: what.to_owned() },
                }
            }
        };
        unfit.push(found);
    }
    Ok(None)
}

/// The index of a segment, where there is one that fits.
pub(crate) fn index_of(
    home: &Home,
    segment: &Segment,
    named: &Predecessor,
    unfit: &mut Vec<Unfit>,
) -> Option<Arc<Table>> {
    let path = names::index(&home.dir, segment.header.number, segment.header.base);
    if unfit.iter().any(|unfit| unfit.path == path) {
        return None;
    }
    let looked = match Table::look(&*home.vfs, &path, home.mmap) {
        // One that is missing is no finding: it is made after each roll.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        looked => looked.unwrap_or_else(|error| Err(error.to_string())),
    };
    let found = looked.and_then(|table| {
        let fits = table.header.fits(TableKind::Index, &home.identity.uuid, segment.header.base, named);
        fits.map(|()| Arc::new(table)).map_err(str::to_owned)
    });
    found.map_err(|what| unfit.push(Unfit { path, what })).ok()
}

/// Makes the index of a segment from the part that it came to.
///
/// # Errors
/// Why it was not made.
pub(crate) fn make_index(
    home: &Home,
    modes: (u32, u32),
    segment: &Segment,
    named: &Predecessor,
    part: &Part,
    pause: &mut dyn FnMut() -> io::Result<()>,
) -> std::result::Result<Arc<Table>, Unmade> {
    let path = names::index(&home.dir, segment.header.number, segment.header.base);
    let header = header_of(TableKind::Index, home, segment.header.base, part.end(), named);
    let places = || segment.frames.read().expect("no writer panics").clone();
    let mut known = places();
    // They are forgotten where the segment was closed meanwhile.
    if known.is_empty() && named.last >= segment.header.base {
        replay_sealed(segment, named, &mut |_, _| Ok(())).map_err(Unmade::Failed)?;
        known = places();
    }
    make(home, modes, path, header, std::slice::from_ref(part), &known, pause)
}

/// Makes a snapshot of all that parts come to, the newest of which ends where this says.
///
/// # Errors
/// Why it was not made.
pub(crate) fn make_snapshot(
    home: &Home,
    modes: (u32, u32),
    named: &Predecessor,
    parts: &[Part],
    pause: &mut dyn FnMut() -> io::Result<()>,
) -> std::result::Result<Arc<Table>, Unmade> {
    let newest = parts.first().expect("a snapshot is made of something");
    let header = header_of(TableKind::Snapshot, home, Seq::FIRST, newest.end(), named);
    make(home, modes, names::snapshot(&home.dir, named.last), header, parts, &[], pause)
}

pub(crate) fn header_of(kind: TableKind, home: &Home, first: Seq, end: End, named: &Predecessor) -> TableHeader {
    assert_eq!((end.number, end.last), (named.number, named.last), "a table ends where its segment does");
    TableHeader {
        kind,
        uuid: home.identity.uuid,
        number: end.number,
        first,
        last: end.last,
        made: Seq::ZERO,
        at: end.at,
        end: named.end,
        chain: named.chain,
        counts: end.counts,
        noted: end.noted,
        records: 0,
        blocks: 0,
        places: 0,
    }
}

/// Removes old snapshots: the newest two stay, and of older ones one for each power of four of the distance to the newest,
/// so that the past is never far from one.
///
/// # Errors
/// One cannot be removed.
pub(crate) fn thin_out(home: &Home) -> Result<()> {
    let snapshots = list(&*home.vfs, &home.dir).snapshots;
    let kept = kept(&snapshots.keys().copied().collect::<Vec<_>>());
    let mut removed = false;
    for (_, path) in snapshots.iter().filter(|(last, _)| !kept.contains(last)) {
        remove(&*home.vfs, path).map_err(Error::io("remove", path))?;
        removed = true;
    }
    let dir = names::snapshot_dir(&home.dir);
    if removed { home.vfs.sync_dir(&dir).map_err(Error::io("sync", &dir)) } else { Ok(()) }
}

/// Which of these snapshots, the oldest first, stay.
fn kept(snapshots: &[Seq]) -> Vec<Seq> {
    let Some(newest) = snapshots.last() else { return Vec::new() };
    // The oldest of each, so that what stays now stays when newer ones come.
    let mut steps: BTreeMap<Option<u32>, Seq> = BTreeMap::new();
    for last in snapshots {
        steps.entry((newest.0 - last.0).checked_ilog(4)).or_insert(*last);
    }
    steps.into_values().chain(snapshots.iter().rev().take(2).copied()).collect()
}

/// Why a table was not made.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// One that it is made of cannot be read.
    Unfit(Unfit),
    Failed(Error),
}

/// Makes a table: written, synced, read back whole, and only then given its name. When this returns it is durable.
pub(crate) fn make(
    home: &Home,
    (dir_mode, file_mode): (u32, u32),
    path: PathBuf,
    header: TableHeader,
    parts: &[Part],
    places: &[FramePlace],
    pause: &mut dyn FnMut() -> io::Result<()>,
) -> std::result::Result<Arc<Table>, Unmade> {
    let vfs = &*home.vfs;
    let dir = path.parent().expect("a table lies in a directory");
    let failed = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Unmade::Failed(no_space_or(Error::io(action, &path)(source)))
    };
    match vfs.create_dir(dir, dir_mode) {
        Ok(()) => vfs.sync_dir(&home.dir).map_err(failed("sync", &home.dir))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", dir)(error)),
    }
    let unfinished = names::unfinished(&path);
    remove(vfs, &unfinished).map_err(failed("remove", &unfinished))?;
    let made = write_and_check(vfs, file_mode, &unfinished, header, parts, places, pause).and_then(|()| {
        // One that stands there under the name does not fit, or it would not be made again.
        remove(vfs, &path).map_err(failed("remove", &path))?;
        vfs.rename(&unfinished, &path).map_err(failed("publish", &path))?;
        vfs.sync_dir(dir).map_err(failed("sync", dir))
    });
    if let Err(unmade) = made {
        // If it cannot be removed, the next writer does.
        let _ = vfs.remove(&unfinished);
        return Err(unmade);
    }
    Table::open(vfs, &path, home.mmap).map(Arc::new).map_err(Unmade::Unfit)
}

fn write_and_check(
    vfs: &dyn Vfs,
    mode: u32,
    path: &Path,
    header: TableHeader,
    parts: &[Part],
    places: &[FramePlace],
    pause: &mut dyn FnMut() -> io::Result<()>,
) -> std::result::Result<(), Unmade> {
    let file =
        vfs.create(path, mode).map_err(Error::io("create", path)).map_err(no_space_or).map_err(Unmade::Failed)?;
    let mut records = Merge::new(parts.iter().map(Part::source).collect(), 0, Class::ALL);
    let mut records = records.by_ref().map(|known| known.map(Known::into_record));
    write(path, &*file, header, &mut records, places, pause).map_err(|unwritten| match unwritten {
        Unwritten::Source(unfit) => Unmade::Unfit(unfit),
        Unwritten::Failed(error) => Unmade::Failed(no_space_or(error)),
    })?;
    let written = Table::open(vfs, path, false).and_then(|table| check(&table, pause));
    written.map_err(|unfit| Unmade::Failed(Error::io("read back", path)(io::Error::other(unfit.what))))
}

/// A full disk has an error of its own: there is something that can be done about it.
fn no_space_or(error: Error) -> Error {
    match error {
        Error::Io { path, source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            Error::NoSpace { path, source }
        }
        other => other,
    }
}

/// Removes a file that may be missing.
fn remove(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    match vfs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_snapshots_stay_and_older_ones_thin_out() {
        let mut snapshots: Vec<Seq> = Vec::new();
        for last in (10..100_000).step_by(10) {
            snapshots.push(Seq(last));
            let kept = kept(&snapshots);
            snapshots.retain(|last| kept.contains(last));
            assert!(snapshots.len() <= 12, "{snapshots:?}");
            let newest: Vec<u64> = snapshots.iter().rev().take(2).map(|last| last.0).collect();
            assert!(newest == [last, last - 10] || newest == [10], "{snapshots:?}");
            // A moment is at most about as far from a snapshot before it as from now.
            for pair in snapshots.windows(2) {
                let [before, after] = pair else { unreachable!("pairs") };
                assert!(after.0 - before.0 <= 16 * (last - after.0) + 40, "{snapshots:?}");
            }
        }
        assert!(snapshots.len() > 4, "{snapshots:?}");
    }
}
