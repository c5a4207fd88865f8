//! What is left of a damaged ledger: whose it is, on what it stands, which segments are whole, which seqs are lost.
//!
//! The rule is that of opening: let W be the highest seq that any evidence names as durable. What is missing up to W is lost; what is
//! behind W counts as far as it follows without a gap in whole batches, as nobody was told more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::derived;
use crate::ledger::options::Options;
use crate::ledger::report::{Finding, Severity};
use crate::ledger::salvage::{Salvaged, remains};
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::storage::floors;
use crate::storage::identity::{self, Identity};
use crate::storage::live;
use crate::storage::log::{check_place, check_sealed, list};
use crate::storage::names;
use crate::storage::scan::{Position, walk};
use crate::storage::segment::{Predecessor, SealSlot, Segment};
use crate::storage::table::check::check;
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::Table;
use crate::vfs::ops::Access;

/// A file of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub path: PathBuf,
    pub number: u64,
    pub base: Seq,
    /// The segment, where its header is whole and the file as long as that says.
    pub segment: Option<Arc<Segment>>,
}

/// What is left of a ledger.
#[derive(Debug)]
pub(crate) struct Survey {
    pub identity: Identity,
    /// What it stands on, where something was pruned.
    pub floor: Option<Arc<Table>>,
    /// The segments that are whole, with what their successors say of them: they are copied as they are.
    pub whole: Vec<(Arc<Segment>, Predecessor)>,
    /// All others, in order, and below which seq each of them counts.
    pub rest: Vec<(LogFile, Seq)>,
    /// The first seq behind the whole segments.
    pub first: Seq,
    /// The last seq that there was, or that counts.
    pub last: Seq,
    /// The seqs that are lost, each from and to; in order.
    pub lost: Vec<(Seq, Seq)>,
    /// Entries that can be read, but not whose they are; they count as lost.
    pub unnamed: Vec<Entry>,
    /// How many entries can be read in all.
    pub kept: u64,
    /// How many were written and never vouched for, and do not follow without a gap; nobody was told that they are safe.
    pub unvouched: u64,
    /// The highest epoch of any writer.
    pub epoch: u32,
    /// Files that are damaged, or not used whole.
    pub aside: BTreeSet<PathBuf>,
    /// What was found besides, in words.
    pub remarks: Vec<String>,
}

