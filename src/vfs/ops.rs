//! The operations on files that the ledger needs, and what each of them promises.
//!
//! Everything that a run depends on from outside comes through here: files, time, boot id, process and random
//! bytes. A simulation that implements these two traits therefore owns every input.
//!
//! Rules that hold for every implementation:
//! - Nothing is hidden: no buffering, no sync on close, no append mode. What is durable was synced by a call.
//! - An error keeps the operating system's code (`io::Error::raw_os_error`).
//! - A link, a directory, a FIFO or a device in place of a file is refused with `ErrorKind::InvalidInput`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::vfs::map::Map;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else: a link, a FIFO, a device.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: OsString,
    /// What it names.
    pub kind: Kind,
}

/// How an existing file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading; needs no write permission.
    Read,
    /// For reading and writing.
    ReadWrite,
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// When it started, in a unit of the system's own; only equality has a meaning.
    pub start: u64,
}

/// A lock that is held until this value is dropped.
pub trait Lock: Send + Sync + fmt::Debug {}

/// Somebody who is told of changes in a directory.
pub trait Watch: Send + Sync + fmt::Debug {
    /// Waits until something has changed since it was made or has last returned `true`, and `limit` at most; says whether
    /// something has. It may say so without a reason, and miss what another machine does: look again now and then.
    ///
    /// # Errors
    /// The system's error; nothing more will be told.
    fn wait(&mut self, limit: Duration) -> io::Result<bool>;
}

/// The file system, the clock and the process, as the ledger uses them.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// The same path, but one that a later change of the working directory does not lead elsewhere. Links stay as they
    /// are. Where there is no working directory, it is the path itself.
    ///
    /// # Errors
    /// The working directory cannot be told.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf>;

    /// Creates one directory with these permission bits (less the umask); its parent must exist.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken, by whatever; else the system's error.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Lists a directory, in no order.
    ///
    /// # Errors
    /// `NotFound` where it is missing; else the system's error.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Opens an existing regular file, without following a link in its last component.
    ///
    /// # Errors
    /// `NotFound` where it is missing, `InvalidInput` where it is no regular file; else the system's error.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>>;

    /// Creates a new, empty file with these permission bits (less the umask), open for reading and writing.
    /// The name is durable only after [`Vfs::sync_dir`] on its directory.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken, by whatever; else the system's error.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>>;

    /// Renames a file, replacing nothing. Durable only after [`Vfs::sync_dir`] on the directory.
    ///
    /// # Errors
    /// `AlreadyExists` where `to` exists; else the system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file onto another, which is replaced in one step: after a crash the name has the one or the other. Durable
    /// only after [`Vfs::sync_dir`] on the directory.
    ///
    /// # Errors
    /// `NotFound` where either is missing; else the system's error. `Unsupported` unless the implementation says otherwise.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file. Durable only after [`Vfs::sync_dir`] on the directory.
    ///
    /// # Errors
    /// `NotFound` where it is missing; else the system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's error; after one, the names must be taken as not durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which is created where it is missing; `None` while another holds it.
    /// Never waits.
    ///
    /// # Errors
    /// The system's error; locks that are not supported here are one.
    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>>;

    /// Watches the files of a directory: that bytes are written to one, that a name comes, goes or changes. Where that cannot
    /// be had, its caller looks again and again.
    ///
    /// # Errors
    /// `Unsupported` unless the implementation says otherwise; `NotFound` where the directory is missing.
    fn watch(&self, dir: &Path) -> io::Result<Box<dyn Watch>> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// A value that is the same for all processes until the machine starts again.
    fn boot_id(&self) -> [u8; 16];

    /// This process.
    fn process(&self) -> Process;

    /// Whether that process of this boot still lives.
    fn is_alive(&self, process: Process) -> bool;

    /// Fills `bytes` from the system's random source.
    ///
    /// # Errors
    /// The system's error.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// An open file. Dropping it closes it and does nothing else.
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The system's error.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at most `buf.len()` bytes from byte `offset`; 0 at or behind the end.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Says that these bytes will be read soon, so that they may be fetched meanwhile. A hint: it neither waits nor fails, and an
    /// implementation may leave it out.
    fn will_read(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Writes at most `buf.len()` bytes at byte `offset`, growing the file where needed; may write fewer.
    ///
    /// # Errors
    /// The system's error; how much arrived is then unknown.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes durable, and the length where it changed (`fdatasync`).
    ///
    /// # Errors
    /// The system's error; what was written since the last successful sync must then be taken as lost, and a
    /// later success of this call proves nothing about it.
    fn sync_data(&self) -> io::Result<()>;

    /// Maps its first `len` bytes for reading. Where that cannot be had, its caller reads instead.
    ///
    /// # Errors
    /// `Unsupported` unless the implementation says otherwise; `UnexpectedEof` where the file is shorter.
    fn map(&self, len: u64) -> io::Result<Map> {
        let _ = len;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A number that no other file of this file system has; a copy gets another.
    ///
    /// # Errors
    /// The system's error.
    fn inode(&self) -> io::Result<u64>;
}

/// Writes all of `buf` at `offset`, going on after short writes.
///
/// # Errors
/// The first error of [`VfsFile::write_at`]; `WriteZero` where it takes nothing.
pub fn write_all_at(file: &dyn VfsFile, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = buf.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads from `offset` until `buf` is full or the file ends, and says how many bytes there were.
///
/// # Errors
/// The first error of [`VfsFile::read_at`].
pub fn read_full_at(file: &dyn VfsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
