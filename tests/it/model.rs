//! Random histories against the reference model, and the lifecycle against dag-executor's.
//!
//! `TASKLEDGER_SEED` and `TASKLEDGER_CASES` choose other histories and more of them; a failure prints its seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dag_executor::prelude as theirs;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{
    At, Batch, Counts, Durability, Entry, Error, Event, Filter, Ledger, Maintenance, Options, Page, Seq, Task,
    TaskRecord, TaskState, View,
};

use crate::reference::{
    RefEntry, RefEvent, RefExpect, RefItem, RefKind, RefReceipt, RefRefusal, RefTask, Reference, moves_from,
};
use crate::support::{ClockVfs, number};

const SEED: u64 = 0x7a5c_1ed6;
const START_MS: u64 = 1_772_366_400_000;
const TASKS: [&str; 5] = ["a", "a/1", "b", "nightly/ünï-✓", "b/longer id with spaces"];

/// One thing that happens to a ledger. Numbers are choices, resolved against what is there by then.
#[derive(Debug, Clone)]
enum Op {
    Commit(Vec<Draft>),
    /// Several batches, placed one after the other before anybody waits for the first.
    Submit(Vec<Vec<Draft>>),
    /// Everything that runs is an orphan, and may have so many attempts.
    RecoverOrphans(u32),
    /// An earlier batch once more: with another time, and with one of its events changed.
    Again {
        which: usize,
        stated: Option<i64>,
        changed: bool,
    },
    /// So many keyed events of one task, which push older keys out of its window.
    KeyedBurst {
        task: usize,
        events: usize,
    },
    Clock(i64),
    Maintain,
    Reopen(Ending),
    Look {
        seq: u64,
        millis: u64,
        limit: usize,
    },
}

/// How an opening ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Close,
    Drop,
    /// In the middle of everything; on a real file system it is only dropped.
    Kill,
}

#[derive(Debug, Clone)]
struct Draft {
    task: usize,
    only_looks: bool,
    kind: usize,
    state: usize,
    expect: (usize, u64),
    fields: Fields,
}

#[derive(Debug, Clone)]
struct Fields {
    inferred: bool,
    attempts: Option<u32>,
    output: Option<Option<Value>>,
    error: Option<Option<String>>,
    metadata: BTreeMap<String, Option<String>>,
    times: Option<Times>,
    actor: Option<String>,
    reason: Option<String>,
    cause: Option<u64>,
    key: Option<u8>,
    stated: Option<i64>,
}

/// Created, updated, started, finished; `Some(None)` takes one of the latter two away.
type Times = (Option<u64>, Option<u64>, Option<Option<u64>>, Option<Option<u64>>);

fn outputs() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        2 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<u64>().prop_map(|number| json!({"rows": number, "nested": [null, {"deep": [-0.0, true]}]})),
        2 => (1..3000_usize).prop_map(|len| json!("x".repeat(len))),
        1 => (12_000..50_000_usize).prop_map(|len| json!(["y".repeat(len)])),
    ]
}

