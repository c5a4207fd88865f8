//! `LedgerStorage` beside dag-executor's own `FileStorage`, in one run: saves, loads, lists, bytes on disk, recovery.
//!
//! `cargo bench --bench dag_executor` prints a table; `-- --json` one JSON object. `--rounds 5 --round-ms 800 --saves 100000
//! --tasks 10000` are the sizes unless stated: rounds and how long one takes, how many saves are on disk when bytes are
//! counted and keys are listed, how many completed tasks a run recovers. The stores take turns round by round, so that
//! noise is shared; each figure is the median of the rounds. Rates depend on the machine and its load, ratios much less.
//!
//! What is saved is what the executor saves: each task's record when it starts and when it ends; the ledger keeps also
//! what led there. The floor is a bare write and fdatasync of as many bytes as a save takes in the ledger, by one thread.
//! Files are read back from the page cache.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dag_executor::prelude::{BasicTask, Dag, DagExecutor};
use dag_executor::state::{TaskRecord, TaskState};
use dag_executor::storage::{Durability as Theirs, FileStorage, Storage};
use serde_json::Value;
use taskledger::{Durability, LedgerStorage, Level, Options, verify};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is done.
struct Extent {
    rounds: u64,
    round: Duration,
    saves: u64,
    tasks: u64,
}

impl Extent {
    fn stated() -> Outcome<(Extent, bool)> {
        let mut extent = Extent { rounds: 5, round: Duration::from_millis(800), saves: 100_000, tasks: 10_000 };
        let (mut arguments, mut json) = (std::env::args().skip(1), false);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Outcome<u64> {
                let number = arguments.next().unwrap_or_default();
                let parsed = number.parse().ok().filter(|&number| number > 0);
                parsed.ok_or_else(|| format!("{argument} takes a number from 1, and not {number:?}").into())
            };
            match argument.as_str() {
                "--bench" => {} // cargo says so
                "--json" => json = true,
                "--rounds" => extent.rounds = number()?,
                "--round-ms" => extent.round = Duration::from_millis(number()?),
                "--saves" => extent.saves = number()?.max(2),
                "--tasks" => extent.tasks = number()?,
                other => {
                    let known = "--json, --rounds N, --round-ms N, --saves N or --tasks N";
                    return Err(format!("{other}: use {known}").into());
                }
            }
        }
        Ok((extent, json))
    }
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

/// The column of the bare write and sync.
const FLOOR: &str = "floor";

/// Figures in order, with the values of each column, by round.
#[derive(Default)]
struct Figures(Vec<(&'static str, BTreeMap<&'static str, Vec<f64>>)>);

impl Figures {
    fn add(&mut self, figure: &'static str, column: &'static str, value: f64) {
        let at = self.0.iter().position(|(name, _)| *name == figure).unwrap_or_else(|| {
            self.0.push((figure, BTreeMap::new()));
            self.0.len() - 1
        });
        if let Some((_, columns)) = self.0.get_mut(at) {
            columns.entry(column).or_default().push(value);
        }
    }
}

fn main() -> Outcome<()> {
    let (extent, json) = Extent::stated()?;
    let dir = tempfile::tempdir_in(".")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(dir.path(), &extent))?;
    print(&figures, json)
}

