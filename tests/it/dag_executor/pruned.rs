//! A store whose ledger forgets its beginning: what was saved is loaded all the same.
//!
//! `TASKLEDGER_SEED=N cargo test --test it dag_executor::pruned` saves other values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dag_executor::prelude::{BasicTask, Dag, DagExecutor};
use dag_executor::storage::Storage;
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{At, LedgerStorage, Maintenance, Options, Prune, Seq, TaskState};

use super::{NOON, key, record};
use crate::support::{Rng, number};

const STEPS: u64 = 1200;

fn open(vfs: &MemVfs) -> LedgerStorage {
    let options = Options::new().vfs(Arc::new(vfs.clone())).maintenance(Maintenance::Manual).segment_size(16 << 10);
    LedgerStorage::new(options.open("/runs").unwrap())
}

/// Drops all that can go; the oldest entry then.
fn prune(storage: &LedgerStorage) -> Seq {
    storage.ledger().prune(&Prune::before(At::Seq(storage.ledger().head())).forced()).unwrap().oldest
}

fn value(rng: &mut Rng, under: &str) -> Value {
    let text = "x".repeat(rng.below(4000) as usize);
    match under.strip_prefix("record:") {
        Some(id) if rng.below(5) > 0 => {
            let at = NOON - 3_600_000 + rng.below(3_000_000);
            let state = TaskState::ALL[rng.below(9) as usize];
            record(id, json!({"state": state, "attempts": rng.below(4), "updated_at": at, "output": text}))
        }
        _ => json!({"says": text, "n": rng.below(3)}),
    }
}

#[tokio::test]
async fn what_was_saved_is_loaded_once_its_entries_have_gone() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(1);
    let mut rng = Rng(seed);
    let vfs = MemVfs::new();
    vfs.set_now_ms(NOON);
    let mut storage = open(&vfs);
    let mut saved: BTreeMap<String, Value> = BTreeMap::new();
    let keys = ["record:a", "record:b", "record:c", "record:c/1", "dlq:a", "state:a"];
    let (mut prunes, mut older) = (0, 0);
    let mut oldest = Seq::FIRST;
    for step in 0..STEPS {
        let under = keys[rng.below(keys.len() as u64) as usize];
        match rng.below(20) {
            0 => {
                let before = std::mem::replace(&mut oldest, prune(&storage));
                prunes += u64::from(oldest > before);
            }
            1 => {
                drop(storage);
                storage = open(&vfs);
            }
            2 => {
                storage.delete(under).await.unwrap();
                saved.remove(under);
            }
            // The same once more is no entry, also where the log has no trace of it any more.
            3 => {
                if let Some(value) = saved.get(under).filter(|_| under.starts_with("record:")) {
                    let head = storage.ledger().head();
                    storage.save(under, value).await.unwrap();
                    let whole = value.get("state").is_some();
                    assert!(!whole || storage.ledger().head() == head, "TASKLEDGER_SEED={seed}, step {step}: {under}");
                }
            }
            _ => {
                let value = value(&mut rng, under);
                storage.save(under, &value).await.unwrap();
                saved.insert(under.to_owned(), value);
            }
        }
        for under in keys {
            let loaded = storage.load(under).await.unwrap();
            assert_eq!(loaded.as_ref(), saved.get(under), "TASKLEDGER_SEED={seed}, step {step}: {under}");
            let last = storage.ledger().get(under.trim_start_matches("record:")).unwrap();
            older += u64::from(last.is_some_and(|task| task.seq < oldest));
        }
        let mut listed = storage.list().await.unwrap();
        listed.sort_unstable();
        assert!(listed.iter().eq(saved.keys()), "TASKLEDGER_SEED={seed}, step {step}: {listed:?}");
    }
    assert!(prunes > 20 && older > 20, "{prunes} prunes, and {older} times a task was older than all entries");
}

#[tokio::test]
async fn an_executor_does_not_run_again_what_was_completed_before_a_prune() {
    let vfs = MemVfs::new();
    vfs.set_now_ms(NOON);
    let runs = Arc::new(AtomicU64::new(0));
    let dag = |names: &[&str]| {
        let mut dag = Dag::new();
        for name in names {
            let runs = Arc::clone(&runs);
            let work = move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
                async { Ok(json!("x".repeat(9000))) }
            };
            dag.add_task(Arc::new(BasicTask::new(*name, work))).unwrap();
        }
        dag
    };
    let storage = Arc::new(open(&vfs));
    let run = |storage: &Arc<LedgerStorage>| DagExecutor::builder().storage(storage.clone()).build();
    assert!(run(&storage).run(dag(&["one", "two", "three"])).await.unwrap().is_success());
    let before = storage.load(&key("one")).await.unwrap();
    assert!(prune(&storage) > Seq::FIRST, "something has gone");
    drop(storage);
    let storage = Arc::new(open(&vfs));
    assert!(storage.ledger().history("one").unwrap().pruned() > 0);
    assert_eq!(storage.load(&key("one")).await.unwrap(), before);
    let ran = runs.load(Ordering::SeqCst);
    assert_eq!(ran, 3);
    assert!(run(&storage).run(dag(&["one", "two", "three", "four"])).await.unwrap().is_success());
    assert_eq!(runs.load(Ordering::SeqCst), 4, "only what is new runs");
}