/// A stated time, as its distance from the clock; the most that is allowed and one more among them.
fn stated() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(0)),
        2 => (-2_000_000..300_000_i64).prop_map(Some),
        1 => Just(Some(300_000)),
        1 => Just(Some(300_001)),
        1 => Just(Some(i64::MIN)),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let times = (option::of(0..u64::MAX), option::of(0..9_000_u64), option::of(option::of(0..9_u64)));
    let times = (times, option::of(option::of(0..u64::MAX)));
    let metadata = proptest::collection::btree_map("[a-c]|ключ", option::of("[a-z ✓]{0,6}"), 0..3);
    let first = (
        prop::bool::weighted(0.05),
        option::weighted(0.1, 0..5_u32),
        option::weighted(0.2, option::weighted(0.8, outputs())),
        option::weighted(0.2, option::weighted(0.7, ".{0,12}")),
        metadata,
        option::weighted(0.05, times),
    );
    let second = (
        option::weighted(0.3, prop::sample::select(vec!["worker-7", "planner", "ä"])),
        option::weighted(0.1, "[a-z ]{0,20}"),
        option::weighted(0.1, 0..40_u64),
        option::weighted(0.3, 0..6_u8),
        stated(),
    );
    (first, second).prop_map(|((inferred, attempts, output, error, metadata, times), second)| {
        let (actor, reason, cause, key, stated) = second;
        let times = times.map(|((created, updated, started), finished)| (created, updated, started, finished));
        let actor = actor.map(str::to_owned);
        Fields { inferred, attempts, output, error, metadata, times, actor, reason, cause, key, stated }
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    (0..TASKS.len(), prop::bool::weighted(0.1), 0..20_usize, any::<usize>(), (0..14_usize, 0..4_u64), fields())
        .prop_map(|(task, only_looks, kind, state, expect, fields)| Draft {
            task,
            only_looks,
            kind,
            state,
            expect,
            fields,
        })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        16 => vec(draft(), 1..2).prop_map(Op::Commit),
        6 => vec(draft(), 1..7).prop_map(Op::Commit),
        4 => vec(vec(draft(), 1..4), 1..6).prop_map(Op::Submit),
        3 => (0..4_u32).prop_map(Op::RecoverOrphans),
        4 => (any::<usize>(), stated(), prop::bool::weighted(0.3))
            .prop_map(|(which, stated, changed)| Op::Again { which, stated, changed }),
        1 => (0..TASKS.len(), 1..20_usize).prop_map(|(task, events)| Op::KeyedBurst { task, events }),
        4 => (-700_000..700_000_i64).prop_map(Op::Clock),
        2 => Just(Op::Maintain),
        2 => prop::sample::select(vec![Ending::Close, Ending::Drop, Ending::Kill]).prop_map(Op::Reopen),
        1 => (any::<u64>(), any::<u64>(), 1..4_usize).prop_map(|(seq, millis, limit)| Op::Look { seq, millis, limit }),
    ]
}

/// Where the files are.
enum Place {
    Memory(MemVfs),
    Real(tempfile::TempDir),
}

/// A batch, and what it was told: receipt and epoch.
type Submitted = (Vec<RefItem>, Option<(RefReceipt, u32)>);

/// A ledger and the model of it, side by side.
struct Pair {
    place: Place,
    durability: Durability,
    dir: PathBuf,
    vfs: Arc<ClockVfs>,
    ledger: Option<Ledger>,
    model: Reference,
    now: u64,
    submitted: Vec<Submitted>,
    /// The highest epoch of earlier openings that appended something.
    epoch_before: u32,
    epoch: Option<u32>,
    bursts: usize,
    /// How often each outcome came up.
    outcomes: BTreeMap<&'static str, u32>,
}

