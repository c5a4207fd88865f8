//! Group commit in front of any peer, as a careful user can write it: one thread takes whatever waits and appends it as one
//! batch. It is shown beside the peer itself where many threads append.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::work::events::{Counts, Payload};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

/// Most events of a batch.
const MOST: usize = 4096;

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

/// An event, and what is told once it is durable; nothing is told where the thread has failed, which closes the channel.
type Ask = (Payload, SyncSender<()>);

struct Group {
    asks: Mutex<Sender<Ask>>,
    store: Arc<dyn Store>,
    thread: JoinHandle<Outcome<()>>,
}

/// Until nobody is left who could ask, or an append fails.
fn serve(store: &dyn Store, asked: &Receiver<Ask>) -> Outcome<()> {
    while let Ok(first) = asked.recv() {
        let mut asks = vec![first];
        asks.extend(asked.try_iter().take(MOST - 1));
        let events: Vec<Payload> = asks.iter().map(|(event, _)| *event).collect();
        store.append_all(&events)?;
        for (_, answer) in asks {
            answer.send(())?;
        }
    }
    Ok(())
}

impl Store for Group {
    fn append(&self, event: &Payload) -> Outcome<()> {
        let (answer, answered) = sync_channel(1);
        let failed = || "the thread that appends has failed";
        self.asks.lock().expect("nobody panics with it").send((*event, answer)).map_err(|_| failed())?;
        answered.recv().map_err(|_| failed().into())
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
