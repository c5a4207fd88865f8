//! 32 threads of one process append durably, another process reads beside them, and the first is killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use taskledger::{Batch, Event, Expect, Ledger, Level, Options, Receipt, Seq, TaskState, Verdict, View};

use super::{Home, Killed, Round, SEED, wait_until};
use crate::support::{Rng, number, say};

const THREADS: usize = 32;
const ROUNDS: u64 = 5;
/// Names the directory to a child, and makes its names differ from those of the rounds before.
const DIR: &str = "TASKLEDGER_KILL_CHILD_DIR";
const ROUND: &str = "TASKLEDGER_KILL_CHILD_ROUND";

/// Not a test: the process that the test below starts and kills.
#[test]
#[ignore = "the child of another test"]
fn child_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round = number(ROUND).expect("the parent states the round");
    let ledger = Options::new().segment_size(64 << 10).open(dir).expect("it opens");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let ledger = &ledger;
            scope.spawn(move || append_for_ever(ledger, &format!("r{round}-t{thread:02}")));
        }
    });
}

/// Tasks one after the other, each through its whole life; each third one has a twin that lives in the same batches.
fn append_for_ever(ledger: &Ledger, name: &str) {
    for n in 0_u64.. {
        let life = [
            Event::created().meta("thread", name),
            Event::to(TaskState::Ready),
            Event::to(TaskState::Running).by(name),
            Event::to(TaskState::Completed).output(serde_json::json!({"n": n})),
        ];
        let alone = format!("{name}-{n}");
        for event in life {
            let receipt = if n % 3 > 0 {
                ledger.append(alone.as_str(), event)
            } else {
                let mut batch = Batch::new();
                batch.push(format!("{alone}-left"), event.clone(), Expect::Any);
                batch.push(format!("{alone}-right"), event, Expect::Any);
                ledger.commit(batch)
            };
            tell(&receipt.expect("it is appended"));
        }
    }
}

/// One line for the whole receipt, under one lock, flushed: it is out before the next append of this thread.
fn tell(receipt: &Receipt) {
    let items = receipt.items().iter().map(|item| format!(" {} {} {}", item.subject, item.seq, item.version));
    let line = format!("receipt {}{}\n", receipt.epoch(), items.collect::<String>());
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

/// A place that was acknowledged.
#[derive(Debug, Clone)]
struct Place {
    task: String,
    seq: u64,
    version: u64,
}

/// The places of a line that is a receipt; a line that the kill cut off is none.
fn places(line: &str) -> Vec<Place> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["receipt", _, items @ ..] = words.as_slice() else { return Vec::new() };
    let place = |item: &[&str]| Place {
        task: item[0].to_owned(),
        seq: item[1].parse().expect("a seq"),
        version: item[2].parse().expect("a version"),
    };
    items.chunks_exact(3).map(place).collect()
}

/// What a reader saw: task and version of each entry, from seq 1.
type Seen = Vec<(String, u64)>;

/// Checks that a view is a dense prefix which begins with what was seen before, has all of these places, and no half
/// of a batch.
fn check(view: &View, before: &Seen, places: &[Place]) -> Seen {
    let mut seen = Seen::new();
    let mut versions: HashMap<String, u64> = HashMap::new();
    for entry in view.entries(Seq::FIRST) {
        let entry = entry.expect("an entry can be read");
        assert_eq!(entry.seq.0, seen.len() as u64 + 1, "dense");
        let (task, version) = (entry.task.expect("a task"), entry.version.expect("a version"));
        let known = versions.entry(task.clone()).or_default();
        *known += 1;
        assert_eq!(version, *known, "{task}: dense");
        seen.push((task, version));
    }
    assert_eq!(view.seq().0, seen.len() as u64, "all up to the head");
    assert!(seen.len() >= before.len(), "{} entries were shown before, {} are there", before.len(), seen.len());
    assert!(seen.starts_with(before), "what was shown before has changed");
    for place in places {
        let there = seen.get(place.seq as usize - 1);
        assert!(
            there.is_some_and(|(task, version)| *task == place.task && *version == place.version),
            "{place:?} was acknowledged, {there:?} is there, the head is {}",
            seen.len()
        );
    }
    for (task, version) in &versions {
        if let Some(name) = task.strip_suffix("-left") {
            assert_eq!(versions.get(&format!("{name}-right")), Some(version), "half a batch of {name}");
        }
        let record = view.get(task).expect("a record can be read");
        assert_eq!(record.map(|task| task.version), Some(*version), "{task}");
    }
    seen
}

