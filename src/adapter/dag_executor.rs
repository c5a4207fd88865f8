//! `LedgerStorage`: the store of dag-executor 0.1.0 over a ledger, with the history that its own stores lose.
//!
//! A value under `record:ID` that is a record becomes events of the task ID; any other value is a note under its key. A
//! record that events cannot carry exactly is kept whole as a note, in one batch with the move.
//!
//! Invariants:
//! - `load` gives the value that was saved last, equal as JSON: that of the task or of the note, whichever is newer by seq.
//! - Saves and deletes expect what they were decided on, and are decided anew where another came between.
//! - Nothing but memory is touched on an async thread. What waits for the disk runs in tokio's pool for blocking work, and
//!   to its end, also where nobody awaits it any more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use dag_executor::error::StorageError;
use dag_executor::storage::{Storage, StorageResult};
use serde::Deserialize;
use serde_json::Value;

use crate::adapter::plan::{folded, plan};
use crate::error::{Error, Result};
use crate::ledger::batch::Batch;
use crate::ledger::handle::Ledger;
use crate::ledger::view::bad_json;
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::fold::Folded;
use crate::model::limits;
use crate::model::record::TaskRecord;
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::Realm;
use crate::storage::table::record::Class;

/// What the keys of records begin with.
const RECORD: &str = "record:";
/// Longest key that dag-executor's own stores take, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Said of a move whose record is more than events can carry.
const KEPT_WHOLE: &str = "events cannot carry all of the record; the note under its key has it whole";
/// Where an error text goes on in the note.
const CUT: &str = " ... (the note has the rest)";

/// A store for [dag-executor](https://docs.rs/dag-executor/0.1.0) over a [`Ledger`]: its executor runs on it as on its
/// own `FileStorage`, and every transition that it reports stays in the ledger's history.
///
/// Needs the feature `dag-executor`. A record (`record:ID`) is the task `ID`; what else is saved (`dlq:ID`, checkpoints
/// under `state:ID`, any key of your own) is a note under its key. `load` gives back what was saved last, equal as JSON.
/// With the default [`Durability::Sync`](crate::Durability::Sync) a save that returned survives a power cut, and concurrent
/// saves share a sync.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let runs = dir.path().join("runs");
/// use std::sync::Arc;
/// use dag_executor::prelude::{BasicTask, Dag, DagExecutor};
/// use taskledger::{LedgerStorage, TaskState};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let storage = Arc::new(LedgerStorage::open(&runs)?);
/// let mut dag = Dag::new();
/// dag.add_task(Arc::new(BasicTask::new("extract", |_| async { Ok(serde_json::json!({"rows": 100})) })))?;
/// let executor = DagExecutor::builder().storage(storage.clone()).build();
/// assert!(executor.run(dag).await?.is_success());
///
/// let moves = storage.ledger().history("extract")?.map(|entry| Ok(entry?.event.state()));
/// let moves: Vec<_> = moves.collect::<taskledger::Result<_>>()?;
/// assert_eq!(moves.last(), Some(&Some(TaskState::Completed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LedgerStorage {
    ledger: Ledger,
}

impl LedgerStorage {
    /// A store over the ledger in this directory, which is created where nothing is yet. The directory's parent must
    /// exist. For options, open a [`Ledger`] and use [`LedgerStorage::new`].
    ///
    /// # Errors
    /// As [`Ledger::open`]. Damage is found here, before any task runs: an executor takes a record that it cannot load for
    /// one that is not there, and would run a completed task again.
    pub fn open(dir: impl AsRef<Path>) -> Result<LedgerStorage> {
        Ok(LedgerStorage::new(Ledger::open(dir)?))
    }

    /// A store over this ledger, which may hold other tasks and be used beside it.
    #[must_use]
    pub fn new(ledger: Ledger) -> LedgerStorage {
        LedgerStorage { ledger }
    }

    /// The ledger: its history, lists, counts and the past.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Does what waits for the disk where blocking is allowed.
    async fn blocking(&self, work: impl FnOnce(&Ledger) -> Result<()> + Send + 'static) -> StorageResult<()> {
        let ledger = self.ledger.clone();
        let done = tokio::task::spawn_blocking(move || work(&ledger)).await;
        done.map_err(|join| StorageError::Io(io::Error::other(join)))?.map_err(refused)
    }
}

