//! A hundred thousand tasks, beside a live writer, as a user who may not write: every command that looks answers, in memory
//! that does not go with the ledger. `ulimit -d` is the judge: of heap and private maps there is no more than that.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;
use taskledger::{Batch, Event, Expect, Ledger, Options, TaskState};

use crate::cli::{PROGRAM, Ran, path};
use crate::refusals::machine::{AS_NOBODY, is_root};
use crate::support::say;

const TASKS: u64 = 100_000;
const START: u64 = 1_772_330_400_000;

/// A tenth of a second apart each task is created, made ready and started; nine of ten then end.
fn write(dir: &str) -> Ledger {
    let options = Options::new().dir_mode(0o755).file_mode(0o644);
    let ledger = options.open(dir).unwrap();
    for first in (0..TASKS).step_by(2000) {
        let mut batch = Batch::new();
        for n in first..first + 2000 {
            let (id, at) = (format!("batch/{:02}/task-{n:06}", n % 97), START + n * 100);
            let created = Event::created().meta("owner", format!("o{}", n % 7));
            batch.push(id.as_str(), created.at(at), Expect::Any);
            batch.push(id.as_str(), Event::to(TaskState::Ready).at(at + 10), Expect::Any);
            batch.push(id.as_str(), Event::to(TaskState::Running).at(at + 50), Expect::Any);
            if n % 10 > 0 {
                let done = Event::to(TaskState::Completed).output(json!({ "n": n }));
                batch.push(id.as_str(), done.at(at + 90), Expect::Any);
            }
        }
        ledger.commit(batch).unwrap();
    }
    ledger
}

#[test]
fn a_hundred_thousand_tasks_are_looked_at_in_little_memory_beside_a_writer_and_without_rights() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (dir, program) = (path(home.path().join("ledger")), path(home.path().join("taskledger")));
    let ledger = write(&dir);
    fs::copy(PROGRAM, &program).unwrap();
    let through = match is_root() {
        true => AS_NOBODY.to_vec(),
        false => {
            say("NOT TESTED: looking as another user, which only root can become");
            vec!["env"]
        }
    };
    let run = |mib: u64, args: &[&str]| {
        let limited = format!("ulimit -d {}; exec \"$@\"", mib << 10);
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).args(["sh", "-c", &limited, "-", &program, "-D", &dir]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    };
    let lines = |mib, args: &[&str]| run(mib, args).good().lines().count() as u64;
    // Just before the last batch, of 2000 tasks.
    let late = START + (TASKS - 2000) * 100 - 5;
    let late = format!("@{}.{:03}", late / 1000, late % 1000);

    assert_eq!(lines(64, &["ls"]), TASKS + 2);
    assert_eq!(lines(16, &["ls", "--limit", "20"]), 22);
    assert_eq!(lines(16, &["ls", "--state", "running"]), TASKS / 10 + 2);
    assert_eq!(lines(16, &["ls", "--updated-since", &late, "--json"]), 2001);
    assert!(run(48, &["stats"]).good().starts_with("100000 tasks: 10000 running, 90000 completed\n"));
    assert!(run(48, &["stats", "--by", "meta.owner", "--since", &late]).good().contains("\no6 "));
    assert!(run(16, &["timeline"]).good().contains("\n99950 more that began earlier are left out"));
    assert_eq!(lines(16, &["timeline", "--since", &late, "--limit", "1000", "--json"]), 1001);
    assert_eq!(lines(16, &["log", "--since", &late]), 2000 * 4 - 200);
    assert_eq!(lines(16, &["log", "-n", "10", "--task", "batch/00/*"]), 10);
    assert_eq!(lines(16, &["log", "--json"]), TASKS * 4 - TASKS / 10);
    assert!(run(32, &["diff", &late, "--stat"]).good().contains("2000 tasks changed by 7800 entries"));
    for format in ["jsonl", "csv", "cloudevents"] {
        assert_eq!(lines(16, &["export", "--to", format]), TASKS * 4 - TASKS / 10 + u64::from(format == "csv"));
    }
    assert!(lines(48, &["export", "--to", "chrome-trace"]) > TASKS * 2);
    let found = run(32, &["bisect", "--where", "total > 50000"]);
    assert!(found.code == Some(0) && found.out.contains("batch/45/task-050000"), "{found:?}");
    for one in [&["info"][..], &["show", "batch/00/task-000000"], &["history", "batch/00/task-000000"], &["notes"]] {
        assert!(lines(16, one) > 0, "{one:?}");
    }
    // The judge does judge.
    assert_ne!(run(8, &["ls"]).code, Some(0), "so little memory is not enough to sort as many rows");
    ledger.close().unwrap();
}

/// Rows that are too many to be sorted come all the same, and a limit keeps no more than it shows.
#[test]
fn more_than_can_be_sorted_is_listed_unsorted_and_a_limit_sorts_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let ledger = Options::new().open(dir).unwrap();
    let output = json!("x".repeat(4 << 20));
    for n in 0..24 {
        ledger.append(format!("t{n:02}"), Event::observed(TaskState::Completed).output(output.clone())).unwrap();
    }
    ledger.close().unwrap();
    let ids = |ran: &Ran| -> Vec<String> {
        let ids = ran.out.lines().filter_map(|line| line.split("\"id\":\"").nth(1)?.split('"').next());
        ids.map(str::to_owned).collect()
    };
    let all = crate::cli::run(&["ls", "--json", "-D", dir]);
    let mut found = ids(&all);
    found.sort();
    let right: Vec<String> = (0..24).map(|n| format!("t{n:02}")).collect();
    assert_eq!((all.code, found), (Some(0), right.clone()));
    let few = crate::cli::run(&["ls", "--json", "--limit", "3", "-D", dir]);
    assert_eq!((few.code, ids(&few)), (Some(0), right[..3].to_vec()));
    // Rows for people are short, whatever the tasks hold.
    let rows = crate::cli::run(&["ls", "-D", dir]).good();
    assert!(rows.lines().skip(1).zip(&right).all(|(row, id)| row.contains(id.as_str())), "{rows}");
}
