//! A file system that was mounted read-only: everything can be read, and writing says what the system said.

use std::fs;
use std::path::Path;

use taskledger::{At, Error, Event, Filter, Ledger, Level, Seq, Verdict};

use super::files::Files;
use super::machine::{home_of_child, in_own_mounts, mount};
use super::program::{Program, READERS, says};
use super::site::{arg, options};

const LINE: &str = "{\"task\":\"b\",\"event\":\"created\"}\n";

#[test]
fn a_read_only_file_system_is_read_and_not_written() {
    in_own_mounts("refusals::readonly::child_on_a_read_only_file_system");
}

fn assert_read_only(error: &Error, action: &str, path: &Path) {
    let Error::Io { action: doing, path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((*doing, named.as_path(), error.code()), (action, path, "IO"));
    assert_eq!(error.to_string(), format!("could not {action} {}", path.display()));
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

fn assert_told(dir: &Path, action: &str, path: &Path) {
    let told = Program::default().refused(&["import", "-D", arg(dir)], LINE, 1, "IO");
    assert_eq!(told["path"], arg(path));
    says(
        told["message"].as_str().unwrap(),
        &[&format!("could not {action} {}: Read-only file system", path.display())],
    );
}

#[test]
#[ignore = "the child of another test"]
fn child_on_a_read_only_file_system() {
    let Some(home) = home_of_child() else { return };
    let disk = home.join("disk");
    mount(&disk, "size=8m");
    let (dir, torn) = (disk.join("ledger"), disk.join("torn"));
    let ledger = options().open(&dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    ledger.append("t", Event::updated().error("x".repeat(12_000))).unwrap();
    ledger.append("t", Event::updated().error("y".repeat(12_000))).unwrap();
    ledger.close().unwrap();
    // A ledger that a writer would have to recover first.
    let crashed = options().open(&torn).unwrap();
    crashed.append("t", Event::created()).unwrap();
    let segment = torn.join("log/0000000001-00000000000000000001.log");
    let as_it_crashed = fs::read(&segment).unwrap();
    drop(crashed);
    fs::write(&segment, as_it_crashed).unwrap();
    mount(&disk, "remount,ro");
    assert!(fs::write(disk.join("x"), "").is_err(), "it is read-only");

    let before = Files::all(&disk);
    let mut reader = Ledger::open_read_only(&dir).expect("it is read");
    reader.refresh().expect("and again");
    let view = reader.view();
    assert_eq!((view.seq(), view.counts().total(), view.get("t").unwrap().unwrap().version), (Seq(3), 1, 3));
    assert_eq!(view.list(Filter::new()).unwrap().tasks.len(), 1);
    assert_eq!((view.history("t").unwrap().count(), view.entries(Seq(2)).count()), (3, 2));
    assert_eq!(reader.as_of(At::Seq(Seq(1))).unwrap().seq(), Seq(1));
    for dir in [&dir, &torn] {
        for level in [Level::Structure, Level::Content] {
            assert_eq!(taskledger::verify(dir, level).unwrap().verdict(), Verdict::Sound);
        }
        for args in READERS.into_iter().chain([["ls", "--at", "seq:1"].as_slice(), &["log", "-n", "1"]]) {
            let ran = Program::default().run(&[args, &["-D", arg(dir)]].concat(), "");
            assert!(ran.code == 0 && !ran.out.is_empty(), "{args:?}: {ran:?}");
        }
        assert_read_only(&options().open(dir).unwrap_err(), "lock", &dir.join("lock"));
        assert_told(dir, "lock", &dir.join("lock"));
    }
    let new = disk.join("new");
    assert_read_only(&options().open(&new).unwrap_err(), "create", &new);
    assert_told(&new, "create", &new);
    before.assert_same(&Files::all(&disk), "read only");

    mount(&disk, "remount,rw");
    for dir in [&dir, &torn] {
        options().open(dir).expect("it may be written again").append("t", Event::removed()).unwrap();
    }
}
