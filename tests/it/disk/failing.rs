//! A disk that fails below its file system. Writes are taken and the sync fails, since the file below has no room; and
//! reads fail, since a part of the file below is gone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, statvfs, syncfs};
use taskledger::{Error, Event, Ledger, Level, Seq, Verdict};

use super::image::{Image, Kind, run};
use super::on_a_disk;
use crate::refusals::files::Files;
use crate::refusals::machine::{home_of_child, mount};
use crate::refusals::site::options;
use crate::support::{say, skip};

#[test]
fn a_sync_that_fails_below_poisons_and_no_later_sync_is_believed() {
    on_a_disk("disk::failing::child_without_room_below", Kind::Ext4WithoutJournal, Duration::from_secs(60));
}

#[test]
fn a_page_that_cannot_be_read_is_never_taken_for_the_end() {
    on_a_disk("disk::failing::child_with_lost_pages", Kind::Ext4WithoutJournal, Duration::from_secs(60));
}

/// The number of entries.
fn there(dir: &Path) -> u64 {
    let reader = Ledger::open_read_only(dir).expect("it opens");
    let mut count = 0;
    for entry in reader.view().entries(Seq::FIRST) {
        count += 1;
        assert_eq!(entry.expect("an entry can be read").seq.0, count, "dense");
    }
    assert_eq!(count, reader.view().seq().0, "all up to the head");
    count
}

#[test]
#[ignore = "the child of another test"]
fn child_without_room_below() {
    let Some(home) = home_of_child() else { return };
    // Opened anew on the same mount, where the page cache lies, and after all of that is gone.
    for remount in [false, true] {
        let below = home.join(format!("below {remount}"));
        mount(&below, "size=256m");
        let image = Image::new(Kind::Ext4WithoutJournal, &below);
        let mut disk = image.mount();
        let dir = image.root.join("ledger");
        let ledger = options().open(&dir).expect("it is made");
        ledger.append("t", Event::created()).expect("it is appended");
        for n in 2..=5 {
            assert_eq!(ledger.append("t", Event::updated().error("kept")).expect("it is appended").seq().0, n);
        }
        // What reads as zeros has no room of its own below any more, and there is none to be had.
        syncfs(File::open(&image.root).expect("the root")).expect("it can be synced");
        if let Err(error) = disk.take_pages_one_by_one() {
            return skip("disk: a sync that fails below", &format!("/sys cannot be written: {error}"));
        }
        run(Command::new("fallocate").arg("--dig-holes").arg(&image.file));
        let size = statvfs(&below).expect("its size can be asked for");
        mount(&below, &format!("remount,size={}", (size.f_blocks - size.f_bfree) * size.f_frsize));

        let big = || Event::updated().error("lost".repeat(2000));
        let error = ledger.append("t", big()).expect_err("the sync fails");
        let Error::Unknown { first, last, path, source } = &error else { panic!("{error:?}") };
        assert_eq!((first.0, last.0), (6, 6));
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{source:?}");
        let segment = dir.join("log/0000000001-00000000000000000001.log");
        assert_eq!(path, &segment);
        // The system forgets: it shows what was written, and calls it synced.
        let file = File::options().read(true).write(true).open(&segment).expect("it can be opened");
        file.sync_data().expect("the next sync says that all is well");
        let shown = fs::read(&segment).expect("it can be read");
        assert!(shown.windows(8).any(|bytes| bytes == b"lostlost"), "it shows what it does not have");
        // The ledger does not: it believes no sync any more.
        for _ in 0..3 {
            assert_eq!(ledger.append("t", Event::updated()).expect_err("it is poisoned").code(), "POISONED");
        }
        let error = ledger.sync().expect_err("nobody knows");
        assert!(["POISONED", "UNKNOWN"].contains(&error.code()), "{error:?}");
        assert_eq!((ledger.head().0, ledger.history("t").expect("a history").count()), (5, 5), "reading goes on");
        let error = ledger.close().expect_err("nobody knows");
        assert!(["POISONED", "UNKNOWN"].contains(&error.code()), "{error:?}");
        drop(file);

        let expected = if remount {
            disk.unmount();
            disk = image.mount();
            assert_eq!(there(&dir), 5, "what was acknowledged is there, and the sync that succeeded has lied");
            5
        } else {
            // A writer finds the entry, and must make it durable before it says so: there is no room for it yet.
            let error = options().open(&dir).expect_err("recovery syncs what it shows");
            assert!(["IO", "NO_SPACE"].contains(&error.code()), "{error:?}");
            6
        };
        mount(&below, "remount,size=256m");
        let ledger = options().open(&dir).expect("there is room");
        assert_eq!(ledger.head().0, expected);
        assert_eq!(ledger.append("t", Event::updated().error("later")).expect("it goes on").seq().0, expected + 1);
        drop(ledger);
        disk.unmount();
        disk = image.mount();
        assert_eq!(there(&dir), expected + 1, "all that was told is on the disk");
        let ledger = options().open(&dir).expect("it opens");
        ledger.close().expect("it closes");
        let report = taskledger::verify(&dir, Level::Content).expect("it can be verified");
        assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
        disk.unmount();
    }
    say("disk: a sync failed below twice, the one after it succeeded and had written nothing; no word was broken");
}

