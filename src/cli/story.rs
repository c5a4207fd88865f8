//! The invented night that `demo` writes: a data pipeline between two and three o'clock, on two tables and a list.
//!
//! All of it is fixed, so that two demos are equal entry by entry and documents can quote them.

use taskledger::{Event, Seq, TaskState};

/// When the night begins: 2026-03-01T02:00:00Z.
pub(crate) const START: u64 = 1_772_330_400_000;
/// When the picture ends: one hour later.
pub(crate) const END: u64 = START + 3_600_000;

/// One entry to be.
#[derive(Debug)]
pub(crate) struct Step {
    pub task: &'static str,
    /// When it is reported, in milliseconds since the Unix epoch. Steps with equal times are one batch.
    pub reported: u64,
    /// When it happened: earlier than reported for one step.
    pub stated: u64,
    pub event: Event,
    /// The step that led to it: the last one that moved this task to this state.
    cause: Option<(&'static str, TaskState)>,
}

/// A task that workers try; all times in seconds after the start.
struct Work {
    task: &'static str,
    owner: &'static str,
    ready: u64,
    tries: &'static [Try],
}

struct Try {
    worker: &'static str,
    from: u64,
    to: u64,
    end: End,
}

enum End {
    Done(&'static str),
    Retry(&'static str),
    Fail(&'static str),
    /// The worker went away without a word.
    Crash(&'static str),
    /// Still running when the night ends.
    Open,
}

const fn done(worker: &'static str, from: u64, to: u64, output: &'static str) -> Try {
    Try { worker, from, to, end: End::Done(output) }
}

const fn retry(worker: &'static str, from: u64, to: u64, error: &'static str) -> Try {
    Try { worker, from, to, end: End::Retry(error) }
}

const fn fail(worker: &'static str, from: u64, to: u64, error: &'static str) -> Try {
    Try { worker, from, to, end: End::Fail(error) }
}

const fn work(task: &'static str, owner: &'static str, ready: u64, tries: &'static [Try]) -> Work {
    Work { task, owner, ready, tries }
}

const RUN: &str = "nightly/2026-03-01";
const EXPIRED: &str = "401 Unauthorized: the token of the ad network has expired";

/// The tasks in the order in which the planner makes them. Those that are never ready are only created here.
const NIGHT: &[Work] = &[
    work(RUN, "data", 1, &[Try { worker: "planner", from: 2, to: 0, end: End::Open }]),
    work("extract/orders", "shop", 3, &[done("worker-1", 6, 312, r#"{"rows":184220,"bytes":41250816}"#)]),
    work("extract/customers", "shop", 3, &[done("worker-2", 7, 141, r#"{"rows":52310}"#)]),
    work("extract/products", "shop", 3, &[done("worker-3", 8, 95, r#"{"rows":8412}"#)]),
    work(
        "extract/payments",
        "shop",
        3,
        &[retry("worker-4", 9, 130, "connection reset by peer"), done("worker-4", 190, 402, r#"{"rows":179004}"#)],
    ),
    work("extract/refunds", "shop", 3, &[done("worker-3", 99, 171, r#"{"rows":2107}"#)]),
    work("extract/web-events", "web", 3, &[done("worker-2", 145, 760, r#"{"rows":5120033}"#)]),
    work(
        "extract/ad-spend",
        "web",
        3,
        &[
            retry("worker-3", 175, 181, EXPIRED),
            retry("worker-3", 241, 246, EXPIRED),
            fail("worker-3", 366, 371, EXPIRED),
        ],
    ),
    work("extract/shipments", "stock", 3, &[]),
    work("clean/products", "shop", 96, &[done("worker-5", 98, 155, r#"{"rows":8412,"dropped":0}"#)]),
    work("clean/customers", "shop", 142, &[done("worker-5", 160, 290, r#"{"rows":52308,"dropped":2}"#)]),
    work("clean/orders", "shop", 313, &[done("worker-1", 316, 655, r#"{"rows":184219,"dropped":1}"#)]),
    work("clean/payments", "shop", 403, &[done("worker-4", 405, 610, r#"{"rows":179004,"dropped":0}"#)]),
    work("clean/web-events", "web", 761, &[done("worker-2", 765, 1510, r#"{"rows":5003871,"dropped":116162}"#)]),
    work("clean/shipments", "stock", 801, &[done("worker-5", 803, 930, r#"{"rows":160988,"dropped":12}"#)]),
    work("join/order-lines", "shop", 656, &[done("worker-1", 660, 1130, r#"{"rows":612004}"#)]),
    work("join/revenue", "finance", 1131, &[done("worker-1", 1135, 1485, r#"{"rows":612004,"total":9120445.17}"#)]),
    work("join/sessions", "web", 1511, &[done("worker-2", 1515, 2150, r#"{"rows":731522}"#)]),
    work("check/orders", "shop", 1132, &[done("worker-3", 1136, 1190, r#"{"checks":14,"failed":0}"#)]),
    work("check/revenue", "finance", 1486, &[done("worker-3", 1490, 1545, r#"{"checks":9,"failed":0}"#)]),
    work("check/sessions", "web", 2151, &[done("worker-3", 2154, 2210, r#"{"checks":6,"failed":0}"#)]),
    work(
        "train/forecast",
        "science",
        1487,
        &[
            retry("worker-5", 1492, 2040, "out of memory: 30.1 GiB of 32 GiB in use"),
            fail("worker-5", 2100, 2655, "out of memory: 31.8 GiB of 32 GiB in use"),
        ],
    ),
    work(
        "train/churn",
        "science",
        2152,
        &[
            Try { worker: "worker-4", from: 2156, to: 2700, end: End::Crash("worker-4 has not answered since 02:41") },
            done("worker-6", 2706, 3390, r#"{"auc":0.871,"epochs":40}"#),
        ],
    ),
    work("report/finance", "finance", 1546, &[done("worker-1", 1550, 1640, r#"{"pages":12}"#)]),
    work("report/operations", "stock", 2211, &[done("worker-1", 2215, 2290, r#"{"pages":7}"#)]),
    work("report/marketing", "web", 0, &[]),
    work("report/forecast", "science", 0, &[]),
    work(
        "publish/dashboard",
        "data",
        2291,
        &[done("worker-2", 2296, 2380, r#"{"url":"https://example.com/nightly"}"#)],
    ),
    work("publish/email", "data", 2292, &[]),
    work("publish/archive", "data", 2381, &[Try { worker: "worker-3", from: 2390, to: 0, end: End::Open }]),
    work("publish/model", "science", 3391, &[]),
];

/// A second of the night, with milliseconds that look like those of a clock.
fn at(second: u64) -> u64 {
    START + second * 1000 + second * 379 % 1000
}

/// All steps in the order in which they are appended, and each with its cause.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = NIGHT.iter().flat_map(of_work).collect();
    steps.extend(apart());
    // The order within one moment is that of the tables.
    steps.sort_by_key(|step| step.reported);
    for n in 0..steps.len() {
        let cause = steps.get(n).and_then(|step| step.cause);
        let moved = |step: &Step, (task, state)| step.task == task && step.event.state() == Some(state);
        let cause = cause.and_then(|cause| steps.iter().take(n).rposition(|step| moved(step, cause)));
        if let (Some(cause), Some(step)) = (cause, steps.get_mut(n)) {
            step.event = step.event.clone().cause(Seq(cause as u64 + 1));
        }
    }
    steps
}

fn step(task: &'static str, second: u64, event: Event) -> Step {
    Step { task, reported: at(second), stated: at(second), event, cause: None }
}

fn of_work(work: &Work) -> Vec<Step> {
    let Work { task, owner, .. } = *work;
    let created = Event::created().by("planner").meta("owner", owner);
    let created =
        if task == RUN { created.meta("trigger", "cron 0 2 * * *").key("nightly-2026-03-01") } else { created };
    let mut steps = vec![step(task, 0, created)];
    if work.ready > 0 {
        steps.push(step(task, work.ready, Event::to(TaskState::Ready).by("planner")));
    }
    for Try { worker, from, to, end } in work.tries {
        steps.push(step(task, *from, Event::to(TaskState::Running).by(*worker)));
        let end = match *end {
            End::Done(output) => Event::to(TaskState::Completed).output_text(output).clear_error().by(*worker),
            End::Retry(error) => Event::to(TaskState::Retrying).error(error).by(*worker),
            End::Fail(error) => Event::to(TaskState::Failed).error(error).by(*worker),
            End::Crash(reason) => Event::requeued(TaskState::Ready).because(reason).by("recovery"),
            End::Open => continue,
        };
        steps.push(step(task, *to, end));
    }
    steps
}

/// What is no try of a worker.
fn apart() -> Vec<Step> {
    let dead = Event::to(TaskState::DeadLettered).by("planner").because("3 of 3 tries used");
    let skipped = |reason| Event::to(TaskState::Skipped).by("planner").because(reason);
    // The warehouse runs its own jobs, and told only afterwards what it had done.
    let shipments = Event::observed(TaskState::Completed)
        .by("warehouse-bridge")
        .attempts(1)
        .started_at(Some(at(61)))
        .finished_at(Some(at(480)))
        .output_text(r#"{"rows":161000}"#);
    let uploaded = |share: &str| Event::updated().by("worker-3").meta("uploaded", share);
    vec![
        Step { cause: Some(("extract/ad-spend", TaskState::Failed)), ..step("extract/ad-spend", 372, dead) },
        Step {
            cause: Some(("extract/ad-spend", TaskState::Failed)),
            ..step("report/marketing", 372, skipped("there is no ad spend to report"))
        },
        Step { stated: at(480), ..step("extract/shipments", 800, shipments) },
        Step {
            cause: Some(("train/forecast", TaskState::Failed)),
            ..step("report/forecast", 2656, skipped("there is no forecast to report"))
        },
        step(
            "publish/email",
            2900,
            Event::to(TaskState::Cancelled).by("anna").because("the forecast is missing; I write it by hand"),
        ),
        step("publish/archive", 2990, uploaded("37 %")),
        step("publish/archive", 3540, uploaded("81 %")),
        step(RUN, 3598, Event::updated().by("planner").meta("progress", "28 of 30 ended")),
    ]
}
