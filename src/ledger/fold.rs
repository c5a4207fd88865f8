//! Folding the entries of a segment as it is read, a piece of it at a time: what tables will be asked about a piece is said to the
//! disk beforehand, which answers many questions at once in a few times what one takes.
//!
//! Invariants: entries are folded in their order, and what is wrong with one is told before anything that comes behind it.
//! Tables are asked for nothing that they would not be asked for one by one. Memory holds a piece of bounded size.

use std::collections::HashSet;
use std::iter;
use std::path::Path;

use crate::error::{Error, Result};
use crate::ledger::parts::{Look, hint, hint_guides, look};
use crate::ledger::tasks::{Tasks, Unfolded};
use crate::model::entry::Entry;
use crate::storage::codec::columns::event_bytes_max;
use crate::storage::decoder::LogEntry;
use crate::storage::log::Visit;
use crate::storage::table::read::Unfit;

/// A piece has so many entries at most: about as many reads as a disk takes at once, and few enough to stay in the processor's cache.
const PIECE_ENTRIES: usize = 512;
/// The texts of a piece take so many bytes, and what one entry takes, at most.
const PIECE_BYTES: usize = 1 << 20;

/// Folds what `replay` shows of the segment with this path, and says what that came to; or which table cannot be read.
///
/// # Errors
/// An entry does not follow what is before it; what `replay` says.
pub(crate) fn fold<T>(
    tasks: &mut Tasks,
    path: &Path,
    replay: &mut dyn FnMut(Visit<'_>) -> Result<T>,
) -> Result<std::result::Result<T, Unfit>> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    let mut broken = None;
    let replayed = replay(&mut |stored, offset| {
        if piece.len() == PIECE_ENTRIES || bytes >= PIECE_BYTES {
            bytes = 0;
            fold_piece(tasks, path, &mut piece, &mut broken)?;
        }
        let key = stored.entry.about().map_or("", |(_, key)| key);
        bytes += event_bytes_max(key, &stored.entry.event);
        piece.push((stored, offset));
        Ok(())
    });
    // Also where it ended with an error: this is before it.
    let rest = fold_piece(tasks, path, &mut piece, &mut broken);
    match broken {
        Some(unfit) => Ok(Err(unfit)),
        None => rest.and(replayed).map(Ok),
    }
}

/// Folds entries, each with its byte. Where a table cannot be read, that is told apart from what is wrong with the log.
fn fold_piece(
    tasks: &mut Tasks,
    path: &Path,
    piece: &mut Vec<(LogEntry, u64)>,
    broken: &mut Option<Unfit>,
) -> Result<()> {
    let starts = looks(tasks, piece).into_iter().chain(iter::repeat(Look::default()));
    for ((stored, offset), start) in piece.drain(..).zip(starts) {
        let damaged = |what: String| Error::damaged(path, offset, Some(stored.entry.seq), what);
        tasks.replay(&stored.entry, &stored.origin, start).map_err(|unfolded| match unfolded {
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

/// For each entry the look for what it is about, after telling the disk what all of them will read; up to the first for which a
/// table cannot be read, which is told when that entry is folded.
fn looks(tasks: &Tasks, piece: &[(LogEntry, u64)]) -> Vec<Look> {
    let parts = tasks.parts();
    let mut seen = HashSet::new();
    // What an entry before it in the piece is about is known by then.
    let mut hash = |entry| Entry::about(entry).filter(|about| seen.insert(*about)).and_then(|_| tasks.look_for(entry));
    let hashes: Vec<Option<u64>> = piece.iter().map(|(stored, _)| hash(&stored.entry)).collect();
    if hashes.iter().any(Option::is_some) {
        hint_guides(parts);
    }
    let look = |hash: Option<u64>| hash.map_or(Some(Look::default()), |hash| look(parts, hash).ok());
    hashes.into_iter().map_while(look).inspect(|look| hint(parts, *look)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Event;
    use crate::model::seq::Seq;
    use crate::model::slot::Origin;

    fn entry(seq: u64) -> LogEntry {
        let (seq, back) = (Seq(seq), Seq(seq - 1));
        let (task, version) = (Some("a".to_owned()), Some(seq.0));
        let (from, event) = match seq.0 {
            1 => (None, Event::created()),
            _ => (Event::created().state(), Event::updated()),
        };
        let entry = Entry { seq, task, note: None, version, at: 1, said: None, from, event };
        let origin = Origin { batch: seq, last: true, epoch: 1, back, key_back: Seq::ZERO, digest: None };
        LogEntry { entry, origin }
    }

    /// What folding these entries comes to where the log cannot be read behind them, and how far it is folded.
    fn folded(seqs: &mut dyn Iterator<Item = u64>) -> (String, Seq) {
        let mut tasks = Tasks::new([0; 16]);
        let ended = fold(&mut tasks, Path::new("log"), &mut |visit| {
            for seq in &mut *seqs {
                visit(entry(seq), 8 * seq)?;
            }
            Err::<(), _>(Error::damaged(Path::new("log"), None, None, "the log ends here"))
        });
        (ended.expect_err("it does not end well").to_string(), tasks.head)
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_told_before_what_comes_behind_it() {
        let piece = PIECE_ENTRIES as u64;
        for last in [0, 1, 7, piece - 1, piece, piece + 1, 2 * piece + 1] {
            let (told, head) = folded(&mut (1..=last));
            assert!(told.contains("the log ends here") && head == Seq(last), "{last}: {told}, folded to {head}");
            // One is missing, and one or many are behind it: it is neither the log's end that is told nor what is there.
            for behind in [1, 2 * piece] {
                let (told, head) = folded(&mut (1..=last).chain(last + 2..last + 2 + behind));
                let named = told.contains("its seq is not the next one") && told.contains(&(last + 2).to_string());
                assert!(named && head == Seq(last), "{last}, then {behind}: {told}, folded to {head}");
            }
        }
    }
}
