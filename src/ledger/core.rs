//! What the handles of a ledger that is open for writing share: the state that appending goes by.
//!
//! Only memory is touched here; `commit` does the waiting, `flight` the I/O. Lock order: `commit`, then `tasks`, then a
//! segment's `frames` or `warm`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::bell::{Bell, Left};
use crate::ledger::check::Planned;
use crate::ledger::derived::fold_sealed;
use crate::ledger::gate::Gate;
use crate::ledger::log::{Indexes, LogView};
use crate::ledger::options::Options;
use crate::ledger::parts::{Look, Part, find_in};
use crate::ledger::primitives::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, RwLock};
use crate::ledger::segments::{Home, Segments};
use crate::ledger::spare::Spare;
use crate::ledger::tasks::{Tasks, Untold};
use crate::ledger::view::bad_json;
use crate::model::entry::Entry;
use crate::model::event::Event;
use crate::model::layer::Held;
use crate::model::limits::{SEGMENT_EVENTS_MAX, TIME_MS_MAX};
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::{Each, Realm};
use crate::model::warm::Warm;
use crate::storage::buffer::Buffer;
use crate::storage::codec::columns::{Links, Named};
use crate::storage::codec::fact::OpenFact;
use crate::storage::frame::{FrameKind, FrameSeed};
use crate::storage::identity::Identity;
use crate::storage::live::Live;
use crate::storage::segment::Segment;
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, hash_of};
use crate::vfs::ops::{Process, Vfs};

/// Room that is kept in every segment for an open, a vouch and a close frame.
pub(crate) const FACTS_BYTES: u64 = 256;

/// A ledger that is open for writing, as all its handles share it.
#[derive(Debug)]
pub(crate) struct Core {
    pub vfs: Arc<dyn Vfs>,
    pub dir: PathBuf,
    pub options: Options,
    pub identity: Identity,
    pub inode: u64,
    /// Asked for once: the system is slow to tell.
    pub boot_id: [u8; 16],
    pub process: Process,
    /// When this writer opened it, in milliseconds since the Unix epoch.
    pub opened: u64,
    pub epoch: u32,
    /// As of the head.
    pub tasks: RwLock<Tasks>,
    /// As of the head, too. What is put in here is put in while `tasks` is held.
    pub warm: Mutex<Warm>,
    pub segments: RwLock<Segments>,
    pub indexes: Indexes,
    pub home: Arc<Home>,
    /// Held by the one that makes snapshots or prunes; no commit waits for it.
    pub deriving: Mutex<()>,
    /// Held by the one that makes an index, and by the one that prunes. Who has rolled may wait for it, holding nothing.
    pub indexing: Mutex<()>,
    /// Tables that turned out to be unfit, and are not made again yet.
    pub unfit: Mutex<Vec<Unfit>>,
    pub gate: Gate,
    pub live: Live,
    /// How often `live` was written: at opening, by the one that syncs, and at closing; never by two at once.
    pub live_count: AtomicU64,
    /// How many batches wait for the next flight. Changed under the commit lock, looked at without it.
    pub waiting: AtomicUsize,
    pub bell: Bell,
    pub commit: Mutex<Commit>,
    /// Signalled when a flight, a sync, a roll or the making of a spare has ended, on close and on poison.
    pub landed: Condvar,
}

/// Where appending stands.
#[derive(Debug)]
pub(crate) enum Status {
    Open,
    Closed,
    Poisoned { path: PathBuf, source: Arc<std::io::Error> },
}

