//! The operations, how they are drawn, and how they shrink. Numbers are choices, resolved against what is there by
//! then, so that any operations make a script, whatever is taken out of it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;
use taskledger::vfs::fault::{CallKind, Effect, Fault, SyncFailure};

use crate::crash::faults::ways;
use crate::model::ops::{Cut, Draft, Moment, draft, stated};
use crate::reference::{RefEvent, RefExpect, RefItem, RefKind, Reference};

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Op {
    /// A batch, and its acknowledgement is waited for.
    Append(Vec<Fact>),
    /// A batch gets its place, and its ticket is kept.
    Submit(Vec<Fact>),
    /// A batch of so many events of one note, each with a key of its own: it pushes older keys out of the window.
    Burst {
        note: usize,
        events: usize,
    },
    /// An earlier batch with a key once more, perhaps with one of its events changed.
    Again {
        which: usize,
        stated: Option<i64>,
        changed: bool,
    },
    /// All tickets are waited for.
    Wait,
    Sync,
    Maintain,
    Clock(i64),
    /// The ledger is compared.
    Look,
    /// Somebody who comes, and somebody who was there before, read beside the writer.
    Beside,
    AsOf {
        seq: u64,
        millis: u64,
    },
    /// A call is going to fail; what was to fail before is forgotten.
    Fail(Failing),
    /// Nothing fails any more.
    Heal,
    /// So many bytes are left on the disk.
    Full(u64),
    Room,
    End(End),
}

#[derive(Debug, Clone)]
pub enum Fact {
    Task(Box<Draft>),
    Note(NoteDraft),
}

#[derive(Debug, Clone)]
pub struct NoteDraft {
    note: usize,
    kind: usize,
    bytes: usize,
    expect: usize,
    key: Option<u8>,
}

/// A call that is going to fail: so many calls from now the first of a kind, in one of the ways of that kind.
#[derive(Debug, Clone, Copy)]
pub struct Failing {
    pub calls: usize,
    kind: usize,
    way: usize,
}

/// How an opening ends.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub how: How,
    /// When the process is killed or the power fails, and what that leaves.
    pub cut: Cut,
    /// A call that fails while it is opened anew.
    pub then: Option<Failing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Close,
    Drop,
    Kill,
    Cut,
}

/// A script: all that happens to one ledger.
#[derive(Debug, Clone)]
pub struct Script {
    pub buffered: bool,
    /// A call that fails while it is created.
    pub unborn: Option<Failing>,
    pub ops: Vec<Op>,
    pub end: End,
}

const NOTES: [&str; 2] = ["n", "m"];

/// The kinds of calls that fail; the first ones mostly.
const KINDS: [CallKind; 14] = [
    CallKind::SyncData,
    CallKind::Write,
    CallKind::Read,
    CallKind::Rename,
    CallKind::SyncDir,
    CallKind::Open,
    CallKind::Create,
    CallKind::List,
    CallKind::Len,
    CallKind::Remove,
    CallKind::Lock,
    CallKind::Random,
    CallKind::Inode,
    CallKind::CreateDir,
];

impl Failing {
    /// Whether it says that it has worked.
    pub fn lies(self) -> bool {
        self.fault().effect == Effect::Sync(SyncFailure::ReportedLate)
    }

    pub fn fault(self) -> Fault {
        let kind = KINDS[self.kind];
        let ways = ways(kind);
        ways[self.way % ways.len()].fault().only(kind)
    }
}

impl Fact {
    pub fn resolve(self, model: &Reference, now: u64) -> RefItem {
        match self {
            Fact::Task(draft) => draft.resolve(model, now),
            Fact::Note(draft) => draft.resolve(model),
        }
    }
}

