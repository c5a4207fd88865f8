//! Kills by SIGKILL: an import at any moment of its life and at each of its system calls, and 32 threads that append
//! while another process reads.
//!
//! What an import has acknowledged on its standard output must be there afterwards, whatever it was doing; what is
//! there must be a prefix of its input; opening never refuses. Which moment a kill hit is told by the files and the
//! acknowledgements that it left, never by what was aimed at.
//!
//! What this cannot see: an acknowledgement before its sync, since the page cache survives the process. The
//! enumeration of crash states (crash.rs) is there for that.
//!
//! `TASKLEDGER_KILLS` (1000) is how many kills must hit while lines were sent and not acknowledged; `TASKLEDGER_SEED`
//! chooses other moments. Two threads kill, each by a seed of its own. A failure prints the seed and the round, and
//! leaves its directory.
#![cfg(unix)]

mod beside;
mod calls;
pub mod import;
mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskledger::{Error, Ledger, Level, Seq, Verdict, View};

use crate::support::{Rng, number, say};
use crate::workflows::{Reading, to_value};
use import::{Import, Input, SEGMENT_BYTES};
use trace::{Class, Trace};

pub const SEED: u64 = 20_260_301;
/// How many lines one import gets: more than it can append before it is killed.
const WINDOW: usize = 250;
/// How many lines a ledger gets that is there for the kills at its creation.
const FEW: usize = 20;
/// How many lines at a time bring a ledger to its end after the last kill.
const BULK: usize = 500;
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is removed at the end, or left for inspection where the test fails.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        Home::within(&std::env::temp_dir())
    }

    fn within(dir: &Path) -> Home {
        Home(tempfile::tempdir_in(dir).expect("a directory").keep())
    }

    /// In memory, where syncs take no time and kills hit what lies between them; else like any other.
    fn in_memory() -> Home {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Home::within(memory) } else { Home::new() }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("kill: the files are left in {}", self.0.display()));
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Says what is needed to repeat a round that fails.
pub struct Round(pub String);

impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("kill: failed in {}", self.0));
        }
    }
}

/// A child that does not outlive its test.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until it holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// A ledger that is imported into again and again until it has a part of the input.
pub struct Site {
    pub dir: PathBuf,
    input: Arc<Input>,
    pub lines: usize,
    pub acked: usize,
    /// How many entries were seen and compared.
    pub seen: usize,
    kills: usize,
    /// Whether the last writer had closed it in order.
    clean: bool,
}

impl Site {
    pub fn new(dir: PathBuf, input: &Arc<Input>, lines: usize) -> Site {
        Site { dir, input: Arc::clone(input), lines, acked: 0, seen: 0, kills: 0, clean: false }
    }

    /// Reads what is there after a kill or at the end: it opens, it is a prefix of the input, and nothing that was
    /// acknowledged or shown before is missing.
    pub fn look(&mut self, sent_to: usize, level: Option<Level>) {
        match Ledger::open_read_only(&self.dir) {
            Ok(reader) => {
                let view = reader.view();
                let there = view.seq().0 as usize;
                assert!(there >= self.acked, "{} lines were acknowledged, {there} are there", self.acked);
                assert!(there >= self.seen, "{} entries were shown before, {there} are there", self.seen);
                let sent_to = sent_to.max(self.seen);
                assert!(there <= sent_to, "{sent_to} lines were sent, {there} are there");
                let from = self.seen.saturating_sub(20);
                compare(view, &self.input.reading, from, there);
                self.seen = there;
                self.clean = reader.report().clean;
            }
            Err(Error::NoLedger { .. }) => assert_eq!((self.acked, self.seen), (0, 0), "the ledger is gone"),
            Err(other) => panic!("opening for reading refuses: {other:?}"),
        }
        if let Some(level) = level {
            match taskledger::verify(&self.dir, level) {
                Ok(report) => assert_ne!(report.verdict(), Verdict::Damaged, "{:?}", report.findings),
                Err(Error::NoLedger { .. }) => assert_eq!((self.acked, self.seen), (0, 0), "the ledger is gone"),
                Err(other) => panic!("verifying refuses: {other:?}"),
            }
        }
    }

    /// Imports the rest in batches of so many lines, and compares all of it.
    pub fn finish(&mut self, batch: usize) {
        let from = self.acked.saturating_sub(3);
        let import = Import::start(&self.dir, &self.input, from..self.lines, batch);
        assert_eq!(from + import.finish(), self.lines, "every line is acknowledged");
        self.acked = self.lines;
        self.seen = 0;
        self.look(self.lines, None);
        let report = taskledger::verify(&self.dir, Level::Content).expect("it can be verified");
        assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
        let reader = Ledger::open_read_only(&self.dir).expect("it opens");
        for (id, record) in self.input.reading.records(self.lines) {
            assert_eq!(reader.view().get(&id).expect("a record").map(|task| to_value(&task)), Some(record));
        }
    }

