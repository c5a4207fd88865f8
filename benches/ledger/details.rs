//! What W1 to W8 do not show: a life of ten small steps as programs write it, alone and in groups; opening for reading;
//! replay where there are no indexes; what verifying comes to in bytes.

use std::path::Path;
use std::time::{Duration, Instant};

use taskledger::{Batch, Event, Expect, Ledger, Level, Seq, TaskState, verify};

use crate::work::Outcome;
use crate::work::args::Settings;
use crate::work::drive::TICKETS;

/// A figure by itself.
pub struct Detail {
    pub name: &'static str,
    pub value: f64,
    pub note: &'static str,
}

/// Tasks whose lives are written with a sync for each step.
const ALONE: u64 = 400;

pub fn all(settings: &Settings) -> Outcome<Vec<Detail>> {
    let own = tempfile::tempdir_in(settings.dir.as_deref().unwrap_or(Path::new(".")))?;
    let dir = own.path();
    let events = settings.events.min(200_000) / 10 * 10;
    let mut details = Vec::new();
    let mut add = |name, value, note| details.push(Detail { name, value, note });

    let tickets = middle(settings.rounds, |round| tickets(&dir.join(format!("tickets-{round}")), settings.part))?;
    add("durable_events_per_second_256_tickets", tickets, "small events, one thread");

    add("bytes_per_event_alone", alone(&dir.join("alone"))?, "ten-step lifecycle, UUID ids, one event a sync");
    let big = dir.join("big");
    build(&big, events / 10)?;
    let bytes = verify(&big, Level::Structure)?.bytes as f64;
    add("bytes_per_event_in_groups", bytes / events as f64, "the same, 64 events a batch");
    add("lifecycle_events", events as f64, "in the ledger that the following is about");
    let opening = middle(settings.rounds, |_| Ok(open(&big, events)?.as_secs_f64() * 1e3))?;
    add("opening_milliseconds", opening, "for reading, with indexes, warm");
    // Without indexes the whole log is replayed.
    let (tables, away) = (big.join("idx"), dir.join("idx-away"));
    std::fs::rename(&tables, &away)?;
    let replay = middle(settings.rounds, |_| Ok(events as f64 / open(&big, events)?.as_secs_f64()))?;
    std::fs::rename(&away, &tables)?;
    add("replay_events_per_second", replay, "opening for reading without indexes");
    for (level, name) in [
        (Level::Structure, "verify_structure_megabytes_per_second"),
        (Level::Content, "verify_content_megabytes_per_second"),
    ] {
        let rate = middle(settings.rounds, |_| {
            let started = Instant::now();
            let report = verify(&big, level)?;
            if !report.findings.is_empty() {
                return Err(format!("{:?}", report.findings).into());
            }
            Ok(bytes / 1e6 / started.elapsed().as_secs_f64())
        })?;
        add(name, rate, "of frames");
    }
    Ok(details)
}

/// The middle of so many rounds.
fn middle(rounds: usize, mut once: impl FnMut(usize) -> Outcome<f64>) -> Outcome<f64> {
    let mut values = (0..rounds).map(&mut once).collect::<Outcome<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_else(|| "no rounds".into())
}

fn open(dir: &Path, events: u64) -> Outcome<Duration> {
    let started = Instant::now();
    let reader = Ledger::open_read_only(dir)?;
    let (seq, took) = (reader.view().counts().seq(), started.elapsed());
    if seq == Seq(events) { Ok(took) } else { Err(format!("{} has a head of {seq}", dir.display()).into()) }
}

/// Events a second of one thread that keeps so many tickets outstanding.
fn tickets(dir: &Path, part: Duration) -> Outcome<f64> {
    let ledger = Ledger::open(dir)?;
    let mut tickets = std::collections::VecDeque::with_capacity(TICKETS);
    let (started, mut tasks, mut done) = (Instant::now(), 0, 0_u64);
    while started.elapsed() < part {
        let task = format!("task-{tasks:08}");
        tasks += 1;
        for event in [Event::created(), Event::to(TaskState::Ready), Event::to(TaskState::Running)] {
            tickets.push_back(ledger.submit(task.as_str(), event.by("worker-7"))?);
            if tickets.len() == TICKETS {
                tickets.pop_front().ok_or("just filled")?.wait()?;
                done += 1;
            }
        }
    }
    for ticket in tickets {
        ticket.wait()?;
        done += 1;
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// Ten steps: with a retry, an error, an output, and who did it.
fn lifecycle(n: u64) -> (String, [Event; 10]) {
    use TaskState::{Completed, Ready, Retrying, Running};
    let high = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id =
        format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", high >> 32, high >> 16 & 0xffff, n & 0xfff, high & 0xfff, n);
    let worker = format!("worker-{}", n % 16);
    let events = [
        Event::created().meta("queue", "default").meta("host", format!("ci-{}", n % 8)).by("planner"),
        Event::to(Ready).by("scheduler"),
        Event::to(Running).by(worker.clone()),
        Event::to(Retrying).error("connection reset by peer").by(worker.clone()),
        Event::to(Ready).by("scheduler"),
        Event::to(Running).by(worker.clone()),
        Event::to(Retrying).error("timeout after 30 s").by(worker.clone()),
        Event::to(Ready).by("scheduler"),
        Event::to(Running).by(worker.clone()),
        Event::to(Completed).output(serde_json::json!({"rows": n})).by(worker),
    ];
    (id, events)
}

/// Bytes of frames per event, each event with a sync of its own.
fn alone(dir: &Path) -> Outcome<f64> {
    let ledger = Ledger::open(dir)?;
    for step in 0..10 {
        for n in 0..ALONE {
            let (id, events) = lifecycle(n);
            ledger.append(id, events.into_iter().nth(step).ok_or("ten steps")?)?;
        }
    }
    ledger.close()?;
    Ok(verify(dir, Level::Structure)?.bytes as f64 / (ALONE * 10) as f64)
}

/// So many lives in batches of 64, 64 tasks at a time.
fn build(dir: &Path, tasks: u64) -> Outcome<()> {
    let ledger = Ledger::open(dir)?;
    let mut batch = Batch::new();
    for group in (0..tasks).collect::<Vec<_>>().chunks(64) {
        for step in 0..10 {
            for &n in group {
                let (id, events) = lifecycle(n);
                batch.push(id, events.into_iter().nth(step).ok_or("ten steps")?, Expect::Any);
                if batch.len() == 64 {
                    ledger.commit(std::mem::take(&mut batch))?;
                }
            }
        }
    }
    if !batch.is_empty() {
        ledger.commit(batch)?;
    }
    Ok(ledger.close()?)
}
