//! One task or note as of a moment is what the view of that moment says of it.

use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Error, Event, Ledger, Note, Reader, Seq, Task, TaskRecord};

use super::world::{Condition, NEVER, SUBJECTS, World, dir, files, open, options};
use crate::reference::{RefTask, key_of_note};
use crate::support::{Rng, in_parallel};

/// What may be asked of a task or note as of a moment: its record or value, its version and its seq.
type Told = Result<Option<(Said, u64, u64)>, (&'static str, Option<u64>)>;

#[derive(Debug, PartialEq)]
enum Said {
    Record(TaskRecord),
    Value(serde_json::Value),
}

fn of_task(task: Task) -> (Said, u64, u64) {
    (Said::Record(task.record), task.version, task.seq.0)
}

fn of_note(note: Note) -> (Said, u64, u64) {
    (Said::Value(note.value), note.version, note.seq.0)
}

fn of_model(known: &RefTask) -> Option<(Said, u64, u64)> {
    let record = known.record.clone().map(Said::Record);
    let said = record.or_else(|| known.value.clone().map(Said::Value))?;
    Some((said, known.version, known.seq))
}

fn code(error: Error) -> (&'static str, Option<u64>) {
    match error {
        Error::Pruned { oldest } => ("PRUNED", Some(oldest.0)),
        other => (other.code(), None),
    }
}

fn quick(ledger: &Ledger, subject: &str, at: At) -> Told {
    match key_of_note(subject) {
        Some(key) => ledger.note_as_of(key, at).map(|note| note.map(of_note)),
        None => ledger.get_as_of(subject, at).map(|task| task.map(of_task)),
    }
    .map_err(code)
}

fn beside(reader: &Reader, subject: &str, at: At) -> Told {
    match key_of_note(subject) {
        Some(key) => reader.note_as_of(key, at).map(|note| note.map(of_note)),
        None => reader.get_as_of(subject, at).map(|task| task.map(of_task)),
    }
    .map_err(code)
}

/// The same by folding everything.
fn slow(ledger: &Ledger, subjects: &[&str], at: At) -> Vec<Told> {
    let view = match ledger.as_of(at).map_err(code) {
        Ok(view) => view,
        Err(refused) => return subjects.iter().map(|_| Err(refused)).collect(),
    };
    let of = |subject: &&str| match key_of_note(subject) {
        Some(key) => view.note(key).map(|note| note.map(of_note)).map_err(code),
        None => view.get(subject).map(|task| task.map(of_task)).map_err(code),
    };
    subjects.iter().map(of).collect()
}

fn check(world: &World, condition: &Condition) {
    let Condition { name, vfs, ledger } = condition;
    let subjects = [&SUBJECTS[..], &NEVER].concat();
    let (oldest, head) = (condition.oldest(), ledger.head().0);
    let reader = options(&vfs.spawn()).open_read_only(dir()).expect("it opens beside the writer");
    for (seq, then) in world.then.iter().enumerate() {
        let at = At::Seq(Seq(seq as u64));
        let at_length = (seq % 7 == 0 || (seq as u64).abs_diff(oldest) < 3).then(|| slow(ledger, &subjects, at));
        for (n, subject) in subjects.iter().enumerate() {
            let case = format!("{name}: {subject:?} as of seq {seq}, the oldest is {oldest}");
            let expected = if (seq as u64) + 1 < oldest {
                Err(("PRUNED", Some(oldest)))
            } else {
                Ok(then.get(*subject).and_then(of_model))
            };
            let told = quick(ledger, subject, at);
            assert_eq!(told, expected, "{case}");
            assert_eq!(beside(&reader, subject, at), told, "{case}, by a reader");
            if let Some(at_length) = &at_length {
                assert_eq!(told, at_length[n], "{case}, at length");
            }
        }
    }
    // Times: those of entries, and just before and behind them.
    let mut times: Vec<u64> =
        world.model.entries.iter().flat_map(|entry| [entry.at - 1, entry.at, entry.at + 1]).collect();
    times.extend([0, u64::MAX]);
    times.sort_unstable();
    times.dedup();
    for time in times {
        let at = At::Millis(time);
        let last = world.model.entries.partition_point(|entry| entry.at <= time);
        let pruned = ledger.as_of(at).err().map(code);
        for subject in &subjects {
            let told = quick(ledger, subject, at);
            let expected = pruned.map_or_else(|| Ok(world.then[last].get(*subject).and_then(of_model)), Err);
            assert_eq!(told, expected, "{name}: {subject:?} as of {time}");
        }
    }
    assert_eq!(quick(ledger, "a", At::Seq(Seq(head + 1))), Err(("AHEAD", None)));
}

#[test]
fn one_task_as_of_a_moment_is_what_the_view_says() {
    let seeds: Vec<u64> = (1..4).collect();
    in_parallel(&seeds, |&seed| {
        let world = World::made(seed, 220);
        world.conditions().iter().for_each(|condition| check(&world, condition));
    });
}

/// What the walk would need, and the view does not, may be damaged.
#[test]
fn damage_of_the_log_changes_no_answer() {
    let world = World::made(99, 220);
    let vfs = world.vfs.fork();
    open(&vfs).maintain().unwrap();
    let (mut rng, mut told, mut refused) = (Rng(5), 0, 0);
    let segments = files(&vfs, "log");
    for segment in &segments[..segments.len() - 1] {
        let damaged = vfs.fork();
        let bits = damaged.read_file(segment).unwrap().len() as u64 * 8;
        let bit = 4096 * 8 + rng.below(bits - 4096 * 8);
        damaged.flip_bit(segment, bit).unwrap();
        let ledger = open(&damaged);
        for seq in (0..world.then.len()).step_by(11) {
            let at = At::Seq(Seq(seq as u64));
            for (subject, at_length) in SUBJECTS.iter().zip(slow(&ledger, &SUBJECTS, at)) {
                let case = format!("bit {bit} of {}: {subject} as of seq {seq}", segment.display());
                match (quick(&ledger, subject, at), at_length) {
                    (Ok(quick), at_length) => {
                        assert_eq!(quick, world.then[seq].get(*subject).and_then(of_model), "{case}");
                        told += u64::from(at_length.is_err());
                    }
                    (Err(quick), at_length) => {
                        assert_eq!((quick.0, at_length), ("DAMAGED", Err(quick)), "{case}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(told > 20 && refused > 5, "{told} answers that a view could not give, {refused} refused");
}

/// Calls of the file system that a question takes.
pub fn calls<T>(vfs: &MemVfs, question: impl FnOnce() -> T) -> (usize, T) {
    let before = vfs.calls();
    let told = question();
    (vfs.calls() - before, told)
}

#[test]
fn it_costs_what_has_happened_to_the_task() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    // Ten entries of one task, among thousands of others.
    for n in 0..10 {
        let event = if n == 0 { Event::created() } else { Event::updated().meta("n", n.to_string()) };
        ledger.append("one", event).unwrap();
        for other in 0..200 {
            ledger.append("hot", Event::observed(taskledger::TaskState::Ready).error("x".repeat(90))).unwrap();
            ledger.append(format!("other {n} {other}"), Event::created()).unwrap();
        }
    }
    for indexes in [false, true] {
        if indexes {
            ledger.maintain().unwrap();
        }
        for seq in (0..ledger.head().0).step_by(97) {
            let at = At::Seq(Seq(seq));
            let (few, told) = calls(&vfs, || ledger.get_as_of("one", at).unwrap());
            assert_eq!(told.map_or(0, |task| task.version), seq / 401 + u64::from(seq % 401 > 0), "seq {seq}");
            assert!(few < 120, "{few} calls for seq {seq}, with indexes: {indexes}");
        }
    }
}
