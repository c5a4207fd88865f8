//! The command line: the real program, run as a person or a script would.
#![cfg(feature = "cli")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use taskledger::{Event, Ledger, TaskState};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_taskledger");

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// The output, where the run was a success and had nothing to say beside it.
    fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    fn good_json(self) -> Vec<Value> {
        self.good().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one line of JSON that says what went wrong.
    fn error(&self) -> Value {
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with(r#"{"type":"taskledger.error/1","code":""#), "{}", self.err);
        let error: Value = serde_json::from_str(&self.err).expect("an error is JSON");
        assert_eq!(error["exit"], json!(self.code), "{error}");
        error
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null());
    for variable in ["TASKLEDGER_DIR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn finish(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

fn run(args: &[&str]) -> Ran {
    finish(&mut command(args))
}

/// Runs with a file's content on standard input.
fn run_on(input: &str, args: &[&str]) -> Ran {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input.as_bytes()).expect("it can be written");
    std::io::Seek::rewind(&mut file).expect("it can be rewound");
    finish(command(args).stdin(file))
}

/// A directory with a demo in it.
struct Demo {
    home: TempDir,
}

impl Demo {
    fn new() -> Demo {
        let demo = Demo { home: tempfile::tempdir().expect("a temporary directory") };
        run(&["demo", &demo.dir()]).good();
        demo
    }

    fn dir(&self) -> String {
        path(self.home.path().join("demo"))
    }

    fn other(&self) -> String {
        path(self.home.path().join("other"))
    }

    fn log(&self) -> String {
        run(&["log", "--json", "-D", &self.dir()]).good()
    }
}

fn path(path: PathBuf) -> String {
    path.to_str().expect("temporary directories are UTF-8").to_owned()
}

fn lines(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// Three tries of one task, as a person would write them: no versions, no sequence numbers.
fn plain() -> Vec<Value> {
    vec![
        json!({"task": "a", "event": "created", "at": "2026-03-01T02:00:00Z"}),
        json!({"task": "a", "event": "transitioned", "to": "ready", "at": 1_772_330_401_000_u64}),
        json!({"task": "a", "event": "transitioned", "to": "running", "at": 1_772_330_402_000_u64, "actor": "me"}),
        json!({"task": "b", "event": "created", "at": 1_772_330_403_000_u64}),
        json!({"task": "a", "event": "transitioned", "to": "failed", "at": 1_772_330_404_000_u64, "error": "no"}),
    ]
}

#[test]
fn every_command_answers_in_both_forms() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let table: [(&[&str], &str, &str); 6] = [
        (&["ls"], "completed      extract/payments      2   3m10s   3m32s\n", "taskledger.task/1"),
        (&["show", "train/forecast"], "  error     out of memory: 31.8 GiB of 32 GiB in use\n", "taskledger.task/1"),
        (&["history", "train/churn"], "running → ready  requeued  by recovery  because worker-4", "taskledger.entry/1"),
        (&["log"], "extract/shipments   ready → completed  observed  by warehouse-bridge", "taskledger.entry/1"),
        (&["verify"], "sound: 128 entries in ", "taskledger.verify/1"),
        (&["verify", "--level", "structure"], "structure checked up to seq 128", "taskledger.verify/1"),
    ];
    for (args, expected, kind) in table {
        let text = run(&[args, &["-D", dir]].concat()).good();
        assert!(text.contains(expected), "{args:?}\n{text}");
        assert!(!text.contains('\u{1b}'), "{args:?} has colours in a pipe");
        assert!(text.lines().all(|line| line == line.trim_end()), "{args:?} has spaces at an end of a line");
        let raw = run(&[args, &["--json", "--dir", dir]].concat()).good();
        assert!(raw.lines().all(|line| line.starts_with(r#"{"type":"taskledger."#)), "{raw}");
        let first: Value = serde_json::from_str(raw.lines().next().expect("there is a line")).unwrap();
        assert_eq!(first["type"], kind, "{args:?}");
    }
}

#[test]
fn ls_filters_sorts_limits_and_counts() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let ids = |args: &[&str]| -> Vec<String> {
        let objects = run(&[&["ls", "--json", "-D", dir], args].concat()).good_json();
        let (counts, tasks) = objects.split_last().expect("counts come last");
        assert_eq!((&counts["type"], &counts["total"]), (&json!("taskledger.counts/1"), &json!(31)));
        tasks.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ids(&[]);
    assert!(all.len() == 31 && all.is_sorted());
    assert_eq!(ids(&["--state", "failed,dead_lettered"]), ["extract/ad-spend", "train/forecast"]);
    assert_eq!(ids(&["--prefix", "train/"]), ["train/churn", "train/forecast"]);
    assert_eq!(ids(&["--limit", "3"]), all[..3]);
    assert_eq!(ids(&["--limit", "0"]), [""; 0]);
    let text = run(&["ls", "-D", dir, "--state", "running"]).good();
    assert_eq!(
        text,
        "STATE    TASK                TRY  WAITED     RAN  ERROR\n\
         running  nightly/2026-03-01    1      2s  59m55s\n\
         running  publish/archive       1  39m50s  20m07s\n\
         2 of 31 tasks, as of seq 128 (2026-03-01T02:59:58.642Z)\n"
    );
}

#[test]
fn log_and_history_cut_where_they_are_told() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let seqs = |args: &[&str]| -> Vec<u64> {
        let entries = run(&[args, &["--json", "-D", dir]].concat()).good_json();
        entries.iter().map(|entry| entry["seq"].as_u64().expect("a seq")).collect()
    };
    assert_eq!(seqs(&["log"]), (1..=128).collect::<Vec<_>>());
    assert_eq!(seqs(&["log", "-n", "3"]), [126, 127, 128]);
    assert_eq!(seqs(&["log", "-n", "0"]), [0; 0]);
    assert_eq!(seqs(&["log", "-n", "500"]).len(), 128);
    assert_eq!(seqs(&["log", "--from", "127"]), [127, 128]);
    assert_eq!(seqs(&["log", "--from", "120", "-n", "2"]), [127, 128]);
    assert_eq!(seqs(&["log", "--from", "129"]), [0; 0], "right behind the head is where a reader goes on");
    assert_eq!(seqs(&["log", "-n", "2", "--at", "seq:70"]), [69, 70]);
    assert_eq!(seqs(&["history", "train/churn"]), [23, 106, 108, 121, 122, 125]);
    assert_eq!(seqs(&["history", "train/churn", "--at", "seq:108"]), [23, 106, 108]);
    // A late report keeps its own time beside its place.
    let observed = run(&["history", "extract/shipments", "-D", dir]).good();
    assert!(observed.contains("said 2026-03-01T02:08:00.920Z"), "{observed}");
}

#[test]
fn moments_in_all_forms_agree() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let ls = |at: &str| run(&["ls", "-D", dir, "--at", at]).good();
    let expected = ls("seq:70");
    assert!(expected.ends_with("31 of 31 tasks, as of seq 70 (2026-03-01T02:06:42.358Z)\n"), "{expected}");
    for at in [
        "@1772330802.358",
        "@1772330803",
        "2026-03-01T02:06:42.358Z",
        "2026-03-01T02:06:42.358999Z",
        "2026-03-01T04:06:42.358+02:00",
    ] {
        assert_eq!(ls(at), expected, "{at}");
    }
    assert_ne!(ls("2026-03-01T02:06:42.357Z"), expected);
    assert!(ls("seq:0").ends_with("0 of 0 tasks, as of seq 0 (before everything)\n"));
    let show = run(&["show", "-D", dir, "train/churn", "--at", "seq:108"]).good();
    assert!(show.contains("state     running\n"), "{show}");

    let within = run(&["ls", "-D", dir, "--at", "seq:12"]);
    assert_eq!(
        (within.code, within.err.as_str()),
        (Some(0), "taskledger: note: seq 12 is within a batch, of which the rest is left out\n")
    );
    let open = run(&["log", "-n", "1", "-D", dir, "--at", "2026-03-02T00:00:00Z"]);
    assert_eq!((open.code, open.err.lines().count()), (Some(0), 1));
    assert!(open.err.contains("has not passed this moment yet"), "{}", open.err);
}

#[test]
fn what_is_printed_as_a_time_is_accepted_as_one() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let mut text = String::new();
    for args in [&["ls"][..], &["show", "extract/shipments"], &["history", "extract/shipments"], &["log", "-n", "9"]] {
        text += &run(&[args, &["-D", dir]].concat()).good();
    }
    let is_time = |word: &&str| word.starts_with("2026-") && word.ends_with('Z');
    let mut times: Vec<&str> = text.split([' ', '\n', '(', ')']).filter(is_time).collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 12, "{times:?}");
    for time in times {
        let ran = run(&["log", "-n", "1", "-D", dir, "--at", time]);
        assert_eq!(ran.code, Some(0), "{time}: {}", ran.err);
        assert!(ran.out.contains(time) || ran.out.contains("  2026-03-01T02:"), "{time}: {}", ran.out);
    }
}

#[test]
fn a_demo_is_the_same_every_time_and_its_commands_work() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("it's a demo"));
    let first = run(&["demo", dir]).good();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert_eq!(run(&["demo", dir]).good(), first);
    assert_eq!(run(&["log", "--json", "-D", dir]).good(), log, "a second run appends nothing");
    assert_eq!(Demo::new().log(), log, "another demo is equal");

    let (picture, commands) = first.split_once("\nTry:\n").expect("there are commands to try");
    assert!(picture.contains("extract/payments    █×████   "), "{picture}");
    let counts = "31 tasks: 1 ready, 2 running, 23 completed, 1 failed, 1 cancelled, 2 skipped, 1 dead_lettered";
    assert!(picture.contains(counts), "{picture}");
    let commands: Vec<&str> =
        commands.lines().map(|line| line.split("  #").next().expect("a command").trim()).collect();
    assert_eq!(commands.len(), 5);
    for (command, word) in commands.iter().zip(["ls", "show", "history", "log", "verify"]) {
        assert!(command.contains(&format!("taskledger {word} ")), "{command}");
        let ran = finish(Command::new("sh").args(["-c", command]).env_remove("TASKLEDGER_DIR"));
        assert!(ran.good().lines().count() > 0, "{command}");
    }
    let objects = run(&["demo", "--json", dir]).good_json();
    let last = objects.last().expect("an object");
    assert_eq!((&last["type"], &last["appended"]), (&json!("taskledger.demo/1"), &json!(0)));
    assert_eq!(last["commands"], json!(commands));
}

