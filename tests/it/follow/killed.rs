//! A writer in a process of its own that is killed again and again, and a follower that outlives all of them: it sees
//! every acknowledged entry exactly once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use taskledger::{Batch, Durability, Entry, Event, Expect, Followed, Ledger, Options, Seq};

use crate::kill::{Killed, SEED, wait_until};
use crate::support::{Rng, number, say};

const THREADS: usize = 4;
const ROUNDS: u64 = 8;
const DIR: &str = "TASKLEDGER_FOLLOW_CHILD_DIR";
const ROUND: &str = "TASKLEDGER_FOLLOW_CHILD_ROUND";

/// Not a test: the process that the test below starts and kills. Every third one appends buffered, and says what is durable.
#[test]
#[ignore = "the child of another test"]
fn child_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round = number(ROUND).expect("the parent states the round");
    let buffered = round % 3 == 2;
    let options = Options::new().segment_size(16 << 10);
    let sync_every = Duration::from_millis(2);
    let options = if buffered { options.durability(Durability::Buffered { sync_every }) } else { options };
    let ledger = options.open(dir).expect("it opens");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let ledger = &ledger;
            scope.spawn(move || {
                for n in 0_u64.. {
                    let task = format!("r{round}-t{thread}-{n}");
                    let mut batch = Batch::new();
                    for part in 0..=n % 3 {
                        let event = Event::created().meta("text", "x".repeat(n as usize % 400));
                        batch.push(format!("{task}-{part}"), event, Expect::Absent);
                    }
                    let receipt = ledger.commit(batch).expect("it is appended");
                    if buffered {
                        ledger.sync().expect("it is synced");
                    }
                    let mut line = String::new();
                    for item in receipt.items() {
                        line.push_str(&format!("place {} {}\n", item.subject, item.seq));
                    }
                    let mut out = std::io::stdout().lock();
                    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
                }
            });
        }
    });
}

#[test]
fn a_follower_outlives_writers_that_are_killed() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let (home, mut rng, started) = (tempfile::tempdir().unwrap(), Rng(seed), Instant::now());
    let dir = home.path().join("ledger");
    Options::new().segment_size(16 << 10).open(&dir).unwrap().close().unwrap();
    let given: Arc<Mutex<Vec<Entry>>> = Arc::default();
    // The last seq that it is to give; not known until the end.
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let caught_up = Arc::new(AtomicU64::new(0));
    let following = {
        let mut follow = Ledger::open_read_only(&dir).unwrap().follow(Seq::FIRST).unwrap();
        let (given, last, caught_up) = (Arc::clone(&given), Arc::clone(&last), Arc::clone(&caught_up));
        std::thread::spawn(move || {
            while (given.lock().unwrap().len() as u64) < last.load(Ordering::SeqCst) {
                match follow.next_within(Duration::from_millis(100)).expect("no kill is damage") {
                    Followed::Entry(entry) => given.lock().unwrap().push(*entry),
                    _ => drop(caught_up.fetch_add(1, Ordering::SeqCst)),
                }
            }
        })
    };

    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..ROUNDS {
        // It is killed so long after so many places were told.
        let (places, pause) = (100 + rng.below(300) as usize, Duration::from_micros(rng.below(3000)));
        let mut command = Command::new(std::env::current_exe().expect("the test knows its own file"));
        command.args(["--exact", "follow::killed::child_writer", "--ignored", "--nocapture"]);
        command.env(DIR, &dir).env(ROUND, round.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Killed(command.spawn().expect("the child runs"));
        let stdout = BufReader::new(child.0.stdout.take().expect("a pipe"));
        let told: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
        let listening = {
            let told = Arc::clone(&told);
            std::thread::spawn(move || {
                for line in stdout.lines().map_while(Result::ok) {
                    let words: Vec<&str> = line.split(' ').collect();
                    if let ["place", task, seq] = words[..]
                        && let Ok(seq) = seq.parse()
                    {
                        told.lock().unwrap().push((seq, task.to_owned()));
                    }
                }
            })
        };
        wait_until("receipts", || told.lock().unwrap().len() >= places);
        let reached = Instant::now();
        wait_until("the time of the kill", || reached.elapsed() >= pause);
        assert!(child.0.try_wait().unwrap().is_none(), "the child ended by itself");
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        listening.join().unwrap();
        let mut told = std::mem::take(&mut *told.lock().unwrap());
        // The last line may have been cut off.
        told.pop();
        acknowledged.extend(told);
    }
    // The next writer makes durable what the last one had written.
    let ledger = Ledger::open(&dir).unwrap();
    let all: Vec<Entry> = ledger.entries(Seq::FIRST).map(Result::unwrap).collect();
    last.store(all.len() as u64, Ordering::SeqCst);
    following.join().unwrap_or_else(|_| panic!("TASKLEDGER_SEED={seed}: the follower failed"));
    let given = given.lock().unwrap();
    assert!(*given == all, "TASKLEDGER_SEED={seed}: {} given, {} there, or others", given.len(), all.len());
    for (seq, task) in &acknowledged {
        let there = given.get(*seq as usize - 1).and_then(|entry| entry.task.as_deref());
        assert_eq!(there, Some(task.as_str()), "TASKLEDGER_SEED={seed}: seq {seq} was acknowledged");
    }
    let segments = std::fs::read_dir(dir.join("log")).unwrap().count();
    assert!(segments > 3, "{segments} segments for {} entries", given.len());
    say(&format!(
        "follow: seed {seed}; {ROUNDS} kills: {} entries given, {} of them acknowledged, {segments} segments, caught up {} \
         times; {:.1?}",
        given.len(),
        acknowledged.len(),
        caught_up.load(Ordering::SeqCst),
        started.elapsed()
    ));
}
