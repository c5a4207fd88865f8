//! The segments of a log in order, by their names; each is opened when it is first asked for.
//!
//! Invariants: numbers are dense and bases never fall, which the names say; a segment that is handed out is of this ledger
//! and stands behind the one that its header names; few are kept open, however many there are.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::primitives::Mutex;
use crate::ledger::recent::Recent;
use crate::model::seq::Seq;
use crate::storage::floors;
use crate::storage::identity::Identity;
use crate::storage::log::{Listing, check_place, missing_between};
use crate::storage::names;
use crate::storage::segment::{Predecessor, Segment};
use crate::vfs::ops::{Access, Vfs};

/// Where a ledger is, and how its files are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub vfs: Arc<dyn Vfs>,
    pub dir: PathBuf,
    pub identity: Identity,
    pub mmap: bool,
}

/// The segments as of some head.
#[derive(Debug, Clone)]
pub(crate) struct Segments {
    home: Arc<Home>,
    /// Number and base seq of each.
    named: Arc<Vec<(u64, Seq)>>,
    open: Arc<Mutex<Open>>,
}

/// Segments that are open.
#[derive(Debug, Default)]
struct Open {
    /// The last two, by number: a writer's are open for writing, and it knows where their frames are.
    last: BTreeMap<u64, Arc<Segment>>,
    /// Others that were used lately.
    others: Recent<Arc<Segment>>,
}

impl Open {
    fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.last.get(&number).cloned().or_else(|| self.others.get(number))
    }

    fn put(&mut self, segment: &Arc<Segment>) {
        self.last.insert(segment.header.number, Arc::clone(segment));
        if self.last.len() > 2
            && let Some((number, segment)) = self.last.pop_first()
        {
            self.others.put(number, segment);
        }
    }
}

impl Segments {
    /// Those that a directory lists. The last two are opened with this access, all others for reading.
    ///
    /// # Errors
    /// One is missing; or one of the last two cannot be used.
    pub(crate) fn of(home: Arc<Home>, listing: &Listing, access: Access) -> Result<Segments> {
        let named: Vec<(u64, Seq)> = listing.segments.iter().map(|(number, base, _)| (*number, *base)).collect();
        let dir = names::log_dir(&home.dir);
        let (Some(first), Some(path)) = (named.first(), listing.segments.first().map(|(.., path)| path)) else {
            return Err(Error::damaged(&dir, None, Some(Seq::FIRST), "every segment is missing"));
        };
        // One with a higher number stands on a floor, or on nothing: who opens the log asks.
        if first.0 == 1 && first.1 != Seq::FIRST {
            return Err(Error::damaged(path, 80, Some(Seq::FIRST), format!("it begins with seq {}", first.1)));
        }
        for pair in listing.segments.windows(2) {
            let [(before, base, before_path), (after, next, path)] = pair else { unreachable!("pairs") };
            if before + 1 != *after {
                let before = Segment::open(&*home.vfs, before_path.clone(), *before, *base, Access::Read)?;
                return Err(missing_between(&before, *after, path));
            }
            if base > next {
                let what = format!("its base seq {next} is below that of the segment before, {base}");
                return Err(Error::damaged(path, 80, Some(*next), what));
            }
        }
        let segments = Segments { home, named: Arc::new(named), open: Arc::default() };
        for n in segments.len().saturating_sub(2)..segments.len() {
            segments.keep(segments.open_one(n, access)?);
        }
        if let Some(n) = segments.len().checked_sub(2) {
            segments.sealed(n)?;
        }
        Ok(segments)
    }

    pub(crate) fn len(&self) -> usize {
        self.named.len()
    }

    /// The position of the segment with a seq, or where it would be.
    pub(crate) fn with(&self, seq: Seq) -> usize {
        self.named.partition_point(|(_, base)| *base <= seq).saturating_sub(1)
    }

