//! The reference model: a second ledger, in memory, written from the rules and sharing no code with the first.
//!
//! A subject is named as the product's messages name it: a task by its id, a note as `note KEY`.
//!
//! It keeps the entries, and a table of tasks that is nothing but those entries folded one after the other; the past
//! is asked by folding fewer of them. Where the rules leave open which of two broken rules a refusal names, it gives
//! both codes and any of them will do.

mod pruned;
mod rules;
mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::Value;
use taskledger::{TaskRecord, TaskState};

use rules::{is_legal, is_legal_of_note, keys_after};

pub use pruned::RefPrune;
pub use rules::key_of_note;
pub use words::batch_of;

/// How far ahead of the clock a stated time may lie.
const AHEAD_MS: u64 = 5 * 60 * 1000;
/// How many of a task's latest keyed events are remembered.
const WINDOW: usize = 16;
/// How many metadata keys a task may have.
const META_KEYS: usize = 256;

/// What kind of fact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RefKind {
    Created,
    To(TaskState),
    Updated,
    Requeued(TaskState),
    Observed(TaskState),
    Removed,
    Noted,
    /// Of no task: entries have gone.
    Pruned,
}

/// A fact as its caller states it. `Some(None)` takes a field away.
#[derive(Debug, Clone, PartialEq)]
pub struct RefEvent {
    pub kind: RefKind,
    pub inferred: bool,
    pub attempts: Option<u32>,
    pub output: Option<Option<Value>>,
    /// What a note says; of noted only.
    pub value: Option<Value>,
    pub error: Option<Option<String>>,
    pub metadata: BTreeMap<String, Option<String>>,
    pub created: Option<u64>,
    pub updated: Option<u64>,
    pub started: Option<Option<u64>>,
    pub finished: Option<Option<u64>>,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub cause: Option<u64>,
    pub key: Option<String>,
    pub stated: Option<u64>,
}

/// What a caller believes of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum RefExpect {
    Any,
    Absent,
    Exists,
    Version(u64),
    StateIn(Vec<TaskState>),
    Attempt(u32),
}

/// One step of a batch; without an event it only looks.
#[derive(Debug, Clone, PartialEq)]
pub struct RefItem {
    pub task: String,
    pub event: Option<RefEvent>,
    pub expect: RefExpect,
}

/// A fact in its place.
#[derive(Debug, Clone)]
pub struct RefEntry {
    pub seq: u64,
    pub task: String,
    pub version: u64,
    pub at: u64,
    pub said: Option<u64>,
    pub from: Option<TaskState>,
    /// With the attempts that were counted, and without the stated time.
    pub event: RefEvent,
    /// As the caller gave it, without the stated time.
    asked: RefEvent,
    /// The seq of the first entry of its batch.
    batch: u64,
    pub last_of_batch: bool,
}

/// A keyed event that is still remembered.
#[derive(Debug, Clone)]
struct RefKeyed {
    key: String,
    asked: RefEvent,
    batch: u64,
}

/// All that is known of one task.
#[derive(Debug, Clone)]
pub struct RefTask {
    /// `None` once removed.
    pub record: Option<TaskRecord>,
    /// The same of a note: what it says.
    pub value: Option<Value>,
    pub version: u64,
    pub seq: u64,
    pub at: u64,
    pub actor: Option<String>,
    keys: VecDeque<RefKeyed>,
}

/// The place of one event: task, seq, version, at.
pub type RefPlace = (String, u64, u64, u64);

/// What an append came to.
#[derive(Debug, Clone, PartialEq)]
pub struct RefReceipt {
    pub places: Vec<RefPlace>,
    pub replayed: bool,
}

/// Why an append was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum RefRefusal {
    Key,
    Conflict {
        task: String,
        version: u64,
        state: Option<TaskState>,
        seq: u64,
        actor: Option<String>,
        at: u64,
    },
    /// The codes of all the rules that the first offending item breaks.
    Rules(Vec<&'static str>),
}

