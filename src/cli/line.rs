//! One line of an import or of `append --jsonl`: `taskledger.entry/1`, with or without what only a ledger gives (type, seq).
//!
//! Every complaint names the field. A field that is null is not there, except where null clears: output, error, a
//! metadata value, `started_at` and `finished_at`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use taskledger::{Event, EventKind, Expect, Seq, Subject, TaskState};

use crate::cli::fact::{each, expectation, state_names};
use crate::cli::time;

/// A line, understood but not yet compared with anything.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub subject: Subject,
    pub version: Option<u64>,
    /// The state that the task is said to have been in before.
    pub from: Option<TaskState>,
    /// What must hold of the task or note before; of a new fact only.
    pub expect: Option<Expect>,
    /// When it happened, as the line states it; milliseconds since the Unix epoch.
    pub stated: Option<u64>,
    kind: EventKind,
    to: Option<TaskState>,
    inferred: Option<bool>,
    attempts: Option<u32>,
    /// As written, `null` included.
    output: Option<&'a RawValue>,
    /// As written, `null` included; there just where a note is noted.
    value: Option<&'a RawValue>,
    error: Option<Option<String>>,
    metadata: Option<BTreeMap<String, Option<String>>>,
    created_at: Option<u64>,
    updated_at: Option<u64>,
    started_at: Option<Option<u64>>,
    finished_at: Option<Option<u64>>,
    actor: Option<String>,
    reason: Option<String>,
    cause: Option<u64>,
    key: Option<String>,
}

/// Why a line is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Which field, where it is one.
    pub field: Option<String>,
    pub problem: String,
}

impl BadLine {
    pub(crate) fn whole(problem: impl Into<String>) -> BadLine {
        BadLine { field: None, problem: problem.into() }
    }

