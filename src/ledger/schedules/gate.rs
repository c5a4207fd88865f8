//! The gate by itself: who sleeps is woken, and is told what is so.

use std::sync::Arc;

use shuttle::thread;

use super::{Tally, explore};
use crate::ledger::gate::{Gate, Waited};
use crate::model::seq::Seq;

#[test]
fn no_change_is_missed() {
    static TALLIES: [Tally; 1] = [Tally::new("woken")];
    explore("gate::no_change_is_missed", &TALLIES, || {
        let gate = Arc::new(Gate::new(Seq::ZERO));
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    // Two wait for one cohort, one for the next.
                    let (cohort, seq) = if n < 2 { (3, Seq(1)) } else { (4, Seq(2)) };
                    loop {
                        let turn = gate.turn(cohort);
                        if gate.look(seq) == Waited::Acknowledged {
                            break;
                        }
                        gate.sleep(turn);
                    }
                    TALLIES[0].add(1);
                })
            })
            .collect();
        for (cohort, seq) in [(3, Seq(1)), (4, Seq(2))] {
            gate.raise_head(seq);
            gate.raise_durable(seq);
            gate.wake_all(cohort);
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// One who leads is woken for each that is said to be, and never two for one.
#[test]
fn one_is_woken_where_one_sleeps() {
    static TALLIES: [Tally; 2] = [Tally::new("woken"), Tally::new("found nobody")];
    explore("gate::one_is_woken_where_one_sleeps", &TALLIES, || {
        let gate = Arc::new(Gate::new(Seq::ZERO));
        let turns = [gate.turn(0), gate.turn(0)];
        let waiters = turns.map(|turn| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.sleep(turn))
        });
        // The word has changed since both turns: whoever is not asleep yet goes on by itself, whoever is needs a wake.
        let woken = [gate.wake_one(0), gate.wake_one(0)].iter().filter(|woken| **woken).count() as u64;
        TALLIES[0].add(woken);
        TALLIES[1].add(2 - woken);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert!(!gate.wake_one(0), "nobody sleeps any more");
    });
}

/// Somebody who is told that an entry is acknowledged, and asks in the next moment, hears that it is durable.
#[test]
fn who_is_acknowledged_is_told_that_it_is_durable() {
    static TALLIES: [Tally; 2] = [Tally::new("acknowledged"), Tally::new("not yet")];
    explore("gate::who_is_acknowledged_is_told_that_it_is_durable", &TALLIES, || {
        let gate = Arc::new(Gate::new(Seq::ZERO));
        let looking = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                for _ in 0..3 {
                    let (durable, waited) = (gate.durable(), gate.look(Seq(1)));
                    assert!(durable <= gate.head(), "{durable} is durable, and is not shown");
                    if waited == Waited::Acknowledged {
                        assert_eq!(gate.durable(), Seq(1));
                        return TALLIES[0].add(1);
                    }
                    TALLIES[1].add(1);
                }
            })
        };
        gate.raise_both(Seq(1));
        looking.join().unwrap();
    });
}

#[test]
fn what_was_acknowledged_before_the_poison_stays_so() {
    static TALLIES: [Tally; 1] = [Tally::new("told")];
    explore("gate::what_was_acknowledged_before_the_poison_stays_so", &TALLIES, || {
        let gate = Arc::new(Gate::new(Seq(5)));
        let waiter = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                assert_eq!(gate.look(Seq(5)), Waited::Acknowledged);
                loop {
                    let turn = gate.turn(0);
                    match gate.look(Seq(6)) {
                        Waited::Pending => gate.sleep(turn),
                        Waited::Poisoned => break TALLIES[0].add(1),
                        Waited::Acknowledged => panic!("nobody has raised the head"),
                    }
                }
            })
        };
        gate.poison();
        gate.wake_everybody();
        assert_eq!((gate.look(Seq(5)), gate.look(Seq(6))), (Waited::Acknowledged, Waited::Poisoned));
        waiter.join().unwrap();
    });
}
