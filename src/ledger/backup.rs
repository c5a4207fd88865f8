//! `backup`: a copy of a ledger elsewhere, taken beside its writer; taken again, only of what is new.
//!
//! Segments are copied, the oldest first, up to the durable end as of the start. The order is that of a roll: a segment gets its
//! name without a seal, its predecessor is sealed when that name is durable. So the copy is at every moment either no ledger yet or
//! one that opens, with a beginning of the entries; whatever interrupts it, the next one goes on. Nothing is ever written to
//! what is copied.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::copying::{Behind, copy_file, copy_segment, sync_parent};
use crate::ledger::create::{Unborn, clear, has_ledger, inspect, parent_of, publish_identity, remove_if_there};
use crate::ledger::derived::{self, thin_out};
use crate::ledger::floor::{COPIES, copies_under};
use crate::ledger::handle::Ledger;
use crate::ledger::log::LogView;
use crate::ledger::open::{self, take_lock};
use crate::ledger::options::{Maintenance, Options};
use crate::ledger::roll::seal;
use crate::ledger::segments::Home;
use crate::model::seq::Seq;
use crate::storage::floors;
use crate::storage::identity;
use crate::storage::log::{Listing, check_sealed, list};
use crate::storage::names;
use crate::storage::scan::{Position, frame_at, walk};
use crate::storage::segment::{HEADER_BYTES, Predecessor, SEAL_BYTES, SealSlot, Segment};
use crate::vfs::ops::{Access, Lock, Vfs, write_all_at};

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The last entry that the copy has.
    pub last: Seq,
    /// The oldest entry that it has.
    pub oldest: Seq,
    /// How many entries it has now that it had not before.
    pub entries: u64,
    /// How many segments were copied, and how many were there already.
    pub copied: u64,
    /// How many segments were there already, as they are.
    pub kept: u64,
    /// How many bytes of segments were copied.
    pub bytes: u64,
}

/// How far a backup has come, in bytes of segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// So many are copied.
    pub done: u64,
    /// So many are to be copied.
    pub all: u64,
}

impl Options {
    /// Copies a ledger into another directory, which is made where it is not there; its parent must be. A writer may go on
    /// meanwhile: what is durable when this begins is copied. Where the directory has an earlier backup, only segments are
    /// copied that it does not have whole. The copy is closed: it opens as it is, here or elsewhere, and is the same ledger, with
    /// the same `uuid`, entries, seqs and times. What was pruned since the earlier backup goes from the copy, too.
    ///
    /// Every frame is checked before it is copied, so that damage is found and not spread. A crash in the middle leaves the
    /// earlier backup or one with more entries; before the first segment is there, a directory that is no ledger yet. The next
    /// backup goes on in either case.
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// # let (dir, to) = (home.path().join("runs"), home.path().join("copy"));
    /// use taskledger::{Event, Ledger, Options};
    /// let ledger = Ledger::open(&dir)?;
    /// ledger.append("a", Event::created())?;
    /// let first = Options::new().backup(&dir, &to, &mut |_| {})?;
    /// ledger.append("b", Event::created())?;
    /// let second = Options::new().backup(&dir, &to, &mut |_| {})?;
    /// assert_eq!((first.entries, second.entries), (1, 1));
    /// assert_eq!(Ledger::open_read_only(&to)?.view().counts().total(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoLedger`], [`Error::Damaged`] or [`Error::Format`] where the ledger cannot be read, and the same of the copy.
    /// [`Error::Locked`] where somebody writes to the copy. [`Error::Io`] where the directory has something else in it, or entries
    /// that the ledger does not have, or where the ledger has pruned entries that the copy does not have yet; or what the system
    /// says. [`Error::NoSpace`] where there is no room to close the copy.
    pub fn backup(
        &self,
        dir: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<Backup> {
        let absolute = |path: &Path| self.vfs.absolute(path).map_err(Error::io("find", path));
        let (dir, to) = (absolute(dir.as_ref())?, absolute(to.as_ref())?);
        // A prune beside it may take away what is being copied; what was copied by then is kept.
        open::twice(&dir, &mut || copy(self, &dir, &to, progress))
    }
}

/// A segment of the ledger, as far as it is copied.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Its position in the log.
    n: usize,
    number: u64,
    base: Seq,
    /// Byte at which the copied frames end.
    end: u64,
    /// What its successor says, where it has one.
    named: Option<Predecessor>,
}

