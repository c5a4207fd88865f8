//! Which event may follow what: every pair of states, and every kind of event where a record begins or has ended.

use serde_json::json;
use taskledger::TaskState::{
    self, Cancelled, Completed, DeadLettered, Failed, Pending, Ready, Retrying, Running, Skipped,
};
use taskledger::{Batch, Error, Event, EventKind, Expect, Ledger, Seq};

use super::program::says;
use super::site::{Site, refuses};

/// The table of docs/events.md.
const TABLE: [(TaskState, &[TaskState]); 9] = [
    (Pending, &[Ready, Skipped, Cancelled]),
    (Ready, &[Running, Skipped, Cancelled]),
    (Running, &[Completed, Failed, Retrying, Cancelled]),
    (Retrying, &[Running, Ready, Failed, DeadLettered, Cancelled]),
    (Failed, &[Retrying, DeadLettered]),
    (Completed, &[]),
    (Cancelled, &[]),
    (Skipped, &[]),
    (DeadLettered, &[]),
];
/// In these a task has ended.
const TERMINAL: [TaskState; 5] = [Completed, Failed, Cancelled, Skipped, DeadLettered];

fn pairs() -> impl Iterator<Item = (TaskState, TaskState)> {
    TABLE.into_iter().flat_map(|(from, _)| TaskState::ALL.map(|to| (from, to)))
}

fn may_move(from: TaskState, to: TaskState) -> bool {
    let (_, targets) = TABLE.into_iter().find(|(state, _)| *state == from).expect("the table has every state");
    targets.contains(&to) || (from == to && !TERMINAL.contains(&from))
}

fn may_requeue(from: TaskState, to: TaskState) -> bool {
    [Running, Retrying].contains(&from) && [Pending, Ready].contains(&to)
}

/// A ledger with one task in each state, named after it; version 1 each.
fn one_in_each_state() -> Site {
    Site::new(|ledger| {
        let mut batch = Batch::new();
        for state in TaskState::ALL {
            batch.push(state.name(), Event::observed(state), Expect::Absent);
        }
        ledger.commit(batch).unwrap();
    })
}

fn assert_illegal(
    error: &Error,
    task: &str,
    event: EventKind,
    (from, to): (Option<TaskState>, Option<TaskState>),
    why: &str,
) {
    let Error::Illegal { subject, event: kind, from: before, to: after, reason } = error else { panic!("{error:?}") };
    assert_eq!((subject.task(), *kind, *before, *after, *reason), (Some(task), event, from, to, why));
    assert_eq!(error.code(), "ILLEGAL");
    let to = to.map_or(String::new(), |to| format!(" to {to}"));
    let from = from.map_or(String::new(), |from| format!(" from {from}"));
    assert_eq!(error.to_string(), format!("{task}: {event}{to} is refused{from}: {why}"));
}

#[test]
fn each_move_that_the_table_does_not_allow_is_refused_and_each_other_is_taken() {
    let site = one_in_each_state();
    let ledger = site.open();
    let refused: Vec<_> = pairs().filter(|&(from, to)| !may_move(from, to)).collect();
    assert_eq!(refused.len(), 81 - 17 - 4);
    for &(from, to) in &refused {
        let why = if from == to {
            "the task has ended in that state already"
        } else {
            "the table of moves does not allow it"
        };
        let error = refuses(&ledger, &site.dir, |ledger| ledger.append(from.name(), Event::to(to)));
        assert_illegal(&error, from.name(), EventKind::Transitioned, (Some(from), Some(to)), why);
    }
    ledger.close().unwrap();
    for (from, to) in refused {
        let line = json!({"task": from, "event": "transitioned", "to": to, "version": 2});
        let error = site.refuses_line("ILLEGAL", &line);
        assert_eq!((&error["task"], &error["from"], &error["to"]), (&json!(from), &json!(from), &json!(to)), "{error}");
        says(error["message"].as_str().unwrap(), &[&format!("{from}: transitioned to {to} is refused from {from}: ")]);
    }
    let ledger = site.open();
    for (from, to) in pairs().filter(|&(from, to)| may_move(from, to)) {
        let task = format!("{from} to {to}");
        ledger.append(&*task, Event::observed(from)).unwrap();
        ledger.append(&*task, Event::to(to)).unwrap_or_else(|error| panic!("{error}"));
    }
    drop(ledger);
    site.goes_on();
}

