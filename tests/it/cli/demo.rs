//! `demo`: the same every time, and careful with what is there.

use std::process::Command;

use serde_json::json;

use crate::cli::{Demo, finish, lines, path, plain, run, run_on};

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