/// A ledger in memory.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    pub entries: Vec<RefEntry>,
    pub tasks: HashMap<String, RefTask>,
    /// In their order.
    pub prunes: Vec<RefPrune>,
}

/// Where a state may go; nothing is said here about staying.
pub fn moves_from(state: TaskState) -> &'static [TaskState] {
    use TaskState::{Cancelled, Completed, DeadLettered, Failed, Pending, Ready, Retrying, Running, Skipped};
    match state {
        Pending => &[Ready, Skipped, Cancelled],
        Ready => &[Running, Skipped, Cancelled],
        Running => &[Completed, Failed, Retrying, Cancelled],
        Retrying => &[Running, Ready, Failed, DeadLettered, Cancelled],
        Failed => &[Retrying, DeadLettered],
        Completed | Cancelled | Skipped | DeadLettered => &[],
    }
}

fn ends(state: TaskState) -> bool {
    use TaskState::{Cancelled, Completed, DeadLettered, Failed, Skipped};
    [Completed, Failed, Cancelled, Skipped, DeadLettered].contains(&state)
}

impl Reference {
    /// The last seq.
    pub fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The time of the last entry.
    pub fn head_at(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.at)
    }

    /// Appends a batch, all of it or nothing.
    pub fn apply(&mut self, batch: &[RefItem], now: u64) -> Result<RefReceipt, RefRefusal> {
        if let Some(known) = self.known_batch(batch)? {
            let places = self.entries.iter().filter(|entry| entry.batch == known).map(place).collect();
            return Ok(RefReceipt { places, replayed: true });
        }
        let mut after = self.clone();
        let first = self.head() + 1;
        for item in batch {
            after.apply_item(item, now, first)?;
        }
        if let Some(last) = after.entries.last_mut() {
            last.last_of_batch = true;
        }
        let places = after.entries.iter().skip(self.entries.len()).map(place).collect();
        *self = after;
        Ok(RefReceipt { places, replayed: false })
    }

    /// The earlier batch that all keys of this one come from.
    fn known_batch(&self, batch: &[RefItem]) -> Result<Option<u64>, RefRefusal> {
        let mut named = Vec::new();
        for RefItem { task, event, .. } in batch {
            let Some(key) = event.as_ref().and_then(|event| event.key.as_ref()) else { continue };
            if named.contains(&(task, key)) {
                return Err(RefRefusal::Rules(vec!["LIMIT"]));
            }
            named.push((task, key));
        }
        let mut found: Vec<Option<u64>> = Vec::new();
        for RefItem { task, event, .. } in batch {
            let Some((event, key)) = event.as_ref().and_then(|event| Some((event, event.key.as_ref()?))) else {
                continue;
            };
            let keyed = self.tasks.get(task).and_then(|task| task.keys.iter().find(|keyed| keyed.key == *key));
            if keyed.is_some_and(|keyed| keyed.asked != untimed(event)) {
                return Err(RefRefusal::Key);
            }
            found.push(keyed.map(|keyed| keyed.batch));
        }
        let Some(&first) = found.first() else { return Ok(None) };
        if found.iter().any(|&batch| batch != first) {
            return Err(RefRefusal::Key);
        }
        let Some(known) = first else { return Ok(None) };
        let events = batch.iter().filter(|item| item.event.is_some()).count();
        let before = self.entries.iter().filter(|entry| entry.batch == known).count();
        match events == before {
            // The receipt has gone with the entries; that of a single event is remembered with its key.
            true if before > 1 && known < self.oldest() => Err(RefRefusal::Rules(vec!["PRUNED"])),
            true => Ok(first),
            false => Err(RefRefusal::Rules(vec!["KEY", "PRUNED"])),
        }
    }

    fn apply_item(&mut self, item: &RefItem, now: u64, batch: u64) -> Result<(), RefRefusal> {
        let task = self.tasks.get(&item.task);
        let record = task.and_then(|task| task.record.as_ref());
        let value = task.and_then(|task| task.value.as_ref());
        let exists = record.is_some() || value.is_some();
        let version = task.map_or(0, |task| task.version);
        let holds = match &item.expect {
            RefExpect::Any => true,
            RefExpect::Absent => !exists,
            RefExpect::Exists => exists,
            RefExpect::Version(expected) => version == *expected,
            RefExpect::StateIn(states) => record.is_some_and(|record| states.contains(&record.state)),
            RefExpect::Attempt(attempts) => record.is_some_and(|record| record.attempts == *attempts),
        };
        if !holds {
            return Err(RefRefusal::Conflict {
                task: item.task.clone(),
                version,
                state: record.map(|record| record.state),
                seq: task.map_or(0, |task| task.seq),
                actor: task.and_then(|task| task.actor.clone()),
                at: task.map_or(0, |task| task.at),
            });
        }
        let Some(event) = &item.event else { return Ok(()) };
        let seq = self.head() + 1;
        let mut broken = Vec::new();
        if event.stated.is_some_and(|stated| stated > now + AHEAD_MS) {
            broken.push("TIME");
        }
        let legal =
            if key_of_note(&item.task).is_some() { is_legal_of_note(value, event) } else { is_legal(record, event) };
        if event.cause.is_some_and(|cause| cause >= seq) || !legal {
            broken.push("ILLEGAL");
        }
        if event.kind != RefKind::Removed && keys_after(record, event) > META_KEYS {
            broken.push("LIMIT");
        }
        if !broken.is_empty() {
            return Err(RefRefusal::Rules(broken));
        }
        let truly = event.stated.unwrap_or(now);
        let at = truly.max(self.head_at());
        let asked = untimed(event);
        let mut stored = asked.clone();
        let from = record.map(|record| record.state);
        if let (RefKind::To(TaskState::Running), None, Some(record)) = (event.kind, event.attempts, record)
            && record.state != TaskState::Running
        {
            stored.attempts = Some(record.attempts + 1);
        }
        let said = (truly != at).then_some(truly);
        let entry = RefEntry {
            seq,
            task: item.task.clone(),
            version: version + 1,
            at,
            said,
            from,
            event: stored,
            asked,
            batch,
            last_of_batch: false,
        };
        self.fold(&entry);
        self.entries.push(entry);
        Ok(())
    }

    fn fold(&mut self, entry: &RefEntry) {
        let before = self.tasks.remove(&entry.task);
        let (record, mut keys) = before.map_or((None, VecDeque::new()), |task| (task.record, task.keys));
        let of_note = key_of_note(&entry.task).is_some();
        if let Some(key) = &entry.event.key {
            keys.push_back(RefKeyed { key: key.clone(), asked: entry.asked.clone(), batch: entry.batch });
            if keys.len() > WINDOW {
                keys.pop_front();
            }
        }
        let task = RefTask {
            record: if of_note { None } else { fold_record(record, entry) },
            value: entry.event.value.clone().filter(|_| of_note),
            version: entry.version,
            seq: entry.seq,
            at: entry.at,
            actor: entry.event.actor.clone(),
            keys,
        };
        self.tasks.insert(entry.task.clone(), task);
    }

    /// As of a seq: the entries up to it, folded anew.
    pub fn as_of_seq(&self, seq: u64) -> Reference {
        let mut then = Reference { prunes: self.prunes.clone(), ..Reference::default() };
        for entry in self.entries.iter().filter(|entry| entry.seq <= seq) {
            if entry.event.kind != RefKind::Pruned {
                then.fold(entry);
            }
            then.entries.push(entry.clone());
        }
        then
    }

    /// As of a time: after the last entry placed at or before it.
    pub fn as_of_time(&self, millis: u64) -> Reference {
        let last = self.entries.iter().filter(|entry| entry.at <= millis).map(|entry| entry.seq).max();
        self.as_of_seq(last.unwrap_or(0))
    }

    /// Whether its end lies within a batch.
    pub fn ends_within_a_batch(&self) -> bool {
        self.entries.last().is_some_and(|entry| !entry.last_of_batch)
    }

    /// The entries of one task that there still are.
    pub fn history(&self, task: &str) -> Vec<&RefEntry> {
        self.kept().filter(|entry| entry.task == task && entry.event.kind != RefKind::Pruned).collect()
    }

    /// The notes that are there, by key: what each says, and what else is known of it.
    pub fn notes(&self) -> BTreeMap<&str, (&Value, &RefTask)> {
        self.tasks.iter().filter_map(|(name, note)| Some((key_of_note(name)?, (note.value.as_ref()?, note)))).collect()
    }

    /// The live tasks that a test lets through, by id.
    pub fn list(&self, keep: impl Fn(&TaskRecord) -> bool) -> Vec<(&TaskRecord, &RefTask)> {
        let mut tasks: Vec<_> = self.tasks.values().filter_map(|task| Some((task.record.as_ref()?, task))).collect();
        tasks.retain(|(record, _)| keep(record));
        tasks.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        tasks
    }
}

