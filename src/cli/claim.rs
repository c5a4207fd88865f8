//! Whether a run may have a task, as it was found, and what is appended for that. Pure.

use taskledger::vfs::ops::Process;
use taskledger::{Batch, Entry, Event, Expect, Task, TaskState};

use crate::cli::fact::each;
use crate::cli::fail::Failure;
use crate::cli::orphan::{Fate, Run, TOKEN_KEY};
use crate::cli::text::{count, shell};
use crate::cli::time::stamp;

/// The states in which somebody has a task.
const HELD: [TaskState; 2] = [TaskState::Running, TaskState::Retrying];

/// A task as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub task: Option<Task>,
    /// The entry that brought it to its state, where that is still there.
    pub moved: Option<Entry>,
}

/// What a run may begin with.
#[derive(Debug, PartialEq)]
pub(crate) enum Claim {
    /// There is none.
    New,
    /// Somebody has planned it, and nobody has it.
    Planned,
    /// It has ended.
    Again,
    /// The run that had it is gone.
    Orphan(Run),
}

impl Found {
    /// The run that has it: it must have brought the task to its state itself.
    pub(crate) fn owner(&self) -> Option<Run> {
        let record = &self.task.as_ref()?.record;
        let run = Run::named(&record.metadata).filter(|_| HELD.contains(&record.state))?;
        let has_signed = |entry: &Entry| {
            entry.event.metadata().any(|(key, value)| key == TOKEN_KEY && value == Some(run.token.as_str()))
        };
        self.moved.as_ref().is_none_or(has_signed).then_some(run)
    }

    /// Since when it is as it is.
    fn since(&self) -> String {
        let updated = self.task.as_ref().map_or(0, |task| task.record.updated_at);
        stamp(self.moved.as_ref().map_or(updated, Entry::happened_at))
    }

    /// Whether this run may have it, and how.
    ///
    /// # Errors
    /// Somebody has it, or nobody can say whether.
    pub(crate) fn claim(&self, this: &Run, is_alive: impl Fn(Process) -> bool) -> Result<Claim, Failure> {
        let Some(task) = &self.task else { return Ok(Claim::New) };
        let (id, state) = (&task.record.id, task.record.state);
        let refused = |why: String| Failure::new("CONFLICT", why).with("task", id.as_str()).with("seq", task.seq.0);
        let by_hand = format!(
            "if it is gone: `taskledger append {} requeued:ready --reason '...'`, then start this again",
            shell(id)
        );
        let since = self.since();
        match (state, self.owner()) {
            (TaskState::Running | TaskState::Retrying, Some(run)) => {
                let Run { host, process, .. } = &run;
                let whose = format!("{id} is {state} by a run on {host}, process {}, since {since}", process.pid);
                let named = |failure: Failure| failure.with("host", host.as_str()).with("pid", process.pid);
                match run.fate(this, is_alive) {
                    Fate::Gone => Ok(Claim::Orphan(run)),
                    Fate::Alive => Err(named(refused(whose))
                        .hint(format!("wait until it has ended, or end it: `kill {}`", process.pid))),
                    Fate::Elsewhere => {
                        Err(named(refused(format!("{whose}, and whether it still is there cannot be seen from here")))
                            .hint(by_hand))
                    }
                }
            }
            (TaskState::Running, None) => {
                let actor = self.moved.as_ref().and_then(|entry| entry.event.actor());
                let by = actor.map_or_else(String::new, |actor| format!(" by {actor}"));
                Err(refused(format!("{id} is running{by} since {since}, and no run has it")).hint(by_hand))
            }
            (TaskState::Pending | TaskState::Ready | TaskState::Retrying, _) => Ok(Claim::Planned),
            (_, _) => Ok(Claim::Again),
        }
    }

    /// Why an orphan goes back, where so many processes of it were killed.
    pub(crate) fn settled(&self, run: &Run, killed: usize) -> String {
        let left = match killed {
            0 => "nothing of it was left".to_owned(),
            _ => format!(
                "{} of it {} killed",
                count(killed as u64, "process", "processes"),
                if killed == 1 { "was" } else { "were" }
            ),
        };
        let (pid, since) = (run.process.pid, self.since());
        format!("the run that had it (pid {pid}, since {since}) is gone; how it ended is not known; {left}")
    }

    /// All that makes this run the one that has the task, running. It is refused where anybody was faster.
    pub(crate) fn begin(
        &self,
        id: &str,
        meta: &[(String, String)],
        why_back: Option<String>,
        claim: &Claim,
        finish: impl Fn(Event) -> Event,
        this: &Run,
    ) -> Batch {
        let with_meta = |event| each(event, meta, |event, (key, value)| event.meta(key.as_str(), value.as_str()));
        let updated = (!meta.is_empty()).then(|| with_meta(Event::updated()));
        let ready = || Event::to(TaskState::Ready);
        let is_pending = self.task.as_ref().is_some_and(|task| task.record.state == TaskState::Pending);
        let mut events = match claim {
            Claim::New => vec![with_meta(Event::created()), ready()],
            Claim::Again => vec![Event::removed().because("run again"), with_meta(Event::created()), ready()],
            Claim::Planned => updated.into_iter().chain(is_pending.then(ready)).collect(),
            Claim::Orphan(_) => {
                let back = each(Event::requeued(TaskState::Ready), why_back, Event::because);
                [back].into_iter().chain(updated).collect()
            }
        };
        events.push(this.sign(Event::to(TaskState::Running)));
        let mut expect = self.task.as_ref().map_or(Expect::Absent, |task| Expect::Version(task.version));
        let mut batch = Batch::new();
        for event in events {
            batch.push(id, finish(event), std::mem::replace(&mut expect, Expect::Any));
        }
        batch
    }
}
