//! Writing a table: records as they come, then what finds them, then the header.
//!
//! Memory: a step of 256 KiB, one record, and for each 4096 bytes of records the sixteen bytes of
//! their fence; for an index also ten bytes a record, for its filter.

use std::io;
use std::path::Path;

use crate::error::Error;
use crate::storage::bytes::put;
use crate::storage::segment::FramePlace;
use crate::storage::table::fences::Fences;
use crate::storage::table::filter::{LINE_BYTES, filter_of};
use crate::storage::table::page::{
    BLOCK_BYTES, BLOCK_HEAD, BLOCK_PAYLOAD, NONE_BEGINS, TableHeader, TableKind, block_crc, place_to_bytes,
};
use crate::storage::table::read::Unfit;
use crate::storage::table::record::Record;
use crate::vfs::ops::{VfsFile, write_all_at};

/// So much is written and synced at a time, so that no other sync has to wait for the whole.
const STEP_BYTES: usize = 256 << 10;

/// Why a table was not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// Where the records come from cannot be read.
    Source(Unfit),
    /// It cannot be written.
    Failed(Error),
}

/// Writes a table into an empty file and syncs it. `header` says what it covers; what it has is found here. `pause` is
/// called every now and then, for what cannot wait until all of it is written; its error ends it.
///
/// # Errors
/// Why it was not written; the file is then to be removed.
pub(crate) fn write(
    path: &Path,
    file: &dyn VfsFile,
    header: TableHeader,
    records: &mut dyn Iterator<Item = Result<Record, Unfit>>,
    places: &[FramePlace],
    pause: &mut dyn FnMut() -> io::Result<()>,
) -> Result<TableHeader, Unwritten> {
    let failed = |source: io::Error| Unwritten::Failed(Error::io("write", path)(source));
    let mut out =
        Blocks { file, seed: header.seed(), number: 1, step: Vec::new(), payload: Vec::new(), first: NONE_BEGINS };
    let mut fences = Fences::default();
    let mut bytes = Vec::new();
    let mut count = 0;
    let mut hashes = Vec::new();
    for record in records {
        let record = record.map_err(Unwritten::Source)?;
        bytes.clear();
        record.put(&mut bytes);
        out.begin(pause).map_err(failed)?;
        fences.begin(out.number - 1, record.hash, record.class);
        out.put(&bytes, pause).map_err(failed)?;
        count += 1;
        if header.kind == TableKind::Index {
            hashes.push(record.hash);
        }
    }
    out.end_block(pause).map_err(failed)?;
    let blocks = out.number - 1;
    for fence in fences.finish(blocks) {
        out.put_whole(&fence.to_bytes(), pause).map_err(failed)?;
    }
    out.end_block(pause).map_err(failed)?;
    for place in places {
        out.put_whole(&place_to_bytes(header.first, place), pause).map_err(failed)?;
    }
    out.end_block(pause).map_err(failed)?;
    for line in filter_of(&hashes).chunks(LINE_BYTES) {
        out.put_whole(line, pause).map_err(failed)?;
    }
    out.end_block(pause).map_err(failed)?;
    out.flush().map_err(failed)?;

    let header = TableHeader { records: count, blocks, places: places.len() as u64, ..header };
    write_all_at(file, &header.to_page(), 0).and_then(|()| file.sync_data()).map_err(failed)?;
    Ok(header)
}

/// Blocks in the making.
struct Blocks<'a> {
    file: &'a dyn VfsFile,
    seed: u32,
    /// Of the block that is being filled.
    number: u64,
    /// Whole blocks that are not written yet.
    step: Vec<u8>,
    payload: Vec<u8>,
    /// Where the first record of this block begins.
    first: u16,
}

impl Blocks<'_> {
    /// A record begins here.
    fn begin(&mut self, pause: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.payload.len() == BLOCK_PAYLOAD {
            self.end_block(pause)?;
        }
        if self.first == NONE_BEGINS {
            self.first = self.payload.len() as u16;
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8], pause: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.payload.len() == BLOCK_PAYLOAD {
                self.end_block(pause)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_PAYLOAD - self.payload.len()));
            self.payload.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Puts bytes that must not be divided between blocks.
    fn put_whole(&mut self, bytes: &[u8], pause: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.payload.len() + bytes.len() > BLOCK_PAYLOAD {
            self.end_block(pause)?;
        }
        self.payload.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the block, unless nothing is in it.
    fn end_block(&mut self, pause: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, 4, &self.first.to_le_bytes());
        put(&mut block, BLOCK_HEAD, &self.payload);
        let crc = block_crc(self.seed, self.number, &block);
        put(&mut block, 0, &crc.to_le_bytes());
        self.step.extend_from_slice(&block);
        self.payload.clear();
        self.first = NONE_BEGINS;
        self.number += 1;
        if self.step.len() >= STEP_BYTES {
            self.flush()?;
            self.file.sync_data()?;
            pause()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let offset = self.number * BLOCK_BYTES as u64 - self.step.len() as u64;
        write_all_at(self.file, &self.step, offset)?;
        self.step.clear();
        Ok(())
    }
}
