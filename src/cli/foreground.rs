//! The terminal is lent to a command that runs in a process group of its own, so that it can read from it.
//!
//! Only who has it can lend it. Whoever lent it away must not ask for it back from behind, which would stop it: it joins the
//! group that has it for the moment of doing so.

use std::io::{self, IsTerminal};

use rustix::process::{Pid, Signal, getpgrp, kill_process_group, setpgid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// A terminal at standard input that a process group may have.
#[derive(Debug)]
pub(crate) struct Foreground {
    group: Pid,
    /// Whether it was lent to the group.
    is_lent: bool,
}

impl Foreground {
    pub(crate) fn of(group: Pid) -> Foreground {
        Foreground { group, is_lent: false }
    }

    /// Lends the terminal, if there is one and this process has it, and lets the group go on where it was stopped for not
    /// having it.
    pub(crate) fn lend(&mut self) {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !tcgetpgrp(&stdin).is_ok_and(|has_it| has_it == getpgrp()) {
            return;
        }
        self.is_lent = tcsetpgrp(&stdin, self.group).is_ok();
        if self.is_lent {
            // It may have asked before it had it.
            let _ = kill_process_group(self.group, Signal::CONT);
        }
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Takes it back. The group's leader must not have been waited for: without a member there is no group.
    pub(crate) fn take_back(&mut self) {
        if !std::mem::replace(&mut self.is_lent, false) {
            return;
        }
        let (stdin, own) = (io::stdin(), getpgrp());
        if tcgetpgrp(&stdin).is_ok_and(|has_it| has_it == self.group) && setpgid(None, Some(self.group)).is_ok() {
            // A shell that waits for this program may take it, too.
            let _ = tcsetpgrp(&stdin, own);
            let _ = setpgid(None, Some(own));
        }
    }

    /// Stops all of this program's own group, as a shell expects it of a job whose command was stopped, until somebody lets it
    /// go on.
    pub(crate) fn stop_too(&mut self) {
        self.take_back();
        let _ = kill_process_group(getpgrp(), Signal::STOP);
    }
}