/// Errors: [`StorageError::InvalidKey`] for a key that is empty or longer than 1024 bytes; else [`StorageError::Io`], whose
/// inner error is the [`Error`] of this crate: `io.get_ref()?.downcast_ref::<taskledger::Error>()`.
#[async_trait]
impl Storage for LedgerStorage {
    /// Durable when it returns (written, with [`Durability::Buffered`](crate::Durability)). Saving a record again that
    /// equals the one there appends nothing. Refused are only values that no note takes: over 12 MiB of JSON text, or
    /// nested more than 127 deep.
    async fn save(&self, key: &str, value: &Value) -> StorageResult<()> {
        check_key(key)?;
        let (key, value) = (key.to_owned(), value.clone());
        self.blocking(move |ledger| save(ledger, &key, &value)).await
    }

    async fn load(&self, key: &str) -> StorageResult<Option<Value>> {
        check_key(key)?;
        let found = look(&self.ledger, key).map_err(refused)?;
        let value = match found.newer_note() {
            Some(note) => note.value().map(|value| value.parse().map_err(|message| (note.seq, message))),
            None => found.record(key).transpose().map(|record| record.map(|record| serde_json::json!(record))),
        };
        value.transpose().map_err(|bad| refused(bad_json(&self.ledger.core().dir, bad.0, &bad.1)))
    }

    async fn delete(&self, key: &str) -> StorageResult<()> {
        check_key(key)?;
        let key = key.to_owned();
        self.blocking(move |ledger| delete(ledger, &key)).await
    }

    async fn list(&self) -> StorageResult<Vec<String>> {
        keys(&self.ledger).map_err(refused)
    }
}

fn check_key(key: &str) -> StorageResult<()> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StorageError::InvalidKey(key.to_owned()));
    }
    Ok(())
}

/// The coordinates of damage are worth more than its name, so that it is no `ChecksumMismatch`, which has room for a key.
fn refused(error: Error) -> StorageError {
    StorageError::Io(io::Error::other(error))
}

/// The task that a key names.
fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix(RECORD)
}

/// What there is under a key, as of one moment; also of what was removed.
struct Found {
    task: Option<Arc<Slot>>,
    note: Option<Arc<Slot>>,
}

fn look(ledger: &Ledger, key: &str) -> Result<Found> {
    ledger.core().ask(&|tasks| {
        let task = match id_of(key) {
            Some(id) => tasks.slot(Realm::Tasks, id)?,
            None => None,
        };
        Ok(Found { task, note: tasks.slot(Realm::Notes, key)? })
    })
}

impl Found {
    /// The live note, where it is newer than the last entry of the task.
    fn newer_note(&self) -> Option<&Slot> {
        let last = self.task.as_ref().map_or(Seq::ZERO, |task| task.seq);
        self.note.as_deref().filter(|note| note.live.is_some() && note.seq > last)
    }

    /// The live record.
    ///
    /// # Errors
    /// The parser's message and the seq, where a stored output is no JSON.
    fn record(&self, key: &str) -> Result<Option<TaskRecord>, (Seq, String)> {
        let Some((task, id)) = self.task.as_deref().zip(id_of(key)) else { return Ok(None) };
        let record = task.record().map(|record| record.to_record(id)).transpose();
        record.map_err(|message| (task.seq, message))
    }

    /// The version of the task, or of the note, where it is live.
    fn version(slot: &Option<Arc<Slot>>) -> Option<u64> {
        slot.as_ref().filter(|slot| slot.live.is_some()).map(|slot| slot.version)
    }
}

/// The keys under which something is loaded.
fn keys(ledger: &Ledger) -> Result<Vec<String>> {
    ledger.core().ask(&|tasks| {
        let mut keys = Vec::new();
        for known in tasks.walk(None, Class::LIVE_TASKS | Class::NOTE.bit()) {
            let known = known?;
            let key = known.key();
            if known.class().realm() == Realm::Tasks {
                keys.push(format!("{RECORD}{key}"));
                continue;
            }
            // A record that has a note, too, is listed already; a note that is older than the removal of its task is no more.
            let task = match id_of(key) {
                Some(id) => tasks.slot(Realm::Tasks, id)?,
                None => None,
            };
            let note = known.slot()?;
            if task.is_none_or(|task| task.live.is_none() && task.seq < note.seq) {
                keys.push(key.to_string());
            }
        }
        // Ids and keys that others appended may be longer than those that can be loaded here.
        keys.retain(|key| check_key(key).is_ok());
        Ok(keys)
    })
}

/// The ways to keep a value, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As events that carry the record exactly.
    Events,
    /// Whole as a note, and the events that carry what fits.
    NoteAndEvents,
    /// Whole as a note, and the move with its times.
    NoteAndMove,
    /// Whole as a note.
    Note,
}

