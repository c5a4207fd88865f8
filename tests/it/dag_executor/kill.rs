//! An executor in a process of its own, killed at any moment and started again until it is done: what was told to be saved
//! is there, what was completed does not run again, and all ends as if nothing had happened.
//!
//! `TASKLEDGER_SEED` chooses other moments. A failure prints the seed and the round, and leaves its directory.
#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dag_executor::advanced::{Backoff, RetryPolicy};
use dag_executor::context::Context;
use dag_executor::prelude::{BasicTask, Dag, DagExecutor, StatefulTask, TaskError};
use dag_executor::storage::{MemoryStorage, Storage, StorageResult};
use dag_executor::tasks::StepResult;
use serde_json::{Value, json};
use taskledger::{Filter, Ledger, Level, Task, TaskState, Verdict, verify};

use super::{history, in_dir};
use crate::kill::Killed;
use crate::support::{Rng, number, say, taskledger};

const SEED: u64 = 20_260_301;
/// How many workflows are brought to their end.
const WORKFLOWS: u64 = 4;
/// How many tasks stand side by side, and how many such rows there are.
const WIDTH: usize = 6;
const ROWS: usize = 7;
/// Names the directory to a child.
const DIR: &str = "TASKLEDGER_DAG_CHILD_DIR";

/// Says what it does, before and after.
struct Telling<S>(S);

fn tell(line: &str) {
    if std::env::var_os(DIR).is_none() {
        return; // nobody listens to the undisturbed run
    }
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

#[async_trait]
impl<S: Storage> Storage for Telling<S> {
    async fn save(&self, key: &str, value: &Value) -> StorageResult<()> {
        tell(&format!("saving {key}"));
        self.0.save(key, value).await?;
        tell(&format!("saved {}", json!([key, value])));
        Ok(())
    }

    async fn load(&self, key: &str) -> StorageResult<Option<Value>> {
        self.0.load(key).await
    }

    async fn delete(&self, key: &str) -> StorageResult<()> {
        self.0.delete(key).await
    }

    async fn list(&self) -> StorageResult<Vec<String>> {
        self.0.list().await
    }
}

/// Leaves a mark outside of the ledger: this task has run once more.
fn mark(dir: &Path, id: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join(id)).expect("a mark");
    file.write_all(b"x").expect("a mark");
    tell(&format!("ran {id}"));
}

fn runs(dir: &Path, id: &str) -> u64 {
    fs::metadata(dir.join(id)).map_or(0, |file| file.len())
}

/// Rows of tasks that depend on two of the row before; a flaky one, a hopeless one with two that depend on it, and one that
/// counts in steps which it saves.
fn dag(marks: &Path, storage: &Arc<dyn Storage>) -> Dag {
    let mut dag = Dag::new();
    let mut add = |id: String, deps: Vec<String>, fails: u64| {
        let (marks, name, tried) = (marks.to_owned(), id.clone(), Arc::new(AtomicU64::new(0)));
        let needed = deps.clone();
        let body = move |context: Arc<Context>| {
            let (marks, name, tried, needed) = (marks.clone(), name.clone(), tried.clone(), needed.clone());
            async move {
                mark(&marks, &name);
                if tried.fetch_add(1, Ordering::SeqCst) < fails {
                    return Err(TaskError::execution("not yet"));
                }
                // What it depends on may have been completed by a process that is gone.
                Ok(json!({"by": name, "knows": needed.iter().map(|dep| context.get(dep)).collect::<Vec<_>>()}))
            }
        };
        dag.add_task(Arc::new(BasicTask::new(id, body).with_deps(deps))).expect("ids differ");
    };
    for row in 0..ROWS {
        for place in 0..WIDTH {
            let before = |place: usize| format!("r{}-{}", row - 1, place % WIDTH);
            let deps = if row == 0 { vec![] } else { vec![before(place), before(place + 1)] };
            add(format!("r{row}-{place}"), deps, 0);
        }
    }
    add("flaky".to_owned(), vec!["r1-0".to_owned()], 2);
    add("hopeless".to_owned(), vec!["r1-1".to_owned()], u64::MAX);
    add("skipped".to_owned(), vec!["hopeless".to_owned()], 0);
    add("skipped too".to_owned(), vec!["skipped".to_owned()], 0);
    let step = |_, state: Value| async move {
        let done = StepResult::new(json!({"steps": state["steps"].as_u64().unwrap_or(0) + 1}), json!("counted"));
        Ok(done)
    };
    let counting = StatefulTask::new("counting", storage.clone(), step).with_deps(["r2-0"]);
    dag.add_task(Arc::new(counting)).expect("ids differ");
    dag
}

async fn run(marks: &Path, storage: Arc<dyn Storage>) {
    let retry = RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed(Duration::ZERO), jitter: false };
    let executor = DagExecutor::builder().storage(storage.clone()).retry(retry).build();
    executor.run(dag(marks, &storage)).await.expect("the run ends");
}

