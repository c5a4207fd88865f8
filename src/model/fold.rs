//! The fold: one entry onto one record. Pure, without a clock, and the only way that a record comes to be.
//!
//! What each kind of event stamps and clears (docs/events.md has the same table for readers):
//! - every kind but `removed` sets `updated_at` to the time it happened, and applies its fields;
//! - `created`, and `observed` where there was no record, set `created_at`;
//! - a move into running sets `started_at`, a move into a terminal state `finished_at`; for `observed` only where
//!   the state changes; a `transitioned` to the same state stamps again;
//! - `requeued` clears `started_at`;
//! - the times that an `observed` event states are set last, so that they win.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::entry::Entry;
use crate::model::event::{Change, EventKind};
use crate::model::json::Json;
use crate::model::record::TaskRecord;
use crate::model::state::TaskState;

/// A record as the fold keeps it: texts are shared, and the output is not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folded {
    pub state: TaskState,
    pub attempts: u32,
    pub created_at: u64,
    pub updated_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
    pub output: Option<Json>,
    pub error: Option<Arc<str>>,
    /// In order of the keys, each once.
    pub metadata: Arc<[(String, String)]>,
}

/// An entry that cannot follow the record it meets; what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfoldable(pub &'static str);

/// Folds one entry onto the record it meets; `None` before or after means that there is no record.
///
/// # Errors
/// The entry needs a record where there is none, or there is one where it needs none, or `from` is not its state.
pub(crate) fn fold(before: Option<Folded>, entry: &Entry) -> Result<Option<Folded>, Unfoldable> {
    let event = &entry.event;
    if entry.from != before.as_ref().map(|record| record.state) {
        return Err(Unfoldable("its earlier state is not the state of the record"));
    }
    let when = entry.happened_at();
    let fresh = |state| Folded {
        state,
        attempts: 0,
        created_at: when,
        updated_at: when,
        started_at: None,
        finished_at: None,
        output: None,
        error: None,
        metadata: Arc::default(),
    };
    let from = entry.from;
    let mut record = match (event.kind, before, event.to) {
        (EventKind::Removed, Some(_), None) => return Ok(None),
        (EventKind::Created, None, Some(TaskState::Pending)) => fresh(TaskState::Pending),
        (EventKind::Observed, None, Some(to)) => fresh(to),
        (EventKind::Transitioned | EventKind::Requeued | EventKind::Observed, Some(record), Some(to)) => {
            Folded { state: to, ..record }
        }
        (EventKind::Updated, Some(record), None) => record,
        _ => return Err(Unfoldable("its kind does not fit the record and state it meets")),
    };
    record.updated_at = when;
    let stamps = match event.kind {
        EventKind::Transitioned => true,
        EventKind::Observed => from != Some(record.state),
        _ => false,
    };
    if stamps && record.state == TaskState::Running {
        record.started_at = Some(when);
    } else if stamps && record.state.is_terminal() {
        record.finished_at = Some(when);
    } else if event.kind == EventKind::Requeued {
        record.started_at = None;
    }
    if let Some(attempts) = event.attempts {
        record.attempts = attempts;
    }
    apply(&mut record.output, &event.output, Json::clone);
    apply(&mut record.error, &event.error, |text| Arc::from(text.as_str()));
    if !event.metadata.is_empty() {
        let mut metadata: BTreeMap<_, _> = record.metadata.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in &event.metadata {
            match value {
                Some(value) => metadata.insert(key, value),
                None => metadata.remove(key),
            };
        }
        record.metadata = metadata.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    }
    record.created_at = event.times.created.unwrap_or(record.created_at);
    record.updated_at = event.times.updated.unwrap_or(record.updated_at);
    apply(&mut record.started_at, &event.times.started, u64::clone);
    apply(&mut record.finished_at, &event.times.finished, u64::clone);
    Ok(Some(record))
}

fn apply<T, U>(field: &mut Option<U>, change: &Change<T>, convert: impl Fn(&T) -> U) {
    match change {
        Change::Keep => {}
        Change::Clear => *field = None,
        Change::Set(value) => *field = Some(convert(value)),
    }
}

impl Folded {
    /// The metadata under a key.
    pub(crate) fn meta(&self, key: &str) -> Option<&str> {
        let found = self.metadata.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.metadata.get(found).map(|(_, value)| value.as_str())
    }

    /// The public record.
    ///
    /// # Errors
    /// The parser's message, where the stored output is no JSON.
    pub(crate) fn to_record(&self, id: &str) -> Result<TaskRecord, String> {
        Ok(TaskRecord {
            id: id.to_owned(),
            state: self.state,
            attempts: self.attempts,
            created_at: self.created_at,
            updated_at: self.updated_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            output: self.output.as_ref().map(Json::parse).transpose()?,
            error: self.error.as_deref().map(str::to_owned),
            metadata: self.metadata.iter().cloned().collect::<HashMap<_, _>>(),
        })
    }
}
