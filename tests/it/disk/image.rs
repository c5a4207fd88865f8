//! A file system in a file, on a loop device: made, mounted, filled, and cut off from its power.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What a disk is formatted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    /// In blocks of a page; there is no journal that would fail before the data does.
    Ext4WithoutJournal,
    Xfs,
}

impl Kind {
    pub fn mkfs(self) -> &'static str {
        match self {
            Kind::Ext4 | Kind::Ext4WithoutJournal => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
        }
    }
}

/// Runs it to its end, which must be a good one.
pub fn run(command: &mut Command) {
    let ended = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A formatted file, and where it is mounted.
pub struct Image {
    pub file: PathBuf,
    pub root: PathBuf,
}

impl Image {
    /// Formats a sparse file in a directory.
    pub fn new(kind: Kind, dir: &Path) -> Image {
        let image = Image { file: dir.join("image"), root: dir.join("disk") };
        fs::create_dir_all(&image.root).expect("a directory");
        // The smallest that mkfs.xfs makes.
        let bytes = if kind == Kind::Xfs { 300 << 20 } else { 48 << 20 };
        File::create(&image.file).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        let mut mkfs = Command::new(kind.mkfs());
        match kind {
            Kind::Ext4 => mkfs.args(["-q", "-F"]),
            Kind::Ext4WithoutJournal => mkfs.args(["-q", "-F", "-b", "4096", "-O", "^has_journal"]),
            Kind::Xfs => mkfs.args(["-q", "-f"]),
        };
        run(mkfs.arg(&image.file));
        image
    }

    pub fn mount(&self) -> Disk<'_> {
        run(Command::new("mount").args(["-o", "loop"]).args([&self.file, &self.root]));
        let mut power = Command::new("xfs_io");
        power.arg("-x").arg(&self.root).stdin(Stdio::piped()).stdout(Stdio::null());
        Disk { image: self, power: Some(power.spawn().expect("xfs_io starts")) }
    }
}

/// A disk that is mounted.
pub struct Disk<'a> {
    image: &'a Image,
    /// Waits for the word to cut the power.
    power: Option<Child>,
}

impl Disk<'_> {
    /// Cuts the power: whatever was not synced is lost, and from now on every call fails.
    pub fn cut(&mut self) {
        self.switch("shutdown\n");
        let probe = File::create(self.image.root.join("after the cut"));
        assert!(probe.is_err(), "the file system still takes something: there was no cut");
    }

    fn switch(&mut self, word: &str) {
        let mut power = self.power.take().expect("once");
        power.stdin.take().expect("a pipe").write_all(word.as_bytes()).expect("xfs_io listens");
        assert!(power.wait().expect("it ends").success(), "xfs_io: {word:?}");
    }

    /// Nothing of it stays in memory.
    pub fn unmount(mut self) {
        if self.power.is_some() {
            self.switch("");
        }
        run(Command::new("umount").arg(&self.image.root));
    }

    /// Has the device take a page at a time. A loop device calls a request written of which only a part was.
    ///
    /// # Errors
    /// Where `/sys` may not be written.
    pub fn take_pages_one_by_one(&self) -> io::Result<()> {
        let mut asked = Command::new("losetup");
        asked.args(["--noheadings", "--output", "NAME", "--associated"]).arg(&self.image.file);
        let told = String::from_utf8(asked.output().expect("losetup starts").stdout).expect("a path");
        let name = told.trim().strip_prefix("/dev/").expect("one device");
        fs::write(format!("/sys/block/{name}/queue/max_sectors_kb"), "4")
    }

    /// A file that takes all the room but so many bytes.
    pub fn fill_but(&self, bytes: u64) -> PathBuf {
        let path = self.image.root.join("ballast");
        let file = File::create(&path).expect("a name is free");
        let free = statvfs(&self.image.root).expect("its size can be asked for");
        fallocate(&file, FallocateFlags::empty(), 0, free.f_bavail * free.f_frsize - bytes)
            .expect("there is so much room");
        file.sync_all().expect("it can be synced");
        path
    }
}
