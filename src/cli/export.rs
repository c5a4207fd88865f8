//! `export`: the entries in a format of other programs, to standard output, or to a file that is whole or not there.
//!
//! Entries stream, but for a trace, which reads them twice: first for when attempts ran, then for what became of them.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use taskledger::{At, Change, Entry, EventKind, Filter, Seq, TaskState};

use crate::cli::args::Setting;
use crate::cli::asking::{ExportArgs, ExportFormat, Moment};
use crate::cli::bars::Bar;
use crate::cli::cloudevents;
use crate::cli::csv;
use crate::cli::fail::Failure;
use crate::cli::look::{self, Look};
use crate::cli::out::{Form, Out, Progress, remark};
use crate::cli::output::Output;
use crate::cli::redact::{Withheld, redacted};
use crate::cli::text::{bytes, count, safe, uuid};
use crate::cli::trace::{self, Attempts, Details, Moves, Spans, TraceEvent};

/// How far it has come is shown after so many entries.
const SHOWN_EVERY: u64 = 8192;
const TASKS_PAGE: usize = 1000;
/// A trace of more bytes than this does not open in every viewer.
const TRACE_BYTES: u64 = 200 << 20;

/// Where it goes.
enum To<'a> {
    Standard(&'a mut Out),
    File(Box<Output>),
}

/// Where it goes, and how far it has come.
struct Sink<'a> {
    to: To<'a>,
    progress: Progress,
    bytes: u64,
    read: u64,
    /// How many entries are to be read.
    all: u64,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        match &mut self.to {
            To::Standard(out) => Ok(out.write_all(bytes)?),
            To::File(file) => file.write(bytes),
        }
    }

    /// One more entry was read.
    fn advance(&mut self) {
        self.read += 1;
        if let To::File(file) = &self.to {
            file.heed_interrupts();
            if self.read.is_multiple_of(SHOWN_EVERY) {
                self.progress.show(self.read, Some(self.all));
            }
        }
    }
}

/// What is exported.
struct Export<'a> {
    look: &'a Look,
    withheld: &'a [Withheld],
    /// The first entry, where it is there.
    first: Seq,
}

pub(crate) fn run(args: &ExportArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let until = args.moment.at.or(args.until);
    look::check_order(args.since, until, "taskledger export --to jsonl")?;
    let look = look::open(setting, &Moment { at: until }, out.form)?;
    let first = look::first_since(&look.reader, args.since)?;
    look::check_begun(first, &look.reader)?;
    let export = Export { look: &look, withheld: &args.redact, first };
    let form = out.form;
    let file = args.output.as_deref().filter(|file| *file != Path::new("-"));
    let to = match file {
        None => {
            out.as_is();
            To::Standard(out)
        }
        Some(file) => To::File(Box::new(Output::create(file, &setting.dir)?)),
    };
    let all = (look.view.seq().0 + 1).saturating_sub(first.0.max(1));
    let mut sink = Sink { to, progress: Progress::of_entries(form), bytes: 0, read: 0, all };
    let entries = match args.to {
        ExportFormat::Jsonl => export.each(&mut sink, &mut |entry, line| write_json(entry, line))?,
        ExportFormat::Csv => {
            let mut header = Vec::new();
            csv::header(&mut header);
            sink.put(&header)?;
            export.each(&mut sink, &mut csv::row)?
        }
        ExportFormat::Cloudevents => {
            let source = format!("urn:uuid:{}", uuid(&look.reader.report().uuid));
            export.each(&mut sink, &mut |entry, line| cloudevents::line(entry, &source, line))?
        }
        ExportFormat::ChromeTrace => export.trace(args.since, until, &mut sink)?,
    };
    let Sink { to, progress, bytes: written, .. } = sink;
    if let To::File(file) = to {
        file.keep()?;
    }
    drop(progress);
    if let (Some(file), Form::People) = (file, form) {
        let entries = count(entries, "entry", "entries");
        writeln!(out, "{}: {entries}, {}", safe(&file.to_string_lossy()), bytes(written))?;
    }
    if args.to == ExportFormat::Jsonl && first > Seq::FIRST {
        remark(
            form,
            &format!(
                "it begins with seq {first}, so that no ledger takes it back as it was: `import` needs a history from seq 1 on"
            ),
        );
    }
    if args.to == ExportFormat::ChromeTrace && written > TRACE_BYTES {
        remark(form, "this is more than viewers in a browser open with ease (200 MiB); --since and --until take less");
    }
    Ok(0)
}

fn write_json(value: &impl Serialize, line: &mut Vec<u8>) {
    serde_json::to_writer(&mut *line, value).expect("it can be written, and memory takes it");
    line.push(b'\n');
}

/// The state of the entry's task after it; `None` where it is not there any more.
fn state_after(entry: &Entry) -> Option<TaskState> {
    match entry.event.kind() {
        EventKind::Removed => None,
        _ => entry.event.state().or(entry.from),
    }
}

/// The events of a trace on their way, each on a line of its own.
struct Events {
    line: Vec<u8>,
    is_begun: bool,
}

impl Events {
    fn put(&mut self, event: &TraceEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
        self.line.clear();
        let between: &[u8] = if std::mem::replace(&mut self.is_begun, true) { b",\n" } else { b"\n" };
        self.line.extend(between);
        serde_json::to_writer(&mut self.line, event).expect("it can be written, and memory takes it");
        sink.put(&self.line)
    }
}

