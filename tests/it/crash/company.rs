//! Several threads that append at once. Every sync of a segment takes a while, so that others join the next flight.

use std::sync::Mutex;
use std::time::Duration;

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::Vfs as _;

use super::journal::{Fact, Journal};
use super::script::{DIR, batch_of, options};
use crate::support::BeforeSync;

/// How long a sync takes.
const PAUSE: Duration = Duration::from_millis(3);

struct Done {
    last: u64,
    facts: Vec<Fact>,
    submitted_at: usize,
    acked_at: usize,
}

/// Each thread appends its batches one after the other; then the ledger is closed. The batches of different threads
/// must name different tasks. Which flight a batch takes differs from run to run; the journal is right for each.
pub fn together(vfs: &MemVfs, journal: &mut Journal, threads: Vec<Vec<Vec<Fact>>>) {
    let slow = BeforeSync::new(vfs.clone(), || std::thread::sleep(PAUSE));
    let ledger = options(vfs).vfs(slow).open(DIR).expect("it opens");
    journal.opened(ledger.report().last.0 as usize, vfs.trace_len());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for batches in threads {
            let (ledger, done) = (&ledger, &done);
            scope.spawn(move || {
                for facts in batches {
                    let submitted_at = vfs.trace_len();
                    let receipt = ledger.commit(batch_of(&facts)).expect("nothing fails here");
                    let acked_at = vfs.trace_len();
                    let last = receipt.seq().0;
                    done.lock().expect("no thread panics").push(Done { last, facts, submitted_at, acked_at });
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
        journal.acknowledge(ticket, done[n].acked_at);
    }
    ledger.close().expect("it closes");
}
