//! What is done with a store, and how long it takes. Every answer is held against the script.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::child::Figures;
use super::events::{Counts, Payload, Script, mix};
use super::{Extent, Mode, Outcome, Peer, Store, machine};

/// Threads of W2.
pub const THREADS: [usize; 4] = [1, 8, 32, 64];
/// Tickets that one thread keeps outstanding.
pub const TICKETS: usize = 256;
/// Events of a batch.
pub const BATCH: usize = 100;
/// Events that are made at a time, outside what is timed; while a store is built it is synced after as many.
const CHUNK: u64 = 10_000;
/// Durable appends before the first that counts.
const WARM_UP: u64 = 50;

/// A part of the work of one peer.
pub struct Work<'a> {
    pub peer: &'a dyn Peer,
    pub script: &'a Script,
    pub part: Duration,
    pub dir: &'a Path,
}

impl Work<'_> {
    /// Does a part. A store that is given back is still open.
    pub fn run(&self, part: &str, figures: &mut Figures) -> Outcome<Option<Box<dyn Store>>> {
        let mut put = |name: &str, value: f64| {
            figures.insert(name.to_owned(), value);
        };
        if let Some(events) = part.strip_prefix("sync:") {
            self.synced(events.parse()?)?;
            return Ok(None);
        }
        match part {
            "w1" => self.durable(&mut put)?,
            "w2" => {
                for threads in THREADS {
                    self.crowd(threads, &mut put)?;
                }
                self.tickets(&mut put)?;
            }
            "w3" => self.relaxed(&mut put)?,
            "build" => return self.build(&mut put).map(Some),
            "w4" => return self.open_and_count(&mut put).map(Some),
            "ask" => return self.ask(&mut put).map(Some),
            "check" => self.check(&mut put)?,
            other => return Err(format!("there is no part {other}").into()),
        }
        Ok(None)
    }

    fn extent(&self) -> Extent {
        Extent { events: self.script.len(), tasks: self.script.tasks() }
    }

    /// A new store.
    fn open(&self, name: &str, mode: Mode) -> Outcome<Option<Box<dyn Store>>> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let store = self.peer.open(&dir, mode, self.extent())?;
        // What was filled with zeros ahead is not to be the first append's to sync.
        rustix::fs::sync();
        Ok(store)
    }

    /// The store that was built.
    fn built(&self) -> Outcome<Box<dyn Store>> {
        self.peer.open(self.dir, Mode::Durable, self.extent())?.ok_or_else(|| "it was built and does not open".into())
    }

    /// Holds the store against the first events of the script.
    fn expect(&self, store: &dyn Store, events: u64) -> Outcome<()> {
        self.same(store.counts()?, Counts::of(&self.script.states_at(events)), "tasks by state")
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, answer: T, right: T, what: &str) -> Outcome<()> {
        if answer == right {
            return Ok(());
        }
        Err(format!("{}: wrong answer: {what}: {answer:?}, and not {right:?}", self.peer.name()).into())
    }

    /// W1: one thread, one event a call, then batches.
    fn durable(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<()> {
        let Some(store) = self.open("single", Mode::Durable)? else { return Ok(()) };
        let (mut done, mut latencies) = (0, Latencies::default());
        'timed: while done < self.script.len() {
            for event in self.script.events(done + 1..=(done + 1000).min(self.script.len())) {
                let started = Instant::now();
                store.append(&event)?;
                done += 1;
                if done > WARM_UP {
                    latencies.add(started.elapsed());
                }
                if latencies.sum > self.part {
                    break 'timed;
                }
            }
        }
        self.expect(store.as_ref(), done)?;
        store.close()?;
        put("w1.rate", latencies.rate());
        put("w1.p50_us", latencies.percentile(0.5) * 1e6);
        put("w1.p99_us", latencies.percentile(0.99) * 1e6);
        if self.peer.has_batches() {
            let store = self.open("batches", Mode::Durable)?.ok_or("it was opened before")?;
            put("w1.batch", self.appending(store, BATCH)?);
        }
        Ok(())
    }

    /// W3: one thread that does not wait for the disk, one event a call, then batches.
    fn relaxed(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<()> {
        let Some(store) = self.open("single", Mode::Relaxed)? else { return Ok(()) };
        put("w3.single", self.appending(store, 1)?);
        if self.peer.has_batches() {
            let store = self.open("batches", Mode::Relaxed)?.ok_or("it was opened before")?;
            put("w3.batch", self.appending(store, BATCH)?);
        }
        Ok(())
    }

    /// Events a second in batches; one by one where a batch has one. The sync at the end is not timed.
    fn appending(&self, store: Box<dyn Store>, batch: usize) -> Outcome<f64> {
        let (mut done, mut took) = (0, Duration::ZERO);
        while took < self.part && done < self.script.len() {
            let events = self.script.events(done + 1..=(done + CHUNK).min(self.script.len()));
            for batches in events.chunks(BATCH) {
                let started = Instant::now();
                for batch in batches.chunks(batch) {
                    match batch {
                        [event] => store.append(event)?,
                        events => store.append_all(events)?,
                    }
                }
                took += started.elapsed();
                done += batches.len() as u64;
                if took > self.part {
                    break;
                }
            }
        }
        store.sync()?;
        self.expect(store.as_ref(), done)?;
        store.close()?;
        Ok(done as f64 / took.as_secs_f64())
    }

    /// W2: each thread has tasks of its own and waits for each of its events.
    fn crowd(&self, threads: usize, put: &mut dyn FnMut(&str, f64)) -> Outcome<()> {
        let Some(store) = self.open(&format!("threads-{threads}"), Mode::Durable)? else { return Ok(()) };
        let mut turns = vec![Vec::new(); threads];
        for (n, &task) in self.script.turns().iter().enumerate() {
            turns[task as usize % threads].push(n as u64 + 1);
        }
        let (barrier, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
        let (took, worked) = std::thread::scope(|scope| {
            let (store, barrier, over) = (store.as_ref(), &barrier, &over);
            let workers: Vec<_> = turns
                .iter()
                .map(|turns| {
                    scope.spawn(move || {
                        let mut latencies = Latencies::default();
                        barrier.wait();
                        let begun = Instant::now();
                        for &seq in turns {
                            let event = self.script.event(seq);
                            let started = Instant::now();
                            store.append(&event)?;
                            latencies.add(started.elapsed());
                            if over.load(Ordering::Relaxed) || begun.elapsed() > self.part {
                                break;
                            }
                        }
                        // Where one has no more to do, the others would have more room.
                        over.store(true, Ordering::Relaxed);
                        Outcome::Ok(latencies)
                    })
                })
                .collect();
            barrier.wait();
            let begun = Instant::now();
            let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked")?);
            let worked = joined.collect::<Outcome<Vec<Latencies>>>()?;
            Outcome::Ok((begun.elapsed(), worked))
        })?;
        let mut states = vec![0; self.script.tasks() as usize];
        let mut all = Latencies::default();
        for (turns, latencies) in turns.iter().zip(worked) {
            for &seq in turns.iter().take(latencies.all.len()) {
                let event = self.script.event(seq);
                states[event.task() as usize] = event.to();
            }
            all.all.extend(latencies.all);
        }
        self.same(store.counts()?, Counts::of(&states), "tasks by state after threads")?;
        store.close()?;
        put(&format!("w2.rate.{threads}"), all.all.len() as f64 / took.as_secs_f64());
        put(&format!("w2.p99_ms.{threads}"), all.percentile(0.99) * 1e3);
        Ok(())
    }

    /// W2 by one thread that goes on before its events are durable, and keeps count of them.
    fn tickets(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<()> {
        let Some(store) = self.open("tickets", Mode::Durable)? else { return Ok(()) };
        let (mut done, mut took) = (0, Duration::ZERO);
        let mut outstanding = VecDeque::new();
        while took < self.part && done < self.script.len() {
            let events = self.script.events(done + 1..=(done + CHUNK).min(self.script.len()));
            let started = Instant::now();
            for event in &events {
                let Some(waiting) = store.submit(event)? else { return Ok(()) };
                outstanding.push_back(waiting);
                if outstanding.len() == TICKETS {
                    outstanding.pop_front().ok_or("just filled")?()?;
                }
                done += 1;
                if started.elapsed() + took > self.part {
                    break;
                }
            }
            // The next events are made while nothing is outstanding: making them must not hide a wait.
            for waiting in outstanding.drain(..) {
                waiting()?;
            }
            took += started.elapsed();
        }
        drop(outstanding);
        self.expect(store.as_ref(), done)?;
        store.close()?;
        put("w2.tickets", done as f64 / took.as_secs_f64());
        Ok(())
    }

    /// So many durable appends and nothing else, for who counts the syncs.
    fn synced(&self, events: u64) -> Outcome<()> {
        let Some(store) = self.open(&format!("sync-{events}"), Mode::Durable)? else { return Ok(()) };
        for event in self.script.events(1..=events.min(self.script.len())) {
            store.append(&event)?;
        }
        store.close()
    }

    /// The store for W4 to W8, synced and still open.
    fn build(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<Box<dyn Store>> {
        let store = self.peer.open(self.dir, Mode::Load, self.extent())?.ok_or("it cannot be built")?;
        let mut seqs: Vec<u64> = (1..=self.script.len()).collect();
        if !self.peer.keeps_events() {
            let (histories, steps) = self.script.histories();
            seqs = histories.chunks(steps).filter_map(|history| history.last().copied()).collect();
        }
        let mut took = Duration::ZERO;
        for chunk in seqs.chunks(CHUNK as usize) {
            let events = self.script.events(chunk.iter().copied());
            let started = Instant::now();
            for batch in events.chunks(self.peer.load_batch()) {
                match batch {
                    [event] => store.append(event)?,
                    events => store.append_all(events)?,
                }
            }
            store.sync()?;
            took += started.elapsed();
        }
        put("build.seconds", took.as_secs_f64());
        put("w8.rss_write_mb", machine::status("VmHWM").unwrap_or(0) as f64 / 1e6);
        self.expect(store.as_ref(), self.script.len())?;
        Ok(store)
    }

    /// W4.
    fn open_and_count(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<Box<dyn Store>> {
        let cold = machine::drop_caches();
        let started = Instant::now();
        let store = self.built()?;
        let opened = started.elapsed();
        let counts = store.counts()?;
        let counted = started.elapsed();
        self.same(counts, Counts::of(&self.script.states_at(self.script.len())), "tasks by state after opening")?;
        put("w4.ms", counted.as_secs_f64() * 1e3);
        put("w4.open_ms", opened.as_secs_f64() * 1e3);
        put("w4.cold", if cold { 1.0 } else { 0.0 });
        put("w4.rss_mb", machine::status("VmHWM").unwrap_or(0) as f64 / 1e6);
        Ok(store)
    }

    /// W5 and W6, from the page cache.
    fn ask(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<Box<dyn Store>> {
        machine::warm(self.dir)?;
        let store = self.built()?;
        let (histories, steps) = self.script.histories();
        let task = |n: u64| (mix(n) % u64::from(self.script.tasks())) as u32;
        let mut told = Vec::with_capacity(steps);
        let mut has_history = true;
        for n in 0..200 {
            let expected = &histories[task(n) as usize * steps..][..steps];
            let expected = self.script.events(expected.iter().copied());
            told.clear();
            has_history = store.history(task(n), &mut |event| {
                told.push((expected.get(told.len()).map(Payload::told) == Some(event), event.seq));
            })?;
            if !has_history {
                break;
            }
            self.same(told.iter().filter(|(same, _)| *same).count(), steps, "the history of a task")?;
        }
        if has_history {
            let mut latencies = Latencies::default();
            for n in 1000..21_000 {
                let expected = &histories[task(n) as usize * steps..][..steps];
                let (mut right, mut seen) = (0, 0);
                let started = Instant::now();
                store.history(task(n), &mut |event| {
                    right += usize::from(expected.get(seen) == Some(&event.seq));
                    seen += 1;
                })?;
                latencies.add(started.elapsed());
                self.same((right, seen), (steps, steps), "the seqs of a task's history")?;
                if latencies.sum > self.part {
                    break;
                }
            }
            put("w5.p50_us", latencies.percentile(0.5) * 1e6);
            put("w5.p99_us", latencies.percentile(0.99) * 1e6);
        }
        let half = self.script.len() / 2;
        let right = self.script.states_at(half);
        if let Some(took) = self.repeated(|| Ok(store.counts_at(half)?.map(|counts| counts == Counts::of(&right))))? {
            put("w6.counts_ms", took);
        }
        if let Some(took) = self.repeated(|| Ok(store.states_at(half)?.map(|states| states == right)))? {
            put("w6.states_ms", took);
        }
        put("w8.rss_read_mb", machine::status("VmHWM").unwrap_or(0) as f64 / 1e6);
        Ok(store)
    }

    /// The middle of up to five times, in milliseconds. What is asked says whether it was answered rightly.
    fn repeated(&self, mut ask: impl FnMut() -> Outcome<Option<bool>>) -> Outcome<Option<f64>> {
        let (begun, mut latencies) = (Instant::now(), Latencies::default());
        while latencies.all.len() < 5 && (latencies.all.is_empty() || begun.elapsed() < self.part) {
            let started = Instant::now();
            let Some(right) = ask()? else { return Ok(None) };
            latencies.add(started.elapsed());
            self.same(right, true, "the states after half of the events")?;
        }
        Ok(Some(latencies.percentile(0.5) * 1e3))
    }

    /// W7, from the page cache.
    fn check(&self, put: &mut dyn FnMut(&str, f64)) -> Outcome<()> {
        machine::warm(self.dir)?;
        for which in 0..self.peer.checks().len() {
            let checked = self.peer.check(self.dir, which, self.extent())?;
            if let Some(events) = checked.events.filter(|_| self.peer.keeps_events()) {
                self.same(events, self.script.len(), "the events that the check has seen")?;
            }
            put(&format!("w7.ms.{which}"), checked.took.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

/// How long calls took.
#[derive(Default)]
struct Latencies {
    all: Vec<f64>,
    sum: Duration,
}

impl Latencies {
    fn add(&mut self, took: Duration) {
        self.all.push(took.as_secs_f64());
        self.sum += took;
    }

    fn rate(&self) -> f64 {
        self.all.len() as f64 / self.sum.as_secs_f64()
    }

    fn percentile(&mut self, part: f64) -> f64 {
        self.all.sort_by(f64::total_cmp);
        let last = self.all.len().saturating_sub(1);
        self.all.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }
}
