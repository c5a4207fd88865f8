//! A file that becomes something else while the ledger is being opened: between the listing of the directory and the
//! opening of what was listed. Nothing is followed, written through or waited for.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::vfs::real::RealVfs;
use taskledger::{Error, Event, Level};

use super::files::Files;
use super::program::{says, within};
use super::site::{Site, options};
use crate::support::forward;

type Hook = Box<dyn FnOnce() + Send>;

/// The real file system, in which something happens after the folder of segments was listed for the first time.
struct Swapping {
    inner: RealVfs,
    after_listing: Mutex<Option<Hook>>,
}

impl fmt::Debug for Swapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swapping").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Vfs for Swapping {
    forward!(inner: absolute create_dir open create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let listed = self.inner.list(dir);
        if dir.ends_with("log")
            && let Some(hook) = self.after_listing.lock().unwrap().take()
        {
            hook();
        }
        listed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// A link to the very file, which is elsewhere now.
    Link,
    /// A link to a file of somebody else's.
    Foreign,
    Fifo,
    Dir,
}

const THINGS: [(Thing, &str); 4] = [
    (Thing::Link, "a symbolic link"),
    (Thing::Foreign, "a symbolic link"),
    (Thing::Fifo, "a FIFO"),
    (Thing::Dir, "a directory"),
];

fn swap(thing: Thing, path: &Path, home: &Path) {
    fs::rename(path, home.join("away")).expect("it can be moved");
    match thing {
        Thing::Link => symlink(home.join("away"), path).expect("a link"),
        Thing::Foreign => symlink(home.join("foreign"), path).expect("a link"),
        Thing::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO"),
        Thing::Dir => fs::create_dir(path).expect("a directory"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Writer,
    Reader,
    Verifier,
}

/// Opens a ledger in which a file becomes something else meanwhile, and gives what that says.
fn opened(who: Who, name: &str, thing: Thing) -> (Result<(), Error>, PathBuf) {
    let site = Site::new(|ledger| drop(ledger.append("t", Event::created()).unwrap()));
    let home = site.dir.parent().unwrap().to_owned();
    let path = site.dir.join(name);
    if name.ends_with(".tmp") {
        fs::write(&path, "unfinished").unwrap();
    }
    fs::write(home.join("foreign"), "mine").unwrap();
    let moved = fs::read(&path).unwrap();
    let hook: Hook = {
        let (path, home) = (path.clone(), home.clone());
        Box::new(move || swap(thing, &path, &home))
    };
    let vfs = Arc::new(Swapping { inner: RealVfs, after_listing: Mutex::new(Some(hook)) });
    let (given, dir) = (Arc::clone(&vfs), site.dir.clone());
    let act = move || {
        let options = options().vfs(given);
        match who {
            Who::Writer => options.open(&dir).map(|_| ()),
            Who::Reader => options.open_read_only(&dir).map(|_| ()),
            Who::Verifier => options.verify(&dir, Level::Content, &mut |_| ()).map(|_| ()),
        }
    };
    let result = within("opening", act, || ());
    let case = format!("{who:?}, {thing:?} in place of {name}");
    assert!(vfs.after_listing.lock().unwrap().is_none(), "{case}: nothing was listed");
    assert_eq!(fs::read(home.join("foreign")).unwrap(), b"mine", "{case}");
    assert!(fs::read(home.join("away")).unwrap() == moved, "{case}: it was written to");
    assert!(Files::all(&home).names().len() >= 6, "{case}: something was removed");
    (result, path)
}

fn assert_refused(who: Who, name: &str) {
    for (thing, what) in THINGS {
        let (result, path) = opened(who, name, thing);
        let error = result.expect_err("it is refused");
        let Error::Io { action, path: named, source } = &error else { panic!("{error:?}") };
        assert_eq!(named, &path, "{who:?} could not {action}");
        says(&source.to_string(), &[what]);
    }
}

#[test]
fn a_segment_that_becomes_something_else_is_not_followed() {
    for who in [Who::Writer, Who::Reader, Who::Verifier] {
        assert_refused(who, "log/0000000001-00000000000000000001.log");
    }
}

#[test]
fn what_a_writer_opens_after_listing_is_not_followed() {
    // Readers have looked at these before they list.
    for name in ["LEDGER", "live", "log/spare.tmp"] {
        assert_refused(Who::Writer, name);
    }
}
