//! Attempts and counts of tasks as events of the Trace Event Format: pure.
//!
//! Attempts are packed into lanes in which none overlaps another: each into the lowest that is free when it begins. Memory holds
//! 28 bytes for each attempt, 8 for each move of a task, a record for each task that waits or runs, and a few bytes for each
//! other one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::{Map, Value, json};
use taskledger::{Entry, TaskState, limits};

use crate::cli::bars::{Bar, Bars, Rest};

const STATES: usize = TaskState::ALL.len();
/// In a move, in the place of a state: the task is not there.
const NOWHERE: u64 = 15;
const PID: u64 = 1;

/// The attempts of all tasks, as their entries are shown oldest first.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Tasks that wait or run.
    open: HashMap<Box<str>, Bars>,
    /// The others, by the hash of their id: where two share one, at most the time of a late report is another.
    resting: HashMap<u64, Rest>,
}

impl Attempts {
    /// Begins with a task that has run since a time.
    pub(crate) fn runs(&mut self, id: &str, attempt: u32, since: u64) {
        self.open.insert(id.into(), Bars::running(attempt, since));
    }

    /// Takes the next entry of a task; gives its time, and the attempt that ends with it.
    pub(crate) fn add(&mut self, id: &str, entry: &Entry) -> (u64, Option<Bar>) {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        let bars = self.open.remove(id);
        let mut bars =
            bars.unwrap_or_else(|| self.resting.get(&hash).map_or_else(Bars::default, |&rest| Bars::resting(rest)));
        let mut ended = None;
        bars.add(entry, &mut |bar| ended = Some(bar));
        let when = bars.last();
        match bars.rest() {
            Some(rest) => drop(self.resting.insert(hash, rest)),
            None => drop(self.open.insert(id.into(), bars)),
        }
        (when, ended.filter(has_run))
    }

    /// The attempts that go on, by task.
    pub(crate) fn finish(self) -> Vec<(Box<str>, Bar)> {
        let open = self.open.into_iter().filter_map(|(id, bars)| Some((id, bars.finish()?)));
        let mut running: Vec<(Box<str>, Bar)> = open.filter(|(_, bar)| has_run(bar)).collect();
        running.sort_by(|(a, _), (b, _)| a.cmp(b));
        running
    }
}

fn has_run(bar: &Bar) -> bool {
    bar.attempt.is_some() && bar.runs.is_some()
}

/// When attempts ran, each known by the place in which it was added.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<(u64, u64)>);

impl Spans {
    pub(crate) fn add(&mut self, begin: u64, end: u64) {
        self.0.push((begin, end.max(begin)));
    }

    /// The lane of each, from 0.
    pub(crate) fn lanes(self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|&place| (self.0.get(place), place));
        let mut lanes = vec![0; self.0.len()];
        let (mut busy, mut free) = (BinaryHeap::new(), BinaryHeap::new());
        let mut opened: u32 = 0;
        for place in order {
            let Some(&(begin, end)) = self.0.get(place) else { continue };
            while let Some(&Reverse((until, lane))) = busy.peek().filter(|&&Reverse((until, _))| until <= begin) {
                let _: u64 = until;
                busy.pop();
                free.push(Reverse(lane));
            }
            let lane = free.pop().map_or_else(
                || {
                    opened += 1;
                    opened - 1
                },
                |Reverse(lane)| lane,
            );
            // Even what took no time has its lane for the shortest time that there is.
            busy.push(Reverse((end.max(begin.saturating_add(1)), lane)));
            if let Some(place) = lanes.get_mut(place) {
                *place = lane;
            }
        }
        lanes
    }
}

/// When tasks came from which state to which, each in 8 bytes.
#[derive(Debug, Default)]
pub(crate) struct Moves(Vec<u64>);

/// How many tasks are in each state, from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub from: u64,
    pub counts: [u64; STATES],
}

impl Moves {
    pub(crate) fn add(&mut self, when: u64, from: Option<TaskState>, to: Option<TaskState>) {
        if from != to {
            self.0.push(when.min(limits::TIME_MS_MAX) << 8 | number(from) << 4 | number(to));
        }
    }

    /// Shows each time at which the counts change, with what they are from then on. Before all moves they are as in `before`.
    /// With a start it begins there, with all that was by then.
    pub(crate) fn levels<E>(
        mut self,
        before: [u64; STATES],
        start: Option<u64>,
        visit: &mut dyn FnMut(Level) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.sort_unstable();
        let mut counts = before;
        let mut shown = None;
        let by_then = start.map_or(0, |start| self.0.partition_point(|change| change >> 8 <= start));
        let (earlier, later) = self.0.split_at(by_then);
        earlier.iter().for_each(|&change| apply(change, &mut counts));
        if let Some(from) = start {
            visit(Level { from, counts })?;
            shown = Some(counts);
        }
        for same in later.chunk_by(|a, b| a >> 8 == b >> 8) {
            same.iter().for_each(|&change| apply(change, &mut counts));
            if let Some(first) = same.first().filter(|_| shown != Some(counts)) {
                visit(Level { from: first >> 8, counts })?;
                shown = Some(counts);
            }
        }
        Ok(())
    }
}

fn number(state: Option<TaskState>) -> u64 {
    let place = state.and_then(|state| TaskState::ALL.iter().position(|&other| other == state));
    place.map_or(NOWHERE, |place| place as u64)
}

fn apply(change: u64, counts: &mut [u64; STATES]) {
    // Those that leave and enter a state in one millisecond come in any order: only their sum is shown.
    if let Some(from) = counts.get_mut((change >> 4 & 15) as usize) {
        *from = from.wrapping_sub(1);
    }
    if let Some(to) = counts.get_mut((change & 15) as usize) {
        *to = to.wrapping_add(1);
    }
}