fn copy(options: &Options, dir: &Path, to: &Path, progress: &mut dyn FnMut(BackupProgress)) -> Result<Backup> {
    let vfs = &*options.vfs;
    let (view, _) = open::read_only(dir, options)?;
    let log = &view.log;
    let parts = parts(log)?;
    let last = parts.iter().fold(log.head, |last, part| last.max(part.named.map_or(Seq::ZERO, |named| named.last)));
    let lock = prepare(options, dir, to, log)?;
    let earlier = earlier(options, log, last, to)?;
    let there = list(vfs, to)?;
    let first_there = there.segments.first().map_or(0, |(number, ..)| *number);
    // What the copy has pruned itself stays away.
    let parts: Vec<Part> = parts.into_iter().filter(|part| part.number >= first_there).collect();
    let kept = parts.iter().take_while(|part| is_there(options, log, part, &there).unwrap_or(false)).count();
    let (known, new) = parts.split_at(kept);
    let is_complete = earlier.as_ref().is_some_and(|earlier| earlier.is_closed && earlier.head == last);
    let mut done = Backup { last, oldest: first_base(&there), entries: 0, copied: 0, kept: kept as u64, bytes: 0 };
    let is_tidy = there.segments.len() == kept + new.len() && !has_old_tables(vfs, to, &there);
    if is_complete && new.len() <= 1 && is_tidy && log.oldest() <= first_base(&there) {
        done.kept += new.len() as u64;
        return Ok(done);
    }
    done.entries = last.0 - earlier.as_ref().map_or(log.oldest().0 - 1, |earlier| earlier.head.0).min(last.0);
    // What it says was durable there holds no more while the last segment is replaced.
    remove_if_there(vfs, &names::live(to))?;
    vfs.sync_dir(to).map_err(Error::io("sync", to))?;
    make_room(options, log, new.first(), &there)?;
    if earlier.is_none() {
        copy_floor(options, log, to)?;
    }
    let mut before = match known.last() {
        Some(part) => Some(part.number),
        None => new
            .first()
            .and_then(|part| part.number.checked_sub(1))
            .filter(|number| there.segments.iter().any(|(there, ..)| there == number)),
    };
    let mut shown = BackupProgress { done: 0, all: new.iter().map(|part| part.end).sum() };
    for part in new {
        let segment = log.segments.get(part.n)?;
        check(&segment, part, last)?;
        let path = names::segment(to, part.number, part.base);
        let behind = if part.named.is_some() { Behind::Hole } else { Behind::Zeros };
        copy_segment(options, &segment, part.end, behind, &path, &mut |bytes| {
            shown.done += bytes;
            progress(shown);
        })?;
        if let Some(number) = before {
            seal(&open_there(vfs, to, number)?, &segment.header)?;
        }
        before = Some(part.number);
        done.copied += 1;
        done.bytes += part.end;
    }
    copy_floor(options, log, to)?;
    copy_tables(options, log, known.last().or(new.first()).map_or(0, |part| part.number), to)?;
    drop(lock);
    let ledger = Ledger::open_with(to, options.clone().maintenance(Maintenance::Manual))?;
    assert_eq!(ledger.head(), last, "what was copied is what is there");
    done.oldest = ledger.report().oldest;
    ledger.close()?;
    Ok(done)
}

/// The segments that are copied, and how far. All of one that has a successor is durable.
fn parts(log: &LogView) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for n in 0..log.segments.len() {
        let (segment, named) = match log.is_sealed(n) {
            true => log.segments.sealed(n).map(|(segment, named)| (segment, Some(named)))?,
            false => (log.segments.get(n)?, None),
        };
        let (number, base) = (segment.header.number, segment.header.base);
        let end = match named {
            Some(named) => named.end,
            None if log.head < base => HEADER_BYTES,
            None => {
                let place = log.place_of(n, log.head)?;
                let place =
                    place.ok_or_else(|| Error::damaged(&segment.path, None, Some(log.head), "no frame has it"))?;
                place.offset + frame_at(&segment, place.offset, place.first, None)?.header.frame_len()
            }
        };
        parts.push(Part { n, number, base, end, named });
    }
    Ok(parts)
}

/// Readies the directory, under its lock: it is a ledger then, perhaps without a segment.
fn prepare(options: &Options, dir: &Path, to: &Path, log: &LogView) -> Result<Box<dyn Lock>> {
    let vfs = &*options.vfs;
    let refused = |what: &str| Err(Error::io("back up into", to)(std::io::Error::other(what)));
    let identity = &log.home.identity;
    let unborn = match has_ledger(vfs, to)? {
        true => {
            let (there, inode) = identity::read(vfs, &names::ledger(to), true)?;
            let (_, source) = identity::read(vfs, &names::ledger(dir), false)?;
            if there != *identity {
                return refused("another ledger is there");
            }
            let lock = take_lock(vfs, to, options.file_mode)?;
            if inode == source && is_seen_there(options, to, dir)? {
                return refused("it is the ledger itself");
            }
            return Ok(lock);
        }
        false => inspect(vfs, to)?,
    };
    match unborn {
        Unborn::Missing => vfs.create_dir(to, options.dir_mode).map_err(Error::io("create", to))?,
        Unborn::Nothing => {}
        Unborn::Foreign => return refused("it has other files and is no backup"),
    }
    let lock = take_lock(vfs, to, options.file_mode)?;
    let log_dir = names::log_dir(to);
    match vfs.create_dir(&log_dir, options.dir_mode) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => clear(vfs, &list(vfs, to)?)?,
        other => other.map_err(Error::io("create", &log_dir))?,
    }
    publish_identity(vfs, to, identity, options.file_mode)?;
    if let Some(parent) = parent_of(to) {
        vfs.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    Ok(lock)
}

