//! The measurements. What opens is a process of its own, so that nothing is left of the one before.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use taskledger::{At, Batch, Durability, Event, Expect, Filter, Ledger, Maintenance, Options, Seq, TaskState};

use super::build::id;
use super::{Figures, Outcome, Size};

const ASKS: u64 = 5000;
/// So many tasks are asked for, again and again: few enough that what is read stays in memory.
const SOME: u64 = 1000;

pub fn all(size: Size, dir: &Path) -> Outcome<Figures> {
    let mut figures = bytes_per_event(dir)?;
    for what in ["read_only", "writer"] {
        for heat in ["cold", "warm"] {
            if heat == "cold" {
                drop_caches(dir)?;
            }
            figures.extend(child(what, dir)?.into_iter().map(|(name, value)| (format!("{what}_{heat}_{name}"), value)));
        }
    }
    child("crash", dir)?;
    figures.extend(child("writer", dir)?.into_iter().map(|(name, value)| (format!("writer_unclean_{name}"), value)));
    for (name, mmap) in [("", false), ("mmap_", true)] {
        let asked = asks(size, dir, mmap)?;
        figures.extend(asked.into_iter().map(|(figure, value)| (format!("{name}{figure}"), value)));
    }
    figures.extend(appends(dir)?);
    figures.extend(child("tables", dir)?);
    Ok(figures)
}

/// What is measured in a process of its own.
pub fn in_new_process(what: &str, dir: &Path) -> Outcome<Figures> {
    match what {
        "read_only" => {
            let started = Instant::now();
            let reader = Ledger::open_read_only(dir)?;
            let opened = started.elapsed();
            black_box(reader.view().get(&id(0))?);
            let got = started.elapsed();
            black_box(reader.view().counts());
            Ok(opening(opened, got, started.elapsed())?)
        }
        "writer" => {
            let started = Instant::now();
            let ledger = Ledger::open(dir)?;
            let opened = started.elapsed();
            black_box(ledger.get(&id(0))?);
            let got = started.elapsed();
            black_box(ledger.counts());
            let figures = opening(opened, got, started.elapsed())?;
            ledger.close()?;
            Ok(figures)
        }
        "crash" => crash(dir),
        "tables" => tables(dir),
        other => Err(format!("nothing is known of {other}").into()),
    }
}

fn opening(opened: Duration, got: Duration, counted: Duration) -> Outcome<Figures> {
    Ok(vec![
        ("open_ms".to_owned(), millis(opened)),
        ("open_get_and_counts_ms".to_owned(), millis(counted)),
        ("first_get_us".to_owned(), micros(got - opened)),
        ("private_mib".to_owned(), mib("/proc/self/smaps_rollup", &["Private_Clean", "Private_Dirty"])?),
    ])
}

fn child(what: &str, dir: &Path) -> Outcome<Figures> {
    let output = Command::new(std::env::current_exe()?).arg("measure").arg(what).arg(dir).output()?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    if output.stdout.is_empty() {
        return Ok(Figures::new());
    }
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    Ok(map.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect())
}

/// Ends without closing where there is most to be folded: the last segment is nearly full.
fn crash(dir: &Path) -> Outcome<Figures> {
    let ledger = Ledger::open(dir)?;
    append_until_roll(&ledger, dir)?;
    let full = append_until_roll(&ledger, dir)?;
    for _ in 0..full * 9 / 10 {
        append_batch(&ledger)?;
    }
    std::process::exit(0)
}

