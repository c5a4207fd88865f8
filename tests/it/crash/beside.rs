//! Scripts in which something happens in the middle of a flight or of a sync, as another thread would do it.

use std::sync::{Arc, Mutex};

use taskledger::vfs::fault::{CallKind, Effect, Fault, SyncFailure};
use taskledger::{Durability, Error, Ledger};

use super::journal::create;
use super::script::{BUFFERED, EIO, Script, batch_of, count_on, demand, options};
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
