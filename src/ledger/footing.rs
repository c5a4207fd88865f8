//! What `verify` finds at the beginning of the log: whether it begins with the first entry that ever was, stands on a floor, or
//! misses what was before.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::floor;
use crate::ledger::report::{Finding, Severity};
use crate::ledger::segments::Home;
use crate::model::seq::Seq;
use crate::storage::floors;
use crate::storage::segment::Segment;
use crate::storage::table::check::check;
use crate::storage::table::read::{Table, Unfit};

const NEXT_COPY: &str = "open it for writing: the copy is made again from the other one, which is good";
const NEXT_RESTORE: &str = "keep all files as they are, and restore either copy of the floor from a copy of the ledger";
const NEXT_SEGMENTS: &str =
    "keep all files as they are, and restore the missing segments, or the floor, from a copy of the ledger";
const NEXT_WRITER: &str = "open it for writing: it is finished, or removed where it never came to be";

/// On what the log stands.
#[derive(Debug)]
pub(crate) struct Footing {
    /// The segments that count.
    pub segments: Vec<Arc<Segment>>,
    /// A copy of the floor that is sound, where something was pruned.
    pub floor: Option<Arc<Table>>,
    pub findings: Vec<Finding>,
}

impl Footing {
    /// Whether what was before the first segment is neither there nor stood for.
    pub(crate) fn is_lost(&self) -> bool {
        self.floor.is_none() && self.segments.first().is_some_and(|first| first.header.predecessor.is_some())
    }
}

/// Looks at the beginning, and reads both copies of the floor whole. `at_rest` says that no writer lives, whose work what is
/// unfinished may be.
///
/// # Errors
/// A file cannot be read. Damage is no error but a finding.
pub(crate) fn look(home: &Home, mut segments: Vec<Arc<Segment>>, at_rest: bool) -> Result<Footing> {
    let mut findings = Vec::new();
    let floors = floors::list(&*home.vfs, &home.dir)?;
    let Some(first) = segments.first().map(Arc::clone) else { return Ok(Footing { segments, floor: None, findings }) };
    let stands = floor::first_that_counts(home, &first, &mut |number| {
        let n = segments.binary_search_by_key(&number, |segment| segment.header.number);
        Ok(n.ok().and_then(|n| segments.get(n)).map(Arc::clone))
    });
    match stands {
        Ok(number) => {
            for left in segments.iter().filter(|segment| segment.header.number < number && at_rest) {
                let what = "it was pruned, and a crash has left it; it is not looked at";
                findings.push(finding(Severity::Remark, "LEFTOVER", left.path.clone(), what, NEXT_WRITER));
            }
            segments.retain(|segment| segment.header.number >= number);
        }
        Err(Error::Damaged { path, what, .. }) => {
            let last = Seq(first.header.base.0 - 1);
            let is_there = floors.copies.contains_key(&last);
            let (code, next) = if is_there { ("FLOOR", NEXT_RESTORE) } else { ("MISSING", NEXT_SEGMENTS) };
            let lost = finding(Severity::Damage, code, path, &what, next);
            findings.push(Finding { seqs: Some((Seq::FIRST, last)), ..lost });
        }
        Err(error) => return Err(error),
    }
    let floor = match segments.first() {
        Some(first) => sound_copy(home, first, &mut findings),
        None => None,
    };
    let stands_on = segments.first().and_then(|first| first.header.predecessor).map(|named| named.last);
    let others = floors.copies.iter().filter(|(last, _)| Some(**last) != stands_on).flat_map(|(_, paths)| paths);
    for path in others.chain(&floors.unfinished).filter(|_| at_rest) {
        let what = "it belongs to a prune that was interrupted";
        findings.push(finding(Severity::Remark, "UNFINISHED", path.clone(), what, NEXT_WRITER));
    }
    for path in floors.strays {
        let what = "it is not a file of this ledger, and is not looked at";
        findings.push(finding(Severity::Remark, "STRAY", path, what, "nothing: no entry is concerned"));
    }
    Ok(Footing { segments, floor, findings })
}

/// A copy of the floor that is sound to its last block. What is wrong with the other one is a remark as long as there is one.
fn sound_copy(home: &Home, first: &Segment, findings: &mut Vec<Finding>) -> Option<Arc<Table>> {
    let mut unfit = Vec::new();
    let mut sound = Vec::new();
    for table in floor::copies_under(home, first, &mut unfit) {
        match check(&table, &mut || io::Result::Ok(())) {
            Ok(()) => sound.push(table),
            Err(found) => unfit.push(found),
        }
    }
    let is_told = findings.iter().any(|finding| finding.severity == Severity::Damage);
    let last = Seq(first.header.base.0 - 1);
    for Unfit { path, what } in unfit {
        if sound.is_empty() && is_told {
            continue;
        }
        let found = match sound.is_empty() {
            true => finding(Severity::Damage, "FLOOR", path, &what, NEXT_RESTORE),
            false => finding(Severity::Remark, "FLOOR", path, &what, NEXT_COPY),
        };
        findings.push(Finding { seqs: Some((Seq::FIRST, last)), ..found });
    }
    sound.into_iter().next()
}

/// That a copy which was sound a moment ago cannot be read any more.
pub(crate) fn lost(unfit: Unfit) -> Finding {
    finding(Severity::Damage, "FLOOR", unfit.path, &unfit.what, NEXT_RESTORE)
}

fn finding(severity: Severity, code: &'static str, file: PathBuf, what: &str, next: &'static str) -> Finding {
    Finding { severity, code, file, bytes: None, seqs: None, subject: None, what: what.to_owned(), next }
}
