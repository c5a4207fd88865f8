//! What a failed sync teaches: the page cache shows to every process what the disk does not have, and a second sync says
//! that all is well. Reproduced on ext4 and XFS; see docs/durability.md.

use taskledger::vfs::fault::{CallKind, Effect, MemVfs, SyncFailure};
use taskledger::vfs::ops::{Access, Vfs as _};
use taskledger::{Error, Seq};

use super::journal::create;
use super::oracle::{Answers, entries_match, told};
use super::script::{DIR, Script, dir, options};

/// The second of two appends is unknown, since its sync failed; both can still be read.
fn after_a_failed_sync() -> Script {
    let mut s = Script::new();
    s.open();
    s.append(create("a"));
    s.fail_next(CallKind::SyncData, Effect::Sync(SyncFailure::LiveNewDiskOld));
    let failed = s.try_batch(&[create("b")]);
    assert!(matches!(failed, Err(Error::Unknown { .. })), "{failed:?}");
    s.kill();
    s
}

/// What is there where the power fails now, and takes all that it can.
fn after_a_power_cut(vfs: &MemVfs) -> MemVfs {
    let now = vfs.pending(vfs.trace_len());
    now.image(&now.none_kept()).expect("keeping nothing is always possible")
}

fn entries(vfs: &MemVfs, s: &Script) -> usize {
    let reader = options(vfs).open_read_only(DIR).unwrap_or_else(|error| panic!("{}", told(&error)));
    let mut want = s.journal.want(usize::MAX);
    want.acked = 1;
    entries_match(&Answers::View(reader.view()), &want).expect("a prefix of what was submitted")
}

#[test]
fn after_a_failed_sync_the_next_sync_of_the_same_bytes_proves_nothing() {
    let s = after_a_failed_sync();
    assert_eq!(entries(&s.vfs, &s), 2, "the page cache shows both");
    let files = s.vfs.files().into_iter();
    let segments: Vec<_> = files.filter(|path| path.starts_with(dir().join("log"))).collect();
    assert!(!segments.is_empty(), "there is nothing to sync");
    for segment in segments {
        let file = s.vfs.open(&segment, Access::ReadWrite).expect("it is there");
        file.sync_data().expect("a second sync says that all is well");
    }
    assert_eq!(entries(&after_a_power_cut(&s.vfs), &s), 1, "and the disk has one");
}

#[test]
fn what_opening_shows_after_a_failed_sync_is_on_the_disk() {
    let s = after_a_failed_sync();
    let ledger = options(&s.vfs).open(DIR).expect("a failed sync is no damage");
    let shown = ledger.head();
    assert_eq!(shown, Seq(2), "what can be read is kept");
    // Not even closed: the power fails right after opening.
    assert_eq!(entries(&after_a_power_cut(&s.vfs), &s), 2, "what was shown went away");
}
