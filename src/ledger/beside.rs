//! What a follower of another process goes by: the writer's files, and whatever tells that they have changed.
//!
//! Invariants:
//! - A seq counts as durable only if something names it that is written after a sync: the mark in `live`, the watermark of
//!   a frame, the header of a successor. What is known to be durable only grows.
//! - The mark is read before the log, and the log before the list of segments: what is vouched for was there before.
//! - The watch is made before anything is read, so that no change is missed. It is not relied on: some time later it is
//!   looked at anyway.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::floor;
use crate::ledger::options::Options;
use crate::ledger::primitives::thread;
use crate::ledger::segments::Home;
use crate::ledger::spare::check_home;
use crate::model::seq::Seq;
use crate::storage::cursor::Cursor;
use crate::storage::identity;
use crate::storage::live::{self, Mark};
use crate::storage::log::{Listing, check_place, list, missing_between};
use crate::storage::names;
use crate::storage::segment::Segment;
use crate::vfs::ops::{Access, Watch};

/// How long nothing is looked at where the system tells of changes: it may miss one.
const WATCHED_PAUSE: Duration = Duration::from_millis(250);
/// How long nothing is looked at where it does not: at first, and after nothing was found for a while.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// The files of a ledger to which another process may write.
#[derive(Debug)]
pub(crate) struct Beside {
    home: Home,
    inode: u64,
    /// The highest seq that anything was seen to call durable, and what that was.
    durable: Seq,
    witness: &'static str,
    watch: Option<Box<dyn Watch>>,
    pause: Duration,
    /// The newest mark, as of the last look.
    mark: Option<Mark>,
    /// Where the frames ended at the last look.
    end: Option<End>,
}

/// Where the frames of a segment end.
#[derive(Debug, Clone, Copy)]
struct End {
    number: u64,
    offset: u64,
    /// Whether nothing was ever written there.
    is_zero: bool,
    /// How often it was seen.
    times: u32,
}

/// Of the segments that are listed, those that count; they are opened only where something was pruned.
///
/// # Errors
/// No floor stands under the first of them; or one cannot be opened, or belongs elsewhere.
fn kept_of(home: &Home, mut listing: Listing) -> Result<Listing> {
    let Some((number, base, path)) = listing.segments.first() else { return Ok(listing) };
    if *number == 1 {
        return Ok(listing);
    }
    let first = Segment::open(&*home.vfs, path.clone(), *number, *base, Access::Read)?;
    check_place(&first, None, &home.identity)?;
    let first = floor::first_that_counts(home, &first, &mut |wanted| {
        let found = listing.segments.iter().find(|(number, ..)| *number == wanted).cloned();
        let open = |(number, base, path)| Segment::open(&*home.vfs, path, number, base, Access::Read).map(Arc::new);
        found.map(open).transpose()
    })?;
    listing.segments.retain(|(number, ..)| *number >= first);
    Ok(listing)
}

impl Beside {
    /// Also gives the segment to begin with.
    ///
    /// # Errors
    /// As opening for reading.
    pub(crate) fn new(dir: &Path, options: &Options, from: Seq) -> Result<(Beside, Arc<Segment>)> {
        let vfs = Arc::clone(&options.vfs);
        let watch = vfs.watch(dir).ok();
        let (identity, inode) = identity::read(&*vfs, &names::ledger(dir), false)?;
        let home = Home { vfs, dir: dir.to_owned(), identity, mmap: options.mmap };
        let listing = kept_of(&home, list(&*home.vfs, dir)?)?;
        let after = listing.segments.partition_point(|(_, base, _)| *base <= from);
        if let (0, Some((number, base, _))) = (after, listing.segments.first())
            && *number > 1
        {
            return Err(Error::Pruned { oldest: *base });
        }
        let after = after.max(1);
        let mut before: Option<Segment> = None;
        // The one before it only for a look at how they fit.
        for (number, base, path) in listing.segments.iter().take(after).skip(after.saturating_sub(2)) {
            let segment = Segment::open(&*home.vfs, path.clone(), *number, *base, Access::Read)?;
            if after < 2 || before.is_some() {
                check_place(&segment, before.as_ref(), &identity)?;
            }
            before = Some(segment);
        }
        let Some(segment) = before else {
            return Err(Error::damaged(&names::log_dir(dir), None, Some(Seq::FIRST), "every segment is missing"));
        };
        let beside = Beside {
            home,
            inode,
            durable: Seq::ZERO,
            witness: "nobody",
            watch,
            pause: PAUSES[0],
            mark: None,
            end: None,
        };
        Ok((beside, Arc::new(segment)))
    }

