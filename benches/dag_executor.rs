//! `LedgerStorage` beside dag-executor's own `FileStorage`, in one run: saves, loads, lists, bytes on disk, recovery.
//!
//! `cargo bench --bench dag_executor` prints a table; `-- --json` one JSON object; `-- --quick` does little of it, to see
//! that it works. The stores take turns round by round, so that noise is shared; each figure is the median of the rounds.
//! Rates depend on the machine and its load, ratios much less.
//!
//! What is saved is what the executor saves: each task's record when it starts and when it ends, and between them, on a
//! store with history, what led there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dag_executor::prelude::{BasicTask, Dag, DagExecutor};
use dag_executor::state::{TaskRecord, TaskState};
use dag_executor::storage::{Durability as Theirs, FileStorage, Storage};
use serde_json::Value;
use taskledger::{Durability, LedgerStorage, Options};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is done.
struct Extent {
    rounds: usize,
    round: Duration,
    /// How many saves are on disk when bytes are counted, and keys when they are listed.
    saves: u64,
    /// How many tasks a run recovers.
    recovered: u64,
}

/// The stores that are compared.
#[derive(Debug, Clone, Copy)]
enum Store {
    LedgerSync,
    LedgerBuffered,
    FilesFast,
    FilesAtomic,
    FilesDurable,
}

const STORES: [Store; 5] =
    [Store::LedgerSync, Store::LedgerBuffered, Store::FilesFast, Store::FilesAtomic, Store::FilesDurable];

impl Store {
    fn name(self) -> &'static str {
        match self {
            Store::LedgerSync => "ledger, sync",
            Store::LedgerBuffered => "ledger, buffered",
            Store::FilesFast => "files, fast",
            Store::FilesAtomic => "files, atomic",
            Store::FilesDurable => "files, durable",
        }
    }

    fn open(self, dir: &Path) -> Outcome<Arc<dyn Storage>> {
        let files =
            |durability| FileStorage::open_with(dir, durability).map(|files| Arc::new(files) as Arc<dyn Storage>);
        Ok(match self {
            Store::LedgerSync => Arc::new(LedgerStorage::open(dir)?),
            Store::LedgerBuffered => {
                let durability = Durability::Buffered { sync_every: Duration::from_millis(100) };
                Arc::new(LedgerStorage::new(Options::new().durability(durability).open(dir)?))
            }
            Store::FilesFast => files(Theirs::Fast)?,
            Store::FilesAtomic => files(Theirs::Atomic)?,
            Store::FilesDurable => files(Theirs::Durable)?,
        })
    }

    /// A store that many tasks are saved into before anything is measured: without waiting for the disk.
    fn quick(self) -> Store {
        match self {
            Store::LedgerSync => Store::LedgerBuffered,
            Store::FilesDurable | Store::FilesAtomic => Store::FilesFast,
            quick => quick,
        }
    }
}

/// By figure, and by store.
#[derive(Default)]
struct Figures(BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>);

impl Figures {
    fn add(&mut self, figure: &'static str, store: Store, value: f64) {
        self.0.entry(figure).or_default().entry(store.name()).or_default().push(value);
    }
}

fn main() -> Outcome<()> {
    let is = |name: &str| std::env::args().any(|argument| argument == name);
    let extent = if is("--quick") {
        Extent { rounds: 1, round: Duration::from_millis(100), saves: 2_000, recovered: 200 }
    } else {
        Extent { rounds: 5, round: Duration::from_millis(800), saves: 100_000, recovered: 10_000 }
    };
    let dir = tempfile::tempdir_in(".")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(dir.path(), &extent))?;
    print(&figures, is("--json"))
}

