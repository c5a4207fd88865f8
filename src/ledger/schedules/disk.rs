//! The disk of a scene: in memory, with a turn for other threads before and after each call that writes or syncs, and
//! with answers to what a power cut would leave right now.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::AtomicU64;
use shuttle::{Config, Runner, scheduler::RandomScheduler};

use crate::ledger::handle::Ledger;
use crate::ledger::options::{Durability, Maintenance, Options};
use crate::model::limits::SEGMENT_BYTES_MIN;
use crate::model::seq::Seq;
use crate::vfs::fault::{CallKind, Choice, Fault, MemVfs, Op, Pending};
use crate::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};

const DIR: &str = "/ledger";

/// Its interval is over whenever the schedule lets its alarm go off: no real time passes.
pub const BUFFERED: Durability = Durability::Buffered { sync_every: Duration::from_millis(10) };

/// A disk with an empty ledger on it, and nothing undecided.
#[derive(Clone)]
pub struct Disk {
    memory: MemVfs,
    turns: Arc<AtomicU64>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.memory.fmt(f)
    }
}

/// The file system with a ledger that was created and closed. Made once, and by itself: a schedule is to be short.
pub fn prepare() {
    born();
}

fn born() -> &'static MemVfs {
    static BORN: OnceLock<MemVfs> = OnceLock::new();
    BORN.get_or_init(|| {
        let made = Arc::new(OnceLock::new());
        let out = Arc::clone(&made);
        let mut config = Config::new();
        config.stack_size = 1 << 19;
        Runner::new(RandomScheduler::new_from_seed(0, 1), config).run(move || {
            let memory = MemVfs::new();
            let ledger = options(Arc::new(memory.clone()), Durability::Sync, Maintenance::Manual).open(DIR).unwrap();
            ledger.close().unwrap();
            let pending = memory.pending(memory.trace_len());
            out.set(pending.image(&pending.all_kept()).unwrap()).unwrap();
        });
        made.get().expect("it was made").fork()
    })
}

fn options(vfs: Arc<dyn Vfs>, durability: Durability, maintenance: Maintenance) -> Options {
    Options::new().vfs(vfs).segment_size(SEGMENT_BYTES_MIN).durability(durability).maintenance(maintenance)
}

impl Disk {
    pub fn new() -> Disk {
        Disk { memory: born().fork(), turns: Arc::default() }
    }

    pub fn open(&self, durability: Durability, maintenance: Maintenance) -> Ledger {
        options(Arc::new(self.clone()), durability, maintenance).open(DIR).expect("a healthy ledger opens")
    }

    /// The first call of this kind that comes after some others fails, and all later ones.
    pub fn break_after(&self, others: u64, kind: CallKind) {
        let mut calls = self.memory.call_kinds().len();
        // Calls are counted together, so that the fault is put behind as many more of any kind.
        calls += others as usize;
        self.memory.fail_at(calls, Fault::new(5).only(kind).sticky());
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.memory.trace().iter().filter(|op| matches!(op, Op::SyncData { .. })).count() as u64
    }

    /// What a ledger holds after the power has failed now and taken all that it may take: its last entry.
    pub fn durable(&self) -> Seq {
        let pending = self.memory.pending(self.memory.trace_len());
        last_of(&pending, &pending.none_kept())
    }

    /// What a ledger holds after this process was killed now.
    pub fn written(&self) -> Seq {
        let reader = options(Arc::new(self.memory.kill()), Durability::Sync, Maintenance::Manual).open_read_only(DIR);
        reader.expect("no kill makes opening refuse").report().last
    }

    /// Demands that a power cut takes nothing up to this entry: one that takes all that it may, and, now and then, one that
    /// keeps whatever the schedule says. Nor may opening refuse.
    #[track_caller]
    pub fn holds(&self, last: Seq, why: &str) {
        let pending = self.memory.pending(self.memory.trace_len());
        let left = last_of(&pending, &pending.none_kept());
        assert!(left >= last, "a power cut leaves entries up to {left}, and {why} up to {last}");
        if thread_rng().gen_ratio(1, 4) {
            let left = last_of(&pending, &some_kept(&pending));
            assert!(left >= last, "a power cut that keeps some leaves entries up to {left}, and {why} up to {last}");
        }
    }

    /// The tasks of all entries that a power cut leaves now, in order.
    pub fn tasks(&self) -> Vec<String> {
        let pending = self.memory.pending(self.memory.trace_len());
        let image = pending.image(&pending.none_kept()).expect("keeping nothing is always possible");
        let reader = options(Arc::new(image), Durability::Sync, Maintenance::Manual).open_read_only(DIR);
        let reader = reader.expect("no power cut makes opening refuse");
        reader.view().entries(Seq::FIRST).map(|entry| entry.unwrap().task.expect("all are of tasks")).collect()
    }

    /// How many segments there are.
    pub fn segments(&self) -> u64 {
        let names = self.memory.files();
        names.iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count() as u64
    }

    /// Whether the ledger was closed in order.
    pub fn is_clean(&self) -> bool {
        let reader = options(Arc::new(self.memory.kill()), Durability::Sync, Maintenance::Manual).open_read_only(DIR);
        reader.expect("no kill makes opening refuse").report().clean
    }

    fn turn(&self) {
        self.turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn file(&self, inner: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        Arc::new(DiskFile { inner, disk: self.clone() })
    }
}

fn last_of(pending: &Pending, choice: &Choice) -> Seq {
    let image = pending.image(choice).expect("the choice is possible");
    let reader = options(Arc::new(image), Durability::Sync, Maintenance::Manual).open_read_only(DIR);
    reader.expect("no power cut makes opening refuse").report().last
}

/// All lengths and names, and any version of each sector.
fn some_kept(pending: &Pending) -> Choice {
    let mut choice = pending.all_kept();
    for (kept, sector) in choice.sectors.iter_mut().zip(&pending.sectors) {
        *kept = thread_rng().gen_range(0..=sector.newer.len() as u32);
    }
    choice
}

impl Vfs for Disk {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.memory.absolute(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.memory.create_dir(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.memory.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.file(self.memory.open(path, access)?))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.file(self.memory.create(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn();
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.turn();
        let synced = self.memory.sync_dir(dir);
        self.turn();
        synced
    }

    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>> {
        self.memory.try_lock(path, mode)
    }

    fn now_ms(&self) -> u64 {
        self.memory.now_ms()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.memory.boot_id()
    }

    fn process(&self) -> Process {
        self.memory.process()
    }

    fn is_alive(&self, process: Process) -> bool {
        self.memory.is_alive(process)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.random(bytes)
    }
}

#[derive(Debug)]
struct DiskFile {
    inner: Arc<dyn VfsFile>,
    disk: Disk,
}

impl VfsFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.turn();
        let written = self.inner.write_at(buf, offset);
        self.disk.turn();
        written
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.turn();
        let synced = self.inner.sync_data();
        self.disk.turn();
        synced
    }

    fn inode(&self) -> io::Result<u64> {
        self.inner.inode()
    }
}
