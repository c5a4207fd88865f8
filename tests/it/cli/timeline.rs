//! What `timeline` says, against the same from the lines of `log`; and its picture.

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use serde_json::{Value, json};
use taskledger::{At, Event, Maintenance, Options, Prune, Seq, TaskState};

use crate::cli::terminal::{columns_of, screen_of};
use crate::cli::{Demo, lines, path, run, run_on};
use crate::support::number;

/// One attempt, or a wait: attempt, waits from, runs from, ended at, ended, lost.
type Span = (Option<u64>, Option<u64>, Option<u64>, Option<u64>, Option<String>, bool);

/// A move to a state: when, which, whether it was taken back, and attempts where they are counted.
type Step = (u64, String, bool, Option<u64>);

fn waits(state: &str) -> bool {
    ["pending", "ready", "retrying"].contains(&state)
}

/// By task, from the whole log: each change of state cuts, and what lies between two cuts is a wait, a run or nothing.
fn expected(log: &str) -> BTreeMap<String, Vec<Span>> {
    let mut steps: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        let Some(task) = entry["task"].as_str().map(str::to_owned) else { continue };
        let steps = steps.entry(task).or_default();
        let when = entry["said"].as_u64().or(entry["at"].as_u64()).expect("a time");
        let state = match entry["event"].as_str().unwrap() {
            "created" => "pending".to_owned(),
            "removed" => "removed".to_owned(),
            _ => match entry["to"].as_str() {
                Some(state) => state.to_owned(),
                None => continue,
            },
        };
        let when = steps.last().map_or(when, |(last, ..)| when.max(*last));
        steps.push((when, state, entry["event"] == "requeued", entry["attempts"].as_u64()));
    }
    let mut all = BTreeMap::new();
    for (task, steps) in steps {
        let mut spans: Vec<Span> = Vec::new();
        // What goes on: since when, and whether it runs.
        let mut open: Option<Span> = None;
        let mut attempts = 0;
        for (when, state, requeued, counted) in steps {
            attempts = counted.unwrap_or(if state == "pending" && open.is_none() && !requeued { 0 } else { attempts });
            let runs = state == "running";
            match &mut open {
                Some(span) if span.2.is_none() && runs => (span.0, span.2) = (Some(attempts), Some(when)),
                Some(span) if span.2.is_some() == runs && (runs || waits(&state)) => {}
                _ => {
                    if let Some(span) = open.take() {
                        let lost = span.2.is_some() && (requeued || ["failed", "retrying"].contains(&state.as_str()));
                        let ended = (state != "removed").then(|| state.clone());
                        spans.push((span.0, span.1, span.2, Some(when), ended, lost));
                    }
                    if runs {
                        open = Some((Some(attempts), None, Some(when), None, None, false));
                    } else if waits(&state) {
                        open = Some((None, Some(when), None, None, None, false));
                    }
                }
            }
        }
        spans.extend(open);
        all.insert(task, spans);
    }
    all
}

fn span(bar: &Value) -> Span {
    let number = |name: &str| bar[name].as_u64();
    let ended = bar["ended"].as_str().map(str::to_owned);
    (number("attempt"), number("waits_from"), number("runs_from"), number("ended_at"), ended, bar["lost"] == true)
}

/// What is told by task, and the line of the whole.
fn told(args: &[&str]) -> (BTreeMap<String, Vec<Span>>, Value) {
    let mut objects = run(&[&["timeline", "--json"], args].concat()).good_json();
    let whole = objects.pop().expect("the whole comes last");
    assert_eq!((&whole["type"], whole["bars"].as_u64()), (&json!("taskledger.timeline/1"), Some(objects.len() as u64)));
    let mut all: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for bar in &objects {
        all.entry(bar["task"].as_str().unwrap().to_owned()).or_default().push(span(bar));
    }
    assert_eq!(whole["tasks"].as_u64(), Some(all.len() as u64));
    (all, whole)
}

