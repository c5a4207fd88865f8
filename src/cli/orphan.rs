//! Which run has a task, whether that one is still there, and what it has left behind.
//!
//! A run is told apart by its host, boot, namespace of process ids, and process with its start, so that no number that was given
//! again is taken for it. Where it cannot be looked up from here, nobody says that it is gone.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};
use taskledger::Event;
use taskledger::vfs::ops::{Access, Process, Vfs};
use taskledger::vfs::real::RealVfs;

use crate::cli::signals::timespec;

/// In the environment of a command: which run it is of.
pub(crate) const TOKEN: &str = "TASKLEDGER_RUN";
/// The metadata key under which an event names its run.
pub(crate) const TOKEN_KEY: &str = "run.token";
/// So long what is killed may take to end.
const DEATH: Duration = Duration::from_secs(10);
/// The longest environment that is searched, in bytes.
const ENVIRONMENT_MAX: usize = 8 << 20;

/// A run, as its events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub host: String,
    boot: String,
    /// The namespace of its process id, where the system has such.
    pid_namespace: String,
    pub process: Process,
    pub token: String,
}

/// What is known of a run from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Alive,
    Gone,
    /// It cannot be looked up from here.
    Elsewhere,
}

impl Run {
    /// This one.
    pub(crate) fn this() -> io::Result<Run> {
        let mut token = [0; 16];
        RealVfs.random(&mut token)?;
        let namespace = rustix::fs::readlink("/proc/self/ns/pid", Vec::new());
        Ok(Run {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: uuid(&RealVfs.boot_id()),
            pid_namespace: namespace.map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned()),
            process: RealVfs.process(),
            token: hex(&token),
        })
    }

    /// The one that metadata name, if they do.
    pub(crate) fn named(metadata: &HashMap<String, String>) -> Option<Run> {
        let text = |key: &str| metadata.get(key).cloned();
        let process = Process { pid: text("run.pid")?.parse().ok()?, start: text("run.start")?.parse().ok()? };
        Some(Run {
            host: text("run.host")?,
            boot: text("run.boot")?,
            pid_namespace: text("run.pidns")?,
            process,
            token: text(TOKEN_KEY)?,
        })
    }

    /// An event that names it.
    pub(crate) fn sign(&self, event: Event) -> Event {
        event
            .meta("run.host", self.host.as_str())
            .meta("run.boot", self.boot.as_str())
            .meta("run.pidns", self.pid_namespace.as_str())
            .meta("run.pid", self.process.pid.to_string())
            .meta("run.start", self.process.start.to_string())
            .meta(TOKEN_KEY, self.token.as_str())
    }

    /// What is known of it from another run.
    pub(crate) fn fate(&self, from: &Run, is_alive: impl Fn(Process) -> bool) -> Fate {
        match () {
            () if self.host != from.host => Fate::Elsewhere,
            () if self.boot != from.boot => Fate::Gone,
            () if self.pid_namespace != from.pid_namespace => Fate::Elsewhere,
            () if is_alive(self.process) => Fate::Alive,
            () => Fate::Gone,
        }
    }

    /// Kills what is left of its command: the processes that have its token in their environment. Says how many those were.
    ///
    /// # Errors
    /// It cannot be looked for, or does not end.
    pub(crate) fn kill_what_is_left(&self) -> io::Result<usize> {
        let until = Instant::now() + DEATH;
        let mut killed = BTreeSet::new();
        // What is being killed may have started more.
        loop {
            let found = carriers(&format!("{TOKEN}={}", self.token))?;
            if found.is_empty() {
                return Ok(killed.len());
            }
            for (pid, handle) in &found {
                killed.insert(*pid);
                kill(*pid, handle.as_ref())?;
            }
            for (pid, handle) in &found {
                let left = until.saturating_duration_since(Instant::now());
                if left == Duration::ZERO {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {pid} does not end")));
                }
                // Without a handle the next look says whether it is gone.
                let wait = handle.as_ref().map_or(Duration::from_millis(10), |_| left);
                let mut asked: Vec<PollFd<'_>> =
                    handle.iter().map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
                let _ = poll(&mut asked, timespec(wait).as_ref());
            }
        }
    }
}