/// Not a test: the process that the test below starts and kills.
#[test]
#[ignore = "the child of another test"]
fn child_executor() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let storage = in_dir(&dir.join("ledger"));
        tell("opened");
        run(&dir.join("marks"), Arc::new(Telling(storage))).await;
    });
    tell("done");
}

/// Starts an executor, kills it once it has said so many lines, and gives all that it said.
fn run_and_kill(dir: &Path, after: u64) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its own file"));
    command.args(["--exact", "dag_executor::kill::child_executor", "--ignored", "--nocapture"]);
    command.env(DIR, dir).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Killed(command.spawn().expect("the child runs"));
    let mut out = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut lines = Vec::new();
    let mut line = String::new();
    while out.read_line(&mut line).expect("the pipe can be read") > 0 {
        let words = ["opened", "saving ", "saved ", "ran ", "done"];
        // The test harness talks, too; and the kill may have cut the last line.
        if line.ends_with('\n') && words.iter().any(|word| line.starts_with(word)) {
            lines.push(line.trim_end().to_owned());
            if lines.len() as u64 == after {
                child.0.kill().expect("it can be killed");
            }
        }
        line.clear();
    }
    lines
}

/// What of a record does not depend on the clock.
fn gist(record: &Value) -> Value {
    json!([record["state"], record["attempts"], record["output"], record["error"], record["metadata"]])
}

/// Each task's gist after a run that nothing disturbs, on their own store.
fn undisturbed() -> BTreeMap<String, Value> {
    let marks = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        run(marks.path(), storage.clone()).await;
        let mut records = BTreeMap::new();
        for key in storage.list().await.unwrap() {
            if let Some(id) = key.strip_prefix("record:") {
                records.insert(id.to_owned(), gist(&storage.load(&key).await.unwrap().unwrap()));
            }
        }
        records
    })
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let expected = undisturbed();
    assert_eq!(expected.len(), ROWS * WIDTH + 5);
    let (mut kills, mut orphans_seen, mut unacknowledged, mut moves_seen, mut cascades_cut) = (0, 0, 0, 0, 0);
    for workflow in 0..WORKFLOWS {
        let mut rng = Rng(seed ^ workflow);
        let dir = tempfile::tempdir().unwrap().keep();
        fs::create_dir(dir.join("marks")).unwrap();
        // When each task that a kill left running had started.
        let mut orphans: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        // The executor goes on from what failed to what depends on it, and not from what was skipped: killed in between, it
        // leaves the rest pending for ever, on every store (`runs` holds that).
        let mut cascade_cut = false;
        // What was told to be saved, by key, in order.
        let mut saved: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for round in 0.. {
            let context = format!("TASKLEDGER_SEED={seed}, workflow {workflow}, round {round}, {}", dir.display());
            let completed = completed(&dir);
            let runs_before: BTreeMap<&String, u64> =
                completed.iter().map(|id| (id, runs(&dir.join("marks"), id))).collect();
            let lines = run_and_kill(&dir, 1 + rng.below(60));
            let is_done = lines.last().is_some_and(|line| line == "done");
            kills += u64::from(!is_done);
            for (id, before) in runs_before {
                assert_eq!(runs(&dir.join("marks"), id), before, "{id} was completed and ran again; {context}");
            }
            if !dir.join("ledger/LEDGER").exists() {
                continue; // killed while it was made
            }
            let (running, more) = check_saved(&dir, &lines, &context);
            unacknowledged += more;
            for (key, value) in lines.iter().filter_map(|line| told(line)) {
                saved.entry(key).or_default().push(value);
            }
            for (id, started) in running {
                orphans.entry(id).or_default().insert(started);
            }
            if is_done {
                break;
            }
            cascade_cut |= is_there(&dir, "skipped") && !is_there(&dir, "skipped too");
            assert!(round < 500, "it comes to no end; {context}");
        }
        let context = format!("TASKLEDGER_SEED={seed}, workflow {workflow}, {}", dir.display());
        let mut expected = expected.clone();
        if cascade_cut {
            expected.remove("skipped too");
            cascades_cut += 1;
        }
        check_end(&dir, &expected, &orphans, &context);
        moves_seen += check_histories(&dir, &saved, &orphans, &context);
        fs::remove_dir_all(&dir).unwrap();
        orphans_seen += orphans.values().map(BTreeSet::len).sum::<usize>();
    }
    assert!(kills >= WORKFLOWS * 3, "only {kills} kills hit");
    say(&format!(
        "dag_executor: seed {seed}; {WORKFLOWS} workflows, {kills} kills: {orphans_seen} orphans were taken up again; \
         {moves_seen} saves of records were told and are in the histories; {unacknowledged} were there and not told; \
         {cascades_cut} cascades were cut"
    ));
}

