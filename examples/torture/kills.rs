//! Real processes, killed by SIGKILL while they append to a real file system.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use taskledger::{Batch, Event, Expect, Level, Options, Seq, TaskState, Verdict};

use crate::crash::oracle::told;
use crate::support::Rng;

/// The first argument of the process that is killed.
pub const CHILD: &str = "--child";
/// How often one ledger is killed.
const KILLS: u64 = 12;
const SEGMENT_BYTES: u64 = 16 << 10;

/// The entry with this seq, as it must be.
fn task_of(seq: u64) -> String {
    format!("t{}", seq % 7)
}

fn batch_at(seq: u64) -> Batch {
    let mut batch = Batch::new();
    // As many as its first seq says, so that everybody can tell where a batch ends.
    for seq in seq..=seq + seq % 4 {
        let event = Event::observed(TaskState::Running).meta("seq", seq.to_string()).because("x".repeat(400));
        batch.push(task_of(seq), event, Expect::Any);
    }
    batch
}

/// Appends until it is killed, and says of each batch that it is durable.
pub fn child(dir: &Path) -> ExitCode {
    let ledger = match Options::new().segment_size(SEGMENT_BYTES).open(dir) {
        Ok(ledger) => ledger,
        Err(error) => {
            crate::support::say(&told(&error));
            return ExitCode::FAILURE;
        }
    };
    let mut out = std::io::stdout().lock();
    loop {
        let committed = ledger.commit(batch_at(ledger.head().0 + 1));
        let Ok(receipt) = committed else { return ExitCode::FAILURE };
        if writeln!(out, "{}", receipt.seq().0).and_then(|()| out.flush()).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

/// The process that writes; it does not outlive what happens here.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills the writer of one ledger again and again; how often. `Err` says what is wrong.
pub fn round(seed: u64) -> Result<u64, String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let dir = home.path().join("ledger");
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut rng = Rng(seed);
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let started = Command::new(&exe).arg(CHILD).arg(&dir).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut writer = Writer(started.map_err(|error| error.to_string())?);
        let mut lines = BufReader::new(writer.0.stdout.take().expect("it is piped")).lines();
        let enough = rng.below(40);
        for line in lines.by_ref().take(enough as usize) {
            acknowledged = line.map_err(|error| error.to_string())?.parse().map_err(|_| "no seq".to_owned())?;
        }
        // So long it goes on: a few of its calls.
        for _ in 0..rng.below(200) {
            std::hint::spin_loop();
            std::thread::yield_now();
        }
        writer.0.kill().map_err(|error| error.to_string())?;
        let ended = writer.0.wait().map_err(|error| error.to_string())?;
        if ended.code().is_some() {
            return Err(format!("kill {kill}: opening or appending refuses: the writer ended by itself, {ended}"));
        }
        for line in lines.map_while(Result::ok) {
            // The last line may be cut off.
            acknowledged = acknowledged.max(line.parse().unwrap_or(0));
        }
        look(&dir, acknowledged).map_err(|what| format!("kill {kill}: {what}"))?;
    }
    Ok(KILLS)
}

/// What was acknowledged is there; what is there is whole batches, in order.
fn look(dir: &Path, acknowledged: u64) -> Result<(), String> {
    let options = Options::new().segment_size(SEGMENT_BYTES);
    let reader = match options.clone().open_read_only(dir) {
        Ok(reader) => reader,
        Err(taskledger::Error::NoLedger { .. }) if acknowledged == 0 => return Ok(()),
        Err(error) => return Err(format!("opening refuses: {}", told(&error))),
    };
    let (mut next, mut batch_ends) = (1, 0);
    for entry in reader.view().entries(Seq::FIRST) {
        let entry = entry.map_err(|error| told(&error))?;
        if next > batch_ends {
            batch_ends = next + next % 4;
        }
        let says = serde_json::to_value(&entry).map_err(|error| error.to_string())?;
        let same = says["metadata"]["seq"].as_str() == Some(&next.to_string());
        if entry.seq != Seq(next) || entry.task != Some(task_of(next)) || !same {
            return Err(format!("entry {next} reads {entry:?}"));
        }
        next += 1;
    }
    if next - 1 < acknowledged {
        return Err(format!("ACKNOWLEDGED ENTRIES ARE LOST: {acknowledged} were, {} are there", next - 1));
    }
    if batch_ends > next - 1 {
        return Err(format!("half a batch: it ends after seq {}", next - 1));
    }
    let report = options.verify(dir, Level::Content, &mut |_| ()).map_err(|error| told(&error))?;
    if report.verdict() == Verdict::Damaged {
        Err(format!("it is refused by verify: {:?}", report.findings))
    } else {
        Ok(())
    }
}
