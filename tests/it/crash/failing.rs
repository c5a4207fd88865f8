//! Every call of every trace fails, in every way that its kind can fail. The script goes on until it meets something that
//! it does not count on; what is there then is judged, as a kill and as power cuts leave it.
//!
//! Left out is the trace whose threads take their calls in another order each time: `faults` has one of its own for that.

use std::panic::{AssertUnwindSafe, catch_unwind};

use taskledger::vfs::fault::Limits;

use super::faults::{Left, judge_what_is_left, ways};
use super::oracle::message_of;
use super::script::{GivenUp, Planned, Script};
use super::traces;
use crate::support::{in_parallel, wanted};

/// What came of the faults in one trace.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    states: u64,
    /// Runs that did not come to the end of the script.
    given_up: u64,
    failures: Vec<String>,
}

/// Plays a script as far as it goes; whether to its end. `Err` is a panic.
fn play(s: &mut Script, run: fn(&mut Script)) -> Result<bool, String> {
    match catch_unwind(AssertUnwindSafe(|| run(s))) {
        Ok(()) => Ok(true),
        Err(end) if end.is::<GivenUp>() => Ok(false),
        Err(panic) => Err(message_of(&*panic).to_owned()),
    }
}

fn fail_every_call(name: &str, run: fn(&mut Script), limits: &Limits) -> Tally {
    let mut sound = Script::new();
    assert_eq!(play(&mut sound, run), Ok(true), "trace {name:?} without a fault");
    sound.drop_ledger();
    let mut tally = Tally::default();
    for (call, kind) in sound.calls().into_iter().enumerate() {
        for way in ways(kind) {
            let mut s = Script::failing(Planned { call, fault: way.fault() });
            let told = |what: String| format!("trace {name:?}, call {call} ({kind:?}), {way:?}:\n    => {what}");
            let played = play(&mut s, run);
            tally.runs += 1;
            tally.given_up += u64::from(played == Ok(false));
            if let Err(what) = played {
                tally.failures.push(told(format!("a panic: {what}")));
            }
            s.vfs.clear_faults();
            // A script that ends on a full disk leaves it full.
            s.vfs.set_capacity(None);
            let Left { states, .. } = judge_what_is_left(&s, &way, limits, &mut |what| tally.failures.push(told(what)));
            tally.states += states;
        }
    }
    tally
}

#[test]
fn every_call_of_every_trace_fails() {
    let limits = Limits { exhaustive: 2, pairs: 0, samples: 1, tear: false, seed: 11 };
    let traces = traces::all().into_iter().filter(|(name, ..)| wanted("TASKLEDGER_CRASH_TRACE", name));
    let traces: Vec<_> = traces.filter(|(name, ..)| *name != "several threads at once").collect();
    assert!(!traces.is_empty(), "TASKLEDGER_CRASH_TRACE names no trace");
    let tallies = in_parallel(&traces, |(name, _, run)| fail_every_call(name, *run, &limits));
    let mut failures = Vec::new();
    let (mut runs, mut states) = (0, 0);
    for ((name, ..), tally) in traces.iter().zip(tallies) {
        println!("{name:<42} {:>6} faults, {:>6} given up, {:>7} states", tally.runs, tally.given_up, tally.states);
        if tally.given_up == 0 {
            failures.push(format!("trace {name:?} never meets a fault"));
        }
        runs += tally.runs;
        states += tally.states;
        failures.extend(tally.failures);
    }
    println!("{runs} faults, {states} states after them");
    let told: Vec<&str> = failures.iter().take(12).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), told.join("\n\n"));
}
