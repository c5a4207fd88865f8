//! What closing leaves to the next opening: little, however much was appended.

use std::fs;
use std::path::Path;

use taskledger::{Batch, Event, Expect, Ledger, TaskState};

/// What a ledger is closed with, so that the next opening is quick: at most so many entries behind the last index.
const TAIL_MAX: usize = 4096;

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, |entries| {
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains('.')).count()
    })
}

/// Appends so many entries, in few batches.
fn fill(ledger: &Ledger, entries: usize) {
    for from in (0..entries).step_by(4096) {
        let mut batch = Batch::new();
        for n in from..entries.min(from + 4096) {
            batch.push(format!("task {}", n % 1000), Event::observed(TaskState::Ready), Expect::Any);
        }
        ledger.commit(batch).unwrap();
    }
}

#[test]
fn a_long_tail_is_sealed_and_has_its_index() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let ledger = Ledger::open(dir).unwrap();
    fill(&ledger, TAIL_MAX + 1);
    let counts = ledger.counts();
    ledger.close().unwrap();
    assert_eq!((count(&dir.join("log")), count(&dir.join("idx"))), (2, 1));

    let ledger = Ledger::open(dir).unwrap();
    let report = ledger.report();
    assert!(report.clean, "{report:?}");
    assert!(report.unfit.is_empty(), "{report:?}");
    assert_eq!(ledger.counts(), counts);
    assert_eq!(ledger.get("task 0").unwrap().unwrap().version, 5);
    ledger.close().unwrap();
    assert_eq!(count(&dir.join("log")), 2, "there was nothing to seal");
}

#[test]
fn a_short_tail_is_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(home.path()).unwrap();
    fill(&ledger, TAIL_MAX);
    ledger.close().unwrap();
    assert_eq!((count(&home.path().join("log")), count(&home.path().join("idx"))), (1, 0));
}
