//! `version`: of the program, and of the ledgers that it writes.

use std::io::Write;

use taskledger::{FORMAT_MAJOR, FORMAT_MINOR};

use crate::cli::fail::Failure;
use crate::cli::out::{Form, Object, Out};

pub(crate) fn run(out: &mut Out) -> Result<u8, Failure> {
    let (version, format) = (env!("CARGO_PKG_VERSION"), format!("{FORMAT_MAJOR}.{FORMAT_MINOR}"));
    match out.form {
        Form::People => writeln!(out, "taskledger {version}, which writes ledgers of format {format}")?,
        Form::Json => out.json(&Object::new("taskledger.version/1").with("version", version).with("format", format))?,
    }
    Ok(0)
}