/// The ids of the tasks that are there.
fn there(dir: &str) -> BTreeSet<String> {
    let tasks = run(&["ls", "--json", "-D", dir]).good_json();
    tasks.iter().filter_map(|task| task["id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_bars_of_the_demo_are_what_its_entries_say() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let (all, whole) = told(&["-D", dir]);
    assert_eq!(all, expected(&demo.log()));
    assert_eq!((&whole["from"], &whole["left_out"]), (&json!(1_772_330_400_000_u64), &json!(0)));
    let lost = all.values().flatten().filter(|span| span.5).count();
    assert!(lost > 4 && all["extract/ad-spend"].iter().filter_map(|span| span.0).eq([1, 2, 3]), "{all:?}");
}

#[test]
fn the_bars_of_any_history_are_what_its_entries_say() {
    let home = tempfile::tempdir().unwrap();
    let step = (0..4_u8, 0..14_usize, 0..2000_u64);
    let ledgers = std::cell::RefCell::new(0);
    let (cases, rng_seed) =
        (number("TASKLEDGER_CASES").unwrap_or(20) as u32, RngSeed::Fixed(number("TASKLEDGER_SEED").unwrap_or(8)));
    let config = Config { cases, rng_seed, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&proptest::collection::vec(step, 1..120), |steps| {
        *ledgers.borrow_mut() += 1;
        let dir = &path(home.path().join(ledgers.borrow().to_string()));
        let ledger = Options::new().maintenance(Maintenance::Manual).open(dir).unwrap();
        let mut clock = 1_700_000_000_000;
        for (task, event, later) in steps {
            // Times step back now and then.
            clock += later;
            let when = clock - if later % 7 == 0 { 3000 } else { 0 };
            let event = match event {
                0..2 => Event::created(),
                2 => Event::removed(),
                3 => Event::requeued(TaskState::Ready),
                4 => Event::updated().error("x"),
                n => Event::observed(TaskState::ALL[n - 5]),
            };
            // What is refused leaves no entry.
            let _ = ledger.append(format!("t{task}"), event.at(when));
        }
        ledger.close().unwrap();
        let mut right = expected(&run(&["log", "--json", "-D", dir]).good());
        let there = there(dir);
        right.retain(|task, spans| there.contains(task) && !spans.is_empty());
        prop_assert_eq!(&told(&["-D", dir]).0, &right);
        // From a moment on: what had not ended by then.
        let middle = (clock + 1_700_000_000_000) / 2;
        for spans in right.values_mut() {
            spans.retain(|span| span.3.is_none_or(|end| end >= middle));
        }
        let since = format!("@{}.{:03}", middle / 1000, middle % 1000);
        let told = told(&["--since", &since, "-D", dir]).0;
        for (task, spans) in &told {
            prop_assert_eq!(spans, &right[task]);
        }
        // Nothing runs, ends or begins to run in the window that is not told.
        for (task, spans) in &right {
            let moves = spans.iter().any(|span| span.2.is_some());
            prop_assert!(!moves || told.contains_key(task), "{}: {:?}", task, spans);
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn filters_hold_and_the_last_that_began_are_shown() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let (trained, _) = told(&["--task", "train/*", "-D", dir]);
    let right = expected(&demo.log()).into_iter().filter(|(task, _)| task.starts_with("train/"));
    assert_eq!(trained, right.collect());
    let (failed, _) = told(&["--state", "failed", "-D", dir]);
    let listed = run(&["ls", "--state", "failed", "--json", "-D", dir]).good_json();
    assert!(failed.keys().eq(listed.iter().filter_map(|task| task["id"].as_str())), "{failed:?}");
    let (all, whole) = told(&["-D", dir]);
    let (few, some) = told(&["--limit", "3", "-D", dir]);
    assert_eq!(some["left_out"].as_u64().unwrap() + 3, whole["tasks"].as_u64().unwrap());
    let began = |spans: &Vec<Span>| spans.iter().filter_map(|span| span.2).max();
    let least = few.values().map(began).min().unwrap();
    assert_eq!(all.values().filter(|spans| began(spans) >= least).count(), 3, "{few:?}");
    // Within the window only what went on in it.
    let (late, whole) = told(&["--since", "2026-03-01T02:50:00Z", "--at", "2026-03-01T02:55:00Z", "-D", dir]);
    assert!(!late.is_empty() && late.len() < all.len(), "{late:?}");
    assert_eq!(whole["from"], json!(1_772_333_400_000_u64));
    for (args, code) in [
        (vec!["--at", "seq:999"], 3),
        (vec!["--since", "seq:999"], 3),
        (vec!["--width", "59"], 2),
        (vec!["--limit", "0"], 2),
    ] {
        assert_eq!(run(&[vec!["timeline", "-D", dir], args].concat()).code, Some(code));
    }
    assert_eq!(run(&["timeline", "-D", &demo.other()]).code, Some(10));
    let nothing = run(&["timeline", "--at", "seq:0", "-D", dir]).good();
    assert!(nothing.starts_with("nothing waited or ran"), "{nothing}");
}

#[test]
fn a_picture_fits_and_what_acts_is_escaped() {
    let demo = Demo::new();
    let (dir, other) = (&demo.dir(), &demo.other());
    for columns in [60, 80, 200] {
        let Some(screen) = screen_of(&["timeline", "-D", dir], columns) else { return };
        let widest = screen.lines().map(columns_of).max().unwrap();
        assert!(widest <= usize::from(columns) && widest + 20 > usize::from(columns), "{widest}\n{screen}");
    }
    let piped = run(&["timeline", "-D", dir]).good();
    assert!(piped.lines().all(|line| columns_of(line) <= 100), "{piped}");
    let ascii = run(&["timeline", "--ascii", "--width", "80", "-D", dir]).good();
    assert!(ascii.is_ascii() && ascii.contains("extract/payments    #x####   "), "{ascii}");
    let acts = json!({"task": "a\u{1b}[2Jb", "event": "created"});
    run_on(&lines(&[acts]), &["import", "-D", other]).good();
    let shown = run(&["timeline", "-D", other]).good();
    assert!(shown.contains(r"a\u{1b}[2Jb") && !shown.contains('\u{1b}'), "{shown}");
}

/// What was pruned is not there to be drawn, and a task that ran all the time is.
#[test]
fn on_a_pruned_ledger_what_still_runs_is_drawn() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(dir).unwrap();
    ledger.append("long", Event::observed(TaskState::Running).attempts(3)).unwrap();
    let began = ledger.get("long").unwrap().unwrap().record.started_at.unwrap();
    for n in 0..60 {
        let event = Event::observed(TaskState::Completed).error("x".repeat(1000));
        ledger.append(format!("t{}", n % 20), event).unwrap();
    }
    let pruning = ledger.prune(&Prune::before(At::Seq(Seq(40))).forced()).unwrap();
    assert!(pruning.oldest > Seq::FIRST, "{pruning:?}");
    ledger.close().unwrap();
    let (all, _) = told(&["-D", dir]);
    assert_eq!(all, BTreeMap::from([("long".to_owned(), vec![(Some(3), None, Some(began), None, None, false)])]));
    assert!(run(&["timeline", "--ascii", "-D", dir]).good().contains("long  ####"), "a dark bar");
    assert_eq!(run(&["timeline", "--since", "seq:1", "-D", dir]).code, Some(3));
}
