//! What may be typed after the commands that do: that start something, change a ledger as a whole, or write somewhere. Nothing
//! here acts on it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use taskledger::At;

use crate::cli::fact::pair;
use crate::cli::making::Modes;
use crate::cli::moment;
use crate::cli::tail::CAPTURE_MAX;
use crate::cli::time::{Length, length};

pub(crate) const RUN_EXAMPLES: &str = "\
Examples:
  taskledger run --id nightly -- backup --all
  taskledger run --id nightly --retries 2 --retry-delay 1m --timeout 2h -- backup --all
  taskledger run --id report --capture 1MiB --meta owner=data -- sh -c 'make report | tee out'

From cron: 0 3 * * *  taskledger -D /srv/runs run --id nightly --timeout 2h -- backup --all

The task is running before the command is, and its end is recorded before this ends. A task
that has ended is begun anew. One that another run has is refused; if that run is gone, what
is left of its command is killed, the task goes back to ready, and this is its next attempt.
The command has TASKLEDGER_TASK, TASKLEDGER_ATTEMPT, TASKLEDGER_RUN and TASKLEDGER_DIR in its
environment. The ledger is open only while something is recorded: many can run side by side.

Exit codes: that of the command, 128 + N if it was killed by signal N, or 124 (it ended with 0,
after its time was up), 125 (this could not do its own work, and the error says why), 126 (the
command could not be started) and 127 (it was not found); `taskledger --help` explains the rest.";

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The task's id
    #[arg(long, value_name = "TASK")]
    pub id: String,
    /// Try again at most so often where the command fails
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u32,
    /// Wait so long before trying again, such as 30s or 5m
    #[arg(long, value_name = "T", value_parser = length)]
    pub retry_delay: Option<Length>,
    /// End each attempt after so long, such as 90s, 15m or 2h: SIGTERM to all of its process group
    #[arg(long, value_name = "T", value_parser = positive)]
    pub timeout: Option<Length>,
    /// So long after SIGTERM, what is still there of the group is killed
    #[arg(long, value_name = "T", value_parser = length, default_value = "5s")]
    pub kill_after: Length,
    /// Keep so much of the end of its output: 4096, 64KiB, 1MiB at most; 0: keep nothing, and leave its output alone
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64KiB")]
    pub capture: usize,
    /// Set a metadata key of the task; may be repeated
    #[arg(long, value_name = "K=V", value_parser = own_pair)]
    pub meta: Vec<(String, String)>,
    /// Who says so, in all that is recorded
    #[arg(long, value_name = "A", default_value = "run")]
    pub actor: String,
    /// The command and its arguments; it is started as it is, without a shell
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<OsString>,
}

pub(crate) const BACKUP_EXAMPLES: &str = "\
Examples:
  taskledger backup /backup/runs
  taskledger backup -D /srv/runs /backup/runs --json

A writer may go on meanwhile: what is durable when it begins is copied. The first time all
is copied, then only segments that the copy does not have whole. The copy is closed and is
the same ledger: it opens as it is, there or elsewhere. Every frame is checked before it is
copied. Whatever interrupts it, the copy is not worse than before: run it again.

Exit codes: 0, 1, 2, 5, 10, 11 (somebody writes to the copy) and 12; `taskledger --help`
explains them.";

pub(crate) const REPAIR_EXAMPLES: &str = "\
Examples:
  taskledger repair -D /srv/runs
  taskledger repair -D /srv/runs --apply /srv/runs.mended

Without --apply nothing is written: it says what is damaged, what can be kept and what is
lost. With it a new ledger is written: every entry that can be read keeps its seq, version
and times, what stands for lost ones says so, damaged files are copied into its directory
aside, and a note tells what was lost. The damaged ledger is never changed.

Exit codes: 0 (nothing is damaged, or it was applied), 1, 2, 5 (damage: what is said is what
would be lost), 10, 11 (a writer has it open) and 12; `taskledger --help` explains them.";

pub(crate) const PRUNE_EXAMPLES: &str = "\
Examples:
  taskledger prune --before '90 days ago'
  taskledger prune --before '90 days ago' --actor ops --reason 'kept for a quarter' --yes
  taskledger prune --before seq:1000000 --force --yes

Without --yes nothing is changed, and no lock is taken: it says what would go, what stays
and why. With seq:N the entries before that one go. Segments go whole, so that some of
what is older stays. A task that has not come to its end keeps its segment and all later
ones; with --force it does not.

Exit codes: 0 (also where nothing goes), 1, 2, 3, 5, 10, 11, 12 and 13 (the actor or the
reason was refused); `taskledger --help` explains them.";

pub(crate) const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  taskledger snapshot -D /srv/runs
  taskledger snapshot --json

Exit codes: 0 (also where there is one already, or nothing to make one of), 1, 2, 5, 10,
11 and 12; `taskledger --help` explains them.";

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Where the copy is, or is to be; its parent must be there
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    #[command(flatten)]
    pub making: Modes,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RepairArgs {
    /// Write a new ledger here: a directory that is not there yet, or empty
    #[arg(long, value_name = "DIR")]
    pub apply: Option<PathBuf>,
    #[command(flatten)]
    pub making: Modes,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Entries before this moment: 90d, 2026-03-01, or seq:N for those before an entry
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment, allow_hyphen_values = true)]
    pub before: At,
    /// Also the entries of tasks that have not come to their end; their records stay
    #[arg(long)]
    pub force: bool,
    /// Who wants it; the entry that tells of it says so
    #[arg(long, value_name = "A")]
    pub actor: Option<String>,
    /// Why
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// Do it
    #[arg(long)]
    pub yes: bool,
}

/// A span that is not empty.
fn positive(text: &str) -> Result<Length, String> {
    let length = length(text)?;
    if length.time == Duration::ZERO { Err("it must be longer than nothing".to_owned()) } else { Ok(length) }
}

/// A number of bytes, with or without a unit.
fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        _ => return Err(format!("{unit:?} is no unit: KiB and MiB are")),
    };
    let number: usize = digits.parse().map_err(|_| "a number of bytes is needed, such as 4096 or 64KiB".to_owned())?;
    number.checked_mul(unit).filter(|&bytes| bytes <= CAPTURE_MAX).ok_or_else(|| "at most 1MiB is kept".to_owned())
}

/// A metadata key and its value, of which the key is not one that `run` itself sets.
fn own_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if key.starts_with("run.") {
        Err("keys that begin with run. say which run has the task".to_owned())
    } else {
        Ok((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_none_and_an_end() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("7B", 7), ("64KiB", 65_536), ("2K", 2048), ("1MiB", 1 << 20), ("1M", 1 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "1GiB", "1kb", "-1", "1.5MiB", "1048577", "2MiB", "18446744073709551615MiB", "1 KiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_keys_of_a_run_are_its_own() {
        assert!(own_pair("run.pid=1").is_err() && own_pair("running=1").is_ok() && own_pair("x").is_err());
    }

    #[test]
    fn an_attempt_has_some_time() {
        assert!(positive("0s").is_err() && positive("1ms").is_ok());
    }
}
