//! A ledger in a file system where calls fail, the model of it, and what its client knows.
//!
//! An answer of the product is right where it is the model's, or where it says that something failed and something did.

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs, SyncFailure};
use taskledger::{Durability, Error, Ledger, Options, Reader, Ticket};

use super::ops::{Failing, Op, Script, burst};
use super::words;
use crate::crash::oracle::told;
use crate::crash::script::{BUFFERED, options};
use crate::model::cut::Journal;
use crate::model::tally::Tally;
use crate::reference::{RefItem, RefReceipt, RefRefusal, Reference};

const START_MS: u64 = 1_772_366_400_000;

/// What went wrong, in words.
pub type Checked<T = ()> = Result<T, String>;

/// Whether the ledger takes appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Sound,
    /// Something failed, and whether it poisoned the ledger is told by what comes next.
    Perhaps,
    Poisoned,
}

/// What failed while something was done.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// Something did, so that an error may be told.
    pub any: bool,
    /// The same, or there was no room.
    pub no_space: bool,
    /// A sync of a file said that it failed: that must be told.
    pub sync: bool,
    /// A sync of a file said that it had worked, and was lost.
    pub lie: bool,
}

/// A batch that has its place, and what its ticket must tell.
pub struct Waiting {
    pub ticket: Ticket,
    pub items: Vec<RefItem>,
    pub expected: Result<RefReceipt, RefRefusal>,
}

pub struct World<'t> {
    pub vfs: MemVfs,
    pub durability: Durability,
    pub ledger: Option<Ledger>,
    /// All that has a place.
    pub model: Reference,
    pub now: u64,
    pub journal: Journal,
    pub health: Health,
    /// The first call that it may meet, and what is going to fail.
    fault: Option<(usize, Fault)>,
    /// The disk has an end.
    pub full: bool,
    /// A sync has lied in this world: its error may come out of any later one.
    pub lied: bool,
    /// Nothing has failed since it was opened, so that those who read beside it see all that is durable.
    pub exact: bool,
    /// What was written is gone for everybody, and reading it may say so.
    pub unreadable: bool,
    /// An append found no room, and none has found any since.
    pub no_space: bool,
    pub tickets: Vec<Waiting>,
    /// Batches with a key.
    pub keyed: Vec<Vec<RefItem>>,
    /// The last seq and the epoch of each receipt, and how many operations of the file system came before it.
    pub receipts: Vec<(u64, u32, usize)>,
    pub epoch_before: u32,
    /// One who was there before, and how much it has seen.
    pub reader: Option<(Reader, u64)>,
    /// It was refused after a sync had lied: nothing more can happen.
    pub over: bool,
    /// What has happened, a line for each operation.
    pub said: Vec<String>,
    pub tally: &'t Tally,
}