impl Pair {
    fn new(place: Place, durability: Durability) -> Pair {
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
            outcomes: BTreeMap::new(),
        };
        pair.open();
        pair
    }

    fn options(&self) -> Options {
        let options = Options::new().segment_size(16 << 10).durability(self.durability);
        options.maintenance(Maintenance::Manual).vfs(Arc::clone(&self.vfs) as _)
    }

    fn open(&mut self) {
        self.ledger = Some(self.options().open(&self.dir).expect("nothing is damaged"));
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open between operations")
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Commit(drafts) => {
                let batch: Vec<RefItem> = drafts.into_iter().map(|draft| self.resolve(draft)).collect();
                self.commit(batch);
            }
            Op::Submit(batches) => {
                let mut placed = Vec::new();
                for drafts in batches {
                    let batch: Vec<RefItem> = drafts.into_iter().map(|draft| self.resolve(draft)).collect();
                    if let Some(asked) = self.ask(&batch) {
                        let expected = self.model.apply(&batch, self.now);
                        placed.push((batch, expected, self.ledger().submit_batch(asked)));
                    }
                }
                for (batch, expected, ticket) in placed {
                    self.judge(batch, expected, ticket.and_then(taskledger::Ticket::wait));
                }
                // A refusal waits only for what it rests on.
                assert_eq!(self.ledger().sync().expect("nothing fails").0, self.model.head());
            }
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
                    event.stated = self.time(stated);
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
            Op::Maintain => self.ledger().maintain().expect("there is room"),
            Op::Reopen(ending) => self.reopen(ending),
            Op::Look { seq, millis, limit } => self.look(seq, millis, limit),
        }
    }

    /// A distance from the clock as a time; the farthest possible is the epoch.
    fn time(&self, distance: Option<i64>) -> Option<u64> {
        distance.map(|distance| self.now.saturating_add_signed(distance))
    }

    fn resolve(&self, draft: Draft) -> RefItem {
        let Draft { task, only_looks, kind, state, expect, fields } = draft;
        let task = TASKS[task];
        let before = self.model.tasks.get(task);
        let record = before.and_then(|before| before.record.as_ref());
        let any_state = TaskState::ALL[state % 9];
        let expect = match expect {
            (0, delta) => RefExpect::Version((before.map_or(0, |before| before.version) + delta).saturating_sub(1)),
            (1, delta) => RefExpect::Attempt(record.map_or(0, |record| record.attempts) + (delta / 3) as u32),
            (2, _) => RefExpect::StateIn(vec![any_state, TaskState::Running, TaskState::Pending]),
            (3, 0) => RefExpect::Absent,
            (3, _) if record.is_none() => RefExpect::Absent,
            (3, _) => RefExpect::Exists,
            (4, _) => RefExpect::Version(before.map_or(0, |before| before.version)),
            (5, 0) => RefExpect::Exists,
            _ => RefExpect::Any,
        };
        if only_looks {
            return RefItem { task: task.to_owned(), event: None, expect };
        }
        let kind = match (kind, record) {
            (0, _) => RefKind::Created,
            (1, _) => RefKind::To(any_state),
            (2, _) => RefKind::Requeued(any_state),
            (3, _) => RefKind::Observed(any_state),
            (4, Some(_)) => RefKind::Removed,
            (5 | 6, Some(_)) => RefKind::Updated,
            (7, Some(_)) => RefKind::Requeued([TaskState::Pending, TaskState::Ready][state % 2]),
            (8, Some(record)) => RefKind::To(record.state),
            (9, _) => RefKind::Updated,
            (_, None) => RefKind::Created,
            (_, Some(record)) => match moves_from(record.state) {
                [] => RefKind::Removed,
                moves => RefKind::To(moves[state % moves.len()]),
            },
        };
        let (created, updated, started, finished) = match (fields.times, kind) {
            (Some(times), _) => times,
            (None, RefKind::Observed(_)) if state % 2 == 0 => (Some(1), None, Some(Some(2)), Some(None)),
            (None, _) => (None, None, None, None),
        };
        let event = RefEvent {
            kind,
            inferred: fields.inferred,
            attempts: fields.attempts,
            // JSON null as an output says that there is none.
            output: fields.output.map(|output| output.filter(|value| !value.is_null())),
            value: None,
            error: fields.error,
            metadata: fields.metadata,
            created,
            updated,
            started,
            finished,
            actor: fields.actor,
            reason: fields.reason,
            cause: fields.cause.filter(|&cause| cause > 0),
            key: fields.key.map(|key| format!("key-{key}")),
            stated: self.time(fields.stated),
        };
        RefItem { task: task.to_owned(), event: Some(event), expect }
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
        let got = self.ledger().recover_orphans(max).expect("nothing fails");
        assert_eq!((got.requeued, got.failed, got.clamped), counts);
        if !batch.is_empty() {
            self.model.apply(&batch, self.now).expect("the rules allow it");
            *self.outcomes.entry("recovered").or_default() += 1;
        }
        assert_eq!(self.ledger().head().0, self.model.head());
    }

    fn commit(&mut self, batch: Vec<RefItem>) {
        let Some(asked) = self.ask(&batch) else { return };
        let expected = self.model.apply(&batch, self.now);
        let got = self.ledger().commit(asked);
        self.judge(batch, expected, got);
        assert_eq!(self.ledger().head().0, self.model.head(), "the head after it");
    }

    /// The batch as the ledger takes it; `None` where it has no event, which is refused.
    fn ask(&self, batch: &[RefItem]) -> Option<Batch> {
        let mut asked = Batch::new();
        for item in batch {
            match &item.event {
                Some(event) => asked.push(&item.task, event.to_event(), item.expect.to_expect()),
                None => asked.check(&item.task, item.expect.to_expect()),
            };
        }
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
        *self.outcomes.entry(outcome).or_default() += 1;
        match (expected, got) {
            (Ok(expected), Ok(got)) => {
                let items = got.items().iter();
                let places = items.map(|item| (item.subject.to_string(), item.seq.0, item.version, item.at)).collect();
                assert_eq!(RefReceipt { places, replayed: got.replayed() }, expected, "{batch:?}");
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
                self.submitted.push((batch, Some((expected, got.epoch()))));
            }
            (Err(RefRefusal::Key), Err(Error::Key { .. })) => self.submitted.push((batch, None)),
            (
                Err(RefRefusal::Conflict { task, version, state, seq, actor, at }),
                Err(Error::Conflict {
                    subject: on, version: is, state: found, seq: moved, actor: who, at: when, ..
                }),
            ) => {
                assert_eq!(
                    (on.to_string(), is, found, moved.0, who, when),
                    (task, version, state, seq, actor, at),
                    "{batch:?}"
                );
            }
            (Err(RefRefusal::Rules(codes)), Err(refused)) if codes.contains(&refused.code()) => {
                self.submitted.push((batch, None));
            }
            (expected, got) => panic!("{batch:#?}\nat {} came to {got:?}\ninstead of {expected:?}", self.now),
        }
    }

    fn reopen(&mut self, ending: Ending) {
        let ledger = self.ledger.take().expect("open between operations");
        match (ending, &self.place) {
            (Ending::Close, _) => ledger.close().expect("nothing fails"),
            (Ending::Kill, Place::Memory(vfs)) => {
                let killed = vfs.kill();
                drop(ledger);
                self.vfs = ClockVfs::new(killed.clone(), self.now);
                self.place = Place::Memory(killed);
            }
            (Ending::Drop | Ending::Kill, _) => drop(ledger),
        }
        self.epoch_before = self.epoch_before.max(self.epoch.take().unwrap_or(0));
        self.check_reader();
        self.open();
        let report = self.ledger().report();
        assert_eq!((report.created, report.last.0), (false, self.model.head()));
        self.look(self.model.head() / 2, 1, 2);
    }

    fn look(&self, seq: u64, millis: u64, limit: usize) {
        let ledger = self.ledger();
        let answers = Answers {
            get: &|task| ledger.get(task),
            list: &|filter| ledger.list(filter),
            counts: ledger.counts(),
            history: &|task| ledger.history(task)?.collect(),
            entries: &|from| ledger.entries(from).collect(),
        };
        answers.check(&self.model, limit);
        // Those who only read see what is durable.
        ledger.sync().expect("nothing fails");
        self.check_reader();

        let seq = seq % (self.model.head() + 1);
        let then = self.model.as_of_seq(seq);
        let view = ledger.as_of(At::Seq(Seq(seq))).expect("it is there");
        assert!(view.is_final(), "an entry that is there stays where it is");
        check_view(&view, &then, limit);

        let first = self.model.entries.first().map_or(0, |entry| entry.at);
        let span = self.model.head_at() - first + 3;
        let millis = (first + millis % span).saturating_sub(1);
        let view = ledger.as_of(At::Millis(millis)).expect("times are never ahead");
        assert_eq!(view.is_final(), self.model.head_at() > millis, "the ledger has passed {millis}");
        check_view(&view, &self.model.as_of_time(millis), limit);

        let ahead = ledger.as_of(At::Seq(Seq(self.model.head() + 1))).expect_err("nothing is there yet");
        assert_eq!(ahead.code(), "AHEAD");
    }

    /// What somebody sees who only reads, whether or not a writer lives.
    fn check_reader(&self) {
        let reader = match &self.place {
            Place::Memory(_) => self.options().open_read_only(&self.dir),
            Place::Real(_) => Ledger::open_read_only(&self.dir),
        };
        check_view(reader.expect("nothing is damaged").view(), &self.model, 3);
    }
}

