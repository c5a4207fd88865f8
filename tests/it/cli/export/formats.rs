//! CSV as an independent reader sees it, cell by cell, and CloudEvents by their published schema.

use std::collections::BTreeMap;
use std::process::Command;

use jsonschema::Validator;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use taskledger::{Event, Ledger, Seq, TaskState};

use super::{entries, export, random};
use crate::cli::{Demo, not_tested, path, run};

/// Reads CSV by the rules of RFC 4180, and prints a line of JSON for each row.
const READER: &str = r"
import csv, json, sys
csv.field_size_limit(1 << 30)
with open(sys.argv[1], encoding='utf-8', errors='strict', newline='') as file:
    for row in csv.reader(file, strict=True):
        print(json.dumps(row))
";

/// The rows that Python reads; `None` where there is no Python.
fn rows(text: &str) -> Option<Vec<Vec<String>>> {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file.csv");
    std::fs::write(&file, text).unwrap();
    let read = match Command::new("python3").args(["-E", "-s", "-B", "-c", READER]).arg(&file).output() {
        Err(error) => {
            not_tested("CSV by another reader", &format!("starting python3 says: {error}"));
            return None;
        }
        Ok(read) => read,
    };
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    Some(String::from_utf8(read.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A text as a cell shows it.
fn shown(text: &str) -> String {
    let picture = |c: char| match u32::from(c) {
        9 | 10 | 13 => c,
        n @ 0..32 => char::from_u32(0x2400 + n).unwrap(),
        0x7f => '␡',
        0x80..=0x9f => '\u{fffd}',
        _ => c,
    };
    text.chars().map(picture).collect()
}

/// What somebody else wrote, as a cell shows it: nothing that a spreadsheet computes.
fn guarded(text: &str) -> String {
    let computed = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'"];
    let apostrophe = if computed.iter().any(|start| text.starts_with(start)) { "'" } else { "" };
    shown(&format!("{apostrophe}{text}"))
}

fn time(millis: &Value) -> String {
    let millis = millis.as_u64().expect("a time");
    let seconds = i64::try_from(millis / 1000).unwrap();
    let time = jiff_free(seconds);
    format!("{time}.{:03}Z", millis % 1000)
}

/// A time of this millennium, by the calendar's own rules.
fn jiff_free(mut seconds: i64) -> String {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut month) = (1970, 1);
    while seconds >= (365 + i64::from(leap(year))) * 86_400 {
        seconds -= (365 + i64::from(leap(year))) * 86_400;
        year += 1;
    }
    for days in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if seconds < days * 86_400 {
            break;
        }
        seconds -= days * 86_400;
        month += 1;
    }
    let (day, hour, minute) = (seconds / 86_400 + 1, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", seconds % 60)
}

/// What the cells of an entry are to be, from its line of JSON alone.
fn cells(line: &str) -> BTreeMap<&'static str, String> {
    let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
    let text = |name: &str| raw.get(name).map_or_else(String::new, |raw| raw.get().to_owned());
    let value = |name: &str| raw.get(name).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap_or(json!("deep")));
    let mut cells = BTreeMap::new();
    for name in ["seq", "version", "inferred", "attempts", "value", "metadata", "cause"] {
        cells.insert(name, shown(&text(name)));
    }
    for name in ["event", "from", "to"] {
        cells.insert(name, text(name).trim_matches('"').to_owned());
    }
    let mut cleared = Vec::new();
    for name in ["output", "error", "started_at", "finished_at"] {
        if text(name) == "null" {
            cleared.push(name);
        }
    }
    cells.insert("output", if text("output") == "null" { String::new() } else { shown(&text("output")) });
    cells.insert("cleared", cleared.join(" "));
    for name in ["task", "note", "error", "actor", "reason", "key"] {
        cells.insert(name, value(name).and_then(|value| Some(guarded(value.as_str()?))).unwrap_or_default());
    }
    for name in ["at", "said", "created_at", "updated_at", "started_at", "finished_at"] {
        let there = value(name).filter(|value| !value.is_null());
        cells.insert(name, there.map(|millis| time(&millis)).unwrap_or_default());
    }
    cells
}

