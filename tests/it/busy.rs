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

use crate::support::forward;

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
    forward!(0: len write_at sync_data inode);

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
}

impl Vfs for BusyVfs {
    forward!(0: absolute create_dir list create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.0.open(path, access)?;
        let is_segment = path.extension().is_some_and(|end| end == "log");
        Ok(if is_segment { Arc::new(BusyFile(file, self.1.clone())) } else { file })
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
    assert!(busy.reads.load(Ordering::SeqCst) > 0, "the writer went on meanwhile");
    assert!(
        reader.view().seq() >= before && reader.report().writer.is_some_and(|writer| writer.pid == std::process::id())
    );
}

#[test]
fn verify_finds_nothing_beside_a_writer_that_appends_between_its_reads() {
    let home = tempfile::tempdir().unwrap();
    let (busy, options) = busy(home.path());
    let before = busy.ledger.head();
    let report = options.verify(home.path(), Level::Content, &mut |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Sound, "{report:?}");
    assert!(report.checked_to >= before);
}
