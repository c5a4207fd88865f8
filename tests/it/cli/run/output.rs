//! What a command prints is passed on as it is, and the end of it kept; and it is ended when its time is up.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use taskledger::TaskState;

use super::{Live, Place, is_there};
use crate::kill::wait_until;

#[test]
fn all_of_the_output_is_passed_on_and_the_end_of_it_kept() {
    let place = Place::new();
    let all: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    for (capture, kept) in [("4096", 4096), ("64KiB", 65_536), ("1MiB", all.len()), ("1", 1)] {
        let ran = place.run(&["--capture", capture], "seq 100000");
        assert!(ran.out == all && ran.err.is_empty(), "{} bytes", ran.out.len());
        let output = place.task()["output"].clone();
        assert_eq!(output["tail"].as_str(), Some(&all[all.len() - kept..]));
        assert_eq!(output["tail_cut"], json!(kept < all.len()));
    }
    let ran = place.run(&[], "seq 100000 >&2");
    assert!(ran.err == all && ran.out.is_empty());
    assert_eq!(
        place.task()["output"]["tail"].as_str(),
        Some(&all[all.len() - 65_536..]),
        "64 KiB unless somebody says more"
    );
}

#[test]
fn without_capture_the_output_is_left_alone() {
    let place = Place::new();
    let file = fs::File::create(place.file("out")).unwrap();
    let line = "readlink /proc/self/fd/1";
    let mut run = place.command(&["--id", "t", "--capture", "0"], line);
    assert!(run.stdout(file).status().unwrap().success());
    assert_eq!(place.read("out").trim(), fs::canonicalize(place.file("out")).unwrap().to_str().unwrap());
    assert_eq!(place.task()["output"].as_object().unwrap().keys().collect::<Vec<_>>(), ["duration_ms", "exit_code"]);
    assert!(place.run(&[], line).out.starts_with("pipe:"));
}

#[test]
fn whatever_is_printed_fits_into_the_ledger() {
    let place = Place::new();
    for (line, escaped) in
        [("head -c 3000000 /dev/zero", "\u{0}"), ("head -c 3000000 /dev/zero | tr '\\0' '\\377'", "\u{fffd}")]
    {
        let mut run = place.command(&["--id", "t", "--capture", "1MiB"], line);
        assert_eq!(run.stdout(Stdio::null()).status().unwrap().code(), Some(0));
        let output = place.task()["output"].clone();
        let tail = output["tail"].as_str().unwrap();
        assert_eq!((tail.chars().count(), tail.replace(escaped, "").len()), (1 << 20, 0), "{line}");
        assert_eq!(output["tail_cut"], json!(true));
    }
}

