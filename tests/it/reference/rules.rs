//! What may follow what, in the model's words.

use serde_json::Value;
use taskledger::{TaskRecord, TaskState};

use super::{RefEvent, RefKind, ends, moves_from};

/// The key of the note that this names.
pub fn key_of_note(subject: &str) -> Option<&str> {
    subject.strip_prefix("note ")
}

/// A note is noted, and removed where it is there; it has none of the fields of a task.
pub(super) fn is_legal_of_note(value: Option<&Value>, event: &RefEvent) -> bool {
    let RefEvent { actor, reason, cause, key, stated, value: says, .. } = event.clone();
    let plain = RefEvent { actor, reason, cause, key, stated, value: says, ..RefEvent::new(event.kind) };
    match event.kind {
        RefKind::Noted => *event == plain,
        RefKind::Removed => *event == plain && value.is_some(),
        _ => false,
    }
}

pub(super) fn is_legal(record: Option<&TaskRecord>, event: &RefEvent) -> bool {
    if matches!(event.kind, RefKind::Noted | RefKind::Pruned) {
        return false;
    }
    let states_times =
        event.created.is_some() || event.updated.is_some() || event.started.is_some() || event.finished.is_some();
    if states_times && !matches!(event.kind, RefKind::Observed(_)) {
        return false;
    }
    let Some(record) = record else { return matches!(event.kind, RefKind::Created | RefKind::Observed(_)) };
    match event.kind {
        RefKind::Created => false,
        RefKind::To(to) if to == record.state => !ends(to),
        RefKind::To(to) => moves_from(record.state).contains(&to),
        RefKind::Requeued(to) => {
            matches!(record.state, TaskState::Running | TaskState::Retrying)
                && matches!(to, TaskState::Pending | TaskState::Ready)
        }
        RefKind::Updated | RefKind::Observed(_) | RefKind::Removed => true,
        RefKind::Noted | RefKind::Pruned => unreachable!("refused above"),
    }
}

pub(super) fn keys_after(record: Option<&TaskRecord>, event: &RefEvent) -> usize {
    let mut keys: Vec<&String> = record.map_or(Vec::new(), |record| record.metadata.keys().collect());
    for (key, value) in &event.metadata {
        keys.retain(|&has| has != key);
        if value.is_some() {
            keys.push(key);
        }
    }
    keys.len()
}
