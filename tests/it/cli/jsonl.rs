//! `append --jsonl`: one line in, one answer out, in order, once it is durable; a refusal is an answer, not the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use taskledger::{Ledger, Seq};

use super::append::with_failing_sync;
use crate::cli::{Ran, command, lines, path, run, run_on, schemas};
use crate::kill::Killed;

/// An empty ledger, made by `init`.
pub struct Home {
    pub home: tempfile::TempDir,
    pub dir: String,
}

impl Home {
    pub fn new() -> Home {
        let home = tempfile::tempdir().unwrap();
        let dir = path(home.path().join("ledger"));
        run(&["init", &dir]).good();
        Home { home, dir }
    }

    /// Runs on this input; the answers, the exit code, and that standard error is silent.
    fn answers(&self, input: &str) -> (Option<i32>, Vec<Value>) {
        let ran = run_on(input, &["append", "--jsonl", "-", "-D", &self.dir]);
        assert_eq!(ran.err, "", "{}", ran.out);
        (ran.code, ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect())
    }

    fn entries(&self) -> Vec<Value> {
        run(&["log", "--json", "-D", &self.dir]).good_json()
    }

    fn file(&self, text: &[u8]) -> String {
        let file = self.home.path().join("facts.jsonl");
        fs::write(&file, text).unwrap();
        path(file)
    }
}

/// Which line an answer is of, which item of it, and what it comes to: a seq, or a code.
fn short(answer: &Value) -> (u64, Option<u64>, Value) {
    let value = match answer["type"].as_str() {
        Some("taskledger.receipt/1") => answer["seq"].clone(),
        Some("taskledger.error/1") => answer["code"].clone(),
        other => panic!("{other:?}: {answer}"),
    };
    (answer["line"].as_u64().expect("a line"), answer["item"].as_u64(), value)
}

fn to(task: &str, state: &str) -> Value {
    json!({"task": task, "event": "transitioned", "to": state})
}

fn created(task: &str) -> Value {
    json!({"task": task, "event": "created"})
}

#[test]
fn each_line_has_its_answer_and_what_is_refused_changes_nothing() {
    let home = Home::new();
    let input = [
        json!({"task": "a", "event": "created", "metadata": {"host": "ci-7"}, "actor": "planner"}),
        created("a"),
        json!({"note": "plan", "event": "noted", "value": [1, null]}),
        to("a", "completed"),
        json!([created("b"), to("b", "ready"), {"note": "plan", "event": "removed"}]),
        json!([created("c"), created("d"), created("a")]),
        json!([created("c"), {"task": "d", "event": "create"}]),
        json!({"task": "a", "event": "updated", "shade": 1}),
        json!([]),
        json!(7),
        to("a", "ready"),
    ];
    let text = lines(&input) + "{\"task\":\n\n" + &to("b", "running").to_string();
    let (code, answers) = home.answers(&text);
    let expected = [
        (1, None, json!(1)),
        (2, None, json!("ILLEGAL")),
        (3, None, json!(2)),
        (4, None, json!("ILLEGAL")),
        (5, Some(1), json!(3)),
        (5, Some(2), json!(4)),
        (5, Some(3), json!(5)),
        (6, Some(1), json!("ILLEGAL")),
        (6, Some(2), json!("ILLEGAL")),
        (6, Some(3), json!("ILLEGAL")),
        (7, Some(1), json!("LINE")),
        (7, Some(2), json!("LINE")),
        (8, None, json!("LINE")),
        (9, None, json!("LINE")),
        (10, None, json!("LINE")),
        (11, None, json!(6)),
        (12, None, json!("LINE")),
        (13, None, json!("LINE")),
        // Without a line break.
        (14, None, json!(7)),
    ];
    assert_eq!((code, answers.iter().map(short).collect::<Vec<_>>()), (Some(13), expected.to_vec()));
    let receipt = |answer: &Value| {
        let mut answer = answer.clone();
        assert!(answer["at"].is_u64() && answer["epoch"].is_u64(), "{answer}");
        for field in ["at", "epoch"] {
            answer.as_object_mut().unwrap().remove(field);
        }
        answer
    };
    let first =
        json!({"type": "taskledger.receipt/1", "line": 1, "seq": 1, "task": "a", "version": 1, "replayed": false});
    assert_eq!(receipt(&answers[0]), first);
    let third = json!({"type": "taskledger.receipt/1", "line": 5, "item": 3, "seq": 5, "note": "plan", "version": 2, "replayed": false});
    assert_eq!(receipt(&answers[6]), third);
    let message = |n: usize| answers[n]["message"].as_str().expect("a message");
    assert_eq!(message(1), "a: created to pending is refused from pending: the task exists already");
    assert!(answers[1]["hint"].as_str().unwrap().ends_with("an observed event states what was seen all the same"));
    assert!(message(10).starts_with("item 2: field \"event\": \"create\" is no event"), "{}", message(10));
    assert_eq!((message(12), &answers[12]["field"]), ("field \"shade\": is unknown", &json!("shade")));
    assert_eq!((message(13), message(17)), ("is a batch of nothing", "is empty"));
    let hint = "mend that line and send it again: it changed nothing, and other lines are answered by themselves";
    assert_eq!(answers[12]["hint"], hint);

    let entries = home.entries();
    let about = |entry: &Value| entry["task"].as_str().or(entry["note"].as_str()).unwrap().to_owned();
    assert_eq!(entries.iter().map(about).collect::<Vec<_>>(), ["a", "plan", "b", "b", "plan", "a", "b"]);
    assert_eq!((&entries[0]["metadata"], &entries[0]["actor"]), (&json!({"host": "ci-7"}), &json!("planner")));
    let (code, answers) = home.answers("");
    assert_eq!((code, answers.len()), (Some(0), 0), "nothing is nothing");
}

