//! `examples/ledger.py`, a program in another language, killed again and again until it has finished.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use taskledger::{Error, Ledger};

use super::jsonl::Home;
use crate::cli::{PROGRAM, run};
use crate::kill::{Killed, wait_until};
use crate::support::{Rng, number, say, skip};

const TASKS: u64 = 25;
/// How many answers a run has that nobody kills.
const ANSWERS: u64 = 4 * TASKS;

fn start(home: &Home) -> Child {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ledger.py");
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut python = Command::new("python3");
    python.arg(example).args([home.dir.as_str(), &TASKS.to_string()]).env("PATH", path).env_remove("TASKLEDGER_DIR");
    python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it was there just now")
}

/// The process that has the ledger open for writing.
fn writer(home: &Home) -> Option<Pid> {
    let reader = Ledger::open_read_only(&home.dir).expect("it can be read at any moment");
    reader.report().writer.and_then(|writer| Pid::from_raw(writer.pid.cast_signed()))
}

#[test]
fn a_python_program_killed_again_and_again_goes_on_and_says_nothing_twice() {
    let test = "cli::python";
    match Command::new("python3").arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        other => return skip(test, &format!("python3 does not start: {other:?}")),
    }
    let seed = number("TASKLEDGER_SEED").unwrap_or(20_260_301);
    let mut rng = Rng(seed);
    let home = Home::new();
    let (mut kills, mut of_ledger, mut acknowledged) = (0, 0, 0);
    loop {
        let mut child = Killed(start(&home));
        let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
        // A little further each time, or it would never come to its end.
        let moment = rng.below(ANSWERS / 4 + kills * 4);
        let seen = (0..moment).map_while(|_| lines.next()?.ok()).count() as u64;
        acknowledged = acknowledged.max(seen);
        if rng.below(2) == 0 {
            child.0.kill().expect("it can be killed");
        } else if let Some(pid) = writer(&home) {
            // Its program ends by itself then.
            let _ = kill_process(pid, Signal::KILL);
            of_ledger += 1;
        } else {
            child.0.kill().expect("it can be killed");
        }
        let ended = child.0.wait().expect("it ends");
        // What was said is there, and the ledger ends by itself once its program is gone.
        wait_until("the ledger to be let go", || match Ledger::open(&home.dir) {
            Ok(ledger) => {
                assert!(ledger.head().0 >= acknowledged, "seed {seed}, kill {kills}: {acknowledged} were acknowledged");
                true
            }
            Err(Error::Locked { .. }) => false,
            Err(error) => panic!("seed {seed}, kill {kills}: {error}"),
        });
        if ended.success() {
            break;
        }
        kills += 1;
        assert!(kills < 200, "seed {seed}: it does not get on");
    }
    assert!(kills > 5 && of_ledger > 1, "seed {seed}: {kills} kills, {of_ledger} of them of the ledger");
    for n in 0..TASKS {
        let history = run(&["history", &format!("square/{n}"), "--json", "-D", &home.dir]).good_json();
        let told: Vec<(&Value, &Value, &Value)> =
            history.iter().map(|entry| (&entry["version"], &entry["to"], &entry["output"])).collect();
        let (nothing, output) = (Value::Null, json!(n * n));
        let states = ["pending", "ready", "running", "completed"].map(Value::from);
        let versions = [1, 2, 3, 4].map(Value::from);
        let expected: Vec<_> = versions
            .iter()
            .zip(&states)
            .map(|(version, state)| (version, state, if state == "completed" { &output } else { &nothing }))
            .collect();
        assert_eq!(told, expected, "seed {seed}: square/{n}");
    }
    let verified = &run(&["verify", "--level", "derived", "--json", "-D", &home.dir]).good_json()[0];
    assert_eq!((&verified["verdict"], &verified["entries"]), (&json!("sound"), &json!(ANSWERS)), "seed {seed}");
    say(&format!("{test}: {kills} kills, {of_ledger} of them of the ledger's process; {ANSWERS} entries, each once"));
}
