//! Every call fails once, in every way that its kind can fail; then the process is killed and the ledger opened anew.
//!
//! In a buffered script an append that returned must be there after a kill, and only what the ledger called durable after
//! a power cut. A sync that fails while nobody waits for it must be told by every later append, by closing, and by a sync
//! of what is not durable; where all is durable already (only the vouch failed), a sync may say so.

use taskledger::Error;
use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::fault::{CallKind, Effect, Fault, Limits, MemVfs, SyncFailure};

use super::company::together_until;
use super::journal::{Fact, create, go, large, note, noted};
use super::oracle::{Answers, entries_match, judge, told};
use super::script::{DIR, EACCES, EIO, ENOSPC, Script, everything, options};
use crate::support::wanted;

/// A step of a script that goes on whatever fails.
enum Step {
    Open,
    OpenBuffered,
    Batch(Vec<Fact>),
    Sync,
    Maintain,
    /// Whether also what has not come to its end goes.
    Prune {
        forced: bool,
    },
    Close,
}

/// One way to fail.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub effect: Effect,
    pub errno: i32,
    pub sticky: bool,
}

impl Way {
    pub fn fault(self) -> Fault {
        Fault { sticky: self.sticky, ..Fault::new(self.errno).with(self.effect) }
    }
}

/// All ways in which a call of this kind can fail.
pub fn ways(kind: CallKind) -> Vec<Way> {
    let once = |effect| Way { effect, errno: EIO, sticky: false };
    let mut ways = vec![once(Effect::Error), Way { sticky: true, ..once(Effect::Error) }];
    // What only looks has no effect that could come late, and wants no room.
    if !matches!(
        kind,
        CallKind::List | CallKind::Open | CallKind::Random | CallKind::Len | CallKind::Read | CallKind::Inode
    ) {
        ways.push(once(Effect::Late));
        ways.push(Way { errno: ENOSPC, ..once(Effect::Error) });
        ways.push(Way { sticky: true, errno: ENOSPC, ..once(Effect::Error) });
    }
    match kind {
        CallKind::Open => ways.push(Way { errno: EACCES, ..once(Effect::Error) }),
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

fn buffered_life() -> Vec<Step> {
    vec![
        Step::OpenBuffered,
        Step::Batch(vec![create("a")]),
        Step::Batch(vec![create("b"), create("c")]),
        Step::Maintain,
        Step::Batch(vec![create("d")]),
        Step::Batch(vec![create("e"), note("e", "x"), large("e", 700)]),
        Step::Sync,
        Step::Batch(vec![create("f")]),
        Step::Maintain,
        Step::Sync,
        sized("g", 5000),
        Step::Maintain,
        sized("h", 4500), // this one rolls
        Step::Batch(vec![create("i")]),
        Step::Batch(vec![create("j")]),
        Step::Close,
    ]
}

fn buffered_roll_without_spare() -> Vec<Step> {
    vec![
        Step::OpenBuffered,
        sized("a", 5000),
        sized("b", 4500), // this one rolls
        Step::Batch(vec![create("c")]),
        Step::Sync,
        Step::Batch(vec![create("d")]),
    ]
}

fn buffered_reopen() -> Vec<Step> {
    vec![
        Step::OpenBuffered,
        Step::Batch(vec![create("x")]),
        Step::Maintain,
        sized("y", 700),
        Step::Batch(vec![create("z")]),
        Step::Close,
    ]
}

/// The first prune is blocked behind a segment, and the second one takes what there is left.
fn prunes() -> Vec<Step> {
    vec![
        Step::Open,
        Step::Prune { forced: false },
        Step::Batch(vec![create("d")]),
        Step::Prune { forced: true },
        Step::Batch(vec![create("e")]),
        Step::Close,
    ]
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
        ("buffered life", |_| (), buffered_life),
        ("buffered roll without a spare", |_| (), buffered_roll_without_spare),
        ("buffered, reopened after a kill", written_and_killed, buffered_reopen),
        ("prunes", three_segments, prunes),
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

/// Some of it was synced, some only written.
fn written_and_killed(s: &mut Script) {
    s.open_buffered();
    s.batch(&[create("a")]);
    s.sync();
    s.batch(&[create("b"), large("b", 700)]);
    s.kill();
}

/// One segment of what has come to its end, one with a task that has not, and one that is being written.
fn three_segments(s: &mut Script) {
    s.open();
    s.batch(&[create("a"), noted("n", 9000), go("a", Ready), go("a", Running), go("a", Completed)]);
    s.batch(&[create("c"), noted("n", 9000)]);
    s.batch(&[noted("n", 9)]);
    s.maintain();
    s.batch(&[noted("n", 7000)]);
    assert_eq!(s.segments(), 3);
    s.close();
}

/// What became of a script.
#[derive(Debug, Default)]
struct Played {
    unknown: u64,
    refused: u64,
    /// Syncs that failed while nobody waited for them, and were told afterwards.
    behind: u64,
}

impl Played {
    fn add(&mut self, other: &Played) {
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.behind += other.behind;
    }
}

/// Plays a script. `failing` is the call that fails, where that is a sync which says so: it must not go untold.
fn play(s: &mut Script, steps: &[Step], failing: Option<usize>) -> Result<Played, String> {
    let mut played = Played::default();
    let mut is_open = false;
    let mut poisoned = false;
    // A sync failed behind the scenes; what comes next must tell.
    let mut untold = false;
    let fails = |before, s: &Script| failing.is_some_and(|call| (before..s.vfs.calls()).contains(&call));
    for step in steps {
        let before = s.vfs.calls();
        match step {
            Step::Open | Step::OpenBuffered => {
                for _ in 0..2 {
                    let opened = if matches!(step, Step::Open) { s.try_open() } else { s.try_open_buffered() };
                    match opened {
                        Ok(()) => is_open = true,
                        Err(Error::Io { .. } | Error::NoSpace { .. }) => continue,
                        Err(error) => return Err(format!("opening says {}", told(&error))),
                    }
                    break;
                }
            }
            _ if !is_open => {}
            Step::Batch(facts) => match (s.try_batch(facts), poisoned) {
                // What sealed segments say is asked first, and where nothing works, that does not.
                (Err(Error::Poisoned { .. } | Error::Io { .. }), true) => played.refused += 1,
                (other, true) => return Err(format!("an append after the poison says {other:?}")),
                (Ok(()), false) if untold => return Err("an append does not tell that a sync failed".to_owned()),
                (Ok(()), false) if fails(before, s) => return Err("an append hides a sync that failed".to_owned()),
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
            Step::Sync => match (s.owes() || played.unknown > 0, s.try_sync()) {
                (true, Ok(())) if untold || poisoned => return Err("a sync does not tell that one failed".to_owned()),
                (_, Ok(())) if fails(before, s) => return Err("a sync that failed is retried in silence".to_owned()),
                (_, Ok(())) => {}
                (true, Err(Error::Unknown { .. })) => {
                    poisoned = true;
                    played.unknown += 1;
                }
                (_, Err(error)) => return Err(format!("syncing says {}", told(&error))),
            },
            Step::Maintain => match s.ledger().maintain() {
                Ok(()) if fails(before, s) => {
                    untold = true;
                    played.behind += 1;
                }
                Ok(()) | Err(Error::Io { .. } | Error::NoSpace { .. }) => {}
                Err(Error::Poisoned { .. }) => poisoned = true,
                Err(error) => return Err(format!("maintaining says {}", told(&error))),
            },
            Step::Prune { forced } => match (s.try_prune(&everything(*forced)), poisoned) {
                (Ok(()), true) => return Err("a prune works after the poison".to_owned()),
                (Ok(()), false) if fails(before, s) => return Err("a prune hides a sync that failed".to_owned()),
                (Ok(()), false) => {}
                (Err(Error::Poisoned { .. }), _) => {
                    poisoned = true;
                    played.refused += 1;
                }
                (Err(Error::Unknown { .. }), false) => {
                    poisoned = true;
                    played.unknown += 1;
                }
                // What would go is asked first, and read also where nothing can be appended.
                (Err(error @ (Error::Io { .. } | Error::NoSpace { .. })), _) if error.to_string().contains('/') => {
                    played.refused += 1;
                }
                (Err(error), _) => return Err(format!("pruning says {}", told(&error))),
            },
            Step::Close => match s.try_close() {
                Ok(()) if !poisoned && !untold && !fails(before, s) => {}
                Err(Error::Poisoned { .. }) => {}
                other => return Err(format!("closing says {other:?}, poisoned: {poisoned}, untold: {untold}")),
            },
        }
        s.learn();
    }
    Ok(played)
}

/// Whether the call fails as a sync that says so.
fn fails_a_sync(kind: CallKind, way: &Way) -> bool {
    kind == CallKind::SyncData && way.effect != Effect::Sync(SyncFailure::ReportedLate)
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait() {
    let limits = Limits { exhaustive: 4, pairs: 0, samples: 6, tear: false, seed: 7 };
    let mut unknown = Vec::new();
    let mut failures = Vec::new();
    for sync in 0..8 {
        for how in [SyncFailure::LiveNewDiskOld, SyncFailure::LiveOldDiskOld] {
            let mut s = Script::new();
            s.open();
            s.close();
            let life = |task: &str| (0..4).map(|n| vec![create(&format!("{task}{n}"))]).collect();
            let threads = ["a", "b", "c", "d"].map(life).to_vec();
            unknown.push(together_until(&s.vfs, &mut s.journal, threads, sync, Effect::Sync(how)));
            s.vfs.clear_faults();
            let want = s.journal.want(usize::MAX);
            let mut check = |image: &MemVfs, after: &dyn Fn() -> String| {
                let wrong = judge(image, &want).err();
                failures.extend(wrong.map(|what| format!("sync {sync} fails, {how:?}, then {}: {what}", after())));
            };
            check(&s.vfs.kill(), &|| "killed".to_owned());
            s.vfs.pending(s.vfs.trace_len()).states(&limits, &mut |image, choice| {
                check(&image, &|| format!("a power cut leaves {choice:?}"));
            });
        }
    }
    let told: Vec<&str> = failures.iter().take(12).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), told.join("\n\n"));
    assert!(unknown.iter().any(|&batches| batches > 2), "nobody ever waited for a flight that failed: {unknown:?}");
}

/// What a fault left behind.
#[derive(Debug, Default)]
pub struct Left {
    /// How many states of it were judged.
    pub states: u64,
    /// Whether a kill leaves more than a power cut must.
    pub only_written: bool,
    /// States in which a power cut took of that.
    pub taken: u64,
}

/// Judges what is there after a fault: as a kill leaves it, and as power cuts may.
pub fn judge_what_is_left(s: &Script, way: &Way, limits: &Limits, fail: &mut dyn FnMut(String)) -> Left {
    let mut want = s.journal.want(usize::MAX);
    let mut want_killed = s.journal.want_after_kill();
    let killed = s.vfs.kill();
    let lied = way.effect == Effect::Sync(SyncFailure::ReportedLate);
    if want.born && lied && !s.lost_power() {
        // As long as the power stays on, everything can still be read.
        let read = options(&killed).open_read_only(DIR).map_err(|error| error.to_string());
        let read = read.and_then(|reader| entries_match(&Answers::View(reader.view()), &want_killed));
        if let Err(what) = read {
            fail(format!("killed: {what}"));
        }
    }
    if lied || want.may_refuse {
        // The error that a lie left behind may come out of recovery's own sync; once.
        drop(options(&killed).open(DIR));
    }
    if lied {
        (want.acked, want.may_refuse) = (0, true);
        want_killed = want.clone();
    }
    if way.effect == Effect::Sync(SyncFailure::LiveOldDiskOld) {
        // This one takes what was written away from everybody at once.
        want_killed = want.clone();
    }
    let mut left = Left { states: 1, only_written: want_killed.acked > want.acked, taken: 0 };
    if let Err(what) = judge(&killed.fork(), &want_killed) {
        fail(format!("killed: {what}"));
    }
    left.states += s.vfs.pending(s.vfs.trace_len()).states(limits, &mut |image, choice| match judge(&image, &want) {
        Ok(judged) => left.taken += u64::from(judged.kept < want_killed.acked),
        Err(what) => fail(format!("power cut at the end, {choice:?}: {what}")),
    });
    left
}

#[test]
fn every_call_fails_once() {
    let limits = Limits { exhaustive: 4, pairs: 0, samples: 6, tear: false, seed: 7 };
    let mut failures = Vec::new();
    for (name, prepare, steps) in scripts().into_iter().filter(|(name, ..)| wanted("TASKLEDGER_FAULT_SCRIPT", name)) {
        // The sectors of tables in the making are many, and nobody looks at them.
        let is_of_tables = name == "prunes";
        let limits = if is_of_tables { Limits { exhaustive: 2, samples: 1, ..limits } } else { limits };
        let mut sound = Script::new();
        prepare(&mut sound);
        let from = sound.vfs.calls();
        play(&mut sound, &steps(), None).expect("nothing fails here");
        let kinds = sound.vfs.call_kinds();
        let (mut runs, mut states, mut all) = (0, 0, Played::default());
        // Runs in which a kill leaves more than a power cut must, and states in which a power cut took of that.
        let (mut only_written, mut taken) = (0, 0);
        for (call, kind) in kinds.iter().enumerate().skip(from) {
            // In a trace of `failing` a prune fails in all ways.
            let is_partial = |way: &Way| way.sticky || matches!(way.effect, Effect::Short(_) | Effect::ErrorAfter(_));
            for way in ways(*kind).into_iter().filter(|way| !is_of_tables || !is_partial(way)) {
                let mut s = Script::new();
                prepare(&mut s);
                s.vfs.fail_at(call, way.fault());
                let told = |what: String| format!("script {name:?}, call {call} ({kind:?}), {way:?}:\n    => {what}");
                let played = play(&mut s, &steps(), fails_a_sync(*kind, &way).then_some(call));
                s.vfs.clear_faults();
                match played {
                    Ok(played) => all.add(&played),
                    Err(what) => {
                        // What is retried without end after one failure would hang where each try fails.
                        failures.push(told(what));
                        break;
                    }
                }
                runs += 1;
                let left = judge_what_is_left(&s, &way, &limits, &mut |what| failures.push(told(what)));
                states += left.states;
                only_written += u64::from(left.only_written);
                taken += left.taken;
            }
        }
        println!(
            "{name:<32} {} calls, {runs} faults, {states} states, {} unknown, {} refused, {} told later; \
             {only_written} with more than is durable, {taken} states without it",
            kinds.len() - from,
            all.unknown,
            all.refused,
            all.behind
        );
        assert!(all.unknown > 0 || all.refused > 0 || !failures.is_empty(), "script {name:?}: no fault is ever told");
        if name.starts_with("buffered") && failures.is_empty() {
            assert!(only_written > 0 && taken > 0, "script {name:?}: nothing is written and not durable");
            let behind = steps().iter().any(|step| matches!(step, Step::Maintain));
            assert!(all.behind > 0 || !behind, "script {name:?}: no sync fails while nobody waits");
        }
    }
    let told: Vec<&str> = failures.iter().take(12).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), told.join("\n\n"));
}
