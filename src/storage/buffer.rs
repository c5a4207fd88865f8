//! The frames that wait to be written to the active segment.
//!
//! Events are encoded as they are placed; what depends on the moment of writing (the durable watermark, the header's
//! checksum and the chain) is filled in by [`Buffer::take`]. Invariants: a batch that does not fit into the open
//! frame begins a new one, so that a frame with a part of a batch has nothing but that batch before it; no frame
//! takes more room than [`Buffer::room`] said before.

use crate::model::entry::Entry;
use crate::model::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET};
use crate::model::seq::Seq;
use crate::storage::codec::columns::{COLUMNS_BYTES_MAX, Columns, Links, Named};
use crate::storage::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, FrameSeed, chain, frame_len};
use crate::storage::segment::FramePlace;

/// Most bytes that a frame takes beside its events.
const FRAME_OVERHEAD_MAX: usize = FRAME_HEADER_BYTES + COLUMNS_BYTES_MAX + FRAME_ALIGN as usize;

/// So much room is kept from one flight to the next.
const ROOM_BYTES_MAX: usize = 256 << 10;

/// A frame whose header still lacks watermark and checksum.
#[derive(Debug)]
struct Waiting {
    /// Where it begins in `bytes`.
    start: usize,
    header: FrameHeader,
}

/// Frames on their way to the file.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Where the bytes go.
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// The chain after the last frame.
    pub chain: u32,
    /// Where the frames with events begin.
    pub places: Vec<FramePlace>,
}

/// Frames that wait, and the one that is still open.
#[derive(Debug)]
pub(crate) struct Buffer {
    seed: FrameSeed,
    epoch: u32,
    /// Where in the file the first waiting frame goes.
    offset: u64,
    bytes: Vec<u8>,
    /// The room of a flight that has landed, for the next but one.
    room: Vec<u8>,
    waiting: Vec<Waiting>,
    open: Columns,
    open_first: Seq,
    open_at: u64,
    open_bytes_max: usize,
    open_mid_batch: bool,
}

