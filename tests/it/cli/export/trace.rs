//! Traces by the published format, and against a reading of the log that shares no code with the program.
//!
//! What the format asks for is in "Trace Event Format" of the Catapult project: the fields that each phase needs, and that
//! complete events of one thread nest or are disjoint. Here they are always disjoint.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{entries, export, random};
use crate::cli::{Demo, path, run, run_on};
use crate::workflows::runs;

/// An attempt; times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    pub task: String,
    pub attempt: u64,
    pub begin: u64,
    pub end: u64,
    pub ended: Option<String>,
    pub seq: u64,
    pub error: Option<String>,
}

/// How many tasks are in each state from a time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub time: u64,
    pub counts: BTreeMap<String, u64>,
}

impl Counter {
    pub fn of(&self, state: &str) -> u64 {
        self.counts[state]
    }

    fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// A trace that is one by the format.
#[derive(Debug)]
pub struct Trace {
    pub slices: Vec<Slice>,
    pub counters: Vec<Counter>,
    pub lanes: usize,
}

impl Trace {
    /// Reads one, and holds it against the format.
    pub fn read(text: &str) -> Trace {
        let whole: Value = serde_json::from_str(text).expect("it is JSON");
        assert_eq!(whole["displayTimeUnit"], "ms");
        assert!(whole["otherData"].is_object());
        let number = |event: &Value, name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} of {event}"));
        let (mut slices, mut counters) = (Vec::new(), Vec::new());
        let (mut lanes, mut names): (BTreeMap<_, Vec<_>>, BTreeMap<_, Value>) = (BTreeMap::new(), BTreeMap::new());
        for event in whole["traceEvents"].as_array().expect("a list of events") {
            let (pid, tid) = (number(event, "pid"), number(event, "tid"));
            let (name, args) = (event["name"].as_str().expect("a name"), event["args"].as_object().expect("arguments"));
            match event["ph"].as_str().expect("a phase") {
                "M" => match name {
                    "process_name" => assert!(args["name"].is_string()),
                    "thread_name" => assert!(names.insert((pid, tid), args["name"].clone()).is_none()),
                    "thread_sort_index" => assert!(args["sort_index"].is_u64()),
                    other => panic!("{other}"),
                },
                "C" => {
                    assert_eq!(name, "tasks");
                    let counts = args.iter().map(|(state, n)| (state.clone(), n.as_u64().expect("a number")));
                    counters.push(Counter { time: number(event, "ts"), counts: counts.collect() });
                }
                "X" => {
                    let (begin, dur) = (number(event, "ts"), number(event, "dur"));
                    assert!(event["cat"].is_string() && args["task"] == name && args["version"].is_u64(), "{event}");
                    lanes.entry((pid, tid)).or_default().push((begin, dur));
                    slices.push(Slice {
                        task: name.to_owned(),
                        attempt: args["attempt"].as_u64().expect("a number"),
                        begin,
                        end: begin + dur,
                        ended: args.get("ended").map(|state| state.as_str().unwrap().to_owned()),
                        seq: args["seq"].as_u64().expect("a number"),
                        error: args.get("error").map(|error| error.as_str().unwrap().to_owned()),
                    });
                }
                other => panic!("phase {other}"),
            }
        }
        for (lane, spans) in &mut lanes {
            assert!(names.contains_key(lane), "{lane:?} has a name");
            spans.sort_unstable();
            for pair in spans.windows(2) {
                let ((first, dur), (second, _)) = (pair[0], pair[1]);
                assert!(second >= first + dur && second > first, "{lane:?}: {pair:?} overlap");
            }
        }
        assert_eq!(names.len(), lanes.len(), "every lane is used");
        for pair in counters.windows(2) {
            assert!(pair[0].time < pair[1].time && pair[0].counts != pair[1].counts, "{pair:?}");
        }
        Trace { slices, counters, lanes: lanes.len() }
    }
}

