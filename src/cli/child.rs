//! One attempt: a command in a process group of its own, from its start until all that it came to is known.
//!
//! Signals go to the whole group. Its leader is waited for last, so that until then no other group can have its number.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGINT, SIGQUIT};
use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;

use crate::cli::foreground::Foreground;
use crate::cli::relay::Relay;
use crate::cli::signals::{Signals, is_stop};

/// How often it is looked whether a group has ended whose leader has.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// So long a killed group may take to end.
const DEATH: Duration = Duration::from_secs(5);

/// Why the task is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This signal came.
    Sent(i32),
    /// Somebody typed it at the terminal that the command had.
    Typed(i32),
}

/// A command that was started.
pub(crate) struct Attempt {
    child: Child,
    group: Pid,
    started: Instant,
    relay: Relay,
    terminal: Foreground,
    /// Since when its time is up.
    timed_out: Option<Instant>,
    stop: Option<Stop>,
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub took: Duration,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    pub timed_out: bool,
    pub stop: Option<Stop>,
}

impl Ended {
    pub(crate) fn is_good(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    /// As a shell has it.
    pub(crate) fn code(&self) -> u8 {
        let code = self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0));
        u8::try_from(code & 0xFF).unwrap_or(u8::MAX)
    }
}

impl Attempt {
    /// Starts a command, with more in its environment. Where so much as one byte of its output is to be kept, it writes to pipes.
    pub(crate) fn start(command: &[OsString], more: &[(&str, OsString)], capture: usize) -> io::Result<Attempt> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(args).envs(more.iter().map(|(name, value)| (name, value))).process_group(0);
        if capture > 0 {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let started = Instant::now();
        let group = Pid::from_child(&child);
        let relay = Relay::new(&mut child, capture);
        let mut terminal = Foreground::of(group);
        terminal.lend();
        Ok(Attempt { child, group, started, relay, terminal, timed_out: None, stop: None })
    }

    /// Waits until the command has ended, or is ended since its time is up: then all of its group is.
    pub(crate) fn watch(
        &mut self,
        signals: &Signals,
        timeout: Option<Duration>,
        kill_after: Duration,
    ) -> io::Result<Ended> {
        let mut timeout_at = timeout.and_then(|timeout| self.started.checked_add(timeout));
        let mut kill_at = None;
        loop {
            self.heed(signals);
            if self.has_ended()? {
                break;
            }
            let now = Instant::now();
            if timeout_at.is_some_and(|at| at <= now) {
                (timeout_at, kill_at) = (None, now.checked_add(kill_after));
                self.timed_out = Some(now);
                self.send(Signal::TERM);
                // One that is stopped would not hear of it.
                self.send(Signal::CONT);
            }
            if kill_at.is_some_and(|at| at <= now) {
                kill_at = None;
                self.send(Signal::KILL);
            }
            let next = timeout_at.into_iter().chain(kill_at).min();
            self.relay.pass_on(signals.as_fd(), next.map(|at| at.saturating_duration_since(now)))?;
        }
        let (took, at) = (self.started.elapsed(), RealVfs.now_ms());
        let had_terminal = self.terminal.is_lent();
        self.terminal.take_back();
        let status = self.child.wait()?;
        if had_terminal && self.stop.is_none() {
            // The terminal tells the group, and not who lent it.
            self.stop = [SIGINT, SIGQUIT]
                .into_iter()
                .find(|&signal| status.signal() == Some(signal) || status.code() == Some(128 + signal))
                .map(Stop::Typed);
        }
        if let Some(since) = self.timed_out {
            self.end_group(signals, kill_after.saturating_sub(since.elapsed()), true)?;
        } else if self.stop.is_some() && !status.success() {
            // All of it was told to end, and what does so in order may still have something to say.
            self.end_group(signals, kill_after, false)?;
        }
        Ok(Ended { status, took, at, timed_out: self.timed_out.is_some(), stop: self.stop })
    }

    /// Ends what the command has left of its group, so that the next attempt does not run beside it.
    pub(crate) fn clear(&mut self, signals: &Signals, kill_after: Duration) -> io::Result<()> {
        self.send(Signal::TERM);
        self.send(Signal::CONT);
        self.end_group(signals, kill_after, true)
    }

    /// Waits until nothing is left of the group, but no longer than so; what is there then is killed, or left alone.
    fn end_group(&mut self, signals: &Signals, patience: Duration, kills: bool) -> io::Result<()> {
        let mut until = Instant::now().checked_add(patience);
        let mut is_killed = false;
        while test_kill_process_group(self.group) != Err(Errno::SRCH) {
            self.heed(signals);
            if until.is_some_and(|until| until <= Instant::now()) {
                if is_killed || !kills {
                    break;
                }
                self.send(Signal::KILL);
                (is_killed, until) = (true, Instant::now().checked_add(DEATH));
            }
            self.relay.pass_on(signals.as_fd(), Some(LOOK_AGAIN))?;
        }
        Ok(())
    }

    /// The end of what it has printed so far, and whether there was more.
    pub(crate) fn tail(&mut self) -> (String, bool) {
        self.relay.read_the_rest();
        (self.relay.tail.text(), self.relay.tail.is_cut())
    }

    /// Passes on what is left of its output. Where nobody takes it, a signal that comes now ends that.
    pub(crate) fn flush(&mut self, signals: &Signals) -> io::Result<()> {
        while !self.relay.is_done() {
            self.relay.pass_on(signals.as_fd(), None)?;
            if let Some(signal) = signals.take_stop() {
                self.stop.get_or_insert(Stop::Sent(signal));
                break;
            }
        }
        Ok(())
    }

    /// Why the task is to end, as far as that is known by now.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Does what the signals say that came.
    fn heed(&mut self, signals: &Signals) {
        for signal in signals.take() {
            match signal {
                SIGCHLD => {}
                SIGCONT => {
                    self.terminal.lend();
                    self.send(Signal::CONT);
                }
                _ => {
                    if is_stop(signal) {
                        self.stop.get_or_insert(Stop::Sent(signal));
                    }
                    if let Some(signal) = Signal::from_named_raw(signal) {
                        self.send(signal);
                    }
                }
            }
        }
    }

    /// To all of the group. What is gone needs none.
    fn send(&self, signal: Signal) {
        let _ = kill_process_group(self.group, signal);
    }

    /// Whether the leader has. It is not waited for.
    fn has_ended(&mut self) -> io::Result<bool> {
        let look = WaitIdOptions::NOHANG | WaitIdOptions::STOPPED;
        let Some(status) = waitid(WaitId::Pid(self.group), look | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?
        else {
            return Ok(false);
        };
        if !status.stopped() {
            return Ok(true);
        }
        // Seen, so that it is not told again.
        waitid(WaitId::Pid(self.group), look)?;
        if self.terminal.is_lent() {
            self.terminal.stop_too();
        }
        Ok(false)
    }
}