fn check_view(view: &View, model: &Reference, limit: usize) {
    assert_eq!((view.seq().0, view.at()), (model.head(), model.head_at()));
    assert_eq!(view.splits_a_batch(), model.ends_within_a_batch(), "at seq {}", view.seq());
    let answers = Answers {
        get: &|task| view.get(task),
        list: &|filter| view.list(filter),
        counts: view.counts(),
        history: &|task| view.history(task)?.collect(),
        entries: &|from| view.entries(from).collect(),
    };
    answers.check(model, limit);
}

/// The questions that a ledger, a view and a reader all answer.
struct Answers<'a> {
    get: &'a dyn Fn(&str) -> taskledger::Result<Option<Task>>,
    list: &'a dyn Fn(Filter) -> taskledger::Result<Page>,
    counts: Counts,
    history: &'a dyn Fn(&str) -> taskledger::Result<Vec<Entry>>,
    entries: &'a dyn Fn(Seq) -> taskledger::Result<Vec<Entry>>,
}

impl Answers<'_> {
    fn check(&self, model: &Reference, limit: usize) {
        for task in TASKS.into_iter().chain(["never there", ""]) {
            let expected = model.tasks.get(task).and_then(|task| Some((task.record.as_ref()?, task)));
            let got = (self.get)(task).expect("it can be read");
            assert_eq!(got.is_some(), expected.is_some(), "{task} is there");
            if let (Some(got), Some(expected)) = (got, expected) {
                assert_same_task(&got, expected);
            }
            let history = (self.history)(task).expect("it can be read");
            let expected = model.history(task);
            assert_eq!(history.len(), expected.len(), "entries of {task}");
            history.iter().zip(expected).for_each(|(got, expected)| assert_same_entry(got, expected));
        }
        for state in TaskState::ALL {
            let expected = model.list(|record| record.state == state);
            assert_eq!(self.counts.of(state), expected.len() as u64, "count of {state}");
            self.check_list(Filter::new().state(state), limit, &expected, model.head());
        }
        assert_eq!((self.counts.total(), self.counts.seq().0), (model.list(|_| true).len() as u64, model.head()));
        for prefix in ["", "a", "b/", "nightly/", "zzz"] {
            let expected = model.list(|record| record.id.starts_with(prefix));
            self.check_list(Filter::new().prefix(prefix), limit, &expected, model.head());
        }
        let open = [TaskState::Pending, TaskState::Ready, TaskState::Running];
        let expected =
            model.list(|record| open.contains(&record.state) && record.metadata.get("a").is_some_and(|v| v == "x"));
        let filter = open.into_iter().fold(Filter::new().meta("a", "x"), Filter::state);
        self.check_list(filter, limit, &expected, model.head());
        let since = model.head_at().saturating_sub(100_000);
        let expected = model.list(|record| record.updated_at >= since);
        self.check_list(Filter::new().updated_since(since), limit, &expected, model.head());

        for from in [0, 1, model.head() / 3, model.head().saturating_sub(2), model.head(), model.head() + 1] {
            let got = (self.entries)(Seq(from)).expect("they can be read");
            let expected: Vec<_> = model.entries.iter().filter(|entry| entry.seq >= from).collect();
            assert_eq!(got.len(), expected.len(), "entries from {from}");
            got.iter().zip(expected).for_each(|(got, expected)| assert_same_entry(got, expected));
        }
    }

    /// The pages of a list give each task once, whatever their order.
    fn check_list(&self, filter: Filter, limit: usize, expected: &[(&TaskRecord, &RefTask)], head: u64) {
        let whole = (self.list)(filter.clone()).expect("it can be read");
        assert!(whole.next.is_none(), "without a limit there is one page");
        let mut paged = Vec::new();
        let mut next = filter.clone().limit(limit);
        loop {
            let page = (self.list)(next).expect("it can be read");
            assert!(page.tasks.len() <= limit, "{filter:?} gave {} tasks for {limit}", page.tasks.len());
            assert_eq!(page.seq.0, head);
            paged.extend(page.tasks);
            let Some(token) = page.next else { break };
            next = filter.clone().limit(limit).after(token);
        }
        assert_eq!(paged, whole.tasks, "pages of {limit} and the whole of {filter:?}");
        paged.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        assert_eq!(paged.len(), expected.len(), "{filter:?}");
        paged.iter().zip(expected).for_each(|(got, expected)| assert_same_task(got, *expected));
    }
}

