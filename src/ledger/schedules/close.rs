//! Closing while others append: what was acknowledged is there, what comes later is refused, and the end is in order.
//!
//! The story of one bug: behind the close frame an append came in, and before closing went on the background thread vouched
//! for it. All was vouched for then, so that closing ended without another close frame, and the next opening found the ledger
//! unclean.

use std::sync::{Arc, Mutex};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::disk::{BUFFERED, Disk};
use super::{Tally, explore, task};
use crate::error::Error;
use crate::ledger::options::{Durability, Maintenance};
use crate::model::event::Event;

#[test]
fn against_appends() {
    static TALLIES: [Tally; 3] = [Tally::new("acknowledged"), Tally::new("refused"), Tally::new("closed first")];
    explore("close::against_appends", &TALLIES, || {
        let disk = Disk::new();
        let by_hand = thread_rng().gen_bool(0.5);
        let durability = if thread_rng().gen_bool(0.5) { Durability::Sync } else { BUFFERED };
        let ledger = disk.open(durability, if by_hand { Maintenance::Manual } else { Maintenance::Thread });
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut threads: Vec<_> = (0..2)
            .map(|who| {
                let (ledger, taken) = (ledger.clone(), Arc::clone(&taken));
                thread::spawn(move || {
                    for n in 0..2 {
                        match ledger.append(task(who, n), Event::created()) {
                            Ok(receipt) => {
                                taken.lock().unwrap().push((receipt.seq(), task(who, n)));
                                TALLIES[0].add(1);
                            }
                            Err(Error::Closed) => TALLIES[1].add(1),
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        threads.extend((0..2).map(|_| {
            let (disk, ledger) = (disk.clone(), ledger.clone());
            thread::spawn(move || match ledger.close() {
                Ok(()) => {
                    assert!(disk.is_clean(), "it was closed, and the last opening does not call it clean");
                    TALLIES[2].add(1);
                }
                Err(Error::Closed) => {}
                Err(other) => panic!("{other}"),
            })
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(ledger);
        let mut taken = taken.lock().unwrap();
        taken.sort();
        let tasks: Vec<String> = taken.iter().map(|(_, task)| task.clone()).collect();
        assert_eq!(disk.tasks(), tasks, "what was acknowledged is there, in order, and nothing else");
    });
}
