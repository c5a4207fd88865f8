//! A ledger and the model of it, side by side: everything that happens to one happens to the other, and the answers
//! are compared.

use std::path::PathBuf;
use std::sync::Arc;

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Batch, Durability, Ledger, Maintenance, Options, Reader, TaskState};

use super::answers::{Depth, check_ledger};
use super::cut::Journal;
use super::ops::{Draft, Op, TASKS, time};
use super::tally::Tally;
use super::walk::Walk;
use crate::reference::{RefEvent, RefExpect, RefItem, RefKind, RefReceipt, RefRefusal, RefTask, Reference, batch_of};
use crate::support::ClockVfs;

pub const START_MS: u64 = 1_772_366_400_000;
/// So many lists are walked through at once.
const WALKS: usize = 3;

/// Where the files are.
pub enum Place {
    Memory(MemVfs),
    Real(tempfile::TempDir),
}

/// A batch, and what it was told: receipt and epoch.
pub type Submitted = (Vec<RefItem>, Option<(RefReceipt, u32)>);

/// A ledger and the model of it, side by side.
pub struct Pair<'t> {
    pub place: Place,
    durability: Durability,
    pub dir: PathBuf,
    pub vfs: Arc<ClockVfs>,
    pub ledger: Option<Ledger>,
    pub model: Reference,
    pub now: u64,
    pub submitted: Vec<Submitted>,
    /// The highest epoch of earlier openings that appended something.
    pub epoch_before: u32,
    pub epoch: Option<u32>,
    bursts: usize,
    pub journal: Journal,
    walks: Vec<Walk>,
    /// One who reads beside the writer, the last entry that it has seen, and the oldest one that there was.
    pub reader: Option<(Reader, u64, u64)>,
    /// Whether all is compared after each operation.
    thorough: bool,
    pub tally: &'t Tally,
}

