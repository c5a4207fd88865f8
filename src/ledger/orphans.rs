//! Orphans: tasks that a crash of their executor left running or retrying.
//!
//! The rule is that of `StateValidator::repair` in dag-executor 0.1.0, equal in id, state and attempts. Invariants: each
//! event expects the version that was looked at, so that a task which moves meanwhile is left alone and never taken back by
//! mistake; memory holds one page of ids, states and attempts.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::batch::Batch;
use crate::ledger::handle::Ledger;
use crate::ledger::tasks::{Tasks, Untold};
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::model::tasks::PageToken;
use crate::storage::table::record::Class;

/// How many tasks are looked at, and at most twice as many events appended, at a time.
const PAGE: usize = 5_000;

/// What [`Ledger::recover_orphans`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Tasks that went back to pending.
    pub requeued: u64,
    /// Tasks that had no attempt left, and failed.
    pub failed: u64,
    /// Tasks whose attempts were over the budget, and were set to it.
    pub clamped: u64,
    /// Tasks that moved while they were looked at, and were left alone: whoever moved them is alive.
    pub moved: u64,
}

/// A task that needs something.
#[derive(Debug)]
struct Orphan {
    id: Arc<str>,
    version: u64,
    state: TaskState,
    attempts: u32,
}

impl Ledger {
    /// Takes back what a crashed executor left: a running or retrying task is requeued to pending while it has attempts
    /// left, and fails when it has none; attempts over the budget are set to it, on any record. For an executor to call
    /// when it starts, before it runs anything. Each change says why, and stays in the task's history.
    ///
    /// Appends in batches of at most 10 000 events, and can be called again at any time: after an error it goes on from
    /// there, and without orphans it appends nothing. A task that moves meanwhile is left alone and counted. The events
    /// name no actor: what was done is in their reason.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use taskledger::{Event, Ledger, TaskState};
    /// let ledger = Ledger::open(dir.path())?;
    /// ledger.append("a", Event::created())?;
    /// ledger.append("a", Event::to(TaskState::Ready))?;
    /// ledger.append("a", Event::to(TaskState::Running))?;
    /// // ... and here the executor crashes. The next one says that three attempts are allowed:
    /// assert_eq!(ledger.recover_orphans(3)?.requeued, 1);
    /// assert_eq!(ledger.get("a")?.expect("created above").record.state, TaskState::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::commit`]; what was appended before stays.
    pub fn recover_orphans(&self, max_attempts: u32) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let mut after: Option<PageToken> = None;
        loop {
            let (orphans, next) = self.core().ask(&|tasks| look_over(tasks, after.as_ref(), max_attempts))?;
            after = next;
            repair(self, &orphans, max_attempts, &mut recovered)?;
            if after.is_none() {
                return Ok(recovered);
            }
        }
    }
}

/// The orphans among the next so many tasks, and the place to go on after, as long as there is more.
fn look_over(
    tasks: &Tasks,
    after: Option<&PageToken>,
    max_attempts: u32,
) -> std::result::Result<(Vec<Orphan>, Option<PageToken>), Untold> {
    let mut orphans = Vec::new();
    let place = after.map(|token| (token.hash, Realm::Tasks, &*token.key));
    let (mut last, mut more) = (None, false);
    for (n, known) in tasks.walk(place, Class::LIVE_TASKS).enumerate() {
        if n == PAGE {
            more = true;
            break;
        }
        let known = known?;
        let slot = known.slot()?;
        if let Some(record) = slot.record()
            && (record.state.has_executor() || record.attempts > max_attempts)
        {
            let (state, attempts) = (record.state, record.attempts);
            orphans.push(Orphan { id: Arc::clone(known.key()), version: slot.version, state, attempts });
        }
        last = Some(PageToken { hash: known.place().0, key: Arc::clone(known.key()) });
    }
    // By id, so that nothing hangs on the key of the hash.
    orphans.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((orphans, last.filter(|_| more)))
}

/// Repairs some tasks in one batch; where one of them has moved meanwhile, in smaller ones.
fn repair(ledger: &Ledger, orphans: &[Orphan], max_attempts: u32, recovered: &mut Recovered) -> Result<()> {
    let mut batch = Batch::new();
    let mut done = *recovered;
    for orphan in orphans {
        plan(orphan, max_attempts, &mut batch, &mut done);
    }
    if batch.is_empty() {
        return Ok(());
    }
    match ledger.commit(batch) {
        Ok(_) => {
            *recovered = done;
            Ok(())
        }
        // Whoever moved it is alive, so that it is no orphan. The others are repaired in halves.
        Err(Error::Conflict { .. }) => {
            let (before, after) = orphans.split_at(orphans.len() / 2);
            if before.is_empty() {
                recovered.moved += 1;
                return Ok(());
            }
            repair(ledger, before, max_attempts, recovered)?;
            repair(ledger, after, max_attempts, recovered)
        }
        Err(error) => Err(error),
    }
}

/// What one task needs.
fn plan(orphan: &Orphan, max_attempts: u32, batch: &mut Batch, done: &mut Recovered) {
    let mut version = orphan.version;
    let mut push = |event: Event| {
        batch.push(&*orphan.id, event, Expect::Version(version));
        version += 1;
    };
    if orphan.state.has_executor() {
        if orphan.attempts < max_attempts {
            push(Event::requeued(TaskState::Pending).because("its executor is gone"));
            done.requeued += 1;
        } else {
            push(Event::to(TaskState::Failed).because("its executor is gone, and no attempt is left"));
            done.failed += 1;
        }
    }
    if orphan.attempts > max_attempts {
        push(Event::updated().attempts(max_attempts).because("more attempts than are allowed"));
        done.clamped += 1;
    }
}
