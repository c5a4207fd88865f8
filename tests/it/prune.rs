//! What is pruned goes, and nothing else changes: records, notes, versions, seqs and the windows of keys stay as they were,
//! whatever is older is refused, and `verify` tells pruned from missing and from damaged.

mod twins;

use std::path::PathBuf;
use std::time::Duration;

use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::{
    At, Entry, Error, Event, EventKind, Filter, Finding, Followed, Ledger, Level, Prune, Pruning, Seq, Verdict,
    VerifyReport,
};

use crate::crash::script::{DIR, EIO, options};

/// Everything that may go.
fn all() -> Prune {
    Prune::before(At::Seq(Seq(u64::MAX / 4))).by("ops").because("long ago")
}

fn text(n: usize) -> String {
    (0..5000).map(|at| char::from(b'a' + ((at * 7 + n * 13 + at * at % 11) % 26) as u8)).collect()
}

/// Some tasks that have come to their end, each over a segment or so, a note, a removed task, and one that has not.
fn ended(ledger: &Ledger, tasks: std::ops::Range<usize>) {
    for n in tasks {
        let task = format!("t{n}");
        ledger.append(&*task, Event::created().key(format!("k{n}"))).unwrap();
        ledger.append(&*task, Event::to(Ready).meta("text", text(n))).unwrap();
        ledger.append(&*task, Event::to(Running).meta("more", text(n + 50))).unwrap();
        ledger.append(&*task, Event::to(Completed).output(n)).unwrap();
        ledger.append_note(format!("n{n}"), Event::noted(n)).unwrap();
    }
}

fn open(vfs: &MemVfs) -> Ledger {
    options(vfs).open(DIR).unwrap()
}

fn verified(vfs: &MemVfs) -> VerifyReport {
    options(vfs).verify(DIR, Level::Content, &mut |_| ()).unwrap()
}

fn codes(report: &VerifyReport) -> Vec<&'static str> {
    report.findings.iter().map(|Finding { code, .. }| *code).collect()
}

fn floors(vfs: &MemVfs) -> Vec<PathBuf> {
    vfs.files().into_iter().filter(|path| path.starts_with("/ledger/floor")).collect()
}

fn logs(vfs: &MemVfs) -> Vec<PathBuf> {
    vfs.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

/// All that may be asked about the present.
fn present(ledger: &Ledger) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut tasks = ledger.list(Filter::new()).unwrap().tasks;
    tasks.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    let tasks: Vec<_> =
        tasks.into_iter().map(|task| (serde_json::to_value(&task.record).unwrap(), task.version)).collect();
    let notes = ledger.notes(taskledger::NoteFilter::new()).unwrap().notes;
    (tasks, notes.into_iter().map(|note| (note.key, note.value, note.version)).collect::<Vec<_>>())
}

fn pruned(ledger: &Ledger) -> Pruning {
    let would = ledger.would_prune(&all()).unwrap();
    let did = ledger.prune(&all()).unwrap();
    let told = |of: &Pruning| (of.segments, of.seqs, of.times, of.bytes, of.counts, of.oldest, of.blocked.clone());
    assert_eq!((told(&did), would.entry), (told(&would), None), "a dry run says the same");
    did
}

