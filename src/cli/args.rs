//! What may be typed: the arguments of each command, and nothing that acts on them.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use taskledger::{At, Level, TaskState, limits};

use crate::cli::out::Form;
use crate::cli::time;

/// Printed below every help of the whole.
const AFTER_HELP: &str = "\
Environment:
  TASKLEDGER_DIR  the ledger's directory where -D is not given; without both it is ./.taskledger
  NO_COLOR        any value: no colours

Exit codes:
  0    done; verify: sound
  1    could not: the system refused, or the fate of a write is unknown
  2    wrong usage
  3    no such task, seq or moment
  4    verify: only an unacknowledged end is incomplete, nothing is lost
  5    damage; also any command that cannot open because of it, and then no data is printed
  10   no ledger there
  11   another writer has it open
  12   written by a newer version
  13   the facts or an import line were refused; the code says which
  130  interrupted
With --json an error is one line of JSON on standard error, with its code, exit, message and coordinates.";

/// A ledger of task transitions: append-only, durable, checkable, and able to answer about the past.
#[derive(Debug, Parser)]
#[command(name = "taskledger", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub setting: Setting,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Append the entries of a file of JSON lines; what is there already is skipped
    ///
    /// A line is what `log --json` prints; docs/events.md lists the fields.
    Import(ImportArgs),
    /// List tasks
    ///
    /// Sorted by id. WAITED is from creation to the start of the last try, RAN from there to its end; where either goes
    /// on, up to the time of the entry that the list is as of.
    Ls(LsArgs),
    /// Show one task's record
    Show(TaskArgs),
    /// Print the entries of one task
    History(TaskArgs),
    /// Print the entries of all tasks
    Log(LogArgs),
    /// Check all files; writes nothing, and works beside a live writer
    Verify(VerifyArgs),
    /// Write a sample ledger, draw it, and print commands to try
    Demo(DemoArgs),
}

/// Which ledger, and for whom to write. May stand before the command or behind it.
#[derive(Debug, clap::Args)]
pub(crate) struct Setting {
    /// The ledger's directory
    #[arg(id = "ledger", short = 'D', long = "dir", value_name = "DIR", global = true)]
    #[arg(env = "TASKLEDGER_DIR", default_value = "./.taskledger")]
    pub dir: PathBuf,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
}

impl Setting {
    /// For whom the command is to write.
    pub(crate) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::People }
    }
}

/// As of when.
#[derive(Debug, clap::Args)]
pub(crate) struct Moment {
    /// As of a moment: seq:N, @SECONDS[.MILLIS], or RFC 3339 such as 2026-03-01T02:30:00Z
    #[arg(long, value_name = "MOMENT", value_parser = time::moment)]
    pub at: Option<At>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The file to read; - is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Make so many lines durable at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=limits::BATCH_EVENTS_MAX as u64))]
    pub batch: u64,
    /// The largest size of a segment, in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX))]
    pub segment_size: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Only tasks in these states
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TaskState>,
    /// Only tasks whose id begins so
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TaskArgs {
    /// The task's id
    pub task: String,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Only the last N entries
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub last: Option<u64>,
    /// Only entries from this seq on
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// How deep to look
    #[arg(long, value_enum, default_value_t = Depth::Content)]
    pub level: Depth,
}

/// The levels of `verify`, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Depth {
    /// Headers, checksums, lengths, sequence
    Structure,
    /// Also every event: decoding, limits, legal moves
    Content,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Level {
        match depth {
            Depth::Structure => Level::Structure,
            Depth::Content => Level::Content,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Where to write it: a directory that is empty or not there yet
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

fn state(text: &str) -> Result<TaskState, String> {
    TaskState::from_name(text).ok_or_else(|| format!("no such state; there are {}", state_names()))
}

/// The names of all states, for messages.
pub(crate) fn state_names() -> String {
    TaskState::ALL.map(TaskState::name).join(", ")
}
