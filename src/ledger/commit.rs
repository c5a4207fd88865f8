//! Group commit: many appends, one sync. No log thread: whoever finds nobody flushing leads, the others follow.
//!
//! A batch is checked and placed under one short lock in which only memory is touched. An append then waits until its
//! cohort is acknowledged, leading the flight if nobody else does: one positioned write, one fdatasync (none in
//! `Buffered`), publish, wake the cohort, hand over. A submit does not wait: where no thread of a caller is there to
//! lead, the background thread does.
//!
//! Invariants:
//! - Nothing is acknowledged, shown or used as the reason of a refusal before a sync (in `Buffered` a write) that covers
//!   it has returned.
//! - Room is reserved before a seq is given: a placed batch always fits the active segment.
//! - At most one thread writes to the log (`flying`); a roll is a flight too, and nothing is placed during one.
//! - A failed write or sync after a seq was given poisons: nothing is retried, nothing deleted.
//!
//! Lock order: `commit`, then `tasks`, then a segment's `frames`. No lock is held during I/O, while waiting, or while a
//! waker runs.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::ledger::batch::{Batch, Receipt, ReceiptItem};
use crate::ledger::bell::Left;
use crate::ledger::check::{Outcome, Planned, Replay, Standing, check_batch, decide_batch};
use crate::ledger::core::{Commit, Core, RollWish, Status};
use crate::ledger::gate::Waited;
use crate::ledger::options::Maintenance;
use crate::model::limits::UNFLUSHED_BYTES_MAX;
use crate::model::seq::Seq;
use crate::storage::buffer::Flight;
use crate::storage::live::Mark;
use crate::storage::segment::Segment;
use crate::vfs::ops::{Process, write_all_at};

/// How long a leader waits for company at most.
const COMPANY_WAIT: Duration = Duration::from_micros(40);

/// Who asks for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A caller who waits until it is acknowledged, and does I/O for it.
    Append,
    /// A caller who goes on once it is placed, and does no I/O.
    Submit,
}

/// What a batch came to, and what must be acknowledged before it may be told.
#[derive(Debug)]
pub(crate) struct Claim {
    pub first: Seq,
    pub last: Seq,
    pub end: End,
}

/// What a batch came to.
#[derive(Debug)]
pub(crate) enum End {
    Placed(Receipt),
    Replayed(Replay),
    Refused(Error),
}

impl Core {
    /// Appends a batch, and returns once it is acknowledged.
    ///
    /// # Errors
    /// A refusal, or why it could not be made durable.
    pub(crate) fn append(&self, batch: Batch) -> Result<Receipt> {
        let (commit, claim) = self.admit(batch, Asker::Append)?;
        self.follow(commit, claim.first, claim.last)?;
        self.redeem(claim.end)
    }

    /// Checks a batch and gives it its place. Where the background thread is there for it, a submit does no I/O.
    ///
    /// # Errors
    /// Refusals that rest on nothing that was placed, and whatever keeps it from being placed.
    pub(crate) fn admit(&self, batch: Batch, asker: Asker) -> Result<(MutexGuard<'_, Commit>, Claim)> {
        let checked = check_batch(batch, &self.identity.hash_key)?;
        loop {
            let mut commit = self.commit();
            commit.usable()?;
            if commit.rolling {
                drop(self.wait_landed(commit));
                continue;
            }
            if asker == Asker::Submit && commit.unflushed() >= UNFLUSHED_BYTES_MAX {
                self.wait_for_room(commit);
                continue;
            }
            let standing = Standing {
                placed: commit.placed,
                placed_at: commit.placed_at,
                now: self.options.now_ms(),
                epoch: self.epoch,
            };
            let outcome = {
                let tasks = self.tasks.read().expect("no writer panics");
                decide_batch(&checked, standing, &|task| {
                    let placed = commit.overlay.get_key_value(task);
                    placed.or_else(|| tasks.slot_with_id(task)).map(|(id, slot)| (Arc::clone(id), Arc::clone(slot)))
                })
            };
            let claim = match outcome {
                Outcome::Refuse { error, rests_on } => {
                    Claim { first: rests_on, last: rests_on, end: End::Refused(error) }
                }
                Outcome::Replay { before, rests_on } => {
                    Claim { first: rests_on, last: rests_on, end: End::Replayed(before) }
                }
                Outcome::Plan(plan) if commit.fits(checked.room, checked.events) => {
                    commit.open_epoch(self.boot_id, self.process);
                    let receipt = receipt_of(&plan, self.epoch);
                    commit.place(plan, checked.bytes_max);
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                    Claim { first: standing.placed.next(), last: receipt.seq(), end: End::Placed(receipt) }
                }
                Outcome::Plan(_) if asker == Asker::Append || self.options.maintenance == Maintenance::Manual => {
                    self.roll(commit, checked.room)?;
                    continue;
                }
                Outcome::Plan(_) => {
                    self.ask_for_roll(commit, checked.room)?;
                    continue;
                }
            };
            return Ok((commit, claim));
        }
    }