#[test]
fn what_a_line_expects_is_asked_of_the_moment_before_it() {
    let home = Home::new();
    let with = |field: &str, value: Value| {
        let mut fact = json!({"task": "a", "event": "updated"});
        fact[field] = value;
        fact
    };
    let input = [
        json!({"task": "a", "event": "created", "version": 1, "expect": "absent"}),
        with("version", json!(2)),
        with("version", json!(2)),
        with("version", json!(4)),
        with("from", json!("pending")),
        with("from", json!("ready")),
        with("expect", json!("exists")),
        with("expect", json!("absent")),
        with("expect", json!("version:4")),
        with("expect", json!("version:4")),
        with("expect", json!("attempt:0")),
        with("expect", json!("attempt:1")),
        with("expect", json!("state:ready,pending")),
        with("expect", json!("state:ready,running")),
        with("expect", json!("any")),
        with("expect", Value::Null),
        // Each of them must hold.
        json!({"task": "a", "event": "updated", "version": 9, "from": "pending", "expect": "exists"}),
        json!({"task": "a", "event": "updated", "version": 10, "from": "pending", "expect": "absent"}),
        json!({"task": "a", "event": "updated", "version": 10, "from": "ready", "expect": "exists"}),
        json!({"note": "n", "event": "noted", "value": 1, "version": 1, "expect": "absent"}),
        json!({"note": "n", "event": "noted", "value": 1, "version": 1}),
        // As if the items before were there.
        json!([created("b"), {"task": "b", "event": "updated", "version": 2, "from": "pending"}]),
    ];
    let (code, answers) = home.answers(&lines(&input));
    let good = |answer: &Value| answer["type"] == "taskledger.receipt/1";
    let told: Vec<(u64, bool)> = answers.iter().map(|answer| (short(answer).0, good(answer))).collect();
    let expected = [
        true, true, false, false, true, false, true, false, true, false, true, false, true, false, false, true, true,
        false, false, true, false, true,
    ];
    let mut expected: Vec<(u64, bool)> = (1..).zip(expected).collect();
    expected.push((22, true));
    assert_eq!((code, told), (Some(13), expected));
    for answer in answers.iter().filter(|answer| !good(answer)) {
        let code = if answer["line"] == 15 { "LINE" } else { "CONFLICT" };
        assert_eq!(answer["code"], code, "{answer}");
    }
    assert_eq!((&answers[2]["expected"], &answers[2]["seq"]), (&json!("version 1"), &json!(2)));
}

#[test]
fn under_keys_everything_can_be_sent_again_and_is_answered_with_the_first_places() {
    let home = Home::new();
    let input = [
        json!({"task": "a", "event": "created", "key": "k1", "version": 1, "expect": "absent"}),
        json!({"task": "a", "event": "transitioned", "to": "ready", "key": "k2", "from": "pending"}),
        json!([{"task": "b", "event": "created", "key": "k1"}, {"task": "b", "event": "updated", "key": "k2", "version": 2}]),
    ];
    let (code, first) = home.answers(&lines(&input));
    let (again_code, again) = home.answers(&lines(&input));
    assert_eq!((code, again_code, first.len()), (Some(0), Some(0), 4));
    for (first, again) in first.iter().zip(again) {
        let mut expected = first.clone();
        expected["replayed"] = json!(true);
        assert_eq!(again, expected);
    }
    assert_eq!(home.entries().len(), 4);
    let (code, other) = home.answers(&json!({"task": "a", "event": "created", "key": "k1", "actor": "me"}).to_string());
    assert_eq!((code, &other[0]["code"], &other[0]["seq"]), (Some(13), &json!("KEY"), &json!(1)));
}

