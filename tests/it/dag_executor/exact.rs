//! `load` gives what was saved last, whatever that was; and what events cannot carry still shows in the history.

use std::collections::BTreeMap;

use dag_executor::storage::Storage;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use taskledger::{Event, Filter, TaskState, limits};

use super::{NOON, history, key, noon, open, record, running, told};
use crate::support::number;

/// The JSON of a value with every number's text: it tells 1 from 1.0, and 0.0 from -0.0.
fn text(value: &Value) -> String {
    value.to_string()
}

fn numbers() -> impl Strategy<Value = Value> {
    let odd = [
        "0",
        "-0.0",
        "1.0",
        "1e-7",
        "0.1",
        "1.7976931348623157e308",
        "5e-324",
        "2.2250738585072014e-308",
        "123456789.12345679",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "4294967296",
        "1772366400000.0",
        "-1",
    ];
    let odd = odd.map(|text| serde_json::from_str::<Value>(text).unwrap());
    prop_oneof![
        proptest::sample::select(odd.to_vec()),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    let odd =
        ["", "null", "\u{0}", "\u{7f}\"\\/", "ünï ✓ 𝄞", "e\u{301}", "\u{feff}", "running", "{\"completed\":null}"];
    prop_oneof![proptest::sample::select(odd.to_vec()).prop_map(str::to_owned), ".{0,12}"]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), numbers(), texts().prop_map(Value::from),];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(texts(), inner, 0..5).prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// A time that a record may hold.
fn times() -> impl Strategy<Value = u64> {
    let odd = [0, 1, NOON - 3_600_000, NOON - 1, NOON, NOON + 1, NOON + 300_000, NOON + 300_001, 1 << 48, u64::MAX];
    proptest::sample::select(odd.to_vec())
}

/// A record as some program may write it: mostly well, sometimes with a field that is missing, of another kind, or new.
fn records() -> impl Strategy<Value = Value> {
    let state = prop_oneof![
        20 => proptest::sample::select(TaskState::ALL.to_vec()).prop_map(|state| json!(state)),
        1 => Just(json!("Running")),
        1 => Just(json!({"completed": null})),
    ];
    let optional = || prop_oneof![Just(Value::Null), times().prop_map(Value::from)];
    let good = (
        (state, prop_oneof![0..4_u32, Just(u32::MAX)], times(), times(), optional(), optional()),
        prop_oneof![Just(Value::Null), values()],
        prop_oneof![Just(Value::Null), texts().prop_map(Value::from)],
        proptest::collection::btree_map(texts(), texts(), 0..4),
    );
    let good = good.prop_map(|((state, attempts, created, updated, started, finished), output, error, metadata)| {
        let metadata: BTreeMap<String, String> = metadata;
        record(
            "a",
            json!({
                "state": state, "attempts": attempts, "created_at": created, "updated_at": updated, "started_at": started,
                "finished_at": finished, "output": output, "error": error, "metadata": metadata,
            }),
        )
    });
    let good = good.boxed();
    let fields = ["id", "state", "attempts", "created_at", "started_at", "output", "error", "metadata", "priority"];
    let spoiled =
        (good.clone(), proptest::sample::select(fields.to_vec()), prop_oneof![Just(None), values().prop_map(Some)]);
    let spoiled = spoiled.prop_map(|(mut record, field, value)| {
        match value {
            Some(value) => record.as_object_mut().unwrap().insert(field.to_owned(), value),
            None => record.as_object_mut().unwrap().remove(field),
        };
        record
    });
    prop_oneof![4 => good, 2 => spoiled, 1 => values()]
}

