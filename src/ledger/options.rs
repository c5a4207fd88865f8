//! `Options`: how a ledger is opened; every knob with its unit and default.

use std::sync::Arc;

use crate::model::limits::SEGMENT_BYTES_DEFAULT;
use crate::vfs::ops::Vfs;
use crate::vfs::real::RealVfs;

/// Who does the work that no append should wait for: preparing segments and vouching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Maintenance {
    /// A thread of the ledger's own, which sleeps while there is nothing to do.
    Thread,
    /// The caller, by [`Ledger::maintain`](crate::Ledger::maintain); for simulations that must own every step.
    Manual,
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
    pub(crate) maintenance: Maintenance,
    pub(crate) vfs: Arc<dyn Vfs>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_size: SEGMENT_BYTES_DEFAULT,
            dir_mode: 0o700,
            file_mode: 0o600,
            maintenance: Maintenance::Thread,
            vfs: Arc::new(RealVfs),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// The largest size of a segment, in bytes: 16 KiB to 1 GiB, 32 MiB by default. A young ledger starts with 1 MiB
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

    /// The file system, clock and process to use: those of the machine by default.
    #[must_use]
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Options {
        self.vfs = vfs;
        self
    }
}
