//! `Slot`: everything that is kept of one task or note, and how one more entry changes it.
//!
//! Invariants: `version` and `seq` are those of its last entry; `keys` holds at most the window; an entry follows only if
//! it counts on, and names the entries before it.

use std::sync::Arc;

use crate::model::entry::Entry;
use crate::model::expect::Found;
use crate::model::fold::{Folded, Unfoldable, fold};
use crate::model::json::Json;
use crate::model::limits::KEY_WINDOW;
use crate::model::notes::fold_note;
use crate::model::seq::Seq;
use crate::model::subject::Realm;

/// A keyed event that is still in its subject's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keyed {
    pub key: Arc<str>,
    pub digest: u64,
    pub seq: Seq,
    pub version: u64,
    pub at: u64,
    /// Seq of the first event of the batch it came in.
    pub batch: Seq,
    /// Whether it was that batch's only event.
    pub alone: bool,
    pub epoch: u32,
}

/// What a stored entry carries beside the entry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub batch: Seq,
    /// Whether it is the last of its batch.
    pub last: bool,
    pub epoch: u32,
    /// Which entry of its task or note it names as the one before; `Seq(0)` for none.
    pub back: Seq,
    /// Which keyed one.
    pub key_back: Seq,
    /// The digest of the request, for a keyed event.
    pub digest: Option<u64>,
}

/// What there is of a task or a note that is not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Live {
    Record(Folded),
    Value(Json),
}

/// Everything that is kept of one task or note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// `None` once removed.
    pub live: Option<Live>,
    pub version: u64,
    pub seq: Seq,
    /// Of the last entry: when, and who stated it.
    pub at: u64,
    pub actor: Option<Arc<str>>,
    /// The latest keyed events, oldest first.
    pub keys: Arc<[Keyed]>,
}

impl Slot {
    /// The slot after one more entry of its task or note.
    ///
    /// # Errors
    /// The entry does not follow what is there.
    pub(crate) fn after(before: Option<&Slot>, entry: &Entry, origin: &Origin) -> Result<Slot, Unfoldable> {
        let version = before.map_or(0, |slot| slot.version) + 1;
        if entry.version != Some(version) {
            return Err(Unfoldable("its version is not the next one"));
        }
        let live = match entry.note {
            None => fold(before.and_then(Slot::record).cloned(), entry)?.map(Live::Record),
            Some(_) => fold_note(before.and_then(Slot::value), entry)?.map(Live::Value),
        };
        if origin.back != Slot::seq_of(before) {
            return Err(Unfoldable("it does not name the entry before"));
        }
        if entry.event.key.is_some() && origin.key_back != Slot::keyed_of(before) {
            return Err(Unfoldable("it does not name the keyed entry before"));
        }
        let mut keys = before.map(|slot| Arc::clone(&slot.keys)).unwrap_or_default();
        if let (Some(key), Some(digest)) = (&entry.event.key, origin.digest) {
            let keyed = Keyed {
                key: key.as_str().into(),
                digest,
                seq: entry.seq,
                version,
                at: entry.at,
                batch: origin.batch,
                alone: origin.last && origin.batch == entry.seq,
                epoch: origin.epoch,
            };
            let too_old = (keys.len() + 1).saturating_sub(KEY_WINDOW);
            keys = keys.iter().skip(too_old).cloned().chain([keyed]).collect();
        }
        let actor = entry.event.actor.as_deref().map(Arc::from);
        Ok(Slot { live, version, seq: entry.seq, at: entry.at, actor, keys })
    }

    /// The last entry of a task or note that has this slot; `Seq(0)` for none.
    pub(crate) fn seq_of(slot: Option<&Slot>) -> Seq {
        slot.map_or(Seq::ZERO, |slot| slot.seq)
    }

    /// Its last entry with a key that is still in the window.
    pub(crate) fn keyed_of(slot: Option<&Slot>) -> Seq {
        slot.and_then(|slot| slot.keys.last()).map_or(Seq::ZERO, |keyed| keyed.seq)
    }

    /// The live record, where it is a task's.
    pub(crate) fn record(&self) -> Option<&Folded> {
        match &self.live {
            Some(Live::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// What the note says, where it is a note's.
    pub(crate) fn value(&self) -> Option<&Json> {
        match &self.live {
            Some(Live::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// What is known of a subject whose slot this is.
    pub(crate) fn found(realm: Realm, slot: Option<&Slot>) -> Found {
        Found {
            realm,
            version: slot.map_or(0, |slot| slot.version),
            exists: slot.is_some_and(|slot| slot.live.is_some()),
            record: slot.and_then(Slot::record).map(|record| (record.state, record.attempts)),
        }
    }
}
