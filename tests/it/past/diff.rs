//! What differs between two moments is what two folds, compared one task after the other, say.

use std::collections::BTreeMap;

use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Diff, DiffFilter, Difference, Event, Filter, Seq, Side, TaskRecord, TaskState};

use super::one::calls;
use super::world::{Condition, SUBJECTS, World, dir, open, options};
use crate::reference::{RefTask, key_of_note};
use crate::support::{Rng, in_parallel};

/// Version, seq and record.
type Was = (u64, u64, Option<TaskRecord>);

fn was(known: Option<&RefTask>) -> Was {
    known.map_or((0, 0, None), |known| (known.version, known.seq, known.record.clone()))
}

fn is(side: &Side) -> Was {
    if let Some(task) = &side.task {
        assert_eq!((task.version, task.seq), (side.version, side.seq));
    }
    assert_eq!(side.state(), side.task.as_ref().map(|task| task.record.state));
    (side.version, side.seq.0, side.task.as_ref().map(|task| task.record.clone()))
}

/// All pages of so many.
fn joined(diff: &Diff, limit: usize, prefix: &str) -> Vec<Difference> {
    let filter = DiffFilter::new().limit(limit).prefix(prefix);
    let (mut all, mut next) = (Vec::new(), Some(filter.clone()));
    while let Some(asked) = next.take() {
        let page = diff.page(asked).expect("it can be read");
        assert!(page.tasks.len() <= limit && (!page.tasks.is_empty() || page.next.is_none()));
        all.extend(page.tasks);
        next = page.next.map(|token| filter.clone().after(token));
    }
    all
}

fn check(world: &World, diff: &Diff, (a, b): (usize, usize), case: &str) {
    let (one, other) = (&world.then[a], &world.then[b]);
    let tasks = SUBJECTS.iter().filter(|subject| key_of_note(subject).is_none());
    let both = tasks.map(|&id| (id, (was(one.get(id)), was(other.get(id)))));
    let expected: BTreeMap<&str, (Was, Was)> = both.filter(|(_, (a, b))| a.0 != b.0).collect();
    let whole = joined(diff, usize::MAX, "");
    let got: BTreeMap<&str, (Was, Was)> = whole.iter().map(|task| (&*task.id, (is(&task.a), is(&task.b)))).collect();
    assert_eq!(got, expected, "{case}");
    assert_eq!(got.len(), whole.len(), "{case}: each once");
    for task in &whole {
        assert_eq!(task.is_back(), is(&task.a).2 == is(&task.b).2, "{case}: {}", task.id);
    }
    for (limit, prefix) in [(1, ""), (2, ""), (3, "b"), (1, "zzz")] {
        let expected: Vec<_> = whole.iter().filter(|task| task.id.starts_with(prefix)).cloned().collect();
        assert_eq!(joined(diff, limit, prefix), expected, "{case}: pages of {limit} for {prefix:?}");
    }
    // The order is that of the list.
    for view in [diff.a(), diff.b()] {
        let list = view.list(Filter::new()).expect("it can be read").tasks;
        let place = |task: &Difference| list.iter().position(|listed| listed.record.id == task.id);
        assert!(whole.iter().filter_map(place).is_sorted(), "{case}: the order");
    }
    let (before, after) = diff.counts();
    for (counts, then, seq) in [(before, one, a), (after, other, b)] {
        assert_eq!(counts.seq().0, seq as u64, "{case}");
        for state in TaskState::ALL {
            let count =
                then.values().filter(|task| task.record.as_ref().is_some_and(|record| record.state == state)).count();
            assert_eq!(counts.of(state), count as u64, "{case}: {state} at {seq}");
        }
    }
}

fn check_condition(world: &World, condition: &Condition, rng: &mut Rng) {
    let Condition { name, vfs, ledger } = condition;
    let (oldest, head) = (condition.oldest(), world.model.head());
    let reader = options(&vfs.spawn()).open_read_only(dir()).expect("it opens beside the writer");
    let seq = |n: usize| At::Seq(Seq(n as u64));
    let mut moment = || (oldest - 1 + rng.below(head + 2 - oldest)) as usize;
    let mut pairs: Vec<(usize, usize)> = (0..30).map(|_| (moment(), moment())).collect();
    let first = oldest as usize - 1;
    pairs.extend([(first, head as usize), (head as usize, first), (first, first), (head as usize, head as usize)]);
    for (n, (a, b)) in pairs.into_iter().enumerate() {
        let case = format!("{name}: from {a} to {b}, the oldest is {oldest}");
        check(world, &ledger.diff(seq(a), seq(b)).expect("both are kept"), (a, b), &case);
        if n % 5 == 0 {
            check(world, &reader.diff(seq(a), seq(b)).expect("both are kept"), (a, b), &format!("{case}, by a reader"));
        }
    }
    let ahead = At::Seq(Seq(ledger.head().0 + 1));
    let now = seq(head as usize);
    for (a, b, code) in [(now, ahead, "AHEAD"), (ahead, now, "AHEAD")] {
        assert_eq!(ledger.diff(a, b).expect_err("it is not there yet").code(), code, "{name}");
    }
    if first > 0 {
        for (a, b) in [(seq(first - 1), now), (now, seq(0)), (At::Millis(0), now)] {
            assert_eq!(ledger.diff(a, b).expect_err("it was pruned").code(), "PRUNED", "{name}");
        }
    }
}

#[test]
fn what_differs_is_what_two_folds_say() {
    in_parallel(&[31, 32, 33], |&seed| {
        let world = World::made(seed, 220);
        let mut rng = Rng(seed);
        world.conditions().iter().for_each(|condition| check_condition(&world, condition, &mut rng));
    });
}

#[test]
fn what_came_and_went_and_what_came_back_is_listed() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    vfs.set_now_ms(1_000);
    ledger.append("same", Event::observed(TaskState::Ready)).unwrap();
    ledger.append("still", Event::created()).unwrap();
    let from = ledger.head();
    ledger.append("gone", Event::created()).unwrap();
    ledger.append("gone", Event::removed()).unwrap();
    ledger.append("same", Event::observed(TaskState::Ready).meta("k", "v")).unwrap();
    ledger.append("same", Event::updated().unset("k")).unwrap();
    ledger.append_note("note", Event::noted(1)).unwrap();
    let diff = ledger.diff(At::Seq(from), At::Millis(u64::MAX)).unwrap();
    let mut tasks = diff.page(DiffFilter::new()).unwrap().tasks;
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    let told: Vec<_> = tasks.iter().map(|task| (&*task.id, task.a.version, task.b.version, task.is_back())).collect();
    assert_eq!(told, [("gone", 0, 2, true), ("same", 1, 3, true)]);
    assert_eq!(tasks[0].b.task, None);
}

/// What did not change since is in tables that are not read at all.
#[test]
fn a_page_reads_only_what_may_differ() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    for n in 0..3_000 {
        ledger.append(format!("task {n}"), Event::created().meta("text", "x".repeat(100))).unwrap();
    }
    ledger.snapshot().unwrap();
    let from = ledger.head();
    ledger.append("task 7", Event::to(TaskState::Ready)).unwrap();
    let diff = ledger.diff(At::Seq(from), At::Seq(ledger.head())).unwrap();
    let (few, page) = calls(&vfs, || diff.page(DiffFilter::new()).unwrap());
    assert_eq!((page.tasks.len(), &*page.tasks[0].id), (1, "task 7"));
    assert!(few < 20, "{few} calls");
}
