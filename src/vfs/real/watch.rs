//! Being told by the system that a file of a directory has changed (inotify).
//!
//! Invariant: what changes after the watch was made is kept by the system until it is told, so that a change between two
//! waits ends the second one at once.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};

use crate::vfs::ops::Watch;

/// Room for a few events at once; one takes at most 272 bytes.
const EVENTS_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Inotify {
    queue: OwnedFd,
}

impl Inotify {
    pub(super) fn new(dir: &Path) -> io::Result<Inotify> {
        let queue = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        add_watch(&queue, dir, changes)?;
        Ok(Inotify { queue })
    }
}

impl Watch for Inotify {
    fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        // Where it is too long to be said, there is no limit.
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut [PollFd::new(&self.queue, PollFlags::IN)], limit.as_ref()) {
            Ok(0) => return Ok(false),
            // A signal came: nobody knows how long it has waited.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // What has changed does not matter, so that all of it is told at once.
        let mut events = [0; EVENTS_BYTES];
        loop {
            match read(&self.queue, &mut events) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
