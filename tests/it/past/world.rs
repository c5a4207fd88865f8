//! Random histories in small segments, and the same ledger in several conditions: with tables, without, damaged, pruned.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Ledger, Maintenance, Options, Prune, Seq, TaskState};

use crate::reference::{
    RefEvent, RefExpect, RefItem, RefKind, RefReceipt, RefTask, Reference, batch_of, key_of_note, moves_from,
};
use crate::support::Rng;

const DIR: &str = "/l";
const START_MS: u64 = 1_772_366_400_000;
/// The first ones are asked for most often. Notes have keys that tasks have.
pub const SUBJECTS: [&str; 12] = ["a", "b/ü", "note a", "c", "d", "note n", "e", "f", "b", "note never", "g", "seldom"];
/// Of these there is never anything.
pub const NEVER: [&str; 3] = ["never", "", "note nothing"];

/// What happened, and the files that it left.
pub struct World {
    pub seed: u64,
    pub vfs: MemVfs,
    pub model: Reference,
    /// What there was after each entry, from before the first on.
    pub then: Vec<HashMap<String, RefTask>>,
}

/// A ledger in some condition.
pub struct Condition {
    /// What to say where something is wrong.
    pub name: String,
    pub vfs: MemVfs,
    pub ledger: Ledger,
}

pub fn open(vfs: &MemVfs) -> Ledger {
    options(vfs).open(DIR).expect("it opens")
}

pub fn options(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).maintenance(Maintenance::Manual)
}

pub fn dir() -> &'static Path {
    Path::new(DIR)
}

/// The files in a folder of the ledger.
pub fn files(vfs: &MemVfs, folder: &str) -> Vec<PathBuf> {
    let dir = dir().join(folder);
    vfs.files().into_iter().filter(|path| path.starts_with(&dir)).collect()
}

pub fn without_tables(vfs: &MemVfs) -> MemVfs {
    let vfs = vfs.fork();
    for path in files(&vfs, "idx").into_iter().chain(files(&vfs, "snap")) {
        vfs.remove_file(&path).expect("it is there");
    }
    vfs
}

impl World {
    /// So many batches.
    pub fn made(seed: u64, batches: usize) -> World {
        let (vfs, mut rng, mut model, mut now) = (MemVfs::new(), Rng(seed), Reference::default(), START_MS);
        vfs.set_now_ms(now);
        let mut ledger = open(&vfs);
        for _ in 0..batches {
            append(&ledger, &mut model, &mut rng, now);
            now += [0, 0, 1, 250][rng.below(4) as usize];
            vfs.set_now_ms(now);
            match rng.below(60) {
                0 | 1 => ledger.maintain().expect("there is room"),
                2 => drop(ledger.snapshot().expect("there is room")),
                3 => {
                    ledger.close().expect("it closes");
                    ledger = open(&vfs);
                }
                _ => {}
            }
        }
        ledger.close().expect("it closes");
        let then = (0..=model.head()).map(|seq| model.as_of_seq(seq).tasks).collect();
        World { seed, vfs, model, then }
    }

    /// The same ledger in all conditions.
    pub fn conditions(&self) -> Vec<Condition> {
        let mut rng = Rng(self.seed);
        let mut conditions = Vec::new();
        let mut add = |name: &str, vfs: MemVfs, ledger: Ledger| {
            let name = format!("seed {}, {name}", self.seed);
            conditions.push(Condition { name, vfs, ledger });
        };
        for (name, vfs) in [("as it was left", self.vfs.fork()), ("without tables", without_tables(&self.vfs))] {
            let ledger = open(&vfs);
            add(name, vfs, ledger);
        }
        let vfs = self.vfs.fork();
        let ledger = open(&vfs);
        ledger.maintain().expect("there is room");
        assert!(files(&vfs, "idx").len() > 3, "the history is long enough");
        ledger.close().expect("it closes");
        let damaged = vfs.fork();
        for path in files(&damaged, "idx") {
            let bits = damaged.read_file(&path).expect("it is there").len() as u64 * 8;
            damaged.flip_bit(&path, rng.below(bits)).expect("it is there");
        }
        for (name, vfs) in [("with all indexes", vfs), ("with damaged indexes", damaged)] {
            let ledger = open(&vfs);
            add(name, vfs, ledger);
        }
        // Pruned before it is opened again, and while it is open.
        let vfs = self.vfs.fork();
        prune(&open(&vfs), Seq(self.model.head() / 2));
        for (name, vfs) in [("pruned, without tables", without_tables(&vfs)), ("pruned", vfs)] {
            let ledger = open(&vfs);
            add(name, vfs, ledger);
        }
        let vfs = self.vfs.fork();
        let ledger = open(&vfs);
        for part in [4, 2] {
            ledger.maintain().expect("there is room");
            prune(&ledger, Seq(self.model.head() / part));
        }
        add("pruned twice while it was open", vfs, ledger);
        conditions
    }
}

