//! The command line: the real program, run as a person or a script would.
#![cfg(feature = "cli")]

mod append;
mod bisect;
mod demo;
mod diff;
mod dump;
mod export;
mod failing;
mod follow;
mod helping;
mod import;
mod info;
mod jsonl;
mod large;
mod log;
mod mending;
mod moments;
mod notes;
mod paging;
mod prune;
mod pruned;
mod python;
mod reading;
mod real;
mod run;
mod schemas;
mod stats;
mod terminal;
mod timeline;
mod transcripts;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::say;

const PROGRAM: &str = env!("CARGO_BIN_EXE_taskledger");

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output, where the run was a success and had nothing to say beside it.
    pub fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    pub fn good_json(self) -> Vec<Value> {
        self.good().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one line of JSON that says what went wrong.
    pub fn error(&self) -> Value {
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with(r#"{"type":"taskledger.error/1","code":""#), "{}", self.err);
        let error: Value = serde_json::from_str(&self.err).expect("an error is JSON");
        assert_eq!(error["exit"], json!(self.code), "{error}");
        error
    }
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null());
    for variable in
        ["TASKLEDGER_DIR", "TASKLEDGER_PAGER", "PAGER", "LESS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TZ"]
    {
        command.env_remove(variable);
    }
    command
}

/// Runs to the end. What it printed as JSON is held against the schemas, and its exit code against what `--help` says.
pub fn finish(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let ran = Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    };
    schemas::check(&ran);
    helping::check(command, &ran);
    ran
}

pub fn run(args: &[&str]) -> Ran {
    finish(&mut command(args))
}

/// Runs with a file's content on standard input.
pub fn run_on(input: &str, args: &[&str]) -> Ran {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input.as_bytes()).expect("it can be written");
    std::io::Seek::rewind(&mut file).expect("it can be rewound");
    finish(command(args).stdin(file))
}

/// A directory with a demo in it.
pub struct Demo {
    pub home: TempDir,
}

impl Demo {
    pub fn new() -> Demo {
        let demo = Demo { home: tempfile::tempdir().expect("a temporary directory") };
        run(&["demo", &demo.dir()]).good();
        demo
    }

    pub fn dir(&self) -> String {
        path(self.home.path().join("demo"))
    }

    pub fn other(&self) -> String {
        path(self.home.path().join("other"))
    }

    pub fn log(&self) -> String {
        run(&["log", "--json", "-D", &self.dir()]).good()
    }
}

pub fn path(path: PathBuf) -> String {
    path.to_str().expect("temporary directories are UTF-8").to_owned()
}

pub fn lines(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// Three tries of one task, as a person would write them: no versions, no sequence numbers.
pub fn plain() -> Vec<Value> {
    vec![
        json!({"task": "a", "event": "created", "at": "2026-03-01T02:00:00Z"}),
        json!({"task": "a", "event": "transitioned", "to": "ready", "at": 1_772_330_401_000_u64}),
        json!({"task": "a", "event": "transitioned", "to": "running", "at": 1_772_330_402_000_u64, "actor": "me"}),
        json!({"task": "b", "event": "created", "at": 1_772_330_403_000_u64}),
        json!({"task": "a", "event": "transitioned", "to": "failed", "at": 1_772_330_404_000_u64, "error": "no"}),
    ]
}

/// Says that something was not tested, which CI must not say.
pub fn not_tested(what: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must test {what}: {why}");
    say(&format!("NOT TESTED: {what}: {why}"));
}
