//! A file in memory, to look at single places of it without a system call each. The only file with `unsafe`.
//!
//! Invariants: only bytes within the length that the file had when it was mapped are touched; they are copied out, and
//! nobody ever holds a reference into the map, so that whoever uses them checks what no one can change any more.
//!
//! The price, which is why a caller has to ask for it: where a page cannot be read (a rotten sector, a file that
//! somebody cut off) the system ends the process with SIGBUS, where a read would have returned an error.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// The first bytes of a file, mapped for reading.
pub struct Map {
    raw: MmapRaw,
}

impl Map {
    /// Maps the first `len` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is shorter; else the system's error.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Map> {
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Map { raw: MmapOptions::new().len(len).map_raw_read_only(file)? })
    }

    /// Copies the bytes at `offset`; says how many there were, which is less than `buf.len()` only at the end.
    #[must_use]
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.raw.len());
        let len = buf.len().min(self.raw.len() - offset);
        // SAFETY: `offset + len` is at most the map's length, and the map lives as long as `self`. `buf` is ours alone,
        // so that it does not overlap the map. The bytes are copied as what they are at that moment: a frame of a sealed
        // segment is never written again, and should another process do it all the same, the checksum of the copy tells.
        unsafe { std::ptr::copy_nonoverlapping(self.raw.as_ptr().add(offset), buf.as_mut_ptr(), len) };
        len
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.raw.len()).finish()
    }
}
