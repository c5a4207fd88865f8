//! Whether the model says what a file system does: what may be lost, what may not, and that no state is left out.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::random::SplitMix;
use super::*;
use crate::vfs::ops::{Access, Kind, Process, Vfs, VfsFile, read_full_at, write_all_at};
use crate::vfs::real::RealVfs;

mod replace;

const EIO: i32 = 5;

fn p(path: &str) -> &Path {
    Path::new(path)
}

/// All states, none torn, at the end of the trace.
fn whole() -> Limits {
    Limits { tear: false, ..Limits::default() }
}

/// What a file may hold after a power cut now; `None` where it may be missing.
fn outcomes(vfs: &MemVfs, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let mut found = BTreeSet::new();
    vfs.crash_states(vfs.trace_len(), &whole(), &mut |after, _| {
        found.insert(after.read_file(p(path)).ok());
    });
    found
}

fn one(bytes: &[u8]) -> BTreeSet<Option<Vec<u8>>> {
    BTreeSet::from([Some(bytes.to_vec())])
}

/// A file of so many sectors of zeros, durable with its name.
fn durable_file(vfs: &MemVfs, path: &str, sectors: usize) -> Arc<dyn VfsFile> {
    let file = vfs.create(p(path), 0o600).unwrap();
    write_all_at(&*file, &vec![0; sectors * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir(p("/")).unwrap();
    file
}

#[test]
fn unsynced_sectors_are_each_kept_or_lost_and_synced_ones_are_certain() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 4);
    assert!(vfs.pending(vfs.trace_len()).is_certain());
    file.write_at(&[7; 4 * SECTOR], 0).unwrap();

    let mut prints = BTreeSet::new();
    let mut patterns = BTreeSet::new();
    let count = vfs.crash_states(vfs.trace_len(), &whole(), &mut |after, choice| {
        prints.insert(after.fingerprint());
        let bytes = after.read_file(p("/log")).unwrap();
        let pattern: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|b| *b == sector[0])), "a sector is whole");
        for (kept, byte) in choice.sectors.iter().zip(&pattern) {
            assert_eq!(*byte, if *kept == 1 { 7 } else { 0 });
        }
        patterns.insert(pattern);
    });
    assert_eq!(count, 16);
    assert_eq!(prints.len(), 16);
    assert_eq!(patterns.len(), 16);

    let before = vfs.trace_len();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&vfs, "/log"), one(&[7; 4 * SECTOR]));
    assert_eq!(vfs.crash_states(before, &whole(), &mut |_, _| {}), 16, "the moment before the sync stays as it was");
}

#[test]
fn a_growing_file_keeps_its_old_length_or_shows_zeros_or_bytes() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 0);
    file.write_at(b"abc", 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(b"de", 3).unwrap();
    file.write_at(b"f", 5).unwrap();
    assert_eq!(
        outcomes(&vfs, "/log"),
        BTreeSet::from([
            Some(b"abc".to_vec()),
            Some(b"abc\0\0".to_vec()),
            Some(b"abcde".to_vec()),
            Some(b"abc\0\0\0".to_vec()),
            Some(b"abcde\0".to_vec()),
            Some(b"abcdef".to_vec()),
        ])
    );
    let count = vfs.crash_states(vfs.trace_len(), &whole(), &mut |_, _| {});
    assert_eq!(count, 6, "no state is visited twice");
}

#[test]
fn overwritten_versions_may_each_survive() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/mark", 1);
    for byte in [1, 2, 1, 0, 3] {
        file.write_at(&[byte; SECTOR], 0).unwrap();
    }
    let all = (0..=3).map(|byte| Some(vec![byte; SECTOR])).collect();
    assert_eq!(outcomes(&vfs, "/mark"), all);
    let count = vfs.crash_states(vfs.trace_len(), &whole(), &mut |_, _| {});
    assert_eq!(count, 4, "the same bytes again are no other version");
    file.sync_data().unwrap();
    assert_eq!(outcomes(&vfs, "/mark"), one(&[3; SECTOR]));
}

#[test]
fn a_file_sync_does_not_make_the_name_durable_and_a_directory_sync_not_the_bytes() {
    let vfs = MemVfs::new();
    let file = vfs.create(p("/a"), 0o600).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&vfs, "/a"), BTreeSet::from([None, Some(b"x".to_vec())]));
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!(outcomes(&vfs, "/a"), one(b"x"));
    let other = vfs.create(p("/b"), 0o600).unwrap();
    other.write_at(b"y", 0).unwrap();
    vfs.sync_dir(p(".")).unwrap();
    assert_eq!(outcomes(&vfs, "/b"), BTreeSet::from([Some(b"".to_vec()), Some(b"\0".to_vec()), Some(b"y".to_vec())]));
}

