//! What one segment is found to be by itself: its frames, how it ends, what its successor says of it, and the indexes and
//! snapshots that end with it. Segments are looked at by several threads at once; what goes from one to the next is folded
//! elsewhere, in order.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ledger::report::{Finding, Level, Severity};
use crate::model::seq::Seq;
use crate::storage::decoder::{Decoder, LogEntry};
use crate::storage::identity::Identity;
use crate::storage::live::Mark;
use crate::storage::log::{Evidence, check_last, check_sealed, judge};
use crate::storage::scan::{Frame, Position, WINDOW_BYTES, WalkEnd, tail, walk};
use crate::storage::segment::{FramePlace, Predecessor, SealSlot, Segment};
use crate::storage::table::check::check;
use crate::storage::table::compare::{block_bytes, block_of_place, first_bad_block};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};
use crate::vfs::ops::{Access, Vfs};

pub(crate) const NEXT_KEEP: &str = "keep all files as they are, restore this one from a copy, and verify again";
pub(crate) const NEXT_NOTHING: &str = "nothing: no entry is concerned";
pub(crate) const NEXT_DELETE: &str = "delete this file: the log says the same, and it is made again where it is needed";
const NEXT_OPEN: &str = "open it for writing: recovery leaves these bytes where they are and goes on behind them";

/// What is the same for all segments.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub vfs: &'a dyn Vfs,
    pub level: Level,
    /// Up to where a living writer's log is looked at.
    pub bound: Option<Seq>,
    pub mark: Option<Mark>,
    pub identity: Option<Identity>,
}

/// One segment, with what stands beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub segment: &'a Segment,
    /// Its successor, if that is there.
    pub next: Option<&'a Segment>,
    pub is_last: bool,
    /// The tables whose names say that they end with it.
    pub tables: &'a [(TableKind, PathBuf)],
}

/// A piece of a segment that was read.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// So many bytes of it were read.
    pub bytes: u64,
    /// So many entries were in them.
    pub entries: u64,
    /// The entries to be folded, by frames: where that is.
    pub frames: Vec<(Range<u64>, Vec<LogEntry>)>,
}

/// What a segment came to.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    /// About what is in its frames; then about the rest of it.
    pub content: Vec<Finding>,
    pub rest: Vec<Finding>,
    /// About the tables that end with it.
    pub derived: Vec<Finding>,
    /// The tables that are sound by themselves, to be compared with what the log makes.
    pub tables: Vec<(PathBuf, TableHeader)>,
    pub frames: u64,
    pub entries: u64,
    pub bytes: u64,
    /// The last entry that is there.
    pub head: Seq,
    /// Whether all of it is there and can be decoded.
    pub whole: bool,
}

/// A finding of damage; other errors stay errors.
pub(crate) fn damage(code: &'static str, error: Error) -> Result<Finding> {
    let Error::Damaged { path, offset, seq, what } = error else { return Err(error) };
    Ok(Finding {
        severity: Severity::Damage,
        code,
        file: path,
        bytes: offset.map(|offset| offset..offset + 1),
        seqs: seq.map(|seq| (seq, seq)),
        subject: None,
        what,
        next: NEXT_KEEP,
    })
}

pub(crate) fn remark(code: &'static str, file: &Path, bytes: Option<Range<u64>>, what: &str) -> Finding {
    Finding {
        severity: Severity::Remark,
        code,
        file: file.to_owned(),
        bytes,
        seqs: None,
        subject: None,
        what: what.to_owned(),
        next: NEXT_NOTHING,
    }
}

/// A finding about an index or a snapshot.
pub(crate) fn warning(code: &'static str, file: &Path, bytes: Option<Range<u64>>, what: String) -> Finding {
    Finding { severity: Severity::Warning, next: NEXT_DELETE, what, ..remark(code, file, bytes, "") }
}

