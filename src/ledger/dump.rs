//! One segment as it is stored, piece by piece: every frame with what it holds, and what is no frame.
//!
//! Nothing is judged here but checksums and forms: whether bytes that are no frame are a torn tail, what a recovery left out, or
//! damage depends on the other segments, and `verify` says it. Nothing is skipped either: the pieces cover the file from the end
//! of its header page to the end that its header states. Behind a piece that cannot be read the numbers of tasks and notes that it may have named are
//! unknown, and no entry gets a name by a guess.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::options::Options;
use crate::model::entry::Entry;
use crate::model::limits::{SEGMENT_BYTES_MAX, SEQ_MAX};
use crate::model::seq::Seq;
use crate::model::subject::{Each, Realm};
use crate::storage::bytes::{get_u32, get_u64};
use crate::storage::codec::columns::{Links, Named};
use crate::storage::decoder::decode_body;
use crate::storage::frame::{BadHeader, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, FrameSeed};
use crate::storage::identity::Identity;
use crate::storage::log::list;
use crate::storage::names;
use crate::storage::scan::frame_at;
use crate::storage::segment::{HEADER_BYTES, Reason, SealSlot, Segment, SegmentHeader, read_header};
use crate::vfs::ops::{Access, read_full_at};

/// How much is looked at once for the next frame.
const CHUNK_BYTES: u64 = 64 << 10;

/// The pieces of one segment, in their order in the file: an iterator. [`Options::dump`] opens one.
///
/// It takes no lock and works beside a live writer; where that is writing, the last piece may be half of a write.
#[derive(Debug)]
pub struct Dump {
    segment: Segment,
    /// In bytes; the header may state more.
    length: u64,
    header_problem: Option<String>,
    /// Where the next piece begins.
    offset: u64,
    /// What the next frame must begin with, and what its epoch and time must not be below, where that is known.
    before: Option<(Seq, u32, u64)>,
    /// The tasks and notes that were named, by number.
    named: Each<Vec<Arc<str>>>,
    /// Whether something could not be read that may have named more.
    lost: bool,
}

/// A piece of a segment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DumpPiece {
    /// A frame: its header's checksum matches.
    Frame(Box<DumpFrame>),
    /// Bytes that are no frame.
    Bad {
        /// Where, in bytes of the file.
        bytes: Range<u64>,
        /// What is wrong with the first of them.
        what: String,
    },
    /// Zeros up to where frames must end: never written.
    Unwritten {
        /// Where, in bytes of the file.
        bytes: Range<u64>,
    },
    /// The slot at the end that a writer fills when it starts the next segment.
    Seal {
        /// Where, in bytes of the file.
        bytes: Range<u64>,
        /// The number of the next segment, the byte at which this one ends, and its last entry; `None` for zeros.
        sealed: Option<(u64, u64, Seq)>,
    },
}

/// A frame as it is stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DumpFrame {
    /// Where it begins and ends, in bytes of the file, with its padding.
    pub bytes: Range<u64>,
    /// `events`, `events_more` (the batch goes on in the next frame), `open`, `vouch`, `close`, or `skippable`.
    pub kind: &'static str,
    /// Which writer wrote it.
    pub epoch: u32,
    /// The seq of its first entry; that of the next one where it has none.
    pub first: Seq,
    /// How many entries it has, by its header.
    pub count: u64,
    /// The last entry that was known to be durable when it was written.
    pub durable: Seq,
    /// When its first entry was placed, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Whether the checksum of its body matches.
    pub checksum: bool,
    /// Its entries, as far as they can be decoded.
    pub entries: Vec<Entry>,
    /// Entries whose task or note is known by its number only, since what named it cannot be read: the seq, and which.
    pub unnamed: Vec<(Seq, String)>,
    /// What is wrong with it, or with its place.
    pub problem: Option<String>,
    /// For each of its entries what is stored beside it.
    pub(crate) beside: Vec<Beside>,
}

/// What is stored beside an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Beside {
    pub links: Links,
    /// The number by which alone its task or note is known.
    pub unnamed: Option<(Realm, u32)>,
}

