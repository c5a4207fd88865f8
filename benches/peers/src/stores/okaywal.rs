//! OkayWAL: a log and nothing else. It is read when it is opened, and what became of each task is folded then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use okaywal::{Configuration, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog};

use crate::work::events::{Counts, Payload};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

pub struct OkayWal;

/// What is folded while a log is recovered.
#[derive(Debug)]
struct Fold {
    states: Vec<u8>,
    events: u64,
    until: u64,
}

#[derive(Debug)]
struct Manager(Arc<Mutex<Fold>>);

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        let mut events = Vec::new();
        loop {
            match entry.read_chunk()? {
                ReadChunkResult::Chunk(mut chunk) => {
                    let event = Payload::read(&chunk.read_all()?).map_err(std::io::Error::other)?;
                    if !chunk.check_crc()? {
                        return Err(std::io::Error::other("a checksum does not fit"));
                    }
                    events.push(event);
                }
                ReadChunkResult::EndOfEntry => break,
                // The crash came before it was whole.
                ReadChunkResult::AbortedEntry => return Ok(()),
            }
        }
        let mut fold = self.0.lock().map_err(|_| std::io::Error::other("somebody panicked"))?;
        let until = fold.until;
        for event in events.into_iter().filter(|event| event.seq() <= until) {
            fold.states[event.task() as usize] = event.to();
            fold.events += 1;
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> std::io::Result<()> {
        Err(std::io::Error::other("a checkpoint would drop the history"))
    }
}

fn recover(dir: &Path, extent: Extent, until: u64) -> Outcome<(WriteAheadLog, Fold)> {
    let fold = Fold { states: vec![0; extent.tasks as usize], events: 0, until };
    let fold = Arc::new(Mutex::new(fold));
    // 219 bytes an event alone.
    let bytes = u32::try_from(extent.events * 230 + (4 << 20))?;
    let configuration = Configuration::default_for(dir).preallocate_bytes(bytes).checkpoint_after_bytes(u64::MAX);
    let log = configuration.open(Manager(Arc::clone(&fold)))?;
    let mut fold = fold.lock().map_err(|_| "somebody panicked")?;
    let folded = Fold { states: std::mem::take(&mut fold.states), events: fold.events, until };
    drop(fold);
    Ok((log, folded))
}

impl Peer for OkayWal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn about(&self) -> &'static str {
        "okaywal 0.3.1: the log alone, one segment preallocated for all events and never checkpointed, so that the history stays \
         (documentation of Configuration); a batch is one entry of many chunks. It has no relaxed mode: the store for W4 to \
         W8 is built in batches of 1000. What it holds is known by reading all of it, as it does when it opens"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        if mode == Mode::Relaxed {
            return Ok(None);
        }
        let (log, Fold { states, .. }) = recover(dir, extent, u64::MAX)?;
        let dir = dir.to_owned();
        Ok(Some(Box::new(Open { log, dir, extent, states, appended: AtomicBool::new(false) })))
    }

    fn load_batch(&self) -> usize {
        1000
    }

    fn checks(&self) -> &'static [&'static str] {
        &["it has no tool: opening, which checks the crc32 of each chunk"]
    }

    fn check(&self, dir: &Path, _: usize, extent: Extent) -> Outcome<Checked> {
        let started = Instant::now();
        let (log, Fold { events, .. }) = recover(dir, extent, u64::MAX)?;
        let took = started.elapsed();
        log.shutdown()?;
        Ok(Checked { took, events: Some(events) })
    }
}

struct Open {
    log: WriteAheadLog,
    dir: PathBuf,
    extent: Extent,
    /// Of each task when it was opened.
    states: Vec<u8>,
    appended: AtomicBool,
}

impl Open {
    /// Reads all of it again, beside the log that is open; nothing is appended meanwhile.
    fn replayed(&self, until: u64) -> Outcome<Vec<u8>> {
        let (log, Fold { states, .. }) = recover(&self.dir, self.extent, until)?;
        log.shutdown()?;
        Ok(states)
    }
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut entry = self.log.begin_entry()?;
        for event in events {
            entry.write_chunk(event.bytes())?;
        }
        entry.commit()?;
        self.appended.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Each commit has synced.
    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    fn counts(&self) -> Outcome<Counts> {
        if self.appended.load(Ordering::Relaxed) {
            return Ok(Counts::of(&self.replayed(u64::MAX)?));
        }
        Ok(Counts::of(&self.states))
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(Some(self.replayed(seq)?))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.log.shutdown()?)
    }
}
