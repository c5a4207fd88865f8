//! `import`: what goes in, what is skipped, what is refused at which line.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use taskledger::{Event, Ledger};

use crate::cli::{Demo, command, lines, path, plain, run, run_on};

#[test]
fn import_is_locked_out_by_a_live_writer_and_reading_is_not() {
    let demo = Demo::new();
    let ledger = Ledger::open(demo.dir()).unwrap();
    let locked = run_on("", &["import", "--json", "-D", &demo.dir()]);
    let error = locked.error();
    assert_eq!((locked.code, &error["code"], &error["pid"]), (Some(11), &json!("LOCKED"), &json!(std::process::id())));
    assert!(run(&["ls", "-D", &demo.dir()]).good().contains("31 of 31 tasks"));
    assert_eq!(run(&["verify", "--json", "-D", &demo.dir()]).good_json()[0]["verdict"], "sound");
    drop(ledger);
    run_on("", &["import", "-D", &demo.dir()]).good();
}

#[test]
fn a_log_goes_back_in_and_comes_out_equal() {
    let demo = Demo::new();
    let log = demo.log();
    let acknowledged = run_on(&log, &["import", "--json", "--batch", "50", "-D", &demo.other()]).good_json();
    let expected = [50, 100, 128].map(
        |line| json!({"type": "taskledger.imported/1", "line": line, "seq": line, "appended": line, "skipped": 0}),
    );
    assert_eq!(acknowledged, expected);
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);

    // Again, in its own order and in another one: everything is skipped.
    let mut by_task: Vec<&str> = log.lines().collect();
    by_task.sort_by_key(|line| {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        (entry["task"].to_string(), entry["seq"].as_u64())
    });
    for input in [log.clone(), by_task.join("\n")] {
        let last = run_on(&input, &["import", "--json", "-D", &demo.other()]).good_json();
        let expected = json!({"type": "taskledger.imported/1", "line": 128, "seq": 128, "appended": 0, "skipped": 128});
        assert_eq!(last, [expected]);
    }
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);
}

#[test]
fn an_interrupted_import_completes_when_it_is_run_again() {
    let demo = Demo::new();
    let log = demo.log();
    let begun: String = log.split_inclusive('\n').take(77).collect();
    run_on(&begun, &["import", "-D", &demo.other()]).good();
    let again = run_on(&log, &["import", "-D", &demo.other()]).good();
    assert_eq!(again, "128 lines: 51 appended, 77 skipped since they were there; the ledger ends at seq 128\n");
    assert_eq!(run(&["log", "--json", "-D", &demo.other()]).good(), log);
}

#[test]
fn lines_as_people_write_them_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let input = format!("\n{}   \n", lines(&plain()));
    let told = run_on(&input, &["import", "-", "-D", dir]).good();
    assert!(told.starts_with("7 lines: 5 appended, 0 skipped"), "{told}");
    let task = &run(&["show", "a", "--json", "-D", dir]).good_json()[0];
    let expected = json!({
        "type": "taskledger.task/1", "id": "a", "state": "failed", "attempts": 1, "created_at": 1_772_330_400_000_u64,
        "updated_at": 1_772_330_404_000_u64, "started_at": 1_772_330_402_000_u64,
        "finished_at": 1_772_330_404_000_u64, "error": "no", "metadata": {}, "version": 4, "seq": 5,
    });
    assert_eq!(*task, expected);
    assert!(run_on(&input, &["import", "-D", dir]).good().starts_with("7 lines: 0 appended, 5 skipped"));
    // What an entry leaves out may be written out.
    let written_out = json!({"task": "a", "event": "created", "to": "pending", "inferred": false, "metadata": {}});
    assert!(
        run_on(&written_out.to_string(), &["import", "-D", dir]).good().starts_with("1 line: 0 appended, 1 skipped")
    );
    // From a file, too; and nothing at all is nothing at all.
    let file = home.path().join("lines.jsonl");
    std::fs::write(&file, &input).unwrap();
    assert!(run(&["import", &path(file), "-D", dir]).good().starts_with("7 lines: 0 appended, 5 skipped"));
    let nothing = run_on("", &["import", "--json", "-D", dir]).good_json();
    assert_eq!(nothing, [json!({"type": "taskledger.imported/1", "line": 0, "seq": 5, "appended": 0, "skipped": 0})]);
}

