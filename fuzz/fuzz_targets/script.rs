//! Any operations, with kills, power cuts and failing calls in between. What was acknowledged is there; what is there was
//! appended, in order, and whole batches only; and no crash alone makes opening refuse.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use taskledger::vfs::fault::{Choice, Fault, MemVfs};
use taskledger::{Batch, Durability, Entry, Error, Event, Expect, Ledger, Maintenance, Options, Seq, TaskState};

const DIR: &str = "/fuzz";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Debug, Arbitrary)]
enum Op {
    /// So many events in one batch, each with so many bytes of text.
    Commit {
        events: u8,
        bytes: u16,
    },
    Submit {
        events: u8,
        bytes: u16,
    },
    Note {
        key: u8,
        bytes: u16,
    },
    Sync,
    Maintain,
    Close,
    Kill,
    /// A power cut, and which of the states that it may leave.
    Cut {
        state: u64,
    },
    /// So many calls from now one fails, or all do from then on.
    Fail {
        calls: u8,
        full: bool,
        sticky: bool,
    },
}

#[derive(Debug, Arbitrary)]
struct Script {
    buffered: bool,
    ops: Vec<Op>,
}

struct World {
    vfs: MemVfs,
    /// `None` after its end, until it is opened again.
    ledger: Option<Ledger>,
    buffered: bool,
    /// The reason of each entry that was given a place, in order: what may be found.
    placed: Vec<String>,
    /// How many were placed when each batch was.
    ends: Vec<usize>,
    /// How many survive a power cut, and how many a kill.
    durable: usize,
    written: usize,
    said: usize,
}

fn reasons(ledger: &Ledger) -> Result<Vec<String>, Error> {
    let entries: Vec<Entry> = ledger.entries(Seq::FIRST).collect::<Result<_, _>>()?;
    Ok(entries.iter().map(|entry| entry.event.reason().expect("each was given one").to_owned()).collect())
}

impl World {
    fn open_once(&self) -> Result<Ledger, Error> {
        let options = Options::new().vfs(Arc::new(self.vfs.clone())).segment_size(16 << 10);
        let options = options.maintenance(Maintenance::Manual);
        let sync_every = Duration::from_secs(1);
        let options = if self.buffered { options.durability(Durability::Buffered { sync_every }) } else { options };
        options.open(DIR)
    }

    /// Opens it where it is not, and compares; `owed` is how many must be there.
    fn reopen(&mut self, owed: usize) {
        let opened = self.open_once().or_else(|error| {
            assert!(
                !matches!(error, Error::Damaged { .. } | Error::Format { .. }),
                "a crash makes it refuse: {error:?}"
            );
            // A call failed; that is over now.
            self.vfs.clear_faults();
            self.open_once()
        });
        let ledger = opened.expect("no crash alone makes opening refuse");
        let found = reasons(&ledger).or_else(|error| {
            assert!(matches!(error, Error::Io { .. }), "nothing rotted: {error:?}");
            // The call that fails is a read.
            self.vfs.clear_faults();
            reasons(&ledger)
        });
        let found = found.expect("nothing fails any more");
        assert!(found.len() >= owed, "{owed} were acknowledged, {} are there", found.len());
        assert!(found.len() <= self.placed.len(), "{} were placed, {} are there", self.placed.len(), found.len());
        assert_eq!(found[..], self.placed[..found.len()], "a prefix, in order");
        assert!(found.is_empty() || self.ends.contains(&found.len()), "a batch is there in part: {}", found.len());
        self.ends.retain(|end| *end <= found.len());
        (self.durable, self.written, self.placed) = (found.len(), found.len(), found);
        self.ledger = Some(ledger);
    }

    fn reason(&mut self, bytes: u16) -> String {
        self.said += 1;
        format!("{} {}", self.said, "x".repeat(usize::from(bytes % 3000)))
    }

