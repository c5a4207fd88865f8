//! Opening: what is there is read and judged, and a writer makes sure of it before it acknowledges anything.
//!
//! Recovery never truncates. It writes again the accepted bytes that no watermark in the log covers (after a failed
//! sync the page cache may hold what the disk does not), writes the predecessor's seal again, and syncs both. Where
//! only zeros follow, the segment is continued; else a successor is started whose header says where its predecessor
//! ends, and the bytes behind that stay. Each step leaves a state from which the same steps lead to the same end.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::bell::Bell;
use crate::ledger::core::{Commit, Core, Start};
use crate::ledger::create::{Unborn, create, has_ledger, inspect, parent_of, remove_if_there};
use crate::ledger::cut;
use crate::ledger::derived::{self, Sealed, fold_sealed};
use crate::ledger::floor;
use crate::ledger::fold::fold;
use crate::ledger::gate::Gate;
use crate::ledger::log::LogView;
use crate::ledger::options::Options;
use crate::ledger::parts::Part;
use crate::ledger::primitives::{AtomicU64, AtomicUsize, Condvar, Mutex, RwLock};
use crate::ledger::roll::{next_capacity, seal};
use crate::ledger::segments::{Home, Segments};
use crate::ledger::spare;
use crate::ledger::tasks::Tasks;
use crate::ledger::view::View;
use crate::model::seq::Seq;
use crate::model::subject::Each;
use crate::model::warm::Warm;
use crate::storage::identity::{self, Identity};
use crate::storage::live::{self, Live, Mark};
use crate::storage::log::{Evidence, LogEnd, check_last, list, replay_last};
use crate::storage::names;
use crate::storage::segment::{HEADER_BYTES, Predecessor, Reason, Segment, SegmentHeader};
use crate::storage::table::read::Unfit;
use crate::vfs::ops::{Access, Lock, Vfs, read_full_at, write_all_at};

/// How often a reader looks, as long as each look finds something else amiss.
const LOOKS: usize = 100;

/// What opening found, kept and left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Whether the ledger was created just now.
    pub created: bool,
    /// Whether the last writer had closed it in order.
    pub clean: bool,
    /// The last entry kept.
    pub last: Seq,
    /// The last entry that some evidence names as durable; those between it and `last` were written, and nobody
    /// was told that they are safe.
    pub vouched: Seq,
    /// Bytes behind the end that are not zero: the rest of an unacknowledged write. They stay where they are.
    pub left_out: Option<(PathBuf, Range<u64>)>,
    /// Bad regions that hide no entry, such as a rotten vouch.
    pub gaps: Vec<(PathBuf, Range<u64>)>,
    /// Indexes and snapshots that could not be used, and why. The log says the same; the next writer makes them again.
    pub unfit: Vec<(PathBuf, String)>,
    /// Who has it open for writing, where somebody does (readers only).
    pub writer: Option<Writer>,
    /// The ledger's own number, drawn when it was created; copies have the same.
    pub uuid: [u8; 16],
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// How many segments it has.
    pub segments: u64,
    /// The oldest entry that is kept; those before it were pruned.
    pub oldest: Seq,
}

/// A process that has a ledger open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// Its process id.
    pub pid: u32,
    /// When it opened the ledger, in milliseconds since the Unix epoch, by the system's clock.
    pub since: u64,
}

impl Writer {
    fn of(mark: &Mark) -> Writer {
        Writer { pid: mark.process.pid, since: mark.opened }
    }
}

/// A log that was read and judged.
struct Loaded {
    identity: Identity,
    inode: u64,
    mark: Option<Mark>,
    /// The living writer beside which it was read.
    writer: Option<Writer>,
    home: Arc<Home>,
    segments: Segments,
    /// The last of them.
    last: Arc<Segment>,
    tasks: Tasks,
    end: LogEnd,
    gaps: Vec<(PathBuf, Range<u64>)>,
    /// Tables that could not be used, and why.
    unfit: Vec<Unfit>,
}

