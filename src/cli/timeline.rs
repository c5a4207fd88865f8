//! `timeline`: how tasks waited and ran, as a picture, or attempt by attempt.
//!
//! Of all tasks only those that are shown are kept, and of these the attempts within the window; the log is not read, but
//! the histories of these tasks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::ops::Range;

use serde_json::Value;
use taskledger::{At, Filter, HistoryFilter, Seq, Task, TaskState, View};

use crate::cli::args::Setting;
use crate::cli::asking::TimelineArgs;
use crate::cli::bars::{Bar, Bars};
use crate::cli::chart::{self, Letters, Row};
use crate::cli::fail::Failure;
use crate::cli::glob::like_any;
use crate::cli::history;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out};
use crate::cli::text::count;
use crate::cli::time::stamp;

/// So many columns where nothing says how many there are.
const COLUMNS: usize = 100;
const TASKS_PAGE: usize = 1000;

/// A task that is shown; the order is that of when its last attempt began, or else it itself did.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chosen {
    began: u64,
    id: String,
    state: TaskState,
    attempts: u32,
}

/// The moment from which on it is looked.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// What had an entry later belongs to the window.
    seq: Seq,
    /// In milliseconds since the Unix epoch; 0 where none was stated.
    millis: u64,
}

pub(crate) fn run(args: &TimelineArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let start = match args.since {
        None => Start { seq: Seq::ZERO, millis: 0 },
        Some(at) => {
            let before = look.reader.as_of(at)?;
            let millis = if let At::Millis(millis) = at { millis } else { before.at() };
            Start { seq: before.seq(), millis }
        }
    };
    let (chosen, left_out) = choose(args, &look.view, start)?;
    let rows = rows(chosen, &look.view, start.millis)?;
    let end = match args.moment.at {
        // It goes on up to the moment itself, if that has passed.
        Some(At::Millis(at)) if look.view.is_final() => at,
        _ => look.view.at(),
    };
    let window = window(&rows, args.since.map(|_| start.millis), end);
    match out.form {
        Form::Json => write(&rows, &window, left_out, look.view.seq(), out),
        Form::People => {
            let columns = args.width.map(|width| width as usize).or(out.columns).unwrap_or(COLUMNS);
            let letters = if args.ascii { Letters::Ascii } else { Letters::All };
            if rows.is_empty() {
                writeln!(out, "nothing waited or ran from {} on", stamp(window.start))?;
            } else {
                print(&rows, &window, columns, letters, out)?;
                let tasks = count(rows.len() as u64, "task", "tasks");
                writeln!(out, "\n{tasks}, from {} on", stamp(window.start))?;
                if left_out > 0 {
                    writeln!(out, "{left_out} more that began earlier are left out; --limit says how many are shown")?;
                }
            }
            writeln!(out, "{}", look.as_of())?;
            Ok(0)
        }
    }
}

/// Draws all tasks of a view over a stated window.
pub(crate) fn draw(view: &View, window: &Range<u64>, columns: usize, out: &mut Out) -> Result<(), Failure> {
    let tasks = view.list(Filter::new())?.tasks.into_iter().map(chosen).collect();
    print(&rows(tasks, view, window.start)?, window, columns, Letters::All, out)
}

