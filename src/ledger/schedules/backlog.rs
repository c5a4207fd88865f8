//! Appends that roll faster than indexes are made: what memory holds in place of indexes stays little.

use shuttle::thread;

use super::disk::Disk;
use super::{Tally, explore, task};
use crate::ledger::backlog::{LAG_MAX, layers};
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;

/// Each fills more than half of the smallest segment.
fn large() -> Event {
    Event::created().error("e".repeat(9000))
}

/// By each of two threads.
const APPENDS: usize = 3;

static TALLIES: [Tally; 2] = [Tally::new("rolls"), Tally::new("indexes made")];

#[test]
fn stays_short() {
    explore("backlog::stays_short", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Thread);
        let threads: Vec<_> = (0..2)
            .map(|who| {
                let ledger = ledger.clone();
                thread::spawn(move || {
                    for n in 0..APPENDS {
                        ledger.append(task(who, n), large()).unwrap();
                        // The other one may have rolled just now, and be about to help.
                        let held = layers(ledger.core());
                        assert!(held <= LAG_MAX + 1, "{held} segments are held in memory");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let rolls = disk.segments() - 1;
        tallies(rolls, rolls - layers(ledger.core()) as u64);
        drop(ledger);
    });
}

fn tallies(rolls: u64, made: u64) {
    TALLIES[0].add(rolls);
    TALLIES[1].add(made);
}
