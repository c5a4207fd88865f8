//! `append`: every part of its grammar, what it refuses, and what it says when the event is durable.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use taskledger::{Ledger, limits};

use crate::cli::{Ran, command, finish, not_tested, path, run, run_on};

/// An empty ledger, made by `init`.
struct Home {
    home: tempfile::TempDir,
    dir: String,
}

impl Home {
    fn new() -> Home {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = path(home.path().join("ledger"));
        run(&["init", &dir]).good();
        Home { home, dir }
    }

    fn append(&self, args: &[&str]) -> Ran {
        run(&[&["append", "-D", &self.dir], args].concat())
    }

    /// The receipt of an append that goes well.
    fn receipt(&self, args: &[&str]) -> Value {
        let mut receipts = self.append(&[args, &["--json"]].concat()).good_json();
        assert_eq!(receipts.len(), 1, "{args:?}");
        receipts.remove(0)
    }

    fn entries(&self) -> Vec<Value> {
        run(&["log", "--json", "-D", &self.dir]).good_json()
    }

    /// The last entry, without what differs from run to run.
    fn last(&self) -> Value {
        let mut last = self.entries().pop().expect("there is an entry");
        let object = last.as_object_mut().expect("an entry is an object");
        for field in ["type", "at", "seq", "version"] {
            object.remove(field);
        }
        last
    }

    fn state(&self, task: &str) -> String {
        let task = &run(&["show", task, "--json", "-D", &self.dir]).good_json()[0];
        task["state"].as_str().expect("a state").to_owned()
    }
}

#[test]
fn every_event_is_appended_as_it_is_typed() {
    let home = Home::new();
    let file = path(home.home.path().join("output.json"));
    std::fs::write(&file, "{\"rows\": 1.0}\n").unwrap();
    let from_file = &format!("@{file}");
    let table: [(&[&str], Value); 14] = [
        (
            &["created", "--meta", "host=ci-7", "--meta", "url=a=b", "--actor", "planner", "--reason", "night"],
            json!({"event": "created", "to": "pending", "metadata": {"host": "ci-7", "url": "a=b"}, "actor": "planner",
                "reason": "night"}),
        ),
        (&["ready", "--cause", "1"], json!({"event": "transitioned", "from": "pending", "to": "ready", "cause": 1})),
        (&["running"], json!({"event": "transitioned", "from": "ready", "to": "running", "attempts": 1})),
        (&["requeued"], json!({"event": "requeued", "from": "running", "to": "pending"})),
        (&["ready"], json!({"event": "transitioned", "from": "pending", "to": "ready"})),
        (
            &["running", "--attempts", "7"],
            json!({"event": "transitioned", "from": "ready", "to": "running", "attempts": 7}),
        ),
        (&["requeued:ready"], json!({"event": "requeued", "from": "running", "to": "ready"})),
        (
            &["failed", "--observed", "--error", "no", "--output", "-1.5"],
            json!({"event": "observed", "from": "ready", "to": "failed", "error": "no", "output": -1.5}),
        ),
        (
            &["updated", "--clear-error", "--output", from_file, "--unset", "host", "--meta", "url="],
            json!({"event": "updated", "from": "failed", "error": null, "output": {"rows": 1.0}, "metadata": {"host": null, "url": ""}}),
        ),
        (&["updated", "--clear-output"], json!({"event": "updated", "from": "failed", "output": null})),
        (&["updated", "--output", " null "], json!({"event": "updated", "from": "failed", "output": null})),
        (
            &["updated", "--at", "2026-03-01T02:30:00Z", "--key", "k"],
            json!({"event": "updated", "from": "failed", "said": 1_772_332_200_000_u64, "key": "k"}),
        ),
        (&["dead_lettered"], json!({"event": "transitioned", "from": "failed", "to": "dead_lettered"})),
        (&["removed"], json!({"event": "removed", "from": "dead_lettered"})),
    ];
    for (n, (args, mut expected)) in (1..).zip(table) {
        let receipt = home.receipt(&[&["t"], args].concat());
        let place = (&receipt["type"], &receipt["task"], &receipt["seq"], &receipt["version"], &receipt["replayed"]);
        let expected_place = (&json!("taskledger.receipt/1"), &json!("t"), &json!(n), &json!(n), &json!(false));
        assert_eq!(place, expected_place, "{args:?}");
        assert!(receipt["epoch"].is_u64() && receipt["at"].is_u64(), "{receipt}");
        expected["task"] = json!("t");
        assert_eq!(home.last(), expected, "{args:?}");
    }
    let from_input = run_on("\n[1, 2]\n", &["append", "u", "created", "--output", "-", "-D", &home.dir]);
    from_input.good();
    assert_eq!(home.last()["output"], json!([1, 2]));
}

