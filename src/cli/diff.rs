//! `diff`: which tasks differ between two moments, and how many more or fewer are in each state.
//!
//! Differences are asked for in pages, and become lines at once, so that memory does not go with their number. As long as
//! the lines are few they are sorted by task.

use std::collections::BTreeSet;
use std::io::Write;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use taskledger::{At, Diff, DiffFilter, Difference, Seq, Side, TaskRecord, TaskState, View};

use crate::cli::args::Setting;
use crate::cli::asking::{DiffArgs, Moment};
use crate::cli::fail::Failure;
use crate::cli::glob::like_any;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out, remark};
use crate::cli::text::{clip, count, flow, left, paint, safe, width};
use crate::cli::time::stamp;

/// Lines of more bytes in all are not sorted.
const SORTED_BYTES: usize = 64 << 20;
/// A page has so many tasks at most, and about so many bytes.
const PAGE_TASKS: usize = 1000;
const PAGE_BYTES: usize = 16 << 20;
/// The first page: nobody knows yet how large the tasks are.
const FIRST_PAGE: usize = 16;
/// An id longer than this pushes its own line only.
const TASK_COLUMNS: usize = 40;
/// How much of a text is shown.
const TEXT_COLUMNS: usize = 40;

pub(crate) fn run(args: &DiffArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &Moment { at: None }, out.form)?;
    let b = args.b.unwrap_or(At::Seq(look.view.seq()));
    let diff = look.reader.diff(args.a, b)?;
    look::remark_on(&[diff.a(), diff.b()], out.form);

    let mut sums = Sums::default();
    let mut lines = Lines::default();
    let (mut asked, mut size) = (Some(DiffFilter::new()), FIRST_PAGE);
    while let Some(filter) = asked.take() {
        let page = diff.page(filter.limit(size))?;
        let bytes: usize = page.tasks.iter().map(|change| weight(&change.a) + weight(&change.b)).sum();
        size = (page.tasks.len() * PAGE_BYTES / bytes.max(1)).clamp(1, PAGE_TASKS);
        for change in &page.tasks {
            if args.task.is_empty() || like_any(&args.task, &change.id) {
                sums.add(change);
                if !args.stat {
                    lines.add(Line::of(change, out.form), out)?;
                }
            }
        }
        asked = page.next.map(|token| DiffFilter::new().after(token));
    }
    lines.end(out)?;
    match out.form {
        Form::Json => out.json(&sums.object(&diff))?,
        Form::People => sums.print(&diff, out)?,
    }
    Ok(0)
}

/// About how many bytes of memory a side takes.
fn weight(side: &Side) -> usize {
    let Some(record) = side.task.as_ref().map(|task| &task.record) else { return size_of::<Side>() };
    let metadata: usize = record.metadata.iter().map(|(key, value)| 64 + key.len() + value.len()).sum();
    let output = record.output.as_ref().map_or(0, value_weight);
    size_of::<Side>() + record.id.len() + record.error.as_ref().map_or(0, String::len) + metadata + output
}

