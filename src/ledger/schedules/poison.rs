//! A write or sync fails: everybody who waits is told so, nobody who was not told that all is well is, and nobody waits on.

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::disk::{BUFFERED, Disk};
use super::{Tally, explore, task};
use crate::error::{Error, Result};
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;
use crate::model::seq::Seq;
use crate::vfs::fault::CallKind;

static TALLIES: [Tally; 3] = [Tally::new("acknowledged"), Tally::new("unknown"), Tally::new("poisoned")];
static BUFFERED_TALLIES: [Tally; 3] = [Tally::new("acknowledged"), Tally::new("unknown"), Tally::new("poisoned")];

/// What somebody was told, which must be one of three.
fn told<T>(answer: Result<T>, tallies: &[Tally; 3]) -> Option<T> {
    let (n, answer) = match answer {
        Ok(answer) => (0, Some(answer)),
        Err(Error::Unknown { .. }) => (1, None),
        Err(Error::Poisoned { .. }) => (2, None),
        Err(other) => panic!("{other}"),
    };
    tallies[n].add(1);
    answer
}

fn scene(durability: Durability, tallies: &'static [Tally; 3]) {
    let disk = Disk::new();
    let ledger = disk.open(durability, Maintenance::Thread);
    let kind = if thread_rng().gen_bool(0.25) { CallKind::Write } else { CallKind::SyncData };
    disk.break_after(thread_rng().gen_range(0..10), kind);
    let holds = move |disk: &Disk, last: Seq| {
        if durability == Durability::Sync {
            disk.holds(last, "it was acknowledged");
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|who| {
            let (disk, ledger) = (disk.clone(), ledger.clone());
            thread::spawn(move || {
                for n in 0..2 {
                    let answer = match who {
                        0 | 1 => ledger.append(task(who, n), Event::created()),
                        2 => ledger.submit(task(who, n), Event::created()).and_then(block_on),
                        _ => {
                            if let Some(durable) = told(ledger.sync(), tallies) {
                                disk.holds(durable, "a sync was acknowledged");
                            }
                            continue;
                        }
                    };
                    if let Some(receipt) = told(answer, tallies) {
                        holds(&disk, receipt.seq());
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    disk.holds(ledger.durable(), "entries are called durable");
    holds(&disk, ledger.head());
    if told(ledger.append("late", Event::created()), tallies).is_none() {
        assert!(matches!(ledger.append("later", Event::created()), Err(Error::Poisoned { .. })));
        assert!(matches!(ledger.close(), Err(Error::Poisoned { .. })));
    }
}

/// A failed sync was known to those who look for work before it was known to those who wait for it. A follower that looked
/// in between found neither a flight nor what it waited for, and panicked with the lock held; or it found something in the
/// buffer, and flew it after the sync that had failed.
#[test]
fn synced() {
    explore("poison::synced", &TALLIES, || scene(Durability::Sync, &TALLIES));
}

#[test]
fn buffered() {
    explore("poison::buffered", &BUFFERED_TALLIES, || scene(BUFFERED, &BUFFERED_TALLIES));
}
