//! What the history says of records that were saved one over another.

use std::collections::HashMap;
use std::sync::Arc;

use dag_executor::state::{StateValidator, TaskRecord as TheirRecord, TaskState as TheirState, now_millis};
use dag_executor::storage::Storage;
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{Entry, Event, LedgerStorage, Maintenance, Options, Seq, TaskState};

use super::{NOON, Spy, assert_every_save_is_in_the_history, history, in_dir, key, noon, open, record, running, told};
use crate::support::Rng;

/// Whatever the executor does to records, saved in this order; and what the history then tells.
#[tokio::test]
async fn the_shortest_way_is_told_with_what_nobody_stated_marked() {
    let t = |minutes: u64| NOON - 3_600_000 + minutes * 60_000;
    let ended = |state: &str, at: u64, attempts: u32| {
        record(
            "a",
            json!({"state": state, "attempts": attempts, "updated_at": t(at), "started_at": t(2), "finished_at": t(at)}),
        )
    };
    let ran = || running("a", t(2));
    let table: Vec<(&str, Vec<Value>, &[&str])> = vec![
        ("a pending one", vec![record("a", json!({}))], &["created"]),
        ("first seen running", vec![ran()], &["created?", "to ready?", "to running"]),
        ("completed", vec![ran(), ended("completed", 3, 1)], &["created?", "to ready?", "to running", "to completed"]),
        (
            "dead-lettered, which their table forbids",
            vec![ran(), ended("dead_lettered", 3, 3)],
            &["created?", "to ready?", "to running", "to failed?", "to dead_lettered"],
        ),
        (
            "skipped",
            vec![record("a", json!({"state": "skipped", "updated_at": t(5), "finished_at": t(5)}))],
            &["created?", "to skipped"],
        ),
        ("called off", vec![ran(), ended("cancelled", 4, 0)], &["created?", "to ready?", "to running", "to cancelled"]),
        (
            "first seen completed",
            vec![ended("completed", 3, 2)],
            &["created?", "to ready?", "to running?", "to completed"],
        ),
        (
            "an orphan that a later run took up again",
            vec![ran(), running("a", t(9))],
            &["created?", "to ready?", "to running", "requeued pending?", "to ready?", "to running"],
        ),
        (
            "an orphan that was saved after its repair",
            vec![ran(), record("a", json!({"updated_at": t(9)}))],
            &["created?", "to ready?", "to running", "requeued pending"],
        ),
        (
            "an orphan that is ready again",
            vec![ran(), record("a", json!({"state": "ready", "updated_at": t(9)}))],
            &["created?", "to ready?", "to running", "requeued pending?", "to ready"],
        ),
        (
            "saved again with another output",
            vec![ran(), ended("completed", 3, 1), {
                let mut other = ended("completed", 3, 1);
                other["output"] = json!(2);
                other
            }],
            &["created?", "to ready?", "to running", "to completed", "updated"],
        ),
        (
            "run again from the dead, which no table allows",
            vec![ended("dead_lettered", 3, 1), running("a", t(9))],
            &["created?", "to ready?", "to running?", "to failed?", "to dead_lettered", "observed running"],
        ),
        (
            "failed without a finish, as their repair leaves it",
            vec![ran(), record("a", json!({"state": "failed", "attempts": 3, "updated_at": t(9)}))],
            &["created?", "to ready?", "to running", "observed failed"],
        ),
        (
            "a time ahead of the clock",
            vec![ran(), ended("completed", 24 * 60, 1)],
            &["created?", "to ready?", "to running", "observed completed"],
        ),
    ];
    for (name, values, expected) in table {
        let (_, storage) = noon();
        let storage = Spy::new(storage);
        for value in &values {
            storage.save(&key("a"), value).await.unwrap();
            assert_eq!(storage.load(&key("a")).await.unwrap().as_ref(), Some(value), "{name}");
        }
        let ledger = storage.inner.ledger();
        assert_eq!(told(ledger, "a"), expected, "{name}");
        assert_every_save_is_in_the_history(ledger, "a", &storage.saved(&key("a")));
    }
}

#[tokio::test]
async fn where_each_move_of_theirs_is_saved_the_history_has_these_moves_and_infers_none() {
    let vfs = Arc::new(MemVfs::new());
    let options = Options::new().vfs(vfs).clock(now_millis).maintenance(Maintenance::Manual);
    let storage = LedgerStorage::new(options.open("/l").unwrap());
    let mut rng = Rng(20_260_301);
    for walk in 0..200 {
        let id = format!("a{walk}");
        let mut record = TheirRecord::new(&id);
        let mut expected = vec!["created".to_owned()];
        storage.save(&key(&id), &serde_json::to_value(&record).unwrap()).await.unwrap();
        for _ in 0..12 {
            let states: [TheirState; 9] = TaskState::ALL.map(|state| serde_json::from_value(json!(state)).unwrap());
            let other = |state: &TheirState| *state != record.state && record.state.can_transition_to(*state);
            let open: Vec<TheirState> = states.into_iter().filter(other).collect();
            if open.is_empty() {
                break;
            }
            let to = open[rng.below(open.len() as u64) as usize];
            assert!(record.transition(to));
            record.attempts += u32::from(to == TheirState::Running);
            expected.push(format!("to {to}"));
            storage.save(&key(&id), &serde_json::to_value(&record).unwrap()).await.unwrap();
        }
        assert_eq!(told(storage.ledger(), &id), expected, "{id}");
    }
}

