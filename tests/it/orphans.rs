//! `recover_orphans` against dag-executor's own repair, and where it is interrupted or not alone.

use std::collections::HashMap;
use std::sync::Arc;

use dag_executor::state::{StateValidator, TaskRecord as TheirRecord};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::{At, Batch, Error, Event, Expect, Filter, Ledger, Maintenance, Options, Seq, TaskRecord, TaskState};

use crate::support::number;

fn options(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(64 << 10).maintenance(Maintenance::Manual)
}

/// A ledger with one task for each of these.
fn ledger_of(tasks: &[(TaskState, u32)]) -> (MemVfs, Ledger) {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).open("/l").unwrap();
    for (first, some) in tasks.chunks(1000).enumerate() {
        let mut batch = Batch::new();
        for (n, (state, attempts)) in some.iter().enumerate() {
            let id = format!("t{}", first * 1000 + n);
            batch.push(id, Event::observed(*state).attempts(*attempts), Expect::Absent);
        }
        ledger.commit(batch).unwrap();
    }
    (vfs, ledger)
}

fn records(ledger: &Ledger) -> HashMap<String, TaskRecord> {
    let tasks = ledger.list(Filter::new()).unwrap().tasks;
    tasks.into_iter().map(|task| (task.record.id.clone(), task.record)).collect()
}

/// What must be equal: state by its name, and attempts.
fn gist(records: &HashMap<String, TaskRecord>) -> HashMap<String, (String, u32)> {
    let gist = |record: &TaskRecord| (record.state.name().to_owned(), record.attempts);
    records.iter().map(|(id, record)| (id.clone(), gist(record))).collect()
}

/// What dag-executor makes of the same records.
fn repaired(records: &HashMap<String, TaskRecord>, max_attempts: u32) -> HashMap<String, (String, u32)> {
    let json = serde_json::to_value(records).unwrap();
    let mut theirs: HashMap<String, TheirRecord> = serde_json::from_value(json).unwrap();
    StateValidator::new().repair(&mut theirs, max_attempts);
    let ours: HashMap<String, TaskRecord> = serde_json::from_value(serde_json::to_value(theirs).unwrap()).unwrap();
    gist(&ours)
}

