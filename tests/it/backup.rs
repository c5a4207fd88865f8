//! A backup is a ledger with the same entries, taken beside the writer, and taken again copies only what is new. Whatever
//! interrupts one, the copy has no less than before, and the next one goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs, Op, SyncFailure};
use taskledger::vfs::ops::Vfs as _;
use taskledger::{
    At, Backup, BackupProgress, Entry, Error, Event, Expect, Filter, Ledger, Level, NoteFilter, Options, Prune, Reader,
    Result, Seq, Severity, Verdict,
};

use crate::crash::script::{DIR, EIO, options};
use crate::support::{AtEnd, Rng};

const COPY: &str = "/copy";

fn back_up(vfs: &MemVfs) -> Result<Backup> {
    options(vfs).backup(DIR, COPY, &mut |_| {})
}

/// All entries, and what is made of them.
fn told(reader: &Reader, from: Seq) -> (Vec<Entry>, Vec<String>) {
    let view = reader.view();
    let entries = view.entries(from).map(|entry| entry.unwrap()).collect();
    let tasks = view.list(Filter::new()).unwrap().tasks;
    let tasks = tasks
        .into_iter()
        .map(|task| format!("{} {} {:?}", task.version, task.seq, { serde_json::to_value(&task.record).unwrap() }));
    let notes = view.notes(NoteFilter::new()).unwrap().notes.into_iter().map(|note| format!("{note:?}"));
    let mut all: Vec<String> = tasks.chain(notes).collect();
    all.sort();
    (entries, all)
}

fn read(vfs: &MemVfs, dir: &str) -> Result<Reader> {
    options(&vfs.spawn()).open_read_only(dir)
}

/// The copy says what the ledger says, is closed, and is sound to the last table.
fn same(vfs: &MemVfs, what: &str) {
    let (here, there) = (read(vfs, DIR).unwrap(), read(vfs, COPY).unwrap());
    assert!(there.report().clean, "{what}: it is closed");
    assert_eq!(there.report().uuid, here.report().uuid, "{what}");
    assert_eq!(there.report().oldest, here.report().oldest, "{what}: what was pruned goes");
    let from = here.report().oldest.max(there.report().oldest);
    assert_eq!(told(&there, from), told(&here, from), "{what}");
    let report = options(vfs).verify(COPY, Level::Derived, &mut |_| {}).unwrap();
    assert_eq!(report.verdict(), Verdict::Sound, "{what}: {:?}", report.findings);
    let warned: Vec<_> = report.findings.iter().filter(|found| found.severity > Severity::Remark).collect();
    assert!(warned.is_empty(), "{what}: {warned:?}");
}

fn segments(vfs: &MemVfs, dir: &str) -> Vec<PathBuf> {
    let log = Path::new(dir).join("log");
    vfs.files().into_iter().filter(|path| path.starts_with(&log)).collect()
}

fn birth(n: u64) -> Event {
    let text: String = (0..900).map(|at| char::from(b'a' + ((at * 7 + n * 13) % 26) as u8)).collect();
    Event::created().key(format!("k{n}")).meta("text", text)
}

/// Appends a task's life; `n` makes it another one.
fn live(ledger: &Ledger, n: u64) {
    let task = format!("t{n}");
    ledger.append(&*task, birth(n)).unwrap();
    ledger.append(&*task, Event::to(Ready)).unwrap();
    ledger.append(&*task, Event::to(Running)).unwrap();
    ledger.append(&*task, Event::to(Completed).output(n)).unwrap();
    ledger.append_note(format!("n{}", n % 3), Event::noted(n)).unwrap();
}

#[test]
fn a_backup_is_the_ledger_and_again_takes_only_what_is_new() {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).open(DIR).unwrap();
    (0..40).for_each(|n| live(&ledger, n));
    ledger.maintain().unwrap();
    let count = segments(&vfs, DIR).len() as u64;
    assert!(count > 3, "{count} segments");
    let mut shown = Vec::new();
    let first =
        options(&vfs).backup(DIR, COPY, &mut |BackupProgress { done, all, .. }| shown.push((done, all))).unwrap();
    assert_eq!((first.entries, first.last, first.oldest), (200, Seq(200), Seq::FIRST));
    assert_eq!((first.kept, shown.last()), (0, Some(&(first.bytes, first.bytes))));
    same(&vfs, "the first");
    // Sealed segments are the same to the byte, but for what may stand behind their end.
    for path in segments(&vfs, COPY).iter().take(3) {
        let here = Path::new(DIR).join("log").join(path.file_name().unwrap());
        assert!(vfs.read_file(path).unwrap() == vfs.read_file(&here).unwrap(), "{}", path.display());
    }

    let before = vfs.trace_len();
    let none = back_up(&vfs).unwrap();
    assert_eq!((none.entries, none.copied, none.bytes), (0, 0, 0));
    assert_eq!(none.kept, first.copied);
    let changed = vfs.trace().into_iter().skip(before).filter(|op| !format!("{op:?}").contains("ock")).count();
    assert_eq!(changed, 0, "nothing was new");

    (40..50).for_each(|n| live(&ledger, n));
    let second = back_up(&vfs).unwrap();
    assert_eq!((second.entries, second.last), (50, Seq(250)));
    assert_eq!(second.kept, first.copied - 1, "the sealed ones stay as they are");
    same(&vfs, "the second");
    drop(ledger);
    // It is a ledger like any other.
    let copy = options(&vfs).open(COPY).unwrap();
    assert!(copy.append_if("t0", Event::to(Ready), Expect::Absent).is_err());
    assert!(copy.append("t3", birth(3)).unwrap().replayed(), "the window of keys is there");
    live(&copy, 1000);
}

