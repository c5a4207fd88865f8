//! `init`: makes an empty ledger. Where one is already nothing is changed, so that it can be run again.

use std::io::Write;

use taskledger::{Error, Ledger};

use crate::cli::args::{InitArgs, Setting};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out};
use crate::cli::text::safe;

pub(crate) fn run(args: &InitArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let dir = args.place.as_ref().unwrap_or(&setting.dir);
    // For reading first: one that a writer has open is there as well.
    let (created, head) = match Ledger::open_read_only(dir) {
        Ok(reader) => (false, reader.view().seq()),
        Err(Error::NoLedger { .. }) => {
            let ledger = args.making.options().open(dir)?;
            let made = (ledger.report().created, ledger.head());
            ledger.close()?;
            made
        }
        Err(error) => return Err(error.into()),
    };
    let path = look::whole_path(dir)?;
    match out.form {
        Form::Json => {
            let object = Object::new("taskledger.init/1");
            out.json(&object.with("path", path).with("created", created).with("seq", head.0))?;
        }
        Form::People if created => writeln!(out, "made an empty ledger in {}", safe(&path))?,
        Form::People => writeln!(
            out,
            "there is a ledger in {} already, which ends at seq {head}; nothing was changed",
            safe(&path)
        )?,
    }
    Ok(0)
}
