//! taskledger: what the ledger is asked for each piece of the work.
//!
//! It is told the task's id, the event (created, or the state that the task moves to), the time, and the text as the
//! event's output. Seq, version, the state before and the attempt it finds out by itself, and they must come to those of
//! the script. So its record of a task also keeps the last text, which the tables of its peers do not.

use std::path::Path;
use std::time::{Duration, Instant};

use taskledger::{
    At, Batch, Change, Durability, Event, Expect, Filter, Ledger, Level, Options, Seq, TaskState, Verdict, verify,
};

use super::events::{Counts, Payload, STATES, Told, id};
use super::{Checked, Extent, Mode, Outcome, Peer, Store, Waiting};

pub struct Taskledger {
    mmap: bool,
}

/// What this name is used for: ratios.
pub const NAME: &str = "taskledger";
/// Buffered, it is synced so often beside the appends: the interval of the library's own example, doubled.
const SYNC_EVERY: Duration = Duration::from_millis(100);

impl Taskledger {
    pub fn new() -> Taskledger {
        Taskledger { mmap: false }
    }

    pub fn mapped() -> Taskledger {
        Taskledger { mmap: true }
    }
}

impl Peer for Taskledger {
    fn name(&self) -> &'static str {
        if self.mmap { "taskledger, mapped" } else { NAME }
    }

    fn takes_part(&self, workload: &str) -> bool {
        !self.mmap || ["W4", "W5", "W6"].contains(&workload)
    }

    fn about(&self) -> &'static str {
        if self.mmap {
            return "the same with Options::mmap(true): look-ups read indexes, snapshots and sealed segments in memory maps";
        }
        "log, index and record of each task (with its last text as output). Defaults; W1 and W2: Durability::Sync; W3 and the \
         store for W4 to W8: Durability::Buffered, synced every 100 ms beside the appends. W4: Ledger::open, as a writer. \
         W6: Ledger::as_of, then the counts, or all tasks by View::list. Settings by its README and the documentation of \
         Options"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let durability = match mode {
            Mode::Durable => Durability::Sync,
            Mode::Relaxed | Mode::Load => Durability::Buffered { sync_every: SYNC_EVERY },
        };
        let ledger = Options::new().durability(durability).mmap(self.mmap).open(dir)?;
        Ok(Some(Box::new(Open { ledger, tasks: extent.tasks })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &[
            "checksums, lengths, order and headers of all frames (verify, structure)",
            "the same; each event decoded, its move legal, its task folded (verify, content)",
        ]
    }

    fn check(&self, dir: &Path, which: usize, _: Extent) -> Outcome<Checked> {
        let started = Instant::now();
        let report = verify(dir, if which == 0 { Level::Structure } else { Level::Content })?;
        let took = started.elapsed();
        if report.verdict() != Verdict::Sound {
            return Err(format!("it finds {:?}", report.findings).into());
        }
        Ok(Checked { took, events: Some(report.checked_to.0) })
    }

    fn log_bytes(&self, dir: &Path) -> Outcome<Option<u64>> {
        Ok(Some(verify(dir, Level::Structure)?.bytes))
    }
}

struct Open {
    ledger: Ledger,
    tasks: u32,
}

fn state(number: u8) -> Outcome<TaskState> {
    TaskState::from_name(STATES[usize::from(number)]).ok_or_else(|| "the script has no such state".into())
}

fn number(state: TaskState) -> u8 {
    STATES.iter().position(|name| *name == state.name()).unwrap_or(0) as u8
}

fn event(event: &Payload) -> Outcome<Event> {
    let said = if event.version() == 1 { Event::created() } else { Event::to(state(event.to())?) };
    Ok(said.at(event.at()).output_text(event.text()))
}

fn counts(counts: &taskledger::Counts) -> Counts {
    let mut by_state = Counts::default();
    for state in TaskState::ALL {
        by_state.add(number(state), counts.of(state));
    }
    by_state
}

impl Store for Open {
    fn append(&self, payload: &Payload) -> Outcome<()> {
        let receipt = self.ledger.append(payload.id(), event(payload)?)?;
        if receipt.version() != u64::from(payload.version()) {
            return Err("the ledger counts versions otherwise".into());
        }
        Ok(())
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut batch = Batch::new();
        for payload in events {
            batch.push(payload.id(), event(payload)?, Expect::Any);
        }
        self.ledger.commit(batch)?;
        Ok(())
    }

    fn submit(&self, payload: &Payload) -> Outcome<Option<Waiting<'_>>> {
        let ticket = self.ledger.submit(payload.id(), event(payload)?)?;
        Ok(Some(Box::new(move || Ok(ticket.wait().map(drop)?))))
    }

    fn sync(&self) -> Outcome<()> {
        self.ledger.sync()?;
        Ok(())
    }

    fn counts(&self) -> Outcome<Counts> {
        Ok(counts(&self.ledger.counts()))
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let mut attempt = 0;
        for entry in self.ledger.history(&id(task))? {
            let entry = entry?;
            // Entries that make it run hold the number.
            attempt = entry.event.attempts_set().unwrap_or(attempt);
            let Change::Set(text) = entry.event.output_change() else { return Err("an output is not there".into()) };
            let version = entry.version.ok_or("an entry of a task has a version")?.try_into()?;
            let to = entry.event.state().map_or(0, number);
            seen(Told { seq: entry.seq.0, at: entry.at, version, to, attempt, text: text.as_str() });
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let view = self.ledger.as_of(At::Seq(Seq(seq)))?;
        let mut states = vec![0; self.tasks as usize];
        let mut after = None;
        loop {
            let filter = Filter::new().limit(10_000);
            let page = view.list(match after {
                Some(token) => filter.after(token),
                None => filter,
            })?;
            for task in &page.tasks {
                let number_of: usize = task.record.id.get(5..12).ok_or("the id is not one of the script")?.parse()?;
                states[number_of] = number(task.record.state);
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(states));
            }
        }
    }

    fn counts_at(&self, seq: u64) -> Outcome<Option<Counts>> {
        Ok(Some(counts(&self.ledger.as_of(At::Seq(Seq(seq)))?.counts())))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.ledger.close()?)
    }
}