/// Reads and judges a log. Where `beside` says that the mark is of a living writer, only what it names is folded.
fn load(dir: &Path, options: &Options, access: Access, beside: &dyn Fn(&Mark) -> bool) -> Result<Loaded> {
    let writing = access == Access::ReadWrite;
    let vfs = &*options.vfs;
    let (identity, inode) = identity::read(vfs, &names::ledger(dir), writing)?;
    // The mark first: whatever it names was in the log before.
    let mark = live::read(vfs, &names::live(dir), &identity.uuid, inode)?;
    let living = mark.as_ref().filter(|mark| beside(mark));
    let evidence = living.map_or(Evidence::All(mark.as_ref()), Evidence::Mark);
    let shown = living.map_or(Seq(u64::MAX), |mark| mark.durable);
    let writer = living.map(Writer::of);
    let listing = list(vfs, dir)?;
    let home = Home { vfs: Arc::clone(&options.vfs), dir: dir.to_owned(), identity, mmap: options.mmap };
    let home = Arc::new(home);
    let segments = Segments::of(Arc::clone(&home), &listing, access)?;
    let last = segments.last()?;
    if living.is_none() {
        check_last(&last)?;
    }
    let (segments, mut known_unfit) = floor::kept(&home, segments)?;
    let keep = writing.then_some((options.dir_mode, options.file_mode));
    loop {
        let Sealed { mut tasks, mut gaps, mut unfit } =
            fold_sealed(&home, &segments, segments.len() - 1, keep, &known_unfit)?;
        let folded = fold(&mut tasks, &last.path, &mut |visit| {
            replay_last(&last, evidence, &mut |stored, offset| match stored.entry.seq > shown {
                true => Ok(()),
                false => visit(stored, offset),
            })
        });
        let end = match folded? {
            Ok(end) => end,
            Err(broken) => {
                unfit.push(broken);
                known_unfit = unfit;
                continue;
            }
        };
        gaps.extend(end.last.gaps.iter().map(|gap| (last.path.clone(), gap.clone())));
        return Ok(Loaded { identity, inode, mark, writer, home, segments, last, tasks, end, gaps, unfit });
    }
}

impl Loaded {
    fn report(&self) -> OpenReport {
        let end = &self.end.last;
        // Frames that a living writer has not synced yet are neither kept nor left out: they are not shown.
        let left_out = end.tail.last_nonzero.filter(|_| self.writer.is_none());
        OpenReport {
            created: false,
            // Where nothing was ever appended there was nothing to close.
            clean: (end.closed || self.tasks.head == Seq::ZERO) && end.tail.last_nonzero.is_none(),
            last: self.tasks.head,
            vouched: self.end.watermark,
            left_out: left_out.map(|byte| (self.last.path.clone(), end.whole.offset..byte + 1)),
            gaps: self.gaps.clone(),
            unfit: self.unfit.iter().map(|unfit| (unfit.path.clone(), unfit.what.clone())).collect(),
            writer: self.writer,
            uuid: self.identity.uuid,
            created_at: self.identity.created,
            segments: self.segments.len() as u64,
            oldest: self.segments.first_base(),
        }
    }
}

/// Opens for reading: up to the durable end while a writer lives, else up to the last valid frame.
///
/// # Errors
/// [`Error::NoLedger`], [`Error::Damaged`], [`Error::Format`], [`Error::Io`].
pub(crate) fn read_only(dir: &Path, options: &Options) -> Result<(View, OpenReport)> {
    let vfs = &*options.vfs;
    if !has_ledger(vfs, dir)? {
        inspect(vfs, dir)?;
        return Err(Error::NoLedger { path: dir.to_owned() });
    }
    twice(dir, &mut || load(dir, options, Access::Read, &|mark| mark.writer_lives(vfs))).map(show)
}

/// Reads until it comes to something else than damage, or to the same damage twice: a writer may be writing what is read, or
/// have renamed what was listed, but the same finding twice is no moment in its life.
///
/// # Errors
/// What reading came to.
pub(crate) fn twice<T>(path: &Path, read: &mut dyn FnMut() -> Result<T>) -> Result<T> {
    let mut before = None;
    for _ in 0..LOOKS {
        let error = match read() {
            Err(error) if is_damage_or_missing(&error) => error,
            other => return other,
        };
        let now = Some(error.to_string());
        if now == before {
            return Err(error);
        }
        before = now;
    }
    let source = std::io::Error::other("whenever it was read something else was missing");
    Err(Error::Io { action: "read beside its writer", path: path.to_owned(), source: Arc::new(source) })
}