/// Whether what is made in one directory is seen in the other: by inode numbers alone files of two disks may look the same.
fn is_seen_there(options: &Options, here: &Path, there: &Path) -> Result<bool> {
    let vfs = &*options.vfs;
    let (probe, seen) = (names::ledger_unfinished(here), names::ledger_unfinished(there));
    remove_if_there(vfs, &probe)?;
    vfs.create(&probe, options.file_mode).map_err(Error::io("create", &probe))?;
    let is_seen = vfs.open(&seen, Access::Read).is_ok();
    remove_if_there(vfs, &probe)?;
    Ok(is_seen)
}

/// What an earlier backup came to.
struct Earlier {
    head: Seq,
    /// Whether it was closed.
    is_closed: bool,
}

/// Looks at the copy that is there: it must be a beginning of the ledger, and what was pruned since must be in it.
fn earlier(options: &Options, log: &LogView, last: Seq, to: &Path) -> Result<Option<Earlier>> {
    let refused = |what: String| Err(Error::io("back up into", to)(std::io::Error::other(what)));
    if list(&*options.vfs, to)?.segments.is_empty() {
        return Ok(None);
    }
    let (view, report) = open::read_only(to, options)?;
    let head = view.seq();
    let oldest = log.oldest();
    if head.next() < oldest {
        let what = format!(
            "it ends at seq {head}, and the ledger has pruned what is before seq {oldest} since; back up into another directory"
        );
        return refused(what);
    }
    if head > last {
        return refused(format!(
            "it has entries up to seq {head}, and the ledger ends at seq {last}; nothing was copied"
        ));
    }
    // The sealed segments are compared by what their successors say of them; of the last one only its entries tell.
    let from = view.log.segments.get(view.log.segment_of(head))?.header.base.max(oldest);
    for (here, there) in log.entries(from).zip(view.log.entries(from)) {
        let (here, there) = (here?, there?);
        if here != there {
            let seq = there.seq;
            return refused(format!("its entry with seq {seq} is another than that of the ledger; nothing was copied"));
        }
    }
    Ok(Some(Earlier { head, is_closed: report.clean }))
}

/// Whether there are tables of segments that were pruned: a prune that was interrupted has left them.
fn has_old_tables(vfs: &dyn Vfs, to: &Path, there: &Listing) -> bool {
    let tables = derived::list(vfs, to);
    let number = there.segments.first().map_or(0, |(number, ..)| *number);
    let is_old = tables.indexes.keys().any(|indexed| *indexed < number);
    is_old || tables.snapshots.keys().any(|last| *last < first_base(there))
}

fn first_base(there: &Listing) -> Seq {
    there.segments.first().map_or(Seq::FIRST, |(_, base, _)| *base)
}

fn open_there(vfs: &dyn Vfs, to: &Path, number: u64) -> Result<Segment> {
    let there = list(vfs, to)?;
    let (_, base, path) = there.segments.into_iter().find(|(found, ..)| *found == number).ok_or_else(|| {
        Error::damaged(&names::log_dir(to), None, None, format!("segment number {number} is missing"))
    })?;
    Segment::open(vfs, path, number, base, Access::ReadWrite)
}

/// Whether the copy has a segment as it is, to its end.
fn is_there(options: &Options, log: &LogView, part: &Part, there: &Listing) -> Result<bool> {
    let named = (part.number, part.base);
    let (Some(end), Some((.., path))) =
        (part.named, there.segments.iter().find(|(number, base, _)| (*number, *base) == named))
    else {
        return Ok(false);
    };
    let copied = Segment::open(&*options.vfs, path.clone(), part.number, part.base, Access::Read)?;
    let SealSlot::Sealed(seal) = copied.seal_slot()? else { return Ok(false) };
    let is_same = copied.header == log.segments.get(part.n)?.header;
    Ok(is_same && (seal.end, seal.last, seal.chain) == (end.end, end.last, end.chain))
}

