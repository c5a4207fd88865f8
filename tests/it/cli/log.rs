//! `log` and `history`: which entries they show, from which end, and on how many lines.

use serde_json::{Value, json};
use taskledger::{Batch, Event, Expect, Ledger, TaskState};

use crate::cli::{Demo, path, run, terminal};

/// The seqs that a command prints.
fn seqs(dir: &str, args: &[&str]) -> Vec<u64> {
    let entries = run(&[args, &["--json", "-D", dir]].concat()).good_json();
    entries.iter().map(|entry| entry["seq"].as_u64().expect("a seq")).collect()
}

/// Every filter, by what the JSON of the whole log says.
#[test]
fn log_shows_what_all_filters_let_through() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let all: Vec<Value> = demo.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pick = |wanted: &dyn Fn(&Value) -> bool| -> Vec<u64> {
        all.iter().filter(|entry| wanted(entry)).map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    let of = |entry: &Value, prefix: &str| entry["task"].as_str().unwrap().starts_with(prefix);
    let at = |entry: &Value| entry["at"].as_u64().unwrap();
    let (ten_past, half_past) = (1_772_331_000_000, 1_772_332_200_000);
    let (since, until) = (["--since", "2026-03-01T02:10:00Z"], ["--until", "2026-03-01T02:30:00Z"]);
    type Case<'a> = (Vec<&'a str>, Vec<u64>);
    let cases: Vec<Case<'_>> = vec![
        (vec!["--task", "train/*"], pick(&|entry| of(entry, "train/"))),
        (vec!["--task", "train/*", "--task", "join/?*"], pick(&|entry| of(entry, "train/") || of(entry, "join/"))),
        (vec!["--task", "train"], vec![]),
        (vec!["--state", "failed,retrying"], pick(&|entry| entry["to"] == "failed" || entry["to"] == "retrying")),
        (vec!["--actor", "planner"], pick(&|entry| entry["actor"] == "planner")),
        (since.to_vec(), pick(&|entry| at(entry) >= ten_past)),
        (until.to_vec(), pick(&|entry| at(entry) <= half_past)),
        ([since, until].concat(), pick(&|entry| (ten_past..=half_past).contains(&at(entry)))),
        (vec!["--since", "seq:120"], (120..=128).collect()),
        (vec!["--since", "seq:120", "--until", "seq:122"], vec![120, 121, 122]),
        (vec!["--since", "seq:129"], vec![]),
        (vec!["--since", "2026-03-02"], vec![]),
        (vec!["--since", "1970-01-02"], (1..=128).collect()),
        (vec!["--from", "120", "--at", "seq:121"], vec![120, 121]),
        (
            [&["--actor", "worker-3", "--state", "running", "--task", "*e*"][..], &since].concat(),
            pick(&|entry| {
                entry["actor"] == "worker-3"
                    && entry["to"] == "running"
                    && entry["task"].as_str().unwrap().contains('e')
                    && at(entry) >= ten_past
            }),
        ),
    ];
    for (args, expected) in cases {
        let with = |more: &[&str]| seqs(dir, &[&["log"], &args[..], more].concat());
        assert_eq!(with(&[]), expected, "{args:?}");
        let mut newest_first = expected.clone();
        newest_first.reverse();
        assert_eq!(with(&["--reverse"]), newest_first, "{args:?}");
        for n in [0, 1, 2, 5, 1000] {
            let (text, some) = (n.to_string(), n.min(expected.len()));
            assert_eq!(with(&["-n", &text]), expected[expected.len() - some..], "the last {n} of {args:?}");
            assert_eq!(with(&["-n", &text, "--reverse"]), newest_first[..some], "the last {n} of {args:?}");
        }
    }
    // An entry is since its own time, and until it.
    let exactly = ["log", "--since", "2026-03-01T02:44:15.245Z", "--until", "2026-03-01T02:44:15.245Z"];
    assert_eq!(seqs(dir, &exactly), [119]);
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let demo = Demo::new();
    let dir = &demo.dir();
    for wrong in [
        &["log", "-f", "--reverse"][..],
        &["log", "-f", "--until", "now"],
        &["log", "--from", "3", "--since", "5m"],
        &["log", "--at", "now", "--until", "now"],
        &["log", "--oneline", "--json"],
        &["log", "--state", "done"],
        &["log", "-n", "-1"],
        &["log", "--since", "5m", "--until", "10m"],
        &["log", "--since", "seq:5", "--at", "seq:4"],
        &["history", "a", "-n", "x"],
    ] {
        let ran = run(&[wrong, &["-D", dir]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{wrong:?}: {}", ran.err);
    }
    for ahead in [&["log", "--since", "seq:130"][..], &["log", "--until", "seq:129"], &["log", "--from", "130"]] {
        let error = run(&[ahead, &["--json", "-D", dir]].concat()).error();
        assert_eq!((&error["code"], &error["exit"]), (&json!("AHEAD"), &json!(3)), "{ahead:?}");
    }
}

#[test]
fn a_history_is_cut_and_turned_round() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    // More entries than are asked for at a time.
    for n in 0..3_u64 {
        let mut batch = Batch::new();
        for _ in 0..300 {
            batch.push("a", Event::observed(TaskState::Ready), Expect::Any);
            batch.push(format!("other {n}"), Event::observed(TaskState::Ready), Expect::Any);
        }
        ledger.commit(batch).unwrap();
    }
    ledger.close().unwrap();
    let all: Vec<u64> = (0..900).map(|n| 2 * n + 1).collect();
    for n in [0, 1, 255, 256, 257, 600, 899, 900, 5000] {
        let last = all[all.len() - n.min(all.len())..].to_vec();
        let text = n.to_string();
        assert_eq!(seqs(dir, &["history", "a", "-n", &text]), last, "{n}");
        let newest_first: Vec<u64> = last.into_iter().rev().collect();
        assert_eq!(seqs(dir, &["history", "a", "--reverse", "-n", &text]), newest_first, "{n}");
    }
    assert_eq!(seqs(dir, &["history", "a"]), all);
    assert_eq!(seqs(dir, &["history", "a", "--at", "seq:6", "-n", "2"]), [3, 5]);
    assert_eq!(run(&["history", "b", "--reverse", "-D", dir]).code, Some(3));
}

