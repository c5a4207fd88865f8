//! Coming to rest: making durable what was placed, and the frames that say so (vouch and close).

use crate::error::Result;
use crate::ledger::backlog;
use crate::ledger::core::{Commit, Core, Status};
use crate::ledger::options::Maintenance;
use crate::ledger::primitives::MutexGuard;
use crate::ledger::spare;
use crate::model::seq::Seq;
use crate::storage::frame::FrameKind;
use crate::storage::names;
use crate::vfs::ops::Process;

/// A tail with more entries than these is sealed when the ledger is closed: the next opening would have to fold them.
const TAIL_MAX: u64 = 4096;

impl Core {
    /// Makes durable all that was placed before.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Closed`].
    pub(crate) fn drain<'a>(&'a self, mut commit: MutexGuard<'a, Commit>) -> Result<MutexGuard<'a, Commit>> {
        loop {
            commit.usable()?;
            if commit.rolling {
                commit = self.wait_landed(commit);
                continue;
            }
            let at_rest;
            (commit, at_rest) = self.step_to_rest(commit);
            if at_rest {
                return Ok(commit);
            }
        }
    }

    /// Waits until all that was placed before this call is durable, and says up to where everything is.
    ///
    /// # Errors
    /// [`Error::Unknown`] where a write or sync failed.
    pub(crate) fn sync(&self) -> Result<Seq> {
        let mut commit = self.commit();
        let asked = commit.placed;
        loop {
            let durable = self.gate.durable();
            if durable >= asked {
                return Ok(durable);
            }
            if !commit.is_open() {
                drop(commit);
                return Err(self.unknown(durable.next(), asked));
            }
            if commit.rolling {
                commit = self.wait_landed(commit);
            } else if self.gate.head() >= asked && commit.unsynced && !commit.syncing {
                // At once, although others fly or wait: where appends come without end there is never rest.
                self.sync_written(commit);
                commit = self.commit();
            } else {
                (commit, _) = self.step_to_rest(commit);
            }
        }
    }

    /// Writes a fact after all that waits, and syncs.
    ///
    /// # Errors
    /// As [`Core::drain`].
    pub(crate) fn write_fact<'a>(&'a self, mut commit: MutexGuard<'a, Commit>, kind: FrameKind) -> Result<()> {
        commit.ends_closed = kind == FrameKind::Close;
        if !commit.has_room_for_facts() {
            // The successor's header vouches as the fact would. A close is then missing: the next opening calls it unclean.
            return self.roll(commit, 0).inspect_err(|_| self.commit().ends_closed = false);
        }
        commit.open_epoch(self.boot_id, self.process);
        let (next, at) = (commit.placed.next(), commit.placed_at);
        commit.buffer.push_fact(kind, &[], next, at);
        self.lead(commit);
        drop(self.drain(self.commit())?);
        Ok(())
    }

    /// Makes all that was placed durable and ends in order. Appends are refused from here on.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::Closed`] the second time; [`Error::NoSpace`] or [`Error::Io`] where the segment is full
    /// and there is none for what closing writes: the ledger is not closed, and goes on.
    pub(crate) fn close(&self) -> Result<()> {
        self.settle();
        let mut commit = loop {
            let commit = self.drain(self.commit())?;
            if commit.making {
                drop(self.wait_landed(commit));
            } else if (commit.opened && !commit.ends_closed) || commit.vouched < commit.placed {
                self.write_fact(commit, FrameKind::Close)?;
            } else {
                // Under the same lock as the look: quiet, and nothing was placed behind the close frame.
                break commit;
            }
        };
        commit.status = Status::Closed;
        self.gate.end();
        let unused = commit.spare.take();
        drop(commit);
        self.landed.notify_all();
        self.gate.wake_followers();
        // Not before: where closing fails, the ledger goes on, and somebody has to lead.
        self.bell.stop();
        self.mark_live(self.gate.durable(), Process { pid: 0, start: 0 });
        if unused.is_some() && spare::check_home(&*self.vfs, &self.dir, self.inode).is_ok() {
            // It only takes up room now. The next writer would remove it, too.
            let _ = self.vfs.remove(&names::spare(&self.dir));
        }
        Ok(())
    }

    /// Does now what the next opening would do: seals a long tail, and gives what is sealed its index. Best effort: what cannot
    /// be done costs the next opening time.
    fn settle(&self) {
        if self.options.maintenance == Maintenance::Manual {
            return;
        }
        let commit = self.commit();
        let tail = commit.placed.next().0 - commit.active.header.base.0;
        if commit.is_open() && !commit.rolling && tail > TAIL_MAX {
            let _ = self.roll(commit, 0);
        } else {
            drop(commit);
        }
        let mut go_on = || self.bell.go_on();
        while go_on().is_ok() && backlog::shorten(self, &mut go_on).unwrap_or(false) {}
    }
}
