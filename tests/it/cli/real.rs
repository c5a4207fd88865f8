//! Questions that one would really ask, of real workflow runs, answered on the command line, and by an independent reading
//! of the lines that were imported.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cli::{Demo, run, run_on};
use crate::workflows::runs;

/// The times of a task: when it was created, first ran, and last ended.
#[derive(Debug, Default, Clone, Copy)]
struct Times {
    created: u64,
    ran: Option<u64>,
    ended: Option<u64>,
}

/// By task, from the lines alone.
fn times(lines: &[String]) -> BTreeMap<String, Times> {
    let mut all: BTreeMap<String, Times> = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let when = line["said"].as_u64().or(line["at"].as_u64()).expect("a time");
        let times = all.entry(line["task"].as_str().expect("a task").to_owned()).or_default();
        match (line["event"].as_str(), line["to"].as_str()) {
            (Some("created"), _) => times.created = when,
            (_, Some("running")) => times.ran = times.ran.or(Some(when)),
            (_, Some("completed" | "failed")) => times.ended = Some(when),
            _ => {}
        }
    }
    all
}

fn answers(args: &[&str], dir: &str) -> Vec<Value> {
    run(&[args, &["--json", "-D", dir]].concat()).good_json()
}

#[test]
fn real_runs_answer_what_one_would_ask() {
    let Some(runs) = runs() else { return };
    for one in runs {
        let demo = Demo::new();
        let dir = &demo.other();
        run_on(&one.lines.join("\n"), &["import", "-D", dir]).good();
        let times = times(&one.lines);

        // Which task waited longest?
        let stats = &answers(&["stats", "--slowest", "1"], dir)[0];
        let longest = times.values().filter_map(|task| Some(task.ran? - task.created)).max().expect("some ran");
        let told = &stats["waited_longest"][0];
        let waited = times[told["task"].as_str().unwrap()];
        assert_eq!(
            (told["millis"].as_u64(), waited.ran.unwrap() - waited.created),
            (Some(longest), longest),
            "{}",
            one.name
        );

        // What ran in the middle of it?
        let first = times.values().filter_map(|task| task.ran).min().unwrap();
        let last = times.values().filter_map(|task| task.ended).max().unwrap();
        let middle = first + (last - first) / 2;
        let at = format!("@{}.{:03}", middle / 1000, middle % 1000);
        let running = answers(&["ls", "--state", "running", "--at", &at], dir);
        let running: BTreeSet<&str> = running.iter().filter_map(|task| task["id"].as_str()).collect();
        let ran =
            |task: &Times| task.ran.is_some_and(|ran| ran <= middle) && task.ended.is_none_or(|ended| ended > middle);
        let right: BTreeSet<&str> = times.iter().filter(|(_, task)| ran(task)).map(|(id, _)| id.as_str()).collect();
        assert_eq!(running, right, "{} at {at}", one.name);

        // The same as bars: whatever is drawn over that moment ran then.
        let bars = answers(&["timeline", "--limit", "1000000"], dir);
        let over = |bar: &&Value| {
            bar["runs_from"].as_u64().is_some_and(|from| from <= middle)
                && bar["ended_at"].as_u64().is_none_or(|end| end > middle)
        };
        let drawn: BTreeSet<&str> = bars.iter().filter(over).filter_map(|bar| bar["task"].as_str()).collect();
        assert_eq!(drawn, right, "{}", one.name);

        // When had all of them ended? The entry after which that holds is the end of the last one.
        let total = times.len();
        let found = &answers(&["bisect", "--where", &format!("completed == {total}")], dir)[0];
        let entry = &found["entry"];
        let when = entry["said"].as_u64().or(entry["at"].as_u64());
        assert_eq!((when, entry["to"].as_str()), (Some(last), Some("completed")), "{}", one.name);

        // Which tasks started after the last of the first to end, and which was the first of those?
        let earliest = times.values().filter_map(|task| task.ended).min().unwrap();
        let since = format!("@{}.{:03}", earliest / 1000, earliest % 1000);
        let started = answers(&["log", "--since", &since, "--state", "running"], dir);
        let next = started.first().map(|entry| entry["said"].as_u64().or(entry["at"].as_u64()).unwrap());
        let right = times.values().filter_map(|task| task.ran).filter(|&ran| ran >= earliest).min();
        assert_eq!(next, right, "{}", one.name);
    }
}
