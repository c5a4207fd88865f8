//! Tickets and `Buffered`: who is told what before it is durable, and that nobody does more I/O than was promised.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::vfs::ops::Vfs as _;
use taskledger::{Batch, Durability, Error, Event, Expect, Ledger, Maintenance, Options, Seq, TaskState, Ticket};

use crate::support::Hooked;

const EIO: i32 = 5;

fn manual(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).maintenance(Maintenance::Manual)
}

fn buffered(vfs: &MemVfs) -> Options {
    manual(vfs).durability(Durability::Buffered { sync_every: Duration::from_secs(3600) })
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Counter>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(ticket: &mut Ticket, waker: &Waker) -> Poll<taskledger::Result<taskledger::Receipt>> {
    Pin::new(ticket).poll(&mut Context::from_waker(waker))
}

/// The smallest executor there is.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg_attr(miri, ignore = "real files")]
#[test]
fn one_thread_with_256_tickets_outstanding_gets_every_receipt_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    let mut tickets = std::collections::VecDeque::new();
    let mut next = 1;
    for n in 0..5000 {
        tickets.push_back(ledger.submit(format!("t{n}"), Event::created().meta("n", n.to_string())).unwrap());
        if tickets.len() == 256 {
            assert_eq!(tickets.pop_front().unwrap().wait().unwrap().seq(), Seq(next));
            next += 1;
        }
    }
    for ticket in tickets {
        assert_eq!(block_on(ticket).unwrap().seq(), Seq(next));
        next += 1;
    }
    assert_eq!((ledger.head(), ledger.durable()), (Seq(5000), Seq(5000)));
    assert_eq!(Ledger::open_read_only(dir.path()).unwrap().view().counts().total(), 5000);
}

#[test]
fn a_dropped_ticket_loses_nothing() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    drop(ledger.submit("a", Event::created()).unwrap());
    assert_eq!(ledger.get("a").unwrap(), None, "it is not durable, so it is not shown");
    ledger.maintain().unwrap();
    assert!(ledger.get("a").unwrap().is_some());
    drop(ledger.submit("b", Event::created()).unwrap());
    drop(ledger);
    let ledger = manual(&vfs).open("/l").unwrap();
    assert_eq!(ledger.counts().total(), 2);
}

#[cfg_attr(miri, ignore = "real files")]
#[test]
fn the_ledgers_own_thread_flushes_where_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let ticket = ledger.submit("a", Event::created()).unwrap();
    assert_eq!(block_on(ticket).unwrap().seq(), Seq(1));
    drop(ledger.submit("b", Event::created()).unwrap());
    while ledger.durable() < Seq(2) {
        std::thread::yield_now();
    }
}

#[test]
fn submitting_and_polling_do_no_io() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let key = || Event::created().key("k");
    ledger.append("keyed", key()).unwrap();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let before = vfs.calls();
    let mut first = ledger.submit("a", Event::created()).unwrap();
    let mut again = ledger.submit("keyed", key()).unwrap();
    assert!(poll(&mut first, &waker).is_pending());
    assert!(poll(&mut first, &waker).is_pending());
    let Poll::Ready(Ok(receipt)) = poll(&mut again, &waker) else { panic!("it rests on what is durable") };
    assert!(receipt.replayed());
    assert_eq!((receipt.seq(), receipt.version()), (Seq(1), 1));
    assert_eq!(vfs.calls(), before, "no call reached the file layer");
    assert!(!first.is_durable());
    assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    ledger.maintain().unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), 1, "woken once, however often it was polled");
    assert!(first.is_durable());
    let Poll::Ready(Ok(receipt)) = poll(&mut first, &waker) else { panic!("it was woken") };
    assert_eq!(receipt.seq(), Seq(2));
}

#[test]
fn a_ticket_that_is_dropped_takes_its_waker_along() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let counter = Arc::new(Counter::default());
    let mut ticket = ledger.submit("a", Event::created()).unwrap();
    assert!(poll(&mut ticket, &Waker::from(Arc::clone(&counter))).is_pending());
    drop(ticket);
    assert_eq!(Arc::strong_count(&counter), 1, "no waker is kept for a ticket that is gone");
}

#[test]
fn a_refusal_that_rests_on_what_is_not_durable_waits_for_it() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    drop(ledger.submit("a", Event::created()).unwrap());
    let ticket = ledger.submit("a", Event::created()).unwrap();
    assert!(!ticket.is_durable());
    match ticket.wait() {
        Err(Error::Illegal { subject, .. }) => assert_eq!(subject.task(), Some("a")),
        other => panic!("{other:?}"),
    }
    assert_eq!(ledger.durable(), Seq(1), "the wait has made durable what the refusal rests on");
    let at_once = ledger.submit("a", Event::created());
    assert!(matches!(at_once, Err(Error::Illegal { .. })), "{at_once:?}");
}