#[test]
fn a_rename_is_atomic_and_lost_without_a_sync_of_the_directory() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/tmp", 0);
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    vfs.rename(p("/tmp"), p("/final")).unwrap();
    let mut found = Vec::new();
    vfs.crash_states(vfs.trace_len(), &whole(), &mut |after, _| {
        found.push(after.files());
        let path = after.files().remove(0);
        assert_eq!(after.read_file(&path).unwrap(), b"x");
    });
    assert_eq!(found, [[p("/tmp")], [p("/final")]]);
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!(outcomes(&vfs, "/tmp"), BTreeSet::from([None]));
    assert_eq!(outcomes(&vfs, "/final"), one(b"x"));
}

#[test]
fn a_rename_needs_the_name_that_it_starts_from() {
    let vfs = MemVfs::new();
    vfs.create(p("/tmp"), 0o600).unwrap();
    vfs.rename(p("/tmp"), p("/final")).unwrap();
    let pending = vfs.pending(vfs.trace_len());
    let mut choice = pending.none_kept();
    choice.names = vec![false, true];
    assert!(pending.image(&choice).is_none());
    let mut found = BTreeSet::new();
    let count = pending.states(&whole(), &mut |after, _| {
        found.insert(after.files());
    });
    assert_eq!(count, 3);
    assert_eq!(found, BTreeSet::from([vec![], vec![p("/tmp").into()], vec![p("/final").into()]]));
}

#[test]
fn a_removed_file_may_come_back_with_its_bytes() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/a", 0);
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    vfs.remove(p("/a")).unwrap();
    assert!(vfs.open(p("/a"), Access::Read).is_err());
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 0).unwrap(), 1, "an open file outlives its name");
    assert_eq!(outcomes(&vfs, "/a"), BTreeSet::from([None, Some(b"x".to_vec())]));
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!(outcomes(&vfs, "/a"), BTreeSet::from([None]));
}

#[test]
fn what_is_in_a_lost_directory_is_lost() {
    let vfs = MemVfs::new();
    vfs.create_dir(p("/d"), 0o700).unwrap();
    let file = vfs.create(p("d/a"), 0o600).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir(p("/d")).unwrap();
    assert_eq!(outcomes(&vfs, "/d/a"), BTreeSet::from([None, Some(vec![])]));
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!(outcomes(&vfs, "/d/a"), one(b""));
}

#[test]
fn a_rename_between_directories_needs_a_sync_of_both() {
    let vfs = MemVfs::new();
    for dir in ["/d", "/e"] {
        vfs.create_dir(p(dir), 0o700).unwrap();
    }
    vfs.sync_dir(p("/")).unwrap();
    vfs.create(p("/d/a"), 0o600).unwrap();
    vfs.sync_dir(p("/d")).unwrap();
    vfs.rename(p("/d/a"), p("/e/a")).unwrap();
    for synced in ["/d", "/e"] {
        let vfs = vfs.fork();
        vfs.sync_dir(p(synced)).unwrap();
        let states = vfs.crash_states(vfs.trace_len(), &whole(), &mut |after, _| {
            assert_eq!(after.files().len(), 1, "in one place, whatever happens");
        });
        assert_eq!(states, 2);
    }
    // A durable name in the place that the rename left makes the rename durable with it.
    vfs.create(p("/d/a"), 0o600).unwrap();
    vfs.sync_dir(p("/d")).unwrap();
    assert!(vfs.pending(vfs.trace_len()).is_certain());
    vfs.sync_dir(p("/e")).unwrap();
    assert!(vfs.pending(vfs.trace_len()).is_certain());
    assert_eq!(vfs.files(), [p("/d/a"), p("/e/a")]);
}

fn failed_sync(failure: SyncFailure) -> (MemVfs, Arc<dyn VfsFile>, bool) {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 2);
    file.write_at(&[7; 2 * SECTOR], 0).unwrap();
    let fault = Fault::new(EIO).only(CallKind::SyncData).with(Effect::Sync(failure));
    vfs.fail_at(vfs.calls(), fault);
    let failed = match file.sync_data() {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(EIO));
            true
        }
    };
    (vfs, file, failed)
}

#[test]
fn after_a_failed_sync_the_live_view_lies_and_a_retry_proves_nothing() {
    let (vfs, file, failed) = failed_sync(SyncFailure::LiveNewDiskOld);
    assert!(failed);
    for _ in 0..2 {
        assert_eq!(vfs.read_file(p("/log")).unwrap(), [7; 2 * SECTOR]);
        assert_eq!(outcomes(&vfs, "/log"), one(&[0; 2 * SECTOR]));
        file.sync_data().unwrap();
    }
    // The next process sees the lie too, and its own sync does not help; writing again does, where it wrote.
    let next = vfs.kill();
    let file = next.open(p("/log"), Access::ReadWrite).unwrap();
    assert_eq!(next.read_file(p("/log")).unwrap(), [7; 2 * SECTOR]);
    file.sync_data().unwrap();
    assert_eq!(outcomes(&next, "/log"), one(&[0; 2 * SECTOR]));
    file.write_at(&[7; SECTOR], SECTOR as u64).unwrap();
    file.sync_data().unwrap();
    let half: Vec<u8> = [[0; SECTOR], [7; SECTOR]].concat();
    assert_eq!(outcomes(&next, "/log"), one(&half));
}

