//! What a power cut may leave: the undecided parts at one point of a trace, and the states made from them.
//!
//! Invariants:
//! - Everything is relative to one [`Pending`]; a [`Choice`] indexes its three lists.
//! - Two versions of a sector in one list never hold the same bytes, and none holds the durable ones.
//! - A choice that is not possible makes no state: a rename without the name that it starts from, for example.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::content::{SECTOR, Sector};
use super::disk::{Disk, FileId, Names, drop_unreachable};
use super::mem::MemVfs;
use super::replay::{NameOp, Replay};
use super::world::Carried;

/// A tear falls between two units of this many bytes.
pub const WORD: usize = 8;

/// A sector with contents that may or may not be on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSector {
    /// The number of the file.
    pub file: FileId,
    /// Which sector of the file, counted from 0 in units of [`SECTOR`] bytes.
    pub index: u64,
    /// What is on disk for certain where no newer version is; zeros behind the durable length.
    pub durable: Sector,
    /// What it held after each write since, in order, without repetitions.
    pub newer: Vec<Sector>,
}

/// A file whose length is not certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLen {
    /// The number of the file.
    pub file: FileId,
    /// The durable length in bytes.
    pub durable: u64,
    /// The lengths since, in order.
    pub newer: Vec<u64>,
}

/// What is undecided after the first operations of a trace.
#[derive(Debug, Clone)]
pub struct Pending {
    /// How many operations of the trace came before.
    pub at: usize,
    /// Changes of names that may be kept or lost, in the order in which they were made.
    pub names: Vec<NameOp>,
    /// Files that may have one of several lengths.
    pub lens: Vec<PendingLen>,
    /// Sectors that may have one of several contents, in the order of files and places.
    pub sectors: Vec<PendingSector>,
    disk: Disk,
    carried: Carried,
}

/// One decision about everything in a [`Pending`]: which parts of it a power cut left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice {
    /// For each of [`Pending::names`], whether it is kept.
    pub names: Vec<bool>,
    /// For each of [`Pending::lens`], 0 for the durable length, or k for the k-th newer one (from 1).
    pub lens: Vec<u32>,
    /// For each of [`Pending::sectors`], 0 for the durable bytes, or k for the k-th newer version (from 1).
    pub sectors: Vec<u32>,
    /// At most one sector has the front of one version and the back of another.
    pub torn: Option<Torn>,
}

/// A sector that was cut in the middle of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Torn {
    /// Which of [`Pending::sectors`]; what [`Choice::sectors`] says about it does not count.
    pub sector: usize,
    /// How many words of [`WORD`] bytes are from `front`: 1 to 63.
    pub words: usize,
    /// The version before the tear: 0 durable, k the k-th newer.
    pub front: u32,
    /// The version behind it.
    pub back: u32,
}

impl PendingSector {
    /// Version 0 is the durable one.
    pub(super) fn version(&self, version: u32) -> Option<&Sector> {
        match version.checked_sub(1) {
            None => Some(&self.durable),
            Some(newer) => self.newer.get(newer as usize),
        }
    }

    /// The bytes where `front` and `back` meet behind `words` words.
    pub(super) fn torn(&self, torn: &Torn) -> Option<Sector> {
        let mut bytes = *self.version(torn.back)?;
        let front = self.version(torn.front)?.get(..torn.words * WORD)?;
        bytes.get_mut(..front.len())?.copy_from_slice(front);
        Some(bytes)
    }

    /// How many of its bytes are within `len`.
    pub(super) fn visible(&self, len: u64) -> usize {
        let rest = len.saturating_sub(self.index * SECTOR as u64);
        usize::try_from(rest).unwrap_or(SECTOR).min(SECTOR)
    }
}

impl PendingLen {
    /// Version 0 is the durable one.
    fn version(&self, version: u32) -> Option<u64> {
        match version.checked_sub(1) {
            None => Some(self.durable),
            Some(newer) => self.newer.get(newer as usize).copied(),
        }
    }
}

impl Pending {
    pub(super) fn new(at: usize, replay: &Replay, carried: Carried) -> Self {
        let mut lens = Vec::new();
        let mut sectors = Vec::new();
        for (file, undecided) in &replay.undecided {
            let content = replay.disk.content(*file);
            if !undecided.lens.is_empty() {
                lens.push(PendingLen { file: *file, durable: content.len(), newer: undecided.lens.clone() });
            }
            for (index, versions) in &undecided.sectors {
                let durable = content.sector(*index);
                let mut newer: Vec<Sector> = Vec::with_capacity(versions.len());
                for version in versions {
                    if *version != durable && !newer.contains(version) {
                        newer.push(*version);
                    }
                }
                if !newer.is_empty() {
                    sectors.push(PendingSector { file: *file, index: *index, durable, newer });
                }
            }
        }
        Self { at, names: replay.name_ops(), lens, sectors, disk: replay.disk.clone(), carried }
    }

    /// Whether nothing is undecided, so that there is one state only.
    pub fn is_certain(&self) -> bool {
        self.names.is_empty() && self.lens.is_empty() && self.sectors.is_empty()
    }

