//! `run`: a command as a task. The ledger says it is running before it is, and how it ended once it has.
//!
//! Whenever this program is killed, the task is not started, or running under a run that can be seen to be gone, or ended; the
//! next run of it finds out which. Nothing of its own goes to standard output.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde::Serialize;
use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, TaskState};

use crate::cli::args::Setting;
use crate::cli::child::{Attempt, Ended, Stop};
use crate::cli::claim::Claim;
use crate::cli::doing::RunArgs;
use crate::cli::fail::Failure;
use crate::cli::hold::{Begun, Hold};
use crate::cli::look;
use crate::cli::orphan::{Run, TOKEN, TOKEN_KEY};
use crate::cli::out::{Form, complain};
use crate::cli::signals::{self, Signals};
use crate::cli::text::{safe, shell};

/// The exit code where this fails, and not the command.
const OWN_FAILURE: u8 = 125;
/// Where the command cannot be started, and where it is not there.
const NO_COMMAND: [u8; 2] = [126, 127];
/// Where a command ended well after its time was up, as `timeout` has it.
const TIMED_OUT: u8 = 124;

pub(crate) fn run(args: &RunArgs, setting: &Setting) -> Result<u8, Failure> {
    story(args, setting).map_err(|failure| failure.ends_with(OWN_FAILURE))
}

fn story(args: &RunArgs, setting: &Setting) -> Result<u8, Failure> {
    let mut seen = BTreeSet::new();
    if let Some((key, _)) = args.meta.iter().find(|(key, _)| !seen.insert(key)) {
        let message = format!("the metadata key {key:?} is named twice");
        return Err(Failure::new("USAGE", message).hint("name each key once, in --meta"));
    }
    // Before anything is done, so that no signal is lost.
    let signals = Signals::catch().map_err(|error| Failure::io("catch", "signals", &error))?;
    let this = Run::this().map_err(|error| Failure::io("get", "random bytes", &error))?;
    let hold = Hold { dir: &setting.dir, id: &args.id, this };
    let story = Story { args, form: setting.form(), dir: look::whole_path(&setting.dir)?, hold, signals };
    match story.begin()? {
        Begun::Attempt(attempt) => story.attempts(attempt),
        Begun::Stopped(signal) => {
            story.say(&format!("not started, run got {}", signals::words(signal)));
            Ok(killed_by(signal))
        }
    }
}

/// The exit code of a shell for what a signal ended.
fn killed_by(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Completed,
    Cancelled(Stop),
    Again,
    Failed,
}

impl Next {
    fn after(ended: &Ended, stop: Option<Stop>, retries_left: bool) -> Next {
        match stop {
            _ if ended.is_good() => Next::Completed,
            Some(stop) => Next::Cancelled(stop),
            None if retries_left => Next::Again,
            None => Next::Failed,
        }
    }
}

/// One run, from its first look to its exit code.
struct Story<'a> {
    args: &'a RunArgs,
    form: Form,
    /// The ledger, as it is named from everywhere.
    dir: String,
    hold: Hold<'a>,
    signals: Signals,
}

