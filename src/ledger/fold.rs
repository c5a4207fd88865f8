//! Folding the entries of a segment as it is read, a piece of it at a time: what tables know of a piece is asked of the disk at once,
//! since one answer after the other takes a disk much longer.
//!
//! Invariants: entries are folded in their order, and what is wrong with one is told before anything that comes behind it.
//! Memory holds one piece.

use crate::error::{Error, Result};
use crate::ledger::tasks::{Tasks, Unfolded};
use crate::storage::decoder::LogEntry;
use crate::storage::log::Visit;
use crate::storage::segment::Segment;
use crate::storage::table::read::Unfit;

/// A piece has so many entries at most.
const PIECE_ENTRIES: usize = 4096;
/// A piece goes over so many bytes of the segment, and one frame, at most.
const PIECE_BYTES: u64 = 1 << 20;

/// Folds what `replay` shows of a segment, and says what that came to; or which table cannot be read.
///
/// # Errors
/// An entry does not follow what is before it; what `replay` says.
pub(crate) fn fold<T>(
    tasks: &mut Tasks,
    segment: &Segment,
    replay: &mut dyn FnMut(Visit<'_>) -> Result<T>,
) -> Result<std::result::Result<T, Unfit>> {
    let mut piece = Vec::new();
    let mut broken = None;
    tasks.will_ask();
    let replayed = replay(&mut |stored, offset| {
        piece.push((stored, offset));
        let first = piece.first().map_or(offset, |(_, first)| *first);
        if piece.len() < PIECE_ENTRIES && offset - first < PIECE_BYTES {
            return Ok(());
        }
        fold_piece(tasks, segment, std::mem::take(&mut piece), &mut broken)
    });
    // Also where it ended with an error: this is before it.
    let rest = fold_piece(tasks, segment, piece, &mut broken);
    match broken {
        Some(unfit) => Ok(Err(unfit)),
        None => rest.and(replayed).map(Ok),
    }
}

/// Folds entries, each with its byte. Where a table cannot be read, that is told apart from what is wrong with the log.
fn fold_piece(
    tasks: &mut Tasks,
    segment: &Segment,
    piece: Vec<(LogEntry, u64)>,
    broken: &mut Option<Unfit>,
) -> Result<()> {
    // What cannot be read is told when it is needed.
    let parts: Vec<usize> = piece.iter().map(|(stored, _)| tasks.will_replay(&stored.entry).unwrap_or(0)).collect();
    for ((stored, offset), part) in piece.into_iter().zip(parts) {
        let damaged = |what: String| Error::damaged(&segment.path, offset, Some(stored.entry.seq), what);
        tasks.replay(&stored.entry, &stored.origin, part).map_err(|unfolded| match unfolded {
            Unfolded::Entry(it) => damaged(format!("an entry cannot follow what is before it: {}", it.0)),
            Unfolded::Unfit(unfit) => {
                let what = format!("what is before an entry cannot be read: {}", unfit.what);
                *broken = Some(unfit);
                damaged(what)
            }
        })?;
    }
    Ok(())
}