/// Pages that are read backwards end by their number of entries, and by their bytes.
#[test]
fn a_log_is_read_backwards_in_pages() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    for n in 0..10_u64 {
        let mut batch = Batch::new();
        for m in 0..1000 {
            batch.push(format!("t{}", m % 7), Event::observed(TaskState::Ready).by(format!("{}", n % 3)), Expect::Any);
        }
        ledger.commit(batch).unwrap();
        let large = format!("\"{}\"", "x".repeat(6 << 20));
        ledger.append("large", Event::observed(TaskState::Ready).output_text(&large)).unwrap();
    }
    ledger.close().unwrap();
    let forwards = |args: &[&str]| seqs(dir, &[&["log"], args].concat());
    for args in [&[][..], &["--task", "t3"], &["--task", "large"], &["--actor", "1"], &["--from", "4321"]] {
        let mut all = forwards(args);
        assert!(all.len() >= 10 && all.is_sorted(), "{args:?}");
        all.reverse();
        assert_eq!(forwards(&[args, &["--reverse"]].concat()), all, "{args:?}");
        let last: Vec<u64> = all.iter().take(9).rev().copied().collect();
        assert_eq!(forwards(&[args, &["-n", "9"]].concat()), last, "{args:?}");
    }
}

#[test]
fn on_a_terminal_lines_fit_it_and_in_a_pipe_an_entry_is_a_line() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let long = "x".repeat(200);
    run(&[
        "append",
        "-D",
        dir,
        &long,
        "failed",
        "--observed",
        "--error",
        "東京 \u{1b}[31m out of order",
        "--reason",
        &long,
    ])
    .good();
    for args in [&["log"][..], &["log", "--oneline"], &["history", &long]] {
        let lines = run(&[args, &["-D", dir]].concat()).good().lines().count();
        assert_eq!(lines, if args[0] == "log" { 129 } else { 1 }, "{args:?}");
    }
    for columns in [1, 20, 80, 120, 200] {
        let args = ["log", "--oneline", "-D", dir];
        let Some(screen) = terminal::screen_of(&args, columns) else { return };
        assert_eq!(screen.lines().count(), 129, "one line each on {columns} columns");
        let too_long = screen.lines().find(|line| terminal::columns_of(line) > usize::from(columns));
        assert_eq!(too_long, None, "{columns} columns");
    }
    let screen = terminal::screen_of(&["log", "-n", "60", "--until", "seq:128", "-D", dir], 80).expect("a terminal");
    let too_long = screen.lines().find(|line| terminal::columns_of(line) > 80);
    assert_eq!(too_long, None, "{screen}");
    assert!(screen.contains("ready → cancelled\n     by anna  because the forecast is missing;"), "{screen}");
    let wide = terminal::screen_of(&["log", "-n", "60", "--until", "seq:128", "-D", dir], 200).expect("a terminal");
    assert_eq!(wide.lines().count(), 60);
    assert_eq!(wide, run(&["log", "-n", "60", "--until", "seq:128", "-D", dir]).good());
}

