//! `View`: all tasks and notes as of one seq, and the questions about them. Nothing here can write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::history::{Entries, History, LogView};
use crate::model::notes::{Note, NoteFilter, NotePage};
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::model::tasks::{Counts, Filter, Page, Task, Tasks};
use crate::storage::names;

/// A moment to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// After this entry; `Seq(0)` is before everything.
    Seq(Seq),
    /// After the last entry placed at or before this time, in milliseconds since the Unix epoch.
    Millis(u64),
}

/// All tasks and notes as of one moment, read-only.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let ledger = taskledger::Ledger::open(dir.path())?;
/// use taskledger::{At, Event, Seq, TaskState};
/// ledger.append("a", Event::created())?;
/// ledger.append("a", Event::to(TaskState::Ready))?;
/// let then = ledger.as_of(At::Seq(Seq(1)))?;
/// assert_eq!(then.get("a")?.expect("created by then").record.state, TaskState::Pending);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) log: LogView,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) dir: PathBuf,
    pub(crate) splits_a_batch: bool,
    pub(crate) is_final: bool,
}

impl View {
    /// Folds the entries up to a moment.
    ///
    /// # Errors
    /// [`Error::Ahead`] for a seq that is not there yet; [`Error::Damaged`] or [`Error::Io`] where an entry cannot be
    /// read back.
    pub(crate) fn replay(log: &LogView, dir: &Path, head_at: u64, at: At) -> Result<View> {
        if let At::Seq(asked) = at
            && asked > log.head
        {
            return Err(Error::Ahead { asked, head: log.head });
        }
        let mut tasks = Tasks::default();
        let mut splits_a_batch = false;
        for stored in log.stored(Seq::FIRST) {
            let stored = stored?;
            let within = match at {
                At::Seq(last) => stored.entry.seq <= last,
                At::Millis(time) => stored.entry.at <= time,
            };
            if !within {
                break;
            }
            tasks.replay(&stored.entry, &stored.origin).map_err(|unfoldable| {
                Error::damaged(&names::log_dir(dir), None, Some(stored.entry.seq), unfoldable.0)
            })?;
            splits_a_batch = !stored.links.last_of_batch;
        }
        let is_final = match at {
            At::Seq(_) => true,
            At::Millis(time) => head_at > time,
        };
        let log = LogView { head: tasks.head, ..log.clone() };
        Ok(View { log, tasks: Arc::new(tasks), dir: dir.to_owned(), splits_a_batch, is_final })
    }

    /// The last entry that it knows.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.tasks.head
    }

    /// When that entry was placed, in milliseconds since the Unix epoch; 0 before everything.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.tasks.at
    }

    /// Whether the moment falls within a batch, so that the view has a part of it.
    #[must_use]
    pub fn splits_a_batch(&self) -> bool {
        self.splits_a_batch
    }

    /// Whether no later append can still belong to the moment: false for a time that the ledger has not passed yet.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The task with this id, if there is a live record.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its stored output is no JSON.
    pub fn get(&self, task: &str) -> Result<Option<Task>> {
        self.tasks.get(task).map_err(bad_json(&self.dir))
    }

    /// The tasks that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored output is no JSON.
    pub fn list(&self, filter: Filter) -> Result<Page> {
        self.tasks.list(&filter).map_err(bad_json(&self.dir))
    }

    /// How many records are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tasks.counts()
    }

    /// The entries of one task, oldest first; none for a task that never was.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where one of them cannot be read back.
    pub fn history(&self, task: &str) -> Result<History> {
        self.history_of(Realm::Tasks, task)
    }

    fn history_of(&self, realm: Realm, key: &str) -> Result<History> {
        self.log.history(realm, key, self.tasks.slot(realm, key).map(|slot| slot.seq))
    }

    /// The note under this key, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its stored value is no JSON.
    pub fn note(&self, key: &str) -> Result<Option<Note>> {
        self.tasks.note(key).map_err(bad_json(&self.dir))
    }

    /// The notes that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored value is no JSON.
    pub fn notes(&self, filter: NoteFilter) -> Result<NotePage> {
        self.tasks.notes(&filter).map_err(bad_json(&self.dir))
    }

    /// How many notes there are.
    #[must_use]
    pub fn note_count(&self) -> u64 {
        self.tasks.note_count()
    }

    /// The entries of one note, oldest first; none for a note that never was.
    ///
    /// # Errors
    /// As [`View::history`].
    pub fn note_history(&self, key: &str) -> Result<History> {
        self.history_of(Realm::Notes, key)
    }

    /// All entries from a seq on, in order.
    #[must_use]
    pub fn entries(&self, from: Seq) -> Entries {
        self.log.entries(from)
    }
}

/// A stored output or value that is no JSON is damage: nobody can have appended it.
pub(crate) fn bad_json(dir: &Path) -> impl FnOnce((Seq, String)) -> Error {
    let path = names::log_dir(dir);
    move |(seq, message)| Error::damaged(&path, None, Some(seq), format!("a stored text is not JSON: {message}"))
}
