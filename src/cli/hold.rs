//! The ledger as a run uses it: opened for a moment, for one step of one task, and closed before anything else is done. Where
//! another writer has it, it is asked for again and again, for so long.

use std::path::Path;
use std::time::{Duration, Instant};

use taskledger::{Batch, Error, Event, Expect, HistoryFilter, HistoryPage, Ledger, Task};

use crate::cli::claim::Found;
use crate::cli::fail::Failure;
use crate::cli::orphan::Run;
use crate::cli::signals::Signals;

/// So long a run waits for other writers before it starts.
const BEFORE: Duration = Duration::from_secs(10);
/// And so long to record what came of it.
const AFTER: Duration = Duration::from_secs(60);
/// How often it asks.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// So many entries are looked at at a time.
const PAGE: usize = 16;

/// One task of a ledger, and the run that is to have it.
pub(crate) struct Hold<'a> {
    pub dir: &'a Path,
    pub id: &'a str,
    pub this: Run,
}

/// What came of a start.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The task is running, as this attempt.
    Attempt(u32),
    /// A signal came before.
    Stopped(i32),
}

impl Hold<'_> {
    /// The task as it is now, without waiting for anybody.
    pub(crate) fn look(&self) -> Result<Found, Failure> {
        let reader = Ledger::open_read_only(self.dir)?;
        let view = reader.view();
        self.found(view.get(self.id)?, |filter| view.history_page(self.id, filter))
    }

    /// Appends what makes this run the one that has the task.
    pub(crate) fn begin(&self, batch: Batch, signals: &Signals) -> Result<Begun, Failure> {
        let mut stop = None;
        let ledger = self.open(BEFORE, |time| {
            stop = signals.wait_for_stop(time);
            stop.is_none()
        });
        if let Some(signal) = stop.or_else(|| signals.take_stop()) {
            return Ok(Begun::Stopped(signal));
        }
        let ledger = ledger?;
        ledger.commit(batch)?;
        let attempt = ledger.get(self.id)?.map_or(0, |task| task.record.attempts);
        close(ledger);
        Ok(Begun::Attempt(attempt))
    }

    /// Appends what came of the task, if this run still has it; says which attempt it is at.
    pub(crate) fn step(&self, event: Event) -> Result<u32, Failure> {
        let ledger = self.open(AFTER, |time| {
            std::thread::sleep(time);
            true
        })?;
        let found = self.found(ledger.get(self.id)?, |filter| ledger.history_page(self.id, filter))?;
        if found.owner().is_none_or(|run| run.token != self.this.token) {
            return Err(self.lost(&found));
        }
        let version = found.task.as_ref().map_or(0, |task| task.version);
        ledger.append_if(self.id, event, Expect::Version(version))?;
        let attempt = ledger.get(self.id)?.map_or(0, |task| task.record.attempts);
        close(ledger);
        Ok(attempt)
    }

    fn found(
        &self,
        task: Option<Task>,
        mut page: impl FnMut(HistoryFilter) -> Result<HistoryPage, Error>,
    ) -> Result<Found, Failure> {
        let mut next = task.is_some().then(|| HistoryFilter::new().newest_first().limit(PAGE));
        while let Some(filter) = next {
            let HistoryPage { entries, next: token, .. } = page(filter)?;
            let mut entries = entries.into_iter();
            let moved = entries.find(|entry| entry.event.state().is_some() && entry.event.state() != entry.from);
            if moved.is_some() {
                return Ok(Found { task, moved });
            }
            next = token.map(|token| HistoryFilter::new().newest_first().limit(PAGE).after(token));
        }
        Ok(Found { task, moved: None })
    }

    /// Somebody has taken the task away from this run.
    fn lost(&self, found: &Found) -> Failure {
        let id = self.id;
        let Some(task) = &found.task else {
            return Failure::new("CONFLICT", format!("{id} was removed meanwhile")).with("task", id);
        };
        let by = found.moved.as_ref().and_then(|entry| entry.event.actor()).unwrap_or("somebody");
        let (state, seq) = (task.record.state, found.moved.as_ref().map_or(task.seq, |entry| entry.seq));
        let message = format!("{id} is {state} since seq {seq} by {by}, and is no longer this run's");
        Failure::new("CONFLICT", message).with("task", id).with("seq", seq.0)
    }

    /// Opens for writing; `wait` waits so long, or says that it is not to be tried again.
    fn open(&self, patience: Duration, mut wait: impl FnMut(Duration) -> bool) -> Result<Ledger, Failure> {
        // Opening for writing makes a ledger where none is, and a mistyped -D is to make none.
        drop(Ledger::open_read_only(self.dir)?);
        let until = Instant::now() + patience;
        loop {
            match Ledger::open(self.dir) {
                Err(Error::Locked { .. }) if Instant::now() < until && wait(ASK_AGAIN) => {}
                Ok(ledger) => return Ok(ledger),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What was appended is durable, whatever comes of this; the next opening does what this could not.
fn close(ledger: Ledger) {
    let _ = ledger.close();
}