#[test]
fn a_refused_line_is_named_and_exactly_the_lines_before_it_are_in() {
    let ahead = json!({"task": "a", "event": "updated", "at": "2999-01-01T00:00:00Z"});
    let table = [
        (json!({"task": "a", "event": "transitioned", "to": "completed"}), "ILLEGAL", "from", json!("failed")),
        (json!({"task": "c", "event": "updated"}), "ILLEGAL", "task", json!("c")),
        (json!({"task": "a", "event": "updated", "from": "ready"}), "CONFLICT", "expected", json!("state ready")),
        (json!({"task": "a", "event": "updated", "actor": ""}), "LIMIT", "task", json!("a")),
        (ahead, "TIME", "found", json!(32_472_144_000_000_u64)),
        (json!({"task": "a", "event": "updated", "shade": 1}), "LINE", "field", json!("shade")),
        (json!({"task": "a", "event": "transitioned", "to": "runing"}), "LINE", "field", json!("to")),
        (json!({"task": "a", "event": "updated", "version": 9}), "LINE", "expected", json!(5)),
        (json!({"task": "a", "event": "updated", "version": 2}), "CONTRADICTION", "field", json!("event")),
    ];
    for (bad, code, field, value) in table {
        // In the middle of a batch, at its end, and as the first of one.
        for batch in ["1000", "6", "5", "2", "1"] {
            let home = tempfile::tempdir().unwrap();
            let dir = &path(home.path().join("ledger"));
            let mut objects = plain();
            objects.push(bad.clone());
            objects.extend([json!({"task": "z", "event": "created"}), json!("after the bad line nothing is read")]);
            let ran = run_on(&lines(&objects), &["import", "--json", "--batch", batch, "-D", dir]);
            let error = ran.error();
            let told = (ran.code, &error["code"], &error["line"], &error[field]);
            assert_eq!(told, (Some(13), &json!(code), &json!(6), &value), "{bad} batch {batch}: {error}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.starts_with("line 6: ") && message.ends_with("; lines 1 to 5 are in"), "{message}");
            let last: Value = serde_json::from_str(ran.out.lines().last().expect("an acknowledgement")).unwrap();
            assert_eq!((&last["line"], &last["appended"]), (&json!(5), &json!(5)), "{bad} batch {batch}");
            assert_eq!(run(&["log", "--json", "-D", dir]).good().lines().count(), 5, "{bad} batch {batch}");
        }
    }
}

#[test]
fn the_first_bad_line_is_named_even_where_a_later_one_is_seen_first() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    // Line 3 is seen to be illegal only when its batch is committed; that line 4 is no JSON is seen when it is read.
    let input = format!("{}{{\n", lines(&[plain()[0].clone(), plain()[3].clone(), plain()[4].clone()]));
    let error = run_on(&input, &["import", "--json", "-D", dir]).error();
    assert_eq!((&error["code"], &error["line"]), (&json!("ILLEGAL"), &json!(3)));
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 2);
}

#[test]
fn a_line_that_is_no_line_is_refused_with_its_number() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    for bad in
        ["{", "[]", "null", "{\"task\":\"a\"}", "{\"event\":\"created\"}", "{\"task\":\"a\",\"event\":\"pruned\"}"]
    {
        let input = format!("{}{bad}", lines(&plain()[..1]));
        let ran = run_on(&input, &["import", "-D", dir]);
        assert_eq!(ran.code, Some(13), "{bad}");
        assert!(ran.err.starts_with("taskledger: line 2: "), "{bad}: {}", ran.err);
        assert!(ran.err.contains("; line 1 is in\nhint: correct line 2 "), "{bad}: {}", ran.err);
    }
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 1);
}

#[test]
fn a_line_that_differs_from_what_is_there_is_a_contradiction_in_that_field() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let there = json!({
        "task": "a", "event": "observed", "to": "failed", "at": 1_772_330_400_000_u64, "inferred": true, "attempts": 2,
        "output": {"b": 1, "a": [2.5]}, "error": "no", "metadata": {"k": "v", "gone": null}, "created_at": 1,
        "updated_at": 2, "started_at": 3, "finished_at": null, "actor": "me", "reason": "why", "key": "once",
    });
    run_on(&lines(std::slice::from_ref(&there)), &["import", "-D", dir]).good();
    let skips = |line: &Value| {
        let told = run_on(&lines(std::slice::from_ref(line)), &["import", "--json", "-D", dir]).good_json();
        assert_eq!(told[0]["skipped"], 1, "{line}");
    };
    skips(&there);
    skips(&json!({"task": "a", "event": "observed", "to": "failed"}));
    skips(&json!({"task": "a", "event": "observed", "to": "failed", "at": "2026-03-01T02:00:00.000Z", "actor": null}));
    for (field, other) in [
        ("event", json!("transitioned")),
        ("to", json!("completed")),
        ("at", json!(1_772_330_400_001_u64)),
        ("inferred", json!(false)),
        ("attempts", json!(3)),
        ("output", json!({"b": 1, "a": [2]})),
        ("output", json!(null)),
        ("error", json!(null)),
        ("metadata", json!({"k": "v"})),
        ("created_at", json!(9)),
        ("updated_at", json!(9)),
        ("started_at", json!(null)),
        ("finished_at", json!(9)),
        ("actor", json!("you")),
        ("reason", json!("")),
        ("cause", json!(1)),
        ("key", json!("twice")),
    ] {
        let mut line = there.clone();
        line[field] = other.clone();
        let error = run_on(&lines(&[line]), &["import", "--json", "-D", dir]).error();
        let told = (&error["code"], &error["field"], &error["line"], &error["task"]);
        assert_eq!(told, (&json!("CONTRADICTION"), &json!(field), &json!(1), &json!("a")), "{field}: {error}");
        if field != "at" {
            assert_eq!((&error["expected"], &error["found"]), (&there[field], &other), "{field}");
        }
    }
}