/// What the commit lock guards.
#[derive(Debug)]
pub(crate) struct Commit {
    pub status: Status,
    pub placed: Seq,
    pub placed_at: u64,
    /// What is placed and not yet acknowledged, by key.
    pub overlay: Each<HashMap<Arc<str>, Arc<Slot>>>,
    /// The slots that the waiting frames make, in order, and of which class what they follow was.
    pub pending: Vec<(Held, Option<Class>)>,
    pub buffer: Buffer,
    /// The number of the next flight.
    pub cohort: u64,
    /// The last seq that a flight has taken.
    pub taken: Seq,
    /// How many batches the last two flights had.
    pub company: [usize; 2],
    /// Somebody writes to the log.
    pub flying: bool,
    /// Bytes of the flight that is on its way.
    pub in_air: usize,
    /// Somebody syncs what is written (`Buffered` only).
    pub syncing: bool,
    /// Something is written that no sync covers which has begun since (`Buffered` only).
    pub unsynced: bool,
    /// Somebody drains and rolls; nothing is placed meanwhile.
    pub rolling: bool,
    /// What a submit that does not fit waits for.
    pub roll_wish: Option<RollWish>,
    /// How often such a wish could not be met, and why the last time.
    pub roll_failures: u64,
    pub roll_error: Option<Error>,
    /// How many wait for `landed`.
    pub onlookers: usize,
    pub active: Arc<Segment>,
    /// The numbers that the active segment has given to tasks, and to notes.
    pub numbers: Each<HashMap<Arc<str>, u32>>,
    /// The chain after the last frame taken for writing.
    pub chain: u32,
    /// Whether this writer's open frame is placed.
    pub opened: bool,
    /// The highest watermark that any frame names.
    pub vouched: Seq,
    /// Whether nothing was placed behind the last close frame, no other fact either.
    pub ends_closed: bool,
    pub spare: Option<Spare>,
    /// Somebody makes a spare, without holding this lock.
    pub making: bool,
}

/// A roll that the background thread is to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RollWish {
    /// The segment in which there is no room.
    pub full: u64,
    /// How many bytes the next one must hold.
    pub room: u64,
}

/// What a new writer starts from.
#[derive(Debug)]
pub(crate) struct Start {
    pub head: Seq,
    pub head_at: u64,
    pub active: Arc<Segment>,
    /// Where the first frame goes.
    pub offset: u64,
    pub chain: u32,
    pub numbers: Each<HashMap<Arc<str>, u32>>,
    pub vouched: Seq,
    pub epoch: u32,
}

impl Commit {
    pub(crate) fn new(start: Start) -> Commit {
        Commit {
            status: Status::Open,
            placed: start.head,
            placed_at: start.head_at,
            overlay: Each::default(),
            pending: Vec::new(),
            buffer: Buffer::new(FrameSeed::of(&start.active.header), start.epoch, start.offset),
            cohort: 0,
            taken: start.head,
            company: [0; 2],
            flying: false,
            in_air: 0,
            syncing: false,
            unsynced: false,
            rolling: false,
            roll_wish: None,
            roll_failures: 0,
            roll_error: None,
            onlookers: 0,
            active: start.active,
            numbers: start.numbers,
            chain: start.chain,
            opened: false,
            vouched: start.vouched,
            ends_closed: false,
            spare: None,
            making: false,
        }
    }

    /// Whether a batch of this size fits the active segment.
    pub(crate) fn fits(&self, room: u64, events: u64) -> bool {
        self.buffer.end_max() + FACTS_BYTES + room <= self.active.header.area_end()
            && self.placed.0 + 1 - self.active.header.base.0 + events <= SEGMENT_EVENTS_MAX
    }

    /// Whether an open frame and one more fact fit.
    pub(crate) fn has_room_for_facts(&self) -> bool {
        self.buffer.end_max() + FACTS_BYTES / 2 <= self.active.header.area_end()
    }