fn assert_same_task(got: &Task, (record, task): (&TaskRecord, &RefTask)) {
    assert_eq!((&got.record, got.version, got.seq.0), (record, task.version, task.seq));
}

fn assert_same_entry(got: &Entry, expected: &RefEntry) {
    assert_eq!(
        (got.seq.0, got.task.as_ref(), got.version, got.at, got.said, got.from),
        (expected.seq, Some(&expected.task), Some(expected.version), expected.at, expected.said, expected.from)
    );
    assert_eq!(got.event, expected.event.to_event(), "the event of seq {}", got.seq);
}

/// Runs random histories, and so many shorter ones to explain a failure; panics with the seed and the smallest history that fails.
fn histories(
    cases: u32,
    ops: Range<usize>,
    shrinks: u32,
    durability: Durability,
    place: impl Fn() -> Place,
) -> BTreeMap<&'static str, u32> {
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let config = Config {
        cases: number("TASKLEDGER_CASES").map_or(cases, |cases| u32::try_from(cases).expect("few enough")),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let outcomes = RefCell::new(BTreeMap::new());
    let tested = TestRunner::new(config).run(&vec(op(), ops), |ops| {
        let mut pair = Pair::new(place(), durability);
        for op in ops {
            pair.run(op);
        }
        pair.look(pair.model.head() * 2 / 3, pair.now / 7, 2);
        pair.reopen(Ending::Close);
        for (outcome, times) in pair.outcomes {
            *outcomes.borrow_mut().entry(outcome).or_default() += times;
        }
        Ok(())
    });
    tested.unwrap_or_else(|failed| panic!("TASKLEDGER_SEED={seed}: {failed}"));
    outcomes.into_inner()
}

