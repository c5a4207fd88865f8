//! `diff`: which tasks differ between two moments, told for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use taskledger::{Batch, Event, Expect, Ledger, TaskState};

use crate::cli::{Demo, path, run, terminal};

/// The changes, and what they come to.
fn told(dir: &str, args: &[&str]) -> (Vec<Value>, Value) {
    let mut objects = run(&[&["diff"], args, &["--json", "-D", dir]].concat()).good_json();
    let sums = objects.pop().expect("the sums come last");
    assert_eq!(sums["type"], "taskledger.diff/1");
    (objects, sums)
}

/// All tasks at a moment, by id.
fn tasks(dir: &str, at: &str) -> BTreeMap<String, Value> {
    let mut tasks = run(&["ls", "--json", "--at", at, "-D", dir]).out;
    tasks.truncate(tasks.rfind("{\"type\":\"taskledger.counts/1\"").expect("counts"));
    let tasks = tasks.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    tasks.map(|task| (task["id"].as_str().unwrap().to_owned(), task)).collect()
}

/// By what `ls` says of both moments, and the log in between.
#[test]
fn a_diff_is_what_two_lists_differ_in() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let log: Vec<Value> = demo.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Moments at the ends of batches, in both orders.
    for (a, b) in [(0, 128), (70, 98), (98, 70), (119, 121), (128, 128), (0, 70)] {
        let (first, second) = (format!("seq:{a}"), format!("seq:{b}"));
        let (before, after) = (tasks(dir, &first), tasks(dir, &second));
        let (changes, sums) = told(dir, &[&first, &second]);
        let between = |entry: &&Value| (a.min(b) + 1..=a.max(b)).contains(&entry["seq"].as_u64().unwrap());
        let between: Vec<&Value> = log.iter().filter(between).collect();
        let ids: BTreeSet<&str> = between.iter().map(|entry| entry["task"].as_str().unwrap()).collect();
        assert!(
            changes.iter().map(|change| change["task"].as_str().unwrap()).eq(ids.iter().copied()),
            "sorted by task"
        );
        for change in &changes {
            let id = change["task"].as_str().unwrap();
            assert_eq!((change.get("before"), change.get("after")), (before.get(id), after.get(id)), "{id}");
            let of_it = between.iter().filter(|entry| entry["task"] == id).count();
            assert_eq!(change["entries"], of_it, "{id}");
            let changed: BTreeSet<&str> =
                change["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let (none, empty) = (Value::Null, json!({}));
            let field = |side: Option<&Value>, name: &str| {
                side.and_then(|side| side.get(name)).filter(|value| **value != empty).unwrap_or(&none).clone()
            };
            for name in [
                "state",
                "attempts",
                "created_at",
                "updated_at",
                "started_at",
                "finished_at",
                "output",
                "error",
                "metadata",
            ] {
                let differs = field(before.get(id), name) != field(after.get(id), name);
                assert_eq!(changed.contains(name), differs, "{name} of {id} from {a} to {b}");
            }
        }
        assert_eq!((&sums["a"], &sums["b"]), (&json!(a), &json!(b)));
        assert_eq!((&sums["tasks"], &sums["entries"]), (&json!(ids.len()), &json!(between.len())));
        for state in TaskState::ALL {
            let count = |tasks: &BTreeMap<String, Value>| {
                tasks.values().filter(|task| task["state"] == state.name()).count() as i64
            };
            assert_eq!(sums["states"][state.name()], count(&after) - count(&before), "{state} from {a} to {b}");
        }
        let (none, same) = told(dir, &[&first, &second, "--stat"]);
        assert_eq!((none.len(), &same), (0, &sums), "--stat is the sums alone");
    }
    let (train, sums) = told(dir, &["seq:70", "--task", "train/*"]);
    assert_eq!((train.len(), &sums["tasks"], &sums["b"]), (2, &json!(2), &json!(128)), "up to the present");
    assert_eq!(
        (&sums["states"]["pending"], &sums["states"]["completed"]),
        (&json!(-2), &json!(1)),
        "of those tasks only"
    );
}

#[test]
fn people_read_what_became_of_each_task() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let text = run(&["diff", "seq:117", "seq:121", "-D", dir]).good();
    let expected = "\
report/forecast  pending → skipped  1 entry
train/churn      running → ready    1 entry
train/forecast   running → failed   error out of memory: 31.8 GiB of 32 GiB in use  1 entry
publish/archive  ready → running    try 0 → 1  1 entry";
    let mut lines: Vec<&str> = expected.lines().collect();
    lines.sort_unstable();
    let sums = "\
-1 pending -1 running +1 failed +1 skipped
4 tasks changed by 4 entries  from seq 117 (2026-03-01T02:39:41.399Z) to seq 121 (2026-03-01T02:45:00.300Z)
";
    assert_eq!(text, format!("{}\n{sums}", lines.join("\n")));
    assert_eq!(run(&["diff", "seq:117", "seq:121", "--stat", "-D", dir]).good(), sums);
    for columns in [80, 200] {
        let Some(screen) = terminal::screen_of(&["diff", "seq:70", "seq:98", "-D", dir], columns) else { return };
        let too_long = screen.lines().find(|line| terminal::columns_of(line) > usize::from(columns));
        assert_eq!(too_long, None, "{screen}");
    }
}

