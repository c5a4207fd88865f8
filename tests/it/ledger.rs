//! What the ledger promises to those who call it, one rule each.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{
    At, Batch, Entry, Error, Event, Expect, Filter, Ledger, Level, Maintenance, Options, Seq, Task, TaskState, Verdict,
    limits, verify,
};

use crate::support::{AtEnd, ClockVfs};

const NOON: u64 = 1_772_366_400_000;
const DIR: &str = "/runs";

/// A new ledger in memory, with a clock that stands at noon.
fn noon() -> (Ledger, Arc<ClockVfs>) {
    let vfs = ClockVfs::new(MemVfs::new(), NOON);
    (open(&vfs), vfs)
}

fn open(vfs: &Arc<ClockVfs>) -> Ledger {
    options(vfs).open(DIR).expect("it can be opened")
}

fn options(vfs: &Arc<ClockVfs>) -> Options {
    Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).vfs(Arc::clone(vfs) as _)
}

fn reopened(ledger: Ledger, vfs: &Arc<ClockVfs>) -> Ledger {
    drop(ledger);
    open(vfs)
}

fn task(ledger: &Ledger, id: &str) -> Task {
    ledger.get(id).unwrap().unwrap_or_else(|| panic!("{id} is there"))
}

fn history(ledger: &Ledger, id: &str) -> Vec<Entry> {
    ledger.history(id).unwrap().map(|entry| entry.unwrap()).collect()
}

fn run(ledger: &Ledger, id: &str, states: &[TaskState]) {
    ledger.append(id, Event::created()).unwrap();
    for &state in states {
        ledger.append(id, Event::to(state)).unwrap();
    }
}

fn batch<const N: usize>(items: [(&str, Event, Expect); N]) -> Batch {
    let mut batch = Batch::new();
    for (task, event, expect) in items {
        batch.push(task, event, expect);
    }
    batch
}

/// The code of a refusal that has changed nothing: no seq taken, nothing to see, not even after opening anew.
fn refused<T: std::fmt::Debug>(ledger: &Ledger, attempt: impl FnOnce() -> taskledger::Result<T>) -> Error {
    let before = (ledger.head(), ledger.counts(), ledger.list(Filter::new()).unwrap().tasks);
    let error = attempt().expect_err("it is refused");
    assert_eq!((ledger.head(), ledger.counts(), ledger.list(Filter::new()).unwrap().tasks), before, "{error}");
    error
}

// Receipts.

#[test]
fn a_receipt_names_seq_version_and_time() {
    let (ledger, vfs) = noon();
    let first = ledger.append("a", Event::created()).unwrap();
    vfs.set(NOON + 5);
    let other = ledger.append("b", Event::created()).unwrap();
    let second = ledger.append("a", Event::to(TaskState::Ready)).unwrap();
    let places = [first, other, second].map(|got| (got.seq().0, got.version(), got.at(), got.replayed()));
    assert_eq!(places, [(1, 1, NOON, false), (2, 1, NOON + 5, false), (3, 2, NOON + 5, false)]);
    assert_eq!((task(&ledger, "a").version, task(&ledger, "a").seq), (2, Seq(3)));
}

#[test]
fn the_receipt_of_a_batch_names_each_place_and_the_last_as_its_own() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[]);
    let items = [("b", Event::created(), Expect::Any), ("a", Event::to(TaskState::Ready), Expect::Any)];
    let receipt = ledger.commit(batch(items)).unwrap();
    let places: Vec<_> = receipt.items().iter().map(|item| (item.subject.task(), item.seq.0, item.version)).collect();
    assert_eq!(places, [(Some("b"), 2, 1), (Some("a"), 3, 2)]);
    assert_eq!((receipt.seq(), receipt.version()), (Seq(3), 2));
}

#[test]
fn epochs_tell_the_receipts_of_two_writers_apart() {
    let (ledger, vfs) = noon();
    let first = ledger.append("a", Event::created()).unwrap();
    let ledger = reopened(ledger, &vfs);
    let second = ledger.append("b", Event::created()).unwrap();
    assert!(first.epoch() < second.epoch());
    assert_eq!(second.seq(), Seq(2));
}

// Batches.

#[test]
fn a_batch_of_which_one_event_is_illegal_changes_nothing() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[]);
    let items = || {
        batch([
            ("a", Event::to(TaskState::Ready), Expect::Any),
            ("b", Event::created(), Expect::Any),
            ("b", Event::to(TaskState::Completed), Expect::Any),
        ])
    };
    assert_eq!(refused(&ledger, || ledger.commit(items())).code(), "ILLEGAL");
    assert_eq!(task(&ledger, "a").record.state, TaskState::Pending);
    assert_eq!(ledger.append("c", Event::created()).unwrap().seq(), Seq(2), "the refused batch took no seq");
    let ledger = reopened(ledger, &vfs);
    assert_eq!((ledger.head(), history(&ledger, "a").len(), history(&ledger, "b").len()), (Seq(2), 1, 0));
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    let ledger = Options::new().vfs(Arc::new(MemVfs::new())).open(DIR).unwrap();
    let both = || batch([("a", Event::updated(), Expect::Any), ("b", Event::updated(), Expect::Any)]);
    ledger.commit(batch([("a", Event::created(), Expect::Any), ("b", Event::created(), Expect::Any)])).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let page = ledger.list(Filter::new()).unwrap();
                let versions: BTreeSet<u64> = page.tasks.iter().map(|task| task.version).collect();
                assert_eq!(versions.len(), 1, "one half of a batch is there without the other: {page:?}");
                assert_eq!(page.seq.0 % 2, 0);
            }
        });
        let _done = AtEnd(&done);
        for _ in 0..500 {
            ledger.commit(both()).unwrap();
        }
    });
    assert_eq!(ledger.head(), Seq(1002));
}

