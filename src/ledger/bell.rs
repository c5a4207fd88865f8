//! What the background thread sleeps on. Landing flights ring it; ringing costs them two atomic operations while the
//! thread is awake, and nothing wakes while nothing is due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A spare segment is wanted.
    Spare,
    /// Nothing was appended for a while, and not all is vouched for.
    Quiet,
}

#[derive(Debug, Default)]
pub(crate) struct Bell {
    flights: AtomicU64,
    /// Something is to be done, now or after a quiet moment.
    due: AtomicBool,
    spare_wanted: AtomicBool,
    stopped: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    /// A flight has landed.
    pub(crate) fn landed(&self, unvouched: bool, spare_wanted: bool) {
        self.flights.fetch_add(1, Ordering::Relaxed);
        let newly_wanted = spare_wanted && !self.spare_wanted.swap(true, Ordering::AcqRel);
        let newly_due = (unvouched || spare_wanted) && !self.due.swap(true, Ordering::AcqRel);
        if newly_due || newly_wanted {
            // Through the lock, so that the thread is either before its look or asleep, never between the two.
            drop(self.stopped.lock());
            self.ring.notify_one();
        }
    }

    /// Lets the thread go.
    pub(crate) fn stop(&self) {
        if let Ok(mut stopped) = self.stopped.lock() {
            *stopped = true;
        }
        self.ring.notify_all();
    }

    /// Sleeps until there is something to do; `None` once stopped. Asks for a vouch when no flight has landed for as
    /// long as `quiet`.
    pub(crate) fn wait(&self, quiet: Duration) -> Option<Call> {
        let mut stopped = self.stopped.lock().ok()?;
        loop {
            if *stopped {
                return None;
            }
            if self.spare_wanted.swap(false, Ordering::AcqRel) {
                return Some(Call::Spare);
            }
            if !self.due.load(Ordering::Acquire) {
                stopped = self.ring.wait(stopped).ok()?;
                continue;
            }
            let flights = self.flights.load(Ordering::Relaxed);
            let (woken, timeout) = self.ring.wait_timeout(stopped, quiet).ok()?;
            stopped = woken;
            if timeout.timed_out() && flights == self.flights.load(Ordering::Relaxed) {
                self.due.store(false, Ordering::Release);
                return Some(Call::Quiet);
            }
        }
    }
}
