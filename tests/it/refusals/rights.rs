//! A user without rights: told what could not be done to which path, and able to read what is open to all.
//!
//! Root may do everything, so root becomes another user for it: with a copy of the program, and of this test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use taskledger::{Error, Event, Ledger, Level, Verdict};
use tempfile::TempDir;

use super::files::Files;
use super::machine::{AS_NOBODY, NOBODY, child, home_of_child, is_root, skip};
use super::program::{Program, READERS, WRITERS, says};
use super::site::{arg, home, options, untouched};

const SEGMENT: &str = "log/0000000001-00000000000000000001.log";
const LINE: &str = "{\"task\":\"b\",\"event\":\"created\"}\n";

/// A ledger and the means to come to it as a user who owns nothing of it.
struct Visit {
    home: TempDir,
    dir: PathBuf,
    program: Program,
    /// The bits of directories and files that all may read and the visitor may not write.
    open: (u32, u32),
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the owner may");
}

fn visit(test: &str) -> Option<Visit> {
    let home = home();
    let dir = home.path().join("ledger");
    let mut visit = Visit { dir, home, program: Program::default(), open: (0o755, 0o644) };
    chmod(visit.home.path(), 0o755);
    if is_root() {
        let program = visit.home.path().join("taskledger");
        fs::copy(env!("CARGO_BIN_EXE_taskledger"), &program).expect("a copy");
        visit.program.through = AS_NOBODY.into_iter().chain([arg(&program)]).map(str::to_owned).collect();
        let starts = visit.program.command(&["--version"]).output();
        if !starts.is_ok_and(|output| output.status.success()) {
            skip(test, &format!("setpriv does not make root user {NOBODY}"));
            return None;
        }
    } else {
        // The owner without the right to write is as good as another user.
        visit.open = (0o555, 0o444);
    }
    let ledger = options().open(&visit.dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    ledger.close().unwrap();
    visit.set(visit.open);
    Some(visit)
}

impl Visit {
    fn set(&self, (dirs, files): (u32, u32)) {
        for name in Files::all(&self.dir).names() {
            let path = self.dir.join(name);
            chmod(&path, if path.is_dir() { dirs } else { files });
        }
        chmod(&self.dir, dirs);
    }

    /// Takes a path's rights away for as long as something is done.
    fn without(&self, path: &Path, act: impl FnOnce()) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        chmod(path, 0);
        act();
        chmod(path, mode);
    }

    fn assert_refused(&self, args: &[&str], action: &str, path: &Path) {
        let told = self.program.refused(&[args, &["-D", arg(&self.dir)]].concat(), LINE, 1, "IO");
        assert_eq!(told["path"], arg(path));
        let said = format!("could not {action} {}: Permission denied", path.display());
        says(told["message"].as_str().unwrap(), &[&said]);
    }

    /// Runs the library's half as that user.
    fn child(&self, test: &str) {
        let exe = std::env::current_exe().expect("its own path");
        if is_root() {
            let copy = self.home.path().join("it");
            fs::copy(exe, &copy).expect("a copy");
            child(test, &AS_NOBODY, &copy, &self.dir);
        } else {
            child(test, &["env"], &exe, &self.dir);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Else what is left could not be removed.
        chmod(&self.dir, 0o755);
        chmod(&self.dir.join("log"), 0o755);
    }
}

fn assert_denied(error: &Error, action: &str, path: &Path) {
    let Error::Io { action: doing, path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((*doing, named.as_path(), error.code()), (action, path, "IO"));
    assert_eq!(error.to_string(), format!("could not {action} {}", path.display()));
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    let Some(visit) = visit("an unreadable directory") else { return };
    let before = Files::all(&visit.dir);
    visit.without(&visit.dir, || {
        for command in READERS.into_iter().chain(WRITERS) {
            visit.assert_refused(command, "open", &visit.dir.join("LEDGER"));
        }
        visit.child("refusals::rights::child_that_may_not_read_the_directory");
    });
    visit.without(&visit.dir.join("log"), || {
        for command in READERS {
            visit.assert_refused(command, "list", &visit.dir.join("log"));
        }
    });
    before.assert_same(&Files::all(&visit.dir), "visited");
}

#[test]
#[ignore = "the child of another test"]
fn child_that_may_not_read_the_directory() {
    let Some(dir) = home_of_child() else { return };
    assert_denied(&Ledger::open_read_only(&dir).unwrap_err(), "open", &dir.join("LEDGER"));
    assert_denied(&taskledger::verify(&dir, Level::Content).unwrap_err(), "open", &dir.join("LEDGER"));
    assert_denied(&options().open(&dir).unwrap_err(), "open", &dir.join("LEDGER"));
}

#[test]
fn a_segment_that_may_not_be_read_is_named() {
    let Some(visit) = visit("an unreadable segment") else { return };
    let before = Files::all(&visit.dir);
    visit.without(&visit.dir.join(SEGMENT), || {
        for command in READERS {
            visit.assert_refused(command, "open", &visit.dir.join(SEGMENT));
        }
        visit.child("refusals::rights::child_that_may_not_read_a_segment");
    });
    before.assert_same(&Files::all(&visit.dir), "visited");
}

#[test]
#[ignore = "the child of another test"]
fn child_that_may_not_read_a_segment() {
    let Some(dir) = home_of_child() else { return };
    assert_denied(&Ledger::open_read_only(&dir).unwrap_err(), "open", &dir.join(SEGMENT));
    assert_denied(&taskledger::verify(&dir, Level::Content).unwrap_err(), "open", &dir.join(SEGMENT));
}

#[test]
fn who_may_only_read_reads_everything_and_writes_nothing() {
    let Some(visit) = visit("a directory that may only be read") else { return };
    let before = Files::all(&visit.dir);
    for reader in READERS {
        let args = [reader, &["-D", arg(&visit.dir)]].concat();
        let out = visit.program.run(&args, "").good();
        let word = match reader[0] {
            "verify" => "sound: 1 entry",
            "info" | "stats" => "1 pending",
            "ls" | "show" | "timeline" | "diff" => "pending",
            "prune" => "nothing would go",
            _ => "created",
        };
        says(&out, &[word]);
    }
    for command in WRITERS {
        visit.assert_refused(command, "lock", &visit.dir.join("lock"));
    }
    visit.child("refusals::rights::child_that_may_only_read");
    before.assert_same(&Files::all(&visit.dir), "visited");

    // Where the lock is gone, it may not be made anew.
    chmod(&visit.dir, 0o755);
    fs::remove_file(visit.dir.join("lock")).unwrap();
    chmod(&visit.dir, visit.open.0);
    for command in WRITERS {
        visit.assert_refused(command, "lock", &visit.dir.join("lock"));
    }

    // And beside a living writer, which says that it is there.
    visit.set((0o755, 0o644));
    let ledger = options().open(&visit.dir).unwrap();
    visit.set(visit.open);
    ledger.append("t", Event::updated()).expect("the writer is not disturbed");
    let out = visit.program.run(&["verify", "-D", arg(&visit.dir)], "").good();
    says(&out, &["sound: ", &format!("process {} has it open for writing", std::process::id())]);
    says(&visit.program.run(&["history", "t", "-D", arg(&visit.dir)], "").good(), &["updated"]);
}

#[test]
#[ignore = "the child of another test"]
fn child_that_may_only_read() {
    let Some(dir) = home_of_child() else { return };
    let mut reader = Ledger::open_read_only(&dir).expect("it may be read");
    assert_eq!((reader.view().seq().0, reader.view().get("t").unwrap().map(|task| task.version)), (1, Some(1)));
    reader.refresh().expect("it may be read again");
    assert_eq!(taskledger::verify(&dir, Level::Content).unwrap().verdict(), Verdict::Sound);
    assert_denied(&untouched(&dir, || options().open(&dir)), "lock", &dir.join("lock"));
}

#[test]
fn a_ledger_is_not_made_where_nothing_may_be_made() {
    let Some(visit) = visit("a parent that may not be written") else { return };
    let parent = visit.home.path();
    let dir = parent.join("new");
    chmod(parent, visit.open.0);
    let told = visit.program.refused(&["import", "-D", arg(&dir)], LINE, 1, "IO");
    chmod(parent, 0o755);
    assert_eq!(told["path"], arg(&dir));
    says(told["message"].as_str().unwrap(), &[&format!("could not create {}: Permission denied", dir.display())]);
    assert!(!dir.exists());
}
