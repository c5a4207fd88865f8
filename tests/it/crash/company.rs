//! Several threads that append at once. Every sync of a segment takes a while, so that others join the next flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskledger::Error;
use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::vfs::ops::Vfs as _;

use super::journal::{Fact, Journal};
use super::script::{DIR, EIO, batch_of, options};
use crate::support::{Hooked, Moment};

/// How long a sync takes.
const PAUSE: Duration = Duration::from_millis(3);

struct Done {
    last: u64,
    facts: Vec<Fact>,
    submitted_at: usize,
    /// `None` where the answer was that it is unknown.
    acked_at: Option<usize>,
}

/// Each thread appends its batches one after the other; then the ledger is closed. The batches of different threads
/// must name different tasks. Which flight a batch takes differs from run to run; the journal is right for each.
pub fn together(vfs: &MemVfs, journal: &mut Journal, threads: Vec<Vec<Vec<Fact>>>) {
    let unknown = appended(vfs, journal, threads, None);
    assert_eq!(unknown, 0, "nothing fails here");
}

/// The same, but one of the syncs fails in this way: the first is number 0. How many batches are unknown since then.
pub fn together_until(
    vfs: &MemVfs,
    journal: &mut Journal,
    threads: Vec<Vec<Vec<Fact>>>,
    sync: usize,
    effect: Effect,
) -> usize {
    appended(vfs, journal, threads, Some((sync, effect)))
}

fn appended(
    vfs: &MemVfs,
    journal: &mut Journal,
    threads: Vec<Vec<Vec<Fact>>>,
    failing: Option<(usize, Effect)>,
) -> usize {
    let (disk, syncs) = (vfs.clone(), AtomicUsize::new(0));
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let slow = Hooked::new(vfs.clone(), move |moment| {
        if moment != Moment::BeforeSync {
            return;
        }
        std::thread::sleep(PAUSE);
        if let Some((number, effect)) = failing
            && is_armed.load(Ordering::SeqCst)
            && syncs.fetch_add(1, Ordering::SeqCst) == number
        {
            disk.fail_at(disk.calls(), Fault::new(EIO).only(CallKind::SyncData).with(effect));
        }
    });
    let ledger = options(vfs).vfs(slow).open(DIR).expect("it opens");
    armed.store(true, Ordering::SeqCst);
    journal.opened(ledger.report().last.0 as usize, vfs.trace_len());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for batches in threads {
            let (ledger, done) = (&ledger, &done);
            scope.spawn(move || {
                for facts in batches {
                    let submitted_at = vfs.trace_len();
                    let (last, acked) = match ledger.commit(batch_of(&facts)) {
                        Ok(receipt) => (receipt.seq(), true),
                        Err(Error::Unknown { last, .. }) => (last, false),
                        // It came after the failure, and took no place.
                        Err(Error::Poisoned { .. }) => return,
                        Err(other) => panic!("{other:?}"),
                    };
                    let acked_at = acked.then(|| vfs.trace_len());
                    done.lock().expect("no thread panics").push(Done { last: last.0, facts, submitted_at, acked_at });
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics");
    done.sort_by_key(|done| done.last);
    let now = vfs.now_ms();
    for n in 0..done.len() {
        // What has an earlier seq was placed before what has a later one.
        let submitted_at = done[n..].iter().map(|done| done.submitted_at).min().expect("one at least");
        let ticket = journal.submit(&done[n].facts, now, submitted_at);
        if let Some(acked_at) = done[n].acked_at {
            journal.acknowledge(ticket, acked_at);
        }
    }
    let unknown = done.iter().filter(|done| done.acked_at.is_none()).count();
    match ledger.close() {
        Ok(()) if unknown == 0 => {}
        Err(Error::Poisoned { .. }) if failing.is_some() => {}
        other => panic!("closing says {other:?}, and {unknown} batches are unknown"),
    }
    unknown
}