#[test]
fn random_histories_come_to_what_the_model_says() {
    let outcomes = histories(200, 1..60, 1_000, Durability::Sync, || Place::Memory(MemVfs::new()));
    // A history that never gets so far as to be refused for a reason says nothing about it.
    for outcome in ["appended", "replayed", "recovered", "CONFLICT", "ILLEGAL", "KEY", "TIME"] {
        assert!(outcomes.get(outcome).is_some_and(|&times| times >= 50), "{outcome} is rare in {outcomes:?}");
    }
}

#[test]
fn random_histories_of_buffered_appends_come_to_what_the_model_says() {
    let durability = Durability::Buffered { sync_every: std::time::Duration::from_secs(1) };
    histories(60, 1..60, 1_000, durability, || Place::Memory(MemVfs::new()));
}

#[test]
fn long_histories_come_to_what_the_model_says() {
    histories(8, 250..300, 50, Durability::Sync, || Place::Memory(MemVfs::new()));
}

#[test]
fn random_histories_on_a_real_file_system_come_to_what_the_model_says() {
    histories(6, 30..60, 50, Durability::Sync, || Place::Real(tempfile::tempdir().expect("a temporary directory")));
}

fn their_state(state: TaskState) -> theirs::TaskState {
    serde_json::from_value(json!(state)).expect("the same names")
}