#[test]
fn what_is_left_in_the_background_keeps_nobody_waiting() {
    let place = Place::new();
    let begun = Instant::now();
    for (line, shown) in [
        ("sleep 61 & echo $! > pid; echo shown", "shown\n"),
        ("sleep 61 & echo $! > pid; printf '%070000d' 1", &format!("{}1", "0".repeat(69_999))),
    ] {
        let ran = place.run(&[], line);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), shown));
        let kept = &shown[shown.len().saturating_sub(65_536)..];
        assert_eq!(place.task()["output"]["tail"].as_str(), Some(kept));
        let pid = place.read("pid");
        assert!(is_there(&pid), "it is left alone");
        kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    // One that writes for ever; that it cannot any more ends it.
    let mut run = Live(place.command(&["--id", "t"], "yes & exit 3").stdout(Stdio::null()).spawn().unwrap());
    assert_eq!(run.end(), Some(3));
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn a_reader_that_has_gone_away_changes_nothing() {
    let place = Place::new();
    let line = "yes | head -c 1000000; echo end; touch done; exit 5";
    let mut run =
        Live(place.command(&["--id", "t"], line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut some = [0; 10];
    run.0.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(run.end(), Some(5));
    assert!(place.has("done"));
    let output = place.task()["output"].clone();
    assert!(output["tail"].as_str().unwrap().ends_with("y\nend\n"), "{output}");
}

/// A reader that takes nothing stops the command, as without a run; but not what is to be told of it.
#[test]
fn a_reader_that_takes_nothing_does_not_keep_the_truth_back() {
    let place = Place::new();
    let line = "head -c 1000000 /dev/zero; touch done";
    let mut run = place.command(&["--id", "t", "--timeout", "500ms", "--retries", "1"], line);
    let mut run = Live(run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the record", || place.state() == Some(TaskState::Retrying));
    assert!(!place.has("done"));
    assert!(run.0.try_wait().unwrap().is_none(), "what was printed is still to be passed on");
    run.send(Signal::TERM);
    assert_eq!(run.end(), Some(143));
    assert_eq!(place.state(), Some(TaskState::Cancelled));
}

#[test]
fn a_command_is_ended_when_its_time_is_up() {
    let place = Place::new();
    for (line, code, output) in [
        ("echo begun; sleep 60", 143, json!({"signal": "SIGTERM", "signal_number": 15})),
        ("trap 'exit 9' TERM; echo begun; while :; do sleep 0.02; done", 9, json!({"exit_code": 9})),
        // It was not done in time, whatever it says.
        ("trap 'exit 0' TERM; echo begun; while :; do sleep 0.02; done", 124, json!({"exit_code": 0})),
        (
            "trap '' TERM; echo begun; while :; do sleep 0.02; done",
            137,
            json!({"signal": "SIGKILL", "signal_number": 9}),
        ),
        // A stopped one, too.
        ("echo begun; kill -STOP $$", 143, json!({"signal": "SIGTERM", "signal_number": 15})),
    ] {
        let ran = place.run(&["--timeout", "300ms", "--kill-after", "300ms"], line);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), "begun\n"), "{line}");
        // A shell says itself how what it waited for ended.
        assert!(ran.err.ends_with("taskledger: t: failed, timed out after 300ms (try 1 of 1)\n"), "{line}: {ran:?}");
        let task = place.task();
        assert_eq!((&task["state"], &task["error"]), (&json!("failed"), &json!("timed out after 300ms")));
        let mut told = task["output"].clone();
        let took = told["duration_ms"].as_u64().unwrap();
        let least = if code == 137 { 599 } else { 299 };
        assert!((least..20_000).contains(&took), "{line}: {took} ms");
        told.as_object_mut().unwrap().retain(|field, _| field.starts_with("signal") || field.starts_with("exit"));
        assert_eq!((told, &task["output"]["timed_out"]), (output, &json!(true)), "{line}");
    }
    // It counts as a failed try, and each has its own time.
    let ran = place.run(&["--timeout", "1s", "--retries", "1"], "test $TASKLEDGER_ATTEMPT = 2 || sleep 60");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "taskledger: t: completed (try 2 of 2)\n"));
    assert!(place.words().ends_with("running retrying running completed"));
}

#[test]
fn all_of_its_group_ends_with_it() {
    let place = Place::new();
    // Deaf to SIGTERM: one whose parent ends at once, and one whose parent is deaf, too.
    for (line, code) in [
        ("(trap '' TERM; exec sh -c 'echo $$ > pid; exec sleep 60') & wait", 143),
        ("trap '' TERM; sh -c 'echo $$ > pid; exec sleep 60' & wait", 137),
    ] {
        let ran = place.run(&["--timeout", "400ms", "--kill-after", "400ms"], line);
        assert_eq!(ran.code, Some(code), "{line}");
        let pid = place.read("pid");
        assert!(!pid.is_empty() && !is_there(&pid), "{line}: {pid}");
    }
    // One that ends in order is given its time for it, though its parent has ended.
    let cleans = "(trap 'sleep 0.3; touch cleaned; exit 0' TERM; touch ready; while :; do sleep 0.02; done) & wait";
    let begun = Instant::now();
    assert_eq!(place.run(&["--timeout", "700ms", "--kill-after", "30s"], cleans).code, Some(143));
    assert!(place.has("ready") && place.has("cleaned"));
    assert!(begun.elapsed() < Duration::from_secs(20), "and no more than it needs");
}