#[test]
fn a_demo_goes_on_where_it_was_interrupted_and_leaves_other_ledgers_alone() {
    let demo = Demo::new();
    let log = demo.log();
    let begun: String = log.split_inclusive('\n').take(40).collect();
    run_on(&begun, &["import", "-D", &demo.other()]).good();
    run(&["demo", &demo.other()]).good();
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);

    let third = &path(demo.home.path().join("third"));
    run_on(&lines(&plain()), &["import", "-D", third]).good();
    let refused = run(&["demo", "--json", third]);
    assert_eq!((refused.code, &refused.error()["code"]), (Some(2), &json!("USAGE")));
    assert_eq!(run(&["log", "--json", "-D", third]).good().lines().count(), 5);

    let foreign = demo.home.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("mine.txt"), "mine").unwrap();
    assert_eq!(run(&["demo", &path(foreign.clone())]).code, Some(1));
    assert_eq!(std::fs::read_dir(foreign).unwrap().count(), 1, "nothing was put beside it");
}

#[test]
fn failures_have_their_exit_codes_in_both_forms() {
    let demo = Demo::new();
    let dir = demo.dir();
    let nowhere = path(demo.home.path().join("nowhere"));
    let table: [(&[&str], i32, &str); 13] = [
        (&["ls", "-D", &nowhere], 10, "NO_LEDGER"),
        (&["verify", "-D", &nowhere], 10, "NO_LEDGER"),
        (&["show", "nobody", "-D", &dir], 3, "NOT_FOUND"),
        (&["history", "nobody", "-D", &dir], 3, "NOT_FOUND"),
        (&["show", "extract/orders", "-D", &dir, "--at", "seq:1"], 3, "NOT_FOUND"),
        (&["ls", "-D", &dir, "--at", "seq:129"], 3, "AHEAD"),
        (&["log", "-D", &dir, "--from", "130"], 3, "AHEAD"),
        (&["ls", "-D", &dir, "--at", "noon"], 2, "USAGE"),
        (&["ls", "-D", &dir, "--state", "asleep"], 2, "USAGE"),
        (&["import", "-D", &nowhere, "--segment-size", "5"], 2, "USAGE"),
        (&["import", "-D", &nowhere, "--batch", "0"], 2, "USAGE"),
        (&["dance"], 2, "USAGE"),
        (&["import", "/no/such/file", "-D", &nowhere], 1, "IO"),
    ];
    for (args, exit, code) in table {
        let people = run(args);
        assert_eq!((people.code, people.out.as_str()), (Some(exit), ""), "{args:?}: {}", people.err);
        let said: Vec<&str> = people.err.lines().filter(|line| !line.starts_with("taskledger: note: ")).collect();
        assert!(said.first().is_some_and(|line| line.starts_with("taskledger: ")), "{args:?}: {}", people.err);
        let ran = run(&[args, &["--json"]].concat());
        let error = ran.error();
        assert_eq!((ran.code, error["code"].as_str(), ran.out.as_str()), (Some(exit), Some(code), ""), "{args:?}");
    }
    assert!(!Path::new(&nowhere).exists(), "a refused command makes nothing");

    let missing = run(&["show", "nobody", "-D", &dir]);
    assert!(missing.err.lines().nth(1).is_some_and(|line| line.starts_with("hint: ")), "{}", missing.err);
    assert_eq!(run(&["show", "nobody", "--json", "-D", &dir]).error()["task"], "nobody");
    let early = run(&["show", "extract/orders", "--json", "-D", &dir, "--at", "seq:1"]).error();
    assert_eq!(early["seq"], 2, "says where it begins: {early}");
    let ahead = run(&["ls", "--json", "-D", &dir, "--at", "seq:129"]).error();
    assert_eq!((&ahead["seq"], &ahead["found"]), (&json!(129), &json!(128)));
}

