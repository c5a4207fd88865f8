//! The bare group commit: threads put their bytes together, one of them writes and syncs for all, then another one.
//!
//! One write and one sync in flight. Each group has a word of its own (a futex), so that one call wakes it and nobody
//! else; one of those that came meanwhile is woken to lead the next group. A leader that had company the last time waits
//! at most 40 µs for as many to come. Alone it is a positioned write and a sync.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::thread::futex::{self, Flags};

use super::Outcome;

const STRAGGLERS: Duration = Duration::from_micros(40);

/// What a group's word says. It is waiting at first; then somebody is to lead it; then somebody does.
const WAITING: u32 = 0;
const LEADERLESS: u32 = 1;
const LED: u32 = 2;
const DURABLE: u32 = 3;
const FAILED: u32 = 4;

pub struct GroupCommit {
    file: File,
    next: Mutex<Next>,
}

/// The group that is to be written next.
struct Next {
    bytes: Vec<u8>,
    members: usize,
    word: Arc<AtomicU32>,
    at: u64,
    /// Whether somebody writes, or was told to.
    busy: bool,
    /// How many the last group had.
    company: usize,
}

impl GroupCommit {
    /// Over a file that is filled with zeros as far as it is going to be written.
    pub fn new(file: File, at: u64) -> GroupCommit {
        let next = Next { bytes: Vec::new(), members: 0, word: Arc::default(), at, busy: false, company: 0 };
        GroupCommit { file, next: Mutex::new(next) }
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().expect("nobody panics with it")
    }

    /// Returns once the bytes are durable.
    pub fn append(&self, bytes: &[u8]) -> Outcome<()> {
        let mut next = self.next();
        next.bytes.extend_from_slice(bytes);
        next.members += 1;
        if next.busy {
            let word = Arc::clone(&next.word);
            drop(next);
            if !follow(&word)? {
                return Ok(());
            }
            next = self.next();
        }
        next.busy = true;
        self.lead(next)
    }

    fn lead<'a>(&'a self, mut next: MutexGuard<'a, Next>) -> Outcome<()> {
        if next.company > 1 {
            let begun = Instant::now();
            while next.members < next.company && begun.elapsed() < STRAGGLERS {
                drop(next);
                std::thread::yield_now();
                next = self.next();
            }
        }
        let bytes = std::mem::take(&mut next.bytes);
        let members = std::mem::take(&mut next.members);
        let word = std::mem::take(&mut next.word);
        let at = next.at;
        next.at += bytes.len() as u64;
        next.company = members;
        drop(next);
        let written = self.file.write_all_at(&bytes, at).and_then(|()| self.file.sync_data());
        word.store(if written.is_ok() { DURABLE } else { FAILED }, Ordering::Release);
        let mut next = self.next();
        next.busy = next.members > 0;
        let following = next.busy.then(|| Arc::clone(&next.word));
        drop(next);
        if let Some(following) = following {
            following.store(LEADERLESS, Ordering::Release);
            futex::wake(&following, Flags::PRIVATE, 1)?;
        }
        if members > 1 {
            futex::wake(&word, Flags::PRIVATE, i32::MAX as u32)?;
        }
        Ok(written?)
    }
}

/// Waits for a group; true where the caller is to lead it.
fn follow(word: &AtomicU32) -> Outcome<bool> {
    loop {
        match word.load(Ordering::Acquire) {
            DURABLE => return Ok(false),
            FAILED => return Err("the group was not written".into()),
            LEADERLESS => {
                if word.compare_exchange(LEADERLESS, LED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return Ok(true);
                }
            }
            seen => {
                debug_assert!(seen == WAITING || seen == LED);
                match futex::wait(word, Flags::PRIVATE, seen, None) {
                    Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}
