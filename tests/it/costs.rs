//! What things cost, in calls of the file system and in bytes: no clock, so no noise. The bounds are what was counted when
//! they were written; a change that costs more says so here.

mod hints;

use std::sync::Arc;
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, MemVfs, Op};
use taskledger::{At, Batch, Durability, Event, Expect, Ledger, Maintenance, Options, Seq, TaskState};

use crate::format::bytes::{Frame, frames};
use crate::support::say;

const DIR: &str = "/ledger";

/// With nothing in memory that was looked up before: what is counted are the looks at files.
fn options(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).maintenance(Maintenance::Manual).cache_size(0)
}

fn open(vfs: &MemVfs) -> Ledger {
    options(vfs).open(DIR).expect("it opens")
}

/// How often each of these was called meanwhile.
fn calls<const N: usize>(vfs: &MemVfs, kinds: [CallKind; N], work: impl FnOnce()) -> [usize; N] {
    let before = vfs.calls();
    work();
    let called = vfs.call_kinds().split_off(before);
    kinds.map(|kind| called.iter().filter(|called| **called == kind).count())
}

fn observed(n: u64) -> Event {
    Event::observed(TaskState::ALL[(n % 9) as usize]).by("worker-7")
}

/// So many tasks with ten entries each, in rounds, so that a task's entries lie far from each other.
fn rounds(ledger: &Ledger, tasks: u64) {
    for round in 0..10 {
        let all: Vec<u64> = (0..tasks).collect();
        for some in all.chunks(100) {
            let mut batch = Batch::new();
            for n in some {
                batch.push(format!("task-{n:06}"), observed(n + round), Expect::Any);
            }
            ledger.commit(batch).expect("it is legal");
        }
    }
}

#[test]
fn an_append_is_two_writes_and_one_sync_whatever_it_carries() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ledger.append("a", Event::created()).unwrap();
    let kinds = [CallKind::Write, CallKind::SyncData, CallKind::Read, CallKind::Open];
    // The frame and the mark in `live`; nothing is read for a task that is at hand, nor for a new one.
    for n in 0..20 {
        let one = calls(&vfs, kinds, || drop(ledger.append(format!("a{}", n / 2), observed(n)).unwrap()));
        assert_eq!(one, [2, 1, 0, 0], "append {n}");
    }
    let batch = calls(&vfs, kinds, || {
        let mut batch = Batch::new();
        (0..1000).for_each(|n| {
            batch.push(format!("b{n}"), observed(n), Expect::Any);
        });
        ledger.commit(batch).unwrap();
    });
    assert_eq!(batch, [2, 1, 0, 0], "a batch of 1000 events, over many frames");
    let tickets = calls(&vfs, kinds, || {
        let tickets: Vec<_> = (0..256).map(|n| ledger.submit(format!("c{n}"), observed(n)).unwrap()).collect();
        tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    });
    assert_eq!(tickets, [2, 1, 0, 0], "256 tickets that are outstanding at once");
}

#[test]
fn a_buffered_append_is_one_write() {
    let vfs = MemVfs::new();
    let durability = Durability::Buffered { sync_every: std::time::Duration::from_secs(1) };
    let ledger = options(&vfs).durability(durability).open(DIR).unwrap();
    let kinds = [CallKind::Write, CallKind::SyncData, CallKind::Read];
    let all = calls(&vfs, kinds, || {
        (0..100).for_each(|n| drop(ledger.append(format!("a{n}"), observed(n)).unwrap()));
    });
    assert_eq!(all, [100, 0, 0]);
}

