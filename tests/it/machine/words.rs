//! A script in words that a person can read and follow.

use taskledger::vfs::fault::{Effect, Fault, SyncFailure};

use crate::reference::{RefEvent, RefExpect, RefItem, RefKind};

/// The items of a batch, as they were asked for.
pub fn batch(items: &[RefItem]) -> String {
    let items: Vec<String> = items.iter().map(item).collect();
    items.join("; ")
}

fn item(RefItem { task, event, expect }: &RefItem) -> String {
    let mut text = match event {
        Some(event) => format!("{task:?} {}", self::event(event)),
        None => format!("{task:?} is looked at"),
    };
    match expect {
        RefExpect::Any => {}
        expect => text += &format!(", expects {expect:?}"),
    }
    text
}

fn event(event: &RefEvent) -> String {
    let mut text = match event.kind {
        RefKind::Created => "created".to_owned(),
        RefKind::To(state) => format!("to {state}"),
        RefKind::Updated => "updated".to_owned(),
        RefKind::Requeued(state) => format!("requeued to {state}"),
        RefKind::Observed(state) => format!("observed {state}"),
        RefKind::Removed => "removed".to_owned(),
        RefKind::Noted => "noted".to_owned(),
        RefKind::Pruned => "pruned".to_owned(),
    };
    let mut also = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let short: String = value.chars().take(40).collect();
            let rest = if short.len() < value.len() { format!("... of {} bytes", value.len()) } else { String::new() };
            text += &format!(", {name} {short}{rest}");
        }
    };
    also("value", event.value.as_ref().map(ToString::to_string));
    also("output", event.output.as_ref().map(|output| output.as_ref().map_or("cleared".to_owned(), |o| o.to_string())));
    also("error", event.error.as_ref().map(|error| format!("{error:?}")));
    for (key, value) in &event.metadata {
        also("metadata", Some(format!("{key:?}={value:?}")));
    }
    also("attempts", event.attempts.map(|n| n.to_string()));
    also("inferred", event.inferred.then(String::new));
    let times = [event.created, event.updated, event.started.flatten(), event.finished.flatten()];
    for (what, at) in ["created at", "updated at", "started at", "finished at"].into_iter().zip(times) {
        also(what, at.map(|at| at.to_string()));
    }
    also("actor", event.actor.clone());
    also("reason", event.reason.as_ref().map(|reason| format!("{reason:?}")));
    also("cause", event.cause.map(|seq| seq.to_string()));
    also("key", event.key.clone());
    also("stated at", event.stated.map(|at| at.to_string()));
    text
}

/// A call that is going to fail.
pub fn fault(calls: usize, fault: &Fault) -> String {
    let kind = fault.kind.map_or("call".to_owned(), |kind| format!("{kind:?}"));
    let which = match (calls, fault.sticky) {
        (0, false) => format!("the next {kind}"),
        (0, true) => format!("every {kind}"),
        (calls, false) => format!("the first {kind} after {calls} calls"),
        (calls, true) => format!("every {kind} after {calls} calls"),
    };
    let how = match fault.effect {
        Effect::Error => "fails".to_owned(),
        Effect::Late => "does its work, and fails".to_owned(),
        Effect::Short(bytes) => format!("takes {bytes} bytes only, and says so"),
        Effect::ErrorAfter(bytes) => format!("fails after {bytes} bytes"),
        Effect::Sync(SyncFailure::LiveNewDiskOld) => "fails, and the cache keeps what the disk has not".to_owned(),
        Effect::Sync(SyncFailure::LiveOldDiskOld) => "fails, and the file reads as it is on disk".to_owned(),
        Effect::Sync(SyncFailure::ReportedLate) => return format!("{which} says Ok and is lost; the one after tells"),
    };
    let errno = match fault.errno {
        5 => "EIO",
        13 => "EACCES",
        28 => "ENOSPC",
        _ => "another error",
    };
    if matches!(fault.effect, Effect::Short(_)) { format!("{which} {how}") } else { format!("{which} {how} ({errno})") }
}
