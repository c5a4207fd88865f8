//! dag-executor's own `FileStorage`: one file of JSON for each task, and no history.

use std::path::Path;
use std::time::Instant;

use dag_executor::state::{TaskRecord, TaskState};
use dag_executor::storage::{Durability, FileStorage, Storage};
use tokio::runtime::{Builder, Runtime};

use crate::work::events::{Counts, Payload, STATES};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

/// Its three modes: Durable and Fast as one peer's durable and relaxed mode, Atomic by itself, as a relaxed one.
pub struct DagExecutor {
    durable: Option<Durability>,
    relaxed: Durability,
}

impl DagExecutor {
    pub fn durable_and_fast() -> DagExecutor {
        DagExecutor { durable: Some(Durability::Durable), relaxed: Durability::Fast }
    }

    pub fn atomic() -> DagExecutor {
        DagExecutor { durable: None, relaxed: Durability::Atomic }
    }
}

fn open(dir: &Path, durability: Durability) -> Outcome<Open> {
    let files = FileStorage::open_with(dir, durability)?;
    Ok(Open { files, runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build()? })
}

impl Peer for DagExecutor {
    fn name(&self) -> &'static str {
        if self.durable.is_some() { "dag-executor" } else { "dag-executor, Atomic" }
    }

    fn about(&self) -> &'static str {
        if self.durable.is_none() {
            return "the same with Durability::Atomic in W3: each record written beside, then renamed";
        }
        "FileStorage of dag-executor 0.1.0: the task's record as a file of JSON, and no history. Durable: Durability::Durable, \
         relaxed: Durability::Fast, written in place (documentation of Durability). The record has the event's text as \
         output. The store for W4 to W8 has each task saved once"
    }

    fn takes_part(&self, workload: &str) -> bool {
        self.durable.is_some() || workload == "W3"
    }

    fn open(&self, dir: &Path, mode: Mode, _: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let durability = if mode == Mode::Durable { self.durable } else { Some(self.relaxed) };
        let Some(durability) = durability else { return Ok(None) };
        Ok(Some(Box::new(open(dir, durability)?)))
    }

    fn has_batches(&self) -> bool {
        false
    }

    fn keeps_events(&self) -> bool {
        false
    }

    fn checks(&self) -> &'static [&'static str] {
        &["it has no tool: all records loaded, which checks the SHA-256 of each"]
    }

    fn check(&self, dir: &Path, _: usize, _: Extent) -> Outcome<Checked> {
        let open = open(dir, Durability::Fast)?;
        let started = Instant::now();
        open.counts()?;
        Ok(Checked { took: started.elapsed(), events: None })
    }
}

struct Open {
    files: FileStorage,
    runtime: Runtime,
}

fn state(number: u8) -> Outcome<TaskState> {
    Ok(serde_json::from_value(STATES[usize::from(number)].into())?)
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        let mut record = TaskRecord::new(event.id());
        record.state = state(event.to())?;
        record.attempts = event.attempt();
        record.updated_at = event.at();
        record.output = Some(serde_json::from_str(event.text())?);
        let value = serde_json::to_value(&record)?;
        Ok(self.runtime.block_on(self.files.save(event.id(), &value))?)
    }

    fn append_all(&self, _: &[Payload]) -> Outcome<()> {
        Err("it has no batches".into())
    }

    /// Of what is not durable it can make nothing durable; a sync of all file systems can.
    fn sync(&self) -> Outcome<()> {
        rustix::fs::sync();
        Ok(())
    }

    fn counts(&self) -> Outcome<Counts> {
        self.runtime.block_on(async {
            let mut counts = Counts::default();
            for key in self.files.list().await? {
                let value = self.files.load(&key).await?.ok_or("a record is not there")?;
                let state = value.get("state").and_then(|state| state.as_str()).ok_or("it has no state")?;
                let number = STATES.iter().position(|name| *name == state).ok_or("its state is unknown")?;
                counts.add(number as u8, 1);
            }
            Ok(counts)
        })
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}