#[test]
fn each_item_of_a_batch_meets_what_the_items_before_it_have_made() {
    let (ledger, _) = noon();
    let receipt = ledger.commit(batch([
        ("a", Event::created(), Expect::Absent),
        ("a", Event::to(TaskState::Ready), Expect::Version(1)),
        ("a", Event::to(TaskState::Running), Expect::state_in(&[TaskState::Ready])),
        ("a", Event::updated().meta("k", "v"), Expect::Attempt(1)),
        ("a", Event::removed(), Expect::Exists),
        ("a", Event::created(), Expect::Absent),
    ]));
    assert_eq!(receipt.unwrap().version(), 6);
    assert!(task(&ledger, "a").record.metadata.is_empty());
}

#[test]
fn a_check_refuses_the_batch_or_lets_it_through_and_writes_nothing() {
    let (ledger, _) = noon();
    run(&ledger, "quota", &[TaskState::Ready]);
    let guarded = |expect| {
        let mut batch = batch([("a", Event::created(), Expect::Any)]);
        batch.check("quota", expect);
        batch
    };
    let conflict = refused(&ledger, || ledger.commit(guarded(Expect::state_in(&[TaskState::Running]))));
    assert!(matches!(conflict, Error::Conflict { subject, version: 2, .. } if subject.task() == Some("quota")));
    let receipt = ledger.commit(guarded(Expect::state_in(&[TaskState::Ready]))).unwrap();
    assert_eq!((receipt.items().len(), receipt.seq()), (1, Seq(3)));
    assert_eq!(history(&ledger, "quota").len(), 2);
}

#[test]
fn a_batch_must_have_an_event() {
    let (ledger, _) = noon();
    let mut only_looks = Batch::new();
    only_looks.check("a", Expect::Absent);
    for empty in [Batch::new(), only_looks] {
        assert_eq!(refused(&ledger, || ledger.commit(empty)).code(), "LIMIT");
    }
}

// Expectations.

#[test]
fn each_expectation_holds_where_it_says_and_nowhere_else() {
    use TaskState::{Failed, Pending, Ready, Running};
    let (ledger, _) = noon();
    run(&ledger, "running", &[Ready, Running]);
    run(&ledger, "removed", &[]);
    ledger.append("removed", Event::removed()).unwrap();
    let table = [
        (Expect::Any, [true, true, true]),
        (Expect::Absent, [true, true, false]),
        (Expect::Exists, [false, false, true]),
        (Expect::Version(0), [true, false, false]),
        (Expect::Version(2), [false, true, false]),
        (Expect::Version(3), [false, false, true]),
        (Expect::state_in(&[]), [false, false, false]),
        (Expect::state_in(&[Pending, Failed]), [false, false, false]),
        (Expect::state_in(&[Failed, Running]), [false, false, true]),
        (Expect::Attempt(0), [false, false, false]),
        (Expect::Attempt(1), [false, false, true]),
    ];
    for (expect, holds) in table {
        for (id, holds) in ["never there", "removed", "running"].into_iter().zip(holds) {
            let mut looks = batch([("written", Event::observed(Pending), Expect::Any)]);
            looks.check(id, expect.clone());
            match ledger.commit(looks) {
                Ok(_) => assert!(holds, "{expect} held for {id}"),
                Err(error) => {
                    assert!(!holds, "{expect} did not hold for {id}");
                    assert_eq!(error.code(), "CONFLICT");
                }
            }
        }
    }
}

#[test]
fn a_conflict_says_what_was_expected_what_was_found_and_who_moved_it_there() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[TaskState::Ready]);
    vfs.set(NOON + 60);
    ledger.append("a", Event::to(TaskState::Running).by("worker-7")).unwrap();
    ledger.append("b", Event::created()).unwrap();
    let error = refused(&ledger, || ledger.append_if("a", Event::to(TaskState::Completed), Expect::Version(2)));
    assert_eq!(
        error.to_string(),
        "a: expected version 2, found running at version 3, attempt 1 \
         (moved there at seq 3 by worker-7, time 1772366400060)"
    );
    let Error::Conflict { subject, expected, version, state, seq, actor, at, .. } = error else {
        panic!("{error} is no conflict")
    };
    assert_eq!((subject.task(), *expected), (Some("a"), Expect::Version(2)));
    assert_eq!((version, state, seq), (3, Some(TaskState::Running), Seq(3)));
    assert_eq!((actor.as_deref(), at), (Some("worker-7"), NOON + 60));
}

#[test]
fn a_conflict_on_a_task_without_record_says_whether_there_ever_was_one() {
    let (ledger, _) = noon();
    run(&ledger, "removed", &[]);
    ledger.append("removed", Event::removed().by("janitor")).unwrap();
    for (id, expected) in [("never", (0, Seq(0), None)), ("removed", (2, Seq(2), Some("janitor")))] {
        let error = refused(&ledger, || ledger.append_if(id, Event::created(), Expect::Exists));
        let Error::Conflict { version, state, seq, actor, .. } = error else { panic!("{error} is no conflict") };
        assert_eq!((version, seq, actor.as_deref()), expected, "{id}");
        assert_eq!(state, None);
    }
}

// Idempotency keys.

#[test]
fn the_same_event_under_the_same_key_is_appended_once() {
    let (ledger, vfs) = noon();
    let event = || Event::created().meta("host", "ci-7").output(json!({"rows": 1})).key("k");
    let first = ledger.append("a", event()).unwrap();
    vfs.set(NOON + 1000);
    let again = ledger.append("a", event()).unwrap();
    assert!(again.replayed() && !first.replayed());
    assert_eq!((again.items(), again.epoch()), (first.items(), first.epoch()));
    assert_eq!(ledger.head(), Seq(1));
}

#[test]
fn a_key_used_for_something_else_is_refused_by_name() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[]);
    ledger.append("a", Event::updated().error("x").key("k")).unwrap();
    let others = [
        Event::updated().error("y").key("k"),
        Event::updated().clear_error().key("k"),
        Event::updated().error("x").meta("m", "").key("k"),
        Event::updated().error("x").unset("m").key("k"),
        Event::updated().error("x").by("me").key("k"),
        Event::updated().error("x").because("").key("k"),
        Event::updated().error("x").attempts(0).key("k"),
        Event::updated().error("x").output(Value::Null).key("k"),
        Event::updated().error("x").cause(Seq(1)).key("k"),
        Event::updated().error("x").inferred().key("k"),
        Event::observed(TaskState::Pending).error("x").key("k"),
        Event::to(TaskState::Ready).error("x").key("k"),
    ];
    for other in others {
        let error = refused(&ledger, || ledger.append("a", other.clone()));
        assert!(
            matches!(&error, Error::Key { subject, key, seq: Seq(2) } if subject.task() == Some("a") && key == "k"),
            "{other:?} came to {error}"
        );
    }
}