#[test]
fn tasks_that_come_and_go_and_hostile_texts_are_told() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let evil = "e\u{1b}[31mv\u{202e}il\nx";
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("gone", Event::created()).unwrap(); // 1
    ledger.append("back", Event::created().meta("k", "v")).unwrap(); // 2
    ledger.append("gone", Event::removed()).unwrap(); // 3
    ledger.append("brief", Event::created()).unwrap(); // 4
    ledger.append("brief", Event::removed()).unwrap(); // 5
    ledger.append("back", Event::updated().unset("k")).unwrap(); // 6
    ledger.append("back", Event::updated().meta("k", "v")).unwrap(); // 7
    ledger.append(evil, Event::observed(TaskState::Failed).error(evil).output(evil).meta(evil, evil)).unwrap(); // 8
    ledger.append("gone", Event::created()).unwrap(); // 9
    ledger.close().unwrap();
    let lines = |args: &[&str]| {
        let text = run(&[&["diff"], args, &["-D", dir]].concat()).good();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let back = "back pending as it was 2 entries";
    assert_eq!(lines(&["seq:2", "seq:7"])[..3], [back, "brief → removed 2 entries", "gone pending → removed 1 entry"]);
    assert_eq!(lines(&["seq:3", "seq:9", "--task", "gone"])[..2], ["gone removed → pending 1 entry", "+1 pending"]);
    assert_eq!(
        lines(&["seq:3", "seq:0", "--task", "*"])[..2],
        ["back pending → not there 1 entry", "gone removed → not there 2 entries"]
    );
    assert_eq!(lines(&["seq:5", "seq:6"])[0], "back pending without k 1 entry");
    let shown = &lines(&["seq:7", "seq:8"])[0];
    let safe = r"e\u{1b}[31mv\u{202e}il\nx";
    assert!(shown.starts_with(&format!("{safe} → failed error {safe} output ")), "{shown}");
    assert!(shown.ends_with(&format!("{safe}={safe} 1 entry")), "{shown}");
    let (changes, _) = told(dir, &["seq:7", "seq:8"]);
    assert_eq!((&changes[0]["task"], &changes[0]["after"]["error"]), (&json!(evil), &json!(evil)));
}

/// More tasks, and larger ones, than fit a page.
#[test]
fn a_diff_goes_by_pages() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    let mut batch = Batch::new();
    for n in 0..3000 {
        batch.push(format!("t{n:04}"), Event::created(), Expect::Any);
    }
    ledger.commit(batch).unwrap();
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    for n in 0..12 {
        ledger.append(format!("large{n:02}"), Event::observed(TaskState::Ready).output_text(&large)).unwrap();
    }
    ledger.close().unwrap();
    let text = run(&["diff", "seq:0", "-D", dir]).good();
    let tasks: Vec<&str> = text.lines().take(3012).map(|line| line.split(' ').next().unwrap()).collect();
    assert!(tasks.is_sorted() && tasks[0] == "large00" && tasks[3011] == "t2999", "{} and {}", tasks[0], tasks[3011]);
    assert!(
        text.contains("+3000 pending +12 ready\n3012 tasks changed by 3012 entries"),
        "{}",
        &text[text.len() - 200..]
    );
    // The lines for programs have the outputs, and are too many bytes to be sorted. Each is there once all the same.
    let ran = run(&["diff", "seq:0", "--json", "-D", dir]);
    let ids: BTreeSet<String> =
        ran.good_json().iter().filter_map(|change| change["task"].as_str().map(str::to_owned)).collect();
    assert_eq!(ids.len(), 3012);
}

#[test]
fn moments_that_are_not_there_are_refused() {
    let demo = Demo::new();
    let dir = &demo.dir();
    for (args, exit, code) in [
        (&["seq:129"][..], 3, "AHEAD"),
        (&["seq:1", "seq:129"], 3, "AHEAD"),
        (&["noon"], 2, "USAGE"),
        (&["-5x"], 2, "USAGE"),
        (&[], 2, "USAGE"),
    ] {
        let ran = run(&[&["diff"], args, &["--json", "-D", dir]].concat());
        assert_eq!((ran.code, &ran.error()["code"]), (Some(exit), &json!(code)), "{args:?}");
    }
    let within = run(&["diff", "seq:40", "--stat", "-D", dir]);
    assert!(within.code == Some(0) && within.err.contains("seq 40 is within a batch"), "{}", within.err);
    let ran = run(&["diff", "-5m", "now", "-D", dir]);
    assert!(ran.code == Some(0) && ran.out.starts_with("0 tasks changed by 0 entries"), "{}{}", ran.out, ran.err);
}