fn save(ledger: &Ledger, key: &str, value: &Value) -> Result<()> {
    let record = id_of(key).and_then(|id| Some((id, TaskRecord::deserialize(value).ok()?)));
    let mut way = match &record {
        Some((id, record)) if record.id == *id && serde_json::json!(record) == *value => Way::Events,
        Some(_) => Way::NoteAndEvents,
        None => Way::Note,
    };
    let record = record.map(|(id, record)| (id, folded(&record)));
    let mut at_own_times = true;
    loop {
        let found = look(ledger, key)?;
        let appended = match batch(&found, key, value, record.as_ref(), way, at_own_times) {
            Some(batch) if batch.is_empty() => return Ok(()),
            Some(batch) => ledger.commit(batch).map(|_| ()),
            None => {
                Err(Error::Limit { subject: None, what: "record", problem: "is more than events carry".to_owned() })
            }
        };
        match appended {
            // Somebody else saved it meanwhile.
            Err(Error::Conflict { .. }) => {}
            Err(Error::Time { .. }) if at_own_times => at_own_times = false,
            Err(Error::Limit { .. }) if way == Way::Events => way = Way::NoteAndEvents,
            Err(Error::Limit { .. }) if way == Way::NoteAndEvents => way = Way::NoteAndMove,
            Err(Error::Limit { .. }) if way == Way::NoteAndMove => way = Way::Note,
            ended => return ended,
        }
    }
}

/// What a save appends; `None` where this way does not lead there.
fn batch(
    found: &Found,
    key: &str,
    value: &Value,
    record: Option<&(&str, Folded)>,
    way: Way,
    at_own_times: bool,
) -> Option<Batch> {
    let mut batch = Batch::new();
    if let Some((id, wanted)) = record.filter(|_| way != Way::Note) {
        let before = found.task.as_ref().and_then(|task| task.record());
        let mut events = match way {
            Way::NoteAndEvents => plan(before, &what_fits(wanted), at_own_times),
            Way::NoteAndMove => plan(before, &move_only(wanted), at_own_times),
            _ => plan(before, wanted, at_own_times),
        }?;
        if let Some(last) = events.last_mut().filter(|_| way != Way::Events) {
            *last = last.clone().because(KEPT_WHOLE);
        }
        batch.check(*id, Found::version(&found.task).map_or(Expect::Absent, Expect::Version));
        for event in events {
            batch.push(*id, event, Expect::Any);
        }
    }
    if way != Way::Events {
        // After the move, so that it is newer.
        batch.push_note(key, Event::noted_text(&value.to_string()), Expect::Any);
    } else if let Some(version) = Found::version(&found.note) {
        batch.push_note(key, Event::removed(), Expect::Version(version));
    }
    Some(batch)
}

/// The record without what is over a limit; of an error that is too long, the beginning.
fn what_fits(record: &Folded) -> Folded {
    let mut fitting = record.clone();
    fitting.output.take_if(|output| {
        output.as_str().len() > limits::OUTPUT_BYTES_MAX || output.check(limits::OUTPUT_DEPTH_MAX).is_err()
    });
    if let Some(error) = fitting.error.as_mut().filter(|error| error.len() > limits::ERROR_BYTES_MAX) {
        let most = limits::ERROR_BYTES_MAX - CUT.len();
        let end = (0..=most).rev().find(|&end| error.is_char_boundary(end)).unwrap_or(0);
        *error = format!("{}{CUT}", error.get(..end).unwrap_or_default()).into();
    }
    let fits = |(key, value): &&(String, String)| {
        (1..=limits::META_KEY_BYTES_MAX).contains(&key.len()) && value.len() <= limits::META_VALUE_BYTES_MAX
    };
    fitting.metadata = fitting.metadata.iter().filter(fits).cloned().collect();
    fitting
}

/// The record without output, error and metadata.
fn move_only(record: &Folded) -> Folded {
    Folded { output: None, error: None, metadata: Arc::default(), ..record.clone() }
}

fn delete(ledger: &Ledger, key: &str) -> Result<()> {
    loop {
        let found = look(ledger, key)?;
        let mut batch = Batch::new();
        if let Some((id, version)) = id_of(key).zip(Found::version(&found.task)) {
            batch.push(id, Event::removed(), Expect::Version(version));
        }
        if let Some(version) = Found::version(&found.note) {
            batch.push_note(key, Event::removed(), Expect::Version(version));
        }
        if batch.is_empty() {
            return Ok(());
        }
        match ledger.commit(batch) {
            Err(Error::Conflict { .. }) => {}
            ended => return ended.map(|_| ()),
        }
    }
}
