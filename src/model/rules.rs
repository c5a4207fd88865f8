//! Which event may follow what, and within which limits: pure decisions, no clock, no storage.
//!
//! `check_event` looks at an event alone; `decide` at an event and the record it meets, `decide_note` at one and the
//! note. They only say yes or why not.

use crate::model::event::{Change, Event, EventKind, Times};
use crate::model::fold::Folded;
use crate::model::json::{Json, NotJson};
use crate::model::limits;
use crate::model::state::TaskState;
use crate::model::subject::Realm;

/// Something is larger than it may be, or is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverLimit {
    /// What it is: "task id", "output" ...
    pub what: &'static str,
    /// What is wrong with it: "has 1281 bytes, at most 1280 are allowed".
    pub problem: String,
}

/// Why an event may not follow what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The rules of the lifecycle forbid it.
    Illegal(&'static str),
    /// The record would grow over a limit.
    OverLimit(OverLimit),
}

/// What an event comes to once the record it meets is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The state before; `None` where there was no record.
    pub from: Option<TaskState>,
    /// The attempts to store: those given, or those counted.
    pub attempts: Option<u32>,
}

/// Whether `key` can name a task, or a note.
pub(crate) fn check_key_of(realm: Realm, key: &str) -> Result<(), OverLimit> {
    match realm {
        Realm::Tasks => length("task id", key.len(), 1, limits::TASK_ID_BYTES_MAX),
        Realm::Notes => length("note key", key.len(), 1, limits::NOTE_KEY_BYTES_MAX),
    }
}

/// Whether every field of the event is within its limits.
pub(crate) fn check_event(event: &Event) -> Result<(), OverLimit> {
    let text =
        |what, text: &Option<String>, min, max| text.as_ref().map_or(Ok(()), |t| length(what, t.len(), min, max));
    text("actor", &event.actor, 1, limits::ACTOR_BYTES_MAX)?;
    text("key", &event.key, 1, limits::KEY_BYTES_MAX)?;
    text("reason", &event.reason, 0, limits::REASON_BYTES_MAX)?;
    if let Some(error) = event.error.set() {
        length("error", error.len(), 0, limits::ERROR_BYTES_MAX)?;
    }
    if let Some(output) = event.output.set() {
        check_json("output", output, limits::OUTPUT_BYTES_MAX, limits::OUTPUT_DEPTH_MAX)?;
    }
    if let Some(value) = &event.value {
        check_json("value", value, limits::NOTE_VALUE_BYTES_MAX, limits::NOTE_DEPTH_MAX)?;
    }
    if event.metadata.len() > limits::META_KEYS_MAX {
        return Err(too_many_keys(event.metadata.len()));
    }
    for (key, value) in &event.metadata {
        length("metadata key", key.len(), 1, limits::META_KEY_BYTES_MAX)?;
        length("metadata value", value.as_ref().map_or(0, String::len), 0, limits::META_VALUE_BYTES_MAX)?;
    }
    if let Some(cause) = event.cause.filter(|cause| cause.0 == 0) {
        return Err(OverLimit { what: "cause", problem: format!("is {cause}, and entries count from 1") });
    }
    Ok(())
}

fn check_json(what: &'static str, json: &Json, bytes_max: usize, depth_max: usize) -> Result<(), OverLimit> {
    length(what, json.as_str().len(), 1, bytes_max)?;
    json.check(depth_max).map_err(|not| OverLimit {
        what,
        problem: match not {
            NotJson::Depth(depth) => format!("nests {depth} deep, at most {depth_max} are allowed"),
            NotJson::Syntax(message) => format!("is not JSON: {message}"),
        },
    })
}

