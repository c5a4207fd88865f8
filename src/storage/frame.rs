//! A frame: whole events, or one fact about this copy's files, under two checksums.
//!
//! Header, 32 bytes, at a multiple of 8 (all integers little-endian); the body follows, then zeros up to the next
//! multiple of 8:
//! ```text
//!  0  4  CRC-32 of salt, epoch and bytes 4 to 32      16  4  first seq, counted from the segment's base
//!  4  4  CRC-32 of salt, epoch and the body           20  4  durable watermark: seq + 1, counted from the base
//!  8  3  length of the body                           24  2  number of events
//! 11  1  kind                                         26  6  time of the first event, ms since the Unix epoch
//! 12  4  epoch
//! ```
//! Salt and epoch in both checksums make a stale, misplaced or foreign frame invalid. The header has a checksum of
//! its own, so that its length can be trusted before the body is read, and its watermark even if the body is bad.
//! Kind 0 is never valid: zeros mean never written.

use crate::model::limits::{FRAME_BYTES_MAX, TIME_MS_MAX};
use crate::model::seq::Seq;
use crate::storage::bytes::{get_array, get_u16, get_u32, put};
use crate::storage::segment::SegmentHeader;

/// Size of a frame's header, in bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this many bytes.
pub(crate) const FRAME_ALIGN: u64 = 8;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Events, the last of them the last of its batch.
    Events,
    /// Events, the last of whose batch is in a later frame.
    EventsMore,
    /// A writer began: local fact.
    Open,
    /// All before it is durable: local fact.
    Vouch,
    /// A writer ended in order: local fact.
    Close,
    /// A local fact of a later version, which may be passed over.
    Skippable(u8),
}

/// Bit of the kind that marks a local fact which a reader that does not know it may pass over.
pub(crate) const SKIPPABLE_BIT: u8 = 0x80;

impl FrameKind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            FrameKind::Events => 1,
            FrameKind::EventsMore => 2,
            FrameKind::Open => 3,
            FrameKind::Vouch => 4,
            FrameKind::Close => 5,
            FrameKind::Skippable(number) => number,
        }
    }

    fn from_number(number: u8) -> Option<FrameKind> {
        Some(match number {
            1 => FrameKind::Events,
            2 => FrameKind::EventsMore,
            3 => FrameKind::Open,
            4 => FrameKind::Vouch,
            5 => FrameKind::Close,
            _ if number & SKIPPABLE_BIT != 0 => FrameKind::Skippable(number),
            _ => return None,
        })
    }

    pub(crate) const fn has_events(self) -> bool {
        matches!(self, FrameKind::Events | FrameKind::EventsMore)
    }

    /// Whether a frame of this kind may have so many events.
    const fn goes_with(self, count: u16) -> bool {
        self.has_events() == (count > 0)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub body_crc: u32,
    pub len: u32,
    pub kind: FrameKind,
    pub epoch: u32,
    /// Seq of the first event; of the next event, in a local fact.
    pub first: Seq,
    /// Highest seq covered by a sync that had returned when this frame was handed to the system.
    pub durable: Seq,
    pub count: u16,
    pub at: u64,
}

/// Why bytes are not the header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, and the kind is one of a later version.
    UnknownKind(u8),
    /// The checksum matches, and a field is impossible.
    Field(&'static str),
}

/// What the checksums of one segment's frames are seeded with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameSeed {
    salt: u32,
    base: Seq,
}

impl FrameSeed {
    pub(crate) fn of(header: &SegmentHeader) -> FrameSeed {
        FrameSeed { salt: header.salt, base: header.base }
    }

    /// CRC-32 of salt, epoch and these bytes.
    pub(crate) fn crc(&self, epoch: u32, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&epoch.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }

    /// The bytes of a header.
    pub(crate) fn encode(&self, header: &FrameHeader) -> [u8; FRAME_HEADER_BYTES] {
        let relative = |seq: u64| u32::try_from(seq - self.base.0).expect("a segment has fewer than 2^32 events");
        assert!(header.at <= TIME_MS_MAX, "time {} does not fit 48 bits", header.at);
        assert!((header.len as usize) < FRAME_BYTES_MAX, "a body of {} bytes is too long", header.len);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        put(&mut bytes, 4, &header.body_crc.to_le_bytes());
        put(&mut bytes, 8, &(header.len | u32::from(header.kind.number()) << 24).to_le_bytes());
        put(&mut bytes, 12, &header.epoch.to_le_bytes());
        put(&mut bytes, 16, &relative(header.first.0).to_le_bytes());
        put(&mut bytes, 20, &relative(header.durable.0 + 1).to_le_bytes());
        put(&mut bytes, 24, &(u64::from(header.count) | header.at << 16).to_le_bytes());
        let crc = self.crc(header.epoch, bytes.get(4..).unwrap_or_default());
        put(&mut bytes, 0, &crc.to_le_bytes());
        bytes
    }

    /// Whether a header may begin here: what can be said without its checksum, for whoever looks at every offset.
    pub(crate) fn may_be_header(bytes: &[u8; FRAME_HEADER_BYTES]) -> bool {
        FrameKind::from_number(bytes[11]).is_some_and(|kind| kind.goes_with(get_u16(bytes, 24)))
    }

    /// Reads and checks a header.
    pub(crate) fn decode(&self, bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, BadHeader> {
        let epoch = get_u32(bytes, 12);
        if self.crc(epoch, bytes.get(4..).unwrap_or_default()) != get_u32(bytes, 0) {
            return Err(BadHeader::Checksum);
        }
        let word = get_u32(bytes, 8);
        let number = (word >> 24) as u8;
        let kind = FrameKind::from_number(number).ok_or(match number {
            0 => BadHeader::Field("its kind is 0"),
            number => BadHeader::UnknownKind(number),
        })?;
        let absolute = |relative: u32| self.base.0.checked_add(u64::from(relative));
        let first = absolute(get_u32(bytes, 16)).ok_or(BadHeader::Field("its first seq is impossible"))?;
        let durable = absolute(get_u32(bytes, 20)).ok_or(BadHeader::Field("its watermark is impossible"))?;
        let count = get_u16(bytes, 24);
        if !kind.goes_with(count) {
            return Err(BadHeader::Field("its kind and its number of events do not go together"));
        }
        Ok(FrameHeader {
            body_crc: get_u32(bytes, 4),
            len: word & 0x00ff_ffff,
            kind,
            epoch,
            first: Seq(first),
            durable: Seq(durable - 1),
            count,
            at: u64::from_le_bytes(get_array(bytes, 24)) >> 16,
        })
    }
}

impl FrameHeader {
    /// Bytes from the start of the frame to the start of the next.
    pub(crate) fn frame_len(&self) -> u64 {
        frame_len(u64::from(self.len))
    }

    /// The seq that the next frame must begin with.
    pub(crate) fn next(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count))
    }
}

/// Bytes that a frame with a body of `body` bytes takes.
pub(crate) fn frame_len(body: u64) -> u64 {
    (FRAME_HEADER_BYTES as u64 + body).next_multiple_of(FRAME_ALIGN)
}

/// The running checksum over frame headers, one header further. Each header holds the checksum of its body.
pub(crate) fn chain(before: u32, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(header);
    hasher.finalize()
}