#[test]
fn after_a_failed_sync_the_live_view_may_fall_back() {
    let (vfs, file, failed) = failed_sync(SyncFailure::LiveOldDiskOld);
    assert!(failed);
    assert_eq!(vfs.read_file(p("/log")).unwrap(), [0; 2 * SECTOR]);
    assert_eq!(outcomes(&vfs, "/log"), one(&[0; 2 * SECTOR]));
    file.write_at(b"longer", 2 * SECTOR as u64).unwrap();
    let fault = Fault::new(EIO).with(Effect::Sync(SyncFailure::LiveOldDiskOld));
    vfs.fail_at(vfs.calls(), fault);
    assert!(file.sync_data().is_err());
    assert_eq!(file.len().unwrap(), 2 * SECTOR as u64);
    file.sync_data().unwrap();
    assert_eq!(outcomes(&vfs, "/log"), one(&[0; 2 * SECTOR]));
}

#[test]
fn a_sync_may_say_ok_and_the_next_one_report_the_loss() {
    let (vfs, file, failed) = failed_sync(SyncFailure::ReportedLate);
    assert!(!failed);
    assert_eq!(vfs.read_file(p("/log")).unwrap(), [7; 2 * SECTOR]);
    assert_eq!(outcomes(&vfs, "/log"), one(&[0; 2 * SECTOR]));
    file.write_at(&[9; SECTOR], 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    let undecided = BTreeSet::from([Some(vec![0; 2 * SECTOR]), Some([[9; SECTOR], [0; SECTOR]].concat())]);
    assert_eq!(outcomes(&vfs, "/log"), undecided);
    file.sync_data().unwrap();
    let half: Vec<u8> = [[9; SECTOR], [0; SECTOR]].concat();
    assert_eq!(outcomes(&vfs, "/log"), one(&half));
}

#[test]
fn a_failed_sync_leaves_a_new_length_undecided_with_zeros() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 0);
    file.write_at(b"abc", 0).unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(EIO));
    assert!(file.sync_data().is_err());
    assert_eq!(outcomes(&vfs, "/log"), BTreeSet::from([Some(vec![]), Some(vec![0; 3])]));
    file.sync_data().unwrap();
    assert_eq!(outcomes(&vfs, "/log"), one(&[0; 3]));
}

#[test]
fn torn_sectors_meet_at_every_word_from_both_sides() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 2);
    file.write_at(&[7; 2 * SECTOR], 0).unwrap();
    let mut found = BTreeSet::new();
    let mut torn = 0;
    let at = vfs.trace_len();
    let count = vfs.crash_states(at, &Limits::default(), &mut |after, choice| {
        let bytes = after.read_file(p("/log")).unwrap();
        if let Some(tear) = choice.torn {
            torn += 1;
            let start = tear.sector * SECTOR;
            let (front, back) = bytes[start..start + SECTOR].split_at(tear.words * WORD);
            assert!(front.iter().all(|byte| *byte == 7 * tear.front as u8));
            assert!(back.iter().all(|byte| *byte == 7 * tear.back as u8));
            let other = SECTOR - start;
            assert!(bytes[other..other + SECTOR].iter().all(|byte| *byte == bytes[other]));
        }
        assert!(found.insert(bytes), "no state is visited twice");
    });
    // Two sectors, 63 places, two directions, the other sector old or new.
    assert_eq!(torn, 2 * 63 * 2 * 2);
    assert_eq!(count, 4 + torn);

    // Names that look the same either way do not double the tears.
    vfs.create(p("/brief"), 0o600).unwrap();
    vfs.remove(p("/brief")).unwrap();
    let at = vfs.trace_len();
    let mut again = 0;
    vfs.crash_states(at, &Limits::default(), &mut |_, choice| {
        again += u64::from(choice.torn.is_some());
    });
    assert_eq!(again, torn);

    // Where only one word differs there is nothing to tear; where three do, four whole-word mixtures remain.
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 1);
    file.write_at(&[7; WORD], 64).unwrap();
    let at = vfs.trace_len();
    assert_eq!(vfs.crash_states(at, &Limits::default(), &mut |_, _| {}), 2);
    file.write_at(&[7; WORD], 128).unwrap();
    file.write_at(&[7; WORD], 256).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[8; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[9; 3 * WORD], 64).unwrap();
    let at = vfs.trace_len();
    assert_eq!(vfs.crash_states(at, &Limits::default(), &mut |_, _| {}), 2 + 4);
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_a_later_power_cut_may_take_it() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 1);
    let lock = vfs.try_lock(p("/LOCK"), 0o600).unwrap();
    assert!(lock.is_some());
    file.write_at(&[7; SECTOR], 0).unwrap();
    let next = vfs.kill();
    assert_eq!(next.read_file(p("/log")).unwrap(), [7; SECTOR]);
    assert_eq!(next.boot_id(), vfs.boot_id());
    assert!(!next.is_alive(vfs.process()));
    assert!(next.is_alive(next.process()));
    assert!(next.try_lock(p("/LOCK"), 0o600).unwrap().is_some());
    let both = BTreeSet::from([Some(vec![0; SECTOR]), Some(vec![7; SECTOR])]);
    assert_eq!(outcomes(&next, "/log"), both);
    let file = next.open(p("/log"), Access::ReadWrite).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&next, "/log"), one(&[7; SECTOR]));
    assert_eq!(outcomes(&vfs, "/log"), both, "a copy is independent");

    vfs.fail_at(0, Fault::new(EIO).sticky());
    let next = vfs.kill();
    assert_eq!(next.calls(), 0);
    assert!(next.list(p("/")).is_ok(), "no fault is left");
    vfs.clear_faults();

    let early = vfs.kill_at(0);
    assert!(early.files().is_empty());
    assert!(early.trace().is_empty());
    let whole = vfs.kill_at(vfs.trace_len());
    assert_eq!(whole.fingerprint(), vfs.fingerprint());
}

