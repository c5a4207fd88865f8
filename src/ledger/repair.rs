//! `repair`: a new ledger with all that can still be read of a damaged one, in another directory. What is damaged is never touched.
//!
//! Every entry that is kept has its seq, version and times. Segments before the damage are copied as they are; what is behind is
//! appended again, by the rules of every append. Each lost seq is taken by a note, or, where entries behind say that theirs are
//! missing, by an observed event of their task that says so; so no seq is given twice, and what other systems remember stays
//! right. The last entry is a note that tells what was lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::error::{Error, Result};
use crate::ledger::again::Again;
use crate::ledger::copying::{Behind, copy_file, copy_segment, sync_parent};
use crate::ledger::create::{Unborn, inspect, parent_of, publish_identity};
use crate::ledger::floor::COPIES;
use crate::ledger::gaps::{Gaps, Missing};
use crate::ledger::handle::Ledger;
use crate::ledger::open::{self, take_lock};
use crate::ledger::options::{Durability, Options};
use crate::ledger::primitives::AtomicU64;
use crate::ledger::report::{Finding, Level, Severity};
use crate::ledger::roll::{next_capacity, seal};
use crate::ledger::salvage::Salvaged;
use crate::ledger::spare;
use crate::ledger::survey::{Found, Survey, survey};
use crate::model::event::Event;
use crate::model::seq::Seq;
use crate::model::subject::Subject;
use crate::storage::log::list;
use crate::storage::names;
use crate::storage::segment::{Predecessor, Reason, SealSlot, Segment, SegmentHeader};
use crate::vfs::ops::{Access, write_all_at};

/// Notes that stand for lost entries have keys that begin so; the time of the repair follows.
const NOTE_PREFIX: &str = "taskledger/repair/";
/// Where what is damaged is kept in the new ledger's directory.
const ASIDE_DIR: &str = "aside";

/// What a repair would do, or has done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Repair {
    /// What is wrong: nothing where the ledger opens and is sound, and then nothing is to be done.
    pub findings: Vec<Finding>,
    /// What was found besides, in words.
    pub remarks: Vec<String>,
    /// How many segments are copied as they are; how many entries can be kept in all.
    pub copied: u64,
    /// How many entries are kept.
    pub kept: u64,
    /// The seqs that are lost, each from and to.
    pub lost: Vec<(Seq, Seq)>,
    /// How many entries can be read, but not whose they are; they are among the lost.
    pub unnamed: u64,
    /// How many entries of a write that nobody was told is safe are left out.
    pub unvouched: u64,
    /// The last seq of the damaged ledger.
    pub last: Seq,
    /// The tasks and notes that have lost entries before ones that are there, and how many.
    pub missing: Vec<(Subject, u64)>,
    /// Entries that can be read and that the rules refuse: the seq, and why. Only where it was applied.
    pub refused: Vec<(Seq, String)>,
    /// The note that tells of it, where it was applied.
    pub note: Option<String>,
}

impl Repair {
    /// Whether there is anything to repair.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.findings.is_empty()
    }

    /// How many entries are lost.
    #[must_use]
    pub fn lost_entries(&self) -> u64 {
        self.lost.iter().map(|(from, to)| to.0 - from.0 + 1).sum()
    }
}

/// How far a repair has come, in entries that are appended again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairProgress {
    /// So many are.
    pub done: u64,
    /// So many there are.
    pub all: u64,
}

impl Options {
    /// Says what a repair of a damaged ledger would do, and what would be lost. Writes nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use taskledger::{Event, Ledger, Options};
    /// Ledger::open(dir.path())?.append("a", Event::created())?;
    /// assert!(!Options::new().would_repair(dir.path())?.is_needed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoLedger`] where nothing is left of one; [`Error::Format`] for a newer one; [`Error::Locked`] while somebody
    /// writes to it; [`Error::Io`].
    pub fn would_repair(&self, dir: impl AsRef<Path>) -> Result<Repair> {
        let dir = self.vfs.absolute(dir.as_ref()).map_err(Error::io("find", dir.as_ref()))?;
        look(self, &dir).map(|(repair, _)| repair)
    }

