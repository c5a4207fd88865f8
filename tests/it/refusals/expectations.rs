//! Expectations that do not hold: what was expected, what was found, and who moved it there when.

use serde_json::json;
use taskledger::vfs::real::RealVfs;
use taskledger::{Batch, Error, Event, Expect, Seq, TaskState};

use super::program::says;
use super::site::Site;
use crate::support::ClockVfs;

const NOON: u64 = 1_772_366_400_000;

/// Three tasks: one runs, one was removed, and one never was. They were moved at noon, and a second and two later.
fn site() -> Site {
    let clock = ClockVfs::new(RealVfs, NOON);
    Site::on(clock.clone(), |ledger| {
        ledger.append("removed", Event::created()).unwrap();
        ledger.append("runs", Event::created()).unwrap();
        ledger.append("runs", Event::to(TaskState::Ready)).unwrap();
        clock.set(NOON + 1000);
        ledger.append("runs", Event::to(TaskState::Running).by("worker-7")).unwrap();
        clock.set(NOON + 2000);
        ledger.append("removed", Event::removed()).unwrap();
    })
}

/// What is found of a task: in words, version, state, seq, actor and time.
type Found = (&'static str, u64, Option<TaskState>, u64, Option<&'static str>, u64);

const RUNS: Found = ("running at version 3, attempt 1", 3, Some(TaskState::Running), 4, Some("worker-7"), NOON + 1000);
const REMOVED: Found = ("no record (removed at version 2)", 2, None, 5, None, NOON + 2000);
const NEVER: Found = ("no record, and there never was one", 0, None, 0, None, 0);

#[test]
fn each_expectation_that_does_not_hold_says_what_was_found_and_who_moved_it_there() {
    let site = site();
    let states = Expect::state_in(&[TaskState::Pending, TaskState::Ready]);
    let table = [
        ("runs", Expect::Absent, "no record", RUNS),
        ("runs", Expect::Version(2), "version 2", RUNS),
        ("runs", Expect::Version(0), "version 0", RUNS),
        ("runs", states.clone(), "state pending or ready", RUNS),
        ("runs", Expect::state_in(&[]), "state ", RUNS),
        ("runs", Expect::Attempt(2), "attempt 2", RUNS),
        ("removed", Expect::Exists, "a record", REMOVED),
        ("removed", Expect::Version(1), "version 1", REMOVED),
        ("removed", states.clone(), "state pending or ready", REMOVED),
        ("removed", Expect::Attempt(0), "attempt 0", REMOVED),
        ("never", Expect::Exists, "a record", NEVER),
        ("never", Expect::Version(1), "version 1", NEVER),
        ("never", states, "state pending or ready", NEVER),
        ("never", Expect::Attempt(0), "attempt 0", NEVER),
    ];
    for (task, expect, words, found) in table {
        // As the condition of an event, and as a look at a task that is not written.
        for looks in [false, true] {
            let mut batch = Batch::new();
            if looks {
                batch.push("other", Event::created(), Expect::Any).check(task, expect.clone());
            } else {
                batch.push(task, Event::observed(TaskState::Ready), expect.clone());
            }
            let error = site.refuses(|ledger| ledger.commit(batch));
            assert_eq!(error.code(), "CONFLICT");
            let moved = match (found.3, found.4) {
                (0, _) => String::new(),
                (seq, Some(actor)) => format!(" (moved there at seq {seq} by {actor}, time {})", found.5),
                (seq, None) => format!(" (moved there at seq {seq}, time {})", found.5),
            };
            assert_eq!(error.to_string(), format!("{task}: expected {words}, found {}{moved}", found.0));
            let Error::Conflict { subject, expected, found: told, version, state, seq, actor, at } = error else {
                panic!("no conflict")
            };
            assert_eq!((subject.task(), *expected), (Some(task), expect.clone()));
            let told = (told.as_str(), version, state, seq.0, actor.as_deref(), at);
            assert_eq!(told, found, "{task} {expect}");
        }
    }
    site.goes_on();
}

#[test]
fn an_expectation_meets_what_the_items_before_it_have_made() {
    let site = site();
    let mut batch = Batch::new();
    batch.push("new", Event::created().by("me"), Expect::Absent);
    batch.push("new", Event::to(TaskState::Ready), Expect::Absent);
    let error = site.refuses(|ledger| ledger.commit(batch));
    let Error::Conflict { version, state, seq, actor, .. } = error else { panic!("{error:?}") };
    assert_eq!((version, state, seq, actor.as_deref()), (1, Some(TaskState::Pending), Seq(6), Some("me")));
    site.goes_on();
}

#[test]
fn the_state_before_that_a_line_names_is_an_expectation() {
    let site = site();
    let table = [
        ("runs", 4, "running at version 3, attempt 1", 4, " (moved there at seq 4 by worker-7, time 1772366401000)"),
        ("removed", 3, "no record (removed at version 2)", 5, " (moved there at seq 5, time 1772366402000)"),
        ("never", 1, "no record, and there never was one", 0, ""),
    ];
    for (task, version, found, seq, moved) in table {
        let line = json!({"task": task, "event": "observed", "to": "failed", "from": "ready", "version": version});
        let error = site.refuses_line("CONFLICT", &line);
        let told = (&error["task"], &error["expected"], &error["found"], &error["seq"]);
        assert_eq!(told, (&json!(task), &json!("state ready"), &json!(found), &json!(seq)), "{error}");
        says(error["message"].as_str().unwrap(), &[&format!("{task}: expected state ready, found {found}{moved};")]);
    }
    site.goes_on();
}