#[test]
fn after_a_power_cut_all_is_durable_and_nobody_lives() {
    let vfs = MemVfs::with_seed(5);
    vfs.set_now_ms(77);
    let file = durable_file(&vfs, "/log", 1);
    let _lock = vfs.try_lock(p("/LOCK"), 0o600).unwrap();
    file.write_at(&[7; SECTOR], 0).unwrap();
    let pending = vfs.pending(vfs.trace_len());
    let after = pending.image(&pending.all_kept()).unwrap();
    assert_ne!(after.boot_id(), vfs.boot_id());
    assert_eq!(after.now_ms(), 77);
    assert!(!after.is_alive(vfs.process()));
    assert_ne!(after.process(), vfs.process());
    assert!(after.try_lock(p("/LOCK"), 0o600).unwrap().is_some());
    let again = pending.image(&pending.all_kept()).unwrap();
    assert_eq!(again.boot_id(), after.boot_id());
    assert_eq!(again.trace_len(), 0);
    assert_eq!(again.calls(), 0);
    assert_eq!(outcomes(&again, "/log"), one(&[7; SECTOR]));
    let (mut one, mut other) = ([0; 20], [0; 20]);
    vfs.random(&mut one).unwrap();
    again.random(&mut other).unwrap();
    assert_eq!(one, other, "the stream goes on where it was");
    vfs.random(&mut other).unwrap();
    assert_ne!(one, other);
    let file = after.open(p("/log"), Access::Read).unwrap();
    let old = vfs.open(p("/log"), Access::Read).unwrap();
    assert_eq!(file.inode().unwrap(), old.inode().unwrap());
}

#[test]
fn locks_exclude_across_processes_and_are_freed_by_drop_and_death() {
    let vfs = MemVfs::new();
    let other = vfs.spawn();
    let lock = vfs.try_lock(p("/LOCK"), 0o600).unwrap();
    assert!(other.try_lock(p("/LOCK"), 0o600).unwrap().is_none());
    assert!(vfs.try_lock(p("/LOCK"), 0o600).unwrap().is_none());
    drop(lock);
    let lock = other.try_lock(p("/LOCK"), 0o600).unwrap();
    assert!(lock.is_some());
    assert!(vfs.is_alive(other.process()));
    other.process_dies();
    assert!(!vfs.is_alive(other.process()));
    let taken = vfs.try_lock(p("/LOCK"), 0o600).unwrap();
    assert!(taken.is_some());
    drop(lock);
    assert!(other.try_lock(p("/LOCK"), 0o600).unwrap().is_none(), "the guard of a dead process frees nothing");
    let stranger = Process { pid: 9, start: 9 };
    assert!(!vfs.is_alive(stranger));
    assert_eq!(vfs.with_process(stranger).process(), stranger);
    assert!(vfs.is_alive(stranger));
    // A fault that comes after the lock was taken gives it back.
    drop(taken);
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Late));
    assert!(vfs.try_lock(p("/LOCK"), 0o600).is_err());
    assert!(vfs.try_lock(p("/LOCK"), 0o600).unwrap().is_some());
}

