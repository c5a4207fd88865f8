//! What differs between two moments: how many tasks are in each state, and which tasks had entries in between.
//!
//! Only what the later moment knows to be newer than the earlier one can differ. A page goes over that in order, and looks each
//! task up at the earlier moment: one page is in memory, and of each moment what a view holds.

use std::sync::Arc;

use crate::error::Result;
use crate::ledger::handle::Ledger;
use crate::ledger::reader::Reader;
use crate::ledger::tasks::{Tasks, Untold};
use crate::ledger::view::{At, View};
use crate::model::diff::{DiffFilter, DiffPage, Difference, Side};
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::Realm;
use crate::model::tasks::{Counts, PageToken};

/// What differs between two moments. Tasks only: for notes see [`View::notes`].
///
/// A task differs if it had entries in between, so that its versions differ, even where these came to the same record again:
/// [`Difference::is_back`] tells. The second moment may be the earlier one.
#[derive(Debug, Clone)]
pub struct Diff {
    a: View,
    b: View,
}

impl Diff {
    /// All tasks and notes at the first moment.
    #[must_use]
    pub fn a(&self) -> &View {
        &self.a
    }

    /// All tasks and notes at the second moment.
    #[must_use]
    pub fn b(&self) -> &View {
        &self.b
    }

    /// How many records were in each state, at the first moment and at the second.
    #[must_use]
    pub fn counts(&self) -> (Counts, Counts) {
        (self.a.counts(), self.b.counts())
    }

    /// The tasks that differ, so many at a time.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{At, DiffFilter, Event, Seq};
    /// for task in ["a", "b", "c"] {
    ///     ledger.append(task, Event::created())?;
    /// }
    /// let diff = ledger.diff(At::Seq(Seq(0)), At::Seq(Seq(3)))?;
    /// let (mut filter, mut tasks) = (Some(DiffFilter::new().limit(2)), 0);
    /// while let Some(asked) = filter {
    ///     let page = diff.page(asked)?;
    ///     tasks += page.tasks.len();
    ///     filter = page.next.map(|token| DiffFilter::new().limit(2).after(token));
    /// }
    /// assert_eq!(tasks, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) where a stored output is no JSON, or the log, where it must be read again,
    /// cannot be read.
    pub fn page(&self, filter: DiffFilter) -> Result<DiffPage> {
        let is_reverse = self.b.seq() < self.a.seq();
        let (earlier, later) = if is_reverse { (&self.b, &self.a) } else { (&self.a, &self.b) };
        let (changed, next) = later.ask(&|tasks| changed_since(tasks, earlier.seq(), &filter))?;
        let mut page = DiffPage { tasks: Vec::with_capacity(changed.len()), next };
        for (id, after) in changed {
            let before = earlier.ask(&|tasks| side(tasks.slot(Realm::Tasks, &id)?.as_deref(), &id))?;
            let (a, b) = if is_reverse { (after, before) } else { (before, after) };
            page.tasks.push(Difference { id: id.to_string(), a, b });
        }
        Ok(page)
    }
}

/// A task by its id, and what it was.
type Changed = (Arc<str>, Side);

/// The next tasks that had entries after a seq, in order, and where to go on.
///
/// # Errors
/// Why it cannot be told.
fn changed_since(
    tasks: &Tasks,
    since: Seq,
    filter: &DiffFilter,
) -> std::result::Result<(Vec<Changed>, Option<PageToken>), Untold> {
    let limit = filter.limit.unwrap_or(usize::MAX);
    let after = filter.after.as_ref().map(|token| (token.hash, Realm::Tasks, &*token.key));
    let (mut changed, mut last) = (Vec::new(), None);
    for known in tasks.touched_since(since, after) {
        let known = known?;
        if !known.key().starts_with(&filter.prefix) {
            continue;
        }
        let slot = known.slot()?;
        if slot.seq <= since {
            continue;
        }
        if changed.len() >= limit {
            return Ok((changed, last));
        }
        changed.push((Arc::clone(known.key()), side(Some(&slot), known.key())?));
        last = Some(PageToken { hash: known.place().0, key: Arc::clone(known.key()) });
    }
    Ok((changed, None))
}

fn side(slot: Option<&Slot>, id: &str) -> std::result::Result<Side, Untold> {
    let Some(slot) = slot else { return Ok(Side::default()) };
    let task = slot.task(id).map_err(|(seq, message)| Untold::Json(seq, message))?;
    Ok(Side { version: slot.version, seq: slot.seq, task })
}

/// What differs between two moments.
impl Ledger {
    /// What differs between two moments: how many tasks are in each state, and which tasks had entries in between. Takes the
    /// time of two views; pages are made when they are asked for. The second moment may be the earlier one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{At, DiffFilter, Event, Seq, TaskState};
    /// ledger.append("a", Event::created())?;
    /// ledger.append("b", Event::created())?;
    /// ledger.append("a", Event::to(TaskState::Ready))?;
    /// let diff = ledger.diff(At::Seq(Seq(2)), At::Seq(Seq(3)))?;
    /// let (before, after) = diff.counts();
    /// assert_eq!((before.of(TaskState::Pending), after.of(TaskState::Pending)), (2, 1));
    /// let tasks = diff.page(DiffFilter::new().limit(100))?.tasks;
    /// assert_eq!((tasks.len(), &*tasks[0].id), (1, "a"));
    /// assert_eq!((tasks[0].a.state(), tasks[0].b.state()), (Some(TaskState::Pending), Some(TaskState::Ready)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::as_of`], for either moment.
    pub fn diff(&self, a: At, b: At) -> Result<Diff> {
        Ok(Diff { a: self.as_of(a)?, b: self.as_of(b)? })
    }
}

/// What differs between two moments.
impl Reader {
    /// What differs between two moments, as [`Ledger::diff`] tells it.
    ///
    /// # Errors
    /// As [`Ledger::diff`].
    pub fn diff(&self, a: At, b: At) -> Result<Diff> {
        Ok(Diff { a: self.as_of(a)?, b: self.as_of(b)? })
    }
}
