//! A long campaign against the promises: scripts made from seeds, crashed at every moment, rotten, failing, and real
//! processes that are killed.
//!
//! ```text
//! cargo run --release --example torture --features fault -- --minutes 10
//! cargo run --release --example torture --features fault -- --minutes 60 --seed 7 --json
//! ```
//!
//! Each round has a seed of its own, which the campaign's seed and the round's number give. A line on the terminal tells how
//! far it is; at the end stands one JSON object with the counts. Where anything is wrong it is told at once with the seed
//! that repeats it (`--repeat SEED` plays that round alone), and the exit code is 1.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken promise ends a round")]

// Not all that the tests need is needed here.
#[allow(dead_code, unused_imports)]
mod crash;
mod kills;
mod rot;
mod rounds;
mod story;
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../tests/it/support.rs"]
mod support;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rounds::{Counts, round};
use support::Rng;

const USAGE: &str = "usage: torture --minutes N [--seed S] [--json] | torture --repeat SEED [--json]";
/// How often the line on the terminal is written.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// A year.
const MINUTES_MAX: f64 = 525_600.0;

#[derive(Debug, Default)]
struct Asked {
    minutes: Option<f64>,
    seed: u64,
    repeat: Option<u64>,
    json: bool,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { seed: 1, ..Asked::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let wrong = |value: &str| format!("{word} {value}: not a number");
        match word.as_str() {
            "--minutes" => asked.minutes = Some(value().and_then(|text| text.parse().map_err(|_| wrong(&text)))?),
            "--seed" => asked.seed = value().and_then(|text| text.parse().map_err(|_| wrong(&text)))?,
            "--repeat" => asked.repeat = Some(value().and_then(|text| text.parse().map_err(|_| wrong(&text)))?),
            "--json" => asked.json = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    if asked.minutes.is_some_and(|minutes| !(0.0..=MINUTES_MAX).contains(&minutes)) {
        return Err(format!("--minutes: from 0 to {MINUTES_MAX}"));
    }
    if asked.minutes.is_none() && asked.repeat.is_none() { Err("for how long?".to_owned()) } else { Ok(asked) }
}

/// What all threads of a campaign share.
struct Campaign {
    next: AtomicU64,
    over: AtomicBool,
    counts: Mutex<Counts>,
}

impl Campaign {
    /// Plays rounds until time is up.
    fn work(&self, seed: u64) {
        while !self.over.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let found = round(Rng(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)).next());
            self.counts.lock().expect("no round panics").add(found);
        }
    }

    fn counts(&self) -> Counts {
        self.counts.lock().expect("no round panics").clone()
    }
}

fn campaign(minutes: f64, seed: u64) -> Counts {
    let (start, length) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let all = Campaign { next: AtomicU64::new(0), over: AtomicBool::new(false), counts: Mutex::default() };
    let terminal = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| all.work(seed));
        }
        while start.elapsed() < length {
            std::thread::sleep(TOLD_EVERY.min(length.saturating_sub(start.elapsed())));
            if terminal {
                let percent = 100.0 * start.elapsed().as_secs_f64() / length.as_secs_f64();
                let _ = write!(std::io::stderr(), "\r\x1b[K{percent:3.0} %  {}", all.counts().line());
            }
        }
        all.over.store(true, Ordering::SeqCst);
    });
    if terminal {
        support::say("");
    }
    all.counts()
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(kills::CHILD) {
        return kills::child(Path::new(&words.next().expect("a directory")));
    }
    // What a broken promise panics with is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let asked = match asked() {
        Ok(asked) => asked,
        Err(what) => {
            support::say(&format!("{what}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let counts = match asked.repeat {
        Some(seed) => round(seed),
        None => campaign(asked.minutes.unwrap_or_default(), asked.seed),
    };
    if !asked.json {
        support::say(&counts.line());
    }
    let told = counts.json(asked.seed, start.elapsed());
    let sound = counts.failures == 0;
    if writeln!(std::io::stdout(), "{told}").is_err() || !sound { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
