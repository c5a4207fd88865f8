//! A reader beside a writer that is quicker than it.
//!
//! The story: a reader walked the frames up to the end that it saw, then searched what is behind for evidence, and met
//! frames that were written in between. Their watermark spoke for entries that had not been there when it looked, and
//! the reader called a healthy ledger damaged. Beside a living writer only the mark counts that was read before.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::vfs::real::RealVfs;
use taskledger::{Durability, Event, Ledger, Level, Options, Seq, Verdict};

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

/// Notes where the ledger says, or shows as durable, more than other processes were told.
#[derive(Debug, Default)]
struct Told {
    ledger: Mutex<Option<(Ledger, Durability)>>,
    marks: AtomicUsize,
    ahead: Mutex<Vec<(Seq, Seq)>>,
}

#[derive(Debug)]
struct ToldVfs(RealVfs, Arc<Told>);

#[derive(Debug)]
struct ToldFile(Arc<dyn VfsFile>, Arc<Told>);

impl VfsFile for ToldFile {
    forward!(0: len read_at sync_data inode);

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        // Bytes 8 to 16 of a slot are the durable seq.
        let mark = Seq(u64::from_le_bytes(buf[8..16].try_into().unwrap()));
        if let Some((ledger, durability)) = &*self.1.ledger.lock().unwrap() {
            self.1.marks.fetch_add(1, Ordering::SeqCst);
            let said = match durability {
                // The head is what acknowledges an append, and entries are shown before it rises.
                Durability::Sync => ledger.durable().max(ledger.head()).max(ledger.counts().seq()),
                _ => ledger.durable(),
            };
            if said >= mark {
                self.1.ahead.lock().unwrap().push((said, mark));
            }
        }
        self.0.write_at(buf, offset)
    }
}

impl Vfs for ToldVfs {
    forward!(0: absolute create_dir list rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        self.0.open(path, access)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.0.create(path, mode)?;
        Ok(if path.ends_with("live") { Arc::new(ToldFile(file, Arc::clone(&self.1))) } else { file })
    }
}

/// The story: a backup beside a busy writer lacked an entry that `Ledger::durable` had named before it began. The writer's
/// threads were told first and other processes after, and who looked in between was told less than was known. Then only
/// `durable` waited for the mark, and an append was still acknowledged before it.
#[test]
fn other_processes_are_told_before_this_one_what_is_durable() {
    for durability in [Durability::Sync, Durability::Buffered { sync_every: Duration::from_secs(3600) }] {
        let home = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let options = Options::new().durability(durability).vfs(Arc::new(ToldVfs(RealVfs, Arc::clone(&told))));
        let ledger = options.open(home.path()).unwrap();
        *told.ledger.lock().unwrap() = Some((ledger.clone(), durability));
        for _ in 0..20 {
            ledger.append("t", Event::created()).unwrap();
            ledger.sync().unwrap();
            ledger.append("t", Event::removed()).unwrap();
        }
        *told.ledger.lock().unwrap() = None;
        assert!(told.marks.load(Ordering::SeqCst) >= 20, "{told:?}");
        assert_eq!(*told.ahead.lock().unwrap(), [], "durable as the ledger says, as the mark says that comes");
    }
}
