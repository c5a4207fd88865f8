//! `Note`: a JSON value under a key, as the ledger folds and shows it; and which notes to ask for.
//!
//! Invariant: the only way that a note comes to be is `fold_note`. Its value is kept as text and parsed when asked for.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::entry::Entry;
use crate::model::event::EventKind;
use crate::model::fold::Unfoldable;
use crate::model::json::Json;
use crate::model::rules::check_note_fields;
use crate::model::seq::Seq;

/// A JSON value under a key, as of some seq. Notes stand beside the tasks: no task's list, count or record has them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Note {
    /// Its key.
    pub key: String,
    /// What it says.
    pub value: serde_json::Value,
    /// How many entries the note has had.
    pub version: u64,
    /// The place of its last entry.
    pub seq: Seq,
    /// When that was placed, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Which notes to list, and how many at a time.
///
/// ```
/// use taskledger::NoteFilter;
/// let filter = NoteFilter::new().prefix("dlq:").limit(50);
/// ```
#[derive(Debug, Clone, Default)]
pub struct NoteFilter {
    pub(crate) prefix: String,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<NoteToken>,
}

/// Where the next page of notes starts; opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteToken {
    /// Of the note that ended the page before.
    pub(crate) hash: u64,
    pub(crate) key: Arc<str>,
}

/// One page of notes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotePage {
    /// The notes, in the ledger's own stable order.
    pub notes: Vec<Note>,
    /// For [`NoteFilter::after`], where there may be more.
    pub next: Option<NoteToken>,
    /// As of which seq this page is true.
    pub seq: Seq,
}

/// Folds one entry of a note onto what is there: what it says afterwards, `None` once it is removed.
///
/// # Errors
/// The entry states what a note does not have, or removes a note that is not there.
pub(crate) fn fold_note(before: Option<&Json>, entry: &Entry) -> Result<Option<Json>, Unfoldable> {
    let event = &entry.event;
    check_note_fields(event).map_err(Unfoldable)?;
    if entry.from.is_some() {
        return Err(Unfoldable("it states an earlier state, and a note has none"));
    }
    match (event.kind, before, &event.value) {
        (EventKind::Noted, _, Some(value)) => Ok(Some(value.clone())),
        (EventKind::Removed, Some(_), None) => Ok(None),
        _ => Err(Unfoldable("its kind does not fit the note it meets")),
    }
}

impl NoteFilter {
    /// Every note, in one page.
    #[must_use]
    pub fn new() -> NoteFilter {
        NoteFilter::default()
    }

    /// Only notes whose key begins so.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> NoteFilter {
        self.prefix = prefix.into();
        self
    }

    /// At most so many notes a page.
    #[must_use]
    pub fn limit(mut self, notes: usize) -> NoteFilter {
        self.limit = Some(notes);
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, token: NoteToken) -> NoteFilter {
        self.after = Some(token);
        self
    }
}

/// `taskledger.note/1`.
impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.note/1")?;
        map.serialize_entry("note", &self.key)?;
        map.serialize_entry("value", &self.value)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("at", &self.at)?;
        map.end()
    }
}