impl Setting<'_> {
    /// Reads a segment, and checks what can be checked without the others. `give` gets pieces of it on the way, with entries
    /// in them where the level asks for that.
    ///
    /// # Errors
    /// A file cannot be read, or is of a later format.
    pub(crate) fn inspect(&self, site: Site<'_>, give: &mut dyn FnMut(Piece) -> bool) -> Result<Inspected> {
        let Site { segment, next, is_last, tables } = site;
        let mut out = Inspected { whole: true, ..Inspected::default() };
        let named = next.and_then(|next| next.header.predecessor);
        let mut places = Vec::new();
        let walked = self.frames(segment, named, &mut out, &mut places, give)?;
        for gap in &walked.gaps {
            let what = "these bytes are no frame; the frames around them follow each other, so that no entry is hidden";
            out.rest.push(remark("GAP", &segment.path, Some(gap.clone()), what));
        }
        // Entries up to here are there; what a living writer adds behind its durable end is not looked at.
        out.head = Seq(walked.whole.next.0 - 1);
        let bounded = self.bound.is_some_and(|bound| out.head >= bound);
        if let Some(named) = named {
            match check_sealed(segment, &walked, &named) {
                Ok(Some(gap)) => {
                    let what = "these bytes before the end that the successor states are no frame, and hide no entry";
                    out.rest.push(remark("GAP", &segment.path, Some(gap), what));
                }
                Ok(None) => {}
                Err(error) => {
                    out.whole = false;
                    out.rest.push(damage("LOST", error)?);
                }
            }
            out.seal(segment, next)?;
            out.left_out(segment, named.end)?;
            if self.level >= Level::Derived && out.whole && self.bound.is_none_or(|bound| named.last <= bound) {
                self.tables(site, &named, &places, &mut out);
            }
        } else if is_last && !bounded {
            match judge(segment, &walked, Evidence::All(self.mark.as_ref())) {
                Ok(_) => self.end(segment, &walked, &mut out),
                Err(error) => out.rest.push(damage("LOST", error)?),
            }
            if let Err(error) = check_last(segment) {
                out.rest.push(damage("MISSING", error)?);
            }
        }
        debug_assert!(self.level >= Level::Derived || tables.is_empty(), "tables are listed at that level only");
        Ok(out)
    }

    /// Walks the frames, and looks into them where the level asks for it.
    fn frames(
        &self,
        segment: &Segment,
        named: Option<Predecessor>,
        out: &mut Inspected,
        places: &mut Vec<FramePlace>,
        give: &mut dyn FnMut(Piece) -> bool,
    ) -> Result<WalkEnd> {
        let area_end = segment.header.area_end();
        let limit = named.map_or(area_end, |named| named.end.min(area_end));
        let mut decoder = Decoder::new(segment);
        let mut piece = Piece::default();
        let walked = walk(segment, Position::start_of(segment), limit, &mut |frame| {
            let header = &frame.header;
            if self.is_beyond(&frame) {
                return Ok(());
            }
            let length = header.frame_len();
            out.frames += 1;
            out.bytes += length;
            out.entries += u64::from(header.count);
            piece.bytes += length;
            piece.entries += u64::from(header.count);
            if header.kind.has_events() && self.level >= Level::Derived {
                places.push(FramePlace { first: header.first, offset: frame.offset, at: header.at });
            }
            if self.level >= Level::Content {
                match decoder.decode(segment, &frame) {
                    Ok(entries) if out.whole => piece.frames.push((frame.offset..frame.offset + length, entries)),
                    Ok(_) => {}
                    Err(error) => {
                        out.whole = false;
                        out.content.push(damage("CONTENT", error)?);
                    }
                }
            }
            if piece.bytes >= WINDOW_BYTES as u64 && !give(std::mem::take(&mut piece)) {
                // Nobody looks at what it comes to.
                return Err(Error::Closed);
            }
            Ok(())
        })?;
        give(piece);
        Ok(walked)
    }

    fn is_beyond(&self, frame: &Frame) -> bool {
        self.bound.is_some_and(|bound| frame.header.kind.has_events() && frame.header.first > bound)
    }

    /// Reads the entries of a segment once more, for another part of the fold. `give` says when they are no longer wanted.
    ///
    /// # Errors
    /// The file cannot be read, or cannot be decoded any more.
    pub(crate) fn read_again(&self, site: Site<'_>, give: &mut dyn FnMut(Piece) -> bool) -> Result<Inspected> {
        let mut out = Inspected { whole: true, ..Inspected::default() };
        let named = site.next.and_then(|next| next.header.predecessor);
        self.frames(site.segment, named, &mut out, &mut Vec::new(), give)?;
        Ok(out)
    }

    /// Looks at how the last segment ends.
    fn end(&self, segment: &Segment, walked: &WalkEnd, out: &mut Inspected) {
        if self.bound.is_some() {
            return;
        }
        if let Some(last) = walked.tail.last_nonzero {
            out.rest.push(Finding {
                severity: Severity::Tail,
                next: NEXT_OPEN,
                ..remark(
                    "TORN_TAIL",
                    &segment.path,
                    Some(walked.whole.offset..last + 1),
                    "the rest of a write that nobody was told is safe",
                )
            });
        } else if !walked.closed && walked.end.offset > Position::start_of(segment).offset {
            out.rest.push(remark("UNCLEAN", &segment.path, None, "the last writer did not close it"));
        }
    }

    /// Checks the tables that end with a segment, each by itself, and the places of frames by the walk.
    fn tables(&self, site: Site<'_>, named: &Predecessor, places: &[FramePlace], out: &mut Inspected) {
        let segment = site.segment;
        let identity = self.identity.unwrap_or(segment.header.identity);
        for (kind, path) in site.tables {
            let fit = |table: &Table| table.header.fits(*kind, &identity.uuid, segment.header.base, named);
            match open(self.vfs, path) {
                None => {}
                Some(Err(unfit)) => {
                    out.derived.push(warning("TABLE_DAMAGED", path, Some(block_bytes(0)), unfit.what));
                }
                Some(Ok(table)) => {
                    let places = if *kind == TableKind::Index { places } else { &[] };
                    match sound(&table, &fit, places) {
                        Ok(()) => out.tables.push((path.clone(), table.header)),
                        Err(finding) => out.derived.push(*finding),
                    }
                }
            }
        }
    }
}