#[test]
fn a_roll_syncs_a_few_times_and_its_index_is_read_back_once() {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).segment_size(256 << 10).open(DIR).unwrap();
    let logs = || vfs.files().iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count();
    let kinds = [CallKind::SyncData, CallKind::SyncDir, CallKind::Read];
    let mut most = [0; 3];
    let mut n = 0;
    while logs() < 3 {
        let one = calls(&vfs, kinds, || drop(ledger.append(format!("task-{}", n % 500), observed(n)).unwrap()));
        most = std::array::from_fn(|kind| most[kind].max(one[kind]));
        n += 1;
    }
    assert_eq!(
        most,
        [4, 1, 0],
        "what the append pays that rolls: its own sync, the zeros, the header, the seal; the name"
    );
    let trace = vfs.trace_len();
    let [reads] = calls(&vfs, [CallKind::Read], || ledger.maintain().unwrap());
    let written = |op: &Op| if let Op::Write { bytes, .. } = op { bytes.len() / 4096 } else { 0 };
    let blocks: usize = vfs.trace().iter().skip(trace).map(written).sum();
    assert!(blocks > 40, "an index was made, of {blocks} blocks");
    assert!(reads <= blocks + 2, "{blocks} blocks were read back in {reads} reads");
}

/// The most that one look costs, once filters and fences are at hand.
fn most(vfs: &MemVfs, tasks: u64, look: &dyn Fn(&str)) -> usize {
    let name = |n: u64| format!("task-{n:06}");
    (0..50).for_each(|n| look(&name(n * tasks / 50)));
    let reads = |n: u64| calls(vfs, [CallKind::Read], || look(&name(n * tasks / 50 + 1)))[0];
    (0..50).map(reads).max().expect("there are some")
}

#[test]
fn looking_something_up_reads_few_blocks_however_much_there_is() {
    for tasks in [2_000, 20_000] {
        let vfs = MemVfs::new();
        // Closing leaves a short tail only where the ledger maintains itself.
        let ledger = options(&vfs).maintenance(Maintenance::Thread).open(DIR).unwrap();
        rounds(&ledger, tasks);
        ledger.snapshot().unwrap();
        ledger.close().unwrap();
        // What lies behind the last index, 4096 entries at most, is folded: a look into the tables for each of its tasks.
        let [reads, opens] = calls(&vfs, [CallKind::Read, CallKind::Open], || {
            drop(options(&vfs).open_read_only(DIR).unwrap());
        });
        let ledger = open(&vfs);
        let head = ledger.head().0;
        let get = most(&vfs, tasks, &|task| assert!(ledger.get(task).unwrap().is_some()));
        let absent = most(&vfs, tasks, &|task| assert!(ledger.get(&format!("no {task}")).unwrap().is_none()));
        let history = most(&vfs, tasks, &|task| assert_eq!(ledger.history(task).unwrap().count(), 10));
        let past = most(&vfs, tasks, &|task| {
            assert!(ledger.get_as_of(task, At::Seq(Seq(head / 2))).unwrap().is_some());
        });
        say(&format!(
            "costs: {tasks} tasks: opening reads {reads} times in {opens} files; a get {get}, an absent one {absent}, a \
             history of ten {history}, the past of one {past}"
        ));
        assert!(opens <= 9 && reads <= 21, "opening: {reads} reads in {opens} files");
        assert!(get <= 2 && absent <= 2, "a get reads {get} times, an absent one {absent}");
        assert!(history <= 22, "a history of ten entries: {history} reads");
        assert!(past <= 24, "one task as of the middle: {past} reads");
    }
}

#[test]
fn a_task_that_was_used_lately_is_not_looked_up_in_files() {
    for (cache_size, is_kept) in [(1 << 20, true), (0, false)] {
        let vfs = MemVfs::new();
        let small = options(&vfs).cache_size(cache_size).segment_size(16 << 10);
        rounds(&small.clone().open(DIR).unwrap(), 2_000);
        // What opening folds again, the end of the log, does not have the task.
        let ledger = small.open(DIR).unwrap();
        ledger.snapshot().unwrap();
        let mut version = 10;
        let mut append = |task: &str| {
            version += 1;
            assert_eq!(ledger.append(task, observed(version)).unwrap().version(), version);
        };
        let [first] = calls(&vfs, [CallKind::Read], || append("task-000007"));
        // A few segments later, of which the last ones say nothing of the task.
        for (round, is_told) in [(0, true), (1, false), (2, true)] {
            for n in 100..700 {
                ledger.append(format!("task-{n:06}"), observed(n + round)).unwrap();
            }
            ledger.maintain().unwrap();
            let [reads] = calls(&vfs, [CallKind::Read], || match is_told {
                true => append("task-000007"),
                false => assert!(ledger.get("task-000007").unwrap().is_some()),
            });
            assert!(first > 0 && (reads == 0) == is_kept, "{first} reads, then {reads} with {cache_size} bytes");
        }
    }
}

