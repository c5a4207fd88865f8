//! Goes through the states that a trace may leave, judges each one once, and counts.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use taskledger::vfs::fault::{Choice, Limits, MemVfs, Op};
use taskledger::vfs::ops::Vfs as _;

use super::journal::{Journal, Want, create};
use super::oracle::{Answers, CLASSES, Class, Judged, entries_match, judge, judge_beside};
use super::script::{DIR, batch_of, options};

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub limits: Limits,
    /// Of the states of a crash inside a recovery, one in so many is judged; chosen by its fingerprint.
    pub nested_one_in: u64,
    /// Of the judged states of power cuts, one in so many is recovered with a crash inside the recovery.
    pub nest_one_in: u64,
    /// Of the states judged at depth 2, one in so many gets a third crash.
    pub third_one_in: u64,
}

/// What came out for one trace.
#[derive(Debug, Default)]
pub struct Tally {
    pub points: usize,
    /// States visited, with repetitions.
    pub visited: u64,
    pub by_depth: [u64; 4],
    /// The fingerprints of what was judged. The same files may be judged twice, where more is demanded later.
    pub images: HashSet<u128>,
    pub by_class: BTreeMap<Class, u64>,
    pub discarded: u64,
    pub extra: u64,
    pub time: Duration,
    pub failures: Vec<String>,
}

impl Tally {
    /// Of a trace that could not be made.
    pub fn failed(what: String) -> Tally {
        Tally { failures: vec![what], ..Tally::default() }
    }
}

/// A crash within a recovery is looked at whole where at most so many parts are undecided.
const NESTED_EXHAUSTIVE: u32 = 10;

/// Most failures that are told for one trace.
const FAILURES_MAX: usize = 4;

pub struct Search<'a> {
    name: &'a str,
    effort: Effort,
    seen: HashSet<(u128, (usize, usize, usize, bool))>,
    tally: Tally,
    /// How the state came to be, for messages.
    story: Vec<String>,
}

/// A choice that goes by a quarter of a fingerprint: each of them has one of its own, so that none decides another.
pub fn one_in(print: u128, quarter: u32, n: u64) -> bool {
    u64::from((print >> (32 * quarter)) as u32).is_multiple_of(n.max(1))
}

impl<'a> Search<'a> {
    /// Every crash from operation `from` on.
    pub fn run(name: &'a str, effort: Effort, vfs: &MemVfs, journal: &Journal, from: usize) -> Tally {
        let start = Instant::now();
        let (tally, story) = (Tally::default(), Vec::new());
        let mut search = Search { name, effort, seen: HashSet::new(), tally, story };
        search.cuts(vfs, from, &|at| journal.want(at), 1);
        search.kills(vfs, from, journal);
        search.tally.time = start.elapsed();
        search.tally
    }

    fn full(&self) -> bool {
        self.tally.failures.len() >= FAILURES_MAX
    }

    /// Every moment for a power cut from `from` on.
    fn cuts(&mut self, vfs: &MemVfs, from: usize, want_at: &dyn Fn(usize) -> Want, depth: usize) {
        let trace = vfs.trace();
        for pending in vfs.cuts().skip(from) {
            let at = pending.at;
            let want = want_at(at);
            self.tally.points += usize::from(depth == 1);
            let mut states = Vec::new();
            let (effort, seen) = (self.effort, &mut self.seen);
            // Of a recovery's states a part is taken anyhow.
            let exhaustive =
                if depth > 1 { effort.limits.exhaustive.min(NESTED_EXHAUSTIVE) } else { effort.limits.exhaustive };
            let limits = Limits { exhaustive, ..effort.limits };
            let share = if depth > 1 { effort.nested_one_in } else { 1 };
            let visited = pending.states(&limits, &mut |image, choice| {
                let print = image.fingerprint();
                let sampled = one_in(print, 0, share) || is_extreme(choice);
                if sampled && seen.insert((print, want.key())) {
                    states.push((image, choice.clone(), print));
                }
            });
            self.tally.visited += visited;
            for (image, choice, print) in states {
                if self.full() {
                    return;
                }
                let before = at.checked_sub(1).and_then(|at| trace.get(at)).map_or("the start".to_owned(), told_op);
                self.story.push(format!("power cut behind operation {at} ({before}), leaving {choice:?}"));
                self.state(&image, &want, print, depth);
                self.story.pop();
            }
        }
    }

