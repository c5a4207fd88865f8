//! `history`: the entries of one task, in pages, so that memory does not go with their number.

use taskledger::{Entry, HistoryFilter, View};

use crate::cli::args::Setting;
use crate::cli::asking::HistoryArgs;
use crate::cli::entry::{Lines, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Out, remark};
use crate::cli::text::count;

/// How many entries are asked for at a time.
const PAGE: usize = 256;

pub(crate) fn run(args: &HistoryArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let newest = look.view.history_page(&args.task, HistoryFilter::new().newest_first().limit(1))?;
    if newest.pruned > 0 {
        let them = count(newest.pruned, "entry of it was", "entries of it were");
        remark(out.form, &format!("{them} pruned, so that its history begins later"));
    } else if newest.entries.is_empty() {
        return Err(look.not_found(&args.task));
    }
    let last = args.last.unwrap_or(usize::MAX);
    let mut lines = Lines::new(Naming::OneTask, false);
    let ended = if args.reverse {
        pages(&look.view, &args.task, &HistoryFilter::new().newest_first(), last, &mut |entry| lines.add(entry, out))
    } else if last <= PAGE {
        let page = look.view.history_page(&args.task, HistoryFilter::new().newest_first().limit(last))?;
        page.entries.into_iter().rev().try_for_each(|entry| lines.add(entry, out))
    } else {
        let top = newest.entries.first().and_then(|entry| entry.version).unwrap_or(0);
        let passed = top.saturating_sub(last as u64);
        pages(&look.view, &args.task, &HistoryFilter::new(), usize::MAX, &mut |entry| {
            if entry.version > Some(passed) { lines.add(entry, out) } else { Ok(()) }
        })
    };
    // What was read comes before why no more could be.
    lines.print(out)?;
    ended.map(|()| 0)
}

/// Shows at most so many entries to `visit`, page by page.
pub(crate) fn pages(
    view: &View,
    task: &str,
    order: &HistoryFilter,
    most: usize,
    visit: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = most;
    let mut next = Some(order.clone());
    while let Some(filter) = next.take_if(|_| left > 0) {
        let page = view.history_page(task, filter.limit(PAGE.min(left)))?;
        left -= page.entries.len().min(left);
        page.entries.into_iter().try_for_each(&mut *visit)?;
        next = page.next.map(|token| order.clone().after(token));
    }
    Ok(())
}