#[test]
fn a_key_is_compared_without_time_and_expectation_and_looked_up_before_them() {
    let (ledger, _) = noon();
    let first = ledger.append("a", Event::created().key("k")).unwrap();
    let again = |event: Event, expect| ledger.append_if("a", event.key("k"), expect).unwrap();
    for receipt in [
        again(Event::created().at(NOON - 7), Expect::Any),
        again(Event::created().at(NOON + 1_000_000), Expect::Any),
        again(Event::created(), Expect::Absent),
        again(Event::created(), Expect::Version(77)),
    ] {
        assert!(receipt.replayed());
        assert_eq!(receipt.items(), first.items());
    }
}

#[test]
fn attempts_that_the_ledger_counted_never_make_a_key_conflict() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[TaskState::Ready]);
    let first = ledger.append("a", Event::to(TaskState::Running).key("k")).unwrap();
    assert_eq!(history(&ledger, "a")[2].event.attempts_set(), Some(1));
    let ledger = reopened(ledger, &vfs);
    let again = ledger.append("a", Event::to(TaskState::Running).key("k")).unwrap();
    assert_eq!((again.replayed(), again.seq()), (true, first.seq()));
}

#[test]
fn a_key_belongs_to_its_task() {
    let (ledger, _) = noon();
    ledger.append("a", Event::created().key("k")).unwrap();
    assert!(!ledger.append("b", Event::created().key("k")).unwrap().replayed());
}

#[test]
fn a_batch_is_replayed_if_all_its_keys_come_from_one_earlier_batch() {
    let (ledger, vfs) = noon();
    let pair = || {
        batch([
            ("a", Event::created().key("1"), Expect::Absent),
            ("b", Event::created().key("2"), Expect::Absent),
            ("c", Event::observed(TaskState::Ready), Expect::Any),
        ])
    };
    let first = ledger.commit(pair()).unwrap();
    let again = ledger.commit(pair()).unwrap();
    let later = reopened(ledger, &vfs).commit(pair()).unwrap();
    for again in [again, later] {
        assert_eq!((again.replayed(), again.items(), again.epoch()), (true, first.items(), first.epoch()));
    }
    assert_eq!(open(&vfs).head(), Seq(3));
}

#[test]
fn a_batch_of_which_some_keys_are_known_and_some_are_not_is_refused() {
    let (ledger, _) = noon();
    ledger.append("a", Event::created().key("1")).unwrap();
    let known = || ("a", Event::created().key("1"), Expect::Any);
    let unknown = || ("b", Event::created().key("2"), Expect::Any);
    assert_eq!(refused(&ledger, || ledger.commit(batch([known(), unknown()]))).code(), "KEY");
    assert_eq!(refused(&ledger, || ledger.commit(batch([unknown(), known()]))).code(), "KEY");
}

#[test]
fn a_batch_whose_keys_come_from_two_batches_is_refused() {
    let (ledger, _) = noon();
    let items = || [("a", Event::created().key("1"), Expect::Any), ("b", Event::created().key("2"), Expect::Any)];
    for item in items() {
        ledger.commit(batch([item])).unwrap();
    }
    assert_eq!(refused(&ledger, || ledger.commit(batch(items()))).code(), "KEY");
}

#[test]
fn the_latest_16_keyed_events_of_a_task_are_remembered() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[]);
    let keyed = |n: u32| Event::updated().meta("n", n.to_string()).key(format!("key {n}"));
    for n in 1..=17 {
        ledger.append("a", keyed(n)).unwrap();
        ledger.append("a", Event::updated()).unwrap(); // takes no place in the window
    }
    let ledger = reopened(ledger, &vfs);
    assert!(ledger.append("a", keyed(17)).unwrap().replayed());
    assert_eq!(ledger.append("a", keyed(2)).unwrap().seq(), Seq(4), "the sixteenth from the end");
    let again = ledger.append("a", keyed(1)).unwrap();
    assert!(!again.replayed(), "the seventeenth from the end is forgotten");
    assert!(!ledger.append("a", keyed(2)).unwrap().replayed(), "and has pushed out the next");
    assert_eq!(again.seq(), Seq(36));
}

#[test]
fn keys_survive_removal_and_a_new_generation() {
    let (ledger, vfs) = noon();
    let first = ledger.append("a", Event::created().key("k")).unwrap();
    let gone = ledger.append("a", Event::removed().key("gone")).unwrap();
    let ledger = reopened(ledger, &vfs);
    assert_eq!(ledger.append("a", Event::created().key("k")).unwrap().items(), first.items());
    assert!(ledger.get("a").unwrap().is_none(), "the replayed receipt has brought nothing back");
    ledger.append("a", Event::created()).unwrap();
    assert_eq!(ledger.append("a", Event::removed().key("gone")).unwrap().items(), gone.items());
    assert_eq!(task(&ledger, "a").version, 3);
}

// Time.

#[test]
fn a_late_report_is_placed_last_and_keeps_its_own_time() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[TaskState::Ready]);
    ledger.append("a", Event::to(TaskState::Running).at(NOON - 5000)).unwrap();
    ledger.append("b", Event::created().at(17)).unwrap();
    let ledger = reopened(ledger, &vfs);
    let entry = history(&ledger, "a").pop().unwrap();
    assert_eq!((entry.at, entry.said, entry.happened_at()), (NOON, Some(NOON - 5000), NOON - 5000));
    let record = task(&ledger, "a").record;
    assert_eq!((record.started_at, record.updated_at), (Some(NOON - 5000), NOON - 5000));
    assert_eq!(task(&ledger, "b").record.created_at, 17);
}

