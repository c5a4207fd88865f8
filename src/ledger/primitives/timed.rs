//! Time under a schedule: a clock that moves when it is read, and alarms that go off whenever the schedule
//! says so.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

use shuttle::sync::MutexGuard;

/// So much time passes between two looks at the clock.
const TICK: Duration = Duration::from_micros(10);

thread_local! {
    /// All threads of a schedule run on one thread of the system, one at a time. Only differences are looked at.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn pass(time: Duration) -> Duration {
    NOW.with(|now| {
        now.set(now.get() + time);
        now.get()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(pass(TICK))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now() - *self
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whether a wait ended because its time was over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeout(bool);

impl Timeout {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// An alarm goes off at any moment from here on. One that is late wakes without a reason whoever waits then, which
    /// waits may do.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, Timeout)> {
        let rung = Arc::new(AtomicBool::new(false));
        let (alarm, condvar) = (Arc::clone(&rung), Arc::clone(&self.0));
        shuttle::thread::spawn(move || {
            pass(time);
            alarm.store(true, Ordering::Relaxed);
            condvar.notify_all();
        });
        let woken = self.0.wait(guard);
        let timeout = Timeout(rung.load(Ordering::Relaxed));
        match woken {
            Ok(guard) => Ok((guard, timeout)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), timeout))),
        }
    }
}