/// Whether a reader beside a writer has to look again before it believes this.
fn is_damage_or_missing(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } | Error::Pruned { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn show(loaded: Loaded) -> (View, OpenReport) {
    let report = loaded.report();
    let log =
        LogView { segments: loaded.segments, head: loaded.tasks.head, home: loaded.home, indexes: Arc::default() };
    (View::new(log, loaded.tasks), report)
}

/// Opens for writing, creating the ledger where nothing is yet.
///
/// # Errors
/// As [`crate::Ledger::open`].
pub(crate) fn writer(dir: &Path, options: Options) -> Result<(Core, Box<dyn Lock>, OpenReport)> {
    let vfs = Arc::clone(&options.vfs);
    let vfs = &*vfs;
    if !has_ledger(vfs, dir)? {
        match inspect(vfs, dir)? {
            Unborn::Missing => match vfs.create_dir(dir, options.dir_mode) {
                // Another process may have been quicker; the lock decides between the two.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other.map_err(Error::io("create", dir))?,
            },
            Unborn::Nothing => {}
            Unborn::Foreign => return Err(foreign(dir)),
        }
    }
    let lock = take_lock(vfs, dir, options.file_mode)?;
    let created = !has_ledger(vfs, dir)?;
    if created {
        match inspect(vfs, dir)? {
            Unborn::Missing | Unborn::Nothing => create(vfs, dir, &options)?,
            Unborn::Foreign => return Err(foreign(dir)),
        }
    }
    for path in list(vfs, dir)?.unfinished.iter().chain([&names::ledger_unfinished(dir)]) {
        remove_if_there(vfs, path)?;
    }
    for path in derived::list(vfs, dir).unfinished {
        remove_if_there(vfs, &path)?;
    }
    let loaded = load(dir, &options, Access::ReadWrite, &|_| false)?;
    let report = OpenReport { created, ..loaded.report() };
    let core = recover(loaded, dir, options)?;
    cut::recover(&core)?;
    let report = OpenReport { oldest: core.log().oldest(), ..report };
    if report.unfit.iter().any(|(path, _)| path.starts_with(names::floor_dir(dir))) {
        core.bell.derive();
    }
    Ok((core, lock, report))
}

fn foreign(dir: &Path) -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::DirectoryNotEmpty, "it has other files and is no ledger");
    Error::Io { action: "create a ledger in", path: dir.to_owned(), source: Arc::new(source) }
}

/// The writer's lock of a directory.
///
/// # Errors
/// [`Error::Locked`] while another has it; else [`Error::Io`].
pub(crate) fn take_lock(vfs: &dyn Vfs, dir: &Path, mode: u32) -> Result<Box<dyn Lock>> {
    let path = names::lock(dir);
    if let Some(lock) = vfs.try_lock(&path, mode).map_err(Error::io("lock", &path))? {
        return Ok(lock);
    }
    let holder = || {
        let (identity, inode) = identity::read(vfs, &names::ledger(dir), false).ok()?;
        let mark = live::read(vfs, &names::live(dir), &identity.uuid, inode).ok()??;
        // The one before may have left it, and whoever holds the lock now has not written its own yet.
        mark.writer_lives(vfs).then(|| Writer::of(&mark))
    };
    let holder = holder();
    Err(Error::Locked {
        path: dir.to_owned(),
        pid: holder.map(|writer| writer.pid),
        since: holder.map(|writer| writer.since),
    })
}