    /// The position of the segment with a number.
    pub(crate) fn position(&self, number: u64) -> Option<usize> {
        self.named.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    /// The number of the first segment.
    pub(crate) fn first_number(&self) -> u64 {
        self.name_of(0).0
    }

    /// The base seq of the first segment.
    pub(crate) fn first_base(&self) -> Seq {
        self.name_of(0).1
    }

    /// The same without those before a number, which there must be.
    pub(crate) fn from(&self, number: u64) -> Segments {
        let n = self.named.partition_point(|(earlier, _)| *earlier < number);
        let named = self.named.get(n..).unwrap_or_default().to_vec();
        assert!(!named.is_empty(), "the last segment is never pruned");
        // Those of whoever has looked at the others stay open for him, and for nobody else.
        let open = {
            let open = self.open.lock().expect("nobody panics with it");
            Open { last: open.last.clone().split_off(&number), others: open.others.from(number) }
        };
        Segments { home: Arc::clone(&self.home), named: Arc::new(named), open: Arc::new(Mutex::new(open)) }
    }

    /// The base seq of the last segment.
    pub(crate) fn last_base(&self) -> Seq {
        self.named.last().expect("a ledger has a segment").1
    }

    /// A segment by its position.
    ///
    /// # Errors
    /// It cannot be opened, or is not of this ledger.
    pub(crate) fn get(&self, n: usize) -> Result<Arc<Segment>> {
        let (number, _) = self.name_of(n);
        let known = self.open.lock().expect("nobody panics with it").get(number);
        known.map_or_else(|| self.open_one(n, Access::Read).map(|segment| self.keep(segment)), Ok)
    }

    /// The last segment.
    ///
    /// # Errors
    /// As [`Segments::get`].
    pub(crate) fn last(&self) -> Result<Arc<Segment>> {
        self.get(self.len() - 1)
    }

    /// A segment that has a successor, and what that says of its end.
    ///
    /// # Errors
    /// One of them cannot be opened, or the second does not follow the first.
    pub(crate) fn sealed(&self, n: usize) -> Result<(Arc<Segment>, Predecessor)> {
        let (segment, next) = (self.get(n)?, self.get(n + 1)?);
        check_place(&next, Some(&segment), &self.home.identity)?;
        Ok((segment, next.header.predecessor.expect("it names the one before it")))
    }

    /// As [`Segments::sealed`], by its number; `None` for one that has no successor here. A roll seals what the active segment
    /// came to first, and lists its successor then.
    ///
    /// # Errors
    /// As [`Segments::sealed`].
    pub(crate) fn sealed_as(&self, number: u64) -> Result<Option<(Arc<Segment>, Predecessor)>> {
        self.position(number).filter(|n| n + 1 < self.len()).map(|n| self.sealed(n)).transpose()
    }

    /// Adds a segment that was made just now.
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        let (last, base) = self.name_of(self.len() - 1);
        let header = &segment.header;
        assert!(header.number == last + 1 && header.base >= base, "number {} follows {last}", header.number);
        Arc::make_mut(&mut self.named).push((header.number, header.base));
        self.keep(segment);
    }

    fn name_of(&self, n: usize) -> (u64, Seq) {
        *self.named.get(n).unwrap_or_else(|| panic!("segment {n} of {} was asked for", self.len()))
    }

    fn open_one(&self, n: usize, access: Access) -> Result<Segment> {
        let (number, base) = self.name_of(n);
        let path = names::segment(&self.home.dir, number, base);
        let segment =
            Segment::open(&*self.home.vfs, path, number, base, access).map_err(|error| self.gone(base, error))?;
        let (header, path) = (&segment.header, &segment.path);
        if header.identity != self.home.identity {
            return Err(Error::damaged(path, 32, None, "it belongs to another ledger"));
        }
        Ok(segment)
    }

    /// What to say of a segment that cannot be opened: one that is missing, and for which a floor stands, was pruned.
    fn gone(&self, base: Seq, error: Error) -> Error {
        let is_missing = matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        let floors = is_missing.then(|| floors::list(&*self.home.vfs, &self.home.dir).ok()).flatten();
        let last = floors.and_then(|floors| floors.copies.keys().next_back().copied());
        match last.filter(|last| last.next() >= base) {
            Some(last) => Error::Pruned { oldest: last.next() },
            None => error,
        }
    }

    fn keep(&self, segment: impl Into<Arc<Segment>>) -> Arc<Segment> {
        let segment = segment.into();
        let mut open = self.open.lock().expect("nobody panics with it");
        // What another thread has opened meanwhile stays: what was learned of its frames is there.
        let kept = open.get(segment.header.number).unwrap_or(segment);
        open.put(&kept);
        kept
    }
}
