//! Something else in place of a file: a link, a FIFO, a directory, a socket, a device. Nothing waits for it, follows it
//! or writes through it, and what is refused is named.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use taskledger::{Error, Event, Ledger, Level};

use super::files::Files;
use super::machine::skip;
use super::program::{Program, READERS, WRITERS, says, within};
use super::site::{Site, arg, options};

const SEGMENT: &str = "log/0000000001-00000000000000000001.log";

/// What stands in place of a file, and how a message calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// A link to the very file, which was moved elsewhere.
    Link,
    /// A link to nothing.
    Dangling,
    Fifo,
    Dir,
    Socket,
    Device,
    /// A file where a directory is to be.
    File,
}

const THINGS: [(Thing, &str); 6] = [
    (Thing::Link, "a symbolic link"),
    (Thing::Dangling, "a symbolic link"),
    (Thing::Fifo, "a FIFO"),
    (Thing::Dir, "a directory"),
    (Thing::Socket, "a socket"),
    (Thing::Device, "a character device"),
];

/// Moves what is at `path` to `away`, and puts a thing in its place; `false` where the machine does not allow it.
fn put(thing: Thing, path: &Path, away: &Path) -> bool {
    fs::rename(path, away).expect("it can be moved");
    match thing {
        Thing::Link => symlink(away, path).expect("a link"),
        Thing::Dangling => symlink(away.with_extension("nowhere"), path).expect("a link"),
        Thing::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO"),
        Thing::Dir => fs::create_dir(path).expect("a directory"),
        Thing::File => fs::write(path, "text").expect("a file"),
        // It is still there when nobody listens any more.
        Thing::Socket => drop(UnixListener::bind(path).expect("a socket")),
        // The one that swallows everything.
        Thing::Device => {
            return mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 3)).is_ok();
        }
    }
    true
}

/// Who meets a file of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    Writers,
    Everybody,
}

fn assert_refused(error: &Error, path: &Path, what: &str) {
    let Error::Io { action, path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((named.as_path(), error.code()), (path, "IO"));
    assert_eq!(error.to_string(), format!("could not {action} {}", path.display()));
    says(&source.to_string(), &[what]);
}

/// Tries everything on a ledger in which `path` is something else.
fn assert_everybody_copes(dir: &Path, path: &Path, meets: Meets, what: &str) {
    let at = |dir: &Path| dir.to_owned();
    let (to_write, to_read, to_verify) = (at(dir), at(dir), at(dir));
    let written = within("opening for writing", move || options().open(&to_write).map(|_| ()), || ());
    assert_refused(&written.expect_err("it is refused"), path, what);
    let read = within("reading", move || Ledger::open_read_only(to_read).map(|reader| reader.view().seq().0), || ());
    let verified = within("verifying", move || taskledger::verify(to_verify, Level::Content).map(|_| ()), || ());
    if meets == Meets::Everybody {
        assert_refused(&read.expect_err("it is refused"), path, what);
        assert_refused(&verified.expect_err("it is refused"), path, what);
    } else {
        assert_eq!(read.expect("readers do not need it"), 1);
        verified.expect("verify does not need it");
    }
    let line = "{\"task\":\"b\",\"event\":\"created\"}\n";
    for command in READERS.into_iter().chain(WRITERS) {
        let args = [command, &["-D", arg(dir)]].concat();
        if WRITERS.contains(&command) || meets == Meets::Everybody {
            let told = Program::default().refused(&args, line, 1, "IO");
            assert_eq!(told["path"], arg(path));
            says(told["message"].as_str().unwrap(), &["could not ", arg(path), what]);
        } else {
            Program::default().run(&args, line).good();
        }
    }
}

fn assert_not_followed(name: &str, meets: Meets, things: &[(Thing, &str)]) {
    for &(thing, what) in things {
        let site = Site::new(|ledger| drop(ledger.append("t", Event::created()).unwrap()));
        let home = site.dir.parent().unwrap().to_owned();
        let path: PathBuf = site.dir.join(name);
        if !put(thing, &path, &home.join("away")) {
            skip(&format!("a device in place of {name}"), "making one takes root");
            continue;
        }
        // Everything: also `away`, and that there is still nothing where a link leads to nothing.
        let before = Files::all(&home);
        assert_everybody_copes(&site.dir, &path, meets, what);
        before.assert_same(&Files::all(&home), &format!("{thing:?} in place of {name}"));
    }
}

#[test]
fn in_place_of_the_ledger_file() {
    assert_not_followed("LEDGER", Meets::Everybody, &THINGS);
}

#[test]
fn in_place_of_the_lock() {
    assert_not_followed("lock", Meets::Writers, &THINGS);
}

#[test]
fn in_place_of_the_live_page() {
    assert_not_followed("live", Meets::Everybody, &THINGS);
}

#[test]
fn in_place_of_a_segment() {
    assert_not_followed(SEGMENT, Meets::Everybody, &THINGS);
}

#[test]
fn in_place_of_the_folder_of_segments() {
    let things = [Thing::Link, Thing::Dangling, Thing::Fifo, Thing::File, Thing::Socket, Thing::Device];
    let things = things.map(|thing| (thing, "it is no directory, and no link is followed"));
    assert_not_followed("log", Meets::Everybody, &things);
}
