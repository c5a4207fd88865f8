//! Jobs that several threads do ahead, and what they come to in their order, as if one thread did one after the other.
//!
//! Memory: as many jobs as there are threads and one more are begun and not taken yet, each with a few pieces that wait.
//! Pieces are dropped by the thread that made them: where an allocator has memory for each thread, threads that free each
//! other's wait for one another.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// So many pieces of a job wait to be taken, at most.
const PIECES_AHEAD: usize = 8;

/// How many threads the machine does at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What a job gives: pieces on its way, and then what it came to.
#[derive(Debug)]
pub(crate) enum Given<P, T> {
    Piece(P),
    Done(T),
}

/// Who takes what jobs give: the number of the job, and that.
pub(crate) type Take<'a, P, T, E> = &'a mut dyn FnMut(usize, Given<&P, T>) -> Result<(), E>;

/// What a thread has made, and where the piece goes when it was taken.
type Made<P, T> = (Given<P, T>, Sender<P>);

/// A job as a thread does it: its number, and where its pieces go; that is false once nobody wants more.
pub(crate) type Job<'a, P, T> = &'a (dyn Fn(usize, &mut dyn FnMut(P) -> bool) -> T + Sync);

/// How far the jobs have been taken.
struct Taken {
    /// The job that is being taken; all of them once it is over, so that nobody waits.
    job: Mutex<usize>,
    moved: Condvar,
}

/// Does so many jobs on so many threads, one of them on the caller's own, and gives what they come to in order to `take`. Its
/// error ends it: jobs that are under way are told so where they give a piece.
///
/// # Errors
/// What `take` says.
pub(crate) fn in_order<P: Send, T: Send, E>(
    jobs: usize,
    threads: usize,
    work: Job<'_, P, T>,
    take: Take<'_, P, T, E>,
) -> Result<(), E> {
    if threads <= 1 {
        return one_by_one(jobs, work, take);
    }
    let threads = threads.min(jobs);
    let taken = Taken { job: Mutex::new(0), moved: Condvar::new() };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..jobs).map(|_| sync_channel(PIECES_AHEAD)).unzip();
    let waiting = Mutex::new(senders.into_iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (back, used) = channel();
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((n, sender)) = next.filter(|(n, _)| taken.is_near(*n, threads, jobs)) else { return };
                    run(n, &sender, (&back, &used), work);
                }
            });
        }
        // Also where `take` panics: the threads must come to an end.
        let over = Over(&taken, jobs);
        for (n, receiver) in receivers.into_iter().enumerate() {
            taken.move_to(n);
            for (given, back) in receiver {
                match given {
                    Given::Done(done) => take(n, Given::Done(done))?,
                    Given::Piece(piece) => {
                        take(n, Given::Piece(&piece))?;
                        // Its thread may have ended.
                        let _ = back.send(piece);
                    }
                }
            }
        }
        drop(over);
        Ok(())
    })
}

/// As [`in_order`], on the caller's thread.
fn one_by_one<P, T, E>(jobs: usize, work: Job<'_, P, T>, take: Take<'_, P, T, E>) -> Result<(), E> {
    for n in 0..jobs {
        let mut taken = Ok(());
        let done = work(n, &mut |piece| {
            if taken.is_ok() {
                taken = take(n, Given::Piece(&piece));
            }
            taken.is_ok()
        });
        taken?;
        take(n, Given::Done(done))?;
    }
    Ok(())
}

fn run<P, T>(n: usize, to: &SyncSender<Made<P, T>>, (back, used): (&Sender<P>, &Receiver<P>), work: Job<'_, P, T>) {
    let done = work(n, &mut |piece| {
        used.try_iter().for_each(drop);
        to.send((Given::Piece(piece), back.clone())).is_ok()
    });
    // Nobody is there to take it where it is over.
    let _ = to.send((Given::Done(done), back.clone()));
}

impl Taken {
    /// Waits until this job is one of the next; false where it is over.
    fn is_near(&self, n: usize, threads: usize, jobs: usize) -> bool {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        while n > job.saturating_add(threads) {
            job = self.moved.wait(job).unwrap_or_else(PoisonError::into_inner);
        }
        *job < jobs
    }

    fn move_to(&self, job: usize) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = job;
        self.moved.notify_all();
    }
}

/// Says that it is over, however that came.
struct Over<'a>(&'a Taken, usize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.move_to(self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Told = Vec<(usize, u64)>;

    fn all(jobs: usize, threads: usize, until: usize) -> Result<Told, Told> {
        let mut told = Vec::new();
        let work = |n: usize, give: &mut dyn FnMut(u64) -> bool| {
            let pieces = (0..20 + n as u64 % 7).take_while(|piece| give(*piece)).count();
            pieces as u64
        };
        let ended = in_order(jobs, threads, &work, &mut |n, given| {
            match given {
                Given::Piece(piece) => told.push((n, *piece)),
                Given::Done(pieces) => told.push((n, 1000 + pieces)),
            }
            if n == until { Err(()) } else { Ok(()) }
        });
        if ended.is_ok() { Ok(told) } else { Err(told) }
    }

    #[test]
    fn several_threads_come_to_what_one_comes_to_in_the_same_order() {
        let one = all(50, 1, usize::MAX).expect("nothing ends it");
        assert_eq!(one.iter().filter(|(_, told)| *told >= 1000).count(), 50);
        assert!(one.is_sorted(), "{one:?}");
        for threads in [0, 2, 4, 100] {
            assert_eq!(all(50, threads, usize::MAX).as_ref(), Ok(&one));
        }
        assert_eq!(all(0, 4, 0), Ok(Vec::new()));
    }

    #[test]
    fn an_error_ends_it_whatever_the_threads_are_at() {
        for (until, threads) in [(0, 4), (7, 4), (49, 4), (0, 1), (7, 1)] {
            let told = all(50, threads, until).expect_err("it is ended");
            assert_eq!(told.last(), Some(&(until, 0)));
        }
    }

    #[test]
    fn a_piece_is_dropped_by_the_thread_that_made_it() {
        struct Piece(thread::ThreadId, Arc<Mutex<u64>>);
        impl Drop for Piece {
            fn drop(&mut self) {
                *self.1.lock().unwrap() += u64::from(self.0 != thread::current().id());
            }
        }
        let elsewhere = Arc::new(Mutex::new(0));
        let work = |_: usize, give: &mut dyn FnMut(Piece) -> bool| {
            assert!((0..8).all(|_| give(Piece(thread::current().id(), Arc::clone(&elsewhere)))), "all are wanted");
        };
        let ended: Result<(), ()> = in_order(50, 2, &work, &mut |_, _| Ok(()));
        ended.expect("nothing ends it");
        // But for those that come back when their thread has nothing more to do.
        let elsewhere = *elsewhere.lock().unwrap();
        assert!(elsewhere <= 3 * (PIECES_AHEAD as u64 + 1), "{elsewhere} of 400");
    }

    #[test]
    fn no_job_is_begun_long_before_it_is_taken() {
        let begun = Mutex::new(0);
        let work = |n: usize, _: &mut dyn FnMut(()) -> bool| *begun.lock().unwrap() = n;
        let ended: Result<(), ()> = in_order(1000, 3, &work, &mut |n, _| {
            assert!(*begun.lock().unwrap() <= n + 4, "{n}");
            Ok(())
        });
        ended.expect("nothing ends it");
    }
}