/// As the system prints it.
fn uuid(bytes: &[u8; 16]) -> String {
    let digits = hex(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The processes that have this in their environment, and that can be looked into; never this one.
fn carriers(variable: &str) -> io::Result<Vec<(i32, Option<OwnedFd>)>> {
    let own = rustix::process::getpid().as_raw_pid();
    let mut found = Vec::new();
    for entry in RealVfs.list(Path::new("/proc"))? {
        let Some(pid) = entry.name.to_str().and_then(|name| name.parse::<i32>().ok()).filter(|&pid| pid != own) else {
            continue;
        };
        // Before it is looked into: then what is killed is what was looked into.
        let handle = open(pid);
        if environment(pid).split(|&byte| byte == 0).any(|one| one == variable.as_bytes()) {
            found.push((pid, handle));
        }
    }
    Ok(found)
}

/// What a process was started with; nothing where that cannot be read, or of one that has ended.
fn environment(pid: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(file) = RealVfs.open(Path::new(&format!("/proc/{pid}/environ")), Access::Read) else { return bytes };
    let mut piece = vec![0; 64 << 10];
    while bytes.len() < ENVIRONMENT_MAX {
        match file.read_at(&mut piece, bytes.len() as u64) {
            Ok(read) if read > 0 => bytes.extend(piece.iter().take(read)),
            _ => break,
        }
    }
    bytes
}

/// Stands for a process however its number is used later; `None` where the system has no such thing.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn open(pid: i32) -> Option<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};

    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(_: i32) -> Option<OwnedFd> {
    None
}

/// Kills it. One that is gone is as good.
fn kill(pid: i32, handle: Option<&OwnedFd>) -> io::Result<()> {
    use rustix::io::Errno;

    let sent = match (handle, Pid::from_raw(pid)) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        (Some(handle), _) => rustix::process::pidfd_send_signal(handle, Signal::KILL),
        (_, Some(pid)) => rustix::process::kill_process(pid, Signal::KILL),
        _ => Ok(()),
    };
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            host: "ci-7".to_owned(),
            boot: "b1".to_owned(),
            pid_namespace: "pid:[1]".to_owned(),
            process: Process { pid: 4711, start: 99 },
            token: "t".to_owned(),
        }
    }

    #[test]
    fn a_run_is_gone_only_where_that_can_be_known() {
        let here = Run { process: Process { pid: 1, start: 1 }, token: "u".to_owned(), ..run() };
        let (alive, dead) = (|_| true, |_| false);
        assert_eq!((run().fate(&here, alive), run().fate(&here, dead)), (Fate::Alive, Fate::Gone));
        let rebooted = Run { boot: "b0".to_owned(), ..run() };
        assert_eq!(rebooted.fate(&here, alive), Fate::Gone, "its number may be another's by now");
        for elsewhere in [
            Run { host: "ci-8".to_owned(), ..run() },
            Run { host: "ci-8".to_owned(), boot: "b0".to_owned(), ..run() },
            Run { pid_namespace: "pid:[2]".to_owned(), ..run() },
        ] {
            assert_eq!(elsewhere.fate(&here, dead), Fate::Elsewhere, "{elsewhere:?}");
        }
        let other_start = |process: Process| process == Process { pid: 4711, start: 100 };
        assert_eq!(run().fate(&here, other_start), Fate::Gone, "the number was given again");
    }

    #[test]
    fn events_name_a_run_and_it_is_read_from_them() {
        let event = run().sign(Event::updated());
        let named: HashMap<String, String> =
            event.metadata().map(|(key, value)| (key.to_owned(), value.unwrap_or("").to_owned())).collect();
        assert_eq!((Run::named(&named), named.len()), (Some(run()), 6));
        for key in named.keys() {
            let mut some = named.clone();
            some.remove(key);
            assert_eq!(Run::named(&some), None, "without {key}");
        }
        assert_eq!(Run::named(&HashMap::from([("run.pid".to_owned(), "x".to_owned())])), None);
    }

    #[test]
    fn this_run_is_alive_and_says_of_which_boot_it_is() {
        let this = Run::this().unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(this.boot, boot.trim());
        assert_eq!(this.fate(&this, |process| RealVfs.is_alive(process)), Fate::Alive);
        assert_eq!((this.token.len(), this.token == Run::this().unwrap().token), (32, false));
    }
}