#[derive(Debug, Clone)]
enum Step {
    Save(&'static str, Value),
    Delete(&'static str),
    /// By somebody else, to the task itself.
    Append(TaskState),
    /// Likewise.
    Remove,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || proptest::sample::select(vec!["record:a", "dlq:a", "record:"]);
    let step = prop_oneof![
        12 => (keys(), records()).prop_map(|(key, value)| Step::Save(key, value)),
        2 => keys().prop_map(Step::Delete),
        1 => proptest::sample::select(TaskState::ALL.to_vec()).prop_map(Step::Append),
        1 => Just(Step::Remove),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..12)
}

#[test]
fn whatever_was_saved_last_is_loaded_equal_as_json() {
    let seed = RngSeed::Fixed(number("TASKLEDGER_SEED").unwrap_or(20_260_301));
    let cases = number("TASKLEDGER_CASES").map_or(384, |cases| cases as u32);
    let mut runner = TestRunner::new(Config { cases, rng_seed: seed, failure_persistence: None, ..Config::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let checked = runner.run(&steps(), |steps| {
        let (vfs, mut storage) = noon();
        let mut expected: BTreeMap<&str, Value> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Save(key, value) => {
                    runtime.block_on(storage.save(key, &value)).unwrap();
                    expected.insert(key, value);
                }
                Step::Delete(key) => {
                    runtime.block_on(storage.delete(key)).unwrap();
                    expected.remove(key);
                }
                Step::Append(state) => {
                    storage.ledger().append("a", Event::observed(state)).unwrap();
                    let task = storage.ledger().get("a").unwrap().unwrap();
                    expected.insert("record:a", serde_json::to_value(task.record).unwrap());
                }
                Step::Remove => {
                    if storage.ledger().get("a").unwrap().is_some() {
                        storage.ledger().append("a", Event::removed()).unwrap();
                        expected.remove("record:a");
                    }
                }
                Step::Reopen => {
                    drop(storage);
                    storage = taskledger::LedgerStorage::new(open(&vfs));
                }
            }
            for key in ["record:a", "dlq:a", "record:"] {
                let loaded = runtime.block_on(storage.load(key)).unwrap();
                prop_assert_eq!(loaded.as_ref().map(text), expected.get(key).map(text), "{}", key);
            }
            let mut keys = runtime.block_on(storage.list()).unwrap();
            keys.sort();
            prop_assert_eq!(keys, expected.keys().copied().collect::<Vec<_>>());
        }
        let tasks = storage.ledger().list(Filter::new()).unwrap().tasks;
        prop_assert!(tasks.iter().all(|task| task.record.id == "a"), "nothing else looks like a task");
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("seed {seed:?}: {error}"));
}

/// Records that events cannot carry, and whether their move shows in the history all the same.
fn too_much() -> Vec<(&'static str, Value, bool)> {
    let done = |fields: Value| {
        let mut done = record(
            "a",
            json!({"state": "completed", "attempts": 1, "updated_at": NOON, "started_at": NOON - 1, "finished_at": NOON}),
        );
        done.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        done
    };
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let keys = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let mut without_error = done(json!({}));
    without_error.as_object_mut().unwrap().remove("error");
    vec![
        ("an unknown field", done(json!({"priority": 7})), true),
        ("a field that is missing", without_error, true),
        ("another id", done(json!({"id": "b"})), true),
        ("a state said in another way", done(json!({"state": {"completed": null}})), true),
        ("an error over 64 KiB", done(json!({"error": "é".repeat((limits::ERROR_BYTES_MAX / 2) + 1)})), true),
        ("an output over 8 MiB", done(json!({"output": "x".repeat(limits::OUTPUT_BYTES_MAX)})), true),
        ("an output 65 deep", done(json!({"output": nested(65)})), true),
        ("257 metadata keys", done(json!({"metadata": keys(257)})), true),
        ("a metadata key over 255 bytes", done(json!({"metadata": {"k".repeat(256): "v"}})), true),
        ("an empty metadata key", done(json!({"metadata": {"": "v"}})), true),
        ("a metadata value over 64 KiB", done(json!({"metadata": {"k": "v".repeat((64 << 10) + 1)}})), true),
        ("attempts below 0", done(json!({"attempts": -1})), false),
        ("no record", json!([1, 2, 3]), false),
        ("nothing", json!(null), false),
    ]
}

#[tokio::test]
async fn what_events_cannot_carry_is_kept_whole_and_its_move_shows() {
    for (name, value, moves) in too_much() {
        let (vfs, storage) = noon();
        storage.save(&key("a"), &running("a", NOON - 1)).await.unwrap();
        storage.save(&key("a"), &value).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(storage.load(&key("a")).await.unwrap().as_ref() == Some(&value), "{name}");
        let ledger = storage.ledger();
        let task = ledger.get("a").unwrap().unwrap();
        let last = history(ledger, "a").pop().unwrap();
        if moves {
            assert_eq!((task.record.state, task.record.finished_at), (TaskState::Completed, Some(NOON)), "{name}");
            let why = "events cannot carry all of the record; the note under its key has it whole";
            assert_eq!(last.event.reason(), Some(why), "{name}");
        } else {
            assert_eq!(task.record.state, TaskState::Running, "{name}");
        }
        assert_eq!(storage.list().await.unwrap(), [key("a")], "{name}: once, not as task and note");
        // It is so after opening again, too; and the next record takes the note away.
        drop(storage);
        let storage = taskledger::LedgerStorage::new(open(&vfs));
        assert!(storage.load(&key("a")).await.unwrap().as_ref() == Some(&value), "{name}");
        let next = record("a", json!({"state": "cancelled", "updated_at": NOON, "finished_at": NOON}));
        storage.save(&key("a"), &next).await.unwrap();
        assert_eq!(storage.load(&key("a")).await.unwrap(), Some(next), "{name}");
        assert_eq!(storage.ledger().note(&key("a")).unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn more_changes_of_metadata_than_one_event_names_are_kept_whole_too() {
    let (_, storage) = noon();
    let keys = |name: &str| (0..200).map(|n| (format!("{name}{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    storage.save(&key("a"), &record("a", json!({"metadata": keys("old")}))).await.unwrap();
    let wanted = record("a", json!({"state": "ready", "updated_at": NOON, "metadata": keys("new")}));
    storage.save(&key("a"), &wanted).await.unwrap();
    assert_eq!(storage.load(&key("a")).await.unwrap(), Some(wanted));
    assert_eq!(told(storage.ledger(), "a"), ["created", "to ready"]);
    assert!(storage.ledger().get("a").unwrap().unwrap().record.metadata.is_empty(), "the note has them");
}

#[tokio::test]
async fn of_a_long_error_the_history_has_the_beginning() {
    let (_, storage) = noon();
    let long = format!("cannot reach the host: {}", "é".repeat(limits::ERROR_BYTES_MAX));
    let failed = json!({"state": "failed", "error": long, "updated_at": NOON, "started_at": NOON, "finished_at": NOON});
    storage.save(&key("a"), &record("a", failed.clone())).await.unwrap();
    let task = storage.ledger().get("a").unwrap().unwrap();
    let error = task.record.error.unwrap();
    assert!(error.starts_with("cannot reach the host: é") && error.len() <= limits::ERROR_BYTES_MAX);
    assert!(error.ends_with(" ... (the note has the rest)"), "{}", &error[error.len() - 40..]);
    assert_eq!(told(storage.ledger(), "a"), ["created?", "to ready?", "to running?", "to failed"]);
    assert_eq!(storage.load(&key("a")).await.unwrap(), Some(record("a", failed)));
}

#[tokio::test]
async fn the_largest_values_that_a_note_takes_are_kept_and_larger_ones_refused() {
    let (_, storage) = noon();
    let largest = json!("x".repeat(limits::NOTE_VALUE_BYTES_MAX - 2));
    let larger = json!("x".repeat(limits::NOTE_VALUE_BYTES_MAX - 1));
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    for key in ["k", "record:a"] {
        for (kept, refused) in [(&largest, &larger), (&nested(127), &nested(128))] {
            storage.save(key, kept).await.unwrap();
            let refusal = storage.save(key, refused).await.unwrap_err();
            assert!(matches!(super::inner(&refusal), taskledger::Error::Limit { .. }), "{refusal:?}");
            assert!(storage.load(key).await.unwrap().as_ref() == Some(kept), "what was there stays");
        }
    }
    // A record that nothing can take does not move the task either.
    storage.save(&key("b"), &running("b", NOON)).await.unwrap();
    let refused = record("b", json!({"state": "completed", "output": larger}));
    storage.save(&key("b"), &refused).await.unwrap_err();
    assert_eq!(storage.load(&key("b")).await.unwrap(), Some(running("b", NOON)));
}
