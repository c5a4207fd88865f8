//! The bytes of one file, in pages that copies share until one of them writes.
//!
//! Invariants:
//! - Bytes behind the end are zero, so growing a file shows zeros, as it does on disk.
//! - A page that was never written is absent and reads as zeros.
//! - A page's hash is forgotten whenever it may change.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::{Arc, OnceLock};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// The unit that a disk writes, in bytes.
pub const SECTOR: usize = 512;

/// The unit that is shared between copies, in bytes; a multiple of [`SECTOR`].
const PAGE: usize = 4096;

/// Longer files are refused with `EFBIG`, so that a wild offset cannot take all memory.
pub(super) const MAX_LEN: u64 = 1 << 32;

/// The bytes of one sector.
pub type Sector = [u8; SECTOR];

struct Page {
    bytes: [u8; PAGE],
    hash: OnceLock<u128>,
}

impl Page {
    fn zeros() -> Self {
        Self { bytes: [0; PAGE], hash: OnceLock::new() }
    }

    fn hash(&self) -> u128 {
        *self.hash.get_or_init(|| {
            if self.bytes.iter().all(|byte| *byte == 0) {
                return 0; // the same as an absent page
            }
            let mut hasher = SipHasher13::new();
            hasher.write(&self.bytes);
            hasher.finish128().as_u128()
        })
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, hash: OnceLock::new() }
    }
}

/// The bytes of one file; cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    len: u64,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len)
    }
}

/// A position in memory. Offsets are below [`MAX_LEN`] wherever this is used.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Content {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(0, bytes);
        content
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.len)];
        self.read(0, &mut bytes);
        bytes
    }

    /// Fills `buf` from `offset` and says how many bytes there were.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let total = index(self.len.saturating_sub(offset)).min(buf.len());
        let mut rest = buf.get_mut(..total).unwrap_or_default();
        let mut at = index(offset);
        while !rest.is_empty() {
            let within = at % PAGE;
            let take = (PAGE - within).min(rest.len());
            let (now, later) = rest.split_at_mut(take);
            let page = self.pages.get(at / PAGE).and_then(Option::as_ref);
            match page.and_then(|page| page.bytes.get(within..within + take)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            rest = later;
            at += take;
        }
        total
    }

    /// Writes `bytes` at `offset` and grows where needed. The end must be at most [`MAX_LEN`].
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.set_len(self.len.max(offset + bytes.len() as u64));
        self.put(offset, bytes);
    }

    /// Cuts the file, or lets it grow by zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let within = index(len) % PAGE;
            let pages = Arc::make_mut(&mut self.pages);
            pages.truncate(index(len).div_ceil(PAGE));
            if within != 0
                && let Some(Some(page)) = pages.last_mut()
            {
                let page = Arc::make_mut(page);
                page.hash = OnceLock::new();
                page.bytes.get_mut(within..).unwrap_or_default().fill(0);
            }
        }
        if len != self.len {
            let count = index(len).div_ceil(PAGE);
            if count != self.pages.len() {
                Arc::make_mut(&mut self.pages).resize(count, None);
            }
            self.len = len;
        }
    }

    /// One sector; zeros where the file has none.
    pub(super) fn sector(&self, sector: u64) -> Sector {
        let mut bytes = [0; SECTOR];
        self.read(sector * SECTOR as u64, &mut bytes);
        bytes
    }

    /// Writes those bytes of one sector that lie within the length.
    pub(super) fn set_sector(&mut self, sector: u64, bytes: &Sector) {
        let start = sector * SECTOR as u64;
        let visible = index(self.len.saturating_sub(start)).min(SECTOR);
        self.put(start, bytes.get(..visible).unwrap_or_default());
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        let mut rest = bytes;
        let mut at = index(offset);
        while !rest.is_empty() {
            let within = at % PAGE;
            let (now, later) = rest.split_at((PAGE - within).min(rest.len()));
            let Some(slot) = pages.get_mut(at / PAGE) else {
                return;
            };
            let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::new(Page::zeros())));
            page.hash = OnceLock::new();
            if let Some(target) = page.bytes.get_mut(within..within + now.len()) {
                target.copy_from_slice(now);
            }
            rest = later;
            at += now.len();
        }
    }

    /// Adds the length and the bytes to `hasher`; a page is hashed once for all copies that share it.
    pub(super) fn hash_into(&self, hasher: &mut SipHasher13) {
        hasher.write_u64(self.len);
        for page in self.pages.iter() {
            hasher.write_u128(page.as_ref().map_or(0, |page| page.hash()));
        }
    }
}