impl Condition {
    /// The oldest entry that is kept.
    pub fn oldest(&self) -> u64 {
        let entries = self.ledger.entries(Seq::FIRST).next().expect("there is something");
        match entries {
            Ok(entry) => entry.seq.0,
            Err(taskledger::Error::Pruned { oldest }) => oldest.0,
            Err(error) => panic!("{}: {error}", self.name),
        }
    }
}

fn prune(ledger: &Ledger, before: Seq) {
    let did = ledger.prune(&Prune::before(At::Seq(before)).forced()).expect("it may go");
    assert!(did.segments > 0, "the history is long enough");
}

/// Appends a batch to both, or both refuse it.
pub fn append(ledger: &Ledger, model: &mut Reference, rng: &mut Rng, now: u64) {
    let items: Vec<RefItem> = (0..1 + rng.below(5) / 2).map(|_| item(model, rng, now)).collect();
    match (model.apply(&items, now), ledger.commit(batch_of(&items))) {
        (Ok(expected), Ok(got)) => assert_eq!(RefReceipt::of(&got), expected, "{items:?}"),
        (Err(expected), Err(refused)) if expected.is(&refused) => {}
        (expected, got) => panic!("{items:?}\nexpected {expected:?}\ngot {got:?}"),
    }
}

fn item(model: &Reference, rng: &mut Rng, now: u64) -> RefItem {
    let n = SUBJECTS.len() as u64;
    let subject = SUBJECTS[rng.below(n).min(rng.below(n)).min(rng.below(n)) as usize];
    let before = model.tasks.get(subject);
    let record = before.and_then(|before| before.record.as_ref());
    let there = record.is_some() || before.is_some_and(|before| before.value.is_some());
    let any = TaskState::ALL[rng.below(9) as usize];
    let kind = match (key_of_note(subject), record, rng.below(14)) {
        (Some(_), _, 0..=2) if there => RefKind::Removed,
        (Some(_), ..) => RefKind::Noted,
        (None, None, 0..=3) => RefKind::Observed(any),
        (None, None, _) => RefKind::Created,
        (None, Some(_), 0) => RefKind::Removed,
        (None, Some(_), 1 | 2) => RefKind::Updated,
        (None, Some(_), 3 | 4) => RefKind::Requeued(TaskState::Pending),
        (None, Some(_), 5) => RefKind::Observed(any),
        (None, Some(record), choice) => match moves_from(record.state) {
            [] => RefKind::Removed,
            moves => RefKind::To(moves[choice as usize % moves.len()]),
        },
    };
    let text = "x".repeat(rng.below(900) as usize);
    let is_task = kind != RefKind::Noted && kind != RefKind::Removed;
    let event = RefEvent {
        value: (kind == RefKind::Noted).then(|| json!([text])),
        error: is_task.then(|| Some(text.clone())),
        metadata: if is_task && rng.below(4) == 0 {
            [(format!("k{}", rng.below(3)), Some(rng.below(9).to_string()))].into()
        } else {
            [].into()
        },
        output: (is_task && rng.below(4) == 0).then(|| Some(json!({"n": rng.below(99)}))),
        actor: (rng.below(3) == 0).then(|| "me".to_owned()),
        key: (rng.below(3) == 0).then(|| format!("key {}", rng.next())),
        stated: (rng.below(6) == 0).then(|| now - 500 + rng.below(1_000)),
        ..RefEvent::new(kind)
    };
    RefItem { task: subject.to_owned(), event: Some(event), expect: RefExpect::Any }
}
