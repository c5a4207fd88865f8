//! `history`: the entries of one task.

use crate::cli::args::{Setting, TaskArgs};
use crate::cli::entry::{self, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::Out;

pub(crate) fn run(args: &TaskArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let mut entries = look.view.history(&args.task)?.peekable();
    if entries.peek().is_none() {
        return Err(look.not_found(&args.task));
    }
    entry::print(entries, Naming::OneTask, out)?;
    Ok(0)
}
