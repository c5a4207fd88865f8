//! Group commit: many appends, one sync. No log thread: whoever finds nobody flushing leads, the others follow.
//!
//! A batch is checked and placed under one short lock in which only memory is touched. An append then waits until its
//! cohort is acknowledged, leading the flight if nobody else does. A submit does not wait: where no thread of a caller is
//! there to lead, the background thread does.
//!
//! Invariants:
//! - Nothing is acknowledged, shown or used as the reason of a refusal before a sync (in `Buffered` a write) that covers
//!   it has returned.
//! - Room is reserved before a seq is given: a placed batch always fits the active segment.
//! - A roll is a flight too, and nothing is placed during one.
//!
//! Lock order: `commit`, then `tasks`, then a segment's `frames`. No lock is held during I/O or while waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::ledger::backlog;
use crate::ledger::batch::{Batch, Receipt, ReceiptItem};
use crate::ledger::check::{Checked, CheckedItem, Outcome, Planned, Replay, Standing, check_batch, decide_batch};
use crate::ledger::core::{Commit, Core, RollWish, Status};
use crate::ledger::gate::Waited;
use crate::ledger::options::Maintenance;
use crate::ledger::parts::Part;
use crate::ledger::primitives::MutexGuard;
use crate::model::event::Event;
use crate::model::layer::Held;
use crate::model::limits::UNFLUSHED_BYTES_MAX;
use crate::model::seq::Seq;
use crate::storage::buffer::Buffer;
use crate::storage::codec::columns::event_bytes_max;

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

/// What sealed segments say of the tasks and notes of a batch.
struct LookedUp {
    parts: Arc<Vec<Part>>,
    /// In order.
    held: Vec<Held>,
}

impl LookedUp {
    fn find(&self, item: &CheckedItem) -> Option<&Held> {
        let place = (item.hash, item.realm(), item.key());
        self.held.binary_search_by(|held| held.place().cmp(&place)).ok().and_then(|n| self.held.get(n))
    }
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
        let mut sealed = self.look_up(&checked)?;
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
            let tasks = self.tasks.read().expect("no writer panics");
            if !Arc::ptr_eq(tasks.parts(), &sealed.parts) {
                // A roll has sealed what was looked up in what is recent, or a table has taken the place of a layer.
                drop(tasks);
                drop(commit);
                sealed = self.look_up(&checked)?;
                continue;
            }
            let outcome = decide_batch(&checked, standing, &|item| {
                let (realm, key) = (item.realm(), item.key());
                if let Some((key, slot)) = commit.overlay.of(realm).get_key_value(key) {
                    return Some((Arc::clone(key), Arc::clone(slot)));
                }
                let held = tasks.recent(item.hash, realm, key).or_else(|| sealed.find(item))?;
                Some((Arc::clone(&held.key), Arc::clone(&held.slot)))
            });
            drop(tasks);
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
                    backlog::help(self, true);
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

    /// Appends an entry about the ledger itself, and returns its seq once it is durable, whatever an append waits for.
    ///
    /// # Errors
    /// As [`Core::append`].
    pub(crate) fn append_control(&self, event: Event) -> Result<Seq> {
        let bytes_max = event_bytes_max("", &event);
        let room = Buffer::room(std::iter::once(bytes_max));
        let seq = loop {
            let mut commit = self.commit();
            commit.usable()?;
            if commit.rolling {
                drop(self.wait_landed(commit));
            } else if commit.fits(room, 1) {
                commit.open_epoch(self.boot_id, self.process);
                let seq = commit.place_control(event, self.options.now_ms(), bytes_max);
                self.waiting.fetch_add(1, Ordering::Relaxed);
                self.follow(commit, seq, seq)?;
                break seq;
            } else {
                self.roll(commit, room)?;
            }
        };
        self.sync()?;
        Ok(seq)
    }

    /// What sealed segments say of the tasks and notes of a batch. This may read files, so that no lock is held.
    ///
    /// # Errors
    /// The log, where it must be read again, cannot be read.
    fn look_up(&self, checked: &Checked) -> Result<LookedUp> {
        loop {
            let (parts, recent): (_, Vec<bool>) = {
                let tasks = self.tasks.read().expect("no writer panics");
                let is_recent = |item: &CheckedItem| tasks.recent(item.hash, item.realm(), item.key()).is_some();
                (Arc::clone(tasks.parts()), checked.items.iter().map(is_recent).collect())
            };
            let mut held = Vec::new();
            let mut broken = None;
            if !parts.is_empty() {
                for (item, _) in checked.items.iter().zip(recent).filter(|(_, recent)| !recent) {
                    match self.find_sealed(&parts, item.hash, item.realm(), item.key()) {
                        Ok(found) => held.extend(found),
                        Err(unfit) => {
                            broken = Some(unfit);
                            break;
                        }
                    }
                }
            }
            match broken {
                Some(unfit) => self.mend(&unfit)?,
                None => {
                    held.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
                    return Ok(LookedUp { parts, held });
                }
            }
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
        let items = if replay.alone {
            replay.known
        } else {
            match self.read_back(replay.batch) {
                // Each of its events is known by its key, in the order of the batch.
                Err(Error::Pruned { .. }) if replay.knows_all() => replay.known,
                read => read?,
            }
        };
        if items.len() as u64 != replay.events {
            return Err(Error::Key { subject: replay.subject, key: replay.key, seq: replay.batch });
        }
        Ok(Receipt { epoch: replay.epoch, items, replayed: true })
    }

    /// The places of the batch that begins at this seq.
    fn read_back(&self, batch: Seq) -> Result<Vec<ReceiptItem>> {
        let mut items = Vec::new();
        for stored in self.log().stored(batch) {
            let stored = stored?;
            let entry = stored.entry;
            let (realm, key) = entry.about().expect("no batch of a caller has a control entry");
            let version = entry.version.unwrap_or_default();
            items.push(ReceiptItem { subject: realm.subject(key), seq: entry.seq, version, at: entry.at });
            if stored.origin.last {
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
            // Somebody else may have rolled since it was wished for, or be at it: whoever wishes is woken by that, too.
            if wish.full == commit.active.header.number && commit.is_open() && !commit.rolling {
                let rolled = self.roll(commit, wish.room);
                backlog::help(self, false);
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
}

fn receipt_of(plan: &[Planned], epoch: u32) -> Receipt {
    let item = |planned: &Planned| ReceiptItem {
        subject: planned.realm.subject(&*planned.key),
        seq: planned.entry.seq,
        version: planned.slot.version,
        at: planned.entry.at,
    };
    Receipt { epoch, items: plan.iter().map(item).collect(), replayed: false }
}