impl Export<'_> {
    /// Writes a line of each entry; gives how many there were.
    fn each(&self, sink: &mut Sink<'_>, write: &mut dyn FnMut(&Entry, &mut Vec<u8>)) -> Result<u64, Failure> {
        let mut line = Vec::new();
        self.read(self.first, sink, &mut |entry, sink| {
            line.clear();
            write(&redacted(entry, self.withheld), &mut line);
            sink.put(&line)
        })
    }

    /// Shows each entry from a seq on; gives how many there were.
    fn read<'s>(
        &self,
        from: Seq,
        sink: &mut Sink<'s>,
        visit: &mut dyn FnMut(Entry, &mut Sink<'s>) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let before = sink.read;
        // Behind the end there is nothing to refuse.
        if from <= self.look.view.seq() {
            for entry in self.look.view.entries(from) {
                visit(entry?, sink)?;
                sink.advance();
            }
        }
        Ok(sink.read - before)
    }

    /// Writes a trace of all tasks; gives how many entries it is made from.
    fn trace(&self, since: Option<At>, until: Option<At>, sink: &mut Sink<'_>) -> Result<u64, Failure> {
        let (look, oldest) = (self.look, self.look.reader.report().oldest);
        let window = self.window(since, until)?;
        // What was pruned is known by the records that it left.
        let floor = (oldest > Seq::FIRST).then(|| look.reader.as_of(At::Seq(Seq(oldest.0 - 1)))).transpose()?;
        let begin = || -> Result<Attempts, Failure> {
            let mut attempts = Attempts::default();
            let mut next = floor.as_ref().map(|_| Filter::new().state(TaskState::Running).limit(TASKS_PAGE));
            while let (Some(floor), Some(filter)) = (&floor, next.take()) {
                let page = floor.list(filter.clone())?;
                for task in page.tasks {
                    let record = task.record;
                    attempts.runs(&record.id, record.attempts, record.started_at.unwrap_or(record.updated_at));
                }
                next = page.next.map(|token| Filter::new().state(TaskState::Running).limit(TASKS_PAGE).after(token));
            }
            Ok(attempts)
        };
        let is_within = |bar: &Bar| bar.end.is_none_or(|end| since.is_none() || end >= window.start);
        sink.all = 2 * (look.view.seq().0 + 1).saturating_sub(oldest.0);

        let (mut attempts, mut spans, mut moves) = (begin()?, Spans::default(), Moves::default());
        let add = |spans: &mut Spans, bar: &Bar| {
            if is_within(bar) {
                spans.add(bar.runs.unwrap_or(window.end), bar.end.unwrap_or(window.end));
            }
        };
        self.read(oldest, sink, &mut |entry, _| {
            let Some(task) = &entry.task else { return Ok(()) };
            let (when, ended) = attempts.add(task, &entry);
            moves.add(when, entry.from, state_after(&entry));
            ended.iter().for_each(|bar| add(&mut spans, bar));
            Ok(())
        })?;
        attempts.finish().iter().for_each(|(_, bar)| add(&mut spans, bar));
        let lanes = spans.lanes();

        sink.put(b"{\"traceEvents\":[")?;
        let mut events = Events { line: Vec::new(), is_begun: false };
        let highest = lanes.iter().max().map_or(0, |highest| highest + 1);
        trace::names(highest).try_for_each(|name| events.put(&name, sink))?;
        let start = since.map(|_| window.start).or(floor.as_ref().map(|floor| floor.at()));
        let before = floor.as_ref().map(|floor| floor.counts());
        let before = TaskState::ALL.map(|state| before.map_or(0, |counts| counts.of(state)));
        moves.levels(before, start, &mut |level| events.put(&trace::counter(&level), sink))?;

        let (mut attempts, mut lanes) = (begin()?, lanes.into_iter());
        // The same attempts come in the same order.
        let mut put = |bar: &Bar, details: &Details<'_>, sink: &mut Sink<'_>| {
            let lane = if is_within(bar) { lanes.next() } else { None };
            lane.map_or(Ok(()), |lane| events.put(&trace::slice(bar, lane, window.end, details), sink))
        };
        let entries = self.read(oldest, sink, &mut |entry, sink| {
            let Some(task) = entry.task.clone() else { return Ok(()) };
            let (_, Some(bar)) = attempts.add(&task, &entry) else { return Ok(()) };
            let entry = redacted(entry, self.withheld);
            let error = if let Change::Set(error) = entry.event.error_change() { Some(error.as_str()) } else { None };
            put(&bar, &Details { task: &task, seq: entry.seq.0, version: entry.version, error }, sink)
        })?;
        for (task, bar) in attempts.finish() {
            let last = look.view.get(&task)?;
            let (seq, version) = last.map_or((0, None), |task| (task.seq.0, Some(task.version)));
            put(&bar, &Details { task: &task, seq, version, error: None }, sink)?;
        }
        let other = json!({"ledger": uuid(&look.reader.report().uuid), "seq": look.view.seq().0});
        sink.put(format!("\n],\"displayTimeUnit\":\"ms\",\"otherData\":{other}}}\n").as_bytes())?;
        Ok(entries)
    }

    /// From when to when it is drawn; what goes on is drawn up to its end.
    fn window(&self, since: Option<At>, until: Option<At>) -> Result<Range<u64>, Failure> {
        let view = &self.look.view;
        let end = match until {
            // It goes on up to the moment itself, if that has passed.
            Some(At::Millis(at)) if view.is_final() => at,
            _ => view.at(),
        };
        let start = match since {
            None => 0,
            Some(At::Millis(since)) => since,
            Some(_) if self.first > view.seq() => end,
            Some(_) => view.entries(self.first).next().transpose()?.map_or(end, |entry| entry.at),
        };
        Ok(start..end)
    }
}
