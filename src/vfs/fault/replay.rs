//! Follows a trace and keeps what is certain on disk apart from what a power cut may still decide.
//!
//! Invariants:
//! - `disk` is what every legal state after a power cut agrees on, except for the undecided parts.
//! - A sector, a length or a name leaves the undecided parts only through a sync, or by being lost for good.
//! - A file's own sync covers its bytes and its length and no name; a directory's sync covers its names only.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::content::{Content, SECTOR, Sector};
use super::disk::{Disk, Entry, FileId, Names};
use super::trace::{Op, SyncOutcome};

/// A change of names that no sync of its directories has made durable yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameOp {
    /// A directory was created.
    CreateDir {
        /// Its path.
        path: Arc<Path>,
    },
    /// A file was created.
    Create {
        /// Its path.
        path: Arc<Path>,
        /// Its number.
        file: FileId,
    },
    /// A file was renamed: after a power cut it has the one name or the other.
    Rename {
        /// Its path before.
        from: Arc<Path>,
        /// Its path after.
        to: Arc<Path>,
        /// Its number.
        file: FileId,
    },
    /// A file was renamed onto another: after a power cut that one is there, or this one.
    Replace {
        /// Its path before.
        from: Arc<Path>,
        /// Its path after.
        to: Arc<Path>,
        /// Its number.
        file: FileId,
        /// The number of the one that was there.
        replaced: FileId,
    },
    /// A file was removed.
    Remove {
        /// Its path.
        path: Arc<Path>,
        /// Its number.
        file: FileId,
    },
}

impl NameOp {
    fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        let (one, other) = match self {
            Self::CreateDir { path } | Self::Create { path, .. } | Self::Remove { path, .. } => (path, None),
            Self::Rename { from, to, .. } | Self::Replace { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }

    fn file(&self) -> Option<FileId> {
        match self {
            Self::CreateDir { .. } => None,
            Self::Create { file, .. }
            | Self::Rename { file, .. }
            | Self::Replace { file, .. }
            | Self::Remove { file, .. } => Some(*file),
        }
    }

    /// Changes `names`, or leaves them and says `false` where that is not possible there.
    pub(super) fn apply(&self, names: &mut Names) -> bool {
        match self {
            Self::CreateDir { path } => {
                if names.contains_key(path) {
                    return false;
                }
                names.insert(Arc::clone(path), Entry::Dir);
            }
            Self::Create { path, file } => {
                if names.contains_key(path) {
                    return false;
                }
                names.insert(Arc::clone(path), Entry::File(*file));
            }
            Self::Rename { from, to, file } => {
                if names.get(from) != Some(&Entry::File(*file)) || names.contains_key(to) {
                    return false;
                }
                names.remove(from);
                names.insert(Arc::clone(to), Entry::File(*file));
            }
            Self::Replace { from, to, file, replaced } => {
                let there = (names.get(from), names.get(to));
                if there != (Some(&Entry::File(*file)), Some(&Entry::File(*replaced))) {
                    return false;
                }
                names.remove(from);
                names.insert(Arc::clone(to), Entry::File(*file));
            }
            Self::Remove { path, file } => {
                if names.get(path) != Some(&Entry::File(*file)) {
                    return false;
                }
                names.remove(path);
            }
        }
        true
    }
}

/// Damage, or a file put in place by hand: durable at once, and no part of the trace.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    /// The path names this file, which has these bytes.
    Put { path: Arc<Path>, file: FileId, content: Content },
    /// The path names this, which is no file.
    Plant { path: Arc<Path>, entry: Entry },
    /// The path names nothing.
    Remove { path: Arc<Path> },
}

impl Damage {
    pub(super) fn path(&self) -> &Arc<Path> {
        match self {
            Self::Put { path, .. } | Self::Plant { path, .. } | Self::Remove { path } => path,
        }
    }

    /// Changes a view, which must then agree with every other view about this path.
    pub(super) fn apply(&self, disk: &mut Disk) {
        match self {
            Self::Put { path, file, content } => {
                disk.names_mut().retain(|_, entry| *entry != Entry::File(*file));
                disk.names_mut().insert(Arc::clone(path), Entry::File(*file));
                disk.files_mut().insert(*file, content.clone());
            }
            Self::Plant { path, entry } => {
                disk.names_mut().insert(Arc::clone(path), *entry);
            }
            Self::Remove { path } => {
                disk.names_mut().remove(path);
            }
        }
    }
}

/// A name change, and the directories whose sync it still waits for.
#[derive(Debug, Clone)]
struct Waiting {
    op: NameOp,
    dirs: Vec<Arc<Path>>,
}

/// What is undecided about one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Undecided {
    /// The lengths that it got since the last sync, in order.
    pub(super) lens: Vec<u64>,
    /// For each sector written since, what it held after each write, in order.
    pub(super) sectors: BTreeMap<u64, Vec<Sector>>,
}

/// The state after some first part of a trace.
#[derive(Debug, Clone)]
pub(super) struct Replay {
    /// What everyone sees.
    pub(super) live: Disk,
    /// What is certain.
    pub(super) disk: Disk,
    pub(super) undecided: BTreeMap<FileId, Undecided>,
    waiting: Vec<Waiting>,
}

