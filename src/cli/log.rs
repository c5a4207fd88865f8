//! `log`: the entries of all tasks, in order.

use taskledger::{Error, Seq};

use crate::cli::args::{LogArgs, Setting};
use crate::cli::entry::{self, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::Out;

pub(crate) fn run(args: &LogArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let (last, head) = (look.view.seq(), look.reader.view().seq());
    let mut from = args.from.unwrap_or(1);
    // The place right behind the head is no mistake: a caller who has read everything goes on there.
    if from.checked_sub(1).is_some_and(|before| before > head.0) {
        return Err(Error::Ahead { asked: Seq(from), head }.into());
    }
    if let Some(n) = args.last {
        // Seqs are dense, so the last n entries are known by their place.
        from = from.max((last.0 + 1).saturating_sub(n));
    }
    if from <= last.0 {
        entry::print(look.view.entries(Seq(from)), Naming::EachTask, out)?;
    }
    Ok(0)
}
