//! The header page and the seal slot of a segment.
//!
//! Header, 4096 bytes at the start (all integers little-endian):
//! ```text
//!   0  8  magic "TLSEGMT1"                  96  8  capacity: bytes of the file
//!   8  4  CRC-32 of bytes 12 to 4096       104  4  salt
//!  12 16  versions and features            108  4  reason: 1 creation, 2 roll, 3 recovery
//!  28  4  length of this header: 4096      112  8  predecessor: number, 0 for none
//!  32 40  identity, as in LEDGER           120  8  predecessor: byte at which its accepted frames end
//!  72  8  number, from 1                   128  8  predecessor: last seq
//!  80  8  base seq: of its first event     136  4  predecessor: chain
//!  88  8  base time: of the entry before   140  4  epoch of the writer that made it
//!                                          144  4  length of the area that follows
//!                                          148     area of type, length and value; then zeros
//! ```
//! Seal slot, the last 64 bytes of the capacity; all zero until the successor is durable:
//! ```text
//!   0  8  magic "TLSEAL01"                  24  8  byte at which the accepted frames end
//!   8  4  CRC-32 of bytes 12 to 64, salted  32  8  last seq
//!  12  4  epoch                             40  4  chain
//!  16  8  number of the successor           44     zeros
//! ```
//! A header names only what a returned sync covers. A slot that is not all zero demands a successor.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use crate::error::{Error, Result};
use crate::model::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEQ_MAX};
use crate::model::seq::Seq;
use crate::storage::bytes::{crc32, get_array, get_u32, get_u64, put};
use crate::storage::identity::{Features, Identity};
use crate::vfs::map::Map;
use crate::vfs::ops::{Access, Vfs, VfsFile, read_full_at};
use crate::vfs::reopened::Reopened;

/// Size of a segment's header, in bytes; the first frame follows it.
pub(crate) const HEADER_BYTES: u64 = 4096;
/// Size of the seal slot, in bytes.
pub(crate) const SEAL_BYTES: u64 = 64;
/// First eight bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"TLSEGMT1";
/// First eight bytes of a written seal slot.
pub(crate) const SEAL_MAGIC: [u8; 8] = *b"TLSEAL01";

/// Why a segment was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Creation,
    Roll,
    Recovery,
}

/// What a segment says about the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub number: u64,
    pub end: u64,
    pub last: Seq,
    pub chain: u32,
}

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub identity: Identity,
    pub number: u64,
    pub base: Seq,
    pub base_at: u64,
    pub capacity: u64,
    pub salt: u32,
    pub reason: Reason,
    pub predecessor: Option<Predecessor>,
    pub epoch: u32,
}

/// A written seal slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub epoch: u32,
    pub successor: u64,
    pub end: u64,
    pub last: Seq,
    pub chain: u32,
}

/// What stands in a seal slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealSlot {
    Empty,
    Sealed(Seal),
    /// Neither all zero nor valid: torn or rotten, and a demand for a successor all the same.
    Broken,
}

impl SegmentHeader {
    /// Byte at which frames must end at the latest.
    pub(crate) fn area_end(&self) -> u64 {
        self.capacity - SEAL_BYTES
    }

    /// The header page.
    pub(crate) fn to_page(self) -> Vec<u8> {
        let mut page = vec![0; HEADER_BYTES as usize];
        put(&mut page, 0, &SEGMENT_MAGIC);
        Features::CURRENT.put(&mut page, 12);
        put(&mut page, 28, &(HEADER_BYTES as u32).to_le_bytes());
        self.identity.put(&mut page, 32);
        put(&mut page, 72, &self.number.to_le_bytes());
        put(&mut page, 80, &self.base.0.to_le_bytes());
        put(&mut page, 88, &self.base_at.to_le_bytes());
        put(&mut page, 96, &self.capacity.to_le_bytes());
        put(&mut page, 104, &self.salt.to_le_bytes());
        let reason: u32 = match self.reason {
            Reason::Creation => 1,
            Reason::Roll => 2,
            Reason::Recovery => 3,
        };
        put(&mut page, 108, &reason.to_le_bytes());
        if let Some(predecessor) = self.predecessor {
            put(&mut page, 112, &predecessor.number.to_le_bytes());
            put(&mut page, 120, &predecessor.end.to_le_bytes());
            put(&mut page, 128, &predecessor.last.0.to_le_bytes());
            put(&mut page, 136, &predecessor.chain.to_le_bytes());
        }
        put(&mut page, 140, &self.epoch.to_le_bytes());
        let crc = crc32(&page, 12);
        put(&mut page, 8, &crc.to_le_bytes());
        page
    }

    /// Reads a header page; the message says what is wrong with it, and at which byte.
    fn from_page(page: &[u8]) -> Result<SegmentHeader, (u64, String)> {
        let wrong = |at: u64, what: &str| Err((at, what.to_owned()));
        if get_array::<8>(page, 0) != SEGMENT_MAGIC {
            return wrong(0, "it does not begin as a segment does");
        }
        if crc32(page, 12) != get_u32(page, 8) {
            return wrong(8, "the checksum of its header does not match");
        }
        let reason = match get_u32(page, 108) {
            1 => Reason::Creation,
            2 => Reason::Roll,
            3 => Reason::Recovery,
            _ => return wrong(108, "its header states no known reason"),
        };
        let number = get_u64(page, 72);
        let base = Seq(get_u64(page, 80));
        let capacity = get_u64(page, 96);
        if base.0 > SEQ_MAX {
            return wrong(80, "its header states an impossible base seq");
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&capacity) || !capacity.is_multiple_of(8) {
            return wrong(96, "its header states an impossible capacity");
        }
        let predecessor = Some(Predecessor {
            number: get_u64(page, 112),
            end: get_u64(page, 120),
            last: Seq(get_u64(page, 128)),
            chain: get_u32(page, 136),
        })
        .filter(|predecessor| predecessor.number != 0);
        if let Some(p) = predecessor {
            if p.number.checked_add(1) != Some(number) || p.last.0.checked_add(1) != Some(base.0) {
                return wrong(112, "its header does not follow the predecessor that it names");
            }
        } else if number == 0 || base.0 == 0 {
            return wrong(72, "its header counts from 0");
        }
        Ok(SegmentHeader {
            identity: Identity::get(page, 32),
            number,
            base,
            base_at: get_u64(page, 88),
            capacity,
            salt: get_u32(page, 104),
            reason,
            predecessor,
            epoch: get_u32(page, 140),
        })
    }
}

