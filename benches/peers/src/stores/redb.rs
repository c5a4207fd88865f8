//! redb: three tables.

use std::path::Path;
use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{record, state};
use crate::work::events::{Counts, Payload, Told};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

pub struct Redb;

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const VERSIONS: TableDefinition<'_, (u32, u32), u64> = TableDefinition::new("versions");
const TASKS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("tasks");

fn database(dir: &Path) -> Outcome<Database> {
    Ok(Database::create(dir.join("events.redb"))?)
}

impl Peer for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn about(&self) -> &'static str {
        "redb 4.6: events by seq, seqs by task and version, tasks, in one transaction. Defaults; durable: \
         Durability::Immediate, relaxed: Durability::None, which later durable commits persist (documentation of \
         WriteTransaction::set_durability and of Durability)"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let database = database(dir)?;
        let transaction = database.begin_write()?;
        transaction.open_table(EVENTS)?;
        transaction.open_table(VERSIONS)?;
        transaction.open_table(TASKS)?;
        transaction.commit()?;
        let durability = if mode == Mode::Durable { Durability::Immediate } else { Durability::None };
        Ok(Some(Box::new(Open { database, durability, tasks: extent.tasks })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["Database::check_integrity: checksums of all pages, the allocator's state"]
    }

    fn check(&self, dir: &Path, _: usize, _: Extent) -> Outcome<Checked> {
        let mut database = database(dir)?;
        let started = Instant::now();
        let sound = database.check_integrity()?;
        let took = started.elapsed();
        if sound { Ok(Checked { took, events: None }) } else { Err("it was repaired".into()) }
    }
}

struct Open {
    database: Database,
    durability: Durability,
    tasks: u32,
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, appended: &[Payload]) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut events = transaction.open_table(EVENTS)?;
            let mut versions = transaction.open_table(VERSIONS)?;
            let mut tasks = transaction.open_table(TASKS)?;
            for event in appended {
                events.insert(event.seq(), event.bytes().as_slice())?;
                versions.insert((event.task(), event.version()), event.seq())?;
                tasks.insert(event.task(), record(event))?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// "Commits with this durability level will not be persisted to disk unless followed by a commit with
    /// Durability::Immediate."
    fn sync(&self) -> Outcome<()> {
        Ok(self.database.begin_write()?.commit()?)
    }

    fn counts(&self) -> Outcome<Counts> {
        let tasks = self.database.begin_read()?.open_table(TASKS)?;
        let mut counts = Counts::default();
        for entry in tasks.iter()? {
            counts.add(state(entry?.1.value()), 1);
        }
        Ok(counts)
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let transaction = self.database.begin_read()?;
        let (events, versions) = (transaction.open_table(EVENTS)?, transaction.open_table(VERSIONS)?);
        for entry in versions.range((task, 0)..=(task, u32::MAX))? {
            let event = events.get(entry?.1.value())?.ok_or("an event is not there")?;
            seen(Payload::read(event.value())?.told());
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let events = self.database.begin_read()?.open_table(EVENTS)?;
        let mut states = vec![0; self.tasks as usize];
        for entry in events.range(..=seq)? {
            let entry = entry?;
            let event = Payload::read(entry.1.value())?;
            states[event.task() as usize] = event.to();
        }
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.database.close()?)
    }
}
