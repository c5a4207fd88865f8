//! What the fuzz targets share: the golden ledger to start from, and what must hold of any files whatever.

#[path = "../../tests/it/format/bytes.rs"]
pub mod bytes;
#[path = "../../tests/it/format/listing.rs"]
pub mod listing;

use std::path::Path;
use std::sync::LazyLock;

use taskledger::{Entry, Error, Event, Finding, Seq, Severity, Verdict};

use crate::bytes::{DIR, Files, in_memory, options, read};

static GOLDEN: LazyLock<Files> =
    LazyLock::new(|| listing::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/format/golden")));

/// The golden ledger.
pub fn golden() -> Files {
    GOLDEN.clone()
}

/// Judges files with the indexes and snapshots among them, and without.
pub fn judge(files: &Files) {
    let is_table = |name: &str| name.starts_with("idx/") || name.starts_with("snap/");
    let bare: Files = files.iter().filter(|(name, _)| !is_table(name)).map(|(n, b)| (n.clone(), b.clone())).collect();
    judge_log(&bare);
    if bare.len() < files.len() {
        judge_beside_tables(files, read(options(&in_memory(&bare)), Path::new(DIR)).ok());
    }
}

/// Of files with indexes or snapshots, of which the log alone comes to these entries, if it can be read: an index stands for
/// its segment, and for the order of the frames in it, so that not each damage is met. What is sound is read all the same, what is
/// read is what the log says, a writer finds what a reader finds, and what was there stays.
fn judge_beside_tables(files: &Files, alone: Option<Vec<Entry>>) {
    let vfs = in_memory(files);
    let read_first = read(options(&vfs), Path::new(DIR));
    match options(&vfs).verify(DIR, taskledger::Level::Derived, &mut |_| ()) {
        Ok(report) if report.verdict() != Verdict::Damaged => assert!(read_first.is_ok(), "{read_first:?}"),
        Ok(_) | Err(Error::Damaged { .. } | Error::NoLedger { .. } | Error::Format { .. }) => {}
        Err(other) => panic!("of these files nothing else can be said: {other:?}"),
    }
    let first = match read_first {
        Ok(entries) => Some(entries),
        Err(Error::Damaged { .. } | Error::NoLedger { .. } | Error::Format { .. }) => None,
        Err(other) => panic!("of these files nothing else can be said: {other:?}"),
    };
    if let (Some(first), Some(alone)) = (&first, &alone) {
        assert_eq!(first, alone, "tables change no answer");
    }
    let Ok(ledger) = options(&vfs).open(DIR) else { return };
    let Ok(before) = ledger.entries(Seq::FIRST).collect::<Result<Vec<_>, _>>() else { return };
    if let Some(first) = first {
        assert_eq!(first, before, "a writer finds what a reader finds");
    }
    let added = usize::from(ledger.append("fuzz", Event::observed(taskledger::TaskState::Running)).is_ok());
    ledger.close().expect("the file system has room");
    let after = read(options(&vfs), Path::new(DIR)).expect("what a writer left in order opens");
    assert_eq!((after.len(), &after[..before.len()]), (before.len() + added, &before[..]), "what was there stays");
}

/// Of a log alone: opens, reads, verifies, writes and opens again, whatever these files are. Nothing may panic, and the answers have to
/// agree: what opens is read to its end, and verifies; what a writer finds there is what a reader finds, and stays; a
/// refusal names damage or a format, and changes nothing.
fn judge_log(files: &Files) {
    let vfs = in_memory(files);
    let read_first = read(options(&vfs), Path::new(DIR));
    let verified = options(&vfs).verify(DIR, taskledger::Level::Content, &mut |_| ());
    match &read_first {
        Ok(entries) => {
            assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == Seq(seq)), "seqs are dense");
            let report = verified.expect("what opens can be verified");
            // Opening does not ask whether a move is legal: that is what this level of `verify` is for.
            let unlawful = |finding: &&Finding| ["ILLEGAL", "LIMIT"].contains(&finding.code);
            let damage = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
            let more: Vec<_> = damage.filter(|finding| !unlawful(finding)).collect();
            assert!(more.is_empty(), "it opens for reading: {more:?}");
        }
        Err(Error::Damaged { .. } | Error::NoLedger { .. }) => {
            if let Ok(report) = verified {
                assert_eq!(report.verdict(), Verdict::Damaged, "{read_first:?}");
            }
        }
        Err(Error::Format { .. }) => {}
        Err(other) => panic!("of these files nothing else can be said: {other:?}"),
    }
    for (name, bytes) in files {
        assert!(
            vfs.read_file(&Path::new(DIR).join(name)).is_ok_and(|now| now == *bytes),
            "readers write nothing: {name}"
        );
    }

    let ledger = match options(&vfs).open(DIR) {
        Ok(ledger) => ledger,
        Err(Error::Damaged { .. } | Error::Format { .. }) => return,
        // `log/` without LEDGER is no ledger, and one cannot be made beside what is there.
        Err(Error::NoLedger { .. } | Error::Io { .. }) if read_first.is_err() => return,
        Err(other) => panic!("of these files nothing else can be said: {other:?}"),
    };
    let before: Vec<Entry> = ledger.entries(Seq::FIRST).collect::<Result<_, _>>().expect("a writer has read it all");
    if let Ok(entries) = &read_first {
        assert_eq!(entries, &before, "a writer finds what a reader finds");
    }
    // At the end of all seqs there is no next one.
    let appended = ledger.append("fuzz", Event::observed(taskledger::TaskState::Running));
    let added = usize::from(appended.is_ok());
    ledger.close().expect("the file system has room");
    let after = read(options(&vfs), Path::new(DIR)).expect("what a writer left in order opens");
    assert_eq!(after.len(), before.len() + added);
    assert_eq!(after[..before.len()], before[..], "what was there stays");
}