#[test]
fn people_see_one_line_with_the_place() {
    let home = Home::new();
    let told = home.append(&["a/b", "created", "--key", "k"]).good();
    let at = &home.entries()[0]["at"].as_u64().unwrap();
    let time = told.strip_prefix("a/b: seq 1, version 1, ").and_then(|rest| rest.strip_suffix("Z\n")).expect(&told);
    let read_back = run(&["log", "--at", &format!("{time}Z"), "--json", "-D", &home.dir]).out;
    assert!(read_back.contains(&format!("\"at\":{at}")), "{read_back}");
    let again = home.append(&["a/b", "created", "--key", "k"]).good();
    assert_eq!(again, told.replace("Z\n", "Z, replayed\n"));
    assert_eq!(home.entries().len(), 1);
    let evil = home.append(&["e\u{1b}[31m", "created"]).good();
    assert!(evil.starts_with(r"e\u{1b}[31m: seq 2, "), "{evil:?}");
}

#[test]
fn a_key_makes_it_safe_to_say_it_again_and_no_key_does_not() {
    let home = Home::new();
    let first = home.receipt(&["a", "created", "--key", "k", "--expect", "absent"]);
    let again = home.receipt(&["a", "created", "--key", "k", "--expect", "absent"]);
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    for field in ["epoch", "seq", "version", "at"] {
        assert_eq!(first[field], again[field], "{field}");
    }
    let other = home.append(&["a", "created", "--key", "k", "--actor", "me", "--json"]);
    assert_eq!((other.code, &other.error()["code"]), (Some(13), &json!("KEY")));
    home.receipt(&["a", "updated"]);
    assert_eq!(home.receipt(&["a", "updated"])["seq"], 3);
}

#[test]
fn an_expectation_that_does_not_hold_is_a_conflict_and_changes_nothing() {
    let home = Home::new();
    for args in [&["absent", "created"], &["exists", "ready"], &["version:2", "running"], &["attempt:1", "updated"]] {
        home.receipt(&["a", args[1], "--expect", args[0]]);
    }
    home.receipt(&["a", "updated", "--expect", "state:ready,running"]);
    for expect in ["absent", "version:4", "attempt:2", "state:ready,pending"] {
        let ran = home.append(&["a", "updated", "--expect", expect, "--json"]);
        let error = ran.error();
        assert_eq!((ran.code, &error["code"], &error["task"]), (Some(13), &json!("CONFLICT"), &json!("a")), "{expect}");
        assert_eq!(error["seq"], 5, "who brought it there: {error}");
    }
    assert_eq!(home.append(&["b", "created", "--expect", "exists"]).code, Some(13));
    assert_eq!(home.entries().len(), 5);
}

