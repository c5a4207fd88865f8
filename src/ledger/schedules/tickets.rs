//! Tickets: waited for, awaited, dropped, and outliving their ledger; the background thread leads where nobody else does.

use shuttle::future::block_on;
use shuttle::thread;

use super::disk::Disk;
use super::{Tally, explore, task};
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;
use crate::model::seq::Seq;

#[test]
fn waits() {
    static TALLIES: [Tally; 1] = [Tally::new("acknowledged")];
    explore("tickets::waits", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Thread);
        let threads: Vec<_> = (0..3)
            .map(|who| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    let dropped = ledger.submit(task(who, 0), Event::created()).unwrap();
                    let kept = ledger.submit(task(who, 1), Event::created()).unwrap();
                    drop(dropped);
                    let receipt = match who {
                        0 => kept.wait(),
                        1 => block_on(kept),
                        _ => {
                            drop(kept);
                            ledger.append(task(who, 2), Event::created())
                        }
                    };
                    disk.holds(receipt.unwrap().seq(), "a ticket was answered");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(ledger);
        assert_eq!(disk.durable(), Seq(7), "a dropped ticket loses nothing");
        TALLIES[0].add(7);
    });
}

/// Nobody waits by leading: the thread of the ledger must.
#[test]
fn nobody_leads() {
    static TALLIES: [Tally; 1] = [Tally::new("acknowledged")];
    explore("tickets::nobody_leads", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Thread);
        let threads: Vec<_> = (0..2)
            .map(|who| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        drop(ledger.submit(task(who, n), Event::created()).unwrap());
                    }
                    let ticket = ledger.submit(task(who, 2), Event::created()).unwrap();
                    if who == 0 {
                        disk.holds(block_on(ticket).unwrap().seq(), "a ticket was answered");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while ledger.head() < Seq(6) {
            thread::yield_now();
        }
        disk.holds(Seq(6), "a reader was shown entries");
        TALLIES[0].add(6);
    });
}

#[test]
fn outlive() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("polled in vain")];
    explore("tickets::outlive", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Thread);
        let tickets: Vec<_> =
            (0..3).map(|n| ledger.submit(task(0, n), Event::created()).expect("it is healthy")).collect();
        let threads: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .map(|(n, mut ticket)| {
                let disk = disk.clone();
                thread::spawn(move || {
                    let receipt = if n == 0 {
                        ticket.wait()
                    } else {
                        // One that is given up after it was polled leaves no waker behind that harms others.
                        let polled = block_on(async {
                            std::future::poll_fn(|context| {
                                let first = std::pin::Pin::new(&mut ticket).poll(context);
                                std::task::Poll::Ready(first)
                            })
                            .await
                        });
                        match polled {
                            std::task::Poll::Ready(receipt) => receipt,
                            std::task::Poll::Pending if n == 1 => {
                                TALLIES[1].add(1);
                                return;
                            }
                            std::task::Poll::Pending => block_on(ticket),
                        }
                    };
                    disk.holds(receipt.unwrap().seq(), "a ticket was answered");
                    TALLIES[0].add(1);
                })
            })
            .collect();
        drop(ledger);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(disk.durable(), Seq(3));
    });
}
