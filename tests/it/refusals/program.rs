//! Running the program, and what it says when it refuses.

use std::collections::BTreeSet;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::taskledger;

/// Nothing here takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What `taskledger.error/1` may name beside code, exit, message and hint.
const COORDINATES: [&str; 14] = [
    "line", "task", "note", "from", "to", "expected", "found", "seq", "path", "offset", "pid", "since", "field",
    "version",
];

/// The commands that only read, with a task that need not be there.
pub const READERS: [&[&str]; 11] = [
    &["info"],
    &["ls"],
    &["show", "t"],
    &["history", "t"],
    &["log"],
    &["verify"],
    &["stats"],
    &["timeline"],
    &["diff", "seq:0"],
    &["bisect", "--where", "total > 0"],
    &["prune", "--before", "now"],
];

/// Those that write into a ledger that is there, with something to write; `import` takes a line besides.
pub const WRITERS: [&[&str]; 2] = [&["import"], &["append", "b", "created"]];

/// What one run came to.
#[derive(Debug)]
pub struct Ran {
    /// As a shell tells it: 128 and the signal for one that was killed.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output of a run that had nothing to complain about.
    pub fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }
}

/// The program, perhaps run by another one.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// What runs it, and the path of the program at the end; empty for the program itself.
    pub through: Vec<String>,
}

impl Program {
    /// The command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = taskledger();
        if let [first, rest @ ..] = self.through.as_slice() {
            command = Command::new(first);
            command.args(rest).env_remove("TASKLEDGER_DIR").env("NO_COLOR", "1");
        }
        command.args(args);
        command
    }

    /// Runs it to its end with this standard input.
    pub fn run(&self, args: &[&str], input: &str) -> Ran {
        let mut stdin = tempfile::tempfile().expect("a temporary file");
        stdin.write_all(input.as_bytes()).expect("it can be written");
        stdin.rewind().expect("it can be rewound");
        let mut command = self.command(args);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// Runs a command that must be refused, for people and for programs, and gives the one JSON line.
    pub fn refused(&self, args: &[&str], input: &str, exit: i32, code: &str) -> Value {
        let people = self.run(args, input);
        let ran = self.run(&[args, &["--json"]].concat(), input);
        let what = format!("{args:?}: {people:?} {ran:?}");
        assert_eq!((people.code, ran.code), (exit, exit), "{what}");
        assert!(ran.err.ends_with('\n') && ran.err.lines().count() == 1, "one line: {what}");
        assert!(ran.err.starts_with(r#"{"type":"taskledger.error/1","code":""#), "{what}");
        let error: Value = serde_json::from_str(&ran.err).expect("an error is JSON");
        assert_eq!((&error["code"], &error["exit"]), (&code.into(), &exit.into()), "{what}");
        let known =
            BTreeSet::from(COORDINATES).union(&["type", "code", "exit", "message", "hint"].into()).copied().collect();
        let there: BTreeSet<&str> = error.as_object().expect("an object").keys().map(String::as_str).collect();
        assert!(there.is_subset(&known), "an unknown field: {what}");
        assert!(people.out.is_empty(), "nothing but the refusal: {what}");
        let is_word = |line: &str| line.starts_with(r#"{"type":"taskledger.imported/1","#);
        assert!(ran.out.lines().all(is_word), "no data beside a refusal: {what}");

        let message = error["message"].as_str().expect("a message");
        let said = people.err.lines().filter(|line| !line.starts_with("taskledger: remark: "));
        let said: String = said.map(|line| format!("{line}\n")).collect();
        if code == "USAGE" {
            // For people the usage follows.
            let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.starts_with(&format!("taskledger: {message}")), "{what}");
        } else {
            let hint = error.get("hint").map_or(String::new(), |hint| format!("hint: {}\n", hint.as_str().unwrap()));
            // The clock goes on between the two runs, and a message may name it.
            assert_eq!(masked(&said), masked(&format!("taskledger: {message}\n{hint}")), "both forms say the same");
        }
        error
    }
}

/// The text without its numbers.
fn masked(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

/// Waits for the end of a process, but not for ever.
pub fn finish(child: Child) -> Ran {
    finish_within(child, PATIENCE)
}

/// The same for one that takes its time.
pub fn finish_within(child: Child, patience: Duration) -> Ran {
    let pid = Pid::from_child(&child);
    let wait = move || child.wait_with_output();
    let output = come_to_an_end("a process", patience, wait, || _ = kill_process(pid, Signal::KILL));
    let output = output.expect("it ends");
    Ran {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().expect("an end")),
        out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

/// Does it on a thread of its own, and gives up on it where it does not come to an end.
pub fn within<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static, give_up: impl FnOnce()) -> T {
    come_to_an_end(what, PATIENCE, act, give_up)
}

fn come_to_an_end<T: Send + 'static>(
    what: &str,
    patience: Duration,
    act: impl FnOnce() -> T + Send + 'static,
    give_up: impl FnOnce(),
) -> T {
    let (done, told) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(done.send(act())));
    match told.recv_timeout(patience) {
        Ok(came) => came,
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().expect_err("a panic")),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            give_up();
            panic!("{what} hangs")
        }
    }
}

/// Demands that a text says each of these.
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not said: {text}");
    }
}