    /// Tells what an acknowledged batch came to.
    ///
    /// # Errors
    /// The refusal; for a replayed batch of several events also why it cannot be read back.
    pub(crate) fn redeem(&self, end: End) -> Result<Receipt> {
        let replay = match end {
            End::Placed(receipt) => return Ok(receipt),
            End::Refused(error) => return Err(error),
            End::Replayed(replay) => replay,
        };
        let items = match replay.alone {
            Some(item) => vec![item],
            None => self.read_back(replay.batch)?,
        };
        if items.len() as u64 != replay.events {
            return Err(Error::Key { task: replay.task, key: replay.key, seq: replay.batch });
        }
        Ok(Receipt { epoch: replay.epoch, items, replayed: true })
    }

    /// The places of the batch that begins at this seq.
    fn read_back(&self, batch: Seq) -> Result<Vec<ReceiptItem>> {
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
        Ok(items)
    }

    /// Waits until less is unflushed.
    fn wait_for_room<'a>(&'a self, commit: MutexGuard<'a, Commit>) {
        if commit.flying {
            drop(self.wait_landed(commit));
        } else if self.options.maintenance == Maintenance::Manual {
            self.lead(commit);
        } else {
            self.bell.flush();
            drop(self.wait_landed(commit));
        }
    }

    /// Has the background thread roll, and waits for it.
    ///
    /// # Errors
    /// Why it could not.
    fn ask_for_roll<'a>(&'a self, mut commit: MutexGuard<'a, Commit>, room: u64) -> Result<()> {
        let full = commit.active.header.number;
        let room = commit.roll_wish.map_or(room, |wish| wish.room.max(room));
        commit.roll_wish = Some(RollWish { full, room });
        let failures = commit.roll_failures;
        self.bell.flush();
        let commit = self.wait_landed(commit);
        match &commit.roll_error {
            Some(error) if commit.roll_failures != failures => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Does what submits have asked for: rolls, and leads what waits.
    pub(crate) fn serve(&self) {
        let mut commit = self.commit();
        if let Some(wish) = commit.roll_wish.take() {
            // Somebody else may have rolled since it was wished for.
            if wish.full == commit.active.header.number && commit.is_open() {
                let rolled = self.roll(commit, wish.room);
                commit = self.commit();
                if let Err(error) = rolled {
                    commit.roll_failures += 1;
                    commit.roll_error = Some(error);
                }
            }
            self.landed.notify_all();
        }
        drop(commit);
        self.flush();
    }

    /// Leads what waits, if nobody does.
    pub(crate) fn flush(&self) {
        let commit = self.commit();
        if commit.is_leaderless() {
            self.lead(commit);
        }
    }

    /// Waits until `last` is acknowledged, and leads a flight where nobody does.
    ///
    /// # Errors
    /// [`Error::Unknown`] for `first` to `last`, where a write or sync failed.
    pub(crate) fn follow<'a>(&'a self, mut commit: MutexGuard<'a, Commit>, first: Seq, last: Seq) -> Result<()> {
        let cohort = if last > commit.taken { commit.cohort } else { commit.cohort.saturating_sub(1) };
        loop {
            match self.gate.look(last) {
                Waited::Acknowledged => return Ok(()),
                Waited::Poisoned => {
                    drop(commit);
                    return Err(self.unknown(first, last));
                }
                Waited::Pending => {}
            }
            if commit.flying || commit.rolling {
                // Taken under the lock: whoever flies must take the lock to land, and changes the word after that.
                let turn = self.gate.turn(cohort);
                drop(commit);
                self.gate.sleep(turn);
                if self.gate.look(last) == Waited::Acknowledged {
                    return Ok(());
                }
            } else {
                assert!(!commit.buffer.is_empty(), "seq {last} is neither acknowledged, nor waiting, nor in the air");
                self.lead(commit);
            }
            commit = self.commit();
        }
    }

    pub(crate) fn unknown(&self, first: Seq, last: Seq) -> Error {
        match &self.commit().status {
            Status::Poisoned { path, source } => {
                Error::Unknown { first, last, path: path.clone(), source: Arc::clone(source) }
            }
            other => panic!("the gate is poisoned and the ledger is {other:?}"),
        }
    }

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
        let last = commit.placed;
        commit.taken = last;
        commit.in_air = flight.bytes.len();
        let segment = Arc::clone(&commit.active);
        drop(commit);

        let guard = PoisonOnPanic { core: self };
        let flown = fly(&segment, &flight, syncs);
        if let Err((action, source)) = flown {
            std::mem::forget(guard);
            self.poison(segment.path.clone(), action, source);
            return;
        }
        if self.gate.is_poisoned() {
            // A sync beside this flight failed: what the page cache holds since then is no longer known.
            std::mem::forget(guard);
            self.landed.notify_all();
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
        self.gate.raise_head(last);
        if syncs {
            self.gate.raise_durable(last);
            self.mark_live(self.process);
        }
        let mut commit = self.commit();
        commit.in_air = 0;
        commit.unsynced |= !syncs;
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
            std::mem::forget(guard);
            self.poison(segment.path.clone(), "sync", source);
            return;
        }
        self.gate.raise_durable(written);
        self.mark_live(self.process);
        std::mem::forget(guard);
        let mut commit = self.commit();
        commit.syncing = false;
        let left = commit.left();
        drop(commit);
        self.landed.notify_all();
        self.bell.landed(left);
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
        self.commit().poison(path, source);
        self.landed.notify_all();
        self.bell.stop();
        // Last, since it calls wakers.
        self.gate.poison();
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
            commit.poison(path, source);
        }
        self.core.landed.notify_all();
        self.core.gate.poison();
    }
}
