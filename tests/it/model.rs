//! Random histories against the reference model, and the lifecycle against dag-executor's.
//!
//! `TASKLEDGER_SEED` and `TASKLEDGER_CASES` choose other histories and more of them; a failure prints its seed.

mod answers;
pub mod cut;
mod ending;
pub mod ops;
mod pair;
mod prune;
pub mod tally;
mod walk;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dag_executor::prelude as theirs;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::json;
use taskledger::vfs::fault::MemVfs;
use taskledger::{Durability, Event, Maintenance, Options, TaskRecord, TaskState};

use crate::reference::moves_from;
use crate::support::{ClockVfs, number, say};
use ops::{Ending, op};
use pair::{Pair, Place, START_MS};
use tally::Tally;

const SEED: u64 = 0x7a5c_1ed6;
const BUFFERED: Durability = Durability::Buffered { sync_every: Duration::from_secs(1) };

/// What must come up in every run of many histories in memory, so that none of it goes untested.
const OFTEN: [&str; 20] = [
    "appended",
    "replayed",
    "recovered",
    "CONFLICT",
    "ILLEGAL",
    "KEY",
    "TIME",
    "cuts with something that must stay",
    "cuts that lost what had a place",
    "page tokens used in a list with other tasks",
    "lists walked through to the end",
    "metadata found",
    "metadata not found",
    "two metadata found",
    "all metadata is not any",
    "listed since some update",
    "no update since then",
    "refreshes that show more",
    "looked while something was placed",
    "compared after an operation",
];
const SELDOM: [&str; 6] = [
    "bytes left out",
    "prunes",
    "forced prunes",
    "blocked prunes",
    "asked for what was pruned",
    "refreshes after a prune",
];

/// Runs random histories, and so many shorter ones to explain a failure; panics with the seed and the smallest history
/// that fails. Each of these things must have come up so often.
fn histories(
    name: &str,
    cases: u32,
    ops: Range<usize>,
    durability: Durability,
    place: impl Fn() -> Place,
    demanded: &[(&[&str], u64)],
) {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let wanted = number("TASKLEDGER_CASES").map_or(cases, |cases| u32::try_from(cases).expect("few enough"));
    let config = Config {
        cases: wanted,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: if ops.end > 100 { 50 } else { 1_000 },
        ..Config::default()
    };
    let tally = Tally::default();
    // One in eight is compared after each operation.
    let history = (vec(op(), ops), prop::bool::weighted(0.125));
    let tested = TestRunner::new(config).run(&history, |(ops, thorough)| {
        let mut pair = Pair::new(place(), durability, thorough, &tally);
        for op in ops {
            pair.run(op);
        }
        pair.finish_walks();
        pair.look(pair.model.head() * 2 / 3, pair.now / 7, 2);
        pair.reopen(Ending::Close);
        tally.count("histories");
        Ok(())
    });
    tested.unwrap_or_else(|failed| panic!("TASKLEDGER_SEED={seed}: {failed}"));
    say(&format!("model: {name}: {}", tally.told()));
    for (classes, times) in demanded {
        for class in *classes {
            // Fewer histories than usual need not come to everything.
            assert!(tally.of(class) >= *times || wanted < cases, "{class:?} is rare: {}", tally.told());
        }
    }
}

fn memory() -> Place {
    Place::Memory(MemVfs::new())
}

#[test]
fn random_histories_come_to_what_the_model_says() {
    let also = ["cuts that kept what nobody was told"];
    let demanded: [(&[&str], u64); 3] = [(&OFTEN, 50), (&SELDOM, 5), (&also, 25)];
    histories("synced", 500, 1..60, Durability::Sync, memory, &demanded);
}

#[test]
fn random_histories_of_buffered_appends_come_to_what_the_model_says() {
    let also = ["cuts that lost what was told", "readers beside what is not durable"];
    let demanded: [(&[&str], u64); 3] = [(&OFTEN, 20), (&SELDOM, 3), (&also, 25)];
    histories("buffered", 250, 1..60, BUFFERED, memory, &demanded);
}

#[test]
fn long_histories_come_to_what_the_model_says() {
    histories("long", 16, 250..300, Durability::Sync, memory, &[(&OFTEN, 10), (&SELDOM, 1)]);
}

#[test]
fn random_histories_on_a_real_file_system_come_to_what_the_model_says() {
    let place = || Place::Real(tempfile::tempdir().expect("a temporary directory"));
    let demanded: [(&[&str], u64); 1] = [(&["appended", "refreshes that show more", "page tokens used late"], 3)];
    histories("real", 6, 30..60, Durability::Sync, place, &demanded);
}