#[test]
fn only_running_and_retrying_tasks_are_requeued_and_only_to_pending_or_ready() {
    let site = one_in_each_state();
    let ledger = site.open();
    for (from, to) in pairs().filter(|&(from, to)| !may_requeue(from, to)) {
        let why = if [Running, Retrying].contains(&from) {
            "a task is requeued to pending or ready"
        } else {
            "only a running or retrying task can be requeued"
        };
        let error = refuses(&ledger, &site.dir, |ledger| ledger.append(from.name(), Event::requeued(to)));
        assert_illegal(&error, from.name(), EventKind::Requeued, (Some(from), Some(to)), why);
    }
    ledger.close().unwrap();
    // Each state once as the one before, and each once as the one after.
    let each_once = |&(from, to): &(TaskState, TaskState)| from == Running || to == Pending;
    for (from, to) in pairs().filter(|&(from, to)| !may_requeue(from, to)).filter(each_once) {
        let line = json!({"task": from, "event": "requeued", "to": to, "version": 2});
        let error = site.refuses_line("ILLEGAL", &line);
        assert_eq!((&error["from"], &error["to"]), (&json!(from), &json!(to)), "{error}");
        says(error["message"].as_str().unwrap(), &["requeued"]);
    }
    site.goes_on();
}

/// An event of each kind, its name, and whether it may start a record.
fn one_of_each_kind() -> [(Event, bool); 6] {
    [
        (Event::created(), true),
        (Event::observed(Running), true),
        (Event::to(Ready), false),
        (Event::updated(), false),
        (Event::requeued(Ready), false),
        (Event::removed(), false),
    ]
}

/// Where there is no live record, each kind of event meets the same rule.
fn assert_start_rules(fill: impl Fn(&Ledger), version: u64) {
    let site = Site::new(&fill);
    for (event, starts) in one_of_each_kind() {
        let (kind, to) = (event.kind(), event.state());
        let line = json!({"task": "a", "event": kind.name(), "to": to, "version": version + 1});
        if starts {
            let fresh = Site::new(&fill);
            let receipt = fresh.open().append("a", event).unwrap();
            assert_eq!(receipt.version(), version + 1, "{kind}");
            fresh.goes_on();
        } else {
            let why = "there is no such task; a record starts with created or observed";
            let error = site.refuses(|ledger| ledger.append("a", event));
            assert_illegal(&error, "a", kind, (None, to), why);
            let told = site.refuses_line("ILLEGAL", &line);
            assert_eq!(
                (&told["task"], told.get("from"), told.get("to")),
                (&json!("a"), None, to.map(|to| json!(to)).as_ref())
            );
            says(told["message"].as_str().unwrap(), &[&format!("a: {kind}"), why]);
        }
    }
    site.goes_on();
}

#[test]
fn only_created_and_observed_start_a_record_of_a_task_that_never_was() {
    assert_start_rules(|_| (), 0);
}

#[test]
fn only_created_and_observed_start_a_record_of_a_task_that_was_removed() {
    let removed = |ledger: &Ledger| {
        ledger.append("a", Event::created()).unwrap();
        ledger.append("a", Event::removed()).unwrap();
    };
    assert_start_rules(removed, 2);
}

#[test]
fn a_live_task_is_not_created_again_in_any_state() {
    let site = one_in_each_state();
    for state in TaskState::ALL {
        let error = site.refuses(|ledger| ledger.append(state.name(), Event::created()));
        assert_illegal(
            &error,
            state.name(),
            EventKind::Created,
            (Some(state), Some(Pending)),
            "the task exists already",
        );
        let told = site.refuses_line("ILLEGAL", &json!({"task": state, "event": "created", "version": 2}));
        assert_eq!((&told["task"], &told["from"]), (&json!(state), &json!(state)));
        says(told["message"].as_str().unwrap(), &["created to pending is refused", "the task exists already"]);
    }
    site.goes_on();
}

#[test]
fn times_are_stated_by_observed_only_and_a_cause_is_an_earlier_entry() {
    let site = one_in_each_state();
    let why = "only an observed event may state the record's times";
    for (field, event) in [
        ("created_at", Event::updated().created_at(1)),
        ("updated_at", Event::updated().updated_at(1)),
        ("started_at", Event::updated().started_at(Some(1))),
        ("finished_at", Event::updated().finished_at(None)),
    ] {
        let error = site.refuses(|ledger| ledger.append("ready", event));
        assert_illegal(&error, "ready", EventKind::Updated, (Some(Ready), None), why);
        let value = if field == "finished_at" { json!(null) } else { json!(1) };
        let line = json!({"task": "ready", "event": "updated", "version": 2, field: value});
        says(site.refuses_line("ILLEGAL", &line)["message"].as_str().unwrap(), &[why]);
    }
    let why = "its cause is not an earlier entry";
    for cause in [10, 11, u64::MAX] {
        let error = site.refuses(|ledger| ledger.append("ready", Event::updated().cause(Seq(cause))));
        assert_illegal(&error, "ready", EventKind::Updated, (Some(Ready), None), why);
        let line = json!({"task": "ready", "event": "updated", "version": 2, "cause": cause});
        says(site.refuses_line("ILLEGAL", &line)["message"].as_str().unwrap(), &[why]);
    }
    site.open().append("ready", Event::updated().cause(Seq(9))).expect("9 is the entry before");
    site.goes_on();
}
