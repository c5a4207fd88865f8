//! One task or note as of a moment, without folding all of them.
//!
//! A walk goes from what is known of it back along the links of its entries, behind the moment, until something is known
//! that the rest can be folded onto: nothing before its first entry, the index of a segment, or the floor. An index counts only
//! where it ends with the very entry that the link names.
//!
//! Invariant: no answer hangs on the walk. Where it is long, or something does not fit or cannot be read, all is folded.

use std::sync::Arc;

use crate::error::Result;
use crate::ledger::floor;
use crate::ledger::handle::Ledger;
use crate::ledger::log::LogView;
use crate::ledger::reader::Reader;
use crate::ledger::view::{At, View, bad_json};
use crate::model::limits::FRAME_BYTES_MAX;
use crate::model::notes::Note;
use crate::model::seq::Seq;
use crate::model::slot::{Origin, Slot};
use crate::model::subject::Realm;
use crate::model::tasks::Task;
use crate::storage::table::read::Table;
use crate::storage::table::record::hash_of;

/// A walk gives up after so many entries.
const ENTRIES_MAX: usize = 512;

/// What a slot says; or the entry whose text is no JSON, and the parser's message.
type Told<T> = std::result::Result<Option<T>, (Seq, String)>;

/// What a walk came to.
enum Walked {
    /// What was known of it then.
    Slot(Arc<Slot>),
    /// There was nothing by then.
    Nothing,
    /// It gave up.
    Lost,
}

/// A task or note, and the last entry that counts.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    hash: u64,
    realm: Realm,
    key: &'a str,
    last: Seq,
}

impl Asked<'_> {
    /// What a table knows of it.
    fn slot_in(&self, table: &Table) -> Option<Slot> {
        // What cannot be read is not known: the log says it, too.
        let record = table.find(self.hash, self.realm, self.key).ok()??;
        table.slot_of(&record).ok()
    }
}

/// Answers what was known of a task or note after an entry: by `told` from its slot, or by `asked` from all that there was.
fn answer<T>(
    log: &LogView,
    (realm, key): (Realm, &str),
    last: Seq,
    newest: Option<Arc<Slot>>,
    told: fn(&Slot, &str) -> Told<T>,
    asked: fn(&View, &str) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let hash = hash_of(&log.home.identity.hash_key, realm, key);
    match walk(log, Asked { hash, realm, key, last }, newest) {
        Ok(Walked::Nothing) => Ok(None),
        Ok(Walked::Slot(slot)) => told(&slot, key).map_err(|(seq, message)| bad_json(&log.home.dir, seq, &message)),
        // What a fold needs may be readable all the same; else it says what is wrong.
        Ok(Walked::Lost) | Err(_) => asked(&View::as_of(log, 0, At::Seq(last))?, key),
    }
}

/// Walks back from what is known of it now.
///
/// # Errors
/// An entry on the way cannot be read back.
fn walk(log: &LogView, asked: Asked<'_>, newest: Option<Arc<Slot>>) -> Result<Walked> {
    let Some(newest) = newest else { return Ok(Walked::Nothing) };
    if newest.seq <= asked.last {
        return Ok(Walked::Slot(newest));
    }
    // Of its entries after the segment of the moment none is needed, where the index of that knows it.
    let then = log.segment_of(asked.last);
    let mut known = log.index(then)?.and_then(|index| asked.slot_in(&index));
    let (mut seq, mut version) = known.as_ref().map_or((newest.seq, newest.version), |slot| (slot.seq, slot.version));
    known = known.filter(|slot| slot.seq <= asked.last);
    let mut picker = log.picker(asked.realm, asked.key);
    let (mut walked, mut entries) = (0, Vec::new());
    let mut above = log.segment_of(seq);
    while known.is_none() && seq > Seq::ZERO {
        let here = log.segment_of(seq);
        if seq < log.oldest() {
            known = floor::under(&log.home, &*log.segments.get(0)?, &mut Vec::new())?
                .and_then(|floor| asked.slot_in(&floor))
                .filter(|slot| (slot.seq, slot.version) == (seq, version));
            if known.is_none() {
                return Ok(Walked::Lost);
            }
        } else if here != above && seq <= asked.last {
            known = log.index(here)?.and_then(|index| asked.slot_in(&index));
            known = known.filter(|slot| (slot.seq, slot.version) == (seq, version));
        }
        if known.is_some() {
            break;
        }
        if walked == ENTRIES_MAX || picker.read > FRAME_BYTES_MAX {
            return Ok(Walked::Lost);
        }
        let stored = picker.take(seq, version)?;
        (seq, version, above, walked) = (stored.links.back, version - 1, here, walked + 1);
        if stored.entry.seq <= asked.last {
            entries.push(stored);
        }
    }
    let mut slot = known;
    for stored in entries.iter().rev() {
        let links = stored.links;
        let origin = Origin {
            // Which batch it came in, and who wrote it, only receipts tell.
            batch: stored.entry.seq,
            last: links.last_of_batch,
            epoch: 0,
            back: links.back,
            key_back: links.key_back,
            digest: links.digest,
        };
        match Slot::after(slot.as_ref(), &stored.entry, &origin) {
            Ok(after) => slot = Some(after),
            Err(_) => return Ok(Walked::Lost),
        }
    }
    Ok(slot.map_or(Walked::Nothing, |slot| Walked::Slot(Arc::new(slot))))
}

