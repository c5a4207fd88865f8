//! Orphans: tasks that a crash of their executor left running or retrying.
//!
//! The rule is that of `StateValidator::repair` in dag-executor 0.1.0, equal in id, state and attempts. Invariants: each
//! event expects the version that was looked at, so that a task which moves meanwhile is left alone and never taken back by
//! mistake; memory holds one page of records.

use crate::error::{Error, Result};
use crate::ledger::batch::Batch;
use crate::ledger::handle::Ledger;
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::state::TaskState;
use crate::model::tasks::{Filter, Task};

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
}

impl Ledger {
    /// Takes back what a crashed executor left: a running or retrying task is requeued to pending while it has attempts
    /// left, and fails when it has none; attempts over the budget are set to it, on any record. For an executor to call
    /// when it starts, before it runs anything. Each change says why, and stays in the task's history.
    ///
    /// Appends in batches of at most 10 000 events, and can be called again at any time: after an error it goes on from
    /// there, and without orphans it appends nothing. A task that moves meanwhile is left alone.
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
        let mut next = Some(Filter::new().limit(PAGE));
        while let Some(filter) = next {
            let page = self.list(filter)?;
            repair(self, &page.tasks, max_attempts, &mut recovered)?;
            next = page.next.map(|token| Filter::new().limit(PAGE).after(token));
        }
        Ok(recovered)
    }
}

/// Repairs some tasks in one batch; where one of them has moved meanwhile, in smaller ones.
fn repair(ledger: &Ledger, tasks: &[Task], max_attempts: u32, recovered: &mut Recovered) -> Result<()> {
    let mut batch = Batch::new();
    let mut found = Recovered::default();
    for task in tasks {
        plan(task, max_attempts, &mut batch, &mut found);
    }
    if batch.is_empty() {
        return Ok(());
    }
    match ledger.commit(batch) {
        Ok(_) => {
            recovered.requeued += found.requeued;
            recovered.failed += found.failed;
            recovered.clamped += found.clamped;
            Ok(())
        }
        // Whoever moved it is alive, so that it is no orphan. The others are repaired in halves.
        Err(Error::Conflict { .. }) => {
            let (before, after) = tasks.split_at(tasks.len() / 2);
            if before.is_empty() {
                return Ok(());
            }
            repair(ledger, before, max_attempts, recovered)?;
            repair(ledger, after, max_attempts, recovered)
        }
        Err(error) => Err(error),
    }
}

/// What one task needs.
fn plan(task: &Task, max_attempts: u32, batch: &mut Batch, found: &mut Recovered) {
    let record = &task.record;
    let mut version = task.version;
    let mut push = |event: Event| {
        batch.push(record.id.as_str(), event, Expect::Version(version));
        version += 1;
    };
    if matches!(record.state, TaskState::Running | TaskState::Retrying) {
        if record.attempts < max_attempts {
            push(Event::requeued(TaskState::Pending).because("its executor is gone"));
            found.requeued += 1;
        } else {
            push(Event::to(TaskState::Failed).because("its executor is gone, and no attempt is left"));
            found.failed += 1;
        }
    }
    if record.attempts > max_attempts {
        push(Event::updated().attempts(max_attempts).because("more attempts than are allowed"));
        found.clamped += 1;
    }
}
