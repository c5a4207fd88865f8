//! Random lives of a ledger, followed by several at once: in memory, where writers are killed and the power may fail at
//! any moment, and on a real file system.
//!
//! `TASKLEDGER_SEED` chooses other lives, `TASKLEDGER_CASES` more of them; a failure prints the seed of its life.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs, SyncFailure};
use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Batch, Durability, Entry, Error, Event, Expect, Follow, Ledger, Maintenance, Options, Seq};

use super::{BUFFERED, DIR, EIO, drain};
use crate::support::{Rng, number, say};

const SEED: u64 = 0x00f0_110e;
const STEPS: u64 = 60;

/// Where a ledger lives.
enum Place {
    Memory(MemVfs),
    Real(tempfile::TempDir),
}

impl Place {
    /// The directory, and the file system as another process sees it.
    fn as_another(&self) -> (PathBuf, Arc<dyn Vfs>) {
        match self {
            Place::Memory(vfs) => (PathBuf::from(DIR), Arc::new(vfs.spawn())),
            Place::Real(dir) => (dir.path().join("ledger"), Arc::new(RealVfs)),
        }
    }

    fn live(&self) -> PathBuf {
        self.as_another().0.join("live")
    }
}

/// A follower, and what it was given.
struct Follower {
    follow: Follow,
    from: u64,
    given: Vec<Entry>,
}

impl Follower {
    fn new(follow: Follow, from: u64) -> Follower {
        Follower { follow, from, given: Vec::new() }
    }

    /// The last seq that it was given.
    fn last(&self) -> u64 {
        self.from.max(1) - 1 + self.given.len() as u64
    }

    fn ask(&mut self) -> bool {
        let (more, head) = drain(&mut self.follow);
        for entry in &more {
            assert_eq!(entry.seq.0, self.last() + 1, "no gap, and nothing twice");
            self.given.push(entry.clone());
        }
        assert!(self.given.is_empty() || head.0 == self.last(), "caught up at {head}, given up to {}", self.last());
        !more.is_empty()
    }
}

/// One life of a ledger.
struct Life<'a> {
    place: Place,
    durability: Durability,
    rng: Rng,
    ledger: Option<Ledger>,
    process: Option<MemVfs>,
    /// In other processes.
    beside: Vec<Follower>,
    /// In the writer's process.
    here: Vec<Follower>,
    /// Whether `live` is what this writer writes.
    live_is_there: bool,
    tasks: u64,
    tally: &'a mut BTreeMap<&'static str, u64>,
}

