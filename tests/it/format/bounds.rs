//! What a hostile file may cost: bytes that are read and memory stay within a small multiple of what the file has, however
//! its parts are made. Counted are the bytes that the file layer is asked for, so that the machine's speed means nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::{Error, Level, Options, Verdict};

use super::bytes::{
    DIR, EVENTS, FRAME_HEADER, Files, Frame, HEADER, SEAL, crc, get, in_memory, put, segment_name, set_in_page,
};
use super::golden::committed;
use super::mutated::in_child;
use crate::support::forward;

const MIB: usize = 1 << 20;

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    inner: MemVfs,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn VfsFile>,
    read: Arc<AtomicU64>,
}

impl Vfs for Counting {
    forward!(inner: absolute create_dir list create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(CountingFile { inner: self.inner.open(path, access)?, read: Arc::clone(&self.read) }))
    }
}

impl VfsFile for CountingFile {
    forward!(inner: len write_at sync_data inode);

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buf, offset)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What somebody does with these files, and how many bytes that reads.
fn counted<T>(vfs: &MemVfs, act: impl FnOnce(Options) -> T) -> (T, u64) {
    let read = Arc::new(AtomicU64::new(0));
    let counting = Counting { inner: vfs.clone(), read: Arc::clone(&read) };
    let made = act(super::bytes::options(vfs).vfs(Arc::new(counting)));
    (made, read.load(Ordering::Relaxed))
}

/// A first segment of this size, with frames from `fill`, which is given the rest and its salt.
fn segment(len: usize, fill: impl FnOnce(&mut [u8], [u8; 4])) -> Files {
    let golden = committed();
    let name = segment_name(&golden, 1);
    let mut bytes = golden[&name][..HEADER].to_vec();
    bytes.resize(len, 0);
    set_in_page(&mut bytes, 96, &(len as u64).to_le_bytes());
    let salt = get(&bytes, 104);
    fill(&mut bytes[HEADER..len - SEAL], salt);
    Files::from([("LEDGER".to_owned(), golden["LEDGER"].clone()), (name, bytes)])
}

/// A header with a good checksum of a frame that is the next one, claims all that follows, and has a bad body.
fn claim(room: usize, salt: [u8; 4]) -> [u8; FRAME_HEADER] {
    let mut header = [0; FRAME_HEADER];
    let length = (room - FRAME_HEADER).min((1 << 24) - 1 - FRAME_HEADER);
    put(&mut header, 4, &0x5a5a_5a5a_u32.to_le_bytes());
    put(&mut header, 8, &(length as u32 | u32::from(EVENTS) << 24).to_le_bytes());
    put(&mut header, 12, &1_u32.to_le_bytes());
    put(&mut header, 24, &1_u16.to_le_bytes());
    put(&mut header, 26, &[0, 0, 0, 0, 0, 1]);
    let sum = crc(&[&salt, &1_u32.to_le_bytes(), &header[4..]]);
    put(&mut header, 0, &sum.to_le_bytes());
    header
}

/// Any number of headers may claim the same bytes. Each claim took a checksum of all that it claimed: 16 MiB of headers
/// would have taken one over four terabytes.
#[test]
fn a_file_full_of_claims_is_read_a_few_times_only() {
    if !in_child("format::bounds::a_file_full_of_claims_is_read_a_few_times_only") {
        return;
    }
    for len in [MIB, 4 * MIB, 16 * MIB] {
        let files = segment(len, |area, salt| {
            for offset in (0..area.len() - FRAME_HEADER).step_by(FRAME_HEADER) {
                let header = claim(area.len() - offset, salt);
                put(area, offset, &header);
            }
        });
        let vfs = in_memory(&files);
        let most = 64 * MIB as u64 + 16 * len as u64;
        let (reader, read) = counted(&vfs, |options| options.open_read_only(DIR));
        assert_eq!(reader.expect("nobody vouches for any of it").view().seq().0, 0);
        assert!(read <= most, "reading {len} bytes read {read}");
        let (report, read) = counted(&vfs, |options| options.verify(DIR, Level::Content, &mut |_| ()));
        assert_eq!(report.expect("it can be read").verdict(), Verdict::TornTail);
        assert!(read <= most, "verifying {len} bytes read {read}");
    }
}

/// Each bad region is remembered, reported, and looked behind; a file may be made of nothing else.
#[test]
fn a_file_full_of_gaps_is_read_and_remembered_within_bounds() {
    if !in_child("format::bounds::a_file_full_of_gaps_is_read_and_remembered_within_bounds") {
        return;
    }
    for len in [MIB, 16 * MIB] {
        let files = segment(len, |area, salt| {
            let vouch =
                Frame { offset: 0, kind: 4, epoch: 1, first: 0, mark: 0, events: 0, time: 1 << 40, body: Vec::new() };
            let piece = [&[0xff; 8], &vouch.encode(salt)[..]].concat();
            area.chunks_exact_mut(piece.len()).for_each(|chunk| chunk.copy_from_slice(&piece));
        });
        let vfs = in_memory(&files);
        let most = (256 + 64) * MIB as u64 + 16 * len as u64;
        let (reader, read) = counted(&vfs, |options| options.open_read_only(DIR));
        let reader = reader.expect("nobody vouches for any of it");
        assert!(reader.report().gaps.len() <= 1024, "{} gaps", reader.report().gaps.len());
        assert!(read <= most, "reading {len} bytes read {read}");
        let (report, read) = counted(&vfs, |options| options.verify(DIR, Level::Content, &mut |_| ()));
        let findings = report.expect("it can be read").findings.len();
        assert!(findings <= 1100 && read <= most, "verifying {len} bytes read {read}, and found {findings}");
    }
}

#[test]
fn a_gigabyte_that_is_not_there_is_not_asked_for() {
    let mut files = committed();
    let name = segment_name(&files, 1);
    set_in_page(files.get_mut(&name).expect("it is there"), 96, &(1_u64 << 30).to_le_bytes());
    let vfs = in_memory(&files);
    for write in [false, true] {
        let (opened, read) = counted(&vfs, |options| match write {
            true => options.open(DIR).map(|_| ()),
            false => options.open_read_only(DIR).map(|_| ()),
        });
        assert!(matches!(opened, Err(Error::Damaged { offset: Some(_), .. })), "{opened:?}");
        assert!(read < 64 << 10, "{read} bytes are read");
    }
}

/// A gigabyte of zeros behind a good header: a file that is as long as it says, and takes no room on a disk.
#[test]
fn a_gigabyte_of_zeros_is_read_once_in_little_memory() {
    if !in_child("format::bounds::a_gigabyte_of_zeros_is_read_once_in_little_memory") {
        return;
    }
    const GIB: u64 = 1 << 30;
    let files = segment(2 * HEADER, |_, _| ());
    let name = segment_name(&files, 1);
    let mut page = files[&name][..HEADER].to_vec();
    set_in_page(&mut page, 96, &GIB.to_le_bytes());
    let vfs = in_memory(&files);
    let path = Path::new(DIR).join(&name);
    vfs.write_bytes(&path, 0, &page).expect("it is there");
    vfs.truncate(&path, GIB).expect("it grows");
    let (reader, read) = counted(&vfs, |options| options.open_read_only(DIR));
    assert_eq!(reader.expect("it is empty").view().seq().0, 0);
    // In pieces of 64 KiB through a window of four of them, each with the beginning of the next.
    assert!(read < GIB + GIB / 2, "{read} bytes are read");
}