#[test]
fn a_stated_time_may_lie_five_minutes_ahead_and_no_more() {
    let (ledger, _) = noon();
    let error = refused(&ledger, || ledger.append("a", Event::created().at(NOON + 300_001)));
    assert!(matches!(error, Error::Time { stated, now, .. } if stated == NOON + 300_001 && now == NOON));
    let receipt = ledger.append("a", Event::created().at(NOON + 300_000)).unwrap();
    assert_eq!(receipt.at(), NOON + 300_000);
    assert_eq!(history(&ledger, "a")[0].said, None, "what was stated is where it was placed");
}

#[test]
fn entries_after_one_that_lies_ahead_are_placed_with_it_and_say_the_true_time() {
    let (ledger, _) = noon();
    ledger.append("a", Event::created().at(NOON + 1000)).unwrap();
    assert_eq!(ledger.append("a", Event::to(TaskState::Ready)).unwrap().at(), NOON + 1000);
    assert_eq!(history(&ledger, "a")[1].said, Some(NOON));
    assert_eq!(task(&ledger, "a").record.updated_at, NOON);
}

#[test]
fn a_clock_that_goes_backwards_disturbs_no_order() {
    let (ledger, vfs) = noon();
    ledger.append("a", Event::created()).unwrap();
    let ledger = reopened(ledger, &vfs);
    vfs.set(NOON - 60_000);
    assert_eq!(ledger.append("a", Event::to(TaskState::Ready)).unwrap().at(), NOON);
    vfs.set(NOON + 1);
    assert_eq!(ledger.append("a", Event::to(TaskState::Running)).unwrap().at(), NOON + 1);
    let said: Vec<_> = history(&ledger, "a").iter().map(|entry| entry.said).collect();
    assert_eq!(said, [None, Some(NOON - 60_000), None]);
}

// Records.

#[test]
fn entering_running_counts_an_attempt_and_staying_there_does_not() {
    use TaskState::{Ready, Retrying, Running};
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[Ready, Running, Running, Retrying, Running, Retrying, Ready, Running]);
    let counted: Vec<_> = history(&ledger, "a").iter().map(|entry| entry.event.attempts_set()).collect();
    assert_eq!(counted, [None, None, Some(1), None, None, Some(2), None, None, Some(3)]);
    ledger.append("a", Event::requeued(Ready)).unwrap();
    ledger.append("a", Event::to(Running).attempts(9)).unwrap();
    assert_eq!(task(&reopened(ledger, &vfs), "a").record.attempts, 9, "stated attempts are not counted on");
}

#[test]
fn a_move_to_the_same_state_stamps_again_unless_the_task_has_ended() {
    use TaskState::{Completed, Ready, Running};
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[Ready, Running]);
    vfs.set(NOON + 9);
    ledger.append("a", Event::to(Running)).unwrap();
    assert_eq!(task(&ledger, "a").record.started_at, Some(NOON + 9));
    ledger.append("a", Event::to(Completed)).unwrap();
    for state in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
        let id = state.name();
        ledger.append(id, Event::observed(state)).unwrap();
        assert_eq!(refused(&ledger, || ledger.append(id, Event::to(state))).code(), "ILLEGAL", "{state}");
        ledger.append(id, Event::observed(state)).unwrap();
    }
}

#[test]
fn requeueing_takes_a_crashed_attempt_back_and_clears_when_it_started() {
    use TaskState::{Pending, Ready, Retrying, Running};
    let (ledger, _) = noon();
    run(&ledger, "a", &[Ready, Running]);
    ledger.append("a", Event::requeued(Pending)).unwrap();
    let record = task(&ledger, "a").record;
    assert_eq!((record.state, record.started_at, record.attempts), (Pending, None, 1));
    run(&ledger, "b", &[Ready, Running, Retrying]);
    ledger.append("b", Event::requeued(Ready)).unwrap();
    for (id, to) in [("a", Ready), ("b", Pending)] {
        assert_eq!(refused(&ledger, || ledger.append(id, Event::requeued(to))).code(), "ILLEGAL", "from where it is");
    }
    run(&ledger, "c", &[Ready, Running]);
    for to in TaskState::ALL.into_iter().filter(|to| ![Pending, Ready].contains(to)) {
        assert_eq!(refused(&ledger, || ledger.append("c", Event::requeued(to))).code(), "ILLEGAL", "to {to}");
    }
}

#[test]
fn only_created_and_observed_start_a_record() {
    let (ledger, _) = noon();
    for event in [Event::to(TaskState::Ready), Event::updated(), Event::requeued(TaskState::Pending), Event::removed()]
    {
        assert_eq!(refused(&ledger, || ledger.append("a", event.clone())).code(), "ILLEGAL", "{event:?}");
    }
    ledger.append("a", Event::created()).unwrap();
    ledger.append("b", Event::observed(TaskState::Retrying)).unwrap();
    for id in ["a", "b"] {
        assert_eq!(refused(&ledger, || ledger.append(id, Event::created())).code(), "ILLEGAL", "{id} is there");
    }
}

#[test]
fn observing_sets_any_state_and_any_time() {
    let (ledger, _) = noon();
    let seen =
        Event::observed(TaskState::Completed).created_at(1).updated_at(4).started_at(Some(2)).finished_at(Some(3));
    ledger.append("a", seen).unwrap();
    let record = task(&ledger, "a").record;
    let times = (record.created_at, record.updated_at, record.started_at, record.finished_at);
    assert_eq!(times, (1, 4, Some(2), Some(3)));
    ledger.append("a", Event::observed(TaskState::Running).finished_at(None)).unwrap();
    let record = task(&ledger, "a").record;
    assert_eq!((record.created_at, record.started_at, record.finished_at), (1, Some(NOON), None));
}

#[test]
fn only_an_observed_event_states_the_times_of_a_record() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[]);
    for event in [
        Event::updated().created_at(1),
        Event::updated().updated_at(1),
        Event::to(TaskState::Ready).started_at(None),
        Event::removed().finished_at(Some(1)),
    ] {
        assert_eq!(refused(&ledger, || ledger.append("a", event.clone())).code(), "ILLEGAL", "{event:?}");
    }
}