    /// A process that is killed at every moment, while the machine goes on.
    fn kills(&mut self, vfs: &MemVfs, from: usize, journal: &Journal) {
        let trace = vfs.trace();
        let mut seen = HashSet::new();
        for at in from..=vfs.trace_len() {
            if self.full() {
                return;
            }
            let image = vfs.kill_at(at);
            let want = journal.want(at);
            let before = at.checked_sub(1).and_then(|at| trace.get(at)).map_or("the start".to_owned(), told_op);
            self.story.push(format!("process killed behind operation {at} ({before})"));
            if seen.insert((image.fingerprint(), want.key())) {
                self.judge(&image.fork(), &want, 1);
                if !want.may_refuse
                    && let Err(what) = judge_beside(&image.fork(), vfs.process(), &want)
                {
                    self.fail(&what);
                }
            }
            // The same files may have something else undecided behind them.
            self.nested(&image, &want, 2);
            self.story.pop();
        }
    }

    fn state(&mut self, image: &MemVfs, want: &Want, print: u128, depth: usize) {
        let nest = match depth {
            1 => one_in(print, 1, self.effort.nest_one_in),
            2 => one_in(print, 2, self.effort.third_one_in),
            _ => false,
        };
        let pristine = nest.then(|| image.fork());
        let judged = self.judge(image, want, depth);
        if let (Some(pristine), Some(_)) = (pristine, judged) {
            self.nested(&pristine, want, depth + 1);
        }
    }

    fn judge(&mut self, image: &MemVfs, want: &Want, depth: usize) -> Option<Judged> {
        let print = image.fingerprint();
        match judge(image, want) {
            Ok(judged) => {
                self.tally.images.insert(print);
                self.tally.by_depth[depth] += 1;
                *self.tally.by_class.entry(judged.class).or_default() += 1;
                self.tally.discarded += u64::from(judged.discarded);
                self.tally.extra += u64::from(judged.extra);
                Some(judged)
            }
            Err(what) => {
                self.fail(&what);
                None
            }
        }
    }

    fn fail(&mut self, what: &str) {
        self.tally.failures.push(format!("trace {:?}: {}\n    => {what}", self.name, self.story.join("\n    then ")));
    }

    /// Recovers a state, appends one entry, and crashes at every moment in between.
    fn nested(&mut self, image: &MemVfs, want: &Want, depth: usize) {
        let from = image.trace_len();
        let Ok(ledger) = options(image).open(DIR) else {
            if !want.may_refuse {
                self.fail("opening refuses");
            }
            return;
        };
        let opened = image.trace_len();
        let kept = match entries_match(&Answers::Ledger(&ledger), want) {
            Ok(kept) => kept,
            Err(what) => return self.fail(&what),
        };
        let shown = want.shown(kept);
        image.advance_ms(1);
        let fact = [create(&format!("nested-{depth}"))];
        let mut submitted = shown.clone();
        submitted.submit(&fact, image.now_ms());
        if let Err(error) = ledger.commit(batch_of(&fact)) {
            return self.fail(&format!("appending after recovery: {error}"));
        }
        let appended = image.trace_len();
        drop(ledger);
        let mut acked = submitted.clone();
        acked.acked = acked.items.len();
        self.story.push("recovery".to_owned());
        let want_at = |at: usize| match at {
            at if at < opened => want.clone(),
            at if at == opened => submitted.clone(),
            at if at < appended => submitted.clone(),
            _ => acked.clone(),
        };
        self.cuts(image, from, &want_at, depth);
        self.story.pop();
    }
}

/// Nothing or everything is kept: always judged.
fn is_extreme(choice: &Choice) -> bool {
    let none = choice.sectors.iter().all(|&version| version == 0);
    let all = choice.sectors.iter().all(|&version| version != 0);
    (none || all) && choice.torn.is_none()
}

fn told_op(op: &Op) -> String {
    match op {
        Op::Write { file, offset, bytes } => format!("write of {} bytes at {offset} of file {file}", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// How many different images were judged in all traces together.
pub fn images(tallies: &[(String, Tally)]) -> usize {
    tallies.iter().flat_map(|(_, tally)| &tally.images).collect::<HashSet<_>>().len()
}

/// The table of all traces.
pub fn table(tallies: &[(String, Tally)]) -> String {
    let mut text = format!("{:<34}{:>7}{:>10}{:>9}{:>9}{:>8}", "trace", "points", "visited", "depth 1", "depth 2", "3");
    for class in CLASSES {
        text += &format!("{:>9}", format!("{class:?}").to_lowercase());
    }
    text += &format!("{:>10}{:>9}{:>8}\n", "discarded", "extra", "s");
    let mut total = 0;
    for (name, tally) in tallies {
        let [_, one, two, three] = tally.by_depth;
        total += one + two + three;
        text += &format!("{name:<34}{:>7}{:>10}{one:>9}{two:>9}{three:>8}", tally.points, tally.visited);
        for class in CLASSES {
            text += &format!("{:>9}", tally.by_class.get(&class).copied().unwrap_or_default());
        }
        text += &format!("{:>10}{:>9}{:>8.1}\n", tally.discarded, tally.extra, tally.time.as_secs_f64());
    }
    text + &format!("{total} states judged, of {} distinct images\n", images(tallies))
}
