//! Crashes: at every operation of every script, every state that a power cut or a kill may leave is opened and judged.
//!
//! `TASKLEDGER_CRASH_SCALE=10 cargo test --test it crash -- --nocapture` looks at about ten times as many states and
//! prints the table; `TASKLEDGER_CRASH_TRACE=roll,vouch` runs only traces with such names, and
//! `TASKLEDGER_FAULT_SCRIPT` only such scripts of `faults`. A failure names the trace, the operation and what the power
//! cut left.

pub mod beside;
mod company;
mod derived;
mod failing;
pub mod faults;
pub mod journal;
mod lesson;
pub mod oracle;
pub mod pruned;
pub mod script;
pub mod search;
pub mod traces;

use std::panic::catch_unwind;

use taskledger::vfs::fault::Limits;

use oracle::message_of;
use script::Script;
use search::{Effort, Search, Tally, images, table};
use traces::Meant;

use crate::support::{in_parallel, wanted};

/// How many times as much as usual is looked at.
fn scale() -> u64 {
    std::env::var("TASKLEDGER_CRASH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// So many distinct images at least are judged in one run of all traces.
const IMAGES_MIN: usize = 1_000_000;

fn effort(scale: u64, name: &str) -> Effort {
    let fewer = |usual: u64| (usual / scale).max(1);
    // A table in the making is many sectors of a file that nobody looks at, and each recovery makes it again.
    if traces::makes_tables(name) {
        let limits = Limits { exhaustive: 5, pairs: 6, samples: 12 * scale as usize, tear: true, seed: 0 };
        return Effort { limits, nested_one_in: fewer(8), nest_one_in: fewer(600), third_one_in: fewer(4096) };
    }
    let limits = Limits { exhaustive: 14, pairs: 24, samples: 400 * scale as usize, tear: true, seed: 0 };
    Effort { limits, nested_one_in: fewer(2), nest_one_in: fewer(145), third_one_in: fewer(256) }
}

#[test]
fn every_state_after_a_crash_is_recovered() {
    let traces = traces::all().into_iter().filter(|(name, ..)| wanted("TASKLEDGER_CRASH_TRACE", name));
    let traces: Vec<_> = traces.collect();
    assert!(!traces.is_empty(), "TASKLEDGER_CRASH_TRACE names no trace");
    let tallies: Vec<(String, Tally)> = in_parallel(&traces, |(name, _, run)| {
        let played = catch_unwind(|| {
            let mut script = Script::new();
            run(&mut script);
            script.drop_ledger();
            script
        });
        let tally = match played {
            Ok(script) => {
                // Creation is the same in all of them, and looked at in its own traces.
                let from = if name.starts_with("creation") { 0 } else { script.journal.created_at() };
                let mut effort = effort(scale(), name);
                effort.limits.tear &= traces::is_torn(name);
                Search::run(name, effort, &script.vfs, &script.journal, from)
            }
            Err(panic) => Tally::failed(format!("trace {name:?}: the script itself: {}", message_of(&*panic))),
        };
        ((*name).to_owned(), tally)
    });
    println!("{}", table(&tallies));
    let failures: Vec<&str> = tallies.iter().flat_map(|(_, tally)| tally.failures.iter().map(String::as_str)).collect();
    assert!(failures.is_empty(), "{} states were not recovered:\n\n{}", failures.len(), failures.join("\n\n"));
    if std::env::var_os("TASKLEDGER_CRASH_TRACE").is_none() {
        assert!(images(&tallies) >= IMAGES_MIN, "fewer than {IMAGES_MIN} distinct images were judged");
    }
    for ((name, meant, _), (_, tally)) in traces.iter().zip(&tallies) {
        if *meant == Meant::Both {
            assert!(tally.discarded > 0, "trace {name:?} never discards anything");
            assert!(tally.extra > 0, "trace {name:?} never keeps anything that was not acknowledged");
        }
    }
}
