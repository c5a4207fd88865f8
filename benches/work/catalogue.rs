//! What is reported of each workload: names of figures, their units, and which way is better.

use std::sync::LazyLock;

use super::drive::{BATCH, THREADS, TICKETS};

pub struct Figure {
    pub name: String,
    pub workload: &'static str,
    pub title: String,
    pub is_rate: bool,
    /// Whether peers are held against the ledger by it.
    pub is_compared: bool,
}

/// What a workload is, above its table.
pub const TITLES: [(&str, &str); 8] = [
    ("W1", "durable appends, one thread, one event a call; then 100 events a call"),
    ("W2", "durable appends by many threads, each waits for its own event"),
    ("W3", "appends that do not wait for the disk, one thread; then 100 events a call"),
    ("W4", "opening until the tasks by state are known, after a clean close and after a kill"),
    ("W5", "the history of one task, from the page cache"),
    ("W6", "after half of the events, from the page cache: tasks by state; the state of every task"),
    ("W7", "integrity check, from the page cache"),
    ("W8", "bytes on disk, and the most memory that building the store and asking it took"),
];

pub static FIGURES: LazyLock<Vec<Figure>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |name: &str, workload, title: &str, is_rate, is_compared| {
        all.push(Figure { name: name.to_owned(), workload, title: title.to_owned(), is_rate, is_compared });
    };
    add("w1.rate", "W1", "events/s", true, true);
    add("w1.p50_us", "W1", "p50 µs", false, true);
    add("w1.p99_us", "W1", "p99 µs", false, true);
    add("w1.batch", "W1", &format!("events/s by {BATCH}"), true, true);
    for threads in THREADS {
        add(&format!("w2.rate.{threads}"), "W2", &format!("events/s, {threads} threads"), true, true);
    }
    for threads in &THREADS[2..] {
        add(&format!("w2.p99_ms.{threads}"), "W2", &format!("p99 ms, {threads} threads"), false, true);
    }
    add("w2.tickets", "W2", &format!("events/s, one thread with {TICKETS} tickets"), true, false);
    add("w3.single", "W3", "events/s", true, true);
    add("w3.batch", "W3", &format!("events/s by {BATCH}"), true, true);
    add("w4.clean_ms", "W4", "after close, ms", false, true);
    add("w4.clean_open_ms", "W4", "of that opening", false, false);
    add("w4.killed_ms", "W4", "after kill, ms", false, true);
    add("w4.killed_open_ms", "W4", "of that opening", false, false);
    add("w4.clean_rss_mb", "W4", "peak MB after close", false, true);
    add("w4.killed_rss_mb", "W4", "peak MB after kill", false, true);
    add("w5.p50_us", "W5", "p50 µs", false, true);
    add("w5.p99_us", "W5", "p99 µs", false, true);
    add("w6.counts_ms", "W6", "tasks by state, ms", false, true);
    add("w6.states_ms", "W6", "state of every task, ms", false, true);
    add("w7.ms.0", "W7", "first check, ms", false, true);
    add("w7.ms.1", "W7", "second check, ms", false, false);
    add("w7.ms.2", "W7", "third check, ms", false, false);
    add("w8.bytes", "W8", "bytes/event on disk", false, true);
    add("w8.task_bytes", "W8", "bytes/task, where no event is kept", false, false);
    add("w8.log", "W8", "of that the log alone", false, false);
    add("w8.rss_write_mb", "W8", "peak MB building", false, true);
    add("w8.rss_read_mb", "W8", "peak MB asking", false, true);
    add("build.seconds", "W8", "seconds to build", false, false);
    all
});