#[test]
fn what_goes_is_told_and_all_else_stays() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ended(&ledger, 0..6);
    ledger.append("gone", Event::created()).unwrap();
    ledger.append("gone", Event::removed()).unwrap();
    ended(&ledger, 6..8);
    let (before, head, there) = (present(&ledger), ledger.head(), logs(&vfs).len());
    let entries: Vec<Entry> = ledger.entries(Seq::FIRST).map(Result::unwrap).collect();

    let mut beside = options(&vfs).open_read_only(DIR).unwrap().would_prune(&all()).unwrap();
    let did = pruned(&ledger);
    beside.entry = did.entry;
    assert_eq!(beside, did, "a reader beside it says the same");
    assert_eq!((did.segments as usize, did.sealed), (there - 1, 0), "all but the active one");
    assert_eq!(did.entry, Some(Seq(head.0 + 1)));
    assert_eq!(did.blocked, None);
    assert_eq!(logs(&vfs).len(), 1);
    assert_eq!(floors(&vfs).len(), 2);
    assert_eq!(present(&ledger), before);
    let oldest = did.oldest;
    assert_eq!(did.seqs, Some((Seq::FIRST, Seq(oldest.0 - 1))));

    for ledger in [ledger, open_after_close(&vfs)] {
        let ledger = &ledger;
        assert_eq!(present(ledger), before);
        // What is below is refused, what is not is there.
        for from in [1, oldest.0 - 1] {
            let found = ledger.entries(Seq(from)).collect::<Vec<_>>();
            assert!(
                matches!(&found[..], [Err(Error::Pruned { oldest: named })] if *named == oldest),
                "below the floor: {found:?}"
            );
            assert!(matches!(ledger.follow(Seq(from)), Err(Error::Pruned { .. })));
        }
        let mut kept: Vec<Entry> = ledger.entries(oldest).map(Result::unwrap).collect();
        let told = kept.pop().unwrap();
        assert_eq!(kept[..], entries[oldest.0 as usize - 1..]);
        assert_eq!((told.event.kind(), told.event.actor(), told.task), (EventKind::Pruned, Some("ops"), None));
        assert!(matches!(ledger.as_of(At::Seq(Seq(oldest.0 - 2))), Err(Error::Pruned { .. })));
        assert!(matches!(ledger.as_of(At::Millis(0)), Err(Error::Pruned { .. })));
        assert_eq!(ledger.as_of(At::Seq(Seq(oldest.0 - 1))).unwrap().counts(), did.counts);
        // A history says what it lacks.
        let mut history = ledger.history("t0").unwrap();
        assert_eq!((history.pruned(), history.next().is_none()), (4, true));
        assert_eq!(ledger.history("never").unwrap().pruned(), 0);
        // Keys, versions and seqs go on.
        let again = ledger.append("t0", Event::created().key("k0")).unwrap();
        assert_eq!((again.seq(), again.version(), again.replayed()), (Seq(1), 1, true));
        assert!(matches!(ledger.append("t0", Event::updated().key("k0")), Err(Error::Key { .. })));
    }
    let ledger = open(&vfs);
    let receipt = ledger.append("gone", Event::created()).unwrap();
    assert_eq!((receipt.seq(), receipt.version()), (Seq(head.0 + 2), 3), "neither is used again");
    drop(ledger);
    let report = verified(&vfs);
    assert_eq!((report.verdict(), report.oldest, codes(&report)), (Verdict::Sound, oldest, vec![]));
}

/// After the first handle was dropped.
fn open_after_close(vfs: &MemVfs) -> Ledger {
    options(&vfs.fork()).open(DIR).unwrap()
}

#[test]
fn a_task_that_has_not_ended_keeps_its_segment_unless_forced() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ended(&ledger, 0..3);
    let receipt = ledger.append("open", Event::created()).unwrap();
    ended(&ledger, 3..6);
    let did = pruned(&ledger);
    let blocked = did.blocked.clone().expect("one has not ended");
    assert_eq!((&*blocked.task, blocked.seq), ("open", receipt.seq()));
    assert!(did.oldest <= receipt.seq() && did.segments > 0 && did.sealed > 0, "{did:?}");
    let beside = options(&vfs).open_read_only(DIR).unwrap().would_prune(&all()).unwrap();
    assert_eq!((&beside.blocked, beside.segments, beside.sealed), (&Some(blocked), 0, did.sealed));
    let did = ledger.prune(&all().forced()).unwrap();
    assert!(did.oldest > receipt.seq());
    assert_eq!(ledger.get("open").unwrap().unwrap().version, 1);
    assert_eq!(ledger.append("open", Event::to(Ready)).unwrap().version(), 2);
    assert_eq!(floors(&vfs).len(), 2, "the earlier floor is gone");
    drop(ledger);
    assert_eq!(verified(&vfs).verdict(), Verdict::Sound);
}

