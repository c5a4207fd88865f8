//! A picture of a ledger in text: one line a task, time from left to right, running drawn dark and waiting light.

use std::collections::HashMap;
use std::io::Write;

use taskledger::{EventKind, Seq, TaskState, View};

use crate::cli::fail::Failure;
use crate::cli::out::Out;
use crate::cli::text::{left, paint, safe, width};
use crate::cli::time::clock;

/// How many columns the time takes: three parts with a tick each.
const COLUMNS: u64 = 45;
const TICKS: u64 = 3;

/// What a task was like in a column; the greatest of those that meet in one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Nothing,
    Waiting,
    Running,
    /// A try ended badly here.
    Lost,
}

/// One task's line.
struct Row {
    name: String,
    cells: Vec<Cell>,
    /// What it is since when.
    state: Option<(TaskState, u64)>,
}

/// Draws all tasks of a view, in the order in which they appeared.
pub(crate) fn draw(view: &View, start: u64, end: u64, out: &mut Out) -> Result<(), Failure> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in view.entries(Seq::FIRST) {
        let entry = entry?;
        let Some(task) = &entry.task else { continue };
        let place = *places.entry(task.clone()).or_insert_with(|| {
            rows.push(Row { name: safe(task).into_owned(), cells: vec![Cell::Nothing; COLUMNS as usize], state: None });
            rows.len() - 1
        });
        let row = rows.get_mut(place).expect("every place has a row");
        let when = entry.happened_at();
        let Some(to) = entry.event.state() else { continue };
        row.fill(when, start, end);
        let was_running = row.state.is_some_and(|(state, _)| state == TaskState::Running);
        let lost = matches!(to, TaskState::Failed | TaskState::Retrying) || entry.event.kind() == EventKind::Requeued;
        if was_running && lost {
            row.mark(when, start, end);
        }
        row.state = Some((to, when));
    }
    let names = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0);
    let part = (end - start) / TICKS;
    let ticks: String = (0..TICKS)
        .map(|tick| left(&clock(start + tick * part), (COLUMNS / TICKS) as usize))
        .collect::<Vec<_>>()
        .concat();
    writeln!(out, "{}  {ticks}{}", left("", names), clock(end))?;
    for row in &mut rows {
        row.fill(end, start, end);
        let state = row.state.map_or(TaskState::Pending, |(state, _)| state);
        let bar: String = row.cells.iter().map(|cell| cell.text()).collect();
        writeln!(out, "{}  {bar}  {}", left(&row.name, names), paint(state, state.name()))?;
    }
    writeln!(
        out,
        "{}  {} running  {} waiting  {} a try was lost",
        left("", names),
        Cell::Running.text(),
        Cell::Waiting.text(),
        Cell::Lost.text()
    )?;
    Ok(())
}

impl Row {
    /// Draws the state that it has been in, up to a moment.
    fn fill(&mut self, until: u64, start: u64, end: u64) {
        let Some((state, since)) = self.state else { return };
        let cell = match state {
            TaskState::Running => Cell::Running,
            TaskState::Pending | TaskState::Ready | TaskState::Retrying => Cell::Waiting,
            _ => return,
        };
        let (first, last) = (column(since, start, end), column(until.max(since), start, end));
        for drawn in self.cells.iter_mut().take(last + 1).skip(first) {
            *drawn = cell.max(*drawn);
        }
    }

    fn mark(&mut self, when: u64, start: u64, end: u64) {
        if let Some(drawn) = self.cells.get_mut(column(when, start, end)) {
            *drawn = Cell::Lost;
        }
    }
}

fn column(when: u64, start: u64, end: u64) -> usize {
    (when.saturating_sub(start) * COLUMNS / (end - start)).min(COLUMNS - 1) as usize
}

impl Cell {
    fn text(self) -> &'static str {
        match self {
            Cell::Nothing => " ",
            Cell::Waiting => "\x1b[2m·\x1b[0m",
            Cell::Running => "█",
            Cell::Lost => "\x1b[31m×\x1b[0m",
        }
    }
}
