//! Where appends wait until they are acknowledged: one word for each cohort, so that one call wakes exactly those that
//! a flight has carried. Followers wait here, too, for the durable head, on a word of their own.
//!
//! Invariants: what [`Gate::durable`] says is never above the head, and both only grow; they are raised before the words
//! of their cohort change; a poisoned gate stays so. A waiter takes its turn under the commit lock while somebody flies,
//! or before it looks; a landing changes the word only after it has held that lock, so that no change is missed. Nobody
//! holds a lock while waiting. Tasks of an executor wait through wakers, which are called when no lock is held.
//!
//! A follower enters under the commit lock. Whoever raises the durable head, ends or poisons takes that lock afterwards (or
//! has it then), and only then looks whether there are followers: it finds each that did not see what has changed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use crate::ledger::primitives::{AtomicBool, AtomicU64, Mutex, MutexGuard};
use crate::ledger::word::Word;
use crate::model::seq::Seq;

/// More than there can be cohorts with waiters at once; if two share a word, somebody wakes for nothing and sleeps again.
const WORDS: usize = 64;

/// What the durable head still has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It may grow.
    Open,
    /// It stays: closed, or nobody is left who could append.
    Ended,
    /// It stays: a write or sync failed.
    Poisoned,
}

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Acknowledged,
    Poisoned,
    /// Neither yet.
    Pending,
}

#[derive(Debug)]
pub(crate) struct Gate {
    /// The last seq that is acknowledged and shown: durable, or written where that is enough.
    head: AtomicU64,
    /// The last seq that a returned sync covers.
    durable: AtomicU64,
    poisoned: AtomicBool,
    words: [Word; WORDS],
    waiters: AtomicU64,
    /// By the seq that each waits for, and the number of who waits.
    wakers: Mutex<BTreeMap<(Seq, u64), Waker>>,
    ended: AtomicBool,
    followers: AtomicU64,
    /// Changes with the durable head, at the end and when it is poisoned, while there are followers.
    tail: Word,
}

/// The state of a cohort's word before the waiter looked at anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    cohort: u64,
    seen: u32,
}

impl Gate {
    pub(crate) fn new(durable: Seq) -> Gate {
        Gate {
            head: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            poisoned: AtomicBool::new(false),
            words: std::array::from_fn(|_| Word::default()),
            waiters: AtomicU64::new(0),
            wakers: Mutex::default(),
            ended: AtomicBool::new(false),
            followers: AtomicU64::new(0),
            tail: Word::default(),
        }
    }

    pub(crate) fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Seq {
        // Where both are raised at once, the durable head is for a moment ahead of what is shown.
        let durable = self.durable.load(Ordering::Acquire);
        Seq(durable.min(self.head.load(Ordering::Acquire)))
    }

    /// For what was synced before it is shown. The durable head goes first: whoever is acknowledged finds it raised.
    pub(crate) fn raise_both(&self, durable: Seq) {
        let before = self.durable.swap(durable.0, Ordering::AcqRel);
        assert!(before <= durable.0, "the durable head fell from {before} to {durable}");
        self.raise_head(durable);
    }

    pub(crate) fn raise_head(&self, head: Seq) {
        let before = self.head.swap(head.0, Ordering::AcqRel);
        assert!(before <= head.0, "the head fell from {before} to {head}");
    }

