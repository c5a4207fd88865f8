//! What may be typed: the arguments of each command, and nothing that acts on them.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{Parser, Subcommand, ValueEnum};
use taskledger::{At, Expect, Level, Seq, TaskState, limits};

use crate::cli::asking::{
    BISECT_EXAMPLES, BisectArgs, COMPLETIONS_EXAMPLES, CompletionsArgs, DIFF_EXAMPLES, DUMP_EXAMPLES, DiffArgs,
    DumpArgs, EXPORT_EXAMPLES, ExportArgs, HISTORY_EXAMPLES, HistoryArgs, LOG_EXAMPLES, LS_EXAMPLES, LogArgs,
    MAN_EXAMPLES, ManArgs, Moment, NOTE_EXAMPLES, NOTES_EXAMPLES, SCHEMA_EXAMPLES, SHOW_EXAMPLES, STATS_EXAMPLES,
    SchemaArgs, ShowArgs, StatsArgs, TIMELINE_EXAMPLES, TimelineArgs, VERSION_ENDS,
};
use crate::cli::doing::{
    BACKUP_EXAMPLES, BackupArgs, PRUNE_EXAMPLES, PruneArgs, REPAIR_EXAMPLES, RUN_EXAMPLES, RepairArgs, RunArgs,
    SNAPSHOT_EXAMPLES,
};
use crate::cli::fact::{Happened, expectation, happened, pair, state};
use crate::cli::making::Making;
use crate::cli::moment;
use crate::cli::out::Form;

/// Printed below every help of the whole.
const AFTER_HELP: &str = "\
Environment:
  TASKLEDGER_DIR  the ledger's directory where -D is not given; without both it is ./.taskledger
  NO_COLOR        any value: no colours, unless --color says otherwise
  TASKLEDGER_PAGER, PAGER
                  what shows output of log and show that is longer than the terminal is high,
                  `less` without them; cat: nothing does
  TZ              the time zone of what is typed without one

Moments (--at, --since, --until, --updated-since, --before, diff, bisect):
  now, today, yesterday           today and yesterday are the beginning of that day
  5m, 2h30m, '1w 2d ago', PT5M    so long ago
  2026-03-01T02:30:00Z            RFC 3339, as this program prints times
  2026-03-01T02:30[Europe/Paris]  in that zone
  '2026-03-01 02:30', 2026-03-01, 02:30
                                  in the local zone: a time, the beginning of a day, today
  @1772330400.5                   seconds since 1970
  seq:120                         after the entry with this seq

Exit codes:
  0    done; verify: sound
  1    could not: the system refused, or the fate of a write is unknown
  2    wrong usage
  3    no such task, note, seq or moment; bisect: it holds at the start, or not at the end
  4    verify: only an unacknowledged end is incomplete, nothing is lost
  5    damage; also any command that cannot open because of it, and then no data is printed;
       dump: something is no sound frame
  10   no ledger there
  11   another writer has it open
  12   written by a newer version
  13   the facts or an import line were refused; the code says which
  124  run: the command ended with 0, after its time was up
  125  run: it could not do its own work
  126  run: the command could not be started
  127  run: the command was not found; any other code is the command's, 128 + N for signal N
  130  interrupted
With --json an error is one line of JSON on standard error, with its code, exit, message and coordinates.";

const APPEND_EXAMPLES: &str = "\
Examples:
  taskledger append nightly/42 created --meta host=ci-7 --actor planner --expect absent
  taskledger append nightly/42 ready
  taskledger append nightly/42 running --actor worker-3 --expect state:ready,retrying
  taskledger append nightly/42 requeued:ready --reason 'worker-3 went away'
  taskledger append nightly/42 completed --observed --output @result.json --key done-42
  taskledger append other/7 failed --observed --error timeout --at 2026-03-01T02:30:00Z
  taskledger append --jsonl facts.jsonl

With --key the same command can be run again after a lost answer: it then prints the
first place, marked as replayed, and appends nothing. A refusal (exit 13) changes nothing.

With --jsonl it is for programs: each line that it reads is a fact, as `import` reads them,
or an array of facts that go together. It answers each line in turn, as soon as that is
durable: with a receipt, or with why it was refused, and goes on. At the end it exits with
0, or with 13 if a line was refused. docs/cli.md has the details, examples/ledger.py a
program that uses it.

Exit codes: 0, 1, 2, 5, 10, 11, 12, 13 (refused) and 130 (interrupted);
`taskledger --help` explains them.";

