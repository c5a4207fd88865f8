//! What `ls`, `show`, `history`, `log` and `verify` print, in both forms.

use serde_json::{Value, json};
use taskledger::{Event, Ledger, TaskState};

use crate::cli::{Demo, lines, path, run, run_on};

#[test]
fn every_command_answers_in_both_forms() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let table: [(&[&str], &str, &str); 6] = [
        (&["ls"], "completed      extract/payments      2   3m10s   3m32s\n", "taskledger.task/1"),
        (&["show", "train/forecast"], "  error     out of memory: 31.8 GiB of 32 GiB in use\n", "taskledger.task/1"),
        (&["history", "train/churn"], "running → ready  requeued  by recovery  because worker-4", "taskledger.entry/1"),
        (&["log"], "extract/shipments   ready → completed  observed  by warehouse-bridge", "taskledger.entry/1"),
        (&["verify"], "sound: 128 entries in ", "taskledger.verify/1"),
        (&["verify", "--level", "structure"], "structure checked up to seq 128", "taskledger.verify/1"),
    ];
    for (args, expected, kind) in table {
        let text = run(&[args, &["-D", dir]].concat()).good();
        assert!(text.contains(expected), "{args:?}\n{text}");
        assert!(!text.contains('\u{1b}'), "{args:?} has colours in a pipe");
        assert!(text.lines().all(|line| line == line.trim_end()), "{args:?} has spaces at an end of a line");
        let raw = run(&[args, &["--json", "--dir", dir]].concat()).good();
        assert!(raw.lines().all(|line| line.starts_with(r#"{"type":"taskledger."#)), "{raw}");
        let first: Value = serde_json::from_str(raw.lines().next().expect("there is a line")).unwrap();
        assert_eq!(first["type"], kind, "{args:?}");
    }
}

#[test]
fn ls_filters_sorts_limits_and_counts() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let ids = |args: &[&str]| -> Vec<String> {
        let objects = run(&[&["ls", "--json", "-D", dir], args].concat()).good_json();
        let (counts, tasks) = objects.split_last().expect("counts come last");
        assert_eq!((&counts["type"], &counts["total"]), (&json!("taskledger.counts/1"), &json!(31)));
        tasks.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ids(&[]);
    assert!(all.len() == 31 && all.is_sorted());
    assert_eq!(ids(&["--state", "failed,dead_lettered"]), ["extract/ad-spend", "train/forecast"]);
    assert_eq!(ids(&["--prefix", "train/"]), ["train/churn", "train/forecast"]);
    assert_eq!(ids(&["--limit", "3"]), all[..3]);
    assert_eq!(ids(&["--limit", "0"]), [""; 0]);
    assert_eq!(ids(&["--meta", "owner=data"]).len(), 4);
    let night = ["nightly/2026-03-01"];
    assert_eq!(ids(&["--meta", "owner=data", "--meta", "trigger=cron 0 2 * * *"]), night, "all of it");
    assert_eq!(ids(&["--meta", "owner=nobody"]), [""; 0]);
    assert_eq!(ids(&["--updated-since", "@1772333940.660"]), [night[0], "publish/archive"], "from then on");
    assert_eq!(ids(&["--updated-since", "2026-03-01T02:59:00.661Z"]), night);
    assert_eq!(ids(&["--updated-since", "@1772333940.660", "--meta", "uploaded=81 %"]), ["publish/archive"]);
    let text = run(&["ls", "-D", dir, "--state", "running"]).good();
    assert_eq!(
        text,
        "STATE    TASK                TRY  WAITED     RAN  ERROR\n\
         running  nightly/2026-03-01    1      2s  59m55s\n\
         running  publish/archive       1  39m50s  20m07s\n\
         2 of 31 tasks, as of seq 128 (2026-03-01T02:59:58.642Z)\n"
    );
}

#[test]
fn log_and_history_cut_where_they_are_told() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let seqs = |args: &[&str]| -> Vec<u64> {
        let entries = run(&[args, &["--json", "-D", dir]].concat()).good_json();
        entries.iter().map(|entry| entry["seq"].as_u64().expect("a seq")).collect()
    };
    assert_eq!(seqs(&["log"]), (1..=128).collect::<Vec<_>>());
    assert_eq!(seqs(&["log", "-n", "3"]), [126, 127, 128]);
    assert_eq!(seqs(&["log", "-n", "0"]), [0; 0]);
    assert_eq!(seqs(&["log", "-n", "500"]).len(), 128);
    assert_eq!(seqs(&["log", "--from", "127"]), [127, 128]);
    assert_eq!(seqs(&["log", "--from", "120", "-n", "2"]), [127, 128]);
    assert_eq!(seqs(&["log", "--from", "129"]), [0; 0], "right behind the head is where a reader goes on");
    assert_eq!(seqs(&["log", "-n", "2", "--at", "seq:70"]), [69, 70]);
    assert_eq!(seqs(&["history", "train/churn"]), [23, 106, 108, 121, 122, 125]);
    assert_eq!(seqs(&["history", "train/churn", "--at", "seq:108"]), [23, 106, 108]);
    // A late report keeps its own time beside its place.
    let observed = run(&["history", "extract/shipments", "-D", dir]).good();
    assert!(observed.contains("said 2026-03-01T02:08:00.920Z"), "{observed}");
}

#[test]
fn moments_in_all_forms_agree() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let ls = |at: &str| run(&["ls", "-D", dir, "--at", at]).good();
    let expected = ls("seq:70");
    assert!(expected.ends_with("31 of 31 tasks, as of seq 70 (2026-03-01T02:06:42.358Z)\n"), "{expected}");
    for at in [
        "@1772330802.358",
        "@1772330803",
        "2026-03-01T02:06:42.358Z",
        "2026-03-01T02:06:42.358999Z",
        "2026-03-01T04:06:42.358+02:00",
    ] {
        assert_eq!(ls(at), expected, "{at}");
    }
    assert_ne!(ls("2026-03-01T02:06:42.357Z"), expected);
    assert!(ls("seq:0").ends_with("0 of 0 tasks, as of seq 0 (before everything)\n"));
    let show = run(&["show", "-D", dir, "train/churn", "--at", "seq:108"]).good();
    assert!(show.contains("state     running\n"), "{show}");

    let within = run(&["ls", "-D", dir, "--at", "seq:12"]);
    assert_eq!(
        (within.code, within.err.as_str()),
        (Some(0), "taskledger: remark: seq 12 is within a batch, of which the rest is left out\n")
    );
    let open = run(&["log", "-n", "1", "-D", dir, "--at", "2026-03-02T00:00:00Z"]);
    assert_eq!((open.code, open.err.lines().count()), (Some(0), 1));
    assert!(open.err.contains("has not passed this moment yet"), "{}", open.err);
}

