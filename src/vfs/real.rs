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
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::vfs::ops::{Access, DirEntry, Kind, Lock, Process, Vfs, VfsFile};

/// The file system, the clock and the process of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealVfs;

/// An open file of the machine.
#[derive(Debug)]
struct RealFile {
    file: File,
}

/// Holds the lock for as long as its file description is open.
struct RealLock {
    file: File,
}

impl Lock for RealLock {}

impl fmt::Debug for RealLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealLock").field(&self.file).finish()
    }
}

impl Vfs for RealVfs {
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

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::ops::{read_full_at, write_all_at};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn refused(result: io::Result<Arc<dyn VfsFile>>, what: &str) {
        let error = result.expect_err("must be refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what), "{error}");
    }

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn links_directories_fifos_and_sockets_are_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let vfs = RealVfs;
        let file = dir.path().join("file");
        vfs.create(&file, 0o600).unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        let dangling = dir.path().join("dangling");
        symlink(dir.path().join("nowhere"), &dangling).unwrap();
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let sub = dir.path().join("sub");
        vfs.create_dir(&sub, 0o700).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        for (path, what) in
            [(&link, "link"), (&dangling, "link"), (&fifo, "FIFO"), (&sub, "directory"), (&socket, "socket")]
        {
            refused(vfs.open(path, Access::Read), what);
            refused(vfs.open(path, Access::ReadWrite), what);
            let lock = vfs.try_lock(path, 0o600).expect_err("must be refused");
            assert_eq!(lock.kind(), io::ErrorKind::InvalidInput);
            let taken = vfs.create(path, 0o600).expect_err("the name is taken");
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            let renamed = vfs.rename(path, &dir.path().join("new")).unwrap_err();
            assert_eq!(renamed.kind(), io::ErrorKind::InvalidInput);
            let removed = vfs.remove(path).unwrap_err();
            assert_eq!(removed.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(!dir.path().join("nowhere").exists(), "nothing was created through the link");
        let mut kinds: Vec<_> = vfs.list(dir.path()).unwrap();
        kinds.sort_by(|a, b| a.name.cmp(&b.name));
        let kinds: Vec<_> = kinds.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::Other, Kind::Other, Kind::File, Kind::Other, Kind::Other, Kind::Dir]);
    }

