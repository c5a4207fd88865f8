//! The commit path under schedules: several threads use one ledger, shuttle decides at each lock, atomic, wait and call of
//! the disk who goes on, and nobody may be told what is not so, or wait for ever.
//!
//! A scene is a function that is run under many schedules, half of them random, half by PCT with three changes of
//! priority. `TASKLEDGER_SCHEDULES=N` runs each scene N times; `TASKLEDGER_SEED=S`, which a failure prints, only those
//! that S stands for.
//!
//! What schedules do not show: atomics are seen by all in one order, so that an ordering that is too weak goes unnoticed.

mod backlog;
mod close;
mod disk;
mod flights;
mod follow;
mod gate;
mod poison;
mod rolls;
mod tickets;

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// A seed stands for so many schedules, half of them by PCT.
const PER_SEED: u64 = 100;
/// Each scene is run so often.
const SCHEDULES: u64 = 2000;
/// The changes of priority, and one, of a schedule by PCT.
const DEPTH: usize = 3;
/// No schedule takes so many steps, unless somebody waits in a circle.
const STEPS_MAX: usize = 100_000;

/// What happened in all schedules of a scene, so that a scene in which nothing happens is noticed.
#[derive(Debug)]
struct Tally {
    what: &'static str,
    count: AtomicU64,
}

impl Tally {
    const fn new(what: &'static str) -> Tally {
        Tally { what, count: AtomicU64::new(0) }
    }

    fn add(&self, more: u64) {
        self.count.fetch_add(more, Ordering::Relaxed);
    }
}

/// A task that no other thread names.
fn task(thread: usize, n: usize) -> String {
    format!("{thread}-{n}")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?} and no number")))
}

/// Runs a scene under many schedules. Each of `tallies` must come up in one schedule of a hundred.
fn explore(name: &str, tallies: &'static [Tally], scene: impl Fn() + Send + Sync + 'static) {
    disk::prepare();
    let scene = Arc::new(scene);
    let only = number("TASKLEDGER_SEED");
    let schedules = number("TASKLEDGER_SCHEDULES").unwrap_or(SCHEDULES);
    let seeds = only.map_or(0..schedules.div_ceil(PER_SEED), |seed| seed..seed + 1);
    let ran = (seeds.end - seeds.start) * PER_SEED;
    for seed in seeds {
        let half = (PER_SEED / 2) as usize;
        run(name, seed, RandomScheduler::new_from_seed(seed, half), &scene);
        run(name, seed, PctScheduler::new_from_seed(seed, DEPTH, half), &scene);
    }
    let counted: Vec<(u64, &str)> =
        tallies.iter().map(|tally| (tally.count.load(Ordering::Relaxed), tally.what)).collect();
    let line: Vec<String> = counted.iter().map(|(count, what)| format!("{count} {what}")).collect();
    writeln!(std::io::stderr(), "schedules: {name}: {ran} schedules, {}", line.join(", "))
        .expect("stderr takes a line");
    let rare: Vec<&str> = counted.iter().filter(|(count, _)| *count < ran / 100).map(|(_, what)| *what).collect();
    assert!(rare.is_empty() || only.is_some(), "{name}: too seldom: {}: {}", rare.join(", "), line.join(", "));
}

fn run<S: Scheduler + 'static>(name: &str, seed: u64, scheduler: S, scene: &Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = Config::new();
    // Opening a ledger is deep.
    config.stack_size = 1 << 19;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    let scene = Arc::clone(scene);
    let ended = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config).run(move || scene())));
    if let Err(panic) = ended {
        let repeat = format!("TASKLEDGER_SEED={seed} cargo test --lib schedules::{name}");
        panic!("{name} fails under a schedule: {}\nrepeat it with\n  {repeat}", message(&*panic));
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