fn their_state(state: TaskState) -> theirs::TaskState {
    serde_json::from_value(json!(state)).expect("the same names")
}

#[test]
fn the_nine_states_and_their_moves_are_those_of_dag_executor() {
    for from in TaskState::ALL {
        let theirs = their_state(from);
        assert_eq!(json!(theirs), json!(from));
        assert_eq!(theirs.to_string(), from.to_string());
        assert_eq!(theirs.is_terminal(), from.is_terminal(), "{from} is terminal");
        assert_eq!(theirs.is_success(), from.is_success(), "{from} is a success");
        assert_eq!(theirs.is_failure(), from.is_failure(), "{from} is a failure");
        for to in TaskState::ALL {
            let allowed = from.can_move_to(to);
            assert_eq!(theirs.can_transition_to(their_state(to)), allowed, "{from} to {to}");
            assert_eq!(from == to || moves_from(from).contains(&to), allowed, "{from} to {to} in the model");
        }
    }
}

#[test]
fn the_ledger_allows_the_moves_of_the_table_and_no_move_within_an_end() {
    let ledger = Options::new().vfs(Arc::new(MemVfs::new())).maintenance(Maintenance::Manual);
    let ledger = ledger.open("/moves").expect("a new ledger");
    for from in TaskState::ALL {
        for to in TaskState::ALL {
            let task = format!("{from} to {to}");
            ledger.append(&task, Event::observed(from)).expect("anything may be observed");
            let allowed = their_state(from).can_transition_to(their_state(to)) && !(from == to && from.is_terminal());
            match ledger.append(&task, Event::to(to)) {
                Ok(_) => assert!(allowed, "{task} went through"),
                Err(refused) => {
                    assert!(!allowed, "{task} was refused");
                    assert_eq!(refused.code(), "ILLEGAL");
                }
            }
            ledger.append(&task, Event::observed(to)).expect("anything may be observed");
            assert_eq!(ledger.get(&task).unwrap().unwrap().record.state, to);
        }
    }
}

#[test]
fn a_random_walk_leaves_the_same_record_as_in_dag_executor() {
    let config = Config { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..Config::default() };
    let vfs = ClockVfs::new(MemVfs::new(), START_MS);
    let options = Options::new().maintenance(Maintenance::Manual).vfs(Arc::clone(&vfs) as _);
    let ledger = options.open(Path::new("/walks")).expect("a new ledger");
    let walks = std::cell::Cell::new(0);
    let walked = TestRunner::new(config).run(&vec((any::<bool>(), 0..9_usize), 1..30), |steps| {
        walks.set(walks.get() + 1);
        let task = format!("walk {}", walks.get());
        ledger.append(&task, Event::created()).expect("it is new");
        let mut ours = TaskRecord::new(&task);
        let mut other = theirs::TaskRecord::new(&task);
        for (legal, choice) in steps {
            let moves = moves_from(ours.state);
            let to = if legal && !moves.is_empty() { moves[choice % moves.len()] } else { TaskState::ALL[choice] };
            let stays_at_an_end = ours.state == to && to.is_terminal();
            let moved = other.transition(their_state(to));
            let before = ours.clone();
            prop_assert_eq!(ours.transition(to), moved);
            if !moved {
                prop_assert_eq!(&ours, &before, "a refused move leaves it untouched");
            }
            prop_assert_eq!(ledger.append(&task, Event::to(to)).is_ok(), moved && !stays_at_an_end);
            let folded = ledger.get(&task).unwrap().unwrap().record;
            for record in [&ours, &folded] {
                prop_assert_eq!(their_state(record.state), other.state);
                prop_assert_eq!(record.started_at.is_some(), other.started_at.is_some());
                prop_assert_eq!(record.finished_at.is_some(), other.finished_at.is_some());
            }
        }
        Ok(())
    });
    walked.unwrap_or_else(|failed| panic!("seed {SEED}: {failed}"));
}

#[test]
fn a_new_record_is_the_one_of_dag_executor_but_for_the_moment() {
    let ours = TaskRecord::new("a");
    let mut other = serde_json::to_value(theirs::TaskRecord::new("a")).unwrap();
    other["created_at"] = json!(ours.created_at);
    other["updated_at"] = json!(ours.updated_at);
    assert_eq!(serde_json::to_value(&ours).unwrap(), other);
    assert_eq!(ours.metadata, HashMap::new());
}
