//! What the threads of a ledger wait, wake, count and tell time with: that of std. In the unit tests of this crate it is
//! what shuttle schedules, so that the very same code runs there in orders that a test chooses (`schedules.rs`).
//!
//! Every file of `ledger` that handles share takes these from here. `Arc` stays std's, and so does the
//! lock of a segment's frames, under which no other thread is ever waited for.

#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(test))]
pub(crate) use std::thread;
#[cfg(not(test))]
pub(crate) use std::time::Instant;

#[cfg(test)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(test)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock};
#[cfg(test)]
pub(crate) use shuttle::thread;
#[cfg(test)]
pub(crate) use timed::{Condvar, Instant};

#[cfg(test)]
mod timed;
