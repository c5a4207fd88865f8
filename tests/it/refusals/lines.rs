//! Lines that are no lines: no JSON, unknown fields, values that are none.

use serde_json::{Value, json};
use taskledger::{Change, Error, Event, TaskState};

use super::program::{Program, says};
use super::site::{Site, task_of};

fn one() -> Site {
    Site::new(|ledger| drop(ledger.append("a", Event::created()).unwrap()))
}

#[test]
fn what_is_no_json_object_is_refused_by_line_and_column() {
    let site = one();
    let table = [
        ("{", "EOF while parsing an object at column 1"),
        ("{\"task\":\"a\",", "EOF while parsing"),
        ("{\"task\":\"a\"}}", "trailing characters at column 13"),
        ("{\"task\":\"a\" \"event\":\"updated\"}", "expected `,` or `}` at column 13"),
        ("{'task':'a'}", "key must be a string at column 2"),
        ("{\"task\":\"\u{1}\"}", "control character"),
        ("{\"task\":\"\\ud800\",\"event\":\"updated\"}", "field \"task\": unexpected end of hex escape at column 8"),
        ("nonsense", "expected ident at column 2"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("17", "expected a JSON object"),
    ];
    for (text, problem) in table {
        let error = site.refuses_text("LINE", text);
        says(error["message"].as_str().unwrap(), &[problem]);
    }
    site.goes_on();
}

#[test]
fn bytes_that_are_no_text_are_refused_by_line() {
    let site = one();
    // The harness takes text; so this goes by way of a file.
    let file = site.dir.with_extension("lines");
    std::fs::write(&file, b"{\"task\":\"\xff\",\"event\":\"created\"}\n").unwrap();
    let error = Program::default().refused(&["import", "-D", site.arg(), file.to_str().unwrap()], "", 13, "LINE");
    says(error["message"].as_str().unwrap(), &["line 1: is not UTF-8: ", "; no line is in"]);
    assert_eq!(error["line"], 1);
    site.goes_on();
}

#[test]
fn unknown_fields_events_states_and_values_are_refused_by_their_field() {
    let site = one();
    let updated = |field: &str, value: Value| {
        let mut line = json!({"task": "a", "event": "updated", "version": 2});
        line[field] = value;
        (field.to_owned(), line)
    };
    let states = TaskState::ALL.map(TaskState::name).join(", ");
    let moved = |to: Value| ("to".to_owned(), json!({"task": "a", "event": "transitioned", "to": to, "version": 2}));
    let event = |event: Value| ("event".to_owned(), json!({"task": "a", "event": event, "version": 2}));
    let table: [((String, Value), &str); 23] = [
        (updated("colour", json!("red")), "is unknown"),
        (updated("Task", json!("a")), "is unknown"),
        (moved(json!("runing")), &format!("\"runing\" is no state; there are {states}")),
        (moved(json!("Running")), &format!("\"Running\" is no state; there are {states}")),
        (moved(json!(3)), "invalid type"),
        (moved(Value::Null), "is missing, and transitioned needs it"),
        (updated("from", json!("asleep")), "\"asleep\" is no state"),
        (updated("to", json!("ready")), "is there, and updated moves nothing"),
        (event(json!("moved")), "\"moved\" is no event; there are created, transitioned"),
        (event(json!("pruned")), "is about the ledger that wrote it and cannot be imported"),
        (event(Value::Null), "is missing"),
        (updated("at", json!("yesterday")), "\"yesterday\" is no time"),
        (updated("at", json!(-1)), "-1 is no time"),
        (updated("at", json!(1.5)), "1.5 is no time"),
        (updated("said", json!("2026-03-01")), "is no time"),
        (updated("attempts", json!(-1)), "invalid value"),
        (updated("attempts", json!(4_294_967_296_u64)), "invalid value"),
        (updated("error", json!({})), "invalid type"),
        (updated("metadata", json!({"k": 1})), "invalid type"),
        (updated("cause", json!("first")), "invalid type"),
        (updated("type", json!("taskledger.task/1")), "is not taskledger.entry/1"),
        (updated("version", json!(0)), "versions count from 1"),
        (("task".to_owned(), json!({"event": "updated"})), "is missing"),
    ];
    for ((field, line), problem) in table {
        let error = site.refuses_line("LINE", &line);
        assert_eq!(error["field"], json!(field), "{error}");
        says(error["message"].as_str().unwrap(), &[&format!("field {field:?}"), problem]);
    }
    let twice = site.refuses_text("LINE", r#"{"task":"a","task":"a","event":"updated"}"#);
    says(twice["message"].as_str().unwrap(), &["field \"task\": is there twice"]);
    site.goes_on();
}

#[test]
fn a_version_that_leaves_a_gap_or_says_otherwise_is_refused() {
    let site = one();
    let gap = site.refuses_line("LINE", &json!({"task": "a", "event": "updated", "version": 3}));
    assert_eq!((&gap["task"], &gap["expected"], &gap["found"]), (&json!("a"), &json!(2), &json!(3)), "{gap}");
    says(gap["message"].as_str().unwrap(), &["leaves a gap: the last version of a is 1"]);
    let other = site.refuses_line("CONTRADICTION", &json!({"task": "a", "event": "created", "actor": "me"}));
    assert_eq!((&other["task"], &other["field"], &other["found"]), (&json!("a"), &json!("actor"), &json!("me")));
    says(other["message"].as_str().unwrap(), &["a: version 1 is there already, and its actor is nothing, not \"me\""]);
    site.goes_on();
}

#[test]
fn an_unknown_state_is_none_in_the_library_either() {
    for name in ["runing", "Running", "", "dead-lettered"] {
        assert_eq!(TaskState::from_name(name), None, "{name}");
        let error = serde_json::from_value::<TaskState>(json!(name)).expect_err(name);
        says(&error.to_string(), &["unknown variant", "`dead_lettered`"]);
    }
    let usage = Program::default().refused(&["ls", "-D", "/nowhere", "--state", "runing"], "", 2, "USAGE");
    says(usage["message"].as_str().unwrap(), &["runing", "no such state; there are pending"]);
    says(usage["hint"].as_str().unwrap(), &["taskledger --help"]);
}

#[test]
fn an_output_that_is_no_json_is_refused_by_the_library() {
    let site = one();
    for text in ["", "{", "nul", "1 2", "[1,]", "NaN", "\"\n\"", "\u{a0}null", "1e999", "\"\\ud800\""] {
        let event = Event::updated().output_text(text);
        assert!(matches!(event.output_change(), Change::Set(_)), "nothing is checked yet");
        let error = site.refuses(|ledger| ledger.append("a", event));
        let Error::Limit { subject, what, problem } = &error else { panic!("{error:?}") };
        assert_eq!((task_of(subject), *what, error.code()), (Some("a"), "output", "LIMIT"));
        says(problem, &[if text.is_empty() { "is empty" } else { "is not JSON: " }]);
    }
    // A number that JSON allows and no reader could give back.
    let line = r#"{"task":"a","event":"updated","version":2,"output":1e999}"#;
    let error = site.refuses_text("LIMIT", line);
    says(error["message"].as_str().unwrap(), &["a: output is not JSON: number out of range"]);
    site.goes_on();
}