#[test]
fn a_removed_task_is_not_found_and_its_history_is() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.append("a", Event::removed()).unwrap();
    ledger.close().unwrap();
    let error = run(&["show", "a", "--json", "-D", dir]).error();
    assert_eq!((&error["code"], &error["seq"]), (&json!("NOT_FOUND"), &json!(2)));
    assert_eq!(run(&["history", "a", "-D", dir]).good().lines().count(), 2);
}

#[test]
fn help_documents_the_exit_codes_and_the_environment() {
    let help = run(&["--help"]).good();
    for word in ["TASKLEDGER_DIR", "./.taskledger"] {
        assert!(help.contains(word), "{word}");
    }
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "10 ", "11 ", "12 ", "13 ", "130 "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code}");
    }
    assert_eq!(run(&["--version"]).good(), format!("taskledger {}\n", env!("CARGO_PKG_VERSION")));
    let bare = run(&[]);
    assert_eq!((bare.code, bare.out.as_str()), (Some(2), ""));
}

#[test]
fn the_directory_comes_from_the_option_or_the_environment_or_is_the_default() {
    let demo = Demo::new();
    let from_environment = finish(command(&["log", "--json"]).env("TASKLEDGER_DIR", demo.dir()));
    assert_eq!(from_environment.good(), demo.log());
    let option_wins = finish(command(&["log", "--json", "-D", &demo.dir()]).env("TASKLEDGER_DIR", "/no/where"));
    assert_eq!(option_wins.good(), demo.log());
    std::fs::rename(demo.dir(), demo.home.path().join(".taskledger")).unwrap();
    let default = finish(command(&["ls"]).current_dir(demo.home.path()));
    assert!(default.good().contains("31 of 31 tasks"));
}

