//! Notes: JSON values under keys, beside the tasks and never among them; against the reference model, and by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{
    At, Batch, Entry, Error, Event, Expect, Filter, Ledger, Maintenance, Note, NoteFilter, Options, Seq, Subject,
    TaskState, View,
};

use crate::reference::{RefEvent, RefExpect, RefItem, RefKind, RefReceipt, Reference, batch_of, key_of_note};
use crate::support::ClockVfs;

const SEED: u8 = 0x4e;
const NOW: u64 = 1_772_366_400_000;
/// Tasks and notes that have their keys, and one more note.
const SUBJECTS: [&str; 5] = ["a", "b/ü", "note a", "note b/ü", "note b"];

fn options() -> Options {
    Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual)
}

fn open(vfs: &MemVfs) -> Ledger {
    options().vfs(Arc::new(vfs.clone())).open("/l").expect("it opens")
}

fn memory() -> (MemVfs, Ledger) {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    (vfs, ledger)
}

/// A step of a run; the numbers are choices.
#[derive(Debug, Clone)]
enum Op {
    Commit(Vec<Draft>),
    /// Batch number so and so once more.
    Again(usize),
    Reopen,
    Clock(u64),
}

#[derive(Debug, Clone)]
struct Draft {
    subject: usize,
    kind: usize,
    value: Value,
    expect: (usize, u64),
    key: Option<u8>,
    actor: Option<String>,
    stated: Option<u64>,
    only_looks: bool,
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(|number| json!({"tries": number, "in": [null, {}]})),
        ".{0,20}".prop_map(Value::from),
        (3_000..9_000_usize).prop_map(|len| json!(["x".repeat(len)])),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let key = proptest::option::weighted(0.3, 0..6_u8);
    let actor = proptest::option::of("[a-c]");
    let stated = proptest::option::weighted(0.2, NOW - 9_000..NOW + 9_000_u64);
    let expect = (0..12_usize, 0..3_u64);
    let only_looks = prop::bool::weighted(0.1);
    (0..SUBJECTS.len(), 0..12_usize, values(), expect, key, actor, stated, only_looks).prop_map(
        |(subject, kind, value, expect, key, actor, stated, only_looks)| Draft {
            subject,
            kind,
            value,
            expect,
            key,
            actor,
            stated,
            only_looks,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        9 => proptest::collection::vec(draft(), 1..4).prop_map(Op::Commit),
        1 => any::<usize>().prop_map(Op::Again),
        1 => Just(Op::Reopen),
        1 => (0..5_000_u64).prop_map(Op::Clock),
    ]
}

/// What is asked for, seen from what the model has by now.
fn resolve(draft: &Draft, model: &Reference) -> RefItem {
    let subject = SUBJECTS[draft.subject];
    let before = model.tasks.get(subject);
    let there = before.is_some_and(|before| before.record.is_some() || before.value.is_some());
    let expect = match draft.expect {
        (0, delta) => RefExpect::Version(before.map_or(0, |before| before.version) + delta / 2),
        (1, 0) => RefExpect::StateIn(vec![TaskState::Pending]),
        (1, 1) => RefExpect::Attempt(0),
        (2, wrong) if there == (wrong == 0) => RefExpect::Absent,
        (2, _) => RefExpect::Exists,
        _ => RefExpect::Any,
    };
    let kind = match (draft.kind, key_of_note(subject)) {
        (0, _) => RefKind::Removed,
        (1, Some(_)) if there => RefKind::Removed,
        // Now and then a kind of the others, which is refused.
        (2, Some(_)) => [RefKind::Created, RefKind::Updated, RefKind::To(TaskState::Ready)][draft.expect.1 as usize],
        (2, None) => RefKind::Noted,
        (_, Some(_)) => RefKind::Noted,
        (_, None) if there => RefKind::Observed(TaskState::ALL[draft.kind % 9]),
        (_, None) => RefKind::Created,
    };
    let event = RefEvent {
        value: (kind == RefKind::Noted).then(|| draft.value.clone()),
        actor: draft.actor.clone(),
        key: draft.key.map(|key| format!("key {key}")),
        stated: draft.stated,
        ..RefEvent::new(kind)
    };
    RefItem { task: subject.to_owned(), event: (!draft.only_looks).then_some(event), expect }
}

fn commit(ledger: &Ledger, model: &mut Reference, items: &[RefItem], now: u64) {
    if items.iter().all(|item| item.event.is_none()) {
        return;
    }
    match (model.apply(items, now), ledger.commit(batch_of(items))) {
        (Ok(expected), Ok(got)) => assert_eq!(RefReceipt::of(&got), expected, "{items:?}"),
        (Err(expected), Err(refused)) if expected.is(&refused) => {}
        (expected, got) => panic!("{items:?}\nexpected {expected:?}\ngot {got:?}"),
    }
}

/// All that a view tells of notes and tasks, against the model.
fn check(view: &View, model: &Reference) {
    let lists = |prefix: &str, limit: usize| -> Vec<Note> {
        let filter = NoteFilter::new().prefix(prefix).limit(limit);
        let (mut notes, mut next) = (Vec::new(), Some(filter.clone()));
        while let Some(page) = next.take() {
            let page = view.notes(page).expect("it can be read");
            assert!(page.notes.len() <= limit && page.seq.0 == model.head());
            next = page.next.map(|token| filter.clone().after(token));
            notes.extend(page.notes);
        }
        notes.sort_by(|a, b| a.key.cmp(&b.key));
        notes
    };
    for (prefix, limit) in [("", 1), ("", 2), ("a", 2), ("b", 1), ("b", 9), ("zzz", 3)] {
        let expected = model.notes().into_iter().filter(|(key, _)| key.starts_with(prefix));
        let expected: Vec<_> = expected.map(|(key, (value, n))| (key, value, n.version, n.seq, n.at)).collect();
        let found = lists(prefix, limit);
        let found: Vec<_> = found.iter().map(|n| (n.key.as_str(), &n.value, n.version, n.seq.0, n.at)).collect();
        assert_eq!(found, expected, "notes that begin with {prefix:?}, {limit} a page");
    }
    let notes = model.notes();
    assert_eq!(view.note_count(), notes.len() as u64);
    let tasks = model.list(|_| true);
    assert_eq!(view.counts().total(), tasks.len() as u64);
    let ids = view.list(Filter::new()).expect("it can be read").tasks.into_iter().map(|task| task.record.id);
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    assert_eq!(ids, tasks.iter().map(|(record, _)| &*record.id).collect::<Vec<_>>());
    let mut in_histories = 0;
    for subject in SUBJECTS.into_iter().chain(["note never there", "never there"]) {
        let (history, there) = match key_of_note(subject) {
            Some(key) => {
                let note = view.note(key).expect("it can be read");
                assert_eq!(note.as_ref().map(|note| &note.value), notes.get(key).map(|(value, _)| *value), "{subject}");
                (view.note_history(key), note.is_some())
            }
            None => {
                let task = view.get(subject).expect("it can be read");
                (view.history(subject), task.is_some())
            }
        };
        let found: Vec<Entry> = history.and_then(Iterator::collect).expect("it can be read");
        in_histories += found.len();
        let expected = model.history(subject);
        let versions: Vec<_> = found.iter().map(|entry| (entry.seq.0, entry.version)).collect();
        let dense: Vec<_> = expected.iter().zip(1..).map(|(entry, version)| (entry.seq, Some(version))).collect();
        assert_eq!(versions, dense, "{subject}");
        for entry in &found {
            assert_eq!(entry.subject().map(|about| about.to_string()).as_deref(), Some(subject));
            assert_eq!(entry.task.is_some(), entry.note.is_none(), "it is about one of them");
        }
        let known = model.tasks.get(subject);
        assert_eq!(there, known.is_some_and(|known| known.record.is_some() || known.value.is_some()), "{subject}");
    }
    assert_eq!(in_histories as u64, model.head(), "each entry is in one history");
    let entries: Vec<Entry> = view.entries(Seq::FIRST).collect::<Result<_, _>>().expect("they can be read");
    for (entry, expected) in entries.iter().zip(&model.entries) {
        assert_eq!(expected.difference(entry), None);
    }
    assert_eq!(entries.len(), model.entries.len());
}

fn play(ops: &[Op]) {
    let (memory, mut now) = (MemVfs::new(), NOW);
    let vfs = ClockVfs::new(memory, now);
    let open = || options().vfs(Arc::clone(&vfs) as _).open("/l").expect("it opens");
    let (mut ledger, mut model, mut asked) = (open(), Reference::default(), Vec::<Vec<RefItem>>::new());
    for op in ops {
        match op {
            Op::Commit(drafts) => {
                let items: Vec<_> = drafts.iter().map(|draft| resolve(draft, &model)).collect();
                commit(&ledger, &mut model, &items, now);
                asked.push(items);
            }
            Op::Again(which) if !asked.is_empty() => {
                commit(&ledger, &mut model, &asked[which % asked.len()].clone(), now);
            }
            Op::Again(_) => {}
            Op::Reopen => {
                ledger.close().expect("it closes");
                ledger = open();
            }
            Op::Clock(step) => {
                now += step;
                vfs.set(now);
            }
        }
        assert_eq!(ledger.head().0, model.head());
        let (found, expected) = (ledger.notes(NoteFilter::new()).expect("it can be read"), model.notes());
        let found: BTreeMap<_, _> = found.notes.iter().map(|note| (&*note.key, &note.value)).collect();
        assert_eq!(found, expected.iter().map(|(key, (value, _))| (*key, *value)).collect());
    }
    let reader = options().vfs(Arc::clone(&vfs) as _).open_read_only("/l").expect("it opens beside the writer");
    check(reader.view(), &model);
    for seq in [0, model.head() / 3, model.head() * 2 / 3, model.head()] {
        let view = ledger.as_of(At::Seq(Seq(seq))).expect("it is in the past");
        check(&view, &model.as_of_seq(seq));
    }
}

#[test]
fn notes_are_what_the_reference_model_says() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let ops = proptest::collection::vec(op(), 1..40);
    TestRunner::new_with_rng(config, rng)
        .run(&ops, |ops| {
            play(&ops);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_note_is_kept_and_comes_back_and_is_no_task() {
    let (vfs, ledger) = memory();
    ledger.append("dlq:7", Event::created()).unwrap();
    for value in [json!({"tries": 3}), Value::Null, json!([1, 2.5, "x"])] {
        ledger.append_note("dlq:7", Event::noted(value.clone()).by("me")).unwrap();
        let note = ledger.note("dlq:7").unwrap().unwrap();
        assert_eq!(note.value, value);
    }
    drop(ledger);
    let ledger = open(&vfs);
    let note = ledger.note("dlq:7").unwrap().unwrap();
    assert_eq!((note.value, note.version, note.seq), (json!([1, 2.5, "x"]), 3, Seq(4)));
    assert_eq!(ledger.counts().total(), 1);
    assert_eq!(ledger.list(Filter::new()).unwrap().tasks.len(), 1);
    assert_eq!(ledger.history("dlq:7").unwrap().count(), 1);
    assert_eq!(ledger.note_history("dlq:7").unwrap().count(), 3);
    ledger.append_note("dlq:7", Event::removed()).unwrap();
    assert!(ledger.note("dlq:7").unwrap().is_none());
    assert_eq!(ledger.get("dlq:7").unwrap().unwrap().record.state, TaskState::Pending);
    assert_eq!(ledger.append_note("dlq:7", Event::noted(1)).unwrap().version(), 5);
}

#[test]
fn a_value_is_kept_as_it_was_written() {
    let (vfs, ledger) = memory();
    let text = " {\"b\": 1.0, \"a\": 12345678901234567890123, \"a\" :-0.0}";
    ledger.append_note("n", Event::noted_text(text)).unwrap();
    drop(ledger);
    let entry = open(&vfs).note_history("n").unwrap().next().unwrap().unwrap();
    assert_eq!(entry.event.value().map(|value| value.as_str()), Some(text));
    let line = serde_json::to_string(&entry).unwrap();
    assert!(line.contains(r#""note":"n""#) && line.contains("12345678901234567890123") && !line.contains("task\":"));
}

#[test]
fn what_only_a_task_has_is_refused_of_a_note_and_a_value_of_a_task() {
    let (_, ledger) = memory();
    ledger.append("a", Event::created()).unwrap();
    ledger.append_note("a", Event::noted(1)).unwrap();
    let noted = || Event::noted(2);
    let events = [
        noted().output(1),
        noted().clear_output(),
        noted().error("x"),
        noted().clear_error(),
        noted().meta("k", "v"),
        noted().unset("k"),
        noted().attempts(1),
        noted().inferred(),
        noted().created_at(1),
        Event::removed().output(1),
        Event::removed().finished_at(Some(1)),
        Event::created(),
        Event::updated(),
        Event::to(TaskState::Ready),
        Event::observed(TaskState::Ready),
        Event::requeued(TaskState::Ready),
    ];
    for event in events {
        match ledger.append_note("a", event.clone()) {
            Err(Error::Illegal { subject: Subject::Note(key), .. }) => assert_eq!(key, "a"),
            other => panic!("{event:?}: {other:?}"),
        }
    }
    assert!(matches!(ledger.append("a", noted()), Err(Error::Illegal { subject: Subject::Task(_), .. })));
    assert!(matches!(ledger.append_note("never", Event::removed()), Err(Error::Illegal { .. })));
    let error = ledger.append_note("a", noted().cause(Seq(3))).expect_err("no earlier entry");
    assert_eq!(error.to_string(), "note a: noted is refused: its cause is not an earlier entry");
    let mut batch = Batch::new();
    batch.push("a", Event::updated(), Expect::Any).push_note("b", noted(), Expect::Exists);
    let error = ledger.commit(batch).expect_err("there is no b");
    assert_eq!(error.to_string(), "note b: expected a note, found no note, and there never was one");
    assert_eq!((ledger.head(), ledger.note("a").unwrap().unwrap().value), (Seq(2), json!(1)), "nothing has changed");
}
