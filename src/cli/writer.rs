//! Opening for writing a ledger that is there: a mistyped -D is refused and makes none. And what is said where a file of it
//! finds no room.

use taskledger::{Error, Ledger};

use crate::cli::args::Setting;
use crate::cli::fail::Failure;

/// Opens it.
pub(crate) fn open(setting: &Setting) -> Result<Ledger, Failure> {
    // Opening for writing makes a ledger where none is. This says so first.
    drop(Ledger::open_read_only(&setting.dir)?);
    Ok(Ledger::open(&setting.dir)?)
}

/// A failure of what is done to the ledger as a whole; where it finds no room, nothing has changed.
pub(crate) fn failed(error: Error, what: &str) -> Failure {
    let Error::NoSpace { path, source } = &error else { return error.into() };
    let path = path.to_string_lossy();
    Failure::new("NO_SPACE", format!("no space to {what}, in {path}: {source}; nothing was changed")).with("path", path)
}
