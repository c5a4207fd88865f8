//! Group commit: many appends, one sync. No log thread: whoever finds nobody flushing leads, the others follow.
//!
//! An append checks and places its batch under one short lock in which only memory is touched. Then it waits until
//! its cohort is durable, leading the flush if nobody else does: one positioned write, one fdatasync, publish, wake
//! the cohort, hand over.
//!
//! Invariants:
//! - Nothing is acknowledged, shown or used as the reason of a refusal before a sync that covers it has returned.
//! - Room is reserved before a seq is given: a placed batch always fits the active segment.
//! - At most one thread does I/O on the log (`flying`); a roll is a flight too, and nothing is placed during one.
//! - A failed write or sync after a seq was given poisons: nothing is retried, nothing deleted.
//!
//! Lock order: `commit`, then `tasks`, then a segment's `frames`. No lock is held during I/O or while waiting.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::ledger::batch::{Batch, Receipt, ReceiptItem};
use crate::ledger::check::{Checked, Outcome, Planned, Standing, check_batch, decide_batch};
use crate::ledger::core::{Commit, Core, Status};
use crate::ledger::gate::Waited;
use crate::model::seq::Seq;
use crate::storage::buffer::Flight;
use crate::storage::live::Mark;
use crate::storage::segment::Segment;
use crate::vfs::ops::{Process, write_all_at};

/// How long a leader waits for company at most.
const COMPANY_WAIT: Duration = Duration::from_micros(40);

impl Core {
    /// Appends a batch, and returns once it is durable.
    ///
    /// # Errors
    /// A refusal, or why it could not be made durable.
    pub(crate) fn append(&self, batch: Batch) -> Result<Receipt> {
        let checked = check_batch(batch, &self.identity.hash_key)?;
        if checked.events == 0 {
            let problem = "has no event".to_owned();
            return Err(Error::Limit { task: String::new(), what: "batch", problem });
        }
        loop {
            let mut commit = self.commit();
            commit.usable()?;
            if commit.rolling {
                drop(self.wait_landed(commit));
                continue;
            }
            let standing = Standing {
                placed: commit.placed,
                placed_at: commit.placed_at,
                now: self.vfs.now_ms(),
                epoch: self.epoch,
            };
            let outcome = {
                let tasks = self.tasks.read().expect("no writer panics");
                decide_batch(&checked, standing, &|task| {
                    let placed = commit.overlay.get_key_value(task);
                    placed.or_else(|| tasks.slot_with_id(task)).map(|(id, slot)| (Arc::clone(id), Arc::clone(slot)))
                })
            };
            match outcome {
                Outcome::Refuse { error, rests_on } => {
                    self.follow(commit, rests_on, rests_on)?;
                    return Err(error);
                }
                Outcome::Replay { batch, epoch, rests_on } => {
                    self.follow(commit, rests_on, rests_on)?;
                    return self.replayed(batch, epoch, &checked);
                }
                Outcome::Plan(plan) if commit.fits(checked.room, checked.events) => {
                    commit.open_epoch(self.boot_id, self.process);
                    let receipt = receipt_of(&plan, self.epoch);
                    let (first, last) = (standing.placed.next(), receipt.seq());
                    commit.place(plan, checked.bytes_max);
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                    self.follow(commit, first, last)?;
                    return Ok(receipt);
                }
                Outcome::Plan(_) => self.roll(commit, checked.room)?,
            }
        }
    }

    /// The receipt of a batch that was appended before.
    fn replayed(&self, batch: Seq, epoch: u32, checked: &Checked) -> Result<Receipt> {
        let mut items = Vec::new();
        for stored in self.log().stored(batch) {
            let stored = stored?;
            let entry = stored.entry;
            items.push(ReceiptItem {
                task: entry.task.unwrap_or_default(),
                seq: entry.seq,
                version: entry.version.unwrap_or_default(),
                at: entry.at,
            });
            if stored.links.last_of_batch {
                break;
            }
        }
        if items.len() as u64 != checked.events {
            let (task, key) = checked.first_key();
            return Err(Error::Key { task, key, seq: batch });
        }
        Ok(Receipt { epoch, items, replayed: true })
    }

