//! The commands that look, on a ledger whose beginning was pruned: what is there is shown, what is older is refused.

use serde_json::json;
use taskledger::{At, Event, Maintenance, Options, Prune, Seq, TaskState};

use crate::cli::{path, run};

#[test]
fn what_was_pruned_is_refused_with_what_there_is_and_the_rest_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let options = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual);
    let ledger = options.open(dir).unwrap();
    for n in 0..60 {
        let event = Event::observed(TaskState::Completed).error("x".repeat(1000));
        ledger.append(format!("t{}", n % 20), event).unwrap();
    }
    let pruning = ledger.prune(&Prune::before(At::Seq(Seq(40))).forced()).unwrap();
    let (oldest, head) = (pruning.oldest.0, ledger.head().0);
    ledger.close().unwrap();
    assert!(oldest > 10 && head > 60, "{pruning:?}");

    let seqs = |args: &[&str]| -> Vec<u64> {
        let entries = run(&[args, &["--json", "-D", dir]].concat()).good_json();
        entries.iter().filter_map(|entry| entry["seq"].as_u64()).collect()
    };
    let kept: Vec<u64> = (oldest..=head).collect();
    let newest_first: Vec<u64> = kept.iter().rev().copied().collect();
    assert_eq!(seqs(&["log"]), kept);
    assert_eq!(seqs(&["log", "--reverse"]), newest_first);
    assert_eq!(seqs(&["log", "-n", "1000"]), kept);
    assert_eq!(seqs(&["log", "-n", "1000", "--task", "t1*"]).first().map(|seq| *seq >= oldest), Some(true));
    let history = run(&["history", "t19", "--reverse", "-n", "1", "-D", dir]);
    assert!(history.code == Some(0) && history.err.contains("pruned"), "{}", history.err);

    let stats = &run(&["stats", "--json", "-D", dir]).good_json()[0];
    let begun_before = (1..=20).filter(|first| *first < oldest).count();
    assert_eq!((&stats["tasks"], &stats["cut"]), (&json!(20), &json!(begun_before)));

    let before = (oldest - 1).to_string();
    let found = run(&["bisect", "--json", "-D", dir, "--where", "task(\"t19\").version == 3"]).good_json();
    assert_eq!(found[0]["first"], 60, "from the earliest moment that is kept");
    assert!(run(&["diff", &format!("seq:{before}"), "--json", "-D", dir]).code == Some(0));
    for older in [
        &["log", "--from", "3"][..],
        &["log", "--since", "seq:3"],
        &["log", "--since", "seq:3", "--reverse"],
        &["log", "--since", "seq:3", "-n", "1000", "--task", "t1"],
        &["log", "--since", "1970-01-02"],
        &["log", "--until", "seq:3"],
        &["diff", "seq:3"],
        &["diff", "1970-01-02"],
        &["bisect", "--where", "total > 3", "--from", "seq:3"],
    ] {
        let ran = run(&[older, &["--json", "-D", dir]].concat());
        let error = ran.error();
        assert_eq!((ran.code, ran.out.len()), (Some(3), 0), "{older:?}: {}", ran.err);
        assert_eq!((&error["code"], &error["oldest"]), (&json!("PRUNED"), &json!(oldest)), "{older:?}");
    }
    let gone = run(&["dump", "1", "-D", dir]);
    assert!(gone.code == Some(3) && gone.err.contains("there are the segments "), "{}", gone.err);
}
