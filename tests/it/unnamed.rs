//! A writer of whom the page `live` does not tell.
//!
//! The story: a ledger was closed in order, so that `live` said that nobody writes. The next writer's first mark could
//! not be written, which was ignored. A reader beside that writer then took the log for one at rest, and showed all that
//! was in it: also what no sync had covered, and what the next power cut took. So a ledger opens for writing only where
//! its first mark is there. A later mark may fail: the one before still names the writer.

use std::sync::Arc;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::{Error, Event, Seq};

use crate::crash::script::{BUFFERED, DIR, EIO, ENOSPC, options};

#[test]
fn what_is_not_durable_is_not_shown_beside_a_writer_whose_mark_could_not_be_written() {
    for (errno, effect) in [(EIO, Effect::Error), (ENOSPC, Effect::Error), (EIO, Effect::ErrorAfter(40))] {
        for earlier in [0, 1, 2] {
            let vfs = MemVfs::new();
            for n in 0..=earlier {
                let ledger = options(&vfs).open(DIR).unwrap();
                ledger.append(format!("task {n}"), Event::created()).unwrap();
                ledger.close().unwrap();
            }
            let durable = Seq(earlier + 1);
            // The mark is the last that an opening writes.
            let sound = vfs.fork();
            let ledger = options(&sound).open(DIR).unwrap();
            let mark = sound.call_kinds().iter().rposition(|kind| *kind == CallKind::Write).unwrap();
            drop(ledger);
            vfs.fail_at(mark, Fault::new(errno).only(CallKind::Write).with(effect));
            match options(&vfs).durability(BUFFERED).open(DIR) {
                Err(Error::Io { path, .. }) => assert!(path.ends_with("live"), "{path:?}"),
                Err(other) => panic!("{other:?}"),
                Ok(ledger) => {
                    ledger.append("not durable", Event::created()).unwrap();
                    let reader = options(&vfs).vfs(Arc::new(vfs.spawn())).open_read_only(DIR).unwrap();
                    assert_eq!(reader.view().seq(), durable, "it sees what no sync covers");
                    panic!("a writer that nobody knows of has opened it");
                }
            }
            let ledger = options(&vfs).durability(BUFFERED).open(DIR).unwrap();
            // Every later mark may fail, also in its middle: each comes after the write of a flight.
            for n in 1..=3 {
                vfs.fail_at(vfs.calls() + 1, Fault::new(errno).only(CallKind::Write).with(effect).sticky());
                ledger.append(format!("not told {n}"), Event::created()).unwrap();
                ledger.sync().unwrap();
                vfs.clear_faults();
                let reader = options(&vfs).vfs(Arc::new(vfs.spawn())).open_read_only(DIR).unwrap();
                assert_eq!((reader.view().seq(), ledger.durable()), (durable, Seq(durable.0 + n)));
            }
        }
    }
}
