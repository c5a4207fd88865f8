//! One round of a campaign: a script made from a seed, all that is done to it, and the counts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::json;
use taskledger::vfs::fault::Limits;

use crate::crash::faults::{judge_what_is_left, ways};
use crate::crash::oracle::message_of;
use crate::crash::script::{GivenUp, Planned, Script};
use crate::crash::search::{Effort, Search};
use crate::rot::rot;
use crate::support::{Rng, say};
use crate::{kills, story};

/// How many calls of a script fail in one round, each in every way.
const FAILING_CALLS: u64 = 6;
/// One round in so many kills a real process.
const KILLS_ONE_IN: u64 = 8;

/// What was done, and what was wrong.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub rounds: u64,
    /// Distinct states after a power cut or a kill, each of a script.
    pub states: u64,
    /// The same, after a crash within a recovery.
    pub nested: u64,
    /// Bits, bytes and sectors that went rotten.
    pub flips: u64,
    /// Calls that failed, and the states that were judged after them.
    pub faults: u64,
    pub after_faults: u64,
    /// Real processes killed.
    pub kills: u64,
    /// Moments at which the power failed.
    pub cuts: u64,
    /// Of what is wrong: acknowledged entries that are gone.
    pub lost: u64,
    /// Healthy ledgers that were refused.
    pub refused: u64,
    /// All that is wrong.
    pub failures: u64,
    /// The seeds of rounds in which something was.
    pub failing_seeds: Vec<u64>,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.rounds += other.rounds;
        self.states += other.states;
        self.nested += other.nested;
        self.flips += other.flips;
        self.faults += other.faults;
        self.after_faults += other.after_faults;
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.lost += other.lost;
        self.refused += other.refused;
        self.failures += other.failures;
        self.failing_seeds.extend(other.failing_seeds);
    }

    /// For people.
    pub fn line(&self) -> String {
        let Counts { rounds, states, nested, flips, faults, kills, cuts, lost, refused, failures, .. } = self;
        format!(
            "{rounds} rounds: {states} states of {cuts} power cuts, {nested} nested, {flips} flips, {faults} faults, \
             {kills} kills; {lost} lost, {refused} refused, {failures} failures"
        )
    }

    /// For programs.
    pub fn json(&self, seed: u64, took: Duration) -> serde_json::Value {
        json!({
            "type": "taskledger.torture/1", "seed": seed, "seconds": took.as_secs(), "rounds": self.rounds,
            "states": self.states, "nested": self.nested, "flips": self.flips, "faults": self.faults,
            "after_faults": self.after_faults, "kills": self.kills, "cuts": self.cuts, "lost": self.lost,
            "refused": self.refused, "failures": self.failures, "failing_seeds": self.failing_seeds,
        })
    }

    fn fail(&mut self, seed: u64, what: &str) {
        self.failures += 1;
        self.lost += u64::from(what.contains("ARE LOST") || what.contains("the ledger is gone"));
        self.refused += u64::from(what.contains("refuses") || what.contains("is refused"));
        if !self.failing_seeds.contains(&seed) {
            self.failing_seeds.push(seed);
        }
        say(&format!("--repeat {seed}: {what}"));
    }
}

/// Everything that is done with one seed.
pub fn round(seed: u64) -> Counts {
    let mut counts = Counts { rounds: 1, ..Counts::default() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| crashes_and_faults(seed, &mut counts))) {
        counts.fail(seed, &format!("a panic: {}", message_of(&*panic)));
    }
    if seed.is_multiple_of(KILLS_ONE_IN) {
        match catch_unwind(|| kills::round(seed)) {
            Ok(Ok(kills)) => counts.kills += kills,
            Ok(Err(what)) => counts.fail(seed, &format!("killed: {what}")),
            Err(panic) => counts.fail(seed, &format!("killed: a panic: {}", message_of(&*panic))),
        }
    }
    counts
}

/// Plays the script of a seed as far as it goes: to its end, or to where it met what it does not count on. `Err` is a panic.
fn play(s: &mut Script, seed: u64) -> Result<Option<String>, String> {
    match catch_unwind(AssertUnwindSafe(|| story::play(s, seed))) {
        Ok(()) => Ok(None),
        Err(end) if end.is::<GivenUp>() => Ok(Some(message_of(&*end).to_owned())),
        Err(panic) => Err(message_of(&*panic).to_owned()),
    }
}

fn crashes_and_faults(seed: u64, counts: &mut Counts) {
    let mut rng = Rng(seed);
    let mut sound = Script::new();
    match play(&mut sound, seed) {
        Ok(None) => sound.drop_ledger(),
        Ok(Some(what)) => return counts.fail(seed, &format!("a sound script is refused: {what}")),
        Err(what) => return counts.fail(seed, &format!("a sound script panics: {what}")),
    }
    let limits = Limits { exhaustive: 5, pairs: 8, samples: 24, tear: rng.below(8) == 0, seed };
    let effort = Effort { limits, nested_one_in: 2, nest_one_in: 512, third_one_in: 512 };
    let name = format!("seed {seed}");
    let tally = Search::run(&name, effort, &sound.vfs, &sound.journal, 0);
    let [_, one, two, three] = tally.by_depth;
    counts.states += one;
    counts.nested += two + three;
    counts.cuts += tally.points as u64;
    tally.failures.iter().for_each(|what| counts.fail(seed, what));

    match rot(&sound, &mut rng) {
        Ok(flips) => counts.flips += flips,
        Err(what) => counts.fail(seed, &format!("rot: {what}")),
    }

    let kinds = sound.calls();
    for _ in 0..FAILING_CALLS {
        let call = rng.below(kinds.len() as u64) as usize;
        for way in ways(kinds[call]) {
            let mut s = Script::failing(Planned { call, fault: way.fault() });
            let told = |what: &str| format!("call {call} ({:?}), {way:?}: {what}", kinds[call]);
            if let Err(what) = play(&mut s, seed) {
                counts.fail(seed, &told(&format!("a panic: {what}")));
            }
            s.vfs.clear_faults();
            s.vfs.set_capacity(None);
            let few = Limits { exhaustive: 3, pairs: 0, samples: 4, tear: false, seed };
            let mut wrong = Vec::new();
            let left = judge_what_is_left(&s, &way, &few, &mut |what| wrong.push(what));
            counts.faults += 1;
            counts.after_faults += left.states;
            wrong.iter().for_each(|what| counts.fail(seed, &told(what)));
        }
    }
}
