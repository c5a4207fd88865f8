//! A follower that has nothing to do does next to nothing, and one that waits is woken: counted, not timed.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile, Watch};
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, Followed, Ledger, Maintenance, Options, Seq};

use super::{DIR, manual, seqs};
use crate::support::{forward, say};

/// The real file system, whose calls are counted and whose watches may be taken away, or made the only thing that wakes.
#[derive(Debug)]
struct Counting {
    inner: RealVfs,
    calls: Arc<AtomicU64>,
    waits: Arc<AtomicU64>,
    watches: Watches,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watches {
    AsTheyAre,
    /// Waits go on until something has changed.
    WakeOnly,
    None,
}

/// Long enough for whatever is to happen.
const PATIENCE: Duration = Duration::from_secs(60);

struct CountingWatch {
    inner: Box<dyn Watch>,
    waits: Arc<AtomicU64>,
    watches: Watches,
}

impl fmt::Debug for CountingWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Watch for CountingWatch {
    fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        if self.watches == Watches::WakeOnly {
            assert!(self.inner.wait(PATIENCE)?, "nobody was woken");
            return Ok(true);
        }
        self.inner.wait(limit)
    }
}

impl Vfs for Counting {
    forward!(inner: absolute create_dir create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.open(path, access)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.list(dir)
    }

    fn watch(&self, dir: &Path) -> io::Result<Box<dyn Watch>> {
        if self.watches == Watches::None {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (inner, waits) = (self.inner.watch(dir)?, Arc::clone(&self.waits));
        Ok(Box::new(CountingWatch { inner, waits, watches: self.watches }))
    }
}

fn counting(watches: Watches) -> (Arc<AtomicU64>, Arc<AtomicU64>, Options) {
    let (calls, waits) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let vfs = Counting { inner: RealVfs, calls: Arc::clone(&calls), waits: Arc::clone(&waits), watches };
    (calls, waits, Options::new().vfs(Arc::new(vfs)))
}

#[test]
fn a_quiet_follower_looks_a_few_times_a_second() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let ledger = Options::new().maintenance(Maintenance::Manual).open(&dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    // A look at rest opens `live` and `LEDGER`, and lists two directories. Watching: at once, four times a second, and at the end.
    // Polling: after 1, 2, 4 ... 64 ms, then ten times a second.
    for (watches, most) in [(Watches::AsTheyAre, 7), (Watches::None, 20)] {
        let (calls, waits, options) = counting(watches);
        let mut follow = options.open_read_only(&dir).unwrap().follow(Seq::FIRST).unwrap();
        assert_eq!(seqs(&mut follow), [1]);
        let before = calls.load(Ordering::SeqCst);
        assert!(matches!(follow.next_within(Duration::from_secs(1)), Ok(Followed::CaughtUp { head: Seq(1) })));
        let (calls, waits) = (calls.load(Ordering::SeqCst) - before, waits.load(Ordering::SeqCst));
        say(&format!("follow: a quiet second, {watches:?}: {waits} waits, {calls} calls"));
        assert!(waits <= most && calls <= 4 * most, "{watches:?}: {waits} waits, {calls} calls");
        assert_eq!(waits > 0, watches == Watches::AsTheyAre);
    }
}

#[test]
fn a_quiet_follower_in_the_writers_process_does_nothing() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open(DIR).unwrap();
    ledger.append("a", Event::created()).unwrap();
    let mut follow = ledger.follow(Seq::FIRST).unwrap();
    assert_eq!(seqs(&mut follow), [1]);
    let before = vfs.calls();
    assert!(matches!(follow.next_within(Duration::from_millis(50)), Ok(Followed::CaughtUp { .. })));
    assert_eq!(vfs.calls(), before, "it sleeps at the gate");
}

/// Each append is waited for by itself, with nothing to rely on but the watch: one wake that is missed hangs. So does one of
/// a writer that comes, of one that goes, and of a page that is made anew.
#[test]
fn the_watch_wakes_for_each_entry() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    Options::new().segment_size(16 << 10).open(&dir).unwrap().close().unwrap();
    let (_, waits, options) = counting(Watches::WakeOnly);
    let follow = options.open_read_only(&dir).unwrap().follow(Seq::FIRST).unwrap();
    let (given, gets) = mpsc::channel();
    let following = std::thread::spawn(move || {
        for entry in follow.take(120) {
            given.send(entry.unwrap().seq.0).unwrap();
        }
    });
    let mut seq = 0;
    for writer in 0..6 {
        if writer % 2 == 1 {
            std::fs::remove_file(dir.join("live")).unwrap();
        }
        let ledger = Options::new().segment_size(16 << 10).open(&dir).unwrap();
        for _ in 0..20 {
            seq += 1;
            ledger.append(format!("t{seq}"), Event::created().meta("text", "x".repeat(1000))).unwrap();
            assert_eq!(gets.recv_timeout(PATIENCE), Ok(seq));
        }
        ledger.close().unwrap();
    }
    following.join().unwrap();
    assert!(waits.load(Ordering::SeqCst) >= 100, "it slept before most of them");
}

/// Without a watch it is found by looking.
#[test]
fn without_a_watch_it_looks_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    let (_, _, options) = counting(Watches::None);
    let mut follow = options.open_read_only(&dir).unwrap().follow(Seq::FIRST).unwrap();
    for n in 1..=20 {
        ledger.append(format!("t{n}"), Event::created()).unwrap();
        assert_eq!(follow.next().unwrap().unwrap().seq, Seq(n));
    }
}
