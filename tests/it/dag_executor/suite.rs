//! What any store of dag-executor must do: its own storage tests in other words, on ours and, to check the checks, on its.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dag_executor::error::StorageError;
use dag_executor::storage::{Cache, FileStorage, MemoryStorage, Storage};
use serde_json::json;
use taskledger::{Durability, Error, Ledger, LedgerStorage, Options};

use super::{in_dir, key, noon, record};

/// A store under test, by name, and whether it refuses keys.
struct Subject {
    name: &'static str,
    storage: Arc<dyn Storage>,
    refuses_keys: bool,
    _dir: tempfile::TempDir,
}

fn subjects() -> Vec<Subject> {
    let dir = || tempfile::tempdir().unwrap();
    let subject = |name, dir, storage, refuses_keys| Subject { name, storage, refuses_keys, _dir: dir };
    let (files, synced, buffered) = (dir(), dir(), dir());
    let file_storage = Arc::new(FileStorage::open(files.path()).unwrap());
    let durability = Durability::Buffered { sync_every: Duration::from_millis(20) };
    let ledger = Options::new().durability(durability).open(buffered.path()).unwrap();
    let in_files = Arc::new(LedgerStorage::open(synced.path()).unwrap());
    vec![
        subject("their memory", dir(), Arc::new(MemoryStorage::new()), false),
        subject("their files", files, file_storage, true),
        subject("ours in memory", dir(), Arc::new(noon().1), true),
        subject("ours", synced, in_files, true),
        subject("ours, buffered", buffered, Arc::new(LedgerStorage::new(ledger)), true),
    ]
}

/// Keys that other stores have to be careful with, of records and of other things.
fn odd_keys() -> Vec<String> {
    let odd = [
        "../escape",
        "/etc/passwd",
        "a/b",
        "with\\slash",
        "key:with:colons",
        ".",
        " ",
        "\0",
        "\n",
        "ünï ✓ 𝄞",
        "record",
    ];
    let records = odd.iter().map(|odd| key(odd));
    let more = ["record:record:x".to_owned(), "record:".to_owned(), "Record:a".to_owned(), "dlq:record:a".to_owned()];
    odd.iter().map(|odd| (*odd).to_owned()).chain(records).chain(more).collect()
}

async fn listed(storage: &dyn Storage) -> BTreeSet<String> {
    let keys = storage.list().await.unwrap();
    let set: BTreeSet<String> = keys.iter().cloned().collect();
    assert_eq!(set.len(), keys.len(), "each key is listed once");
    set
}

#[tokio::test]
async fn what_is_saved_is_loaded_listed_and_deleted() {
    for Subject { name, storage, .. } in subjects() {
        for (key, value) in [("k".to_owned(), json!({"n": 42})), (key("a"), record("a", json!({})))] {
            assert_eq!(storage.load(&key).await.unwrap(), None, "{name}");
            storage.save(&key, &value).await.unwrap();
            assert_eq!(storage.load(&key).await.unwrap(), Some(value), "{name}");
            assert_eq!(storage.list().await.unwrap(), std::slice::from_ref(&key), "{name}");
            storage.delete(&key).await.unwrap();
            assert_eq!(storage.load(&key).await.unwrap(), None, "{name}");
            assert_eq!(storage.list().await.unwrap(), [""; 0], "{name}");
            storage.delete(&key).await.unwrap_or_else(|error| panic!("{name}: nothing there is no error: {error}"));
        }
    }
}

#[tokio::test]
async fn the_last_value_saved_is_the_one() {
    for Subject { name, storage, .. } in subjects() {
        for n in 0..5 {
            storage.save("k", &json!(n)).await.unwrap();
            storage.save(&key("a"), &record("a", json!({"attempts": n}))).await.unwrap();
        }
        assert_eq!(storage.load("k").await.unwrap(), Some(json!(4)), "{name}");
        assert_eq!(storage.load(&key("a")).await.unwrap(), Some(record("a", json!({"attempts": 4}))), "{name}");
        assert_eq!(listed(&*storage).await, BTreeSet::from(["k".to_owned(), key("a")]), "{name}: nothing else is left");
    }
}

