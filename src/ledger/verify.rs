//! `verify`: reads everything, reports every finding, changes nothing.
//!
//! Takes no lock and opens nothing for writing. Never stops at the first finding. Beside a living writer it looks up
//! to the durable end as of its start: what is written behind that meanwhile is read, and makes no finding but a remark.
//!
//! Segments are read by several threads (inspect.rs) where there is much to read, and what they hold is folded in order by one
//! (pass.rs). Indexes and snapshots are compared with that fold, and are never what it rests on. Where all tasks and notes would
//! take more memory than is allowed the log is read again for each range of their hashes; the findings are the same.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::create::{has_ledger, inspect};
use crate::ledger::footing;
use crate::ledger::inspect::{Inspected, Piece, Setting, Site, damage, remark};
use crate::ledger::listed::{Listed, Tables};
use crate::ledger::options::Options;
use crate::ledger::pass::{Folded, Pass, judge_table};
use crate::ledger::refold::Footless;
use crate::ledger::report::{Finding, Level, VerifyProgress, VerifyReport};
use crate::ledger::segments::Home;
use crate::model::seq::Seq;
use crate::storage::ahead::{Given, cores, in_order};
use crate::storage::identity::{self, Identity};
use crate::storage::live;
use crate::storage::log::{Listing, check_place, list};
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::storage::table::read::Table;
use crate::vfs::ops::{Access, Vfs};

/// Checks the files of a ledger. Never writes, takes no lock, and works beside a live writer.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # taskledger::Ledger::open(dir.path())?.append("a", taskledger::Event::created())?;
/// use taskledger::{Level, Verdict, verify};
/// let report = verify(dir.path(), Level::Content)?;
/// assert_eq!(report.verdict(), Verdict::Sound);
/// assert_eq!(report.entries, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`crate::Error::NoLedger`]; [`crate::Error::Format`] for a newer format; [`crate::Error::Io`] where a file cannot
/// be read. Damage is no error but a finding.
pub fn verify(dir: impl AsRef<Path>, level: Level) -> Result<VerifyReport> {
    Options::new().verify(dir, level, &mut |_| ())
}

/// Starting a thread takes longer than reading so much.
const LITTLE_BYTES: u64 = 1 << 18;

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// Where none is said: as many as there are cores, and the caller's alone where there is little to read.
    pub threads: Option<usize>,
    /// About how many bytes of tasks and notes may be held.
    pub memory: u64,
}

/// What is known while the segments are walked.
struct Walker<'a> {
    report: VerifyReport,
    setting: Setting<'a>,
    means: Means,
    segments: Vec<Arc<Segment>>,
    tables: Tables,
    /// What the log stands on, where something was pruned.
    floor: Option<Arc<Table>>,
    /// Whether no segment is missing: what is behind a loss cannot be folded.
    whole: bool,
    /// What the segments so far came to, by themselves.
    ended: Vec<Inspected>,
    progress: VerifyProgress,
    show: &'a mut dyn FnMut(VerifyProgress),
}