const INIT_EXAMPLES: &str = "\
Examples:
  taskledger init
  taskledger init /srv/runs --dir-mode 750 --file-mode 640

Where a ledger is already, nothing is changed, and that is a success. A directory with
other files in it is refused. Modes and sizes are not kept in the ledger: whoever writes
to it later states those of the files that it makes then.

Exit codes: 0, 1, 2, 5, 11 and 12; `taskledger --help` explains them.";

const INFO_EXAMPLES: &str = "\
Examples:
  taskledger info -D /srv/runs
  taskledger info -D /srv/runs --json

With --json it is one object, for monitoring; `taskledger schema info` has its fields.

Exit codes: 0, 1, 2, 5, 10 and 12; `taskledger --help` explains them.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  taskledger import history.jsonl
  taskledger log --json -D /srv/runs | taskledger import -D /srv/copy

Exit codes: 0, 1, 2, 5, 11, 12 and 13 (a line was refused); `taskledger --help`
explains them.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  taskledger verify
  taskledger verify --level derived --json

Exit codes: 0 (sound), 1, 2, 4 (only an unacknowledged end is incomplete), 5 (damage), 10
and 12; `taskledger --help` explains them.";

const DEMO_EXAMPLES: &str = "\
Examples:
  taskledger demo /tmp/demo

Exit codes: 0, 1, 2, 5, 11, 12 and 13; `taskledger --help` explains them.";

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
    /// Make a ledger: an empty one, in a directory that is empty or not there yet
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Append one event, or with --jsonl one a line, and print the place of each once it is durable
    ///
    /// There must be a ledger: a wrong -D is refused and makes none.
    #[command(after_help = APPEND_EXAMPLES)]
    Append(Box<AppendArgs>),
    /// Append the entries of a file of JSON lines; what is there already is skipped
    ///
    /// A line is what `log --json` prints; docs/events.md lists the fields.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Run a command as a task, and record what comes of it
    ///
    /// It prints nothing of its own on standard output; the command's output is passed on as it comes, and the end of it kept.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Say how a ledger is: its end, its tasks by state and its notes, its writer, its size, what was left out
    ///
    /// Reads what opening reads, and works beside a live writer.
    #[command(after_help = INFO_EXAMPLES)]
    Info,
    /// List tasks
    ///
    /// Sorted by id. WAITED is from creation to the start of the last try, RAN from there to its end; where either goes
    /// on, up to the time of the entry that the list is as of.
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show one task's record
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Print the entries of one task
    #[command(after_help = HISTORY_EXAMPLES)]
    History(HistoryArgs),
    /// List notes: JSON values under keys, which programs keep beside the tasks
    #[command(after_help = NOTES_EXAMPLES)]
    Notes(NotesArgs),
    /// Show what one note says, or its entries
    #[command(after_help = NOTE_EXAMPLES)]
    Note(NoteArgs),
    /// Print the entries of all tasks and notes
    #[command(after_help = LOG_EXAMPLES)]
    Log(LogArgs),
    /// Show which tasks differ between two moments, and how
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Find the first entry after which something holds
    #[command(after_help = BISECT_EXAMPLES)]
    Bisect(BisectArgs),
    /// Show the frames of one segment as they are stored, also of a damaged one
    #[command(after_help = DUMP_EXAMPLES)]
    Dump(DumpArgs),
    /// Count tasks and attempts, and say how long they waited and ran
    #[command(after_help = STATS_EXAMPLES)]
    Stats(StatsArgs),
    /// Draw how tasks waited and ran: a line a task, a bar an attempt, time from left to right
    #[command(after_help = TIMELINE_EXAMPLES)]
    Timeline(TimelineArgs),
    /// Write the entries in a format of other programs: JSON lines, CSV, a trace, CloudEvents
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Check all files; writes nothing, and works beside a live writer
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Say what is lost of a damaged ledger; with --apply, write a new one with all the rest
    ///
    /// The damaged one is never changed.
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArgs),
    /// Copy a ledger elsewhere, beside its writer; again, only what is new
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Drop the beginning of the history; all records stay. Without --yes it only says what would go
    ///
    /// Whole segments go from the beginning of the log, as long as every task with an entry in them has come to its end.
    /// What is older is then gone for good.
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Write a snapshot of all sealed segments, from which the next opening reads
    ///
    /// Snapshots are also made without being asked for, once it pays.
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot,
    /// Write a sample ledger, draw it, and print commands to try
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Print the JSON Schema of a kind of object that --json prints
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema(SchemaArgs),
    /// Print a script that lets a shell complete what is typed
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
    /// Say the version of the program, and the format of the ledgers that it writes
    #[command(after_help = VERSION_ENDS)]
    Version,
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
    /// auto, always or never in colours; auto: on a terminal, where NO_COLOR is not set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto, hide_possible_values = true)]
    pub color: Color,
}

