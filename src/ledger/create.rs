//! Creation: a directory becomes a ledger. `LEDGER` is renamed into place last, so that a crash on the way leaves
//! something that counts as nothing and is made anew.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ledger::options::Options;
use crate::ledger::roll::next_capacity;
use crate::ledger::spare;
use crate::model::seq::Seq;
use crate::storage::identity::Identity;
use crate::storage::log::{Listing, list};
use crate::storage::names;
use crate::storage::scan::{Position, walk};
use crate::storage::segment::{Reason, Segment, SegmentHeader};
use crate::vfs::ops::{Access, Vfs, write_all_at};

/// What a directory without `LEDGER` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unborn {
    /// Not even a directory.
    Missing,
    /// Nothing, or what a crash during creation may leave.
    Nothing,
    /// Something else's directory.
    Foreign,
}

/// Whether a directory has `LEDGER`.
///
/// # Errors
/// [`Error::Io`] where it cannot be told.
pub(crate) fn has_ledger(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    match vfs.open(&names::ledger(dir), Access::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("open", &names::ledger(dir))(error)),
    }
}

/// Looks at a directory without `LEDGER`.
///
/// # Errors
/// [`Error::Damaged`] where there are segments with events: a ledger that has lost its identity.
pub(crate) fn inspect(vfs: &dyn Vfs, dir: &Path) -> Result<Unborn> {
    let entries = match vfs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Unborn::Missing),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    let (lock, log_dir) = (names::lock(dir), names::log_dir(dir));
    // What a writer makes only where `LEDGER` is durable.
    let later = [names::live(dir), names::index_dir(dir), names::snapshot_dir(dir), names::floor_dir(dir)];
    let (mut has_log, mut has_later) = (false, false);
    for entry in entries {
        let path = dir.join(&entry.name);
        if path == log_dir {
            has_log = true;
        } else if later.contains(&path) {
            has_later = true;
        } else if path != lock && !entry.name.to_str().is_some_and(names::is_unfinished) {
            return Ok(Unborn::Foreign);
        }
    }
    let lost = |beside| Err(Error::damaged(&names::ledger(dir), None, None, format!("it is missing, and {beside}")));
    match (has_log, has_later) {
        (false, false) => return Ok(Unborn::Nothing),
        (false, true) => return Ok(Unborn::Foreign),
        (true, true) => return lost("a writer has been here"),
        (true, false) => {}
    }
    let listing = list(vfs, dir)?;
    if !listing.strays.is_empty() {
        return Ok(Unborn::Foreign);
    }
    for (number, base, path) in &listing.segments {
        let segment = Segment::open(vfs, path.clone(), *number, *base, Access::Read)?;
        let walked = walk(&segment, Position::start_of(&segment), segment.header.area_end(), &mut |_| Ok(()))?;
        if *number != 1 || walked.end.next != Seq::FIRST || walked.tail.headers > 0 {
            return lost("there are segments with events");
        }
    }
    Ok(Unborn::Nothing)
}

/// Makes a ledger in a directory that counts as nothing. The caller holds the lock.
///
/// # Errors
/// [`Error::Io`] or [`Error::NoSpace`]; what is there then still counts as nothing.
pub(crate) fn create(vfs: &dyn Vfs, dir: &Path, options: &Options) -> Result<()> {
    let log_dir = names::log_dir(dir);
    match vfs.create_dir(&log_dir, options.dir_mode) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => clear(vfs, &list(vfs, dir)?)?,
        other => other.map_err(Error::io("create", &log_dir))?,
    }
    let mut random = [0; 36];
    vfs.random(&mut random).map_err(Error::io("draw random bytes for", dir))?;
    let mut identity = Identity { uuid: [0; 16], hash_key: [0; 16], created: options.now_ms() };
    let (uuid, rest) = random.split_at(16);
    let (hash_key, salt) = rest.split_at(16);
    identity.uuid.copy_from_slice(uuid);
    identity.hash_key.copy_from_slice(hash_key);
    let salt = u32::from_le_bytes(salt.try_into().expect("36 bytes less 32 are four"));

    let capacity = next_capacity(options, None, 0);
    let spare = spare::prepare(vfs, dir, options.file_mode, capacity, &mut || {})?;
    let header = SegmentHeader {
        identity,
        number: 1,
        base: Seq::FIRST,
        base_at: 0,
        capacity,
        salt,
        reason: Reason::Creation,
        predecessor: None,
        epoch: 0,
    };
    spare::publish(vfs, dir, spare, header)?;

    publish_identity(vfs, dir, &identity, options.file_mode)?;
    if let Some(parent) = parent_of(dir) {
        vfs.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    Ok(())
}

/// Gives a directory its `LEDGER`.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn publish_identity(vfs: &dyn Vfs, dir: &Path, identity: &Identity, mode: u32) -> Result<()> {
    let (unfinished, ledger) = (names::ledger_unfinished(dir), names::ledger(dir));
    remove_if_there(vfs, &unfinished)?;
    let file = vfs.create(&unfinished, mode).map_err(Error::io("create", &unfinished))?;
    write_all_at(&*file, &identity.to_page(), 0).map_err(Error::io("write", &unfinished))?;
    file.sync_data().map_err(Error::io("sync", &unfinished))?;
    // The names `log` and `lock` must not be lost once `LEDGER` demands them.
    vfs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    vfs.rename(&unfinished, &ledger).map_err(Error::io("publish", &ledger))?;
    // A crash before this sync loses `LEDGER`, and what is left counts as nothing.
    vfs.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// The directory that holds the name of `dir`; `None` at the root.
pub(crate) fn parent_of(dir: &Path) -> Option<&Path> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
        other => other,
    }
}

/// Removes what an interrupted creation left.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn clear(vfs: &dyn Vfs, listing: &Listing) -> Result<()> {
    let segments = listing.segments.iter().map(|(_, _, path)| path);
    segments.chain(&listing.unfinished).try_for_each(|path| remove_if_there(vfs, path))
}

pub(crate) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io("remove", path)),
    }
}