impl World<'_> {
    /// Creates a ledger; where a call fails meanwhile, it is created once more.
    pub fn new<'t>(script: &Script, tally: &'t Tally) -> World<'t> {
        let vfs = MemVfs::new();
        vfs.set_now_ms(START_MS);
        World {
            vfs,
            durability: if script.buffered { BUFFERED } else { Durability::Sync },
            ledger: None,
            model: Reference::default(),
            now: START_MS,
            journal: Journal::new(0, 0),
            health: Health::Sound,
            fault: None,
            full: false,
            lied: false,
            exact: true,
            unreadable: false,
            no_space: false,
            tickets: Vec::new(),
            keyed: Vec::new(),
            receipts: Vec::new(),
            epoch_before: 0,
            reader: None,
            over: false,
            said: Vec::new(),
            tally,
        }
    }

    /// Plays the whole of a script.
    pub fn play(&mut self, script: Script) -> Checked {
        let mode = if script.buffered { "buffered" } else { "synced" };
        self.say(format!("a new ledger, {mode}, segments of 16 KiB"));
        self.create(script.unborn)?;
        for op in script.ops {
            if self.over {
                return Ok(());
            }
            self.run(op)?;
        }
        if self.over {
            return Ok(());
        }
        self.end(script.end)?;
        if self.over { Ok(()) } else { self.goes_on() }
    }

    fn run(&mut self, op: Op) -> Checked {
        match op {
            Op::Append(facts) => {
                let items = self.resolve(facts);
                self.append(items)
            }
            Op::Submit(facts) => {
                let items = self.resolve(facts);
                self.submit(items)
            }
            Op::Burst { note, events } => self.append(burst(note, events, self.model.head())),
            Op::Again { which, stated, changed } => match self.again(which, stated, changed) {
                Some(items) => self.append(items),
                None => Ok(()),
            },
            Op::Wait => self.wait_all(),
            Op::Sync => self.sync(),
            Op::Maintain => self.maintain(),
            Op::Clock(step) => {
                self.now = self.now.saturating_add_signed(step);
                self.vfs.set_now_ms(self.now);
                self.say(format!("the clock jumps by {step} ms"));
                Ok(())
            }
            Op::Look => self.look(),
            Op::Beside => self.beside(),
            Op::AsOf { seq, millis } => self.as_of(seq, millis),
            Op::Fail(failing) => {
                self.fail(failing);
                Ok(())
            }
            Op::Heal => {
                self.heal_calls();
                self.say("nothing is to fail any more".to_owned());
                Ok(())
            }
            Op::Full(bytes) => {
                let files = self.vfs.files();
                let used: usize =
                    files.iter().map(|path| self.vfs.read_file(path).map_or(0, |bytes| bytes.len())).sum();
                self.vfs.set_capacity(Some(used as u64 + bytes));
                self.full = true;
                self.say(format!("the disk has {bytes} bytes left"));
                Ok(())
            }
            Op::Room => {
                self.make_room();
                self.say("the disk has room".to_owned());
                Ok(())
            }
            Op::End(end) => self.end(end),
        }
    }

    pub fn say(&mut self, line: String) {
        self.said.push(line);
    }

    /// What became of the operation that was said last.
    pub fn came_to(&mut self, what: &str) {
        if let Some(line) = self.said.last_mut() {
            *line += &format!(" => {what}");
        }
    }

    pub fn ledger(&self) -> Checked<&Ledger> {
        self.ledger.as_ref().ok_or_else(|| "it is not open".to_owned())
    }

    pub fn options(&self) -> Options {
        options(&self.vfs).durability(self.durability)
    }

    pub fn syncs(&self) -> bool {
        self.durability == Durability::Sync
    }

    pub fn fail(&mut self, failing: Failing) {
        let fault = failing.fault();
        self.vfs.clear_faults();
        let from = self.vfs.calls() + failing.calls;
        self.vfs.fail_at(from, fault);
        self.fault = Some((from, fault));
        self.say(format!("from here on {}", words::fault(failing.calls, &fault)));
    }

    pub fn heal_calls(&mut self) {
        self.vfs.clear_faults();
        self.fault = None;
    }

    pub fn make_room(&mut self) {
        self.vfs.set_capacity(None);
        self.full = false;
    }

    /// Nothing is scheduled in another world.
    pub fn forget_fault(&mut self) {
        self.fault = None;
    }

    /// Does something with the product, and takes down what failed meanwhile.
    pub fn watch<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> (T, Met) {
        let (calls, at) = (self.vfs.calls(), self.vfs.trace_len());
        let done = what(self);
        let met = self.met(calls, at);
        (done, met)
    }

    fn met(&mut self, calls: usize, at: usize) -> Met {
        let mut met = Met { any: self.lied, no_space: self.full || self.lied, sync: false, lie: false };
        self.exact &= !self.full;
        let Some((from, fault)) = self.fault else { return met };
        let kinds = self.vfs.call_kinds();
        let fits = |kind: &CallKind| fault.kind.is_none_or(|wanted| wanted == *kind);
        let window = kinds.get(from.max(calls)..).unwrap_or_default();
        let Some(kind) = window.iter().find(|kind| fits(kind)) else { return met };
        if !fault.sticky {
            self.fault = None;
        }
        let lie = Effect::Sync(SyncFailure::ReportedLate);
        let fails = !matches!(fault.effect, Effect::Short(_));
        (met.any, met.no_space) = (met.any || fails, met.no_space || fails);
        met.sync = *kind == CallKind::SyncData && fault.effect != lie;
        self.exact &= !fails;
        if fault.effect == lie {
            (met.lie, self.lied) = (true, true);
            self.journal.lies(at);
            self.tally.count("syncs that lied");
        }
        if fault.effect == Effect::Sync(SyncFailure::LiveOldDiskOld) {
            self.unreadable |= self.lied || !self.syncs();
            self.journal.reverts(at);
        }
        self.tally.count_if("calls that failed", fails);
        met
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        let files = self.vfs.files().into_iter();
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).count()
    }

    /// Whether an error may be told: something failed just now, or before and was not told yet.
    pub fn excused(&self, met: Met) -> bool {
        met.any || self.health != Health::Sound
    }

    /// Takes down how far the ledger says that it is: what is shown must not go away again.
    pub fn learn(&mut self) -> Checked {
        let (head, durable) = (self.ledger()?.head().0, self.ledger()?.durable().0);
        let last = self.journal.last();
        if head > self.model.head() || durable > head {
            return Err(format!("seq {head} is shown, {durable} durable, and {} has a place", self.model.head()));
        }
        if head < last.told && !self.unreadable || durable < last.safe {
            return Err(format!("seq {head} is shown, {durable} durable, and more was told: {last:?}"));
        }
        if self.syncs() && head != durable {
            return Err(format!("seq {head} is shown, and only {durable} is durable"));
        }
        // What cannot be read any more is shown, and gone.
        let told = if self.unreadable { durable } else { head };
        self.journal.tells(self.vfs.trace_len(), told, durable);
        Ok(())
    }

    fn sync(&mut self) -> Checked {
        self.say("sync".to_owned());
        let (placed, durable) = (self.model.head(), self.ledger()?.durable().0);
        let (got, met) = self.watch(|world| world.ledger().map(Ledger::sync));
        match got? {
            Ok(_) if met.sync => return Err("a sync that failed is hidden by the one who asked for it".to_owned()),
            Ok(seq) if seq.0 == placed => self.came_to("ok"),
            Err(Error::Unknown { first, last, .. })
                if self.excused(met) && (first.0 > durable, last.0) == (true, placed) =>
            {
                self.poisoned("unknown");
            }
            Ok(seq) => return Err(format!("seq {seq} is durable after a sync, and {placed} has a place")),
            Err(error) => return Err(format!("a sync says {}", told(&error))),
        }
        self.learn()
    }

    fn maintain(&mut self) -> Checked {
        self.say("maintain".to_owned());
        let (got, met) = self.watch(|world| world.ledger().map(Ledger::maintain));
        match got? {
            // Only what an append does not wait for: the next one tells.
            Ok(()) if met.sync => {
                self.tally.count("syncs that failed behind the scenes");
                self.poisoned("ok, though a sync failed");
            }
            Ok(()) if met.any && self.health == Health::Sound => {
                self.came_to("ok, though something may have failed");
                self.health = Health::Perhaps;
            }
            Ok(()) => {
                self.came_to("ok");
                if self.health == Health::Sound && self.ledger()?.durable().0 != self.model.head() {
                    return Err("something is left to be synced".to_owned());
                }
            }
            Err(Error::Poisoned { .. }) if self.excused(met) => self.poisoned("poisoned"),
            Err(Error::Io { .. }) if met.any && self.health != Health::Poisoned => {
                self.came_to("a call failed for a spare");
            }
            Err(Error::NoSpace { .. }) if met.no_space && self.health != Health::Poisoned => {
                self.came_to("no space for a spare");
            }
            Err(error) => return Err(format!("maintaining says {}", told(&error))),
        }
        self.learn()
    }

    /// It is known that no more appends are taken.
    pub fn poisoned(&mut self, what: &str) {
        self.came_to(what);
        if self.health != Health::Poisoned {
            self.tally.count("poisons");
        }
        self.health = Health::Poisoned;
    }
}