    /// Writes a new ledger with all that can be read of a damaged one, into a directory that is not there or empty; its parent
    /// must be there. The damaged one stays as it is. Entries keep seq, version and times; what stands in the place of lost ones
    /// says so. Files that are damaged are copied into `aside` in the new directory, and entries that could not be kept are
    /// written there as JSON lines. When this returns, the new ledger was verified and is sound.
    ///
    /// Where nothing is damaged, nothing is written. One that is interrupted leaves a directory to be removed: its ledger has no
    /// note that tells of the repair.
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// # let (dir, to) = (home.path().join("runs"), home.path().join("mended"));
    /// use taskledger::{Event, Ledger, Options};
    /// Ledger::open(&dir)?.append("a", Event::created())?;
    /// std::fs::remove_file(dir.join("LEDGER"))?;
    /// assert!(Ledger::open_read_only(&dir).is_err());
    /// let repair = Options::new().repair(&dir, &to, &mut |_| {})?;
    /// assert_eq!((repair.kept, repair.lost_entries()), (1, 0));
    /// assert!(Ledger::open_read_only(&to)?.view().get("a")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::would_repair`]; also [`Error::Io`] where the directory has something in it, and [`Error::Io`] or
    /// [`Error::NoSpace`] where it cannot be written. [`Error::Damaged`] where what was written is not sound, which says what
    /// is wrong with it.
    pub fn repair(
        &self,
        dir: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut dyn FnMut(RepairProgress),
    ) -> Result<Repair> {
        let absolute = |path: &Path| self.vfs.absolute(path).map_err(Error::io("find", path));
        let (dir, to) = (absolute(dir.as_ref())?, absolute(to.as_ref())?);
        let (mut repair, survey) = look(self, &dir)?;
        let Some(survey) = survey else { return Ok(repair) };
        apply(self, &dir, &to, &survey, &mut repair, progress)?;
        Ok(repair)
    }
}

/// What is wrong, and what is left; nothing of it where nothing is wrong.
fn look(options: &Options, dir: &Path) -> Result<(Repair, Option<Survey>)> {
    let mut findings = match options.verify(dir, Level::Content, &mut |_| {}) {
        Ok(report) => {
            if let Some(pid) = report.writer {
                return Err(Error::Locked { path: dir.to_owned(), pid: Some(pid), since: None });
            }
            report.findings.into_iter().filter(|found| found.severity == Severity::Damage).collect()
        }
        Err(error @ Error::Damaged { .. }) => vec![as_finding(error)],
        Err(Error::NoLedger { .. }) if !list(&*options.vfs, dir)?.segments.is_empty() => {
            let missing = Error::damaged(&names::ledger(dir), None, None, "it is missing, and there are segments");
            vec![as_finding(missing)]
        }
        Err(error) => return Err(error),
    };
    if findings.is_empty() {
        match open::read_only(dir, options) {
            Ok(_) => {}
            Err(error @ Error::Damaged { .. }) => findings.push(as_finding(error)),
            Err(error) => return Err(error),
        }
    }
    let mut repair = Repair {
        remarks: Vec::new(),
        copied: 0,
        kept: 0,
        lost: Vec::new(),
        unnamed: 0,
        unvouched: 0,
        last: Seq::ZERO,
        missing: Vec::new(),
        refused: Vec::new(),
        note: None,
        findings,
    };
    if !repair.is_needed() {
        return Ok((repair, None));
    }
    let mut survey = survey(options, dir, &repair.findings)?;
    if let Some((last, _)) = survey.rest.last()
        && let Some(segment) = &last.segment
        && segment.seal_slot()? != SealSlot::Empty
    {
        let missing = last.number + 1;
        survey.remarks.push(format!("segment {missing} is missing; how many entries were in it is not known"));
    }
    repair.remarks.clone_from(&survey.remarks);
    repair.copied = survey.whole.len() as u64;
    (repair.kept, repair.last) = (survey.kept, survey.last);
    (repair.unvouched, repair.unnamed) = (survey.unvouched, survey.unnamed.len() as u64);
    repair.lost.clone_from(&survey.lost);
    let missing = missing(options, dir, &survey, &mut |_| Ok(None))?;
    repair.missing = missing.into_iter().map(|missing| (missing.subject, missing.count)).collect();
    Ok((repair, Some(survey)))
}

fn as_finding(error: Error) -> Finding {
    let what = error.to_string();
    let (file, offset, seq) = match error {
        Error::Damaged { path, offset, seq, .. } => (path, offset, seq),
        _ => (PathBuf::new(), None, None),
    };
    Finding {
        severity: Severity::Damage,
        code: "LOST",
        file,
        bytes: offset.map(|offset| offset..offset + 1),
        seqs: seq.map(|seq| (seq, seq)),
        subject: None,
        what,
        next: "keep all files as they are, and repair into another directory",
    }
}

/// Where a task or note stands: its last seq and version.
type Stand = (Seq, u64);

