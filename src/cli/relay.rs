//! What a command prints is passed on as it comes, and the end of it kept.
//!
//! Nothing more is read while what was read before is not passed on, so that a slow reader slows the command, and memory holds
//! one piece of each stream. A reader that has gone away is as one that takes everything. Writing never waits: a reader that
//! takes nothing keeps nobody from telling how the command ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{self as system, Errno, ioctl_fionread};

use crate::cli::signals::timespec;
use crate::cli::tail::Tail;

/// So much is read at a time.
const PIECE: usize = 64 << 10;
/// So much is written at a time: what a pipe takes at once, if it takes anything.
const BITE: usize = 4096;

/// Both streams of a command; none where they are left alone.
pub(crate) struct Relay {
    streams: Vec<Stream>,
    pub tail: Tail,
}

struct Stream {
    /// Where the command writes to, until it has no writer any more.
    from: Option<OwnedFd>,
    to: To,
    /// Read, and not yet passed on.
    waiting: Vec<u8>,
    /// Whether anybody takes it.
    heard: bool,
}

#[derive(Debug, Clone, Copy)]
enum To {
    Output,
    Errors,
}

impl Relay {
    /// Of a child's streams, as far as they are pipes.
    pub(crate) fn new(child: &mut Child, limit: usize) -> Relay {
        let output = child.stdout.take().map(|pipe| (OwnedFd::from(pipe), To::Output));
        let errors = child.stderr.take().map(|pipe| (OwnedFd::from(pipe), To::Errors));
        let stream = |(from, to)| Stream { from: Some(from), to, waiting: Vec::new(), heard: true };
        Relay { streams: output.into_iter().chain(errors).map(stream).collect(), tail: Tail::new(limit) }
    }

    /// Passes on what can be, or waits until something can be, `wake` can be read, or the time is up.
    pub(crate) fn pass_on(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
        let (output, errors) = (io::stdout(), io::stderr());
        let mut asked = vec![PollFd::new(&wake, PollFlags::IN)];
        for stream in &self.streams {
            match (&stream.from, stream.waiting.is_empty()) {
                (Some(from), true) => asked.push(PollFd::new(from, PollFlags::IN)),
                (None, true) => {}
                (_, false) => asked.push(match stream.to {
                    To::Output => PollFd::new(&output, PollFlags::OUT),
                    To::Errors => PollFd::new(&errors, PollFlags::OUT),
                }),
            }
        }
        match poll(&mut asked, limit.and_then(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut told = asked.iter().skip(1).map(|one| !one.revents().is_empty());
        let ready: Vec<bool> =
            self.streams.iter().map(|stream| !stream.is_done() && told.next().unwrap_or(false)).collect();
        for (stream, _) in self.streams.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            if stream.waiting.is_empty() {
                stream.read(PIECE, &mut self.tail);
            } else {
                stream.write();
            }
        }
        Ok(())
    }

    /// Reads what is there, once the command has ended: others may hold its streams open, and write to them for ever.
    pub(crate) fn read_the_rest(&mut self) {
        for stream in &mut self.streams {
            let mut left = stream.from.as_ref().and_then(|from| ioctl_fionread(from).ok()).unwrap_or(0);
            while left > 0 && stream.from.is_some() {
                let got = stream.read(usize::try_from(left).map_or(PIECE, |left| left.min(PIECE)), &mut self.tail);
                left = left.saturating_sub(got as u64);
            }
            stream.from = None;
        }
    }

    /// Whether nothing is left to pass on, now or later.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.iter().all(Stream::is_done)
    }
}

impl Stream {
    fn is_done(&self) -> bool {
        self.from.is_none() && self.waiting.is_empty()
    }

    /// Reads what is there, of which there must be some, or the end; says how much.
    fn read(&mut self, most: usize, tail: &mut Tail) -> usize {
        let Some(from) = &self.from else { return 0 };
        let start = self.waiting.len();
        self.waiting.resize(start + most, 0);
        let got = system::read(from, self.waiting.get_mut(start..).unwrap_or_default());
        let read = got.unwrap_or(0);
        self.waiting.truncate(start + read);
        match got {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.from = None,
            Ok(_) => tail.push(self.waiting.get(start..).unwrap_or_default()),
        }
        if !self.heard {
            self.waiting.clear();
        }
        read
    }

    fn write(&mut self) {
        let bite = self.waiting.get(..BITE).unwrap_or(&self.waiting);
        let wrote = match self.to {
            To::Output => system::write(io::stdout().as_fd(), bite),
            To::Errors => system::write(io::stderr().as_fd(), bite),
        };
        match wrote {
            Ok(wrote) => drop(self.waiting.drain(..wrote)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.heard = false;
                self.waiting.clear();
            }
        }
    }
}