fn is_there(dir: &Path, id: &str) -> bool {
    Ledger::open_read_only(dir.join("ledger")).is_ok_and(|reader| reader.view().get(id).unwrap().is_some())
}

/// The tasks that are completed as of now.
fn completed(dir: &Path) -> BTreeSet<String> {
    let Ok(reader) = Ledger::open_read_only(dir.join("ledger")) else { return BTreeSet::new() };
    let done = reader.view().list(Filter::new().state(TaskState::Completed)).unwrap().tasks;
    done.into_iter().map(|task| task.record.id).collect()
}

/// What a line tells to be saved.
fn told(line: &str) -> Option<(String, Value)> {
    line.strip_prefix("saved ").map(|saved| serde_json::from_str(saved).unwrap())
}

/// Holds that what was told to be saved is there, or a later save that was begun. Gives the tasks that are running
/// with their starts, and how many saves are there that were not told.
fn check_saved(dir: &Path, lines: &[String], context: &str) -> (Vec<(String, u64)>, u64) {
    let storage = in_dir(&dir.join("ledger"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut told: BTreeMap<String, Value> = BTreeMap::new();
    let mut begun: BTreeSet<&str> = BTreeSet::new();
    for line in lines {
        if let Some(key) = line.strip_prefix("saving ") {
            begun.insert(key);
        } else if let Some((key, value)) = self::told(line) {
            begun.remove(key.as_str());
            told.insert(key, value);
        }
    }
    let mut more = 0;
    for (key, value) in told {
        let loaded = runtime.block_on(storage.load(&key)).unwrap();
        if loaded.as_ref() != Some(&value) {
            assert!(begun.contains(key.as_str()), "{key}: {value} was saved, {loaded:?} is there; {context}");
            more += 1;
        }
    }
    let running = storage.ledger().list(Filter::new().state(TaskState::Running)).unwrap().tasks;
    let start = |task: Task| (task.record.id, task.record.started_at.expect("it is running"));
    (running.into_iter().map(start).collect(), more)
}

/// Holds that all ended as in an undisturbed run, and that each kill that left a task running shows in its history.
fn check_end(dir: &Path, expected: &BTreeMap<String, Value>, orphans: &BTreeMap<String, BTreeSet<u64>>, context: &str) {
    let storage = in_dir(&dir.join("ledger"));
    let ledger = storage.ledger();
    let tasks = ledger.list(Filter::new()).unwrap().tasks;
    let found: BTreeMap<String, Value> =
        tasks.iter().map(|task| (task.record.id.clone(), gist(&serde_json::to_value(&task.record).unwrap()))).collect();
    let ids: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for id in ids {
        assert_eq!(found.get(id), expected.get(id), "{id} (left: found); {context}");
    }
    for id in found.keys() {
        let requeued = history(ledger, id).iter().filter(|entry| entry.event.kind().name() == "requeued").count();
        assert_eq!(requeued, orphans.get(id).map_or(0, BTreeSet::len), "{id} was left running so often; {context}");
    }
    let letter = ledger.note("dlq:hopeless").unwrap().expect("a dead letter").value;
    assert_eq!((&letter["attempts"], &letter["error"]), (&json!(3), &json!("task execution failed: not yet")));
    assert!(ledger.note("state:counting").unwrap().expect("a checkpoint").value["steps"].as_u64() >= Some(1));
    drop(storage);
    let report = verify(dir.join("ledger"), Level::Content).unwrap();
    assert_eq!(report.verdict(), Verdict::Sound, "{context}");
}

/// Holds that `taskledger history` shows each record that was told to be saved, in order, as an entry that is not inferred,
/// and each orphan that was taken up again. Gives how many saves were looked up.
fn check_histories(
    dir: &Path,
    saved: &BTreeMap<String, Vec<Value>>,
    orphans: &BTreeMap<String, BTreeSet<u64>>,
    context: &str,
) -> usize {
    let mut looked_up = 0;
    for (key, values) in saved {
        let Some(id) = key.strip_prefix("record:") else { continue };
        let output = taskledger().arg("-D").arg(dir.join("ledger")).args(["history", id, "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}; {context}");
        let shown = String::from_utf8(output.stdout).unwrap();
        let again = shown.matches("a later run took the task up again").count();
        assert_eq!(again, orphans.get(id).map_or(0, BTreeSet::len), "{id}: {shown}; {context}");
        let entries = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut stated = entries.filter(|entry| entry["inferred"] != json!(true));
        for value in values {
            let is_it = |entry: Value| {
                let happened = entry.get("said").unwrap_or(&entry["at"]);
                entry["to"] == value["state"] && *happened == value["updated_at"]
            };
            assert!(stated.any(is_it), "{id}: {value} was saved, and the history does not show it: {shown}; {context}");
        }
        looked_up += values.len();
    }
    looked_up
}
