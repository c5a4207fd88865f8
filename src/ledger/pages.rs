//! Histories in pages: so many entries of one task or note at a time, from either end.
//!
//! Entries name only the one before. Newest first, a page goes on where the last one ended. Oldest first, the first page walks
//! from the newest entry to the oldest and keeps where they are, 8 bytes for each; the token hands that on, and a later page
//! walks only over what was appended since.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::floor;
use crate::ledger::handle::Ledger;
use crate::ledger::log::LogView;
use crate::ledger::view::View;
use crate::model::history::{HistoryFilter, HistoryPage, HistoryToken};
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::storage::table::record::hash_of;

/// A task or note, and its last entry: seq and version, or 0 and 0.
#[derive(Debug, Clone, Copy)]
struct Whose<'a> {
    hash: u64,
    realm: Realm,
    key: &'a str,
    newest: (Seq, u64),
}

/// A page of the history of a task or note whose last entry is this, as of a seq.
fn page_of(
    log: &LogView,
    (realm, key): (Realm, &str),
    newest: Option<(Seq, u64)>,
    seq: Seq,
    filter: &HistoryFilter,
) -> Result<HistoryPage> {
    let whose = Whose {
        hash: hash_of(&log.home.identity.hash_key, realm, key),
        realm,
        key,
        newest: newest.unwrap_or_default(),
    };
    if let Some(token) = &filter.after
        && (token.hash, token.realm, &*token.key) != (whose.hash, realm, key)
    {
        let problem = format!("is of {}; take one from a page of this history", token.realm.subject(&*token.key));
        return Err(Error::Limit { subject: Some(realm.subject(key)), what: "page token", problem });
    }
    let mut page = HistoryPage { entries: Vec::new(), next: None, seq, pruned: pruned(log, whose)? };
    if filter.newest_first {
        back(log, whose, filter, &mut page)?;
    } else {
        forth(log, whose, filter, &mut page)?;
    }
    Ok(page)
}

/// How many entries of it were pruned: what the floor says.
///
/// # Errors
/// The floor cannot be read.
fn pruned(log: &LogView, whose: Whose<'_>) -> Result<u64> {
    let mut unfit = Vec::new();
    loop {
        let Some(floor) = floor::under(&log.home, &*log.segments.get(0)?, &mut unfit)? else { return Ok(0) };
        let found = floor.find(whose.hash, whose.realm, whose.key);
        match found.and_then(|record| record.map(|record| floor.slot_of(&record)).transpose()) {
            Ok(slot) => return Ok(slot.map_or(0, |slot| slot.version)),
            Err(bad) => unfit.push(bad),
        }
    }
}

/// Newest first.
fn back(log: &LogView, whose: Whose<'_>, filter: &HistoryFilter, page: &mut HistoryPage) -> Result<()> {
    let after = filter.after.as_ref().filter(|token| token.seq <= whose.newest.0);
    let (mut seq, mut version) = after.map_or(whose.newest, |token| (token.back, token.version - 1));
    let mut picker = log.picker(whose.realm, whose.key);
    let mut last = None;
    while seq >= log.oldest() {
        if filter.limit.is_some_and(|limit| page.entries.len() >= limit) {
            page.next = last;
            break;
        }
        let stored = picker.take(seq, version)?;
        let back = stored.links.back;
        last = Some(token(whose, (seq, version, back), None));
        (seq, version) = (back, version - 1);
        page.entries.push(stored.entry);
    }
    Ok(())
}

/// Oldest first.
fn forth(log: &LogView, whose: Whose<'_>, filter: &HistoryFilter, page: &mut HistoryPage) -> Result<()> {
    let (oldest, (newest, top)) = (log.oldest(), whose.newest);
    let after = filter.after.as_ref().map_or(Seq::ZERO, |token| token.seq);
    let known = filter.after.as_ref().and_then(|token| token.ahead.clone()).unwrap_or_default();
    let until = known.first().copied().unwrap_or(after);
    let mut picker = log.picker(whose.realm, whose.key);
    let mut since = Vec::new();
    let (mut seq, mut version) = whose.newest;
    while seq > until && seq >= oldest {
        since.push(seq);
        (seq, version) = (picker.take(seq, version)?.links.back, version - 1);
    }
    let ahead = if since.is_empty() { known } else { Arc::new([since.as_slice(), known.as_slice()].concat()) };
    // They fall: those behind the newest one that counts here come first, those that were shown or pruned last.
    let from = ahead.partition_point(|seq| *seq > newest);
    let to = ahead.partition_point(|seq| *seq > after && *seq >= oldest);
    let mut picker = log.picker(whose.realm, whose.key);
    let mut last = None;
    for (n, &seq) in ahead.get(from..to).unwrap_or_default().iter().enumerate().rev() {
        if filter.limit.is_some_and(|limit| page.entries.len() >= limit) {
            page.next = last.map(|place| token(whose, place, Some(Arc::clone(&ahead))));
            break;
        }
        let version = top.saturating_sub(n as u64);
        let stored = picker.take(seq, version)?;
        last = Some((seq, version, stored.links.back));
        page.entries.push(stored.entry);
    }
    Ok(())
}

