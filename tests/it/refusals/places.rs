//! Places that are no ledger: nothing is made or changed there by who only reads, and nothing foreign by anybody.

use std::fs;
use std::path::Path;

use taskledger::{Error, Event, Ledger, Level, OpenReport};

use super::files::Files;
use super::program::{Program, READERS, says};
use super::site::{arg, home, options, untouched};

const LINE: &str = "{\"task\":\"a\",\"event\":\"created\"}\n";

/// Reading says that there is no ledger, and leaves what is below `within` as it is.
pub fn assert_none_to_read(dir: &Path, within: &Path) {
    let readings: [&dyn Fn() -> taskledger::Result<()>; 2] =
        [&|| Ledger::open_read_only(dir).map(|_| ()), &|| taskledger::verify(dir, Level::Content).map(|_| ())];
    for reading in readings {
        let error = untouched(within, reading);
        assert!(matches!(&error, Error::NoLedger { path } if path == dir), "{error:?}");
        assert_eq!(error.code(), "NO_LEDGER");
        assert_eq!(error.to_string(), format!("there is no ledger in {}", dir.display()));
    }
    let before = Files::all(within);
    for reader in READERS {
        let error = Program::default().refused(&[reader, &["-D", arg(dir)]].concat(), "", 10, "NO_LEDGER");
        assert_eq!(error["path"], arg(dir));
        says(error["message"].as_str().unwrap(), &["there is no ledger in ", arg(dir)]);
        says(error["hint"].as_str().unwrap(), &["-D DIR or TASKLEDGER_DIR names the ledger", "import"]);
    }
    before.assert_same(&Files::all(within), "read by the program");
}

/// Reading and writing fail for a reason of the system's, which is named with the path.
fn assert_refused_by_system(dir: &Path, within: &Path, path: &Path, (readers, action, why): (bool, &str, &str)) {
    let mut attempts: Vec<Box<dyn Fn() -> taskledger::Result<()>>> = vec![Box::new(|| options().open(dir).map(|_| ()))];
    if readers {
        attempts.push(Box::new(|| Ledger::open_read_only(dir).map(|_| ())));
        attempts.push(Box::new(|| taskledger::verify(dir, Level::Structure).map(|_| ())));
    }
    for attempt in attempts {
        let error = untouched(within, attempt);
        let Error::Io { action: doing, path: named, source } = &error else { panic!("{error:?}") };
        assert_eq!((*doing, named.as_path(), error.code()), (action, path, "IO"));
        assert_eq!(error.to_string(), format!("could not {action} {}", path.display()));
        says(&source.to_string(), &[why]);
    }
    let before = Files::all(within);
    let mut commands: Vec<&[&str]> = vec![&["import"], &["init"]];
    if readers {
        commands.extend(READERS);
    }
    for command in commands {
        let error = Program::default().refused(&[command, &["-D", arg(dir)]].concat(), LINE, 1, "IO");
        assert_eq!(error["path"], arg(path));
        says(error["message"].as_str().unwrap(), &[&format!("could not {action} {}: ", path.display()), why]);
    }
    before.assert_same(&Files::all(within), "refused by the program");
}

/// Both ways to write make a ledger there. `empty` makes the place anew for the second.
pub fn assert_writing_creates(dir: &Path, empty: impl Fn()) {
    let ledger = options().open(dir).expect("it is created");
    let OpenReport { created, .. } = ledger.report();
    assert!(created);
    assert_eq!(ledger.append("a", Event::created()).unwrap().seq().0, 1);
    drop(ledger);
    assert_eq!(Ledger::open_read_only(dir).unwrap().view().seq().0, 1);
    fs::remove_dir_all(dir).unwrap();
    empty();
    Program::default().run(&["import", "-D", arg(dir)], LINE).good();
    assert_eq!(Ledger::open_read_only(dir).unwrap().view().seq().0, 1);
}

#[test]
fn a_missing_or_empty_directory_is_none_to_readers_and_a_new_one_to_writers() {
    let home = home();
    let (missing, empty) = (home.path().join("missing"), home.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    assert_none_to_read(&missing, home.path());
    assert_none_to_read(&empty, home.path());
    assert_writing_creates(&missing, || ());
    assert_writing_creates(&empty, || fs::create_dir(&empty).unwrap());
}

#[test]
fn a_directory_without_parent_is_not_made() {
    let home = home();
    let dir = home.path().join("no/parent");
    assert_none_to_read(&dir, home.path());
    assert_refused_by_system(&dir, home.path(), &dir, (false, "create", "No such file or directory"));
}

#[test]
fn a_foreign_directory_is_left_alone() {
    for name in ["notes.txt", "log.txt", ".hidden", "live"] {
        let home = home();
        fs::write(home.path().join(name), "mine").unwrap();
        assert_none_to_read(home.path(), home.path());
        let why = "it has other files and is no ledger";
        assert_refused_by_system(home.path(), home.path(), home.path(), (false, "create a ledger in", why));
    }
    // A folder of that name with something else in it is no log.
    let home = home();
    fs::create_dir(home.path().join("log")).unwrap();
    fs::write(home.path().join("log/today.log"), "mine").unwrap();
    assert_none_to_read(home.path(), home.path());
    let why = "it has other files and is no ledger";
    assert_refused_by_system(home.path(), home.path(), home.path(), (false, "create a ledger in", why));
}

#[test]
fn a_file_in_place_of_the_directory_is_left_alone() {
    let home = home();
    let file = home.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_refused_by_system(&file, home.path(), &file.join("LEDGER"), (true, "open", "Not a directory"));
}

#[test]
fn an_import_of_a_file_that_is_not_there_makes_no_ledger() {
    let home = home();
    let (dir, lines) = (home.path().join("ledger"), home.path().join("lines.jsonl"));
    let error = Program::default().refused(&["import", arg(&lines), "-D", arg(&dir)], "", 1, "IO");
    assert_eq!(error["path"], arg(&lines));
    says(error["message"].as_str().unwrap(), &["could not open ", arg(&lines), "No such file"]);
    assert_eq!(Files::all(home.path()).names(), [""; 0]);
}