/// Reads what the child says until it says no more.
fn listen(child: &mut Killed) -> (Arc<Mutex<Vec<Place>>>, std::thread::JoinHandle<()>) {
    let stdout = child.0.stdout.take().expect("a pipe");
    let told: Arc<Mutex<Vec<Place>>> = Arc::default();
    let told_too = Arc::clone(&told);
    let listening = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).expect("the pipe can be read") > 0 {
            if line.ends_with('\n') {
                told_too.lock().expect("nobody panics").extend(places(&line));
            }
            line.clear();
        }
    });
    (told, listening)
}

fn start_child(dir: &Path, round: u64) -> Killed {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its own file"));
    command.args(["--exact", "kill::beside::child_writer", "--ignored", "--nocapture"]);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    Killed(command.spawn().expect("the child runs"))
}

#[test]
fn what_32_threads_were_told_survives_the_kill_of_their_process() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let (home, mut rng, started) = (Home::new(), Rng(seed), Instant::now());
    let dir = home.0.join("ledger");
    let mut seen = Seen::new();
    let mut all: Vec<Place> = Vec::new();
    let (mut views, mut beside, mut unacknowledged) = (0, 0, 0);
    for round in 0..ROUNDS {
        let life = Duration::from_millis(100 + rng.below(500));
        let context = Round(format!("TASKLEDGER_SEED={seed}, round {round} of readers beside a writer, {life:?}"));
        let mut child = start_child(&dir, round);
        let (told, listening) = listen(&mut child);
        wait_until("the first receipt", || !told.lock().expect("nobody panics").is_empty());
        let first = Instant::now();
        while first.elapsed() < life {
            let told = told.lock().expect("nobody panics").clone();
            let reader = Ledger::open_read_only(&dir).expect("it opens beside a writer");
            assert_eq!(reader.report().writer.map(|writer| writer.pid), Some(child.0.id()), "the writer lives");
            seen = check(reader.view(), &seen, &told);
            views += 1;
            beside += told.len();
        }
        assert!(child.0.try_wait().expect("it can be asked").is_none(), "the child ended by itself");
        child.0.kill().expect("it can be killed");
        child.0.wait().expect("it has ended");
        listening.join().expect("listening does not panic");
        all.append(&mut told.lock().expect("nobody panics"));

        // A reader first, at every other kill: it must see what recovery will keep.
        if round % 2 == 0 {
            let reader = Ledger::open_read_only(&dir).expect("it opens");
            assert_eq!(reader.report().writer, None);
            seen = check(reader.view(), &seen, &all);
        }
        let ledger = Ledger::open(&dir).expect("it opens");
        let now = ledger.as_of(taskledger::At::Seq(ledger.head())).expect("a view");
        seen = check(&now, &seen, &all);
        unacknowledged = seen.len() - all.len();
        ledger.close().expect("it closes");
        drop(context);
    }
    let report = taskledger::verify(&dir, Level::Content).expect("it can be verified");
    assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
    assert!(views >= ROUNDS, "each round has read beside the writer");
    say(&format!(
        "kill: seed {seed}; {THREADS} threads, {ROUNDS} kills: {} places acknowledged and there, {unacknowledged} more \
         there; {views} views beside the writer held {beside} places that were told before; {:.1?}",
        all.len(),
        started.elapsed()
    ));
}
