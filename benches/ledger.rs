//! First figures: durable appends against the bare system calls, replay, verify, and bytes per event, in one run.
//!
//! `cargo bench --bench ledger` prints a table; `-- --json` one JSON object. Floor and ledger take turns, so that noise
//! is shared; each figure is the median of the rounds. Rates depend on the machine and its load, ratios much less.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use taskledger::{At, Batch, Durability, Event, Expect, Ledger, Level, Options, Seq, TaskState, verify};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(800);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let dir = tempfile::tempdir_in(".")?;
    let mut figures: Vec<(&str, f64, &str)> = Vec::new();

    let single = against_floor(dir.path(), 1)?;
    let crowd = against_floor(dir.path(), 64)?;
    figures.push(("bare_write_and_sync_per_second", single.floor, "of one event's bytes, one thread"));
    figures.push(("durable_appends_per_second_1_thread", single.rate, ""));
    figures.push(("durable_appends_1_thread_ratio", single.rate / single.floor, "to the bare write and sync"));
    figures.push(("durable_append_p50_ratio", single.p50 / single.floor_p50, "of the latencies, one thread"));
    figures.push(("durable_appends_per_second_64_threads", crowd.rate, ""));
    figures.push(("durable_appends_64_threads_ratio", crowd.rate / crowd.floor, "to one thread's bare write and sync"));

    let tickets = tickets_per_second(&dir.path().join("tickets"), 256)?;
    figures.push(("durable_events_per_second_256_tickets", tickets, "one thread, so many tickets outstanding"));
    for batch in [1, 100] {
        let (floor, rate) = buffered(dir.path(), batch)?;
        let [floor_name, name, ratio_name] = match batch {
            1 => ["bare_writes_per_second", "buffered_events_per_second", "buffered_time_ratio"],
            _ => ["bare_writes_of_100_per_second", "buffered_events_per_second_100", "buffered_time_ratio_100"],
        };
        figures.push((floor_name, floor, "of as many bytes as such a batch takes, not synced"));
        figures.push((name, rate, "one thread; synced every 100 ms beside it"));
        figures.push((ratio_name, floor / (rate / batch as f64), "time of a call to that of the bare write"));
    }

    let lifecycle = dir.path().join("lifecycle");
    let (events, alone, grouped) = lifecycle_bytes(&lifecycle)?;
    figures.push(("bytes_per_event_alone", alone, "ten-step lifecycle, UUID ids, one event a sync"));
    figures.push(("bytes_per_event_in_groups", grouped, "the same, 64 events a batch"));

    let big = dir.path().join("big");
    let (count, bytes) = build(&big, 200_000)?;
    let opening = median(|| {
        let started = Instant::now();
        let ledger = Ledger::open_read_only(&big)?;
        assert_eq!(ledger.view().counts().seq(), Seq(count));
        Ok(started.elapsed().as_secs_f64() * 1e3)
    })?;
    figures.push(("opening_milliseconds", opening, "for reading, 200 000 events, with indexes"));
    // Without indexes the whole log is replayed.
    let (tables, away) = (big.join("idx"), dir.path().join("idx-away"));
    std::fs::rename(&tables, &away)?;
    let replay = median(|| {
        let started = Instant::now();
        let ledger = Ledger::open_read_only(&big)?;
        assert_eq!(ledger.view().seq(), Seq(count));
        Ok(count as f64 / started.elapsed().as_secs_f64())
    })?;
    std::fs::rename(&away, &tables)?;
    figures.push(("replay_events_per_second", replay, "opening for reading without indexes, one thread"));
    for (level, name) in [
        (Level::Structure, "verify_structure_megabytes_per_second"),
        (Level::Content, "verify_content_megabytes_per_second"),
    ] {
        let rate = median(|| {
            let started = Instant::now();
            let report = verify(&big, level)?;
            assert!(report.findings.is_empty(), "{:?}", report.findings);
            Ok(bytes / 1e6 / started.elapsed().as_secs_f64())
        })?;
        figures.push((name, rate, "of frames"));
    }
    let past = median(|| {
        let started = Instant::now();
        let reader = Ledger::open_read_only(&big)?;
        let opened = started.elapsed();
        let view = reader.as_of(At::Seq(Seq(count / 2)))?;
        assert_eq!(view.seq(), Seq(count / 2));
        Ok((started.elapsed() - opened).as_secs_f64() * 1e3)
    })?;
    figures.push(("as_of_half_milliseconds", past, "all tasks at half of 200 000 events"));
    figures.push(("lifecycle_events", events, ""));

    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
    figures.push(("load_average_1_minute", load, "at the end; the benchmark itself is a part of it"));
    print(&figures, json)
}