    /// How much of the active segment is taken, in percent.
    pub(crate) fn filled_percent(&self) -> u64 {
        self.buffer.end_max() * 100 / self.active.header.capacity
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, Status::Open)
    }

    /// Whether all that was placed is durable and nobody is at work.
    pub(crate) fn is_quiet(&self) -> bool {
        self.buffer.is_empty() && !self.flying && !self.rolling && !self.syncing && !self.unsynced
    }

    /// Bytes that are placed and not yet acknowledged.
    pub(crate) fn unflushed(&self) -> usize {
        self.buffer.bytes_max() + self.in_air
    }

    /// What there is to do for the background thread, beside leading.
    pub(crate) fn left(&self) -> Left {
        Left {
            leaderless: false,
            unvouched: self.vouched < self.placed,
            unsynced: self.unsynced,
            spare_wanted: self.wants_spare(),
        }
    }

    /// Whether the active segment is half full and the next one is not made yet.
    pub(crate) fn wants_spare(&self) -> bool {
        self.filled_percent() >= 50 && self.spare.is_none()
    }

    /// Whether something waits and nobody is at work who would take it.
    pub(crate) fn is_leaderless(&self) -> bool {
        self.is_open() && !self.flying && !self.rolling && !self.buffer.is_empty()
    }

    /// Takes no more from here on; whoever was at work has ended. Who waits must be woken afterwards.
    pub(crate) fn poison(&mut self, gate: &Gate, path: PathBuf, source: std::io::Error) {
        // Before anybody finds that nobody flies: a follower would lead another flight.
        gate.poison();
        self.status = Status::Poisoned { path, source: Arc::new(source) };
        (self.flying, self.rolling, self.syncing) = (false, false, false);
    }

    pub(crate) fn usable(&self) -> Result<()> {
        match &self.status {
            Status::Open => Ok(()),
            Status::Closed => Err(Error::Closed),
            Status::Poisoned { path, source } => {
                Err(Error::Poisoned { path: path.clone(), source: Arc::clone(source) })
            }
        }
    }

    /// This writer's first frame.
    pub(crate) fn open_epoch(&mut self, boot_id: [u8; 16], process: Process) {
        if !self.opened {
            self.opened = true;
            let fact = OpenFact::new(boot_id, process).encode();
            self.buffer.push_fact(FrameKind::Open, &fact, self.placed.next(), self.placed_at);
        }
    }

    /// Gives an entry about the ledger itself its place; its seq.
    pub(crate) fn place_control(&mut self, event: Event, now: u64, bytes_max: usize) -> Seq {
        self.ends_closed = false;
        self.buffer.begin_batch(bytes_max);
        let seq = self.placed.next();
        let at = now.max(self.placed_at).min(TIME_MS_MAX);
        let said = Some(now).filter(|&now| now != at);
        let entry = Entry { seq, task: None, note: None, version: None, at, said, from: None, event };
        let links = Links { back: Seq::ZERO, key_back: Seq::ZERO, digest: None, last_of_batch: true };
        self.buffer.push(&entry, &Named::Control, &links, bytes_max);
        (self.placed, self.placed_at) = (seq, at);
        seq
    }

    /// Gives a plan its place.
    pub(crate) fn place(&mut self, plan: Vec<Planned>, bytes_max: usize) {
        self.ends_closed = false;
        self.buffer.begin_batch(bytes_max);
        for planned in plan {
            let Planned { realm, key, .. } = &planned;
            let numbers = self.numbers.of_mut(*realm);
            let next = u32::try_from(numbers.len()).expect("a segment names fewer than 2^32 tasks");
            let named = match numbers.get(key) {
                Some(&number) => Named::Known(*realm, number),
                None => {
                    numbers.insert(Arc::clone(key), next);
                    Named::New(*realm, Arc::clone(key))
                }
            };
            self.buffer.push(&planned.entry, &named, &planned.links, planned.bytes_max);
            self.placed = planned.entry.seq;
            self.placed_at = planned.entry.at;
            self.overlay.of_mut(planned.realm).insert(Arc::clone(&planned.key), Arc::clone(&planned.slot));
            let Planned { hash, realm, key, slot, before, .. } = planned;
            self.pending.push((Held { hash, realm, key, slot }, before));
        }
    }
}

impl Core {
    pub(crate) fn commit(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock().expect("a thread panicked while it placed a batch; the ledger must be opened anew")
    }

    /// What is known of a task or note, also of one that was removed.
    ///
    /// # Errors
    /// The log, where it must be read again, cannot be read.
    pub(crate) fn slot(&self, realm: Realm, key: &str) -> Result<Option<Arc<Slot>>> {
        let hash = hash_of(&self.identity.hash_key, realm, key);
        loop {
            let parts = {
                let tasks = self.tasks.read().expect("no writer panics");
                if let Some(held) = tasks.recent(hash, realm, key) {
                    return Ok(Some(Arc::clone(&held.slot)));
                }
                Arc::clone(tasks.parts())
            };
            match self.find_sealed(&parts, hash, realm, key) {
                Ok(held) => return Ok(held.map(|held| held.slot)),
                Err(unfit) => self.mend(&unfit)?,
            }
        }
    }

