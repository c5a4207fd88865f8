//! `log`: the entries of all tasks, in order, and with `--follow` those that come.

use std::time::Duration;

use taskledger::{Error, Followed, Reader, Seq};

use crate::cli::args::{LogArgs, Setting};
use crate::cli::entry::{self, Lines, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::Out;

/// How often it is looked whether somebody still reads, while nothing comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &LogArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let (last, head) = (look.view.seq(), look.reader.view().seq());
    let mut from = args.from.unwrap_or(look.reader.report().oldest.0);
    // The place right behind the head is no mistake: a caller who has read everything goes on there.
    if !args.follow && from.checked_sub(1).is_some_and(|before| before > head.0) {
        return Err(Error::Ahead { asked: Seq(from), head }.into());
    }
    if let Some(n) = args.last {
        // Seqs are dense, so the last n entries are known by their place.
        from = from.max((last.0 + 1).saturating_sub(n));
    }
    if args.follow {
        return follow(&look.reader, Seq(from), out);
    }
    if from <= last.0 {
        entry::print(look.view.entries(Seq(from)), Naming::EachTask, out)?;
    }
    Ok(0)
}

/// Prints what is there and what comes, until nobody reads it any more.
fn follow(reader: &Reader, from: Seq, out: &mut Out) -> Result<u8, Failure> {
    let mut follow = reader.follow(from)?;
    let mut lines = Lines::new(Naming::EachTask);
    loop {
        match follow.next_within(LOOK_EVERY) {
            Ok(Followed::Entry(entry)) => lines.add(*entry, out)?,
            Ok(_) => {
                lines.print(out)?;
                out.flush_to_reader()?;
            }
            Err(error) => {
                lines.print(out)?;
                return Err(error.into());
            }
        }
    }
}
