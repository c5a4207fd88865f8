//! Which entries of a task or note to ask for, and how many at a time: the words of histories in pages.

use std::sync::Arc;

use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::model::subject::Realm;

/// In which order to show a history, and how many entries at a time.
///
/// ```
/// use taskledger::HistoryFilter;
/// let filter = HistoryFilter::new().newest_first().limit(50);
/// ```
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    pub(crate) newest_first: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<HistoryToken>,
}

/// Where the next page of a history starts; opaque. It is of one task or note of one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryToken {
    pub(crate) hash: u64,
    pub(crate) realm: Realm,
    pub(crate) key: Arc<str>,
    /// Of the entry that ended the page before.
    pub(crate) seq: Seq,
    pub(crate) version: u64,
    /// The entry before that one; `Seq(0)` for none.
    pub(crate) back: Seq,
    /// The entries after it, the newest first, as far as they were looked for.
    pub(crate) ahead: Option<Arc<Vec<Seq>>>,
}

/// One page of a history.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The entries, in the order that was asked for.
    pub entries: Vec<Entry>,
    /// For [`HistoryFilter::after`], where there is more.
    pub next: Option<HistoryToken>,
    /// As of which seq this page is true.
    pub seq: Seq,
    /// How many of the oldest entries were pruned: they are in no page.
    pub pruned: u64,
}

impl HistoryFilter {
    /// Every entry, oldest first, in one page.
    #[must_use]
    pub fn new() -> HistoryFilter {
        HistoryFilter::default()
    }

    /// The newest entry first.
    #[must_use]
    pub fn newest_first(mut self) -> HistoryFilter {
        self.newest_first = true;
        self
    }

    /// At most so many entries a page.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> HistoryFilter {
        self.limit = Some(entries);
        self
    }

    /// Goes on where a page ended, whichever order that had.
    #[must_use]
    pub fn after(mut self, token: HistoryToken) -> HistoryFilter {
        self.after = Some(token);
        self
    }
}
