//! The signals that a run is sent: caught from the first moment on, none is lost until it is taken.
//!
//! What was ignored when the program was started stays so, for it and for its command: `nohup` and background jobs of shells
//! rely on it.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level};
use taskledger::vfs::ops::{Access, Vfs, read_full_at};
use taskledger::vfs::real::RealVfs;

/// After these the task is to end.
const STOPS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
/// These are the command's alone.
const PASSED_ON: [i32; 3] = [SIGUSR1, SIGUSR2, SIGCONT];

/// What is caught.
pub(crate) struct Signals {
    caught: Vec<(i32, Arc<AtomicBool>)>,
    /// Has something to read when a signal has come.
    wake: UnixStream,
}

impl Signals {
    /// From here on.
    pub(crate) fn catch() -> io::Result<Signals> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ignored = ignored();
        // Where the end of a child is ignored, its status cannot be had; so that one is always caught.
        let all = STOPS.into_iter().chain(PASSED_ON).filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let all: Vec<i32> = all.chain([SIGCHLD]).collect();
        // The handler is there a moment before it knows what to do: what came in between would be lost.
        let held: SigSet = all.iter().filter_map(|&signal| Signal::try_from(signal).ok()).collect();
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let caught = all.into_iter().map(|signal| catch_one(signal, &waker)).collect::<io::Result<_>>();
        before.thread_set_mask()?;
        Ok(Signals { caught: caught?, wake })
    }

    /// Those that have come since the last time.
    pub(crate) fn take(&self) -> Vec<i32> {
        // What comes after this wakes again.
        while (&self.wake).read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        let came = self.caught.iter().filter(|(_, came)| came.swap(false, Ordering::SeqCst));
        came.map(|(signal, _)| *signal).collect()
    }

    /// The first that came and says that the task is to end; the others that came are dropped.
    pub(crate) fn take_stop(&self) -> Option<i32> {
        self.take().into_iter().find(|&signal| is_stop(signal))
    }

    /// Waits so long, or until one comes that says that the task is to end.
    pub(crate) fn wait_for_stop(&self, limit: Duration) -> Option<i32> {
        let until = std::time::Instant::now().checked_add(limit);
        loop {
            if let Some(signal) = self.take_stop() {
                return Some(signal);
            }
            let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            // An interrupted poll looks again.
            let _ = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], left.and_then(timespec).as_ref());
        }
    }
}

/// Catches one; says where it is told that it came.
fn catch_one(signal: i32, waker: &UnixStream) -> io::Result<(i32, Arc<AtomicBool>)> {
    let came = Arc::new(AtomicBool::new(false));
    flag::register(signal, Arc::clone(&came))?;
    low_level::pipe::register(signal, waker.try_clone()?)?;
    Ok((signal, came))
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// As the system has it; `None` is for ever.
pub(crate) fn timespec(time: Duration) -> Option<Timespec> {
    Timespec::try_from(time).ok()
}

pub(crate) fn is_stop(signal: i32) -> bool {
    STOPS.contains(&signal)
}

/// Its name, such as SIGTERM, where it has one.
pub(crate) fn name(signal: i32) -> Option<&'static str> {
    low_level::signal_name(signal)
}

/// Its name, or else its number in words.
pub(crate) fn words(signal: i32) -> String {
    name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// The signals that this program ignores, a bit for each; none where the system does not say.
fn ignored() -> u64 {
    let Ok(file) = RealVfs.open(Path::new("/proc/self/status"), Access::Read) else { return 0 };
    let mut bytes = vec![0; 16 << 10];
    let read = read_full_at(&*file, &mut bytes, 0).unwrap_or(0);
    bytes.truncate(read);
    ignored_in(&String::from_utf8_lossy(&bytes))
}

fn ignored_in(status: &str) -> u64 {
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(ignored_in(status), 1 << (SIGHUP - 1) | 1 << 12);
        assert_eq!(ignored_in(""), 0);
    }

    #[test]
    fn a_signal_is_called_by_its_name() {
        assert_eq!((words(SIGTERM), words(99)), ("SIGTERM".to_owned(), "signal 99".to_owned()));
        assert!(is_stop(SIGHUP) && !is_stop(SIGUSR1) && !is_stop(SIGCHLD));
    }
}
