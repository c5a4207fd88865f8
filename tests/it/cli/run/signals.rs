//! Signals to a run are its command's, and end what would come after it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use taskledger::{Ledger, TaskState};

use super::{Live, Place, is_asleep, signals_are_ignored};
use crate::kill::{Round, wait_until};
use crate::support::{Rng, number};

const SIGNALS: [(Signal, &str, i32); 4] =
    [(Signal::INT, "INT", 130), (Signal::TERM, "TERM", 143), (Signal::HUP, "HUP", 129), (Signal::QUIT, "QUIT", 131)];

#[test]
fn a_signal_is_passed_on_and_nothing_is_tried_after_it() {
    if signals_are_ignored() {
        return;
    }
    for (signal, name, _) in SIGNALS {
        let place = Place::new();
        let line = format!("trap 'echo {name} > got; exit 7' {name}; touch begun; while :; do sleep 0.02; done");
        let mut run = place.start(&["--retries", "3"], &line);
        wait_until("the command", || place.has("begun"));
        run.send(signal);
        assert_eq!((run.end(), place.read("got").trim()), (Some(7), name));
        assert_eq!(place.words(), "created ready running cancelled");
        let history = place.history();
        assert_eq!(
            (&history[3]["reason"], &history[3]["error"]),
            (&json!(format!("run got SIG{name}")), &json!("exit code 7"))
        );
        assert_eq!(history[3]["output"]["exit_code"], 7);
    }
}

#[test]
fn what_is_printed_at_the_end_is_passed_on() {
    let place = Place::new();
    let line = "trap 'seq 10000; exit 7' TERM; touch begun; while :; do sleep 0.02; done";
    let run = place.command(&["--id", "t"], line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the command", || place.has("begun"));
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let ended = run.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(7), 48_894));
}

#[test]
fn a_command_that_ends_well_has_completed_all_the_same() {
    let place = Place::new();
    let mut run = place.start(&[], "trap 'exit 0' TERM; touch begun; while :; do sleep 0.02; done");
    wait_until("the command", || place.has("begun"));
    run.send(Signal::TERM);
    assert_eq!((run.end(), place.state()), (Some(0), Some(TaskState::Completed)));
}

#[test]
fn the_whole_group_gets_it() {
    let place = Place::new();
    let line = "sh -c 'trap \"touch inner; exit 0\" TERM; touch begun; while :; do sleep 0.02; done' & wait; exit 1";
    let mut run = place.start(&[], line);
    wait_until("the command", || place.has("begun"));
    run.send(Signal::TERM);
    assert_eq!(run.end(), Some(143));
    wait_until("the one within", || place.has("inner"));
}

#[test]
fn other_signals_are_the_commands_alone() {
    let place = Place::new();
    let line =
        "trap 'echo 1 >> got' USR1; trap 'echo 2 >> got' USR2; touch begun; until test -e end; do sleep 0.02; done";
    let mut run = place.start(&[], line);
    wait_until("the command", || place.has("begun"));
    run.send(Signal::USR1);
    wait_until("the first", || place.read("got") == "1\n");
    run.send(Signal::USR2);
    wait_until("the second", || place.read("got") == "1\n2\n");
    std::fs::write(place.file("end"), "").unwrap();
    assert_eq!((run.end(), place.state()), (Some(0), Some(TaskState::Completed)));
}

#[test]
fn between_two_tries_a_signal_ends_it() {
    let place = Place::new();
    let mut run = place.start(&["--retries", "3", "--retry-delay", "1h"], "exit 6");
    wait_until("the first try", || place.state() == Some(TaskState::Retrying));
    run.send(Signal::TERM);
    assert_eq!(run.end(), Some(6));
    assert_eq!(place.words(), "created ready running retrying cancelled");
    assert_eq!(place.history()[4]["reason"], "run got SIGTERM");
}

#[test]
fn before_its_start_a_signal_leaves_nothing() {
    let place = Place::new();
    let ledger = Ledger::open(place.dir()).unwrap();
    let mut run = place.command(&["--id", "t"], "touch begun");
    let mut run = Live(run.stderr(Stdio::null()).spawn().unwrap());
    wait_until("the run to wait", || is_asleep(run.0.id()));
    run.send(Signal::TERM);
    assert_eq!(run.end(), Some(143), "it does not wait for the ledger any more");
    ledger.close().unwrap();
    assert!(!place.has("begun") && place.state().is_none());
}

/// At whatever moment a signal comes: the program had not caught it yet, nothing was begun, or the task is cancelled. The command is
/// no shell: dash forgets an interrupt that it gets on its way to another program, once in forty times within its first
/// milliseconds.
#[test]
fn at_no_moment_is_a_signal_lost() {
    if signals_are_ignored() {
        return;
    }
    let seed = number("TASKLEDGER_SEED").unwrap_or(0x7E57);
    let mut rng = Rng(seed);
    let place = Place::new();
    let (mut cancelled, mut unborn) = (0, 0);
    let begun = Instant::now();
    assert_eq!(place.run(&[], "true").code, Some(0));
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
    for round in 0.. {
        if round >= 60 && cancelled >= 5 && unborn >= 5 {
            break;
        }
        assert!(round < 600, "seed {seed}: {cancelled} were cancelled, {unborn} were not begun");
        let delay = Duration::from_micros(rng.below(took * 3 / 2));
        let (signal, name, code) = SIGNALS[rng.below(4) as usize];
        let context = Round(format!("TASKLEDGER_SEED={seed}, round {round}: {name} after {delay:?}"));
        let before = place.history().len();
        let mut run = place.start_program(&["--retries", "2"], &["sleep", "60"]);
        std::thread::sleep(delay);
        run.send(signal);
        wait_until("the end", || run.0.try_wait().unwrap().is_some());
        let ended = run.0.wait().unwrap();
        let state = place.state();
        let added = place.history().len() - before;
        match ended.code() {
            // It had caught nothing yet.
            None => assert_eq!(added, 0),
            ended => {
                assert_eq!(ended, Some(code));
                assert!(added == 0 || state == Some(TaskState::Cancelled), "{state:?}");
            }
        }
        assert!(place.carriers("TASKLEDGER_TASK=t").is_empty(), "its command is gone");
        cancelled += u32::from(added > 0);
        unborn += u32::from(added == 0);
        drop(context);
    }
    place.is_sound();
}

#[test]
fn what_was_ignored_stays_ignored() {
    let place = Place::new();
    let line = "touch begun; until test -e end; do sleep 0.02; done";
    let program = crate::cli::PROGRAM;
    let nohup = format!("trap '' HUP; exec {program} run -D {} --id t -- sh -c '{line}'", place.dir());
    let mut sh = std::process::Command::new("sh");
    let mut run = Live(sh.args(["-c", &nohup]).current_dir(place.home.path()).spawn().unwrap());
    wait_until("the command", || place.has("begun"));
    run.send(Signal::HUP);
    std::fs::write(place.file("end"), "").unwrap();
    assert_eq!((run.end(), place.state()), (Some(0), Some(TaskState::Completed)));
}