#[test]
fn import_is_locked_out_by_a_live_writer_and_reading_is_not() {
    let demo = Demo::new();
    let ledger = Ledger::open(demo.dir()).unwrap();
    let locked = run_on("", &["import", "--json", "-D", &demo.dir()]);
    let error = locked.error();
    assert_eq!((locked.code, &error["code"], &error["pid"]), (Some(11), &json!("LOCKED"), &json!(std::process::id())));
    assert!(run(&["ls", "-D", &demo.dir()]).good().contains("31 of 31 tasks"));
    assert_eq!(run(&["verify", "--json", "-D", &demo.dir()]).good_json()[0]["verdict"], "sound");
    drop(ledger);
    run_on("", &["import", "-D", &demo.dir()]).good();
}

#[test]
fn a_log_goes_back_in_and_comes_out_equal() {
    let demo = Demo::new();
    let log = demo.log();
    let acknowledged = run_on(&log, &["import", "--json", "--batch", "50", "-D", &demo.other()]).good_json();
    let expected = [50, 100, 128].map(
        |line| json!({"type": "taskledger.imported/1", "line": line, "seq": line, "appended": line, "skipped": 0}),
    );
    assert_eq!(acknowledged, expected);
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);

    // Again, in its own order and in another one: everything is skipped.
    let mut by_task: Vec<&str> = log.lines().collect();
    by_task.sort_by_key(|line| {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        (entry["task"].to_string(), entry["seq"].as_u64())
    });
    for input in [log.clone(), by_task.join("\n")] {
        let last = run_on(&input, &["import", "--json", "-D", &demo.other()]).good_json();
        let expected = json!({"type": "taskledger.imported/1", "line": 128, "seq": 128, "appended": 0, "skipped": 128});
        assert_eq!(last, [expected]);
    }
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);
}