#[tokio::test]
async fn a_deleted_key_can_be_saved_again() {
    for Subject { name, storage, .. } in subjects() {
        for (key, value) in [("k".to_owned(), json!(null)), (key("a"), record("a", json!({"attempts": 3})))] {
            for _ in 0..3 {
                storage.save(&key, &value).await.unwrap();
                assert_eq!(storage.load(&key).await.unwrap(), Some(value.clone()), "{name}");
                storage.delete(&key).await.unwrap();
                assert_eq!(storage.load(&key).await.unwrap(), None, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn any_text_is_a_key_and_none_is_taken_for_another() {
    for Subject { name, storage, _dir, .. } in subjects() {
        for key in odd_keys() {
            storage.save(&key, &json!(key)).await.unwrap();
        }
        for key in odd_keys() {
            assert_eq!(storage.load(&key).await.unwrap(), Some(json!(key)), "{name}");
        }
        assert_eq!(listed(&*storage).await, odd_keys().into_iter().collect(), "{name}");
        for key in odd_keys() {
            let id = key.strip_prefix("record:").unwrap_or(&key);
            storage.save(&key, &record(id, json!({}))).await.unwrap();
            assert_eq!(storage.load(&key).await.unwrap(), Some(record(id, json!({}))), "{name}");
        }
        assert_eq!(listed(&*storage).await, odd_keys().into_iter().collect(), "{name}");
        let beside = std::fs::read_dir(_dir.path().parent().unwrap()).unwrap();
        let escaped = beside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("escape"));
        assert_eq!(escaped.count(), 0, "{name}: no key leads out of the directory");
    }
}

#[tokio::test]
async fn keys_have_1_to_1024_bytes() {
    for Subject { name, storage, refuses_keys, .. } in subjects() {
        let longest = [key(&"x".repeat(1017)), "é".repeat(512)];
        for key in &longest {
            storage.save(key, &record(&"x".repeat(1017), json!({}))).await.unwrap();
            assert!(storage.load(key).await.unwrap().is_some(), "{name}");
        }
        if !refuses_keys {
            continue;
        }
        for key in ["".to_owned(), key(&"x".repeat(1018)), "é".repeat(512) + "x"] {
            let refusals = [
                storage.save(&key, &json!(1)).await.unwrap_err(),
                storage.load(&key).await.unwrap_err(),
                storage.delete(&key).await.unwrap_err(),
            ];
            for refusal in refusals {
                assert!(matches!(&refusal, StorageError::InvalidKey(named) if *named == key), "{name}: {refusal:?}");
            }
        }
        assert_eq!(listed(&*storage).await, longest.into_iter().collect(), "{name}");
    }
}

#[tokio::test]
async fn their_cache_serves_in_front_of_it() {
    for Subject { name, storage, .. } in subjects() {
        let cache = Cache::new(storage.clone(), 8);
        cache.save("k", &json!("v")).await.unwrap();
        assert_eq!(storage.load("k").await.unwrap(), Some(json!("v")), "{name}: written through");
        assert_eq!((cache.load("k").await.unwrap(), cache.len()), (Some(json!("v")), 1), "{name}");
        cache.delete("k").await.unwrap();
        assert_eq!(cache.load("k").await.unwrap(), None, "{name}");

        storage.save(&key("a"), &record("a", json!({}))).await.unwrap();
        let cache = Cache::new(storage, 8);
        assert!(cache.is_empty());
        assert_eq!(cache.load(&key("a")).await.unwrap(), Some(record("a", json!({}))), "{name}");
        assert_eq!(cache.len(), 1, "{name}: a miss fills it");
    }
}

#[tokio::test]
async fn what_was_saved_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let values = [("k".to_owned(), json!([1, {"x": null}])), (key("a"), record("a", json!({"state": "skipped"})))];
    {
        let storage = in_dir(dir.path());
        for (key, value) in &values {
            storage.save(key, value).await.unwrap();
        }
    }
    let storage = in_dir(dir.path());
    for (key, value) in values {
        assert_eq!(storage.load(&key).await.unwrap(), Some(value));
    }
}

/// Their test changes a value on disk and loads it. Here any byte that was vouched for is missed when it is opened.
#[tokio::test]
async fn a_changed_byte_is_damage_and_never_another_value() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = in_dir(dir.path());
        storage.save("k", &json!("the value itself")).await.unwrap();
        storage.ledger().clone().close().unwrap();
    }
    let log = std::fs::read_dir(dir.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(9).position(|bytes| bytes == b"the value").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let damaged = loop {
        match LedgerStorage::open(dir.path()) {
            Err(Error::Locked { pid: None, .. }) => std::thread::yield_now(),
            ended => break ended.unwrap_err(),
        }
    };
    assert!(matches!(damaged, Error::Damaged { .. }), "{damaged:?}");
    assert!(matches!(Ledger::open_read_only(dir.path()), Err(Error::Damaged { .. })));
}
