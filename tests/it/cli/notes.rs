//! `notes` and `note`, and notes in what the other commands print and take.

use serde_json::{Value, json};
use taskledger::{Batch, Event, Expect, Ledger};
use tempfile::TempDir;

use crate::cli::{path, run, run_on};

const AT: u64 = 1_772_366_400_000;

/// A task and notes, one of them under its id, and one that was removed.
fn kept() -> (TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    let ledger = Ledger::open(&dir).unwrap();
    ledger.append("a", Event::created().at(AT)).unwrap();
    ledger.append_note("a", Event::noted(json!({"tries": 3, "why": "✓"})).by("me").because("no try is left")).unwrap();
    ledger.append_note("dlq:2", Event::noted(Value::Null).key("k")).unwrap();
    ledger.append_note("dlq:1", Event::noted_text("{\"n\": 12345678901234567890123, \"x\": 1.0}")).unwrap();
    ledger.append_note("dlq:1", Event::removed().by("me")).unwrap();
    ledger.append_note("dlq:1", Event::noted_text(&format!("{}{}", "[".repeat(126), "]".repeat(126)))).unwrap();
    let mut batch = Batch::new();
    batch.push_note("gone", Event::noted("\u{1b}[31mred"), Expect::Absent);
    batch.push_note("gone", Event::removed(), Expect::Exists);
    ledger.commit(batch).unwrap();
    ledger.close().unwrap();
    (home, dir)
}

#[test]
fn notes_are_listed_and_shown_in_both_forms() {
    let (_home, dir) = &kept();
    let text = run(&["notes", "-D", dir]).good();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], r#"a      {"tries":3,"why":"✓"}"#);
    assert!(lines[1].starts_with("dlq:1  [[[[") && lines[2] == "dlq:2  null", "{text}");
    assert!(lines.len() == 4 && lines[3].starts_with("3 of 3 notes, as of seq 8 "), "{text}");
    let text = run(&["notes", "--prefix", "dlq:", "-D", dir, "--at", "seq:4"]).good();
    assert!(text.contains("dlq:1  {\"n\":1.2345678901234568e+22,\"x\":1.0}\n"), "{text}");
    assert!(text.contains("\n2 of 3 notes, as of seq 4 "), "{text}");
    let keys = |args: &[&str]| -> Vec<Value> {
        run(&[&["notes", "--json", "-D", dir], args].concat())
            .good_json()
            .into_iter()
            .map(|n| n["note"].clone())
            .collect()
    };
    assert_eq!(keys(&[]), ["a", "dlq:1", "dlq:2"]);
    assert_eq!(keys(&["--prefix", "dlq:"]), ["dlq:1", "dlq:2"]);
    assert_eq!(keys(&["--prefix", "b"]), [""; 0]);
    assert_eq!(keys(&["--at", "seq:5"]), ["a", "dlq:2"]);

    let note = &run(&["note", "dlq:2", "--json", "-D", dir]).good_json()[0];
    let expected = json!({"type": "taskledger.note/1", "note": "dlq:2", "value": null, "version": 1, "seq": 3});
    assert_eq!((&note["at"].is_u64(), without(note, "at")), (&true, expected));
    let text = run(&["note", "a", "-D", dir]).good();
    assert!(text.starts_with("a\n  version   1, last at seq 2 (") && text.contains("\"tries\": 3"), "{text}");

    let text = run(&["note", "gone", "--history", "-D", dir]).good();
    assert!(text.contains("noted") && text.contains("\"\\u001b[31mred\"") && text.contains("removed"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let seqs = run(&["note", "dlq:1", "--history", "--json", "-D", dir]).good_json();
    assert_eq!(seqs.iter().map(|entry| &entry["seq"]).collect::<Vec<_>>(), [4, 5, 6]);
    assert!(seqs.iter().all(|entry| entry["note"] == "dlq:1" && entry.get("task").is_none()));
    for args in [["note", "gone"], ["note", "never"]] {
        let ran = run(&[&args[..], &["--json", "-D", dir]].concat());
        let error = ran.error();
        assert_eq!((ran.code, &error["code"], &error["note"]), (Some(3), &json!("NOT_FOUND"), &json!(args[1])));
    }
    assert_eq!(run(&["note", "never", "--history", "--json", "-D", dir]).code, Some(3));
}

fn without(object: &Value, field: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().expect("an object").remove(field);
    object
}

#[test]
fn notes_are_not_among_tasks_and_are_in_the_log() {
    let (_home, dir) = &kept();
    let listed = run(&["ls", "--json", "-D", dir]).good_json();
    assert_eq!((listed.len(), &listed[0]["id"], &listed[1]["total"]), (2, &json!("a"), &json!(1)));
    assert_eq!(run(&["history", "a", "--json", "-D", dir]).good_json().len(), 1);
    assert_eq!(run(&["show", "dlq:1", "--json", "-D", dir]).code, Some(3));
    assert_eq!(run(&["history", "dlq:1", "--json", "-D", dir]).code, Some(3));
    let info = &run(&["info", "--json", "-D", dir]).good_json()[0];
    assert_eq!((&info["total"], &info["notes"]), (&json!(1), &json!(3)));
    assert!(run(&["info", "-D", dir]).good().contains("\n  notes     3\n"));
    let log = run(&["log", "-D", dir]).good();
    assert!(log.contains("  note dlq:2  noted") && log.contains("value null"), "{log}");
    assert!(log.contains("by me  because no try is left") && log.contains("note dlq:1  removed"), "{log}");
    assert_eq!(run(&["verify", "--json", "-D", dir]).good_json()[0]["verdict"], "sound");
}

#[test]
fn notes_go_back_in_and_come_out_equal() {
    let (home, dir) = &kept();
    let other = &path(home.path().join("other"));
    // The deepest that is allowed: its line is one level deeper.
    let deepest = Event::noted_text(&format!("{}{}", "[".repeat(127), "]".repeat(127)));
    Ledger::open(dir).unwrap().append_note("deepest", deepest).unwrap();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert!(log.contains("12345678901234567890123") && log.contains(r#""value":null"#), "{log}");
    for batch in ["1", "3"] {
        let begun: String = log.split_inclusive('\n').take(5).collect();
        run_on(&begun, &["import", "--batch", batch, "-D", other]).good();
        run_on(&log, &["import", "--batch", batch, "-D", other]).good();
        assert_eq!(run(&["log", "--json", "-D", other]).good(), log);
    }
    // In another order, too, all of it is there.
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_by_key(|line| line.contains(r#""note":"a""#));
    let last = run_on(&lines.join("\n"), &["import", "--json", "-D", other]).good_json();
    assert_eq!((&last[0]["appended"], &last[0]["skipped"]), (&json!(0), &json!(9)));
    assert_eq!(run(&["notes", "--json", "-D", other]).good(), run(&["notes", "--json", "-D", dir]).good());
}
