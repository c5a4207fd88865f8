//! `append --jsonl`: facts from a program. One line in, one answer out, in order, once it is durable.
//!
//! Lines that have come in by then share a sync; whoever waits for an answer before it writes on is never waited for. A
//! refusal is an answer, not the end. Memory holds what one read of the input has brought, or one line.

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use taskledger::{Batch, Expect, Ledger, Receipt, ReceiptItem, Subject, Ticket, limits};

use crate::cli::args::Setting;
use crate::cli::fail::Failure;
use crate::cli::input::Input;
use crate::cli::line::{BadLine, Line, said};
use crate::cli::lines::Lines;
use crate::cli::out::{Object, Out};
use crate::cli::writer;

/// What to do where an event may not follow.
const ILLEGAL_HINT: &str = "`taskledger history TASK` shows how it came to its state; an observed event states what was \
                            seen all the same";

/// How many characters of a message or of a field's name an answer shows: a batch that is refused has it once for each fact.
const SHOWN_MAX: usize = 300;

/// So many lines wait for their answers at most.
const WAITING_MAX: usize = 1024;

pub(crate) fn run(file: &Path, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let mut lines = Lines::new(Input::open(file, "lines", out.form)?);
    let ledger = writer::open(setting)?;
    let mut facts = Facts { ledger: &ledger, out, read: 0, answered: 0, waiting: Vec::new(), refused: false };
    let ended = facts.all(&mut lines);
    let Facts { answered, refused, .. } = facts;
    let closed = ended.and_then(|()| Ok(ledger.close()?));
    closed.map_err(|failure| end_after(failure, answered))?;
    Ok(if refused { 13 } else { 0 })
}

/// The place of one event, as an object.
pub(crate) fn receipt(line: Option<(u64, Option<usize>)>, receipt: &Receipt, item: &ReceiptItem) -> Object {
    let object = Object::new("taskledger.receipt/1");
    let object = line.into_iter().fold(object, |object, (line, _)| object.with("line", line));
    let object = line.and_then(|(_, item)| item).into_iter().fold(object, |object, item| object.with("item", item));
    let object = object.with("epoch", receipt.epoch()).with("seq", item.seq.0);
    let object = match &item.subject {
        Subject::Task(id) => object.with("task", id.as_str()),
        Subject::Note(key) => object.with("note", key.as_str()),
    };
    object.with("version", item.version).with("at", item.at).with("replayed", receipt.replayed())
}

/// A line that has no answer yet.
struct Waiting {
    line: u64,
    /// How many facts it has, where it is a batch.
    items: Option<usize>,
    told: Result<Ticket, Failure>,
}

struct Facts<'a> {
    ledger: &'a Ledger,
    out: &'a mut Out,
    /// The last line that was taken.
    read: u64,
    /// The last line that was answered.
    answered: u64,
    waiting: Vec<Waiting>,
    /// Whether a line was.
    refused: bool,
}

impl Facts<'_> {
    fn all(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        loop {
            if !lines.is_next_there() || self.waiting.len() >= WAITING_MAX {
                self.answer()?;
            }
            // Nothing waits here that the writer of a line could wait for, or its line is there.
            if !lines.advance()? {
                return Ok(());
            }
            self.read += 1;
            let (items, batch) = match lines.line() {
                Ok(text) => understand(text),
                Err(bad) => (None, Err(bad_line(&bad))),
            };
            lines.pass_rest()?;
            let told = batch.and_then(|batch| Ok(self.ledger.submit_batch(batch)?));
            let is_end = matches!(&told, Err(failure) if !failure.is_refusal());
            self.waiting.push(Waiting { line: self.read, items, told });
            if is_end {
                // With no line behind it tried, exactly those are in that were answered.
                self.answer()?;
            }
        }
    }

    /// Waits until all that was taken is durable or refused, and says so.
    fn answer(&mut self) -> Result<(), Failure> {
        for Waiting { line, items, told } in std::mem::take(&mut self.waiting) {
            match told.and_then(|ticket| Ok(ticket.wait()?)) {
                Ok(receipt) => self.accept(line, items, &receipt)?,
                Err(failure) => self.refuse(line, items, failure)?,
            }
            self.answered = line;
        }
        heard_or_not(self.out.flush().map_err(Failure::from))
    }

    fn accept(&mut self, line: u64, items: Option<usize>, appended: &Receipt) -> Result<(), Failure> {
        for (n, item) in (1..).zip(appended.items()) {
            self.say(&receipt(Some((line, items.map(|_| n))), appended, item))?;
        }
        Ok(())
    }

    /// Where a batch is refused there are as many answers as it has facts. What is no refusal is the end.
    fn refuse(&mut self, line: u64, items: Option<usize>, failure: Failure) -> Result<(), Failure> {
        let mut refusal = failure.refusal()?;
        if refusal.code == "ILLEGAL" {
            refusal.hint = Some(ILLEGAL_HINT.to_owned());
        }
        self.refused = true;
        let answer = || refusal.object().with("line", line);
        match items {
            None => self.say(&answer()),
            Some(items) => (1..=items).try_for_each(|n| self.say(&answer().with("item", n))),
        }
    }

    fn say(&mut self, object: &Object) -> Result<(), Failure> {
        heard_or_not(self.out.json(object).map_err(Failure::from))
    }
}

