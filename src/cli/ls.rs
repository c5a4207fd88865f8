//! `ls`: which tasks there are, in aligned columns.
//!
//! Of a task only what is printed is kept. Sorted by id as long as that comes to 64 MiB at most; beyond that as the tasks
//! are found, so that memory stays bounded, and it says so. `--limit` keeps no more than it shows.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::Write;

use taskledger::{At, Error, Filter, Task, TaskState, View};

use crate::cli::args::{LsArgs, Setting};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Out, remark};
use crate::cli::text::{clip, left, paint, right, safe, width};
use crate::cli::time::span;

/// Rows of more bytes in all are not sorted.
const SORTED_BYTES: usize = 64 << 20;
/// How many tasks are asked for at a time.
const PAGE: usize = 1000;
/// How much of an error is shown, where no terminal says how much fits; and on a terminal at least.
const ERROR_COLUMNS: usize = 60;
const ERROR_COLUMNS_MIN: usize = 8;

/// What is kept of a task; the order is that of ids.
struct Row {
    id: String,
    told: Told,
}

enum Told {
    People(Cells),
    /// The whole line.
    Json(String),
}

/// The columns, without the id.
struct Cells {
    state: TaskState,
    attempts: u32,
    waited: String,
    ran: String,
    error: String,
}

impl Row {
    fn new(task: Task, view: &View, form: Form, error_columns: usize) -> Row {
        let told = match form {
            Form::Json => Told::Json(serde_json::to_string(&task).expect("a task can be written as JSON")),
            Form::People => {
                let error = safe(task.record.error.as_deref().unwrap_or_default());
                let (waited, ran) = (waited(&task, view), ran(&task, view));
                let error = clip(&error, error_columns).into_owned();
                Told::People(Cells { state: task.record.state, attempts: task.record.attempts, waited, ran, error })
            }
        };
        Row { id: task.record.id, told }
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let told = match &self.told {
            Told::Json(line) => line.len(),
            Told::People(cells) => cells.waited.len() + cells.ran.len() + cells.error.len(),
        };
        size_of::<Row>() + self.id.len() + told
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.id == other.id
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Row) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Row) -> Ordering {
        self.id.cmp(&other.id)
    }
}

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
    // What a terminal may have room for.
    let error_columns = out.columns.unwrap_or(ERROR_COLUMNS);
    let (form, mut next) = (out.form, Some(filter.clone().limit(PAGE)));
    let list = |page: Filter| -> Result<(Vec<Row>, Option<Filter>), Failure> {
        let page = view.list(page)?;
        let tasks = page.tasks.into_iter().filter(|task| is_newer(task, args));
        let rows = tasks.map(|task| Row::new(task, view, form, error_columns)).collect();
        Ok((rows, page.next.map(|token| filter.clone().limit(PAGE).after(token))))
    };
    let (mut kept, mut weight) = (BinaryHeap::new(), 0);
    while let Some(page) = next.take_if(|_| weight <= SORTED_BYTES) {
        let (rows, after) = list(page)?;
        for row in rows {
            weight += row.weight();
            kept.push(row);
            if kept.len() > limit {
                weight -= kept.pop().map_or(0, |greatest| greatest.weight());
            }
        }
        next = after;
    }
    let mut rows = if next.is_none() {
        kept.into_sorted_vec()
    } else {
        remark(out.form, "too many tasks to sort: they come as they are found, not sorted by id");
        kept.into_vec()
    };
    let table = Table::fitting(&rows, out.columns);
    if out.form == Form::People {
        writeln!(out, "{}", table.head())?;
    }
    let mut shown = 0;
    loop {
        for row in rows.iter().take(limit - shown) {
            match &row.told {
                Told::Json(line) => writeln!(out, "{line}")?,
                Told::People(cells) => writeln!(out, "{}", table.row(&row.id, cells))?,
            }
            shown += 1;
        }
        let Some(page) = next.take_if(|_| shown < limit) else { break };
        (rows, next) = list(page)?;
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
    /// For these rows, and a terminal that has so many columns.
    fn fitting(rows: &[Row], columns: Option<usize>) -> Table {
        let mut table = Table { state: 5, task: 4, tries: 3, waited: 6, ran: 3, error: ERROR_COLUMNS };
        for row in rows {
            let Told::People(cells) = &row.told else { continue };
            table.state = table.state.max(cells.state.name().len());
            table.task = table.task.max(width(&safe(&row.id)));
            table.tries = table.tries.max(cells.attempts.to_string().len());
            table.waited = table.waited.max(cells.waited.len());
            table.ran = table.ran.max(cells.ran.len());
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

    fn row(&self, id: &str, cells: &Cells) -> String {
        let row = format!(
            "{}  {}  {}  {}  {}  {}",
            paint(cells.state, &left(cells.state.name(), self.state)),
            left(&safe(id), self.task),
            right(&cells.attempts.to_string(), self.tries),
            right(&cells.waited, self.waited),
            right(&cells.ran, self.ran),
            clip(&cells.error, self.error),
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
