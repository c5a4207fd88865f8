//! `prune` and `snapshot`: what goes is said first, without a lock and without changing a byte; what is done is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taskledger::{Event, Ledger, Maintenance, Options, TaskState};

use crate::cli::{Ran, path, run, terminal};

/// When the first entry was placed; each is a second after the one before.
const START: u64 = 1_772_330_400_000;

/// A ledger of several segments: forty tasks that have come to their end, and one, from seq 20 on, that has not.
struct Home {
    home: tempfile::TempDir,
    dir: String,
}

impl Home {
    fn new(slow: &str) -> Home {
        let home = tempfile::tempdir().unwrap();
        let dir = path(home.path().join("ledger"));
        let ledger = Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(&dir).unwrap();
        for n in 1..=60 {
            let at = START + n * 1000;
            let event = Event::observed(TaskState::Completed).error("x".repeat(1000)).at(at);
            match n {
                20 => ledger.append(slow, Event::observed(TaskState::Running).at(at)).unwrap(),
                _ => ledger.append(format!("t{}", n % 40), event).unwrap(),
            };
        }
        ledger.close().unwrap();
        Home { home, dir }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(&[args, &["-D", &self.dir]].concat())
    }

    fn one(&self, args: &[&str]) -> Value {
        let mut objects = self.run(&[args, &["--json"]].concat()).good_json();
        assert_eq!(objects.len(), 1, "{args:?}");
        objects.remove(0)
    }

    /// The base seqs of the segments, by their names.
    fn bases(&self) -> Vec<u64> {
        let names = fs::read_dir(Path::new(&self.dir).join("log")).unwrap().map(|file| file.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".log"));
        let mut bases: Vec<u64> = names.map(|name| name[11..31].parse().unwrap()).collect();
        bases.sort_unstable();
        bases
    }
}

/// Every file below a directory, with what it holds.
fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(bytes_of(&entry.path())),
            false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}

fn time(n: u64) -> String {
    format!("2026-03-01T02:{:02}:{:02}.000Z", n / 60, n % 60)
}

#[test]
fn a_dry_run_changes_no_byte_and_says_what_would_go_and_what_keeps_the_rest() {
    let home = Home::new("slow job");
    let bases = home.bases();
    // The segment that the task which has not ended stands in, and the one that is being written.
    let stays = *bases.iter().rfind(|base| **base <= 20).unwrap();
    let active = *bases.last().unwrap();
    assert!(stays > 1 && active > 30 && active < 60, "{bases:?}");
    let before = bytes_of(Path::new(&home.dir));
    let size = |segments: u64| format!("{}.0 KiB", segments * 16);
    let segments = bases.iter().filter(|base| **base < stays).count() as u64;
    let noun = if segments == 1 { "segment" } else { "segments" };
    let last = stays - 1;
    let would = format!(
        "{segments} {noun}, {}, would go\n  \
           entries   seq 1 to {last}, {last} entries\n  \
           placed    {} to {}\n  \
           tasks     {last}: {last} completed, after the last of them\n  \
           kept      from seq {stays} on: slow job is running, and seq 20 is of it\n            \
                     bring it to its end (`taskledger history 'slow job'`), or use --force: its record stays then\n\
         nothing was changed; with --yes it is done\n",
        size(segments),
        time(1),
        time(last),
    );
    assert_eq!(home.run(&["prune", "--before", "seq:1000"]).good(), would);

    let all = bases.len() as u64 - 1;
    let forced = home.run(&["prune", "--before", "seq:1000", "--force"]).good();
    let kept = format!("  kept      from seq {active} on: that segment is being written, and only sealed ones go\n");
    assert!(forced.contains(&kept), "{forced}");
    assert!(forced.starts_with(&format!("{all} segments, {}, would go\n", size(all))), "{forced}");
    let less = format!("seq:{}", bases[1]);
    let less = home.run(&["prune", "--before", &less, "--force"]).good();
    let kept =
        format!("  kept      from seq {0} on: segments go whole, and that one does not end before seq {0}\n", bases[1]);
    assert!(less.contains(&kept) && less.starts_with("1 segment, 16.0 KiB, would go\n"), "{less}");
    let by_time = home.run(&["prune", "--force", "--before", &time(bases[1])]).good();
    let kept = format!("that one does not end before {}\n", time(bases[1]));
    assert!(by_time.contains(&kept) && by_time.starts_with("1 segment, "), "{by_time}");

    let nothing = home.run(&["prune", "--before", "seq:2"]).good();
    let expected = "nothing would go\n  kept      from seq 1 on: segments go whole, and that one does not end before \
                    seq 2\nnothing was changed\n";
    assert_eq!(nothing, expected);
    let object = home.one(&["prune", "--before", "1970-01-02"]);
    let sealed = bases.len() - 1;
    let expected =
        json!({"type": "taskledger.pruned/1", "done": false, "segments": 0, "bytes": 0, "oldest": 1, "sealed": sealed});
    assert_eq!(object, expected);
    let object = home.one(&["prune", "--before", "now"]);
    let blocked = json!({"task": "slow job", "state": "running", "seq": 20});
    assert_eq!((&object["done"], &object["blocked"], &object["oldest"]), (&json!(false), &blocked, &json!(stays)));
    assert_eq!((&object["first"], &object["last"], &object["total"]), (&json!(1), &json!(last), &json!(last)));
    assert_eq!(object["last_at"], START + last * 1000);
    assert!(bytes_of(Path::new(&home.dir)) == before, "a dry run has changed a file");
    // Beside a writer, too: it takes no lock.
    let writer = Ledger::open(&home.dir).unwrap();
    assert_eq!(home.run(&["prune", "--before", "seq:1000"]).good(), would);
    drop(writer);
}

