//! A reader beside a writer that is quicker than it.
//!
//! The story: a reader walked the frames up to the end that it saw, then searched what is behind for evidence, and met
//! frames that were written in between. Their watermark spoke for entries that had not been there when it looked, and
//! the reader called a healthy ledger damaged. Beside a living writer only the mark counts that was read before.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, Ledger, Level, Options, Verdict};

/// Appends between any two reads of the reader.
#[derive(Debug, Clone)]
struct Busy {
    ledger: Ledger,
    reads: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct BusyVfs(RealVfs, Busy);

#[derive(Debug)]
struct BusyFile(Arc<dyn VfsFile>, Busy);

impl VfsFile for BusyFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buf, offset)?;
        if offset >= 4096 {
            // The writer is quick: two durable appends after each read of frames.
            self.1.reads.fetch_add(1, Ordering::SeqCst);
            for _ in 0..2 {
                self.1.ledger.append("t", Event::updated().error("x".repeat(500))).unwrap();
            }
        }
        Ok(read)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn inode(&self) -> io::Result<u64> {
        self.0.inode()
    }
}

impl Vfs for BusyVfs {
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.0.create_dir(path, mode)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.0.open(path, access)?;
        let is_segment = path.extension().is_some_and(|end| end == "log");
        Ok(if is_segment { Arc::new(BusyFile(file, self.1.clone())) } else { file })
    }
    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        self.0.create(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>> {
        self.0.try_lock(path, mode)
    }
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
    fn boot_id(&self) -> [u8; 16] {
        self.0.boot_id()
    }
    fn process(&self) -> Process {
        self.0.process()
    }
    fn is_alive(&self, process: Process) -> bool {
        self.0.is_alive(process)
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.random(bytes)
    }
}

fn busy(dir: &Path) -> (Busy, Options) {
    let ledger = Options::new().segment_size(16 << 10).open(dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    for _ in 0..40 {
        ledger.append("t", Event::updated().error("x".repeat(500))).unwrap();
    }
    let busy = Busy { ledger, reads: Arc::default() };
    let options = Options::new().vfs(Arc::new(BusyVfs(RealVfs, busy.clone())));
    (busy, options)
}

#[test]
fn a_reader_opens_beside_a_writer_that_appends_between_its_reads() {
    let home = tempfile::tempdir().unwrap();
    let (busy, options) = busy(home.path());
    let before = busy.ledger.head();
    let reader = options.open_read_only(home.path()).expect("nothing is damaged");
    assert!(busy.reads.load(Ordering::SeqCst) > 2, "the writer went on meanwhile");
    assert!(reader.view().seq() >= before && reader.report().writer == Some(std::process::id()));
}

#[test]
fn verify_finds_nothing_beside_a_writer_that_appends_between_its_reads() {
    let home = tempfile::tempdir().unwrap();
    let (busy, options) = busy(home.path());
    let before = busy.ledger.head();
    let report = options.verify(home.path(), Level::Content, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict(), Verdict::Sound, "{report:?}");
    assert!(report.checked_to >= before);
}