/// Looks at everything. `findings` is what `verify` has found.
///
/// # Errors
/// [`Error::NoLedger`] where nothing is left of one; [`Error::Format`]; or a file cannot be read for another reason than damage.
pub(crate) fn survey(options: &Options, dir: &Path, findings: &[Finding]) -> Result<Survey> {
    let vfs = &*options.vfs;
    let mut aside: BTreeSet<PathBuf> =
        findings.iter().filter(|found| found.severity == Severity::Damage).map(|found| found.file.clone()).collect();
    let mut remarks = Vec::new();
    let (mut files, identity, inode) = files(options, dir, &mut aside, &mut remarks)?;
    let lowest = files.first().map_or(Seq::FIRST, |file| file.base);
    let first_number = files.first().map_or(1, |file| file.number);
    let floor = if first_number == 1 { None } else { find_floor(options, dir, &identity, lowest) };
    let stands_on = floor.as_ref().map_or(Seq::ZERO, |floor| floor.header.last);
    let floor_number = floor.as_ref().map_or(0, |floor| floor.header.number);
    files.retain(|file| file.number > floor_number);
    let damaged = aside.clone();
    let whole = whole_segments(&files, &identity, &floor, &damaged)?;
    let first = whole.last().map_or(stands_on, |(_, named)| named.last).next();

    let mut out = Survey {
        identity,
        floor,
        rest: Vec::new(),
        first,
        last: Seq(first.0 - 1),
        lost: Vec::new(),
        unnamed: Vec::new(),
        kept: first.0 - 1 - stands_on.0,
        unvouched: 0,
        epoch: 0,
        aside,
        remarks,
        whole,
    };
    let rest = files.split_off(out.whole.len().min(files.len()));
    for (n, file) in rest.iter().enumerate() {
        // What an earlier recovery left out has seqs that the next segment gave again.
        let below = rest.get(n + 1).map_or(Seq(u64::MAX), |next| next.base);
        out.rest.push((file.clone(), below));
    }
    let mark = live::read(vfs, &names::live(dir), &identity.uuid, inode)?;
    let mut witness = mark.map_or(Seq::ZERO, |mark| mark.durable).max(out.last);
    out.epoch = mark.map_or(0, |mark| mark.epoch);
    witness = witness.max(newest_snapshot(options, dir, &identity));
    let mut have: Vec<(Seq, Seq)> = Vec::new();
    let mut whole_batches = out.last;
    for (file, _) in out.rest.clone() {
        let mut said = Seq(file.base.0 - 1);
        if let Some(segment) = &file.segment {
            if let SealSlot::Sealed(seal) = segment.seal_slot()? {
                said = said.max(seal.last);
            }
            out.epoch = out.epoch.max(segment.header.epoch);
        }
        witness = witness.max(said);
    }
    let (mut watermark, mut epoch, mut unnamed) = (witness, out.epoch, Vec::new());
    out.each(options, dir, &mut |found| {
        match found {
            Found::Segment { watermark: named, epoch: of, unnamed: more } => {
                (watermark, epoch) = (watermark.max(named), epoch.max(of));
                unnamed.extend(more);
            }
            Found::Entry(salvaged) => {
                let seq = salvaged.entry.seq;
                match have.last_mut() {
                    Some((_, last)) if last.next() == seq => *last = seq,
                    _ => have.push((seq, seq)),
                }
                if salvaged.links.last_of_batch {
                    whole_batches = seq;
                }
            }
        }
        Ok(())
    })?;
    (out.epoch, out.unnamed) = (epoch, unnamed);
    // Whole batches that follow what was vouched for without a gap count, as they do when it is opened.
    let tail = have.iter().rev().find(|(from, to)| *from <= watermark.next() && *to > watermark);
    out.last = watermark.max(tail.map_or(Seq::ZERO, |(_, to)| *to).min(whole_batches));
    let mut next = first;
    for (from, to) in have {
        let to_kept = to.min(out.last);
        out.unvouched += to.0.saturating_sub(out.last.max(Seq(from.0 - 1)).0);
        if from > out.last {
            continue;
        }
        if from > next {
            out.lost.push((next, Seq(from.0 - 1)));
        }
        out.kept += to_kept.0 + 1 - from.0;
        next = to_kept.next();
    }
    if next <= out.last {
        out.lost.push((next, out.last));
    }
    out.unnamed.retain(|entry| entry.seq <= out.last);
    Ok(out)
}

/// What is met in what is not copied as it is.
pub(crate) enum Found {
    Entry(Box<Salvaged>),
    /// A segment was read; its entries come next.
    Segment {
        watermark: Seq,
        epoch: u32,
        unnamed: Vec<Entry>,
    },
}