fn place(entry: &RefEntry) -> RefPlace {
    (entry.task.clone(), entry.seq, entry.version, entry.at)
}

fn untimed(event: &RefEvent) -> RefEvent {
    RefEvent { stated: None, ..event.clone() }
}

fn fold_record(before: Option<TaskRecord>, entry: &RefEntry) -> Option<TaskRecord> {
    let event = &entry.event;
    let happened = entry.said.unwrap_or(entry.at);
    if event.kind == RefKind::Removed {
        return None;
    }
    let was = before.as_ref().map(|record| record.state);
    let mut record = before.unwrap_or_else(|| TaskRecord {
        id: entry.task.clone(),
        state: TaskState::Pending,
        attempts: 0,
        created_at: happened,
        updated_at: happened,
        started_at: None,
        finished_at: None,
        output: None,
        error: None,
        metadata: HashMap::new(),
    });
    record.updated_at = happened;
    let entered = match event.kind {
        RefKind::To(to) => Some(to),
        RefKind::Observed(to) if was != Some(to) => Some(to),
        _ => None,
    };
    if let RefKind::To(to) | RefKind::Observed(to) | RefKind::Requeued(to) = event.kind {
        record.state = to;
    }
    if entered == Some(TaskState::Running) {
        record.started_at = Some(happened);
    }
    if entered.is_some_and(ends) {
        record.finished_at = Some(happened);
    }
    if matches!(event.kind, RefKind::Requeued(_)) {
        record.started_at = None;
    }
    if let Some(attempts) = event.attempts {
        record.attempts = attempts;
    }
    if let Some(output) = &event.output {
        record.output = output.clone().filter(|value| !value.is_null());
    }
    if let Some(error) = &event.error {
        record.error.clone_from(error);
    }
    for (key, value) in &event.metadata {
        match value {
            Some(value) => record.metadata.insert(key.clone(), value.clone()),
            None => record.metadata.remove(key),
        };
    }
    record.created_at = event.created.unwrap_or(record.created_at);
    record.updated_at = event.updated.unwrap_or(record.updated_at);
    record.started_at = event.started.unwrap_or(record.started_at);
    record.finished_at = event.finished.unwrap_or(record.finished_at);
    Some(record)
}

impl RefEvent {
    pub fn new(kind: RefKind) -> RefEvent {
        RefEvent {
            kind,
            inferred: false,
            attempts: None,
            output: None,
            value: None,
            error: None,
            metadata: BTreeMap::new(),
            created: None,
            updated: None,
            started: None,
            finished: None,
            actor: None,
            reason: None,
            cause: None,
            key: None,
            stated: None,
        }
    }
}
