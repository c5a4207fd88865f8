//! `verify`: reads everything, reports every finding, changes nothing.
//!
//! Takes no lock and opens nothing for writing. Never stops at the first finding. Beside a living writer it looks up
//! to the durable end as of its start: what is written behind that meanwhile is read, and makes no finding but a remark.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::check::decide_on;
use crate::ledger::create::{has_ledger, inspect};
use crate::ledger::footing;
use crate::ledger::options::Options;
use crate::ledger::report::{Finding, Level, Severity, VerifyReport};
use crate::ledger::segments::Home;
use crate::ledger::tasks::{Tasks, Unfolded};
use crate::model::rules::Refusal;
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::storage::identity::{self, Identity};
use crate::storage::live::{self, Mark};
use crate::storage::log::{Decoder, Evidence, Listing, LogEntry, check_last, check_place, check_sealed, judge, list};
use crate::storage::names;
use crate::storage::scan::{Frame, Position, WalkEnd, tail, walk};
use crate::storage::segment::{SealSlot, Segment};
use crate::vfs::ops::{Access, Vfs};

const NEXT_KEEP: &str = "keep all files as they are, restore this one from a copy, and verify again";
const NEXT_NOTHING: &str = "nothing: no entry is concerned";
const NEXT_OPEN: &str = "open it for writing: recovery leaves these bytes where they are and goes on behind them";

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
    Options::new().verify(dir, level, &mut |_, _| ())
}

/// What is known while the segments are walked.
struct Walker<'a> {
    report: VerifyReport,
    level: Level,
    /// Up to where a living writer's log is looked at.
    bound: Option<Seq>,
    tasks: Tasks,
    /// Whether every entry so far could be folded; after a loss the rest cannot.
    whole: bool,
    done_bytes: u64,
    all_bytes: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// As [`verify`], on any file layer.
pub(crate) fn run(
    shared: &Arc<dyn Vfs>,
    dir: &Path,
    level: Level,
    progress: &mut dyn FnMut(u64, u64),
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
        writer: None,
    };
    // Nothing but the log is asked, in which no hash is stored, unless something was pruned.
    let tasks = Tasks::new([0; 16]);
    let mut walker = Walker { report, level, bound: None, tasks, whole: true, done_bytes: 0, all_bytes: 0, progress };
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
    // The mark first: whatever it names was in the log before.
    let mark = match identity {
        Some((identity, inode)) => live::read(vfs, &names::live(dir), &identity.uuid, inode)?,
        None => None,
    };
    if let Some(mark) = mark.filter(|mark| mark.writer_lives(vfs)) {
        walker.report.writer = Some(mark.process.pid);
        walker.bound = Some(mark.durable);
    }
    let listing = list(vfs, dir)?;
    walker.remark_strays(&listing);
    let segments = walker.open_segments(vfs, &listing, identity.map(|(identity, _)| identity))?;
    let segments = walker.stand(shared, dir, segments)?;
    walker.all_bytes = segments.iter().map(|segment| segment.header.capacity).sum();
    for (n, segment) in segments.iter().enumerate() {
        let next = segments.get(n + 1).filter(|next| next.header.number == segment.header.number + 1);
        let is_last = n + 1 == segments.len();
        walker.segment(segment, next.map(|next| &**next), is_last, mark.as_ref())?;
    }
    Ok(walker.report)
}