#[test]
fn the_nth_call_fails_once_or_from_then_on() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 1);
    let start = vfs.calls();
    vfs.fail_at(start + 1, Fault::new(EIO));
    let mut buf = [0; 4];
    assert!(file.read_at(&mut buf, 0).is_ok());
    let error = file.read_at(&mut buf, 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EIO));
    assert!(file.read_at(&mut buf, 0).is_ok());
    assert_eq!(vfs.calls(), start + 3);
    assert_eq!(vfs.call_kinds()[start..], [CallKind::Read; 3]);

    vfs.fail_at(vfs.calls(), Fault::new(Errno::NOSPC.raw_os_error()).only(CallKind::Write).sticky());
    assert!(file.len().is_ok());
    for _ in 0..3 {
        let error = file.write_at(b"x", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(file.sync_data().is_ok());
    }
    vfs.clear_faults();
    assert!(file.write_at(b"x", 0).is_ok());

    // Each kind of call can be made to fail, and then does nothing.
    let before = vfs.fingerprint();
    let trace = vfs.trace_len();
    vfs.fail_at(vfs.calls(), Fault::new(EIO).sticky());
    assert!(vfs.create_dir(p("/d"), 0o700).is_err());
    assert!(vfs.list(p("/")).is_err());
    assert!(vfs.open(p("/log"), Access::Read).is_err());
    assert!(vfs.create(p("/new"), 0o600).is_err());
    assert!(vfs.rename(p("/log"), p("/new")).is_err());
    assert!(vfs.remove(p("/log")).is_err());
    assert!(vfs.sync_dir(p("/")).is_err());
    assert!(vfs.try_lock(p("/LOCK"), 0o600).is_err());
    assert!(vfs.random(&mut buf).is_err());
    assert!(file.len().is_err());
    assert!(file.read_at(&mut buf, 0).is_err());
    assert!(file.write_at(b"y", 0).is_err());
    assert!(file.inode().is_err());
    assert_eq!(vfs.fingerprint(), before);
    assert_eq!(vfs.trace_len(), trace);
}

#[test]
fn a_late_fault_comes_after_the_work() {
    let vfs = MemVfs::new();
    durable_file(&vfs, "/a", 1);
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Late));
    assert!(vfs.rename(p("/a"), p("/b")).is_err());
    assert_eq!(vfs.files(), [p("/b")]);
    let file = vfs.open(p("/b"), Access::ReadWrite).unwrap();
    file.write_at(&[7; SECTOR], 0).unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Late));
    assert!(file.sync_data().is_err());
    vfs.sync_dir(p("/")).unwrap();
    assert_eq!(outcomes(&vfs, "/b"), one(&[7; SECTOR]));
}

#[test]
fn writes_may_be_short_or_fail_half_way_and_reads_may_be_short() {
    let vfs = MemVfs::new();
    let file = vfs.create(p("/log"), 0o600).unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Short(3)));
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
    assert_eq!(vfs.read_file(p("/log")).unwrap(), b"abc");
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Short(2)));
    write_all_at(&*file, b"defg", 3).unwrap();
    assert_eq!(vfs.read_file(p("/log")).unwrap(), b"abcdefg");
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::ErrorAfter(1)));
    let error = file.write_at(b"hij", 7).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EIO));
    assert_eq!(vfs.read_file(p("/log")).unwrap(), b"abcdefgh");
    let arrived = Op::Write { file: file.inode().unwrap(), offset: 7, bytes: Arc::from(b"h".as_slice()) };
    assert_eq!(vfs.trace().last(), Some(&arrived));
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Short(0)));
    assert_eq!(write_all_at(&*file, b"x", 0).unwrap_err().kind(), io::ErrorKind::WriteZero);
    let mut buf = [0; 8];
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Short(5)));
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5);
    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Short(5)));
    assert_eq!(read_full_at(&*file, &mut buf, 0).unwrap(), 8);
    assert_eq!(&buf, b"abcdefgh");
}

#[test]
fn a_full_disk_takes_what_fits_and_still_lets_bytes_be_overwritten() {
    let vfs = MemVfs::new();
    let other = vfs.create(p("/other"), 0o600).unwrap();
    other.write_at(&[1; 6], 0).unwrap();
    vfs.set_capacity(Some(10));
    let file = vfs.create(p("/log"), 0o600).unwrap();
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 4);
    let error = file.write_at(b"ef", 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"ABCDEF", 0).unwrap(), 4);
    assert!(file.write_at(b"x", 9).is_err());
    assert_eq!(file.write_at(b"", 4).unwrap(), 0);
    vfs.remove(p("/other")).unwrap();
    assert_eq!(file.write_at(b"EF", 4).unwrap(), 2);
    vfs.set_capacity(None);
    assert_eq!(file.write_at(&[0; 100], 6).unwrap(), 100);
    let error = file.write_at(b"x", u64::MAX).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::FBIG.raw_os_error()));
}

