//! How many allocations an append and a look cost, and that a quiet writer does nothing: counted, not timed. The bounds are what
//! was counted when they were written; a change that costs more says so here. A program of its own, since what counts takes the place
//! of the allocator, and since the threads of the whole process are looked at.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect is to stop there; clippy's own exceptions for tests do not reach helpers"
)]

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use taskledger::{Batch, Durability, Event, Expect, Followed, Ledger, Maintenance, Options, Seq, TaskState};

const TASKS: u64 = 200;
const ROUNDS: u64 = 10;

fn open(dir: &Path) -> Ledger {
    let durability = Durability::Buffered { sync_every: Duration::from_secs(3600) };
    Options::new().maintenance(Maintenance::Manual).durability(durability).open(dir).unwrap()
}

fn name(n: u64) -> String {
    format!("task-{n:06}")
}

fn moved(n: u64) -> Event {
    Event::observed(TaskState::ALL[(n % 9) as usize]).by("worker-7")
}

/// Allocations of one, over as many as there are tasks, once everything has its size.
fn each(mut one: impl FnMut(u64)) -> u64 {
    (0..TASKS).for_each(&mut one);
    measure(|| (0..TASKS).for_each(&mut one)).count_total.div_ceil(TASKS)
}

#[test]
fn what_an_append_and_a_look_allocate_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let ledger = open(home.path());
    for round in 0..ROUNDS {
        (0..TASKS).for_each(|n| drop(ledger.append(name(n), moved(n + round)).unwrap()));
    }
    let text = format!("{{\"text\":\"{}\"}}", "x".repeat(140));
    // What the caller makes is not counted.
    let mut events: Vec<Event> = (0..2 * TASKS).map(moved).collect();
    let append = each(|n| drop(ledger.append(name(n), events.pop().unwrap()).unwrap())) - 1;
    let mut events: Vec<Event> = (0..2 * TASKS).map(|n| moved(n).output_text(&text)).collect();
    let output = each(|n| drop(ledger.append(name(n), events.pop().unwrap()).unwrap())) - 1;
    let mut batches: Vec<Batch> = (0..2 * TASKS).map(|round| batch(round, 100)).collect();
    let batched = each(|_| drop(ledger.commit(batches.pop().unwrap()).unwrap())).div_ceil(100);
    let get = each(|n| assert!(ledger.get(&name(n)).unwrap().is_some())) - 1;
    let absent = each(|n| assert!(ledger.get(&format!("no {n}")).unwrap().is_none())) - 1;
    let counts = each(|_| assert_eq!(ledger.counts().total(), TASKS));
    let told = format!(
        "allocations: an append {append}, with an output {output}, in a batch of 100 {batched} an event; a get {get}, an absent one \
         {absent}, counts {counts}"
    );
    writeln!(std::io::stderr(), "{told}").unwrap();
    assert!(append <= 14 && output <= 14 && batched <= 6 && get <= 5 && absent == 0 && counts == 0, "{told}");
}

fn batch(round: u64, events: u64) -> Batch {
    let mut batch = Batch::new();
    for n in 0..events {
        batch.push(name(n), moved(n + round), Expect::Any);
    }
    batch
}

/// How often the background threads of this process have waited so far, which is what they do after each call that waits.
#[cfg(target_os = "linux")]
fn waits() -> u64 {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let started = Instant::now();
    loop {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        let ours = threads.filter(|thread| read(thread.join("comm")).trim() == "taskledger");
        let statuses: Vec<String> = ours.map(|thread| read(thread.join("status"))).collect();
        if let [status] = &*statuses {
            let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            return waits.unwrap().trim().parse().unwrap();
        }
        // One ledger is open, whose thread takes its name once it runs.
        assert!(started.elapsed() < Duration::from_secs(60), "{} threads are ours", statuses.len());
        std::thread::yield_now();
    }
}

/// After its vouch and whatever else is due a writer waits to be called: there is a second in which its thread does not wake.
#[cfg(target_os = "linux")]
#[test]
fn a_quiet_writer_does_not_wake() {
    for durability in [Durability::Sync, Durability::Buffered { sync_every: Duration::from_millis(50) }] {
        let home = tempfile::tempdir().unwrap();
        let ledger = Options::new().durability(durability).open(home.path()).unwrap();
        ledger.append("a", Event::created()).unwrap();
        ledger.sync().unwrap();
        let mut follow = ledger.follow(Seq::FIRST).unwrap();
        while !matches!(follow.next_within(Duration::from_secs(60)).unwrap(), Followed::CaughtUp { .. }) {}
        let mut seconds = Vec::new();
        while seconds.last() != Some(&0) {
            let (before, started) = (waits(), Instant::now());
            assert!(matches!(follow.next_within(Duration::from_secs(1)), Ok(Followed::CaughtUp { .. })));
            assert!(started.elapsed() >= Duration::from_secs(1), "it waits for what does not come");
            seconds.push(waits() - before);
            assert!(seconds.len() < 20, "it wakes so many times a second: {seconds:?}");
        }
        writeln!(std::io::stderr(), "a quiet writer, {durability:?}: waits in each second: {seconds:?}").unwrap();
    }
}