fn print(figures: &[(&str, f64, &str)], json: bool) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let object: serde_json::Map<String, serde_json::Value> =
            figures.iter().map(|(name, value, _)| ((*name).to_owned(), serde_json::json!(value))).collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    } else {
        for (name, value, note) in figures {
            writeln!(out, "{name:<42} {value:>14.2}  {note}")?;
        }
    }
    Ok(())
}

fn median(mut once: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    middle((0..ROUNDS).map(|_| once()).collect::<Outcome<Vec<f64>>>()?)
}

fn middle(mut values: Vec<f64>) -> Outcome<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_else(|| "no rounds".into())
}

struct AgainstFloor {
    rate: f64,
    floor: f64,
    p50: f64,
    floor_p50: f64,
}

/// Durable single-event appends by so many threads, and the bare write and sync of as many bytes by one.
fn against_floor(dir: &Path, threads: u64) -> Outcome<AgainstFloor> {
    let ledger = Ledger::open(dir.join(format!("append-{threads}")))?;
    let next = AtomicU64::new(0);
    let bare = bare_file(&dir.join(format!("bare-{threads}")))?;
    let mut bare_offset = 0;
    let (mut rates, mut floors, mut p50s, mut floor_p50s) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (rate, p50) = bare_round(&bare, &mut bare_offset)?;
        floors.push(rate);
        floor_p50s.push(p50);
        let (rate, p50) = ledger_round(&ledger, &next, threads)?;
        rates.push(rate);
        p50s.push(p50);
    }
    Ok(AgainstFloor {
        rate: middle(rates)?,
        floor: middle(floors)?,
        p50: middle(p50s)?,
        floor_p50: middle(floor_p50s)?,
    })
}

/// What one frame with one event takes.
const EVENT_BYTES: usize = 80;
/// What one of 100 events in a batch takes, about.
const GROUPED_EVENT_BYTES: usize = 25;
const BARE_BYTES: u64 = 32 << 20;
/// Written at a time where a file is filled with zeros: as segments are, since it decides how fast later writes are.
const FILL_BYTES: usize = 64 << 10;

fn bare_file(path: &Path) -> Outcome<File> {
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeros = vec![0; FILL_BYTES];
    for n in 0..BARE_BYTES / FILL_BYTES as u64 {
        file.write_all_at(&zeros, n * FILL_BYTES as u64)?;
    }
    file.sync_data()?;
    Ok(file)
}

fn bare_round(file: &File, offset: &mut u64) -> Outcome<(f64, f64)> {
    let bytes = [7; EVENT_BYTES];
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < ROUND {
        let one = Instant::now();
        file.write_all_at(&bytes, *offset)?;
        file.sync_data()?;
        latencies.push(one.elapsed().as_secs_f64());
        *offset = (*offset + EVENT_BYTES as u64) % (BARE_BYTES - EVENT_BYTES as u64);
    }
    rate_and_p50(latencies, started.elapsed())
}

fn rate_and_p50(mut latencies: Vec<f64>, elapsed: Duration) -> Outcome<(f64, f64)> {
    latencies.sort_by(f64::total_cmp);
    let p50 = latencies.get(latencies.len() / 2).copied().ok_or("nothing was measured")?;
    Ok((latencies.len() as f64 / elapsed.as_secs_f64(), p50))
}

fn ledger_round(ledger: &Ledger, next: &AtomicU64, threads: u64) -> Outcome<(f64, f64)> {
    let started = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| worker(ledger, next, started))).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        joined.collect::<taskledger::Result<Vec<Vec<f64>>>>()
    })?;
    rate_and_p50(latencies.concat(), started.elapsed())
}

fn worker(ledger: &Ledger, next: &AtomicU64, started: Instant) -> taskledger::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    while started.elapsed() < ROUND {
        let task = format!("task-{:08}", next.fetch_add(1, Ordering::Relaxed));
        for event in [Event::created(), Event::to(TaskState::Ready), Event::to(TaskState::Running)] {
            let one = Instant::now();
            ledger.append(task.as_str(), event.by("worker-7"))?;
            latencies.push(one.elapsed().as_secs_f64());
        }
    }
    Ok(latencies)
}

