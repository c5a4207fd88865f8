//! `Ledger`: the handle that callers hold. Each method is documented here and done elsewhere.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::batch::{Batch, Receipt};
use crate::ledger::commit::{Asker, End};
use crate::ledger::core::Core;
use crate::ledger::follow::Follow;
use crate::ledger::history::{Entries, History};
use crate::ledger::maintain;
use crate::ledger::open::{self, OpenReport};
use crate::ledger::options::{Maintenance, Options};
use crate::ledger::primitives::thread::{self, JoinHandle};
use crate::ledger::reader::Reader;
use crate::ledger::report::{Level, VerifyProgress, VerifyReport};
use crate::ledger::ticket::Ticket;
use crate::ledger::verify::{self, Means};
use crate::ledger::view::{At, View, bad_json};
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::model::notes::{Note, NoteFilter, NotePage};
use crate::model::seq::Seq;
use crate::model::subject::Realm;
use crate::model::tasks::{Counts, Filter, Page, Task};
use crate::vfs::ops::Lock;

/// A ledger, open for appending and reading. Clones share it; it closes when the last one is dropped.
///
/// Every read answers at the durable head: what it shows cannot go away again. (With
/// [`Durability::Buffered`](crate::Durability) it is the written head, and a power cut can take the last of it.)
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use taskledger::{Event, Ledger, TaskState};
/// let ledger = Ledger::open(dir.path())?;
/// ledger.append("import-42", Event::created().meta("host", "ci-7").by("planner"))?;
/// ledger.append("import-42", Event::to(TaskState::Ready))?;
/// let receipt = ledger.append("import-42", Event::to(TaskState::Running).by("worker-7"))?;
/// assert_eq!((receipt.seq().0, receipt.version()), (3, 3));
/// let task = ledger.get("import-42")?.expect("appended above");
/// assert_eq!(task.record.attempts, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ledger {
    owner: Arc<Owner>,
}

/// Closes the ledger when the last handle is dropped.
#[derive(Debug)]
struct Owner {
    core: Arc<Core>,
    report: OpenReport,
    thread: Option<JoinHandle<()>>,
    /// The writer's lock on the directory. Not in the core: a ticket may outlive all handles.
    _lock: Box<dyn Lock>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Closing is best effort here: what was acknowledged is durable, and a caller who wants to know calls `close`.
        let _ = self.core.close();
        // Also where it failed: nobody is left who could append.
        let held = self.core.commit.lock();
        self.core.gate.end();
        drop(held);
        self.core.gate.wake_followers();
        self.core.bell.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Ledger {
    /// Opens a ledger, and creates it where nothing is yet. The directory's parent must exist.
    ///
    /// # Errors
    /// [`Error::Locked`] while another writer has it; [`Error::Damaged`] where acknowledged entries cannot be read
    /// back; [`Error::Format`] for a newer format; [`Error::NoSpace`] and [`Error::Io`] where the system refuses.
    pub fn open(dir: impl AsRef<Path>) -> Result<Ledger> {
        Options::new().open(dir)
    }

    /// Opens a ledger for reading: takes no lock, writes nothing, and works beside a live writer in any process.
    ///
    /// # Errors
    /// [`Error::NoLedger`] where there is none; else as [`Ledger::open`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Reader> {
        Options::new().open_read_only(dir)
    }

    pub(crate) fn open_with(dir: &Path, options: Options) -> Result<Ledger> {
        let maintenance = options.maintenance;
        let dir = &options.vfs.absolute(dir).map_err(Error::io("find", dir))?;
        let (core, lock, report) = open::writer(dir, options)?;
        let core = Arc::new(core);
        let thread = match maintenance {
            Maintenance::Manual => None,
            Maintenance::Thread => {
                let core = Arc::clone(&core);
                let spawned = thread::Builder::new().name("taskledger".to_owned()).spawn(move || maintain::run(&core));
                Some(spawned.map_err(Error::io("start a thread for", dir))?)
            }
        };
        Ok(Ledger { owner: Arc::new(Owner { core, report, thread, _lock: lock }) })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.owner.core
    }