impl Walker<'_> {
    fn find(&mut self, finding: Finding) {
        self.report.findings.push(finding);
    }

    /// Turns damage into a finding; other errors stay errors.
    fn damage(&mut self, code: &'static str, error: Error) -> Result<()> {
        let Error::Damaged { path, offset, seq, what } = error else { return Err(error) };
        self.find(Finding {
            severity: Severity::Damage,
            code,
            file: path,
            bytes: offset.map(|offset| offset..offset + 1),
            seqs: seq.map(|seq| (seq, seq)),
            subject: None,
            what,
            next: NEXT_KEEP,
        });
        Ok(())
    }

    fn remark(&mut self, code: &'static str, file: PathBuf, bytes: Option<std::ops::Range<u64>>, what: String) {
        let severity = Severity::Remark;
        self.find(Finding { severity, code, file, bytes, seqs: None, subject: None, what, next: NEXT_NOTHING });
    }

    fn remark_strays(&mut self, listing: &Listing) {
        for path in &listing.strays {
            self.remark(
                "STRAY",
                path.clone(),
                None,
                "it is not a file of this ledger, and is not looked at".to_owned(),
            );
        }
        if self.bound.is_none() {
            for path in &listing.unfinished {
                self.remark(
                    "UNFINISHED",
                    path.clone(),
                    None,
                    "it was being made; the next writer removes it".to_owned(),
                );
            }
        }
    }

    /// Opens what can be opened, and reports what is missing or does not belong.
    fn open_segments(
        &mut self,
        vfs: &dyn Vfs,
        listing: &Listing,
        identity: Option<Identity>,
    ) -> Result<Vec<Arc<Segment>>> {
        let mut identity = identity;
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for (number, base, path) in &listing.segments {
            let segment = match Segment::open(vfs, path.clone(), *number, *base, Access::Read) {
                Ok(segment) => segment,
                // It was pruned while this was listed.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && segments.is_empty() && self.bound.is_some() =>
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
            segments.push(Arc::new(segment));
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
        let footing = footing::look(&home, segments, self.bound.is_none())?;
        self.whole &= !footing.is_lost();
        self.report.oldest = footing.segments.first().map_or(Seq::FIRST, |first| first.header.base);
        self.report.findings.extend(footing.findings);
        if let Some(floor) = footing.floor {
            self.tasks = Tasks::new(identity.hash_key);
            self.tasks.pass(floor);
        }
        Ok(footing.segments)
    }

    /// What comes from here on cannot be folded.
    fn lose(&mut self, finding: Finding) {
        self.whole = false;
        self.find(finding);
    }

    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        next: Option<&Segment>,
        is_last: bool,
        mark: Option<&Mark>,
    ) -> Result<()> {
        let named = next.and_then(|next| next.header.predecessor);
        let area_end = segment.header.area_end();
        let limit = named.map_or(area_end, |named| named.end.min(area_end));
        let walked = self.frames(segment, limit)?;
        self.report.segments += 1;
        self.done_bytes += segment.header.capacity;
        (self.progress)(self.done_bytes, self.all_bytes);
        for gap in &walked.gaps {
            let what = "these bytes are no frame; the frames around them follow each other, so that no entry is hidden";
            self.remark("GAP", segment.path.clone(), Some(gap.clone()), what.to_owned());
        }
        // Entries up to here are there; what a living writer adds behind its durable end is not looked at.
        let head = Seq(walked.whole.next.0 - 1);
        let bounded = self.bound.is_some_and(|bound| head >= bound);
        if let Some(named) = named {
            match check_sealed(segment, &walked, &named) {
                Ok(Some(gap)) => {
                    let what = "these bytes before the end that the successor states are no frame, and hide no entry";
                    self.remark("GAP", segment.path.clone(), Some(gap), what.to_owned());
                }
                Ok(None) => {}
                Err(error) => {
                    self.whole = false;
                    self.damage("LOST", error)?;
                }
            }
            self.seal(segment, next)?;
            self.left_out(segment, named.end)?;
        } else if is_last && !bounded {
            match judge(segment, &walked, Evidence::All(mark)) {
                Ok(_) => self.end(segment, &walked),
                Err(error) => self.damage("LOST", error)?,
            }
            if let Err(error) = check_last(segment) {
                self.damage("MISSING", error)?;
            }
        }
        self.report.checked_to = self.bound.map_or(head, |bound| bound.min(head)).max(self.report.checked_to);
        Ok(())
    }

    /// Walks the frames, and looks into them where the level asks for it.
    fn frames(&mut self, segment: &Arc<Segment>, limit: u64) -> Result<WalkEnd> {
        let mut decoder = Decoder::new(segment);
        let (done, all) = (self.done_bytes, self.all_bytes);
        walk(segment, Position::start_of(segment), limit, &mut |frame| {
            (self.progress)(done + frame.offset, all);
            self.frame(segment, &mut decoder, &frame)
        })
    }

    fn frame(&mut self, segment: &Segment, decoder: &mut Decoder, frame: &Frame) -> Result<()> {
        let header = &frame.header;
        if self.bound.is_some_and(|bound| header.kind.has_events() && header.first > bound) {
            return Ok(());
        }
        self.report.frames += 1;
        self.report.bytes += header.frame_len();
        self.report.entries += u64::from(header.count);
        if self.level < Level::Content {
            return Ok(());
        }
        match decoder.decode(segment, frame) {
            Ok(entries) => {
                for entry in &entries {
                    self.entry(segment, frame, entry);
                }
                Ok(())
            }
            Err(error) => {
                self.whole = false;
                self.damage("CONTENT", error)
            }
        }
    }

    /// Checks one entry against what is before it, and folds it.
    fn entry(&mut self, segment: &Segment, frame: &Frame, stored: &LogEntry) {
        if !self.whole {
            return;
        }
        let entry = &stored.entry;
        let before = match entry.about().map_or(Ok(None), |(realm, key)| self.tasks.slot(realm, key)) {
            Ok(before) => before,
            Err(unfit) => return self.lose(footing::lost(unfit)),
        };
        let problem = self.problem_of(stored, before.as_deref());
        let folded = match self.tasks.replay(entry, &stored.origin) {
            Ok(()) => None,
            Err(Unfolded::Entry(unfoldable)) => Some(("FOLD", unfoldable.0.to_owned())),
            Err(Unfolded::Unfit(unfit)) => return self.lose(footing::lost(unfit)),
        };
        self.whole = folded.is_none();
        if let Some((code, what)) = problem.or(folded) {
            self.find(Finding {
                severity: Severity::Damage,
                code,
                file: segment.path.clone(),
                bytes: Some(frame.offset..frame.offset + frame.header.frame_len()),
                seqs: Some((entry.seq, entry.seq)),
                subject: entry.subject(),
                what,
                next: NEXT_KEEP,
            });
        }
    }

    fn problem_of(&self, stored: &LogEntry, before: Option<&Slot>) -> Option<(&'static str, String)> {
        let entry = &stored.entry;
        if entry.at < self.tasks.at {
            return Some(("TIME", format!("its time {} is before that of the entry before it", entry.at)));
        }
        let back = Slot::seq_of(before);
        let (realm, _) = entry.about()?;
        let whose = realm.word();
        if stored.links.back != back {
            let what =
                format!("it points back to seq {}, and its {whose}'s entry before is seq {back}", stored.links.back);
            return Some(("LINK", what));
        }
        let key_back = Slot::keyed_of(before);
        if entry.event.key.is_some() && stored.links.key_back != key_back {
            let what = format!(
                "it names seq {} as its {whose}'s keyed entry before, and that is seq {key_back}",
                stored.links.key_back
            );
            return Some(("LINK", what));
        }
        match decide_on(realm, before, &entry.event) {
            Ok(_) => None,
            Err(Refusal::Illegal(reason)) => Some(("ILLEGAL", reason.to_owned())),
            Err(Refusal::OverLimit(over)) => Some(("LIMIT", format!("{} {}", over.what, over.problem))),
        }
    }

    /// Looks at the seal of a segment that has a successor.
    fn seal(&mut self, segment: &Segment, next: Option<&Segment>) -> Result<()> {
        let Some(next) = next else { return Ok(()) };
        let slot = segment.header.area_end()..segment.header.capacity;
        let Some(named) = next.header.predecessor else { return Ok(()) };
        let what = match segment.seal_slot()? {
            SealSlot::Sealed(seal) => {
                let same = (seal.successor, seal.end, seal.last, seal.chain)
                    == (next.header.number, named.end, named.last, named.chain);
                if same {
                    return Ok(());
                }
                let what = "its seal and its successor differ on where it ends".to_owned();
                return self.damage("SEAL", Error::damaged(&segment.path, slot.start, None, what));
            }
            SealSlot::Empty => "its seal is not written; the next writer writes it",
            SealSlot::Broken => "its seal is torn or rotten; its successor says the same and is there",
        };
        self.remark("SEAL", segment.path.clone(), Some(slot), what.to_owned());
        Ok(())
    }

    /// Reports what an earlier recovery left behind the end of a segment.
    fn left_out(&mut self, segment: &Segment, end: u64) -> Result<()> {
        if let Some(last) = tail(segment, end, segment.header.area_end())?.last_nonzero {
            let what = "an earlier recovery left these bytes of an unacknowledged write out".to_owned();
            self.remark("LEFT_OUT", segment.path.clone(), Some(end..last + 1), what);
        }
        Ok(())
    }

    /// Looks at how the last segment ends.
    fn end(&mut self, segment: &Segment, walked: &WalkEnd) {
        if self.bound.is_some() {
            return;
        }
        if let Some(last) = walked.tail.last_nonzero {
            self.find(Finding {
                severity: Severity::Tail,
                code: "TORN_TAIL",
                file: segment.path.clone(),
                bytes: Some(walked.whole.offset..last + 1),
                seqs: None,
                subject: None,
                what: "the rest of a write that nobody was told is safe".to_owned(),
                next: NEXT_OPEN,
            });
        } else if !walked.closed && walked.end.offset > Position::start_of(segment).offset {
            let what = "the last writer did not close it".to_owned();
            self.remark("UNCLEAN", segment.path.clone(), None, what);
        }
    }
}
