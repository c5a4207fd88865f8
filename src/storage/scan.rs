//! Walks the frames of one segment, and says where they end and why. Never writes, never decides.
//!
//! The reader's rule for a frame: its header's checksum matches, it lies within the area, its first seq is the next
//! one, epoch and time do not fall, and its body's checksum matches. The walk stops at the first that fails, unless
//! a later frame begins with the very seq that is expected: then the bad region hides no event, and is a gap.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::limits::{FRAME_BYTES_MAX, SEGMENT_EVENTS_MAX};
use crate::model::seq::Seq;
use crate::storage::frame::{BadHeader, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, FrameSeed, chain};
use crate::storage::segment::{HEADER_BYTES, Segment};
use crate::vfs::map::Map;
use crate::vfs::ops::read_full_at;

/// How much is read at once where much is to be read.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;
/// How much is looked at once for something that is not zero.
const CHUNK_BYTES: usize = 64 << 10;
/// How much is read for one frame: most of them whole, since two calls cost more than the bytes.
pub(crate) const FRAME_GUESS_BYTES: usize = 2 << 10;

/// A walk goes on behind so many bad regions at most, so that nobody can make it remember millions. Where there are more
/// it ends, and the evidence decides.
pub(crate) const GAPS_MAX: usize = 1024;
/// A walk reads bad bodies of frames that seem to be the next one for so many bytes more than there are to walk: any
/// number of headers may claim the same bytes, and each claim takes a checksum of all of them.
pub(crate) const SEARCHED_BODIES_MAX: u64 = 4 * FRAME_BYTES_MAX as u64;

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub offset: u64,
    /// The next event's seq.
    pub next: Seq,
    pub chain: u32,
    pub epoch: u32,
    /// The time in the header of the last frame; none after it has a lower one.
    pub at: u64,
    /// Whether the last batch goes on in the next frame.
    pub mid_batch: bool,
}

impl Position {
    /// Before a segment's first frame.
    pub(crate) fn start_of(segment: &Segment) -> Position {
        let header = &segment.header;
        Position {
            offset: HEADER_BYTES,
            next: header.base,
            chain: header.predecessor.map_or(0, |predecessor| predecessor.chain),
            epoch: header.epoch,
            at: header.base_at,
            mid_batch: false,
        }
    }

    /// Behind a frame that stands here.
    pub(crate) fn after(&self, frame: &Frame) -> Position {
        let header = &frame.header;
        Position {
            offset: frame.offset + header.frame_len(),
            next: header.next(),
            chain: chain(self.chain, &frame.raw),
            epoch: header.epoch,
            at: header.at,
            mid_batch: header.kind == FrameKind::EventsMore,
        }
    }
}

/// A frame as it stands in the file.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub offset: u64,
    pub header: FrameHeader,
    pub body: Vec<u8>,
    raw: [u8; FRAME_HEADER_BYTES],
}

/// Why the walk ended before the area did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing was ever written here.
    Zeros,
    /// What is there is no frame, or not the next one; what is wrong.
    Bad(&'static str),
    /// A frame of a later version.
    Unknown(u8),
}

/// Where a walk ended.
#[derive(Debug, Clone)]
pub(crate) struct WalkEnd {
    /// After the last valid frame.
    pub end: Position,
    /// After the last valid frame that completes a batch: what counts.
    pub whole: Position,
    /// Why it ended; `None` at the end of the area.
    pub stop: Option<Stop>,
    /// Bad regions that hide no event.
    pub gaps: Vec<Range<u64>>,
    /// The highest watermark in any frame up to `whole`.
    pub watermark: Seq,
    /// The offset behind the last frame that this watermark covers, as far as was walked.
    pub covered: u64,
    /// Whether the last of all frames is a close frame.
    pub closed: bool,
    /// What lies behind `whole`.
    pub tail: Tail,
}

/// What lies behind the frames that count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last byte that is not zero, if any is.
    pub last_nonzero: Option<u64>,
    /// How many frames have a valid header there.
    pub headers: u64,
    /// Their highest watermark: evidence, even where their bodies are bad.
    pub watermark: Seq,
    /// Their highest epoch.
    pub epoch: u32,
}

