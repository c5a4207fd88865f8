//! The parts by themselves, as far as the public API reaches them: encode, frame, decode, scan, fold, look-up.
//!
//! `cargo bench --bench parts` measures all, `-- look-up` those with that in their name. The ledger lies in memory where the
//! system has a file system there (`/dev/shm`), so that no disk is part of it; a sync costs nothing there. The events are
//! those of the workloads. A part that cannot be reached alone is named with what it is measured together with.

#[path = "work/mod.rs"]
#[expect(dead_code, reason = "of the workloads, which need more of it")]
mod work;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use taskledger::{
    At, Batch, Durability, Event, Expect, Filter, Ledger, Level, Options, Seq, TaskRecord, TaskState, canon, verify,
};
use work::events::{Script, id};
use work::ledger::Taskledger;
use work::{Extent, Mode, Outcome, Peer};

const EVENTS: u64 = 100_000;
const TASKS: u32 = 10_000;

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("floor: crc32");
    for bytes in [200_u64, 4096] {
        let data: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(bytes.to_string(), |b| b.iter(|| crc32fast::hash(black_box(&data))));
    }
}

/// Each sample appends to one and the same ledger: tasks that are new, so that all events are alike.
fn append(group: &mut BenchmarkGroup<'_, WallTime>, dir: &Path, size: u32) -> Outcome<()> {
    let durability = Durability::Buffered { sync_every: Duration::from_millis(100) };
    let ledger = Options::new().durability(durability).open(dir)?;
    let mut next = 0;
    group.throughput(Throughput::Elements(size.into()));
    group.bench_function(format!("check, place, encode, frame, write: batch of {size}"), |b| {
        b.iter_batched(
            || {
                let mut batch = Batch::new();
                for _ in 0..size {
                    batch.push(format!("task-{next:012}"), Event::created().by("worker-7"), Expect::Any);
                    next += 1;
                }
                batch
            },
            |batch| ledger.commit(batch).expect("it can be appended"),
            BatchSize::SmallInput,
        );
    });
    Ok(())
}

fn parts(criterion: &mut Criterion) -> Outcome<()> {
    let memory = Path::new("/dev/shm");
    let own = tempfile::tempdir_in(if memory.is_dir() { memory } else { Path::new(".") })?;
    let script = Script::new(1, TASKS, EVENTS);
    let dir = own.path().join("ledger");
    std::fs::create_dir(&dir)?;
    let store = Taskledger::new().open(&dir, Mode::Load, Extent { events: EVENTS, tasks: TASKS })?;
    let store = store.ok_or("the ledger opens")?;
    for batch in script.events(1..=EVENTS).chunks(100) {
        store.append_all(batch)?;
    }
    store.close()?;

    let mut group = criterion.benchmark_group("encode");
    for size in [1, 100] {
        append(&mut group, &own.path().join(format!("append-{size}")), size)?;
    }
    let reader = Ledger::open_read_only(&dir)?;
    let view = reader.view();
    let entry = view.entries(Seq(7)).next().ok_or("there are more")??;
    group.throughput(Throughput::Elements(1));
    group.bench_function("canonical bytes of an entry", |b| b.iter(|| canon(black_box(&entry))));
    group.finish();

    let bytes = verify(&dir, Level::Structure)?.bytes;
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20).throughput(Throughput::Bytes(bytes));
    group.bench_function("frames and checksums: verify, structure", |b| {
        b.iter(|| verify(&dir, Level::Structure).expect("it can be verified"));
    });
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("and decode: all entries", |b| b.iter(|| view.entries(Seq::FIRST).count()));
    group.finish();

    let mut group = criterion.benchmark_group("fold");
    group.bench_function("one move of a record", |b| {
        let record = TaskRecord::new("task");
        b.iter_batched(|| record.clone(), |mut record| record.transition(TaskState::Ready), BatchSize::SmallInput);
    });
    group.sample_size(20).throughput(Throughput::Elements(EVENTS));
    let (tables, away) = (dir.join("idx"), dir.join("idx-away"));
    std::fs::rename(&tables, &away)?;
    group.bench_function("with scan and decode: opening without indexes", |b| {
        b.iter(|| Ledger::open_read_only(&dir).expect("it opens").view().counts());
    });
    std::fs::rename(&away, &tables)?;
    group.finish();

    let mut group = criterion.benchmark_group("look-up");
    let ids: Vec<String> = (0..TASKS).map(id).collect();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 7919) % ids.len();
        ids.get(turn).map_or("", String::as_str)
    };
    for (name, mmap) in [("", false), (", mapped", true)] {
        let reader = Options::new().mmap(mmap).open_read_only(&dir)?;
        let view = reader.view();
        group.bench_function(format!("a record{name}"), |b| b.iter(|| view.get(next()).expect("it answers")));
        group.bench_function(format!("a task that never was{name}"), |b| {
            b.iter(|| view.get("nobody").expect("it answers"))
        });
        group.bench_function(format!("a history of ten{name}"), |b| {
            b.iter(|| view.history(next()).expect("it answers").count());
        });
        group.bench_function(format!("a record as of half{name}"), |b| {
            b.iter(|| reader.get_as_of(next(), At::Seq(Seq(EVENTS / 2))).expect("it answers"));
        });
    }
    group.bench_function("tasks by state", |b| b.iter(|| view.counts()));
    group.bench_function("100 tasks of a state", |b| {
        b.iter(|| view.list(Filter::new().state(TaskState::Failed).limit(100)).expect("it answers"));
    });
    group.finish();
    Ok(())
}

fn main() -> Outcome<()> {
    let quick = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let mut criterion = quick.configure_from_args();
    checksum(&mut criterion);
    parts(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
