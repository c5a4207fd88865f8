//! `LedgerStorage`: dag-executor's store over a ledger. What it takes and gives back, what the history then says, and its
//! executor on it: undisturbed, killed, resumed.

mod exact;
mod history;
mod kill;
mod pruned;
mod refusals;
mod runs;
mod suite;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dag_executor::error::StorageError;
use dag_executor::storage::{Storage, StorageResult};
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{Entry, Error, Ledger, LedgerStorage, Maintenance, Options};

use crate::support::ClockVfs;

/// When the clock of most of these tests stands still.
const NOON: u64 = 1_772_366_400_000;

/// A store over a new ledger in memory, whose clock stands at noon.
fn noon() -> (Arc<ClockVfs>, LedgerStorage) {
    let vfs = ClockVfs::new(MemVfs::new(), NOON);
    let storage = LedgerStorage::new(open(&vfs));
    (vfs, storage)
}

fn open(vfs: &Arc<ClockVfs>) -> Ledger {
    let options = Options::new().vfs(vfs.clone()).maintenance(Maintenance::Manual).segment_size(256 << 10);
    options.open("/runs").unwrap()
}

/// A store over the ledger in this directory, once no child that another test is starting has its lock any more: a fork
/// holds the locks of its parent until it executes something else.
fn in_dir(dir: &Path) -> LedgerStorage {
    let start = Instant::now();
    loop {
        match LedgerStorage::open(dir) {
            Err(Error::Locked { pid: None, .. }) if start.elapsed() < Duration::from_secs(20) => {
                std::thread::yield_now()
            }
            opened => return opened.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

/// A record as dag-executor writes it, pending and created an hour before noon; these fields are other.
fn record(id: &str, fields: Value) -> Value {
    let mut record = json!({
        "id": id, "state": "pending", "attempts": 0, "created_at": NOON - 3_600_000, "updated_at": NOON - 3_600_000,
        "started_at": null, "finished_at": null, "output": null, "error": null, "metadata": {},
    });
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    record.as_object_mut().unwrap().extend(fields);
    record
}

/// A record that entered running at this time.
fn running(id: &str, at: u64) -> Value {
    record(id, json!({"state": "running", "updated_at": at, "started_at": at}))
}

/// The key of a record.
fn key(id: &str) -> String {
    format!("record:{id}")
}

fn history(ledger: &Ledger, id: &str) -> Vec<Entry> {
    ledger.history(id).unwrap().map(Result::unwrap).collect()
}

/// What each entry of a task says, in short: `created?`, `to running`, `requeued pending?` ...; `?` where it is inferred.
fn told(ledger: &Ledger, id: &str) -> Vec<String> {
    let told = |entry: Entry| {
        let event = entry.event;
        let mark = if event.is_inferred() { "?" } else { "" };
        match (event.kind().name(), event.state()) {
            ("transitioned", Some(state)) => format!("to {state}{mark}"),
            ("requeued" | "observed", Some(state)) => format!("{} {state}{mark}", event.kind()),
            (name, _) => format!("{name}{mark}"),
        }
    };
    history(ledger, id).into_iter().map(told).collect()
}

/// Where a storage refuses: this crate's error within.
fn inner(error: &StorageError) -> &taskledger::Error {
    let StorageError::Io(io) = error else { panic!("{error:?} has no error of ours within") };
    io.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

/// A store that remembers what was saved, in order, once it was.
struct Spy<S> {
    inner: S,
    saved: Mutex<Vec<(String, Value)>>,
}

impl<S> Spy<S> {
    fn new(inner: S) -> Spy<S> {
        Spy { inner, saved: Mutex::default() }
    }

    /// All that was saved, in order.
    fn saves(&self) -> Vec<(String, Value)> {
        self.saved.lock().unwrap().clone()
    }

    /// What was saved under a key, in order.
    fn saved(&self, key: &str) -> Vec<Value> {
        let saved = self.saved.lock().unwrap();
        saved.iter().filter(|(saved, _)| saved == key).map(|(_, value)| value.clone()).collect()
    }
}

#[async_trait]
impl<S: Storage> Storage for Spy<S> {
    async fn save(&self, key: &str, value: &Value) -> StorageResult<()> {
        self.inner.save(key, value).await?;
        self.saved.lock().unwrap().push((key.to_owned(), value.clone()));
        Ok(())
    }

    async fn load(&self, key: &str) -> StorageResult<Option<Value>> {
        self.inner.load(key).await
    }

    async fn delete(&self, key: &str) -> StorageResult<()> {
        self.inner.delete(key).await
    }

    async fn list(&self) -> StorageResult<Vec<String>> {
        self.inner.list().await
    }
}

/// Holds that each record that was saved is what the task was after some entry, in order, and that all entries between
/// two of them are marked as inferred.
fn assert_every_save_is_in_the_history(ledger: &Ledger, id: &str, saved: &[Value]) {
    let mut saved = saved.iter().peekable();
    for entry in history(ledger, id) {
        let then = ledger.as_of(taskledger::At::Seq(entry.seq)).unwrap().get(id).unwrap();
        let then = then.map(|task| serde_json::to_value(task.record).unwrap());
        if entry.event.is_inferred() {
            continue;
        }
        let next = saved.next();
        assert_eq!(then.as_ref(), next, "{id} at seq {}: {entry:?}", entry.seq);
        // Saved again without a change: no entry.
        while saved.peek() == Some(&next.unwrap()) {
            saved.next();
        }
    }
    assert_eq!(saved.next(), None, "{id}: saved, and not in the history");
}