fn print(rows: &[Row], window: &Range<u64>, columns: usize, letters: Letters, out: &mut Out) -> Result<(), Failure> {
    for line in chart::draw(rows, window, columns, letters) {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn chosen(task: Task) -> Chosen {
    let record = task.record;
    let began = record.started_at.unwrap_or(record.created_at);
    Chosen { began, id: record.id, state: record.state, attempts: record.attempts }
}

/// The tasks that are asked for and have something within the window: so many as fit, the last that began; and how many
/// more there are.
fn choose(args: &TimelineArgs, view: &View, start: Start) -> Result<(Vec<Chosen>, u64), Failure> {
    let limit = args.limit as usize;
    let mut kept: BinaryHeap<Reverse<Chosen>> = BinaryHeap::new();
    let mut found = 0;
    let mut after = None;
    loop {
        let filter = args.state.iter().fold(Filter::new().limit(TASKS_PAGE), |filter, &state| filter.state(state));
        let page = view.list(after.take().into_iter().fold(filter, Filter::after))?;
        for task in page.tasks {
            let is_within = task.seq > start.seq || task.record.state == TaskState::Running;
            if is_within && (args.task.is_empty() || like_any(&args.task, &task.record.id)) {
                found += 1;
                kept.push(Reverse(chosen(task)));
                if kept.len() > limit {
                    kept.pop();
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let left_out = found - kept.len() as u64;
    Ok((kept.into_iter().map(|Reverse(task)| task).collect(), left_out))
}

/// The rows of these tasks: as their first attempts began, and then those that only waited.
fn rows(tasks: Vec<Chosen>, view: &View, from: u64) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::with_capacity(tasks.len());
    for task in tasks {
        let bars = bars(&task, view, from)?;
        if !bars.is_empty() {
            rows.push(Row { name: task.id, state: task.state, bars });
        }
    }
    let began =
        |row: &Row| row.bars.iter().find(|bar| bar.attempt.is_some()).map_or(u64::MAX, |bar| bar.runs.unwrap_or(0));
    rows.sort_by(|a, b| (began(a), &a.name).cmp(&(began(b), &b.name)));
    Ok(rows)
}

/// The attempts and waits of a task that did not end before a time.
fn bars(task: &Chosen, view: &View, from: u64) -> Result<Vec<Bar>, Failure> {
    let (mut drawn, mut kept) = (Bars::default(), Vec::new());
    let mut keep = |bar: Bar| {
        if bar.end.is_none_or(|end| end >= from) {
            kept.push(bar);
        }
    };
    let mut is_known = false;
    history::pages(view, &task.id, &HistoryFilter::new(), usize::MAX, &mut |entry| {
        is_known = true;
        drawn.add(&entry, &mut keep);
        Ok(())
    })?;
    // All its entries were pruned; its record says since when it runs.
    if !is_known && task.state == TaskState::Running {
        let (attempt, runs) = (Some(task.attempts), Some(task.began));
        keep(Bar { attempt, waits: None, runs, end: None, ended: None, lost: false });
    }
    drawn.finish().into_iter().for_each(keep);
    Ok(kept)
}

/// From when to when: the stated start, or else where the first bar begins. It is never empty.
fn window(rows: &[Row], stated: Option<u64>, end: u64) -> Range<u64> {
    let begins = |bar: &Bar| bar.waits.or(bar.runs).or(bar.end);
    let first = rows.iter().flat_map(|row| &row.bars).filter_map(begins).min();
    let ends = rows.iter().flat_map(|row| &row.bars).filter_map(|bar| bar.end).max();
    let end = ends.unwrap_or(end).max(end);
    let start = stated.or(first).unwrap_or(end).min(end);
    match start.checked_add(1) {
        Some(next) => start..end.max(next),
        None => start - 1..start,
    }
}

fn write(rows: &[Row], window: &Range<u64>, left_out: u64, seq: Seq, out: &mut Out) -> Result<u8, Failure> {
    let mut number = 0;
    for row in rows {
        for bar in &row.bars {
            number += 1;
            let fields: [(&str, Option<Value>); 6] = [
                ("attempt", bar.attempt.map(Value::from)),
                ("waits_from", bar.waits.map(Value::from)),
                ("runs_from", bar.runs.map(Value::from)),
                ("ended_at", bar.end.map(Value::from)),
                ("ended", bar.ended.map(|state| state.name().into())),
                ("lost", bar.lost.then(|| true.into())),
            ];
            let object = Object::new("taskledger.bar/1").with("task", row.name.as_str());
            let there = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            out.json(&there.fold(object, |object, (name, value)| object.with(name, value)))?;
        }
    }
    let object = Object::new("taskledger.timeline/1").with("seq", seq.0).with("from", window.start);
    let object =
        object.with("to", window.end).with("tasks", rows.len()).with("bars", number).with("left_out", left_out);
    out.json(&object)?;
    Ok(0)
}
