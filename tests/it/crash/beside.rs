//! Scripts in which something happens in the middle of a flight or of a sync, as another thread or process would do it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, SyncFailure};
use taskledger::{Durability, Error, Follow, Followed, Ledger, Seq};

use super::journal::{create, note};
use super::script::{BUFFERED, DIR, EIO, Script, batch_of, count_on, demand, options};
use crate::support::{Hooked, Moment};

type Act = Box<dyn FnOnce() + Send>;

/// What is to be done at the next moment of a kind.
struct Next(Arc<Mutex<Option<Act>>>);

impl Next {
    /// Opens through a file layer that does once, at such a moment, what it is told.
    fn open(s: &mut Script, durability: Durability, at: Moment) -> Next {
        let next = Next(Arc::default());
        let inside = Next(Arc::clone(&next.0));
        let hooked = Hooked::new(s.vfs.clone(), move |moment| {
            if moment == at
                && let Some(act) = inside.swap(None)
            {
                act();
            }
        });
        s.open_with(options(&s.vfs).vfs(hooked).durability(durability));
        next
    }

    fn swap(&self, act: Option<Act>) -> Option<Act> {
        std::mem::replace(&mut self.0.lock().expect("nothing is done under this lock"), act)
    }

    fn does(&self, s: &Script, act: impl FnOnce(&Ledger) + Send + 'static) {
        let ledger = s.ledger().clone();
        self.swap(Some(Box::new(move || act(&ledger))));
    }
}

/// A batch is placed while another is on its way, and flies next.
pub fn placed_beside_a_flight(s: &mut Script) {
    let next = Next::open(s, Durability::Sync, Moment::BeforeSync);
    s.vfs.advance_ms(1);
    s.announce(&[create("a")]);
    s.announce(&[create("b")]);
    next.does(s, |ledger| drop(count_on(ledger.submit_batch(batch_of(&[create("b")])), "placing")));
    count_on(s.ledger().commit(batch_of(&[create("a")])), "appending");
    s.learn();
    s.sync();
}

/// A batch is written after a sync of what is buffered has returned, and before anybody is told.
pub fn written_beside_a_sync(s: &mut Script) {
    let next = Next::open(s, BUFFERED, Moment::AfterSync);
    s.write(&[create("a")]);
    s.announce(&[create("b")]);
    next.does(s, |ledger| drop(count_on(ledger.commit(batch_of(&[create("b")])), "writing")));
    count_on(s.ledger().sync(), "syncing");
    s.learn();
    s.write(&[create("c")]);
    s.sync();
}

/// A batch is on its way while the sync of what was buffered before fails, and takes both with it.
pub fn written_beside_a_sync_that_fails(s: &mut Script) {
    let next = Next::open(s, BUFFERED, Moment::AfterWrite);
    s.write(&[create("a")]);
    s.announce(&[create("b")]);
    let vfs = s.vfs.clone();
    next.does(s, move |ledger| {
        let lost = Effect::Sync(SyncFailure::LiveOldDiskOld);
        vfs.fail_at(vfs.calls(), Fault::new(EIO).only(CallKind::SyncData).with(lost));
        count_on(ledger.maintain(), "there is nothing to do but the sync");
    });
    let written = s.ledger().commit(batch_of(&[create("b")]));
    demand(matches!(written, Err(Error::Unknown { .. })), written);
    s.drop_ledger();
    s.open();
    s.append(create("c"));
}

/// Two followers, one of another process, are asked at each moment of each flight and sync: what they are given must not go
/// away from that moment on.
pub fn followed(s: &mut Script, durability: Durability) {
    let follows: Arc<Mutex<Vec<Follow>>> = Arc::default();
    let given: Arc<Mutex<Vec<(Seq, usize)>>> = Arc::default();
    let (vfs, asked, told) = (s.vfs.clone(), Arc::clone(&follows), Arc::clone(&given));
    let ask = Arc::new(move || {
        for follow in asked.lock().expect("nothing panics under this lock").iter_mut() {
            // Where it fails they are given too little, which is noticed in the end.
            while let Ok(Followed::Entry(entry)) = follow.next_within(Duration::ZERO) {
                told.lock().expect("nothing panics under this lock").push((entry.seq, vfs.trace_len()));
            }
        }
    });
    let ask_then = Arc::clone(&ask);
    let hooked = Hooked::new(s.vfs.clone(), move |_| ask_then());
    s.open_with(options(&s.vfs).vfs(hooked).durability(durability));
    let beside = count_on(options(&s.vfs.spawn()).open_read_only(DIR), "opening for reading");
    let both = [count_on(s.ledger().follow(Seq::FIRST), "following"), count_on(beside.follow(Seq::FIRST), "following")];
    follows.lock().expect("nothing panics under this lock").extend(both);
    for facts in [&[create("a"), create("b")][..], &[note("a", "x")]] {
        s.vfs.advance_ms(1);
        s.announce(facts);
        count_on(s.ledger().commit(batch_of(facts)), "appending");
    }
    count_on(s.ledger().sync(), "syncing");
    // The writer's own is told after the last call, the other one before that returns.
    ask();
    demand(given.lock().is_ok_and(|given| given.len() == 6), "each was given all three on the way");
    for (seq, trace_len) in given.lock().expect("nothing panics under this lock").iter() {
        s.shown(*seq, *trace_len);
    }
    s.learn();
    // They share the ledger's memory, and the ledger the hook that has them.
    follows.lock().expect("nothing panics under this lock").clear();
}