    #[test]
    fn missing_things_keep_the_code_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing");
        let enoent = Some(Errno::NOENT.raw_os_error());
        let vfs = RealVfs;
        assert_eq!(vfs.open(&path, Access::Read).unwrap_err().raw_os_error(), enoent);
        assert_eq!(vfs.list(&path).unwrap_err().raw_os_error(), enoent);
        assert_eq!(vfs.remove(&path).unwrap_err().raw_os_error(), enoent);
        assert_eq!(vfs.sync_dir(&path).unwrap_err().raw_os_error(), enoent);
        assert_eq!(vfs.create(&path.join("x"), 0o600).unwrap_err().raw_os_error(), enoent);
        vfs.create(&path, 0o600).unwrap();
        let enotdir = Some(Errno::NOTDIR.raw_os_error());
        assert_eq!(vfs.sync_dir(&path).unwrap_err().raw_os_error(), enotdir);
    }

    #[test]
    fn rename_moves_and_never_replaces() {
        type Rename = fn(&Path, &Path) -> io::Result<()>;
        for rename in [(|a, b| RealVfs.rename(a, b)) as Rename, rename_by_link as Rename] {
            let dir = tempfile::tempdir().unwrap();
            let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
            fs::write(&a, "a").unwrap();
            fs::write(&b, "b").unwrap();
            let error = rename(&a, &b).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(error.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
            assert_eq!(fs::read(&a).unwrap(), b"a");
            assert_eq!(fs::read(&b).unwrap(), b"b");
            rename(&a, &c).unwrap();
            assert!(!a.exists());
            assert_eq!(fs::read(&c).unwrap(), b"a");
            RealVfs.sync_dir(dir.path()).unwrap();
        }
    }

    #[test]
    fn a_lock_excludes_a_second_handle_until_it_is_dropped_and_leaves_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let first = RealVfs.try_lock(&path, 0o600).unwrap();
        assert!(first.is_some());
        assert!(RealVfs.try_lock(&path, 0o600).unwrap().is_none());
        drop(first);
        assert!(path.exists());
        assert!(RealVfs.try_lock(&path, 0o600).unwrap().is_some());
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn modes_are_given_at_creation() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        RealVfs.create_dir(&sub, 0o700).unwrap();
        let file = sub.join("file");
        RealVfs.create(&file, 0o600).unwrap();
        assert_eq!(mode_of(&sub), 0o700);
        assert_eq!(mode_of(&file), 0o600);
        assert_eq!(RealVfs.create_dir(&sub, 0o700).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn bytes_come_back_and_only_a_writable_handle_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealVfs.create(&path, 0o600).unwrap();
        write_all_at(&*file, b"hello", 3).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let reader = RealVfs.open(&path, Access::Read).unwrap();
        let mut buf = [9; 16];
        assert_eq!(read_full_at(&*reader, &mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0hello");
        assert_eq!(reader.read_at(&mut buf, 8).unwrap(), 0);
        let error = reader.write_at(b"x", 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::BADF.raw_os_error()));
        assert_eq!(reader.inode().unwrap(), file.inode().unwrap());
        let other = RealVfs.create(&dir.path().join("other"), 0o600).unwrap();
        assert_ne!(other.inode().unwrap(), file.inode().unwrap());
    }

    #[test]
    fn this_process_lives_and_others_are_told_apart() {
        let process = RealVfs.process();
        assert_eq!(process, RealVfs.process());
        assert!(RealVfs.is_alive(process));
        // Where the start time is not known, the number alone decides.
        assert!(RealVfs.is_alive(Process { start: 0, ..process }));
        assert!(!RealVfs.is_alive(Process { pid: 0, start: 1 }));
        assert!(!RealVfs.is_alive(Process { pid: u32::MAX, start: 1 }));
        #[cfg(target_os = "linux")]
        {
            assert_ne!(process.start, 0);
            let later = Process { start: process.start + 1, ..process };
            assert!(!RealVfs.is_alive(later));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_that_has_ended_is_dead_before_its_parent_looks() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let stat = fs::read(format!("/proc/{}/stat", child.id())).unwrap();
        let process = Process { pid: child.id(), start: parse_stat(&stat).unwrap().start };
        assert!(RealVfs.is_alive(process));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while RealVfs.is_alive(process) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(!RealVfs.is_alive(process));
        child.wait().unwrap();
        assert!(!RealVfs.is_alive(process));
    }

    #[test]
    fn a_program_name_cannot_confuse_the_start_time() {
        let mut line = String::from("42 (a) R 1 (b)) S");
        for field in 4..=30 {
            line.push_str(&format!(" {}", field * 100));
        }
        assert_eq!(parse_stat(line.as_bytes()), Some(Stat { start: 2200, ended: false }));
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) S 1 2"), None);
    }

    #[test]
    fn the_boot_id_is_stable_and_random_bytes_are_not() {
        assert_eq!(RealVfs.boot_id(), RealVfs.boot_id());
        #[cfg(target_os = "linux")]
        assert_ne!(RealVfs.boot_id(), [0; 16]);
        assert_eq!(
            parse_uuid("00010203-0405-0607-0809-0a0b0c0d0eff"),
            Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255])
        );
        assert_eq!(parse_uuid("0001"), None);
        assert_eq!(parse_uuid("00010203-0405-0607-0809-0a0b0c0d0eff00"), None);
        let mut a = vec![0; 1000];
        let mut b = vec![0; 1000];
        RealVfs.random(&mut a).unwrap();
        RealVfs.random(&mut b).unwrap();
        assert_ne!(a, b);
        assert!(a[900..].iter().any(|byte| *byte != 0));
    }
}
