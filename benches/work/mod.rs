//! The workloads W1 to W8, written once: the `ledger` benchmark runs them on the ledger and on the bare system calls, and
//! `benches/peers` on what a user might take in its place as well.
//!
//! A [`Peer`] opens a [`Store`]; the drivers (drive.rs) know nothing more of either. Every answer is held against the
//! generator's own fold (events.rs): a wrong answer ends the run and is no figure. Each measurement is a process of its
//! own (child.rs), so that no peer inherits the memory or the threads of another, and the peers take turns within each
//! round (run.rs), so that noise is shared.

#![allow(clippy::indexing_slicing, reason = "a benchmark that reaches beyond its own tables has nothing to save")]

pub mod args;
pub mod catalogue;
pub mod child;
pub mod drive;
pub mod events;
pub mod floor;
pub mod group;
pub mod ledger;
pub mod machine;
pub mod report;
pub mod run;
pub mod syncs;

use std::path::Path;
use std::time::Duration;

use events::{Counts, Payload, Told};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What an append has been saved from when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A power cut.
    Durable,
    /// Less, in return for speed: what exactly is the peer's choice, and said in its `about`.
    Relaxed,
    /// As relaxed as it can be while the store for W4 to W8 is built; durable where there is nothing else.
    Load,
}

/// How much is going to be in it, for who must know ahead.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub events: u64,
    pub tasks: u32,
}

/// Something that keeps events of tasks.
pub trait Peer: Send + Sync {
    fn name(&self) -> &'static str;

    /// What it keeps of an event, how it is set, and which documentation says so.
    fn about(&self) -> &'static str;

    /// Opens what is in the directory, or makes it. `None`: it has no such mode.
    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>>;

    /// Whether it is measured in a workload at all: a variant of a peer is, where it makes a difference.
    fn takes_part(&self, _workload: &str) -> bool {
        true
    }

    /// Whether several events can be appended at once, all or none.
    fn has_batches(&self) -> bool {
        true
    }

    /// Whether the events stay, or only what became of each task.
    fn keeps_events(&self) -> bool {
        true
    }

    /// How many events a call has while the store for W4 to W8 is built.
    fn load_batch(&self) -> usize {
        1
    }

    /// What each of its integrity checks covers; the quickest that reads everything first.
    fn checks(&self) -> &'static [&'static str];

    /// Runs one of them; the time does not include opening where the check can do without.
    fn check(&self, dir: &Path, which: usize, extent: Extent) -> Outcome<Checked>;

    /// Bytes of the log, without what was allocated ahead and without tables made of it. `None`: it has none, or cannot tell.
    fn log_bytes(&self, _dir: &Path) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

/// What an integrity check came to. A finding is an error.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    pub took: Duration,
    /// How many events it has seen, where it can tell.
    pub events: Option<u64>,
}

/// What waits for one submitted event to be durable.
pub type Waiting<'a> = Box<dyn FnOnce() -> Outcome<()> + 'a>;

/// A peer's open store.
pub trait Store: Send + Sync {
    /// Returns once the mode's promise holds.
    fn append(&self, event: &Payload) -> Outcome<()>;

    /// All or none.
    fn append_all(&self, events: &[Payload]) -> Outcome<()>;

    /// Appends without waiting. `None`: it cannot.
    fn submit(&self, _event: &Payload) -> Outcome<Option<Waiting<'_>>> {
        Ok(None)
    }

    /// All that was appended so far is durable.
    fn sync(&self) -> Outcome<()>;

    /// Tasks by state.
    fn counts(&self) -> Outcome<Counts>;

    /// The events of one task, oldest first. False: it does not keep them, or would have to read all of the log.
    fn history(&self, _task: u32, _seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        Ok(false)
    }

    /// The state of each task after so many events, 0 where it was not there yet. `None`: it cannot tell.
    fn states_at(&self, _seq: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Tasks by state after so many events.
    fn counts_at(&self, seq: u64) -> Outcome<Option<Counts>> {
        Ok(self.states_at(seq)?.map(|states| Counts::of(&states)))
    }

    fn close(self: Box<Self>) -> Outcome<()>;
}
