//! Every call fails once, in every way that its kind can fail; then the process is killed and the ledger opened anew.

use taskledger::vfs::fault::{CallKind, Effect, Fault, Limits, SyncFailure};
use taskledger::{Error, Seq};

use super::journal::{Fact, create, large};
use super::oracle::{entries_match, judge, told};
use super::script::{DIR, EIO, ENOSPC, Script, options};

/// A step of a script that goes on whatever fails.
enum Step {
    Open,
    Batch(Vec<Fact>),
    Maintain,
    Close,
}

/// One way to fail.
#[derive(Debug, Clone, Copy)]
struct Way {
    effect: Effect,
    errno: i32,
    sticky: bool,
}

fn ways(kind: CallKind) -> Vec<Way> {
    let once = |effect| Way { effect, errno: EIO, sticky: false };
    let mut ways = vec![
        once(Effect::Error),
        once(Effect::Late),
        Way { errno: ENOSPC, ..once(Effect::Error) },
        Way { sticky: true, ..once(Effect::Error) },
        Way { sticky: true, errno: ENOSPC, ..once(Effect::Error) },
    ];
    match kind {
        CallKind::Read => ways.push(once(Effect::Short(7))),
        CallKind::Write => {
            ways.extend([1, 40, 600].map(|bytes| once(Effect::Short(bytes))));
            ways.extend([1, 40, 600].map(|bytes| once(Effect::ErrorAfter(bytes))));
            ways.push(Way { errno: ENOSPC, ..once(Effect::ErrorAfter(600)) });
        }
        CallKind::SyncData => {
            let sync = |how| once(Effect::Sync(how));
            ways.push(sync(SyncFailure::LiveOldDiskOld));
            ways.push(sync(SyncFailure::ReportedLate));
        }
        _ => {}
    }
    ways
}

/// Two entries of a new task, one of them with so many bytes.
fn sized(task: &str, bytes: usize) -> Step {
    Step::Batch(vec![create(task), large(task, bytes)])
}

fn whole_life() -> Vec<Step> {
    vec![
        Step::Open,
        Step::Batch(vec![create("a")]),
        Step::Batch(vec![create("b"), create("c")]),
        sized("d", 5000),
        Step::Maintain,
        sized("e", 4500), // this one rolls
        Step::Batch(vec![create("f")]),
        Step::Close,
    ]
}

fn roll_without_spare() -> Vec<Step> {
    vec![
        Step::Open,
        sized("a", 5000),
        sized("b", 4500),
        sized("c", 13_000),
        Step::Batch(vec![create("d")]),
        Step::Close,
    ]
}

fn reopen() -> Vec<Step> {
    vec![Step::Open, Step::Batch(vec![create("x")]), Step::Maintain, sized("y", 700), Step::Close]
}

type Prepare = fn(&mut Script);
type Steps = fn() -> Vec<Step>;

fn scripts() -> Vec<(&'static str, Prepare, Steps)> {
    vec![
        ("whole life", |_| (), whole_life),
        ("roll without a spare", |_| (), roll_without_spare),
        ("reopen after a close", |s| (s.open(), s.append(create("a")), s.close()).0, reopen),
        ("reopen after a failed sync", |s| unknown(s, Effect::Error), reopen),
        ("reopen after half a write", |s| unknown(s, Effect::ErrorAfter(700)), reopen),
    ]
}

/// A writer that was poisoned and killed.
fn unknown(s: &mut Script, effect: Effect) {
    s.open();
    s.append(create("a"));
    let kind = if matches!(effect, Effect::ErrorAfter(_)) { CallKind::Write } else { CallKind::SyncData };
    s.fail_next(kind, effect);
    let failed = s.try_batch(&[create("b"), large("b", 1500)]);
    assert!(matches!(failed, Err(Error::Unknown { .. })), "{failed:?}");
    s.kill();
}

/// What became of a script.
#[derive(Debug, Default)]
struct Played {
    unknown: u64,
    refused: u64,
}