impl Seal {
    /// The bytes of the slot.
    pub(crate) fn to_slot(self, salt: u32) -> Vec<u8> {
        let mut slot = vec![0; SEAL_BYTES as usize];
        put(&mut slot, 0, &SEAL_MAGIC);
        put(&mut slot, 12, &self.epoch.to_le_bytes());
        put(&mut slot, 16, &self.successor.to_le_bytes());
        put(&mut slot, 24, &self.end.to_le_bytes());
        put(&mut slot, 32, &self.last.0.to_le_bytes());
        put(&mut slot, 40, &self.chain.to_le_bytes());
        let crc = Seal::crc(&slot, salt);
        put(&mut slot, 8, &crc.to_le_bytes());
        slot
    }

    fn from_slot(slot: &[u8], salt: u32) -> SealSlot {
        if slot.iter().all(|&byte| byte == 0) {
            return SealSlot::Empty;
        }
        if get_array::<8>(slot, 0) != SEAL_MAGIC || Seal::crc(slot, salt) != get_u32(slot, 8) {
            return SealSlot::Broken;
        }
        SealSlot::Sealed(Seal {
            epoch: get_u32(slot, 12),
            successor: get_u64(slot, 16),
            end: get_u64(slot, 24),
            last: Seq(get_u64(slot, 32)),
            chain: get_u32(slot, 40),
        })
    }

    fn crc(slot: &[u8], salt: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        hasher.update(slot.get(12..).unwrap_or_default());
        hasher.finalize()
    }
}

/// Where a frame begins, for finding a seq without reading the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub first: Seq,
    pub offset: u64,
    /// When its first event was placed.
    pub at: u64,
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub file: Arc<dyn VfsFile>,
    pub header: SegmentHeader,
    /// The frames with events that were replayed or written, in order.
    pub frames: RwLock<Vec<FramePlace>>,
    map: OnceLock<Option<Map>>,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, file: Arc<dyn VfsFile>, header: SegmentHeader) -> Segment {
        Segment { path, file, header, frames: RwLock::default(), map: OnceLock::new() }
    }

    /// Opens a published segment and checks that it is what its name says and that it is whole.
    pub(crate) fn open(vfs: &dyn Vfs, path: PathBuf, number: u64, base: Seq, access: Access) -> Result<Segment> {
        let file = vfs.open(&path, access).map_err(Error::io("open", &path))?;
        let header = read_header(&*file, &path, access == Access::ReadWrite)?;
        if header.number != number || header.base != base {
            let what =
                format!("its name does not match its header: number {}, base seq {}", header.number, header.base);
            return Err(Error::damaged(&path, 72, None, what));
        }
        let length = file.len().map_err(Error::io("read", &path))?;
        if length < header.capacity {
            let what = format!("it has {length} of {} bytes", header.capacity);
            return Err(Error::damaged(&path, length, None, what));
        }
        Ok(Segment::new(path, file, header))
    }

    /// The same segment for reading, without its file open in between.
    pub(crate) fn let_go(self, vfs: &Arc<dyn Vfs>) -> Segment {
        let file = Reopened { vfs: Arc::clone(vfs), path: self.path.clone() };
        Segment { file: Arc::new(file), ..self }
    }

    /// The whole file in memory, from the first call on; `None` where the system has no room for it. For sealed segments,
    /// whose frames are never written again.
    pub(crate) fn map(&self) -> Option<&Map> {
        self.map.get_or_init(|| self.file.map(self.header.capacity).ok()).as_ref()
    }

    /// What stands in the seal slot.
    pub(crate) fn seal_slot(&self) -> Result<SealSlot> {
        let mut slot = [0; SEAL_BYTES as usize];
        let offset = self.header.area_end();
        read_full_at(&*self.file, &mut slot, offset).map_err(Error::io("read", &self.path))?;
        Ok(Seal::from_slot(&slot, self.header.salt))
    }
}

/// Reads and checks the header of a published segment.
pub(crate) fn read_header(file: &dyn VfsFile, path: &Path, writing: bool) -> Result<SegmentHeader> {
    let mut page = vec![0; HEADER_BYTES as usize];
    let read = read_full_at(file, &mut page, 0).map_err(Error::io("read", path))?;
    if read < page.len() {
        return Err(Error::damaged(path, read as u64, None, format!("it ends after {read} bytes")));
    }
    // The version first, so that a newer format is called newer and not damaged; but only where the page's checksum,
    // whose place is the same in every version, vouches for it.
    if get_array::<8>(&page, 0) == SEGMENT_MAGIC && crc32(&page, 12) == get_u32(&page, 8) {
        Features::get(&page, 12).check(path, writing)?;
    }
    SegmentHeader::from_page(&page).map_err(|(at, what)| Error::damaged(path, at, None, what))
}