impl Life<'_> {
    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn options(&self, vfs: Arc<dyn Vfs>) -> Options {
        let options = Options::new().vfs(vfs).segment_size(16 << 10).durability(self.durability);
        options.maintenance(Maintenance::Manual)
    }

    fn open(&mut self) {
        let (dir, mut vfs) = self.place.as_another();
        if let Place::Memory(memory) = &self.place {
            let process = memory.spawn();
            vfs = Arc::new(process.clone());
            self.process = Some(process);
        }
        self.ledger = Some(self.options(vfs).open(dir).expect("it opens"));
        self.live_is_there = true;
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("it is open")
    }

    fn follow_beside(&mut self, from: u64) {
        let (dir, vfs) = self.place.as_another();
        let reader = self.options(vfs).open_read_only(dir).expect("it opens for reading");
        self.beside.push(Follower::new(reader.follow(Seq(from)).expect("it can be followed"), from));
    }

    fn task(&mut self) -> String {
        self.tasks += 1;
        format!("task-{}", self.tasks)
    }

    fn event(&mut self) -> Event {
        let size = if self.rng.below(4) == 0 { self.rng.below(6000) } else { self.rng.below(60) };
        Event::created().meta("text", "x".repeat(size as usize))
    }

    /// What may fail, may fail.
    fn append(&mut self) {
        let result = match self.rng.below(4) {
            0 => {
                let mut batch = Batch::new();
                for _ in 0..=self.rng.below(6) {
                    let (task, event) = (self.task(), self.event());
                    batch.push(task, event, Expect::Any);
                }
                self.ledger().commit(batch).map(drop)
            }
            1 => {
                let key = format!("note-{}", self.rng.below(5));
                self.ledger().append_note(key, Event::noted(json!(self.tasks))).map(drop)
            }
            2 => {
                let (task, event) = (self.task(), self.event());
                self.ledger().submit(task, event).map(drop)
            }
            _ => {
                let (task, event) = (self.task(), self.event());
                self.ledger().append(task, event).map(drop)
            }
        };
        match result {
            // Where the next segment cannot be made, nothing has changed.
            Ok(()) | Err(Error::Unknown { .. } | Error::Poisoned { .. } | Error::Io { action: "prepare", .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The process is killed: all that was written stays, and nothing else happens.
    fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.process_dies();
        // It must not close what it has open.
        std::mem::forget(self.ledger.take());
        // Its followers have died with it.
        self.here.clear();
        self.count("kills");
    }

    fn close(&mut self) {
        if self.ledger.take().expect("it is open").close().is_ok() {
            for mut follower in std::mem::take(&mut self.here) {
                let rest = follower.follow.by_ref().map(|entry| entry.expect("nothing is damaged"));
                follower.given.extend(rest);
                self.compare(&follower);
            }
            self.count("closes");
        }
        self.here.clear();
        self.process = None;
    }

    fn step(&mut self) {
        let in_memory = matches!(self.place, Place::Memory(_));
        if self.ledger.is_none() {
            if self.rng.below(3) > 0 {
                self.open();
            }
            return;
        }
        match self.rng.below(40) {
            0 | 1 => self.close(),
            2..5 if in_memory => self.kill(),
            5..7 if in_memory => self.fail(),
            7 => {
                let from = self.rng.below(self.ledger().head().0 + 4);
                self.follow_beside(from);
            }
            8..11 => {
                let from = self.rng.below(self.ledger().head().0 + 4);
                self.here.push(Follower::new(self.ledger().follow(Seq(from)).expect("it can be followed"), from));
            }
            11 if self.live_is_there => {
                match &self.place {
                    Place::Memory(vfs) => vfs.remove_file(&self.place.live()).expect("it is there"),
                    Place::Real(_) => std::fs::remove_file(self.place.live()).expect("it is there"),
                }
                self.live_is_there = false;
                self.count("live removed");
            }
            12..18 => drop(self.ledger().maintain()),
            18..22 => drop(self.ledger().sync()),
            _ => self.append(),
        }
    }

    /// The next write or sync fails, and the writer is killed after it.
    fn fail(&mut self) {
        let Place::Memory(vfs) = &self.place else { return };
        let vfs = vfs.clone();
        let (kind, effect) = match self.rng.below(4) {
            0 => (CallKind::Write, Effect::ErrorAfter(self.rng.below(3000) as usize)),
            1 => (CallKind::SyncData, Effect::Sync(SyncFailure::LiveOldDiskOld)),
            _ => (CallKind::SyncData, Effect::Error),
        };
        self.here.clear();
        vfs.fail_at(vfs.calls(), Fault::new(EIO).only(kind).with(effect));
        self.append();
        drop(self.ledger().sync());
        vfs.clear_faults();
        self.ask();
        if matches!(self.ledger().append("after it", Event::created()), Err(Error::Poisoned { .. })) {
            self.kill();
            self.count("failures");
        }
    }

    /// All followers are asked, and what they were given is compared with what is durable.
    fn ask(&mut self) {
        let mut given = false;
        for follower in self.beside.iter_mut().chain(&mut self.here) {
            given |= follower.ask();
        }
        let Some(durable) = self.ledger.as_ref().map(Ledger::durable) else { return };
        let due = |follower: &Follower| durable.0.max(follower.from.max(1) - 1);
        for follower in &self.here {
            assert_eq!(follower.last(), due(follower), "in the writer's process");
        }
        for follower in &self.beside {
            assert!(follower.last() <= due(follower), "more than is durable");
            assert!(follower.last() == due(follower) || !self.live_is_there, "less than live names");
        }
        if given {
            self.power_cut();
        }
    }

    /// What was given survives a power cut right now, whatever else it takes.
    fn power_cut(&mut self) {
        let Place::Memory(vfs) = &self.place else { return };
        let pending = vfs.pending(vfs.trace_len());
        let mut choices = vec![pending.none_kept()];
        if self.rng.below(4) == 0 {
            let mut some = pending.all_kept();
            for (kept, sector) in some.sectors.iter_mut().zip(&pending.sectors) {
                *kept = self.rng.below(sector.newer.len() as u64 + 1) as u32;
            }
            choices.push(some);
        }
        for choice in choices {
            let image = pending.image(&choice).expect("the choice is possible");
            let reader = self.options(Arc::new(image)).open_read_only(DIR).expect("no power cut makes it refuse");
            let left: Vec<Entry> = reader.view().entries(Seq::FIRST).map(|entry| entry.expect("whole")).collect();
            for follower in self.beside.iter().chain(&self.here) {
                let from = (follower.from.max(1) - 1) as usize;
                let theirs = left.get(from..(follower.last() as usize).max(from)).unwrap_or_default();
                assert!(follower.given.is_empty() || theirs == follower.given, "a power cut takes what was given");
            }
            self.count("power cuts");
        }
    }

    fn compare(&mut self, follower: &Follower) {
        let (dir, vfs) = self.place.as_another();
        let reader = self.options(vfs).open_read_only(dir).expect("it opens for reading");
        let all: Vec<Entry> = reader.view().entries(Seq(follower.from)).map(|entry| entry.expect("whole")).collect();
        assert_eq!(follower.given, all, "from {}", follower.from);
        *self.tally.entry("entries").or_default() += all.len() as u64;
    }
}

fn live(place: Place, durability: Durability, seed: u64, tally: &mut BTreeMap<&'static str, u64>) {
    struct Say(u64);
    impl Drop for Say {
        fn drop(&mut self) {
            if std::thread::panicking() {
                say(&format!("follow: failed in a life of TASKLEDGER_SEED={} TASKLEDGER_CASES=1", self.0));
            }
        }
    }
    let context = Say(seed);
    let mut life = Life {
        place,
        durability,
        rng: Rng(seed),
        ledger: None,
        process: None,
        beside: Vec::new(),
        here: Vec::new(),
        live_is_there: true,
        tasks: 0,
        tally,
    };
    life.open();
    life.follow_beside(1);
    for _ in 0..STEPS {
        life.step();
        // Some are asked seldom, so that they have much to catch up with.
        if life.rng.below(3) > 0 {
            life.ask();
        }
    }
    if life.ledger.is_none() {
        life.open();
    }
    life.close();
    life.open();
    life.ask();
    for follower in std::mem::take(&mut life.beside) {
        life.compare(&follower);
    }
    life.ledger = None;
    let segments = match &life.place {
        Place::Memory(vfs) => {
            vfs.files().iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count()
        }
        Place::Real(dir) => std::fs::read_dir(dir.path().join("ledger/log")).expect("a directory").count(),
    };
    *life.tally.entry("rolls").or_default() += segments as u64 - 1;
    life.count("lives");
    drop(context);
}

fn lives(name: &str, cases: u64, durability: Durability, place: impl Fn() -> Place, demanded: &[&str]) {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let wanted = number("TASKLEDGER_CASES").unwrap_or(cases);
    let mut tally = BTreeMap::new();
    for n in 0..wanted {
        live(place(), durability, seed.wrapping_add(n), &mut tally);
    }
    say(&format!("follow: {name}: {tally:?}"));
    for what in demanded {
        assert!(
            wanted < cases || tally.get(what).is_some_and(|times| times * 10 >= cases),
            "{what} is rare: {tally:?}"
        );
    }
}

const OFTEN: [&str; 7] = ["entries", "rolls", "closes", "kills", "failures", "live removed", "power cuts"];

#[test]
fn in_memory() {
    lives("in memory", 200, Durability::Sync, || Place::Memory(MemVfs::new()), &OFTEN);
}

#[test]
fn in_memory_and_buffered() {
    lives("buffered", 200, BUFFERED, || Place::Memory(MemVfs::new()), &OFTEN);
}

#[test]
fn on_a_real_file_system() {
    let place = || Place::Real(tempfile::tempdir().expect("a temporary directory"));
    lives("real", 8, Durability::Sync, place, &OFTEN[..3]);
}