/// The past of one task or note.
impl Ledger {
    /// One task as of a moment: what [`Ledger::as_of`] and then [`View::get`] give, in a time that goes with how much has
    /// happened to the task since, and not with the size of the ledger. Where that is very much, it takes as long as the view.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{At, Event, Seq, TaskState};
    /// ledger.append("a", Event::created())?;
    /// ledger.append("a", Event::to(TaskState::Ready))?;
    /// let then = ledger.get_as_of("a", At::Seq(Seq(1)))?.expect("created by then");
    /// assert_eq!((then.record.state, then.version), (TaskState::Pending, 1));
    /// assert_eq!(ledger.get_as_of("a", At::Seq(Seq(0)))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::as_of`] and [`View::get`]; but damage of entries of other tasks is not seen.
    pub fn get_as_of(&self, task: &str, at: At) -> Result<Option<Task>> {
        self.one_as_of((Realm::Tasks, task), at, Slot::task, View::get)
    }

    /// One note as of a moment; else as [`Ledger::get_as_of`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{At, Event, Seq};
    /// ledger.append_note("n", Event::noted(1))?;
    /// ledger.append_note("n", Event::noted(2))?;
    /// assert_eq!(ledger.note_as_of("n", At::Seq(Seq(1)))?.expect("noted by then").value, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::as_of`] and [`View::note`]; but damage of entries of other notes and tasks is not seen.
    pub fn note_as_of(&self, key: &str, at: At) -> Result<Option<Note>> {
        self.one_as_of((Realm::Notes, key), at, Slot::note, View::note)
    }

    fn one_as_of<T>(
        &self,
        subject: (Realm, &str),
        at: At,
        told: fn(&Slot, &str) -> Told<T>,
        asked: fn(&View, &str) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let core = self.core();
        let last = core.log().last_by(at)?;
        // After that, so that it knows all up to the moment; and the log after it, so that its entries are there.
        let newest = core.slot(subject.0, subject.1)?;
        let log = core.log();
        log.check_kept(last.next())?;
        answer(&log, subject, last, newest, told, asked)
    }
}

/// The past of one task or note.
impl Reader {
    /// One task as of a moment, as [`Ledger::get_as_of`] tells it.
    ///
    /// # Errors
    /// As [`Ledger::get_as_of`].
    pub fn get_as_of(&self, task: &str, at: At) -> Result<Option<Task>> {
        let (log, subject) = (&self.view().log, (Realm::Tasks, task));
        answer(log, subject, log.last_by(at)?, self.view().slot(subject.0, task)?, Slot::task, View::get)
    }

    /// One note as of a moment, as [`Ledger::note_as_of`] tells it.
    ///
    /// # Errors
    /// As [`Ledger::note_as_of`].
    pub fn note_as_of(&self, key: &str, at: At) -> Result<Option<Note>> {
        let (log, subject) = (&self.view().log, (Realm::Notes, key));
        answer(log, subject, log.last_by(at)?, self.view().slot(subject.0, key)?, Slot::note, View::note)
    }
}