/// One event of the format, with its fields in the order in which they are commonly written.
#[derive(Debug, Serialize)]
pub(crate) struct TraceEvent<'a> {
    ph: &'static str,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    args: Value,
}

/// What is known of an attempt beside its times.
#[derive(Debug)]
pub(crate) struct Details<'a> {
    pub task: &'a str,
    /// The entry with which it ended, or the task's last one.
    pub seq: u64,
    pub version: Option<u64>,
    pub error: Option<&'a str>,
}

/// An attempt in a lane, up to a time where it goes on.
pub(crate) fn slice<'a>(bar: &Bar, lane: u32, end: u64, details: &Details<'a>) -> TraceEvent<'a> {
    let begin = bar.runs.unwrap_or(end);
    let ended = match (bar.end, bar.ended) {
        (None, _) => None,
        (Some(_), None) => Some("removed"),
        (Some(_), Some(state)) => Some(state.name()),
    };
    let fields: [(&str, Option<Value>); 7] = [
        ("task", Some(details.task.into())),
        ("attempt", bar.attempt.map(Value::from)),
        ("ended", ended.map(Value::from)),
        ("lost", bar.lost.then(|| true.into())),
        ("error", details.error.map(Value::from)),
        ("seq", Some(details.seq.into())),
        ("version", details.version.map(Value::from)),
    ];
    let args: Map<String, Value> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    TraceEvent {
        ph: "X",
        pid: PID,
        tid: u64::from(lane) + 1,
        ts: Some(micros(begin)),
        dur: Some(micros(bar.end.unwrap_or(end).saturating_sub(begin))),
        name: details.task,
        cat: Some("attempt"),
        args: Value::Object(args),
    }
}

/// How many tasks are in each state from a time on.
pub(crate) fn counter(level: &Level) -> TraceEvent<'static> {
    let counts = TaskState::ALL.iter().zip(level.counts);
    let args: Map<String, Value> = counts.map(|(state, count)| (state.name().to_owned(), count.into())).collect();
    let (ts, args) = (Some(micros(level.from)), Value::Object(args));
    TraceEvent { ph: "C", pid: PID, tid: 0, ts, dur: None, name: "tasks", cat: None, args }
}

/// What the lanes, and all of it, are called.
pub(crate) fn names(lanes: u32) -> impl Iterator<Item = TraceEvent<'static>> {
    let meta = |tid, name, args| TraceEvent { ph: "M", pid: PID, tid, ts: None, dur: None, name, cat: None, args };
    let of_lane = move |lane: u64| {
        [
            meta(lane, "thread_name", json!({"name": format!("slot {lane}")})),
            meta(lane, "thread_sort_index", json!({"sort_index": lane})),
        ]
    };
    let whole = meta(0, "process_name", json!({"name": "taskledger"}));
    std::iter::once(whole).chain((1..=u64::from(lanes)).flat_map(of_lane))
}

fn micros(millis: u64) -> u64 {
    millis.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(spans: &[(u64, u64)]) -> Vec<u32> {
        let mut all = Spans::default();
        spans.iter().for_each(|&(begin, end)| all.add(begin, end));
        all.lanes()
    }

    #[test]
    fn an_attempt_gets_the_lowest_lane_that_is_free() {
        assert_eq!(lanes(&[]), [0; 0]);
        assert_eq!(lanes(&[(0, 10), (10, 20), (5, 7), (7, 8), (6, 30)]), [0, 0, 1, 1, 2]);
        assert_eq!(lanes(&[(20, 30), (0, 25), (10, 12), (12, 13)]), [1, 0, 1, 1], "added in any order");
        assert_eq!(lanes(&[(0, 9), (1, 9), (2, 5), (9, 12), (9, 12), (9, 12)]), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn what_took_no_time_overlaps_nothing() {
        assert_eq!(lanes(&[(5, 5), (5, 5), (5, 9), (6, 6)]), [0, 1, 2, 0]);
        assert_eq!(lanes(&[(0, 5), (5, 5), (5, 8)]), [0, 0, 1]);
    }

    fn levels(moves: &[(u64, Option<TaskState>, Option<TaskState>)], start: Option<u64>) -> Vec<(u64, u64, u64)> {
        let mut all = Moves::default();
        moves.iter().for_each(|&(when, from, to)| all.add(when, from, to));
        let mut shown = Vec::new();
        let ended: Result<(), ()> = all.levels([0; STATES], start, &mut |level| {
            let [pending, ready, ..] = level.counts;
            shown.push((level.from, pending, ready));
            Ok(())
        });
        ended.map(|()| shown).expect("nothing fails")
    }

    #[test]
    fn counts_are_told_once_a_millisecond_in_order_of_time() {
        let (pending, ready) = (Some(TaskState::Pending), Some(TaskState::Ready));
        let moves = [
            (7, None, pending),
            (9, pending, ready),
            (3, None, pending),
            (9, ready, None),
            (5, None, pending),
            (5, pending, None),
        ];
        assert_eq!(levels(&moves, None), [(3, 1, 0), (7, 2, 0), (9, 1, 0)]);
        assert_eq!(levels(&moves, Some(7)), [(7, 2, 0), (9, 1, 0)]);
        assert_eq!(levels(&moves, Some(8)), [(8, 2, 0), (9, 1, 0)]);
        assert_eq!(levels(&moves, Some(20)), [(20, 1, 0)]);
        assert_eq!(levels(&[], Some(20)), [(20, 0, 0)]);
    }
}
