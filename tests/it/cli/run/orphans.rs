//! Who has a task: a run that is alive is left alone, one that is gone is settled, and what cannot be known is not guessed.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use taskledger::{Ledger, TaskState};

use super::{Live, Place, is_there, kill_process};
use crate::kill::wait_until;

/// What the running task says of its run.
fn named(place: &Place) -> Value {
    place.task()["metadata"].clone()
}

#[test]
fn one_that_is_alive_is_left_alone() {
    let place = Place::new();
    let line = "touch begun; until test -e end; do sleep 0.02; done";
    let mut first = place.start(&[], line);
    wait_until("the command", || place.has("begun"));
    let refused = place.run(&["--json"], "touch second");
    let told = refused.error();
    assert_eq!((refused.code, &told["code"], &told["exit"]), (Some(125), &json!("CONFLICT"), &json!(125)));
    let (pid, host) = (first.0.id(), named(&place)["run.host"].clone());
    assert_eq!((&told["pid"], &told["host"]), (&json!(pid), &host));
    let message = told["message"].as_str().unwrap();
    let since = format!("t is running by a run on {}, process {pid}, since 20", host.as_str().unwrap());
    assert!(message.contains(&since), "{message}");
    fs::write(place.file("end"), "").unwrap();
    assert_eq!((first.end(), place.has("second")), (Some(0), false));
    assert_eq!(place.words(), "created ready running completed", "nothing was written by the one that was refused");
}

#[test]
fn one_that_is_gone_is_settled_and_its_command_killed_before_the_next_begins() {
    let place = Place::new();
    // The one within has left the group, and has ended its parent.
    let line = "setsid sh -c 'echo $$ > inner; exec sleep 60' & trap '' TERM; echo $$ > pid; sleep 60; sleep 60";
    let mut first = place.start(&["--retries", "2"], line);
    wait_until("the command", || place.read("pid").ends_with('\n') && place.read("inner").ends_with('\n'));
    let pid = first.0.id();
    first.send(Signal::KILL);
    assert_eq!(first.end(), None);
    let (left, inner) = (place.read("pid"), place.read("inner"));
    assert!(is_there(&left) && is_there(&inner), "the command goes on without its run");
    // One that only waits for its parent to look has ended.
    let lives =
        |pid: &str| format!("! grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/{}/status || exit 9", pid.trim());
    let next = format!("{}; {}; echo $TASKLEDGER_ATTEMPT", lives(&left), lives(&inner));
    let ran = place.run(&[], &next);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "2\n"), "{ran:?}");
    assert_eq!(place.words(), "created ready running requeued:ready running completed");
    let reason = place.history()[3]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with(&format!("the run that had it (pid {pid}, since 20")), "{reason}");
    // The shell, its sleep, and the one within.
    assert!(reason.ends_with("Z) is gone; how it ended is not known; 3 processes of it were killed"), "{reason}");
}

#[test]
fn one_that_is_gone_between_two_tries_is_settled_too() {
    let place = Place::new();
    let mut first = place.start(&["--retries", "2", "--retry-delay", "1h"], "exit 6");
    wait_until("the first try", || place.state() == Some(TaskState::Retrying));
    assert_eq!(place.run(&[], "true").code, Some(125), "it is alive");
    first.send(Signal::KILL);
    first.end();
    assert_eq!(place.run(&["--meta", "k=v"], "true").code, Some(0));
    assert_eq!(place.words(), "created ready running retrying requeued:ready updated running completed");
    let history = place.history();
    assert!(history[4]["reason"].as_str().unwrap().ends_with("; nothing of it was left"), "{}", history[4]);
}

