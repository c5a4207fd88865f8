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

/// Opens, reads, verifies, writes and opens again, whatever these files are. Nothing may panic, and the answers have to
/// agree: what opens is read to its end, and verifies; what a writer finds there is what a reader finds, and stays; a
/// refusal names damage or a format, and changes nothing.
pub fn judge(files: &Files) {
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
    let before: Vec<Entry> = match ledger.entries(Seq::FIRST).collect() {
        Ok(before) => before,
        // An index stands for a sealed segment when the ledger is opened: who reads the segment finds what is wrong with it.
        Err(Error::Damaged { .. } | Error::Format { .. }) if read_first.is_err() => return,
        Err(other) => panic!("of these files nothing else can be said: {other:?}"),
    };
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