/// What was sent is appended also where nobody reads the answers any more.
fn heard_or_not(told: Result<(), Failure>) -> Result<(), Failure> {
    match told {
        Err(Failure::ClosedPipe) => Ok(()),
        other => other,
    }
}

/// A failure that is no refusal: which line was answered last.
fn end_after(failure: Failure, answered: u64) -> Failure {
    let last = match answered {
        0 => "no line was answered".to_owned(),
        n => format!("line {n} is the last that was answered"),
    };
    failure.reword(|message| format!("{message}; {last}")).with("answered", answered)
}

fn bad_line(bad: &BadLine) -> Failure {
    let failure = Failure::new("LINE", short(&bad.to_string()))
        .hint("mend that line and send it again: it changed nothing, and other lines are answered by themselves");
    bad.field.iter().fold(failure, |failure, field| failure.with("field", short(field)))
}

/// The beginning of a text.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a line asks for, and how many facts it has where it is a batch.
fn understand(text: &str) -> (Option<usize>, Result<Batch, Failure>) {
    let mut batch = Batch::new();
    if !text.starts_with('[') {
        let fact = match text {
            "" => Err(BadLine::whole("is empty")),
            text => Line::parse_fact(text),
        };
        return (None, fact.map_err(|bad| bad_line(&bad)).map(|fact| add(&mut batch, &fact)).map(|()| batch));
    }
    let facts = match serde_json::from_str(text) {
        Ok(Array(facts)) if facts.is_empty() => return (None, Err(bad_line(&BadLine::whole("is a batch of nothing")))),
        Ok(Array(facts)) => facts,
        Err(error) => return (None, Err(bad_line(&BadLine::whole(said(&error))))),
    };
    for (n, raw) in (1..).zip(&facts) {
        match Line::parse_fact(raw.get()) {
            Ok(fact) => add(&mut batch, &fact),
            Err(bad) => {
                let failure = bad_line(&bad).reword(|message| format!("item {n}: {message}"));
                return (Some(facts.len()), Err(failure));
            }
        }
    }
    (Some(facts.len()), Ok(batch))
}

/// Adds a fact with all that it expects.
fn add(batch: &mut Batch, fact: &Line<'_>) {
    let from = fact.from.map(|from| Expect::state_in(&[from]));
    let version = fact.version.map(|version| Expect::Version(version - 1));
    let expect = fact.expect.clone().unwrap_or(Expect::Any);
    match &fact.subject {
        Subject::Task(id) => {
            for expect in from.into_iter().chain(version) {
                batch.check(id.as_str(), expect);
            }
            batch.push(id.as_str(), fact.event(), expect);
        }
        Subject::Note(key) => {
            for expect in from.into_iter().chain(version) {
                batch.check_note(key.as_str(), expect);
            }
            batch.push_note(key.as_str(), fact.event(), expect);
        }
    }
}

/// The values of an array as text, no more of them than a batch may have.
struct Array<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array<'de>, D::Error> {
        struct AsArray;
        impl<'de> Visitor<'de> for AsArray {
            type Value = Array<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Array<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    if values.len() == limits::BATCH_EVENTS_MAX {
                        let most = limits::BATCH_EVENTS_MAX;
                        return Err(A::Error::custom(format!("is a batch of more than {most} events")));
                    }
                    values.push(value);
                }
                Ok(Array(values))
            }
        }
        deserializer.deserialize_seq(AsArray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_fact_or_a_batch_and_what_is_neither_says_why() {
        let counted = |text: &str| {
            let (items, batch) = understand(text);
            (items, batch.map(|batch| batch.len()).map_err(|failure| failure.refusal().expect("a refusal").message))
        };
        let fact = r#"{"task":"a","event":"created","expect":"absent","version":1}"#;
        assert_eq!(counted(fact), (None, Ok(1)));
        assert_eq!(counted(&format!("[{fact}]")), (Some(1), Ok(1)));
        assert_eq!(counted(&format!("[{fact}, {fact} ]")), (Some(2), Ok(2)));
        for (bad, items, complaint) in [
            ("", None, "is empty"),
            ("[]", None, "is a batch of nothing"),
            ("[1", None, "EOF while parsing a list"),
            ("[1,2]", Some(2), "item 1: invalid type: integer `1`, expected a JSON object"),
            (r#"[{"task":"a","event":"created"},{"event":"created"}]"#, Some(2), "item 2: field \"task\": is missing"),
            ("7", None, "invalid type: integer `7`, expected a JSON object"),
            (
                r#"{"task":"a","event":"created","expect":"any"}"#,
                None,
                "field \"expect\": \"any\": no such expectation",
            ),
        ] {
            let (found, said) = counted(bad);
            let said = said.expect_err(bad);
            assert!(found == items && said.starts_with(complaint), "{bad}: {found:?} {said}");
        }
        let long = format!(r#"{{"task":"a","event":"{}"}}"#, "x".repeat(100_000));
        let said = counted(&long).1.expect_err("no event");
        assert!(said.starts_with("field \"event\": \"xxx") && said.ends_with("x…"), "{said}");
        assert_eq!(said.chars().count(), SHOWN_MAX + 1);
        let many = format!("[{}1]", "1,".repeat(limits::BATCH_EVENTS_MAX));
        assert!(counted(&many).1.expect_err("too many").starts_with("is a batch of more than 65535 events"));
    }
}
