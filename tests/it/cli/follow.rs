//! `log --follow`: what is there, then what comes, until nobody reads it any more.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, Ledger, Options};

use crate::cli::{Demo, command, run};
use crate::support::ClockVfs;

/// One that follows, and does not outlive its test.
struct Following {
    child: Child,
    /// `None` once nobody reads any more.
    lines: Option<BufReader<ChildStdout>>,
}

impl Following {
    fn start(args: &[&str]) -> Following {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let lines = child.stdout.take().map(BufReader::new);
        Following { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().expect("a pipe").read_line(&mut line).expect("a line");
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn log_follows_beside_writers_that_come_and_go() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let mut json = Following::start(&["log", "-f", "-n", "2", "--json", "-D", dir]);
    let mut text = Following::start(&["log", "--follow", "--from", "127", "-D", dir]);
    let mut ahead = Following::start(&["log", "-f", "--from", "130", "--json", "-D", dir]);
    let there = run(&["log", "-n", "2", "--json", "-D", dir]).good();
    assert_eq!(json.line() + &json.line(), there, "what is there");
    assert_eq!(text.line() + &text.line(), run(&["log", "-n", "2", "-D", dir]).good());
    for n in 129..132 {
        let ledger = Ledger::open(dir).unwrap();
        ledger.append(format!("later/{n}"), Event::created()).unwrap();
        let entry = json.json();
        assert_eq!((&entry["type"], &entry["seq"]), (&json!("taskledger.entry/1"), &json!(n)), "each at once");
        let line = text.line();
        assert!(line.contains(&format!("{n}  ")) && line.contains(&format!("later/{n}")), "{line}");
        if n >= 130 {
            assert_eq!(ahead.json()["seq"], n);
        }
        ledger.close().unwrap();
    }
}

#[test]
fn a_closed_pipe_ends_it_as_a_success_also_while_nothing_comes() {
    let demo = Demo::new();
    let mut following = Following::start(&["log", "-f", "-n", "1", "-D", &demo.dir()]);
    assert!(following.line().contains("128  "));
    following.lines = None;
    assert_eq!(following.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn filters_hold_for_what_comes_too() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let wanted =
        ["log", "-f", "--json", "--task", "later/*", "--task", "train/*", "--state", "pending,failed", "-D", dir];
    let mut last_two = Following::start(&[&wanted[..], &["-n", "1"]].concat());
    let mut since = Following::start(&[&wanted[..], &["--since", "2026-03-02"]].concat());
    assert_eq!(last_two.json()["seq"], 119, "the last one that is there and wanted");
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("other", Event::created()).unwrap();
    ledger.append("later/1", Event::created()).unwrap();
    ledger.append("later/1", Event::to(taskledger::TaskState::Ready)).unwrap();
    ledger.append("later/2", Event::created()).unwrap();
    for following in [&mut last_two, &mut since] {
        assert_eq!(
            (following.json()["task"].clone(), following.json()["task"].clone()),
            (json!("later/1"), json!("later/2"))
        );
    }
    ledger.close().unwrap();
}

#[test]
fn a_time_that_is_still_to_come_is_waited_for() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let mut since = Following::start(&["log", "-f", "--json", "--since", "2100-01-01T00:00:00Z", "-D", dir]);
    let new_century = 4_102_444_800_000;
    let clock = ClockVfs::new(RealVfs, new_century - 1);
    let ledger = Options::new().vfs(clock.clone()).open(dir).unwrap();
    ledger.append("early", Event::created()).unwrap();
    clock.set(new_century);
    ledger.append("late", Event::created()).unwrap();
    assert_eq!(since.json()["task"], "late");
    ledger.close().unwrap();
}

#[test]
fn log_follow_does_not_go_with_at_and_needs_a_ledger() {
    let demo = Demo::new();
    let refused = run(&["log", "-f", "--at", "seq:3", "-D", &demo.dir()]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    let nowhere = demo.home.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    assert_eq!(run(&["log", "-f", "-D", nowhere]).code, Some(10));
}