#[test]
fn it_comes_to_what_dag_executor_comes_to() {
    let seed = RngSeed::Fixed(number("TASKLEDGER_SEED").unwrap_or(20_260_301));
    let cases = number("TASKLEDGER_CASES").map_or(64, |cases| cases as u32);
    let mut runner = TestRunner::new(Config { cases, rng_seed: seed, failure_persistence: None, ..Config::default() });
    let states = proptest::sample::select(TaskState::ALL.to_vec());
    let tasks = proptest::collection::vec((states, 0..6_u32), 0..40);
    let checked = runner.run(&(tasks, 0..5_u32), |(tasks, max_attempts)| {
        let (vfs, ledger) = ledger_of(&tasks);
        let expected = repaired(&records(&ledger), max_attempts);
        let before = ledger.head().0;
        let recovered = ledger.recover_orphans(max_attempts).unwrap();
        prop_assert_eq!(gist(&records(&ledger)), expected.clone());
        prop_assert_eq!(ledger.head().0 - before, recovered.requeued + recovered.failed + recovered.clamped);
        let head = ledger.head();
        prop_assert_eq!(ledger.recover_orphans(max_attempts).unwrap(), taskledger::Recovered::default());
        prop_assert_eq!(ledger.head(), head, "a second call appends nothing");
        drop(ledger);
        prop_assert_eq!(gist(&records(&options(&vfs).open("/l").unwrap())), expected);
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("seed {seed:?}: {error}"));
}

#[test]
fn the_history_says_why() {
    let (_, ledger) = ledger_of(&[(TaskState::Running, 1), (TaskState::Retrying, 5), (TaskState::Completed, 9)]);
    let recovered = ledger.recover_orphans(3).unwrap();
    assert_eq!((recovered.requeued, recovered.failed, recovered.clamped), (1, 1, 2));
    let told = |task: &str| -> Vec<(&str, String)> {
        let entries = ledger.history(task).unwrap().skip(1).map(Result::unwrap);
        entries.map(|entry| (entry.event.kind().name(), entry.event.reason().unwrap().to_owned())).collect()
    };
    assert_eq!(told("t0"), [("requeued", "its executor is gone".to_owned())]);
    let failed = ("transitioned", "its executor is gone, and no attempt is left".to_owned());
    let clamped = ("updated", "more attempts than are allowed".to_owned());
    assert_eq!(told("t1"), [failed, clamped.clone()]);
    assert_eq!(told("t2"), [clamped]);
    let failed = ledger.get("t1").unwrap().unwrap().record;
    assert!(failed.finished_at.is_some(), "a task that failed has ended");
    assert_eq!(ledger.get("t0").unwrap().unwrap().record.started_at, None);
}

#[test]
fn more_orphans_than_one_batch_holds_are_all_taken_back() {
    let (_, ledger) = ledger_of(&vec![(TaskState::Running, 4); 12_345]);
    let recovered = ledger.recover_orphans(3).unwrap();
    assert_eq!((recovered.requeued, recovered.failed, recovered.clamped), (0, 12_345, 12_345));
    assert_eq!(ledger.counts().of(TaskState::Failed), 12_345);
    // In batches of 10 000 events, the last one smaller: only where one ends does a moment split none.
    let splits = |seq: u64| ledger.as_of(At::Seq(Seq(seq))).unwrap().splits_a_batch();
    for end in [12_345, 22_345, 32_345, 37_035] {
        assert!(!splits(end), "a batch ends at {end}");
        assert!(end == 12_345 || (1..20).all(|n| splits(end - n * 200 - 1)), "no batch ends shortly before {end}");
    }
}

#[test]
fn what_a_failure_interrupts_goes_on_from_there() {
    let (vfs, ledger) = ledger_of(&vec![(TaskState::Running, 0); 12_345]);
    // Each of its first syncs fails in turn, until none does.
    let mut ledger = Some(ledger);
    for sync in 0..40 {
        let open = ledger.take().unwrap_or_else(|| options(&vfs).open("/l").unwrap());
        let skip = vfs.calls() + sync;
        vfs.fail_at(skip, Fault::new(5).only(CallKind::SyncData).with(Effect::Error));
        let ended = open.recover_orphans(1);
        vfs.clear_faults();
        match ended {
            Ok(_) => ledger = Some(open),
            Err(Error::Unknown { .. } | Error::Poisoned { .. } | Error::Io { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let ledger = ledger.unwrap_or_else(|| options(&vfs).open("/l").unwrap());
    ledger.recover_orphans(1).unwrap();
    assert_eq!(ledger.counts().of(TaskState::Pending), 12_345);
    assert_eq!(ledger.head(), Seq(2 * 12_345), "no task was taken back twice");
}

#[test]
fn a_task_that_moves_meanwhile_is_left_alone() {
    let (_, ledger) = ledger_of(&vec![(TaskState::Running, 0); 300]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                // It may have been taken back already; then this is refused.
                let _ = ledger.append_if(format!("t{n}"), Event::to(TaskState::Completed), Expect::Version(1));
            }
        });
        let recovery = scope.spawn(|| ledger.recover_orphans(1).unwrap());
        let recovered = recovery.join().unwrap();
        assert!(recovered.requeued + recovered.moved <= 300, "{recovered:?}");
    });
    for (id, record) in records(&ledger) {
        let versions = ledger.history(&id).unwrap().count();
        assert_eq!(versions, 2, "{id} was moved once, by one of the two");
        assert!(matches!(record.state, TaskState::Completed | TaskState::Pending), "{id} is {}", record.state);
    }
}

#[test]
fn what_is_placed_and_not_yet_shown_counts_as_moved() {
    let (_, ledger) = ledger_of(&[(TaskState::Running, 0), (TaskState::Running, 0), (TaskState::Completed, 9)]);
    // Their records still show what was before.
    drop(ledger.submit("t1", Event::to(TaskState::Completed)).unwrap());
    drop(ledger.submit("t2", Event::updated().attempts(8)).unwrap());
    let recovered = ledger.recover_orphans(1).unwrap();
    assert_eq!((recovered.requeued, recovered.failed, recovered.clamped, recovered.moved), (1, 0, 0, 2));
    let found = gist(&records(&ledger));
    assert_eq!(found["t0"].0, "pending");
    assert_eq!(found["t1"].0, "completed");
    assert_eq!(found["t2"].1, 8, "whoever set it lives");
    assert_eq!(ledger.recover_orphans(1).unwrap().clamped, 1, "the next call looks at it again");
}
