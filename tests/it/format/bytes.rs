//! The structures of docs/format.md as plain bytes, laid once more by hand: to take golden files apart, and to make
//! files that have right checksums and wrong content.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use taskledger::vfs::fault::MemVfs;
use taskledger::{Entry, Error, Level, Maintenance, Options, VerifyReport};

/// Where the ledger is, in memory.
pub const DIR: &str = "/golden";
pub const HEADER: usize = 4096;
pub const SEAL: usize = 64;
pub const FRAME_HEADER: usize = 32;
pub const EVENTS: u8 = 1;
pub const EVENTS_MORE: u8 = 2;

/// Files by their path below the ledger's directory.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes.get(offset..).and_then(|rest| rest.first_chunk()).expect("the structure is whole")
}

/// A little-endian number of up to 8 bytes.
pub fn number(bytes: &[u8], offset: usize, size: usize) -> u64 {
    let taken = bytes.get(offset..offset + size).expect("the structure is whole");
    taken.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

pub fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes.get_mut(offset..offset + value.len()).expect("the structure is whole").copy_from_slice(value);
}

pub fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The checksum of `LEDGER` or of a segment's header, as it must be.
pub fn page_crc(page: &[u8]) -> u32 {
    crc(&[page.get(12..HEADER).expect("a page has 4096 bytes")])
}

/// Changes a field of `LEDGER` or of a segment's header, and makes the checksum right again.
pub fn set_in_page(page: &mut [u8], offset: usize, value: &[u8]) {
    put(page, offset, value);
    let crc = page_crc(page);
    put(page, 8, &crc.to_le_bytes());
}

/// A frame, taken apart.
#[derive(Debug, Clone)]
pub struct Frame {
    pub offset: usize,
    pub kind: u8,
    pub epoch: u32,
    /// Both less the segment's base.
    pub first: u32,
    pub mark: u32,
    pub events: u16,
    pub time: u64,
    pub body: Vec<u8>,
}

impl Frame {
    /// The frame at this offset; `None` where the checksums do not match.
    pub fn at(segment: &[u8], offset: usize) -> Option<Frame> {
        let salt: [u8; 4] = get(segment, 104);
        let header: [u8; FRAME_HEADER] = *segment.get(offset..)?.first_chunk()?;
        let epoch: [u8; 4] = get(&header, 12);
        let length = number(&header, 8, 3) as usize;
        let body = segment.get(offset + FRAME_HEADER..)?.get(..length)?;
        let sound = number(&header, 0, 4) == u64::from(crc(&[&salt, &epoch, header.get(4..)?]))
            && number(&header, 4, 4) == u64::from(crc(&[&salt, &epoch, body]));
        sound.then(|| Frame {
            offset,
            kind: get::<1>(&header, 11)[0],
            epoch: u32::from_le_bytes(epoch),
            first: number(&header, 16, 4) as u32,
            mark: number(&header, 20, 4) as u32,
            events: number(&header, 24, 2) as u16,
            time: number(&header, 26, 6),
            body: body.to_vec(),
        })
    }

    pub fn len(&self) -> usize {
        (FRAME_HEADER + self.body.len()).next_multiple_of(8)
    }

    pub fn has_events(&self) -> bool {
        matches!(self.kind, EVENTS | EVENTS_MORE)
    }

    /// Its bytes, with right checksums.
    pub fn encode(&self, salt: [u8; 4]) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        let epoch = self.epoch.to_le_bytes();
        put(&mut out, 4, &crc(&[&salt, &epoch, &self.body]).to_le_bytes());
        put(&mut out, 8, &(self.body.len() as u32 | u32::from(self.kind) << 24).to_le_bytes());
        put(&mut out, 12, &epoch);
        put(&mut out, 16, &self.first.to_le_bytes());
        put(&mut out, 20, &self.mark.to_le_bytes());
        put(&mut out, 24, &(u64::from(self.events) | self.time << 16).to_le_bytes());
        let header = crc(&[&salt, &epoch, out.get(4..FRAME_HEADER).expect("a frame has a header")]);
        put(&mut out, 0, &header.to_le_bytes());
        put(&mut out, FRAME_HEADER, &self.body);
        out
    }
}

/// The frames of a segment from its first on, up to the first place where there is none.
pub fn frames(segment: &[u8]) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    while let Some(frame) = Frame::at(segment, out.last().map_or(HEADER, |last| last.offset + last.len())) {
        out.push(frame);
    }
    out
}

/// The same segment with these frames and no seal; as large as that needs.
pub fn with_frames(segment: &[u8], frames: &[Frame]) -> Vec<u8> {
    let mut out = segment.get(..HEADER).expect("a segment has a header").to_vec();
    frames.iter().for_each(|frame| out.extend_from_slice(&frame.encode(get(segment, 104))));
    let capacity = (out.len() + 256 + SEAL).max(16 << 10).next_multiple_of(4096);
    out.resize(capacity, 0);
    set_in_page(&mut out, 96, &(capacity as u64).to_le_bytes());
    out
}

/// The path of the segment with this number.
pub fn segment_name(files: &Files, number: u64) -> String {
    let start = format!("log/{number:010}-");
    files.keys().find(|path| path.starts_with(&start)).expect("the segment is there").clone()
}

/// `LEDGER` and one first segment that holds these frames of the golden one.
pub fn alone(files: &Files, frames: &[Frame]) -> Files {
    let name = segment_name(files, 1);
    let segment = with_frames(&files[&name], frames);
    Files::from([("LEDGER".to_owned(), files["LEDGER"].clone()), (name, segment)])
}

/// The ledger's files in a world, but for `lock`.
pub fn of_world(vfs: &MemVfs) -> Files {
    let files = vfs.files().into_iter().map(|path| {
        let bytes = vfs.read_file(&path).expect("a file that is listed can be read");
        (path.strip_prefix(DIR).expect("all files are the ledger's").display().to_string(), bytes)
    });
    files.filter(|(name, _)| name != "lock").collect()
}

/// These files in memory, with nobody at work.
pub fn in_memory(files: &Files) -> MemVfs {
    let vfs = MemVfs::new();
    for (name, bytes) in files {
        vfs.write_file(&Path::new(DIR).join(name), bytes).expect("a file can be put in place");
    }
    vfs
}

pub fn options(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).maintenance(Maintenance::Manual)
}

/// All entries there are, as a reader sees them.
pub fn read(options: Options, dir: &Path) -> Result<Vec<Entry>, Error> {
    let reader = options.open_read_only(dir)?;
    reader.view().entries(reader.report().oldest).collect()
}

pub fn read_files(files: &Files) -> Result<Vec<Entry>, Error> {
    read(options(&in_memory(files)), Path::new(DIR))
}

/// Opening for writing, then the entries.
pub fn write_files(files: &Files) -> Result<Vec<Entry>, Error> {
    let ledger = options(&in_memory(files)).open(DIR)?;
    ledger.entries(ledger.report().oldest).collect()
}

pub fn verify_files(files: &Files) -> Result<VerifyReport, Error> {
    options(&in_memory(files)).verify(DIR, Level::Content, &mut |_| ())
}
