//! SQLite (rusqlite, bundled): a table of events with a unique index, and one of tasks.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use rusqlite::{Connection, params};

use super::{record, state};
use crate::work::events::{Counts, Payload, Told};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

pub struct Sqlite;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events
        (seq INTEGER PRIMARY KEY, task INTEGER NOT NULL, version INTEGER NOT NULL, event BLOB NOT NULL, UNIQUE (task, version));
    CREATE TABLE IF NOT EXISTS tasks (task INTEGER PRIMARY KEY, record BLOB NOT NULL);";

/// `pragma.html`: with WAL, FULL syncs the log after each transaction, so that it survives a power cut; NORMAL syncs at
/// checkpoints only ("WAL mode is always consistent with synchronous=NORMAL, but loses durability"). `cache_size` in KiB
/// where it is negative.
fn connect(dir: &Path, mode: Mode) -> Outcome<Connection> {
    let connection = Connection::open(dir.join("events.sqlite"))?;
    let synchronous = if mode == Mode::Durable { "FULL" } else { "NORMAL" };
    let pragmas = format!("PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA cache_size=-65536;");
    connection.execute_batch(&pragmas)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn about(&self) -> &'static str {
        "rusqlite 0.42, bundled: events (unique by task and version) and tasks in one transaction, prepared statements, 64 MB of \
         cache, journal_mode=WAL; durable: synchronous=FULL, relaxed: NORMAL (sqlite.org: pragma.html, wal.html). One \
         connection behind a mutex, since there is one writer at a time"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let connection = Mutex::new(connect(dir, mode)?);
        Ok(Some(Box::new(Open { connection, tasks: extent.tasks })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["PRAGMA integrity_check: structure and indexes; pages have no checksums"]
    }

    fn check(&self, dir: &Path, _: usize, _: Extent) -> Outcome<Checked> {
        let connection = connect(dir, Mode::Durable)?;
        let started = Instant::now();
        let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let took = started.elapsed();
        if said == "ok" { Ok(Checked { took, events: None }) } else { Err(said.into()) }
    }
}

struct Open {
    connection: Mutex<Connection>,
    tasks: u32,
}

impl Open {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("nobody panics with it")
    }
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        {
            let mut into_events = transaction.prepare_cached("INSERT INTO events VALUES (?, ?, ?, ?)")?;
            let mut into_tasks = transaction.prepare_cached(
                "INSERT INTO tasks VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET record = excluded.record",
            )?;
            for event in events {
                let seq = event.seq() as i64;
                into_events.execute(params![seq, event.task(), event.version(), event.bytes()])?;
                into_tasks.execute(params![event.task(), record(event)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// A checkpoint syncs the log, then the database.
    fn sync(&self) -> Outcome<()> {
        let connection = self.connection();
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn counts(&self) -> Outcome<Counts> {
        let connection = self.connection();
        let mut all = connection.prepare_cached("SELECT record FROM tasks")?;
        let (mut rows, mut counts) = (all.query([])?, Counts::default());
        while let Some(row) = rows.next()? {
            counts.add(state(row.get_ref(0)?.as_blob()?), 1);
        }
        Ok(counts)
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let connection = self.connection();
        let mut of_task = connection.prepare_cached("SELECT event FROM events WHERE task = ? ORDER BY version")?;
        let mut rows = of_task.query([task])?;
        while let Some(row) = rows.next()? {
            seen(Payload::read(row.get_ref(0)?.as_blob()?)?.told());
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let connection = self.connection();
        let mut until = connection.prepare_cached("SELECT event FROM events WHERE seq <= ? ORDER BY seq")?;
        let (mut rows, mut states) = (until.query([seq as i64])?, vec![0; self.tasks as usize]);
        while let Some(row) = rows.next()? {
            let event = Payload::read(row.get_ref(0)?.as_blob()?)?;
            states[event.task() as usize] = event.to();
        }
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        let connection = self.connection.into_inner().expect("nobody panics with it");
        connection.close().map_err(|(_, error)| error.into())
    }
}