/// As [`verify`], on any file layer.
pub(crate) fn run(
    shared: &Arc<dyn Vfs>,
    dir: &Path,
    level: Level,
    means: Means,
    show: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport> {
    let vfs = &**shared;
    let report = VerifyReport {
        findings: Vec::new(),
        level,
        checked_to: Seq::ZERO,
        oldest: Seq::FIRST,
        segments: 0,
        frames: 0,
        entries: 0,
        bytes: 0,
        tables: 0,
        passes: 0,
        writer: None,
    };
    let mut walker = Walker {
        report,
        setting: Setting { vfs, level, bound: None, mark: None, identity: None },
        means,
        segments: Vec::new(),
        tables: Vec::new(),
        floor: None,
        whole: true,
        ended: Vec::new(),
        progress: VerifyProgress { done: 0, all: 0, entries: 0 },
        show,
    };
    let ledger = names::ledger(dir);
    if !has_ledger(vfs, dir)? {
        return match inspect(vfs, dir) {
            Ok(_) => Err(Error::NoLedger { path: dir.to_owned() }),
            Err(error) => {
                walker.damage("MISSING", error)?;
                Ok(walker.report)
            }
        };
    }
    let identity = match identity::read(vfs, &ledger, false) {
        Ok(read) => Some(read),
        Err(error) => {
            walker.damage("LEDGER", error)?;
            None
        }
    };
    walker.setting.identity = identity.map(|(identity, _)| identity);
    // The mark first: whatever it names was in the log before.
    let mark = match identity {
        Some((identity, inode)) => live::read(vfs, &names::live(dir), &identity.uuid, inode)?,
        None => None,
    };
    walker.setting.mark = mark;
    if let Some(mark) = mark.filter(|mark| mark.writer_lives(vfs)) {
        walker.report.writer = Some(mark.process.pid);
        walker.setting.bound = Some(mark.durable);
    }
    let tables = if level >= Level::Derived { Listed::read(vfs, dir) } else { Listed::default() };
    let listing = list(vfs, dir)?;
    walker.remark_strays(&listing);
    let segments = walker.open_segments(shared, &listing, walker.setting.identity)?;
    walker.segments = walker.stand(shared, dir, segments)?;
    let mut derived = Vec::new();
    if level >= Level::Derived {
        let lives = walker.setting.bound.is_some();
        (walker.tables, derived) = tables.by_segment(vfs, &walker.segments, lives, walker.whole);
    }
    let folded = walker.read()?;
    walker.conclude(folded, derived);
    Ok(walker.report)
}

impl Walker<'_> {
    fn damage(&mut self, code: &'static str, error: Error) -> Result<()> {
        self.report.findings.push(damage(code, error)?);
        Ok(())
    }

    fn remark_strays(&mut self, listing: &Listing) {
        let findings = &mut self.report.findings;
        let stray = "it is not a file of this ledger, and is not looked at";
        findings.extend(listing.strays.iter().map(|path| remark("STRAY", path, None, stray)));
        if self.setting.bound.is_none() {
            let unfinished = "it was being made; the next writer removes it";
            findings.extend(listing.unfinished.iter().map(|path| remark("UNFINISHED", path, None, unfinished)));
        }
    }

    /// Opens what can be opened, and reports what is missing or does not belong.
    fn open_segments(
        &mut self,
        vfs: &Arc<dyn Vfs>,
        listing: &Listing,
        identity: Option<Identity>,
    ) -> Result<Vec<Arc<Segment>>> {
        let mut identity = identity;
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for (number, base, path) in &listing.segments {
            let segment = match Segment::open(&**vfs, path.clone(), *number, *base, Access::Read) {
                Ok(segment) => segment,
                // It was pruned while this was listed.
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound
                        && segments.is_empty()
                        && self.setting.bound.is_some() =>
                {
                    continue;
                }
                Err(error) => {
                    self.damage("HEADER", error)?;
                    self.whole = false;
                    continue;
                }
            };
            let identity = *identity.get_or_insert(segment.header.identity);
            if let Err(error) = check_place(&segment, segments.last().map(|segment| &**segment), &identity) {
                self.damage("PLACE", error)?;
                self.whole = false;
                if segments.last().is_some_and(|last| last.header.number == segment.header.number) {
                    continue;
                }
            }
            // Read again when it is its turn: there may be more segments than files that may be open.
            segments.push(Arc::new(segment.let_go(vfs)));
        }
        if listing.segments.is_empty() {
            let what = "every segment is missing";
            self.damage("MISSING", Error::damaged(&listing.dir, None, Some(Seq::FIRST), what))?;
        }
        Ok(segments)
    }

    /// Finds on what the log stands, and the segments that count.
    fn stand(&mut self, vfs: &Arc<dyn Vfs>, dir: &Path, segments: Vec<Arc<Segment>>) -> Result<Vec<Arc<Segment>>> {
        let Some(identity) = segments.first().map(|first| first.header.identity) else { return Ok(segments) };
        let home = Home { vfs: Arc::clone(vfs), dir: dir.to_owned(), identity, mmap: false };
        let footing = footing::look(&home, segments, self.setting.bound.is_none())?;
        self.whole &= !footing.is_lost();
        self.report.oldest = footing.segments.first().map_or(Seq::FIRST, |first| first.header.base);
        self.report.findings.extend(footing.findings);
        self.floor = footing.floor;
        Ok(footing.segments)
    }

    /// A fold of a range of hashes, from what the log stands on; `None` where that cannot be read any more, which is told.
    fn begin(&mut self, hash_key: [u8; 16], hashes: RangeInclusive<u64>) -> Option<Pass> {
        let mut pass = Pass::new(hash_key, hashes, self.means.memory);
        if let Some(floor) = &self.floor {
            match pass.refold.stand_on(floor) {
                Ok(()) => {}
                Err(Footless::Full) => pass.full = true,
                Err(Footless::Unfit(unfit)) => {
                    self.whole = false;
                    self.report.findings.push(footing::lost(unfit));
                    return None;
                }
            }
        }
        Some(pass)
    }

    /// Reads all segments, and folds what they hold where the level asks for it.
    fn read(&mut self) -> Result<Folded> {
        let folds = self.setting.level >= Level::Content && self.whole;
        let key = self.setting.identity.or(self.segments.first().map(|first| first.header.identity));
        let key = key.map_or([0; 16], |identity| identity.hash_key);
        let mut pass = if folds { self.begin(key, 0..=u64::MAX) } else { None };
        self.pass(pass.as_mut(), false)?;
        let mut folded = Folded::default();
        while let Some(Pass { out, hashes, full, .. }) = pass {
            self.report.passes += 1;
            let (from, to) = hashes.into_inner();
            let width = to - from;
            let next = if full {
                from..=from + width / 2
            } else {
                folded.join(out);
                let Some(next) = to.checked_add(1) else { break };
                // Twice as wide: a range that was narrow for a few big ones must not stay so. One too wide is halved again.
                next..=next.saturating_add(width.saturating_mul(2).max(1))
            };
            pass = self.begin(key, next);
            self.pass(pass.as_mut(), true)?;
        }
        Ok(folded)
    }

    /// Reads the segments once: the first time to inspect them, `again` only for the fold.
    fn pass(&mut self, mut pass: Option<&mut Pass>, again: bool) -> Result<()> {
        let Walker { report, setting, means, segments, tables, ended, progress, show, .. } = self;
        let site = |n: usize| {
            let segment = segments.get(n).expect("there are so many");
            let next = segments.get(n + 1).filter(|next| next.header.number == segment.header.number + 1);
            let tables = tables.get(n).map_or(&[][..], Vec::as_slice);
            Site { segment, next: next.map(|next| &**next), is_last: n + 1 == segments.len(), tables }
        };
        let jobs = match again {
            false => segments.len(),
            // Nothing is folded behind one that is not whole.
            true => ended.iter().position(|ended| !ended.whole).map_or(ended.len(), |n| n + 1),
        };
        let bytes = segments.iter().take(jobs).map(|segment| segment.header.capacity).sum::<u64>();
        progress.all += bytes;
        let threads = means.threads.unwrap_or_else(|| if bytes <= LITTLE_BYTES { 1 } else { cores() });
        let mut base = progress.done;
        let work = |n: usize, give: &mut dyn FnMut(Piece) -> bool| match again {
            false => setting.inspect(site(n), give),
            true => setting.read_again(site(n), give),
        };
        // An error of what is read, or `None` where the rest need not be read.
        let taken = in_order(jobs, threads, &work, &mut |n, given| {
            let segment = site(n).segment;
            match given {
                Given::Piece(piece) => {
                    progress.done += piece.bytes;
                    progress.entries += piece.entries;
                    show(*progress);
                    if let Some(pass) = pass.as_deref_mut() {
                        let last = ended.get(n).filter(|_| again).map(|ended| ended.head);
                        pass.piece(n, segment, last, piece);
                        if again && (pass.full || pass.out.broken.is_some()) {
                            return Err(None);
                        }
                    }
                }
                Given::Done(Err(error)) => return Err(Some(error)),
                Given::Done(Ok(inspected)) => {
                    base += segment.header.capacity;
                    progress.done = base;
                    show(*progress);
                    if again {
                        let first = ended.get_mut(n).expect("it was inspected");
                        if first.whole && !inspected.whole {
                            first.content.extend(inspected.content);
                            first.whole = false;
                        }
                    } else {
                        report.segments += 1;
                        report.frames += inspected.frames;
                        report.entries += inspected.entries;
                        report.bytes += inspected.bytes;
                        let to = setting.bound.map_or(inspected.head, |bound| bound.min(inspected.head));
                        report.checked_to = report.checked_to.max(to);
                        ended.push(inspected);
                    }
                    if let (Some(pass), Some(ended)) = (pass.as_deref_mut(), ended.get(n)) {
                        pass.end(setting.vfs, n, ended);
                    }
                }
            }
            Ok(())
        });
        match taken {
            Ok(()) | Err(None) => {
                // What was not read counts as done.
                progress.done = progress.all;
                Ok(())
            }
            Err(Some(error)) => Err(error),
        }
    }

    /// Puts all findings in their order.
    fn conclude(&mut self, mut folded: Folded, mut derived: Vec<Finding>) {
        folded.findings.sort_by_key(|(n, finding)| (*n, finding.seqs));
        // A range does not know where another one broke off; what all of them meet, all of them tell.
        folded.findings.dedup();
        let broken = folded.broken;
        let counts = |seq| broken.is_none_or(|(_, last)| seq <= last);
        let mut folds = folded
            .findings
            .into_iter()
            .filter(|(_, finding)| finding.seqs.is_some_and(|(seq, _)| counts(seq)))
            .peekable();
        let mut compared = 0;
        for (n, ended) in self.ended.drain(..).enumerate() {
            let findings = &mut self.report.findings;
            while let Some((_, finding)) = folds.next_if(|(at, _)| *at == n) {
                findings.push(finding);
            }
            findings.extend(ended.content);
            findings.extend(ended.rest);
            derived.extend(ended.derived);
            for (path, header) in &ended.tables {
                let is_folded = broken.is_none_or(|(at, _)| n < at);
                let count = folded.ends.get(n).filter(|_| is_folded);
                let (Some(count), Some(compared_with)) = (count, folded.differences.get(path)) else { continue };
                compared += 1;
                derived.extend(judge_table(path, header, count, compared_with));
            }
        }
        self.report.tables = compared;
        self.report.findings.extend(derived);
    }
}
