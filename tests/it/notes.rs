//! Notes: JSON values under keys, beside the tasks and never among them.

use std::sync::Arc;

use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{Event, Filter, Ledger, Options, Seq, TaskState};

fn memory() -> (MemVfs, Ledger) {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    (vfs, ledger)
}

fn open(vfs: &MemVfs) -> Ledger {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).open("/l").unwrap()
}

#[test]
fn a_note_is_kept_and_comes_back_and_is_no_task() {
    let (vfs, ledger) = memory();
    ledger.append("dlq:7", Event::created()).unwrap();
    for value in [json!({"tries": 3}), Value::Null, json!([1, 2.5, "x"])] {
        ledger.append_note("dlq:7", Event::noted(value.clone()).by("me")).unwrap();
        let note = ledger.note("dlq:7").unwrap().unwrap();
        assert_eq!(note.value, value);
    }
    drop(ledger);
    let ledger = open(&vfs);
    let note = ledger.note("dlq:7").unwrap().unwrap();
    assert_eq!((note.value, note.version, note.seq), (json!([1, 2.5, "x"]), 3, Seq(4)));
    assert_eq!(ledger.counts().total(), 1);
    assert_eq!(ledger.list(Filter::new()).unwrap().tasks.len(), 1);
    assert_eq!(ledger.history("dlq:7").unwrap().count(), 1);
    assert_eq!(ledger.note_history("dlq:7").unwrap().count(), 3);
    ledger.append_note("dlq:7", Event::removed()).unwrap();
    assert!(ledger.note("dlq:7").unwrap().is_none());
    assert_eq!(ledger.get("dlq:7").unwrap().unwrap().record.state, TaskState::Pending);
    assert_eq!(ledger.append_note("dlq:7", Event::noted(1)).unwrap().version(), 5);
}
