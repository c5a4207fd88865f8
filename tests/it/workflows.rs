//! Real histories: six production runs of scientific workflows, 9504 events in all, go through the command line into
//! one ledger, and come out as an independent reading of the same lines says.
//!
//! The reading here shares no code with the crate: it folds `serde_json::Value`s by the few rules that these runs
//! need. It is also what the kill tests compare with.
//!
//! The data is in `TASKLEDGER_SHARED` (default `../shared` beside the crate). Without it, or without python3, the
//! tests say so on standard error and pass; with `CI=true` and the data there, a missing python3 is a failure.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use taskledger::{At, Filter, Ledger, Level, Seq, TaskState, Verdict, View};

use crate::support::{say, shared_dir, taskledger};

const EVENTS: usize = 9504;

/// One run: its name, and its events as lines of JSON.
#[derive(Debug, Clone)]
pub struct Run {
    pub name: String,
    pub lines: Vec<String>,
}

/// The six runs in the order of their names; `None`, and a word on standard error, where they cannot be had.
pub fn runs() -> Option<&'static [Run]> {
    static RUNS: OnceLock<Option<Vec<Run>>> = OnceLock::new();
    RUNS.get_or_init(read_runs).as_deref()
}

fn read_runs() -> Option<Vec<Run>> {
    let Some(shared) = shared_dir() else {
        say("SKIPPED the real workflow runs: there is no ../shared with data/wfinstances (TASKLEDGER_SHARED names it)");
        return None;
    };
    let listed = std::fs::read_dir(shared.join("data/wfinstances")).expect("the folder can be listed");
    let files = listed.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    let mut runs = Vec::new();
    for file in files {
        let name = file.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let script = shared.join("tools/wf2events.py");
        let told = match Command::new("python3").arg(script).arg(&file).args(["--run", &name]).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "the runs are there, and python3 is not");
                say("SKIPPED the real workflow runs: there is no python3");
                return None;
            }
            other => other.expect("python3 runs"),
        };
        assert!(told.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&told.stderr));
        let text = String::from_utf8(told.stdout).expect("the script prints UTF-8");
        runs.push(Run { name, lines: text.lines().map(str::to_owned).collect() });
    }
    assert_eq!(runs.len(), 6, "six runs");
    Some(runs)
}

/// What the lines say, read independently of the crate: entries as `taskledger.entry/1`, and the records after any
/// of them.
#[derive(Debug)]
pub struct Reading {
    pub entries: Vec<Value>,
}

