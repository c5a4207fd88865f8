//! A ledger whose directory is no longer where it was.
//!
//! The story: a writer reached its directory again by the path that it was given. When that path led elsewhere (a
//! relative one after a change of the working directory, or a directory that was moved to make room for another ledger),
//! it put its next segment into the other ledger, and both were damaged.

use std::path::Path;
use std::process::Command;

use taskledger::{Error, Event, Ledger, Level, Maintenance, Options, Verdict, verify};

const HOME: &str = "TASKLEDGER_TEST_MOVED";

fn open(dir: &Path) -> Ledger {
    Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(dir).unwrap()
}

fn filled() -> Event {
    Event::updated().error("x".repeat(4 << 10))
}

fn entries(dir: &Path) -> u64 {
    let report = verify(dir, Level::Content).unwrap();
    assert_eq!(report.verdict(), Verdict::Sound, "{}: {report:?}", dir.display());
    report.entries
}

#[test]
fn a_writer_whose_directory_was_moved_writes_nothing_into_the_ledger_in_its_place() {
    let home = tempfile::tempdir().unwrap();
    let (place, away) = (home.path().join("place"), home.path().join("away"));
    let old = open(&place);
    old.append("t", Event::created()).unwrap();
    std::fs::rename(&place, &away).unwrap();
    let new = open(&place);
    new.append("t", Event::created()).unwrap();
    let (mut acknowledged, mut refused) = (1, None);
    for _ in 0..10 {
        // The spare is made in the directory, too.
        let _ = old.maintain();
        match old.append("t", filled()) {
            Ok(_) => acknowledged += 1,
            Err(error) => refused = Some(error),
        }
    }
    assert!(matches!(refused, Some(Error::Io { .. })), "{refused:?}");
    new.append("t", filled()).unwrap();
    new.close().unwrap();
    drop(old);
    assert_eq!(entries(&place), 2);
    assert_eq!(entries(&away), acknowledged);
}

#[test]
fn a_change_of_the_working_directory_leads_a_writer_nowhere_else() {
    // The working directory is the whole process's, so that this happens in a child.
    let home = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        std::fs::create_dir(home.path().join(name)).unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "moved::child_that_changes_its_directory"]).env(HOME, home.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(entries(&home.path().join("one/runs")), 21);
    assert_eq!(entries(&home.path().join("two/runs")), 1);
}

#[test]
#[ignore = "the child of another test"]
fn child_that_changes_its_directory() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let home = Path::new(&home);
    std::env::set_current_dir(home.join("two")).unwrap();
    open(Path::new("runs")).append("t", Event::created()).unwrap();
    std::env::set_current_dir(home.join("one")).unwrap();
    let ledger = open(Path::new("runs"));
    ledger.append("t", Event::created()).unwrap();
    std::env::set_current_dir(home.join("two")).unwrap();
    for _ in 0..20 {
        ledger.append("t", filled()).unwrap();
        ledger.maintain().unwrap();
    }
}