    /// What is known of a task or note that is not among the recent ones: from memory where it was used lately, else from
    /// these parts.
    ///
    /// # Errors
    /// A table cannot be read.
    pub(crate) fn find_sealed(
        &self,
        parts: &Arc<Vec<Part>>,
        hash: u64,
        realm: Realm,
        key: &str,
    ) -> std::result::Result<Option<Held>, Unfit> {
        if let Some(held) = self.warm().get(hash, realm, key) {
            return Ok(Some(held));
        }
        let found = find_in(parts, Look::default(), hash, realm, key)?;
        if let Some(held) = &found {
            let tasks = self.tasks.read().expect("no writer panics");
            // Unless it was changed meanwhile: then something newer is there, and nobody would put that in again.
            if Arc::ptr_eq(tasks.parts(), parts) && tasks.recent(hash, realm, key).is_none() {
                self.warm().put(held.clone());
            }
        }
        Ok(found)
    }

    /// To be taken last, and held for a moment.
    pub(crate) fn warm(&self) -> MutexGuard<'_, Warm> {
        self.warm.lock().expect("nobody panics with it")
    }

    /// Asks about all tasks and notes as of the head, without holding a lock.
    ///
    /// # Errors
    /// A stored text is no JSON; or the log, where it must be read again, cannot be read.
    pub(crate) fn ask<T>(&self, question: &dyn Fn(&Tasks) -> std::result::Result<T, Untold>) -> Result<T> {
        loop {
            let tasks = self.tasks.read().expect("no writer panics").clone();
            match question(&tasks) {
                Ok(answer) => return Ok(answer),
                Err(Untold::Json(seq, message)) => return Err(bad_json(&self.dir, seq, &message)),
                Err(Untold::Unfit(unfit)) => self.mend(&unfit)?,
            }
        }
    }

    /// Goes by a table that was made just now.
    pub(crate) fn take_in(&self, table: Arc<Table>) {
        self.unfit.lock().expect("nobody panics with it").retain(|unfit| unfit.path != table.path);
        self.tasks.write().expect("no reader panics").replace(table);
    }

    /// Does without a table that cannot be read: what it covers is read from the log, or from other tables. It is made again
    /// by the background thread.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn mend(&self, unfit: &Unfit) -> Result<()> {
        let parts = Arc::clone(self.tasks.read().expect("no writer panics").parts());
        let bad = parts.iter().find(|part| matches!(part, Part::Table(table) if table.path == unfit.path));
        // Where it is not among the parts any more, somebody else was quicker.
        let Some(end) = bad.map(Part::end) else { return Ok(()) };
        let known = {
            let mut known = self.unfit.lock().expect("nobody panics with it");
            known.push(unfit.clone());
            known.clone()
        };
        let segments = self.segments.read().expect("no writer panics").clone();
        // None where it is the floor, or covers no more than that does by now.
        let count = segments.position(end.number).map_or(0, |n| n + 1);
        let sealed = fold_sealed(&self.home, &segments, count, None, &known)?;
        self.tasks.write().expect("no reader panics").mend(end.number, sealed.tasks.parts());
        self.bell.derive();
        Ok(())
    }

    /// The first segment that is kept.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn first_segment(&self) -> Result<Arc<Segment>> {
        let segments = self.segments.read().expect("no writer panics").clone();
        segments.get(0)
    }

    /// The segments as of the head.
    pub(crate) fn log(&self) -> LogView {
        // The head first: segments that are added later only make more of it readable.
        let head = self.gate.head();
        let segments = self.segments.read().expect("no writer panics").clone();
        LogView { segments, head, home: Arc::clone(&self.home), indexes: Arc::clone(&self.indexes) }
    }
}
