//! A segment, or another file, of one ledger in the directory of another: written beside its name and synced before it gets it.
//!
//! Invariant: a name has a whole file or none, whatever happens; what a segment has behind its accepted end is zeros.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ledger::create::remove_if_there;
use crate::ledger::options::Options;
use crate::storage::names;
use crate::storage::segment::{SEAL_BYTES, Segment};
use crate::vfs::ops::{Access, Vfs, VfsFile, read_full_at, write_all_at};

/// So much is read and written at a time.
const STEP_BYTES: u64 = 256 << 10;
/// So much is synced at a time, so that no other sync has to wait for the whole.
const SYNC_BYTES: u64 = 8 << 20;

/// What a segment has behind its accepted end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Zeros that take no room: nothing is written there any more.
    Hole,
    /// Zeros that were written: it is the last one, and appending to it must not run out of room.
    Zeros,
}

/// Copies a segment up to byte `end` to a path, in place of what is there. Its seal is not copied: it demands a successor.
///
/// # Errors
/// The one cannot be read, or the other not be written; what has the name then is what was there before.
pub(crate) fn copy_segment(
    options: &Options,
    segment: &Segment,
    end: u64,
    behind: Behind,
    to: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<()> {
    let header = &segment.header;
    publish(options, to, &mut |file, unfinished| {
        copy_bytes(&*segment.file, &segment.path, end, file, unfinished, copied)?;
        let failed = |error| Error::io("write", unfinished)(error);
        match behind {
            Behind::Hole => {
                write_all_at(file, &[0; SEAL_BYTES as usize], header.area_end()).map_err(failed)?;
            }
            Behind::Zeros => {
                let zeros = vec![0; STEP_BYTES as usize];
                let mut offset = end;
                while offset < header.capacity {
                    let step = STEP_BYTES.min(header.capacity - offset);
                    write_all_at(file, zeros.get(..step as usize).unwrap_or_default(), offset).map_err(failed)?;
                    offset += step;
                }
            }
        }
        Ok(())
    })
}

/// Copies a whole file to a path, in place of what is there.
///
/// # Errors
/// As [`copy_segment`].
pub(crate) fn copy_file(options: &Options, from: &Path, to: &Path) -> Result<()> {
    let source = options.vfs.open(from, Access::Read).map_err(Error::io("open", from))?;
    let length = source.len().map_err(Error::io("read", from))?;
    publish(options, to, &mut |file, unfinished| copy_bytes(&*source, from, length, file, unfinished, &mut |_| {}))
}

/// Writes a file under another name, syncs it, and gives it the name, also where another file has it.
fn publish(options: &Options, to: &Path, write: &mut dyn FnMut(&dyn VfsFile, &Path) -> Result<()>) -> Result<()> {
    let vfs = &*options.vfs;
    let unfinished = names::unfinished(to);
    remove_if_there(vfs, &unfinished)?;
    let written =
        vfs.create(&unfinished, options.file_mode).map_err(Error::io("create", &unfinished)).and_then(|file| {
            write(&*file, &unfinished)?;
            file.sync_data().map_err(Error::io("sync", &unfinished))
        });
    if let Err(error) = written {
        // It takes up room that somebody may need. If it cannot be removed, the next one does.
        let _ = vfs.remove(&unfinished);
        return Err(error);
    }
    let named = match vfs.rename(&unfinished, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => vfs.replace(&unfinished, to),
        other => other,
    };
    named.map_err(Error::io("publish", to))?;
    sync_parent(vfs, to)
}

/// Makes the name of a file durable.
///
/// # Errors
/// Its directory cannot be synced.
pub(crate) fn sync_parent(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let dir = path.parent().expect("a file is in a directory");
    vfs.sync_dir(dir).map_err(Error::io("sync", dir))
}

fn copy_bytes(
    from: &dyn VfsFile,
    from_path: &Path,
    length: u64,
    to: &dyn VfsFile,
    to_path: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut chunk = vec![0; STEP_BYTES.min(length) as usize];
    let mut offset = 0;
    while offset < length {
        let step = STEP_BYTES.min(length - offset);
        let chunk = chunk.get_mut(..step as usize).unwrap_or_default();
        let read = read_full_at(from, chunk, offset).map_err(Error::io("read", from_path))?;
        if (read as u64) < step {
            let what = format!("it ends at byte {}, and {length} are needed", offset + read as u64);
            return Err(Error::damaged(from_path, offset + read as u64, None, what));
        }
        write_all_at(to, chunk, offset).map_err(Error::io("write", to_path))?;
        offset += step;
        copied(step);
        if offset.is_multiple_of(SYNC_BYTES) {
            to.sync_data().map_err(Error::io("sync", to_path))?;
        }
    }
    Ok(())
}