#[test]
fn a_cause_is_an_earlier_entry() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[]);
    for cause in [2, 3] {
        assert_eq!(refused(&ledger, || ledger.append("a", Event::updated().cause(Seq(cause)))).code(), "ILLEGAL");
    }
    ledger.append("a", Event::updated().cause(Seq(1))).unwrap();
    assert_eq!(history(&ledger, "a")[1].event.cause_seq(), Some(Seq(1)));
}

#[test]
fn json_null_as_output_means_no_output() {
    let (ledger, vfs) = noon();
    ledger.append("a", Event::created().output(json!([1]))).unwrap();
    ledger.append("b", Event::created().output(Value::Null)).unwrap();
    ledger.append("a", Event::updated().output_text(" null\n")).unwrap();
    let ledger = reopened(ledger, &vfs);
    assert_eq!((task(&ledger, "a").record.output, task(&ledger, "b").record.output), (None, None));
}

#[test]
fn a_removed_task_leaves_the_view_and_keeps_its_history_and_versions() {
    let (ledger, vfs) = noon();
    ledger.append("a", Event::created().meta("k", "v").output(json!(1))).unwrap();
    ledger.append("a", Event::to(TaskState::Ready)).unwrap();
    ledger.append("a", Event::to(TaskState::Running)).unwrap();
    ledger.append("a", Event::removed().because("stale")).unwrap();
    let ledger = reopened(ledger, &vfs);
    assert!(ledger.get("a").unwrap().is_none());
    assert_eq!((ledger.counts().total(), ledger.list(Filter::new()).unwrap().tasks.len()), (0, 0));
    assert_eq!(history(&ledger, "a").len(), 4);

    vfs.set(NOON + 1);
    assert_eq!(ledger.append("a", Event::created()).unwrap().version(), 5);
    let again = task(&ledger, "a").record;
    assert_eq!((again.attempts, again.output, again.metadata, again.created_at), (0, None, HashMap::new(), NOON + 1));
    assert_eq!(again.started_at, None);
    assert_eq!(history(&ledger, "a").len(), 5);
}

#[test]
fn a_task_may_be_removed_in_any_state() {
    let (ledger, _) = noon();
    for state in TaskState::ALL {
        ledger.append(state.name(), Event::observed(state)).unwrap();
        ledger.append(state.name(), Event::removed()).unwrap();
    }
    assert_eq!(ledger.counts().total(), 0);
}

// Limits.

#[test]
fn every_field_is_taken_at_its_limit_and_refused_beyond() {
    let text = |bytes: usize| "x".repeat(bytes);
    let keys = |count: usize| (0..count).fold(Event::created(), |event, n| event.meta(format!("k{n}"), ""));
    let nested = |depth: usize| Event::created().output_text(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let output = |bytes: usize| Event::created().output_text(&format!("\"{}\"", "x".repeat(bytes - 2)));
    let table: [(&str, Event, Event); 9] = [
        ("metadata key", Event::created().meta(text(255), ""), Event::created().meta(text(256), "")),
        ("metadata value", Event::created().meta("k", text(65_536)), Event::created().meta("k", text(65_537))),
        ("metadata keys", keys(256), keys(257)),
        ("actor", Event::created().by(text(255)), Event::created().by(text(256))),
        ("key", Event::created().key(text(255)), Event::created().key(text(256))),
        ("reason", Event::created().because(text(4096)), Event::created().because(text(4097))),
        ("error", Event::created().error(text(65_536)), Event::created().error(text(65_537))),
        ("output", output(8 << 20), output((8 << 20) + 1)),
        ("output depth", nested(64), nested(65)),
    ];
    let (ledger, vfs) = noon();
    for (what, most, over) in &table {
        let error = refused(&ledger, || ledger.append(*what, over.clone()));
        assert_eq!(error.code(), "LIMIT", "one above for {what}: {error}");
        ledger.append(*what, most.clone()).unwrap_or_else(|error| panic!("the most for {what}: {error}"));
    }
    let before = ledger.list(Filter::new()).unwrap().tasks;
    assert_eq!(before.len(), table.len());
    let ledger = reopened(ledger, &vfs);
    assert_eq!(ledger.list(Filter::new()).unwrap().tasks, before);
    for (what, most, _) in table {
        assert_eq!(history(&ledger, what)[0].event, most, "{what}");
    }
}

#[test]
fn names_must_not_be_empty() {
    let (ledger, _) = noon();
    for (id, event) in [
        ("", Event::created()),
        ("a", Event::created().meta("", "v")),
        ("a", Event::created().by("")),
        ("a", Event::created().key("")),
        ("a", Event::created().output_text("")),
        ("a", Event::created().cause(Seq(0))),
    ] {
        assert_eq!(refused(&ledger, || ledger.append(id, event.clone())).code(), "LIMIT", "{event:?}");
    }
}

#[test]
fn a_task_id_has_up_to_1280_bytes() {
    let (ledger, vfs) = noon();
    let longest = "ä".repeat(640);
    assert_eq!(refused(&ledger, || ledger.append(format!("{longest}x"), Event::created())).code(), "LIMIT");
    let mut looks = batch([("a", Event::created(), Expect::Any)]);
    looks.check(format!("{longest}x"), Expect::Absent);
    assert_eq!(refused(&ledger, || ledger.commit(looks)).code(), "LIMIT");
    ledger.append(&*longest, Event::created()).unwrap();
    assert_eq!(task(&reopened(ledger, &vfs), &longest).record.id, longest);
}

#[test]
fn a_task_has_up_to_256_metadata_keys_over_all_its_events() {
    let (ledger, _) = noon();
    ledger.append("a", (0..200).fold(Event::created(), |event, n| event.meta(format!("k{n}"), ""))).unwrap();
    let more = |keys: std::ops::Range<u32>| keys.fold(Event::updated(), |event, n| event.meta(format!("k{n}"), "new"));
    assert_eq!(refused(&ledger, || ledger.append("a", more(200..257))).code(), "LIMIT");
    ledger.append("a", more(150..256)).unwrap();
    assert_eq!(refused(&ledger, || ledger.append("a", more(256..257))).code(), "LIMIT");
    ledger.append("a", more(256..257).unset("k0")).unwrap();
    assert_eq!(task(&ledger, "a").record.metadata.len(), 256);
}

#[test]
fn an_output_must_be_json() {
    let (ledger, _) = noon();
    for text in ["{", "nul", "1 2", "[1,]", "NaN", "\"\n\"", "\u{a0}null", "1e999"] {
        let outcome = ledger.append("a", Event::created().output_text(text));
        assert_eq!(outcome.map_err(|refused| refused.code()), Err("LIMIT"), "{text:?}");
    }
}

#[test]
fn a_batch_has_up_to_65535_events() {
    let (ledger, vfs) = noon();
    let of = |events: usize| {
        let mut batch = Batch::new();
        batch.push("a", Event::created(), Expect::Any);
        for _ in 1..events {
            batch.push("a", Event::updated(), Expect::Any);
        }
        batch
    };
    assert_eq!(refused(&ledger, || ledger.commit(of(65_536))).code(), "LIMIT");
    assert_eq!(ledger.commit(of(65_535)).unwrap().seq(), Seq(65_535));
    assert_eq!(reopened(ledger, &vfs).head(), Seq(65_535));
}

#[test]
fn a_batch_has_up_to_64_mib() {
    let (ledger, vfs) = noon();
    let of = |outputs: usize| {
        let mut batch = Batch::new();
        for n in 0..outputs {
            let output = format!("\"{}\"", "x".repeat(limits::OUTPUT_BYTES_MAX - 2));
            batch.push(format!("task {n}"), Event::created().output_text(&output), Expect::Any);
        }
        batch
    };
    assert_eq!(
        refused(&ledger, || ledger.commit(of(8))).code(),
        "LIMIT",
        "8 outputs of 8 MiB, and what is around them"
    );
    ledger.commit(of(7)).unwrap();
    let ledger = reopened(ledger, &vfs);
    assert_eq!((ledger.head(), ledger.counts().total()), (Seq(7), 7));
}

#[test]
fn a_segment_has_16_kib_to_1_gib() {
    let (_, vfs) = noon();
    for bytes in [0, (16 << 10) - 1, (1 << 30) + 1] {
        let error = options(&vfs).segment_size(bytes).open("/other").expect_err("it is refused");
        assert_eq!(error.code(), "LIMIT", "{bytes} bytes");
        assert_eq!(options(&vfs).open_read_only("/other").unwrap_err().code(), "NO_LEDGER", "nothing was made");
    }
    for bytes in [16 << 10, 1 << 30] {
        options(&vfs).segment_size(bytes).open(format!("/of {bytes} bytes")).unwrap();
    }
}

// The past.

#[test]
fn a_view_of_a_seq_within_a_batch_says_that_it_splits_it() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[]);
    ledger.commit(batch([("b", Event::created(), Expect::Any), ("c", Event::created(), Expect::Any)])).unwrap();
    let splits = [0, 1, 2, 3].map(|seq| ledger.as_of(At::Seq(Seq(seq))).unwrap().splits_a_batch());
    assert_eq!(splits, [false, false, true, false]);
    let part = ledger.as_of(At::Seq(Seq(2))).unwrap();
    assert!(part.get("b").unwrap().is_some() && part.get("c").unwrap().is_none());
    assert_eq!((part.counts().total(), part.entries(Seq::FIRST).count(), part.seq()), (2, 2, Seq(2)));
}

