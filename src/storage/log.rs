//! The log: all segments in order, how they vouch for each other, and their entries.
//!
//! Numbers are dense and order the segments. Each header states where its predecessor ends; what the predecessor
//! holds behind that is left out. The rule that tells a torn tail from damage: let W be the highest seq that any
//! evidence names as durable, and e the first seq that cannot be read or whose batch is unfinished. Where e <= W an
//! acknowledged entry is lost, and the log is refused; where e > W nobody was told that it is safe, and it ends there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, seqs};
use crate::model::seq::Seq;
use crate::model::subject::Each;
use crate::storage::decoder::{Decoder, LogEntry};
use crate::storage::identity::Identity;
use crate::storage::live::Mark;
use crate::storage::names;
use crate::storage::scan::{Position, Stop, WalkEnd, walk};
use crate::storage::segment::{FramePlace, HEADER_BYTES, Predecessor, SealSlot, Segment};
use crate::vfs::ops::{DirEntry, Kind, Vfs};

/// What the directory of the segments holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// Number, base seq and path, by number.
    pub segments: Vec<(u64, Seq, PathBuf)>,
    /// Unfinished files, for the next writer to remove.
    pub unfinished: Vec<PathBuf>,
    /// Anything else; ignored.
    pub strays: Vec<PathBuf>,
    /// The directory itself.
    pub dir: PathBuf,
}

/// Lists the segments.
///
/// # Errors
/// The directory cannot be listed.
pub(crate) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Listing> {
    let log_dir = names::log_dir(dir);
    let mut listing = Listing { dir: log_dir.clone(), ..Listing::default() };
    // A link would lead into another place, where nothing of this ledger may be looked for, written or removed.
    if list_if_there(vfs, dir)?.iter().any(|entry| dir.join(&entry.name) == log_dir && entry.kind != Kind::Dir) {
        let source =
            std::io::Error::new(std::io::ErrorKind::NotADirectory, "it is no directory, and no link is followed");
        return Err(Error::io("list", &log_dir)(source));
    }
    // Without the directory all segments are missing, which is said where they are needed.
    for entry in list_if_there(vfs, &log_dir)? {
        let path = log_dir.join(&entry.name);
        match entry.name.to_str().map(|name| (names::parse_segment(name), names::is_unfinished(name))) {
            Some((Some((number, base)), _)) => listing.segments.push((number, base, path)),
            Some((None, true)) if entry.kind == Kind::File => listing.unfinished.push(path),
            _ => listing.strays.push(path),
        }
    }
    listing.segments.sort();
    listing.unfinished.sort();
    listing.strays.sort();
    Ok(listing)
}

fn list_if_there(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<DirEntry>> {
    match vfs.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::io("list", dir)),
    }
}

/// Whether the last segment demands a successor, which is then missing.
///
/// # Errors
/// It does; or it cannot be read.
pub(crate) fn check_last(last: &Segment) -> Result<()> {
    if last.seal_slot()? == SealSlot::Empty {
        return Ok(());
    }
    let what = format!("it is sealed, and its successor, number {}, is missing", last.header.number + 1);
    Err(Error::damaged(&last.path, last.header.area_end(), None, what))
}

/// Whether a segment belongs to the ledger and follows the one before it. The first one there is may name one before it
/// that was pruned: whoever opens it asks for the floor that stands there instead.
///
/// # Errors
/// It does not.
pub(crate) fn check_place(segment: &Segment, before: Option<&Segment>, identity: &Identity) -> Result<()> {
    let (header, path) = (&segment.header, &segment.path);
    if header.identity != *identity {
        return Err(Error::damaged(path, 32, None, "it belongs to another ledger"));
    }
    match (before, header.predecessor) {
        (None, None) if header.number == 1 && header.base == Seq::FIRST => Ok(()),
        (None, Some(_)) => Ok(()),
        (None, None) => {
            let what = format!("the segments before number {} are missing", header.number);
            Err(Error::damaged(path, None, Some(Seq::FIRST), what))
        }
        (Some(before), Some(named)) if named.number == before.header.number => {
            let area = HEADER_BYTES..=before.header.area_end();
            if !area.contains(&named.end) || named.last.0 + 1 < before.header.base.0 {
                return Err(Error::damaged(path, 112, None, "it states an end that its predecessor cannot have"));
            }
            Ok(())
        }
        (Some(before), _) => Err(missing_between(before, header.number, path)),
    }
}