impl Tail {
    fn see(&mut self, header: &FrameHeader) {
        self.headers += 1;
        self.watermark = self.watermark.max(header.durable);
        self.epoch = self.epoch.max(header.epoch);
    }
}

/// Reads a file through a window, so that a walk needs little memory.
pub(crate) struct Window<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    start: u64,
    /// How much is read at once, at least.
    chunk: usize,
    /// Where to copy from in place of reading.
    map: Option<&'a Map>,
}

impl<'a> Window<'a> {
    fn new(segment: &'a Segment) -> Window<'a> {
        Window::reading(segment, WINDOW_BYTES)
    }

    /// One that reads so many bytes at once, at least.
    pub(crate) fn reading(segment: &'a Segment, chunk: usize) -> Window<'a> {
        Window { segment, bytes: Vec::new(), start: 0, chunk, map: None }
    }

    /// `len` bytes at `offset`; fewer only where the file ends.
    fn get(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let inside = |start: u64, have: usize| offset >= start && offset + len as u64 <= start + have as u64;
        if !inside(self.start, self.bytes.len()) {
            let rest = self.segment.header.capacity.saturating_sub(offset);
            self.bytes.resize(len.max((self.chunk as u64).min(rest) as usize), 0);
            let read = match self.map {
                Some(map) => map.read_at(&mut self.bytes, offset),
                None => read_full_at(&*self.segment.file, &mut self.bytes, offset)
                    .map_err(Error::io("read", &self.segment.path))?,
            };
            self.bytes.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let to = (from + len).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}

/// What was read of a segment beyond the frames that were asked for.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    bytes: Vec<u8>,
    start: u64,
}

/// Reads one frame, wherever it is; `Err` inside says why there is none.
fn read_frame(window: &mut Window<'_>, seed: FrameSeed, offset: u64, limit: u64) -> Result<Result<Frame, Stop>> {
    let room = limit.saturating_sub(offset);
    if room < FRAME_HEADER_BYTES as u64 {
        let zero = window.get(offset, room as usize)?.iter().all(|&byte| byte == 0);
        return Ok(Err(if zero { Stop::Zeros } else { Stop::Bad("there is no room for a frame") }));
    }
    let Some(raw) = window.get(offset, FRAME_HEADER_BYTES)?.first_chunk().copied() else {
        return Ok(Err(Stop::Bad("the file ends")));
    };
    if raw == [0; FRAME_HEADER_BYTES] {
        return Ok(Err(Stop::Zeros));
    }
    let header = match seed.decode(&raw) {
        Ok(header) => header,
        Err(BadHeader::Checksum) => return Ok(Err(Stop::Bad("the checksum of a frame's header does not match"))),
        Err(BadHeader::Field(what)) => return Ok(Err(Stop::Bad(what))),
        Err(BadHeader::UnknownKind(kind)) => return Ok(Err(Stop::Unknown(kind))),
    };
    if header.frame_len() > room {
        return Ok(Err(Stop::Bad("a frame reaches over the end")));
    }
    let length = header.frame_len() as usize - FRAME_HEADER_BYTES;
    let bytes = window.get(offset + FRAME_HEADER_BYTES as u64, length)?;
    let (Some(body), Some(padding)) = (bytes.get(..header.len as usize), bytes.get(header.len as usize..)) else {
        return Ok(Err(Stop::Bad("the file ends within a frame")));
    };
    if seed.crc(header.epoch, body) != header.body_crc {
        return Ok(Err(Stop::Bad("the checksum of a frame's body does not match")));
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Ok(Err(Stop::Bad("the padding of a frame is not zero")));
    }
    Ok(Ok(Frame { offset, header, body: body.to_vec(), raw }))
}

/// Reads the frame that is expected at a position; `Err` inside says why it is not there.
///
/// # Errors
/// The segment cannot be read.
pub(crate) fn next_frame(window: &mut Window<'_>, at: &Position, limit: u64) -> Result<Result<Frame, Stop>> {
    let header = &window.segment.header;
    Ok(read_frame(window, FrameSeed::of(header), at.offset, limit)?
        .and_then(|frame| follows(&frame.header, at, header.base).map(|()| frame).map_err(Stop::Bad)))
}

/// Whether a frame may stand at a position.
fn follows(frame: &FrameHeader, at: &Position, base: Seq) -> Result<(), &'static str> {
    if frame.first != at.next {
        return Err("a frame does not begin with the next seq");
    }
    if at.mid_batch && !frame.kind.has_events() {
        return Err("a local fact stands within a batch");
    }
    if frame.epoch < at.epoch {
        return Err("a frame is of an earlier epoch than the one before it");
    }
    if frame.at < at.at {
        return Err("a frame is of an earlier time than the one before it");
    }
    if frame.next().0 - base.0 > SEGMENT_EVENTS_MAX {
        return Err("the segment has more events than one may have");
    }
    Ok(())
}

/// Walks the frames of a segment from `start` up to byte `limit`, and gives those of whole batches to `visit`, in order.
/// The frames of a batch that turns out to be unfinished are passed, and not given.
///
/// # Errors
/// What reading or `visit` says; that the bytes are bad is no error here.
pub(crate) fn walk(
    segment: &Segment,
    start: Position,
    limit: u64,
    visit: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<WalkEnd> {
    let mut window = Window::new(segment);
    let mut out = WalkEnd {
        end: start,
        whole: start,
        stop: None,
        gaps: Vec::new(),
        watermark: Seq::ZERO,
        covered: start.offset,
        closed: false,
        tail: Tail::default(),
    };
    let mut unproven: Vec<(Seq, u64)> = Vec::new();
    let mut batch = Vec::new();
    let mut bodies = SEARCHED_BODIES_MAX + limit.saturating_sub(start.offset);
    while out.end.offset < limit {
        let bad = match next_frame(&mut window, &out.end, limit)? {
            Ok(frame) => {
                out.pass(&frame, &mut unproven);
                batch.push(frame);
                if !out.end.mid_batch {
                    batch.drain(..).try_for_each(&mut *visit)?;
                }
                continue;
            }
            Err(stop) => stop,
        };
        // What is seen on the way is evidence also where the walk goes on behind it: a frame does not say where it stands,
        // so that a write which went elsewhere looks as if what it should have preceded were a gap.
        match look_behind(segment, out.end, limit, &mut out.tail, &mut bodies)? {
            // A frame of a later version is no bad region: what it says must not be passed over.
            Some(resume) if !matches!(bad, Stop::Unknown(_)) => {
                out.gaps.push(out.end.offset..resume);
                out.end.offset = resume;
                if out.gaps.len() == GAPS_MAX {
                    bodies = 0;
                }
            }
            _ => {
                out.stop = Some(bad);
                break;
            }
        }
    }
    Ok(out)
}

impl WalkEnd {
    /// Why the next entry is not there, for messages.
    pub(crate) fn why(&self) -> String {
        self.stop.map_or_else(|| "its last batch is unfinished".to_owned(), |stop| stop.to_string())
    }

    /// Goes past a valid frame. `unproven` are the ends of the frames with events that no watermark covers yet.
    fn pass(&mut self, frame: &Frame, unproven: &mut Vec<(Seq, u64)>) {
        let header = &frame.header;
        self.end = self.end.after(frame);
        self.tail.see(header);
        self.tail.last_nonzero = Some(self.end.offset - 1);
        if header.kind.has_events() {
            unproven.push((header.next(), self.end.offset));
        }
        if self.end.mid_batch {
            return;
        }
        self.whole = self.end;
        self.closed = header.kind == FrameKind::Close;
        self.watermark = self.watermark.max(self.tail.watermark);
        self.tail = Tail { epoch: self.tail.epoch, ..Tail::default() };
        let proven = unproven.iter().take_while(|(next, _)| next.0 <= self.watermark.0 + 1).count();
        for (_, end) in unproven.drain(..proven) {
            self.covered = end;
        }
    }
}

/// What lies between two bytes of a segment where no frames count.
///
/// # Errors
/// The segment cannot be read.
pub(crate) fn tail(segment: &Segment, from: u64, to: u64) -> Result<Tail> {
    let mut found = Tail::default();
    let nowhere = Position { offset: from, next: Seq(u64::MAX), ..Position::start_of(segment) };
    look_behind(segment, nowhere, to, &mut found, &mut 0)?;
    Ok(found)
}

/// Looks at what is behind a bad region: where the very frame that is expected begins, if it does; else what there
/// is in all. A frame is such a one only if its body is good, and is looked for only as long as bad ones had no more than
/// `bodies` bytes; these go down by what they had.
///
/// # Errors
/// The segment cannot be read.
pub(crate) fn look_behind(
    segment: &Segment,
    at: Position,
    limit: u64,
    tail: &mut Tail,
    bodies: &mut u64,
) -> Result<Option<u64>> {
    let seed = FrameSeed::of(&segment.header);
    let mut window = Window::new(segment);
    let mut offset = at.offset;
    while offset < limit {
        let chunk = CHUNK_BYTES.min((limit - offset) as usize);
        // A header may begin in the last word of a chunk and reach over its end.
        let bytes = window.get(offset, (chunk + FRAME_HEADER_BYTES).min((limit - offset) as usize))?;
        if bytes.is_empty() {
            break;
        }
        let Some(last) = last_nonzero(bytes) else {
            offset += chunk as u64;
            continue;
        };
        tail.last_nonzero = Some(offset + last as u64);
        let candidates = bytes.windows(FRAME_HEADER_BYTES).enumerate().step_by(FRAME_ALIGN as usize);
        for (n, raw) in candidates.take_while(|(n, _)| *n < chunk && *n <= last) {
            let candidate = raw.first_chunk().filter(|raw| FrameSeed::may_be_header(raw));
            let Some(header) = candidate.and_then(|raw| seed.decode(raw).ok()) else { continue };
            tail.see(&header);
            let here = offset + n as u64;
            let fits = here > at.offset && header.frame_len() <= *bodies;
            if fits && follows(&header, &at, segment.header.base).is_ok() {
                let mut window = Window::reading(segment, FRAME_HEADER_BYTES);
                if read_frame(&mut window, seed, here, limit)?.is_ok() {
                    return Ok(Some(here));
                }
                *bodies -= header.frame_len();
            }
        }
        offset += chunk as u64;
    }
    Ok(None)
}

/// The last byte that is not zero, by pages first: most of them are, and that is seen quickly.
fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let page = bytes.chunks(ZEROS.len()).rposition(|page| !ZEROS.starts_with(page))?;
    let start = page * ZEROS.len();
    let within = bytes.get(start..)?.iter().take(ZEROS.len()).rposition(|byte| *byte != 0)?;
    Some(start + within)
}

/// Reads the one frame at this offset of a segment, which is known to be there; from its map, where there is one.
///
/// # Errors
/// It cannot be read back: damage, or the system's error.
pub(crate) fn frame_at(segment: &Segment, offset: u64, first: Seq, map: Option<&Map>) -> Result<Frame> {
    let chunk = map.map_or(FRAME_GUESS_BYTES, |_| FRAME_HEADER_BYTES);
    known_frame(&mut Window { map, ..Window::reading(segment, chunk) }, offset, first)
}

/// As [`frame_at`], for who asks for one frame of a segment after the other: reads ahead, more each time.
///
/// # Errors
/// As [`frame_at`].
pub(crate) fn frame_after(segment: &Segment, offset: u64, first: Seq, ahead: &mut ReadAhead) -> Result<Frame> {
    let chunk = (2 * ahead.bytes.len()).clamp(FRAME_GUESS_BYTES, CHUNK_BYTES);
    let ReadAhead { bytes, start } = std::mem::take(ahead);
    let mut window = Window { bytes, start, ..Window::reading(segment, chunk) };
    let frame = known_frame(&mut window, offset, first)?;
    *ahead = ReadAhead { bytes: window.bytes, start: window.start };
    Ok(frame)
}

fn known_frame(window: &mut Window<'_>, offset: u64, first: Seq) -> Result<Frame> {
    let segment = window.segment;
    match read_frame(window, FrameSeed::of(&segment.header), offset, segment.header.area_end())? {
        Ok(frame) if frame.header.first == first => Ok(frame),
        Ok(_) => Err(Error::damaged(&segment.path, offset, Some(first), "another frame stands here")),
        Err(stop) => Err(Error::damaged(&segment.path, offset, Some(first), stop.to_string())),
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Zeros => f.write_str("nothing is written here"),
            Stop::Bad(what) => f.write_str(what),
            Stop::Unknown(kind) => write!(f, "a frame is of the unknown kind {kind}"),
        }
    }
}
