//! Snapshots on request, beside appends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use taskledger::vfs::fault::MemVfs;
use taskledger::{Event, Ledger, Maintenance, Options, Seq};

use crate::support::Hooked;

/// A request never ended while appends went on: a snapshot took longer than the appends took to seal another segment, which was
/// then due for a snapshot, too. With ten million tasks and one thread that appended, one followed another, each of 1.6 GB.
#[test]
fn a_request_ends_although_segments_are_sealed_meanwhile() {
    const ROUNDS_MAX: usize = 50;
    static LEDGER: OnceLock<Ledger> = OnceLock::new();
    static ROUNDS: AtomicUsize = AtomicUsize::new(0);
    static BUSY: AtomicBool = AtomicBool::new(true);
    let seal_one = || {
        let ledger = LEDGER.get().expect("it is open");
        for _ in 0..2 {
            ledger.append("a", Event::observed(taskledger::TaskState::Ready).error("e".repeat(9000))).unwrap();
        }
    };
    let vfs = Hooked::before_sync(MemVfs::new(), move || {
        if !BUSY.swap(true, Ordering::SeqCst) {
            if ROUNDS.fetch_add(1, Ordering::SeqCst) < ROUNDS_MAX {
                seal_one();
            }
            BUSY.store(false, Ordering::SeqCst);
        }
    });
    let options = Options::new().vfs(Arc::clone(&vfs) as _).segment_size(16 << 10).maintenance(Maintenance::Manual);
    let ledger = LEDGER.get_or_init(|| options.open("/ledger").unwrap());
    (0..3).for_each(|_| seal_one());
    let asked = ledger.head();
    BUSY.store(false, Ordering::SeqCst);
    let covered = ledger.snapshot().unwrap();
    BUSY.store(true, Ordering::SeqCst);
    let rounds = ROUNDS.load(Ordering::SeqCst);
    assert!(rounds > 0 && rounds < ROUNDS_MAX, "{rounds} times something was sealed meanwhile");
    assert!(covered >= Seq(asked.0 - 2) && covered < ledger.head(), "{covered} of {asked} is covered");
}
