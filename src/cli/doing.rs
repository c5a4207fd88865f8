//! What may be typed after the commands that do: that start something, or write somewhere. Nothing here acts on it.

use std::ffi::OsString;
use std::time::Duration;

use crate::cli::fact::pair;
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
