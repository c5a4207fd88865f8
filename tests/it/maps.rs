//! With `Options::mmap` single entries of sealed segments come from memory: the answers are the same, of a whole ledger
//! and of one with rot in it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use taskledger::{Entry, Error, Event, Options, TaskState, View};

use crate::support::{Rng, number};

const TASKS: u64 = 40;

/// A ledger whose segments are small, so that nearly all of its entries are in sealed ones.
fn build(dir: &Path) -> u64 {
    let ledger = Options::new().segment_size(16 << 10).open(dir).unwrap();
    let mut rng = Rng(number("TASKLEDGER_SEED").unwrap_or(1));
    for n in 0..4000_u64 {
        let task = format!("task-{}", rng.below(TASKS));
        let text = "x".repeat(rng.below(900) as usize);
        let event = Event::observed(TaskState::Running).meta("n", n.to_string()).because(text);
        ledger.submit(task, event).unwrap();
    }
    ledger.sync().unwrap();
    let head = ledger.head().0;
    ledger.close().unwrap();
    head
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = listed.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    segments.sort();
    segments
}

/// Whether some file of the ledger is in this process' memory.
fn is_mapped(dir: &Path) -> bool {
    let dir = dir.canonicalize().unwrap();
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(dir.to_str().unwrap())
}

/// An entry, or what the error says.
fn told(entry: Result<Entry, Error>) -> Result<Entry, String> {
    entry.map_err(|error| error.to_string())
}

fn histories(view: &View) -> Vec<Vec<Result<Entry, String>>> {
    let history = |n| match view.history(&format!("task-{n}")) {
        Ok(history) => history.map(told).collect(),
        Err(error) => vec![told(Err(error))],
    };
    (0..TASKS).map(history).collect()
}

/// Every history, by a reader of its own.
fn answers(dir: &Path, mmap: bool) -> Vec<Vec<Result<Entry, String>>> {
    let reader = Options::new().mmap(mmap).open_read_only(dir).unwrap();
    let view = reader.view();
    let answers = histories(view);
    assert_eq!(is_mapped(dir), mmap, "maps are where they were asked for");
    answers
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/proc tells what is mapped")]
fn answers_are_the_same_with_maps_and_without() {
    let home = tempfile::tempdir().unwrap();
    let head = build(home.path());
    assert!(segments(home.path()).len() > 20, "most segments are sealed");
    let (read, mapped) = (answers(home.path(), false), answers(home.path(), true));
    assert_eq!(read.iter().map(Vec::len).sum::<usize>() as u64, head);
    assert!(read.iter().flatten().all(Result::is_ok));
    assert_eq!(read, mapped);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/proc tells what is mapped")]
fn a_writer_with_maps_answers_while_it_rolls() {
    let home = tempfile::tempdir().unwrap();
    let ledger = Options::new().segment_size(16 << 10).mmap(true).open(home.path()).unwrap();
    for n in 1..=600_u32 {
        ledger.append("a", Event::observed(TaskState::Running).because("y".repeat(200)).attempts(n)).unwrap();
        if n % 50 == 0 {
            let history: Result<Vec<Entry>, Error> = ledger.history("a").unwrap().collect();
            let versions: Vec<_> = history.unwrap().iter().map(|entry| entry.version).collect();
            assert_eq!(versions, (1..=u64::from(n)).map(Some).collect::<Vec<_>>());
        }
    }
    assert!(is_mapped(home.path()));
}

/// What rots after opening is found at the look-up, with the same coordinates either way.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "/proc tells what is mapped")]
fn rot_is_told_in_the_same_words() {
    let home = tempfile::tempdir().unwrap();
    let head = build(home.path());
    let opened = [false, true].map(|mmap| Options::new().mmap(mmap).open_read_only(home.path()).unwrap());
    // A page in the middle of every third segment.
    for file in segments(home.path()).iter().step_by(3) {
        // In place: the file that was opened is the one that rots.
        let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 8192).unwrap();
        file.write_all_at(&bytes.map(|byte| byte ^ 0x5a), 8192).unwrap();
    }
    let [read, mapped] = opened.map(|reader| histories(reader.view()));
    let errors = read.iter().flatten().filter(|entry| entry.is_err()).count();
    assert!(errors > 0, "rot hides entries of {head}");
    assert_eq!(read, mapped);
}
