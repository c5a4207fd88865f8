//! What does not go well: saves at once, saves that nobody awaits, power cuts, no room, a failing sync, a closed ledger.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dag_executor::storage::Storage;
use serde_json::{Value, json};
use taskledger::vfs::fault::{CallKind, Effect, Fault, Limits, MemVfs};
use taskledger::{Error, LedgerStorage, Level, Maintenance, Options, Seq, Verdict, verify};

use super::{NOON, history, inner, key, running};
use crate::support::Hooked;

const TASKS: u64 = 64;

/// The n-th of some records of one task that differ; every fourth is more than events can carry.
fn version(n: u64) -> Value {
    let mut record = running("a", 1_000_000 + n);
    record["attempts"] = json!(n);
    if n % 4 == 3 {
        record["unknown"] = json!(n);
    }
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn saves_at_once_of_one_key_all_happen_and_no_load_sees_half_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LedgerStorage::open(dir.path()).unwrap();
    let saves: Vec<_> = (0..TASKS)
        .map(|n| {
            let storage = storage.clone();
            tokio::spawn(async move {
                storage.save(&key("a"), &version(n)).await.unwrap();
                storage.load(&key("a")).await.unwrap().expect("it was saved")
            })
        })
        .collect();
    let all: Vec<Value> = (0..TASKS).map(version).collect();
    for save in saves {
        let loaded = save.await.unwrap();
        assert!(all.contains(&loaded), "nobody saved {loaded}");
    }
    let stated = history(storage.ledger(), "a").into_iter().filter(|entry| !entry.event.is_inferred());
    let attempts: Vec<u32> = stated.map(|entry| entry.event.attempts_set().unwrap_or_default()).collect();
    let unique: BTreeSet<u32> = attempts.iter().copied().collect();
    assert_eq!((attempts.len(), unique.len()), (TASKS as usize, TASKS as usize), "each save is in the history once");
    assert_eq!(storage.list().await.unwrap(), [key("a")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deletes_and_saves_at_once_end_with_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LedgerStorage::open(dir.path()).unwrap();
    let steps: Vec<_> = (0..TASKS)
        .map(|n| {
            let storage = storage.clone();
            tokio::spawn(async move {
                match n % 2 {
                    0 => storage.delete(&key("a")).await.unwrap(),
                    _ => storage.save(&key("a"), &version(n)).await.unwrap(),
                }
            })
        })
        .collect();
    for step in steps {
        step.await.unwrap();
    }
    let loaded = storage.load(&key("a")).await.unwrap();
    assert_eq!(storage.list().await.unwrap().len(), usize::from(loaded.is_some()));
    assert!(loaded.is_none_or(|loaded| (0..TASKS).map(version).any(|saved| saved == loaded)));
}

#[test]
fn a_save_that_nobody_awaits_happens_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LedgerStorage::open(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        for n in 0..TASKS {
            let key = key(&format!("t{n}"));
            let value = version(n);
            let mut save = storage.save(&key, &value);
            // Polled once, and dropped.
            let polled = save.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(!matches!(polled, Poll::Ready(Err(_))));
        }
    });
    drop(runtime); // waits for what has begun
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..TASKS {
        let loaded = runtime.block_on(storage.load(&key(&format!("t{n}")))).unwrap();
        assert!(loaded.is_none_or(|loaded| loaded == version(n)), "t{n}");
    }
    runtime.block_on(storage.save(&key("a"), &version(1))).unwrap();
    drop(storage);
    assert_eq!(verify(dir.path(), Level::Content).unwrap().verdict(), Verdict::Sound);
}

