//! `View`: all tasks and notes as of one seq, and the questions about them. Nothing here can write.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::derived::fold_sealed;
use crate::ledger::fold::fold;
use crate::ledger::history::{Entries, History};
use crate::ledger::log::LogView;
use crate::ledger::primitives::{Mutex, RwLock};
use crate::ledger::tasks::{Tasks, Untold};
use crate::model::notes::{Note, NoteFilter, NotePage};
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::Realm;
use crate::model::tasks::{Counts, Filter, Page, Task};
use crate::storage::names;
use crate::storage::table::read::Unfit;

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
    tasks: Arc<RwLock<Arc<Tasks>>>,
    /// Tables that turned out to be unfit while something was asked.
    unfit: Arc<Mutex<Vec<Unfit>>>,
    splits_a_batch: bool,
    is_final: bool,
}

impl LogView {
    /// The last entry that counts at a moment.
    ///
    /// # Errors
    /// [`Error::Ahead`] for a seq that is not there yet; [`Error::Pruned`] before the last entry that was pruned;
    /// [`Error::Damaged`] or [`Error::Io`] where an entry that was placed then cannot be read back.
    pub(crate) fn last_by(&self, at: At) -> Result<Seq> {
        match at {
            At::Seq(asked) if asked > self.head => Err(Error::Ahead { asked, head: self.head }),
            At::Seq(last) => self.check_kept(last.next()).map(|()| last),
            At::Millis(time) => self.seq_at(time),
        }
    }
}

impl View {
    /// What is known, as of where it stands.
    pub(crate) fn new(log: LogView, tasks: Tasks) -> View {
        View {
            log: LogView { head: tasks.head, ..log },
            tasks: Arc::new(RwLock::new(Arc::new(tasks))),
            unfit: Arc::default(),
            splits_a_batch: false,
            is_final: true,
        }
    }

    /// Folds the entries up to a moment.
    ///
    /// # Errors
    /// [`Error::Ahead`] for a seq that is not there yet; [`Error::Pruned`] before the last entry that was pruned;
    /// [`Error::Damaged`] or [`Error::Io`] where an entry cannot be
    /// read back.
    pub(crate) fn as_of(log: &LogView, head_at: u64, at: At) -> Result<View> {
        let last = log.last_by(at)?;
        let (tasks, splits_a_batch) = tasks_at(log, last, &[])?;
        let is_final = match at {
            At::Seq(_) => true,
            At::Millis(time) => head_at > time,
        };
        Ok(View { splits_a_batch, is_final, ..View::new(log.clone(), tasks) })
    }

    /// Asks; where a table cannot be read, again without it.
    pub(crate) fn ask<T>(&self, question: &dyn Fn(&Tasks) -> std::result::Result<T, Untold>) -> Result<T> {
        loop {
            let tasks = Arc::clone(&self.tasks.read().expect("nobody panics with it"));
            let broken = match question(&tasks) {
                Ok(answer) => return Ok(answer),
                Err(Untold::Json(seq, message)) => return Err(bad_json(&self.log.home.dir, seq, &message)),
                Err(Untold::Unfit(unfit)) => unfit,
            };
            let unfit = {
                let mut unfit = self.unfit.lock().expect("nobody panics with it");
                unfit.push(broken);
                unfit.clone()
            };
            let (again, _) = tasks_at(&self.log, tasks.head, &unfit)?;
            *self.tasks.write().expect("nobody panics with it") = Arc::new(again);
        }
    }

    /// The last entry that it knows.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.log.head
    }

    /// When that entry was placed, in milliseconds since the Unix epoch; 0 before everything.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.tasks.read().expect("nobody panics with it").at
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
        self.ask(&|tasks| tasks.get(task))
    }

    /// The tasks that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored output is no JSON.
    pub fn list(&self, filter: Filter) -> Result<Page> {
        self.ask(&|tasks| tasks.list(&filter))
    }

    /// How many records are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tasks.read().expect("nobody panics with it").counts()
    }

    /// The entries of one task, oldest first; none for a task that never was.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where one of them cannot be read back.
    pub fn history(&self, task: &str) -> Result<History> {
        self.history_of(Realm::Tasks, task)
    }

    /// What is known of a task or note, also of one that was removed.
    pub(crate) fn slot(&self, realm: Realm, key: &str) -> Result<Option<Arc<Slot>>> {
        self.ask(&|tasks| Ok(tasks.slot(realm, key)?))
    }

    fn history_of(&self, realm: Realm, key: &str) -> Result<History> {
        let last = self.slot(realm, key)?.map(|slot| (slot.seq, slot.version));
        self.log.history(realm, key, last)
    }

    /// The note under this key, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its stored value is no JSON.
    pub fn note(&self, key: &str) -> Result<Option<Note>> {
        self.ask(&|tasks| tasks.note(key))
    }

    /// The notes that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored value is no JSON.
    pub fn notes(&self, filter: NoteFilter) -> Result<NotePage> {
        self.ask(&|tasks| tasks.notes(&filter))
    }

    /// How many notes there are.
    #[must_use]
    pub fn note_count(&self) -> u64 {
        self.tasks.read().expect("nobody panics with it").note_count()
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

/// All tasks and notes after an entry, and whether that is within a batch.
///
/// # Errors
/// What is read of the log is damaged, or cannot be read.
fn tasks_at(log: &LogView, last: Seq, unfit: &[Unfit]) -> Result<(Tasks, bool)> {
    let mut unfit = unfit.to_vec();
    let n = log.segment_of(last);
    let path = log.segments.get(n)?.path.clone();
    loop {
        let mut tasks = fold_sealed(&log.home, &log.segments, n, None, &unfit)?.tasks;
        let mut entries = log.stored(tasks.head.next());
        let folded = fold(&mut tasks, &path, &mut |visit| {
            let mut splits_a_batch = false;
            while let Some(stored) = entries.next().transpose()?.filter(|stored| stored.entry.seq <= last) {
                splits_a_batch = !stored.origin.last;
                visit(stored, entries.offset())?;
            }
            Ok(splits_a_batch)
        })?;
        match folded {
            Ok(splits_a_batch) => return Ok((tasks, splits_a_batch)),
            Err(broken) => unfit.push(broken),
        }
    }
}

/// A stored output or value that is no JSON is damage: nobody can have appended it.
pub(crate) fn bad_json(dir: &Path, seq: Seq, message: &str) -> Error {
    Error::damaged(&names::log_dir(dir), None, Some(seq), format!("a stored text is not JSON: {message}"))
}