#[test]
fn a_view_of_a_time_within_a_batch_says_that_it_splits_it() {
    let (ledger, _) = noon();
    let items = [("a", Event::created(), Expect::Any), ("b", Event::created().at(NOON + 10), Expect::Any)];
    ledger.commit(batch(items)).unwrap();
    let view = ledger.as_of(At::Millis(NOON + 9)).unwrap();
    assert_eq!((view.seq(), view.at(), view.splits_a_batch(), view.is_final()), (Seq(1), NOON, true, true));
    assert!(!ledger.as_of(At::Millis(NOON + 10)).unwrap().splits_a_batch());
}

#[test]
fn a_view_of_a_time_is_final_once_the_ledger_has_passed_it() {
    let (ledger, vfs) = noon();
    assert!(!ledger.as_of(At::Millis(0)).unwrap().is_final(), "an old history may still come");
    run(&ledger, "a", &[]);
    let is_final = |ledger: &Ledger, millis| ledger.as_of(At::Millis(millis)).unwrap().is_final();
    assert!(is_final(&ledger, NOON - 1) && !is_final(&ledger, NOON) && !is_final(&ledger, u64::MAX));
    vfs.set(NOON + 1);
    assert!(!is_final(&ledger, NOON), "the clock alone decides nothing");
    ledger.append("a", Event::updated()).unwrap();
    assert!(is_final(&reopened(ledger, &vfs), NOON));
}

#[test]
fn the_past_stays_as_it_was_and_what_is_ahead_is_refused() {
    let (ledger, _) = noon();
    run(&ledger, "a", &[TaskState::Ready]);
    let view = ledger.as_of(At::Seq(Seq(1))).unwrap();
    ledger.append("a", Event::to(TaskState::Cancelled)).unwrap();
    assert_eq!(view.get("a").unwrap().unwrap().record.state, TaskState::Pending);
    assert_eq!((view.history("a").unwrap().count(), view.counts().of(TaskState::Pending)), (1, 1));
    assert_eq!(ledger.as_of(At::Seq(Seq(0))).unwrap().counts().total(), 0);
    let error = ledger.as_of(At::Seq(Seq(4))).unwrap_err();
    assert!(matches!(error, Error::Ahead { asked: Seq(4), head: Seq(3) }));
}

// Reading beside a writer, closing, and who may open what.

