//! What `stats` says, against the same figures from the lines of `log` and `ls`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::{Demo, lines, plain, run, run_on};

/// Waits by task, and the runs that ended, from the entries alone.
fn expected(log: &str) -> (BTreeMap<String, u64>, Vec<(u64, String)>) {
    let (mut created, mut since) = (BTreeMap::new(), BTreeMap::new());
    let (mut waits, mut runs) = (BTreeMap::new(), Vec::new());
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        let Some(task) = entry["task"].as_str().map(str::to_owned) else { continue };
        let when = entry["said"].as_u64().or(entry["at"].as_u64()).expect("a time");
        if entry["event"] == "created" {
            created.insert(task.clone(), when);
        }
        match entry["to"].as_str() {
            Some("running") => {
                waits.entry(task.clone()).or_insert(when - created[&task]);
                since.insert(task, when);
            }
            Some(_) => runs.extend(since.remove(&task).map(|since| (when - since, task))),
            None => {}
        }
    }
    (waits, runs)
}

#[test]
fn stats_says_what_the_entries_say() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let (waits, mut runs) = expected(&demo.log());
    runs.sort();
    let all = &run(&["stats", "--json", "--slowest", "1000", "-D", dir]).good_json()[0];
    assert_eq!(all["wait"]["count"], waits.len());
    assert_eq!(all["wait"]["max"].as_u64(), waits.values().max().copied());
    assert_eq!(all["run"]["count"], runs.len());
    assert_eq!(all["run"]["max"], runs.last().expect("some ran").0);
    for percent in [50, 90, 99] {
        let exact = runs[(runs.len() * percent).div_ceil(100) - 1].0;
        let told = all["run"][format!("p{percent}")].as_u64().expect("a time");
        assert!(told >= exact && told - exact <= exact / 64, "p{percent}: {told} for {exact}");
    }
    let slowest = all["slowest"].as_array().expect("a list");
    let ended = slowest.iter().filter(|one| one["running"] == false);
    let ended: Vec<_> = ended.map(|one| (one["millis"].as_u64().unwrap(), one["task"].as_str().unwrap())).collect();
    let mut told: Vec<_> = ended.iter().map(|&(millis, task)| (millis, task.to_owned())).collect();
    assert!(told.is_sorted_by(|a, b| a.0 >= b.0), "the longest come first: {told:?}");
    told.sort();
    assert_eq!(told, runs);
    assert_eq!((slowest.len() - runs.len()) as u64, all["running"].as_u64().unwrap());

    let counts = run(&["ls", "--json", "-D", dir]).good_json().pop().expect("counts");
    assert_eq!(all["tasks"], counts["total"]);
    for (state, number) in all["states"].as_object().expect("states") {
        assert_eq!(*number, counts[state.as_str()], "{state}");
    }
}

#[test]
fn rows_by_metadata_sum_up_and_filters_hold() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let objects = run(&["stats", "--json", "--by", "meta.owner", "-D", dir]).good_json();
    let (all, rows) = objects.split_first().expect("all comes first");
    for field in ["tasks", "attempts", "retried", "running", "not_started"] {
        let sum: u64 = rows.iter().map(|row| row[field].as_u64().expect("a number")).sum();
        assert_eq!(all[field], sum, "{field}");
    }
    let data = rows.iter().find(|row| row["value"] == "data").expect("somebody owns some");
    assert_eq!((&data["tasks"], &data["by"]), (&json!(4), &json!("meta.owner")));
    let some = &run(&["stats", "--json", "--prefix", "train/", "--state", "failed", "-D", dir]).good_json()[0];
    assert_eq!((&some["tasks"], &some["states"]), (&json!(1), &json!({"failed": 1})));
    let none = &run(&["stats", "--json", "--at", "seq:0", "-D", dir]).good_json()[0];
    assert_eq!((&none["tasks"], &none["run"]["count"]), (&json!(0), &json!(0)));
    let late = &run(&["stats", "--json", "--since", "2026-03-01T03:00:00Z", "-D", dir]).good_json()[0];
    assert_eq!((&late["run"]["count"], &late["wait"]["count"]), (&json!(0), &json!(0)));
    for args in [["--by", "owner"], ["--by", "meta."], ["--slowest", "1001"]] {
        assert_eq!(run(&[&["stats", "-D", dir], &args[..]].concat()).code, Some(2), "{args:?}");
    }
    assert_eq!(run(&["stats", "-D", &demo.other()]).code, Some(10));
    assert_eq!(run(&["stats", "-D", dir, "--at", "seq:999"]).code, Some(3));
}

#[test]
fn a_hundred_values_have_rows_and_hostile_ones_are_escaped() {
    let demo = Demo::new();
    let dir = &demo.other();
    let mut objects = plain();
    let new =
        |n: u32| json!({"task": format!("t{n}"), "event": "created", "metadata": {"k": format!("\u{1b}[31m{n}")}});
    objects.extend((0..150).map(new));
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    let ran = run(&["stats", "--by", "meta.k", "-D", dir]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(0), 1), "{}", ran.err);
    assert!(ran.err.contains("more than 100 values"), "{}", ran.err);
    assert!(
        ran.out.contains("(others)") && ran.out.contains(r"\u{1b}[31m") && !ran.out.contains('\u{1b}'),
        "{}",
        ran.out
    );
    let rows = run(&["stats", "--json", "--by", "meta.k", "-D", dir]).good_json();
    assert_eq!((rows.len(), &rows[101]["others"]), (102, &json!(true)));
}

#[test]
fn an_id_that_was_removed_and_comes_again_has_the_runs_of_both_lives_and_the_wait_of_the_last() {
    let demo = Demo::new();
    let dir = &demo.other();
    let moves = [
        ("created", None, 1_000),
        ("observed", Some("running"), 4_000),
        ("observed", Some("completed"), 4_700),
        ("removed", None, 6_000),
        ("created", None, 10_000),
        ("observed", Some("running"), 10_500),
        ("observed", Some("completed"), 10_900),
    ];
    let line = |(event, to, at): &(&str, Option<&str>, u64)| match to {
        None => json!({"task": "r", "event": event, "at": at}),
        Some(to) => json!({"task": "r", "event": event, "to": to, "at": at}),
    };
    let objects: Vec<Value> = moves.iter().map(line).collect();
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    let stats = &run(&["stats", "--json", "-D", dir]).good_json()[0];
    assert_eq!((&stats["run"]["count"], &stats["run"]["max"]), (&json!(2), &json!(700)));
    assert_eq!((&stats["wait"]["count"], &stats["wait"]["max"]), (&json!(1), &json!(500)));
    let closed = std::process::Command::new("sh")
        .args(["-c", "\"$0\" stats -D \"$1\" | true", env!("CARGO_BIN_EXE_taskledger"), dir.as_str()])
        .output()
        .expect("there is a shell");
    assert_eq!(String::from_utf8_lossy(&closed.stderr), "", "a closed pipe is no error");
}
