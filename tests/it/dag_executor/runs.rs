//! dag-executor's executor on the store: what its runs come to, and what the history says of them afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dag_executor::advanced::{Backoff, RetryPolicy};
use dag_executor::context::Context;
use dag_executor::prelude::{BasicTask, Dag, DagExecutor, ExecutionReport, StatefulTask, Task, TaskError};
use dag_executor::state::{TaskRecord, TaskState as TheirState};
use dag_executor::storage::{MemoryStorage, Storage};
use dag_executor::tasks::StepResult;
use serde_json::{Value, json};
use taskledger::{At, Filter, TaskState};

use super::{Spy, assert_every_save_is_in_the_history, history, in_dir, key, told};
use crate::support::taskledger;

/// A task that counts its runs, fails so many times first, and then gives its id.
fn task(id: &str, deps: &[&str], fails: usize) -> (Arc<dyn Task>, Arc<AtomicUsize>) {
    let (runs, counted, name) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), id.to_owned());
    let counter = counted.clone();
    let task = BasicTask::new(id, move |_: Arc<Context>| {
        let (runs, counter, name) = (runs.clone(), counter.clone(), name.clone());
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            if runs.fetch_add(1, Ordering::SeqCst) < fails {
                return Err(TaskError::execution(format!("{name} is not up to it")));
            }
            Ok(json!({"by": name}))
        }
    });
    (Arc::new(task.with_deps(deps.iter().map(|dep| (*dep).to_owned()))), counted)
}

fn executor(storage: Arc<dyn Storage>) -> DagExecutor {
    let retry = RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed(Duration::ZERO), jitter: false };
    DagExecutor::builder().storage(storage).retry(retry).build()
}

/// A fine task, a flaky one, a hopeless one, and what depends on each of them.
fn dag() -> Dag {
    let mut dag = Dag::new();
    for (id, deps, fails) in [
        ("fine", &[][..], 0),
        ("flaky", &[], 2),
        ("hopeless", &[], 9),
        ("after fine", &["fine", "flaky"], 0),
        ("after hopeless", &["hopeless"], 0),
        ("long after", &["after hopeless"], 0),
    ] {
        dag.add_task(task(id, deps, fails).0).unwrap();
    }
    dag
}

/// State, attempts, output and error by id: what does not depend on the clock.
fn gist(report: &ExecutionReport) -> BTreeMap<String, (String, u32, Option<Value>, Option<String>)> {
    let gist =
        |record: &TaskRecord| (record.state.to_string(), record.attempts, record.output.clone(), record.error.clone());
    report.records.iter().map(|(id, record)| (id.clone(), gist(record))).collect()
}

#[tokio::test]
async fn a_run_comes_to_the_same_as_on_their_store_and_every_save_is_in_the_history() {
    let theirs = executor(Arc::new(MemoryStorage::new())).run(dag()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(Spy::new(in_dir(dir.path())));
    let executor = executor(storage.clone());
    let ours = executor.run(dag()).await.unwrap();
    assert_eq!(gist(&ours), gist(&theirs));

    let ledger = storage.inner.ledger();
    for (id, record) in &ours.records {
        assert_eq!(storage.load(&key(id)).await.unwrap(), Some(serde_json::to_value(record).unwrap()), "{id}");
        assert_every_save_is_in_the_history(ledger, id, &storage.saved(&key(id)));
    }
    let ran = ["created?", "to ready?", "to running"];
    for (id, end) in [
        ("fine", &["to completed"][..]),
        ("flaky", &["to completed"]),
        ("after fine", &["to completed"]),
        ("hopeless", &["to failed?", "to dead_lettered"]),
    ] {
        assert_eq!(told(ledger, id), [&ran, end].concat(), "{id}");
    }
    assert_eq!(told(ledger, "long after"), ["created?", "to skipped"]);
    assert_eq!(history(ledger, "flaky")[3].event.attempts_set(), Some(3));
    assert_eq!(ledger.list(Filter::new()).unwrap().tasks.len(), 6, "a dead letter is no task");
    let counts = ledger.counts();
    assert_eq!((counts.of(TaskState::Completed), counts.of(TaskState::Skipped), counts.total()), (3, 2, 6));

    let letters = executor.dead_letter().list().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].task_id.as_str(), letters[0].attempts), ("hopeless", 3));
    assert_eq!(letters[0].error, "task execution failed: hopeless is not up to it");
    executor.dead_letter().remove("hopeless").await.unwrap();
    assert!(executor.dead_letter().list().await.unwrap().is_empty());

    // The past is there, too: when the hopeless one was running, nobody had given up on it.
    let running = history(ledger, "hopeless")[2].seq;
    let then = ledger.as_of(At::Seq(running)).unwrap();
    assert_eq!(then.get("hopeless").unwrap().unwrap().record.state, TaskState::Running);
}

