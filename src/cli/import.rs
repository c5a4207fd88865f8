//! `import`: appends JSON lines, each once however often the file is imported.
//!
//! Lines become durable in batches, and a batch is acknowledged only then. When a line is refused, exactly the lines
//! before it are in. Memory holds one batch, and per task how far it has come.

use std::io::Write;

use serde_json::Value;
use taskledger::{Batch, Event, Expect, Ledger, Subject, TaskState};

use crate::cli::args::{ImportArgs, Setting};
use crate::cli::fail::Failure;
use crate::cli::input::Input;
use crate::cli::known::{Known, Place};
use crate::cli::line::{BadLine, Line};
use crate::cli::lines::Lines;
use crate::cli::out::{Form, Object, Out, Progress};
use crate::cli::text::{clip, count};

/// A batch is also committed when its lines have this many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// How much of a value a message shows.
const VALUE_COLUMNS: usize = 80;

pub(crate) fn run(args: &ImportArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    // The input first: a wrong file name must not leave a new ledger behind.
    let input = Input::open(&args.file, "lines", out.form)?;
    let progress = match input.size {
        Some(_) => Progress::of_bytes(out.form),
        None => Progress::of_lines(out.form),
    };
    let ledger = args.making.options().open(&setting.dir)?;
    let mut import = Import {
        ledger: &ledger,
        known: Known::new(&ledger),
        progress,
        size: input.size,
        taken: 0,
        out,
        batch: args.batch,
        read: 0,
        durable: 0,
        acknowledged: None,
        waiting: Vec::new(),
        bytes: 0,
        appended: 0,
        skipped: 0,
    };
    import.all(&mut Lines::new(input))?;
    import.finish()?;
    // Says whether the very end could be written, too.
    drop(import);
    ledger.close()?;
    Ok(0)
}

/// A line that is understood and new, and waits for its batch.
struct Waiting {
    line: u64,
    subject: Subject,
    version: u64,
    from: Option<TaskState>,
    event: Event,
}

struct Import<'a> {
    ledger: &'a Ledger,
    known: Known<'a>,
    out: &'a mut Out,
    progress: Progress,
    /// How many bytes the input has, where that is known, and how many of them were taken.
    size: Option<u64>,
    taken: u64,
    /// How many lines go together.
    batch: u64,
    /// The last line that was taken.
    read: u64,
    /// The last line that is in, with all before it.
    durable: u64,
    /// The last line that was acknowledged.
    acknowledged: Option<u64>,
    waiting: Vec<Waiting>,
    /// How many bytes the waiting lines had.
    bytes: usize,
    appended: u64,
    skipped: u64,
}

