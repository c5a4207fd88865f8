//! Followers in the writer's process, beside appends, syncs, rolls, a close and a failure: each durable entry comes once and
//! in order, none comes before it is durable, and nobody sleeps on when there is something to tell.

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::disk::{BUFFERED, Disk};
use super::{Tally, explore, task};
use crate::error::{Error, Result};
use crate::ledger::follow::{Follow, Followed};
use crate::ledger::gate::Gate;
use crate::ledger::handle::Ledger;
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;
use crate::model::seq::Seq;
use crate::vfs::fault::CallKind;

/// What a follower came to: the tasks of what it was given, and how it ended.
struct Told {
    tasks: Vec<String>,
    end: Result<()>,
}

/// Follows to the end; now and then it asks with a time in place of waiting for ever.
fn to_the_end(disk: &Disk, mut follow: Follow, tally: &Tally) -> Told {
    let mut tasks = Vec::new();
    let end = loop {
        let entry = if thread_rng().gen_ratio(1, 4) {
            match follow.next_within(Duration::from_millis(10)) {
                Ok(Followed::Entry(entry)) => *entry,
                Ok(Followed::CaughtUp { head }) => {
                    assert_eq!(head.0, tasks.len() as u64, "it was given everything up to the head");
                    continue;
                }
                Ok(Followed::Ended) => break Ok(()),
                Err(error) => break Err(error),
            }
        } else {
            match follow.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        tasks.push(entry.task.expect("all are of tasks"));
        assert_eq!(entry.seq.0, tasks.len() as u64, "no gap, and nothing twice");
        disk.holds(entry.seq, "a follower was given entries");
        tally.add(1);
    };
    Told { tasks, end }
}

/// A follower that is there before the others begin, or that comes at any time.
fn start(disk: &Disk, ledger: &Ledger, tally: &'static Tally) -> thread::JoinHandle<Told> {
    let disk = disk.clone();
    if thread_rng().gen_bool(0.5) {
        let follow = ledger.follow(Seq::ZERO).unwrap();
        return thread::spawn(move || to_the_end(&disk, follow, tally));
    }
    let ledger = ledger.clone();
    thread::spawn(move || {
        let follow = ledger.follow(Seq::FIRST).unwrap();
        // What ends when the last handle is dropped must not be waited for with a handle in hand.
        drop(ledger);
        to_the_end(&disk, follow, tally)
    })
}

fn durability() -> Durability {
    if thread_rng().gen_bool(0.5) { Durability::Sync } else { BUFFERED }
}

#[test]
fn against_appends_and_the_close() {
    static TALLIES: [Tally; 2] = [Tally::new("given"), Tally::new("ended")];
    explore("follow::against_appends_and_the_close", &TALLIES, || {
        let disk = Disk::new();
        let by_hand = thread_rng().gen_bool(0.5);
        let ledger = disk.open(durability(), if by_hand { Maintenance::Manual } else { Maintenance::Thread });
        let followers = [start(&disk, &ledger, &TALLIES[0]), start(&disk, &ledger, &TALLIES[0])];
        let appending: Vec<_> = (0..2)
            .map(|who| {
                let ledger = ledger.clone();
                thread::spawn(move || {
                    for n in 0..2 {
                        ledger.append(task(who, n), Event::created()).unwrap();
                    }
                    if who == 0 {
                        ledger.sync().unwrap();
                    }
                })
            })
            .collect();
        appending.into_iter().for_each(|thread| thread.join().unwrap());
        // Closing tells the followers, and so does the last handle that goes.
        if thread_rng().gen_bool(0.5) {
            ledger.close().unwrap();
        } else {
            drop(ledger);
        }
        for follower in followers {
            let told = follower.join().unwrap();
            told.end.unwrap();
            assert_eq!(told.tasks, disk.tasks(), "all that was durable was given");
            TALLIES[1].add(1);
        }
    });
}

/// One who waits for each entry sees it without anything else that happens afterwards.
#[test]
fn each_entry_comes_by_itself() {
    static TALLIES: [Tally; 1] = [Tally::new("given")];
    explore("follow::each_entry_comes_by_itself", &TALLIES, || {
        let disk = Disk::new();
        // Buffered, it is the sync that makes it durable.
        let durability = durability();
        let ledger = disk.open(durability, Maintenance::Manual);
        let mut follow = ledger.follow(Seq::FIRST).unwrap();
        let appending = {
            let ledger = ledger.clone();
            thread::spawn(move || {
                for n in 0..3 {
                    ledger.append(task(0, n), Event::created()).unwrap();
                    if durability == BUFFERED {
                        ledger.sync().unwrap();
                    }
                }
            })
        };
        for n in 1..=3 {
            assert_eq!(follow.next().unwrap().unwrap().seq, Seq(n));
            disk.holds(Seq(n), "a follower was given entries");
            TALLIES[0].add(1);
        }
        appending.join().unwrap();
        drop(ledger);
        assert!(follow.next().is_none());
    });
}

#[test]
fn across_rolls() {
    static TALLIES: [Tally; 2] = [Tally::new("given"), Tally::new("rolled")];
    explore("follow::across_rolls", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(durability(), Maintenance::Thread);
        let follower = start(&disk, &ledger, &TALLIES[0]);
        for n in 0..3 {
            let text = "x".repeat(7 << 10);
            ledger.append(task(0, n), Event::created().meta("text", text)).unwrap();
        }
        ledger.close().unwrap();
        let told = follower.join().unwrap();
        told.end.unwrap();
        assert_eq!(told.tasks, disk.tasks());
        TALLIES[1].add(disk.segments() - 1);
    });
}

