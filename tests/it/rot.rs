//! Rot of a ledger: each outcome is the truth, or the truth without an end that nothing undamaged vouches for, or a refusal
//! that says where.

pub mod judge;

use taskledger::vfs::fault::SECTOR;

use crate::crash::journal::{create, large};
use crate::crash::script::Script;
use judge::{Depth, Truth};

/// A frame does not say where it stands. Where the sector with the first frames was written to a place behind all others,
/// the walk went on there, and called the frames between a gap that hides no entry; what they said was durable was not
/// heard, so that the log ended early in silence.
#[test]
fn a_write_that_went_elsewhere_is_noticed() {
    let mut s = Script::new();
    s.open();
    s.append(create("a"));
    for _ in 0..4 {
        s.append(large("a", 700));
    }
    s.maintain();
    let pending = s.vfs.pending(s.vfs.trace_len());
    let golden = pending.image(&pending.none_kept()).expect("keeping nothing is always possible");
    let truth = Truth::of(&s.journal.want(usize::MAX));
    let path = golden.files().into_iter().find(|path| path.extension().is_some()).expect("a segment");
    let bytes = golden.read_file(&path).expect("it is there");
    let sector = |n: usize| &bytes[n * SECTOR..][..SECTOR];
    for from in (8..28).filter(|n| sector(*n).iter().any(|byte| *byte != 0)) {
        for to in (from + 1..31).filter(|n| sector(*n).iter().all(|byte| *byte == 0)) {
            let image = golden.fork();
            image.write_bytes(&path, (to * SECTOR) as u64, sector(from)).expect("it is there");
            image.write_bytes(&path, (from * SECTOR) as u64, &[0; SECTOR]).expect("it is there");
            let shown = truth.shown_by(&image, Depth::All);
            assert_eq!(shown, Ok(None), "sector {from} went to {to}");
        }
    }
}