#[test]
fn every_cell_is_what_the_entry_says_as_another_program_reads_it() {
    let demo = Demo::new();
    random::write(&demo.other(), 11, 1500);
    for dir in [demo.dir(), demo.other()] {
        let csv = export(&dir, "csv", &[]).good();
        assert!(csv.starts_with("seq,task,note,version,at,") && csv.ends_with("\r\n"));
        assert!(!csv.contains(|c: char| c.is_control() && !['\t', '\r', '\n'].contains(&c)), "nothing acts");
        let Some(rows) = rows(&csv) else { return };
        let log = run(&["log", "--json", "-D", &dir]).good();
        let (header, rows) = rows.split_first().unwrap();
        assert_eq!((header.len(), rows.len()), (24, log.lines().count()));
        for (row, line) in rows.iter().zip(log.lines()) {
            assert_eq!(row.len(), header.len(), "{line}");
            let expected = cells(line);
            for (name, cell) in header.iter().zip(row) {
                assert_eq!(cell, &expected[name.as_str()], "{name} of {line}");
            }
        }
    }
}

#[test]
fn a_time_beyond_the_year_9999_is_told_as_seconds_and_no_event_has_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    let far = (1 << 48) - 1;
    let ledger = Ledger::open(&dir).unwrap();
    ledger.append("a", Event::observed(TaskState::Running).started_at(Some(far)).at(1)).unwrap();
    ledger.close().unwrap();
    assert!(export(&dir, "csv", &[]).good().contains(",@281474976710.655,"));
    assert!(export(&dir, "cloudevents", &[]).good().contains(r#""time":"1970-01-01T00:00:00.001Z""#));
}

/// The published schema, with formats checked, too.
fn published() -> Validator {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cloudevents.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let good =
        json!({"specversion": "1.0", "id": "1", "source": "urn:uuid:x", "type": "t", "time": "2026-03-01T02:00:00Z"});
    assert!(validator.is_valid(&good));
    for (name, bad) in [("id", json!("")), ("source", json!("a b")), ("type", json!(1)), ("time", json!("noon"))] {
        let mut event = good.clone();
        event[name] = bad;
        assert!(!validator.is_valid(&event), "{event}");
    }
    validator
}

#[test]
fn every_event_is_one_by_the_published_schema_and_says_what_happened() {
    let demo = Demo::new();
    random::write(&demo.other(), 12, 1500);
    let published = published();
    for dir in [demo.dir(), demo.other()] {
        let uuid = run(&["info", "--json", "-D", &dir]).good_json()[0]["uuid"].as_str().unwrap().to_owned();
        let lines = export(&dir, "cloudevents", &[]).good();
        let log = entries(&dir, &[]);
        assert_eq!(lines.lines().count(), log.len());
        for (line, entry) in lines.lines().zip(log) {
            let event: Value = serde_json::from_str(line).unwrap();
            published.validate(&event).unwrap_or_else(|error| panic!("{error}: {line}"));
            let text = |name: &str| entry[name].as_str();
            let kind = match (text("task"), text("note"), text("event"), text("to")) {
                (Some(_), _, Some(kind @ ("created" | "updated" | "removed")), _) => format!("task.{kind}"),
                (Some(_), _, _, Some(to)) => format!("task.{to}"),
                (None, Some(_), Some(kind), _) => format!("note.{kind}"),
                other => panic!("{other:?}"),
            };
            let mut expected = json!({
                "specversion": "1.0", "id": entry["seq"].to_string(), "source": format!("urn:uuid:{uuid}"),
                "type": format!("dev.taskledger.{kind}"), "datacontenttype": "application/json",
            });
            let subject = text("task").or(text("note")).unwrap();
            let is_nonchar = |c: char| ('\u{fdd0}'..='\u{fdef}').contains(&c) || u32::from(c) % 0x10000 >= 0xfffe;
            if !subject.chars().any(|c| c.is_control() || is_nonchar(c)) {
                expected["subject"] = subject.into();
            }
            expected["time"] = time(if entry["said"].is_null() { &entry["at"] } else { &entry["said"] }).into();
            expected["data"] = entry;
            assert_eq!(event, expected);
        }
    }
}

/// A prune is about the ledger.
#[test]
fn what_is_about_the_ledger_itself_has_no_subject() {
    use taskledger::{At, Maintenance, Options, Prune};
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    let ledger = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(&dir).unwrap();
    for n in 0..60 {
        ledger.append(format!("t{n}"), Event::observed(TaskState::Completed).error("x".repeat(1000))).unwrap();
    }
    ledger.prune(&Prune::before(At::Seq(Seq(40))).forced()).unwrap();
    ledger.close().unwrap();
    let lines = export(&dir, "cloudevents", &[]).good();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pruned: Vec<&Value> = events.iter().filter(|event| event["type"] == "dev.taskledger.ledger.pruned").collect();
    assert!(pruned.len() == 1 && pruned[0].get("subject").is_none(), "{pruned:?}");
    events.iter().for_each(|event| assert!(published().is_valid(event)));
    let csv = export(&dir, "csv", &["--redact", "output"]).good();
    assert!(csv.contains(",,,,") && csv.contains(",pruned,"), "{csv}");
}