impl Pair<'_> {
    pub fn new(place: Place, durability: Durability, thorough: bool, tally: &Tally) -> Pair<'_> {
        let (vfs, dir) = match &place {
            Place::Memory(vfs) => (ClockVfs::new(vfs.clone(), START_MS), PathBuf::from("/runs")),
            Place::Real(dir) => (ClockVfs::new(RealVfs, START_MS), dir.path().join("runs")),
        };
        let mut pair = Pair {
            place,
            durability,
            dir,
            vfs,
            ledger: None,
            model: Reference::default(),
            now: START_MS,
            submitted: Vec::new(),
            epoch_before: 0,
            epoch: None,
            bursts: 0,
            journal: Journal::new(0, 0),
            walks: Vec::new(),
            reader: None,
            thorough,
            tally,
        };
        pair.open();
        pair.journal = Journal::new(pair.moment(), 0);
        pair
    }

    pub fn options(&self) -> Options {
        let options = Options::new().segment_size(16 << 10).durability(self.durability);
        options.maintenance(Maintenance::Manual).vfs(Arc::clone(&self.vfs) as _)
    }

    pub fn open(&mut self) {
        self.ledger = Some(self.options().open(&self.dir).expect("nothing is damaged"));
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open between operations")
    }

    pub fn is_sync(&self) -> bool {
        self.durability == Durability::Sync
    }

    /// How many operations of the file system there were; power fails in memory only.
    pub fn moment(&self) -> usize {
        match &self.place {
            Place::Memory(vfs) => vfs.trace_len(),
            Place::Real(_) => 0,
        }
    }

    /// Notes that the model has got entries which the ledger is about to be asked for.
    pub fn places(&mut self) {
        self.journal.places(self.moment(), self.model.head());
    }

    /// Notes that an append or a wait has returned for the entries up to this one.
    pub fn tells(&mut self, last: u64) {
        let durable = self.ledger().durable().0;
        // What is told is durable, or the ledger knows itself how far it is.
        let safe = if self.is_sync() { last } else { durable };
        self.journal.tells(self.moment(), last, safe);
    }

    /// Does it to both, and compares.
    pub fn run(&mut self, op: Op) {
        self.run_op(op);
        for walk in &mut self.walks {
            walk.passes(&self.model);
        }
        if self.thorough {
            let limit = 1 + self.model.head() as usize % 3;
            check_ledger(self.ledger(), &self.model, limit, Depth::Whole, self.tally);
            self.look_beside();
            self.tally.count("compared after an operation");
        }
    }

    /// Walks through the lists to their ends.
    pub fn finish_walks(&mut self) {
        while let Some(mut walk) = self.walks.pop() {
            while !walk.is_over() {
                walk.go_on(self.ledger(), &self.model, 2, self.tally);
            }
        }
    }

    fn page(&mut self, start: bool, which: usize, limit: usize) {
        if self.walks.is_empty() || start && self.walks.len() < WALKS {
            let walk = Walk::start(self.ledger(), &self.model, which, limit, self.tally);
            self.walks.push(walk);
        } else {
            let n = which % self.walks.len();
            let mut walk = self.walks.swap_remove(n);
            walk.go_on(self.ledger(), &self.model, limit, self.tally);
            self.walks.push(walk);
        }
        self.walks.retain(|walk| !walk.is_over());
    }

    fn run_op(&mut self, op: Op) {
        match op {
            Op::Commit(drafts) => {
                let batch: Vec<RefItem> =
                    drafts.into_iter().map(|draft| draft.resolve(&self.model, self.now)).collect();
                self.commit(batch);
            }
            Op::Submit { batches, looked_at } => self.submit(batches, looked_at),
            Op::RecoverOrphans(max) => self.recover_orphans(max),
            Op::Again { which, stated, changed } => {
                let keyed = |(batch, _): &&Submitted| {
                    batch.iter().any(|item| item.event.as_ref().is_some_and(|event| event.key.is_some()))
                };
                let keyed: Vec<_> = self.submitted.iter().filter(keyed).collect();
                if keyed.is_empty() {
                    return;
                }
                let mut batch = keyed[which % keyed.len()].0.clone();
                for (n, item) in batch.iter_mut().enumerate() {
                    item.expect = RefExpect::Any;
                    let Some(event) = &mut item.event else { continue };
                    event.stated = time(self.now, stated);
                    if changed && n == which % 3 {
                        event.reason = Some("changed".to_owned());
                    }
                }
                self.commit(batch);
            }
            Op::KeyedBurst { task, events } => {
                for _ in 0..events {
                    self.bursts += 1;
                    let kind = match self.model.tasks.get(TASKS[task]) {
                        Some(RefTask { record: Some(_), .. }) => RefKind::Updated,
                        _ => RefKind::Created,
                    };
                    let event = RefEvent { key: Some(format!("burst-{}", self.bursts)), ..RefEvent::new(kind) };
                    let item = RefItem { task: TASKS[task].to_owned(), event: Some(event), expect: RefExpect::Any };
                    self.commit(vec![item]);
                }
            }
            Op::Clock(step) => {
                self.now = self.now.saturating_add_signed(step);
                self.vfs.set(self.now);
            }
            Op::Maintain => {
                self.ledger().maintain().expect("there is room");
                assert_eq!(self.ledger().durable().0, self.model.head(), "nothing is left to be synced");
                self.tells(self.model.head());
            }
            Op::Reopen(ending) => self.reopen(ending),
            Op::Wide(task) => {
                let output = Some(Some(serde_json::Value::from("w".repeat(8 << 10))));
                let event = RefEvent { output, ..RefEvent::new(RefKind::Observed(TaskState::Completed)) };
                self.commit(vec![RefItem { task: TASKS[task].to_owned(), event: Some(event), expect: RefExpect::Any }]);
            }
            Op::Prune { kept, forced, then } => {
                self.prune(kept, forced);
                then.into_iter().for_each(|ending| self.reopen(ending));
            }
            Op::Look { seq, millis, limit } => self.look(seq, millis, limit),
            Op::Page { start, which, limit } => self.page(start, which, limit),
            Op::Refresh => self.look_beside(),
        }
    }

    fn submit(&mut self, batches: Vec<Vec<Draft>>, looked_at: bool) {
        let mut placed = Vec::new();
        for drafts in batches {
            let batch: Vec<RefItem> = drafts.into_iter().map(|draft| draft.resolve(&self.model, self.now)).collect();
            if let Some(asked) = self.ask(&batch) {
                let expected = self.model.apply(&batch, self.now);
                self.places();
                placed.push((batch, expected, self.ledger().submit_batch(asked)));
            }
        }
        if looked_at {
            let head = self.ledger().head().0;
            assert!(head >= self.journal.last().told, "what was told is shown");
            check_ledger(self.ledger(), &self.model.as_of_seq(head), 2, Depth::Quick, self.tally);
            self.look_beside();
            self.tally.count_if("looked while something was placed", head < self.model.head());
        }
        for (batch, expected, ticket) in placed {
            self.judge(batch, expected, ticket.and_then(taskledger::Ticket::wait));
        }
        // A refusal waits only for what it rests on.
        self.sync();
    }

    /// All is durable by then.
    pub fn sync(&mut self) {
        assert_eq!(self.ledger().sync().expect("nothing fails").0, self.model.head());
        self.tells(self.model.head());
    }

    fn recover_orphans(&mut self, max: u32) {
        let mut batch = Vec::new();
        let mut counts = (0, 0, 0);
        let mut tasks: Vec<_> = self.model.tasks.iter().collect();
        tasks.sort_by_key(|(id, _)| *id);
        for (id, task) in tasks {
            let Some(record) = &task.record else { continue };
            let mut push = |kind, reason: &str, attempts| {
                let version = task.version + batch.iter().filter(|item: &&RefItem| item.task == *id).count() as u64;
                let event = RefEvent { reason: Some(reason.to_owned()), attempts, ..RefEvent::new(kind) };
                batch.push(RefItem { task: id.clone(), event: Some(event), expect: RefExpect::Version(version) });
            };
            match record.state {
                TaskState::Running | TaskState::Retrying if record.attempts < max => {
                    push(RefKind::Requeued(TaskState::Pending), "its executor is gone", None);
                    counts.0 += 1;
                }
                TaskState::Running | TaskState::Retrying => {
                    push(RefKind::To(TaskState::Failed), "its executor is gone, and no attempt is left", None);
                    counts.1 += 1;
                }
                _ => {}
            }
            if record.attempts > max {
                push(RefKind::Updated, "more attempts than are allowed", Some(max));
                counts.2 += 1;
            }
        }
        if !batch.is_empty() {
            self.model.apply(&batch, self.now).expect("the rules allow it");
            self.places();
            self.tally.count("recovered");
        }
        let got = self.ledger().recover_orphans(max).expect("nothing fails");
        assert_eq!((got.requeued, got.failed, got.clamped), counts);
        assert_eq!(self.ledger().head().0, self.model.head());
        self.tells(self.model.head());
    }

    fn commit(&mut self, batch: Vec<RefItem>) {
        let Some(asked) = self.ask(&batch) else { return };
        let expected = self.model.apply(&batch, self.now);
        self.places();
        let got = self.ledger().commit(asked);
        self.judge(batch, expected, got);
        assert_eq!(self.ledger().head().0, self.model.head(), "the head after it");
    }

    /// The batch as the ledger takes it; `None` where it has no event, which is refused.
    fn ask(&self, batch: &[RefItem]) -> Option<Batch> {
        let asked = batch_of(batch);
        if asked.is_empty() {
            let refused = self.ledger().commit(asked).expect_err("a batch must have an event");
            assert_eq!(refused.code(), "LIMIT", "{batch:?}");
            return None;
        }
        Some(asked)
    }

    fn judge(
        &mut self,
        batch: Vec<RefItem>,
        expected: Result<RefReceipt, RefRefusal>,
        got: taskledger::Result<taskledger::Receipt>,
    ) {
        let outcome = match &got {
            Ok(receipt) if receipt.replayed() => "replayed",
            Ok(_) => "appended",
            Err(refused) => refused.code(),
        };
        self.tally.count(outcome);
        match (expected, got) {
            (Ok(expected), Ok(got)) => {
                assert_eq!(RefReceipt::of(&got), expected, "{batch:?}");
                let last = expected.places.last().expect("it has an event");
                assert_eq!((got.seq().0, got.version(), got.at()), (last.1, last.2, last.3));
                if expected.replayed {
                    let same = |(_, first): &&Submitted| {
                        first.as_ref().is_some_and(|(first, _)| first.places == expected.places)
                    };
                    let first = self.submitted.iter().find(same).and_then(|(_, first)| first.as_ref());
                    assert_eq!(
                        got.epoch(),
                        first.expect("it was appended").1,
                        "a replayed receipt has the first's epoch"
                    );
                    return;
                }
                assert!(got.epoch() > self.epoch_before, "epochs grow with each opening that appends");
                assert!(self.epoch.is_none_or(|epoch| epoch == got.epoch()), "one opening has one epoch");
                self.epoch = Some(got.epoch());
                self.tells(last.1);
                self.submitted.push((batch, Some((expected, got.epoch()))));
            }
            (Err(expected), Err(refused)) if expected.is(&refused) => {
                if !matches!(expected, RefRefusal::Conflict { .. }) {
                    self.submitted.push((batch, None));
                }
            }
            (expected, got) => panic!("{batch:#?}\nat {} came to {got:?}\ninstead of {expected:?}", self.now),
        }
    }
}