    pub(crate) fn field(field: &str, problem: impl Into<String>) -> BadLine {
        BadLine { field: Some(field.to_owned()), problem: problem.into() }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "field {field:?}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// The fields of an object in their order, their values as text.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct AsFields;
        impl<'de> Visitor<'de> for AsFields {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(AsFields)
    }
}

impl<'a> Line<'a> {
    /// Understands one line of an import.
    pub(crate) fn parse(text: &'a str) -> Result<Line<'a>, BadLine> {
        Line::read(text, false)
    }

    /// Understands a new fact, which may say what it expects.
    pub(crate) fn parse_fact(text: &'a str) -> Result<Line<'a>, BadLine> {
        Line::read(text, true)
    }

    fn read(text: &'a str, is_new: bool) -> Result<Line<'a>, BadLine> {
        let Fields(fields) = serde_json::from_str(text).map_err(|error| BadLine::whole(said(&error)))?;
        let mut line = Line {
            subject: Subject::Task(String::new()),
            version: None,
            from: None,
            expect: None,
            stated: None,
            kind: EventKind::Updated,
            to: None,
            inferred: None,
            attempts: None,
            output: None,
            value: None,
            error: None,
            metadata: None,
            created_at: None,
            updated_at: None,
            started_at: None,
            finished_at: None,
            actor: None,
            reason: None,
            cause: None,
            key: None,
        };
        let (mut task, mut note, mut kind, mut at, mut said) = (None, None, None, None, None);
        for (n, (name, raw)) in fields.iter().enumerate() {
            let name: &str = name;
            if fields.iter().take(n).any(|(earlier, _)| earlier == name) {
                return Err(BadLine::field(name, "is there twice"));
            }
            match name {
                "type" => {
                    let found: Option<String> = value(name, raw)?;
                    if let Some(other) = found.filter(|found| found != "taskledger.entry/1") {
                        return Err(BadLine::field(name, format!("{other:?} is not taskledger.entry/1")));
                    }
                }
                "seq" => drop(value::<Option<u64>>(name, raw)?),
                "task" => task = value(name, raw)?,
                "note" => note = value(name, raw)?,
                "version" => line.version = value(name, raw)?,
                "event" => kind = value::<Option<String>>(name, raw)?.map(|kind| event_kind(&kind)).transpose()?,
                "at" => at = millis(name, raw)?,
                "said" => said = millis(name, raw)?,
                "from" => line.from = state(name, raw)?,
                "to" => line.to = state(name, raw)?,
                "inferred" => line.inferred = value(name, raw)?,
                "attempts" => line.attempts = value(name, raw)?,
                "output" => line.output = Some(raw),
                "value" => line.value = Some(raw),
                "error" => line.error = Some(value(name, raw)?),
                "metadata" => line.metadata = value(name, raw)?,
                "created_at" => line.created_at = millis(name, raw)?,
                "updated_at" => line.updated_at = millis(name, raw)?,
                "started_at" => line.started_at = Some(millis(name, raw)?),
                "finished_at" => line.finished_at = Some(millis(name, raw)?),
                "actor" => line.actor = value(name, raw)?,
                "reason" => line.reason = value(name, raw)?,
                "cause" => line.cause = value(name, raw)?,
                "key" => line.key = value(name, raw)?,
                "expect" if is_new => line.expect = expect(name, raw)?,
                unknown => return Err(BadLine::field(unknown, "is unknown")),
            }
        }
        line.subject = match (task, note) {
            (Some(task), None) => Subject::Task(task),
            (None, Some(note)) => Subject::Note(note),
            (Some(_), Some(_)) => {
                return Err(BadLine::field("note", "is there beside a task, and a line is about one"));
            }
            (None, None) => return Err(BadLine::field("task", "is missing")),
        };
        line.kind = kind.ok_or_else(|| BadLine::field("event", "is missing"))?;
        line.stated = said.or(at);
        if line.version == Some(0) {
            return Err(BadLine::field("version", "is 0, and versions count from 1"));
        }
        match (line.kind, line.to) {
            (EventKind::Created, Some(to)) if to != TaskState::Pending => {
                Err(BadLine::field("to", format!("is {to}, and a task is created pending")))
            }
            (EventKind::Transitioned | EventKind::Requeued | EventKind::Observed, None) => {
                Err(BadLine::field("to", format!("is missing, and {} needs it", line.kind)))
            }
            (EventKind::Updated | EventKind::Removed, Some(_)) => {
                Err(BadLine::field("to", format!("is there, and {} moves nothing", line.kind)))
            }
            _ => line.check_note(),
        }
    }

    /// A value is there just where a note is noted; what else a note does not have the ledger refuses, but for what it
    /// would not see.
    fn check_note(self) -> Result<Line<'a>, BadLine> {
        match (self.kind, self.value, self.from) {
            (EventKind::Noted, None, _) => Err(BadLine::field("value", "is missing, and noted needs it")),
            (EventKind::Noted, Some(_), _) if self.to.is_some() => {
                Err(BadLine::field("to", "is there, and noted moves nothing"))
            }
            (kind, Some(_), _) if kind != EventKind::Noted => {
                Err(BadLine::field("value", format!("is there, and {kind} has none")))
            }
            (_, _, Some(_)) if self.subject.note().is_some() => {
                Err(BadLine::field("from", "is there, and a note has no state"))
            }
            _ => Ok(self),
        }
    }

    /// The event that it states.
    pub(crate) fn event(&self) -> Event {
        let mut event = match (self.kind, self.to) {
            (EventKind::Created, _) => Event::created(),
            (EventKind::Transitioned, Some(to)) => Event::to(to),
            (EventKind::Requeued, Some(to)) => Event::requeued(to),
            (EventKind::Observed, Some(to)) => Event::observed(to),
            (EventKind::Removed, _) => Event::removed(),
            (EventKind::Noted, _) => Event::noted_text(self.value.map_or("null", RawValue::get)),
            _ => Event::updated(),
        };
        if self.inferred == Some(true) {
            event = event.inferred();
        }
        if let Some(output) = self.output {
            event = event.output_text(output.get());
        }
        event = match &self.error {
            None => event,
            Some(None) => event.clear_error(),
            Some(Some(error)) => event.error(error.as_str()),
        };
        event = each(event, self.metadata.iter().flatten(), |event, (key, value)| match value {
            Some(value) => event.meta(key.as_str(), value.as_str()),
            None => event.unset(key.as_str()),
        });
        event = each(event, self.attempts, Event::attempts);
        event = each(event, self.created_at, Event::created_at);
        event = each(event, self.updated_at, Event::updated_at);
        event = each(event, self.started_at, Event::started_at);
        event = each(event, self.finished_at, Event::finished_at);
        event = each(event, self.actor.as_deref(), Event::by);
        event = each(event, self.reason.as_deref(), Event::because);
        event = each(event, self.cause.map(Seq), Event::cause);
        event = each(event, self.key.as_deref(), Event::key);
        each(event, self.stated, Event::at)
    }

    /// The fields that it gives, apart from its place and time, as an entry's JSON has them.
    pub(crate) fn given(&self) -> Result<Map<String, Value>, BadLine> {
        let mut given = Map::new();
        let mut give = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                given.insert(name.to_owned(), value);
            }
        };
        give("event", Some(json!(self.kind.name())));
        give("to", self.to.map(|to| json!(to)));
        give("from", self.from.map(|from| json!(from)));
        give("inferred", self.inferred.map(|inferred| json!(inferred)));
        give("attempts", self.attempts.map(|attempts| json!(attempts)));
        give("output", self.output.map(|output| value("output", output)).transpose()?);
        give("value", self.value.map(|json| value("value", json)).transpose()?);
        give("error", self.error.as_ref().map(|error| json!(error)));
        give("metadata", self.metadata.as_ref().map(|metadata| json!(metadata)));
        give("created_at", self.created_at.map(|time| json!(time)));
        give("updated_at", self.updated_at.map(|time| json!(time)));
        give("started_at", self.started_at.map(|time| json!(time)));
        give("finished_at", self.finished_at.map(|time| json!(time)));
        give("actor", self.actor.as_ref().map(|actor| json!(actor)));
        give("reason", self.reason.as_ref().map(|reason| json!(reason)));
        give("cause", self.cause.map(|cause| json!(cause)));
        give("key", self.key.as_ref().map(|key| json!(key)));
        Ok(given)
    }
}

fn value<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<T, BadLine> {
    serde_json::from_str(raw.get()).map_err(|error| BadLine::field(name, said(&error)))
}

/// A time: whole milliseconds since the Unix epoch, or text as after `--at`.
fn millis(name: &str, raw: &RawValue) -> Result<Option<u64>, BadLine> {
    match value(name, raw)? {
        Value::Null => Ok(None),
        Value::String(text) => time::exact(&text).map(Some).map_err(|problem| BadLine::field(name, problem)),
        Value::Number(number) if number.is_u64() => Ok(number.as_u64()),
        other => {
            Err(BadLine::field(name, format!("{other} is no time: whole milliseconds since 1970 and RFC 3339 are")))
        }
    }
}

fn state(name: &str, raw: &RawValue) -> Result<Option<TaskState>, BadLine> {
    let Some(found) = value::<Option<String>>(name, raw)? else { return Ok(None) };
    let unknown = || BadLine::field(name, format!("{found:?} is no state; there are {}", state_names()));
    TaskState::from_name(&found).ok_or_else(unknown).map(Some)
}

/// An expectation, in the words of `--expect`.
fn expect(name: &str, raw: &RawValue) -> Result<Option<Expect>, BadLine> {
    let Some(found) = value::<Option<String>>(name, raw)? else { return Ok(None) };
    expectation(&found).map(Some).map_err(|problem| BadLine::field(name, format!("{found:?}: {problem}")))
}

fn event_kind(found: &str) -> Result<EventKind, BadLine> {
    match EventKind::from_name(found) {
        Some(kind) if kind.is_control() => {
            Err(BadLine::field("event", format!("{kind} is about the ledger that wrote it and cannot be imported")))
        }
        Some(kind) => Ok(kind),
        None => Err(BadLine::field(
            "event",
            format!(
                "{found:?} is no event; there are created, transitioned, updated, requeued, observed, removed, noted"
            ),
        )),
    }
}

/// What the parser says. Its line is always 1, as it sees one line only, and would be taken for the line of the file.
pub(crate) fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((problem, _)) = text.rsplit_once(" at line ") else { return text };
    if error.is_data() { problem.to_owned() } else { format!("{problem} at column {}", error.column()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        Line::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn every_complaint_names_the_field() {
        let table = [
            (r#"{"event":"created"}"#, "field \"task\": is missing"),
            (r#"{"task":"a"}"#, "field \"event\": is missing"),
            (r#"{"task":"a","event":"created","colour":1}"#, "field \"colour\": is unknown"),
            (r#"{"task":"a","event":"created","expect":"absent"}"#, "field \"expect\": is unknown"),
            (r#"{"task":"a","event":"created","task":"b"}"#, "field \"task\": is there twice"),
            (r#"{"task":"a","event":"created","to":"ready"}"#, "field \"to\": is ready, and a task is created pending"),
            (r#"{"task":"a","event":"transitioned"}"#, "field \"to\": is missing, and transitioned needs it"),
            (r#"{"task":"a","event":"removed","to":"ready"}"#, "field \"to\": is there, and removed moves nothing"),
            (r#"{"task":"a","event":"created","version":0}"#, "field \"version\": is 0, and versions count from 1"),
            (
                r#"{"task":"a","event":"created","type":"taskledger.task/1"}"#,
                "field \"type\": \"taskledger.task/1\" is not taskledger.entry/1",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(complaint(text), expected);
        }
        for (field, bad) in [
            ("at", "-1"),
            ("at", "1.5"),
            ("at", "\"noon\""),
            ("to", "\"runing\""),
            ("from", "7"),
            ("event", "\"pruned\""),
            ("attempts", "-1"),
            ("attempts", "4294967296"),
            ("metadata", "{\"a\":1}"),
            ("error", "{}"),
            ("inferred", "\"yes\""),
        ] {
            let rest = if field == "event" { "" } else { r#","event":"transitioned""# };
            let complaint = complaint(&format!(r#"{{"task":"a"{rest},"{field}":{bad}}}"#));
            assert!(complaint.starts_with(&format!("field {field:?}: ")), "{complaint}");
        }
        assert_eq!(complaint("[]"), "invalid type: sequence, expected a JSON object");
        assert_eq!(complaint(r#"{"task":"#), "EOF while parsing a value at column 8");
    }

    #[test]
    fn the_event_is_the_one_that_the_line_states() {
        let text = r#"{"type":"taskledger.entry/1","seq":9,"task":"a","version":3,"at":"2026-03-01T02:00:00Z","said":7,
            "event":"observed","inferred":true,"from":"ready","to":"failed","attempts":2,"output":{"b": 1.0},"error":null,
            "metadata":{"x":"1","y":null},"created_at":1,"updated_at":2,"started_at":null,"finished_at":4,
            "actor":"me","reason":"why","cause":5,"key":"k"}"#;
        let line = Line::parse(text).expect("a good line");
        let expected = Event::observed(TaskState::Failed)
            .inferred()
            .attempts(2)
            .output_text(r#"{"b": 1.0}"#)
            .clear_error()
            .meta("x", "1")
            .unset("y")
            .created_at(1)
            .updated_at(2)
            .started_at(None)
            .finished_at(Some(4))
            .by("me")
            .because("why")
            .cause(Seq(5))
            .key("k")
            .at(7);
        assert_eq!(line.event(), expected);
        assert_eq!((line.version, line.from), (Some(3), Some(TaskState::Ready)));
    }

    #[test]
    fn null_is_unset_except_where_it_clears() {
        let line = Line::parse(r#"{"task":"a","event":"updated","actor":null,"at":null,"to":null,"output":null}"#);
        assert_eq!(line.expect("a good line").event(), Event::updated().clear_output());
    }
}