#[test]
fn a_key_is_not_answered_from_what_is_not_durable() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let key = || Event::created().key("k");
    drop(ledger.submit("a", key()).unwrap());
    let mut again = ledger.submit("a", key()).unwrap();
    assert!(!again.is_durable());
    let early = poll(&mut again, Waker::noop());
    assert!(early.is_pending(), "a power cut may still take the first one: {early:?}");
    assert!(again.wait().unwrap().replayed());
    let now = vfs.pending(vfs.trace_len());
    let bare = now.image(&now.none_kept()).unwrap();
    assert_eq!(manual(&bare).open("/l").unwrap().head(), Seq(1), "the wait has made durable what the answer rests on");
}

#[test]
fn what_failed_is_unknown_to_every_ticket_and_wakes_it() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let counter = Arc::new(Counter::default());
    let mut polled = ledger.submit("a", Event::created()).unwrap();
    let refused = ledger.submit("a", Event::created()).unwrap();
    let waited = ledger.submit("b", Event::created()).unwrap();
    assert!(poll(&mut polled, &Waker::from(Arc::clone(&counter))).is_pending());
    vfs.fail_at(vfs.calls(), Fault::new(EIO).only(CallKind::SyncData).with(Effect::Error));
    match waited.wait() {
        Err(Error::Unknown { first, last, .. }) => assert_eq!((first, last), (Seq(2), Seq(2))),
        other => panic!("{other:?}"),
    }
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(&mut polled, Waker::noop()), Poll::Ready(Err(Error::Unknown { .. }))));
    assert!(matches!(refused.wait(), Err(Error::Unknown { .. })), "the refusal rested on what may be gone");
    assert!(matches!(ledger.submit("c", Event::created()), Err(Error::Poisoned { .. })));
    assert!(matches!(ledger.sync(), Err(Error::Unknown { .. })));
    assert_eq!((ledger.head(), ledger.durable()), (Seq(0), Seq(0)));
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Bomb>) {
            // Without the hook's message on the terminal.
            std::panic::resume_unwind(Box::new("a bomb"));
        }
    }
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let counter = Arc::new(Counter::default());
    let mut bomb = ledger.submit("a", Event::created()).unwrap();
    let mut other = ledger.submit("b", Event::created()).unwrap();
    assert!(poll(&mut bomb, &Waker::from(Arc::new(Bomb))).is_pending());
    assert!(poll(&mut other, &Waker::from(Arc::clone(&counter))).is_pending());
    ledger.append("c", Event::created()).unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert_eq!(other.wait().unwrap().seq(), Seq(2));
}

#[test]
fn a_ticket_outlives_the_handles_and_holds_no_lock() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open("/l").unwrap();
    let ticket = ledger.submit("a", Event::created()).unwrap();
    drop(ledger);
    let again = manual(&vfs).open("/l").unwrap();
    assert!(again.get("a").unwrap().is_some());
    assert_eq!(ticket.wait().unwrap().seq(), Seq(1));
}

#[test]
fn many_submits_roll_the_log_and_a_full_disk_refuses_only_what_does_not_fit() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).maintenance(Maintenance::Thread).open("/l").unwrap();
    let big = || Event::created().error("x".repeat(3000));
    for n in 0..20 {
        drop(ledger.submit(format!("t{n}"), big()).unwrap());
    }
    vfs.set_capacity(Some(0));
    let mut taken = 20;
    let error = loop {
        match ledger.submit(format!("t{taken}"), big()) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 100, "a disk without room takes no more");
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    vfs.set_capacity(None);
    ledger.submit("last", big()).unwrap().wait().unwrap();
    ledger.sync().unwrap();
    assert_eq!(ledger.counts().total(), taken + 1);
}

/// Syncs of files wait until the door is open.
#[derive(Debug, Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn set(&self, open: bool) {
        *self.0.0.lock().unwrap() = open;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// Opens the door when it goes, so that a test that fails ends instead of waiting for ever.
struct OpenAtLast<'a>(&'a Door);

