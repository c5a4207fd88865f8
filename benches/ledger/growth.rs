//! What it costs as the ledger grows: ledgers of several sizes, the same questions to each, a line of JSON for each.
//!
//! Events are those of the workloads, ten to a task, in batches of 100 while the ledger is built. Each step is a process of
//! its own, so that the memory that is measured is the ledger's: what is private after opening is RssAnon.
//! The ledger is built and closed; opened cold and warm, and asked; appended to (`observed`, of tasks at random, with the
//! same text) and killed; opened again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use taskledger::{At, Durability, Event, Ledger, Level, Options, Seq, TaskState, verify};

use crate::work::args::Settings;
use crate::work::child::{self, Figures};
use crate::work::events::{Payload, Script, id, mix};
use crate::work::ledger::Taskledger;
use crate::work::{Extent, Mode, Outcome, Peer, machine};

const CHILD: &str = "--growth-child";
/// Events of a batch while it is built.
const BATCH: usize = 100;
/// Events that are made at a time.
const CHUNK: u64 = 100_000;
/// So many tasks are asked for, again and again: few enough that what is read stays in memory.
const SOME: u64 = 1000;
/// Events to a task.
const STEPS: u64 = 10;

/// Measures each size and adds a line for it to the file.
pub fn run(sizes: &str, out: &Path, settings: &Settings) -> Outcome<()> {
    let (parent, _own) = settings.place()?;
    for size in sizes.split(',') {
        let events: u64 = size.trim().parse()?;
        if events < STEPS {
            return Err(format!("{events} events are too few: ten are a task's").into());
        }
        let events = events - events % STEPS;
        let sized = Settings { events, tasks: u32::try_from(events / STEPS)?, ..settings.clone() };
        let dir = parent.join(format!("growth-{events}"));
        fs::create_dir_all(&dir)?;
        let load = machine::load();
        let mut figures = Figures::new();
        for step in ["build", "ask", "append", "unclean"] {
            writeln!(std::io::stderr(), "{events} events: {step}")?;
            figures.extend(child::figures(&child::started(&[CHILD, step], &dir, &sized)?)?);
            if step == "build" {
                figures.insert("disk_bytes".into(), machine::allocated(&dir)? as f64);
                figures.insert("log_bytes".into(), verify(&dir, Level::Structure)?.bytes as f64);
            }
        }
        fs::remove_dir_all(&dir)?;
        let line = json!({"events": events, "tasks": events / STEPS, "figures": figures, "load": load,
            "machine": machine::described(&parent), "cold": machine::may_drop_caches()});
        let mut file = OpenOptions::new().create(true).append(true).open(out)?;
        writeln!(file, "{line}")?;
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

/// The child's side, where this process is one. Whether it was.
pub fn child() -> Outcome<bool> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CHILD) {
        return Ok(false);
    }
    let mut next = || arguments.next().ok_or("a child is told what to do");
    let (step, dir) = (next()?, PathBuf::from(next()?));
    let (settings, _) = Settings::stated(arguments)?;
    let grown = Grown { dir, settings };
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        figures.insert(name.to_owned(), value);
    };
    match step.as_str() {
        "build" => grown.build(&mut put)?,
        "ask" => grown.ask(&mut put)?,
        "append" => grown.append(&mut put)?,
        "unclean" => grown.unclean(&mut put)?,
        other => return Err(format!("there is no step {other}").into()),
    }
    child::tell(&figures)?;
    if step == "append" {
        // Without a close: what a crash leaves.
        child::kill_self()?;
    }
    Ok(true)
}

struct Grown {
    dir: PathBuf,
    settings: Settings,
}

type Put<'a> = &'a mut dyn FnMut(&str, f64);

impl Grown {
    fn build(&self, put: Put<'_>) -> Outcome<()> {
        let script = Script::new(self.settings.seed, self.settings.tasks, self.settings.events);
        let extent = Extent { events: script.len(), tasks: script.tasks() };
        let store = Taskledger::new().open(&self.dir, Mode::Load, extent)?.ok_or("the ledger opens")?;
        let mut took = Duration::ZERO;
        for first in (1..=script.len()).step_by(CHUNK as usize) {
            let events: Vec<Payload> = script.events(first..=(first + CHUNK - 1).min(script.len()));
            let started = Instant::now();
            for batch in events.chunks(BATCH) {
                store.append_all(batch)?;
            }
            took += started.elapsed();
        }
        let started = Instant::now();
        store.close()?;
        put("build_seconds", (took + started.elapsed()).as_secs_f64());
        Ok(())
    }