/// A program that talks with one of these.
pub struct Talk {
    child: Killed,
    to: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Talk {
    fn new(dir: &str) -> Talk {
        let mut asked = command(&["append", "--jsonl", "-", "-D", dir]);
        let mut child: Child = asked.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Talk { child: Killed(child), to, answers }
    }

    fn send(&mut self, text: &str) {
        self.to.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next answer, which comes without another word.
    fn answer(&self) -> Value {
        let line = self.answers.recv_timeout(Duration::from_secs(60)).expect("an answer that comes by itself");
        schemas::check(&Ran { code: None, out: line.clone(), err: String::new() });
        serde_json::from_str(&line).expect("an answer is JSON")
    }

    fn end(mut self) -> Option<i32> {
        self.to = None;
        self.child.0.wait().unwrap().code()
    }
}

#[test]
fn whoever_waits_for_an_answer_gets_it_whatever_else_has_come_in() {
    let home = Home::new();
    let mut talk = Talk::new(&home.dir);
    let mut seq = 0;
    let mut line = 0;
    let mut send = |talk: &mut Talk, text: &str, lines: u64, rest: &str| {
        talk.send(&format!("{text}{rest}"));
        for _ in 0..lines {
            (seq, line) = (seq + 1, line + 1);
            assert_eq!(short(&talk.answer()), (line, None, json!(seq)), "{text:?} {rest:?}");
        }
        // What is answered is durable, and another process sees it.
        let reader = Ledger::open_read_only(&home.dir).unwrap();
        assert_eq!(reader.view().seq(), Seq(seq));
        assert!(reader.report().writer.is_some());
    };
    let fact = |n: u64| format!("{}\n", created(&format!("t{n}")));
    send(&mut talk, &fact(1), 1, "");
    // The beginning of the next line is there already, and its end comes later.
    let (begin, end) = (&fact(3)[..9], &fact(3)[9..]);
    send(&mut talk, &fact(2), 1, begin);
    send(&mut talk, end, 1, "");
    let many: String = (100..400).map(fact).collect();
    send(&mut talk, &many, 300, "{");
    send(&mut talk, &fact(4)[1..], 1, "");
    // A refusal that rests on a line before it, which is not durable yet.
    talk.send(&(fact(5) + &fact(5)));
    assert_eq!(short(&talk.answer()).2, json!(305));
    assert_eq!(short(&talk.answer()).2, json!("ILLEGAL"));
    assert_eq!(talk.end(), Some(13));
    assert_eq!(run(&["info", "--json", "-D", &home.dir]).good_json()[0]["clean"], true);
}

#[test]
fn more_lines_than_may_wait_are_answered_in_order_and_many_share_a_sync() {
    let home = Home::new();
    let input: Vec<Value> = (0..5000).map(|n| created(&format!("t{n}"))).collect();
    let file = home.file(lines(&input).as_bytes());
    let answers = run(&["append", "--jsonl", &file, "-D", &home.dir]).good_json();
    let told: Vec<(u64, Option<u64>, Value)> = answers.iter().map(short).collect();
    assert_eq!(told, (1..=5000).map(|n| (n, None, json!(n))).collect::<Vec<_>>());
    let report = taskledger::verify(&home.dir, taskledger::Level::Content).unwrap();
    assert!(report.frames < 1000, "{} frames: 5000 lines were not flushed together", report.frames);
}

#[test]
fn a_line_that_cannot_be_read_is_answered_and_the_next_one_is_read() {
    let home = Home::new();
    let long = path(home.home.path().join("long"));
    let mut file = File::options().create_new(true).read(true).write(true).open(&long).unwrap();
    file.write_all(format!("{}\n", created("a")).as_bytes()).unwrap();
    // A hole, which reads as zeros.
    file.set_len((128 << 20) + (3 << 20)).unwrap();
    file.seek(std::io::SeekFrom::End(0)).unwrap();
    file.write_all(format!("\n{}\n", created("b")).as_bytes()).unwrap();
    file.write_all(b"{\"task\":\"\xff\",\"event\":\"created\"}\n").unwrap();
    file.write_all(format!("{}\n{{\"task\":\"half", created("c")).as_bytes()).unwrap();
    drop(file);
    let ran = run(&["append", "--jsonl", &long, "-D", &home.dir]);
    let answers: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<Value> = answers.iter().map(|answer| short(answer).2).collect();
    assert_eq!(
        (ran.code, told),
        (Some(13), vec![json!(1), json!("LINE"), json!(2), json!("LINE"), json!(3), json!("LINE")])
    );
    assert_eq!(answers[1]["message"], "is longer than 134217728 bytes");
    assert!(answers[3]["message"].as_str().unwrap().starts_with("is not UTF-8: "), "{}", answers[3]);
    assert_eq!(answers.iter().map(|answer| answer["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn it_is_for_a_ledger_that_is_there_and_for_nothing_else_that_is_typed() {
    let home = Home::new();
    let file = home.file(format!("{}\n", created("a")).as_bytes());
    let table: [(&[&str], i32, &str); 9] = [
        (&["--jsonl", &file, "a", "created"], 2, "USAGE"),
        (&["a", "created", "--jsonl", &file], 2, "USAGE"),
        (&["--jsonl", &file, "--actor", "me"], 2, "USAGE"),
        (&["--jsonl", &file, "--meta", "a=b"], 2, "USAGE"),
        (&["--jsonl", &file, "--at", "now"], 2, "USAGE"),
        (&["--jsonl", &file, "--observed"], 2, "USAGE"),
        (&[], 2, "USAGE"),
        (&["a"], 2, "USAGE"),
        (&["--jsonl", "/no/such/file"], 1, "IO"),
    ];
    for (args, exit, code) in table {
        let ran = run(&[&["append", "-D", &home.dir], args, &["--json"]].concat());
        let error = ran.error();
        assert_eq!((ran.code, error["code"].as_str(), ran.out.as_str()), (Some(exit), Some(code), ""), "{args:?}");
    }
    assert_eq!(home.entries().len(), 0);
    let missing = path(home.home.path().join("missing"));
    // Its errors are for programs without being asked for it.
    let ran = run(&["append", "--jsonl", &file, "-D", &missing]);
    assert_eq!((ran.code, &ran.error()["code"], fs::exists(&missing).unwrap()), (Some(10), &json!("NO_LEDGER"), false));
    let ledger = Ledger::open(&home.dir).unwrap();
    let ran = run(&["append", "--jsonl", &file, "-D", &home.dir]);
    assert_eq!((ran.code, &ran.error()["code"]), (Some(11), &json!("LOCKED")));
    drop(ledger);
    // It holds the lock as long as it runs.
    let mut talk = Talk::new(&home.dir);
    talk.send(&format!("{}\n", created("a")));
    talk.answer();
    assert_eq!(run(&["append", "b", "created", "-D", &home.dir]).code, Some(11));
    assert_eq!(talk.end(), Some(0));
    run(&["append", "b", "created", "-D", &home.dir]).good();
}

#[test]
fn what_was_sent_goes_in_also_where_nobody_reads_the_answers() {
    let home = Home::new();
    let input: Vec<Value> = (0..2000).map(|n| created(&format!("t{n}"))).collect();
    let file = home.file(lines(&input).as_bytes());
    let mut child = command(&["append", "--jsonl", &file, "-D", &home.dir]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(home.entries().len(), 2000);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child =
        command(&["append", "--jsonl", &home.file(b"{\"task\":\"x\",\"event\":\"created\"}"), "-D", &home.dir]);
    let ended = child.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &error["code"]), (Some(1), &json!("IO")));
    assert!(error["message"].as_str().unwrap().contains("could not write to standard output"), "{error}");
}

#[test]
fn what_is_no_refusal_ends_it_and_it_says_which_line_was_answered_last() {
    let mut told = Vec::new();
    for nth in 1..=6 {
        let home = Home::new();
        run(&["append", "a", "created", "-D", &home.dir]).good();
        let facts: String = (0..3).map(|_| "{\"task\":\"a\",\"event\":\"updated\"}\n").collect();
        let file = home.file(facts.as_bytes());
        let Some(ran) = with_failing_sync(nth, &["append", "--jsonl", &file, "-D", &home.dir]) else { return };
        let (answered, entries) = (ran.out.lines().count(), home.entries().len());
        if ran.code == Some(0) {
            assert_eq!((answered, entries), (3, 4), "sync {nth}");
            told.push("appended".to_owned());
            continue;
        }
        let error = ran.error();
        let code = error["code"].as_str().unwrap().to_owned();
        assert_eq!(ran.code, Some(1), "sync {nth}: {error}");
        assert!(entries > answered, "sync {nth}: {answered} were acknowledged, and {} are there", entries - 1);
        if nth > 1 {
            let said = match answered {
                0 => "; no line was answered".to_owned(),
                n => format!("; line {n} is the last that was answered"),
            };
            assert!(error["message"].as_str().unwrap().ends_with(&said), "sync {nth}: {error}");
            assert_eq!(error["answered"], answered, "sync {nth}: {error}");
        }
        told.push(code);
    }
    assert_eq!((told[0].as_str(), told[1].as_str()), ("IO", "UNKNOWN"), "{told:?}");
    assert_eq!(told[5], "appended", "{told:?}");
}