/// One thread runs all async tasks here: were it blocked by the save, nobody could let the sync go on.
#[test]
fn no_async_thread_waits_for_the_disk() {
    let (let_go, wait) = mpsc::channel();
    let (wait, in_vain) = (Mutex::new(wait), Arc::new(AtomicU64::new(0)));
    let counted = in_vain.clone();
    let armed = Arc::new(AtomicU64::new(0));
    let is_armed = armed.clone();
    let vfs = Hooked::before_sync(MemVfs::new(), move || {
        if is_armed.swap(0, Ordering::SeqCst) == 1
            && wait.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_err()
        {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let storage = LedgerStorage::new(Options::new().vfs(vfs).open("/l").unwrap());
    armed.store(1, Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let value = json!(1);
        let mut save = pin!(storage.save("k", &value));
        assert!(save.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(storage.load("k").await.unwrap(), None, "what is not durable is not shown");
        let_go.send(()).unwrap();
        save.await.unwrap();
    });
    assert_eq!(in_vain.load(Ordering::SeqCst), 0);
}

/// A store whose next sync is held until so many places have been asked for: the clock is asked once for each, under the lock
/// that the end of a sync takes. Gives the counter of places, too.
fn held_until(places: u64) -> (MemVfs, LedgerStorage, Arc<AtomicU64>) {
    let memory = MemVfs::new();
    let (asked, held) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, is_held) = (asked.clone(), held.clone());
    let (ask, wait) = mpsc::channel();
    let (ask, wait) = (Mutex::new(ask), Mutex::new(wait));
    let vfs = Hooked::before_sync(memory.clone(), move || {
        if is_held.swap(false, Ordering::SeqCst) {
            for place in 0..places {
                let asked = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
                assert!(asked.is_ok(), "only {place} of {places} were placed beside a sync");
            }
        }
    });
    let clock = move || {
        if counted.fetch_add(1, Ordering::SeqCst) > 0 {
            // Nobody may listen any more; the first time is that of the ledger's creation.
            let _ = ask.lock().unwrap().send(());
        }
        NOON
    };
    let options = Options::new().vfs(vfs).clock(clock).maintenance(Maintenance::Manual);
    let storage = LedgerStorage::new(options.open("/l").unwrap());
    assert_eq!(asked.swap(1, Ordering::SeqCst), 1, "creation asks once");
    held.store(true, Ordering::SeqCst);
    (memory, storage, asked)
}

/// Saves these records at once, each under the key of its id.
fn save_at_once(storage: &LedgerStorage, records: Vec<Value>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let save = |record: Value| {
            let storage = storage.clone();
            tokio::spawn(async move { storage.save(&key(record["id"].as_str().unwrap()), &record).await.unwrap() })
        };
        let saves: Vec<_> = records.into_iter().map(save).collect();
        for save in saves {
            save.await.unwrap();
        }
    });
}

#[test]
fn saves_at_once_share_syncs() {
    let (memory, storage, asked) = held_until(TASKS);
    let before = memory.call_kinds().len();
    save_at_once(&storage, (0..TASKS).map(|n| running(&format!("t{n}"), 1_000_000 + n)).collect());
    let calls = memory.call_kinds().split_off(before);
    let syncs = calls.iter().filter(|&&call| call == CallKind::SyncData).count();
    assert!(syncs <= 2, "the flight that was held, and one with all that came meanwhile: {calls:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1 + TASKS, "none was decided twice");
    assert_eq!(storage.ledger().counts().total(), TASKS);
}

#[test]
fn of_two_saves_that_saw_the_same_the_later_one_is_decided_anew() {
    // The second is decided while the first is not durable, and so not to be seen.
    let (_, storage, asked) = held_until(2);
    let records = [version(1), version(2)];
    save_at_once(&storage, records.to_vec());
    assert_eq!(asked.load(Ordering::SeqCst), 1 + 3, "one of them twice");
    let stated = history(storage.ledger(), "a").into_iter().filter(|entry| !entry.event.is_inferred());
    let mut attempts: Vec<_> = stated.map(|entry| entry.event.attempts_set()).collect();
    attempts.sort();
    assert_eq!(attempts, [Some(1), Some(2)], "both are in the history");
}

/// A store in a file system that fails.
fn in_memory() -> (MemVfs, LedgerStorage) {
    let vfs = MemVfs::new();
    let options = Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).maintenance(Maintenance::Manual);
    let ledger = options.open("/l").unwrap();
    (vfs, LedgerStorage::new(ledger))
}