/// Which tasks and notes have entries that name a lost one as the one before. `known` tells where a task or note stands behind the
/// whole segments: its last seq and version.
fn missing(
    options: &Options,
    dir: &Path,
    survey: &Survey,
    known: &mut dyn FnMut(&Subject) -> Result<Option<Stand>>,
) -> Result<Vec<Missing>> {
    // First whose: of these alone it must be remembered where they stood.
    let mut stands = std::collections::HashMap::new();
    survey.each(options, dir, &mut |found| {
        if let Found::Entry(salvaged) = found
            && survey.is_lost(salvaged.links.back)
            && let Some(subject) = salvaged.entry.subject()
        {
            stands.insert(subject, None);
        }
        Ok(())
    })?;
    if stands.is_empty() {
        return Ok(Vec::new());
    }
    for (subject, stand) in &mut stands {
        *stand = known(subject)?;
    }
    let mut all = Vec::new();
    survey.each(options, dir, &mut |found| {
        let Found::Entry(salvaged) = found else { return Ok(()) };
        let Salvaged { entry, links } = *salvaged;
        let (Some(subject), Some(version)) = (entry.subject(), entry.version) else { return Ok(()) };
        let Some(stand) = stands.get_mut(&subject).filter(|_| entry.seq <= survey.last) else { return Ok(()) };
        let (after, before) = stand.unwrap_or((Seq::ZERO, 0));
        if survey.is_lost(links.back) && version > before + 1 {
            let count = version - 1 - before;
            all.push(Missing { subject, after, last: links.back, count, next_from: entry.from });
        }
        *stand = Some((entry.seq, version));
        Ok(())
    })?;
    Ok(all)
}

fn apply(
    options: &Options,
    dir: &Path,
    to: &Path,
    survey: &Survey,
    repair: &mut Repair,
    progress: &mut dyn FnMut(RepairProgress),
) -> Result<()> {
    let vfs = &*options.vfs;
    match inspect(vfs, to) {
        Ok(Unborn::Missing) => vfs.create_dir(to, options.dir_mode).map_err(Error::io("create", to))?,
        Ok(Unborn::Nothing) if list(vfs, to)?.segments.is_empty() => {}
        Ok(_) | Err(Error::Damaged { .. }) => {
            return Err(Error::io("repair into", to)(std::io::Error::other(
                "it has other files; name a new directory",
            )));
        }
        Err(error) => return Err(error),
    }
    let began = options.now_ms();
    let lock = take_lock(vfs, to, options.file_mode)?;
    begin(options, to, survey)?;
    keep_aside(options, to, survey)?;
    drop(lock);
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    let options = options.clone().clock(move || now.load(Ordering::Relaxed));
    let buffered = Durability::Buffered { sync_every: Duration::from_secs(1) };
    let ledger = Ledger::open_with(to, options.clone().durability(buffered))?;
    assert_eq!(ledger.head().next(), survey.first, "whole segments end where they say");
    let missing = missing(&options, dir, survey, &mut |subject| {
        let (realm, key) = (subject.realm(), subject.key());
        Ok(ledger.core().slot(realm, key)?.map(|slot| (slot.seq, slot.version)))
    })?;
    let note = format!("{NOTE_PREFIX}{began}");
    let mut so_far = RepairProgress { done: 0, all: survey.last.next().0.saturating_sub(survey.first.0) };
    let mut placed = |more| {
        so_far.done += more;
        progress(so_far);
    };
    let mut again = Again {
        ledger: &ledger,
        clock: &clock,
        hash_key: survey.identity.hash_key,
        note,
        gaps: Gaps::new(missing),
        next: survey.first,
        batch: Vec::new(),
        lines: Vec::new(),
        refused: Vec::new(),
        placed: &mut placed,
    };
    clock.store(ledger.core().tasks.read().expect("no writer panics").at, Ordering::Relaxed);
    for entry in &survey.unnamed {
        again.aside(entry, "its task or note is not known: what named it cannot be read");
    }
    survey.each(&options, dir, &mut |found| match found {
        Found::Entry(salvaged) if salvaged.entry.seq <= survey.last => again.take(*salvaged),
        _ => Ok(()),
    })?;
    again.commit()?;
    again.fill(survey.last.next())?;
    let (lines, refused, key) = (again.lines, again.refused, again.note);
    let summary = json!({
        "repaired_at": began,
        "from": dir.display().to_string(),
        "last": survey.last.0,
        "kept": survey.kept - refused.len() as u64,
        "lost": repair.lost.iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>(),
        "unnamed": repair.unnamed,
        "unvouched": repair.unvouched,
        "refused": refused.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(),
        "findings": repair.findings.iter().take(100).map(|found| found.what.clone()).collect::<Vec<_>>(),
        "remarks": repair.remarks,
    });
    clock.store(began, Ordering::Relaxed);
    ledger.append_note(&*key, Event::noted(summary).by("taskledger repair"))?;
    ledger.sync()?;
    ledger.close()?;
    write_lines(&options, to, &lines)?;
    (repair.refused, repair.note) = (refused, Some(key));
    repair.kept -= repair.refused.len() as u64;
    let report = options.verify(to, Level::Content, &mut |_| {})?;
    match report.findings.into_iter().find(|found| found.severity == Severity::Damage) {
        None => Ok(()),
        Some(found) => {
            let what = format!("the repaired ledger is not sound: {}", found.what);
            Err(Error::damaged(&found.file, found.bytes.map(|bytes| bytes.start), found.seqs.map(|(seq, _)| seq), what))
        }
    }
}