/// Makes the ledger say that a task runs under a run, as this one but for some keys.
fn running_under(place: &Place, others: &[(&str, &str)]) {
    let line = "exit 1";
    place.run(&[], line);
    let metadata = named(place);
    place.append(&["removed"]);
    place.append(&["created"]);
    place.append(&["ready"]);
    let keys = metadata.as_object().unwrap().iter().filter(|(key, _)| key.starts_with("run."));
    let mut event = vec!["running".to_owned(), "--actor".to_owned(), "elsewhere".to_owned()];
    for (key, value) in keys {
        let value = others.iter().find(|(other, _)| other == key).map_or(value.as_str().unwrap(), |(_, value)| value);
        event.extend(["--meta".to_owned(), format!("{key}={value}")]);
    }
    place.append(&event.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_same_number_is_not_the_same_process() {
    let place = Place::new();
    let own = std::process::id().to_string();
    running_under(&place, &[("run.pid", &own), ("run.start", "1")]);
    assert_eq!(place.run(&[], "true").code, Some(0), "the number is another's by now");
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap();
    running_under(&place, &[("run.pid", &own), ("run.start", start)]);
    assert_eq!(place.run(&[], "true").code, Some(125), "that one is alive");
    let boot = "00000000-0000-0000-0000-000000000000";
    running_under_again(&place, &[("run.pid", &own), ("run.start", start), ("run.boot", boot)]);
    assert_eq!(place.run(&[], "true").code, Some(0), "the machine was started again since");
}

/// As [`running_under`], where a task is running.
fn running_under_again(place: &Place, others: &[(&str, &str)]) {
    place.append(&["removed"]);
    running_under(place, others);
}

#[test]
fn what_cannot_be_seen_from_here_is_settled_by_hand() {
    for others in [&[("run.host", "ci-8")][..], &[("run.host", "ci-8"), ("run.boot", "x")], &[("run.pidns", "pid:[1]")]]
    {
        let place = Place::new();
        running_under(&place, others);
        let before = place.history().len();
        let told = place.run(&["--json"], "touch begun").error();
        assert_eq!((&told["code"], &told["exit"]), (&json!("CONFLICT"), &json!(125)), "{others:?}");
        assert!(told["message"].as_str().unwrap().contains("cannot be seen from here"), "{told}");
        let hint = told["hint"].as_str().unwrap();
        assert!(hint.contains("taskledger append t requeued:ready --reason"), "{hint}");
        assert!(!place.has("begun") && place.history().len() == before);
        place.append(&["requeued:ready", "--reason", "ci-8 is gone"]);
        assert_eq!(place.run(&[], "true").code, Some(0), "which is what the hint says");
    }
}

#[test]
fn what_no_run_has_is_left_to_who_has_it() {
    let place = Place::new();
    for event in ["created", "ready"] {
        place.append(&[event]);
    }
    place.append(&["running", "--actor", "worker-3"]);
    let ran = place.run(&[], "true");
    assert_eq!(ran.code, Some(125));
    assert!(ran.err.contains("t is running by worker-3 since 20") && ran.err.contains("no run has it"), "{ran:?}");
    assert!(ran.err.contains("requeued:ready"), "{ran:?}");
    // Also where a run had it before, whose words are still in its metadata.
    let other = Place::new();
    let mut first = other.start(&[], "touch begun; exec sleep 60");
    wait_until("the command", || other.has("begun"));
    first.send(Signal::KILL);
    first.end();
    other.append(&["requeued:ready"]);
    other.append(&["running", "--actor", "worker-3"]);
    let ran = other.run(&[], "true");
    assert!(ran.code == Some(125) && ran.err.contains("by worker-3"), "{ran:?}");
    for pid in other.carriers("TASKLEDGER_TASK=t") {
        kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

/// Two that find the same orphan: one settles it and goes on.
#[test]
fn an_orphan_is_settled_once() {
    let place = Place::new();
    let mut first = place.start(&[], "touch begun; exec sleep 60");
    wait_until("the command", || place.has("begun"));
    first.send(Signal::KILL);
    first.end();
    let ledger = Ledger::open(place.dir()).unwrap();
    let line = "until test -e end; do sleep 0.01; done";
    let mut next: Vec<Live> =
        (0..4).map(|_| Live(place.command(&["--id", "t"], line).stderr(Stdio::null()).spawn().unwrap())).collect();
    wait_until("them all to wait", || next.iter().all(|run| super::is_asleep(run.0.id())));
    ledger.close().unwrap();
    wait_until("the losers", || super::ended(&mut next) == 3);
    fs::write(place.file("end"), "").unwrap();
    let mut codes: Vec<Option<i32>> = next.iter_mut().map(Live::end).collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(125), Some(125), Some(125)]);
    assert_eq!(place.words(), "created ready running requeued:ready running completed");
}
