//! The attempts of one task as bars over time: from when it waited, from when it ran, and what became of it.
//!
//! Pure: entries in, bars out. Times that step back make no bar that ends before it begins.

use taskledger::{Entry, EventKind, TaskState};

/// One attempt, or a wait that came to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    /// The attempt's number, where it ran.
    pub attempt: Option<u32>,
    /// Since when it waited, and ran; in milliseconds since the Unix epoch. Unknown where that was pruned.
    pub waits: Option<u64>,
    pub runs: Option<u64>,
    /// Until when; it goes on where there is no end.
    pub end: Option<u64>,
    /// What the task came to with it.
    pub ended: Option<TaskState>,
    /// Whether it was an attempt that came to nothing: it failed, is to be tried again, or was taken back.
    pub lost: bool,
}

/// A bar that is not at its end.
#[derive(Debug)]
struct Open {
    bar: Bar,
    is_running: bool,
}

/// Makes bars of a task's entries, which it is shown oldest first.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    open: Option<Open>,
    attempts: u32,
    last: u64,
    is_begun: bool,
}

/// What is worth knowing of a task that neither waits nor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    attempts: u32,
    last: u64,
}

impl Bars {
    /// Of a task that has run since a time, whose entries up to here are not there any more.
    pub(crate) fn running(attempt: u32, since: u64) -> Bars {
        let (attempts, attempt) = (attempt, Some(attempt));
        let bar = Bar { attempt, waits: None, runs: Some(since), end: None, ended: None, lost: false };
        Bars { open: Some(Open { bar, is_running: true }), attempts, last: since, is_begun: true }
    }

    /// Of a task that rests so.
    pub(crate) fn resting(rest: Rest) -> Bars {
        Bars { open: None, attempts: rest.attempts, last: rest.last, is_begun: true }
    }

    /// How it rests, where it neither waits nor runs.
    pub(crate) fn rest(&self) -> Option<Rest> {
        self.open.is_none().then_some(Rest { attempts: self.attempts, last: self.last })
    }

    /// The time of the last entry, where times that step back stand still.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Takes the next entry; a bar that ends with it goes to `ended`.
    pub(crate) fn add(&mut self, entry: &Entry, ended: &mut dyn FnMut(Bar)) {
        let kind = entry.event.kind();
        let when = entry.happened_at().max(self.last);
        self.last = when;
        if !std::mem::replace(&mut self.is_begun, true)
            && let Some(state) = entry.from
        {
            self.begin(state, None);
        }
        if let Some(attempts) = entry.event.attempts_set() {
            self.attempts = attempts;
        }
        let to = match kind {
            EventKind::Created => {
                self.attempts = entry.event.attempts_set().unwrap_or(0);
                TaskState::Pending
            }
            EventKind::Removed => {
                self.end(when, None, false, ended);
                return;
            }
            _ => match entry.event.state() {
                Some(to) => to,
                None => return,
            },
        };
        match &mut self.open {
            Some(open) if !open.is_running && to == TaskState::Running => {
                (open.is_running, open.bar.runs, open.bar.attempt) = (true, Some(when), Some(self.attempts));
                return;
            }
            // From waiting to waiting, or on with the same attempt.
            Some(open) if open.is_running == (to == TaskState::Running) && (waits(to) || open.is_running) => return,
            _ => {}
        }
        let lost = matches!(to, TaskState::Failed | TaskState::Retrying) || kind == EventKind::Requeued;
        self.end(when, Some(to), lost, ended);
        self.begin(to, Some(when));
    }

    /// What goes on at the end.
    pub(crate) fn finish(self) -> Option<Bar> {
        self.open.map(|open| open.bar)
    }

    /// Opens a bar where the state waits or runs.
    fn begin(&mut self, state: TaskState, when: Option<u64>) {
        let is_running = state == TaskState::Running;
        let attempt = is_running.then_some(self.attempts);
        let waits = when.filter(|_| waits(state));
        let bar = Bar { attempt, waits, runs: when.filter(|_| is_running), end: None, ended: None, lost: false };
        self.open = (is_running || self::waits(state)).then_some(Open { bar, is_running });
    }

    fn end(&mut self, when: u64, state: Option<TaskState>, lost: bool, ended: &mut dyn FnMut(Bar)) {
        if let Some(Open { bar, is_running }) = self.open.take() {
            ended(Bar { end: Some(when), ended: state, lost: lost && is_running, ..bar });
        }
    }
}

/// Whether a task in this state waits for an attempt.
pub(crate) fn waits(state: TaskState) -> bool {
    matches!(state, TaskState::Pending | TaskState::Ready | TaskState::Retrying)
}