    /// The first seq and the size of each segment, and the size of what else lies under `log/`, as seq 0.
    fn sizes(&self) -> Vec<(usize, u64)> {
        // Where the ledger has yet to be created there is nothing.
        let Ok(listed) = std::fs::read_dir(self.dir.join("log")) else { return Vec::new() };
        let size = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            let base = name.strip_suffix(".log").and_then(|stem| stem.split_once('-')).map_or("0", |(_, base)| base);
            (base.parse().expect("a seq"), entry.metadata().expect("a file").len())
        };
        listed.map(size).collect()
    }
}

/// Compares the entries from one index to another with the input's.
fn compare(view: &View, reading: &Reading, from: usize, to: usize) {
    let mut n = from;
    for entry in view.entries(Seq(from as u64 + 1)) {
        assert_eq!(to_value(&entry.expect("an entry can be read")), reading.entries[n], "seq {}", n + 1);
        n += 1;
    }
    assert_eq!(n, to, "the entries up to the head are there");
}

/// A file system, and the ledgers in it.
struct Place {
    home: Home,
    input: Arc<Input>,
    sites: usize,
    /// Lines go into this one until it has them all, and then into the next.
    main: Site,
    /// And into this one a few, for the kills at its creation.
    fresh: Site,
    /// From the start to the first acknowledgement, as last seen: of a new ledger, and of one that is there.
    first_acks: [Duration; 2],
}

impl Place {
    fn new(home: Home, input: &Arc<Input>) -> Place {
        let site = |name, lines| Site::new(home.0.join(name), input, lines);
        let (main, fresh) = (site("main", input.lines.len()), site("fresh", FEW));
        let first_acks = [Duration::from_millis(10); 2];
        Place { home, input: Arc::clone(input), sites: 0, main, fresh, first_acks }
    }

    fn new_site(&mut self, lines: usize) -> Site {
        self.sites += 1;
        Site::new(self.home.0.join(format!("next-{}", self.sites)), &self.input, lines)
    }
}

/// When to kill, or to cut the power.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// So long after the start.
    After(Duration),
    /// So long after so many lines were acknowledged.
    Acked(usize, Duration),
    /// So long after a name in `log/` has come or gone, once lines are acknowledged.
    Names(Duration),
}

impl Aim {
    pub fn wait(self, import: &Import, dir: &Path, window: usize) {
        // An import that has ended by itself is found out when it is to be killed.
        let acked = |count| wait_until("acknowledgements", || import.acked() >= count || import.is_silent());
        match self {
            Aim::After(delay) => std::thread::sleep(delay.saturating_sub(import.started().elapsed())),
            Aim::Acked(count, delay) => {
                acked(count.min(window));
                std::thread::sleep(delay);
            }
            Aim::Names(delay) => {
                acked(1);
                let before = Trace::names(dir);
                // The window may end before the segment does.
                let over = || import.acked() + 2 >= window || import.is_silent();
                wait_until("a change of names", || over() || Trace::names(dir) != before);
                std::thread::sleep(delay);
            }
        }
    }
}

/// What the kills came to.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    /// Kills while lines were sent and not acknowledged, and the process had left a trace.
    outstanding: usize,
    /// Kills after which there was more than was acknowledged.
    more_there: usize,
    by_class: BTreeMap<Class, usize>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.rounds += other.rounds;
        self.outstanding += other.outstanding;
        self.more_there += other.more_there;
        for (class, count) in &other.by_class {
            *self.by_class.entry(*class).or_default() += count;
        }
    }

    fn of(&self, classes: &[Class]) -> usize {
        classes.iter().filter_map(|class| self.by_class.get(class)).sum()
    }

    /// What has been hit too seldom.
    fn lacking(&self, target: usize) -> Vec<&'static str> {
        let few = target.div_ceil(20);
        // Between recovery and the first append there are microseconds: such kills are counted, and not waited for.
        let needs: [(&str, &[Class], usize); 5] = [
            ("creation", &[Class::Creation], few),
            ("opening a new ledger", &[Class::FirstOpening], 1),
            ("recovery", &[Class::Recovery], few),
            ("roll", &[Class::Roll], few),
            ("steady appends", &[Class::Steady], target / 5),
        ];
        needs.into_iter().filter(|(_, classes, least)| self.of(classes) < *least).map(|(name, ..)| name).collect()
    }
}