impl Drop for OpenAtLast<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[cfg_attr(miri, ignore = "36 MiB of events")]
#[test]
fn submits_wait_while_8_mib_are_unflushed() {
    let door = Door::default();
    door.set(true);
    let held = door.clone();
    let vfs = Hooked::before_sync(MemVfs::new(), move || held.pass());
    let ledger = Options::new().vfs(vfs).segment_size(64 << 20).open("/l").unwrap();
    // A large segment that is full, and a larger one behind it, so that nobody waits for a roll below.
    let mut batch = Batch::new();
    for n in 0..600 {
        batch.push(format!("first{n}"), Event::created().error("x".repeat(60_000)), Expect::Any);
    }
    ledger.commit(batch).unwrap();
    for n in 0..40 {
        ledger.append(format!("behind{n}"), Event::created().error("x".repeat(60_000))).unwrap();
    }
    let base = ledger.head().0;
    door.set(false);
    let placed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _door = OpenAtLast(&door);
        scope.spawn(|| {
            for n in 0..300 {
                drop(ledger.submit(format!("t{n}"), Event::created().error("x".repeat(60_000))).unwrap());
                placed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let floor = (8 << 20) / 62_000;
        while placed.load(Ordering::SeqCst) < floor {
            std::thread::yield_now();
        }
        // It may take one more, and then nothing moves until a sync returns.
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        let stopped = placed.load(Ordering::SeqCst);
        assert!((floor..=(8 << 20) / 60_000 + 1).contains(&stopped), "{stopped} were placed");
        assert_eq!(ledger.head(), Seq(base), "none of it is durable");
    });
    assert_eq!(placed.load(Ordering::SeqCst), 300);
    assert_eq!(ledger.sync().unwrap(), Seq(base + 300));
}

#[test]
fn a_buffered_append_survives_the_process_and_a_synced_one_the_power() {
    let vfs = MemVfs::new();
    let ledger = buffered(&vfs).open("/l").unwrap();
    ledger.append("a", Event::created()).unwrap();
    assert_eq!(ledger.sync().unwrap(), Seq(1));
    ledger.append("b", Event::created()).unwrap();
    assert!(ledger.get("b").unwrap().is_some(), "reads of this process show what is written");
    assert_eq!((ledger.head(), ledger.durable()), (Seq(2), Seq(1)));
    let ticket = ledger.submit("c", Event::created()).unwrap();
    assert!(!ticket.is_durable());
    ticket.wait().unwrap();
    assert_eq!((ledger.head(), ledger.durable()), (Seq(3), Seq(1)), "a ticket waits for the write only");

    let beside = vfs.with_process(vfs.process());
    assert_eq!(manual(&beside).open_read_only("/l").unwrap().view().seq(), Seq(1), "others see what is durable");
    let now = vfs.pending(vfs.trace_len());
    let bare = now.image(&now.none_kept()).unwrap();
    assert_eq!(manual(&bare).open("/l").unwrap().head(), Seq(1), "a power cut takes what was not synced");
    let killed = vfs.kill();
    drop(ledger);
    let ledger = manual(&killed).open("/l").unwrap();
    assert_eq!(ledger.head(), Seq(3), "a crash of the process takes nothing");
    assert_eq!(ledger.get("c").unwrap().unwrap().record.state, TaskState::Pending);
}

#[cfg_attr(miri, ignore = "real files")]
#[test]
fn buffered_appends_do_not_sync_until_the_interval_has_passed() {
    let vfs = MemVfs::new();
    let ledger = buffered(&vfs).open("/l").unwrap();
    let syncs = || vfs.call_kinds().into_iter().filter(|&kind| kind == CallKind::SyncData).count();
    let before = syncs();
    for n in 0..20 {
        ledger.append(format!("t{n}"), Event::created()).unwrap();
    }
    assert_eq!(syncs(), before);
    ledger.maintain().unwrap();
    assert_eq!(ledger.durable(), Seq(20));

    let dir = tempfile::tempdir().unwrap();
    let durability = Durability::Buffered { sync_every: Duration::from_millis(5) };
    let ledger = Options::new().durability(durability).open(dir.path()).unwrap();
    ledger.append("a", Event::created()).unwrap();
    // The ledger's own thread does it: this ends, or the test never does.
    while ledger.durable() < Seq(1) {
        std::thread::yield_now();
    }
}

#[test]
fn a_failed_sync_of_buffered_appends_poisons_and_says_so() {
    let vfs = MemVfs::new();
    let ledger = buffered(&vfs).open("/l").unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.append("b", Event::created()).unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(EIO).only(CallKind::SyncData).with(Effect::Error));
    match ledger.sync() {
        Err(Error::Unknown { first, last, .. }) => assert_eq!((first, last), (Seq(1), Seq(2))),
        other => panic!("{other:?}"),
    }
    assert!(matches!(ledger.append("c", Event::created()), Err(Error::Poisoned { .. })));
    assert_eq!(ledger.durable(), Seq(0));
    assert!(matches!(ledger.close(), Err(Error::Poisoned { .. })));
}

#[test]
fn closing_makes_buffered_appends_durable() {
    let vfs = MemVfs::new();
    let ledger = buffered(&vfs).open("/l").unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.close().unwrap();
    let now = vfs.pending(vfs.trace_len());
    let bare = now.image(&now.none_kept()).unwrap();
    let reader = manual(&bare).open_read_only("/l").unwrap();
    assert_eq!(reader.view().seq(), Seq(1));
    assert!(reader.report().clean, "{:?}", reader.report());
}
