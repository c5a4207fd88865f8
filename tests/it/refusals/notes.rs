//! Notes: their limits, and lines of an import that are no entry of a note.

use serde_json::{Value, json};
use taskledger::limits::{NOTE_DEPTH_MAX, NOTE_KEY_BYTES_MAX, NOTE_VALUE_BYTES_MAX};
use taskledger::{Batch, Error, Event, Expect, Subject};

use super::program::{Program, says};
use super::site::Site;

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// A site with one note, which is no refusal's.
fn site() -> Site {
    Site::new(|ledger| drop(ledger.append_note("n", Event::noted(1).key("one")).unwrap()))
}

#[test]
fn a_note_is_taken_at_its_limits_and_refused_one_above() {
    let (by_library, by_program) = (site(), site());
    let long = "ä".repeat(NOTE_KEY_BYTES_MAX / 2);
    let string = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let deep = format!("value nests {} deep, at most {NOTE_DEPTH_MAX} are allowed", NOTE_DEPTH_MAX + 1);
    let large = format!("value has {} bytes, at most {NOTE_VALUE_BYTES_MAX} are", NOTE_VALUE_BYTES_MAX + 1);
    let table = [
        (format!("{long}x"), "1".to_owned(), "note key has 1281 bytes, at most 1280 are allowed"),
        (String::new(), "1".to_owned(), "note key is empty"),
        ("m".to_owned(), nested(NOTE_DEPTH_MAX + 1), &deep),
        ("m".to_owned(), string(NOTE_VALUE_BYTES_MAX + 1), &large),
    ];
    for (key, value, message) in table {
        let error = by_library.refuses(|ledger| ledger.append_note(&*key, Event::noted_text(&value)));
        let Error::Limit { subject, .. } = &error else { panic!("{error:?}") };
        // A key that is too long is named by its beginning, one that is not there not at all.
        let named: String = key.chars().take(40).collect();
        assert_eq!(*subject, (!named.is_empty()).then_some(Subject::Note(named.clone())));
        says(&error.to_string(), &[message]);
        let line = format!(r#"{{"note":{},"event":"noted","value":{value}}}"#, json!(key));
        let told = by_program.refuses_text("LIMIT", &line);
        says(told["message"].as_str().unwrap(), &[message]);
        assert_eq!(told.get("note"), Some(&json!(named)).filter(|named| **named != json!("")));
    }
    let most = [(&*long, "1".to_owned()), ("m", nested(NOTE_DEPTH_MAX)), ("m", string(NOTE_VALUE_BYTES_MAX))];
    for (n, (key, value)) in most.into_iter().enumerate() {
        by_library.open().append_note(key, Event::noted_text(&value)).expect("as much as is allowed");
        let version = n.max(1);
        let line = format!("{{\"note\":{},\"event\":\"noted\",\"version\":{version},\"value\":{value}}}\n", json!(key));
        Program::default().run(&["import", "-D", by_program.arg()], &line).good();
    }
    for site in [by_library, by_program] {
        let ledger = site.open();
        assert_eq!(ledger.note("m").unwrap().unwrap().version, 2);
        assert_eq!(ledger.note(&long).unwrap().unwrap().value, json!(1));
        ledger.close().unwrap();
        site.goes_on();
    }
}

#[test]
fn a_value_that_is_no_json_is_refused() {
    let site = site();
    for text in ["", "{", "nul", "[1,]", "1 2", "1e999", "\"\\ud800\"", "\u{a0}1"] {
        let error = site.refuses(|ledger| ledger.append_note("n", Event::noted_text(text)));
        assert!(matches!(error, Error::Limit { what: "value", .. }), "{text:?}: {error:?}");
    }
    site.goes_on();
}

#[test]
fn an_idempotency_key_of_a_note_is_used_for_one_request() {
    let site = site();
    let events: [fn() -> Event; 3] =
        [|| Event::noted(2).key("one"), || Event::removed().key("one"), || Event::noted(1).by("x").key("one")];
    for event in events {
        let error = site.refuses(|ledger| ledger.append_note("n", event()));
        assert_eq!(error.to_string(), "note n: the key \"one\" was used for something else at seq 1");
    }
    let mut twice = Batch::new();
    twice.push_note("m", Event::noted(1).key("k"), Expect::Any).push_note("m", Event::noted(2).key("k"), Expect::Any);
    let error = site.refuses(|ledger| ledger.commit(twice));
    assert_eq!(error.to_string(), "note m: key \"k\" is used twice in the batch");
    // The task with the key of the note has used no key.
    let ledger = site.open();
    assert!(!ledger.append("n", Event::created().key("one")).unwrap().replayed());
    assert!(ledger.append_note("n", Event::noted(1).key("one")).unwrap().replayed());
    ledger.close().unwrap();
    site.goes_on();
}

#[test]
fn a_line_is_about_one_note_or_one_task_and_has_what_that_has() {
    let site = site();
    let table: [(Value, &str, &str); 12] = [
        (json!({"note": "n", "task": "n", "event": "removed"}), "LINE", "field \"note\": is there beside a task"),
        (json!({"event": "noted", "value": 1}), "LINE", "field \"task\": is missing"),
        (json!({"note": "n", "event": "noted"}), "LINE", "field \"value\": is missing, and noted needs it"),
        (
            json!({"note": "n", "event": "removed", "value": 1}),
            "LINE",
            "field \"value\": is there, and removed has none",
        ),
        (
            json!({"task": "t", "event": "created", "value": 1}),
            "LINE",
            "field \"value\": is there, and created has none",
        ),
        (json!({"note": "n", "event": "noted", "value": 1, "to": "ready"}), "LINE", "field \"to\": is there"),
        (json!({"note": "n", "event": "noted", "value": 1, "from": "ready"}), "LINE", "field \"from\": is there"),
        (json!({"note": "n", "event": "noted", "value": 1, "version": 3}), "LINE", "the last version of note n is 1"),
        (
            json!({"note": "n", "event": "noted", "value": 1, "version": 2, "output": 2}),
            "ILLEGAL",
            "none of the fields of a task",
        ),
        (json!({"note": "n", "event": "created", "version": 2}), "ILLEGAL", "a note can only be noted and removed"),
        (json!({"task": "t", "event": "noted", "value": 1}), "ILLEGAL", "only a note can be noted"),
        (
            json!({"note": "n", "event": "noted", "value": 2, "version": 1}),
            "CONTRADICTION",
            "note n: version 1 is there",
        ),
    ];
    for (line, code, message) in table {
        let error = site.refuses_line(code, &line);
        says(error["message"].as_str().unwrap(), &[message]);
    }
    site.goes_on();
}
