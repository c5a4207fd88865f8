//! Which floors a directory holds, by their names. What a floor is, and which one counts, is said one layer up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::seq::Seq;
use crate::storage::names;
use crate::vfs::ops::{Kind, Vfs};

/// The floors that a directory holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors {
    /// The copies by last seq.
    pub copies: BTreeMap<Seq, Vec<PathBuf>>,
    /// Unfinished files, for the next writer to remove.
    pub unfinished: Vec<PathBuf>,
    /// Anything else; ignored.
    pub strays: Vec<PathBuf>,
}

/// Lists the floors.
///
/// # Errors
/// The directory is there and cannot be listed.
pub(crate) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Floors> {
    let home = names::floor_dir(dir);
    let entries = match vfs.list(&home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(Error::io("list", &home))?,
    };
    let mut floors = Floors::default();
    for entry in entries {
        let path = home.join(&entry.name);
        let name = entry.name.to_str().filter(|_| entry.kind == Kind::File).unwrap_or_default();
        match names::parse_floor(name) {
            Some((last, _)) => floors.copies.entry(last).or_default().push(path),
            None if names::is_unfinished(name) => floors.unfinished.push(path),
            None => floors.strays.push(path),
        }
    }
    floors.copies.values_mut().for_each(|copies| copies.sort());
    Ok(floors)
}
