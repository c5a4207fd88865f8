//! fjall: three keyspaces.

use std::path::Path;
use std::time::Instant;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{record, seq_key, state, version_key};
use crate::work::events::{Counts, Payload, Told};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store, machine};

pub struct Fjall;

impl Peer for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn about(&self) -> &'static str {
        "fjall 3.1: events by seq, seqs by task and version, tasks, in one WriteBatch. Block cache: a quarter of the \
         machine's memory (its README, Memory usage), else defaults; durable: WriteBatch::durability(SyncData), relaxed: to the system's \
         buffers (its README, Durability)"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let database = Database::builder(dir).cache_size(machine::memory() / 4).open()?;
        let keyspace = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default);
        let (events, versions, tasks) = (keyspace("events")?, keyspace("versions")?, keyspace("tasks")?);
        let persist = if mode == Mode::Durable { PersistMode::SyncData } else { PersistMode::Buffer };
        Ok(Some(Box::new(Open { database, events, versions, tasks, persist, number: extent.tasks })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["it has no tool: all keyspaces read, which checks the blocks that are on disk"]
    }

    fn check(&self, dir: &Path, _: usize, _: Extent) -> Outcome<Checked> {
        let database = Database::builder(dir).cache_size(machine::memory() / 4).open()?;
        let started = Instant::now();
        let mut events = 0;
        for name in ["events", "versions", "tasks"] {
            for entry in database.keyspace(name, KeyspaceCreateOptions::default)?.iter() {
                entry.into_inner()?;
                events += u64::from(name == "events");
            }
        }
        Ok(Checked { took: started.elapsed(), events: Some(events) })
    }
}

struct Open {
    database: Database,
    events: Keyspace,
    versions: Keyspace,
    tasks: Keyspace,
    persist: PersistMode,
    number: u32,
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(self.persist));
        for event in events {
            let seq = seq_key(event.seq());
            batch.insert(&self.events, seq, event.bytes());
            batch.insert(&self.versions, version_key(event.task(), event.version()), seq);
            batch.insert(&self.tasks, event.task().to_be_bytes(), record(event));
        }
        Ok(batch.commit()?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn counts(&self) -> Outcome<Counts> {
        let mut counts = Counts::default();
        for entry in self.tasks.iter() {
            counts.add(state(&entry.value()?), 1);
        }
        Ok(counts)
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        for entry in self.versions.prefix(task.to_be_bytes()) {
            let event = self.events.get(entry.value()?)?.ok_or("an event is not there")?;
            seen(Payload::read(&event)?.told());
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let mut states = vec![0; self.number as usize];
        for entry in self.events.range(seq_key(0)..=seq_key(seq)) {
            let event = Payload::read(&entry.value()?)?;
            states[event.task() as usize] = event.to();
        }
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