/// Whether to print in colours, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Args {
    /// For whom the command is to write.
    pub(crate) fn form(&self) -> Form {
        match &self.command {
            Command::Append(args) if args.jsonl.is_some() => Form::Json,
            _ => self.setting.form(),
        }
    }
}

impl Setting {
    /// For whom the command is to write.
    pub(crate) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::People }
    }
}

impl Color {
    /// From here on, for all that is printed.
    pub(crate) fn choose(self) {
        match self {
            Color::Auto => {}
            Color::Always => ColorChoice::Always.write_global(),
            Color::Never => ColorChoice::Never.write_global(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Where; wins over -D and TASKLEDGER_DIR
    #[arg(value_name = "DIR")]
    pub place: Option<PathBuf>,
    #[command(flatten)]
    pub making: Making,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AppendArgs {
    /// The task's id
    #[arg(required_unless_present = "jsonl")]
    pub task: Option<String>,
    /// created, updated, removed, requeued (to pending) or requeued:ready, or the state that the task moves to
    #[arg(value_name = "EVENT", value_parser = happened, required_unless_present = "jsonl")]
    pub happened: Option<Happened>,
    /// The state was seen rather than decided: it may follow any other, and is marked as observed
    #[arg(long)]
    pub observed: bool,
    /// Set the number of attempts
    #[arg(long, value_name = "N")]
    pub attempts: Option<u32>,
    /// Set the output: JSON, @FILE with JSON, or - for JSON on standard input; null takes it away
    #[arg(long, value_name = "JSON|@FILE|-", allow_negative_numbers = true)]
    pub output: Option<String>,
    /// Take the output away
    #[arg(long, conflicts_with = "output")]
    pub clear_output: bool,
    /// Set the error
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Take the error away
    #[arg(long, conflicts_with = "error")]
    pub clear_error: bool,
    /// Set a metadata key; may be repeated
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub meta: Vec<(String, String)>,
    /// Take a metadata key away; may be repeated
    #[arg(long, value_name = "K")]
    pub unset: Vec<String>,
    /// Who says so
    #[arg(long, value_name = "A")]
    pub actor: Option<String>,
    /// Why
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// The earlier entry that led to it
    #[arg(long, value_name = "SEQ", value_parser = |seq: &str| seq.parse().map(Seq))]
    pub cause: Option<Seq>,
    /// Append it once only, however often it is said under this key
    #[arg(long, value_name = "K")]
    pub key: Option<String>,
    /// When it happened, if not now: a time such as 2026-03-01T02:30:00Z, 5m (ago) or 02:30; any moment but a seq
    #[arg(long, value_name = "TIME", value_parser = moment::time, allow_hyphen_values = true)]
    pub at: Option<u64>,
    /// Only if this holds of the task: absent, exists, version:N, attempt:N, or state:A,B
    #[arg(long, value_name = "EXPECT", value_parser = expectation)]
    pub expect: Option<Expect>,
    /// Append a fact for each line of a file or, with -, of standard input, and answer each with a line of JSON
    #[arg(long, value_name = "FILE|-", conflicts_with_all = [
        "task", "happened", "observed", "attempts", "output", "clear_output", "error", "clear_error", "meta", "unset",
        "actor", "reason", "cause", "key", "at", "expect",
    ])]
    pub jsonl: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The file to read; - is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Make so many lines durable at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=limits::BATCH_EVENTS_MAX as u64))]
    pub batch: u64,
    #[command(flatten)]
    pub making: Making,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Only tasks in these states
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TaskState>,
    /// Only tasks whose id begins so
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Only tasks that have this metadata; repeated, all of it
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub meta: Vec<(String, String)>,
    /// Only tasks that changed at or after a moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub updated_since: Option<At>,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NotesArgs {
    /// Only notes whose key begins so
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NoteArgs {
    /// The note's key
    pub key: String,
    /// Its entries, oldest first
    #[arg(long)]
    pub history: bool,
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
    /// Also the indexes and snapshots: each says what the log says
    Derived,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Level {
        match depth {
            Depth::Structure => Level::Structure,
            Depth::Content => Level::Content,
            Depth::Derived => Level::Derived,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Where to write it: a directory that is empty or not there yet
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