fn play(s: &mut Script, steps: &[Step]) -> Result<Played, String> {
    let mut played = Played::default();
    let mut is_open = false;
    let mut poisoned = false;
    for step in steps {
        match step {
            Step::Open => {
                for _ in 0..2 {
                    match s.try_open() {
                        Ok(()) => is_open = true,
                        Err(Error::Io { .. } | Error::NoSpace { .. }) => continue,
                        Err(error) => return Err(format!("opening says {}", told(&error))),
                    }
                    break;
                }
            }
            _ if !is_open => {}
            Step::Batch(facts) => match (s.try_batch(facts), poisoned) {
                (Err(Error::Poisoned { .. }), true) => played.refused += 1,
                (other, true) => return Err(format!("an append after the poison says {other:?}")),
                (Ok(()), false) => {}
                (Err(Error::Unknown { .. }), false) => {
                    poisoned = true;
                    played.unknown += 1;
                }
                (Err(Error::Poisoned { .. }), false) => {
                    poisoned = true;
                    played.refused += 1;
                }
                (Err(Error::Io { .. } | Error::NoSpace { .. }), false) => played.refused += 1,
                (Err(error), false) => return Err(format!("an append says {}", told(&error))),
            },
            Step::Maintain => match s.ledger().maintain() {
                Ok(()) | Err(Error::Io { .. } | Error::NoSpace { .. }) => {}
                Err(Error::Poisoned { .. }) => poisoned = true,
                Err(error) => return Err(format!("maintaining says {}", told(&error))),
            },
            Step::Close => match s.try_close() {
                Ok(()) if !poisoned => {}
                Err(Error::Poisoned { .. }) => {}
                other => return Err(format!("closing says {other:?}, poisoned: {poisoned}")),
            },
        }
    }
    Ok(played)
}

#[test]
fn every_call_fails_once() {
    let limits = Limits { exhaustive: 5, pairs: 0, samples: 12, tear: false, seed: 7 };
    let mut failures = Vec::new();
    for (name, prepare, steps) in scripts() {
        let mut sound = Script::new();
        prepare(&mut sound);
        let from = sound.vfs.calls();
        play(&mut sound, &steps()).expect("nothing fails here");
        let kinds = sound.vfs.call_kinds();
        let (mut runs, mut states, mut unknown, mut refused) = (0, 0, 0, 0);
        for (call, kind) in kinds.iter().enumerate().skip(from) {
            for way in ways(*kind) {
                let mut s = Script::new();
                prepare(&mut s);
                let mut fault = Fault::new(way.errno).with(way.effect);
                fault.sticky = way.sticky;
                s.vfs.fail_at(call, fault);
                let told = |what: String| format!("script {name:?}, call {call} ({kind:?}), {way:?}:\n    => {what}");
                let played = play(&mut s, &steps());
                s.vfs.clear_faults();
                match played {
                    Ok(played) => (unknown, refused) = (unknown + played.unknown, refused + played.refused),
                    Err(what) => {
                        failures.push(told(what));
                        continue;
                    }
                }
                runs += 1;
                let mut want = s.journal.want(usize::MAX);
                let killed = s.vfs.kill();
                let lied = way.effect == Effect::Sync(SyncFailure::ReportedLate);
                if want.born && lied {
                    // As long as the power stays on, everything can still be read.
                    let read = options(&killed).open_read_only(DIR).map_err(|error| error.to_string());
                    let read = read.and_then(|reader| entries_match(reader.view().entries(Seq::FIRST), &want));
                    failures.extend(read.err().map(|what| told(format!("killed: {what}"))));
                }
                if lied {
                    (want.acked, want.may_refuse) = (0, true);
                    // The error that the lie left behind may come out of recovery's own sync; once.
                    drop(options(&killed).open(DIR));
                }
                failures.extend(judge(&killed.fork(), &want).err().map(|what| told(format!("killed: {what}"))));
                states += 1 + s.vfs.pending(s.vfs.trace_len()).states(&limits, &mut |image, choice| {
                    if let Err(what) = judge(&image, &want) {
                        failures.push(told(format!("power cut at the end, {choice:?}: {what}")));
                    }
                });
            }
        }
        println!(
            "{name:<28} {} calls, {runs} faults, {states} states, {unknown} unknown, {refused} refused",
            kinds.len() - from
        );
    }
    let told: Vec<&str> = failures.iter().take(12).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), told.join("\n\n"));
}