fn value_weight(value: &Value) -> usize {
    let within = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(value_weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| 64 + name.len() + value_weight(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + within
}

/// How many entries a task had between the two moments.
fn entries(change: &Difference) -> u64 {
    change.a.version.abs_diff(change.b.version)
}

/// What all differences come to.
#[derive(Debug, Default)]
struct Sums {
    tasks: u64,
    entries: u64,
    /// How many more tasks are in each state, by its place among all.
    states: [i64; TaskState::ALL.len()],
}

impl Sums {
    fn add(&mut self, change: &Difference) {
        self.tasks += 1;
        self.entries += entries(change);
        for (sum, state) in self.states.iter_mut().zip(TaskState::ALL) {
            *sum += i64::from(change.b.state() == Some(state)) - i64::from(change.a.state() == Some(state));
        }
    }

    fn object(&self, diff: &Diff) -> Object {
        let states = TaskState::ALL.iter().zip(self.states);
        let states: Map<String, Value> = states.map(|(state, sum)| (state.name().to_owned(), sum.into())).collect();
        let mut object = Object::new("taskledger.diff/1");
        for (name, view) in [("a", diff.a()), ("b", diff.b())] {
            object = object.with(name, view.seq().0);
            if view.seq() > Seq::ZERO {
                object = object.with(&format!("{name}_at"), view.at());
            }
        }
        object.with("tasks", self.tasks).with("entries", self.entries).with("states", states)
    }

    fn print(&self, diff: &Diff, out: &mut Out) -> Result<(), Failure> {
        let states = TaskState::ALL.into_iter().zip(self.states).filter(|(_, sum)| *sum != 0);
        let states: Vec<String> = states.map(|(state, sum)| paint(state, &format!("{sum:+} {state}"))).collect();
        if !states.is_empty() {
            writeln!(out, "{}", states.join(" "))?;
        }
        let place = |view: &View| match view.seq() {
            Seq::ZERO => "seq 0".to_owned(),
            seq => format!("seq {seq} ({})", stamp(view.at())),
        };
        let (tasks, by) = (count(self.tasks, "task", "tasks"), count(self.entries, "entry", "entries"));
        let changed = format!("{tasks} changed by {by}");
        let from_to = format!("from {} to {}", place(diff.a()), place(diff.b()));
        Ok(writeln!(out, "{}", flow(changed.clone(), width(&changed), &[from_to], 0, out.columns))?)
    }
}

/// One difference as it is printed.
#[derive(Debug)]
struct Line {
    task: String,
    /// For people: the move, in its colour and as wide as it is, and what else changed.
    moved: (String, usize),
    facts: Vec<String>,
    /// For programs, all of it.
    json: String,
}

impl Line {
    fn of(change: &Difference, form: Form) -> Line {
        let (mut moved, mut facts, mut json) = ((String::new(), 0), Vec::new(), String::new());
        match form {
            Form::Json => json = serde_json::to_string(&Change(change)).expect("texts and numbers can be written"),
            Form::People => {
                let text = moved_text(change);
                let state = change.b.state().or(change.a.state()).unwrap_or(TaskState::Pending);
                moved = (paint(state, &text), width(&text));
                facts = facts_of(change);
            }
        }
        Line { task: change.id.clone(), moved, facts, json }
    }

    fn bytes(&self) -> usize {
        let facts: usize = self.facts.iter().map(|fact| size_of::<String>() + fact.len()).sum();
        size_of::<Line>() + self.task.len() + self.moved.0.len() + facts + self.json.len()
    }
}

/// Lines that wait to be sorted, until there are too many.
#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<Line>,
    bytes: usize,
    is_unsorted: bool,
    /// The widths of the columns.
    task: usize,
    moved: usize,
}

impl Lines {
    fn add(&mut self, line: Line, out: &mut Out) -> Result<(), Failure> {
        self.task = self.task.max(width(&safe(&line.task)).min(TASK_COLUMNS));
        self.moved = self.moved.max(line.moved.1);
        if self.is_unsorted {
            return self.print(&line, out);
        }
        self.bytes += line.bytes();
        self.waiting.push(line);
        if self.bytes > SORTED_BYTES {
            self.is_unsorted = true;
            remark(out.form, "too many differences to sort: they come in the ledger's own order, not sorted by task");
            return self.print_waiting(out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Failure> {
        self.waiting.sort_by(|a, b| a.task.cmp(&b.task));
        self.print_waiting(out)
    }

    fn print_waiting(&mut self, out: &mut Out) -> Result<(), Failure> {
        std::mem::take(&mut self.waiting).iter().try_for_each(|line| self.print(line, out))
    }

    fn print(&self, line: &Line, out: &mut Out) -> Result<(), Failure> {
        if out.form == Form::Json {
            return Ok(writeln!(out, "{}", line.json)?);
        }
        let (task, padding) = (left(&safe(&line.task), self.task), " ".repeat(self.moved - line.moved.1));
        let head = format!("{task}  {}{padding}", line.moved.0);
        let columns = width(&task) + 2 + self.moved;
        Ok(writeln!(out, "{}", flow(head, columns, &line.facts, 2, out.columns))?)
    }
}

/// What it was and what it is, in the words of `log`.
fn moved_text(change: &Difference) -> String {
    let name = |side: &Side| match (side.state(), side.version) {
        (Some(state), _) => Some(state.name()),
        (None, 0) => None,
        (None, _) => Some("removed"),
    };
    match (name(&change.a), name(&change.b)) {
        (Some(before), Some(after)) if before == after => before.to_owned(),
        (Some(before), after) => format!("{before} → {}", after.unwrap_or("not there")),
        (None, after) => format!("→ {}", after.unwrap_or_default()),
    }
}

/// What else differs, and by how many entries.
fn facts_of(change: &Difference) -> Vec<String> {
    let none = TaskRecord::new("");
    let [a, b] = [&change.a, &change.b].map(|side| side.task.as_ref().map(|task| &task.record));
    let mut facts = Vec::new();
    // Of what was there only before, all is gone, and that is said already.
    if let Some(after) = b {
        let before = a.unwrap_or(&none);
        if before.attempts != after.attempts {
            let from = if a.is_some() { format!("{} → ", before.attempts) } else { String::new() };
            facts.push(format!("try {from}{}", after.attempts));
        }
        if before.error != after.error {
            let error = |error: &String| format!("error {}", clip(&safe(error), TEXT_COLUMNS));
            facts.push(after.error.as_ref().map_or_else(|| "no error".to_owned(), error));
        }
        if before.output != after.output {
            let output = |output: &Value| format!("output {}", clip(&safe(&output.to_string()), TEXT_COLUMNS));
            facts.push(after.output.as_ref().map_or_else(|| "no output".to_owned(), output));
        }
        let keys: BTreeSet<&String> = before.metadata.keys().chain(after.metadata.keys()).collect();
        for key in keys {
            match (before.metadata.get(key), after.metadata.get(key)) {
                (was, Some(value)) if was != Some(value) => {
                    facts.push(format!("{}={}", safe(key), clip(&safe(value), TEXT_COLUMNS)));
                }
                (Some(_), None) => facts.push(format!("without {}", safe(key))),
                _ => {}
            }
        }
    }
    let is_same = changed(change).iter().all(|name| *name == "updated_at");
    if is_same && b.is_some() {
        facts.push("as it was".to_owned());
    }
    facts.push(count(entries(change), "entry", "entries"));
    facts
}

/// `taskledger.change/1`.
struct Change<'a>(&'a Difference);

impl Serialize for Change<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change(change) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.change/1")?;
        map.serialize_entry("task", &change.id)?;
        map.serialize_entry("entries", &entries(change))?;
        map.serialize_entry("changed", &changed(change))?;
        for (name, side) in [("before", &change.a), ("after", &change.b)] {
            if let Some(task) = &side.task {
                map.serialize_entry(name, task)?;
            }
        }
        map.end()
    }
}

/// The fields of the record that differ. What is unset and what is not there are the same.
fn changed(change: &Difference) -> Vec<&'static str> {
    let [a, b] = [&change.a, &change.b].map(|side| side.task.as_ref().map(|task| &task.record));
    let none = TaskRecord::new("");
    let [before, after] = [a, b].map(|record| &record.unwrap_or(&none).metadata);
    let of = |name, differs: bool| differs.then_some(name);
    let fields = [
        of("state", a.map(|a| a.state) != b.map(|b| b.state)),
        of("attempts", a.map(|a| a.attempts) != b.map(|b| b.attempts)),
        of("created_at", a.map(|a| a.created_at) != b.map(|b| b.created_at)),
        of("updated_at", a.map(|a| a.updated_at) != b.map(|b| b.updated_at)),
        of("started_at", a.and_then(|a| a.started_at) != b.and_then(|b| b.started_at)),
        of("finished_at", a.and_then(|a| a.finished_at) != b.and_then(|b| b.finished_at)),
        of("output", a.and_then(|a| a.output.as_ref()) != b.and_then(|b| b.output.as_ref())),
        of("error", a.and_then(|a| a.error.as_ref()) != b.and_then(|b| b.error.as_ref())),
        of("metadata", before != after),
    ];
    fields.into_iter().flatten().collect()
}
