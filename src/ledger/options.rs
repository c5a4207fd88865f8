//! `Options`: how a ledger is opened; every knob with its unit and default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::limits::{CACHE_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT};
use crate::vfs::ops::Vfs;
use crate::vfs::real::RealVfs;

/// What verifying holds of tasks and notes at once by default, in bytes: two to three million small ones.
const VERIFY_MEMORY_DEFAULT: u64 = 1 << 30;

/// Who does the work that no append should wait for: preparing segments and vouching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Maintenance {
    /// A thread of the ledger's own, which sleeps while there is nothing to do.
    Thread,
    /// The caller, by [`Ledger::maintain`](crate::Ledger::maintain); for simulations that must own every step.
    Manual,
}

/// When an append returns, and what it has been saved from by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// After fdatasync: it survives a power cut. Concurrent appends share one.
    Sync,
    /// After the write to the operating system, which is synced at an interval: it survives a crash of the process,
    /// not a power cut. A power cut takes at most what was written since the last sync, always from the end: what is
    /// left is a prefix without a hole and without half a batch. Reads of this process show what is written, those of
    /// others what is durable. Rolling to the next segment, closing and [`Ledger::sync`](crate::Ledger::sync) sync too.
    Buffered {
        /// So long after a write, at most, its sync begins. With [`Maintenance::Manual`] it is
        /// [`Ledger::maintain`](crate::Ledger::maintain) that syncs.
        sync_every: Duration,
    },
}

impl Durability {
    /// Whether each flight syncs.
    pub(crate) fn syncs(self) -> bool {
        self == Durability::Sync
    }

    pub(crate) fn sync_every(self) -> Duration {
        match self {
            Durability::Sync => Duration::ZERO,
            Durability::Buffered { sync_every } => sync_every,
        }
    }
}

/// What tells the time in place of the file layer.
#[derive(Clone)]
struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How a ledger is opened.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let ledger = taskledger::Options::new().segment_size(64 << 10).open(dir.path())?;
/// ledger.append("a", taskledger::Event::created())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) segment_size: u64,
    pub(crate) dir_mode: u32,
    pub(crate) file_mode: u32,
    pub(crate) durability: Durability,
    pub(crate) mmap: bool,
    pub(crate) cache_size: u64,
    pub(crate) maintenance: Maintenance,
    pub(crate) verify_threads: Option<usize>,
    pub(crate) verify_memory: u64,
    pub(crate) vfs: Arc<dyn Vfs>,
    clock: Option<Clock>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_size: SEGMENT_BYTES_DEFAULT,
            dir_mode: 0o700,
            file_mode: 0o600,
            durability: Durability::Sync,
            mmap: false,
            cache_size: CACHE_BYTES_DEFAULT,
            maintenance: Maintenance::Thread,
            verify_threads: None,
            verify_memory: VERIFY_MEMORY_DEFAULT,
            vfs: Arc::new(RealVfs),
            clock: None,
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// When an append returns: once it is durable, by default.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use std::time::Duration;
    /// use taskledger::{Durability, Event, Options};
    /// let durability = Durability::Buffered { sync_every: Duration::from_millis(50) };
    /// let ledger = Options::new().durability(durability).open(dir.path())?;
    /// ledger.append("a", Event::created())?; // a crash of this process does not take it any more
    /// let durable = ledger.sync()?; // nor does a power cut
    /// assert_eq!(durable, ledger.head());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// Whether indexes, snapshots and single entries of sealed segments are looked up in memory maps in place of a read each:
    /// false by default. Answers are the same. Look-ups and histories get faster; the price is that a page which cannot be read (a rotten sector, a file
    /// that somebody cut off) ends this process with SIGBUS, where a read returns an error that names the place.
    /// The log is replayed, verified and appended to without maps. Where the system has no room for a map, it is read too.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = taskledger::Options::new().mmap(true).open(dir.path())?;
    /// ledger.append("a", taskledger::Event::created())?;
    /// assert_eq!(ledger.history("a")?.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mmap(mut self, mmap: bool) -> Options {
        self.mmap = mmap;
        self
    }

    /// How much memory a writer keeps tasks and notes in that were appended to or asked for lately, in bytes, roughly: 32 MiB by
    /// default. What is there needs no look at files when it is appended to or asked for again. It grows as it is used; 0 keeps
    /// nothing beyond what the active segment has changed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = taskledger::Options::new().cache_size(1 << 20).open(dir.path())?;
    /// ledger.append("a", taskledger::Event::created())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cache_size(mut self, bytes: u64) -> Options {
        self.cache_size = bytes;
        self
    }

    /// The largest size of a segment, in bytes: 16 KiB to 1 GiB, 2 MiB by default. A young ledger starts with 1 MiB
    /// or this, whichever is less, and doubles. A batch that needs more gets a segment of its own size.
    #[must_use]
    pub fn segment_size(mut self, bytes: u64) -> Options {
        self.segment_size = bytes;
        self
    }

    /// Permission bits of the directories that are created, less the umask: 0o700 by default.
    #[must_use]
    pub fn dir_mode(mut self, mode: u32) -> Options {
        self.dir_mode = mode;
        self
    }

    /// Permission bits of the files that are created, less the umask: 0o600 by default.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Options {
        self.file_mode = mode;
        self
    }

    /// Who prepares segments and vouches: a thread of the ledger's own by default.
    #[must_use]
    pub fn maintenance(mut self, maintenance: Maintenance) -> Options {
        self.maintenance = maintenance;
        self
    }

    /// On how many threads [`Options::verify`](crate::Options::verify) reads segments: as many as the machine has cores by
    /// default. It finds the same in the same order with any number.
    #[must_use]
    pub fn verify_threads(mut self, threads: usize) -> Options {
        self.verify_threads = Some(threads);
        self
    }

    /// About how many bytes of tasks and notes [`Options::verify`](crate::Options::verify) holds in memory at once: 1 GiB by
    /// default. Where there are more it reads the log several times, each time for a part of them, and finds the same.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # taskledger::Ledger::open(dir.path())?.append("a", taskledger::Event::created())?;
    /// use taskledger::{Level, Options, Verdict};
    /// let options = Options::new().verify_threads(2).verify_memory(64 << 20);
    /// let report = options.verify(dir.path(), Level::Derived, &mut |progress| assert!(progress.done <= progress.all))?;
    /// assert_eq!((report.verdict(), report.passes), (Verdict::Sound, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verify_memory(mut self, bytes: u64) -> Options {
        self.verify_memory = bytes;
        self
    }

    /// The file system, clock and process to use: those of the machine by default.
    #[must_use]
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Options {
        self.vfs = vfs;
        self
    }

    /// What tells the time, in milliseconds since the Unix epoch: by default the clock of the file layer. For tests, and
    /// for programs that replay an old run.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = taskledger::Options::new().clock(|| 1_772_366_400_000).open(dir.path())?;
    /// let receipt = ledger.append("a", taskledger::Event::created())?;
    /// assert_eq!(receipt.at(), 1_772_366_400_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Options {
        self.clock = Some(Clock(Arc::new(now_ms)));
        self
    }

    pub(crate) fn now_ms(&self) -> u64 {
        match &self.clock {
            Some(clock) => (clock.0)(),
            None => self.vfs.now_ms(),
        }
    }
}