impl Replay {
    /// Starts where all of `base` is durable.
    pub(super) fn new(base: &Disk) -> Self {
        Self { live: base.clone(), disk: base.clone(), undecided: BTreeMap::new(), waiting: Vec::new() }
    }

    pub(super) fn name_ops(&self) -> Vec<NameOp> {
        self.waiting.iter().map(|waiting| waiting.op.clone()).collect()
    }

    pub(super) fn step(&mut self, op: &Op) {
        match op {
            Op::CreateDir { path, .. } => self.rename(NameOp::CreateDir { path: Arc::clone(path) }),
            Op::Create { path, file, .. } => {
                self.live.files_mut().insert(*file, Content::default());
                self.disk.files_mut().insert(*file, Content::default());
                self.rename(NameOp::Create { path: Arc::clone(path), file: *file });
            }
            Op::Rename { from, to, file } => {
                self.rename(NameOp::Rename { from: Arc::clone(from), to: Arc::clone(to), file: *file })
            }
            Op::Replace { from, to, file, replaced } => {
                let (from, to) = (Arc::clone(from), Arc::clone(to));
                self.rename(NameOp::Replace { from, to, file: *file, replaced: *replaced });
            }
            Op::Remove { path, file } => self.rename(NameOp::Remove { path: Arc::clone(path), file: *file }),
            Op::Write { file, offset, bytes } => self.write(*file, *offset, bytes),
            Op::SyncData { file, outcome } => self.sync_data(*file, *outcome),
            Op::SyncDir { path } => self.sync_dir(path),
            Op::Lock { .. } | Op::Unlock { .. } => {}
        }
    }

    /// Applies damage to the live view and to the disk, and takes back what was undecided about it.
    pub(super) fn damage(&mut self, damage: &Damage) {
        let path = damage.path();
        let file = match (damage, self.live.names.get(path)) {
            (Damage::Put { file, .. }, _) | (_, Some(Entry::File(file))) => Some(*file),
            _ => None,
        };
        self.waiting.retain(|waiting| {
            let same_path = waiting.op.paths().any(|touched| touched == path);
            let same_file = file.is_some() && waiting.op.file() == file;
            !same_path && !same_file
        });
        if let Some(file) = file {
            self.undecided.remove(&file);
            self.disk.names_mut().retain(|_, entry| *entry != Entry::File(file));
        }
        damage.apply(&mut self.live);
        damage.apply(&mut self.disk);
    }

    fn rename(&mut self, op: NameOp) {
        op.apply(self.live.names_mut());
        let mut dirs: Vec<Arc<Path>> = op.paths().filter_map(|path| path.parent().map(Arc::from)).collect();
        dirs.dedup();
        self.waiting.push(Waiting { op, dirs });
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let Some(last) = (bytes.len() as u64).checked_sub(1) else {
            return;
        };
        let Some(content) = self.live.files_mut().get_mut(&file) else {
            return;
        };
        let before = content.len();
        content.write(offset, bytes);
        let undecided = self.undecided.entry(file).or_default();
        if content.len() != before {
            undecided.lens.push(content.len());
        }
        let size = SECTOR as u64;
        for sector in offset / size..=(offset + last) / size {
            let versions = undecided.sectors.entry(sector).or_default();
            versions.push(content.sector(sector));
        }
    }

    fn sync_data(&mut self, file: FileId, outcome: SyncOutcome) {
        match outcome {
            SyncOutcome::Durable => {
                let Some(undecided) = self.undecided.remove(&file) else {
                    return;
                };
                let Some(content) = self.disk.files_mut().get_mut(&file) else {
                    return;
                };
                // Only what was written since the last sync, failed or not, is written back: what a failed one
                // lost still shows in the live view, but the disk does not get it.
                if let Some(len) = undecided.lens.last() {
                    content.set_len(*len);
                }
                for (sector, versions) in &undecided.sectors {
                    if let Some(bytes) = versions.last() {
                        content.set_sector(*sector, bytes);
                    }
                }
            }
            SyncOutcome::Lost => {
                if let Some(undecided) = self.undecided.get_mut(&file) {
                    undecided.sectors.clear();
                }
            }
            SyncOutcome::Reverted => {
                self.undecided.remove(&file);
                let content = self.disk.content(file);
                self.live.files_mut().insert(file, content);
            }
        }
    }

    fn sync_dir(&mut self, dir: &Path) {
        for waiting in &mut self.waiting {
            waiting.dirs.retain(|wanted| **wanted != *dir);
        }
        // A change that waits for another directory still is durable too where a later, durable one built on it.
        let mut durable: Vec<bool> = self.waiting.iter().map(|waiting| waiting.dirs.is_empty()).collect();
        let mut needed: Vec<Arc<Path>> = Vec::new();
        for (waiting, durable) in self.waiting.iter().zip(&mut durable).rev() {
            *durable |= waiting.op.paths().any(|path| needed.contains(path));
            if *durable {
                needed.extend(waiting.op.paths().cloned());
            }
        }
        let mut durable = durable.into_iter();
        let names = Arc::make_mut(&mut self.disk.names);
        self.waiting.retain(|waiting| {
            let durable = durable.next().unwrap_or_default();
            if durable {
                waiting.op.apply(names);
            }
            !durable
        });
    }
}
