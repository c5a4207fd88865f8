//! The floor: what stands in the place of entries that were pruned.
//!
//! It is a snapshot after the last of them, in two copies, each whole. Where the first segment there is has another number
//! than 1, it names the one before it, and a floor that says exactly the same is demanded: no entry is left that could say
//! what the floor says. So it is no table that can be passed over, though one good copy is enough.
//!
//! Invariant: segments go only after both copies of a floor above them are durable, the oldest first. Where some of them are
//! still there, the lowest floor that is not below the first of them is the one that counts.

use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::error::{Error, Result, seqs};
use crate::ledger::segments::{Home, Segments};
use crate::model::seq::Seq;
use crate::storage::floors::list;
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::storage::table::page::TableKind;
use crate::storage::table::read::{Table, Unfit};

/// The copies that there are of each floor.
pub(crate) const COPIES: [u8; 2] = [1, 2];

/// The good copies of the floor on which a segment stands; what is wrong with the others is added to `unfit`, and those that
/// are named there already are not looked at. None for the first segment that ever was.
pub(crate) fn copies_under(home: &Home, segment: &Segment, unfit: &mut Vec<Unfit>) -> Vec<Arc<Table>> {
    let Some(named) = segment.header.predecessor else { return Vec::new() };
    let mut good = Vec::new();
    for path in COPIES.map(|copy| names::floor(&home.dir, named.last, copy)) {
        if unfit.iter().any(|unfit| unfit.path == path) {
            continue;
        }
        let found = Table::open(&*home.vfs, &path, home.mmap).and_then(|table| {
            let fits = table.header.fits(TableKind::Snapshot, &home.identity.uuid, Seq::FIRST, &named);
            fits.map(|()| Arc::new(table)).map_err(|what| Unfit { path: path.clone(), what: what.to_owned() })
        });
        match found {
            Ok(table) => good.push(table),
            Err(found) => unfit.push(found),
        }
    }
    good
}

/// The floor on which the first segment stands; `None` where it is the first that ever was.
///
/// # Errors
/// [`Error::Damaged`] where neither copy is good; [`Error::Pruned`] where a later floor has taken its place meanwhile.
pub(crate) fn under(home: &Home, first: &Segment, unfit: &mut Vec<Unfit>) -> Result<Option<Arc<Table>>> {
    if first.header.predecessor.is_none() {
        return Ok(None);
    }
    match copies_under(home, first, unfit).into_iter().next() {
        Some(table) => Ok(Some(table)),
        None => Err(missing(home, first, unfit)),
    }
}

/// What to say where no floor stands under a segment.
fn missing(home: &Home, first: &Segment, unfit: &[Unfit]) -> Error {
    let last = Seq(first.header.base.0 - 1);
    let copies = COPIES.map(|copy| names::floor(&home.dir, last, copy));
    let floors = match list(&*home.vfs, &home.dir) {
        Ok(floors) => floors,
        Err(error) => return error,
    };
    if !floors.copies.contains_key(&last) {
        return match floors.copies.range((Excluded(last), Unbounded)).next() {
            Some((later, _)) => Error::Pruned { oldest: later.next() },
            None => {
                let what = format!(
                    "the segments before number {} are missing, and no floor stands for them",
                    first.header.number
                );
                Error::damaged(&first.path, None, Some(Seq::FIRST), what)
            }
        };
    }
    for path in &copies {
        // What cannot be had now is not said to be bad.
        if let Err(error) = Table::look(&*home.vfs, path, false)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Error::io("read", path)(error);
        }
    }
    let why: Vec<String> = unfit
        .iter()
        .filter(|unfit| copies.contains(&unfit.path))
        .map(|unfit| format!("{}: {}", unfit.path.display(), unfit.what))
        .collect();
    let gone = seqs(Seq::FIRST, last);
    let what =
        format!("{gone} was pruned, and neither copy of the floor that stands for it is good ({})", why.join("; "));
    Error::damaged(&names::floor_dir(&home.dir), None, Some(Seq::FIRST), what)
}

/// Of all segments there are, those that count: a prune that was not finished has left others. Also what is wrong with a
/// copy of the floor on which they stand.
///
/// # Errors
/// As [`under`]; or a segment cannot be opened.
pub(crate) fn kept(home: &Home, segments: Segments) -> Result<(Segments, Vec<Unfit>)> {
    let mut unfit = Vec::new();
    if segments.first_number() == 1 {
        return Ok((segments, unfit));
    }
    let number = first_that_counts(home, &*segments.get(0)?, &mut |number| {
        segments.position(number).map(|n| segments.get(n)).transpose()
    })?;
    let segments = segments.from(number);
    copies_under(home, &*segments.get(0)?, &mut unfit);
    Ok((segments, unfit))
}

/// The number of the first segment that counts. `first` is the first there is; `with_number` opens others.
///
/// # Errors
/// As [`under`]; or what `with_number` says.
pub(crate) fn first_that_counts(
    home: &Home,
    first: &Segment,
    with_number: &mut dyn FnMut(u64) -> Result<Option<Arc<Segment>>>,
) -> Result<u64> {
    let Some(named) = first.header.predecessor else { return Ok(first.header.number) };
    let mut unfit = Vec::new();
    if !copies_under(home, first, &mut unfit).is_empty() {
        return Ok(first.header.number);
    }
    // Only the lowest: of a higher one nobody knows whether its prune ever came to be.
    if let Some((_, copies)) = list(&*home.vfs, &home.dir)?.copies.range(named.last..).next() {
        for path in copies {
            let Ok(table) = Table::open(&*home.vfs, path, false) else { continue };
            let Some(number) = table.header.number.checked_add(1).filter(|&n| n > first.header.number) else {
                continue;
            };
            if let Some(segment) = with_number(number)?
                && !copies_under(home, &segment, &mut Vec::new()).is_empty()
            {
                return Ok(number);
            }
        }
    }
    // A writer that prunes meanwhile: what is there is not what was listed.
    match missing(home, first, &unfit) {
        Error::Pruned { .. } => {
            let what = format!(
                "the segments before number {} are missing, and so is what stands above them",
                first.header.number
            );
            Err(Error::damaged(&first.path, None, Some(Seq::FIRST), what))
        }
        other => Err(other),
    }
}
