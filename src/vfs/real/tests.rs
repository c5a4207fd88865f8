//! The real file layer keeps what `ops` promises.

use super::*;
use crate::vfs::ops::{read_full_at, write_all_at};
use std::os::unix::fs::{PermissionsExt as _, symlink};
#[cfg(target_os = "linux")]
use std::time::Duration;

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

#[cfg(target_os = "linux")]
#[test]
fn a_watch_is_told_of_each_change_and_of_nothing_else() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let dir = tempfile::tempdir().unwrap();
    let [file, other] = ["file", "other"].map(|name| dir.path().join(name));
    let handle = RealVfs.create(&file, 0o600).unwrap();
    let mut watch = RealVfs.watch(dir.path()).unwrap();
    assert!(!watch.wait(Duration::ZERO).unwrap(), "what was before");
    let changes: [&dyn Fn(); 4] = [
        &|| assert_eq!(handle.write_at(b"x", 0).unwrap(), 1),
        &|| drop(RealVfs.create(&other, 0o600).unwrap()),
        &|| RealVfs.remove(&other).unwrap(),
        &|| RealVfs.rename(&file, &other).unwrap(),
    ];
    for change in changes {
        change();
        assert!(watch.wait(PATIENCE).unwrap(), "what has changed before the wait");
        RealVfs.list(dir.path()).unwrap();
        handle.read_at(&mut [0], 0).unwrap();
        assert!(!watch.wait(Duration::ZERO).unwrap(), "it was told, and reading is no change");
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| watch.wait(PATIENCE).unwrap());
        handle.write_at(b"y", 0).unwrap();
        assert!(waiting.join().unwrap(), "whether it waits already or not");
    });
    assert_eq!(RealVfs.watch(&dir.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