impl Buffer {
    /// An empty buffer whose first frame goes to this offset.
    pub(crate) fn new(seed: FrameSeed, epoch: u32, offset: u64) -> Buffer {
        Buffer {
            seed,
            epoch,
            offset,
            bytes: Vec::new(),
            room: Vec::new(),
            waiting: Vec::new(),
            open: Columns::default(),
            open_first: Seq::ZERO,
            open_at: 0,
            open_bytes_max: 0,
            open_mid_batch: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// Most bytes that the waiting frames take.
    pub(crate) fn bytes_max(&self) -> usize {
        let open = if self.open.is_empty() { 0 } else { FRAME_OVERHEAD_MAX + self.open_bytes_max };
        self.bytes.len() + open
    }

    /// Where in the file the waiting frames end at the latest.
    pub(crate) fn end_max(&self) -> u64 {
        self.offset + self.bytes_max() as u64
    }

    /// Most bytes that a batch of events with these sizes can add.
    pub(crate) fn room(event_bytes_max: impl Iterator<Item = usize>) -> u64 {
        // Each event may close a frame, and never more than one frame a target's worth of bytes is closed early.
        let mut total = 2 * FRAME_OVERHEAD_MAX;
        let mut in_frame = 0;
        for bytes in event_bytes_max {
            total += bytes;
            in_frame += bytes;
            if in_frame >= FRAME_BYTES_TARGET {
                total += FRAME_OVERHEAD_MAX;
                in_frame = 0;
            }
        }
        total as u64
    }

    /// How many bytes an event may take, to fit a frame of its own.
    pub(crate) const EVENT_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_OVERHEAD_MAX;

    /// Prepares for a batch of this size: one that does not fit the open frame begins a new one.
    pub(crate) fn begin_batch(&mut self, event_bytes_max: usize) {
        let full = self.open_bytes_max + event_bytes_max > FRAME_BYTES_TARGET;
        if !self.open.is_empty() && full {
            self.close_frame();
        }
    }

    /// Adds one event of at most this size.
    pub(crate) fn push(&mut self, entry: &Entry, named: &Named, links: &Links, event_bytes_max: usize) {
        // An event that would make the frame too large for its header begins another.
        if !self.open.is_empty() && self.open_bytes_max + event_bytes_max > Buffer::EVENT_BYTES_MAX {
            self.close_frame();
        }
        if self.open.is_empty() {
            self.open_first = entry.seq;
            self.open_at = entry.at;
        }
        self.open.push(entry, named, links);
        self.open_bytes_max += event_bytes_max;
        self.open_mid_batch = !links.last_of_batch;
        if self.open_bytes_max >= FRAME_BYTES_TARGET {
            self.close_frame();
        }
    }

    /// Adds a local fact; `next` is the seq that the next event will have.
    pub(crate) fn push_fact(&mut self, kind: FrameKind, body: &[u8], next: Seq, at: u64) {
        self.close_frame();
        let start = self.begin_frame();
        self.bytes.extend_from_slice(body);
        self.end_frame(start, kind, next, 0, at);
    }

    fn close_frame(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let count = u16::try_from(self.open.len())
            .expect("an event takes so many bytes that a frame has far fewer than 65 535");
        let kind = if self.open_mid_batch { FrameKind::EventsMore } else { FrameKind::Events };
        let start = self.begin_frame();
        self.open.finish(&mut self.bytes);
        let (taken, reserved) =
            (self.bytes.len() - start - FRAME_HEADER_BYTES, self.open_bytes_max + COLUMNS_BYTES_MAX);
        assert!(taken <= reserved, "a body of {taken} bytes, where at most {reserved} were reserved");
        self.end_frame(start, kind, self.open_first, count, self.open_at);
        self.open_bytes_max = 0;
    }

    /// Leaves room for a header; where the frame begins in `bytes`.
    fn begin_frame(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.resize(start + FRAME_HEADER_BYTES, 0);
        start
    }

    /// Ends the frame whose body is all that lies behind the header.
    fn end_frame(&mut self, start: usize, kind: FrameKind, first: Seq, count: u16, at: u64) {
        let body = self.bytes.get(start + FRAME_HEADER_BYTES..).expect("the frame was begun here");
        let header = FrameHeader {
            body_crc: self.seed.crc(self.epoch, body),
            len: u32::try_from(body.len()).expect("a body is shorter than 16 MiB"),
            kind,
            epoch: self.epoch,
            first,
            durable: Seq::ZERO,
            count,
            at,
        };
        let end = start + frame_len(body.len() as u64) as usize;
        self.waiting.push(Waiting { start, header });
        self.bytes.resize(end, 0);
    }

    /// Takes all frames for writing: `durable` is the highest seq that a returned sync covers, `before` the chain
    /// up to here. The buffer goes on empty behind them.
    pub(crate) fn take(&mut self, durable: Seq, before: u32) -> Flight {
        self.close_frame();
        let room = std::mem::take(&mut self.room);
        let mut bytes = std::mem::replace(&mut self.bytes, room);
        let mut running = before;
        let mut places = Vec::new();
        for Waiting { start, mut header } in self.waiting.drain(..) {
            header.durable = durable;
            let encoded = self.seed.encode(&header);
            running = chain(running, &encoded);
            bytes
                .get_mut(start..start + FRAME_HEADER_BYTES)
                .expect("the frame was laid out here")
                .copy_from_slice(&encoded);
            if header.kind.has_events() {
                places.push(FramePlace { first: header.first, offset: self.offset + start as u64, at: header.at });
            }
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Flight { offset, bytes, chain: running, places }
    }

    /// Takes back the room of a flight that has landed, unless it is much.
    pub(crate) fn take_back(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= ROOM_BYTES_MAX {
            bytes.clear();
            self.room = bytes;
        }
    }
}