/// Whether an event of a note has only what a note has: a value, and the context that every event may have.
///
/// # Errors
/// Which rule it breaks.
pub(crate) fn check_note_fields(event: &Event) -> Result<(), &'static str> {
    if !matches!(event.kind, EventKind::Noted | EventKind::Removed) {
        return Err("a note can only be noted and removed");
    }
    let plain = event.to.is_none()
        && !event.inferred
        && event.attempts.is_none()
        && event.output == Change::Keep
        && event.error == Change::Keep
        && event.metadata.is_empty()
        && event.times == Times::default();
    if plain { Ok(()) } else { Err("a note has a value, and none of the fields of a task") }
}

/// Whether the event may follow what is there of a note.
///
/// # Errors
/// Which rule forbids it.
pub(crate) fn decide_note(exists: bool, event: &Event) -> Result<(), &'static str> {
    check_note_fields(event)?;
    if event.kind == EventKind::Removed && !exists { Err("there is no such note") } else { Ok(()) }
}

/// Whether the event may follow what is there, and what it then comes to. `live` is the record it meets.
pub(crate) fn decide(live: Option<&Folded>, event: &Event) -> Result<Decided, Refusal> {
    use Refusal::Illegal;
    if event.kind != EventKind::Observed && event.times != Times::default() {
        return Err(Illegal("only an observed event may state the record's times"));
    }
    if event.kind == EventKind::Noted {
        return Err(Illegal("only a note can be noted"));
    }
    let Some(record) = live else {
        return match event.kind {
            EventKind::Created | EventKind::Observed => {
                check_key_count(None, event)?;
                Ok(Decided { from: None, attempts: event.attempts })
            }
            _ => Err(Illegal("there is no such task; a record starts with created or observed")),
        };
    };
    let from = record.state;
    let mut attempts = event.attempts;
    match (event.kind, event.to) {
        (EventKind::Created, _) => return Err(Illegal("the task exists already")),
        (EventKind::Transitioned, Some(to)) => {
            if from == to && from.is_terminal() {
                return Err(Illegal("the task has ended in that state already"));
            }
            if !from.can_move_to(to) {
                return Err(Illegal("the table of moves does not allow it"));
            }
            if to == TaskState::Running && from != to && attempts.is_none() {
                attempts = Some(record.attempts.saturating_add(1));
            }
        }
        (EventKind::Requeued, Some(to)) => {
            if !from.has_executor() {
                return Err(Illegal("only a running or retrying task can be requeued"));
            }
            if !matches!(to, TaskState::Pending | TaskState::Ready) {
                return Err(Illegal("a task is requeued to pending or ready"));
            }
        }
        (EventKind::Observed, Some(_)) | (EventKind::Updated | EventKind::Removed, None) => {}
        _ => return Err(Illegal("its kind and the state that it states do not go together")),
    }
    if event.kind != EventKind::Removed {
        check_key_count(Some(record), event)?;
    }
    Ok(Decided { from: Some(from), attempts })
}

/// Whether the metadata keys stay within their number once the event is folded.
fn check_key_count(record: Option<&Folded>, event: &Event) -> Result<(), Refusal> {
    let has = |key: &str| record.is_some_and(|record| record.meta(key).is_some());
    let before = record.map_or(0, |record| record.metadata.len());
    let added = event.metadata.iter().filter(|(key, value)| value.is_some() && !has(key)).count();
    let taken = event.metadata.iter().filter(|(key, value)| value.is_none() && has(key)).count();
    let after = before + added - taken;
    if after > limits::META_KEYS_MAX {
        return Err(Refusal::OverLimit(too_many_keys(after)));
    }
    Ok(())
}

fn too_many_keys(keys: usize) -> OverLimit {
    OverLimit { what: "metadata", problem: format!("has {keys} keys, at most {} are allowed", limits::META_KEYS_MAX) }
}

fn length(what: &'static str, bytes: usize, min: usize, max: usize) -> Result<(), OverLimit> {
    if bytes < min {
        return Err(OverLimit { what, problem: "is empty".to_owned() });
    }
    if bytes > max {
        return Err(OverLimit { what, problem: format!("has {bytes} bytes, at most {max} are allowed") });
    }
    Ok(())
}