/// What to say where there is no segment between one and the one with this number and path. What is lost begins behind the
/// end that the one before was sealed with; where its seal cannot be read, no earlier than with itself.
pub(crate) fn missing_between(before: &Segment, number: u64, path: &Path) -> Error {
    let lost = match before.seal_slot() {
        Ok(SealSlot::Sealed(seal)) => seal.last.next(),
        _ => before.header.base,
    };
    let what = format!("the segments between number {} and {number} are missing", before.header.number);
    Error::damaged(path, None, Some(lost), what)
}

/// What the log was found to be.
#[derive(Debug, Clone)]
pub(crate) struct LogEnd {
    /// How the last segment ends.
    pub last: WalkEnd,
    /// The highest seq that any evidence names as durable.
    pub watermark: Seq,
    /// The highest epoch of any writer.
    pub epoch: u32,
    /// The tasks and notes that the last segment has named, by number.
    pub named: Each<Vec<Arc<str>>>,
}

impl LogEnd {
    /// The last seq that counts.
    pub(crate) fn last_seq(&self) -> Seq {
        Seq(self.last.whole.next.0 - 1)
    }
}

/// What is shown the entries of a segment, each with the byte at which its frame begins.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(LogEntry, u64) -> Result<()>;

/// What may be said against the end of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Evidence<'a> {
    /// Everything that is found: nobody writes.
    All(Option<&'a Mark>),
    /// Only this mark, which was read before the log: a writer lives, and what it writes while the log is read would
    /// otherwise speak for frames that were not there when they were looked for.
    Mark(&'a Mark),
}

/// Walks a segment, shows the entries of whole batches in order to `visit`, and keeps where its frames are.
fn replay(segment: &Segment, limit: u64, visit: Visit<'_>) -> Result<(WalkEnd, Decoder)> {
    let mut places = Vec::new();
    let mut decoder = Decoder::new(segment);
    let walked = walk(segment, Position::start_of(segment), limit, &mut |frame| {
        if frame.header.kind.has_events() {
            places.push(FramePlace { first: frame.header.first, offset: frame.offset, at: frame.header.at });
        }
        for entry in decoder.decode(segment, &frame)? {
            visit(entry, frame.offset)?;
        }
        Ok(())
    })?;
    *segment.frames.write().expect("no reader panics") = places;
    Ok((walked, decoder))
}

/// Walks a segment only to find where its frames are.
///
/// # Errors
/// It cannot be read, or is of a later format.
pub(crate) fn find_frames(segment: &Segment) -> Result<()> {
    replay(segment, segment.header.area_end(), &mut |_, _| Ok(())).map(drop)
}

/// Shows the entries of a segment that has a successor to `visit`, in order. Returned are bad regions that hide no entry.
///
/// # Errors
/// Damage to what the successor vouches for, a later format, or what reading or `visit` says.
pub(crate) fn replay_sealed(
    segment: &Segment,
    named: &Predecessor,
    visit: Visit<'_>,
) -> Result<Vec<std::ops::Range<u64>>> {
    let (mut walked, _) = replay(segment, named.end, visit)?;
    let behind = check_sealed(segment, &walked, named)?;
    walked.gaps.extend(behind);
    Ok(walked.gaps)
}

/// Shows the entries of whole batches of the last segment to `visit`, in order, and judges its end.
///
/// # Errors
/// Damage to what was vouched for, a later format, or what reading or `visit` says.
pub(crate) fn replay_last(segment: &Segment, evidence: Evidence<'_>, visit: Visit<'_>) -> Result<LogEnd> {
    let (walked, decoder) = replay(segment, segment.header.area_end(), visit)?;
    let Judged { watermark, epoch } = judge(segment, &walked, evidence)?;
    Ok(LogEnd { last: walked, watermark, epoch, named: decoder.named })
}

/// Whether a segment with a successor is whole up to the end that the successor states; a bad region at its end
/// that hides no event is returned.
///
/// # Errors
/// Entries are missing, or frames are not those that the successor vouches for.
pub(crate) fn check_sealed(
    segment: &Segment,
    walked: &WalkEnd,
    named: &Predecessor,
) -> Result<Option<std::ops::Range<u64>>> {
    let damaged = |seq: Option<Seq>, what: String| Err(Error::damaged(&segment.path, walked.end.offset, seq, what));
    if let Some(Stop::Unknown(kind)) = walked.stop {
        return Err(unknown_frame(segment, kind));
    }
    if walked.whole.next.0 <= named.last.0 {
        let why = walked.why();
        let lost = seqs(walked.whole.next, named.last);
        let what = format!("{lost} cannot be read, which its successor vouches for: {why}");
        return damaged(Some(walked.whole.next), what);
    }
    if walked.whole.next.0 != named.last.0 + 1 || walked.end != walked.whole {
        let what = format!(
            "it goes on to seq {}, and its successor says that it ends at {}",
            walked.end.next.0 - 1,
            named.last
        );
        return damaged(Some(Seq(named.last.0 + 1)), what);
    }
    if walked.end.offset < named.end {
        return Ok(Some(walked.end.offset..named.end));
    }
    if walked.gaps.is_empty() && walked.end.chain != named.chain {
        return damaged(
            Some(segment.header.base),
            "its frames are not those that its successor vouches for".to_owned(),
        );
    }
    Ok(None)
}

/// What speaks of the end of a log that is not damaged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    /// The highest seq that any evidence names as durable.
    pub watermark: Seq,
    /// The highest epoch of any writer.
    pub epoch: u32,
}

