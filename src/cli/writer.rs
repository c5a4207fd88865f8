//! Opening for writing a ledger that is there: a mistyped -D is refused and makes none.

use taskledger::Ledger;

use crate::cli::args::Setting;
use crate::cli::fail::Failure;

/// Opens it.
pub(crate) fn open(setting: &Setting) -> Result<Ledger, Failure> {
    // Opening for writing makes a ledger where none is. This says so first.
    drop(Ledger::open_read_only(&setting.dir)?);
    Ok(Ledger::open(&setting.dir)?)
}