#[test]
fn what_is_refused_has_its_code_and_changes_nothing() {
    let home = Home::new();
    home.receipt(&["a", "created"]);
    let no_file = &format!("@{}", path(home.home.path().join("nothing")));
    let table: [(&[&str], i32, &str); 21] = [
        (&["a", "created"], 13, "ILLEGAL"),
        (&["a", "completed"], 13, "ILLEGAL"),
        (&["a", "requeued"], 13, "ILLEGAL"),
        (&["nobody", "updated"], 13, "ILLEGAL"),
        (&["a", "updated", "--at", "2999-01-01T00:00:00Z"], 13, "TIME"),
        (&["a", "updated", "--output", "{"], 13, "LIMIT"),
        (&["a", "updated", "--output", ""], 13, "LIMIT"),
        (&["", "created"], 13, "LIMIT"),
        (&["a", "updated", "--output", no_file], 1, "IO"),
        (&["a", "updated", "--output", "@/dev/zero"], 13, "LIMIT"),
        (&["a", "transitioned"], 2, "USAGE"),
        (&["a", "requeued:running"], 2, "USAGE"),
        (&["a", "updated", "--observed"], 2, "USAGE"),
        (&["a", "requeued", "--observed"], 2, "USAGE"),
        (&["a", "updated", "--meta", "x"], 2, "USAGE"),
        (&["a", "updated", "--meta", "x=1", "--unset", "x"], 2, "USAGE"),
        (&["a", "updated", "--meta", "x=1", "--meta", "x=2"], 2, "USAGE"),
        (&["a", "updated", "--output", "1", "--clear-output"], 2, "USAGE"),
        (&["a", "updated", "--error", "1", "--clear-error"], 2, "USAGE"),
        (&["a", "updated", "--expect", "any"], 2, "USAGE"),
        (&["a", "updated", "--at", "seq:1"], 2, "USAGE"),
    ];
    for (args, exit, code) in table {
        let ran = home.append(&[args, &["--json"]].concat());
        let error = ran.error();
        assert_eq!((ran.code, error["code"].as_str(), ran.out.as_str()), (Some(exit), Some(code), ""), "{args:?}");
        let people = home.append(args);
        assert_eq!((people.code, people.out.as_str()), (Some(exit), ""), "{args:?}");
        assert!(people.err.starts_with("taskledger: "), "{args:?}: {}", people.err);
    }
    assert_eq!(home.entries().len(), 1);
}

#[test]
fn the_largest_output_goes_in_and_a_larger_one_does_not() {
    let home = Home::new();
    let most = limits::OUTPUT_BYTES_MAX;
    let append =
        |text: &str| run_on(text, &["append", "a", "completed", "--observed", "--output", "-", "-D", &home.dir]);
    let largest = format!("\"{}\"", "x".repeat(most - 2));
    let one_more = format!("\"{}\"", "x".repeat(most - 1));
    // Cut off where nobody reads on, this would be another text, and a good one.
    let padded = format!("1{}2", " ".repeat(most + 2));
    for text in [one_more, padded, " ".repeat(most + 3)] {
        assert_eq!(append(&text).code, Some(13), "{} bytes, {:.9}", text.len(), text);
    }
    append(&format!("{largest}\r\n")).good();
    let output = run(&["show", "a", "--json", "-D", &home.dir]).good_json()[0]["output"].as_str().map(str::len);
    assert_eq!(output, Some(most - 2));
    let not_text = home.home.path().join("bytes");
    std::fs::write(&not_text, b"\"\xff\"").unwrap();
    let error = home.append(&["a", "updated", "--json", "--output", &format!("@{}", path(not_text))]).error();
    assert_eq!(error["code"], "LIMIT", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("is not UTF-8")), "{error}");
}

