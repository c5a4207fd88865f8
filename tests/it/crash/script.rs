//! Runs a script against a ledger in memory, and keeps the client's journal of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::vfs::ops::Vfs as _;
use taskledger::{Batch, Durability, Error, Expect, Ledger, Maintenance, Options, Seq};

use super::journal::{Fact, Journal, Ticket, key_of_note};

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

/// A world with a ledger in it, and what its client knows.
#[derive(Debug)]
pub struct Script {
    pub vfs: MemVfs,
    pub journal: Journal,
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
        Script { vfs: MemVfs::new(), journal: Journal::new(), ledger: None, buffered: false, outstanding: Vec::new() }
    }

    pub fn try_open(&mut self) -> Result<(), Error> {
        self.buffered = false;
        self.try_open_with(options(&self.vfs))
    }

    /// Opens so that an append returns once it is written.
    pub fn open_buffered(&mut self) {
        self.try_open_buffered().expect("the script opens where that works");
    }

    pub fn try_open_buffered(&mut self) -> Result<(), Error> {
        self.buffered = true;
        self.try_open_with(options(&self.vfs).durability(BUFFERED))
    }

    /// Opens through another file layer that ends in the same files.
    pub fn open_with(&mut self, options: Options) {
        self.try_open_with(options).expect("the script opens where that works");
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
        self.try_open().expect("the script opens where that works");
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
        self.try_batch(facts).expect("the script appends where that works");
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
        place(self.ledger(), batch_of(facts)).expect("the script appends where that works");
        self.learn();
    }

    pub fn sync(&mut self) {
        self.try_sync().expect("the script syncs where that works");
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

    /// Whether anything has its place, and is not known to be durable.
    pub fn owes(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub fn maintain(&mut self) {
        self.ledger().maintain().expect("the script maintains where that works");
        self.learn();
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
        self.try_close().expect("the script closes where that works");
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        let names = self.vfs.list(&dir().join("log")).expect("it is there");
        names.iter().filter(|entry| Path::new(&entry.name).extension().is_some_and(|end| end == "log")).count()
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