impl Reading {
    /// Reads import lines, each with its stated time.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Reading {
        let mut states: HashMap<String, (Value, u64)> = HashMap::new();
        let mut entries = Vec::new();
        let mut latest = 0;
        for line in lines {
            let mut entry: Map<String, Value> = serde_json::from_str(line).expect("a line is a JSON object");
            let stated = entry["at"].as_u64().expect("a time");
            latest = stated.max(latest);
            let task = entry["task"].as_str().expect("a task").to_owned();
            let (state, version) = states.remove(&task).unwrap_or((Value::Null, 0));
            if !state.is_null() {
                entry.insert("from".into(), state);
            }
            let to = entry.entry("to").or_insert_with(|| "pending".into()).clone();
            let stated_version = entry.insert("version".into(), (version + 1).into());
            assert!(stated_version.is_none_or(|stated| stated == version + 1), "{line}");
            entry.insert("type".into(), "taskledger.entry/1".into());
            entry.insert("seq".into(), (entries.len() + 1).into());
            entry.insert("at".into(), latest.into());
            if stated != latest {
                entry.insert("said".into(), stated.into());
            }
            states.insert(task, (to, version + 1));
            entries.push(Value::Object(entry));
        }
        Reading { entries }
    }

    /// The records after the first `count` entries, as `taskledger.task/1`, by id.
    pub fn records(&self, count: usize) -> BTreeMap<String, Value> {
        let mut records: BTreeMap<String, Value> = BTreeMap::new();
        for entry in &self.entries[..count] {
            let id = entry["task"].as_str().expect("a task");
            let time = entry.get("said").unwrap_or(&entry["at"]);
            let record = records.entry(id.to_owned()).or_insert_with(
                || json!({"type": "taskledger.task/1", "id": id, "attempts": 0, "created_at": time, "metadata": {}}),
            );
            record["state"] = entry["to"].clone();
            record["updated_at"] = time.clone();
            record["version"] = entry["version"].clone();
            record["seq"] = entry["seq"].clone();
            match entry["to"].as_str().expect("a state") {
                "running" => record["started_at"] = time.clone(),
                "completed" | "failed" => record["finished_at"] = time.clone(),
                _ => {}
            }
            for field in ["attempts", "output", "error"] {
                if let Some(value) = entry.get(field) {
                    record[field] = value.clone();
                }
            }
            for (key, value) in entry.get("metadata").and_then(Value::as_object).into_iter().flatten() {
                record["metadata"][key] = value.clone();
            }
        }
        records
    }

    /// How many entries were placed at or before a time.
    fn placed_by(&self, time: u64) -> usize {
        self.entries.iter().filter(|entry| entry["at"].as_u64() <= Some(time)).count()
    }

    /// Compares a view with the records after the first `count` entries.
    fn compare(&self, view: &View, count: usize, what: &str) {
        let records = self.records(count);
        assert_eq!(view.seq(), Seq(count as u64), "{what}");
        let listed = view.list(Filter::new()).expect("a list").tasks;
        let found: BTreeMap<String, Value> =
            listed.iter().map(|task| (task.record.id.clone(), to_value(task))).collect();
        assert_eq!(listed.len(), found.len(), "{what}: no task is listed twice");
        compare_maps(&found, &records, what);
        for task in &listed {
            // The record as a program holds it, with all ten fields, also those that a line leaves out.
            let mut record = to_value(&task.record);
            let fields = record.as_object_mut().expect("a record is an object");
            assert_eq!(fields.len(), 10, "{what}: {fields:?}");
            fields.retain(|_, value| !value.is_null());
            let mut expected = records[&task.record.id].clone();
            expected.as_object_mut().expect("an object").retain(|key, _| !["type", "version", "seq"].contains(&&**key));
            assert_eq!(record, expected, "{what}");
            let got = view.get(&task.record.id).expect("a record can be read");
            assert_eq!(got.as_ref(), Some(task), "{what}: get and list agree");
        }
        let counts = view.counts();
        assert_eq!((counts.seq(), counts.total()), (Seq(count as u64), records.len() as u64), "{what}");
        for state in TaskState::ALL {
            let in_state: Vec<&str> = (records.iter())
                .filter(|(_, record)| record["state"] == state.name())
                .map(|(id, _)| id.as_str())
                .collect();
            assert_eq!(counts.of(state), in_state.len() as u64, "{what}: {state}");
            let page = view.list(Filter::new().state(state)).expect("a list");
            let mut ids: Vec<&str> = page.tasks.iter().map(|task| task.record.id.as_str()).collect();
            ids.sort_unstable();
            assert_eq!(ids, in_state, "{what}: {state}");
        }
    }
}

fn compare_maps(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}: {} and {} tasks", found.len(), expected.len());
    for (id, value) in found {
        assert_eq!(value, &expected[id], "{what}: {id}");
    }
}

pub fn to_value(value: &impl serde::Serialize) -> Value {
    // By way of the text, as a reader of the JSON would see it.
    serde_json::from_str(&serde_json::to_string(value).expect("it can be written")).expect("it can be read")
}

fn run(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut command = taskledger();
    command.args(args).arg("-D").arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let ended = child.wait_with_output().expect("it ends");
    // A command that does not read its input has closed it; whether what matters was read is seen in what it did.
    let _ = feeding.join().expect("feeding does not panic");
    ended
}

/// Runs a command that must succeed, and reads the lines of JSON that it prints.
fn asked(dir: &Path, args: &[&str], input: &str) -> Vec<Value> {
    let ended = run(dir, args, input);
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{args:?}: {words}");
    let text = String::from_utf8(ended.stdout).expect("it prints UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {line}"))).collect()
}

/// Imports runs, one command each; the last acknowledgement of each must cover all its lines.
fn import(dir: &Path, runs: &[&Run], appended: bool) {
    for run in runs {
        let told = asked(dir, &["import", "--json", "-"], &(run.lines.join("\n") + "\n"));
        let acks: Vec<&Value> = told.iter().filter(|line| line["type"] == "taskledger.imported/1").collect();
        let lines = run.lines.len() as u64;
        let last = acks.last().unwrap_or_else(|| panic!("{}: nothing was acknowledged", run.name));
        assert_eq!(last["line"], lines, "{}", run.name);
        assert!(acks.len() as u64 >= lines.div_ceil(1000), "{}: each batch is acknowledged", run.name);
        let (sum_appended, sum_skipped) = totals(&acks);
        let expected = if appended { (lines, 0) } else { (0, lines) };
        assert_eq!((sum_appended, sum_skipped), expected, "{}", run.name);
    }
}

/// Appended and skipped in all.
fn totals(acks: &[&Value]) -> (u64, u64) {
    let last = acks.last().expect("an acknowledgement");
    (last["appended"].as_u64().expect("a number"), last["skipped"].as_u64().expect("a number"))
}

