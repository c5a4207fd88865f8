//! raft-engine: a group for each task, whose entries are its events, and whose state is the task's record.

use std::path::Path;
use std::time::Instant;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{record, state};
use crate::work::events::{Counts, Payload, Told};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

pub struct RaftEngine;

const RECORD: &[u8] = b"record";

/// An event as an entry: its index is the version.
struct Entry;

impl MessageExt for Entry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        Payload::read(entry.get_value()).map_or(0, |event| event.version().into())
    }
}

/// Groups are numbered from 1.
fn group(task: u32) -> u64 {
    u64::from(task) + 1
}

impl Peer for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn about(&self) -> &'static str {
        "raft-engine 0.4.2: a group for each task, entries by version, the record as the group's state, in one LogBatch; its \
         index of all entries is in memory. Defaults, but no compression (Config::batch_compression_threshold: what is \
         noise does not shrink); durable: write(batch, sync = true), relaxed: sync = false (documentation of Engine::write)"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let dir = dir.to_str().ok_or("the path is not text")?.to_owned();
        let config = Config { dir, batch_compression_threshold: ReadableSize(0), ..Config::default() };
        let engine = Engine::open(config)?;
        Ok(Some(Box::new(Open { engine, syncs: mode == Mode::Durable, tasks: extent.tasks })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["Engine::consistency_check: reads all batches, whether indexes of entries are without holes"]
    }

    fn check(&self, dir: &Path, _: usize, _: Extent) -> Outcome<Checked> {
        let started = Instant::now();
        let found = Engine::consistency_check(dir)?;
        let took = started.elapsed();
        if found.is_empty() { Ok(Checked { took, events: None }) } else { Err(format!("it finds {found:?}").into()) }
    }
}

struct Open {
    engine: Engine,
    syncs: bool,
    tasks: u32,
}

impl Open {
    fn entries(&self, task: u32, read: &mut Vec<BytesValue>) -> Outcome<()> {
        read.clear();
        let group = group(task);
        if let (Some(first), Some(last)) = (self.engine.first_index(group), self.engine.last_index(group)) {
            self.engine.fetch_entries_to::<Entry>(group, first, last + 1, None, read)?;
        }
        Ok(())
    }
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut batch = LogBatch::with_capacity(2 * events.len());
        for event in events {
            let mut entry = BytesValue::new();
            entry.set_value(event.bytes().to_vec());
            batch.add_entries::<Entry>(group(event.task()), &[entry])?;
            batch.put(group(event.task()), RECORD.to_vec(), record(event).to_vec())?;
        }
        self.engine.write(&mut batch, self.syncs)?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.engine.sync()?)
    }

    fn counts(&self) -> Outcome<Counts> {
        let mut counts = Counts::default();
        for group in self.engine.raft_groups() {
            counts.add(state(&self.engine.get(group, RECORD).ok_or("a record is not there")?), 1);
        }
        Ok(counts)
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let mut entries = Vec::new();
        self.entries(task, &mut entries)?;
        for entry in &entries {
            seen(Payload::read(entry.get_value())?.told());
        }
        Ok(true)
    }

    /// There is no order over all groups: each is read.
    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let (mut states, mut entries) = (vec![0; self.tasks as usize], Vec::new());
        for task in 0..self.tasks {
            self.entries(task, &mut entries)?;
            for entry in &entries {
                let event = Payload::read(entry.get_value())?;
                if event.seq() > seq {
                    break;
                }
                states[task as usize] = event.to();
            }
        }
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
