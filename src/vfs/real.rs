//! The real file layer: `std::fs` and a few system calls, one per operation.
//!
//! Invariants:
//! - No open, create or lock follows a link in the last component, and none waits for the other end of a FIFO.
//! - Permission bits are given at creation and never changed afterwards; the umask can only take from them.
//! - Nothing is buffered, synced or removed that the caller did not ask for. A lock file stays for ever.

#[cfg(not(unix))]
compile_error!(
    "taskledger supports Unix systems only (Linux is the one it is tested on): \
     it needs flock, fsync of directories, and opening a file without following a link"
);

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::vfs::map::Map;
#[cfg(target_os = "linux")]
use crate::vfs::ops::Watch;
use crate::vfs::ops::{Access, DirEntry, Kind, Lock, Process, Vfs, VfsFile};

/// The file system, the clock and the process of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealVfs;

/// An open file of the machine.
#[derive(Debug)]
struct RealFile {
    file: File,
}

/// Holds the lock until it is dropped, or its process ends.
struct RealLock {
    file: File,
}

impl Lock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing alone would not free it while a process that is being started holds a copy of the file. Where this
        // fails, closing frees it a moment later.
        let _ = self.file.unlock();
    }
}

impl fmt::Debug for RealLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealLock").field(&self.file).finish()
    }
}

impl Vfs for RealVfs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let file_type = match entry.file_type() {
                Ok(file_type) => file_type,
                // Some file systems do not say the type with the name; then the name may be gone by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let kind = if file_type.is_file() {
                Kind::File
            } else if file_type.is_dir() {
                Kind::Dir
            } else {
                Kind::Other
            };
            entries.push(DirEntry { name: entry.file_name(), kind });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        let file = open_regular(path, &mut options)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        let file = options.open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        refuse_unless_regular(from, &fs::symlink_metadata(from)?)?;
        rename_without_replace(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        refuse_unless_regular(from, &fs::symlink_metadata(from)?)?;
        refuse_unless_regular(to, &fs::symlink_metadata(to)?)?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        refuse_unless_regular(path, &fs::symlink_metadata(path)?)?;
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed());
        options.open(dir)?.sync_all()
    }

    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(mode);
        let file = open_regular(path, &mut options)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(target_os = "linux")]
    fn watch(&self, dir: &Path) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(watch::Inotify::new(dir)?))
    }

    fn now_ms(&self) -> u64 {
        crate::model::clock::now_ms()
    }

    fn boot_id(&self) -> [u8; 16] {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| parse_uuid(text.trim()))
            .unwrap_or_default()
    }

    fn process(&self) -> Process {
        // Where the system does not tell the start time, it is 0, and `is_alive` goes by the number alone.
        let start = fs::read("/proc/self/stat").ok().and_then(|stat| parse_stat(&stat)).map_or(0, |stat| stat.start);
        Process { pid: std::process::id(), start }
    }

    fn is_alive(&self, process: Process) -> bool {
        let known = (process.start != 0)
            .then(|| fs::read(format!("/proc/{}/stat", process.pid)).ok())
            .flatten()
            .and_then(|stat| parse_stat(&stat));
        match known {
            Some(stat) => stat.start == process.start && !stat.ended,
            // No such process, or a system (or a mount of /proc) that hides it: ask the kernel, which answers
            // "not permitted" for a process that exists and belongs to another user.
            None => number_is_taken(process.pid),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        fill_random(bytes)
    }
}

impl VfsFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn will_read(&self, offset: u64, len: u64) {
        let _ = rustix::fs::fadvise(&self.file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        Map::of(&self.file, len)
    }

    fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }
}

/// Opens `path` with these options where it is a regular file, and says what it is where it is not.
fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => {
            refuse_unless_regular(path, &file.metadata()?)?;
            Ok(file)
        }
        Err(error) => {
            // A link, a directory opened for writing, a socket and a device without a driver fail in the open
            // itself, each with a code of its own. Looking again gives them all the same, clear answer.
            if let Ok(metadata) = fs::symlink_metadata(path) {
                refuse_unless_regular(path, &metadata)?;
            }
            Err(error)
        }
    }
}

/// `InvalidInput` with a message that names the path and what it is, unless that is a regular file.
fn refuse_unless_regular(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        return Ok(());
    }
    let what = if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_block_device() {
        "a block device"
    } else if file_type.is_char_device() {
        "a character device"
    } else {
        "of an unknown kind"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is {what}, not a regular file", path.display())))
}

/// Renames in one step where the system can do that without replacing, else with a second name in between.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system, or the kernel, does not know this flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_by_link(from, to),
        Err(error) => Err(error.into()),
    }
}

/// Renames with a second name in between, as this system has no rename that does not replace.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replace(from: &Path, to: &Path) -> io::Result<()> {
    rename_by_link(from, to)
}

/// A hard link refuses a taken name, which a plain rename does not. A crash in between leaves both names.
fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Fills all of `bytes`; the call may give fewer at a time, and a signal may cut it short.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};

    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(got) => filled += got,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Fills all of `bytes` from the random device.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    use std::io::Read as _;

    File::open("/dev/urandom")?.read_exact(bytes)
}

/// Whether any process has this number now.
fn number_is_taken(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(Errno::PERM))
}

/// What `/proc/<pid>/stat` says about a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In clock ticks since the machine started.
    start: u64,
    /// It has ended, and only waits for its parent to look.
    ended: bool,
}

fn parse_stat(stat: &[u8]) -> Option<Stat> {
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses: only
    // what is behind the last one is safe to split. The first field there is the third of the line.
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { start, ended: matches!(state, "Z" | "X" | "x") })
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.chars().filter(|c| *c != '-');
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(target_os = "linux")]
mod watch;

#[cfg(test)]
mod tests;