impl Survey {
    /// Shows the entries that are not in whole segments, each seq once, in order.
    ///
    /// # Errors
    /// A file cannot be read, or what `visit` says.
    pub(crate) fn each(&self, options: &Options, dir: &Path, visit: &mut dyn FnMut(Found) -> Result<()>) -> Result<()> {
        let mut next = self.first;
        for (file, below) in &self.rest {
            let left = remains(options, &file.path, &self.identity.uuid, dir, *below)?;
            visit(Found::Segment { watermark: left.watermark, epoch: left.epoch, unnamed: left.unnamed })?;
            for salvaged in left.entries {
                if salvaged.entry.seq >= next {
                    next = salvaged.entry.seq.next();
                    visit(Found::Entry(Box::new(salvaged)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a seq is lost.
    pub(crate) fn is_lost(&self, seq: Seq) -> bool {
        let n = self.lost.partition_point(|(_, to)| *to < seq);
        self.lost.get(n).is_some_and(|(from, _)| *from <= seq)
    }
}

/// The files of the log that are of this ledger, by number and base; who it is; and the inode of `LEDGER`.
fn files(
    options: &Options,
    dir: &Path,
    aside: &mut BTreeSet<PathBuf>,
    remarks: &mut Vec<String>,
) -> Result<(Vec<LogFile>, Identity, u64)> {
    let vfs = &*options.vfs;
    let mut files = Vec::new();
    for (number, base, path) in list(vfs, dir)?.segments {
        let file = match Segment::open(vfs, path.clone(), number, base, Access::Read) {
            Ok(segment) => LogFile { path, number, base, segment: Some(Arc::new(segment.let_go(&options.vfs))) },
            Err(Error::Damaged { .. }) => {
                aside.insert(path.clone());
                // Its header may be whole, and say another place than its name; or the file is too short.
                let (number, base) = options.dump(&path).map_or((number, base), |dump| (dump.number(), dump.base()));
                LogFile { path, number, base, segment: None }
            }
            Err(error) => return Err(error),
        };
        files.push(file);
    }
    let (identity, inode) = match identity::read(vfs, &names::ledger(dir), false) {
        Ok((identity, inode)) => (identity, inode),
        Err(error) => {
            match &error {
                Error::Damaged { path, .. } => drop(aside.insert(path.clone())),
                Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {}
                _ => return Err(error),
            }
            let mut votes: BTreeMap<[u8; 16], (usize, Identity)> = BTreeMap::new();
            for identity in files.iter().filter_map(|file| file.segment.as_ref()).map(|segment| segment.header.identity)
            {
                votes.entry(identity.uuid).or_insert((0, identity)).0 += 1;
            }
            let most = votes.into_values().max_by_key(|(votes, _)| *votes);
            let Some((_, identity)) = most else { return Err(Error::NoLedger { path: dir.to_owned() }) };
            remarks.push(format!("{} is made again from the headers of segments", names::ledger(dir).display()));
            (identity, 0)
        }
    };
    files.retain(|file| {
        let is_foreign = file.segment.as_ref().is_some_and(|segment| segment.header.identity != identity);
        if is_foreign {
            remarks.push(format!("{} belongs to another ledger", file.path.display()));
            aside.insert(file.path.clone());
        }
        !is_foreign
    });
    files.sort_by(|a, b| (a.number, a.base, &a.path).cmp(&(b.number, b.base, &b.path)));
    for pair in files.windows(2) {
        if let [one, other] = pair
            && one.number == other.number
        {
            remarks.push(format!(
                "{} and {} both say that they are segment {}",
                one.path.display(),
                other.path.display(),
                one.number
            ));
            aside.extend([one.path.clone(), other.path.clone()]);
        }
    }
    Ok((files, identity, inode))
}

/// A sound copy of the floor that stands below a seq: the lowest that is not below it, else the highest.
fn find_floor(options: &Options, dir: &Path, identity: &Identity, lowest: Seq) -> Option<Arc<Table>> {
    let floors = floors::list(&*options.vfs, dir).ok()?.copies;
    let below = Seq(lowest.0.saturating_sub(1));
    let in_order = floors.range(below..).chain(floors.range(..below).rev());
    let mut copies = in_order.flat_map(|(_, paths)| paths);
    copies.find_map(|path| {
        let table = Table::open(&*options.vfs, path, false).ok()?;
        let TableHeader { kind, uuid, .. } = table.header;
        let is_sound = (kind, uuid) == (TableKind::Snapshot, identity.uuid) && check(&table, &mut || Ok(())).is_ok();
        is_sound.then(|| Arc::new(table))
    })
}

/// The segments from the first on that follow each other and are whole, as their successors say.
fn whole_segments(
    files: &[LogFile],
    identity: &Identity,
    floor: &Option<Arc<Table>>,
    damaged: &BTreeSet<PathBuf>,
) -> Result<Vec<(Arc<Segment>, Predecessor)>> {
    let mut whole: Vec<(Arc<Segment>, Predecessor)> = Vec::new();
    for pair in files.windows(2) {
        let [LogFile { segment: Some(segment), .. }, LogFile { segment: Some(next), .. }] = pair else { break };
        let begins = match (whole.last(), floor) {
            (Some((before, _)), _) => before.header.number + 1 == segment.header.number,
            (None, None) => segment.header.number == 1,
            (None, Some(floor)) => segment.header.predecessor.is_some_and(|named| {
                let header = &floor.header;
                (named.number, named.end, named.last, named.chain)
                    == (header.number, header.end, header.last, header.chain)
            }),
        };
        let Some(named) = next.header.predecessor else { break };
        if !begins || damaged.contains(&segment.path) || check_place(next, Some(segment), identity).is_err() {
            break;
        }
        let walked =
            walk(segment, Position::start_of(segment), named.end.min(segment.header.area_end()), &mut |_| Ok(()))?;
        if check_sealed(segment, &walked, &named).is_err() {
            break;
        }
        whole.push((Arc::clone(segment), named));
    }
    Ok(whole)
}

/// The last seq of the newest snapshot of this ledger: it is made of durable entries only.
fn newest_snapshot(options: &Options, dir: &Path, identity: &Identity) -> Seq {
    let snapshots = derived::list(&*options.vfs, dir).snapshots;
    let mut newest = snapshots.values().rev().filter_map(|path| {
        let table = Table::open(&*options.vfs, path, false).ok()?;
        (table.header.uuid == identity.uuid).then_some(table.header.last)
    });
    newest.next().unwrap_or(Seq::ZERO)
}