/// One thread that keeps so many tickets outstanding.
fn tickets_per_second(dir: &Path, outstanding: usize) -> Outcome<f64> {
    let ledger = Ledger::open(dir)?;
    let mut next = 0;
    median(|| {
        let mut tickets = std::collections::VecDeque::with_capacity(outstanding);
        let (started, mut done) = (Instant::now(), 0_u64);
        while started.elapsed() < ROUND {
            let task = format!("task-{next:08}");
            next += 1;
            for event in [Event::created(), Event::to(TaskState::Ready), Event::to(TaskState::Running)] {
                tickets.push_back(ledger.submit(task.as_str(), event.by("worker-7"))?);
                if tickets.len() == outstanding {
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
    })
}

/// Batches of so many events that return once written: bare writes a second of the same bytes, and events a second.
fn buffered(dir: &Path, batch: usize) -> Outcome<(f64, f64)> {
    let durability = Durability::Buffered { sync_every: Duration::from_millis(100) };
    let ledger = Options::new().durability(durability).open(dir.join(format!("buffered-{batch}")))?;
    let bare = bare_file(&dir.join(format!("bare-buffered-{batch}")))?;
    let bytes = vec![7; if batch == 1 { EVENT_BYTES } else { batch * GROUPED_EVENT_BYTES }];
    let (mut floors, mut rates) = (Vec::new(), Vec::new());
    let (mut next, mut offset) = (0, 0);
    for _ in 0..ROUNDS {
        let (started, mut writes) = (Instant::now(), 0_u64);
        while started.elapsed() < ROUND {
            bare.write_all_at(&bytes, offset)?;
            offset = (offset + bytes.len() as u64) % (BARE_BYTES - bytes.len() as u64);
            writes += 1;
        }
        floors.push(writes as f64 / started.elapsed().as_secs_f64());
        bare.sync_data()?;
        let (started, mut events) = (Instant::now(), 0);
        while started.elapsed() < ROUND {
            let mut asked = Batch::new();
            for _ in 0..batch {
                asked.push(format!("task-{next:08}"), Event::created().by("worker-7"), Expect::Any);
                next += 1;
            }
            ledger.commit(asked)?;
            events += batch;
        }
        rates.push(events as f64 / started.elapsed().as_secs_f64());
        ledger.sync()?;
    }
    Ok((middle(floors)?, middle(rates)?))
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

fn frame_bytes(dir: &Path) -> Outcome<f64> {
    Ok(verify(dir, Level::Structure)?.bytes as f64)
}

/// Bytes of frames per event, each event alone and 64 a batch.
fn lifecycle_bytes(dir: &Path) -> Outcome<(f64, f64, f64)> {
    const TASKS: u64 = 400;
    let alone = dir.with_extension("alone");
    let ledger = Ledger::open(&alone)?;
    for step in 0..10 {
        for n in 0..TASKS {
            let (id, events) = lifecycle(n);
            let event = events.into_iter().nth(step).ok_or("ten steps")?;
            ledger.append(id, event)?;
        }
    }
    ledger.close()?;
    let grouped = dir.with_extension("grouped");
    build_grouped(&grouped, TASKS)?;
    let events = (TASKS * 10) as f64;
    Ok((events, frame_bytes(&alone)? / events, frame_bytes(&grouped)? / events))
}

fn build_grouped(dir: &Path, tasks: u64) -> Outcome<()> {
    let ledger = Options::new().open(dir)?;
    let mut batch = Batch::new();
    for group in (0..tasks).collect::<Vec<_>>().chunks(64) {
        for step in 0..10 {
            for &n in group {
                let (id, events) = lifecycle(n);
                let event = events.into_iter().nth(step).ok_or("ten steps")?;
                batch.push(id, event, Expect::Any);
                if batch.len() == 64 {
                    ledger.commit(std::mem::take(&mut batch))?;
                }
            }
        }
    }
    if !batch.is_empty() {
        ledger.commit(batch)?;
    }
    ledger.close()?;
    Ok(())
}

fn build(dir: &Path, events: u64) -> Outcome<(u64, f64)> {
    build_grouped(dir, events / 10)?;
    let bytes = frame_bytes(dir)?;
    Ok((events, bytes))
}
