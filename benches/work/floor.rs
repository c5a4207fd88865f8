//! The floor: the bare system calls that the work cannot do without, in the plainest log there is.
//!
//! A file that is filled with zeros ahead; a record is the length, the checksum and the 200 bytes of an event. Durable is
//! a positioned write and a sync, for many threads the bare group commit (group.rs); relaxed is a positioned write a call.
//! Opening reads, checks and folds all of it, and notes where each record is. It has no promise to keep but to be there
//! again: no torn tail is told from damage, no batch is atomic.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::events::{BYTES, Counts, Payload, Told};
use super::group::GroupCommit;
use super::{Checked, Extent, Mode, Outcome, Peer, Store};

const HEADER: usize = 8;
const RECORD: usize = HEADER + BYTES;
/// Written or read at a time.
const PIECE: usize = 1 << 20;

pub struct Floor;

/// What this name is used for: ratios.
pub const NAME: &str = "floor";

impl Peer for Floor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the bare system calls: records of length, crc32 and 200 bytes in a file that is filled with zeros ahead. W1: pwrite \
         and fdatasync; W2: the same led by one of the callers for all that wait (futex, leader waits up to 40 µs); W3: one \
         pwrite a call, no state kept; W4 and W6: read, check and fold the log; W5: ten preads at places known from \
         opening; W7: read and crc32, then crc32 of the same bytes in memory, then a copy of them"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        let path = dir.join("log");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut places = vec![Vec::new(); extent.tasks as usize];
        let mut end = 0;
        if file.metadata()?.len() == 0 {
            let zeros = vec![0; 64 << 10];
            let bytes = (extent.events + 1) * RECORD as u64;
            for n in 0..bytes.div_ceil(zeros.len() as u64) {
                file.write_all_at(&zeros, n * zeros.len() as u64)?;
            }
            file.sync_all()?;
        } else {
            each(&file, u64::MAX, &mut |at, event| {
                places[event.task() as usize].push(at);
                end = at + RECORD as u64;
            })?;
        }
        let writer = match mode {
            Mode::Durable => Writer::Durable(GroupCommit::new(file.try_clone()?, end)),
            Mode::Relaxed | Mode::Load => Writer::Relaxed(Mutex::new(end)),
        };
        Ok(Some(Box::new(Log { file, places, writer })))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["crc32 of each record, read", "crc32 of the same bytes in memory", "a copy of the same bytes in memory"]
    }

    fn check(&self, dir: &Path, which: usize, extent: Extent) -> Outcome<Checked> {
        let file = File::open(dir.join("log"))?;
        let started = Instant::now();
        let mut events = 0;
        if which == 0 {
            each(&file, u64::MAX, &mut |_, _| events += 1)?;
            return Ok(Checked { took: started.elapsed(), events: Some(events) });
        }
        let mut bytes = vec![0; extent.events as usize * RECORD];
        file.read_exact_at(&mut bytes, 0)?;
        let mut copy = vec![1; bytes.len()];
        let started = Instant::now();
        if which == 1 {
            for record in bytes.chunks(RECORD) {
                black_box(crc32fast::hash(black_box(record)));
            }
        } else {
            copy.copy_from_slice(black_box(&bytes));
            black_box(&copy);
        }
        Ok(Checked { took: started.elapsed(), events: None })
    }

    fn log_bytes(&self, dir: &Path) -> Outcome<Option<u64>> {
        let mut end = 0;
        each(&File::open(dir.join("log"))?, u64::MAX, &mut |at, _| end = at + RECORD as u64)?;
        Ok(Some(end))
    }
}

enum Writer {
    Durable(GroupCommit),
    Relaxed(Mutex<u64>),
}

struct Log {
    file: File,
    /// Where the records of each task are: those that were there when it was opened.
    places: Vec<Vec<u64>>,
    writer: Writer,
}

impl Log {
    fn put(&self, bytes: &[u8]) -> Outcome<()> {
        match &self.writer {
            Writer::Durable(group) => group.append(bytes),
            Writer::Relaxed(end) => {
                let mut end = end.lock().expect("nobody panics with it");
                self.file.write_all_at(bytes, *end)?;
                *end += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

fn record(event: &Payload) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&(BYTES as u32).to_le_bytes());
    record[4..HEADER].copy_from_slice(&crc32fast::hash(event.bytes()).to_le_bytes());
    record[HEADER..].copy_from_slice(event.bytes());
    record
}

/// Reads records in order, so many at most, and checks each.
fn each(file: &File, most: u64, seen: &mut dyn FnMut(u64, Payload)) -> Outcome<()> {
    let (mut piece, mut held, mut at, mut left) = (vec![0; PIECE], 0, 0, most);
    loop {
        let read = file.read_at(&mut piece[held..], at + held as u64)?;
        held += read;
        let whole = held - held % RECORD;
        for record in piece[..whole].chunks_exact(RECORD) {
            if left == 0 || record[..4] == [0; 4] {
                return Ok(());
            }
            if record[4..HEADER] != crc32fast::hash(&record[HEADER..]).to_le_bytes() {
                return Err(format!("the record at {at} is not as it was written").into());
            }
            seen(at, Payload::read(&record[HEADER..])?);
            at += RECORD as u64;
            left -= 1;
        }
        piece.copy_within(whole..held, 0);
        held -= whole;
        if read == 0 {
            return Ok(());
        }
    }
}

impl Store for Log {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.put(&record(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut bytes = Vec::with_capacity(events.len() * RECORD);
        for event in events {
            bytes.extend_from_slice(&record(event));
        }
        self.put(&bytes)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.file.sync_data()?)
    }

    fn counts(&self) -> Outcome<Counts> {
        self.counts_at(u64::MAX)?.ok_or_else(|| "it can".into())
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let mut bytes = [0; BYTES];
        for &at in &self.places[task as usize] {
            self.file.read_exact_at(&mut bytes, at + HEADER as u64)?;
            seen(Payload::read(&bytes)?.told());
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let mut states = vec![0; self.places.len()];
        each(&self.file, seq, &mut |_, event| states[event.task() as usize] = event.to())?;
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}

/// What bytes in memory cost here: crc32 and copying, in bytes a second.
pub fn memory() -> (f64, f64) {
    let bytes: Vec<u8> = (0..64 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut copy = bytes.clone();
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let started = Instant::now();
        for record in bytes.chunks(RECORD) {
            black_box(crc32fast::hash(black_box(record)));
        }
        best.0 = best.0.min(started.elapsed());
        let started = Instant::now();
        copy.copy_from_slice(black_box(&bytes));
        black_box(&copy);
        best.1 = best.1.min(started.elapsed());
    }
    (bytes.len() as f64 / best.0.as_secs_f64(), bytes.len() as f64 / best.1.as_secs_f64())
}