#[test]
fn a_reader_beside_the_writer_sees_what_was_durable_when_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Options::new().maintenance(Maintenance::Manual).open(dir.path()).unwrap();
    run(&ledger, "a", &[]);
    let mut reader = Ledger::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.report().writer.map(|writer| writer.pid), Some(std::process::id()));
    ledger.append("a", Event::to(TaskState::Ready)).unwrap();
    assert_eq!(reader.view().get("a").unwrap().unwrap().version, 1);
    reader.refresh().unwrap();
    assert_eq!(reader.view().get("a").unwrap().unwrap().version, 2);
    drop(ledger);
    reader.refresh().unwrap();
    assert_eq!((reader.report().writer, reader.view().seq()), (None, Seq(2)));
    assert!(reader.report().clean);
}

#[test]
fn reading_creates_and_changes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Ledger::open_read_only(dir.path()).unwrap_err().code(), "NO_LEDGER");
    assert_eq!(Ledger::open_read_only(dir.path().join("missing")).unwrap_err().code(), "NO_LEDGER");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let ledger = Ledger::open(dir.path()).unwrap();
    run(&ledger, "a", &[TaskState::Ready]);
    ledger.close().unwrap();
    let before = files(dir.path());
    let reader = Ledger::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.as_of(At::Seq(Seq(1))).unwrap().counts().total(), 1);
    assert_eq!(verify(dir.path(), Level::Content).unwrap().verdict(), Verdict::Sound);
    assert!(files(dir.path()) == before, "a file is not what it was");
}

/// The files below a directory with their bytes.
fn files(dir: &Path) -> HashMap<std::path::PathBuf, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn after_close_appends_are_refused_and_reads_go_on() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[]);
    let other = ledger.clone();
    ledger.close().unwrap();
    assert_eq!(refused(&other, || other.append("a", Event::updated())).code(), "CLOSED");
    assert_eq!((task(&other, "a").version, history(&other, "a").len(), other.head()), (1, 1, Seq(1)));
    assert_eq!(other.as_of(At::Seq(Seq(1))).unwrap().counts().total(), 1);
    assert_eq!(options(&vfs).open(DIR).unwrap_err().code(), "LOCKED", "a handle still has it");
    assert_eq!(other.close().unwrap_err().code(), "CLOSED");
    assert!(open(&vfs).report().clean);
}

#[test]
fn a_second_writer_is_told_who_has_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    for _ in 0..2 {
        let error = Ledger::open(dir.path()).unwrap_err();
        assert_eq!(error.code(), "LOCKED");
        assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    }
    ledger.append("a", Event::created()).unwrap();
    drop(ledger);
    Ledger::open(dir.path()).unwrap();
}

#[test]
fn what_is_no_ledger_is_not_opened_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (file, foreign) = (dir.path().join("file"), dir.path().join("foreign"));
    std::fs::write(&file, "text").unwrap();
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "mine").unwrap();
    let before = files(dir.path());
    for path in [&file, &foreign, &dir.path().join("no/parent")] {
        let error = Ledger::open(path).expect_err("it is no ledger");
        assert_eq!(error.code(), "IO", "{}: {error}", path.display());
        let error = Ledger::open_read_only(path).expect_err("it is no ledger");
        assert!(["IO", "NO_LEDGER"].contains(&error.code()), "{}: {error}", path.display());
    }
    assert!(files(dir.path()) == before, "a file is not what it was");
}

#[test]
fn opening_creates_the_ledger_once() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    assert!(Ledger::open(&runs).unwrap().report().created);
    assert!(!Ledger::open(&runs).unwrap().report().created);
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_unless_an_option_says_otherwise() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (own, shared) = (dir.path().join("own"), dir.path().join("shared"));
    Ledger::open(&own).unwrap().append("a", Event::created()).unwrap();
    Options::new().dir_mode(0o750).file_mode(0o640).open(&shared).unwrap().append("a", Event::created()).unwrap();
    for (dir, dir_mode, file_mode) in [(&own, 0o700, 0o600), (&shared, 0o750, 0o640)] {
        assert_eq!((mode(dir), mode(&dir.join("log"))), (dir_mode, dir_mode));
        for path in files(dir).into_keys() {
            assert_eq!(mode(&path), file_mode, "{}", path.display());
        }
    }
}

// Segments.

#[test]
fn a_batch_larger_than_a_segment_is_committed_and_there_after_opening_anew() {
    let (ledger, vfs) = noon();
    run(&ledger, "before", &[]);
    let mut large = Batch::new();
    for n in 0..100 {
        large.push(format!("task {n}"), Event::created().error(format!("{n}").repeat(2048 / 2)), Expect::Absent);
    }
    assert_eq!(ledger.commit(large).unwrap().seq(), Seq(101));
    run(&ledger, "after", &[]);
    let before = ledger.list(Filter::new()).unwrap().tasks;
    let ledger = reopened(ledger, &vfs);
    assert_eq!(ledger.list(Filter::new()).unwrap().tasks, before);
    assert_eq!((before.len(), ledger.head()), (102, Seq(102)));
    assert!(!ledger.as_of(At::Seq(Seq(101))).unwrap().splits_a_batch());
    assert!(ledger.as_of(At::Seq(Seq(100))).unwrap().splits_a_batch());
}

#[test]
fn histories_and_entries_go_on_across_segments() {
    let (ledger, vfs) = noon();
    run(&ledger, "a", &[]);
    for n in 0..300 {
        let task = if n % 3 == 0 { "a" } else { "b" };
        ledger.append(task, Event::observed(TaskState::Pending).error(format!("{n} {}", "x".repeat(500)))).unwrap();
    }
    let ledger = reopened(ledger, &vfs);
    let versions: Vec<_> = history(&ledger, "a").iter().filter_map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=101).collect::<Vec<u64>>());
    for from in [1, 2, 77, 150, 301] {
        let seqs: Vec<_> = ledger.entries(Seq(from)).map(|entry| entry.unwrap().seq.0).collect();
        assert_eq!(seqs, (from..=301).collect::<Vec<u64>>());
    }
}

