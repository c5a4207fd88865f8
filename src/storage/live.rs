//! `live`: an advisory page that tells readers how far the log is durable, and who writes.
//!
//! Two slots, at bytes 0 and 512, written in turn after each sync has returned, never synced themselves:
//! ```text
//!  0  4  CRC-32 of the uuid and bytes 4 to 72   32  4  pid of the writer, 0 once it has closed
//!  4  4  epoch                                  36  4  zero
//!  8  8  durable seq                            40  8  when that process started
//! 16 16  boot id                                48  8  inode number of LEDGER
//! 64  8  when the writer opened it, ms          56  8  count of writes
//! ```
//! A slot is a true lower bound whenever it was written, so that one of any boot counts as evidence. A copied
//! ledger has another inode in `LEDGER`, and ignores the page.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::seq::Seq;
use crate::storage::bytes::{get_array, get_u32, get_u64, put};
use crate::vfs::ops::{Access, Process, Vfs, VfsFile, read_full_at, write_all_at};

const SLOT_BYTES: usize = 72;
const SLOT_OFFSETS: [u64; 2] = [0, 512];

/// One slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub epoch: u32,
    pub durable: Seq,
    pub boot_id: [u8; 16],
    pub process: Process,
    pub inode: u64,
    pub count: u64,
    /// When the writer opened the ledger, in milliseconds since the Unix epoch, by the system's clock.
    pub opened: u64,
}

impl Mark {
    fn to_slot(self, uuid: &[u8; 16]) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        put(&mut slot, 4, &self.epoch.to_le_bytes());
        put(&mut slot, 8, &self.durable.0.to_le_bytes());
        put(&mut slot, 16, &self.boot_id);
        put(&mut slot, 32, &self.process.pid.to_le_bytes());
        put(&mut slot, 40, &self.process.start.to_le_bytes());
        put(&mut slot, 48, &self.inode.to_le_bytes());
        put(&mut slot, 56, &self.count.to_le_bytes());
        put(&mut slot, 64, &self.opened.to_le_bytes());
        let crc = crc(&slot, uuid);
        put(&mut slot, 0, &crc.to_le_bytes());
        slot
    }

    fn from_slot(slot: &[u8], uuid: &[u8; 16]) -> Option<Mark> {
        (crc(slot, uuid) == get_u32(slot, 0)).then(|| Mark {
            epoch: get_u32(slot, 4),
            durable: Seq(get_u64(slot, 8)),
            boot_id: get_array(slot, 16),
            process: Process { pid: get_u32(slot, 32), start: get_u64(slot, 40) },
            inode: get_u64(slot, 48),
            count: get_u64(slot, 56),
            opened: get_u64(slot, 64),
        })
    }

    /// Whether its writer still lives.
    pub(crate) fn writer_lives(&self, vfs: &dyn Vfs) -> bool {
        self.process.pid != 0 && self.boot_id == vfs.boot_id() && vfs.is_alive(self.process)
    }
}

fn crc(slot: &[u8], uuid: &[u8; 16]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(uuid);
    hasher.update(slot.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// The page as its writer holds it.
#[derive(Debug)]
pub(crate) struct Live {
    file: Arc<dyn VfsFile>,
    uuid: [u8; 16],
}

impl Live {
    /// Opens the page for writing, and makes it where there is none.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, mode: u32, uuid: [u8; 16]) -> Result<Live> {
        let file = match vfs.open(path, Access::ReadWrite) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vfs.create(path, mode),
            other => other,
        };
        Ok(Live { file: file.map_err(Error::io("open", path))?, uuid })
    }

    /// Writes the next slot.
    pub(crate) fn write(&self, mark: Mark) -> std::io::Result<()> {
        let offset = SLOT_OFFSETS.get((mark.count % 2) as usize).copied().unwrap_or_default();
        write_all_at(&*self.file, &mark.to_slot(&self.uuid), offset)
    }
}

/// The newest valid slot of this very ledger (not of one that it was copied from); `None` where there is none.
pub(crate) fn read(vfs: &dyn Vfs, path: &Path, uuid: &[u8; 16], inode: u64) -> Result<Option<Mark>> {
    let file = match vfs.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("open", path)(source)),
    };
    let mut newest: Option<Mark> = None;
    for offset in SLOT_OFFSETS {
        let mut slot = [0; SLOT_BYTES];
        read_full_at(&*file, &mut slot, offset).map_err(Error::io("read", path))?;
        if let Some(mark) = Mark::from_slot(&slot, uuid).filter(|mark| mark.inode == inode)
            && newest.is_none_or(|newest| (mark.epoch, mark.count) > (newest.epoch, newest.count))
        {
            newest = Some(mark);
        }
    }
    Ok(newest)
}