/// Opens a table; `None` where it is not there any more: a writer takes old ones away.
pub(crate) fn open(vfs: &dyn Vfs, path: &Path) -> Option<std::result::Result<Table, Unfit>> {
    let gone = || vfs.open(path, Access::Read).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match Table::open(vfs, path, false) {
        Err(_) if gone() => None,
        opened => Some(opened),
    }
}

/// Whether a table is sound by itself, of this log, and has the places of these frames.
fn sound(
    table: &Table,
    fits: &dyn Fn(&Table) -> std::result::Result<(), &'static str>,
    places: &[FramePlace],
) -> std::result::Result<(), Box<Finding>> {
    let path = &table.path;
    fits(table).map_err(|what| warning("TABLE_FOREIGN", path, Some(block_bytes(0)), what.to_owned()))?;
    if let Some((bytes, unfit)) = first_bad_block(table) {
        return Err(Box::new(warning("TABLE_DAMAGED", path, Some(bytes), unfit.what)));
    }
    check(table, &mut || Ok(())).map_err(|unfit| warning("TABLE_WRONG", path, None, unfit.what))?;
    if table.header.places != places.len() as u64 {
        let what = format!("it has places of {} frames, and the segment has {}", table.header.places, places.len());
        return Err(Box::new(warning("TABLE_WRONG", path, None, what)));
    }
    for ((n, wanted), place) in (0..).zip(places).zip(table.all_places()) {
        let place = place.map_err(|unfit| warning("TABLE_DAMAGED", path, None, unfit.what))?;
        if place != *wanted {
            let what = format!(
                "it says that frame {n} begins with seq {} at byte {}, and that is seq {} at byte {}",
                place.first, place.offset, wanted.first, wanted.offset
            );
            let wrong = warning("TABLE_WRONG", path, Some(block_of_place(&table.header, n)), what);
            return Err(Box::new(Finding { seqs: Some((wanted.first, wanted.first)), ..wrong }));
        }
    }
    Ok(())
}

impl Inspected {
    /// Looks at the seal of a segment that has a successor.
    fn seal(&mut self, segment: &Segment, next: Option<&Segment>) -> Result<()> {
        let Some(next) = next else { return Ok(()) };
        let slot = segment.header.area_end()..segment.header.capacity;
        let Some(named) = next.header.predecessor else { return Ok(()) };
        let what = match segment.seal_slot()? {
            SealSlot::Sealed(seal) => {
                let same = (seal.successor, seal.end, seal.last, seal.chain)
                    == (next.header.number, named.end, named.last, named.chain);
                if !same {
                    let what = "its seal and its successor differ on where it ends".to_owned();
                    self.rest.push(damage("SEAL", Error::damaged(&segment.path, slot.start, None, what))?);
                }
                return Ok(());
            }
            SealSlot::Empty => "its seal is not written; the next writer writes it",
            SealSlot::Broken => "its seal is torn or rotten; its successor says the same and is there",
        };
        self.rest.push(remark("SEAL", &segment.path, Some(slot), what));
        Ok(())
    }

    /// Reports what an earlier recovery left behind the end of a segment.
    fn left_out(&mut self, segment: &Segment, end: u64) -> Result<()> {
        if let Some(last) = tail(segment, end, segment.header.area_end())?.last_nonzero {
            let what = "an earlier recovery left these bytes of an unacknowledged write out";
            self.rest.push(remark("LEFT_OUT", &segment.path, Some(end..last + 1), what));
        }
        Ok(())
    }
}