#[test]
fn against_a_failure() {
    static TALLIES: [Tally; 2] = [Tally::new("given"), Tally::new("poisoned")];
    explore("follow::against_a_failure", &TALLIES, || {
        let disk = Disk::new();
        let ledger = disk.open(durability(), Maintenance::Thread);
        let follower = start(&disk, &ledger, &TALLIES[0]);
        disk.break_after(thread_rng().gen_range(0..10), CallKind::SyncData);
        for n in 0..3 {
            if ledger.append(task(0, n), Event::created()).and_then(|_| ledger.sync()).is_err() {
                break;
            }
        }
        let durable = ledger.durable();
        if !matches!(ledger.append("late", Event::created()), Err(Error::Poisoned { .. })) {
            // The failure may still come, or never.
            drop(ledger);
            follower.join().unwrap();
            return;
        }
        // It is told while the ledger is still held.
        let told = follower.join().unwrap();
        assert!(matches!(told.end, Err(Error::Poisoned { .. })), "{:?}", told.end);
        assert_eq!(told.tasks.len() as u64, durable.0, "what was durable came before the failure");
        TALLIES[1].add(1);
    });
}

/// The gate by itself: a follower that comes while the head is raised sees it or is woken.
#[test]
fn at_the_gate() {
    static TALLIES: [Tally; 1] = [Tally::new("woken")];
    explore("follow::at_the_gate", &TALLIES, || {
        let gate = Arc::new(Gate::new(Seq::ZERO));
        let lock = Arc::new(shuttle::sync::Mutex::new(()));
        let follower = {
            let (gate, lock) = (Arc::clone(&gate), Arc::clone(&lock));
            thread::spawn(move || {
                let held = lock.lock().unwrap();
                gate.enter();
                drop(held);
                loop {
                    let seen = gate.tail();
                    if gate.durable() == Seq(2) {
                        break;
                    }
                    gate.sleep_at_tail(seen, None);
                }
                gate.leave();
                TALLIES[0].add(1);
            })
        };
        for n in 1..=2 {
            gate.raise_head(Seq(n));
            gate.raise_durable(Seq(n));
            drop(lock.lock().unwrap());
            gate.wake_followers();
        }
        follower.join().unwrap();
    });
}