/// The bytes of every segment in `log/`, by name; a spare is no part of the log, and the next writer removes it.
fn log_bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let listed = std::fs::read_dir(dir.join("log")).expect("log/ can be listed");
    let segments = listed.map(|entry| entry.expect("an entry")).filter(|entry| entry.file_name() != "spare.tmp");
    let read = segments.map(|entry| {
        (entry.file_name().into_string().expect("a name"), std::fs::read(entry.path()).expect("a file can be read"))
    });
    read.collect()
}

/// Imports the runs in this order, and asks for everything.
fn check(runs: &[&Run]) {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("runs");
    let lines = || runs.iter().flat_map(|run| run.lines.iter().map(String::as_str));
    let reading = Reading::of(lines());
    assert_eq!(reading.entries.len(), EVENTS, "the whole of the six runs");
    let late = reading.entries.iter().filter(|entry| entry.get("said").is_some()).count();
    say(&format!("workflows: {} events, {late} of them older than one before", reading.entries.len()));
    import(&dir, runs, true);

    let reader = Ledger::open_read_only(&dir).expect("it opens");
    let view = reader.view();
    assert!(reader.report().clean, "the last import has closed it in order");
    reading.compare(view, EVENTS, "now");
    for (n, entry) in view.entries(Seq::FIRST).enumerate() {
        let entry = entry.expect("an entry can be read");
        assert_eq!(to_value(&entry), reading.entries[n], "seq {}", n + 1);
    }
    assert_eq!(view.entries(Seq::FIRST).count(), EVENTS);

    let task = reading.entries[EVENTS / 2]["task"].as_str().expect("a task");
    let expected: Vec<Value> = reading.entries.iter().filter(|entry| entry["task"] == task).cloned().collect();
    let history: Vec<Value> =
        view.history(task).expect("a history").map(|entry| to_value(&entry.expect("an entry"))).collect();
    assert_eq!(history, expected);
    assert_eq!(asked(&dir, &["history", "--json", task], ""), expected);
    assert_eq!(asked(&dir, &["log", "--json"], ""), reading.entries);

    reading.compare(&reader.as_of(At::Seq(Seq(5000))).expect("a view"), 5000, "at seq 5000");
    for n in [EVENTS / 4, EVENTS / 2, 3 * EVENTS / 4] {
        let placed = reading.entries[n]["at"].as_u64().expect("a time");
        for time in [placed - 1, placed] {
            let count = reading.placed_by(time);
            reading.compare(&reader.as_of(At::Millis(time)).expect("a view"), count, &format!("at time {time}"));
            let moment = format!("@{}.{:03}", time / 1000, time % 1000);
            check_ls(&dir, &reading, count, &["--at", &moment]);
        }
    }
    check_ls(&dir, &reading, 5000, &["--at", "seq:5000"]);
    check_ls(&dir, &reading, EVENTS, &[]);
    asked(&dir, &["verify", "--level", "content", "--json"], "");
    let report = taskledger::verify(&dir, Level::Content).expect("it can be verified");
    assert_eq!((report.verdict(), report.entries), (Verdict::Sound, EVENTS as u64), "{:?}", report.findings);

    // Once more: all is there, so that nothing is written.
    let before = log_bytes(&dir);
    import(&dir, runs, false);
    let after = log_bytes(&dir);
    assert!(before.keys().eq(after.keys()), "{:?} and then {:?}", before.keys(), after.keys());
    assert!(before == after, "the bytes under log/ have changed");
}

/// What `ls --json` prints, against the records after the first `count` entries.
fn check_ls(dir: &Path, reading: &Reading, count: usize, more: &[&str]) {
    let told = asked(dir, &[&["ls", "--json"], more].concat(), "");
    let tasks = told.iter().filter(|line| line["type"] == "taskledger.task/1");
    let found = tasks.map(|task| (task["id"].as_str().expect("an id").to_owned(), task.clone())).collect();
    compare_maps(&found, &reading.records(count), &format!("ls {more:?}"));
}

#[test]
fn six_runs_in_the_order_of_their_names() {
    let Some(runs) = runs() else { return };
    check(&runs.iter().collect::<Vec<_>>());
}

#[test]
fn six_runs_in_the_order_of_their_first_times() {
    let Some(runs) = runs() else { return };
    let first = |run: &&Run| {
        let entry: Value = serde_json::from_str(&run.lines[0]).expect("a line is JSON");
        entry["at"].as_u64().expect("a time")
    };
    let mut runs: Vec<&Run> = runs.iter().collect();
    runs.sort_by_key(first);
    check(&runs);
}