#[test]
fn a_list_fits_the_terminal() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let error =
        "it went wrong in a way that takes many words to say, more than any narrow terminal has room for".repeat(3);
    run(&["append", "-D", dir, "sad", "failed", "--observed", "--error", &error]).good();
    let args = ["ls", "-D", dir];
    for columns in [80, 120, 200] {
        let Some(screen) = terminal::screen_of(&args, columns) else { return };
        let longest = screen.lines().map(terminal::columns_of).max();
        assert_eq!(longest, Some(usize::from(columns)), "as much of the error as fits\n{screen}");
    }
    let short = "it went wrong in a way that takes many words to say, more t…\n";
    assert!(run(&args).good().contains(short), "a pipe has 60 columns of it");
}

/// What was read before the damage is shown, then where it is; never an answer that only looks whole.
#[test]
fn damage_on_the_way_is_told_from_either_end() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = taskledger::Options::new().segment_size(16 << 10).open(dir).unwrap();
    for n in 0..200 {
        let error = format!("marked {n:03} {}", "x".repeat(300));
        ledger.append(format!("t{}", n % 10), Event::observed(TaskState::Ready).error(error)).unwrap();
    }
    ledger.close().unwrap();
    let whole: Vec<String> = run(&["log", "--json", "-D", dir]).good().lines().map(str::to_owned).collect();
    let segments = taskledger::Options::new().segments(dir).unwrap();
    let found = segments.iter().find_map(|(_, path)| {
        let bytes = std::fs::read(path).unwrap();
        let place = bytes.windows(10).position(|window| window == b"marked 090")?;
        Some((path, bytes, place))
    });
    let (file, mut bytes, place) = found.expect("texts are stored as they are");
    bytes[place] ^= 1;
    std::fs::write(file, bytes).unwrap();

    for (args, from_the_end) in [
        (&["log"][..], false),
        (&["log", "--reverse"], true),
        (&["log", "--task", "t*", "-n", "150"], false),
        (&["log", "--task", "t*", "-n", "150", "--reverse"], true),
        (&["history", "t0"], false),
        (&["history", "t0", "--reverse"], true),
    ] {
        let ran = run(&[args, &["--json", "-D", dir]].concat());
        let error = ran.error();
        assert_eq!((ran.code, &error["code"]), (Some(5), &json!("DAMAGED")), "{args:?}: {error}");
        assert!(error["path"].is_string() && error["seq"].as_u64().is_some_and(|seq| seq.abs_diff(91) < 40), "{error}");
        let shown: Vec<&str> = ran.out.lines().collect();
        if args[0] == "log" && !args.contains(&"-n") {
            let mut wanted: Vec<&str> = whole.iter().map(String::as_str).collect();
            if from_the_end {
                wanted.reverse();
            }
            assert!(shown.len() < 130 && shown == wanted[..shown.len()], "{args:?}: {} lines", shown.len());
            assert!(!shown.is_empty(), "{args:?}");
        }
    }
    // What does not need the bad frame is answered.
    assert_eq!(seqs(dir, &["log", "-n", "20", "--reverse"]), (181..=200).rev().collect::<Vec<_>>());
    assert_eq!(seqs(dir, &["history", "t0", "-n", "5"]), [151, 161, 171, 181, 191]);
}