/// Time and memory of an index and of a snapshot.
fn tables(dir: &Path) -> Outcome<Figures> {
    let buffered = Durability::Buffered { sync_every: Duration::from_secs(1) };
    let ledger = Options::new().durability(buffered).maintenance(Maintenance::Manual).open(dir)?;
    append_until_roll(&ledger, dir)?;
    let peak = || mib("/proc/self/status", &["VmHWM"]);
    let resting = peak()?;
    let started = Instant::now();
    ledger.maintain()?;
    let indexed = (started.elapsed(), peak()?);
    let started = Instant::now();
    ledger.snapshot()?;
    let figures = vec![
        ("index_build_ms".to_owned(), millis(indexed.0)),
        ("index_build_more_peak_mib".to_owned(), indexed.1 - resting),
        ("snapshot_build_ms".to_owned(), millis(started.elapsed())),
        ("snapshot_build_more_peak_mib".to_owned(), peak()? - indexed.1),
    ];
    ledger.close()?;
    Ok(figures)
}

/// Questions about the present and the past.
fn asks(size: Size, dir: &Path, mmap: bool) -> Outcome<Figures> {
    let ledger = Options::new().mmap(mmap).open(dir)?;
    let events = size.tasks * size.events_per_task;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let mut figures = Figures::new();
    let mut ask = |name: &str, times: u64, question: &mut dyn FnMut() -> Outcome<()>| -> Outcome<()> {
        let mut taken = Vec::new();
        // The first ones warm what is asked: once around those that are asked for.
        let around = times.min(SOME);
        for n in 0..times + around {
            let started = Instant::now();
            question()?;
            if n >= around {
                taken.push(started.elapsed());
            }
        }
        quantiles(name, taken, &[("p50", 0.5), ("p99", 0.99)], &mut figures);
        Ok(())
    };
    let some: Vec<u64> = (0..SOME).map(|_| below(size.tasks)).collect();
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        some.get(turn % some.len()).copied().unwrap_or(0)
    };
    ask("get", ASKS, &mut || {
        let found = ledger.get(&id(next()))?;
        found.map(drop).ok_or_else(|| "a task is missing".into())
    })?;
    ask("absent_get", ASKS, &mut || {
        let found = ledger.get(&format!("no-{}", next()))?;
        if found.is_some() { Err("there is a task that never was".into()) } else { Ok(()) }
    })?;
    ask("history", ASKS / 5, &mut || {
        let entries = ledger.history(&id(next()))?.count();
        if entries as u64 >= size.events_per_task { Ok(()) } else { Err("a history is too short".into()) }
    })?;
    ask("counts", ASKS, &mut || {
        black_box(ledger.counts());
        Ok(())
    })?;
    ask("list_100_failed", 200, &mut || {
        black_box(ledger.list(Filter::new().state(TaskState::Failed).limit(100))?);
        Ok(())
    })?;
    let mut moments = some.iter().cycle().map(|n| (*n, Seq(1 + n.wrapping_mul(7919) % events)));
    ask("as_of_one_task", ASKS / 5, &mut || {
        let (n, seq) = moments.next().ok_or("it has no end")?;
        black_box(ledger.get_as_of(&id(n), At::Seq(seq))?);
        Ok(())
    })?;
    ask("as_of_all_tasks", 5, &mut || {
        let then = ledger.as_of(At::Seq(Seq(events / 2)))?;
        black_box((then.counts(), then.list(Filter::new().limit(100))?));
        Ok(())
    })?;
    ledger.close()?;
    Ok(figures)
}

const TAILS: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// Durable appends of one thread: alone, while a snapshot is written, and with rolls.
fn appends(dir: &Path) -> Outcome<Figures> {
    let mut figures = Figures::new();
    let ledger = Ledger::open(dir)?;
    quantiles("append_quiet", append_some(&ledger, 10_000)?, &TAILS, &mut figures);
    // A roll, so that there is something to be put into a snapshot.
    append_until_roll(&ledger, dir)?;
    let done = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| -> Outcome<_> {
        let snapshot = scope.spawn(|| {
            let made = ledger.snapshot().map_err(|error| error.to_string());
            done.store(true, Ordering::Release);
            made
        });
        let mut taken = Vec::new();
        while !done.load(Ordering::Acquire) {
            taken.extend(append_some(&ledger, 1)?);
        }
        snapshot.join().map_err(|_| "the snapshot panicked")??;
        Ok(taken)
    })?;
    figures.push(("append_beside_a_snapshot_count".to_owned(), taken.len() as f64));
    quantiles("append_beside_a_snapshot", taken, &TAILS, &mut figures);
    ledger.close()?;
    let ledger = Options::new().segment_size(1 << 20).open(dir)?;
    // The active one may be larger: only those that follow it are small.
    append_until_roll(&ledger, dir)?;
    let before = segments(dir)?;
    let taken = append_some(&ledger, 100_000)?;
    figures.push(("append_with_rolls_count".to_owned(), (segments(dir)? - before) as f64));
    quantiles("append_with_rolls", taken, &TAILS, &mut figures);
    ledger.close()?;
    Ok(figures)
}

