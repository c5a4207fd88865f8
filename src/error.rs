//! The one error of the crate. Its variants differ where a caller acts differently; each has a stable code.
//!
//! A message says what was being done, to which path, where, and what to do next where there is something to do. The
//! cause is kept as the source.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::event::EventKind;
use crate::model::expect::Expect;
use crate::model::limits::STATED_AHEAD_MS_MAX;
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::Subject;

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system would not do what was asked; the ledger is as before.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done: "read", "create" ...
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// There is no room for the batch. Nothing was written; the next append tries again.
    #[error("no space to prepare a segment in {}; free some and append again", path.display())]
    NoSpace {
        /// The directory of the segments.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed. Reads still answer; to append, open the ledger anew.
    #[error("the ledger takes no more appends since a write to {} failed; open it anew", path.display())]
    Poisoned {
        /// The file that failed.
        path: PathBuf,
        /// The system's answer then.
        source: Arc<io::Error>,
    },
    /// A write or sync failed after the batch had its place: it may or may not be there after opening anew.
    #[error(
        "the fate of {} is unknown since a write to {} failed; open the ledger anew and look",
        seqs(*first, *last), path.display()
    )]
    Unknown {
        /// Seq of the batch's first event.
        first: Seq,
        /// Seq of its last.
        last: Seq,
        /// The file that failed.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The ledger was closed by another handle of this process.
    #[error("the ledger was closed; open it anew")]
    Closed,
    /// A moment or seq ahead of what there is.
    #[error("seq {asked} is ahead of the ledger, which ends at seq {head}")]
    Ahead {
        /// What was asked for.
        asked: Seq,
        /// The last there is.
        head: Seq,
    },
    /// A moment or entry before those that are kept: what was there was pruned.
    #[error("what was there was pruned; the oldest entry that is kept is seq {oldest}")]
    Pruned {
        /// The oldest entry that is kept. The earliest moment to look at is the one before it.
        oldest: Seq,
    },
    /// Bytes that were vouched for cannot be read back.
    #[error(
        "{} is damaged{}{}: {what}; keep the files and run `taskledger verify`",
        path.display(), at_byte(*offset), at_seq(*seq)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte where it starts, where one can be named.
        offset: Option<u64>,
        /// The first seq that cannot be read, where one is known.
        seq: Option<Seq>,
        /// What is wrong.
        what: String,
    },
    /// There is no ledger.
    #[error("there is no ledger in {}", path.display())]
    NoLedger {
        /// Where none is.
        path: PathBuf,
    },
    /// Another writer holds it.
    #[error("{} is open for writing in {}; reading beside it works", path.display(), holder(*pid))]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// The writer's process id, where it is known.
        pid: Option<u32>,
        /// When that process opened it, in milliseconds since the Unix epoch.
        since: Option<u64>,
    },
    /// Written by a newer version, or with a feature that this one does not know.
    #[error("{} cannot be used by this version: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The rules of the lifecycle forbid the event.
    #[error("{subject}: {event}{} is refused{}: {reason}", to_state(*to), from_state(*from))]
    Illegal {
        /// The task or note.
        subject: Subject,
        /// What was to be appended.
        event: EventKind,
        /// Its state before; `None` where there is no record.
        from: Option<TaskState>,
        /// The state asked for.
        to: Option<TaskState>,
        /// Which rule.
        reason: &'static str,
    },
    /// An expectation does not hold.
    #[error("{subject}: expected {}, found {found}{}", expected.words(subject.realm()), moved(*seq, actor.as_deref(), *at))]
    Conflict {
        /// The task or note.
        subject: Subject,
        /// What was expected.
        expected: Box<Expect>,
        /// What was found, in words.
        found: String,
        /// The version found; 0 for a task or note that never was.
        version: u64,
        /// The state found; `None` where there is no record.
        state: Option<TaskState>,
        /// The entry that brought it there; `Seq(0)` where there is none.
        seq: Seq,
        /// Who stated that entry.
        actor: Option<String>,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// The idempotency key was used before for something else.
    #[error("{subject}: the key {key:?} was used for something else at seq {seq}")]
    Key {
        /// The task or note.
        subject: Subject,
        /// The key.
        key: String,
        /// The entry that has it.
        seq: Seq,
    },
    /// A stated time lies too far ahead of the clock.
    #[error("{subject}: the stated time {stated} is more than {STATED_AHEAD_MS_MAX} ms ahead of the clock, {now}")]
    Time {
        /// The task or note.
        subject: Subject,
        /// The stated time, in milliseconds since the Unix epoch.
        stated: u64,
        /// The clock, likewise.
        now: u64,
    },
    /// Something is over a limit, or is no value of its kind.
    #[error("{}{what} {problem}", prefix(subject.as_ref()))]
    Limit {
        /// The task or note, where it is one.
        subject: Option<Subject>,
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// The stable code, as in the JSON of the command line.
    ///
    /// ```
    /// let missing = taskledger::Ledger::open_read_only("/nothing/here").unwrap_err();
    /// assert_eq!(missing.code(), "NO_LEDGER");
    /// ```
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::Io { .. } => "IO",
            Error::NoSpace { .. } => "NO_SPACE",
            Error::Poisoned { .. } => "POISONED",
            Error::Unknown { .. } => "UNKNOWN",
            Error::Closed => "CLOSED",
            Error::Ahead { .. } => "AHEAD",
            Error::Pruned { .. } => "PRUNED",
            Error::Damaged { .. } => "DAMAGED",
            Error::NoLedger { .. } => "NO_LEDGER",
            Error::Locked { .. } => "LOCKED",
            Error::Format { .. } => "FORMAT",
            Error::Illegal { .. } => "ILLEGAL",
            Error::Conflict { .. } => "CONFLICT",
            Error::Key { .. } => "KEY",
            Error::Time { .. } => "TIME",
            Error::Limit { .. } => "LIMIT",
        }
    }

    /// An I/O error with what was being done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source: Arc::new(source) }
    }

    /// Damage at a byte of a file.
    pub(crate) fn damaged(
        path: &Path,
        offset: impl Into<Option<u64>>,
        seq: Option<Seq>,
        what: impl Into<String>,
    ) -> Error {
        Error::Damaged { path: path.to_owned(), offset: offset.into(), seq, what: what.into() }
    }
}

/// What the operations of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// These seqs, in words.
pub(crate) fn seqs(first: Seq, last: Seq) -> String {
    if first == last { format!("seq {first}") } else { format!("seq {first} to {last}") }
}

fn at_byte(offset: Option<u64>) -> String {
    offset.map_or(String::new(), |offset| format!(" at byte {offset}"))
}

fn at_seq(seq: Option<Seq>) -> String {
    seq.map_or(String::new(), |seq| format!(", from seq {seq}"))
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

fn to_state(to: Option<TaskState>) -> String {
    to.map_or(String::new(), |to| format!(" to {to}"))
}

fn from_state(from: Option<TaskState>) -> String {
    from.map_or(String::new(), |from| format!(" from {from}"))
}

fn moved(seq: Seq, actor: Option<&str>, at: u64) -> String {
    match (seq, actor) {
        (Seq::ZERO, _) => String::new(),
        (seq, Some(actor)) => format!(" (moved there at seq {seq} by {actor}, time {at})"),
        (seq, None) => format!(" (moved there at seq {seq}, time {at})"),
    }
}

fn prefix(subject: Option<&Subject>) -> String {
    subject.map_or(String::new(), |subject| format!("{subject}: "))
}
