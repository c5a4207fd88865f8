//! What led from one record to the next, as events, where only the records were seen: pure.
//!
//! A store that is given one record after another sees no transitions. Here they are found: the shortest way by the
//! table of moves, with the steps that nobody stated marked as inferred, each at the time that the record itself holds.
//!
//! Invariant: the events of a plan fold the record before to exactly the record wanted. Limits on sizes are left to
//! whoever appends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::model::entry::Entry;
use crate::model::event::{Change, Event, EventKind};
use crate::model::fold::{Folded, fold};
use crate::model::json::Json;
use crate::model::record::TaskRecord;
use crate::model::rules::decide;
use crate::model::seq::Seq;
use crate::model::state::TaskState;

/// Why a running task went back: whoever ran it is gone, and nobody said so.
const TAKEN_UP_AGAIN: &str = "a later run took the task up again";

/// The events that lead from the record before to the one wanted; none where nothing differs. `None` where no event can
/// carry what differs.
///
/// With `at_own_times` each event states when it happened, by the record's own times. Without, one observed event says
/// it all, and no time is stated: for times that lie ahead of the clock.
pub(crate) fn plan(before: Option<&Folded>, wanted: &Folded, at_own_times: bool) -> Option<Vec<Event>> {
    if before == Some(wanted) {
        return Some(Vec::new());
    }
    let mut candidates: Vec<Vec<Event>> = Vec::new();
    if at_own_times && let Some(mut inferred) = path(before, wanted).map(|path| at_times(path, wanted)) {
        let last = inferred.pop()?;
        if let Some(met) = walk(before, &inferred) {
            let stated = with_fields(last, met.as_ref(), wanted);
            let closing = observed(met.as_ref(), wanted).at(wanted.updated_at);
            candidates.extend([stated, closing].map(|last| [inferred.as_slice(), &[last]].concat()));
        }
    }
    let alone = observed(before, wanted);
    candidates.push(vec![if at_own_times { alone.at(wanted.updated_at) } else { alone }]);
    candidates.into_iter().find(|events| walk(before, events).flatten().as_ref() == Some(wanted))
}

/// A record as the fold keeps it.
pub(crate) fn folded(record: &TaskRecord) -> Folded {
    Folded {
        state: record.state,
        attempts: record.attempts,
        created_at: record.created_at,
        updated_at: record.updated_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        output: record.output.as_ref().map(Json::of),
        error: record.error.as_deref().map(Arc::from),
        metadata: record.metadata.clone().into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
    }
}

/// What the events make of a record; `None` where they may not follow it.
fn walk(before: Option<&Folded>, events: &[Event]) -> Option<Option<Folded>> {
    events.iter().try_fold(before.cloned(), |record, event| {
        let decided = decide(record.as_ref(), event).ok()?;
        let entry = Entry {
            seq: Seq::FIRST,
            task: None,
            note: None,
            version: None,
            at: event.stated.unwrap_or_default(),
            said: None,
            from: decided.from,
            event: Event { attempts: decided.attempts, ..event.clone() },
        };
        fold(record, &entry).ok()
    })
}

/// The kinds and states of the shortest way from the record before to the state wanted.
fn path(before: Option<&Folded>, wanted: &Folded) -> Option<Vec<Event>> {
    let to = wanted.state;
    let started_again = |before: &Folded| {
        (before.state, to) == (TaskState::Running, TaskState::Running)
            && wanted.started_at.is_some()
            && wanted.started_at != before.started_at
    };
    let Some(before) = before else { return moves(Event::created(), TaskState::Pending, to) };
    let from = before.state;
    let goes_back = from.has_executor() && matches!(to, TaskState::Pending | TaskState::Ready) && !from.can_move_to(to);
    if started_again(before) || goes_back {
        return moves(Event::requeued(TaskState::Pending).because(TAKEN_UP_AGAIN), TaskState::Pending, to);
    }
    if from == to {
        return Some(vec![Event::updated()]);
    }
    Some(shortest(from, to)?.into_iter().map(Event::to).collect())
}

/// An event that leads to a state, and the shortest way from there.
fn moves(first: Event, from: TaskState, to: TaskState) -> Option<Vec<Event>> {
    let mut events = vec![first];
    events.extend(shortest(from, to)?.into_iter().map(Event::to));
    Some(events)
}

/// The states to go through by the table of moves; the first of the shortest ways, in the order of the states.
fn shortest(from: TaskState, to: TaskState) -> Option<Vec<TaskState>> {
    let mut ways = VecDeque::from([(from, Vec::new())]);
    let mut seen = vec![from];
    while let Some((state, way)) = ways.pop_front() {
        if state == to {
            return Some(way);
        }
        for next in TaskState::ALL {
            if state.can_move_to(next) && !seen.contains(&next) {
                seen.push(next);
                ways.push_back((next, [way.as_slice(), &[next]].concat()));
            }
        }
    }
    None
}

/// Gives each event its time. The last is the one that was seen; the others are inferred, and a step whose time the
/// record does not hold happened no later than the next one.
fn at_times(mut events: Vec<Event>, wanted: &Folded) -> Vec<Event> {
    let mut time = wanted.updated_at;
    let last = events.len().saturating_sub(1);
    for (n, event) in events.iter_mut().enumerate().rev() {
        let own = match (event.kind, event.to) {
            _ if n == last => None,
            (EventKind::Created, _) => Some(wanted.created_at),
            (EventKind::Transitioned, Some(TaskState::Running)) => wanted.started_at,
            (EventKind::Transitioned, Some(state)) if state.is_terminal() => wanted.finished_at,
            _ => None,
        };
        time = own.unwrap_or(time);
        event.stated = Some(time);
        event.inferred = n != last;
        if event.to == Some(TaskState::Running) {
            event.attempts = Some(wanted.attempts);
        }
    }
    events
}

/// An observed event that carries all that differs, the four times included.
fn observed(from: Option<&Folded>, wanted: &Folded) -> Event {
    with_fields(Event::observed(wanted.state), from, wanted)
        .created_at(wanted.created_at)
        .updated_at(wanted.updated_at)
        .started_at(wanted.started_at)
        .finished_at(wanted.finished_at)
}

/// The event with the fields in which the record that it meets differs from the one wanted.
fn with_fields(mut event: Event, from: Option<&Folded>, wanted: &Folded) -> Event {
    if event.attempts.is_none() && from.map_or(0, |from| from.attempts) != wanted.attempts {
        event.attempts = Some(wanted.attempts);
    }
    if from.and_then(|from| from.output.as_ref()) != wanted.output.as_ref() {
        event.output = Change::from_option(wanted.output.clone());
    }
    if from.and_then(|from| from.error.as_ref()) != wanted.error.as_ref() {
        event.error = Change::from_option(wanted.error.as_deref().map(str::to_owned));
    }
    let had = |key: &str| from.and_then(|from| from.meta(key));
    let set = wanted.metadata.iter().filter(|(key, value)| had(key) != Some(value));
    event.metadata = set.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let unset = from.iter().flat_map(|from| &*from.metadata).filter(|(key, _)| wanted.meta(key).is_none());
    event.metadata.extend(unset.map(|(key, _)| (key.clone(), None)));
    event
}