    /// Opens as a writer; milliseconds until the tasks by state are known.
    fn open(&self, durability: Durability) -> Outcome<(Ledger, f64)> {
        let started = Instant::now();
        let ledger = Options::new().durability(durability).open(&self.dir)?;
        let counted = ledger.counts();
        let took = started.elapsed().as_secs_f64() * 1e3;
        if counted.seq() < Seq(self.settings.events) || counted.total() != u64::from(self.settings.tasks) {
            return Err(format!("wrong answer: {} tasks at {}", counted.total(), counted.seq()).into());
        }
        Ok((ledger, took))
    }

    fn ask(&self, put: Put<'_>) -> Outcome<()> {
        machine::drop_caches();
        let before = machine::status("RssAnon").unwrap_or(0);
        let (ledger, cold) = self.open(Durability::Sync)?;
        put("open_clean_cold_ms", cold);
        let private = machine::status("RssAnon").unwrap_or(0).saturating_sub(before);
        put("private_bytes_after_open", private as f64);
        ledger.close()?;
        let (ledger, warm) = self.open(Durability::Sync)?;
        put("open_clean_warm_ms", warm);
        self.asked("get_p50_us", put, &mut |task, _| Ok(ledger.get(task)?.is_some_and(|task| task.version == STEPS)))?;
        self.asked("history_p50_us", put, &mut |task, _| Ok(ledger.history(task)?.count() as u64 == STEPS))?;
        self.asked("task_as_of_p50_us", put, &mut |task, n| {
            let seq = Seq(mix(n) % self.settings.events + 1);
            Ok(ledger.get_as_of(task, At::Seq(seq))?.is_none_or(|task| task.seq <= seq))
        })?;
        Ok(ledger.close()?)
    }

    /// The middle of many answers about some tasks at random, the first half of which only warm up. Each says whether it is
    /// right.
    fn asked(&self, name: &str, put: Put<'_>, ask: &mut dyn FnMut(&str, u64) -> Outcome<bool>) -> Outcome<()> {
        let tasks = self.settings.tasks;
        let mut latencies = Vec::new();
        let begun = Instant::now();
        for n in (0..SOME).cycle() {
            let task = id((mix(n) % u64::from(tasks)) as u32);
            let started = Instant::now();
            let right = ask(&task, n)?;
            latencies.push(started.elapsed().as_secs_f64() * 1e6);
            if !right {
                return Err(format!("wrong answer: {name} of {task}").into());
            }
            if begun.elapsed() > 2 * self.settings.part {
                break;
            }
        }
        let mut latencies = latencies.split_off(latencies.len() / 2);
        latencies.sort_by(f64::total_cmp);
        put(name, latencies.get(latencies.len() / 2).copied().unwrap_or(f64::NAN));
        Ok(())
    }

    fn append(&self, put: Put<'_>) -> Outcome<()> {
        let text = Script::new(self.settings.seed, 1, 1).event(1);
        let mut task = 0;
        for (name, durability) in [
            ("buffered_appends_per_second", Durability::Buffered { sync_every: Duration::from_millis(100) }),
            ("durable_appends_per_second", Durability::Sync),
        ] {
            let (ledger, _) = self.open(durability)?;
            let (started, mut done) = (Instant::now(), 0_u64);
            while started.elapsed() < self.settings.part {
                task += 1;
                let id = id((mix(task) % u64::from(self.settings.tasks)) as u32);
                ledger.append(id, Event::observed(TaskState::Running).output_text(text.text()))?;
                done += 1;
            }
            put(name, done as f64 / started.elapsed().as_secs_f64());
            if durability == Durability::Sync {
                // It stays open until this process is killed.
                std::mem::forget(ledger);
            } else {
                ledger.close()?;
            }
        }
        Ok(())
    }

    fn unclean(&self, put: Put<'_>) -> Outcome<()> {
        machine::drop_caches();
        let (ledger, took) = self.open(Durability::Sync)?;
        put("open_unclean_cold_ms", took);
        Ok(ledger.close()?)
    }
}
