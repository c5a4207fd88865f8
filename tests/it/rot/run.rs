//! Does each case to a copy of its own, on all cores, and counts what comes out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::damage::Case;
use super::golden::Golden;
use super::judge::Depth;

/// Of the cases, one in so many is verified, too, and all histories are read.
const VERIFIED_ONE_IN: usize = 16;
/// A core takes so many cases at a time.
const CHUNK: usize = 64;
/// Most wrong outcomes that are told of one kind.
const WRONG_MAX: usize = 4;

/// What came out of one kind of damage.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub whole: u64,
    pub refused: u64,
    /// An end is left out that nobody was told is safe.
    pub untold: u64,
    /// An acknowledged end is left out, and nothing that is not damaged vouches for it.
    pub ambiguous: u64,
    pub wrong: Vec<String>,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.whole + self.refused + self.untold + self.ambiguous
    }

    pub fn add(&mut self, other: Tally) {
        self.whole += other.whole;
        self.refused += other.refused;
        self.untold += other.untold;
        self.ambiguous += other.ambiguous;
        self.wrong.extend(other.wrong);
        self.wrong.truncate(WRONG_MAX);
    }

    /// Counts an outcome: how many entries there are of `all`, of which `acked` were acknowledged and `floor` must be
    /// there; `None` for a refusal.
    pub fn count(&mut self, shown: Option<usize>, all: usize, acked: usize, floor: usize) -> Result<(), String> {
        match shown {
            None => self.refused += 1,
            Some(kept) if kept == all => self.whole += 1,
            Some(kept) if kept >= floor.max(acked) => self.untold += 1,
            Some(kept) if kept >= floor => self.ambiguous += 1,
            Some(kept) => return Err(format!("ENTRIES ARE LOST IN SILENCE: {kept} of {all} are there, not {floor}")),
        }
        Ok(())
    }

    /// Keeps what is wrong for the end.
    pub fn is_wrong(&mut self, what: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { whole, refused, untold, ambiguous, .. } = self;
        write!(
            f,
            "{:>7} = {whole:>6} whole + {refused:>7} refused + {untold:>5} untold + {ambiguous:>5} ambiguous",
            self.total()
        )
    }
}

/// What came out, by kind of damage.
pub type Tallies = BTreeMap<&'static str, Tally>;

/// A table of what came out. Demands that nothing was wrong.
pub fn table(name: &str, tallies: &Tallies, start: Instant) -> String {
    let lines = tallies.iter().map(|(kind, tally)| format!("rot: {name:<28} {kind:<20} {tally}\n"));
    let text = lines.collect::<String>() + &format!("rot: {name:<28} in {:.1} s\n", start.elapsed().as_secs_f64());
    let wrong: Vec<&str> = tallies.values().flat_map(|tally| tally.wrong.iter().map(String::as_str)).collect();
    assert!(wrong.is_empty(), "{text}of {name} something came out that must not:\n{}", wrong.join("\n"));
    text
}

/// Calls `judge` for each number below `count`, on all cores, and adds up what it counts.
pub fn on_all_cores(count: usize, judge: impl Fn(usize, &mut Tallies) + Sync) -> Tallies {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Tallies::new()));
    let work = || {
        let mut tallies = Tallies::new();
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= count {
                break;
            }
            (start..count.min(start + CHUNK)).for_each(|n| judge(n, &mut tallies));
        }
        let mut sum = sum.lock().expect("nobody panics with it");
        tallies.into_iter().for_each(|(kind, tally)| sum.entry(kind).or_default().add(tally));
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    sum.into_inner().expect("nobody panics with it")
}

/// Judges all these cases of a golden ledger.
pub fn judge_all(golden: &Golden, cases: &[Case]) -> Tallies {
    on_all_cores(cases.len(), |n, tallies| {
        let case = &cases[n];
        let tally = tallies.entry(case.kind()).or_default();
        let depth = if n.is_multiple_of(VERIFIED_ONE_IN) { Depth::All } else { Depth::Answers };
        if let Err(what) = judge(golden, case, depth, tally) {
            tally.is_wrong(format!("{}: {case:?} ({}): {what}", golden.name, golden.names(case)));
        }
    })
}

fn judge(golden: &Golden, case: &Case, depth: Depth, tally: &mut Tally) -> Result<(), String> {
    let image = golden.vfs.fork();
    let hits = case.apply(golden, &image);
    let shown = golden.truth.shown_by(&image, depth)?;
    let harmless = golden.evidence.is_harmless(&hits);
    match (case, shown) {
        (Case::Missing(_) | Case::Copied(..) | Case::Exchanged(..), Some(_)) if !harmless => {
            return Err("it opens although a file is missing".to_owned());
        }
        // A copy is harmless under a name that is nobody's, and where it takes the place of what only advises.
        (Case::Copied(..), None) if !case.is_beside() && (hits.is_empty() || !harmless) => {}
        (_, None) if harmless => return Err("it is refused, and nothing that counts is hit".to_owned()),
        _ => {}
    }
    let all = golden.truth.len();
    tally.count(shown, all, all, golden.evidence.floor(&hits))
}

impl Golden {
    /// The files that a case names by number.
    fn names(&self, case: &Case) -> String {
        let text = format!("{case:?}");
        let named = self.files.iter().enumerate().filter(|(n, _)| text.contains(&n.to_string()));
        named.map(|(n, (path, _))| format!("{n} is {}", path.display())).collect::<Vec<_>>().join(", ")
    }
}