    /// The choice by which the power cut takes all that is undecided.
    pub fn none_kept(&self) -> Choice {
        Choice {
            names: vec![false; self.names.len()],
            lens: vec![0; self.lens.len()],
            sectors: vec![0; self.sectors.len()],
            torn: None,
        }
    }

    /// The choice by which it takes nothing.
    pub fn all_kept(&self) -> Choice {
        Choice {
            names: vec![true; self.names.len()],
            lens: self.lens.iter().map(|len| newest(len.newer.len())).collect(),
            sectors: self.sectors.iter().map(|sector| newest(sector.newer.len())).collect(),
            torn: None,
        }
    }

    /// The file system after that power cut; `None` where the choice is not possible or does not fit.
    ///
    /// All in it is durable, its trace is empty and no process of before lives. It has the clock, the state of
    /// the random stream and the capacity of the one it came from, and a new boot id.
    pub fn image(&self, choice: &Choice) -> Option<MemVfs> {
        let names = self.kept_names(&choice.names)?;
        self.image_with(&names, choice)
    }

    /// The names that are left where these changes are kept; `None` where that is not possible.
    pub(super) fn kept_names(&self, kept: &[bool]) -> Option<Arc<Names>> {
        if kept.len() != self.names.len() {
            return None;
        }
        if self.names.is_empty() {
            return Some(self.reachable(&self.disk.names));
        }
        let mut names = Names::clone(&self.disk.names);
        for (op, kept) in self.names.iter().zip(kept) {
            if *kept && !op.apply(&mut names) {
                return None;
            }
        }
        drop_unreachable(&mut names);
        Some(Arc::new(names))
    }

    /// Durable names may be in a directory that is not durable itself.
    fn reachable(&self, names: &Arc<Names>) -> Arc<Names> {
        let mut reachable = Arc::clone(names);
        let orphan = |path: &Path| path.parent().is_some_and(|parent| !names.contains_key(parent));
        if names.keys().any(|path| orphan(path)) {
            drop_unreachable(Arc::make_mut(&mut reachable));
        }
        reachable
    }

    /// All different sets of names that can be left, each with the first choice that makes it. `None` where
    /// there are more than `limit` ways to choose.
    pub(super) fn name_sets(&self, limit: usize) -> Option<Vec<(Vec<bool>, Arc<Names>)>> {
        if self.names.is_empty() {
            return Some(vec![(Vec::new(), self.reachable(&self.disk.names))]);
        }
        let mut ways = vec![(Vec::new(), Arc::clone(&self.disk.names))];
        for op in &self.names {
            let mut next = Vec::with_capacity(2 * ways.len());
            for (mut kept, names) in ways {
                let mut with = Names::clone(&names);
                if op.apply(&mut with) {
                    let mut kept = kept.clone();
                    kept.push(true);
                    next.push((kept, Arc::new(with)));
                }
                kept.push(false);
                next.push((kept, names));
            }
            if next.len() > limit {
                return None;
            }
            ways = next;
        }
        let mut seen = BTreeSet::new();
        ways.reverse();
        let mut different = Vec::with_capacity(ways.len());
        for (kept, names) in ways {
            let names = self.reachable(&names);
            if seen.insert(Arc::clone(&names)) {
                different.push((kept, names));
            }
        }
        Some(different)
    }

    /// The length that this choice gives to a file.
    pub(super) fn len_of(&self, file: FileId, lens: &[u32]) -> u64 {
        let at = self.lens.iter().position(|len| len.file == file);
        at.and_then(|at| self.lens.get(at)?.version(*lens.get(at)?)).unwrap_or_else(|| self.durable_len(file))
    }

    pub(super) fn durable_len(&self, file: FileId) -> u64 {
        self.disk.files.get(&file).map_or(0, |content| content.len())
    }

    /// As [`Pending::image`], with the names already worked out.
    pub(super) fn image_with(&self, names: &Arc<Names>, choice: &Choice) -> Option<MemVfs> {
        if choice.lens.len() != self.lens.len() || choice.sectors.len() != self.sectors.len() {
            return None;
        }
        let mut disk = Disk { names: Arc::clone(names), files: Arc::clone(&self.disk.files) };
        for (len, version) in self.lens.iter().zip(&choice.lens) {
            if *version != 0 {
                let new = len.version(*version)?;
                disk.files_mut().get_mut(&len.file)?.set_len(new);
            }
        }
        let torn = match &choice.torn {
            Some(torn) => Some((torn.sector, self.sectors.get(torn.sector)?.torn(torn)?)),
            None => None,
        };
        for (at, (sector, version)) in self.sectors.iter().zip(&choice.sectors).enumerate() {
            let bytes = match &torn {
                Some((torn, bytes)) if *torn == at => bytes,
                _ if *version == 0 => continue,
                _ => sector.version(*version)?,
            };
            let content = disk.files_mut().get_mut(&sector.file)?;
            content.set_sector(sector.index, bytes);
        }
        Some(MemVfs::after_power_cut(disk, &self.carried))
    }
}

/// The number of the newest of so many newer versions.
pub(super) fn newest(newer: usize) -> u32 {
    u32::try_from(newer).unwrap_or(u32::MAX)
}
