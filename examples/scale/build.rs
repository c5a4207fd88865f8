//! A large ledger from a seed: tasks come and go in a window, with retries, failures, outputs and metadata.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use taskledger::{Batch, Durability, Event, Expect, Options, TaskState};

use super::{Figures, Outcome, Size};

/// So many tasks are under way at a time.
const WINDOW: u64 = 20_000;
/// So many events are appended at a time.
const BATCH: usize = 1000;
/// Names what was built, beside the ledger.
const STAMP: &str = "scale.built";

/// The id of a task, by its number.
pub fn id(n: u64) -> String {
    format!("job-{:016x}", scramble(n))
}

/// A bijection that spreads numbers.
fn scramble(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    let n = (n ^ (n >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d);
    n ^ (n >> 33)
}

/// The event number `step` of `steps` of a task.
pub fn event(n: u64, step: u64, steps: u64) -> Event {
    let luck = scramble(n ^ 0x5eed) % 100;
    match step {
        0 => Event::created().meta("queue", format!("queue-{}", n % 7)).meta("tenant", format!("tenant-{}", n % 1009)),
        1 => Event::to(TaskState::Ready).by("scheduler"),
        // One in fifty waits for ever.
        _ if luck < 2 => Event::updated().meta("seen", step.to_string()),
        last if last + 1 == steps && luck < 7 => {
            Event::to(TaskState::Failed).error(format!("exit code {}: the upstream closed the connection", n % 250))
        }
        last if last + 1 == steps => Event::to(TaskState::Completed)
            .output(serde_json::json!({"rows": n % 100_000, "artifact": format!("s3://results/{n:012}.parquet")})),
        // The steps between are attempts: it runs, and is retried.
        step if step + 2 == steps || step % 2 == 0 => Event::to(TaskState::Running).by(format!("worker-{}", n % 64)),
        _ => Event::to(TaskState::Retrying).because("the lease ran out"),
    }
}

fn stamp(size: Size) -> String {
    format!("taskledger {} built {} tasks of {} events\n", env!("CARGO_PKG_VERSION"), size.tasks, size.events_per_task)
}

/// Builds the ledger, unless it is there.
pub fn build_or_reuse(size: Size, dir: &Path) -> Outcome<Figures> {
    let note = dir.with_extension(STAMP);
    let mut figures = vec![
        ("tasks".to_owned(), size.tasks as f64),
        ("events".to_owned(), (size.tasks * size.events_per_task) as f64),
    ];
    if std::fs::read_to_string(&note).is_ok_and(|text| text == stamp(size)) {
        return Ok(figures);
    }
    if dir.exists() {
        return Err(format!("{} is there, and was not built by this version from these numbers", dir.display()).into());
    }
    let started = Instant::now();
    let buffered = Durability::Buffered { sync_every: Duration::from_secs(1) };
    let ledger = Options::new().durability(buffered).open(dir)?;
    let mut batch = Batch::new();
    let mut done = 0;
    // Round by round each task of the window takes a step; when it has taken all, another one takes its place.
    let mut window: Vec<(u64, u64)> = Vec::new();
    let mut next = 0;
    loop {
        // So many begin in each round that all kinds of events mix.
        for _ in 0..WINDOW.div_ceil(size.events_per_task).min(size.tasks - next) {
            window.push((next, 0));
            next += 1;
        }
        if window.is_empty() {
            break;
        }
        for (n, step) in &mut window {
            batch.push(id(*n), event(*n, *step, size.events_per_task), Expect::Any);
            *step += 1;
            if batch.len() == BATCH {
                ledger.commit(std::mem::take(&mut batch))?;
                done += BATCH as u64;
                if done.is_multiple_of(1_000_000) {
                    writeln!(
                        std::io::stderr(),
                        "{} M events, {:.0} s",
                        done / 1_000_000,
                        started.elapsed().as_secs_f64()
                    )?;
                }
            }
        }
        window.retain(|(_, step)| *step < size.events_per_task);
    }
    if !batch.is_empty() {
        ledger.commit(batch)?;
    }
    figures.push(("build_events_per_s".to_owned(), ledger.head().0 as f64 / started.elapsed().as_secs_f64()));
    ledger.close()?;
    std::fs::write(note, stamp(size))?;
    Ok(figures)
}
