//! `export`: what goes out is what is there, in four formats, and what goes back in is what went out.

mod files;
mod formats;
mod random;
mod trace;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use taskledger::{At, Event, Ledger, Maintenance, Options, Prune, Seq, TaskState};

use crate::cli::{Demo, Ran, command, path, run, run_on};
use crate::workflows::runs;

pub const FORMATS: [&str; 4] = ["jsonl", "csv", "chrome-trace", "cloudevents"];

/// An export to standard output.
pub fn export(dir: &str, format: &str, args: &[&str]) -> Ran {
    run(&[&["export", "--to", format, "-D", dir], args].concat())
}

/// The lines of the log as JSON.
pub fn entries(dir: &str, args: &[&str]) -> Vec<Value> {
    let ran = run(&[&["log", "--json", "-D", dir], args].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// That a ledger goes out as its log, back in, and out again, byte by byte.
fn goes_round(dir: &str, other: &str, batch: &str) {
    let out = export(dir, "jsonl", &[]).good();
    assert_eq!(out, run(&["log", "--json", "-D", dir]).good());
    run_on(&out, &["import", "--batch", batch, "-D", other]).good();
    let again = export(other, "jsonl", &[]).good();
    let differs = out.lines().zip(again.lines()).find(|(out, again)| out != again);
    assert!(out == again, "{differs:?}");
    for args in [&["ls", "--json"][..], &["notes", "--json"]] {
        let [before, after] = [dir, other].map(|dir| run(&[args, &["-D", dir]].concat()).good());
        assert_eq!(before, after);
    }
}

#[test]
fn json_lines_are_the_log_and_go_back_in_with_nothing_lost() {
    let demo = Demo::new();
    goes_round(&demo.dir(), &demo.other(), "1000");
    for one in runs().into_iter().flatten() {
        let demo = Demo::new();
        let (first, second) = (demo.other(), path(demo.home.path().join("second")));
        run_on(&one.lines.join("\n"), &["import", "-D", &first]).good();
        goes_round(&first, &second, "250");
    }
}

#[test]
fn a_random_ledger_goes_back_in_whatever_it_holds() {
    for seed in 1..=4 {
        let home = tempfile::tempdir().unwrap();
        let dir = path(home.path().join("ledger"));
        random::write(&dir, seed, 1500);
        for batch in ["1", "7", "1000"] {
            goes_round(&dir, &path(home.path().join(format!("by-{batch}"))), batch);
        }
    }
}

#[test]
fn a_moment_ends_it_and_a_moment_begins_it() {
    let demo = Demo::new();
    let dir = demo.dir();
    let log = |args: &[&str]| run(&[&["log", "--json", "-D", &dir], args].concat()).good();
    for args in [
        &["--at", "seq:70"][..],
        &["--until", "2026-03-01 02:30"],
        &["--since", "2026-03-01 02:30"],
        &["--since", "seq:70", "--until", "seq:80"],
        &["--since", "seq:129"],
        &["--at", "seq:0"],
        &["--since", "seq:70", "--at", "2026-03-01 02:30"],
    ] {
        let ran = export(&dir, "jsonl", args);
        assert_eq!((ran.code, &ran.out), (Some(0), &log(args)), "{args:?}");
        let is_whole = !args.contains(&"--since");
        assert_eq!(ran.err.is_empty(), is_whole, "{args:?}: {}", ran.err);
        for format in ["csv", "cloudevents"] {
            let lines = export(&dir, format, args).good().lines().count() - usize::from(format == "csv");
            assert_eq!(lines, ran.out.lines().count(), "{format} {args:?}");
        }
    }
    for (args, exit) in [
        (&["--at", "seq:70", "--until", "seq:80"][..], 2),
        (&["--since", "seq:80", "--until", "seq:70"], 2),
        (&["--since", "2h", "--until", "3h"], 2),
        (&["--since", "seq:130"], 3),
        (&["--at", "seq:129"], 3),
        (&["--redact", "nothing"], 2),
    ] {
        for format in FORMATS {
            let ran = export(&dir, format, args);
            assert_eq!((ran.code, ran.out.as_str()), (Some(exit), ""), "{format} {args:?}: {}", ran.err);
        }
    }
}

#[test]
fn without_a_format_the_formats_are_named_and_json_is_for_errors_only() {
    let demo = Demo::new();
    let dir = demo.dir();
    let ran = run(&["export", "-D", &dir]);
    assert!(ran.code == Some(2) && FORMATS.iter().all(|format| ran.err.contains(format)), "{}", ran.err);
    let error = run(&["export", "-D", &dir, "--json"]).error();
    assert!(FORMATS.iter().all(|format| error["message"].as_str().unwrap().contains(format)), "{error}");
    let unknown = run(&["export", "--to", "xml", "-D", &dir]);
    assert!(unknown.code == Some(2) && FORMATS.iter().all(|format| unknown.err.contains(format)), "{}", unknown.err);
    for format in FORMATS {
        assert_eq!(export(&dir, format, &["--json"]).good(), export(&dir, format, &[]).good());
    }
    let nowhere = path(demo.home.path().join("nowhere"));
    let none = export(&nowhere, "jsonl", &["--json"]);
    assert_eq!((none.code, &none.error()["code"]), (Some(10), &json!("NO_LEDGER")));
}

#[test]
fn an_empty_ledger_is_an_empty_file_of_each_format() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    run(&["init", &dir]).good();
    assert_eq!(export(&dir, "jsonl", &[]).good(), "");
    assert_eq!(export(&dir, "cloudevents", &[]).good(), "");
    assert_eq!(export(&dir, "csv", &[]).good().lines().count(), 1);
    let trace = trace::Trace::read(&export(&dir, "chrome-trace", &[]).good());
    assert!(trace.slices.is_empty() && trace.counters.is_empty());
}

#[test]
fn it_looks_beside_a_live_writer() {
    let demo = Demo::new();
    let before: Vec<String> = FORMATS.iter().map(|format| export(&demo.dir(), format, &[]).good()).collect();
    let ledger = Ledger::open(demo.dir()).unwrap();
    for (format, before) in FORMATS.iter().zip(before) {
        assert_eq!(export(&demo.dir(), format, &[]).good(), before, "{format}");
    }
    ledger.append("another", Event::created()).unwrap();
    assert_eq!(export(&demo.dir(), "jsonl", &[]).good().lines().count(), 129);
}

#[test]
fn a_history_that_does_not_begin_at_the_beginning_is_said_to_go_back_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    let ledger = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(&dir).unwrap();
    ledger.append("long", Event::observed(TaskState::Running).attempts(3)).unwrap();
    for n in 0..60 {
        let event = Event::observed(TaskState::Completed).error("x".repeat(1000));
        ledger.append(format!("t{}", n % 20), event).unwrap();
    }
    let pruning = ledger.prune(&Prune::before(At::Seq(Seq(40))).forced()).unwrap();
    let counts = ledger.counts();
    ledger.close().unwrap();
    let log = entries(&dir, &[]);
    assert_eq!(log[0]["seq"], pruning.oldest.0);

    let ran = export(&dir, "jsonl", &[]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), log.len()));
    assert!(ran.err.starts_with("taskledger: remark: it begins with seq "), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1);
    assert_eq!(export(&dir, "jsonl", &["--json"]).good(), ran.out, "programs see it by the first line");
    for format in ["csv", "cloudevents"] {
        export(&dir, format, &[]).good();
    }
    assert_eq!(export(&dir, "jsonl", &["--since", "seq:3"]).code, Some(3));

    // What has run since before is known by its record, and counted by the floor.
    let trace = trace::Trace::read(&export(&dir, "chrome-trace", &[]).good());
    let long: Vec<_> = trace.slices.iter().filter(|slice| slice.task == "long").collect();
    assert!(matches!(long.as_slice(), [slice] if slice.attempt == 3 && slice.ended.is_none()), "{long:?}");
    let last = trace.counters.last().expect("counts");
    assert_eq!(last.of("completed"), counts.of(TaskState::Completed));
    assert_eq!(last.of("running"), 1);
}

