//! Flights: one positioned write, one fdatasync (none in `Buffered`), publish, wake. Also the sync that runs beside
//! flights in `Buffered`, and what a failure of either comes to.
//!
//! Invariants:
//! - At most one thread writes to the log (`flying`), and at most one syncs beside it (`syncing`).
//! - Nothing is published before the write, and the sync where there is one, has returned.
//! - What is durable is told to other processes (`live`) before this one: nobody is acknowledged before that.
//! - A failed write or sync poisons: nothing is retried, nothing deleted. So does a panic on the way.
//! - No lock is held during I/O, while waiting, or while a waker runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ledger::bell::Left;
use crate::ledger::core::{Commit, Core};
use crate::ledger::primitives::{Instant, MutexGuard, thread};
use crate::model::seq::Seq;
use crate::storage::buffer::Flight;
use crate::storage::live::Mark;
use crate::storage::segment::Segment;
use crate::vfs::ops::{Process, write_all_at};

/// How long a leader waits for company at most.
const COMPANY_WAIT: Duration = Duration::from_micros(40);

impl Core {
    /// Waits until a flight, a sync, a roll or the making of a spare has ended; may wake early, so look again.
    pub(crate) fn wait_landed<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) -> MutexGuard<'a, Commit> {
        commit.onlookers += 1;
        let mut commit = self.landed.wait(commit).expect("a thread panicked while it placed a batch");
        commit.onlookers -= 1;
        commit
    }

    /// Writes, syncs (not in `Buffered`) and publishes all that waits. Nobody else may be flying.
    pub(crate) fn lead<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) {
        assert!(!commit.flying, "one flight at a time");
        commit.flying = true;
        let syncs = self.options.durability.syncs();
        if self.waiting.load(Ordering::Relaxed) > 0 {
            if syncs {
                commit = self.await_company(commit);
            }
            let batches = self.waiting.swap(0, Ordering::Relaxed);
            let [before, _] = commit.company;
            commit.company = [batches, before];
        }
        let cohort = commit.cohort;
        commit.cohort += 1;
        let durable = self.gate.durable();
        let before = commit.chain;
        let flight = commit.buffer.take(durable, before);
        commit.chain = flight.chain;
        let pending = std::mem::take(&mut commit.pending);
        let (last, last_at) = (commit.placed, commit.placed_at);
        commit.taken = last;
        commit.in_air = flight.bytes.len();
        let segment = Arc::clone(&commit.active);
        drop(commit);

        let guard = PoisonOnPanic { core: self };
        let flown = fly(&segment, &flight, syncs);
        if let Err((action, source)) = flown {
            self.poison(segment.path.clone(), action, source);
            std::mem::forget(guard);
            return;
        }
        if self.gate.is_poisoned() {
            // A sync beside this flight failed: what the page cache holds since then is no longer known.
            std::mem::forget(guard);
            self.landed.notify_all();
            return;
        }
        if syncs {
            // Other processes first: whoever learns it here may ask there at once, and must not be told less.
            self.mark_live(last, self.process);
        }
        // All of this is memory: a crash from here on loses nothing that was acknowledged.
        segment.frames.write().expect("no reader panics").extend_from_slice(&flight.places);
        {
            let mut tasks = self.tasks.write().expect("no reader panics");
            let mut warm = self.warm();
            for (held, before) in &pending {
                tasks.put(held.clone(), *before);
                warm.put(held.clone());
            }
            tasks.reach(last, last_at);
        }
        if syncs {
            self.gate.raise_both(last);
        } else {
            self.gate.raise_head(last);
        }
        let mut commit = self.commit();
        commit.in_air = 0;
        commit.buffer.take_back(flight.bytes);
        commit.unsynced |= !syncs;
        commit.vouched = commit.vouched.max(durable);
        for (held, _) in &pending {
            let overlay = commit.overlay.of_mut(held.realm);
            if overlay.get(&held.key).is_some_and(|placed| placed.seq == held.slot.seq) {
                overlay.remove(&held.key);
            }
        }
        std::mem::forget(guard);
        self.land(commit, cohort);
    }

    /// Waits a moment for those who flew along lately and are not back yet: a sync that carries them too costs the
    /// same, and without this every other flight would be nearly empty. Who was alone lately does not wait.
    fn await_company<'a>(&'a self, commit: MutexGuard<'a, Commit>) -> MutexGuard<'a, Commit> {
        let expected = commit.company.into_iter().max().unwrap_or(0);
        if self.waiting.load(Ordering::Relaxed) >= expected {
            return commit;
        }
        drop(commit);
        let started = Instant::now();
        while self.waiting.load(Ordering::Relaxed) < expected && started.elapsed() < COMPANY_WAIT {
            thread::yield_now();
        }
        self.commit()
    }

    /// Ends a flight: wakes those it carried, then one of those that come next.
    fn land(&self, mut commit: MutexGuard<'_, Commit>, cohort: u64) {
        commit.flying = false;
        let waiting = !commit.buffer.is_empty();
        let onlookers = commit.onlookers > 0;
        let left = commit.left();
        drop(commit);
        self.gate.wake_all(cohort);
        let leaderless = waiting && !self.gate.wake_one(cohort + 1);
        if onlookers {
            self.landed.notify_all();
        }
        if self.options.durability.syncs() {
            self.gate.wake_followers();
        }
        self.bell.landed(Left { leaderless, ..left });
        self.gate.wake_tasks();
    }

    /// Makes durable what is written. Nobody else may be syncing; flights go on meanwhile, since what they write is not
    /// counted.
    pub(crate) fn sync_written<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) {
        assert!(!commit.syncing, "one sync at a time");
        commit.syncing = true;
        commit.unsynced = false;
        let segment = Arc::clone(&commit.active);
        // Everything before the active segment was synced when that was made.
        let written = self.gate.head();
        drop(commit);

        let guard = PoisonOnPanic { core: self };
        let synced = segment.file.sync_data();
        if let Err(source) = synced {
            self.poison(segment.path.clone(), "sync", source);
            std::mem::forget(guard);
            return;
        }
        // Other processes first, as after a flight. Where flights sync none of this runs, so that marks come in order.
        self.mark_live(written, self.process);
        self.gate.raise_durable(written);
        std::mem::forget(guard);
        let mut commit = self.commit();
        commit.syncing = false;
        let left = commit.left();
        drop(commit);
        self.landed.notify_all();
        self.bell.landed(left);
        self.gate.wake_followers();
    }

    /// Tells other processes how far the log is durable.
    pub(crate) fn mark_live(&self, durable: Seq, process: Process) {
        // Advisory: where it fails, the mark before still names this writer, and readers see less than they could. The next
        // one goes into the same slot again, not into that of the mark before.
        if self.live.write(self.next_mark(durable, process)).is_err() {
            self.live_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What other processes are to be told next.
    pub(crate) fn next_mark(&self, durable: Seq, process: Process) -> Mark {
        Mark {
            epoch: self.epoch,
            durable,
            boot_id: self.boot_id,
            process,
            inode: self.inode,
            count: self.live_count.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            opened: self.opened,
        }
    }

    pub(crate) fn poison(&self, path: PathBuf, action: &'static str, source: std::io::Error) {
        let source = std::io::Error::new(source.kind(), Failed { action, source });
        self.commit().poison(&self.gate, path, source);
        self.landed.notify_all();
        self.bell.stop();
        // Last, since it calls wakers.
        self.gate.wake_everybody();
    }

    /// One step towards rest: waits, leads or syncs. Says whether nothing is left: all that was placed is durable, and
    /// nobody is at work but one who rolls.
    pub(crate) fn step_to_rest<'a>(&'a self, commit: MutexGuard<'a, Commit>) -> (MutexGuard<'a, Commit>, bool) {
        if commit.flying || commit.syncing {
            return (self.wait_landed(commit), false);
        }
        if !commit.buffer.is_empty() {
            self.lead(commit);
        } else if commit.unsynced {
            self.sync_written(commit);
        } else {
            return (commit, true);
        }
        (self.commit(), false)
    }
}

/// One positioned write, one sync.
fn fly(segment: &Segment, flight: &Flight, syncs: bool) -> Result<(), (&'static str, std::io::Error)> {
    write_all_at(&*segment.file, &flight.bytes, flight.offset).map_err(|error| ("write", error))?;
    if !syncs {
        return Ok(());
    }
    // A crash before this sync loses only what nobody was told is safe.
    segment.file.sync_data().map_err(|error| ("sync", error))
}

/// A system's answer, and what it was the answer to.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} it")]
struct Failed {
    action: &'static str,
    source: std::io::Error,
}

/// A panic while leading leaves the file in an unknown state: it poisons, so that followers are told.
struct PoisonOnPanic<'a> {
    core: &'a Core,
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        let path = self.core.dir.clone();
        let source = std::io::Error::other("a thread panicked while it flushed");
        match self.core.commit.lock() {
            Ok(mut commit) => commit.poison(&self.core.gate, path, source),
            Err(_) => self.core.gate.poison(),
        }
        self.core.landed.notify_all();
        self.core.gate.wake_everybody();
    }
}
