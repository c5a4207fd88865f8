//! Appends that share flights: who leads, who follows, who takes over, and what is told when.

use shuttle::thread;

use super::disk::{BUFFERED, Disk};
use super::{Tally, explore, task};
use crate::error::Error;
use crate::ledger::batch::Batch;
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::seq::Seq;

#[test]
fn appends() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("without a sync of their own")];
    explore("flights::appends", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Manual);
        let before = disk.syncs();
        let threads: Vec<_> = (0..3)
            .map(|who| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        let receipt = ledger.append(task(who, n), Event::created()).unwrap();
                        disk.holds(receipt.seq(), "an append was acknowledged");
                        assert!(ledger.durable() >= receipt.seq(), "what is acknowledged is called durable");
                        assert!(ledger.get(&task(who, n)).unwrap().is_some(), "what is acknowledged is shown");
                    }
                })
            })
            .collect();
        // Somebody who only looks is told nothing early, either.
        for _ in 0..3 {
            disk.holds(ledger.head(), "a reader was shown entries");
            disk.holds(ledger.durable(), "a reader was told that entries are durable");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(disk.durable(), Seq(6));
        TALLIES[0].add(6);
        TALLIES[1].add(6_u64.saturating_sub(disk.syncs() - before));
    });
}

#[test]
fn batches() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("refused")];
    explore("flights::batches", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Manual);
        let threads: Vec<_> = (0..3)
            .map(|who| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    batch.push(task(who, 0), Event::created(), Expect::Any);
                    batch.push("everybody's", Event::created(), Expect::Absent);
                    batch.push(task(who, 1), Event::created(), Expect::Any);
                    match ledger.commit(batch) {
                        Ok(receipt) => {
                            disk.holds(receipt.seq(), "a batch was acknowledged");
                            TALLIES[0].add(1);
                        }
                        Err(Error::Conflict { .. }) => {
                            // It rests on the batch that came first.
                            disk.holds(Seq(3), "a refusal rests on entries");
                            TALLIES[1].add(1);
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(disk.durable(), Seq(3), "one of three batches was taken");
    });
}

#[test]
fn retries() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("replayed")];
    explore("flights::retries", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(Durability::Sync, Maintenance::Manual);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    let receipt = ledger.append("a", Event::created().key("once")).unwrap();
                    assert_eq!(receipt.seq(), Seq(1));
                    disk.holds(Seq(1), "a request was answered with a receipt");
                    TALLIES[usize::from(receipt.replayed())].add(1);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(disk.durable(), Seq(1));
    });
}

#[test]
fn buffered() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("syncs asked for")];
    explore("flights::buffered", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(BUFFERED, Maintenance::Manual);
        let mut threads: Vec<_> = (0..2)
            .map(|who| {
                let (disk, ledger) = (disk.clone(), ledger.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        let receipt = ledger.append(task(who, n), Event::created()).unwrap();
                        let written = disk.written();
                        assert!(written >= receipt.seq(), "{} was acknowledged, {written} is there", receipt.seq());
                        disk.holds(ledger.durable(), "entries are called durable");
                        TALLIES[0].add(1);
                    }
                })
            })
            .collect();
        threads.extend((0..2).map(|n| {
            let (disk, ledger) = (disk.clone(), ledger.clone());
            thread::spawn(move || {
                if n == 0 {
                    ledger.maintain().unwrap();
                } else {
                    let head = ledger.head();
                    let durable = ledger.sync().unwrap();
                    assert!(durable >= head, "a sync returned for {durable} when {head} was there");
                    disk.holds(durable, "a sync was acknowledged");
                    TALLIES[1].add(1);
                }
            })
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let last = ledger.append("last", Event::created()).unwrap().seq();
        assert_eq!(last, Seq(5));
        assert_eq!(ledger.sync().unwrap(), last);
        disk.holds(last, "a sync was acknowledged");
    });
}