#[test]
fn pruned_is_told_from_missing_and_from_damaged() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ended(&ledger, 0..4);
    let before = present(&ledger);
    pruned(&ledger);
    drop(ledger);
    let [one, two] = &floors(&vfs)[..] else { panic!("two copies") };
    let len = vfs.read_file(one).unwrap().len() as u64;
    // One flipped bit of one copy changes no answer, and the copy is made again.
    let mut made_again = 0;
    for bit in (0..len * 8).step_by(2477) {
        let image = vfs.fork();
        image.flip_bit(one, bit).unwrap();
        let report = verified(&image);
        assert_eq!((report.verdict(), codes(&report)), (Verdict::Sound, vec!["FLOOR"]), "bit {bit}");
        let ledger = open(&image);
        assert_eq!(present(&ledger), before, "bit {bit}");
        ledger.maintain().unwrap();
        drop(ledger);
        // Unless nothing has read what is bad: then it is still told.
        let is_again = image.read_file(one).unwrap() == vfs.read_file(one).unwrap();
        assert_eq!(codes(&verified(&image)), if is_again { vec![] } else { vec!["FLOOR"] }, "bit {bit}");
        assert!(is_again || bit >= 4096 * 8, "bit {bit} of the header is seen at opening");
        made_again += u64::from(is_again);
        // In both it is refused.
        let image = vfs.fork();
        for copy in [one, two] {
            image.flip_bit(copy, bit).unwrap();
        }
        assert_eq!(verified(&image).verdict(), Verdict::Damaged, "bit {bit}");
        let refused = options(&image).open(DIR).and_then(|ledger| ledger.list(Filter::new()).map(drop));
        let refused = refused.and_then(|()| options(&image).open(DIR)?.notes(taskledger::NoteFilter::new()).map(drop));
        if bit < 200 * 8 {
            assert!(matches!(refused, Err(Error::Damaged { .. })), "bit {bit}: {refused:?}");
        }
    }
    assert!(made_again > 40, "{made_again} copies were made again");
    // Without both it is missing.
    let image = vfs.fork();
    image.remove_file(one).unwrap();
    image.remove_file(two).unwrap();
    let report = verified(&image);
    let what = "neither pruned nor sound";
    assert_eq!((report.verdict(), codes(&report)), (Verdict::Damaged, vec!["MISSING"]), "{what}");
    assert!(matches!(options(&image).open(DIR), Err(Error::Damaged { .. })));
    assert!(matches!(options(&image).open_read_only(DIR), Err(Error::Damaged { .. })));
}

#[test]
fn a_follower_that_is_overtaken_is_told() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ended(&ledger, 0..1);
    let mut here = ledger.follow(Seq::FIRST).unwrap();
    let mut beside = options(&vfs.spawn()).open_read_only(DIR).unwrap().follow(Seq::FIRST).unwrap();
    for follow in [&mut here, &mut beside] {
        assert!(matches!(follow.next_within(Duration::ZERO).unwrap(), Followed::Entry(_)));
    }
    let view = ledger.as_of(At::Seq(Seq(2))).unwrap();
    ended(&ledger, 1..6);
    let oldest = pruned(&ledger).oldest;
    assert_eq!(view.get("t0").unwrap().unwrap().version, 2, "a view goes on");
    for (name, follow) in [("here", &mut here), ("beside", &mut beside)] {
        let mut last = Seq(1);
        let refused = loop {
            match follow.next_within(Duration::ZERO) {
                Ok(Followed::Entry(entry)) => {
                    assert_eq!(entry.seq, Seq(last.0 + 1), "{name}: no gap");
                    last = entry.seq;
                }
                other => break other,
            }
        };
        assert!(matches!(refused, Err(Error::Pruned { oldest: named }) if named == oldest), "{name}: {refused:?}");
    }
    let reader = options(&vfs.spawn()).open_read_only(DIR).unwrap();
    assert_eq!(reader.report().oldest, oldest);
    assert!(matches!(reader.follow(Seq::FIRST), Err(Error::Pruned { .. })));
    let mut follow = reader.follow(oldest).unwrap();
    assert!(matches!(follow.next_within(Duration::ZERO).unwrap(), Followed::Entry(entry) if entry.seq == oldest));
}