/// Random lives of a ledger and of its copy: appends, rolls, kills that leave half a write behind, indexes and snapshots,
/// prunes, copies that are opened for writing and closed again. After each backup both say the same.
#[test]
fn whatever_became_of_the_ledger_its_backup_follows() {
    let (mut kept, mut pruned, mut refused) = (0, 0, 0);
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut vfs = MemVfs::with_seed(seed);
        let mut ledger = options(&vfs).open(DIR).unwrap();
        let mut next = 0;
        for step in 0..12 {
            let what = format!("seed {seed}, step {step}");
            for _ in 0..rng.below(14) {
                live(&ledger, next);
                next += 1;
            }
            for _ in 0..rng.below(3) {
                match rng.below(6) {
                    0 => {
                        drop(ledger);
                        // Part of what was not synced is there.
                        let pending = vfs.pending(vfs.trace_len());
                        let mut choice = pending.all_kept();
                        choice.sectors.iter_mut().for_each(|kept| *kept = u32::from(rng.below(2) == 1));
                        vfs = pending.image(&choice).unwrap_or_else(|| vfs.kill());
                        ledger = options(&vfs).open(DIR).unwrap();
                    }
                    1 => {
                        ledger.close().unwrap();
                        ledger = options(&vfs).open(DIR).unwrap();
                    }
                    2 => {
                        ledger.snapshot().unwrap();
                    }
                    3 => {
                        let prune = Prune::before(At::Seq(Seq(rng.below(ledger.head().0 + 1) + 1)));
                        pruned += u64::from(ledger.prune(&prune).unwrap().entry.is_some());
                    }
                    4 if read(&vfs, COPY).is_ok() => options(&vfs).open(COPY).unwrap().close().unwrap(),
                    _ => ledger.maintain().unwrap(),
                }
            }
            match back_up(&vfs) {
                Ok(done) => {
                    assert_eq!(done.last, ledger.head(), "{what}");
                    kept += done.kept;
                    same(&vfs, &what);
                }
                Err(Error::Io { source, .. }) if source.to_string().contains("pruned") => {
                    refused += 1;
                    break;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    assert!(kept > 300 && pruned > 20 && refused > 3, "{kept} kept, {pruned} prunes, {refused} refused");
}

/// A ledger with an earlier backup, to which entries were added since; or without one.
fn grown(is_first: bool) -> (MemVfs, Ledger, Seq) {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).open(DIR).unwrap();
    (0..14).for_each(|n| live(&ledger, n));
    ledger.snapshot().unwrap();
    let mut had = Seq::ZERO;
    if !is_first {
        had = back_up(&vfs).unwrap().last;
        (14..30).for_each(|n| live(&ledger, n));
        ledger.maintain().unwrap();
        assert_eq!(ledger.prune(&Prune::before(At::Seq(Seq(60)))).unwrap().segments, 1);
    }
    (vfs, ledger, had)
}

/// What an interrupted backup leaves is no ledger yet, or has a beginning of the entries, no shorter than the earlier one; and
/// the next one finishes it.
fn judge(image: &MemVfs, had: Seq, what: &str) -> &'static str {
    image.clear_faults();
    let found = match read(image, COPY) {
        Ok(copy) => {
            let head = copy.view().seq();
            assert!(head >= had, "{what}: it ends at {head}");
            let ledger = read(image, DIR).unwrap();
            let from = ledger.report().oldest.max(copy.report().oldest);
            let here = ledger.view().entries(from).map(|entry| entry.unwrap());
            assert!(
                copy.view().entries(from).map(|entry| entry.unwrap()).eq(here.take_while(|entry| entry.seq <= head))
            );
            let report = options(image).verify(COPY, Level::Content, &mut |_| {}).unwrap();
            assert_ne!(report.verdict(), Verdict::Damaged, "{what}: {:?}", report.findings);
            if head == had { "as before" } else { "more" }
        }
        Err(Error::NoLedger { .. }) if had == Seq::ZERO => "none",
        Err(Error::Damaged { what: why, .. }) if had == Seq::ZERO && why.contains("every segment is missing") => "none",
        Err(error) => panic!("{what}: {error}"),
    };
    back_up(image).unwrap_or_else(|error| panic!("{what}: again: {error}"));
    same(image, what);
    found
}

#[test]
fn a_backup_that_is_cut_off_is_finished_by_the_next() {
    for is_first in [true, false] {
        let (vfs, _ledger, had) = grown(is_first);
        let from = vfs.trace_len();
        back_up(&vfs).unwrap();
        let mut found = std::collections::BTreeMap::<&str, u64>::new();
        let mut rng = Rng(5);
        for at in from..=vfs.trace_len() {
            // Most operations write the next piece of a file without a name.
            let is_plain = matches!(vfs.trace().get(at), Some(Op::Write { .. }));
            if is_plain && at % 16 != 0 {
                continue;
            }
            *found.entry(judge(&vfs.kill_at(at), had, &format!("killed behind operation {at}"))).or_default() += 1;
            let pending = vfs.pending(at);
            let mut some = pending.all_kept();
            some.names.iter_mut().for_each(|kept| *kept = rng.below(2) == 1);
            some.sectors.iter_mut().for_each(|kept| *kept *= rng.below(2) as u32);
            for choice in [pending.none_kept(), pending.all_kept(), some] {
                if let Some(image) = pending.image(&choice) {
                    let what = format!("first {is_first}, a power cut behind operation {at}: {choice:?}");
                    *found.entry(judge(&image, had, &what)).or_default() += 1;
                }
            }
        }
        println!("{found:?}");
        let expected: &[&str] = if is_first { &["more", "none"] } else { &["as before", "more"] };
        assert!(expected.iter().all(|outcome| found.get(outcome).is_some_and(|&n| n > 10)), "{found:?}");
    }
}

#[test]
fn a_backup_in_which_a_call_fails_says_so_and_the_next_finishes_it() {
    for is_first in [true, false] {
        let (sound, _ledger, had) = grown(is_first);
        let whole = sound.fork();
        let from = sound.calls();
        back_up(&sound).unwrap();
        let kinds = sound.call_kinds();
        let mut failed = 0;
        for (call, kind) in kinds.iter().enumerate().skip(from) {
            // Those that only look are many, and alike.
            if matches!(kind, CallKind::Read | CallKind::Len | CallKind::Open) && call % 5 != 0 {
                continue;
            }
            let ways: &[Effect] = match kind {
                CallKind::SyncData => &[Effect::Sync(SyncFailure::LiveNewDiskOld), Effect::Late],
                CallKind::Rename | CallKind::SyncDir | CallKind::Create | CallKind::Remove => {
                    &[Effect::Error, Effect::Late]
                }
                _ => &[Effect::Error],
            };
            for way in ways {
                let vfs = whole.fork();
                vfs.fail_at(vfs.calls() + call - from, Fault::new(EIO).with(*way));
                let what = format!("first {is_first}, call {call} ({kind:?}), {way:?}");
                let ended = back_up(&vfs);
                vfs.clear_faults();
                failed += u64::from(ended.is_err());
                if ended.is_ok() {
                    // A directory of tables that cannot be listed is left as it is; they are derived.
                    assert_eq!(
                        told(&read(&vfs, COPY).unwrap(), Seq(60)),
                        told(&read(&vfs, DIR).unwrap(), Seq(60)),
                        "{what}"
                    );
                }
                // What was not synced may be lost as well.
                let pending = vfs.pending(vfs.trace_len());
                judge(&pending.image(&pending.none_kept()).unwrap(), had, &what);
                judge(&vfs, had, &what);
            }
        }
        assert!(failed > 100, "{failed}");
    }
}

#[test]
fn what_is_no_earlier_backup_is_left_alone() {
    let (vfs, ledger, had) = grown(false);
    let refusal = |vfs: &MemVfs, to: &str, what: &str| {
        let files = |vfs: &MemVfs| {
            let there = vfs.files().into_iter().filter(|path| !path.ends_with("lock"));
            there.map(|path| (vfs.read_file(&path).unwrap(), path)).collect::<Vec<_>>()
        };
        let before = files(vfs);
        let error = options(vfs).backup(DIR, to, &mut |_| {}).unwrap_err();
        let told =
            format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(told.contains(what), "{told:?} does not say {what:?}");
        assert!(files(vfs) == before, "{what}: nothing is changed");
    };
    refusal(&vfs, DIR, "open for writing");
    drop(ledger);
    refusal(&vfs, DIR, "it is the ledger itself");
    refusal(&vfs, "/nowhere/deep", "could not create");

    let other = vfs.fork();
    other.create_dir(Path::new("/other"), 0o700).unwrap();
    options(&other).open("/other").unwrap().append("a", Event::created()).unwrap();
    refusal(&other, "/other", "another ledger is there");
    other.create_dir(Path::new("/files"), 0o700).unwrap();
    other.write_file(Path::new("/files/letter"), b"dear").unwrap();
    refusal(&other, "/files", "other files");

    let locked = vfs.fork();
    let writer = options(&locked.spawn()).open(COPY).unwrap();
    refusal(&locked, COPY, "open for writing");
    // Somebody has written to it: first less than is there, then more.
    writer.append("mine", Event::created()).unwrap();
    drop(writer);
    refusal(&locked, COPY, "is another than that of the ledger");
    let writer = options(&locked.spawn()).open(COPY).unwrap();
    (0..40).for_each(|n| live(&writer, 500 + n));
    drop(writer);
    refusal(&locked, COPY, "and the ledger ends at");

    let pruned = vfs.fork();
    let writer = options(&pruned.spawn()).open(DIR).unwrap();
    writer.prune(&Prune::before(At::Seq(Seq(u64::MAX / 4)))).unwrap();
    assert!(writer.report().oldest.0 > 0 && read(&pruned, DIR).unwrap().report().oldest > Seq(had.0 + 1));
    drop(writer);
    refusal(&pruned, COPY, "back up into another directory");
}

/// Who opened the copy as a writer and wrote nothing left marks of openings that the ledger never had. The next backup
/// goes on all the same, and so does a copy that is opened in the middle of it.
#[test]
fn a_copy_that_was_opened_and_closed_is_still_one() {
    let (vfs, ledger, _) = grown(false);
    for times in 1..4 {
        for _ in 0..times {
            options(&vfs.spawn()).open(COPY).unwrap().close().unwrap();
        }
        live(&ledger, 700 + times);
        let cut = vfs.fork();
        cut.fail_at(cut.calls() + 60, Fault { sticky: true, ..Fault::new(EIO) });
        let cut_off = back_up(&cut);
        cut.clear_faults();
        options(&cut.spawn()).open(COPY).unwrap_or_else(|error| panic!("{cut_off:?}: {error}")).close().unwrap();
        back_up(&vfs).unwrap_or_else(|error| panic!("opened {times} times: {error}"));
        same(&vfs, &format!("opened {times} times"));
        options(&vfs.spawn()).open(COPY).unwrap().close().unwrap();
    }
}

/// A flipped bit in a sealed segment, which no opening reads, is found before it is copied; the earlier backup is as it was.
#[test]
fn damage_is_found_and_not_copied() {
    let (vfs, ledger, had) = grown(false);
    drop(ledger);
    let mut found = 0;
    for path in segments(&vfs, DIR) {
        let rotten = vfs.fork();
        rotten.flip_bit(&path, 8 * 5000).unwrap();
        match back_up(&rotten) {
            Err(Error::Damaged { path: named, .. }) => {
                assert_eq!(named, path);
                assert!(read(&rotten, COPY).unwrap().view().seq() >= had);
                found += 1;
            }
            // One that the copy has already, or a byte where nothing counts.
            Ok(_) => {
                let report = options(&rotten).verify(COPY, Level::Content, &mut |_| {}).unwrap();
                assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(found >= 2, "{found}");
}

/// Beside a writer that appends, rolls and prunes without a pause, each backup has all that was durable when it began.
#[test]
fn backups_beside_a_live_writer_have_what_was_durable() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (home.path().join("runs"), home.path().join("copy"));
    let options = Options::new().segment_size(64 << 10);
    let ledger = options.clone().open(&dir).unwrap();
    let (done, mut segments) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                live(&ledger, n);
                if n % 200 == 199 {
                    ledger.prune(&Prune::before(At::Seq(Seq(ledger.head().0 / 4)))).unwrap();
                }
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let _done = AtEnd(&done);
        while segments < 24 {
            let durable = ledger.durable();
            let backup = options.backup(&dir, &copy, &mut |_| {}).unwrap();
            assert!(backup.last >= durable, "{durable} was durable before, {} is the last in the copy", backup.last);
            segments += backup.copied;
            let report = taskledger::verify(&copy, Level::Derived).unwrap();
            assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
        }
    });
}