#[test]
fn what_is_printed_as_a_time_is_accepted_as_one() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let mut text = String::new();
    for args in [&["ls"][..], &["show", "extract/shipments"], &["history", "extract/shipments"], &["log", "-n", "9"]] {
        text += &run(&[args, &["-D", dir]].concat()).good();
    }
    let is_time = |word: &&str| word.starts_with("2026-") && word.ends_with('Z');
    let mut times: Vec<&str> = text.split([' ', '\n', '(', ')']).filter(is_time).collect();
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 12, "{times:?}");
    for time in times {
        let ran = run(&["log", "-n", "1", "-D", dir, "--at", time]);
        assert_eq!(ran.code, Some(0), "{time}: {}", ran.err);
        assert!(ran.out.contains(time) || ran.out.contains("  2026-03-01T02:"), "{time}: {}", ran.out);
    }
}

#[test]
fn a_removed_task_is_not_found_and_its_history_is() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.append("a", Event::removed()).unwrap();
    ledger.close().unwrap();
    let error = run(&["show", "a", "--json", "-D", dir]).error();
    assert_eq!((&error["code"], &error["seq"]), (&json!("NOT_FOUND"), &json!(2)));
    assert_eq!(run(&["history", "a", "-D", dir]).good().lines().count(), 2);
}

#[test]
fn what_nobody_vouched_for_is_shown_with_a_note() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    // A copy of a running ledger, as a crash leaves it, without its advisory file.
    let copy = home.path().join("copy");
    std::fs::create_dir_all(copy.join("log")).unwrap();
    std::fs::copy(dir.join("LEDGER"), copy.join("LEDGER")).unwrap();
    for file in std::fs::read_dir(dir.join("log")).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, copy.join("log").join(file.file_name().unwrap())).unwrap();
    }
    drop(ledger);
    let ran = run(&["ls", "-D", &path(copy)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains(TaskState::Pending.name()));
    assert!(ran.err.starts_with("taskledger: remark: the last 1 entry was written, but nobody"), "{}", ran.err);
}

#[test]
fn characters_that_act_are_escaped_for_people_and_stay_in_json() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let evil = "e\u{1b}[31mv\u{202e}i\u{9b}l\nx\u{7f}";
    let mut objects = vec![json!({"task": evil, "event": "observed", "to": "failed", "error": evil, "output": evil,
        "metadata": {evil: evil}, "actor": evil, "reason": evil, "key": evil})];
    run_on(&lines(&objects), &["import", "-D", dir]).good();
    objects.push(json!({"task": evil, "event": "created"}));
    let mut texts = Vec::new();
    for args in [&["ls"][..], &["show", evil], &["history", evil], &["log"]] {
        texts.push(run(&[args, &["-D", dir]].concat()).good());
    }
    texts.push(run(&["show", &format!("{evil}!"), "-D", dir]).err);
    texts.push(run_on(&lines(&objects), &["import", "-D", dir]).err);
    for text in texts {
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
        assert!(text.contains(r"e\u{1b}[31mv\u{202e}i\u{9b}l"), "{text:?}");
    }
    assert_eq!(run(&["ls", "-D", dir]).good().lines().count(), 3, "a line break in an id or error makes no new line");
    let task = &run(&["show", evil, "--json", "-D", dir]).good_json()[0];
    for field in ["id", "error", "output"] {
        assert_eq!(task[field], evil, "{field}");
    }
    let entry = &run(&["log", "--json", "-D", dir]).good_json()[0];
    for field in ["task", "actor", "reason", "key"] {
        assert_eq!(entry[field], evil, "{field}");
    }
}