#[test]
fn damage_is_live_and_durable_at_once_and_not_traced() {
    let vfs = MemVfs::new();
    durable_file(&vfs, "/log", 1);
    let (trace, calls) = (vfs.trace_len(), vfs.calls());
    vfs.flip_bit(p("/log"), 8 * 3 + 2).unwrap();
    let mut bytes = vec![0; SECTOR];
    bytes[3] = 4;
    assert_eq!(vfs.read_file(p("/log")).unwrap(), bytes);
    assert_eq!(outcomes(&vfs, "/log"), one(&bytes));
    vfs.flip_bit(p("/log"), 8 * 3 + 2).unwrap();
    vfs.write_bytes(p("/log"), 0, b"overwritten").unwrap();
    vfs.truncate(p("/log"), 5).unwrap();
    vfs.truncate(p("/log"), 7).unwrap();
    vfs.write_bytes(p("/log"), 8, b"end").unwrap();
    assert_eq!(outcomes(&vfs, "/log"), one(b"overw\0\0\0end"));
    assert!(vfs.flip_bit(p("/log"), 8 * 11).is_err());
    vfs.write_file(p("/some/where/else"), b"x").unwrap();
    vfs.plant_other(p("/link")).unwrap();
    assert_eq!(outcomes(&vfs, "/some/where/else"), one(b"x"));
    assert_eq!(vfs.files(), [p("/log"), p("/some/where/else")]);
    vfs.remove_file(p("/log")).unwrap();
    assert_eq!(outcomes(&vfs, "/log"), BTreeSet::from([None]));
    assert_eq!((vfs.trace_len(), vfs.calls()), (trace, calls));
    let refused = vfs.open(p("/link"), Access::Read).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);

    // Damage in the middle of a trace stays at its moment.
    let file = vfs.create(p("/new"), 0o600).unwrap();
    file.write_at(b"abc", 0).unwrap();
    let before = vfs.trace_len();
    vfs.write_bytes(p("/new"), 0, b"X").unwrap();
    assert_eq!(outcomes(&vfs, "/new"), one(b"Xbc"));
    file.write_at(b"Z", 2).unwrap();
    assert_eq!(outcomes(&vfs, "/new"), BTreeSet::from([Some(b"Xbc".to_vec()), Some(b"XbZ".to_vec())]));
    let pending = vfs.pending(before - 1);
    let none = pending.image(&pending.none_kept()).unwrap();
    assert!(none.read_file(p("/new")).is_err());

    // A file put where another one's removal was undecided leaves nothing undecided about the path.
    file.sync_data().unwrap();
    vfs.remove(p("/new")).unwrap();
    vfs.write_file(p("/new"), b"put").unwrap();
    assert!(vfs.pending(vfs.trace_len()).is_certain());
    assert_eq!(outcomes(&vfs, "/new"), one(b"put"));
}

#[test]
fn a_fork_goes_its_own_way() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 20);
    let fork = vfs.fork();
    let print = vfs.fingerprint();
    assert_eq!(fork.fingerprint(), print);
    file.write_at(&[7], 5000).unwrap();
    assert_eq!(fork.fingerprint(), print);
    assert_ne!(vfs.fingerprint(), print);
    let file = fork.open(p("/log"), Access::ReadWrite).unwrap();
    file.write_at(&[7], 5000).unwrap();
    assert_eq!(vfs.fingerprint(), fork.fingerprint());
    file.write_at(&[0], 5000).unwrap();
    assert_eq!(fork.fingerprint(), print, "the same bytes again");
}

#[test]
fn above_the_limit_the_chosen_states_are_different_possible_and_the_same_each_time() {
    let vfs = MemVfs::new();
    let file = durable_file(&vfs, "/log", 20);
    let grown = vfs.create(p("/grown"), 0o600).unwrap();
    grown.write_at(&[3; 700], 0).unwrap();
    file.write_at(&[7; 20 * SECTOR], 0).unwrap();
    let limits = Limits { samples: 300, ..Limits::default() };
    let run = |limits: &Limits| {
        let mut prints = Vec::new();
        let count = vfs.crash_states(vfs.trace_len(), limits, &mut |after, _| {
            prints.push(after.fingerprint());
        });
        assert_eq!(count as usize, prints.len());
        prints
    };
    let prints = run(&limits);
    assert_eq!(prints, run(&limits));
    let different: BTreeSet<_> = prints.iter().collect();
    assert_eq!(different.len(), prints.len());
    assert!(prints.contains(&vfs.fingerprint()), "all kept");

    // Singles and pairs of the 20 sectors of the log, kept and lost, with the other file missing and there.
    let few = Limits { samples: 0, tear: false, ..limits };
    let chosen = run(&few).len();
    let of_20 = 2 * (1 + 20 + 190);
    let of_22 = 2 * (1 + 22 + 231);
    assert!(chosen >= of_20 + of_22, "{chosen}");
    let other_seed = Limits { seed: 1, ..limits };
    assert_ne!(run(&other_seed), prints);
}

/// All raw choices at one moment, by counting through them.
fn raw_choices(pending: &Pending) -> Vec<Choice> {
    let mut choices = vec![pending.none_kept()];
    let mut widen = |options: u32, set: &dyn Fn(&mut Choice, u32)| {
        choices = choices
            .iter()
            .flat_map(|choice| {
                (0..options).map(|option| {
                    let mut choice = choice.clone();
                    set(&mut choice, option);
                    choice
                })
            })
            .collect();
    };
    for at in 0..pending.names.len() {
        widen(2, &|choice, kept| choice.names[at] = kept == 1);
    }
    for (at, len) in pending.lens.iter().enumerate() {
        let options = len.newer.len() as u32 + 1;
        widen(options, &|choice, version| choice.lens[at] = version);
    }
    for (at, sector) in pending.sectors.iter().enumerate() {
        let options = sector.newer.len() as u32 + 1;
        widen(options, &|choice, version| choice.sectors[at] = version);
    }
    choices
}