/// Removes from the copy what stands behind the segments that it has whole, the last first, but for an earlier state of the next
/// one, which is replaced. Each predecessor loses its seal before: it demands no successor then.
fn make_room(options: &Options, log: &LogView, next: Option<&Part>, there: &Listing) -> Result<()> {
    let vfs = &*options.vfs;
    let Some(next) = next else { return Ok(()) };
    let segments = there.segments.iter().filter(|(number, ..)| *number >= next.number);
    for (number, base, path) in segments.rev() {
        if *number == next.number {
            let copied = Segment::open(vfs, path.clone(), *number, *base, Access::Read)?;
            if copied.header == log.segments.get(next.n)?.header {
                continue;
            }
        }
        let before = there.segments.iter().find(|(before, ..)| before + 1 == *number);
        let Some((before, base, before_path)) = before else {
            let source =
                std::io::Error::other("its first segment is another than that of the ledger; nothing was copied");
            return Err(Error::io("back up into", &there.dir)(source));
        };
        let before = Segment::open(vfs, before_path.clone(), *before, *base, Access::ReadWrite)?;
        write_all_at(&*before.file, &[0; SEAL_BYTES as usize], before.header.area_end())
            .map_err(Error::io("write", before_path))?;
        before.file.sync_data().map_err(Error::io("sync", before_path))?;
        remove_if_there(vfs, path)?;
        sync_parent(vfs, path)?;
    }
    Ok(())
}

/// Looks at every frame that is copied: damage must not be copied as if it were sound.
fn check(segment: &Segment, part: &Part, last: Seq) -> Result<()> {
    let walked = walk(segment, Position::start_of(segment), part.end, &mut |_| Ok(()))?;
    match part.named {
        Some(named) => check_sealed(segment, &walked, &named).map(drop),
        None if walked.whole.next == last.next() => Ok(()),
        None => {
            let what = format!("its entries up to seq {last} cannot be read again: {}", walked.why());
            Err(Error::damaged(&segment.path, walked.whole.offset, Some(walked.whole.next), what))
        }
    }
}

/// Copies the floor on which the ledger stands, both copies of it, where the copy does not have them.
fn copy_floor(options: &Options, log: &LogView, to: &Path) -> Result<()> {
    let vfs = &*options.vfs;
    let first = log.segments.get(0)?;
    let Some(named) = first.header.predecessor else { return Ok(()) };
    let there = floors::list(vfs, to)?.copies;
    // One that the copy stands on, or will stand on, is higher or as high.
    let missing = COPIES.map(|copy| names::floor(to, named.last, copy));
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|path| !there.range(named.last..).any(|(last, paths)| *last > named.last || paths.contains(path)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut unfit = Vec::new();
    let good = copies_under(&log.home, &first, &mut unfit);
    let Some(good) = good.first() else {
        let what = format!("neither copy of the floor below seq {} is good", named.last.next());
        return Err(Error::damaged(&names::floor_dir(&log.home.dir), None, Some(Seq::FIRST), what));
    };
    make_dir(options, &names::floor_dir(to))?;
    missing.iter().try_for_each(|path| copy_file(options, &good.path, path))?;
    vfs.sync_dir(to).map_err(Error::io("sync", to))
}

fn make_dir(options: &Options, dir: &Path) -> Result<()> {
    match options.vfs.create_dir(dir, options.dir_mode) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::io("create", dir)),
    }
}

/// Copies indexes and the newest snapshot, so that the copy opens as fast; what it has of segments that were replaced goes. They
/// are derived: one that is gone meanwhile is not missed.
fn copy_tables(options: &Options, log: &LogView, whole: u64, to: &Path) -> Result<()> {
    let vfs = &*options.vfs;
    let (here, there) = (derived::list(vfs, &log.home.dir), derived::list(vfs, to));
    for path in &there.unfinished {
        remove_if_there(vfs, path)?;
    }
    for (_, path) in there.indexes.range(whole.saturating_add(1)..) {
        remove_if_there(vfs, path)?;
    }
    let sealed = log.segments.len().checked_sub(2).map(|n| log.segments.sealed(n)).transpose()?;
    let Some((last, named)) = sealed else { return Ok(()) };
    let snapshot = here.snapshots.range(..=named.last).next_back();
    let indexes = here.indexes.range(..=last.header.number);
    let wanted = indexes.map(|(number, path)| (*number > whole || !there.indexes.contains_key(number), path));
    let wanted = wanted.chain(snapshot.map(|(last, path)| (!there.snapshots.contains_key(last), path)));
    for (_, from) in wanted.filter(|(is_missing, _)| *is_missing) {
        let (Some(kind), Some(name)) = (from.parent().and_then(Path::file_name), from.file_name()) else { continue };
        let home = to.join(kind);
        make_dir(options, &home)?;
        match copy_file(options, from, &home.join(name)) {
            Err(Error::Io { source, path, .. }) if source.kind() == std::io::ErrorKind::NotFound && path == *from => {}
            other => other?,
        }
    }
    let home = Home { dir: to.to_owned(), vfs: Arc::clone(&options.vfs), ..(*log.home).clone() };
    thin_out(&home)
}
