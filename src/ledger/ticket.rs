//! `Ticket`: what a submit gives in place of a receipt, to be redeemed once the batch is acknowledged.
//!
//! Asking and polling touch memory only. Whoever drops a ticket loses nothing but the answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::ledger::batch::Receipt;
use crate::ledger::commit::Claim;
use crate::ledger::core::Core;
use crate::ledger::gate::Waited;
use crate::model::seq::Seq;

/// A batch that has its place and is not acknowledged yet. Wait for it, ask it, or await it; it needs no runtime.
///
/// Its batch is flushed whatever becomes of the ticket: by whoever waits, by other appends, else by the ledger's own
/// thread. With [`Maintenance::Manual`](crate::Maintenance::Manual) there is no such thread, and somebody must wait,
/// append, or call [`Ledger::maintain`](crate::Ledger::maintain).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use taskledger::{Event, Ledger};
/// let ledger = Ledger::open(dir.path())?;
/// let tickets: Vec<_> =
///     (0..100).map(|n| ledger.submit(format!("t{n}"), Event::created())).collect::<Result<_, _>>()?;
/// for ticket in tickets {
///     ticket.wait()?; // durable now
/// }
/// assert_eq!(ledger.counts().total(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ticket {
    core: Arc<Core>,
    /// What must be acknowledged before the answer may be told.
    last: Seq,
    /// `None` once it was told.
    claim: Option<Claim>,
    /// Its number among those who left a waker, once it has.
    waiter: Option<u64>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("claim", &self.claim).finish_non_exhaustive()
    }
}

impl Ticket {
    pub(crate) fn new(core: Arc<Core>, claim: Claim) -> Ticket {
        Ticket { core, last: claim.last, claim: Some(claim), waiter: None }
    }

    /// Waits until the batch is acknowledged: durable, or written in [`Durability::Buffered`](crate::Durability).
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) where a write or sync failed. A refusal, where it rests on entries that
    /// were not durable yet when it was submitted. For a replayed batch of several events also why it cannot be read
    /// back.
    ///
    /// # Panics
    /// Where it was awaited to its end before.
    pub fn wait(mut self) -> Result<Receipt> {
        let claim = self.claim.take().expect("a ticket answers once");
        if self.core.gate.look(claim.last) != Waited::Acknowledged {
            self.core.follow(self.core.commit(), claim.first, claim.last)?;
        }
        self.core.redeem(claim.end)
    }

    /// Whether a power cut can no longer take what it stands for.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.core.gate.durable() >= self.last
    }

    /// The answer, where it may be told.
    fn answer(&mut self) -> Poll<Result<Receipt>> {
        let waited = self.core.gate.look(self.last);
        if waited == Waited::Pending {
            return Poll::Pending;
        }
        let claim = self.claim.take().expect("a future is not polled again once it was ready");
        Poll::Ready(match waited {
            Waited::Poisoned => Err(self.core.unknown(claim.first, claim.last)),
            _ => self.core.redeem(claim.end),
        })
    }
}

/// Ready once the batch is acknowledged; errors as [`Ticket::wait`]. Polling does no I/O (only a replayed batch of
/// several events is read back).
impl Future for Ticket {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Receipt>> {
        if let Poll::Ready(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        let waiter = match self.waiter {
            Some(waiter) => waiter,
            None => self.core.gate.new_waiter(),
        };
        self.waiter = Some(waiter);
        self.core.gate.leave_waker(self.last, waiter, context.waker().clone());
        // It may have been acknowledged before the waker was there.
        self.answer()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.core.gate.take_waker(self.last, waiter);
        }
    }
}
