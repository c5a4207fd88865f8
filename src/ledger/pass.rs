//! One reading of the log that folds the tasks and notes of a range of hashes, and compares the tables that end on the way;
//! and what all such readings together come to.
//!
//! Invariant: behind where a fold breaks off, nothing is said of the whole.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::ledger::inspect::{Inspected, NEXT_KEEP, Piece, open, remark, warning};
use crate::ledger::refold::{Count, Full, Refold};
use crate::ledger::report::{Finding, Severity};
use crate::model::seq::Seq;
use crate::storage::segment::Segment;
use crate::storage::table::compare::{Differences, block_bytes, compare};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::vfs::ops::Vfs;

/// What folding came to, in one range of hashes or in all of them.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// With the position of the segment, in the order of the log.
    pub findings: Vec<(usize, Finding)>,
    /// After each segment that could be folded.
    pub ends: Vec<Count>,
    /// By table: how its records differ, or why it could not be read.
    pub differences: BTreeMap<PathBuf, std::result::Result<Differences, String>>,
    /// The segment and seq behind which nothing can be folded.
    pub broken: Option<(usize, Seq)>,
}

/// One reading of the log, to fold the tasks and notes of a range.
pub(crate) struct Pass {
    pub refold: Refold,
    pub hashes: RangeInclusive<u64>,
    pub out: Folded,
    pub full: bool,
}

impl Pass {
    pub(crate) fn new(hash_key: [u8; 16], hashes: RangeInclusive<u64>, memory: u64) -> Pass {
        let refold = Refold::new(hash_key, hashes.clone(), memory);
        Pass { refold, hashes, out: Folded::default(), full: false }
    }

    /// Folds entries of a segment, up to its last that counts.
    pub(crate) fn piece(&mut self, n: usize, segment: &Segment, last: Option<Seq>, piece: &Piece) {
        for (bytes, entries) in &piece.frames {
            for stored in entries {
                let entry = &stored.entry;
                if self.full || self.out.broken.is_some() || last.is_some_and(|last| entry.seq > last) {
                    return;
                }
                let problem = match self.refold.entry(stored) {
                    Ok(problem) => problem,
                    Err(Full) => {
                        self.full = true;
                        return;
                    }
                };
                let Some(problem) = problem else { continue };
                if problem.ends {
                    self.out.broken = Some((n, entry.seq));
                }
                let finding = Finding {
                    severity: Severity::Damage,
                    seqs: Some((entry.seq, entry.seq)),
                    subject: entry.subject(),
                    next: NEXT_KEEP,
                    ..remark(problem.code, &segment.path, Some(bytes.clone()), &problem.what)
                };
                self.out.findings.push((n, finding));
            }
        }
    }

    /// A segment was read to its end: compares the tables that end there.
    pub(crate) fn end(&mut self, vfs: &dyn Vfs, n: usize, ended: &Inspected) {
        if self.full || self.out.broken.is_some() {
            return;
        }
        if !ended.whole {
            self.out.broken = Some((n, ended.head));
            return;
        }
        for (path, header) in &ended.tables {
            let Some(opened) = open(vfs, path) else { continue };
            let compared = opened.and_then(|table| match header.kind {
                TableKind::Index => compare(&table, &self.hashes, self.refold.touched()),
                TableKind::Snapshot => compare(&table, &self.hashes, self.refold.all()),
            });
            self.out.differences.insert(path.clone(), compared.map_err(|unfit| unfit.what));
        }
        self.out.ends.push(*self.refold.count());
        self.refold.next_segment();
    }
}

impl Folded {
    /// Adds what the next range came to.
    pub(crate) fn join(&mut self, next: Folded) {
        self.findings.extend(next.findings);
        self.broken = [self.broken, next.broken].into_iter().flatten().min();
        if self.ends.is_empty() {
            self.ends = next.ends;
        } else {
            // Behind where one of them ends nothing is known of the whole.
            self.ends.truncate(next.ends.len());
            self.ends.iter_mut().zip(&next.ends).for_each(|(all, more)| all.add(more));
        }
        for (path, later) in next.differences {
            match (self.differences.get_mut(&path), later) {
                (Some(Ok(all)), Ok(later)) => all.join(later),
                (Some(Err(_)), _) => {}
                (_, later) => drop(self.differences.insert(path, later)),
            }
        }
    }
}

/// What is wrong with a table that is sound by itself.
pub(crate) fn judge_table(
    path: &Path,
    header: &TableHeader,
    count: &Count,
    compared: &std::result::Result<Differences, String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has = Count { at: header.at, by_state: header.counts, noted: header.noted };
    if has != *count {
        let what = format!(
            "its header says that there are {} tasks and {} notes, the last entry at {}; the log makes {} and {}, at {}, by states {:?}",
            has.by_state.iter().sum::<u64>(),
            has.noted,
            has.at,
            count.by_state.iter().sum::<u64>(),
            count.noted,
            count.at,
            count.by_state,
        );
        findings.push(warning("TABLE_WRONG", path, Some(block_bytes(0)), what));
    }
    match compared {
        Err(what) => findings.push(warning("TABLE_DAMAGED", path, None, what.clone())),
        Ok(Differences { count, first: Some(first) }) => {
            let more =
                if *count > 1 { format!("; {count} records differ, and this is the first",) } else { String::new() };
            let found = warning("TABLE_WRONG", path, first.bytes.clone(), format!("{}{more}", first.what));
            findings.push(Finding {
                seqs: Some((first.seq, first.seq)),
                subject: Some(first.subject.clone()),
                ..found
            });
        }
        Ok(_) => {}
    }
    findings
}
