//! What may happen to a ledger, and how it is drawn. Numbers are choices, resolved against what is there by then.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use taskledger::TaskState;

use crate::reference::{RefEvent, RefExpect, RefItem, RefKind, Reference, moves_from};

/// Some ids are the beginnings of others.
pub const TASKS: [&str; 8] = ["a", "a/1", "a/1/x", "b", "b/longer id with spaces", "c", "nightly/ünï-✓", "z"];
/// The metadata that most events draw from, so that filters find it.
pub const KEYS: [&str; 2] = ["a", "ключ"];
pub const VALUES: [&str; 2] = ["x", "y ✓"];

/// One thing that happens to a ledger.
#[derive(Debug, Clone)]
pub enum Op {
    Commit(Vec<Draft>),
    /// Several batches, placed one after the other before anybody waits for the first; perhaps somebody looks then.
    Submit {
        batches: Vec<Vec<Draft>>,
        looked_at: bool,
    },
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
    /// A task comes to its end with an output that takes half of a small segment.
    Wide(usize),
    /// So many of the latest entries are to stay, and all of them that belong to what has not come to its end; or those go, too.
    /// It may be the last thing that is done.
    Prune {
        kept: u64,
        forced: bool,
        then: Option<Ending>,
    },
    Look {
        seq: u64,
        millis: u64,
        limit: usize,
    },
    /// The next page of a list that is being walked through, or the first one of another list.
    Page {
        start: bool,
        which: usize,
        limit: usize,
    },
    /// Those who read beside the writer look.
    Refresh,
}

/// How an opening ends.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Close,
    Drop,
    /// In the middle of everything; on a real file system it is only dropped.
    Kill,
    /// The power fails, now or some operations of the file system ago; on a real file system it is only dropped.
    Cut(Cut),
}

/// When the power fails, and the seed of what that leaves.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub when: Moment,
    pub pick: u64,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum Moment {
    Now,
    /// Among the latest operations.
    Lately,
    /// Before one of the latest syncs.
    Unsynced,
    /// Anywhere since the ledger is there, or since the last power cut.
    Ever,
}

#[derive(Debug, Clone)]
pub struct Draft {
    pub task: usize,
    pub only_looks: bool,
    pub kind: usize,
    pub state: usize,
    pub expect: (usize, u64),
    pub fields: Fields,
}

impl Draft {
    /// What is drawn, as an item of a batch, where the model is this and the clock says so.
    pub fn resolve(self, model: &Reference, now: u64) -> RefItem {
        let Draft { task, only_looks, kind, state, expect, fields } = self;
        let task = TASKS[task];
        let before = model.tasks.get(task);
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
            stated: time(now, fields.stated),
        };
        RefItem { task: task.to_owned(), event: Some(event), expect }
    }
}

/// A distance from the clock as a time; the farthest possible is the epoch.
pub fn time(now: u64, distance: Option<i64>) -> Option<u64> {
    distance.map(|distance| now.saturating_add_signed(distance))
}

#[derive(Debug, Clone)]
pub struct Fields {
    pub inferred: bool,
    pub attempts: Option<u32>,
    pub output: Option<Option<Value>>,
    pub error: Option<Option<String>>,
    pub metadata: BTreeMap<String, Option<String>>,
    pub times: Option<Times>,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub cause: Option<u64>,
    pub key: Option<u8>,
    pub stated: Option<i64>,
}

/// Created, updated, started, finished; `Some(None)` takes one of the latter two away.
pub type Times = (Option<u64>, Option<u64>, Option<Option<u64>>, Option<Option<u64>>);

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
pub fn stated() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(0)),
        2 => (-2_000_000..300_000_i64).prop_map(Some),
        1 => Just(Some(300_000)),
        1 => Just(Some(300_001)),
        1 => Just(Some(i64::MIN)),
    ]
}

/// Mostly few keys with few values; `None` takes a key away.
fn metadata() -> impl Strategy<Value = BTreeMap<String, Option<String>>> {
    let key = prop_oneof![6 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => "[b-d]"];
    let value = prop_oneof![6 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned), 1 => "[a-z ✓]{0,6}"];
    proptest::collection::btree_map(key, option::weighted(0.8, value), 0..3)
}

fn fields() -> impl Strategy<Value = Fields> {
    let times = (option::of(0..u64::MAX), option::of(0..9_000_u64), option::of(option::of(0..9_u64)));
    let times = (times, option::of(option::of(0..u64::MAX)));
    let first = (
        prop::bool::weighted(0.05),
        option::weighted(0.1, 0..5_u32),
        option::weighted(0.2, option::weighted(0.8, outputs())),
        option::weighted(0.2, option::weighted(0.7, ".{0,12}")),
        metadata(),
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

pub fn draft() -> impl Strategy<Value = Draft> {
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

/// Pages of one to three tasks, mostly.
fn page_size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..4_usize, 1 => 1..12_usize]
}

fn ending() -> impl Strategy<Value = Ending> {
    let moment =
        prop::sample::select(vec![Moment::Now, Moment::Lately, Moment::Unsynced, Moment::Unsynced, Moment::Ever]);
    let cut = (moment, any::<u64>(), any::<u64>());
    prop_oneof![
        1 => Just(Ending::Close),
        1 => Just(Ending::Drop),
        1 => Just(Ending::Kill),
        4 => cut.prop_map(|(when, pick, seed)| Ending::Cut(Cut { when, pick, seed })),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        16 => vec(draft(), 1..2).prop_map(Op::Commit),
        6 => vec(draft(), 1..7).prop_map(Op::Commit),
        4 => (vec(vec(draft(), 1..4), 1..6), any::<bool>())
            .prop_map(|(batches, looked_at)| Op::Submit { batches, looked_at }),
        3 => (0..4_u32).prop_map(Op::RecoverOrphans),
        4 => (any::<usize>(), stated(), prop::bool::weighted(0.3))
            .prop_map(|(which, stated, changed)| Op::Again { which, stated, changed }),
        1 => (0..TASKS.len(), 1..20_usize).prop_map(|(task, events)| Op::KeyedBurst { task, events }),
        4 => (-700_000..700_000_i64).prop_map(Op::Clock),
        2 => Just(Op::Maintain),
        3 => ending().prop_map(Op::Reopen),
        4 => (0..TASKS.len()).prop_map(Op::Wide),
        3 => (0..20_u64, prop::bool::weighted(0.6), option::of(ending()))
            .prop_map(|(kept, forced, then)| Op::Prune { kept, forced, then }),
        5 => (prop::bool::weighted(0.3), any::<usize>(), page_size())
            .prop_map(|(start, which, limit)| Op::Page { start, which, limit }),
        2 => Just(Op::Refresh),
        1 => (any::<u64>(), any::<u64>(), page_size()).prop_map(|(seq, millis, limit)| Op::Look { seq, millis, limit }),
    ]
}