#[test]
fn with_yes_it_is_done_and_told_and_all_records_stay() {
    let home = Home::new("slow");
    let (bases, records) = (home.bases(), home.run(&["ls", "--json"]).good());
    let would = home.one(&["prune", "--before", "now"]);
    let did = home.one(&["prune", "--before", "now", "--actor", "ops", "--reason", "a year has passed", "--yes"]);
    let mut expected = would.clone();
    (expected["done"], expected["entry"]) = (json!(true), json!(61));
    assert_eq!(did, expected);
    let told = home.one(&["log", "-n", "1"]);
    assert_eq!((&told["event"], &told["actor"]), (&json!("pruned"), &json!("ops")), "{told}");
    assert_eq!(told["reason"], "a year has passed");

    // Again there is nothing, and it says the same why.
    let again = home.run(&["prune", "--before", "now", "--yes"]).good();
    let stays = did["oldest"].as_u64().unwrap();
    assert!(again.starts_with(&format!("nothing was pruned\n  kept      from seq {stays} on: slow is running, ")));
    assert!(!again.contains("nothing was changed"), "{again}");

    let forced = home.run(&["prune", "--before", "now", "--force", "--yes"]).good();
    let active = *bases.last().unwrap();
    let lines: Vec<&str> = forced.lines().collect();
    assert!(lines[0].starts_with("pruned ") && lines[1].starts_with(&format!("  entries   seq {stays} to ")));
    assert!(lines.contains(&"  told      by seq 62"), "{forced}");
    assert!(home.bases().iter().all(|base| *base >= active), "{:?}", home.bases());
    let verified = home.one(&["verify", "--level", "derived"]);
    assert_eq!(verified["verdict"], "sound", "{verified}");
    let counted = |text: String| text.lines().filter(|line| !line.contains("counts/1")).count();
    let tasks = |text: &str| text.lines().filter(|line| line.contains("task/1")).map(str::to_owned).collect::<Vec<_>>();
    let now = home.run(&["ls", "--json"]).good();
    assert_eq!((tasks(&now), counted(now)), (tasks(&records), counted(records)), "every record is as before");
    let history = home.run(&["history", "slow"]);
    let remark = "taskledger: remark: 1 entry of it was pruned, so that its history begins later\n";
    assert_eq!((history.code, &*history.out, &*history.err), (Some(0), "", remark));
}

