//! What the kill test imports, and an import that runs in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Killed;
use crate::support::{Rng, taskledger};
use crate::workflows::{Reading, runs};

/// The largest size of a segment: small, so that there are many rolls.
pub const SEGMENT_BYTES: u64 = 16 << 10;

/// What is imported, each line with its version, and the entries that must come of it.
pub struct Input {
    pub lines: Vec<String>,
    pub reading: Reading,
}

impl Input {
    pub fn new(seed: u64) -> Input {
        let lines = match runs() {
            Some(runs) => runs.iter().flat_map(|run| run.lines.iter().cloned()).collect(),
            None => generated(seed),
        };
        let reading = Reading::of(lines.iter().map(String::as_str));
        let with_version = |(line, entry): (&String, &Value)| {
            let mut line: Value = serde_json::from_str(line).expect("a line is JSON");
            line["version"] = entry["version"].clone();
            line.to_string()
        };
        let lines = lines.iter().zip(&reading.entries).map(with_version).collect();
        Input { lines, reading }
    }
}

/// About 3000 lines of tasks that go their ways side by side, some by way of a failure.
fn generated(seed: u64) -> Vec<String> {
    const GOOD: &[&str] = &["created", "ready", "running", "completed"];
    const BAD: &[&str] = &["created", "ready", "running", "failed", "retrying", "running", "completed"];
    let (mut rng, mut at) = (Rng(seed), 1_700_000_000_000);
    let mut under_way: Vec<(usize, &[&str], u32)> = Vec::new();
    let (mut lines, mut next) = (Vec::new(), 0);
    while lines.len() < 3000 || !under_way.is_empty() {
        if lines.len() < 3000 && under_way.len() < 40 {
            under_way.push((next, if rng.below(4) == 0 { BAD } else { GOOD }, 0));
            next += 1;
        }
        at += rng.below(50);
        let chosen = rng.below(under_way.len() as u64) as usize;
        let (task, rest, attempts) = &mut under_way[chosen];
        let step = rest[0];
        // One in eight was reported late.
        let said = if rng.below(8) == 0 { at - rng.below(5000) } else { at };
        let mut line = json!({"task": format!("run-{}/step-{task}", *task / 100), "at": said, "actor": "generator"});
        line["event"] = if step == "created" { "created" } else { "transitioned" }.into();
        match step {
            "created" => line["metadata"] = json!({"host": format!("h{}", rng.below(9)), "text": "ä \"x\"\n"}),
            state => line["to"] = state.into(),
        }
        match step {
            "running" => {
                *attempts += 1;
                line["attempts"] = (*attempts).into();
            }
            "failed" => line["error"] = "x".repeat(rng.below(300) as usize).into(),
            "completed" => line["output"] = json!({"rows": rng.below(1000), "rate": rng.below(1000) as f64 / 7.0}),
            _ => {}
        }
        lines.push(line.to_string());
        *rest = &rest[1..];
        if rest.is_empty() {
            under_way.swap_remove(chosen);
        }
    }
    lines
}

/// How far an import had come.
pub struct Fate {
    /// Lines that were sent before the kill or the cut.
    pub sent: usize,
    /// Lines that were sent in all, by the time it was dead.
    pub sent_in_all: usize,
    /// Lines that it acknowledged.
    pub acked: usize,
    /// How long it took to the first acknowledgement.
    pub first_ack: Option<Duration>,
}

/// An import that runs.
pub struct Import {
    child: Killed,
    started: Instant,
    sent: Arc<AtomicUsize>,
    acked: Arc<AtomicUsize>,
    /// Microseconds from the start to the first acknowledgement, 0 before.
    first_ack: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    /// While it is there, the input does not end.
    more: Option<mpsc::Sender<()>>,
}

impl Import {
    /// Starts one on some of the lines, so many at a time. Its input does not end before it is told to.
    pub fn start(dir: &Path, input: &Arc<Input>, lines: Range<usize>, batch: usize) -> Import {
        let mut command = taskledger();
        command.args(["import", "--batch", &batch.to_string(), "--segment-size", &SEGMENT_BYTES.to_string()]);
        command.args(["--json", "-", "-D"]).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = Killed(command.spawn().expect("the tool runs"));
        let mut stdin = child.0.stdin.take().expect("a pipe");
        let stdout = child.0.stdout.take().expect("a pipe");
        let (sent, acked, first_ack) = (Arc::default(), Arc::default(), Arc::default());
        let (more, no_more) = mpsc::channel::<()>();
        let (input, sent_too): (_, Arc<AtomicUsize>) = (Arc::clone(input), Arc::clone(&sent));
        let feeding = std::thread::spawn(move || {
            for line in &input.lines[lines] {
                if stdin.write_all(format!("{line}\n").as_bytes()).is_err() {
                    return; // It was killed.
                }
                sent_too.fetch_add(1, Ordering::SeqCst);
            }
            let _ = no_more.recv();
        });
        let (acked_too, first_too): (Arc<AtomicUsize>, Arc<AtomicU64>) = (Arc::clone(&acked), Arc::clone(&first_ack));
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.expect("the pipe can be read");
                // A kill may cut the last line off; what is not whole has not been said.
                let Ok(told) = serde_json::from_slice::<Value>(&line) else { break };
                if told["type"] == "taskledger.imported/1" {
                    let _ = first_too.compare_exchange(
                        0,
                        started.elapsed().as_micros() as u64,
                        Ordering::SeqCst,
                        Ordering::SeqCst,
                    );
                    acked_too.fetch_max(told["line"].as_u64().expect("a number") as usize, Ordering::SeqCst);
                }
            }
        });
        Import { child, started, sent, acked, first_ack, threads: vec![feeding, reading], more: Some(more) }
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// How many lines it was sent so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many lines it has acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    /// Whether it has ended, or closed its output.
    pub fn is_silent(&self) -> bool {
        self.threads.iter().skip(1).all(JoinHandle::is_finished)
    }

    /// Kills it.
    pub fn kill(mut self) -> Fate {
        let early = self.is_silent() || self.child.0.try_wait().expect("it can be asked").is_some();
        let sent = self.sent.load(Ordering::SeqCst);
        self.child.0.kill().expect("it can be killed");
        let told = self.ended();
        assert!(!early, "the import ended by itself: {told}");
        self.fate(sent)
    }

    fn fate(&self, sent: usize) -> Fate {
        let first_ack = Some(self.first_ack.load(Ordering::SeqCst)).filter(|&micros| micros > 0);
        Fate {
            sent,
            sent_in_all: self.sent.load(Ordering::SeqCst),
            acked: self.acked(),
            first_ack: first_ack.map(Duration::from_micros),
        }
    }

    /// Lets it come to whatever end: what it writes to fails, or it has no more lines.
    pub fn end(mut self) -> Fate {
        let sent = self.sent.load(Ordering::SeqCst);
        self.ended();
        self.fate(sent)
    }

    /// Lets it come to its end, which must be a good one; gives the number of lines acknowledged.
    pub fn finish(mut self) -> usize {
        let told = self.ended();
        let status = self.child.0.wait().expect("it has ended");
        assert!(status.success(), "the import failed: {status} {told}");
        self.acked()
    }

    /// Waits for its end, and gives what it said on standard error.
    fn ended(&mut self) -> String {
        self.more = None;
        let stderr = self.child.0.stderr.take().expect("a pipe");
        let told = std::io::read_to_string(stderr).expect("standard error can be read");
        self.child.0.wait().expect("it has ended");
        for thread in self.threads.drain(..) {
            thread.join().expect("no thread of the test panics");
        }
        told
    }
}