fn append_some(ledger: &Ledger, count: u64) -> Outcome<Vec<Duration>> {
    let mut taken = Vec::new();
    for n in 0..count {
        let started = Instant::now();
        ledger.append_note(format!("measured-{}", n % 1000), Event::noted(n))?;
        taken.push(started.elapsed());
    }
    Ok(taken)
}

/// Appends until the next segment begins; how many batches that took.
fn append_until_roll(ledger: &Ledger, dir: &Path) -> Outcome<u64> {
    let (before, mut batches) = (segments(dir)?, 0);
    while segments(dir)? <= before {
        append_batch(ledger)?;
        batches += 1;
    }
    Ok(batches)
}

fn append_batch(ledger: &Ledger) -> Outcome<()> {
    let mut batch = Batch::new();
    let from = ledger.head().0;
    for n in from..from + 1000 {
        batch.push(format!("filler-{n}"), Event::created().meta("queue", "filler"), Expect::Any);
    }
    ledger.commit(batch)?;
    Ok(())
}

fn bytes_per_event(dir: &Path) -> Outcome<Figures> {
    let events = Ledger::open_read_only(dir)?.view().seq().0 as f64;
    let mut figures = Figures::new();
    for name in ["log", "idx", "snap"] {
        let files = files(&dir.join(name))?;
        let bytes: u64 = files.iter().map(|path| Ok(path.metadata()?.len())).sum::<Outcome<u64>>()?;
        figures.push((format!("{name}_files"), files.len() as f64));
        figures.push((format!("{name}_bytes_per_event"), bytes as f64 / events));
    }
    Ok(figures)
}

fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    Ok(std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

/// How many segments there are; a spare one is none yet.
fn segments(dir: &Path) -> Outcome<usize> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
    Ok(files(&dir.join("log"))?.iter().filter(|path| is_segment(path)).count())
}

/// Lets the system forget what the files hold: all of it where it may be told so, else page by page.
fn drop_caches(dir: &Path) -> Outcome<()> {
    for name in ["", "log", "idx", "snap"] {
        for path in files(&dir.join(name))?.into_iter().filter(|path| path.is_file()) {
            let file = std::fs::File::open(path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    // Only root may; the pages of the ledger are gone without it, too.
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    Ok(())
}

/// The sum of some lines of a file of the system, which are in KiB.
fn mib(path: &str, names: &[&str]) -> Outcome<f64> {
    let text = std::fs::read_to_string(path)?;
    let mut kib = 0.0;
    for line in text.lines() {
        let mut words = line.split([':', ' ', '\t']).filter(|word| !word.is_empty());
        if words.next().is_some_and(|name| names.contains(&name)) {
            kib += words.next().ok_or("a line without a number")?.parse::<f64>()?;
        }
    }
    Ok(kib / 1024.0)
}

fn quantiles(name: &str, mut taken: Vec<Duration>, which: &[(&str, f64)], figures: &mut Figures) {
    taken.sort();
    for (quantile, share) in which {
        let last = taken.len().saturating_sub(1);
        let at = ((taken.len() as f64 * share) as usize).min(last);
        figures.push((format!("{name}_{quantile}_us"), taken.get(at).copied().map_or(0.0, micros)));
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
