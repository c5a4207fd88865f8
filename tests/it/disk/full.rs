//! A disk that is really full: appends are refused, nothing is poisoned, and nothing that was acknowledged is lost, also
//! when the power is cut while it is full.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use taskledger::{Error, Event, Ledger, Level, Seq, Verdict};

use super::image::{Image, Kind};
use super::on_a_disk;
use crate::refusals::machine::home_of_child;
use crate::refusals::site::{options, refuses};
use crate::support::say;
use crate::workflows::to_value;

/// So much is left of the disk: room for some segments.
const LEFT: u64 = 512 << 10;

#[test]
fn a_full_ext4_refuses_appends_until_there_is_room() {
    on_a_disk("disk::full::child_on_ext4", Kind::Ext4, Duration::from_secs(60));
}

#[test]
fn a_full_xfs_refuses_appends_until_there_is_room() {
    on_a_disk("disk::full::child_on_xfs", Kind::Xfs, Duration::from_secs(60));
}

#[test]
#[ignore = "the child of another test"]
fn child_on_ext4() {
    fill_and_free(Kind::Ext4);
}

#[test]
#[ignore = "the child of another test"]
fn child_on_xfs() {
    fill_and_free(Kind::Xfs);
}

/// The n-th event; nearly all of a segment is taken by a few of them.
fn event(n: u64) -> Event {
    Event::updated().error(text(n))
}

fn text(n: u64) -> String {
    format!("{n:01500}")
}

/// Appends until there is no room, and says up to which seq it was acknowledged.
fn append_until_full(ledger: &Ledger, dir: &Path) -> u64 {
    let error = loop {
        let next = ledger.head().0 + 1;
        match ledger.append("t", event(next)) {
            Ok(receipt) => assert_eq!((receipt.seq(), ledger.head()), (Seq(next), Seq(next))),
            Err(error) => break error,
        }
    };
    let Error::NoSpace { path, source } = &error else { panic!("{error:?}") };
    assert_eq!((path, source.kind()), (&dir.join("log"), std::io::ErrorKind::StorageFull));
    ledger.head().0
}

/// Demands exactly the entries up to this one.
fn assert_there(dir: &Path, last: u64) {
    let reader = Ledger::open_read_only(dir).expect("it opens");
    assert_eq!(reader.view().seq().0, last, "the head");
    let mut n = 1;
    for entry in reader.view().entries(Seq(2)) {
        n += 1;
        let entry = to_value(&entry.expect("an entry can be read"));
        assert_eq!((&entry["seq"], &entry["error"]), (&json!(n), &json!(text(n))), "seq {n}");
    }
    assert_eq!(n, last, "all up to the head");
    let report = taskledger::verify(dir, Level::Content).expect("it can be verified");
    assert_eq!((report.verdict(), report.checked_to.0), (Verdict::Sound, last), "{:?}", report.findings);
}

fn fill_and_free(kind: Kind) {
    let Some(home) = home_of_child() else { return };
    let image = Image::new(kind, &home);
    let mut disk = image.mount();
    let dir = image.root.join("ledger");
    let ledger = options().open(&dir).expect("it is made");
    ledger.append("t", Event::created()).expect("there is room");
    let ballast = disk.fill_but(LEFT);
    let full = append_until_full(&ledger, &dir);
    assert!(full > 100, "only {full} entries fit {LEFT} bytes");
    for _ in 0..3 {
        let again = refuses(&ledger, &dir, |ledger| ledger.append("t", event(full + 1)));
        assert_eq!(again.code(), "NO_SPACE");
        // Not poisoned: other refusals are told for what they are, and reading goes on.
        assert_eq!(refuses(&ledger, &dir, |ledger| ledger.append("t", Event::created())).code(), "ILLEGAL");
        assert_eq!(ledger.history("t").expect("a history").count() as u64, full);
        assert_there(&dir, full);
    }

    // Room is made: the same handle appends, until it is full again.
    fs::remove_file(ballast).expect("it can be removed");
    for n in full + 1..=full + 40 {
        assert_eq!(ledger.append("t", event(n)).expect("there is room").seq().0, n);
    }
    let ballast = disk.fill_but(LEFT / 2);
    let full_again = append_until_full(&ledger, &dir);
    assert!(full_again > full + 40);

    // The power goes while it is full.
    disk.cut();
    assert!(ledger.close().is_err(), "there is nothing to close any more");
    disk.unmount();
    disk = image.mount();
    assert_there(&dir, full_again);
    match options().open(&dir) {
        // Where no new segment is needed, and `live` is there, recovery needs no room.
        Ok(ledger) => assert_eq!(ledger.head().0, full_again),
        Err(Error::NoSpace { .. }) => {}
        Err(Error::Io { path, .. }) if path.ends_with("live") => {}
        Err(error) => panic!("{error:?}"),
    }
    assert_there(&dir, full_again);
    fs::remove_file(ballast).expect("it can be removed");
    let ledger = options().open(&dir).expect("there is room");
    for n in full_again + 1..=full_again + 40 {
        assert_eq!(ledger.append("t", event(n)).expect("there is room").seq().0, n);
    }
    ledger.close().expect("it closes");
    disk.unmount();
    disk = image.mount();
    assert_there(&dir, full_again + 40);
    disk.unmount();
    say(&format!("disk: {kind:?} was full at seq {full} and {full_again}; all {} entries are there", full_again + 40));
}