#[test]
fn an_interrupted_import_completes_when_it_is_run_again() {
    let demo = Demo::new();
    let log = demo.log();
    let begun: String = log.split_inclusive('\n').take(77).collect();
    run_on(&begun, &["import", "-D", &demo.other()]).good();
    let again = run_on(&log, &["import", "-D", &demo.other()]).good();
    assert_eq!(again, "128 lines: 51 appended, 77 skipped since they were there; the ledger ends at seq 128\n");
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);
}

#[test]
fn lines_as_people_write_them_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let input = format!("\n{}   \n", lines(&plain()));
    let told = run_on(&input, &["import", "-", "-D", dir]).good();
    assert!(told.starts_with("7 lines: 5 appended, 0 skipped"), "{told}");
    let task = &run(&["show", "a", "--json", "-D", dir]).good_json()[0];
    let expected = json!({
        "type": "taskledger.task/1", "id": "a", "state": "failed", "attempts": 1, "created_at": 1_772_330_400_000_u64,
        "updated_at": 1_772_330_404_000_u64, "started_at": 1_772_330_402_000_u64,
        "finished_at": 1_772_330_404_000_u64, "error": "no", "metadata": {}, "version": 4, "seq": 5,
    });
    assert_eq!(*task, expected);
    assert!(run_on(&input, &["import", "-D", dir]).good().starts_with("7 lines: 0 appended, 5 skipped"));
    // What an entry leaves out may be written out.
    let written_out = json!({"task": "a", "event": "created", "to": "pending", "inferred": false, "metadata": {}});
    assert!(
        run_on(&written_out.to_string(), &["import", "-D", dir]).good().starts_with("1 line: 0 appended, 1 skipped")
    );
    // From a file, too; and nothing at all is nothing at all.
    let file = home.path().join("lines.jsonl");
    std::fs::write(&file, &input).unwrap();
    assert!(run(&["import", &path(file), "-D", dir]).good().starts_with("7 lines: 0 appended, 5 skipped"));
    let nothing = run_on("", &["import", "--json", "-D", dir]).good_json();
    assert_eq!(nothing, [json!({"type": "taskledger.imported/1", "line": 0, "seq": 5, "appended": 0, "skipped": 0})]);
}

#[test]
fn a_refused_line_is_named_and_exactly_the_lines_before_it_are_in() {
    let ahead = json!({"task": "a", "event": "updated", "at": "2999-01-01T00:00:00Z"});
    let table = [
        (json!({"task": "a", "event": "transitioned", "to": "completed"}), "ILLEGAL", "from", json!("failed")),
        (json!({"task": "c", "event": "updated"}), "ILLEGAL", "task", json!("c")),
        (json!({"task": "a", "event": "updated", "from": "ready"}), "CONFLICT", "expected", json!("state ready")),
        (json!({"task": "a", "event": "updated", "actor": ""}), "LIMIT", "task", json!("a")),
        (ahead, "TIME", "found", json!(32_472_144_000_000_u64)),
        (json!({"task": "a", "event": "updated", "shade": 1}), "LINE", "field", json!("shade")),
        (json!({"task": "a", "event": "transitioned", "to": "runing"}), "LINE", "field", json!("to")),
        (json!({"task": "a", "event": "updated", "version": 9}), "LINE", "expected", json!(5)),
        (json!({"task": "a", "event": "updated", "version": 2}), "CONTRADICTION", "field", json!("event")),
    ];
    for (bad, code, field, value) in table {
        // In the middle of a batch, at its end, and as the first of one.
        for batch in ["1000", "6", "5", "2", "1"] {
            let home = tempfile::tempdir().unwrap();
            let dir = &path(home.path().join("ledger"));
            let mut objects = plain();
            objects.push(bad.clone());
            objects.extend([json!({"task": "z", "event": "created"}), json!("after the bad line nothing is read")]);
            let ran = run_on(&lines(&objects), &["import", "--json", "--batch", batch, "-D", dir]);
            let error = ran.error();
            let told = (ran.code, &error["code"], &error["line"], &error[field]);
            assert_eq!(told, (Some(13), &json!(code), &json!(6), &value), "{bad} batch {batch}: {error}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.starts_with("line 6: ") && message.ends_with("; lines 1 to 5 are in"), "{message}");
            let last: Value = serde_json::from_str(ran.out.lines().last().expect("an acknowledgement")).unwrap();
            assert_eq!((&last["line"], &last["appended"]), (&json!(5), &json!(5)), "{bad} batch {batch}");
            assert_eq!(run(&["log", "--json", "-D", dir]).good().lines().count(), 5, "{bad} batch {batch}");
        }
    }
}

#[test]
fn the_first_bad_line_is_named_even_where_a_later_one_is_seen_first() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    // Line 3 is seen to be illegal only when its batch is committed; that line 4 is no JSON is seen when it is read.
    let input = format!("{}{{\n", lines(&[plain()[0].clone(), plain()[3].clone(), plain()[4].clone()]));
    let error = run_on(&input, &["import", "--json", "-D", dir]).error();
    assert_eq!((&error["code"], &error["line"]), (&json!("ILLEGAL"), &json!(3)));
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 2);
}

