//! The next segment, made ahead: zero-filled and synced, so that appending to it changes neither size nor blocks.
//!
//! fdatasync on blocks that were only allocated journals their conversion each time; on written zeros it does not.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::storage::names;
use crate::storage::segment::{Segment, SegmentHeader};
use crate::vfs::ops::{Access, Vfs, VfsFile, write_all_at};

/// So many zeros are written at a time. The page cache of Linux keeps the pages of one write together, and each later write
/// among them goes over them all: after writes of 1 MiB, one of 80 bytes takes two and a half times as long.
const FILL_BYTES: usize = 64 << 10;
/// So much is synced at a time, so that no other sync has to wait for the whole.
const SYNC_BYTES: u64 = 1 << 20;
/// Capacities are multiples of this many bytes.
pub(crate) const CAPACITY_ALIGN: u64 = 4096;

/// An unpublished, zero-filled file.
#[derive(Debug)]
pub(crate) struct Spare {
    file: Arc<dyn VfsFile>,
    pub capacity: u64,
}

/// Whether the directory still holds the ledger whose `LEDGER` had this inode number. A directory that was moved away
/// under its writer may have made room for another ledger, in which nothing may be written.
///
/// # Errors
/// [`Error::Io`]: it does not, or that cannot be told.
pub(crate) fn check_home(vfs: &dyn Vfs, dir: &Path, inode: u64) -> Result<()> {
    let path = names::ledger(dir);
    let found = vfs.open(&path, Access::Read).and_then(|file| file.inode()).map_err(Error::io("find", &path))?;
    if found == inode {
        return Ok(());
    }
    let source = std::io::Error::other("another ledger is in its place: the directory was moved or replaced");
    Err(Error::io("find", &path)(source))
}

/// Makes a spare. One that is there already is taken away: only one is ever in the making. `pause` is called every now
/// and then, for what cannot wait until all of it is written.
///
/// # Errors
/// [`Error::NoSpace`] where there is no room, and then nothing is left of it; else [`Error::Io`].
pub(crate) fn prepare(vfs: &dyn Vfs, dir: &Path, mode: u32, capacity: u64, pause: &mut dyn FnMut()) -> Result<Spare> {
    let path = names::spare(dir);
    match vfs.remove(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &path)(error)),
        _ => {}
    }
    let made = vfs.create(&path, mode).and_then(|file| {
        fill(&*file, capacity, pause)?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok(Spare { file, capacity }),
        Err(source) => {
            // What was made of it takes up the room that somebody needs. If it cannot be removed, the next writer does.
            let _ = vfs.remove(&path);
            Err(match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Error::NoSpace { path: names::log_dir(dir), source: Arc::new(source) }
                }
                _ => Error::io("prepare", &path)(source),
            })
        }
    }
}

fn fill(file: &dyn VfsFile, capacity: u64, pause: &mut dyn FnMut()) -> std::io::Result<()> {
    let zeros = vec![0; FILL_BYTES.min(capacity as usize)];
    let mut offset = 0;
    while offset < capacity {
        let chunk = FILL_BYTES.min((capacity - offset) as usize);
        write_all_at(file, zeros.get(..chunk).unwrap_or_default(), offset)?;
        offset += chunk as u64;
        if offset.is_multiple_of(SYNC_BYTES) || offset == capacity {
            file.sync_data()?;
            pause();
        }
    }
    Ok(())
}

/// Gives a spare its header and its name; when this returns, the segment is durable.
///
/// # Errors
/// [`Error::Io`], with the file that would not take it.
pub(crate) fn publish(vfs: &dyn Vfs, dir: &Path, spare: Spare, header: SegmentHeader) -> Result<Arc<Segment>> {
    assert_eq!(header.capacity, spare.capacity, "the header states the spare's own capacity");
    let (from, to) = (names::spare(dir), names::segment(dir, header.number, header.base));
    write_all_at(&*spare.file, &header.to_page(), 0).map_err(Error::io("write", &from))?;
    // A crash before this sync leaves an unfinished file that the next writer removes.
    spare.file.sync_data().map_err(Error::io("sync", &from))?;
    vfs.rename(&from, &to).map_err(Error::io("publish", &to))?;
    // A crash before this one may lose the name, and with it all that would be appended.
    vfs.sync_dir(&names::log_dir(dir)).map_err(Error::io("sync", &names::log_dir(dir)))?;
    Ok(Arc::new(Segment::new(to, spare.file, header)))
}