/// Killed after any save and started again, the executor does on our store what it does on its own, its mistakes included:
/// where a cascade of skips was cut, what was not skipped yet stays pending.
#[tokio::test]
async fn from_any_save_on_it_resumes_as_on_their_store() {
    let whole = Arc::new(Spy::new(MemoryStorage::new()));
    executor(whole.clone()).run(dag()).await.unwrap();
    let saves = whole.saves();
    assert!(saves.len() > 10, "{saves:?}");
    let mut left_pending = 0;
    for kept in 0..=saves.len() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (Arc::new(Spy::new(MemoryStorage::new())), Arc::new(Spy::new(in_dir(dir.path()))));
        let mut ends = Vec::new();
        for storage in [theirs.clone() as Arc<dyn Storage>, ours.clone()] {
            for (key, value) in &saves[..kept] {
                storage.save(key, value).await.unwrap();
            }
            let report = executor(storage.clone()).run(dag()).await.unwrap();
            for (id, record) in &report.records {
                let loaded = storage.load(&key(id)).await.unwrap();
                if loaded.is_some() {
                    assert_eq!(loaded, Some(serde_json::to_value(record).unwrap()), "{id} after {kept} saves");
                }
            }
            let mut keys = storage.list().await.unwrap();
            keys.sort();
            ends.push((gist(&report), keys));
        }
        assert_eq!(ends[1], ends[0], "after {kept} saves");
        let again = |spy: &[(String, Value)]| {
            let mut keys: Vec<String> = spy[kept..].iter().map(|(key, _)| key.clone()).collect();
            keys.sort();
            keys
        };
        assert_eq!(again(&ours.saves()), again(&theirs.saves()), "what ran, after {kept} saves");
        left_pending += ends[0].0.values().filter(|(state, ..)| state == "pending").count();
        for id in ends[0].0.keys() {
            assert_every_save_is_in_the_history(ours.inner.ledger(), id, &ours.saved(&key(id)));
        }
    }
    assert!(left_pending > 0, "the cascade was never cut");
}

#[tokio::test]
async fn the_command_line_shows_the_run() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = Arc::new(in_dir(dir.path()));
        executor(storage).run(dag()).await.unwrap();
    }
    let output = taskledger().arg("-D").arg(dir.path()).args(["history", "hopeless", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let moves: Vec<&str> = entries.iter().map(|entry| entry["to"].as_str().unwrap()).collect();
    assert_eq!(moves, ["pending", "ready", "running", "failed", "dead_lettered"]);
    let inferred: Vec<bool> = entries.iter().map(|entry| entry["inferred"] == json!(true)).collect();
    assert_eq!(inferred, [true, true, false, true, false]);
    assert_eq!(entries[4]["error"], json!("task execution failed: hopeless is not up to it"));
    let output = taskledger().arg("-D").arg(dir.path()).args(["ls", "--json"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("\"taskledger.task/1\"").count(), 6, "a dead letter is no task: {shown}");
}

#[tokio::test]
async fn what_is_completed_does_not_run_again_and_its_output_is_there_for_others() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let storage = Arc::new(in_dir(dir.path()));
        let (mut dag, (first, runs)) = (Dag::new(), task("first", &[], 0));
        dag.add_task(first).unwrap();
        let second = BasicTask::new("second", move |context: Arc<Context>| async move {
            if round == 0 { Err(TaskError::Cancelled) } else { Ok(context.get("first").unwrap_or(json!("lost"))) }
        });
        dag.add_task(Arc::new(second.with_deps(["first".to_owned()]))).unwrap();
        if round == 1 {
            // Cancelled is an end; somebody has to say that it shall run again.
            storage.delete(&key("second")).await.unwrap();
        }
        let report = executor(storage.clone()).run(dag).await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(round == 0), "round {round}");
        assert_eq!(report.records["second"].output, (round > 0).then(|| json!({"by": "first"})), "round {round}");
        assert_eq!(told(storage.ledger(), "first").len(), 4, "round {round}");
    }
}

#[tokio::test]
async fn an_orphan_runs_again_and_the_history_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(Spy::new(in_dir(dir.path())));
    let mut orphan = TaskRecord::new("a");
    assert!(orphan.transition(TheirState::Ready) && orphan.transition(TheirState::Running));
    // It was running for a while before its process died.
    orphan.started_at = orphan.started_at.map(|at| at - 1000);
    orphan.updated_at -= 1000;
    storage.save(&key("a"), &serde_json::to_value(&orphan).unwrap()).await.unwrap();
    let (again, runs) = task("a", &[], 0);
    let mut dag = Dag::new();
    dag.add_task(again).unwrap();
    assert!(executor(storage.clone()).run(dag).await.unwrap().is_success());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let ledger = storage.inner.ledger();
    let expected =
        ["created?", "to ready?", "to running", "requeued pending?", "to ready?", "to running", "to completed"];
    assert_eq!(told(ledger, "a"), expected);
    assert_every_save_is_in_the_history(ledger, "a", &storage.saved(&key("a")));
}

#[tokio::test]
async fn checkpoints_of_a_stateful_task_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..4 {
        let storage: Arc<dyn Storage> = Arc::new(in_dir(dir.path()));
        let counting = StatefulTask::new("counting", storage.clone(), |_, state: Value| async move {
            let count = state["count"].as_u64().unwrap_or(0) + 1;
            Ok(StepResult::new(json!({"count": count, "half": count as f64 / 2.0}), json!(count)))
        });
        let mut dag = Dag::new();
        dag.add_task(Arc::new(counting)).unwrap();
        storage.delete(&key("counting")).await.unwrap();
        let report = executor(storage.clone()).run(dag).await.unwrap();
        assert_eq!(report.records["counting"].output, Some(json!(round)));
        let state = json!({"count": round, "half": f64::from(round) / 2.0});
        assert_eq!(storage.load("state:counting").await.unwrap(), Some(state));
    }
}
