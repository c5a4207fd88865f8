//! How commands end: exit codes, help, pipes, damage, and which directory is meant.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli::{Demo, command, finish, lines, path, run, run_on};

#[test]
fn failures_have_their_exit_codes_in_both_forms() {
    let demo = Demo::new();
    let dir = demo.dir();
    let nowhere = path(demo.home.path().join("nowhere"));
    let table: [(&[&str], i32, &str); 17] = [
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
        (&["ls", "-D", &dir, "--meta", "owner"], 2, "USAGE"),
        (&["ls", "-D", &dir, "--updated-since", "seq:130"], 3, "AHEAD"),
        (&["append", "a", "created", "-D", &dir, "--at", "seq:7"], 2, "USAGE"),
        (&["info", "-D", &nowhere], 10, "NO_LEDGER"),
        (&["dance"], 2, "USAGE"),
        (&["import", "/no/such/file", "-D", &nowhere], 1, "IO"),
    ];
    for (args, exit, code) in table {
        let people = run(args);
        assert_eq!((people.code, people.out.as_str()), (Some(exit), ""), "{args:?}: {}", people.err);
        let said: Vec<&str> = people.err.lines().filter(|line| !line.starts_with("taskledger: remark: ")).collect();
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

#[test]
fn a_closed_pipe_is_a_quiet_success() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let reason = "x".repeat(1000);
    let objects: Vec<Value> =
        (0..1000).map(|n| json!({"task": format!("t{n}"), "event": "created", "reason": reason})).collect();
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    for args in [
        &["log", "--json", "-D", dir][..],
        &["log", "-D", dir],
        &["ls", "--json", "-D", dir],
        &["timeline", "--json", "--limit", "1000", "-D", dir],
    ] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
        assert!(!line.is_empty());
    }
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
pub fn segment(demo: &Demo) -> (PathBuf, Vec<u8>) {
    let mut files = std::fs::read_dir(Path::new(&demo.dir()).join("log")).expect("a ledger has a log");
    let file = files.next().expect("a ledger has a segment").expect("it can be listed").path();
    let bytes = std::fs::read(&file).expect("it can be read");
    (file, bytes)
}

/// Puts one byte behind the end, as a torn write would; gives the segment, and where its good bytes end.
pub fn tear(demo: &Demo) -> (PathBuf, usize) {
    let (file, mut bytes) = segment(demo);
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("a segment has bytes");
    bytes[end + 100] = 1;
    std::fs::write(&file, bytes).expect("it can be written");
    (file, end)
}

#[test]
fn damage_is_five_and_no_data_is_printed() {
    let demo = Demo::new();
    let (file, mut bytes) = segment(&demo);
    bytes[6000] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
    for args in [&["ls"][..], &["info"], &["show", "extract/orders"], &["history", "extract/orders"], &["log"]] {
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
    tear(&demo);
    let torn = run(&["verify", "-D", &demo.dir()]);
    assert_eq!((torn.code, torn.err.as_str()), (Some(4), ""), "{}", torn.out);
    assert!(torn.out.contains("torn tail, nothing acknowledged is lost: 1 finding, 128 entries"), "{}", torn.out);
    assert!(run(&["ls", "-D", &demo.dir()]).good().contains("31 of 31 tasks"));
    run_on("", &["import", "-D", &demo.dir()]).good();
    assert_eq!(run(&["verify", "-D", &demo.dir()]).code, Some(0), "once it was recovered");
}