#[test]
fn on_a_terminal_nothing_is_left_of_what_it_said_on_the_way() {
    let home = Home::new("slow");
    for args in [&["prune", "--before", "now"][..], &["snapshot"], &["prune", "--before", "now", "--yes"]] {
        let args = [args, &["-D", &home.dir]].concat();
        let Some(screen) = terminal::screen_of(&args, 120) else { return };
        let first = screen.lines().next().unwrap_or_default();
        assert!(
            ["the newest snapshot is ", "pruned "].iter().any(|begin| first.starts_with(begin))
                || first.ends_with(" would go"),
            "{screen}"
        );
        assert!(
            !screen.contains("pruning") && !screen.contains("writing a snapshot") && !screen.contains("looking at")
        );
    }
}

#[test]
fn what_cannot_be_pruned_is_refused_and_a_mistyped_directory_makes_no_ledger() {
    let home = Home::new("slow");
    let missing = path(home.home.path().join("missing"));
    for args in [
        &["prune", "--before", "now"][..],
        &["prune", "--before", "now", "--yes"],
        &["snapshot"],
        &["snapshot", "--json"],
    ] {
        let ran = run(&[args, &["-D", &missing]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(10), ""), "{args:?}: {}", ran.err);
        assert!(!Path::new(&missing).exists(), "{args:?}");
    }
    let (bases, long) = (home.bases(), "x".repeat(5000));
    for args in [
        &["prune", "--before", "now", "--actor", ""][..],
        &["prune", "--before", "now", "--force", "--reason", &long, "--yes"],
    ] {
        let error = home.run(&[args, &["--json"]].concat()).error();
        assert_eq!((&error["code"], &error["exit"]), (&json!("LIMIT"), &json!(13)), "{args:?}: {error}");
    }
    for args in [&["prune"][..], &["prune", "--before", "noon"], &["prune", "--before"]] {
        assert_eq!(home.run(args).code, Some(2), "{args:?}");
    }
    assert_eq!(
        (home.bases(), home.run(&["log"]).good().lines().count()),
        (bases, 60),
        "what is refused changes nothing"
    );

    let ledger = Ledger::open(&home.dir).unwrap();
    for args in [&["prune", "--before", "now", "--yes"][..], &["snapshot"]] {
        let ran = home.run(&[args, &["--json"]].concat());
        let (error, pid) = (ran.error(), json!(std::process::id()));
        assert_eq!((ran.code, &error["code"], &error["pid"]), (Some(11), &json!("LOCKED"), &pid), "{args:?}");
    }
    drop(ledger);
}

#[test]
fn a_snapshot_is_made_of_all_that_is_sealed_and_says_up_to_where() {
    let home = Home::new("slow");
    let active = *home.bases().last().unwrap();
    let (covered, rest) = (active - 1, 61 - active);
    let snapshots = || fs::read_dir(Path::new(&home.dir).join("snap")).map_or(0, Iterator::count);
    assert_eq!(snapshots(), 0);
    let expected = json!({"type": "taskledger.snapshot/1", "seq": covered, "head": 60});
    for _ in 0..2 {
        assert_eq!(home.one(&["snapshot"]), expected);
        assert_eq!(snapshots(), 1, "a second one would be the same");
    }
    let told =
        format!("the newest snapshot is as of seq {covered}: opening reads from there, and then {rest} more entries\n");
    assert_eq!(home.run(&["snapshot"]).good(), told);
    assert_eq!(home.one(&["verify", "--level", "derived"])["verdict"], "sound");

    let young = path(home.home.path().join("young"));
    run(&["init", &young]).good();
    run(&["append", "a", "created", "-D", &young]).good();
    let told = run(&["snapshot", "-D", &young]).good();
    let expected = "no snapshot: none of the segments is sealed yet, and 1 entry is in the one that is being written\n";
    assert_eq!(told, expected);
    let object = run(&["snapshot", "--json", "-D", &young]).good_json();
    assert_eq!(object, [json!({"type": "taskledger.snapshot/1", "seq": 0, "head": 1})]);
}