impl DumpPiece {
    /// Where it is, in bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &Range<u64> {
        match self {
            DumpPiece::Frame(frame) => &frame.bytes,
            DumpPiece::Bad { bytes, .. } | DumpPiece::Unwritten { bytes } | DumpPiece::Seal { bytes, .. } => bytes,
        }
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            DumpPiece::Frame(frame) => frame.problem.as_deref(),
            DumpPiece::Bad { what, .. } => Some(what),
            DumpPiece::Unwritten { .. } | DumpPiece::Seal { .. } => None,
        }
    }
}

/// Looking into segments.
impl Options {
    /// Opens a segment's file, wherever it is, to see its pieces. Never writes, and takes no lock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use taskledger::{Event, Ledger, Options, DumpPiece};
    /// Ledger::open(dir.path())?.append("a", Event::created())?;
    /// let options = Options::new();
    /// let (number, path) = options.segments(dir.path())?.remove(0);
    /// let mut frames = 0;
    /// for piece in options.dump(&path)? {
    ///     if let DumpPiece::Frame(frame) = piece? {
    ///         assert!(frame.checksum && frame.problem.is_none());
    ///         frames += 1;
    ///     }
    /// }
    /// assert!(number == 1 && frames >= 2, "a writer began, and appended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Damaged`] where it is no segment, or its header does not say how its
    /// frames are checked; [`Error::Format`] for a newer format.
    pub fn dump(&self, segment: impl AsRef<Path>) -> Result<Dump> {
        let path = segment.as_ref().to_owned();
        let file = self.vfs.open(&path, Access::Read).map_err(Error::io("open", &path))?;
        let length = file.len().map_err(Error::io("read", &path))?;
        let (header, header_problem) = match read_header(&*file, &path, false) {
            Ok(header) => (header, None),
            Err(Error::Damaged { offset: Some(8..), what, .. }) if length >= HEADER_BYTES => {
                let mut page = vec![0; HEADER_BYTES as usize];
                read_full_at(&*file, &mut page, 0).map_err(Error::io("read", &path))?;
                let header = likely_header(&path, &page, length);
                (header.ok_or_else(|| Error::damaged(&path, 80, None, what.clone()))?, Some(what))
            }
            Err(error) => return Err(error),
        };
        let before = header_problem.is_none().then_some((header.base, header.epoch, header.base_at));
        let segment = Segment::new(path, file, header);
        Ok(Dump { segment, length, header_problem, offset: HEADER_BYTES, before, named: Each::default(), lost: false })
    }

    /// The segments of a ledger by their numbers, and their files. Looks at names only.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be listed.
    pub fn segments(&self, dir: impl AsRef<Path>) -> Result<Vec<(u64, PathBuf)>> {
        let listing = list(&*self.vfs, dir.as_ref())?;
        Ok(listing.segments.into_iter().map(|(number, _, path)| (number, path)).collect())
    }
}

/// What a header page says that is not whole, as far as something else says it, too: number and base the file's name, and the
/// salt the checksums of the frames.
fn likely_header(path: &Path, page: &[u8], length: u64) -> Option<SegmentHeader> {
    let (number, base) = names::parse_segment(path.file_name()?.to_str()?)?;
    let is_same = (number, base.0) == (get_u64(page, 72), get_u64(page, 80));
    (is_same && (Seq::FIRST.0..=SEQ_MAX).contains(&base.0)).then(|| SegmentHeader {
        identity: Identity::get(page, 32),
        number,
        base,
        base_at: get_u64(page, 88),
        capacity: length.min(SEGMENT_BYTES_MAX),
        salt: get_u32(page, 104),
        reason: Reason::Creation,
        predecessor: None,
        epoch: get_u32(page, 140),
    })
}

/// What stands at a place.
enum Here {
    Frame(FrameHeader),
    NoFrame(String),
    Nothing,
}

