//! `LEDGER`: who a ledger is. Written once, 4096 bytes, and copied into every segment header.
//!
//! ```text
//!  0  8  magic "TLEDGER1"             32 16  uuid
//!  8  4  CRC-32 of bytes 12 to 4096   48 16  hash key
//! 12  2  format, major                64  8  created, ms since the Unix epoch
//! 14  2  format, minor                72     zeros
//! 16  4  features: incompatible
//! 20  4  features: read-only compatible
//! 24  4  features: compatible
//! 28  4  zero
//! ```
//! An unknown major version or incompatible feature refuses; an unknown read-only compatible one refuses writers.

use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::bytes::{crc32, get_array, get_u16, get_u32, get_u64, put};
use crate::vfs::ops::{Access, Vfs, read_full_at};

/// Size of the file, in bytes.
pub(crate) const LEDGER_BYTES: usize = 4096;
/// Its first eight bytes.
pub(crate) const LEDGER_MAGIC: [u8; 8] = *b"TLEDGER1";
/// The major number of the format of ledgers that are written here; those with another one are refused.
pub const FORMAT_MAJOR: u16 = 1;
/// The minor number of the format: what a higher one adds, a reader of a lower one may pass over.
pub const FORMAT_MINOR: u16 = 0;

/// Versions and feature bits, as in `LEDGER` and in every segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    pub major: u16,
    pub minor: u16,
    pub incompatible: u32,
    pub read_only: u32,
    pub compatible: u32,
}

impl Features {
    /// What this version writes.
    pub(crate) const CURRENT: Features =
        Features { major: FORMAT_MAJOR, minor: FORMAT_MINOR, incompatible: 0, read_only: 0, compatible: 0 };

    /// Refuses what this version does not know; `writing` also what it may only read.
    pub(crate) fn check(&self, path: &Path, writing: bool) -> Result<()> {
        let refuse = |what: String| Err(Error::Format { path: path.to_owned(), what });
        if self.major != FORMAT_MAJOR {
            return refuse(format!(
                "its format is {}.{}, and this version knows {FORMAT_MAJOR}",
                self.major, self.minor
            ));
        }
        if self.incompatible != 0 {
            return refuse(format!("it needs the unknown features {:#x}", self.incompatible));
        }
        if writing && self.read_only != 0 {
            return refuse(format!("writing it needs the unknown features {:#x}; reading works", self.read_only));
        }
        Ok(())
    }

    pub(crate) fn put(&self, page: &mut [u8], offset: usize) {
        put(page, offset, &self.major.to_le_bytes());
        put(page, offset + 2, &self.minor.to_le_bytes());
        put(page, offset + 4, &self.incompatible.to_le_bytes());
        put(page, offset + 8, &self.read_only.to_le_bytes());
        put(page, offset + 12, &self.compatible.to_le_bytes());
    }

    pub(crate) fn get(page: &[u8], offset: usize) -> Features {
        Features {
            major: get_u16(page, offset),
            minor: get_u16(page, offset + 2),
            incompatible: get_u32(page, offset + 4),
            read_only: get_u32(page, offset + 8),
            compatible: get_u32(page, offset + 12),
        }
    }
}

/// Who a ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uuid: [u8; 16],
    pub hash_key: [u8; 16],
    /// Milliseconds since the Unix epoch.
    pub created: u64,
}

impl Identity {
    pub(crate) fn put(&self, page: &mut [u8], offset: usize) {
        put(page, offset, &self.uuid);
        put(page, offset + 16, &self.hash_key);
        put(page, offset + 32, &self.created.to_le_bytes());
    }

    pub(crate) fn get(page: &[u8], offset: usize) -> Identity {
        Identity {
            uuid: get_array(page, offset),
            hash_key: get_array(page, offset + 16),
            created: get_u64(page, offset + 32),
        }
    }

    /// The bytes of `LEDGER`.
    pub(crate) fn to_page(self) -> Vec<u8> {
        let mut page = vec![0; LEDGER_BYTES];
        put(&mut page, 0, &LEDGER_MAGIC);
        Features::CURRENT.put(&mut page, 12);
        self.put(&mut page, 32);
        let crc = crc32(&page, 12);
        put(&mut page, 8, &crc.to_le_bytes());
        page
    }
}

/// `LEDGER` as found: the identity, and the inode number of the file.
pub(crate) fn read(vfs: &dyn Vfs, path: &Path, writing: bool) -> Result<(Identity, u64)> {
    let file = vfs.open(path, Access::Read).map_err(Error::io("open", path))?;
    let inode = file.inode().map_err(Error::io("read", path))?;
    let mut page = vec![0; LEDGER_BYTES];
    let read = read_full_at(&*file, &mut page, 0).map_err(Error::io("read", path))?;
    if read < LEDGER_BYTES {
        return Err(Error::damaged(path, read as u64, None, format!("it ends after {read} of {LEDGER_BYTES} bytes")));
    }
    if page.get(..8) != Some(&LEDGER_MAGIC) {
        return Err(Error::damaged(path, 0, None, "it does not begin as a ledger does"));
    }
    let features = Features::get(&page, 12);
    let sound = crc32(&page, 12) == get_u32(&page, 8);
    if !sound {
        return Err(Error::damaged(path, 8, None, "its checksum does not match"));
    }
    features.check(path, writing)?;
    Ok((Identity::get(&page, 32), inode))
}
