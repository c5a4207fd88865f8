//! `history`: the entries of one task.

use crate::cli::args::{Setting, TaskArgs};
use crate::cli::entry::{self, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Out, remark};
use crate::cli::text::count;

pub(crate) fn run(args: &TaskArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let entries = look.view.history(&args.task)?;
    let pruned = entries.pruned();
    let mut entries = entries.peekable();
    if pruned > 0 {
        let them = count(pruned, "entry of it was", "entries of it were");
        remark(out.form, &format!("{them} pruned, so that its history begins later"));
    } else if entries.peek().is_none() {
        return Err(look.not_found(&args.task));
    }
    entry::print(entries, Naming::OneTask, out)?;
    Ok(0)
}
