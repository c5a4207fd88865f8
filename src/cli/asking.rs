//! What may be typed after the commands that look: at a moment, at entries. Nothing here acts on it.

use std::path::PathBuf;

use clap::ValueEnum;
use clap_complete::Shell;
use taskledger::{At, TaskState};

use crate::cli::chart::WIDTH_MIN;
use crate::cli::expr::{Condition, condition};
use crate::cli::fact::state;
use crate::cli::moment;
use crate::cli::redact::{Withheld, withheld};

pub(crate) const LOG_EXAMPLES: &str = "\
Examples:
  taskledger log -n 20
  taskledger log --since 15m --task 'test/net-*' --oneline
  taskledger log --since yesterday --until today --state failed,dead_lettered
  taskledger log --actor worker-3 -n 5 --reverse
  taskledger log -f -n 5
  taskledger log -f --from 1 --json | my-consumer

An entry is shown if everything that is asked for holds of it. -n counts those that are
shown. In a pattern * stands for any characters and ? for one; entries of notes have no
task and no state.

With --follow it goes on until it is interrupted, or until nobody reads its output any
more; it outlives writers, and waits for the next one. Entries that a killed writer has
written and that nobody was told are safe are printed once the next writer has kept them.
--from may then lie ahead of the last entry.

Exit codes: 0, 1, 2, 3 (no such seq or moment), 5, 10, 12 and 130 (interrupted);
`taskledger --help` explains them.";

pub(crate) const HISTORY_EXAMPLES: &str = "\
Examples:
  taskledger history train/churn
  taskledger history train/churn -n 3 --reverse
  taskledger history train/churn --at yesterday

Exit codes: 0, 1, 2, 3 (no such task or moment), 5, 10 and 12; `taskledger --help`
explains them.";

pub(crate) const DIFF_EXAMPLES: &str = "\
Examples:
  taskledger diff yesterday today
  taskledger diff 15m --stat
  taskledger diff seq:70 seq:98 --task 'train/*'
  taskledger diff 1h --json

A task differs if it had entries in between, also where they came to the same again. The
second moment may be the earlier one.