    /// Waits until `last` is durable, and leads a flight where nobody does.
    ///
    /// # Errors
    /// [`Error::Unknown`] for `first` to `last`, where a write or sync failed.
    fn follow<'a>(&'a self, mut commit: MutexGuard<'a, Commit>, first: Seq, last: Seq) -> Result<()> {
        let cohort = if last > commit.taken { commit.cohort } else { commit.cohort.saturating_sub(1) };
        loop {
            match self.gate.look(last) {
                Waited::Durable => return Ok(()),
                Waited::Poisoned => {
                    drop(commit);
                    return Err(self.unknown(first, last));
                }
                Waited::Pending => {}
            }
            if commit.flying || commit.rolling {
                // Taken under the lock: whoever flies must take the lock to land, and changes the word after that.
                let ticket = self.gate.ticket(cohort);
                drop(commit);
                self.gate.sleep(ticket);
                if self.gate.look(last) == Waited::Durable {
                    return Ok(());
                }
            } else {
                assert!(!commit.buffer.is_empty(), "seq {last} is neither durable, nor waiting, nor in the air");
                self.lead(commit);
            }
            commit = self.commit();
        }
    }

    fn unknown(&self, first: Seq, last: Seq) -> Error {
        match &self.commit().status {
            Status::Poisoned { path, source } => {
                Error::Unknown { first, last, path: path.clone(), source: Arc::clone(source) }
            }
            other => panic!("the gate is poisoned and the ledger is {other:?}"),
        }
    }

    /// Waits until a flight, a roll or the making of a spare has ended; may wake early, so look again.
    pub(crate) fn wait_landed<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) -> MutexGuard<'a, Commit> {
        commit.onlookers += 1;
        let mut commit = self.landed.wait(commit).expect("a thread panicked while it placed a batch");
        commit.onlookers -= 1;
        commit
    }

    /// Writes, syncs and publishes all that waits. Nobody else may be flying.
    pub(crate) fn lead<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) {
        assert!(!commit.flying, "one flight at a time");
        commit.flying = true;
        if self.waiting.load(Ordering::Relaxed) > 0 {
            commit = self.await_company(commit);
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
        let last = commit.placed;
        commit.taken = last;
        let segment = Arc::clone(&commit.active);
        drop(commit);

        let guard = PoisonOnPanic { core: self };
        let flown = fly(&segment, &flight);
        if let Err((action, source)) = flown {
            std::mem::forget(guard);
            self.poison(segment.path.clone(), action, source);
            return;
        }
        // All of this is memory: a crash from here on loses nothing that was acknowledged.
        segment.frames.write().expect("no reader panics").extend_from_slice(&flight.places);
        {
            let mut tasks = self.tasks.write().expect("no reader panics");
            for (task, slot) in &pending {
                tasks.put(task, Arc::clone(slot));
            }
        }
        self.gate.raise(last);
        self.mark_live(self.process);
        let mut commit = self.commit();
        commit.vouched = commit.vouched.max(durable);
        for (task, slot) in &pending {
            if commit.overlay.get(task).is_some_and(|placed| placed.seq == slot.seq) {
                commit.overlay.remove(task);
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
            std::thread::yield_now();
        }
        self.commit()
    }

    /// Ends a flight: wakes those it made durable, then one of those that come next.
    fn land(&self, mut commit: MutexGuard<'_, Commit>, cohort: u64) {
        commit.flying = false;
        let waiting = !commit.buffer.is_empty();
        let onlookers = commit.onlookers > 0;
        let (vouched, placed, filled) = (commit.vouched, commit.placed, commit.filled_percent());
        let spare = commit.spare.is_some();
        drop(commit);
        self.gate.wake_all(cohort);
        if waiting {
            self.gate.wake_one(cohort + 1);
        }
        if onlookers {
            self.landed.notify_all();
        }
        self.bell.landed(vouched < placed, filled >= 50 && !spare);
    }

    /// Tells other processes how far the log is durable.
    pub(crate) fn mark_live(&self, process: Process) {
        let mark = Mark {
            epoch: self.epoch,
            durable: self.gate.durable(),
            boot_id: self.boot_id,
            process,
            inode: self.inode,
            count: self.live_count.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
        };
        // Advisory: without it readers go by the watermarks in the log, and nothing acknowledged depends on it.
        let _ = self.live.write(mark);
    }

    pub(crate) fn poison(&self, path: PathBuf, action: &'static str, source: std::io::Error) {
        let source = std::io::Error::new(source.kind(), Failed { action, source });
        let mut commit = self.commit();
        commit.status = Status::Poisoned { path, source: Arc::new(source) };
        commit.flying = false;
        commit.rolling = false;
        drop(commit);
        self.gate.poison();
        self.landed.notify_all();
        self.bell.stop();
    }
}

/// One positioned write, one sync.
fn fly(segment: &Segment, flight: &Flight) -> Result<(), (&'static str, std::io::Error)> {
    write_all_at(&*segment.file, &flight.bytes, flight.offset).map_err(|error| ("write", error))?;
    // A crash before this sync loses only what nobody was told is safe.
    segment.file.sync_data().map_err(|error| ("sync", error))
}

fn receipt_of(plan: &[Planned], epoch: u32) -> Receipt {
    let item = |planned: &Planned| ReceiptItem {
        task: planned.task.as_ref().to_owned(),
        seq: planned.entry.seq,
        version: planned.slot.version,
        at: planned.entry.at,
    };
    Receipt { epoch, items: plan.iter().map(item).collect(), replayed: false }
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
        if let Ok(mut commit) = self.core.commit.lock() {
            commit.status = Status::Poisoned { path, source: Arc::new(source) };
            (commit.flying, commit.rolling) = (false, false);
        }
        self.core.gate.poison();
        self.core.landed.notify_all();
    }
}