#[test]
fn where_no_ledger_is_none_is_made() {
    let home = tempfile::tempdir().unwrap();
    let (missing, empty) = (home.path().join("missing"), home.path().join("empty"));
    let foreign = home.path().join("foreign");
    for dir in [&empty, &foreign] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(foreign.join("mine.txt"), "mine").unwrap();
    for dir in [missing.clone(), empty.clone(), foreign.clone()] {
        let ran = run(&["append", "a", "created", "--json", "-D", &path(dir.clone())]);
        let error = ran.error();
        assert_eq!((ran.code, &error["code"], ran.out.as_str()), (Some(10), &json!("NO_LEDGER"), ""), "{dir:?}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("taskledger init")), "{error}");
    }
    let names = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
    assert_eq!((missing.exists(), names(&empty), names(&foreign)), (false, 0, 1));
}

#[test]
fn beside_a_writer_it_is_locked_out_and_says_by_whom() {
    let home = Home::new();
    let ledger = Ledger::open(&home.dir).unwrap();
    let ran = home.append(&["a", "created", "--json"]);
    assert_eq!((ran.code, &ran.error()["pid"]), (Some(11), &json!(std::process::id())));
    drop(ledger);
    home.receipt(&["a", "created"]);
    assert_eq!(home.state("a"), "pending");
}

#[test]
fn a_receipt_that_cannot_be_told_says_that_the_event_is_durable() {
    let home = Home::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut append = command(&["append", "a", "created", "--json", "-D", &home.dir]);
    let ended = append.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&ended.stderr).expect("an error is JSON");
    let message = error["message"].as_str().expect("a message");
    assert!(message.starts_with("the event is durable at seq 1, but: could not write to standard output"), "{error}");
    assert_eq!((&error["seq"], &error["task"], &error["version"]), (&json!(1), &json!("a"), &json!(1)));
    assert_eq!(home.entries().len(), 1);
}

/// Runs with the n-th sync failing; `None` where strace is not there or may not trace.
pub fn with_failing_sync(nth: u32, args: &[&str]) -> Option<Ran> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    strace.args(["-e", &format!("inject=fdatasync:error=EIO:when={nth}")]);
    let mut probe = Command::new("strace");
    probe.args(["-f", "-qq", "-o", "/dev/null", "true"]);
    match probe.status() {
        Ok(status) if status.success() => {
            let traced = command(args);
            strace.arg(traced.get_program()).args(traced.get_args()).env_remove("TASKLEDGER_DIR");
            Some(finish(&mut strace))
        }
        Ok(status) => {
            not_tested("failing syncs", &format!("strace may not trace here: {status}"));
            None
        }
        Err(error) => {
            not_tested("failing syncs", &format!("starting strace says: {error}"));
            None
        }
    }
}

#[test]
fn whichever_sync_fails_it_says_what_has_become_of_the_event() {
    let mut told = Vec::new();
    // The sync of recovery, that of the append, that of the close; the fourth is never made.
    for nth in 1..=4 {
        let home = Home::new();
        home.receipt(&["a", "created"]);
        let Some(ran) = with_failing_sync(nth, &["append", "a", "updated", "--json", "-D", &home.dir]) else { return };
        let entries = run(&["log", "--json", "-D", &home.dir]).out.lines().count();
        if ran.code == Some(0) {
            assert_eq!((ran.out.lines().count(), entries), (1, 2), "sync {nth}");
            told.push("appended".to_owned());
            continue;
        }
        let error = ran.error();
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "sync {nth}: {error}");
        let message = error["message"].as_str().expect("a message");
        let durable = message.starts_with("the event is durable at seq 2, but: ");
        if durable {
            assert_eq!((&error["seq"], entries), (&json!(2), 2), "sync {nth}: {error}");
        } else if error["code"] == "UNKNOWN" {
            assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("taskledger history a")), "{error}");
        } else {
            assert_eq!(entries, 1, "sync {nth}: {error}");
        }
        told.push(if durable { "durable".to_owned() } else { error["code"].as_str().expect("a code").to_owned() });
    }
    assert_eq!(told, ["IO", "UNKNOWN", "durable", "appended"]);
}

#[test]
fn the_help_has_examples_that_work() {
    let home = Home::new();
    std::fs::write(home.home.path().join("result.json"), "{}").unwrap();
    std::fs::write(home.home.path().join("facts.jsonl"), r#"{"task":"nightly/43","event":"created"}"#).unwrap();
    let help = run(&["append", "--help"]).good();
    let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  taskledger ")).collect();
    assert!(examples.len() >= 5, "{help}");
    for example in examples {
        let script = format!("{} {example}", env!("CARGO_BIN_EXE_taskledger"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("TASKLEDGER_DIR", &home.dir).current_dir(home.home.path());
        assert_eq!(finish(&mut shell).good().lines().count(), 1, "{example}");
    }
}