/// Decides whether the last segment ends with a torn tail or with damage.
///
/// # Errors
/// Damage to what was vouched for, or a later format.
pub(crate) fn judge(segment: &Segment, walked: &WalkEnd, evidence: Evidence<'_>) -> Result<Judged> {
    if let Some(Stop::Unknown(kind)) = walked.stop {
        return Err(unknown_frame(segment, kind));
    }
    let first_lost = walked.whole.next;
    let before = Seq(segment.header.base.0 - 1);
    let mark = match evidence {
        Evidence::All(mark) => mark,
        Evidence::Mark(mark) => Some(mark),
    };
    let named = (mark.map_or(Seq::ZERO, |mark| mark.durable), "the file live");
    let (watermark, witness) = match evidence {
        Evidence::Mark(_) => named,
        Evidence::All(_) => [
            (before, "the segment's own header"),
            (walked.watermark, "a frame before it"),
            (walked.tail.watermark, "a frame behind it"),
            named,
        ]
        .into_iter()
        .max_by_key(|(seq, _)| *seq)
        .expect("there are four"),
    };
    if first_lost <= watermark {
        let why = walked.why();
        let lost = seqs(first_lost, watermark);
        let what = format!("{lost} cannot be read, and {witness} says that it was durable: {why}");
        return Err(Error::damaged(&segment.path, walked.whole.offset, Some(first_lost), what));
    }
    let epoch = walked.end.epoch.max(walked.tail.epoch).max(mark.map_or(0, |mark| mark.epoch));
    Ok(Judged { watermark, epoch })
}

pub(crate) fn unknown_frame(segment: &Segment, kind: u8) -> Error {
    Error::Format { path: segment.path.clone(), what: format!("it has a frame of the unknown kind {kind}") }
}