    pub(crate) fn raise_durable(&self, durable: Seq) {
        let head = self.head();
        assert!(durable <= head, "seq {durable} is called durable, and {head} is the last that was written");
        let before = self.durable.swap(durable.0, Ordering::AcqRel);
        assert!(before <= durable.0, "the durable head fell from {before} to {durable}");
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// To be called under the commit lock, while whoever failed still counts as flying or syncing: nobody else may look for
    /// work before. To be followed by [`Gate::wake_everybody`].
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// To be called without any lock: wakers are called.
    pub(crate) fn wake_everybody(&self) {
        self.wake_followers();
        for cohort in 0..WORDS as u64 {
            self.wake_all(cohort);
        }
        self.wake_tasks();
    }

    fn word(&self, cohort: u64) -> &Word {
        self.words.get((cohort % WORDS as u64) as usize).expect("the remainder is below the number of words")
    }

    /// To be taken under the commit lock while somebody flies, or before looking at whatever the wait is for.
    pub(crate) fn turn(&self, cohort: u64) -> Turn {
        Turn { cohort, seen: self.word(cohort).look() }
    }

    /// Where things stand for somebody who waits for this seq.
    pub(crate) fn look(&self, seq: Seq) -> Waited {
        // Poison first: what was acknowledged before it stays so.
        let poisoned = self.is_poisoned();
        if self.head() >= seq {
            Waited::Acknowledged
        } else if poisoned {
            Waited::Poisoned
        } else {
            Waited::Pending
        }
    }

    /// Sleeps until the word of the turn's cohort changes.
    pub(crate) fn sleep(&self, turn: Turn) {
        self.word(turn.cohort).sleep(turn.seen);
    }

    /// Wakes everybody who waits for this cohort.
    pub(crate) fn wake_all(&self, cohort: u64) {
        self.word(cohort).change();
        self.word(cohort).wake(u32::MAX);
    }

    /// Wakes one who waits for this cohort, to lead it; `false` where nobody was asleep.
    pub(crate) fn wake_one(&self, cohort: u64) -> bool {
        self.word(cohort).change();
        self.word(cohort).wake(1)
    }

    /// A number that no other waiter has.
    pub(crate) fn new_waiter(&self) -> u64 {
        self.waiters.fetch_add(1, Ordering::Relaxed)
    }

    /// Has a waker called once this seq is acknowledged, in place of the one that this waiter left before. Look again
    /// afterwards: it may have happened before the waker was here.
    pub(crate) fn leave_waker(&self, seq: Seq, waiter: u64, waker: Waker) {
        let before = self.wakers().insert((seq, waiter), waker);
        // Dropping one runs foreign code, and so is done without the lock.
        drop(before);
    }

    pub(crate) fn take_waker(&self, seq: Seq, waiter: u64) {
        let before = self.wakers().remove(&(seq, waiter));
        drop(before);
    }

    /// Calls the wakers of all whose wait is over. To be called without any lock.
    pub(crate) fn wake_tasks(&self) {
        let poisoned = self.is_poisoned();
        let ready = {
            let mut wakers = self.wakers();
            if wakers.is_empty() {
                return;
            }
            let later = if poisoned { BTreeMap::new() } else { wakers.split_off(&(self.head().next(), 0)) };
            std::mem::replace(&mut *wakers, later)
        };
        for waker in ready.into_values() {
            // Foreign code: its panic must not end the flight of others, who are acknowledged all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// The durable head will not be raised any more. To be called under the commit lock, and to be followed by
    /// [`Gate::wake_followers`].
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// To be looked at before the durable head: what is durable by the end, or by the poison, is then seen.
    pub(crate) fn prospect(&self) -> Prospect {
        if self.is_poisoned() {
            Prospect::Poisoned
        } else if self.ended.load(Ordering::Acquire) {
            Prospect::Ended
        } else {
            Prospect::Open
        }
    }

    /// A follower comes. To be called under the commit lock.
    pub(crate) fn enter(&self) {
        self.followers.fetch_add(1, Ordering::Relaxed);
    }

    /// A follower goes.
    pub(crate) fn leave(&self) {
        self.followers.fetch_sub(1, Ordering::Relaxed);
    }

    /// To be taken by a follower before it looks.
    pub(crate) fn tail(&self) -> u32 {
        self.tail.look()
    }

    /// Sleeps until there is something new for followers; may wake early.
    pub(crate) fn sleep_at_tail(&self, seen: u32, most: Option<Duration>) {
        match most {
            Some(most) => self.tail.sleep_for(seen, most),
            None => self.tail.sleep(seen),
        }
    }

    /// Wakes all followers. To be called after the commit lock was held since the change. Costs one look where nobody follows.
    pub(crate) fn wake_followers(&self) {
        if self.followers.load(Ordering::Relaxed) > 0 {
            self.tail.change();
            self.tail.wake(u32::MAX);
        }
    }

    fn wakers(&self) -> MutexGuard<'_, BTreeMap<(Seq, u64), Waker>> {
        self.wakers.lock().expect("no foreign code runs under this lock")
    }
}