    pub(crate) fn witness(&self) -> &'static str {
        self.witness
    }

    /// The highest seq that is known to be durable, after a look at the mark.
    ///
    /// # Errors
    /// The page cannot be read; that it is missing or bad is no error.
    pub(crate) fn durable(&mut self) -> Result<Seq> {
        self.mark = live::read(&*self.home.vfs, &names::live(&self.home.dir), &self.home.identity.uuid, self.inode)?;
        if let Some(mark) = self.mark {
            self.hear(mark.durable, "the file live");
        }
        Ok(self.durable)
    }

    /// Whether that is news.
    fn hear(&mut self, durable: Seq, witness: &'static str) -> bool {
        let is_news = durable > self.durable;
        if is_news {
            (self.durable, self.witness) = (durable, witness);
        }
        is_news
    }

    /// Looks at what else may name the next entry as durable, where the mark does not: it may be missing, or late. Says
    /// whether there is more to be read now.
    ///
    /// # Errors
    /// A file cannot be read, or does not belong there; or the directory was moved or replaced.
    pub(crate) fn look_further(&mut self, cursor: &mut Cursor) -> Result<bool> {
        if cursor.is_succeeded() {
            return Ok(false);
        }
        // Who waits in a place that has become another one, or none, waits for ever.
        check_home(&*self.home.vfs, &self.home.dir, self.inode)?;
        let number = cursor.segment().header.number;
        let seen = self.end.filter(|end| end.number == number);
        let ahead = cursor.watermark_ahead(seen.is_some_and(|end| self.looks_behind(end)))?;
        self.end = ahead.end.map(|(offset, is_zero)| {
            let times = seen.filter(|end| end.offset == offset).map_or(0, |end| end.times);
            End { number, offset, is_zero, times: times.saturating_add(1) }
        });
        if self.hear(ahead.watermark, "a frame behind it") && self.durable >= cursor.next() {
            return Ok(true);
        }
        let Some(successor) = self.segment_after(cursor.segment())? else { return Ok(false) };
        cursor.succeed(&successor);
        Ok(true)
    }

    /// Whether it is time to look behind the end of the frames, which is long: what stands there is a frame in the making as a
    /// rule, or a torn tail, or nothing. But it may be a frame that is lost, and others behind it vouch for it. Beside a writer
    /// who lives and tells how far he is, nothing is lost where nothing was ever written.
    fn looks_behind(&self, end: End) -> bool {
        let told = || self.mark.is_some_and(|mark| mark.writer_lives(&*self.home.vfs));
        end.times.is_power_of_two() && !(end.is_zero && told())
    }

    /// The next segment, if it is there yet.
    ///
    /// # Errors
    /// It cannot be read, or does not follow; [`Error::Pruned`] where it is gone, and stands above it what came later.
    pub(crate) fn segment_after(&self, before: &Segment) -> Result<Option<Arc<Segment>>> {
        let next = before.header.number + 1;
        let listing = list(&*self.home.vfs, &self.home.dir)?;
        let n = listing.segments.partition_point(|(number, ..)| *number < next);
        let Some((number, base, path)) = listing.segments.get(n).cloned() else { return Ok(None) };
        if number != next {
            // What comes next is gone, and what comes later is there: it was pruned, or it is missing.
            let kept = kept_of(&self.home, listing)?;
            return match kept.segments.first() {
                Some((first, base, _)) if *first > next => Err(Error::Pruned { oldest: *base }),
                _ => Err(missing_between(before, number, &path)),
            };
        }
        let segment = Segment::open(&*self.home.vfs, path, number, base, Access::Read)?;
        check_place(&segment, Some(before), &self.home.identity)?;
        Ok(Some(Arc::new(segment)))
    }

    /// Something was found: where one looks again and again, there may be more soon.
    pub(crate) fn hasten(&mut self) {
        self.pause = PAUSES[0];
    }

    /// Waits until it is worth looking again, and so long at most.
    pub(crate) fn wait(&mut self, most: Option<Duration>) {
        let most = most.unwrap_or(Duration::MAX);
        if let Some(watch) = &mut self.watch {
            match watch.wait(WATCHED_PAUSE.min(most)) {
                Ok(_) => return,
                // No more is told; what cannot be had is done without.
                Err(_) => self.watch = None,
            }
        }
        thread::sleep(self.pause.min(most));
        self.pause = (self.pause * 2).min(PAUSES[1]);
    }
}