#[test]
fn a_line_that_is_no_line_is_refused_with_its_number() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    for bad in
        ["{", "[]", "null", "{\"task\":\"a\"}", "{\"event\":\"created\"}", "{\"task\":\"a\",\"event\":\"pruned\"}"]
    {
        let input = format!("{}{bad}", lines(&plain()[..1]));
        let ran = run_on(&input, &["import", "-D", dir]);
        assert_eq!(ran.code, Some(13), "{bad}");
        assert!(ran.err.starts_with("taskledger: line 2: "), "{bad}: {}", ran.err);
        assert!(ran.err.contains("; line 1 is in\nhint: correct line 2 "), "{bad}: {}", ran.err);
    }
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 1);
}

#[test]
fn a_line_that_differs_from_what_is_there_is_a_contradiction_in_that_field() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let there = json!({
        "task": "a", "event": "observed", "to": "failed", "at": 1_772_330_400_000_u64, "inferred": true, "attempts": 2,
        "output": {"b": 1, "a": [2.5]}, "error": "no", "metadata": {"k": "v", "gone": null}, "created_at": 1,
        "updated_at": 2, "started_at": 3, "finished_at": null, "actor": "me", "reason": "why", "key": "once",
    });
    run_on(&lines(std::slice::from_ref(&there)), &["import", "-D", dir]).good();
    let skips = |line: &Value| {
        let told = run_on(&lines(std::slice::from_ref(line)), &["import", "--json", "-D", dir]).good_json();
        assert_eq!(told[0]["skipped"], 1, "{line}");
    };
    skips(&there);
    skips(&json!({"task": "a", "event": "observed", "to": "failed"}));
    skips(&json!({"task": "a", "event": "observed", "to": "failed", "at": "2026-03-01T02:00:00.000Z", "actor": null}));
    for (field, other) in [
        ("event", json!("transitioned")),
        ("to", json!("completed")),
        ("at", json!(1_772_330_400_001_u64)),
        ("inferred", json!(false)),
        ("attempts", json!(3)),
        ("output", json!({"b": 1, "a": [2]})),
        ("output", json!(null)),
        ("error", json!(null)),
        ("metadata", json!({"k": "v"})),
        ("created_at", json!(9)),
        ("updated_at", json!(9)),
        ("started_at", json!(null)),
        ("finished_at", json!(9)),
        ("actor", json!("you")),
        ("reason", json!("")),
        ("cause", json!(1)),
        ("key", json!("twice")),
    ] {
        let mut line = there.clone();
        line[field] = other.clone();
        let error = run_on(&lines(&[line]), &["import", "--json", "-D", dir]).error();
        let told = (&error["code"], &error["field"], &error["line"], &error["task"]);
        assert_eq!(told, (&json!("CONTRADICTION"), &json!(field), &json!(1), &json!("a")), "{field}: {error}");
        if field != "at" {
            assert_eq!((&error["expected"], &error["found"]), (&there[field], &other), "{field}");
        }
    }
}

#[test]
fn stated_versions_are_believed_and_repeated_lines_are_compared() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut objects = plain();
    // The third version of the task, once more, while the first is still on its way into the ledger.
    let mut again = objects[2].clone();
    again["version"] = json!(3);
    objects.push(again.clone());
    let told = run_on(&lines(&objects), &["import", "--json", "-D", dir]).good_json();
    let last = told.last().expect("an acknowledgement");
    assert_eq!((&last["appended"], &last["skipped"]), (&json!(5), &json!(1)));
    // The end of a history alone.
    let end = [again, json!({"task": "a", "version": 5, "event": "updated", "metadata": {"x": "1"}})];
    let told = run_on(&lines(&end), &["import", "--json", "-D", dir]).good_json();
    assert_eq!((&told[0]["appended"], &told[0]["skipped"]), (&json!(1), &json!(1)));
}