/// What a trace of these entries has, read from them one after the other.
fn reference(entries: &[Value], end: u64) -> (Vec<Slice>, Vec<Counter>) {
    #[derive(Default, Clone)]
    struct Life {
        state: Option<String>,
        last: u64,
        began: u64,
        attempts: u64,
        seq: u64,
    }
    let mut lives: HashMap<String, Life> = HashMap::new();
    let (mut slices, mut changes) = (Vec::new(), Vec::new());
    for entry in entries {
        let Some(task) = entry["task"].as_str() else { continue };
        let life = lives.entry(task.to_owned()).or_default();
        let seq = entry["seq"].as_u64().unwrap();
        life.last = life.last.max(entry["said"].as_u64().or(entry["at"].as_u64()).unwrap());
        life.seq = seq;
        let before = life.state.clone();
        life.attempts =
            entry["attempts"].as_u64().unwrap_or(if entry["event"] == "created" { 0 } else { life.attempts });
        life.state = match entry["event"].as_str().unwrap() {
            "removed" => None,
            _ => entry["to"].as_str().map(str::to_owned).or(before.clone()),
        };
        let (was_running, is_running) =
            (before.as_deref() == Some("running"), life.state.as_deref() == Some("running"));
        if was_running && !is_running {
            let ended = life.state.clone().unwrap_or("removed".to_owned());
            slices.push(Slice {
                task: task.to_owned(),
                attempt: 0,
                begin: life.began * 1000,
                end: life.last * 1000,
                ended: Some(ended),
                seq,
                error: entry["error"].as_str().map(str::to_owned),
            });
        }
        if is_running && !was_running {
            life.began = life.last;
        }
        changes.push((life.last, task.to_owned(), life.state.clone()));
    }
    for (task, life) in &lives {
        if life.state.as_deref() == Some("running") {
            let (task, begin, end) = (task.clone(), life.began * 1000, end.max(life.began) * 1000);
            slices.push(Slice { task, attempt: 0, begin, end, ended: None, seq: life.seq, error: None });
        }
    }
    changes.sort_by_key(|(time, _, _)| *time);
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    let mut counters: Vec<Counter> = Vec::new();
    for same in changes.chunk_by(|a, b| a.0 == b.0) {
        for (_, task, state) in same {
            match state {
                Some(state) => drop(states.insert(task.clone(), state.clone())),
                None => drop(states.remove(task)),
            }
        }
        let mut counts: BTreeMap<String, u64> =
            taskledger::TaskState::ALL.map(|state| (state.name().to_owned(), 0)).into_iter().collect();
        states.values().for_each(|state| *counts.get_mut(state).unwrap() += 1);
        if counters.last().map(|last| &last.counts) != Some(&counts) {
            counters.push(Counter { time: same[0].0 * 1000, counts });
        }
    }
    (slices, counters)
}

/// So many lanes are needed: how many attempts overlap at most, where each takes a millisecond at least.
fn widest(slices: &[Slice]) -> usize {
    let mut edges: Vec<(u64, i64)> =
        slices.iter().flat_map(|slice| [(slice.begin, 1), (slice.end.max(slice.begin + 1000), -1)]).collect();
    edges.sort_unstable();
    let mut open = 0;
    edges.iter().map(|(_, step)| (open += step, open).1).max().unwrap_or(0) as usize
}

fn without_attempts(slices: &[Slice]) -> Vec<Slice> {
    let mut slices: Vec<Slice> = slices.iter().map(|slice| Slice { attempt: 0, ..slice.clone() }).collect();
    slices.sort();
    slices
}

