//! What the bytes of a ledger say about themselves, found without the product: which bytes vouch for which seq, and where
//! the frames of the last segment end. With it each outcome has its own bound: what damage may take, and what it must not.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::format::bytes::{Frame, HEADER, crc, get, number};

/// Files by path, in order.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// Damaged bytes of a file, by its number in [`Files`].
pub type Hit = (usize, Range<usize>);

/// Size of a frame's header and of a seal slot.
const FRAME: usize = 32;
const SEAL: usize = 64;
/// Bytes of a first page that have a meaning.
const FIELDS: usize = 160;

#[derive(Debug)]
struct Witness {
    at: Hit,
    /// The highest seq that it calls durable.
    seq: usize,
}

#[derive(Debug)]
struct Segment {
    file: usize,
    len: usize,
    /// Where the accepted frames end: as its successor says, or where the frames of the last one do.
    end: usize,
}

/// Who vouches for what, and where the end is.
#[derive(Debug)]
pub struct Evidence {
    segments: Vec<Segment>,
    /// From the highest seq down.
    witnesses: Vec<Witness>,
    /// For each frame of the last segment that ends a batch: where it ends, and the seq that it ends with.
    ends: Vec<(usize, usize)>,
    /// Where frames of the last segment begin and end, also of those that do not count.
    pub frames: Vec<Hit>,
    /// The last seq before the last segment.
    before_last: usize,
    ledger: Option<usize>,
    advisory: Vec<usize>,
    /// The copies of the floor, where something was pruned.
    pub floors: Vec<usize>,
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

fn meet(a: &Hit, b: &Hit) -> bool {
    a.0 == b.0 && a.1.start < b.1.end && b.1.start < a.1.end
}

/// The seq that a frame's header at this offset calls durable; `None` where there is no valid header.
fn marked(bytes: &[u8], offset: usize) -> Option<usize> {
    let header = bytes.get(offset..offset + FRAME)?;
    if header[11] == 0 {
        return None;
    }
    let sound = number(header, 0, 4) == u64::from(crc(&[&bytes[104..108], &header[12..16], &header[4..]]));
    sound.then(|| (number(bytes, 80, 8) + number(header, 20, 4) - 1) as usize)
}

impl Evidence {
    /// Of files that are not damaged.
    pub fn of(files: &Files) -> Evidence {
        let place = |name: &str| files.iter().position(|(path, _)| path.ends_with(name));
        let mut evidence = Evidence {
            segments: Vec::new(),
            witnesses: Vec::new(),
            ends: Vec::new(),
            frames: Vec::new(),
            before_last: 0,
            ledger: place("LEDGER"),
            advisory: ["live", "lock"].into_iter().filter_map(place).collect(),
            floors: (0..files.len())
                .filter(|&n| files[n].0.parent().is_some_and(|dir| dir.ends_with("floor")))
                .collect(),
        };
        let segments: Vec<usize> = (0..files.len()).filter(|&n| is_segment(&files[n].0)).collect();
        for (n, &file) in segments.iter().enumerate() {
            let bytes = &files[file].1;
            let successor = segments.get(n + 1).map(|&next| number(&files[next].1, 120, 8) as usize);
            evidence.segment(file, bytes, successor);
        }
        if let (Some(live), Some(ledger)) = (place("live"), evidence.ledger) {
            evidence.live(live, &files[live].1, &files[ledger].1);
        }
        evidence.witnesses.sort_by_key(|witness| std::cmp::Reverse(witness.seq));
        evidence
    }

    fn segment(&mut self, file: usize, bytes: &[u8], successor: Option<usize>) {
        let base = number(bytes, 80, 8) as usize;
        self.witnesses.push(Witness { at: (file, 0..HEADER), seq: base - 1 });
        let limit = successor.unwrap_or(bytes.len() - SEAL);
        for offset in (HEADER..limit).step_by(8) {
            if let Some(seq) = marked(bytes, offset) {
                self.witnesses.push(Witness { at: (file, offset..offset + FRAME), seq });
                if successor.is_none() {
                    let end = offset + (FRAME + number(bytes, offset + 8, 3) as usize).next_multiple_of(8);
                    self.frames.push((file, offset..end.min(bytes.len())));
                }
            }
        }
        let mut end = HEADER;
        if successor.is_none() {
            self.before_last = base - 1;
            let mut next = base;
            while let Some(frame) = Frame::at(bytes, end).filter(|frame| base + frame.first as usize == next) {
                next += usize::from(frame.events);
                end += frame.len();
                if frame.kind != crate::format::bytes::EVENTS_MORE {
                    self.ends.push((end, next - 1));
                }
            }
        }
        // Frames behind a lost one may count, where it held no entry.
        let behind = self.frames.iter().map(|frame| frame.1.end).max().unwrap_or(end);
        self.segments.push(Segment { file, len: bytes.len(), end: successor.unwrap_or(end.max(behind)) });
    }

    fn live(&mut self, file: usize, live: &[u8], ledger: &[u8]) {
        for at in [0, 512] {
            let Some(slot) = live.get(at..at + 72) else { continue };
            if number(slot, 0, 4) == u64::from(crc(&[&get::<16>(ledger, 32), &slot[4..]])) {
                self.witnesses.push(Witness { at: (file, at..at + 72), seq: number(slot, 8, 8) as usize });
            }
        }
    }

    /// The entries that must be there, where not all are: those that something undamaged vouches for, and those of the
    /// last segment that stand before the damage.
    pub fn floor(&self, hits: &[Hit]) -> usize {
        let vouched = self.witnesses.iter().find(|witness| !hits.iter().any(|hit| meet(hit, &witness.at)));
        let last = self.segments.last().map_or(usize::MAX, |last| last.file);
        let first = hits.iter().filter(|hit| hit.0 == last).map(|hit| hit.1.start).min().unwrap_or(usize::MAX);
        let intact = self.ends.iter().rfind(|(end, _)| *end <= first).map_or(self.before_last, |(_, seq)| *seq);
        vouched.map_or(0, |witness| witness.seq).max(intact)
    }

    /// Whether a byte belongs to a frame's header, a seal slot, `live`, or the fields of a first page.
    pub fn is_telling(&self, file: usize, at: usize) -> bool {
        let byte = (file, at..at + 1);
        let seal = self.segments.iter().any(|segment| segment.file == file && at + SEAL >= segment.len);
        let vouches = self.witnesses.iter().any(|witness| meet(&byte, &witness.at));
        if at < HEADER && !self.advisory.contains(&file) { at < FIELDS } else { seal || vouches }
    }

    /// Whether nothing that counts is hit: then a refusal is wrong. Of a floor one copy is enough.
    pub fn is_harmless(&self, hits: &[Hit]) -> bool {
        let is_hit = |file: &usize| hits.iter().any(|hit| hit.0 == *file);
        if !self.floors.is_empty() && self.floors.iter().all(is_hit) {
            return false;
        }
        hits.iter().all(|hit| self.hits_nothing(hit))
    }

    fn hits_nothing(&self, (file, bytes): &Hit) -> bool {
        if self.advisory.contains(file) {
            return true;
        }
        if self.ledger == Some(*file) {
            return bytes.start >= HEADER;
        }
        let Some(n) = self.segments.iter().position(|segment| segment.file == *file) else { return true };
        let segment = &self.segments[n];
        let is_last = n + 1 == self.segments.len();
        // A slot that is not all zero demands a successor, so that the last one must stay as it is.
        let area = segment.end..if is_last { segment.len - SEAL } else { segment.len };
        bytes.start >= segment.len || (area.contains(&bytes.start) && bytes.end <= area.end)
    }
}