#[test]
fn versions_of_a_removed_task_go_on_counting() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut objects = vec![json!({"task": "a", "event": "created"}), json!({"task": "a", "event": "removed"})];
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    objects.push(json!({"task": "a", "event": "created"}));
    let told = run_on(&lines(&objects), &["import", "--json", "-D", dir]).good_json();
    assert_eq!((&told[0]["appended"], &told[0]["skipped"]), (&json!(1), &json!(2)));
}

#[test]
fn a_key_that_was_used_again_much_later_goes_back_in() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (&path(home.path().join("ledger")), &path(home.path().join("copy")));
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    for n in 0..20 {
        ledger.append("a", Event::updated().key(format!("k{}", n % 17))).unwrap();
    }
    ledger.close().unwrap();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert_eq!(log.lines().count(), 21, "the window is 16 keys, so that k0 to k2 are new again");
    run_on(&log, &["import", "-D", copy]).good();
    assert_eq!(run(&["log", "--json", "-D", copy]).good(), log);
    // Within the window a key is refused, for the same event too: the ledger would take it for a repetition, append
    // nothing, and the line would be lost.
    let keyed = json!({"task": "b", "event": "updated", "key": "k"});
    for (batch, task) in [("1000", "b"), ("1", "c")] {
        let mut objects = vec![json!({"task": "b", "event": "created"}), keyed.clone(), keyed.clone()];
        objects.iter_mut().for_each(|object| object["task"] = json!(task));
        let error = run_on(&lines(&objects), &["import", "--json", "--batch", batch, "-D", copy]).error();
        assert_eq!((&error["code"], &error["line"], &error["task"]), (&json!("KEY"), &json!(3), &json!(task)));
    }
}

#[test]
fn outputs_stay_as_they_are_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let output = r#"{"z": 1.0, "a":1e2 ,"n":0.1000}"#;
    let line = format!(r#"{{"task":"a","event":"observed","to":"completed","output":{output}}}"#);
    run_on(&line, &["import", "-D", dir]).good();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert!(
        log.contains(&format!("\"output\":{output},\"")) || log.contains(&format!("\"output\":{output}}}")),
        "{log}"
    );
}

#[test]
fn small_segments_are_rolled_through() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let objects: Vec<Value> = (0..3000)
        .map(
            |n| json!({"task": format!("t{}", n % 1000), "event": "observed", "to": "running", "actor": n.to_string()}),
        )
        .collect();
    run_on(&lines(&objects), &["import", "--segment-size", "16384", "--batch", "100", "-D", dir]).good();
    // An unfinished spare may be noted before the report.
    let objects = run(&["verify", "--json", "-D", dir]).good_json();
    let report = objects.last().expect("a report");
    assert_eq!((&report["verdict"], &report["entries"]), (&json!("sound"), &json!(3000)));
    assert!(report["segments"].as_u64() > Some(2), "{report}");
}

#[test]
fn characters_that_act_are_escaped_for_people_and_stay_in_json() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let evil = "e\u{1b}[31mv\u{202e}i\u{9b}l\nx\u{7f}";
    let mut objects = vec![json!({"task": evil, "event": "observed", "to": "failed", "error": evil, "output": evil,
        "metadata": {evil: evil}, "actor": evil, "reason": evil, "key": evil})];
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    objects.push(json!({"task": evil, "event": "created"}));
    let mut texts = Vec::new();
    for args in [&["ls"][..], &["show", evil], &["history", evil], &["log"]] {
        texts.push(run(&[args, &["-D", dir]].concat()).good());
    }
    texts.push(run(&["show", &format!("{evil}!"), "-D", dir]).err);
    texts.push(run_on(&lines(&objects), &["import", "-D", dir]).err);
    for text in texts {
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
        assert!(text.contains(r"e\u{1b}[31mv\u{202e}i\u{9b}l"), "{text:?}");
    }
    assert_eq!(run(&["ls", "-D", dir]).good().lines().count(), 3, "a line break in an id or error makes no new line");
    let task = &run(&["show", evil, "--json", "-D", dir]).good_json()[0];
    for field in ["id", "error", "output"] {
        assert_eq!(task[field], evil, "{field}");
    }
    let entry = &run(&["log", "--json", "-D", dir]).good_json()[0];
    for field in ["task", "actor", "reason", "key"] {
        assert_eq!(entry[field], evil, "{field}");
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_success() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let reason = "x".repeat(1000);
    let objects: Vec<Value> =
        (0..1000).map(|n| json!({"task": format!("t{n}"), "event": "created", "reason": reason})).collect();
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    for args in [&["log", "--json", "-D", dir][..], &["log", "-D", dir], &["ls", "--json", "-D", dir]] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
        assert!(!line.is_empty());
    }
}

