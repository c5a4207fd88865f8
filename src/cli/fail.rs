//! How a command fails: codes, exit codes, coordinates and hints, as text or as `taskledger.error/1`.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use serde_json::{Map, Value};
use taskledger::{Error, Subject};

use crate::cli::out::{Form, Object, complain};
use crate::cli::text::{safe, safe_lines};
use crate::cli::time::stamp;

/// Why a command ended early, or a line of it was refused.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read the output has seen enough.
    ClosedPipe,
    /// Everything else.
    Told(Box<Told>),
}

/// A failure that is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// What the message names, for programs.
    pub coordinates: Map<String, Value>,
    /// The exit code, where it is not that of the error code.
    pub exit: Option<u8>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure::Told(Box::new(Told { code, message: message.into(), hint: None, coordinates: Map::new(), exit: None }))
    }

    fn change(mut self, change: impl FnOnce(&mut Told)) -> Failure {
        if let Failure::Told(told) = &mut self {
            change(told);
        }
        self
    }

    /// Says what to do next, in place of what was said before.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        self.change(|told| told.hint = Some(hint.into()))
    }

    /// Names a place or a value.
    pub(crate) fn with(self, name: &str, value: impl Into<Value>) -> Failure {
        self.change(|told| drop(told.coordinates.insert(name.to_owned(), value.into())))
    }

    /// Names the task or the note.
    pub(crate) fn about(self, subject: &Subject) -> Failure {
        match subject {
            Subject::Task(id) => self.with("task", id.as_str()),
            Subject::Note(key) => self.with("note", key.as_str()),
        }
    }

    /// Ends with this exit code, unless another one was said before.
    pub(crate) fn ends_with(self, exit: u8) -> Failure {
        self.change(|told| told.exit = told.exit.or(Some(exit)))
    }

    /// Puts more words around the message.
    pub(crate) fn reword(self, reword: impl FnOnce(&str) -> String) -> Failure {
        self.change(|told| told.message = reword(&told.message))
    }

    /// Whether the facts are refused, so that the same facts will be refused again.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Failure::Told(told) if exit_of(told.code) == 13)
    }

    /// What is told where the facts are refused; else itself.
    pub(crate) fn refusal(self) -> Result<Told, Failure> {
        match self {
            Failure::Told(told) if exit_of(told.code) == 13 => Ok(*told),
            other => Err(other),
        }
    }

    /// A failed read or write of something that is not the ledger.
    pub(crate) fn io(action: &str, name: &str, error: &io::Error) -> Failure {
        Failure::new("IO", format!("could not {action} {name}: {error}")).with("path", name)
    }

    /// Tells it on standard error, and gives the exit code.
    pub(crate) fn tell(self, form: Form) -> ExitCode {
        let Failure::Told(told) = self else { return ExitCode::SUCCESS };
        match form {
            Form::Json => {
                complain(&serde_json::to_string(&told.object()).expect("texts and numbers can be written"));
            }
            Form::People => {
                complain(&format!("taskledger: {}", safe_lines(&told.message)));
                complain(&format!("hint: {}", safe(told.next())));
            }
        }
        ExitCode::from(told.exit())
    }
}

impl Told {
    fn exit(&self) -> u8 {
        self.exit.unwrap_or_else(|| exit_of(self.code))
    }

    /// What to do next.
    fn next(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| next_of(self.code))
    }

    /// As `taskledger.error/1`.
    pub(crate) fn object(&self) -> Object {
        let object = Object::new("taskledger.error/1")
            .with("code", self.code)
            .with("exit", self.exit())
            .with("message", self.message.as_str())
            .with("hint", self.next());
        let coordinates = self.coordinates.iter();
        coordinates.fold(object, |object, (name, value)| object.with(name, value.clone()))
    }
}

/// The exit code of each error code; `--help` has the same table.
fn exit_of(code: &str) -> u8 {
    match code {
        "USAGE" => 2,
        "NOT_FOUND" | "PRUNED" | "AHEAD" => 3,
        "TORN_TAIL" => 4,
        "DAMAGED" => 5,
        "NO_LEDGER" => 10,
        "LOCKED" => 11,
        "FORMAT" => 12,
        "ILLEGAL" | "CONFLICT" | "KEY" | "TIME" | "LINE" | "LIMIT" | "CONTRADICTION" => 13,
        _ => 1,
    }
}

