//! What a view has seen stays there, whatever becomes of the segments that it saw.

use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Event, HistoryFilter, Seq};

use super::world::open;

/// A view that was made while a segment was active lost that segment once it was sealed and had its index: where its frames
/// are was known in memory, was forgotten for the sake of the index, and the view does not ask for the index of a segment
/// that has no successor as far as it knows. A history broke off with damage that was none, and a walk over all entries ended
/// early and said nothing.
#[test]
fn a_view_keeps_the_segment_that_was_active_when_it_was_made() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    for _ in 0..3 {
        ledger.append("a", Event::observed(taskledger::TaskState::Ready)).unwrap();
    }
    let view = ledger.as_of(At::Seq(Seq(3))).unwrap();
    for n in 0..4 {
        ledger.append(format!("large {n}"), Event::created().error("e".repeat(9000))).unwrap();
    }
    ledger.maintain().unwrap();
    let seqs = |entries: Vec<taskledger::Entry>| entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>();
    let all: Result<Vec<_>, _> = view.entries(Seq::FIRST).collect();
    assert_eq!(seqs(all.unwrap()), [1, 2, 3]);
    let history: Result<Vec<_>, _> = view.history("a").unwrap().collect();
    assert_eq!(seqs(history.unwrap()), [1, 2, 3]);
    let page = view.history_page("a", HistoryFilter::new().newest_first()).unwrap();
    assert_eq!(seqs(page.entries), [3, 2, 1]);
}