/// Makes durable what was accepted, and readies the place where the next frame goes.
fn recover(loaded: Loaded, dir: &Path, options: Options) -> Result<Core> {
    let vfs = Arc::clone(&options.vfs);
    let vfs = &*vfs;
    let Loaded { identity, inode, mark, home, mut segments, last, mut tasks, end, .. } = loaded;
    let Some(epoch) = end.epoch.checked_add(1) else {
        return Err(Error::damaged(
            &last.path,
            None,
            None,
            "it states the highest epoch, so that no writer can follow",
        ));
    };
    let whole = end.last.whole;

    rewrite(&last, end.last.covered..whole.offset)?;
    // A crash before this sync leaves what was found; what is shown from here on must not go away again.
    last.file.sync_data().map_err(Error::io("sync", &last.path))?;
    // The last writer may have ended between publishing a segment and making its name durable. A crash before this
    // sync may still lose that name, so that nothing may demand it yet.
    for dir in [&names::log_dir(dir), dir] {
        vfs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    // No writer has made anything durable yet, so that creation may have ended before it synced the ledger's own name.
    if let (Seq::ZERO, Some(parent)) = (end.watermark, parent_of(dir)) {
        vfs.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    if let Some(n) = segments.len().checked_sub(2) {
        seal(&*segments.get(n)?, &last.header)?;
    }

    let continued = end.last.tail.last_nonzero.is_none();
    let head = end.last_seq();
    // No frame may be of an earlier time than the one before it, though that one may hold no entry.
    let head_at = tasks.at.max(whole.at);
    let (active, offset, vouched, numbers) = if continued {
        let numbers = |keys: &[Arc<str>]| {
            let numbered = keys.iter().zip(0..);
            numbered.map(|(key, number)| (Arc::clone(key), number)).collect::<HashMap<_, u32>>()
        };
        let numbers = Each { tasks: numbers(&end.named.tasks), notes: numbers(&end.named.notes) };
        let in_log = end.last.watermark.max(Seq(last.header.base.0 - 1));
        (last, whole.offset, in_log, numbers)
    } else {
        let mut salt = [0; 4];
        vfs.random(&mut salt).map_err(Error::io("draw random bytes for", dir))?;
        let spare = spare::prepare(vfs, dir, options.file_mode, next_capacity(&options, None, 0), &mut || {})?;
        let header = SegmentHeader {
            identity,
            number: last.header.number + 1,
            base: whole.next,
            base_at: head_at,
            capacity: spare.capacity,
            salt: u32::from_le_bytes(salt),
            reason: Reason::Recovery,
            predecessor: Some(Predecessor {
                number: last.header.number,
                end: whole.offset,
                last: head,
                chain: whole.chain,
            }),
            epoch,
        };
        let new = spare::publish(vfs, dir, spare, header)?;
        seal(&last, &new.header)?;
        tasks.seal(last.header.number);
        segments.push(Arc::clone(&new));
        (new, HEADER_BYTES, head, Each::default())
    };
    let live = Live::open(vfs, &names::live(dir), options.file_mode, identity.uuid)?;
    let start = Start { head, head_at, active, offset, chain: whole.chain, numbers, vouched, epoch };
    let process = vfs.process();
    let core = Core {
        vfs: Arc::clone(&options.vfs),
        dir: dir.to_owned(),
        identity,
        inode,
        boot_id: vfs.boot_id(),
        process,
        opened: vfs.now_ms(),
        epoch,
        tasks: RwLock::new(tasks),
        warm: Mutex::new(Warm::new(options.cache_size)),
        segments: RwLock::new(segments),
        indexes: Arc::default(),
        home,
        unfit: Mutex::default(),
        deriving: Mutex::default(),
        indexing: Mutex::default(),
        gate: Gate::new(head),
        live,
        live_count: AtomicU64::new(mark.map_or(0, |mark| mark.count)),
        waiting: AtomicUsize::new(0),
        bell: Bell::default(),
        commit: Mutex::new(Commit::new(start)),
        landed: Condvar::new(),
        options,
    };
    // The first mark must be there: readers that do not know of this writer would show what it has not synced.
    let mark = core.next_mark(core.gate.durable(), process);
    core.live.write(mark).map_err(Error::io("write", &names::live(dir)))?;
    if core.tasks.read().expect("no writer panics").parts().iter().any(|part| matches!(part, Part::Layer { .. })) {
        core.bell.derive();
    }
    Ok(core)
}

/// Writes bytes of a segment again as they are, so that the next sync covers them.
fn rewrite(segment: &Segment, bytes: Range<u64>) -> Result<()> {
    const STEP: u64 = 256 << 10;
    let mut offset = bytes.start;
    while offset < bytes.end {
        let mut chunk = vec![0; STEP.min(bytes.end - offset) as usize];
        let read = read_full_at(&*segment.file, &mut chunk, offset).map_err(Error::io("read", &segment.path))?;
        assert_eq!(read, chunk.len(), "the accepted bytes lie within the file");
        write_all_at(&*segment.file, &chunk, offset).map_err(Error::io("write", &segment.path))?;
        offset += read as u64;
    }
    Ok(())
}
