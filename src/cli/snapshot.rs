//! `snapshot`: writes a snapshot of all sealed segments, if the newest one is older.

use std::io::Write;

use taskledger::Seq;

use crate::cli::args::Setting;
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Object, Out, Progress};
use crate::cli::text::count;
use crate::cli::writer;

pub(crate) fn run(setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let ledger = writer::open(setting)?;
    let progress = Progress::of_time(out.form, "writing a snapshot");
    let made = ledger.snapshot();
    drop(progress);
    let seq = made.map_err(|error| writer::failed(error, "write a snapshot"))?;
    let head = ledger.head();
    ledger.close()?;
    if out.form == Form::Json {
        out.json(&Object::new("taskledger.snapshot/1").with("seq", seq.0).with("head", head.0))?;
        return Ok(0);
    }
    let rest = head.0 - seq.0;
    match seq {
        Seq::ZERO => writeln!(
            out,
            "no snapshot: none of the segments is sealed yet, and {} in the one that is being written",
            count(rest, "entry is", "entries are")
        )?,
        _ => writeln!(
            out,
            "the newest snapshot is as of seq {seq}: opening reads from there, and then {}",
            count(rest, "more entry", "more entries")
        )?,
    }
    Ok(0)
}
