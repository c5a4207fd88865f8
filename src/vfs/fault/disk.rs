//! A set of names and the files behind them: one view of the file system.
//!
//! Invariants:
//! - A path is absolute and normalised, and the root is a directory in every view.
//! - Directories are never renamed or removed, so a path tells a directory for good.
//! - A file's number is never given twice, so it tells a file for good, whatever its names.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::content::Content;

/// The number of a file, which is also its inode.
pub type FileId = u64;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    Dir,
    File(FileId),
    /// Neither a file nor a directory.
    Other,
}

/// All names, each with its whole path. The order puts a directory before what is in it.
pub(super) type Names = BTreeMap<Arc<Path>, Entry>;

/// One view: names, and the bytes of all files that ever were.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) names: Arc<Names>,
    pub(super) files: Arc<BTreeMap<FileId, Content>>,
}

impl Disk {
    /// Only the root.
    pub(super) fn new() -> Self {
        let root = Arc::from(Path::new("/"));
        Self { names: Arc::new(Names::from([(root, Entry::Dir)])), files: Arc::default() }
    }

    pub(super) fn names_mut(&mut self) -> &mut Names {
        Arc::make_mut(&mut self.names)
    }

    pub(super) fn files_mut(&mut self) -> &mut BTreeMap<FileId, Content> {
        Arc::make_mut(&mut self.files)
    }

    pub(super) fn content(&self, file: FileId) -> Content {
        self.files.get(&file).cloned().unwrap_or_default()
    }

    /// What `path` names. Fails with `ENOENT`, or with `ENOTDIR` where a file is in the way.
    pub(super) fn entry(&self, path: &Path) -> io::Result<Entry> {
        match self.names.get(path) {
            Some(entry) => Ok(*entry),
            None => {
                if let Some(parent) = path.parent() {
                    self.dir(parent)?;
                }
                Err(Errno::NOENT.into())
            }
        }
    }

    /// `Ok` where `path` is a directory; `ENOENT` or `ENOTDIR` where not.
    pub(super) fn dir(&self, path: &Path) -> io::Result<()> {
        match self.entry(path)? {
            Entry::Dir => Ok(()),
            Entry::File(_) | Entry::Other => Err(Errno::NOTDIR.into()),
        }
    }

    /// The file at `path`; `InvalidInput` where it is something else.
    pub(super) fn file(&self, path: &Path) -> io::Result<FileId> {
        let what = match self.entry(path)? {
            Entry::File(file) => return Ok(file),
            Entry::Dir => "a directory",
            Entry::Other => "a link or a device",
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is {what}, not a regular file", path.display())))
    }

    /// `Ok` where `path` can be created: its directory is there and the name is free.
    pub(super) fn vacant(&self, path: &Path) -> io::Result<()> {
        match self.entry(path) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) => self.dir(parent),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What is directly in `dir`, each with its whole path.
    pub(super) fn children(&self, dir: &Path) -> impl Iterator<Item = (&Path, Entry)> {
        self.names
            .range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(dir))
            .filter(move |(path, _)| path.parent() == Some(dir))
            .map(|(path, entry)| (&**path, *entry))
    }

    /// The named files, in the order of their paths.
    pub(super) fn named_files(&self) -> impl Iterator<Item = (&Arc<Path>, FileId)> {
        self.names.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((path, *file)),
            Entry::Dir | Entry::Other => None,
        })
    }

    /// The bytes in all named files.
    pub(super) fn used(&self) -> u64 {
        self.named_files().filter_map(|(_, file)| self.files.get(&file)).map(Content::len).sum()
    }

    /// A number that tells this view from others: names, kinds and bytes; not the numbers of the files.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        for (path, entry) in self.names.iter() {
            let name = path.as_os_str().as_bytes();
            hasher.write_u64(name.len() as u64);
            hasher.write(name);
            match entry {
                Entry::Dir => hasher.write_u8(0),
                Entry::Other => hasher.write_u8(1),
                Entry::File(file) => {
                    hasher.write_u8(2);
                    if let Some(content) = self.files.get(file) {
                        content.hash_into(&mut hasher);
                    }
                }
            }
        }
        hasher.finish128().as_u128()
    }
}

/// Drops the names whose directory is not there.
pub(super) fn drop_unreachable(names: &mut Names) {
    let mut lost: Vec<Arc<Path>> = Vec::new();
    for path in names.keys() {
        let Some(parent) = path.parent() else {
            continue;
        };
        if names.get(parent) != Some(&Entry::Dir) || lost.iter().any(|path| **path == *parent) {
            lost.push(Arc::clone(path));
        }
    }
    for path in lost {
        names.remove(&path);
    }
}

/// The absolute form of `path`, with the root as the current directory. An empty path is `ENOENT`, as on Unix.
pub(super) fn absolute(path: &Path) -> io::Result<Arc<Path>> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let mut absolute = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => {
                absolute.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(absolute.into())
}