async fn measure(dir: &Path, extent: &Extent) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let place = |store: Store, what: &str| -> Outcome<PathBuf> {
        let place = dir.join(format!("{store:?}-{what}"));
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    for (tasks, figure) in [(1, "saves a second, 1 task"), (64, "saves a second, 64 tasks")] {
        let mut open = Vec::new();
        for store in STORES {
            open.push((store, store.open(&place(store, &format!("saves-{tasks}"))?)?));
        }
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..extent.rounds {
            for (store, storage) in &open {
                figures.add(figure, *store, saves_per_second(storage, &next, tasks, extent.round).await?);
            }
        }
    }
    for store in STORES {
        let place = place(store, "filled")?;
        let opened = if matches!(store, Store::LedgerSync) { store } else { store.quick() }.open(&place)?;
        fill(&opened, extent.saves / 2, 64).await?;
        drop(opened);
        figures.add("bytes on disk after all saves", store, bytes_below(&place)? as f64);
        figures.add("bytes allocated after all saves", store, allocated_below(&place)? as f64);
    }
    // The executor saves one record after another, and then each has a frame of its own.
    let alone = place(Store::LedgerSync, "alone")?;
    fill(&Store::LedgerSync.open(&alone)?, extent.saves / 2, 1).await?;
    figures.add("bytes on disk, saved one after another", Store::LedgerSync, bytes_below(&alone)? as f64);
    for _ in 0..extent.rounds {
        for store in STORES {
            let storage = store.open(&place(store, "filled")?)?;
            figures.add("loads a second", store, loads_per_second(&storage, extent.saves / 2, extent.round).await?);
            let started = Instant::now();
            let listed = storage.list().await?.len() as u64;
            assert_eq!(listed, extent.saves / 2);
            figures.add("list of half as many keys as saves, ms", store, started.elapsed().as_secs_f64() * 1e3);
        }
    }
    for store in STORES {
        fill(&store.quick().open(&place(store, "recovered")?)?, extent.recovered, 64).await?;
    }
    for _ in 0..extent.rounds {
        for store in STORES {
            let started = Instant::now();
            let storage = store.open(&place(store, "recovered")?)?;
            let opened = started.elapsed();
            recover(storage, extent.recovered).await?;
            figures.add("recovery of completed tasks, ms, opening", store, opened.as_secs_f64() * 1e3);
            figures.add("recovery of completed tasks, ms, in all", store, started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(figures)
}

/// The records that the executor saves of a task: when it starts, and when it has ended.
fn life(n: u64) -> Outcome<(String, [Value; 2])> {
    let id = format!("task-{n:08}");
    let mut record = TaskRecord::new(&id);
    record.transition(TaskState::Ready);
    record.transition(TaskState::Running);
    let started = serde_json::to_value(&record)?;
    record.attempts = 1;
    record.output = Some(serde_json::json!({"rows": n, "path": format!("s3://bucket/part-{n:05}.parquet")}));
    record.transition(TaskState::Completed);
    Ok((format!("record:{id}"), [started, serde_json::to_value(&record)?]))
}

async fn saves_per_second(
    storage: &Arc<dyn Storage>,
    next: &Arc<AtomicU64>,
    tasks: usize,
    round: Duration,
) -> Outcome<f64> {
    let started = Instant::now();
    let workers: Vec<_> = (0..tasks)
        .map(|_| {
            let (storage, next) = (storage.clone(), next.clone());
            tokio::spawn(async move {
                let mut saves = 0_u64;
                while started.elapsed() < round {
                    let (key, values) = life(next.fetch_add(1, Ordering::Relaxed))?;
                    for value in values {
                        storage.save(&key, &value).await?;
                        saves += 1;
                    }
                }
                Outcome::Ok(saves)
            })
        })
        .collect();
    let mut saves = 0;
    for worker in workers {
        saves += worker.await??;
    }
    Ok(saves as f64 / started.elapsed().as_secs_f64())
}

/// Saves the lives of so many tasks, so many of them at a time.
async fn fill(storage: &Arc<dyn Storage>, tasks: u64, at_a_time: usize) -> Outcome<()> {
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..at_a_time)
        .map(|_| {
            let (storage, next) = (storage.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= tasks {
                        return Outcome::Ok(());
                    }
                    let (key, values) = life(n)?;
                    for value in values {
                        storage.save(&key, &value).await?;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

async fn loads_per_second(storage: &Arc<dyn Storage>, tasks: u64, round: Duration) -> Outcome<f64> {
    let (started, mut loads) = (Instant::now(), 0_u64);
    while started.elapsed() < round {
        // A stride that meets all of them, in no order.
        let n = loads.wrapping_mul(7_919) % tasks;
        let loaded = storage.load(&format!("record:task-{n:08}")).await?;
        assert!(loaded.is_some(), "it was saved");
        loads += 1;
    }
    Ok(loads as f64 / started.elapsed().as_secs_f64())
}

/// A run of tasks that are all completed: none of them runs, and each is loaded.
async fn recover(storage: Arc<dyn Storage>, tasks: u64) -> Outcome<()> {
    let mut dag = Dag::new();
    for n in 0..tasks {
        let again = |_| async { Err(dag_executor::error::TaskError::execution("it was completed")) };
        dag.add_task(Arc::new(BasicTask::new(format!("task-{n:08}"), again)))?;
    }
    let report = DagExecutor::builder().storage(storage).build().run(dag).await?;
    assert!(report.is_success(), "nothing ran again");
    Ok(())
}

fn files_below(dir: &Path) -> Outcome<Vec<std::fs::Metadata>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.metadata()?);
        }
    }
    Ok(files)
}

fn bytes_below(dir: &Path) -> Outcome<u64> {
    Ok(files_below(dir)?.iter().map(std::fs::Metadata::len).sum())
}

/// What the file system gave: whole blocks.
fn allocated_below(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(files_below(dir)?.iter().map(|file| file.blocks() * 512).sum())
}

fn print(figures: &Figures, json: bool) -> Outcome<()> {
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let medians: BTreeMap<&str, BTreeMap<&str, f64>> = figures
        .0
        .iter()
        .map(|(figure, stores)| (*figure, stores.iter().map(|(store, values)| (*store, median(values))).collect()))
        .collect();
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&medians)?)?;
        return Ok(());
    }
    write!(out, "{:<42}", "")?;
    for store in STORES {
        write!(out, " {:>16}", store.name())?;
    }
    writeln!(out)?;
    for (figure, stores) in medians {
        write!(out, "{figure:<42}")?;
        for store in STORES {
            write!(out, " {:>16.1}", stores.get(store.name()).copied().unwrap_or(f64::NAN))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
