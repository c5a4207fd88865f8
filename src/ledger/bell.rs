//! What the background thread sleeps on. Landing flights and submits ring it; ringing costs them a few atomic
//! operations while the thread is awake, and nothing wakes while nothing is due.
//!
//! Invariant: a wish is put down before the bell is rung, and the bell is rung through the lock under which the
//! thread looks, so that no wish is missed.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ledger::primitives::{AtomicBool, AtomicU64, Condvar, Instant, Mutex};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Something waits that nobody leads, or a submit waits for a roll.
    Flush,
    /// A spare segment is wanted.
    Spare,
    /// What is written is to be synced.
    Sync,
    /// Nothing was appended for a while, and not all is vouched for.
    Quiet,
    /// A sealed segment has no index yet, or a snapshot is due.
    Derive,
}

/// What a landing flight leaves to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// More is waiting, and no thread of a caller is there to lead it.
    pub leaderless: bool,
    pub unvouched: bool,
    pub unsynced: bool,
    pub spare_wanted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Bell {
    flights: AtomicU64,
    flush_wanted: AtomicBool,
    spare_wanted: AtomicBool,
    sync_wanted: AtomicBool,
    vouch_wanted: AtomicBool,
    derive_wanted: AtomicBool,
    state: Mutex<State>,
    ring: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// When what is written must be synced.
    sync_at: Option<Instant>,
}

impl Bell {
    /// A flight has landed.
    pub(crate) fn landed(&self, left: Left) {
        self.flights.fetch_add(1, Ordering::Relaxed);
        let wishes = [
            (left.leaderless, &self.flush_wanted),
            (left.spare_wanted, &self.spare_wanted),
            (left.unsynced, &self.sync_wanted),
            (left.unvouched, &self.vouch_wanted),
        ];
        if wishes.into_iter().fold(false, |new, (wanted, wish)| (wanted && is_new(wish)) || new) {
            self.ring();
        }
    }

    /// Something waits that nobody leads.
    pub(crate) fn flush(&self) {
        if is_new(&self.flush_wanted) {
            self.ring();
        }
    }

    /// There is something to derive from the log.
    pub(crate) fn derive(&self) {
        if is_new(&self.derive_wanted) {
            self.ring();
        }
    }

    fn ring(&self) {
        drop(self.state.lock());
        self.ring.notify_one();
    }

    /// Lets the thread go.
    pub(crate) fn stop(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.stopped = true;
        }
        self.ring.notify_all();
    }

    /// Sleeps until there is something to do; `None` once stopped. Asks for a sync when something has been written for
    /// as long as `sync_every`, for a vouch when no flight has landed for as long as `quiet`.
    pub(crate) fn wait(&self, quiet: Duration, sync_every: Duration) -> Option<Call> {
        let mut state = self.state.lock().ok()?;
        loop {
            if state.stopped {
                return None;
            }
            if let Some(call) = self.urgent(&mut state, sync_every) {
                return Some(call);
            }
            if self.derive_wanted.swap(false, Ordering::AcqRel) {
                return Some(Call::Derive);
            }
            let now = Instant::now();
            let flights = self.flights.load(Ordering::Relaxed);
            let vouching = self.vouch_wanted.load(Ordering::Acquire);
            let until_sync = state.sync_at.map(|at| at - now);
            let (woken, timed_out) = match (vouching.then_some(quiet), until_sync) {
                (None, None) => (self.ring.wait(state).ok()?, false),
                (one, other) => {
                    let shorter = one.into_iter().chain(other).min().unwrap_or(quiet);
                    let (woken, timeout) = self.ring.wait_timeout(state, shorter).ok()?;
                    (woken, timeout.timed_out() && shorter == quiet)
                }
            };
            state = woken;
            if vouching && timed_out && flights == self.flights.load(Ordering::Relaxed) {
                self.vouch_wanted.store(false, Ordering::Release);
                return Some(Call::Quiet);
            }
        }
    }
}

impl Bell {
    /// What cannot wait until something long has ended.
    pub(crate) fn due(&self, sync_every: Duration) -> Option<Call> {
        let mut state = self.state.lock().ok()?;
        self.urgent(&mut state, sync_every)
    }

    /// Whether the thread is to go.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().map_or(true, |state| state.stopped)
    }

    /// Whether something long may go on.
    ///
    /// # Errors
    /// The thread is to go: the ledger was closed.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        if self.is_stopped() { Err(io::Error::other("the ledger was closed")) } else { Ok(()) }
    }

    fn urgent(&self, state: &mut State, sync_every: Duration) -> Option<Call> {
        // Seldom work first: flushes can come without end.
        if self.spare_wanted.swap(false, Ordering::AcqRel) {
            return Some(Call::Spare);
        }
        let now = Instant::now();
        if self.sync_wanted.load(Ordering::Acquire) && *state.sync_at.get_or_insert(now + sync_every) <= now {
            state.sync_at = None;
            self.sync_wanted.store(false, Ordering::Release);
            return Some(Call::Sync);
        }
        self.flush_wanted.swap(false, Ordering::AcqRel).then_some(Call::Flush)
    }
}

/// Puts a wish down; whether it was not there before.
fn is_new(wish: &AtomicBool) -> bool {
    !wish.load(Ordering::Acquire) && !wish.swap(true, Ordering::AcqRel)
}
