//! What differs between two moments: the words of the question and of its answer.

use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::tasks::{PageToken, Task};

/// Which differences to list, and how many at a time.
///
/// ```
/// use taskledger::DiffFilter;
/// let filter = DiffFilter::new().prefix("nightly/").limit(50);
/// ```
#[derive(Debug, Clone, Default)]
pub struct DiffFilter {
    pub(crate) prefix: String,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<PageToken>,
}

/// One page of differences.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiffPage {
    /// The tasks that differ, in the ledger's own stable order: that of [`Page`](crate::Page).
    pub tasks: Vec<Difference>,
    /// For [`DiffFilter::after`], where there may be more.
    pub next: Option<PageToken>,
}

/// A task that has another version at one moment than at the other.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// The task.
    pub id: String,
    /// What it was at the first moment.
    pub a: Side,
    /// What it was at the second.
    pub b: Side,
}

/// What a task was at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Side {
    /// How many entries it had had; 0 where it never was.
    pub version: u64,
    /// The place of the last of them; `Seq(0)` where it never was.
    pub seq: Seq,
    /// Its record; `None` where it was not there: not yet, or removed.
    pub task: Option<Task>,
}

impl DiffFilter {
    /// Every difference, in one page.
    #[must_use]
    pub fn new() -> DiffFilter {
        DiffFilter::default()
    }

    /// Only tasks whose id begins so.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> DiffFilter {
        self.prefix = prefix.into();
        self
    }

    /// At most so many tasks a page.
    #[must_use]
    pub fn limit(mut self, tasks: usize) -> DiffFilter {
        self.limit = Some(tasks);
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, token: PageToken) -> DiffFilter {
        self.after = Some(token);
        self
    }
}

impl Difference {
    /// Whether the records of both moments are equal, or there is none at both: entries came in between, and what they changed
    /// they changed back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        let record = |side: &Side| side.task.as_ref().map(|task| task.record.clone());
        record(&self.a) == record(&self.b)
    }
}

impl Side {
    /// Its state; `None` where it was not there.
    #[must_use]
    pub fn state(&self) -> Option<TaskState> {
        self.task.as_ref().map(|task| task.record.state)
    }
}