#[test]
fn a_spare_segment_is_made_once_the_active_one_is_half_full() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(dir.path()).unwrap();
    let in_log = || std::fs::read_dir(dir.path().join("log")).unwrap().count();
    ledger.append("a", Event::created()).unwrap();
    ledger.maintain().unwrap();
    assert_eq!(in_log(), 1, "there is room enough");
    ledger.append("a", Event::updated().error("x".repeat(5 << 10))).unwrap();
    assert_eq!(in_log(), 1, "nobody has maintained it");
    ledger.maintain().unwrap();
    assert_eq!(in_log(), 2, "half full");
    ledger.maintain().unwrap();
    assert_eq!(in_log(), 2, "one is enough");
    ledger.append("a", Event::updated().error("x".repeat(5 << 10))).unwrap();
    assert_eq!(in_log(), 2, "the spare has become the active one");
    assert_eq!(history(&ledger, "a").len(), 3);
}

#[test]
fn segments_roll_while_the_ledgers_own_thread_prepares_spares() {
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().segment_size(16 << 10).open(dir.path()).unwrap();
        ledger.append("a", Event::created()).unwrap();
        for n in 0..100 {
            ledger.append("a", Event::updated().error(format!("{:x}", n % 10).repeat(3000))).unwrap();
        }
        drop(ledger);
        assert_eq!(verify(dir.path(), Level::Content).unwrap().verdict(), Verdict::Sound);
        assert_eq!(history(&Ledger::open(dir.path()).unwrap(), "a").len(), 101);
    }
}

/// An append that found no spare was making the next segment when the maintenance thread, which did not look for
/// that, made a spare of its own: under the same name, after removing the file that was there. The append then gave
/// the name of the new segment to the wrong file and went on writing into the removed one, and everything that was
/// acknowledged from there on was gone with the process.
#[test]
fn a_spare_that_is_made_during_a_roll_takes_nothing_away_from_it() {
    let (ledger, vfs) = noon();
    let filled = || Event::observed(TaskState::Pending).error("x".repeat(5 << 10));
    ledger.append("a", filled()).unwrap();
    let (thread, threads) = std::sync::mpsc::channel();
    let other = ledger.clone();
    vfs.before_next_rename(move || {
        let (said, heard) = std::sync::mpsc::channel();
        let maintain = move || {
            let maintained = other.maintain();
            drop(other);
            said.send(maintained.is_ok())
        };
        thread.send(std::thread::spawn(maintain)).unwrap();
        // It may return at once, or wait for the roll: then the roll must go on.
        let _ = heard.recv_timeout(std::time::Duration::from_secs(5));
    });
    for _ in 0..3 {
        ledger.append("a", filled()).unwrap();
    }
    let _ = threads.recv().expect("a segment was full").join().expect("it does not panic");
    let ledger = reopened(ledger, &vfs);
    assert_eq!(history(&ledger, "a").len(), 4);
}

// Many at once.

#[test]
fn thirty_two_threads_append_and_every_receipt_is_true() {
    const THREADS: u64 = 32;
    const EACH: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let ledger = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    ledger.append("shared", Event::created()).unwrap();
    let receipts: Vec<_> = std::thread::scope(|scope| {
        let append = |thread: u64| {
            let ledger = ledger.clone();
            move || {
                let own = format!("task {thread}");
                let mut receipts = vec![ledger.append(&*own, Event::created()).unwrap()];
                for n in 1..EACH {
                    let mut batch = batch([("shared", Event::updated(), Expect::Any)]);
                    batch.push(&*own, Event::updated().meta("n", n.to_string()), Expect::Version(n));
                    receipts.push(ledger.commit(batch).unwrap());
                    assert_eq!(task(&ledger, &own).version, n + 1, "what was acknowledged is to be seen");
                }
                receipts
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(append(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut items: Vec<_> = receipts.iter().flat_map(|receipt| receipt.items().to_vec()).collect();
    items.sort_by_key(|item| item.seq);
    let total = THREADS * (2 * EACH - 1) + 1;
    assert_eq!(items.iter().map(|item| item.seq.0).collect::<Vec<_>>(), (2..=total).collect::<Vec<_>>(), "dense");
    let mut shared = items.iter().filter(|item| item.subject.task() == Some("shared")).map(|item| item.version);
    assert!((2..=THREADS * (EACH - 1) + 1).eq(shared.by_ref()), "versions are dense too");
    for receipt in &receipts {
        let [first, .., last] = receipt.items() else { continue };
        assert_eq!(first.seq.0 + 1, last.seq.0, "a batch is in one piece");
    }
    drop(ledger);
    let ledger = Ledger::open(dir.path()).unwrap();
    let entries: Vec<Entry> = ledger.entries(Seq::FIRST).map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.len() as u64, total);
    for (entry, item) in entries.iter().skip(1).zip(&items) {
        let found = (entry.task.as_deref(), entry.seq, entry.version, entry.at);
        assert_eq!(found, (item.subject.task(), item.seq, Some(item.version), item.at));
    }
    assert_eq!(ledger.counts().total(), THREADS + 1);
}

#[test]
fn of_many_who_expect_the_same_version_one_is_right() {
    let ledger = Options::new().vfs(Arc::new(MemVfs::new())).open(DIR).unwrap();
    ledger.append("a", Event::created()).unwrap();
    for version in 1..=50 {
        let won: Vec<bool> = std::thread::scope(|scope| {
            let claim = || match ledger.append_if("a", Event::updated(), Expect::Version(version)) {
                Ok(_) => true,
                Err(Error::Conflict { version: found, .. }) => {
                    assert_eq!(found, version + 1);
                    assert_eq!(task(&ledger, "a").version, found, "a refusal rests on what is durable");
                    false
                }
                Err(other) => panic!("{other}"),
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
    }
}

#[test]
fn many_who_send_the_same_key_get_one_receipt() {
    let ledger = Options::new().vfs(Arc::new(MemVfs::new())).open(DIR).unwrap();
    for n in 0..50_u64 {
        let receipts: Vec<_> = std::thread::scope(|scope| {
            let send = || ledger.append(format!("task {n}"), Event::created().key("k")).unwrap();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(receipts.iter().filter(|receipt| !receipt.replayed()).count(), 1);
        assert!(receipts.iter().all(|receipt| receipt.seq() == Seq(n + 1)));
    }
}
