//! Batches with one bad item: nothing of them is there, wherever it stands.

use serde_json::{Value, json};
use taskledger::{Batch, Error, Event, Expect, Ledger, Seq, TaskState};

use super::files::Files;
use super::program::{Program, says};
use super::site::Site;

fn site() -> Site {
    Site::new(|ledger| {
        ledger.append("a", Event::created()).unwrap();
        ledger.append("a", Event::updated().key("used")).unwrap();
    })
}

/// Bad items, with the code of each.
fn bad() -> [(&'static str, Event, Expect); 7] {
    [
        ("ILLEGAL", Event::to(TaskState::Completed), Expect::Any),
        ("ILLEGAL", Event::updated().cause(Seq(99)), Expect::Any),
        ("CONFLICT", Event::updated(), Expect::Version(1)),
        ("KEY", Event::updated().key("used").by("me"), Expect::Any),
        ("LIMIT", Event::updated().by(""), Expect::Any),
        ("LIMIT", Event::updated().output_text("{"), Expect::Any),
        ("TIME", Event::updated().at(u64::MAX), Expect::Any),
    ]
}

#[test]
fn nothing_of_a_batch_is_there_wherever_its_bad_item_stands() {
    let site = site();
    for place in [0, 3, 6] {
        for (code, event, expect) in bad() {
            let mut batch = Batch::new();
            for n in 0..7 {
                if n == place {
                    batch.push("a", event.clone(), expect.clone());
                } else {
                    batch.push(format!("good {n}"), Event::created().key("fresh"), Expect::Absent);
                }
            }
            let error = site.refuses(|ledger| ledger.commit(batch));
            assert_eq!(error.code(), code, "{error}");
            says(&error.to_string(), &["a: "]);
            let reader = Ledger::open_read_only(&site.dir).unwrap();
            for n in 0..7 {
                assert!(reader.view().get(&format!("good {n}")).unwrap().is_none(), "good {n} of place {place}");
            }
        }
    }
    // The good ones alone are taken, and no key of theirs is known from before.
    let ledger = site.open();
    for n in 0..7 {
        let receipt = ledger.append(format!("good {n}"), Event::created().key("fresh")).unwrap();
        assert!(!receipt.replayed());
    }
    drop(ledger);
    site.goes_on();
}

#[test]
fn a_batch_without_an_event_is_refused() {
    let site = site();
    let mut only_looks = Batch::new();
    only_looks.check("a", Expect::Exists);
    for batch in [Batch::new(), only_looks] {
        let error = site.refuses(|ledger| ledger.commit(batch));
        let Error::Limit { subject, what, problem } = &error else { panic!("{error:?}") };
        assert_eq!((subject, *what, problem.as_str()), (&None, "batch", "has no event"));
        assert_eq!((error.code(), error.to_string().as_str()), ("LIMIT", "batch has no event"));
    }
    site.goes_on();
}

#[test]
fn of_an_import_exactly_the_lines_before_the_bad_one_are_there() {
    let good = |n: usize| json!({"task": format!("good {n}"), "event": "created"});
    let bad = json!({"task": "a", "event": "transitioned", "to": "completed", "version": 3});
    for place in [0, 3, 6] {
        for batch in ["1", "4", "7", "1000"] {
            let site = site();
            let before = Files::log(&site.dir);
            let lines: Vec<Value> = (0..7).map(|n| if n == place { bad.clone() } else { good(n) }).collect();
            let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let args = ["import", "--batch", batch, "-D", site.arg()];
            let error = Program::default().refused(&args, &input, 13, "ILLEGAL");
            let told = (&error["line"], &error["task"], &error["from"], &error["to"]);
            assert_eq!(told, (&json!(place + 1), &json!("a"), &json!("pending"), &json!("completed")), "{error}");
            let are_in = if place == 0 { "; no line is in".to_owned() } else { format!("; lines 1 to {place} are in") };
            assert!(error["message"].as_str().unwrap().ends_with(&are_in), "{error}");
            says(error["hint"].as_str().unwrap(), &[&format!("correct line {} and import", place + 1)]);

            let after = Files::log(&site.dir);
            if place == 0 {
                before.assert_same(&after, "bad first line")
            } else {
                before.assert_kept(&after, "bad line")
            }
            let reader = Ledger::open_read_only(&site.dir).unwrap();
            let added: Vec<_> = reader.view().entries(Seq(3)).map(|entry| entry.unwrap().task.unwrap()).collect();
            assert_eq!(added, (0..place).map(|n| format!("good {n}")).collect::<Vec<_>>(), "batches of {batch}");
            site.goes_on();
        }
    }
}