#[test]
fn an_import_goes_on_when_nobody_listens() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut import = command(&["import", "--json", "--batch", "1", "-D", dir]);
    let mut child = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(lines(&plain()).as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 5);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let demo = Demo::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = command(&["log", "-D", &demo.dir()]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = ended.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.starts_with("taskledger: could not write to standard output: "), "{text}");
}

/// The one segment of a demo, and its bytes.
fn segment(demo: &Demo) -> (PathBuf, Vec<u8>) {
    let mut files = std::fs::read_dir(Path::new(&demo.dir()).join("log")).expect("a ledger has a log");
    let file = files.next().expect("a ledger has a segment").expect("it can be listed").path();
    let bytes = std::fs::read(&file).expect("it can be read");
    (file, bytes)
}

#[test]
fn damage_is_five_and_no_data_is_printed() {
    let demo = Demo::new();
    let (file, mut bytes) = segment(&demo);
    bytes[6000] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
    for args in [&["ls"][..], &["show", "extract/orders"], &["history", "extract/orders"], &["log"]] {
        let ran = run(&[args, &["--json", "-D", &demo.dir()]].concat());
        let error = ran.error();
        assert_eq!((ran.code, ran.out.as_str(), &error["code"]), (Some(5), "", &json!("DAMAGED")), "{args:?}");
        assert!(error["path"].as_str().is_some_and(|path| path.ends_with(".log")), "{error}");
        assert!(error["seq"].is_u64(), "{error}");
    }
    assert_eq!(run_on("", &["import", "-D", &demo.dir()]).code, Some(5));
    let people = run(&["verify", "-D", &demo.dir()]);
    assert_eq!((people.code, people.err.as_str()), (Some(5), ""));
    assert!(people.out.starts_with("damage  ") && people.out.contains("\n  next: "), "{}", people.out);
    let json = run(&["verify", "--json", "-D", &demo.dir()]);
    let objects: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, findings) = objects.split_last().expect("a report");
    assert_eq!((json.code, &report["verdict"]), (Some(5), &json!("damaged")));
    assert!(findings.iter().all(|finding| finding["type"] == "taskledger.finding/1") && !findings.is_empty());
}

#[test]
fn an_unacknowledged_end_is_four_and_is_read_over() {
    let demo = Demo::new();
    let (file, mut bytes) = segment(&demo);
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("a segment has bytes");
    bytes[end + 100] = 1;
    std::fs::write(&file, bytes).unwrap();
    let torn = run(&["verify", "-D", &demo.dir()]);
    assert_eq!((torn.code, torn.err.as_str()), (Some(4), ""), "{}", torn.out);
    assert!(torn.out.contains("torn tail, nothing acknowledged is lost: 1 finding, 128 entries"), "{}", torn.out);
    assert!(run(&["ls", "-D", &demo.dir()]).good().contains("31 of 31 tasks"));
    run_on("", &["import", "-D", &demo.dir()]).good();
    assert_eq!(run(&["verify", "-D", &demo.dir()]).code, Some(0), "once it was recovered");
}

#[test]
fn what_nobody_vouched_for_is_shown_with_a_note() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    // A copy of a running ledger, as a crash leaves it, without its advisory file.
    let copy = home.path().join("copy");
    std::fs::create_dir_all(copy.join("log")).unwrap();
    std::fs::copy(dir.join("LEDGER"), copy.join("LEDGER")).unwrap();
    for file in std::fs::read_dir(dir.join("log")).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, copy.join("log").join(file.file_name().unwrap())).unwrap();
    }
    drop(ledger);
    let ran = run(&["ls", "-D", &path(copy)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains(TaskState::Pending.name()));
    assert!(ran.err.starts_with("taskledger: note: the last 1 entry was written, but nobody"), "{}", ran.err);
}

#[test]
fn the_directory_and_the_form_stand_before_the_command_or_behind_it() {
    let demo = Demo::new();
    let dir = demo.dir();
    let behind = run(&["ls", "--json", "-D", &dir]).good();
    assert_eq!(run(&["-D", &dir, "--json", "ls"]).good(), behind);
    assert_eq!(run(&["--dir", &dir, "ls", "--json"]).good(), behind);
    assert_eq!(finish(command(&["ls", "--json"]).env("TASKLEDGER_DIR", &dir)).good(), behind);
    let named = finish(command(&["-D", &dir, "ls", "--json"]).env("TASKLEDGER_DIR", demo.other())).good();
    assert_eq!(named, behind, "what is typed wins over the environment");
}