impl Dump {
    /// The number of the segment, by its header.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.segment.header.number
    }

    /// The first seq that it may have, by its header.
    #[must_use]
    pub fn base(&self) -> Seq {
        self.segment.header.base
    }

    /// How many bytes the file has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What is wrong with its header page; frames are then checked by what can still be read of that.
    #[must_use]
    pub fn header_problem(&self) -> Option<&str> {
        self.header_problem.as_deref()
    }

    /// Where frames must end.
    fn end(&self) -> u64 {
        self.segment.header.area_end().min(self.length)
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        let read = read_full_at(&*self.segment.file, &mut bytes, offset);
        bytes.truncate(read.map_err(Error::io("read", &self.segment.path))?);
        Ok(bytes)
    }

    fn look(&self, offset: u64) -> Result<Here> {
        let room = self.end() - offset;
        let bytes = self.read(offset, room.min(FRAME_HEADER_BYTES as u64))?;
        let Some(raw) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            let zero = bytes.iter().all(|&byte| byte == 0);
            return Ok(if zero { Here::Nothing } else { Here::NoFrame("there is no room for a frame".to_owned()) });
        };
        if *raw == [0; FRAME_HEADER_BYTES] {
            return Ok(Here::Nothing);
        }
        Ok(match FrameSeed::of(&self.segment.header).decode(raw) {
            Ok(header) if header.frame_len() > room => Here::NoFrame("a frame reaches over the end".to_owned()),
            Ok(header) => Here::Frame(header),
            Err(BadHeader::Checksum) => Here::NoFrame("the checksum of a frame's header does not match".to_owned()),
            Err(BadHeader::UnknownKind(kind)) => Here::NoFrame(format!("a frame is of the unknown kind {kind}")),
            Err(BadHeader::Field(what)) => Here::NoFrame(what.to_owned()),
        })
    }

    /// What is no frame, up to the next one or to the end of what is written.
    fn bad(&mut self, what: String) -> Result<DumpPiece> {
        let (start, end) = (self.offset, self.end());
        let seed = FrameSeed::of(&self.segment.header);
        let (mut offset, mut written) = (start, start);
        while offset < end {
            let chunk = CHUNK_BYTES.min(end - offset);
            // A header may begin in the last word of a chunk and reach over its end.
            let bytes = self.read(offset, (chunk + FRAME_HEADER_BYTES as u64).min(end - offset))?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                for (n, raw) in bytes.windows(FRAME_HEADER_BYTES).enumerate().step_by(FRAME_ALIGN as usize) {
                    let here = offset + n as u64;
                    let likely = raw.first_chunk().filter(|raw| here > start && FrameSeed::may_be_header(raw));
                    let header = likely.and_then(|raw| seed.decode(raw).ok());
                    if header.is_some_and(|header| header.frame_len() <= end - here) {
                        return Ok(self.lose(start..here, what));
                    }
                }
                written = offset + last as u64 + 1;
            }
            offset += chunk;
        }
        if written == start {
            return Ok(self.pass(DumpPiece::Unwritten { bytes: start..end }));
        }
        let behind = written.next_multiple_of(FRAME_ALIGN).min(end);
        Ok(self.lose(start..behind, what))
    }

    /// Goes on behind bytes that may have held anything.
    fn lose(&mut self, bytes: Range<u64>, what: String) -> DumpPiece {
        (self.lost, self.before) = (true, None);
        self.pass(DumpPiece::Bad { bytes, what })
    }

    fn pass(&mut self, piece: DumpPiece) -> DumpPiece {
        self.offset = piece.bytes().end;
        piece
    }

    fn frame(&mut self, header: FrameHeader) -> Result<DumpPiece> {
        let bytes = self.offset..self.offset + header.frame_len();
        let kind = match header.kind {
            FrameKind::Events => "events",
            FrameKind::EventsMore => "events_more",
            FrameKind::Open => "open",
            FrameKind::Vouch => "vouch",
            FrameKind::Close => "close",
            FrameKind::Skippable(_) => "skippable",
        };
        let body = self.read(bytes.start + FRAME_HEADER_BYTES as u64, u64::from(header.len))?;
        let checksum = FrameSeed::of(&self.segment.header).crc(header.epoch, &body) == header.body_crc;
        let mut frame = DumpFrame {
            bytes,
            kind,
            epoch: header.epoch,
            first: header.first,
            count: u64::from(header.count),
            durable: header.durable,
            at: header.at,
            checksum,
            entries: Vec::new(),
            unnamed: Vec::new(),
            problem: None,
            beside: Vec::new(),
        };
        frame.problem = self.before.and_then(|(next, epoch, at)| match () {
            () if header.first != next => Some(format!("it begins with seq {}, and seq {next} is next", header.first)),
            () if header.epoch < epoch => Some("it is of an earlier epoch than the one before it".to_owned()),
            () if header.at < at => Some("it is of an earlier time than the one before it".to_owned()),
            () => None,
        });
        // What a frame names that is not in its place would get other numbers than it was given.
        self.lost |= frame.problem.is_some();
        self.before = Some((header.next(), header.epoch, header.at));
        match self.decode(&mut frame, header.kind.has_events()) {
            Ok(()) => {}
            Err(Error::Damaged { what, .. } | Error::Format { what, .. }) => {
                self.lost |= header.kind.has_events();
                frame.problem = Some(what);
            }
            Err(error) => return Err(error),
        }
        Ok(self.pass(DumpPiece::Frame(Box::new(frame))))
    }

    /// Reads the entries of a frame, and names their tasks and notes where that can be told.
    fn decode(&mut self, frame: &mut DumpFrame, has_events: bool) -> Result<()> {
        let whole = frame_at(&self.segment, frame.bytes.start, frame.first, None)?;
        if !has_events {
            return Ok(());
        }
        for mut stored in decode_body(&self.segment, &whole)? {
            let mut unnamed = None;
            let subject = match stored.named {
                Named::Control => None,
                Named::New(realm, key) => {
                    // Which number it has is known only as long as all before it are.
                    if !self.lost {
                        self.named.of_mut(realm).push(Arc::clone(&key));
                    }
                    Some(realm.subject(&*key))
                }
                Named::Known(realm, number) => {
                    let known = self.named.of(realm).get(number as usize).map(|key| realm.subject(&**key));
                    if known.is_none() {
                        unnamed = Some((realm, number));
                        frame.unnamed.push((stored.entry.seq, format!("{} number {number}", realm.word())));
                        if !self.lost {
                            let what = format!("it names the unknown {} number {number}", realm.word());
                            frame.problem.get_or_insert(what);
                        }
                    }
                    known
                }
            };
            stored.entry.set_subject(subject);
            frame.entries.push(stored.entry);
            frame.beside.push(Beside { links: stored.links, unnamed });
        }
        Ok(())
    }

    /// What stands behind the frames: the seal, or nothing where the file ends before it.
    fn seal(&mut self) -> Result<DumpPiece> {
        let bytes = self.segment.header.area_end()..self.segment.header.capacity;
        if self.length < bytes.end {
            let what = format!("the file ends at byte {}, and its header says at byte {}", self.length, bytes.end);
            return Ok(self.pass(DumpPiece::Bad { bytes: self.offset..bytes.end, what }));
        }
        let piece = match self.segment.seal_slot()? {
            SealSlot::Empty => DumpPiece::Seal { bytes, sealed: None },
            SealSlot::Sealed(seal) => DumpPiece::Seal { bytes, sealed: Some((seal.successor, seal.end, seal.last)) },
            SealSlot::Broken => DumpPiece::Bad { bytes, what: "the seal is torn or rotten".to_owned() },
        };
        Ok(self.pass(piece))
    }
}

impl Iterator for Dump {
    type Item = Result<DumpPiece>;

    fn next(&mut self) -> Option<Result<DumpPiece>> {
        if self.offset >= self.segment.header.capacity {
            return None;
        }
        let piece = if self.offset >= self.end() {
            self.seal()
        } else {
            self.look(self.offset).and_then(|here| match here {
                Here::Frame(header) => self.frame(header),
                Here::NoFrame(what) => self.bad(what),
                Here::Nothing => self.bad("nothing is written where a frame should be".to_owned()),
            })
        };
        if piece.is_err() {
            self.offset = u64::MAX;
        }
        Some(piece)
    }
}
