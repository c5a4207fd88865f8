//! Rolls and spare segments against appends, submits and syncs: nothing is placed in a segment that is being left, and
//! whoever waits for room gets it.

use shuttle::future::block_on;
use shuttle::thread;

use super::disk::{BUFFERED, Disk};
use super::{Tally, explore, task};
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;
use crate::model::seq::Seq;

/// Three of these fill the smallest segment.
fn large() -> Event {
    Event::created().because("because ".repeat(400))
}

static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("rolls")];
static MANUAL_TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("rolls")];
static BUFFERED_TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("rolls")];

fn scene(durability: Durability, maintenance: Maintenance, tallies: &[Tally; 2]) {
    let disk = Disk::new();
    let ledger = disk.open(durability, maintenance);
    let threads: Vec<_> = (0..3)
        .map(|who| {
            let (disk, ledger) = (disk.clone(), ledger.clone());
            thread::spawn(move || {
                for n in 0..2 {
                    let receipt = if who == 0 && maintenance == Maintenance::Thread {
                        block_on(ledger.submit(task(who, n), large()).unwrap()).unwrap()
                    } else if who == 0 {
                        ledger.maintain().unwrap();
                        continue;
                    } else {
                        ledger.append(task(who, n), large()).unwrap()
                    };
                    if durability == Durability::Sync {
                        disk.holds(receipt.seq(), "an append was acknowledged");
                    }
                }
                if durability != Durability::Sync {
                    disk.holds(ledger.sync().unwrap(), "a sync was acknowledged");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let placed = if maintenance == Maintenance::Thread { 6 } else { 4 };
    assert_eq!(ledger.sync().unwrap(), Seq(placed));
    assert_eq!(
        ledger.entries(Seq::FIRST).map(|entry| entry.unwrap().seq.0).collect::<Vec<_>>(),
        (1..=placed).collect::<Vec<_>>()
    );
    tallies[0].add(placed);
    tallies[1].add(disk.segments() - 1);
    disk.holds(Seq(placed), "a sync was acknowledged");
    drop(ledger);
    assert_eq!(disk.durable(), Seq(placed));
}

/// Two rolls at once lost what was acknowledged: an append that did not fit began one and waited for a flight, the thread
/// of the ledger began another for a submit that did not fit, and when the first one ended, batches were placed in the
/// buffer that the second one then threw away. What was acknowledged behind them followed nothing when it was read.
#[test]
fn with_a_thread() {
    explore("rolls::with_a_thread", &TALLIES, || scene(Durability::Sync, Maintenance::Thread, &TALLIES));
}

#[test]
fn by_hand() {
    explore("rolls::by_hand", &MANUAL_TALLIES, || scene(Durability::Sync, Maintenance::Manual, &MANUAL_TALLIES));
}

#[test]
fn buffered() {
    explore("rolls::buffered", &BUFFERED_TALLIES, || scene(BUFFERED, Maintenance::Thread, &BUFFERED_TALLIES));
}