async fn measure(dir: &Path, extent: &Extent) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let place = |store: Store, what: &str| -> Outcome<PathBuf> {
        let place = dir.join(format!("{store:?}-{what}"));
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    // The executor saves one record after another, and then each save is written by itself.
    let alone = place(Store::LedgerSync, "alone")?;
    fill(&Store::LedgerSync.open(&alone)?, extent.saves / 2, 1).await?;
    let save_bytes = verify(&alone, Level::Structure)?.bytes as f64 / (extent.saves / 2 * 2) as f64;
    let mut floor = Floor::new(&dir.join("bare"), save_bytes as usize)?;
    for (tasks, figure) in [(1, "saves a second, 1 task"), (64, "saves a second, 64 tasks")] {
        let mut open = Vec::new();
        for store in STORES {
            open.push((store, store.open(&place(store, &format!("saves-{tasks}"))?)?));
        }
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..extent.rounds {
            figures.add(figure, FLOOR, floor.writes_per_second(extent.round)?);
            for (store, storage) in &open {
                figures.add(figure, store.name(), saves_per_second(storage, &next, tasks, extent.round).await?);
            }
        }
    }
    for store in STORES {
        let place = place(store, "filled")?;
        let opened = if matches!(store, Store::LedgerSync) { store } else { store.quick() }.open(&place)?;
        fill(&opened, extent.saves / 2, 64).await?;
        drop(opened);
        let files = files_below(&place)?;
        let (bytes, blocks) =
            files.iter().fold((0, 0), |(bytes, blocks), file| (bytes + file.len(), blocks + file.blocks()));
        figures.add("bytes of files after all saves", store.name(), bytes as f64);
        figures.add("bytes of their blocks", store.name(), blocks as f64 * 512.0);
        if matches!(store, Store::LedgerSync | Store::LedgerBuffered) {
            figures.add("bytes of frames in them", store.name(), verify(&place, Level::Structure)?.bytes as f64);
        }
    }
    figures.add(
        "bytes of frames, saved one by one",
        Store::LedgerSync.name(),
        save_bytes * (extent.saves / 2 * 2) as f64,
    );
    for _ in 0..extent.rounds {
        for store in STORES {
            let storage = store.open(&place(store, "filled")?)?;
            figures.add(
                "loads a second",
                store.name(),
                loads_per_second(&storage, extent.saves / 2, extent.round).await?,
            );
            let started = Instant::now();
            let listed = storage.list().await?.len() as u64;
            assert_eq!(listed, extent.saves / 2);
            figures.add("list, half as many keys as saves, ms", store.name(), started.elapsed().as_secs_f64() * 1e3);
        }
    }
    for store in STORES {
        fill(&store.quick().open(&place(store, "recovered")?)?, extent.tasks, 64).await?;
    }
    for _ in 0..extent.rounds {
        for store in STORES {
            let started = Instant::now();
            let storage = store.open(&place(store, "recovered")?)?;
            let opened = started.elapsed();
            recover(storage, extent.tasks).await?;
            figures.add("recovery, ms to open", store.name(), opened.as_secs_f64() * 1e3);
            figures.add("recovery, ms until the run has ended", store.name(), started.elapsed().as_secs_f64() * 1e3);
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

/// A file of zeros, and where the next bare write goes.
struct Floor {
    file: File,
    bytes: Vec<u8>,
    offset: u64,
}

/// Written at a time where a file is filled with zeros: as segments are, since it decides how fast later writes are.
const FILL_BYTES: usize = 64 << 10;

impl Floor {
    const FILE_BYTES: u64 = 32 << 20;

    fn new(path: &Path, bytes: usize) -> Outcome<Floor> {
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; FILL_BYTES];
        for n in 0..Floor::FILE_BYTES / FILL_BYTES as u64 {
            file.write_all_at(&zeros, n * FILL_BYTES as u64)?;
        }
        file.sync_data()?;
        Ok(Floor { file, bytes: vec![7; bytes], offset: 0 })
    }

    fn writes_per_second(&mut self, round: Duration) -> Outcome<f64> {
        let (started, mut writes) = (Instant::now(), 0_u64);
        while started.elapsed() < round {
            self.file.write_all_at(&self.bytes, self.offset)?;
            self.file.sync_data()?;
            self.offset = (self.offset + self.bytes.len() as u64) % (Floor::FILE_BYTES - self.bytes.len() as u64);
            writes += 1;
        }
        Ok(writes as f64 / started.elapsed().as_secs_f64())
    }
}

fn print(figures: &Figures, json: bool) -> Outcome<()> {
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if json {
        let mut object = serde_json::Map::new();
        for (figure, columns) in &figures.0 {
            let medians = columns.iter().map(|(column, values)| ((*column).to_owned(), median(values).into()));
            object.insert((*figure).to_owned(), Value::Object(medians.collect()));
        }
        object.insert("load average, 1 minute, at the end".to_owned(), load.parse::<f64>().ok().into());
        writeln!(out, "{}", Value::Object(object))?;
        return Ok(());
    }
    let columns: Vec<&str> = std::iter::once(FLOOR).chain(STORES.map(Store::name)).collect();
    write!(out, "{:<38}", "")?;
    for column in &columns {
        write!(out, " {column:>16}")?;
    }
    writeln!(out)?;
    for (figure, values) in &figures.0 {
        write!(out, "{figure:<38}")?;
        for column in &columns {
            let value = values.get(column).map_or("-".to_owned(), |values| format!("{:.1}", median(values)));
            write!(out, " {value:>16}")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "load average of 1 minute at the end: {load}; the benchmark itself is a part of it")?;
    Ok(())
}