impl NoteDraft {
    fn resolve(self, model: &Reference) -> RefItem {
        let task = format!("note {}", NOTES[self.note]);
        let before = model.tasks.get(&task);
        let version = before.map_or(0, |before| before.version);
        let expect = match self.expect {
            0 => RefExpect::Absent,
            1 => RefExpect::Exists,
            2 => RefExpect::Version(version),
            3 => RefExpect::Version(version + 1),
            _ => RefExpect::Any,
        };
        let event = match self.kind {
            0 => RefEvent::new(RefKind::Removed),
            _ => RefEvent { value: Some(json!("n".repeat(self.bytes))), ..RefEvent::new(RefKind::Noted) },
        };
        let event = RefEvent { key: self.key.map(|key| format!("key-{key}")), ..event };
        RefItem { task, event: Some(event), expect }
    }
}

/// So many events of one note, each with a key that no other has had in a ledger with this head.
pub fn burst(note: usize, events: usize, head: u64) -> Vec<RefItem> {
    let item = |n| {
        let event =
            RefEvent { value: Some(json!(n)), key: Some(format!("burst-{head}-{n}")), ..RefEvent::new(RefKind::Noted) };
        RefItem { task: format!("note {}", NOTES[note]), event: Some(event), expect: RefExpect::Any }
    };
    (0..events).map(item).collect()
}

/// Notes carry what fills a segment.
fn note() -> impl Strategy<Value = NoteDraft> {
    let bytes = prop_oneof![2 => 0..40_usize, 3 => 1_500..7_000_usize];
    (0..NOTES.len(), 0..8_usize, bytes, 0..14_usize, option::weighted(0.2, 0..3_u8))
        .prop_map(|(note, kind, bytes, expect, key)| NoteDraft { note, kind, bytes, expect, key })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![3 => draft().prop_map(|draft| Fact::Task(Box::new(draft))), 1 => note().prop_map(Fact::Note)]
}

fn failing() -> impl Strategy<Value = Failing> {
    let kind = prop_oneof![6 => 0..2_usize, 3 => 2..5_usize, 1 => 5..KINDS.len()];
    let calls = prop_oneof![3 => Just(0_usize), 2 => 0..30_usize];
    (calls, kind, 0..12_usize).prop_map(|(calls, kind, way)| Failing { calls, kind, way })
}

fn end() -> impl Strategy<Value = End> {
    let how = prop_oneof![1 => Just(How::Close), 1 => Just(How::Drop), 2 => Just(How::Kill), 4 => Just(How::Cut)];
    let when = prop::sample::select(vec![Moment::Now, Moment::Lately, Moment::Unsynced, Moment::Ever]);
    let cut = (when, any::<u64>(), any::<u64>()).prop_map(|(when, pick, seed)| Cut { when, pick, seed });
    (how, cut, option::weighted(0.2, failing())).prop_map(|(how, cut, then)| End { how, cut, then })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => vec(fact(), 1..2).prop_map(Op::Append),
        4 => vec(fact(), 2..6).prop_map(Op::Append),
        3 => vec(note().prop_map(Fact::Note), 2..5).prop_map(Op::Append),
        2 => (0..NOTES.len(), 1..20_usize).prop_map(|(note, events)| Op::Burst { note, events }),
        5 => vec(fact(), 1..4).prop_map(Op::Submit),
        4 => (any::<usize>(), stated(), prop::bool::weighted(0.3))
            .prop_map(|(which, stated, changed)| Op::Again { which, stated, changed }),
        3 => Just(Op::Wait),
        2 => Just(Op::Sync),
        4 => Just(Op::Maintain),
        2 => prop_oneof![-700_000..700_000_i64, -90_000_000_000..90_000_000_000_i64].prop_map(Op::Clock),
        1 => Just(Op::Look),
        3 => Just(Op::Beside),
        2 => (any::<u64>(), any::<u64>()).prop_map(|(seq, millis)| Op::AsOf { seq, millis }),
        5 => failing().prop_map(Op::Fail),
        2 => Just(Op::Heal),
        2 => prop_oneof![Just(0), 0..20_000_u64].prop_map(Op::Full),
        2 => Just(Op::Room),
        4 => end().prop_map(Op::End),
    ]
}

pub fn script() -> impl Strategy<Value = Script> {
    (prop::bool::weighted(0.25), option::weighted(0.06, failing()), vec(op(), 1..40), end())
        .prop_map(|(buffered, unborn, ops, end)| Script { buffered, unborn, ops, end })
}
