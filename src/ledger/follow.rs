//! `Follow`: the past, then what comes, in one loop.
//!
//! Invariants:
//! - Each entry is given once, in order, without a gap, and only when it is durable.
//! - It reads on from where it stands: one segment, a place in it, and what is read but not given yet.
//! - In the writer's process it sleeps at the gate, and costs appends nothing but a wake. What may still come is looked at
//!   before the durable head, and the word on which it sleeps before both.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::beside::Beside;
use crate::ledger::core::Core;
use crate::ledger::gate::Prospect;
use crate::ledger::open::twice;
use crate::ledger::options::Options;
use crate::ledger::primitives::Instant;
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::storage::cursor::{Cursor, Reading};
use crate::storage::segment::Segment;

/// What [`Follow::next_within`] came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Followed {
    /// The next entry, which is durable.
    Entry(Box<Entry>),
    /// Everything that is durable was given.
    CaughtUp {
        /// The last entry that is known to be durable.
        head: Seq,
    },
    /// Everything was given, and no more can come: the ledger was closed, or its last handle dropped. Only in the writer's
    /// process; elsewhere the next writer may come at any time.
    Ended,
}

/// The entries of a ledger from a seq on: those that are there, and then each that comes, once it is durable.
///
/// As an iterator it waits for the next entry. From [`Ledger::follow`](crate::Ledger::follow) it ends when the ledger is closed;
/// from [`Reader::follow`](crate::Reader::follow) it never does: it outlives the writer, and goes on with the next one. An error
/// ends both: follow anew from behind the last entry.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use std::time::Duration;
/// use taskledger::{Event, Followed, Ledger, Seq};
/// let ledger = Ledger::open(dir.path())?;
/// ledger.append("a", Event::created())?;
/// let mut follow = Ledger::open_read_only(dir.path())?.follow(Seq::FIRST)?; // in any process
/// assert_eq!(follow.next().expect("it never ends")?.task.as_deref(), Some("a"));
/// assert!(matches!(follow.next_within(Duration::ZERO)?, Followed::CaughtUp { head: Seq(1) }));
/// ledger.append("b", Event::created())?;
/// assert_eq!(follow.next().expect("it never ends")?.task.as_deref(), Some("b"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Follow {
    source: Source,
    cursor: Cursor,
    from: Seq,
    /// Read, and not given yet.
    ready: std::vec::IntoIter<Entry>,
    /// Whether it was told that it has caught up, since the last entry.
    told: bool,
    failed: Option<Error>,
}

/// Where a follower gets its segments, and how it waits.
enum Source {
    Here(Here),
    Beside(Box<Beside>),
}

/// A ledger that is open for writing in this process.
struct Here {
    core: Arc<Core>,
}

impl Here {
    fn new(core: Arc<Core>) -> Here {
        let held = core.commit();
        core.gate.enter();
        drop(held);
        Here { core }
    }

    /// The segment with this number, if it is there yet.
    ///
    /// # Errors
    /// [`Error::Pruned`] where it is there no more; or it cannot be opened.
    fn segment(&self, number: u64) -> Result<Option<Arc<Segment>>> {
        let segments = self.core.segments.read().expect("no writer panics").clone();
        if number < segments.first_number() {
            return Err(Error::Pruned { oldest: segments.first_base() });
        }
        segments.position(number).map(|n| segments.get(n)).transpose()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.core.gate.leave();
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("from", &self.from).field("next", &self.cursor.next()).finish_non_exhaustive()
    }
}

impl Follow {
    /// In the writer's process.
    ///
    /// # Errors
    /// [`Error::Pruned`] where it would begin below what is kept; or the segment to begin with cannot be opened.
    pub(crate) fn here(core: &Arc<Core>, from: Seq) -> Result<Follow> {
        let from = from.max(Seq::FIRST);
        let here = Here::new(Arc::clone(core));
        let log = core.log();
        log.check_kept(from)?;
        let segment = log.segments.get(log.segment_of(from))?;
        Ok(Follow::new(Source::Here(here), segment, from))
    }

    /// In any process.
    ///
    /// # Errors
    /// As opening for reading.
    pub(crate) fn beside(dir: &Path, options: &Options, from: Seq) -> Result<Follow> {
        let from = from.max(Seq::FIRST);
        let (beside, segment) = twice(dir, &mut || Beside::new(dir, options, from))?;
        Ok(Follow::new(Source::Beside(Box::new(beside)), segment, from))
    }

    fn new(source: Source, segment: Arc<Segment>, from: Seq) -> Follow {
        let ready = Vec::new().into_iter();
        Follow { source, cursor: Cursor::start(segment), from, ready, told: false, failed: None }
    }

