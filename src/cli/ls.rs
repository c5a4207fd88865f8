//! `ls`: which tasks there are, in aligned columns.
//!
//! Sorted by id up to a million tasks; beyond that in the ledger's own order, so that memory stays bounded, and it
//! says so.

use std::io::Write;

use taskledger::{At, Error, Filter, Task, TaskState, View};

use crate::cli::args::{LsArgs, Setting};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Out, remark};
use crate::cli::text::{clip, left, paint, right, safe, width};
use crate::cli::time::span;

/// Up to so many tasks are sorted.
const SORTED_MAX: usize = 1_000_000;
/// How many tasks are asked for at a time.
const PAGE: usize = 10_000;
/// How much of an error is shown, where no terminal says how much fits; and on a terminal at least.
const ERROR_COLUMNS: usize = 60;
const ERROR_COLUMNS_MIN: usize = 8;

pub(crate) fn run(args: &LsArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let view = &look.view;
    let (filter, head) = (filter(args), look.reader.view().seq());
    if let Some(At::Seq(asked)) = args.updated_since
        && asked.0 > head.0 + 1
    {
        return Err(Error::Ahead { asked, head }.into());
    }
    let limit = args.limit.unwrap_or(usize::MAX);

    let mut next = Some(filter.clone().limit(PAGE));
    let mut tasks = Vec::new();
    let list = |page: Filter| -> Result<(Vec<Task>, Option<Filter>), Failure> {
        let mut page = view.list(page)?;
        page.tasks.retain(|task| is_newer(task, args));
        Ok((page.tasks, page.next.map(|token| filter.clone().limit(PAGE).after(token))))
    };
    while let Some(page) = next.take_if(|_| tasks.len() < SORTED_MAX) {
        let (more, after) = list(page)?;
        tasks.extend(more);
        next = after;
    }
    if next.is_none() {
        tasks.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    } else {
        remark(out.form, "more than a million tasks: they come in the ledger's own order, not sorted by id");
    }

    let table = Table::fitting(&tasks, view, out.columns);
    if out.form == Form::People {
        writeln!(out, "{}", table.head())?;
    }
    let mut shown = 0;
    loop {
        for task in tasks.iter().take(limit - shown) {
            match out.form {
                Form::Json => out.json(task)?,
                Form::People => writeln!(out, "{}", table.row(task, view))?,
            }
            shown += 1;
        }
        let Some(page) = next.take_if(|_| shown < limit) else { break };
        (tasks, next) = list(page)?;
    }
    match out.form {
        Form::Json => out.json(&view.counts())?,
        Form::People => writeln!(out, "{shown} of {} tasks, {}", view.counts().total(), look.as_of())?,
    }
    Ok(0)
}

fn filter(args: &LsArgs) -> Filter {
    let filter = Filter::new().prefix(args.prefix.as_str());
    let filter = args.state.iter().fold(filter, |filter, &state| filter.state(state));
    let filter = args.meta.iter().fold(filter, |filter, (key, value)| filter.meta(key.as_str(), value.as_str()));
    match args.updated_since {
        Some(At::Millis(since)) => filter.updated_since(since),
        _ => filter,
    }
}

/// Whether a task changed with or after the seq that it must have changed since.
fn is_newer(task: &Task, args: &LsArgs) -> bool {
    match args.updated_since {
        Some(At::Seq(since)) => task.seq >= since,
        _ => true,
    }
}

/// The widths of the columns that are padded.
struct Table {
    state: usize,
    task: usize,
    tries: usize,
    waited: usize,
    ran: usize,
    /// The last one is not padded, but cut.
    error: usize,
}

impl Table {
    /// For these tasks, and a terminal that has so many columns.
    fn fitting(tasks: &[Task], view: &View, columns: Option<usize>) -> Table {
        let mut table = Table { state: 5, task: 4, tries: 3, waited: 6, ran: 3, error: ERROR_COLUMNS };
        for task in tasks {
            let record = &task.record;
            table.state = table.state.max(record.state.name().len());
            table.task = table.task.max(width(&safe(&record.id)));
            table.tries = table.tries.max(record.attempts.to_string().len());
            table.waited = table.waited.max(waited(task, view).len());
            table.ran = table.ran.max(ran(task, view).len());
        }
        if let Some(columns) = columns {
            // Each of the five is followed by two spaces.
            let others = table.state + table.task + table.tries + table.waited + table.ran + 5 * 2;
            table.error = columns.saturating_sub(others).max(ERROR_COLUMNS_MIN);
        }
        table
    }

    fn head(&self) -> String {
        format!(
            "{}  {}  {}  {}  {}  ERROR",
            left("STATE", self.state),
            left("TASK", self.task),
            right("TRY", self.tries),
            right("WAITED", self.waited),
            right("RAN", self.ran),
        )
    }

    fn row(&self, task: &Task, view: &View) -> String {
        let record = &task.record;
        let error = safe(record.error.as_deref().unwrap_or_default());
        let row = format!(
            "{}  {}  {}  {}  {}  {}",
            paint(record.state, &left(record.state.name(), self.state)),
            left(&safe(&record.id), self.task),
            right(&record.attempts.to_string(), self.tries),
            right(&waited(task, view), self.waited),
            right(&ran(task, view), self.ran),
            clip(&error, self.error),
        );
        row.trim_end().to_owned()
    }
}

/// How long it waited: from its creation to the start of its last try, or to its end, or to the moment of the view.
fn waited(task: &Task, view: &View) -> String {
    let record = &task.record;
    let until = record.started_at.or(record.finished_at).unwrap_or(view.at());
    span(until.saturating_sub(record.created_at))
}

/// How long its last try ran, to its end or to the moment of the view; nothing where that is not known.
pub(crate) fn ran(task: &Task, view: &View) -> String {
    let record = &task.record;
    match (record.state, record.started_at) {
        (TaskState::Running, Some(started)) => span(view.at().saturating_sub(started)),
        _ => record.duration_millis().map_or("-".to_owned(), span),
    }
}