/// Where each entry is a frame of its own an index has the places of thousands of frames. A seq tells about which one it is in.
#[test]
fn a_history_of_single_appends_reads_two_or_three_times_an_entry() {
    let tasks = 3_000;
    let vfs = MemVfs::new();
    let ledger = options(&vfs).durability(Durability::Buffered { sync_every: Duration::from_secs(3600) });
    let ledger = ledger.open(DIR).unwrap();
    for round in 0..10 {
        for n in 0..tasks {
            ledger.append(format!("task-{n:06}"), observed(n + round)).unwrap();
        }
    }
    ledger.maintain().unwrap();
    let history = most(&vfs, tasks, &|task| assert_eq!(ledger.history(task).unwrap().count(), 10));
    say(&format!("costs: a history of ten among {} frames {history}", tasks * 10));
    assert!(history <= 15, "a history of ten entries: {history} reads");
}

/// A ledger has more segments than a process may have files. An entry of one that is not open takes three: it, its successor, which
/// says where it ends, and its index. What is asked for again and again stays open beside what is asked for once.
#[test]
fn a_history_of_a_ledger_of_many_segments_opens_few_files() {
    let (tasks, vfs) = (20_000, MemVfs::new());
    let ledger = options(&vfs).segment_size(16 << 10).open(DIR).unwrap();
    rounds(&ledger, tasks);
    ledger.maintain().unwrap();
    let logs = vfs.files().iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count();
    let opens = |n: u64| {
        let look = || assert_eq!(ledger.history(&format!("task-{n:06}")).unwrap().count(), 10);
        calls(&vfs, [CallKind::Open], look)[0]
    };
    // Far from each other, so that none is in the segments of the one before.
    let asked = (0..400).map(|n| 100 + n * 7_919 % (tasks - 100));
    let (once, again): (Vec<_>, Vec<_>) = asked.map(|n| (opens(n), opens(7))).unzip();
    let most = *once.iter().max().unwrap();
    let opened_again = again.iter().filter(|opens| **opens > 0).count();
    say(&format!(
        "costs: among {logs} segments a history of ten opens {most} files at most, and one that is asked for 400 times opens \
         any {opened_again} times"
    ));
    assert!(logs > 300, "{logs} segments");
    assert!(most <= 30, "a history of ten entries opened {most} files");
    assert!(opened_again <= 8, "{again:?}");
}

/// Bytes of all frames with events.
fn frame_bytes(vfs: &MemVfs) -> usize {
    let logs = vfs.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
    let frames = logs.flat_map(|path| frames(&vfs.read_file(&path).expect("it is there")));
    frames.filter(Frame::has_events).map(|frame| frame.len()).sum()
}

#[test]
fn an_event_takes_few_bytes() {
    let lifecycle = |n: u64, step: u64| match step {
        0 => Event::created().meta("host", "ci-7").by("planner"),
        1 => Event::to(TaskState::Ready),
        2 | 5 => Event::to(TaskState::Running).by(format!("worker-{}", n % 8)),
        3 => Event::to(TaskState::Retrying).error("timeout after 30 s"),
        4 => Event::to(TaskState::Ready),
        _ => Event::updated().output(n * step),
    };
    let [alone, together] = [1, 64].map(|size| {
        let vfs = MemVfs::new();
        let ledger = open(&vfs);
        for step in 0..10 {
            for group in (0..640).collect::<Vec<u64>>().chunks(size) {
                let mut batch = Batch::new();
                for n in group {
                    batch.push(format!("0b9c55d2-8f0e-4a3b-9d1c-{n:012}"), lifecycle(*n, step), Expect::Any);
                }
                vfs.advance_ms(3);
                ledger.commit(batch).unwrap();
            }
        }
        frame_bytes(&vfs) as f64 / 6400.0
    });
    say(&format!("costs: {alone:.1} bytes an event alone, {together:.1} in batches of 64"));
    assert!(alone <= 74.8 && together <= 20.4, "{alone} bytes an event alone, {together} in batches of 64");
}