#[tokio::test]
async fn each_step_has_the_time_that_the_record_holds() {
    let (_, storage) = noon();
    let (created, started, finished) = (NOON - 3_600_000, NOON - 60_000, NOON - 30_000);
    let fields = json!({
        "state": "dead_lettered", "attempts": 3, "updated_at": finished, "started_at": started, "finished_at": finished,
        "error": "boom", "metadata": {"host": "ci-7"},
    });
    storage.save(&key("a"), &record("a", fields)).await.unwrap();
    let entries = history(storage.ledger(), "a");
    let times: Vec<u64> = entries.iter().map(Entry::happened_at).collect();
    assert_eq!(times, [created, started, started, finished, finished]);
    let (last, inferred) = entries.split_last().unwrap();
    for entry in inferred {
        let event = &entry.event;
        assert!(event.is_inferred() && event.error_change().set().is_none() && event.metadata().count() == 0);
    }
    assert_eq!(inferred[2].event.attempts_set(), Some(3), "the attempt that it was");
    assert_eq!(last.event.error_change().set().map(String::as_str), Some("boom"));
    assert_eq!(last.event.metadata().collect::<Vec<_>>(), [("host", Some("ci-7"))]);
}

#[tokio::test]
async fn only_what_differs_is_stated() {
    let (_, storage) = noon();
    let big = json!("x".repeat(10_000));
    let fields = json!({"output": big, "error": "e", "metadata": {"keep": "1", "change": "1", "drop": "1"}});
    storage.save(&key("a"), &record("a", fields)).await.unwrap();
    let fields = json!({"output": big, "metadata": {"keep": "1", "change": "2", "new": "1"}, "updated_at": NOON});
    storage.save(&key("a"), &record("a", fields.clone())).await.unwrap();
    let last = history(storage.ledger(), "a").pop().unwrap();
    assert_eq!(last.event.kind().name(), "updated");
    assert!(last.event.output_change().set().is_none(), "the output is not written twice");
    assert_eq!(serde_json::to_value(&last).unwrap()["error"], Value::Null);
    let changes = [("change", Some("2")), ("drop", None), ("new", Some("1"))];
    assert_eq!(last.event.metadata().collect::<Vec<_>>(), changes);
    assert_eq!(storage.load(&key("a")).await.unwrap(), Some(record("a", fields)));
}

#[tokio::test]
async fn a_record_that_equals_the_one_there_appends_nothing() {
    let (_, storage) = noon();
    storage.save(&key("a"), &running("a", NOON)).await.unwrap();
    let head = storage.ledger().head();
    storage.save(&key("a"), &running("a", NOON)).await.unwrap();
    assert_eq!(storage.ledger().head(), head);
    storage.save("state:a", &json!(1)).await.unwrap();
    storage.save("state:a", &json!(1)).await.unwrap();
    assert_eq!(storage.ledger().head(), Seq(head.0 + 2), "whatever else is saved is a fact each time");
}

/// Their repair of records that a crash left, in memory only; then the executor saves some of them.
#[tokio::test]
async fn their_repair_leaves_a_trace_once_it_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let storage = in_dir(dir.path()); // their records tell the true time
    let mut orphan = TheirRecord::new("a");
    assert!(orphan.transition(TheirState::Ready) && orphan.transition(TheirState::Running));
    storage.save(&key("a"), &serde_json::to_value(&orphan).unwrap()).await.unwrap();
    let mut records = HashMap::from([("a".to_owned(), orphan)]);
    StateValidator::new().repair(&mut records, 3);
    let mut repaired = records.remove("a").unwrap();
    assert_eq!(repaired.state, TheirState::Pending);
    assert!(repaired.transition(TheirState::Ready) && repaired.transition(TheirState::Running));
    // The clock has a resolution of one millisecond, and this must not have been the same one.
    repaired.started_at = repaired.started_at.map(|at| at + 1);
    repaired.updated_at += 1;
    storage.save(&key("a"), &serde_json::to_value(&repaired).unwrap()).await.unwrap();
    let entries = history(storage.ledger(), "a");
    let requeued = &entries[3].event;
    assert_eq!((requeued.kind().name(), requeued.state()), ("requeued", Some(TaskState::Pending)));
    assert_eq!(requeued.reason(), Some("a later run took the task up again"));
}

#[tokio::test]
async fn what_others_append_to_the_same_ledger_is_built_on() {
    let (_, storage) = noon();
    let ledger = storage.ledger();
    ledger.append("a", Event::created().meta("queue", "night")).unwrap();
    ledger.append("a", Event::to(TaskState::Ready)).unwrap();
    let loaded = storage.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((&loaded["state"], &loaded["metadata"]), (&json!("ready"), &json!({"queue": "night"})));
    storage.save(&key("a"), &running("a", NOON)).await.unwrap();
    assert_eq!(told(ledger, "a")[2..], ["observed running"], "it says that the task was created at another time");
    ledger.append("b", Event::created()).unwrap();
    ledger.append_note("mine", Event::noted(1)).unwrap();
    // The ledger takes longer ids and keys than the store; what is listed can be loaded.
    ledger.append("c".repeat(1018), Event::created()).unwrap();
    ledger.append_note("n".repeat(1025), Event::noted(1)).unwrap();
    let mut keys = storage.list().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["mine", "record:a", "record:b"]);
}

#[tokio::test]
async fn removal_is_a_fact_and_versions_go_on_after_it() {
    let (vfs, storage) = noon();
    storage.save(&key("a"), &record("a", json!({}))).await.unwrap();
    storage.delete(&key("a")).await.unwrap();
    storage.save(&key("a"), &running("a", NOON)).await.unwrap();
    drop(storage);
    let ledger = open(&vfs);
    assert_eq!(told(&ledger, "a"), ["created", "removed", "created?", "to ready?", "to running"]);
    assert_eq!(ledger.get("a").unwrap().unwrap().version, 5);
}