/// Everything secret in it is in a field that can be withheld.
fn secrets(dir: &str) {
    let ledger = Ledger::open(dir).unwrap();
    let all = |event: Event| {
        let event = event.error("SECRET error").meta("token", "SECRET token").meta("other", "SECRET other");
        event.by("SECRET actor").because("SECRET reason").output(json!({"SECRET output": ["SECRET output"]}))
    };
    ledger.append("a", all(Event::created())).unwrap();
    ledger.append("a", all(Event::observed(TaskState::Running))).unwrap();
    ledger.append("a", Event::updated().clear_output().clear_error().unset("token").unset("never")).unwrap();
    ledger.append("a", all(Event::to(TaskState::Failed)).key("k")).unwrap();
    let noted = Event::noted(json!({"SECRET value": 1})).by("SECRET actor").because("SECRET reason").key("n");
    ledger.append_note("n", noted.cause(Seq(2))).unwrap();
    ledger.append_note("n", Event::removed().by("SECRET actor")).unwrap();
    ledger.append("b", Event::created()).unwrap();
    ledger.close().unwrap();
}

#[test]
fn what_is_withheld_is_nowhere_and_the_rest_is_everywhere() {
    let home = tempfile::tempdir().unwrap();
    let (dir, other) = (path(home.path().join("ledger")), path(home.path().join("other")));
    secrets(&dir);
    let all = ["--redact", "output,error,value", "--redact", "reason,actor,meta.*"];
    for format in FORMATS {
        assert!(export(&dir, format, &[]).good().contains("SECRET"), "{format}");
        assert!(!export(&dir, format, &all).good().contains("SECRET"), "{format}");
    }
    // One field at a time, and nothing else.
    let names = ["output", "error", "value", "reason", "actor", "token", "other"];
    for name in names {
        let field = if ["token", "other"].contains(&name) { format!("meta.{name}") } else { name.to_owned() };
        for format in ["jsonl", "csv", "cloudevents"] {
            let text = export(&dir, format, &["--redact", &field]).good();
            for other in names {
                assert_eq!(
                    text.contains(&format!("SECRET {other}")),
                    other != name,
                    "{format} without {field}: {other}"
                );
            }
        }
        assert_eq!(export(&dir, "chrome-trace", &["--redact", &field]).good().contains("SECRET"), name != "error");
    }
    // Everything that was not withheld is as it was: also what is cleared, unset, or not there.
    let out = export(&dir, "jsonl", &all).good();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (mut line, mut entry) in lines.into_iter().zip(entries(&dir, &[])) {
        for field in ["output", "error", "value", "reason", "actor"] {
            if entry.get(field).is_some_and(|value| !value.is_null()) {
                assert_eq!(line[field], "[redacted]", "{line}");
                line[field] = entry[field].clone();
            }
        }
        for (key, value) in entry.get_mut("metadata").and_then(Value::as_object_mut).into_iter().flatten() {
            if !value.is_null() {
                assert_eq!(line["metadata"][key], "[redacted]", "{line}");
                line["metadata"][key] = value.clone();
            }
        }
        assert_eq!(line, entry);
    }
    run_on(&out, &["import", "-D", &other]).good();
    assert_eq!(export(&other, "jsonl", &[]).good(), out);
}

#[test]
fn a_closed_pipe_is_a_success_and_a_full_disk_is_not() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    random::write(&dir, 9, 4000);
    for format in FORMATS {
        let args = ["export", "--to", format, "-D", &dir];
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = Vec::new();
        BufReader::new(child.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{format}");
        assert!(!line.is_empty());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = command(&args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.starts_with("taskledger: could not write to standard output: "), "{text}");
        assert_eq!(ended.status.code(), Some(1));
    }
}