#[test]
fn the_nine_states_and_their_moves_are_those_of_dag_executor() {
    for from in TaskState::ALL {
        let theirs = their_state(from);
        assert_eq!(json!(theirs), json!(from));
        assert_eq!(theirs.to_string(), from.to_string());
        assert_eq!(theirs.is_terminal(), from.is_terminal(), "{from} is terminal");
        assert_eq!(theirs.is_success(), from.is_success(), "{from} is a success");
        assert_eq!(theirs.is_failure(), from.is_failure(), "{from} is a failure");
        for to in TaskState::ALL {
            let allowed = from.can_move_to(to);
            assert_eq!(theirs.can_transition_to(their_state(to)), allowed, "{from} to {to}");
            assert_eq!(from == to || moves_from(from).contains(&to), allowed, "{from} to {to} in the model");
        }
    }
}

#[test]
fn the_ledger_allows_the_moves_of_the_table_and_no_move_within_an_end() {
    let ledger = Options::new().vfs(Arc::new(MemVfs::new())).maintenance(Maintenance::Manual);
    let ledger = ledger.open("/moves").expect("a new ledger");
    for from in TaskState::ALL {
        for to in TaskState::ALL {
            let task = format!("{from} to {to}");
            ledger.append(&task, Event::observed(from)).expect("anything may be observed");
            let allowed = their_state(from).can_transition_to(their_state(to)) && !(from == to && from.is_terminal());
            match ledger.append(&task, Event::to(to)) {
                Ok(_) => assert!(allowed, "{task} went through"),
                Err(refused) => {
                    assert!(!allowed, "{task} was refused");
                    assert_eq!(refused.code(), "ILLEGAL");
                }
            }
            ledger.append(&task, Event::observed(to)).expect("anything may be observed");
            assert_eq!(ledger.get(&task).unwrap().unwrap().record.state, to);
        }
    }
}

#[test]
fn a_random_walk_leaves_the_same_record_as_in_dag_executor() {
    let config = Config { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..Config::default() };
    let vfs = ClockVfs::new(MemVfs::new(), START_MS);
    let options = Options::new().maintenance(Maintenance::Manual).vfs(Arc::clone(&vfs) as _);
    let ledger = options.open(Path::new("/walks")).expect("a new ledger");
    let walks = std::cell::Cell::new(0);
    let walked = TestRunner::new(config).run(&vec((any::<bool>(), 0..9_usize), 1..30), |steps| {
        walks.set(walks.get() + 1);
        let task = format!("walk {}", walks.get());
        ledger.append(&task, Event::created()).expect("it is new");
        let mut ours = TaskRecord::new(&task);
        let mut other = theirs::TaskRecord::new(&task);
        for (legal, choice) in steps {
            let moves = moves_from(ours.state);
            let to = if legal && !moves.is_empty() { moves[choice % moves.len()] } else { TaskState::ALL[choice] };
            let stays_at_an_end = ours.state == to && to.is_terminal();
            let moved = other.transition(their_state(to));
            let before = ours.clone();
            prop_assert_eq!(ours.transition(to), moved);
            if !moved {
                prop_assert_eq!(&ours, &before, "a refused move leaves it untouched");
            }
            prop_assert_eq!(ledger.append(&task, Event::to(to)).is_ok(), moved && !stays_at_an_end);
            let folded = ledger.get(&task).unwrap().unwrap().record;
            for record in [&ours, &folded] {
                prop_assert_eq!(their_state(record.state), other.state);
                prop_assert_eq!(record.started_at.is_some(), other.started_at.is_some());
                prop_assert_eq!(record.finished_at.is_some(), other.finished_at.is_some());
            }
        }
        Ok(())
    });
    walked.unwrap_or_else(|failed| panic!("seed {SEED}: {failed}"));
}

#[test]
fn a_new_record_is_the_one_of_dag_executor_but_for_the_moment() {
    let ours = TaskRecord::new("a");
    let mut other = serde_json::to_value(theirs::TaskRecord::new("a")).unwrap();
    other["created_at"] = json!(ours.created_at);
    other["updated_at"] = json!(ours.updated_at);
    assert_eq!(serde_json::to_value(&ours).unwrap(), other);
    assert_eq!(ours.metadata, HashMap::new());
}
