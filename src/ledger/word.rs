//! A word on which threads sleep until it changes: a futex where the system has one, elsewhere the same out of a mutex and
//! a condition variable. Schedules (and miri) run the latter, which is written to wake whom a futex would.
//!
//! Invariant: who sleeps has seen the word unchanged at a moment from which on every waking finds it asleep.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ledger::primitives::AtomicU32;

#[derive(Debug, Default)]
pub(crate) struct Word {
    value: AtomicU32,
    sleepers: Sleepers,
}

impl Word {
    pub(crate) fn look(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// To be followed by [`Word::wake`].
    pub(crate) fn change(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleeps until it is not `seen`; may wake early, so look again.
    pub(crate) fn sleep(&self, seen: u32) {
        self.sleepers.sleep(&self.value, seen, None);
    }

    /// As [`Word::sleep`], and about so long at most. Only for words of which all sleepers are woken at once: one that gives
    /// up may have been counted as woken.
    pub(crate) fn sleep_for(&self, seen: u32, most: Duration) {
        self.sleepers.sleep(&self.value, seen, Some(most));
    }

    /// Wakes so many of those that sleep, at most; whether there was one.
    pub(crate) fn wake(&self, most: u32) -> bool {
        self.sleepers.wake(&self.value, most)
    }
}

#[cfg(all(target_os = "linux", not(any(test, miri))))]
use futex::Sleepers;
#[cfg(any(not(target_os = "linux"), test, miri))]
use portable::Sleepers;

#[cfg(all(target_os = "linux", not(any(test, miri))))]
mod futex {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use rustix::thread::futex::{self, Flags, Timespec};

    use crate::ledger::primitives::AtomicU32;

    /// The system knows them. It is asked only where there are some: most flights carry nobody who sleeps.
    ///
    /// One that sleeps is counted before the system compares the word, and who wakes looks at the count after the word has
    /// changed. Both are in one order with each other (SeqCst, and the barrier that futex(2) has before it compares): either
    /// the count is seen, or the change is.
    #[derive(Debug, Default)]
    pub(super) struct Sleepers {
        count: AtomicU32,
    }

    impl Sleepers {
        pub(super) fn sleep(&self, word: &AtomicU32, seen: u32, most: Option<Duration>) {
            // Where it is too long to be said, there is no limit.
            let most = most.and_then(|most| Timespec::try_from(most).ok());
            // Every outcome (woken, value changed, interrupted, too late) means: look again.
            self.count.fetch_add(1, Ordering::SeqCst);
            let _ = futex::wait(word, Flags::PRIVATE, seen, most.as_ref());
            self.count.fetch_sub(1, Ordering::SeqCst);
        }

        pub(super) fn wake(&self, word: &AtomicU32, most: u32) -> bool {
            if self.count.load(Ordering::SeqCst) == 0 {
                return false;
            }
            let woken = futex::wake(word, Flags::PRIVATE, most.min(i32::MAX as u32));
            woken.expect("waking through a valid word cannot fail") > 0
        }
    }
}

#[cfg(any(not(target_os = "linux"), test, miri))]
mod portable {
    use std::collections::VecDeque;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use crate::ledger::primitives::{AtomicU32, Condvar, Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(super) struct Sleepers {
        asleep: Mutex<Asleep>,
        woken: Condvar,
    }

    #[derive(Debug, Default)]
    struct Asleep {
        /// The number of the next one that sleeps.
        next: u64,
        /// Those that nobody has woken yet, longest first.
        waiting: VecDeque<u64>,
    }

    impl Sleepers {
        pub(super) fn sleep(&self, word: &AtomicU32, seen: u32, most: Option<Duration>) {
            let mut asleep = self.asleep();
            // Under the lock that waking takes after the word has changed.
            if word.load(Ordering::Acquire) != seen {
                return;
            }
            let own = asleep.next;
            asleep.next += 1;
            asleep.waiting.push_back(own);
            while asleep.waiting.contains(&own) {
                let Some(most) = most else {
                    asleep = self.woken.wait(asleep).expect("nothing panics under this lock");
                    continue;
                };
                let (woken, timeout) = self.woken.wait_timeout(asleep, most).expect("nothing panics under this lock");
                asleep = woken;
                if timeout.timed_out() {
                    asleep.waiting.retain(|waiting| *waiting != own);
                }
            }
        }

        pub(super) fn wake(&self, _: &AtomicU32, most: u32) -> bool {
            let mut asleep = self.asleep();
            let woken = asleep.waiting.len().min(most as usize);
            asleep.waiting.drain(..woken);
            drop(asleep);
            if woken > 0 {
                self.woken.notify_all();
            }
            woken > 0
        }

        fn asleep(&self) -> MutexGuard<'_, Asleep> {
            self.asleep.lock().expect("nothing panics under this lock")
        }
    }
}