    /// The next entry, once it is durable. Where there is none, it is told at once, the first time since an entry, that
    /// everything was given; from then on only after waiting so long for one.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where an entry that is durable cannot be read back. In the writer's process
    /// [`Error::Poisoned`], after everything that was durable when a write or sync failed. An error stays: the same one comes
    /// again.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Followed> {
        self.advance(Some(timeout))
    }

    /// Where everything that is durable was read.
    fn caught_up(&self) -> Followed {
        Followed::CaughtUp { head: Seq(self.cursor.next().0 - 1) }
    }

    /// Gives the next entry; without a timeout nothing else but the end.
    fn advance(&mut self, timeout: Option<Duration>) -> Result<Followed> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.seek(timeout).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn seek(&mut self, timeout: Option<Duration>) -> Result<Followed> {
        let mut started = None;
        loop {
            for entry in &mut self.ready {
                if entry.seq >= self.from {
                    self.told = false;
                    return Ok(Followed::Entry(Box::new(entry)));
                }
            }
            let (turn, prospect) = match &self.source {
                Source::Here(here) => (here.core.gate.tail(), here.core.gate.prospect()),
                Source::Beside(_) => (0, Prospect::Open),
            };
            if self.look()? {
                continue;
            }
            match (&self.source, prospect) {
                (_, Prospect::Open) | (Source::Beside(_), _) => {}
                (Source::Here(_), Prospect::Ended) => return Ok(Followed::Ended),
                (Source::Here(here), Prospect::Poisoned) => {
                    here.core.commit().usable()?;
                    return Ok(Followed::Ended);
                }
            }
            let most = match timeout {
                None => None,
                Some(_) if !self.told => {
                    self.told = true;
                    return Ok(self.caught_up());
                }
                Some(timeout) => {
                    let left = timeout.saturating_sub(started.get_or_insert_with(Instant::now).elapsed());
                    if left.is_zero() {
                        return Ok(self.caught_up());
                    }
                    Some(left)
                }
            };
            match &mut self.source {
                Source::Here(here) => here.core.gate.sleep_at_tail(turn, most),
                Source::Beside(beside) => beside.wait(most),
            }
        }
    }

    /// Reads what is durable and not read yet; whether there was something.
    ///
    /// # Errors
    /// An entry that is vouched for cannot be read back; beside a writer only after it was looked at twice.
    fn look(&mut self) -> Result<bool> {
        let path = self.cursor.segment().path.clone();
        let found = twice(&path, &mut || self.look_once())?;
        if let (true, Source::Beside(beside)) = (found, &mut self.source) {
            beside.hasten();
        }
        Ok(found)
    }

    fn look_once(&mut self) -> Result<bool> {
        loop {
            let (durable, witness) = match &mut self.source {
                Source::Here(here) => (here.core.gate.durable(), "a sync"),
                Source::Beside(beside) => (beside.durable()?, beside.witness()),
            };
            if self.read(durable, witness)? {
                return Ok(true);
            }
            let more = match &mut self.source {
                Source::Here(_) => false,
                Source::Beside(beside) => beside.look_further(&mut self.cursor)?,
            };
            if !more {
                return Ok(false);
            }
        }
    }

    /// Reads entries up to a seq that is durable, here and in the segments that follow; whether there was one.
    fn read(&mut self, durable: Seq, witness: &str) -> Result<bool> {
        loop {
            let bound = self.cursor.bound(durable);
            if self.cursor.next() > bound {
                if !self.cursor.is_succeeded() {
                    return Ok(false);
                }
                self.cursor.check_end()?;
                let Some(next) = self.segment_after()? else {
                    let path = &self.cursor.segment().path;
                    return Err(Error::damaged(path, None, Some(self.cursor.next()), "its successor has gone"));
                };
                self.cursor = Cursor::start(next);
                continue;
            }
            let reading = match self.cursor.read(bound, false)? {
                Reading::Missing { .. } => {
                    if !self.cursor.is_succeeded()
                        && let Some(next) = self.segment_after()?
                    {
                        self.cursor.succeed(&next);
                        continue;
                    }
                    self.cursor.read(bound, true)?
                }
                other => other,
            };
            match reading {
                Reading::Entries(entries) => {
                    self.ready = entries.into_iter();
                    return Ok(true);
                }
                Reading::Missing { stop, offset } => return Err(self.cursor.lost(stop, offset, durable, witness)),
                Reading::Beyond if self.cursor.is_succeeded() => {
                    let path = &self.cursor.segment().path;
                    let what = "a batch goes on behind the seq at which its successor says that it ends";
                    return Err(Error::damaged(path, None, Some(self.cursor.next()), what));
                }
                // Nobody vouches for a part of a batch.
                Reading::Beyond => return Ok(false),
            }
        }
    }

    fn segment_after(&self) -> Result<Option<Arc<Segment>>> {
        let before = self.cursor.segment();
        match &self.source {
            Source::Here(here) => here.segment(before.header.number + 1),
            Source::Beside(beside) => beside.segment_after(before),
        }
    }
}

impl Iterator for Follow {
    type Item = Result<Entry>;

    /// Waits for the next entry; after an error there is none.
    fn next(&mut self) -> Option<Result<Entry>> {
        if self.failed.is_some() {
            return None;
        }
        match self.advance(None) {
            Ok(Followed::Entry(entry)) => Some(Ok(*entry)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
