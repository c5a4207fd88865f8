//! Followers beside damage, and beside what only looks like it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::{Batch, Error, Event, Expect, Ledger, Level, Seq, Severity};

use super::{DIR, EIO, drain, large, manual, seqs, two};

fn segment(vfs: &MemVfs, number: usize) -> PathBuf {
    let files = vfs.files();
    files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).nth(number).expect("a segment")
}

/// Where the frame with this text stands.
fn place_of(vfs: &MemVfs, segment: &Path, text: &str) -> u64 {
    let bytes = vfs.read_file(segment).unwrap();
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there") as u64
}

fn append(ledger: &Ledger, names: &[&str]) {
    for name in names {
        ledger.append(*name, Event::created()).unwrap();
    }
}

#[test]
fn an_entry_that_is_vouched_for_and_cannot_be_read_is_an_error_with_its_place() {
    for without_live in [false, true] {
        let vfs = MemVfs::new();
        let ledger = manual(&vfs).open(DIR).unwrap();
        append(&ledger, &["first", "second", "third", "fourth"]);
        let path = segment(&vfs, 0);
        let at = place_of(&vfs, &path, "third");
        if without_live {
            vfs.remove_file(&PathBuf::from(DIR).join("live")).unwrap();
        }
        for mut follow in two(&vfs, &ledger, Seq(2)) {
            vfs.flip_bit(&path, at * 8).unwrap();
            assert_eq!(follow.next().unwrap().unwrap().seq, Seq(2));
            // Where live does not name it, what does stands behind it, and is looked for at the second look.
            let looks = if without_live { 3 } else { 1 };
            let error = (0..looks).find_map(|_| follow.next_within(Duration::ZERO).err()).expect("it is noticed");
            let Error::Damaged { path: named, offset: Some(offset), seq, .. } = &error else { panic!("{error:?}") };
            assert_eq!((named, *seq), (&path, Some(Seq(3))));
            assert!((at - 200..at).contains(offset), "{offset} is where its frame begins, {at} within it");
            vfs.flip_bit(&path, at * 8).unwrap();
            assert_eq!(follow.next_within(Duration::ZERO).unwrap_err().to_string(), error.to_string(), "it stays");
            assert!(follow.next().is_none());
        }
    }
}

#[test]
fn a_rotten_vouch_is_passed() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open(DIR).unwrap();
    let path = segment(&vfs, 0);
    append(&ledger, &["first"]);
    let before = vfs.read_file(&path).unwrap();
    ledger.maintain().unwrap();
    let vouch = vfs.read_file(&path).unwrap().iter().zip(&before).position(|(now, before)| now != before);
    append(&ledger, &["second"]);
    vfs.flip_bit(&path, vouch.expect("a vouch was written") as u64 * 8).unwrap();
    ledger.append("third", large()).unwrap();
    let follows = &mut two(&vfs, &ledger, Seq::FIRST);
    assert_eq!(follows.each_mut().map(seqs), [[1, 2, 3]; 2]);
    // The end of the segment is looked at, too.
    ledger.append("fourth", large()).unwrap();
    assert_eq!(follows.each_mut().map(seqs), [[4]; 2]);
}

/// The next entries cannot be read because they are elsewhere: a writer was killed in the middle of a write.
#[test]
fn a_torn_tail_is_left_for_the_successor() {
    for written in [1, 40, 100, 4000, 7000, 9500] {
        let vfs = MemVfs::new();
        let writer = vfs.spawn();
        let ledger = manual(&writer).open(DIR).unwrap();
        append(&ledger, &["first"]);
        let mut beside = manual(&vfs.spawn()).open_read_only(DIR).unwrap().follow(Seq::FIRST).unwrap();
        assert_eq!(seqs(&mut beside), [1]);
        vfs.fail_at(vfs.calls(), Fault::new(EIO).only(CallKind::Write).with(Effect::ErrorAfter(written)));
        // A batch over several frames, of which the first ones may be whole.
        let mut batch = Batch::new();
        for task in ["second", "third", "fourth"] {
            batch.push(task, Event::created().meta("text", task.repeat(600)), Expect::Any);
        }
        assert!(matches!(ledger.commit(batch), Err(Error::Unknown { .. })));
        writer.process_dies();
        std::mem::forget(ledger);
        vfs.clear_faults();
        assert_eq!(seqs(&mut beside), [0; 0], "{written} bytes were written: not there yet");
        let ledger = manual(&vfs.spawn()).open(DIR).unwrap();
        append(&ledger, &["instead"]);
        let (entries, _) = drain(&mut beside);
        let tasks: Vec<_> = entries.iter().map(|entry| (entry.seq.0, entry.task.as_deref().unwrap())).collect();
        assert_eq!(tasks, [(2, "instead")], "{written} bytes were written");
    }
}

#[test]
fn a_directory_that_was_moved_away_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let [dir, other] = ["ledger", "other"].map(|name| home.path().join(name));
    let ledger = Ledger::open(&dir).unwrap();
    append(&ledger, &["first"]);
    let mut follows = [(); 2].map(|()| Ledger::open_read_only(&dir).unwrap().follow(Seq::FIRST).unwrap());
    assert_eq!(follows.each_mut().map(seqs), [[1]; 2]);
    std::fs::rename(&dir, &other).unwrap();
    let [first, second] = &mut follows;
    assert!(matches!(first.next_within(Duration::ZERO), Err(Error::Io { action: "find", .. })));
    Ledger::open(&dir).unwrap().append("another", Event::created()).unwrap();
    assert!(matches!(second.next_within(Duration::ZERO), Err(Error::Io { action: "find", .. })));
}

#[test]
fn a_segment_that_has_gone_is_an_error() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open(DIR).unwrap();
    let mut beside = manual(&vfs.spawn()).open_read_only(DIR).unwrap().follow(Seq::FIRST).unwrap();
    for n in 0..4 {
        ledger.append(format!("t{n}"), large()).unwrap();
    }
    ledger.close().unwrap();
    vfs.remove_file(&segment(&vfs, 1)).unwrap();
    assert_eq!(beside.next().unwrap().unwrap().seq, Seq(1));
    let error = beside.next().unwrap().unwrap_err();
    let missing = |error: &Error| {
        matches!(error, Error::Damaged { seq: Some(Seq(2)), .. })
            && error.to_string().contains("the segments between number 1 and 3 are missing")
    };
    assert!(missing(&error), "{error}");
    let error = manual(&vfs.spawn()).open_read_only(DIR).unwrap_err();
    assert!(missing(&error), "neither does it open: {error}");
    let report = manual(&vfs.spawn()).verify(DIR, Level::Content, &mut |_| ()).unwrap();
    let lost: Vec<_> = report.findings.iter().filter(|found| found.severity == Severity::Damage).collect();
    assert!(matches!(&lost[..], [found] if found.seqs.is_some_and(|(first, _)| first == Seq(2))), "{lost:?}");
}