/// The identity, the floor and the whole segments; where there are none, an empty first segment.
fn begin(options: &Options, to: &Path, survey: &Survey) -> Result<()> {
    let vfs = &*options.vfs;
    let make = |dir: PathBuf| match vfs.create_dir(&dir, options.dir_mode) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::io("create", &dir)),
    };
    make(names::log_dir(to))?;
    publish_identity(vfs, to, &survey.identity, options.file_mode)?;
    if let Some(parent) = parent_of(to) {
        vfs.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    if let Some(floor) = &survey.floor {
        make(names::floor_dir(to))?;
        for copy in COPIES {
            copy_file(options, &floor.path, &names::floor(to, floor.header.last, copy))?;
        }
        vfs.sync_dir(to).map_err(Error::io("sync", to))?;
    }
    let mut before: Option<Segment> = None;
    for (n, (segment, named)) in survey.whole.iter().enumerate() {
        let (number, base) = (segment.header.number, segment.header.base);
        let path = names::segment(to, number, base);
        let behind = if n + 1 < survey.whole.len() { Behind::Hole } else { Behind::Zeros };
        copy_segment(options, segment, named.end, behind, &path, &mut |_| {})?;
        if let Some(before) = &before {
            seal(before, &segment.header)?;
        }
        before = Some(Segment::open(vfs, path, number, base, Access::ReadWrite)?);
    }
    if before.is_some() {
        return Ok(());
    }
    let mut salt = [0; 4];
    vfs.random(&mut salt).map_err(Error::io("draw random bytes for", to))?;
    let spare = spare::prepare(vfs, to, options.file_mode, next_capacity(options, None, 0), &mut || {})?;
    let predecessor = survey.floor.as_ref().map(|floor| {
        let header = &floor.header;
        Predecessor { number: header.number, end: header.end, last: header.last, chain: header.chain }
    });
    let header = SegmentHeader {
        identity: survey.identity,
        number: predecessor.map_or(1, |named| named.number + 1),
        base: survey.first,
        base_at: survey.floor.as_ref().map_or(0, |floor| floor.header.at),
        capacity: spare.capacity,
        salt: u32::from_le_bytes(salt),
        reason: Reason::Creation,
        predecessor,
        epoch: survey.epoch,
    };
    spare::publish(vfs, to, spare, header).map(drop)
}

/// Copies what is damaged.
fn keep_aside(options: &Options, to: &Path, survey: &Survey) -> Result<()> {
    let home = to.join(ASIDE_DIR);
    options.vfs.create_dir(&home, options.dir_mode).map_err(Error::io("create", &home))?;
    for path in &survey.aside {
        let Some(name) = path.file_name() else { continue };
        // What is named may be missing: that is what is wrong with it then. Or it is a directory that lacks something.
        let is_file = options.vfs.open(path, Access::Read).is_ok();
        if is_file {
            copy_file(options, path, &home.join(name))?;
        }
    }
    options.vfs.sync_dir(to).map_err(Error::io("sync", to))
}

/// Writes what could be read and not kept.
fn write_lines(options: &Options, to: &Path, lines: &[u8]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = to.join(ASIDE_DIR).join("entries.jsonl");
    let file = options.vfs.create(&path, options.file_mode).map_err(Error::io("create", &path))?;
    write_all_at(&*file, lines, 0).map_err(Error::io("write", &path))?;
    file.sync_data().map_err(Error::io("sync", &path))?;
    sync_parent(&*options.vfs, &path)
}