/// What to do next, where nothing more exact is known.
fn next_of(code: &str) -> &'static str {
    match code {
        "USAGE" => "`taskledger --help` lists what there is",
        "ILLEGAL" => {
            "`taskledger history TASK` shows how it came to its state; --observed states what was seen all the same"
        }
        "CONFLICT" => "`taskledger show TASK` says how it is now; expect that, if the event still holds",
        "KEY" => "`taskledger history TASK` shows what the key was used for; state other facts under another key",
        "LIMIT" => "state less at once; docs/events.md has the limits",
        "LINE" | "CONTRADICTION" => "mend that line and import the file again: lines that are in already are skipped",
        "NO_SPACE" => "make room, and start the command again",
        "INTERNAL" => "start the command again; a report of it, with the message, helps to mend it",
        _ => "see to what the message says, and start the command again; what was acknowledged is safe",
    }
}

/// A failed write to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::ClosedPipe;
        }
        Failure::new("IO", format!("could not write to standard output: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        // Nobody but this program can have closed its ledger.
        let code = if error.code() == "CLOSED" { "INTERNAL" } else { error.code() };
        let failure = Failure::new(code, message);
        match error {
            Error::Io { path, .. } | Error::NoSpace { path, .. } => failure.with("path", path.to_string_lossy()),
            Error::Poisoned { path, .. } => failure
                .with("path", path.to_string_lossy())
                .hint("start the command again: it opens the ledger anew"),
            Error::Unknown { first, last, path, .. } => failure
                .with("from", first.0)
                .with("to", last.0)
                .with("path", path.to_string_lossy())
                .hint("start the command again: it opens the ledger anew and shows what is there"),
            Error::Ahead { asked, head } => failure
                .with("seq", asked.0)
                .with("found", head.0)
                .hint(format!("there are seq 1 to {head}; seq:0 is before everything")),
            Error::Pruned { oldest } => failure.with("oldest", oldest.0).hint(format!(
                "entries are there from seq {oldest} on, and seq:{} is the earliest moment to look at",
                oldest.0.saturating_sub(1)
            )),
            Error::Damaged { path, offset, seq, .. } => {
                let failure = failure.with("path", path.to_string_lossy());
                let failure = offset.into_iter().fold(failure, |failure, offset| failure.with("offset", offset));
                let failure = seq.into_iter().fold(failure, |failure, seq| failure.with("seq", seq.0));
                failure.hint("copy the directory first; `taskledger verify` lists every damaged place, `taskledger repair` says what would be lost; neither changes anything")
            }
            Error::NoLedger { path } => failure
                .with("path", path.to_string_lossy())
                .hint("-D DIR or TASKLEDGER_DIR names the ledger; `taskledger init` and `taskledger import` create one, `taskledger demo DIR` a sample"),
            Error::Locked { path, pid, since } => {
                let until = match (pid, since) {
                    (Some(pid), Some(since)) => format!("process {pid}, which opened it at {}, has closed it", stamp(since)),
                    (Some(pid), None) => format!("process {pid} has closed it"),
                    (None, _) => "it is closed".to_owned(),
                };
                let hint = format!("wait until {until}; all commands that only read work beside it");
                let failure = failure.with("path", path.to_string_lossy()).hint(hint);
                let failure = pid.into_iter().fold(failure, |failure, pid| failure.with("pid", pid));
                since.into_iter().fold(failure, |failure, since| failure.with("since", since))
            }
            Error::Format { path, .. } => {
                failure.with("path", path.to_string_lossy()).hint("use the version of taskledger that wrote it, or a newer one")
            }
            Error::Illegal { subject, from, to, .. } => {
                let failure = failure.about(&subject);
                let failure = from.into_iter().fold(failure, |failure, state| failure.with("from", state.name()));
                to.into_iter().fold(failure, |failure, state| failure.with("to", state.name()))
            }
            Error::Conflict { subject, expected, found, seq, .. } => {
                failure.about(&subject).with("expected", expected.to_string()).with("found", found).with("seq", seq.0)
            }
            Error::Key { subject, seq, .. } => failure.about(&subject).with("seq", seq.0),
            Error::Time { subject, stated, now } => failure
                .about(&subject)
                .with("expected", now)
                .with("found", stated)
                .hint("times are in milliseconds; if the stated time is right, set the clock"),
            Error::Limit { subject: Some(subject), .. } => failure.about(&subject),
            _ => failure,
        }
    }
}