#[tokio::test]
async fn a_failed_sync_is_told_as_such_and_what_was_there_can_still_be_loaded() {
    let (vfs, storage) = in_memory();
    storage.save(&key("a"), &version(0)).await.unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(5).only(CallKind::SyncData).with(Effect::Error));
    let unknown = storage.save(&key("a"), &version(1)).await.unwrap_err();
    assert!(matches!(inner(&unknown), Error::Unknown { .. }), "{unknown:?}");
    assert!(unknown.to_string().contains("open the ledger anew and look"), "{unknown}");
    let poisoned = storage.save(&key("a"), &version(1)).await.unwrap_err();
    assert!(matches!(inner(&poisoned), Error::Poisoned { .. }), "{poisoned:?}");
    assert_eq!(storage.load(&key("a")).await.unwrap(), Some(version(0)));
}

/// At every call of the file system: what was saved last is there, or what was being saved; never a part of either.
#[test]
fn after_a_power_cut_the_last_save_is_there_or_the_one_that_was_begun() {
    let (vfs, storage) = in_memory();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let saves = [Some(version(1)), Some(version(3)), Some(version(2)), Some(json!(null)), None, Some(version(7)), None];
    // What there is once so many operations are done.
    let mut done = vec![(vfs.trace_len(), None)];
    for value in saves {
        match &value {
            Some(value) => runtime.block_on(storage.save(&key("a"), value)).unwrap(),
            None => runtime.block_on(storage.delete(&key("a"))).unwrap(),
        }
        done.push((vfs.trace_len(), value));
    }
    let limits = Limits { exhaustive: 5, pairs: 0, samples: 24, tear: false, seed: 7 };
    let (mut states, mut ahead) = (0, 0);
    for cut in done[0].0..vfs.crash_points() {
        let last = done.iter().rposition(|(end, _)| *end <= cut).unwrap();
        let begun = done.get(last + 1).unwrap_or(&done[last]);
        states += vfs.crash_states(cut, &limits, &mut |image, choice| {
            let options = Options::new().vfs(Arc::new(image)).segment_size(16 << 10).maintenance(Maintenance::Manual);
            let storage = LedgerStorage::new(options.open("/l").unwrap_or_else(|error| panic!("{error}")));
            let loaded = runtime.block_on(storage.load(&key("a"))).unwrap();
            let is_last = loaded == done[last].1;
            assert!(is_last || loaded == begun.1, "{loaded:?} after {last} saves, cut at {cut}, {choice:?}");
            ahead += u64::from(!is_last);
            let keys = runtime.block_on(storage.list()).unwrap();
            assert_eq!(keys.len(), usize::from(loaded.is_some()), "cut at {cut}, {choice:?}");
        });
    }
    assert!(states > 100 && ahead > 10, "{states} states, {ahead} with a save that was begun only");
}

#[tokio::test]
async fn where_there_is_no_room_nothing_changes_and_with_room_it_works() {
    let (vfs, storage) = in_memory();
    vfs.set_capacity(Some(64 << 10));
    let value = |n: u64| json!({"n": n, "text": "x".repeat(1000)});
    let full = 'full: {
        for n in 0..1000 {
            if let Err(error) = storage.save("k", &value(n)).await {
                break 'full (n, error);
            }
        }
        panic!("a disk of 64 KiB takes a megabyte");
    };
    let (n, error) = full;
    assert!(matches!(inner(&error), Error::NoSpace { .. }), "{error:?}");
    assert_eq!(storage.load("k").await.unwrap(), Some(value(n - 1)));
    vfs.set_capacity(None);
    storage.save("k", &value(n)).await.unwrap();
    assert_eq!(storage.load("k").await.unwrap(), Some(value(n)));
}

#[tokio::test]
async fn a_closed_ledger_takes_no_save_and_still_loads() {
    let (_, storage) = in_memory();
    storage.save("k", &json!(1)).await.unwrap();
    storage.ledger().clone().close().unwrap();
    for refusal in [storage.save("k", &json!(2)).await.unwrap_err(), storage.delete("k").await.unwrap_err()] {
        assert!(matches!(inner(&refusal), Error::Closed), "{refusal:?}");
    }
    storage.delete("never there").await.unwrap();
    assert_eq!(storage.load("k").await.unwrap(), Some(json!(1)));
    assert_eq!(storage.ledger().head(), Seq(1));
}