impl Import<'_> {
    fn all(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        loop {
            let line = self.read + 1;
            match lines.advance() {
                Ok(true) => {}
                Ok(false) => return self.commit(),
                Err(failure) => {
                    self.commit()?;
                    return Err(self.at_line(line, failure));
                }
            }
            if let Err(failure) = self.take(line, lines) {
                // What waits was before it, and may itself be refused; then that is the first bad line.
                self.commit()?;
                return Err(self.at_line(line, failure));
            }
            self.read = line;
            self.taken += lines.bytes() as u64;
            if self.read - self.durable >= self.batch || self.bytes >= BATCH_BYTES {
                self.commit()?;
            }
        }
    }

    /// Understands a line, and skips it or puts it into the batch.
    fn take(&mut self, number: u64, lines: &Lines) -> Result<(), Failure> {
        let text = lines.line().map_err(bad_line)?;
        if text.is_empty() {
            return Ok(());
        }
        let line = Line::parse(text).map_err(bad_line)?;
        let mut place = self.known.place(&line)?;
        if place == Place::Waiting {
            self.commit()?;
            place = self.known.place(&line)?;
        }
        match place {
            Place::Next(version) => {
                let (event, from) = (line.event(), line.from);
                self.waiting.push(Waiting { line: number, subject: line.subject, version, from, event });
                self.bytes += text.len();
                Ok(())
            }
            Place::There(version) => {
                let difference = self.known.compare(&line, version)?.map_err(bad_line)?;
                let Some(difference) = difference else {
                    self.skipped += 1;
                    return Ok(());
                };
                let show = |value: &Value| match value {
                    Value::Null => "nothing".to_owned(),
                    value => clip(&value.to_string(), VALUE_COLUMNS).into_owned(),
                };
                let (field, subject) = (difference.field, line.subject);
                let (there, here) = (show(&difference.expected), show(&difference.found));
                let message =
                    format!("{subject}: version {version} is there already, and its {field} is {there}, not {here}");
                Err(Failure::new("CONTRADICTION", message)
                    .about(&subject)
                    .with("version", version)
                    .with("field", field)
                    .with("expected", difference.expected)
                    .with("found", difference.found))
            }
            Place::Gap(last) => {
                let problem = format!("leaves a gap: the last version of {} is {last}", line.subject);
                let failure = bad_line(BadLine::field("version", problem));
                Err(failure.about(&line.subject).with("expected", last + 1).with("found", line.version))
            }
            Place::Waiting => unreachable!("everything was committed just now"),
        }
    }

    /// Makes all lines taken so far durable, and says so.
    fn commit(&mut self) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if let Err((line, failure)) = append(self.ledger, &waiting) {
            let before = waiting.iter().take_while(|item| item.line < line).count() as u64;
            self.appended += before;
            if failure.is_refusal() {
                // Everything before this line is in.
                self.read = line - 1;
                self.acknowledge()?;
            } else if before > 0 {
                self.durable = line - 1;
            }
            return Err(self.at_line(line, failure));
        }
        self.appended += waiting.len() as u64;
        for item in &waiting {
            self.known.committed(&item.subject);
        }
        self.acknowledge()
    }

    fn acknowledge(&mut self) -> Result<(), Failure> {
        self.durable = self.read;
        if self.acknowledged.replace(self.durable) == Some(self.durable) {
            return Ok(());
        }
        let (line, appended, skipped) = (self.durable, self.appended, self.skipped);
        let done = if self.size.is_some() { self.taken } else { line };
        self.progress.show(done, self.size);
        if self.out.form == Form::People {
            return Ok(());
        }
        let object = Object::new("taskledger.imported/1")
            .with("line", line)
            .with("seq", self.ledger.head().0)
            .with("appended", appended)
            .with("skipped", skipped);
        let told = self.out.json(&object).and_then(|()| self.out.flush()).map_err(Failure::from);
        heard_or_not(told)
    }

    /// The last word, for people.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.out.form == Form::Json {
            return Ok(());
        }
        self.progress.clear();
        let lines = count(self.durable, "line", "lines");
        let told = writeln!(
            self.out,
            "{lines}: {} appended, {} skipped since they were there; the ledger ends at seq {}",
            self.appended,
            self.skipped,
            self.ledger.head(),
        );
        heard_or_not(told.and_then(|()| self.out.flush()).map_err(Failure::from))
    }

    /// A failure at a line, with how much is in. Where the facts are refused, the line is to blame.
    fn at_line(&self, line: u64, failure: Failure) -> Failure {
        let in_so_far = in_so_far(self.durable);
        if !failure.is_refusal() {
            return failure.reword(|message| format!("{message}; {in_so_far}"));
        }
        failure
            .reword(|message| format!("line {line}: {message}; {in_so_far}"))
            .with("line", line)
            .hint(format!("correct line {line} and import the whole file again: what is in is skipped"))
    }
}

/// The import goes on when nobody reads what it says.
fn heard_or_not(told: Result<(), Failure>) -> Result<(), Failure> {
    match told {
        Err(Failure::ClosedPipe) => Ok(()),
        other => other,
    }
}

fn bad_line(bad: BadLine) -> Failure {
    let failure = Failure::new("LINE", bad.to_string());
    bad.field.into_iter().fold(failure, |failure, field| failure.with("field", field))
}

fn in_so_far(lines: u64) -> String {
    match lines {
        0 => "no line is in".to_owned(),
        1 => "line 1 is in".to_owned(),
        n => format!("lines 1 to {n} are in"),
    }
}

/// Appends items as one batch. Where that is refused, halves are tried, down to the one line that is refused; all
/// before it are then in. Some batches are refused as a whole and not in any part of it, such as two events under
/// the same key that lie far enough apart; then all of it is in afterwards.
fn append(ledger: &Ledger, items: &[Waiting]) -> Result<(), (u64, Failure)> {
    let Some(first) = items.first() else { return Ok(()) };
    let mut batch = Batch::new();
    for item in items {
        let (event, expect) = (item.event.clone(), Expect::Version(item.version - 1));
        match &item.subject {
            Subject::Task(id) => {
                if let Some(from) = item.from {
                    batch.check(id.as_str(), Expect::state_in(&[from]));
                }
                batch.push(id.as_str(), event, expect);
            }
            Subject::Note(key) => drop(batch.push_note(key.as_str(), event, expect)),
        }
    }
    let failure = match ledger.commit(batch) {
        Ok(receipt) if !receipt.replayed() => return Ok(()),
        Ok(receipt) => {
            let message = format!("{}: its key was used before, at seq {}", first.subject, receipt.seq());
            Failure::new("KEY", message).about(&first.subject).with("seq", receipt.seq().0)
        }
        Err(error) => error.into(),
    };
    if items.len() == 1 || !failure.is_refusal() {
        return Err((first.line, failure));
    }
    let (before, after) = items.split_at(items.len() / 2);
    append(ledger, before)?;
    append(ledger, after)
}
