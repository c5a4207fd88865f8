//! What several of the integration tests need.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};

/// Forwards the named calls of `Vfs` or `VfsFile` to a field: `forward!(inner: list open)` within an `impl`.
macro_rules! forward {
    ($field:tt: $($call:ident)*) => { $(crate::support::forward!(@ $field $call);)* };
    (@ $field:tt absolute) => { crate::support::forward!(@@ $field absolute(path: &Path) -> io::Result<std::path::PathBuf>); };
    (@ $field:tt create_dir) => { crate::support::forward!(@@ $field create_dir(path: &Path, mode: u32) -> io::Result<()>); };
    (@ $field:tt list) => { crate::support::forward!(@@ $field list(dir: &Path) -> io::Result<Vec<DirEntry>>); };
    (@ $field:tt open) => { crate::support::forward!(@@ $field open(path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>>); };
    (@ $field:tt create) => { crate::support::forward!(@@ $field create(path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>>); };
    (@ $field:tt rename) => { crate::support::forward!(@@ $field rename(from: &Path, to: &Path) -> io::Result<()>); };
    (@ $field:tt remove) => { crate::support::forward!(@@ $field remove(path: &Path) -> io::Result<()>); };
    (@ $field:tt sync_dir) => { crate::support::forward!(@@ $field sync_dir(dir: &Path) -> io::Result<()>); };
    (@ $field:tt try_lock) => {
        crate::support::forward!(@@ $field try_lock(path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>>);
    };
    (@ $field:tt watch) => {
        crate::support::forward!(@@ $field watch(dir: &Path) -> io::Result<Box<dyn taskledger::vfs::ops::Watch>>);
    };
    (@ $field:tt now_ms) => { crate::support::forward!(@@ $field now_ms() -> u64); };
    (@ $field:tt boot_id) => { crate::support::forward!(@@ $field boot_id() -> [u8; 16]); };
    (@ $field:tt process) => { crate::support::forward!(@@ $field process() -> Process); };
    (@ $field:tt is_alive) => { crate::support::forward!(@@ $field is_alive(process: Process) -> bool); };
    (@ $field:tt random) => { crate::support::forward!(@@ $field random(bytes: &mut [u8]) -> io::Result<()>); };
    (@ $field:tt len) => { crate::support::forward!(@@ $field len() -> io::Result<u64>); };
    (@ $field:tt read_at) => { crate::support::forward!(@@ $field read_at(buf: &mut [u8], offset: u64) -> io::Result<usize>); };
    (@ $field:tt write_at) => { crate::support::forward!(@@ $field write_at(buf: &[u8], offset: u64) -> io::Result<usize>); };
    (@ $field:tt sync_data) => { crate::support::forward!(@@ $field sync_data() -> io::Result<()>); };
    (@ $field:tt inode) => { crate::support::forward!(@@ $field inode() -> io::Result<u64>); };
    (@@ $field:tt $call:ident($($name:ident: $kind:ty),*) -> $out:ty) => {
        fn $call(&self, $($name: $kind),*) -> $out {
            self.$field.$call($($name),*)
        }
    };
}
pub(crate) use forward;

/// Sets a flag when it goes, also in a panic: threads that go on until it is set would otherwise be waited for, and a failed
/// assertion would be a test that never ends.
pub struct AtEnd<'a>(pub &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

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
    forward!(inner: absolute create_dir list open create remove sync_dir try_lock boot_id process is_alive random);

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let hook = self.before_rename.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.inner.rename(from, to)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

/// Whether something with this name is to be run: the environment may ask for a few only, by parts of their names.
pub fn wanted(variable: &str, name: &str) -> bool {
    let only = std::env::var(variable).ok();
    only.is_none_or(|only| only.split(',').any(|part| name.contains(part)))
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    AfterWrite,
    BeforeSync,
    AfterSync,
}

/// A file system in which something is done in the middle: at some moments in the life of a file's calls.
pub struct Hooked {
    inner: Arc<dyn Vfs>,
    hook: Arc<dyn Fn(Moment) + Send + Sync>,
}

struct HookedFile {
    inner: Arc<dyn VfsFile>,
    hook: Arc<dyn Fn(Moment) + Send + Sync>,
}

impl Hooked {
    pub fn new(inner: impl Vfs + 'static, hook: impl Fn(Moment) + Send + Sync + 'static) -> Arc<Hooked> {
        Arc::new(Hooked { inner: Arc::new(inner), hook: Arc::new(hook) })
    }

    /// Only before each sync of a file.
    pub fn before_sync(inner: impl Vfs + 'static, hook: impl Fn() + Send + Sync + 'static) -> Arc<Hooked> {
        Hooked::new(inner, move |moment| {
            if moment == Moment::BeforeSync {
                hook();
            }
        })
    }

    fn file(&self, inner: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        Arc::new(HookedFile { inner, hook: Arc::clone(&self.hook) })
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedFile").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Vfs for Hooked {
    forward!(inner: absolute create_dir list rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.file(self.inner.open(path, access)?))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        Ok(self.file(self.inner.create(path, mode)?))
    }
}

impl VfsFile for HookedFile {
    forward!(inner: len read_at inode);

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.inner.write_at(buf, offset);
        (self.hook)(Moment::AfterWrite);
        written
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.hook)(Moment::BeforeSync);
        let synced = self.inner.sync_data();
        (self.hook)(Moment::AfterSync);
        synced
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

/// What each of these comes to, in their order; as many at once as there are cores.
pub fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(all.len()) {
            scope.spawn(|| {
                while let Some((n, one)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|n| Some((n, all.get(n)?)))
                {
                    let result = work(one);
                    done.lock().expect("no work panics here").push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no work panics here");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Writes a line to the real standard error: the test harness swallows what the print macros write.
pub fn say(line: &str) {
    writeln!(io::stderr(), "{line}").expect("standard error takes a line");
}

/// Says that a test does not run here, and why; with `CI=true` that is a failure.
pub fn skip(test: &str, why: &str) {
    say(&format!("{test} did not run: {why}"));
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} did not run: {why}");
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
#[allow(clippy::option_env_unwrap, reason = "the example that shares this file is built without it, and never asks")]
pub fn taskledger() -> Command {
    let program = option_env!("CARGO_BIN_EXE_taskledger").expect("cargo builds it for tests only");
    let mut command = Command::new(program);
    command.env_remove("TASKLEDGER_DIR").env("NO_COLOR", "1");
    command
}