impl Story<'_> {
    /// Makes this run the one that has the task, running. What another one has left behind is gone before.
    fn begin(&self) -> Result<Begun, Failure> {
        let (args, this) = (self.args, &self.hold.this);
        let found = self.hold.look()?;
        let claim = found.claim(this, |process| RealVfs.is_alive(process))?;
        let why_back = match &claim {
            Claim::Orphan(run) => {
                let killed = run.kill_what_is_left().map_err(|error| {
                    let what = format!("what is left of process {}, which had {}", run.process.pid, args.id);
                    Failure::io("end", &what, &error).with("task", args.id.as_str())
                })?;
                Some(found.settled(run, killed))
            }
            _ => None,
        };
        let batch = found.begin(&args.id, &args.meta, why_back, &claim, |event| self.signed(event), this);
        let begun = self.hold.begin(batch, &self.signals);
        begun.map_err(|failure| failure.reword(|message| format!("{} was not started: {message}", args.id)))
    }

    /// Tries until it ends well, no try is left, or somebody stops it.
    fn attempts(&self, mut attempt: u32) -> Result<u8, Failure> {
        let (args, signals) = (self.args, &self.signals);
        let kill_after = args.kill_after.time;
        for tried in 1_u64.. {
            let tries = format!(" (try {tried} of {})", u64::from(args.retries) + 1);
            if let Some(signal) = signals.take_stop() {
                return self.cancel(Stop::Sent(signal), killed_by(signal), &tries);
            }
            let mut running = match Attempt::start(&args.command, &self.environment(attempt), args.capture) {
                Ok(running) => running,
                Err(error) => return Err(self.cannot_start(&error)),
            };
            let lost = |error: io::Error| Failure::io("watch", &self.command(), &error);
            let ended = running.watch(signals, args.timeout.as_ref().map(|timeout| timeout.time), kill_after);
            let ended = ended.map_err(lost)?;
            let retries_left = tried <= u64::from(args.retries);
            let mut next = Next::after(&ended, ended.stop, retries_left);
            if next == Next::Again {
                running.clear(signals, kill_after).map_err(lost)?;
                next = Next::after(&ended, running.stop(), retries_left);
            }
            let problem = self.problem(&ended);
            let recorded = self.record(next, &ended, problem.as_deref(), &mut running);
            // Whoever reads the output gets it, whatever came of that.
            let flushed = running.flush(signals).map_err(lost);
            recorded.map_err(|failure| self.not_recorded(failure, next, problem.as_deref(), &tries))?;
            flushed?;
            let code = if ended.timed_out && ended.code() == 0 { TIMED_OUT } else { ended.code() };
            let how = problem.as_deref().unwrap_or("exit code 0");
            match next {
                Next::Completed if tried == 1 => return Ok(code),
                Next::Completed => self.say(&format!("completed{tries}")),
                Next::Failed => self.say(&format!("failed, {how}{tries}")),
                Next::Cancelled(stop) => self.say(&format!("cancelled, {}{tries}", why(stop))),
                Next::Again => {
                    let delay = args.retry_delay.as_ref().map_or(Duration::ZERO, |delay| delay.time);
                    let stop = running.stop().or_else(|| signals.wait_for_stop(delay).map(Stop::Sent));
                    if let Some(stop) = stop {
                        return self.cancel(stop, code, &tries);
                    }
                    let again = self.hold.this.sign(Event::to(TaskState::Running));
                    let step = self.hold.step(self.signed(again));
                    attempt = step.map_err(|failure| {
                        failure
                            .reword(|message| format!("{} was not tried again after {how}{tries}: {message}", args.id))
                    })?;
                    continue;
                }
            }
            return Ok(code);
        }
        unreachable!("it ends with the last try")
    }

    /// An event as this run states it.
    fn signed(&self, event: Event) -> Event {
        event.by(self.args.actor.as_str())
    }

    /// What a command finds in its environment.
    fn environment(&self, attempt: u32) -> [(&'static str, OsString); 4] {
        [
            (TOKEN, self.hold.this.token.as_str().into()),
            ("TASKLEDGER_TASK", self.args.id.as_str().into()),
            ("TASKLEDGER_ATTEMPT", attempt.to_string().into()),
            ("TASKLEDGER_DIR", self.dir.as_str().into()),
        ]
    }

    /// The command as messages name it.
    fn command(&self) -> String {
        self.args.command.first().map_or_else(String::new, |command| command.to_string_lossy().into_owned())
    }

    /// Why an attempt was none that counts.
    fn problem(&self, ended: &Ended) -> Option<String> {
        if let Some(timeout) = self.args.timeout.as_ref().filter(|_| ended.timed_out) {
            return Some(format!("timed out after {}", timeout.typed));
        }
        match (ended.status.code(), ended.status.signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("exit code {code}")),
            (None, signal) => Some(format!("killed by {}", signals::words(signal.unwrap_or(0)))),
        }
    }

    /// Records how an attempt ended.
    fn record(&self, next: Next, ended: &Ended, problem: Option<&str>, running: &mut Attempt) -> Result<u32, Failure> {
        let tail = (self.args.capture > 0).then(|| running.tail());
        let output = Output::of(ended, tail.as_ref());
        let output = serde_json::to_string(&output).expect("texts and numbers can be written");
        let event = match next {
            Next::Completed => Event::to(TaskState::Completed),
            Next::Failed => Event::to(TaskState::Failed),
            Next::Again => Event::to(TaskState::Retrying).meta(TOKEN_KEY, self.hold.this.token.as_str()),
            Next::Cancelled(stop) => Event::to(TaskState::Cancelled).because(why(stop)),
        };
        let event = match problem {
            Some(problem) => event.error(problem),
            None => event.clear_error(),
        };
        // Waiting for another writer does not make it longer.
        self.hold.step(self.signed(event.output_text(&output).at(ended.at)))
    }

    /// Ends a task between its attempts, or before the first.
    fn cancel(&self, stop: Stop, code: u8, tries: &str) -> Result<u8, Failure> {
        let event = Event::to(TaskState::Cancelled).because(why(stop));
        let recorded = self.hold.step(self.signed(event));
        recorded.map_err(|failure| self.not_recorded(failure, Next::Cancelled(stop), None, tries))?;
        self.say(&format!("cancelled, {}{tries}", why(stop)));
        Ok(code)
    }

    /// Records that there was nothing to run, which another try would not mend.
    fn cannot_start(&self, error: &io::Error) -> Failure {
        let [not_executable, not_found] = NO_COMMAND;
        let code = if error.kind() == io::ErrorKind::NotFound { not_found } else { not_executable };
        let problem = format!("cannot be started: {error}");
        let event = Event::to(TaskState::Failed).error(problem.as_str()).clear_output();
        let (id, command) = (self.args.id.as_str(), self.command());
        if let Err(failure) = self.hold.step(self.signed(event)) {
            return self.not_recorded(failure, Next::Failed, Some(&format!("{command} {problem}")), "");
        }
        Failure::new("IO", format!("{id}: failed, {command} {problem}"))
            .hint("the command is started as it is; `-- sh -c '...'` runs a line of a shell")
            .with("task", id)
            .with("path", command)
            .ends_with(code)
    }

    /// A failure that leaves the ledger with less than the truth.
    fn not_recorded(&self, failure: Failure, next: Next, problem: Option<&str>, tries: &str) -> Failure {
        let id = self.args.id.as_str();
        let state = match next {
            Next::Completed => TaskState::Completed,
            Next::Cancelled(_) => TaskState::Cancelled,
            Next::Again => TaskState::Retrying,
            Next::Failed => TaskState::Failed,
        };
        let how = problem.map_or_else(String::new, |problem| format!(", {problem}"));
        failure
            .reword(|message| format!("{id}: {state}{how}{tries} is not recorded: {message}"))
            .with("task", id)
            .hint(format!(
                "`taskledger history {0}` shows what is there; `taskledger append {0} {state}` records it by hand, else the next \
                 run settles it",
                shell(id)
            ))
    }

    /// Says something to people, on one line.
    fn say(&self, text: &str) {
        if self.form == Form::People {
            complain(&format!("taskledger: {}: {text}", safe(&self.args.id)));
        }
    }
}

fn why(stop: Stop) -> String {
    match stop {
        Stop::Sent(signal) => format!("run got {}", signals::words(signal)),
        Stop::Typed(signal) => format!("{} was typed", signals::words(signal)),
    }
}

/// What is recorded of an attempt, in this order.
#[derive(Debug, Serialize)]
struct Output<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_number: Option<i32>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail_cut: Option<bool>,
}

impl Output<'_> {
    fn of<'a>(ended: &Ended, tail: Option<&'a (String, bool)>) -> Output<'a> {
        let signal = ended.status.signal();
        Output {
            exit_code: ended.status.code(),
            signal: signal.and_then(signals::name),
            signal_number: signal,
            duration_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
            timed_out: ended.timed_out,
            tail: tail.map(|(text, _)| text.as_str()),
            tail_cut: tail.map(|(_, is_cut)| *is_cut),
        }
    }
}
