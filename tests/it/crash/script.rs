//! Runs a script against a ledger in memory, and keeps the client's journal of it.

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::vfs::ops::Vfs as _;
use taskledger::{At, Batch, Durability, Error, Expect, Ledger, Maintenance, Options, Prune, Seq};

use super::journal::{Fact, Journal, Ticket, key_of_note, pruned};

/// Where the ledger is; its directory is created by the ledger.
pub const DIR: &str = "/ledger";
pub const SEGMENT: u64 = 16 << 10;

/// An append returns once it is written.
pub const BUFFERED: Durability = Durability::Buffered { sync_every: Duration::from_secs(1) };

pub fn options(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(SEGMENT).maintenance(Maintenance::Manual)
}

pub fn dir() -> &'static Path {
    Path::new(DIR)
}

/// A prune of all that may go.
pub fn everything(forced: bool) -> Prune {
    let all = Prune::before(At::Seq(Seq(u64::MAX / 4)));
    if forced { all.forced() } else { all }
}

/// What a script unwinds with where something fails that it counts on. No panic: nothing is printed.
#[derive(Debug)]
pub struct GivenUp(pub String);

/// What a script counts on; where it is not so, the script ends here.
pub fn count_on<T, E: fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| resume_unwind(Box::new(GivenUp(format!("{what}: {error:?}")))))
}

/// The same, of something that must be true.
pub fn demand(holds: bool, what: impl fmt::Debug) {
    count_on(if holds { Ok(()) } else { Err(what) }, "this must hold");
}

/// A call that is to fail, counted over all worlds that the script comes through.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub call: usize,
    pub fault: Fault,
}

/// A world with a ledger in it, and what its client knows.
#[derive(Debug)]
pub struct Script {
    pub vfs: MemVfs,
    pub journal: Journal,
    /// The calls in the worlds that it has left by a power cut.
    earlier: Vec<CallKind>,
    planned: Option<Planned>,
    ledger: Option<Ledger>,
    /// Whether an append returns once it is written.
    buffered: bool,
    /// What has its place, by its last seq, and is not known to be durable.
    outstanding: Vec<(Seq, Ticket)>,
}

pub fn batch_of(facts: &[Fact]) -> Batch {
    let mut batch = Batch::new();
    for fact in facts {
        match key_of_note(&fact.task) {
            Some(key) => batch.push_note(key, fact.event(), Expect::Any),
            None => batch.push(fact.task.as_str(), fact.event(), Expect::Any),
        };
    }
    batch
}

impl Script {
    pub fn new() -> Script {
        Script {
            vfs: MemVfs::new(),
            journal: Journal::new(),
            earlier: Vec::new(),
            planned: None,
            ledger: None,
            buffered: false,
            outstanding: Vec::new(),
        }
    }

    /// One of its calls is going to fail.
    pub fn failing(planned: Planned) -> Script {
        let script = Script { planned: Some(planned), ..Script::new() };
        script.plan();
        script
    }

