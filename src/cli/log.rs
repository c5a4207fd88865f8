//! `log`: the entries of all tasks and notes, in order, and with `--follow` those that come.
//!
//! Entries stream: forwards one at a time, backwards in pages of a bounded size, so that memory does not go with the ledger.

use std::collections::VecDeque;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Duration;

use taskledger::{At, Change, Entry, Error, Followed, Reader, Seq, TaskState, View};

use crate::cli::args::Setting;
use crate::cli::asking::{LogArgs, Moment};
use crate::cli::entry::{Lines, Naming};
use crate::cli::fail::Failure;
use crate::cli::glob::like_any;
use crate::cli::look;
use crate::cli::out::Out;

/// How often it is looked whether somebody still reads, while nothing comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A page that is read backwards has so many entries at least and at most, and so many bytes or one entry.
const PAGE_ENTRIES: RangeInclusive<u64> = 16..=4096;
const PAGE_BYTES: usize = 16 << 20;

/// Which entries are asked for, by what they say.
#[derive(Debug)]
struct Wanted<'a> {
    tasks: &'a [String],
    states: &'a [TaskState],
    actor: Option<&'a str>,
    /// Where following goes on up to a time that is not there yet.
    since: u64,
}

impl Wanted<'_> {
    fn has(&self, entry: &Entry) -> bool {
        (self.tasks.is_empty() || entry.task.as_deref().is_some_and(|id| like_any(self.tasks, id)))
            && (self.states.is_empty() || entry.event.state().is_some_and(|state| self.states.contains(&state)))
            && self.actor.is_none_or(|actor| entry.event.actor() == Some(actor))
            && entry.at >= self.since
    }

    fn has_all(&self) -> bool {
        self.tasks.is_empty() && self.states.is_empty() && self.actor.is_none()
    }
}

pub(crate) fn run(args: &LogArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let until = args.moment.at.or(args.until);
    look::check_order(args.since, until, "taskledger log")?;
    let look = look::open(setting, &Moment { at: until }, out.form)?;
    let (view, last) = (&look.view, look.view.seq());
    let mut from = match args.from {
        Some(from) => Seq(from),
        None => look::first_since(&look.reader, args.since)?,
    };
    if !args.follow {
        look::check_begun(from, &look.reader)?;
    }
    // Backwards all the way: that it cannot get there is said before anything is shown.
    let oldest = look.reader.report().oldest;
    if args.reverse && args.last.is_none() && from < oldest && oldest > Seq::FIRST {
        return Err(Error::Pruned { oldest }.into());
    }
    let since = if let Some(At::Millis(since)) = args.since { since } else { 0 };
    let wanted = Wanted { tasks: &args.task, states: &args.state, actor: args.actor.as_deref(), since };
    if !args.follow && !args.paging.no_pager {
        out.page();
    }
    let mut lines = Lines::new(Naming::EachTask, args.oneline);
    let ended = if args.reverse {
        let mut left = args.last.unwrap_or(u64::MAX);
        newest_first(view, from, &wanted, &mut |entry| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            lines.add(entry, out)?;
            Ok(ControlFlow::Continue(()))
        })
    } else {
        if let Some(n) = args.last {
            from = from.max(nth_last(view, from, n, &wanted)?);
        }
        if args.follow {
            return follow(&look.reader, from, &wanted, lines, out);
        }
        oldest_first(view, from..=last, &mut |entry| {
            if wanted.has(&entry) { lines.add(entry, out) } else { Ok(()) }
        })
    };
    // What was read comes before why no more could be.
    lines.print(out)?;
    ended.map(|()| 0)
}

/// Where the last so many that are wanted begin; behind the last entry for none, and `Seq(0)` where there are fewer.
fn nth_last(view: &View, from: Seq, n: u64, wanted: &Wanted<'_>) -> Result<Seq, Failure> {
    let behind = Seq(view.seq().0 + 1);
    if n == 0 || wanted.has_all() {
        // Seqs are dense, so the last n entries are known by their place.
        return Ok(Seq(behind.0.saturating_sub(n)));
    }
    let (mut left, mut found) = (n, Seq::ZERO);
    newest_first(view, from, wanted, &mut |entry| {
        left -= 1;
        if left > 0 {
            return Ok(ControlFlow::Continue(()));
        }
        found = entry.seq;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

fn oldest_first(
    view: &View,
    seqs: RangeInclusive<Seq>,
    visit: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if seqs.is_empty() {
        return Ok(());
    }
    view.entries(*seqs.start()).try_for_each(|entry| visit(entry?))
}

/// Shows the entries from a seq on that are wanted to `visit`, the newest first, until it has seen enough.
fn newest_first(
    view: &View,
    from: Seq,
    wanted: &Wanted<'_>,
    visit: &mut dyn FnMut(Entry) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let (mut last, mut span) = (view.seq().0, *PAGE_ENTRIES.start());
    while last >= from.0.max(1) {
        let mut first = from.0.max(1).max((last + 1).saturating_sub(span));
        let (mut page, mut bytes) = (VecDeque::new(), 0);
        let is_asked = |entry: &taskledger::Result<Entry>| entry.as_ref().map_or(true, |entry| entry.seq.0 <= last);
        for entry in view.entries(Seq(first)).take_while(is_asked) {
            let entry = entry?;
            if !wanted.has(&entry) {
                continue;
            }
            bytes += weight(&entry);
            page.push_back(entry);
            // The oldest ones come again with the next page.
            while bytes > PAGE_BYTES && page.len() > 1 {
                let dropped = page.pop_front().expect("there are two");
                bytes -= weight(&dropped);
                first = dropped.seq.0 + 1;
            }
        }
        // The next page is larger where this one had room, and not much larger than what was of use of it.
        span = (2 * (last + 1 - first)).clamp(*PAGE_ENTRIES.start(), *PAGE_ENTRIES.end());
        for entry in page.into_iter().rev() {
            if visit(entry)?.is_break() {
                return Ok(());
            }
        }
        last = first - 1;
    }
    Ok(())
}

/// About how many bytes of memory an entry takes.
fn weight(entry: &Entry) -> usize {
    let event = &entry.event;
    let text = |text: Option<&str>| text.map_or(0, str::len);
    let output = if let Change::Set(output) = event.output_change() { output.as_str().len() } else { 0 };
    let error = if let Change::Set(error) = event.error_change() { error.len() } else { 0 };
    let metadata: usize = event.metadata().map(|(key, value)| 64 + key.len() + text(value)).sum();
    let context = text(event.actor()) + text(event.reason()) + text(event.idempotency_key());
    let value = text(event.value().map(taskledger::Json::as_str));
    let subject = text(entry.task.as_deref()) + text(entry.note.as_deref());
    size_of::<Entry>() + subject + output + error + metadata + context + value
}

/// Prints what is there and what comes, until nobody reads it any more.
fn follow(reader: &Reader, from: Seq, wanted: &Wanted<'_>, mut lines: Lines, out: &mut Out) -> Result<u8, Failure> {
    let mut follow = reader.follow(from)?;
    loop {
        match follow.next_within(LOOK_EVERY) {
            Ok(Followed::Entry(entry)) if wanted.has(&entry) => lines.add(*entry, out)?,
            Ok(Followed::Entry(_)) => {}
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