/// Does one random operation; each write brings bytes that no other one does.
fn random_operation(vfs: &MemVfs, random: &mut SplitMix, step: u8) {
    let names = ["/a", "/b", "/d/a", "/d/b"];
    let path = p(names[random.below(4) as usize]);
    let other = p(names[random.below(4) as usize]);
    match random.below(12) {
        0 => drop(vfs.create_dir(p("/d"), 0o700)),
        1..=2 => drop(vfs.create(path, 0o600)),
        3 if random.below(2) == 0 => drop(vfs.replace(path, other)),
        3 => drop(vfs.rename(path, other)),
        4 if random.below(2) == 0 => drop(vfs.remove(path)),
        5 => drop(vfs.sync_dir(p(["/", "/d"][random.below(2) as usize]))),
        6 => {
            if let Ok(file) = vfs.open(path, Access::ReadWrite) {
                let failures = [SyncFailure::LiveNewDiskOld, SyncFailure::LiveOldDiskOld, SyncFailure::ReportedLate];
                if random.below(4) == 0 {
                    let failure = failures[random.below(3) as usize];
                    vfs.fail_at(vfs.calls(), Fault::new(EIO).with(Effect::Sync(failure)));
                }
                let _ = file.sync_data();
            }
        }
        _ => {
            if let Ok(file) = vfs.open(path, Access::ReadWrite) {
                let len = 1 + random.below(700) as usize;
                file.write_at(&vec![step + 1; len], random.below(900)).unwrap();
            }
        }
    }
}

/// Tells states apart that look the same but where other files have the names.
fn identity(vfs: &MemVfs) -> (u128, Vec<u64>) {
    let inodes = vfs.files().into_iter().map(|path| {
        let file = vfs.open(&path, Access::Read).unwrap();
        file.inode().unwrap()
    });
    (vfs.fingerprint(), inodes.collect())
}

#[test]
fn no_state_is_left_out_none_is_invented_and_the_views_agree() {
    let mut compared = 0;
    for seed in 0..if cfg!(miri) { 2 } else { 100 } {
        let mut random = SplitMix::new(seed);
        let vfs = MemVfs::with_seed(seed);
        for step in 0..14 {
            random_operation(&vfs, &mut random, step);
        }
        assert_eq!(vfs.kill_at(usize::MAX).fingerprint(), vfs.fingerprint(), "the trace gives the live view");
        assert_eq!(vfs.cuts().count(), vfs.crash_points());
        for pending in vfs.cuts() {
            let asked = vfs.pending(pending.at);
            assert_eq!(asked.names, pending.names);
            assert_eq!(asked.lens, pending.lens);
            assert_eq!(asked.sectors, pending.sectors);
            let raw: f64 = [
                2f64.powi(pending.names.len() as i32),
                pending.lens.iter().map(|len| len.newer.len() as f64 + 1.0).product(),
                pending.sectors.iter().map(|sector| sector.newer.len() as f64 + 1.0).product(),
            ]
            .iter()
            .product();
            if raw > 3000.0 {
                continue;
            }
            compared += 1;
            let expected: BTreeSet<u128> =
                raw_choices(&pending).iter().filter_map(|choice| Some(pending.image(choice)?.fingerprint())).collect();
            let mut found = BTreeSet::new();
            pending.states(&whole(), &mut |after, choice| {
                found.insert(after.fingerprint());
                let same = pending.image(choice).expect("a visited choice is possible");
                assert_eq!(same.fingerprint(), after.fingerprint());
            });
            assert!(found == expected, "seed {seed}");

            let sampled = Limits { exhaustive: 0, samples: 200, ..Limits::default() };
            let tears = Limits { samples: 0, ..sampled };
            let mut different = BTreeSet::new();
            pending.states(&Limits::default(), &mut |after, _| {
                assert!(different.insert(identity(&after)), "seed {seed}");
            });
            different.clear();
            pending.states(&sampled, &mut |after, _| {
                assert!(different.insert(identity(&after)), "seed {seed}");
            });
            let mut whole_states = BTreeSet::new();
            pending.states(&sampled, &mut |after, choice| {
                if choice.torn.is_none() {
                    whole_states.insert(after.fingerprint());
                }
            });
            assert!(whole_states.is_subset(&expected), "seed {seed}");
            pending.states(&tears, &mut |after, choice| {
                if choice.torn.is_some() {
                    assert!(!expected.contains(&after.fingerprint()), "seed {seed}");
                }
            });
        }
    }
    assert!(cfg!(miri) || compared > 400, "{compared}");
}

