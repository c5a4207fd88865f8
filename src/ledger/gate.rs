//! Where appends wait until they are durable: one word for each cohort, so that one call wakes exactly those that a
//! sync has made durable.
//!
//! Invariants: `durable` only grows, and is raised before the words of its cohort change; a poisoned gate stays so.
//! A waiter takes its ticket under the commit lock while somebody flies, or before it looks; a landing changes the word
//! only after it has held that lock, so that no change is missed. Nobody holds a lock while waiting.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::model::seq::Seq;

/// More than there can be cohorts with waiters at once; if two share a word, somebody wakes for nothing and sleeps again.
const WORDS: usize = 64;

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Durable,
    Poisoned,
    /// Neither yet.
    Pending,
}

#[derive(Debug)]
pub(crate) struct Gate {
    durable: AtomicU64,
    poisoned: AtomicBool,
    words: [AtomicU32; WORDS],
}

/// The state of a cohort's word before the waiter looked at anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    cohort: u64,
    seen: u32,
}

impl Gate {
    pub(crate) fn new(durable: Seq) -> Gate {
        Gate {
            durable: AtomicU64::new(durable.0),
            poisoned: AtomicBool::new(false),
            words: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    pub(crate) fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn raise(&self, durable: Seq) {
        let before = self.durable.swap(durable.0, Ordering::AcqRel);
        assert!(before <= durable.0, "the durable head fell from {before} to {durable}");
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        for cohort in 0..WORDS as u64 {
            self.wake_all(cohort);
        }
    }

    fn word(&self, cohort: u64) -> &AtomicU32 {
        self.words.get((cohort % WORDS as u64) as usize).expect("the remainder is below the number of words")
    }

    /// To be taken under the commit lock while somebody flies, or before looking at whatever the wait is for.
    pub(crate) fn ticket(&self, cohort: u64) -> Ticket {
        Ticket { cohort, seen: self.word(cohort).load(Ordering::Acquire) }
    }

    /// Where things stand for somebody who waits for this seq.
    pub(crate) fn look(&self, seq: Seq) -> Waited {
        // Poison first: what became durable before it is durable all the same.
        let poisoned = self.poisoned.load(Ordering::Acquire);
        if self.durable() >= seq {
            Waited::Durable
        } else if poisoned {
            Waited::Poisoned
        } else {
            Waited::Pending
        }
    }

    /// Sleeps until the word of the ticket's cohort changes.
    pub(crate) fn sleep(&self, ticket: Ticket) {
        wait(self.word(ticket.cohort), ticket.seen);
    }

    /// Wakes everybody who waits for this cohort.
    pub(crate) fn wake_all(&self, cohort: u64) {
        self.word(cohort).fetch_add(1, Ordering::Release);
        wake(self.word(cohort), u32::MAX);
    }

    /// Wakes one who waits for this cohort, to lead it.
    pub(crate) fn wake_one(&self, cohort: u64) {
        self.word(cohort).fetch_add(1, Ordering::Release);
        wake(self.word(cohort), 1);
    }
}

#[cfg(target_os = "linux")]
fn wait(word: &AtomicU32, seen: u32) {
    // Every outcome (woken, value changed, interrupted) means: look again.
    let _ = rustix::thread::futex::wait(word, rustix::thread::futex::Flags::PRIVATE, seen, None);
}

#[cfg(target_os = "linux")]
fn wake(word: &AtomicU32, waiters: u32) {
    let waiters = waiters.min(i32::MAX as u32);
    rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, waiters)
        .expect("waking through a valid word cannot fail");
}

/// Where the system has no futex: yields until the word changes.
#[cfg(not(target_os = "linux"))]
fn wait(word: &AtomicU32, seen: u32) {
    while word.load(Ordering::Acquire) == seen {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

#[cfg(not(target_os = "linux"))]
fn wake(_: &AtomicU32, _: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_between_looking_and_sleeping_is_not_missed() {
        let gate = Gate::new(Seq::ZERO);
        let ticket = gate.ticket(3);
        gate.raise(Seq(1));
        gate.wake_all(3);
        gate.sleep(ticket);
        assert_eq!(gate.look(Seq(1)), Waited::Durable);
    }

    #[test]
    fn what_was_durable_before_the_poison_is_durable() {
        let gate = Gate::new(Seq(5));
        gate.poison();
        assert_eq!(gate.look(Seq(5)), Waited::Durable);
        assert_eq!(gate.look(Seq(6)), Waited::Poisoned);
    }
}
