//! Group commit in front of any peer, as a careful user can write it: one thread takes whatever waits and appends it as one
//! batch. It is shown beside the peer itself where many threads append.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};

use crate::work::events::{Counts, Payload};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

/// Most events of a batch.
const MOST: usize = 4096;

const WAITING: u8 = 0;
const DONE: u8 = 1;

pub struct Grouped<P> {
    name: &'static str,
    peer: P,
}

impl<P> Grouped<P> {
    pub fn new(name: &'static str, peer: P) -> Grouped<P> {
        Grouped { name, peer }
    }
}

impl<P: Peer> Peer for Grouped<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "the same behind one thread that appends whatever waits as one batch"
    }

    fn takes_part(&self, workload: &str) -> bool {
        workload == "W2"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let Some(store) = self.peer.open(dir, mode, extent)? else { return Ok(None) };
        let store: Arc<dyn Store> = Arc::from(store);
        let (asks, asked) = channel();
        let of_thread = Arc::clone(&store);
        let thread = std::thread::spawn(move || serve(of_thread.as_ref(), &asked));
        Ok(Some(Box::new(Group { asks: Mutex::new(asks), store, thread })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &[]
    }

    fn check(&self, dir: &Path, which: usize, extent: Extent) -> Outcome<Checked> {
        self.peer.check(dir, which, extent)
    }
}

struct Ask {
    event: Payload,
    asker: Thread,
    answer: AtomicU8,
}

struct Group {
    asks: Mutex<Sender<Arc<Ask>>>,
    store: Arc<dyn Store>,
    thread: JoinHandle<Outcome<()>>,
}

/// Until nobody is left who could ask. After a failure nobody is answered any more.
fn serve(store: &dyn Store, asked: &Receiver<Arc<Ask>>) -> Outcome<()> {
    while let Ok(first) = asked.recv() {
        let mut asks = vec![first];
        asks.extend(asked.try_iter().take(MOST - 1));
        let events: Vec<Payload> = asks.iter().map(|ask| ask.event).collect();
        store.append_all(&events)?;
        for ask in asks {
            ask.answer.store(DONE, Ordering::Release);
            ask.asker.unpark();
        }
    }
    Ok(())
}

impl Store for Group {
    fn append(&self, event: &Payload) -> Outcome<()> {
        let answer = AtomicU8::new(WAITING);
        let ask = Arc::new(Ask { event: *event, asker: std::thread::current(), answer });
        self.asks.lock().expect("nobody panics with it").send(Arc::clone(&ask))?;
        while ask.answer.load(Ordering::Acquire) == WAITING {
            if self.thread.is_finished() {
                return Err("the thread that appends has failed".into());
            }
            std::thread::park();
        }
        Ok(())
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        self.store.append_all(events)
    }

    fn sync(&self) -> Outcome<()> {
        self.store.sync()
    }

    fn counts(&self) -> Outcome<Counts> {
        self.store.counts()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        let Group { asks, thread, .. } = *self;
        drop(asks);
        thread.join().map_err(|_| "the thread that appends has panicked")?
    }
}