/// What both file systems must do alike, in an empty directory.
fn contract(vfs: &dyn Vfs, dir: &Path) -> Vec<String> {
    fn note<T>(log: &mut Vec<String>, what: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                log.push(format!("{what}: ok"));
                Some(value)
            }
            Err(error) => {
                let code = error.raw_os_error();
                log.push(format!("{what}: {:?} {code:?}", error.kind()));
                None
            }
        }
    }
    let mut log = Vec::new();
    let at = |name: &str| dir.join(name);
    note(&mut log, "mkdir", vfs.create_dir(&at("d"), 0o700));
    note(&mut log, "mkdir again", vfs.create_dir(&at("d"), 0o700));
    note(&mut log, "mkdir deep", vfs.create_dir(&at("x/y"), 0o700));
    note(&mut log, "open missing", vfs.open(&at("a"), Access::Read));
    note(&mut log, "open deep", vfs.open(&at("x/y"), Access::Read));
    note(&mut log, "open dir", vfs.open(&at("d"), Access::Read));
    note(&mut log, "open dir", vfs.open(&at("d"), Access::ReadWrite));
    let file = note(&mut log, "create", vfs.create(&at("a"), 0o600)).unwrap();
    note(&mut log, "create again", vfs.create(&at("a"), 0o600));
    note(&mut log, "create on dir", vfs.create(&at("d"), 0o600));
    note(&mut log, "mkdir on file", vfs.create_dir(&at("a"), 0o700));
    note(&mut log, "create deep", vfs.create(&at("x/a"), 0o600));
    note(&mut log, "create under file", vfs.create(&at("a/b"), 0o600));
    note(&mut log, "open under file", vfs.open(&at("a/b"), Access::Read));
    note(&mut log, "list file", vfs.list(&at("a")));
    note(&mut log, "list missing", vfs.list(&at("x")));
    note(&mut log, "list nothing", vfs.list(p("")));
    note(&mut log, "sync dir", vfs.sync_dir(dir));
    note(&mut log, "sync file as dir", vfs.sync_dir(&at("a")));
    note(&mut log, "sync missing", vfs.sync_dir(&at("x")));
    note(&mut log, "sync nothing", vfs.sync_dir(p("")));
    note(&mut log, "write", file.write_at(b"hello", 600)).unwrap();
    let mut buf = [1; 700];
    let read = read_full_at(&*file, &mut buf, 0).unwrap();
    log.push(format!("{read} {:?} {:?}", file.len(), buf));
    log.push(format!("{:?}", file.read_at(&mut buf, 605)));
    log.push(format!("{:?}", file.read_at(&mut buf, 10_000)));
    log.push(format!("{:?}", file.is_empty()));
    let reader = note(&mut log, "open", vfs.open(&at("a"), Access::Read)).unwrap();
    note(&mut log, "write to reader", reader.write_at(b"x", 0));
    note(&mut log, "sync reader", reader.sync_data());
    note(&mut log, "create b", vfs.create(&at("b"), 0o600));
    note(&mut log, "rename onto", vfs.rename(&at("a"), &at("b")));
    note(&mut log, "rename itself", vfs.rename(&at("a"), &at("a")));
    note(&mut log, "rename missing", vfs.rename(&at("x"), &at("y")));
    note(&mut log, "rename dir", vfs.rename(&at("d"), &at("e")));
    note(&mut log, "rename deep", vfs.rename(&at("a"), &at("x/a")));
    note(&mut log, "rename", vfs.rename(&at("a"), &at("d/c")));
    log.push(format!("{:?}", file.len()));
    note(&mut log, "remove dir", vfs.remove(&at("d")));
    note(&mut log, "remove missing", vfs.remove(&at("a")));
    note(&mut log, "remove", vfs.remove(&at("d/c")));
    log.push(format!("{:?}", reader.read_at(&mut buf, 600)));
    let lock = note(&mut log, "lock", vfs.try_lock(&at("L"), 0o600)).unwrap();
    log.push(format!("{}", lock.is_some()));
    let second = note(&mut log, "lock again", vfs.try_lock(&at("L"), 0o600)).unwrap();
    log.push(format!("{}", second.is_some()));
    drop(lock);
    let third = note(&mut log, "lock freed", vfs.try_lock(&at("L"), 0o600)).unwrap();
    log.push(format!("{}", third.is_some()));
    note(&mut log, "lock dir", vfs.try_lock(&at("d"), 0o600));
    note(&mut log, "lock deep", vfs.try_lock(&at("x/L"), 0o600));
    let mut entries = note(&mut log, "list", vfs.list(dir)).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    log.push(format!("{entries:?}"));
    log.push(format!("{}", vfs.is_alive(vfs.process())));
    log
}

#[test]
fn the_real_file_system_and_this_one_answer_alike() {
    let dir = tempfile::tempdir().unwrap();
    let real = contract(&RealVfs, dir.path());
    let vfs = MemVfs::new();
    vfs.create_dir(p("/ledger"), 0o700).unwrap();
    let mem = contract(&vfs, p("ledger/../ledger/."));
    for (real, mem) in real.iter().zip(&mem) {
        assert_eq!(real, mem);
    }
    assert_eq!(real.len(), mem.len());
    assert_eq!(vfs.list(p(".")).unwrap().first().map(|entry| entry.kind), Some(Kind::Dir));
}