#[test]
fn stated_versions_are_believed_and_repeated_lines_are_compared() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut objects = plain();
    // The third version of the task, once more, while the first is still on its way into the ledger.
    let mut again = objects[2].clone();
    again["version"] = json!(3);
    objects.push(again.clone());
    let told = run_on(&lines(&objects), &["import", "--json", "-D", dir]).good_json();
    let last = told.last().expect("an acknowledgement");
    assert_eq!((&last["appended"], &last["skipped"]), (&json!(5), &json!(1)));
    // The end of a history alone.
    let end = [again, json!({"task": "a", "version": 5, "event": "updated", "metadata": {"x": "1"}})];
    let told = run_on(&lines(&end), &["import", "--json", "-D", dir]).good_json();
    assert_eq!((&told[0]["appended"], &told[0]["skipped"]), (&json!(1), &json!(1)));
}

#[test]
fn versions_of_a_removed_task_go_on_counting() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut objects = vec![json!({"task": "a", "event": "created"}), json!({"task": "a", "event": "removed"})];
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    objects.push(json!({"task": "a", "event": "created"}));
    let told = run_on(&lines(&objects), &["import", "--json", "-D", dir]).good_json();
    assert_eq!((&told[0]["appended"], &told[0]["skipped"]), (&json!(1), &json!(2)));
}

#[test]
fn a_key_that_was_used_again_much_later_goes_back_in() {
    let home = tempfile::tempdir().unwrap();
    let (dir, copy) = (&path(home.path().join("ledger")), &path(home.path().join("copy")));
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    for n in 0..20 {
        ledger.append("a", Event::updated().key(format!("k{}", n % 17))).unwrap();
    }
    ledger.close().unwrap();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert_eq!(log.lines().count(), 21, "the window is 16 keys, so that k0 to k2 are new again");
    run_on(&log, &["import", "-D", copy]).good();
    assert_eq!(run(&["log", "--json", "-D", copy]).good(), log);
    // Within the window a key is refused, for the same event too: the ledger would take it for a repetition, append
    // nothing, and the line would be lost.
    let keyed = json!({"task": "b", "event": "updated", "key": "k"});
    for (batch, task) in [("1000", "b"), ("1", "c")] {
        let mut objects = vec![json!({"task": "b", "event": "created"}), keyed.clone(), keyed.clone()];
        objects.iter_mut().for_each(|object| object["task"] = json!(task));
        let error = run_on(&lines(&objects), &["import", "--json", "--batch", batch, "-D", copy]).error();
        assert_eq!((&error["code"], &error["line"], &error["task"]), (&json!("KEY"), &json!(3), &json!(task)));
    }
}

#[test]
fn outputs_stay_as_they_are_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let output = r#"{"z": 1.0, "a":1e2 ,"n":0.1000}"#;
    let line = format!(r#"{{"task":"a","event":"observed","to":"completed","output":{output}}}"#);
    run_on(&line, &["import", "-D", dir]).good();
    let log = run(&["log", "--json", "-D", dir]).good();
    assert!(
        log.contains(&format!("\"output\":{output},\"")) || log.contains(&format!("\"output\":{output}}}")),
        "{log}"
    );
}

#[test]
fn small_segments_are_rolled_through() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let objects: Vec<Value> = (0..3000)
        .map(
            |n| json!({"task": format!("t{}", n % 1000), "event": "observed", "to": "running", "actor": n.to_string()}),
        )
        .collect();
    run_on(&lines(&objects), &["import", "--segment-size", "16384", "--batch", "100", "-D", dir]).good();
    // An unfinished spare may be noted before the report.
    let objects = run(&["verify", "--json", "-D", dir]).good_json();
    let report = objects.last().expect("a report");
    assert_eq!((&report["verdict"], &report["entries"]), (&json!("sound"), &json!(3000)));
    assert!(report["segments"].as_u64() > Some(2), "{report}");
}

#[test]
fn an_import_goes_on_when_nobody_listens() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let mut import = command(&["import", "--json", "--batch", "1", "-D", dir]);
    let mut child = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(lines(&plain()).as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(run(&["log", "-D", dir]).good().lines().count(), 5);
}