fn check(dir: &str, args: &[&str]) -> Trace {
    // A moment may fall within a batch, and then a remark says so.
    let out = |args: &[&str], end: &[&str]| {
        let ran = run(&[args, &["-D", dir], end].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.out
    };
    let json = |text: String| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let trace = Trace::read(&out(&["export", "--to", "chrome-trace"], args));
    let log = entries(dir, args);
    let end = log.last().map_or(0, |entry| entry["at"].as_u64().unwrap());
    let (slices, counters) = reference(&log, end);
    assert_eq!(without_attempts(&trace.slices), without_attempts(&slices));
    assert_eq!(trace.lanes, widest(&slices), "no lane too many");
    let differs = trace.counters.iter().zip(&counters).find(|(ours, theirs)| ours != theirs);
    assert!(trace.counters == counters, "{differs:?} {} {}", trace.counters.len(), counters.len());
    let live = json(out(&["ls", "--json"], args));
    let live = live.last().and_then(|counts| counts["total"].as_u64());
    assert_eq!(trace.counters.last().map_or(Some(0), |last| Some(last.total())), live);

    // The bars of the tasks that are still there, attempt by attempt.
    let bars = json(out(&["timeline", "--json", "--limit", "1000000"], args));
    let mut bars: Vec<(String, u64, u64, Option<u64>)> = bars
        .iter()
        .filter(|bar| bar["type"] == "taskledger.bar/1" && !bar["attempt"].is_null())
        .map(|bar| {
            let text = bar["task"].as_str().unwrap().to_owned();
            let end = bar["ended_at"].as_u64();
            (
                text,
                bar["attempt"].as_u64().unwrap(),
                bar["runs_from"].as_u64().unwrap() * 1000,
                end.map(|end| end * 1000),
            )
        })
        .collect();
    let there: std::collections::BTreeSet<String> = bars.iter().map(|bar| bar.0.clone()).collect();
    let ours = trace.slices.iter().filter(|slice| there.contains(&slice.task));
    let mut ours: Vec<_> = ours
        .map(|slice| (slice.task.clone(), slice.attempt, slice.begin, slice.ended.is_some().then_some(slice.end)))
        .collect();
    bars.sort();
    ours.sort();
    assert_eq!(ours, bars);
    trace
}

#[test]
fn a_trace_has_the_attempts_of_timeline_in_lanes_and_the_counts_of_a_plain_fold() {
    let demo = Demo::new();
    assert_eq!(check(&demo.dir(), &[]).slices.len(), 31);
    check(&demo.dir(), &["--at", "seq:77"]);
    for one in runs().into_iter().flatten() {
        let demo = Demo::new();
        run_on(&one.lines.join("\n"), &["import", "-D", &demo.other()]).good();
        check(&demo.other(), &[]);
    }
}

#[test]
fn times_that_step_back_and_attempts_of_no_length_overlap_nothing() {
    for seed in 21..=26 {
        let home = tempfile::tempdir().unwrap();
        let dir = path(home.path().join("ledger"));
        random::write(&dir, seed, 1500);
        let trace = check(&dir, &[]);
        assert!(trace.slices.iter().any(|slice| slice.begin == slice.end), "some took no time");
        check(&dir, &["--at", "seq:300"]);
    }
}

#[test]
fn a_trace_since_a_moment_has_what_had_not_ended_then() {
    let demo = Demo::new();
    let whole = Trace::read(&export(&demo.dir(), "chrome-trace", &[]).good());
    let since = 1_772_332_200_000_000;
    let part = Trace::read(&export(&demo.dir(), "chrome-trace", &["--since", "2026-03-01 02:30"]).good());
    let kept = |slice: &&Slice| slice.ended.is_none() || slice.end >= since;
    let expected: Vec<Slice> = whole.slices.iter().filter(kept).cloned().collect();
    assert!(part.slices == expected && expected.len() < whole.slices.len(), "{:?}", part.slices);
    let first = &part.counters[0];
    let then = whole.counters.iter().rfind(|counter| counter.time <= since).unwrap();
    assert_eq!((first.time, &first.counts), (since, &then.counts));
    let later =
        |trace: &Trace| trace.counters.iter().filter(|counter| counter.time > since).cloned().collect::<Vec<_>>();
    assert_eq!(later(&part), later(&whole));
    // By seq: from the time of that entry on.
    let by_seq = export(&demo.dir(), "chrome-trace", &["--since", "seq:102"]).good();
    let at = entries(&demo.dir(), &["--from", "102"])[0]["at"].as_u64().unwrap();
    assert_eq!(Trace::read(&by_seq).counters[0].time, at * 1000);
    // What goes on is drawn up to the moment that it is as of.
    let until = export(&demo.dir(), "chrome-trace", &["--until", "2026-03-01T02:30:00.5Z"]).good();
    let open: Vec<Slice> = Trace::read(&until).slices.into_iter().filter(|slice| slice.ended.is_none()).collect();
    assert!(open.len() == 3 && open.iter().all(|slice| slice.end == 1_772_332_200_500_000), "{open:?}");
}
