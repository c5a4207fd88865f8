//! Which calls fail, and how.
//!
//! Invariants:
//! - Every call that can fail is counted, in order, from 0; the count never depends on what is scheduled.
//! - A fault that cannot apply to the kind of call it meets makes the call fail before it does anything.

use std::io;

/// The kinds of calls that are counted: all those of the two traits that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `Vfs::create_dir`
    CreateDir,
    /// `Vfs::list`
    List,
    /// `Vfs::open`
    Open,
    /// `Vfs::create`
    Create,
    /// `Vfs::rename`, `Vfs::replace`
    Rename,
    /// `Vfs::remove`
    Remove,
    /// `Vfs::sync_dir`
    SyncDir,
    /// `Vfs::try_lock`
    Lock,
    /// `Vfs::random`
    Random,
    /// `VfsFile::len`
    Len,
    /// `VfsFile::read_at`
    Read,
    /// `VfsFile::write_at`
    Write,
    /// `VfsFile::sync_data`
    SyncData,
    /// `VfsFile::inode`
    Inode,
}

/// What becomes of the bytes that a failing `sync_data` should have made durable.
///
/// In none of the three does a later sync write them again: that takes a new write of the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFailure {
    /// They can still be read, by every process, but are not on disk (as on ext4 and XFS). A change of the
    /// length stays undecided, and the next successful sync makes it durable, with zeros in place of the bytes.
    LiveNewDiskOld,
    /// The file reads as it is on disk, with its old length (as on Btrfs).
    LiveOldDiskOld,
    /// As the first, but this call says `Ok`; the error comes from the next sync of the file, which does nothing
    /// else: what was written in between stays undecided.
    ReportedLate,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does nothing and fails. For `sync_data` this is [`SyncFailure::LiveNewDiskOld`]; after a failed
    /// `sync_dir` the names stay undecided.
    Error,
    /// It does everything and fails nevertheless.
    Late,
    /// A read or write takes at most this many bytes, and says so; the call succeeds.
    Short(usize),
    /// A write fails after this many bytes arrived.
    ErrorAfter(usize),
    /// A `sync_data` fails in one of three ways.
    Sync(SyncFailure),
}

/// A fault for `MemVfs::fail_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The code of the error (`io::Error::raw_os_error`).
    pub errno: i32,
    /// Only calls of this kind fail; all kinds where it is `None`.
    pub kind: Option<CallKind>,
    /// All matching calls fail from then on, not only the first.
    pub sticky: bool,
    /// How they fail.
    pub effect: Effect,
}

impl Fault {
    /// One call of any kind fails with this code and does nothing.
    pub fn new(errno: i32) -> Self {
        Self { errno, kind: None, sticky: false, effect: Effect::Error }
    }

    /// Only calls of this kind fail.
    #[must_use]
    pub fn only(mut self, kind: CallKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// All matching calls fail from then on.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.sticky = true;
        self
    }

    /// They fail in this way.
    #[must_use]
    pub fn with(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

/// What the schedule says about one call that is not refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Late(i32),
    Short(usize),
    ErrorAfter(usize, i32),
    Sync(SyncFailure, i32),
}

/// The calls so far and the faults to come.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    calls: Vec<CallKind>,
    /// With the first call that each may meet.
    faults: Vec<(usize, Fault)>,
}

impl Schedule {
    pub(super) fn calls(&self) -> &[CallKind] {
        &self.calls
    }

    pub(super) fn add(&mut self, call: usize, fault: Fault) {
        self.faults.push((call, fault));
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Counts a call and says what is to become of it.
    pub(super) fn begin(&mut self, kind: CallKind) -> io::Result<Verdict> {
        let call = self.calls.len();
        self.calls.push(kind);
        let Some(found) = self
            .faults
            .iter()
            .position(|(from, fault)| *from <= call && fault.kind.is_none_or(|wanted| wanted == kind))
        else {
            return Ok(Verdict::Go);
        };
        let Some((_, fault)) = self.faults.get(found).copied() else {
            return Ok(Verdict::Go);
        };
        if !fault.sticky {
            self.faults.remove(found);
        }
        let errno = fault.errno;
        match (fault.effect, kind) {
            (Effect::Late, _) => Ok(Verdict::Late(errno)),
            (Effect::Short(bytes), CallKind::Read | CallKind::Write) => Ok(Verdict::Short(bytes)),
            (Effect::ErrorAfter(bytes), CallKind::Write) => Ok(Verdict::ErrorAfter(bytes, errno)),
            (Effect::Sync(failure), CallKind::SyncData) => Ok(Verdict::Sync(failure, errno)),
            (_, CallKind::SyncData) => Ok(Verdict::Sync(SyncFailure::LiveNewDiskOld, errno)),
            (Effect::Error | Effect::Short(_) | Effect::ErrorAfter(_) | Effect::Sync(_), _) => {
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}
