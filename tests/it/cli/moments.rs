//! Moments in words, as the commands take them: with a zone of their own, and as of a clock that goes on.

use taskledger::{Event, Ledger};

use crate::cli::{Demo, Ran, command, finish, path};

/// Runs in a time zone.
fn run_in(zone: &str, args: &[&str]) -> Ran {
    finish(command(args).env("TZ", zone))
}

#[test]
fn every_read_takes_moments_in_the_local_zone() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let seq = |ran: Ran| ran.good().lines().last().expect("a line").to_owned();
    // Half past two in Greenwich is half past three in Paris.
    for at in
        ["2026-03-01 03:30", "2026-03-01T03:30:00", "2026-03-01T02:30[UTC]", "2026-03-01T02:30:00Z", "@1772332200"]
    {
        let ran = run_in("Europe/Paris", &["ls", "-D", dir, "--at", at]);
        assert_eq!(seq(ran), "31 of 31 tasks, as of seq 101 (2026-03-01T02:27:20.560Z)", "{at}");
    }
    let other = run_in("UTC", &["ls", "-D", dir, "--at", "2026-03-01 02:30"]);
    assert_eq!(seq(other), "31 of 31 tasks, as of seq 101 (2026-03-01T02:27:20.560Z)");
    for args in [
        &["show", "train/churn", "--at", "yesterday"][..],
        &["history", "train/churn", "--at", "-5m"],
        &["note", "n", "--at", "5m ago"],
        &["notes", "--at", "1w 2d ago"],
        &["ls", "--updated-since", "today"],
        &["log", "--since", "10 minutes ago"],
        &["log", "--until", "PT5M"],
    ] {
        let ran = run_in("UTC", &[args, &["-D", dir]].concat());
        assert_ne!(ran.code, Some(2), "{args:?}: {}", ran.err);
    }
}

/// The ledger was written just now, and a day ago it was not there.
#[test]
fn spans_and_words_count_from_the_clock() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Ledger::open(dir).unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.close().unwrap();
    let shown = |args: &[&str]| finish(&mut command(&[args, &["--json", "-D", dir]].concat())).good().lines().count();
    assert_eq!(shown(&["log", "--since", "1d"]), 1);
    assert_eq!(shown(&["log", "--until", "1d"]), 0);
    assert_eq!(shown(&["log", "--since", "yesterday"]), 1);
    assert_eq!(shown(&["ls", "--updated-since", "24h ago"]), 2, "the task and the counts");
    assert_eq!(shown(&["ls", "--updated-since", "seq:1"]), 2);
    assert_eq!(shown(&["ls", "--updated-since", "seq:2"]), 1);
    // Not in the ledger's future: entries are placed at the clock's time or later.
    finish(&mut command(&["append", "b", "created", "--at", "2h", "-D", dir])).good();
    let history = finish(&mut command(&["history", "b", "-D", dir])).good();
    assert!(history.contains("said "), "a time in words is a stated time: {history}");
    let seq = finish(&mut command(&["append", "b", "ready", "--at", "seq:1", "-D", dir]));
    assert_eq!((seq.code, seq.err.contains("a seq is no time")), (Some(2), true), "{}", seq.err);
}

#[test]
fn a_wrong_moment_is_wrong_usage_and_says_what_there_is() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let twice = run_in("Europe/Paris", &["ls", "-D", dir, "--at", "2026-10-25 02:30"]);
    assert_eq!(twice.code, Some(2));
    assert!(twice.err.contains("type 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"), "{}", twice.err);
    let never = run_in("Europe/Paris", &["log", "-D", dir, "--since", "2026-03-29T02:30", "--json"]);
    let error = never.error();
    assert_eq!((never.code, &error["code"]), (Some(2), &"USAGE".into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("2026-03-29T01:30:00+01:00 or 2026-03-29T03:30:00+02:00"), "{message}");
    let nowhere = run_in("Mars/Base", &["ls", "-D", dir, "--at", "02:30"]);
    assert!(
        nowhere.code == Some(2) && nowhere.err.contains("TZ") && nowhere.err.contains("Mars/Base"),
        "{}",
        nowhere.err
    );
    // What needs no zone is read all the same.
    run_in("Mars/Base", &["ls", "-D", dir, "--at", "2026-03-01T02:30:00Z"]).good();
    for bad in ["noon", "", "5x", "+5m", "\u{1b}[31mx", "99999999999y", "-f"] {
        let ran = run_in("UTC", &["ls", "-D", dir, "--at", bad]);
        assert!(ran.code == Some(2) && ran.err.contains("'1w 2d ago'"), "{bad:?}: {}", ran.err);
        assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
    }
}