    fn append(&mut self, batch: Batch, reasons: Vec<String>, wait: bool) {
        let ledger = self.ledger.as_ref().expect("it is open");
        let told = if wait { ledger.commit(batch).map(drop) } else { ledger.submit_batch(batch).map(drop) };
        // Anything but Unknown says that it got no place.
        if matches!(told, Ok(()) | Err(Error::Unknown { .. })) {
            self.placed.extend(reasons);
            self.ends.push(self.placed.len());
        }
        if told.is_ok() && wait {
            self.written = self.placed.len();
            self.durable = if self.buffered { self.durable } else { self.written };
        }
    }

    fn events(&mut self, events: u8, bytes: u16, wait: bool) {
        let (mut batch, mut reasons) = (Batch::new(), Vec::new());
        for n in 0..=events % 40 {
            let reason = self.reason(bytes);
            let event = Event::observed(TaskState::Running).because(reason.clone());
            batch.push(format!("t{}", n % 5), event, Expect::Any);
            reasons.push(reason);
        }
        self.append(batch, reasons, wait);
    }

    fn run(&mut self, op: Op) {
        let ledger = self.ledger.clone().expect("it is open");
        match op {
            Op::Commit { events, bytes } => self.events(events, bytes, true),
            Op::Submit { events, bytes } => self.events(events, bytes, false),
            Op::Note { key, bytes } => {
                let reason = self.reason(bytes);
                let mut batch = Batch::new();
                batch.push_note(format!("n{}", key % 5), Event::noted(self.said).because(reason.clone()), Expect::Any);
                self.append(batch, vec![reason], true);
            }
            Op::Sync => {
                if let Ok(seq) = ledger.sync() {
                    assert_eq!(seq.0 as usize, self.placed.len(), "all so far is durable");
                    (self.durable, self.written) = (self.placed.len(), self.placed.len());
                }
            }
            Op::Maintain => {
                let _ = ledger.maintain();
                self.durable = self.durable.max(ledger.durable().0 as usize);
                self.written = self.written.max(self.durable);
            }
            Op::Close => {
                if ledger.close().is_ok() {
                    (self.durable, self.written) = (self.placed.len(), self.placed.len());
                }
                self.ledger = None;
                self.reopen(self.written);
            }
            Op::Kill => {
                let after = self.vfs.kill();
                drop(ledger);
                self.ledger = None;
                self.vfs = after;
                self.reopen(self.written);
            }
            Op::Cut { state } => {
                let after = cut(&self.vfs, state);
                drop(ledger);
                self.ledger = None;
                self.vfs = after;
                self.reopen(self.durable);
            }
            Op::Fail { calls, full, sticky } => {
                let fault = Fault { sticky, ..Fault::new(if full { ENOSPC } else { EIO }) };
                self.vfs.fail_at(self.vfs.calls() + usize::from(calls), fault);
            }
        }
    }
}

/// One of the states after a power cut now.
fn cut(vfs: &MemVfs, state: u64) -> MemVfs {
    let pending = vfs.pending(vfs.trace_len());
    let mut bits = state;
    let mut bit = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bits >> 63 == 1
    };
    let Choice { names, lens, sectors, .. } = pending.all_kept();
    let choice = Choice {
        names: names.into_iter().map(|_| bit()).collect(),
        lens: lens.into_iter().map(|newest| if bit() { newest } else { 0 }).collect(),
        sectors: sectors.into_iter().map(|newest| if bit() { newest } else { 0 }).collect(),
        torn: None,
    };
    // Not every set of changed names can be left.
    let image = pending.image(&choice).or_else(|| pending.image(&pending.none_kept()));
    image.expect("a power cut may take all that is undecided")
}

fuzz_target!(|script: Script| {
    let vfs = MemVfs::new();
    let mut world = World {
        vfs,
        ledger: None,
        buffered: script.buffered,
        placed: Vec::new(),
        ends: Vec::new(),
        durable: 0,
        written: 0,
        said: 0,
    };
    world.reopen(0);
    for op in script.ops.into_iter().take(64) {
        world.run(op);
    }
    world.run(Op::Cut { state: u64::MAX });
});