fn token(whose: Whose<'_>, (seq, version, back): (Seq, u64, Seq), ahead: Option<Arc<Vec<Seq>>>) -> HistoryToken {
    HistoryToken { hash: whose.hash, realm: whose.realm, key: Arc::from(whose.key), seq, version, back, ahead }
}

/// Histories in pages.
impl Ledger {
    /// So many entries of one task, from either end; none for a task that never was. Only those of the page are in memory.
    ///
    /// Newest first, a page costs its entries. Oldest first, the first page walks once over the whole history and keeps where
    /// its entries are, 8 bytes for each, in the token; a later page costs its entries and what was appended since. What is
    /// appended between two pages shows oldest first, as of [`HistoryPage::seq`]; what is pruned between them does not.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{Event, HistoryFilter, TaskState};
    /// for event in [Event::created(), Event::to(TaskState::Ready), Event::to(TaskState::Running)] {
    ///     ledger.append("a", event)?;
    /// }
    /// let filter = HistoryFilter::new().newest_first().limit(2);
    /// let page = ledger.history_page("a", filter.clone())?;
    /// assert_eq!(page.entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [3, 2]);
    /// let page = ledger.history_page("a", filter.after(page.next.expect("there is one more")))?;
    /// assert_eq!((page.entries[0].seq.0, page.next), (1, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Limit`] for a token of another task, note or ledger; [`Error::Damaged`] or [`Error::Io`] where an entry cannot
    /// be read back.
    pub fn history_page(&self, task: &str, filter: HistoryFilter) -> Result<HistoryPage> {
        self.page_of((Realm::Tasks, task), &filter)
    }

    /// So many entries of one note; else as [`Ledger::history_page`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{Event, HistoryFilter};
    /// ledger.append_note("n", Event::noted(1))?;
    /// ledger.append_note("n", Event::noted(2))?;
    /// let page = ledger.note_history_page("n", HistoryFilter::new().limit(1))?;
    /// assert_eq!((page.entries[0].seq.0, page.next.is_some()), (1, true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::history_page`].
    pub fn note_history_page(&self, key: &str, filter: HistoryFilter) -> Result<HistoryPage> {
        self.page_of((Realm::Notes, key), &filter)
    }

    fn page_of(&self, (realm, key): (Realm, &str), filter: &HistoryFilter) -> Result<HistoryPage> {
        let core = self.core();
        let head = self.head();
        // After that, so that it knows all up to there; and the log after it, so that its entries are there.
        let newest = core.slot(realm, key)?.map(|slot| (slot.seq, slot.version));
        page_of(&core.log(), (realm, key), newest, newest.map_or(head, |(seq, _)| seq.max(head)), filter)
    }
}

/// Histories in pages.
impl View {
    /// So many entries of one task, as [`Ledger::history_page`] gives them. A token of a page of another moment goes on here,
    /// too.
    ///
    /// # Errors
    /// As [`Ledger::history_page`]; [`Error::Pruned`] where the view is older than a prune that followed another one.
    pub fn history_page(&self, task: &str, filter: HistoryFilter) -> Result<HistoryPage> {
        self.page_of((Realm::Tasks, task), &filter)
    }

    /// So many entries of one note; else as [`View::history_page`].
    ///
    /// # Errors
    /// As [`View::history_page`].
    pub fn note_history_page(&self, key: &str, filter: HistoryFilter) -> Result<HistoryPage> {
        self.page_of((Realm::Notes, key), &filter)
    }

    fn page_of(&self, (realm, key): (Realm, &str), filter: &HistoryFilter) -> Result<HistoryPage> {
        let newest = self.slot(realm, key)?.map(|slot| (slot.seq, slot.version));
        page_of(&self.log, (realm, key), newest, self.log.head, filter)
    }
}