    fn plan(&self) {
        if let Some(Planned { call, fault }) = self.planned
            && let Some(call) = call.checked_sub(self.earlier.len())
        {
            self.vfs.fail_at(call, fault);
        }
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<CallKind> {
        [&self.earlier[..], &self.vfs.call_kinds()].concat()
    }

    /// Whether the power failed in the middle.
    pub fn lost_power(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// The power fails, and leaves this.
    pub fn power_cut(&mut self, after: MemVfs) {
        self.drop_ledger();
        self.earlier = self.calls();
        self.vfs = after;
        self.plan();
        self.journal.rebase();
    }

    pub fn try_open(&mut self) -> Result<(), Error> {
        self.buffered = false;
        self.try_open_with(options(&self.vfs))
    }

    /// Opens so that an append returns once it is written.
    pub fn open_buffered(&mut self) {
        count_on(self.try_open_buffered(), "opening");
    }

    pub fn try_open_buffered(&mut self) -> Result<(), Error> {
        self.buffered = true;
        self.try_open_with(options(&self.vfs).durability(BUFFERED))
    }

    /// Opens through another file layer that ends in the same files.
    pub fn open_with(&mut self, options: Options) {
        count_on(self.try_open_with(options), "opening");
    }

    fn try_open_with(&mut self, options: Options) -> Result<(), Error> {
        let ledger = options.open(DIR)?;
        self.outstanding.clear();
        // As it says itself: reading the entries could fail, and is done by the oracle.
        self.journal.opened(ledger.report().last.0 as usize, self.vfs.trace_len());
        self.ledger = Some(ledger);
        Ok(())
    }

    pub fn open(&mut self) {
        count_on(self.try_open(), "opening");
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("the script has opened it")
    }

    pub fn try_batch(&mut self, facts: &[Fact]) -> Result<(), Error> {
        self.vfs.advance_ms(1);
        let now = self.vfs.now_ms();
        let ticket = self.journal.submit(facts, now, self.vfs.trace_len());
        let result = self.ledger().commit(batch_of(facts));
        match &result {
            Ok(receipt) => {
                let expected = self.journal.items().len() as u64;
                assert_eq!(receipt.seq(), Seq(expected), "seqs are dense");
                self.journal.written(ticket);
                if self.buffered {
                    self.outstanding.push((receipt.seq(), ticket));
                } else {
                    self.journal.acknowledge(ticket, self.vfs.trace_len());
                }
            }
            Err(Error::Unknown { .. }) => {}
            Err(_) => self.journal.withdraw(ticket),
        }
        result.map(|_| ())
    }

    pub fn batch(&mut self, facts: &[Fact]) {
        count_on(self.try_batch(facts), "appending");
    }

    pub fn append(&mut self, fact: Fact) {
        self.batch(&[fact]);
    }

    /// Writes a batch that need not be durable when this returns.
    pub fn write(&mut self, facts: &[Fact]) {
        self.place(facts, |ledger, batch| ledger.commit(batch).map(drop));
    }

    /// Gives a batch its place, and lets go of the ticket.
    pub fn submit(&mut self, facts: &[Fact]) {
        self.place(facts, |ledger, batch| ledger.submit_batch(batch).map(drop));
    }

    /// Takes down a batch that something else is going to place.
    pub fn announce(&mut self, facts: &[Fact]) {
        let ticket = self.journal.submit(facts, self.vfs.now_ms(), self.vfs.trace_len());
        self.outstanding.push((Seq(self.journal.items().len() as u64), ticket));
    }

    fn place(&mut self, facts: &[Fact], place: fn(&Ledger, Batch) -> Result<(), Error>) {
        self.vfs.advance_ms(1);
        self.announce(facts);
        count_on(place(self.ledger(), batch_of(facts)), "appending");
        self.learn();
    }

    pub fn sync(&mut self) {
        count_on(self.try_sync(), "syncing");
    }

    pub fn try_sync(&mut self) -> Result<(), Error> {
        let durable = self.ledger().sync()?;
        assert_eq!(durable, Seq(self.journal.items().len() as u64), "all so far is durable");
        self.learn();
        assert!(self.outstanding.is_empty(), "all so far is durable");
        Ok(())
    }

    /// Asks what is durable by now: from here on it must not go away.
    pub fn learn(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let durable = ledger.durable();
        let now = self.vfs.trace_len();
        for (_, ticket) in self.outstanding.extract_if(.., |(last, _)| *last <= durable) {
            self.journal.acknowledge(ticket, now);
        }
    }

    /// What was shown as durable when the trace was so long must not go away since then.
    pub fn shown(&mut self, seq: Seq, trace_len: usize) {
        for (_, ticket) in self.outstanding.extract_if(.., |(last, _)| *last == seq) {
            self.journal.acknowledge(ticket, trace_len);
        }
    }

    /// Whether anything has its place, and is not known to be durable.
    pub fn owes(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub fn maintain(&mut self) {
        count_on(self.try_maintain(), "maintaining");
    }

    pub fn try_maintain(&mut self) -> Result<(), Error> {
        let maintained = self.ledger().maintain();
        self.learn();
        maintained
    }

    pub fn snapshot(&mut self) {
        count_on(self.ledger().snapshot(), "making a snapshot");
    }

    pub fn prune(&mut self, prune: &Prune) {
        count_on(self.try_prune(prune), "pruning");
    }

    /// What is to go is taken down as it is announced; how many segments that is, is not asked.
    pub fn try_prune(&mut self, prune: &Prune) -> Result<(), Error> {
        let Some((_, last)) = self.ledger().would_prune(prune)?.seqs else {
            self.ledger().prune(prune)?;
            self.journal.pruned(self.vfs.trace_len());
            return Ok(());
        };
        self.vfs.advance_ms(1);
        let (now, before) = (self.vfs.now_ms(), self.vfs.trace_len());
        let ticket = self.journal.submit(&[pruned(last.0 as usize)], now, before);
        let seq = Seq(self.journal.items().len() as u64);
        let result = self.ledger().prune(prune);
        let now = self.vfs.trace_len();
        match &result {
            Ok(pruning) => {
                assert_eq!((pruning.entry, pruning.oldest), (Some(seq), Seq(last.0 + 1)), "it does what it would do");
                self.journal.written(ticket);
                self.journal.acknowledge(ticket, now);
                self.journal.pruned(now);
            }
            Err(Error::Unknown { .. }) => {}
            // It is told, and not all of it has gone.
            Err(_) if self.ledger().head() == seq => {
                self.journal.written(ticket);
                self.journal.acknowledge(ticket, now);
            }
            Err(_) => self.journal.withdraw(ticket),
        }
        self.learn();
        result.map(drop)
    }

    pub fn try_close(&mut self) -> Result<(), Error> {
        let closed = self.ledger.take().expect("the script has opened it").close();
        if closed.is_ok() {
            let now = self.vfs.trace_len();
            self.outstanding.drain(..).for_each(|(_, ticket)| self.journal.acknowledge(ticket, now));
        }
        closed
    }

    pub fn close(&mut self) {
        count_on(self.try_close(), "closing");
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.vfs.files().iter().filter(|path| path.extension().is_some_and(|end| end == "log")).count()
    }

    /// Lets go of the ledger, which closes it as far as that is possible.
    pub fn drop_ledger(&mut self) {
        self.ledger = None;
    }

    /// The process is killed; the machine goes on.
    pub fn kill(&mut self) {
        let after = self.vfs.kill();
        self.ledger = None; // into the world that is thrown away
        self.vfs = after;
    }

    /// The next call of this kind fails in this way.
    pub fn fail_next(&self, kind: CallKind, effect: Effect) {
        self.vfs.fail_at(self.vfs.calls(), Fault::new(EIO).only(kind).with(effect));
    }
}

pub const EIO: i32 = 5;
pub const EACCES: i32 = 13;
pub const ENOSPC: i32 = 28;
