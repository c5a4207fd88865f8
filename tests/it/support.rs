//! What several of the integration tests need.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};

/// A file system with a clock that the test sets: it stands still until then.
pub struct ClockVfs {
    inner: Arc<dyn Vfs>,
    now_ms: AtomicU64,
    before_rename: Mutex<Option<Hook>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl fmt::Debug for ClockVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockVfs").field("inner", &self.inner).field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl ClockVfs {
    pub fn new(inner: impl Vfs + 'static, now_ms: u64) -> Arc<ClockVfs> {
        let before_rename = Mutex::new(None);
        Arc::new(ClockVfs { inner: Arc::new(inner), now_ms: AtomicU64::new(now_ms), before_rename })
    }

    /// Does this once, before the next rename.
    pub fn before_next_rename(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_rename.lock().unwrap() = Some(Box::new(hook));
    }

    pub fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Vfs for ClockVfs {
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.create_dir(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        self.inner.open(path, access)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        self.inner.create(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let hook = self.before_rename.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>> {
        self.inner.try_lock(path, mode)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.inner.boot_id()
    }

    fn process(&self) -> Process {
        self.inner.process()
    }

    fn is_alive(&self, process: Process) -> bool {
        self.inner.is_alive(process)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.random(bytes)
    }
}

/// Small numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Writes a line to the real standard error: the test harness swallows what the print macros write.
pub fn say(line: &str) {
    writeln!(io::stderr(), "{line}").expect("standard error takes a line");
}

/// The number that an environment variable holds, where it is set.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?} and no number")))
}

/// The folder with the real data: `TASKLEDGER_SHARED`, or `../shared` beside the crate; `None` where it is not there.
pub fn shared_dir() -> Option<PathBuf> {
    let stated = std::env::var_os("TASKLEDGER_SHARED").unwrap_or_else(|| "../shared".into());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(stated);
    dir.join("data/wfinstances").is_dir().then_some(dir)
}

/// The command line tool.
pub fn taskledger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskledger"));
    command.env_remove("TASKLEDGER_DIR").env("NO_COLOR", "1");
    command
}
