//! The state machine: random scripts of appends, failing calls, full disks, kills and power cuts, against the reference
//! model. A failure is shrunk to the fewest operations, and told in words with the seed that repeats it.
//!
//! `TASKLEDGER_SEED` and `TASKLEDGER_CASES` choose other scripts and more of them.

mod append;
mod compare;
mod end;
mod look;
mod ops;
mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::crash::oracle::message_of;
use crate::model::tally::Tally;
use crate::support::{number, say};
use ops::{Script, script};
use world::World;

const SEED: u64 = 0x5c21_97a4;
const CASES: u64 = 10_000;
/// So many scripts are drawn from one seed, one after the other; the next ones are drawn from the next seed.
const TOGETHER: u64 = 100;
/// So many shorter scripts are tried to explain a failure.
const SHRINKS: u32 = 20_000;

/// What must come up in every run, at least so often, so that none of it goes untested.
const OFTEN: [(&str, u64); 31] = [
    ("appended", 20_000),
    ("rolls", 400),
    ("power cuts", 5_000),
    ("kills", 2_500),
    ("closes", 1_000),
    ("drops", 1_000),
    ("crashes that lost what had a place", 2_000),
    ("crashes that kept what nobody was told", 1_500),
    ("bytes left out", 400),
    ("openings with several segments", 700),
    ("openings that failed and worked then", 2_000),
    ("calls that failed", 4_000),
    ("poisons", 1_000),
    ("refused after a poison", 3_000),
    ("unknown and kept", 300),
    ("unknown and lost", 400),
    ("syncs that failed behind the scenes", 40),
    ("syncs that lied", 100),
    ("refused since a call failed", 30),
    ("refused for want of space", 100),
    ("appended once there was room again", 60),
    ("replayed by its key", 1_000),
    ("refused: another content under a key", 500),
    ("refused: expected to be absent", 300),
    ("refused: expected to exist", 1_000),
    ("refused: expected another version", 2_000),
    ("refused: expected another state", 2_000),
    ("refused: expected another attempt", 2_000),
    ("as of a moment within a batch", 300),
    ("readers that see less than the writer has", 1_000),
    ("refreshes that show more", 400),
];

/// Plays a script; what went wrong, and the operations up to there.
fn play(script: Script, tally: &Tally) -> Result<(), String> {
    let mut world = World::new(&script, tally);
    let played = catch_unwind(AssertUnwindSafe(|| world.play(script)));
    let wrong = match played {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(wrong)) => wrong,
        Err(panic) => format!("a panic: {}", message_of(&*panic)),
    };
    let said = world.said.iter().zip(1..).map(|(line, n)| format!("  {n:>2}. {line}\n"));
    Err(format!("{wrong}, after\n{}", said.collect::<String>()))
}

/// Plays so many scripts from this seed. `Err` has the shortest that fails, in words.
fn play_some(seed: u64, cases: u64, tally: &Tally) -> Result<(), String> {
    let config = Config {
        cases: u32::try_from(cases).expect("few enough"),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: SHRINKS,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&script(), |script| play(script, tally).map_err(TestCaseError::fail));
    match tried {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, shortest)) => {
            let operations = shortest.ops.len() + 1;
            let told = play(shortest, &Tally::default()).expect_err("the same script does the same");
            let again = format!("TASKLEDGER_SEED={seed} TASKLEDGER_CASES={cases} cargo test --test it machine");
            Err(format!("{operations} operations are enough: {told}This repeats it: {again}"))
        }
        Err(other) => Err(format!("seed {seed}: {other}")),
    }
}

#[test]
fn random_scripts_with_failures_come_to_what_the_model_says() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let cases = number("TASKLEDGER_CASES").unwrap_or(CASES);
    let (next, failed, all) = (AtomicU64::new(0), Mutex::new(None), Mutex::new(Tally::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let tally = Tally::default();
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let cases = TOGETHER.min(cases.saturating_sub(n * TOGETHER));
                    if cases == 0 || failed.lock().unwrap().is_some() {
                        break;
                    }
                    if let Err(told) = play_some(seed.wrapping_add(n), cases, &tally) {
                        failed.lock().unwrap().get_or_insert(told);
                    }
                }
                all.lock().unwrap().add(&tally);
            });
        }
    });
    if let Some(told) = failed.into_inner().unwrap() {
        panic!("{told}");
    }
    let tally = all.into_inner().unwrap();
    say(&format!("machine: {cases} scripts: {}", tally.told()));
    for (class, times) in OFTEN {
        assert!(tally.of(class) >= times || cases < CASES, "{class:?} is rare: {}", tally.told());
    }
}
