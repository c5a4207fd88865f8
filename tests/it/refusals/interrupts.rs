//! Imports that are interrupted: by whom, how it shows, and that the next one completes them.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use taskledger::{Ledger, Level, Verdict};

use super::program::{Program, finish};
use super::site::{arg, home};

const LINES: usize = 60;
/// How many lines are acknowledged before the signal.
const BEFORE: usize = 25;

/// Waits until it holds, which other processes bring about.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Lines with times of their own, so that two imports of them come to the same log.
pub fn lines(count: usize) -> String {
    let line = |n: usize| {
        let (task, at) = (format!("task {}", n / 4), 1_772_330_400_000 + n as u64);
        let reason = format!("{n:0100}");
        match n % 4 {
            0 => json!({"task": task, "event": "created", "at": at, "reason": reason}),
            1 => json!({"task": task, "event": "transitioned", "to": "ready", "at": at, "reason": reason}),
            2 => json!({"task": task, "event": "transitioned", "to": "running", "at": at, "actor": "me"}),
            _ => json!({"task": task, "event": "transitioned", "to": "completed", "at": at, "output": [n]}),
        }
    };
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}

/// What `log --json` prints.
pub fn log(dir: &str) -> String {
    Program::default().run(&["log", "--json", "-D", dir], "").good()
}

/// What the log is where nothing disturbs the import of these lines.
pub fn undisturbed(input: &str) -> String {
    let home = home();
    let dir = arg(home.path());
    Program::default().run(&["import", "-D", dir], input).good();
    log(dir)
}

/// The last acknowledgement of an import, and the seq that it names.
pub fn last_acknowledged(out: &str) -> (usize, usize) {
    let last: Value = serde_json::from_str(out.lines().last().expect("an acknowledgement")).expect("it is JSON");
    (last["line"].as_u64().expect("a line") as usize, last["seq"].as_u64().expect("a seq") as usize)
}

#[test]
fn an_interrupted_import_keeps_what_it_acknowledged_and_the_next_one_completes_it() {
    let input = lines(LINES);
    let whole = undisturbed(&input);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 137)] {
        for batch in ["1", "5"] {
            let home = home();
            let dir = arg(home.path());
            let mut command = Program::default().command(&["import", "--json", "--batch", batch, "-D", dir]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("it starts");
            let mut to = child.stdin.take().unwrap();
            // More than is acknowledged: with batches of 5, the last 3 lines wait when the signal comes.
            let sent: String = input.lines().take(BEFORE + 3).map(|line| format!("{line}\n")).collect();
            to.write_all(sent.as_bytes()).expect("it reads");
            let mut from = BufReader::new(child.stdout.take().unwrap());
            let mut acknowledged = 0;
            while acknowledged < BEFORE {
                let mut line = String::new();
                from.read_line(&mut line).expect("it answers");
                (acknowledged, _) = last_acknowledged(&line);
            }
            kill_process(Pid::from_child(&child), signal).expect("it lives");
            let ran = finish(child);
            assert_eq!(ran.code, code, "as a shell tells it: {signal:?} {ran:?}");
            drop(to);

            let there = log(dir);
            assert!(whole.starts_with(&there), "what is there is the beginning of it:\n{there}");
            let (least, most) = (acknowledged, BEFORE + 3);
            assert!((least..=most).contains(&there.lines().count()), "{signal:?}: {}", there.lines().count());
            let report = taskledger::verify(home.path(), Level::Content).unwrap();
            assert_eq!(report.verdict(), Verdict::Sound, "{signal:?}: {:?}", report.findings);

            let out = Program::default().run(&["import", "--json", "--batch", batch, "-D", dir], &input).good();
            assert_eq!(last_acknowledged(&out), (LINES, LINES));
            assert_eq!(log(dir), whole, "{signal:?}, batches of {batch}");
            assert!(Ledger::open_read_only(home.path()).unwrap().report().clean);
        }
    }
}