/// A page of a file that is not all zeros, and where it lies in the file below.
struct Page {
    path: PathBuf,
    number: usize,
    at: usize,
}

const PAGE: usize = 4096;

fn pages(image: &Path, files: &[PathBuf]) -> Vec<Page> {
    let below = fs::read(image).expect("the file below can be read");
    let mut found = Vec::new();
    for path in files {
        let bytes = fs::read(path).expect("a file can be read");
        for (number, page) in bytes.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
            let at =
                below.chunks(PAGE).position(|below| below.starts_with(page)).expect("each page lies somewhere below");
            found.push(Page { path: path.clone(), number, at: at * PAGE });
        }
    }
    found
}

/// Takes the pages of a file out of memory, so that the next read asks the disk.
fn forget(files: &[PathBuf]) {
    for path in files {
        fadvise(File::open(path).expect("a file can be opened"), 0, None, Advice::DontNeed).expect("it forgets");
    }
}

#[test]
#[ignore = "the child of another test"]
fn child_with_lost_pages() {
    const ENTRIES: u64 = 60;
    let Some(home) = home_of_child() else { return };
    let image = Image::new(Kind::Ext4WithoutJournal, &home);
    let disk = image.mount();
    let dir = image.root.join("ledger");
    let ledger = options().open(&dir).expect("it is made");
    ledger.append("t", Event::created()).expect("it is appended");
    for n in 2..=ENTRIES {
        ledger.append("t", Event::updated().error(format!("{n:0600}"))).expect("it is appended");
    }
    ledger.close().expect("it closes");
    syncfs(File::open(&image.root).expect("the root")).expect("it can be synced");
    let names = fs::read_dir(dir.join("log")).expect("log/ can be listed").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = names.collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files.push(dir.join("LEDGER"));
    let all = Files::log(&dir);
    let whole = fs::read(&image.file).expect("the file below can be read");
    let pages = pages(&image.file, &files);

    let (mut refused, mut named) = (0, BTreeSet::new());
    for page in &pages {
        let what = format!("page {} of {} and what lies behind it", page.number, page.path.display());
        let beside = Ledger::open_read_only(&dir).expect("all is well");
        let below = File::options().write(true).open(&image.file).expect("the file below can be opened");
        below.set_len(page.at as u64).expect("it can be cut off");
        forget(&files);
        let mut buffer = [0; PAGE];
        let file = File::open(&page.path).expect("a file can be opened");
        let read = file.read_at(&mut buffer, (page.number * PAGE) as u64).expect_err("the page is lost");
        assert_eq!(read.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{what}");

        for error in
            [Ledger::open_read_only(&dir).map(drop).expect_err(&what), options().open(&dir).map(drop).expect_err(&what)]
        {
            let Error::Io { path, source, .. } = &error else { panic!("{what}: {error:?}") };
            assert_eq!(source.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{what}: {error:?}");
            assert!(files.contains(path), "{what}: {error:?}");
            named.insert(path.clone());
            refused += 1;
        }
        match taskledger::verify(&dir, Level::Content) {
            Ok(report) => assert_eq!(report.verdict(), Verdict::Damaged, "{what}: {:?}", report.findings),
            Err(error) => assert_eq!(error.code(), "IO", "{what}: {error:?}"),
        }
        // Who had it open reads an entry, or is told that it cannot be read.
        let mut next = 1;
        for entry in beside.view().entries(Seq::FIRST) {
            match entry {
                Ok(entry) => assert_eq!(entry.seq.0, next, "{what}"),
                Err(error) => {
                    assert_eq!(error.code(), "IO", "{what}: {error:?}");
                    next = ENTRIES + 1;
                    break;
                }
            }
            next += 1;
        }
        assert_eq!(next, ENTRIES + 1, "{what}: a short answer");

        // The disk comes back: nothing has changed, and everything is there.
        drop(file);
        let mut below = below;
        std::io::Seek::seek(&mut below, std::io::SeekFrom::End(0)).expect("an end");
        below.write_all(&whole[page.at..]).expect("it can be put back");
        forget(&files);
        all.assert_same(&Files::log(&dir), &what);
        assert_eq!(there(&dir), ENTRIES, "{what}");
    }
    // Indexes stand for the segments before.
    let read_first = &files[files.len() - 3..];
    assert!(read_first.iter().all(|path| named.contains(path)), "LEDGER and the last two segments: {named:?}");
    disk.unmount();
    say(&format!("disk: {} pages could not be read, and {refused} openings were refused for it", pages.len()));
}