/// A prune that is cut off anywhere, by a power cut that keeps nothing or all, by a kill, or by a call that fails, leaves all
/// answers as they were, and the next writer finishes it or undoes it: what is told in the log has gone, else all is there.
#[test]
fn a_prune_that_is_cut_off_is_finished_or_undone() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    ended(&ledger, 0..4);
    let before = present(&ledger);
    let (from, calls) = (vfs.trace_len(), vfs.calls());
    pruned(&ledger);
    let (to, until) = (vfs.trace_len(), vfs.calls());
    let mut outcomes = [0; 2];
    let mut judge = |image: &MemVfs, what: &str| {
        assert_ne!(verified(image).verdict(), Verdict::Damaged, "{what}");
        let reader = options(image).open_read_only(DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(reader.view().counts().total(), 4, "{what}");
        drop(reader);
        let ledger = options(image).open(DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(present(&ledger), before, "{what}");
        let oldest = ledger.report().oldest;
        let told = ledger.entries(oldest).any(|entry| entry.unwrap().event.kind() == EventKind::Pruned);
        assert_eq!(told, oldest > Seq::FIRST, "{what}: it is told if it has happened");
        assert_eq!(floors(image).len(), if told { 2 } else { 0 }, "{what}");
        ledger.append("more", Event::created()).unwrap();
        drop(ledger);
        let report = verified(image);
        assert_eq!((report.verdict(), report.oldest, report.findings), (Verdict::Sound, oldest, vec![]), "{what}");
        outcomes[usize::from(told)] += 1;
    };
    for at in from..=to {
        let pending = vfs.pending(at);
        judge(&vfs.kill_at(at), &format!("killed behind operation {at}"));
        for (choice, kept) in [(pending.none_kept(), "nothing"), (pending.all_kept(), "all")] {
            if let Some(image) = pending.image(&choice) {
                judge(&image, &format!("a power cut behind operation {at} that keeps {kept}"));
            }
        }
    }
    for call in calls..until {
        let vfs = MemVfs::new();
        let ledger = open(&vfs);
        ended(&ledger, 0..4);
        vfs.fail_at(call, Fault::new(EIO));
        let _ = ledger.would_prune(&all());
        let _ = ledger.prune(&all());
        vfs.clear_faults();
        drop(ledger);
        judge(&vfs, &format!("call {call} ({:?}) fails", vfs.call_kinds().get(call).unwrap_or(&CallKind::Open)));
    }
    assert!(outcomes.iter().all(|&n| n > 5), "{outcomes:?}");
}

/// A prune made the directory of the floors, could not make its name durable, and said so; nothing had changed. The next one
/// found the directory, and asked nothing of its name: both copies were durable in it, the segments went, and a power cut took
/// the directory with all that stood for them.
#[test]
fn a_floor_stands_in_a_directory_whose_name_is_durable() {
    let made = || {
        let vfs = MemVfs::new();
        let ledger = open(&vfs);
        ended(&ledger, 0..3);
        ledger.maintain().unwrap();
        let before = present(&ledger);
        (vfs, ledger, before)
    };
    let (vfs, ledger, before) = made();
    let from = vfs.calls();
    ledger.prune(&all()).unwrap();
    let kinds = vfs.call_kinds();
    let names = |call: &usize| matches!(kinds[*call], CallKind::SyncDir | CallKind::CreateDir | CallKind::Rename);
    let mut failed = 0;
    for call in (from..kinds.len()).filter(names) {
        let (vfs, ledger, _) = made();
        vfs.fail_at(call, Fault::new(EIO).with(Effect::Late));
        failed += u64::from(ledger.prune(&all()).is_err());
        ledger.prune(&all()).unwrap();
        let pending = vfs.pending(vfs.trace_len());
        let image = pending.image(&pending.none_kept()).unwrap();
        let ledger = options(&image).open(DIR).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert_eq!(present(&ledger), before, "call {call}");
        assert_eq!((logs(&image).len(), floors(&image).len()), (1, 2), "call {call}");
    }
    assert!(failed >= 6, "{failed} prunes failed");
}

#[test]
fn orphans_whose_entries_were_pruned_are_taken_up_again() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    for (task, attempts) in [("once", 1), ("often", 9)] {
        ledger.append(task, Event::created()).unwrap();
        ledger.append(task, Event::to(Ready)).unwrap();
        ledger.append(task, Event::to(Running).attempts(attempts)).unwrap();
    }
    ended(&ledger, 0..4);
    drop(ledger);
    let whole = vfs.fork();
    let ledger = open(&vfs);
    assert!(ledger.prune(&all()).unwrap().blocked.is_some(), "they stand in the way");
    assert!(ledger.prune(&all().forced()).unwrap().oldest > Seq(6));
    drop(ledger);
    let [here, there] = [open(&vfs), open(&whole)];
    let recovered = here.recover_orphans(3).unwrap();
    assert_eq!((recovered.requeued, recovered.failed), (1, 1));
    assert_eq!(recovered, there.recover_orphans(3).unwrap());
    assert_eq!(present(&here), present(&there));
    assert_eq!(here.history("once").unwrap().pruned(), 3);
}