    /// What opening found, kept and left out.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.owner.report
    }

    /// Appends one event, and returns once it is durable (written, with [`Durability::Buffered`](crate::Durability)).
    ///
    /// # Errors
    /// As [`Ledger::commit`].
    pub fn append(&self, task: impl Into<String>, event: Event) -> Result<Receipt> {
        self.append_if(task, event, Expect::Any)
    }

    /// Appends one event where the expectation holds; else as [`Ledger::append`].
    ///
    /// # Errors
    /// As [`Ledger::commit`].
    pub fn append_if(&self, task: impl Into<String>, event: Event, expect: Expect) -> Result<Receipt> {
        let mut batch = Batch::new();
        batch.push(task, event, expect);
        self.commit(batch)
    }

    /// Appends one event of a note; else as [`Ledger::append`]. [`Event::noted`] sets its value, [`Event::removed`] takes
    /// it away.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use serde_json::json;
    /// use taskledger::{Event, Ledger};
    /// let ledger = Ledger::open(dir.path())?;
    /// ledger.append_note("dlq:7", Event::noted(json!({"tries": 3})).by("worker-7"))?;
    /// assert_eq!(ledger.note("dlq:7")?.expect("noted above").value["tries"], 3);
    /// assert!(ledger.get("dlq:7")?.is_none(), "a note is no task");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::commit`].
    pub fn append_note(&self, key: impl Into<String>, event: Event) -> Result<Receipt> {
        let mut batch = Batch::new();
        batch.push_note(key, event, Expect::Any);
        self.commit(batch)
    }

    /// Appends a batch, all of it or nothing; else as [`Ledger::append`].
    ///
    /// # Errors
    /// Refused, and nothing has changed: [`Error::Limit`], [`Error::Illegal`], [`Error::Conflict`], [`Error::Key`],
    /// [`Error::Time`], [`Error::NoSpace`], [`Error::Poisoned`], [`Error::Closed`]. [`Error::Unknown`]: a write or
    /// sync failed after it had its place; whether it is there shows when the ledger is opened anew.
    pub fn commit(&self, batch: Batch) -> Result<Receipt> {
        self.core().append(batch)
    }

    /// Gives one event its place, and returns before it is durable; the ticket tells when it is. Does no I/O: where
    /// nobody waits or appends, the ledger's own thread flushes. Waits while 8 MiB are unflushed, or while the next
    /// segment is made.
    ///
    /// # Errors
    /// As [`Ledger::commit`], but for a refusal that rests on an entry which is not durable yet: that one the ticket
    /// tells, since the entry may still be lost.
    pub fn submit(&self, task: impl Into<String>, event: Event) -> Result<Ticket> {
        let mut batch = Batch::new();
        batch.push(task, event, Expect::Any);
        self.submit_batch(batch)
    }

    /// As [`Ledger::submit`], for a batch.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub fn submit_batch(&self, batch: Batch) -> Result<Ticket> {
        let core = &self.owner.core;
        let (commit, claim) = core.admit(batch, Asker::Submit)?;
        let leaderless = commit.is_leaderless();
        drop(commit);
        if leaderless {
            core.bell.flush();
        }
        match claim.end {
            End::Refused(error) if core.gate.head() >= claim.last => Err(error),
            _ => Ok(Ticket::new(Arc::clone(core), claim)),
        }
    }

    /// Waits until all that was appended or submitted before this call is durable, and gives the seq up to which
    /// everything is. In [`Durability::Buffered`](crate::Durability) this is what a power cut cannot take any more.
    ///
    /// # Errors
    /// [`Error::Unknown`] where a write or sync failed.
    pub fn sync(&self) -> Result<Seq> {
        self.core().sync()
    }

    /// The task with this id, if there is a live record.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its stored output is no JSON.
    pub fn get(&self, task: &str) -> Result<Option<Task>> {
        let core = self.core();
        let Some(slot) = core.slot(Realm::Tasks, task)? else { return Ok(None) };
        slot.task(task).map_err(|(seq, message)| bad_json(&core.dir, seq, &message))
    }

    /// The tasks that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored output is no JSON.
    pub fn list(&self, filter: Filter) -> Result<Page> {
        self.core().ask(&|tasks| tasks.list(&filter))
    }

    /// How many records are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.core().tasks.read().expect("no writer panics").counts()
    }

    /// The last entry that reads show; `Seq(0)` in an empty ledger. It is durable, or written with
    /// [`Durability::Buffered`](crate::Durability).
    #[must_use]
    pub fn head(&self) -> Seq {
        self.core().gate.head()
    }

    /// The last entry that is durable: a power cut cannot take it or any before it.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.core().gate.durable()
    }

    /// The entries of one task, oldest first; none for a task that never was.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where one of them cannot be read back.
    pub fn history(&self, task: &str) -> Result<History> {
        self.history_of(Realm::Tasks, task)
    }

    fn history_of(&self, realm: Realm, key: &str) -> Result<History> {
        let core = self.core();
        let last = core.slot(realm, key)?.map(|slot| (slot.seq, slot.version));
        core.log().history(realm, key, last)
    }

    /// The note under this key, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its stored value is no JSON.
    pub fn note(&self, key: &str) -> Result<Option<Note>> {
        let core = self.core();
        let Some(slot) = core.slot(Realm::Notes, key)? else { return Ok(None) };
        slot.note(key).map_err(|(seq, message)| bad_json(&core.dir, seq, &message))
    }

    /// The notes that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a stored value is no JSON.
    pub fn notes(&self, filter: NoteFilter) -> Result<NotePage> {
        self.core().ask(&|tasks| tasks.notes(&filter))
    }

    /// The entries of one note, oldest first; none for a note that never was.
    ///
    /// # Errors
    /// As [`Ledger::history`].
    pub fn note_history(&self, key: &str) -> Result<History> {
        self.history_of(Realm::Notes, key)
    }

    /// All entries from a seq on, in order, up to the head as of this call.
    #[must_use]
    pub fn entries(&self, from: Seq) -> Entries {
        self.core().log().entries(from)
    }

    /// The entries from a seq on, and then each that comes, once it is durable (also with
    /// [`Durability::Buffered`](crate::Durability)). It may begin ahead of the head, and waits there. It ends when the ledger is
    /// closed, and does not keep it open: after the last handle was dropped everything durable is still given.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use taskledger::{Event, Ledger, Seq};
    /// let ledger = Ledger::open(dir.path())?;
    /// ledger.append("a", Event::created())?;
    /// let follow = ledger.follow(Seq::FIRST)?;
    /// let told = std::thread::spawn(move || follow.map(|entry| entry.map(|entry| entry.seq.0)).collect());
    /// ledger.append("b", Event::created())?;
    /// ledger.close()?;
    /// let told: Result<Vec<u64>, _> = told.join().expect("it does not panic");
    /// assert_eq!(told?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Pruned`] where that entry is not kept any more. What it gives may be an error, too: see
    /// [`Follow::next_within`].
    pub fn follow(&self, from: Seq) -> Result<Follow> {
        Follow::here(&self.owner.core, from)
    }

    /// Makes a snapshot of all sealed segments, if there is none yet; the last seq that it covers, which is `Seq(0)` as long
    /// as no segment is sealed. Appends go on meanwhile.
    ///
    /// Snapshots are also made without being asked for: they only save time, when the ledger is opened or asked about the past.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{Event, Seq};
    /// ledger.append("a", Event::created())?;
    /// assert_eq!(ledger.snapshot()?, Seq(0), "the only segment is still written");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NoSpace`] where it cannot be written; [`Error::Io`] or [`Error::Damaged`] where the log
    /// cannot be read; [`Error::Closed`], [`Error::Poisoned`].
    pub fn snapshot(&self) -> Result<Seq> {
        maintain::snapshot(self.core())
    }

    /// All tasks and notes as of a moment.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = taskledger::Ledger::open(dir.path())?;
    /// use taskledger::{At, Event, Seq};
    /// ledger.append("a", Event::created())?;
    /// ledger.append("b", Event::created())?;
    /// assert_eq!(ledger.as_of(At::Seq(Seq(1)))?.counts().total(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Ahead`] for a seq that is not there yet; [`Error::Pruned`] before the last entry that was pruned;
    /// [`Error::Damaged`] or [`Error::Io`] where an entry cannot be read back.
    pub fn as_of(&self, at: At) -> Result<View> {
        let core = self.core();
        let head_at = core.tasks.read().expect("no writer panics").at;
        View::as_of(&core.log(), head_at, at)
    }

    /// Does the work that no append should wait for, as far as it is due: flushes what was submitted, syncs what is
    /// written, makes a spare segment once the active one is half full, and vouches for what no frame names as durable
    /// yet. With [`Maintenance::Thread`] that thread does it.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], [`Error::Poisoned`].
    pub fn maintain(&self) -> Result<()> {
        self.core().serve();
        maintain::sync(self.core());
        maintain::prepare_spare(self.core())?;
        maintain::vouch(self.core())?;
        maintain::derive(self.core())
    }

    /// Makes all that was placed durable and ends in order. Appends through other handles are refused from then on;
    /// reads go on. The lock is released when the last handle is dropped.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::Closed`] where another handle has closed it. [`Error::NoSpace`] or [`Error::Io`] where the
    /// last segment is full and no other can be made: all that was placed is durable then, and other handles go on.
    pub fn close(self) -> Result<()> {
        self.core().close()
    }
}

/// Opening with options; the options themselves are in their own room.
impl Options {
    /// Opens a ledger for reading and appending, and creates it where nothing is yet. The directory's parent must
    /// exist.
    ///
    /// # Errors
    /// As [`Ledger::open`]; also [`Error::Limit`] for a segment size that is not allowed.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Ledger> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_size) {
            return Err(Error::Limit {
                subject: None,
                what: "segment size",
                problem: format!(
                    "is {} bytes, allowed are {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                    self.segment_size
                ),
            });
        }
        Ledger::open_with(dir.as_ref(), self)
    }

    /// Opens a ledger for reading: takes no lock, writes nothing, and works beside a live writer.
    ///
    /// # Errors
    /// As [`Ledger::open_read_only`].
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Reader> {
        Reader::open_with(dir.as_ref(), self)
    }

    /// Checks the files of a ledger, as [`crate::verify`] does, and tells on the way how far it has come.
    ///
    /// # Errors
    /// As [`crate::verify`].
    pub fn verify(
        &self,
        dir: impl AsRef<Path>,
        level: Level,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport> {
        let means = Means { threads: self.verify_threads, memory: self.verify_memory };
        verify::run(&self.vfs, dir.as_ref(), level, means, progress)
    }
}