Exit codes: 0, 1, 2, 3 (no such moment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const DUMP_EXAMPLES: &str = "\
Examples:
  taskledger dump 1
  taskledger dump 3 --offset 0x1f000 --limit 4 --hex
  taskledger dump /backup/log/0000000003-00000000000000004711.log --json

Nothing is judged but checksums and forms, and it exits with 5 where something is no sound
frame. That may be half of a write which nobody was told is safe, or what a recovery left
out: `taskledger verify` says whether anything is lost. Behind what cannot be read a task
may be known by its number in the segment only.

Exit codes: 0, 1, 2, 3 (no such segment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const BISECT_EXAMPLES: &str = "\
Examples:
  taskledger bisect --where 'failed > 3'
  taskledger bisect --where 'total >= 10 and running == 0' --from yesterday
  taskledger bisect --where 'task(\"build/linker\").state == \"failed\"'
  taskledger bisect --where 'task(\"a\").attempts > 2 or not task(\"b\").exists'
  taskledger bisect --run 'jq -se \"map(select(.error)) | length < 3\" >/dev/null'

Conditions compare (== != < <= > >=) and combine with and, or, not and ( ):
  failed, running, ...  how many tasks are in that state; total, notes: how many there are
  task(\"ID\").FIELD     exists (true or false), state, error, meta(\"KEY\") (texts),
                        attempts, version (numbers)
A comparison with something that is not there is false.

--run gives the shell command what `ls --json` prints at a moment, on standard input, in
any order of tasks, and the seq in TASKLEDGER_SEQ. Its exit code says 0 for not yet, 125
for cannot tell, any other up to 127 for it holds. What it prints goes to standard error.

It supposes that what holds goes on holding. First both ends are looked at: where it holds
at the start already, or does not at the end, the exit code is 3.

Exit codes: 0, 1, 2, 3 (no such moment, or it holds at the start, or not at the end), 5, 10
and 12; `taskledger --help` explains them.";

pub(crate) const STATS_EXAMPLES: &str = "\
Examples:
  taskledger stats
  taskledger stats --prefix extract/ --slowest 10
  taskledger stats --by meta.owner --at 2026-03-01T02:30:00Z
  taskledger stats --state failed --json

Percentiles are at most 1.6 % too high and never too low; the greatest time is exact.
Exit codes: 0, 1, 2, 3 (no such moment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const LS_EXAMPLES: &str = "\
Examples:
  taskledger ls
  taskledger ls --state failed,dead_lettered --updated-since 1h
  taskledger ls --prefix extract/ --meta owner=shop --at '2026-03-01 02:30'

Exit codes: 0, 1, 2, 3 (no such moment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const SHOW_EXAMPLES: &str = "\
Examples:
  taskledger show train/churn
  taskledger show train/churn --at 15m
  taskledger show train/churn --json | jq .output

Exit codes: 0, 1, 2, 3 (no such task or moment), 5, 10 and 12; `taskledger --help`
explains them.";

pub(crate) const NOTES_EXAMPLES: &str = "\
Examples:
  taskledger notes --prefix plan/

Exit codes: 0, 1, 2, 3 (no such moment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const NOTE_EXAMPLES: &str = "\
Examples:
  taskledger note plan/nightly
  taskledger note plan/nightly --at yesterday
  taskledger note plan/nightly --history

Exit codes: 0, 1, 2, 3 (no such note or moment), 5, 10 and 12; `taskledger --help`
explains them.";

pub(crate) const SCHEMA_EXAMPLES: &str = "\
Examples:
  taskledger schema
  taskledger schema task > task.schema.json

Exit codes: 0, 1 and 2; `taskledger --help` explains them.";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  taskledger completions bash > ~/.local/share/bash-completion/completions/taskledger
  taskledger completions zsh > \"${fpath[1]}/_taskledger\"
  taskledger completions fish > ~/.config/fish/completions/taskledger.fish

Exit codes: 0, 1 and 2; `taskledger --help` explains them.";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  taskledger man log | man -l -
  taskledger man --output /usr/local/share/man/man1

Exit codes: 0, 1 and 2; `taskledger --help` explains them.";

pub(crate) const VERSION_ENDS: &str = "\
Exit codes: 0, 1 and 2; `taskledger --help` explains them.";

pub(crate) const TIMELINE_EXAMPLES: &str = "\
Examples:
  taskledger timeline
  taskledger timeline --since 1h --task 'train/*'
  taskledger timeline --state failed,dead_lettered --limit 20 --at yesterday
  taskledger timeline --since 1h --json

A task waits from when it was created, or from when an attempt was lost, to the start of the
next. It is about the tasks that are there at the moment; of more than --limit those are
shown that began last. A column shows the most telling of what meets in it.

Exit codes: 0, 1, 2, 3 (no such moment), 5, 10 and 12; `taskledger --help` explains them.";

pub(crate) const EXPORT_EXAMPLES: &str = "\
Examples:
  taskledger export --to jsonl -o backup.jsonl
  taskledger export --to csv --since yesterday --redact error,meta.token > night.csv
  taskledger export --to chrome-trace --at 15m -o night.json
  taskledger export --to cloudevents --since seq:120 | my-consumer

It only looks, beside a live writer, too. Without -o it goes to standard output, with it to
a file that is whole or not there: it is written beside, synced, and renamed over. --json
changes nothing of what is exported, but for how errors are told.

  jsonl         a line an entry, as log --json; `import` takes it back with nothing lost
  csv           a row an entry, for spreadsheets and databases
  chrome-trace  attempts in lanes and tasks by state, for ui.perfetto.dev
  cloudevents   a line an entry, CloudEvents 1.0

--redact takes output, error, value, reason, actor, meta.KEY and meta.* (all of it).

Exit codes: 0, 1, 2, 3 (no such seq or moment), 5, 10, 12 and 130 (interrupted);
`taskledger --help` explains them.";

/// As of when.
#[derive(Debug, clap::Args)]
pub(crate) struct Moment {
    /// As of a moment, such as 5m (ago), yesterday, '2026-03-01 02:30' or seq:120; `taskledger --help` has all forms
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub at: Option<At>,
}

/// What is longer than the terminal is high.
#[derive(Debug, clap::Args)]
pub(crate) struct Paging {
    /// Print at once, also what is longer than the terminal is high
    #[arg(long)]
    pub no_pager: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The task's id
    pub task: String,
    #[command(flatten)]
    pub moment: Moment,
    #[command(flatten)]
    pub paging: Paging,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The task's id
    pub task: String,
    /// Only the last N entries
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub last: Option<usize>,
    /// The newest entry first
    #[arg(long)]
    pub reverse: bool,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Only the last N entries, of those that are asked for
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub last: Option<u64>,
    /// Only entries from this seq on
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// Only entries placed at or after a moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true, conflicts_with = "from")]
    pub since: Option<At>,
    /// Only entries placed at or before a moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true, conflicts_with = "at")]
    pub until: Option<At>,
    /// Only entries of tasks whose id is like this; repeated, like any of them
    #[arg(long, value_name = "PATTERN")]
    pub task: Vec<String>,
    /// Only entries that bring a task into one of these states
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TaskState>,
    /// Only entries that this actor stated
    #[arg(long, value_name = "A")]
    pub actor: Option<String>,
    /// The newest entry first
    #[arg(long, conflicts_with = "follow")]
    pub reverse: bool,
    /// One line an entry that is no longer than the terminal is wide, with what matters most
    #[arg(long, conflicts_with = "json")]
    pub oneline: bool,
    /// Then wait, and print each entry that comes once it is durable
    #[arg(short = 'f', long, conflicts_with_all = ["at", "until"])]
    pub follow: bool,
    #[command(flatten)]
    pub moment: Moment,
    #[command(flatten)]
    pub paging: Paging,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The first moment
    #[arg(value_name = "A", value_parser = moment::moment, allow_hyphen_values = true)]
    pub a: At,
    /// The second moment; the present without it
    #[arg(value_name = "B", value_parser = moment::moment, allow_hyphen_values = true)]
    pub b: Option<At>,
    /// Only how many tasks changed, and how many more or fewer are in each state
    #[arg(long)]
    pub stat: bool,
    /// Only tasks whose id is like this (* any characters, ? one); repeated, like any of them
    #[arg(long, value_name = "PATTERN")]
    pub task: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    /// The number of a segment of the ledger, or a segment's file, wherever it is
    #[arg(value_name = "SEGMENT")]
    pub segment: String,
    /// Also the bytes: of a frame all, of anything else the first 64 KiB
    #[arg(long)]
    pub hex: bool,
    /// Only from the piece on that has this byte of the file: 12345, or 0x3039
    #[arg(long, value_name = "BYTE", value_parser = offset)]
    pub offset: Option<u64>,
    /// At most so many pieces
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

fn offset(text: &str) -> Result<u64, String> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    u64::from_str_radix(digits, radix).map_err(|_| "a whole number is needed, such as 12345 or 0x3039".to_owned())
}

#[derive(Debug, clap::Args)]
pub(crate) struct BisectArgs {
    /// Whether this condition holds, such as 'failed > 3'
    #[arg(long = "where", value_name = "EXPR", value_parser = condition, conflicts_with = "run", required_unless_present = "run")]
    pub condition: Option<Condition>,
    /// Whether this shell command says so, with its exit code
    #[arg(long, value_name = "CMD")]
    pub run: Option<String>,
    /// A moment at which it does not hold yet; the earliest there is without it
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub from: Option<At>,
    /// A later one at which it holds; the present without it
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub to: Option<At>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// Only tasks in these states
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TaskState>,
    /// Only tasks whose id begins so
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Only waits and runs that ended at or after this time, such as yesterday or '2026-03-01 02:30'
    #[arg(long, value_name = "TIME", value_parser = moment::time, allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Also a row for each value of a metadata key
    #[arg(long, value_name = "meta.KEY", value_parser = meta_key)]
    pub by: Option<String>,
    /// Name so many of the longest runs and waits
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub slowest: u64,
    #[command(flatten)]
    pub moment: Moment,
}

fn meta_key(text: &str) -> Result<String, String> {
    let key = text.strip_prefix("meta.").filter(|key| !key.is_empty());
    key.map(str::to_owned).ok_or_else(|| format!("{text:?} is not meta.KEY, such as meta.owner"))
}

#[derive(Debug, clap::Args)]
pub(crate) struct TimelineArgs {
    /// Only what had not ended at a moment; it is where the picture begins
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub since: Option<At>,
    /// Only tasks whose id is like this (* any characters, ? one); repeated, like any of them
    #[arg(long, value_name = "PATTERN")]
    pub task: Vec<String>,
    /// Only tasks in these states
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TaskState>,
    /// At most so many tasks, those that began last
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
    /// So many columns, not those of the terminal
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u64).range(WIDTH_MIN as u64..=1000))]
    pub width: Option<u64>,
    /// Draw with ASCII characters: # . x
    #[arg(long)]
    pub ascii: bool,
    #[command(flatten)]
    pub moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// In which format
    #[arg(long, value_name = "jsonl|csv|chrome-trace|cloudevents", value_enum, hide_possible_values = true)]
    pub to: ExportFormat,
    /// Write this file, whole or not at all; - is standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only entries placed at or after a moment; of attempts those that had not ended then
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub since: Option<At>,
    /// Only entries placed at or before a moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true, conflicts_with = "at")]
    pub until: Option<At>,
    /// Put [redacted] in the place of what these fields say; repeated, of all of them
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',', value_parser = withheld)]
    pub redact: Vec<Withheld>,
    #[command(flatten)]
    pub moment: Moment,
}

/// The formats of `export`, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
    Csv,
    ChromeTrace,
    Cloudevents,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// The kind of object, such as task or taskledger.task/1; all are listed without it
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell's
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The page of this command; of the whole without it
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    pub command: Option<String>,
    /// Write all pages into this directory
    #[arg(short = 'o', long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}
