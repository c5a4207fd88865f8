//! Idempotency keys that were used for something else.

use serde_json::json;
use taskledger::{Batch, Error, Event, Expect, Receipt, Result, Seq, TaskState};

use super::program::{Program, says};
use super::site::{Site, task_of};

/// Task a: created under "one", seq 1. Then a batch: a and b under "two", seq 2 and 3.
fn site() -> Site {
    Site::new(|ledger| {
        ledger.append("a", Event::created().key("one").meta("k", "v")).unwrap();
        let mut batch = Batch::new();
        batch.push("a", Event::to(TaskState::Ready).key("two"), Expect::Any);
        batch.push("b", Event::created().key("two"), Expect::Any);
        ledger.commit(batch).unwrap();
    })
}

fn assert_key(error: &Error, task: &str, key: &str, seq: u64) {
    let Error::Key { subject, key: used, seq: at } = error else { panic!("{error:?}") };
    assert_eq!((subject.task(), used.as_str(), *at, error.code()), (Some(task), key, Seq(seq), "KEY"));
    assert_eq!(error.to_string(), format!("{task}: the key {key:?} was used for something else at seq {seq}"));
}

fn commit(ledger: &taskledger::Ledger, items: &[(&str, Event)]) -> Result<Receipt> {
    let mut batch = Batch::new();
    for (task, event) in items {
        batch.push(*task, event.clone(), Expect::Any);
    }
    ledger.commit(batch)
}

#[test]
fn a_key_is_refused_for_other_content() {
    let site = site();
    for event in [
        Event::created().key("one"),
        Event::created().key("one").meta("k", "w"),
        Event::created().key("one").meta("k", "v").by("me"),
        Event::created().key("one").meta("k", "v").attempts(1),
        Event::updated().key("one"),
    ] {
        assert_key(&site.refuses(|ledger| ledger.append("a", event)), "a", "one", 1);
    }
    // The same content is no refusal, and writes nothing either.
    let before = super::files::Files::log(&site.dir);
    let receipt = site.open().append("a", Event::created().key("one").meta("k", "v")).unwrap();
    assert_eq!((receipt.replayed(), receipt.seq()), (true, Seq(1)));
    before.assert_same(&super::files::Files::log(&site.dir), "replayed");
    site.goes_on();
}

#[test]
fn a_batch_is_refused_where_its_keys_do_not_come_from_one_batch() {
    let site = site();
    let one = || ("a", Event::created().key("one").meta("k", "v"));
    let two = || ("a", Event::to(TaskState::Ready).key("two"));
    let other = || ("b", Event::created().key("two"));
    let new = || ("a", Event::updated().key("three"));
    let plain = || ("c", Event::created());
    type Items<'a> = &'a [(&'a str, Event)];
    let table: [(Items<'_>, &str, &str, u64); 6] = [
        (&[one(), two()], "a", "two", 2),
        (&[two(), other(), one()], "a", "one", 1),
        (&[two(), new()], "a", "three", 2),
        (&[new(), two()], "a", "two", 2),
        // As many keys as the batch before had, and another number of events.
        (&[two(), other(), plain()], "a", "two", 2),
        (&[two()], "a", "two", 2),
    ];
    for (items, task, key, seq) in table {
        assert_key(&site.refuses(|ledger| commit(ledger, items)), task, key, seq);
    }
    assert!(commit(&site.open(), &[two(), other()]).unwrap().replayed(), "all of it is");
    site.goes_on();
}

#[test]
fn a_task_has_a_key_once_in_a_batch() {
    let site = site();
    let event = || Event::updated().key("three");
    let error = site.refuses(|ledger| commit(ledger, &[("a", event()), ("b", event()), ("a", event())]));
    let Error::Limit { subject, what, .. } = &error else { panic!("{error:?}") };
    assert_eq!((task_of(subject), *what, error.code()), (Some("a"), "key", "LIMIT"));
    assert_eq!(error.to_string(), "a: key \"three\" is used twice in the batch");
    commit(&site.open(), &[("a", event()), ("b", event())]).expect("a key belongs to its task");
    site.goes_on();
}

#[test]
fn a_line_with_a_used_key_is_refused_whatever_its_content() {
    let site = site();
    let same = json!({"task": "a", "event": "created", "metadata": {"k": "v"}, "key": "one", "version": 3});
    let other = json!({"task": "a", "event": "updated", "key": "one", "version": 3});
    for line in [same, other] {
        let error = site.refuses_line("KEY", &line);
        assert_eq!((&error["task"], &error["seq"]), (&json!("a"), &json!(1)), "{error}");
        says(error["message"].as_str().unwrap(), &["a: ", "key", "at seq 1"]);
    }
    // Twice in one batch of lines: the first is in, the second is named.
    let line = |version: u64| format!("{}\n", json!({"task": "b", "event": "updated", "key": "x", "version": version}));
    let error = Program::default().refused(&["import", "-D", site.arg()], &(line(2) + &line(3)), 13, "KEY");
    assert_eq!((&error["line"], &error["task"], &error["seq"]), (&json!(2), &json!("b"), &json!(4)), "{error}");
    says(error["message"].as_str().unwrap(), &["line 2: b: ", "at seq 4", "; line 1 is in"]);
    site.goes_on();
}