#[test]
fn an_import_survives_kills_at_any_moment() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let target = number("TASKLEDGER_KILLS").unwrap_or(1000) as usize;
    let started = Instant::now();
    let input = Arc::new(Input::new(seed));

    // Once without a kill: what it takes.
    let plain_home = Home::in_memory();
    let mut plain = Site::new(plain_home.0.join("plain"), &input, input.lines.len());
    plain.finish(1);
    let plain = plain.sizes();

    // Two threads, each with seeds and places of its own: one looks while the other one's import runs.
    let (mut tally, mut sizes) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|n| {
            let (input, plain) = (&input, &plain);
            scope.spawn(move || kills(seed.wrapping_add(n), (target + n as usize) / 2, input, plain))
        });
        for worker in workers {
            let (one, weights) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            tally.add(&one);
            sizes.extend(weights);
        }
    });
    let most = sizes.iter().max_by_key(|weight| weight.bytes).expect("each worker weighs");
    say(&format!(
        "kill: seed {seed}; {tally:?}; log/ was weighed {} times, at most {} bytes for {} entries after {} kills ({} \
         without); {:.1?}",
        sizes.len(),
        most.bytes,
        most.entries,
        most.kills,
        most.plain,
        started.elapsed()
    ));
}

/// What a log weighs.
struct Weight {
    bytes: u64,
    entries: usize,
    kills: usize,
    /// What it weighs where nobody is killed.
    plain: u64,
}

/// Kills until so many have hit, and says what they came to; `plain` are the segments of an import without a kill.
fn kills(seed: u64, target: usize, input: &Arc<Input>, plain: &[(usize, u64)]) -> (Tally, Vec<Weight>) {
    let mut rng = Rng(seed);
    let plain_bytes =
        |lines: usize| plain.iter().filter(|(base, _)| *base <= lines).map(|(_, bytes)| bytes).sum::<u64>();
    let mut places = [Place::new(Home::new(), input), Place::new(Home::in_memory(), input)];
    let (mut tally, mut weights) = (Tally::default(), Vec::new());
    // A kill costs the frame that says who opened next, and a few ids that are written out once more: less than 512
    // bytes; and there are a spare and the ends.
    let mut weigh = |site: &Site| {
        let bytes = site.sizes().iter().map(|(_, bytes)| bytes).sum::<u64>();
        let plain = plain_bytes(site.seen);
        let most = plain + (site.kills as u64 * 512).next_multiple_of(SEGMENT_BYTES) + 3 * SEGMENT_BYTES;
        assert!(bytes <= most, "{} kills, {} entries: {bytes} bytes, justified are {most}", site.kills, site.seen);
        weights.push(Weight { bytes, entries: site.seen, kills: site.kills, plain });
    };
    while tally.outstanding < target || !tally.lacking(target).is_empty() {
        assert!(
            tally.rounds < target * 10 + 200,
            "seed {seed}: too few kills hit {:?}: {tally:?}",
            tally.lacking(target)
        );
        tally.rounds += 1;
        let mut micros = |end: u64| Duration::from_micros(rng.below(end));
        let percent = micros(120).as_micros() as u32;
        let pause = micros(2000);
        let place = &mut places[rng.below(2) as usize];
        let (is_new, aim) = match rng.below(20) {
            0..4 => (true, Aim::After(place.first_acks[0] * percent / 100)),
            4..9 => (false, Aim::After(place.first_acks[1] * percent / 100)),
            9..14 => (false, Aim::Names(pause.saturating_sub(Duration::from_millis(1)))),
            _ => (false, Aim::Acked(rng.below(60) as usize + 1, pause)),
        };
        let site = if is_new { &mut place.fresh } else { &mut place.main };
        let from = site.acked.saturating_sub(rng.below(8) as usize);
        let to = (from + WINDOW).min(site.lines);
        let level = [None, None, Some(Level::Structure), Some(Level::Content)][rng.below(4) as usize];
        let context = Round(format!(
            "TASKLEDGER_SEED={seed}, round {}: {aim:?}, lines {from} to {to} into {}",
            tally.rounds,
            site.dir.display()
        ));

        let (before, seen, was_clean) = (Trace::of(&site.dir), site.seen, site.clean);
        let import = Import::start(&site.dir, input, from..to, 1);
        aim.wait(&import, &site.dir, to - from);
        let fate = import.kill();
        let after = Trace::of(&site.dir);
        site.kills += 1;
        site.acked = site.acked.max(from + fate.acked);
        site.look(from + fate.sent_in_all, level);
        let class = after.class(&before, fate.acked, site.seen > seen);
        assert!(!was_clean || seen == 0, "a killed process does not end cleanly where it had appended");
        tally.more_there += usize::from(site.seen > site.acked);
        if let Some(first) = fate.first_ack {
            place.first_acks[usize::from(before.has_ledger())] = first;
        }
        if fate.sent > fate.acked {
            tally.outstanding += usize::from(class != Class::Nothing);
            *tally.by_class.entry(class).or_default() += 1;
        }
        if is_new && (site.seen > 0 || rng.below(3) == 0) {
            site.finish(1);
            place.fresh = place.new_site(FEW);
        } else if !is_new && site.lines - site.acked < WINDOW {
            weigh(site);
            site.finish(BULK);
            place.main = place.new_site(input.lines.len());
        }
        drop(context);
    }
    for place in &mut places {
        weigh(&place.main);
        place.main.finish(BULK);
        place.fresh.finish(1);
    }
    (tally, weights)
}
