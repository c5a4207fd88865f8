//! A full disk: while a ledger is made, while a segment is prepared, and in the middle of an import. Nothing is left
//! half done, and once there is room the same thing works.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use taskledger::{At, Batch, Error, Event, Expect, Ledger, Level, Options, Prune, Seq, TaskState, Verdict};

use super::files::Files;
use super::interrupts::{last_acknowledged, lines, log, undisturbed};
use super::machine::{home_of_child, in_own_mounts, mount};
use super::places::assert_none_to_read;
use super::program::{Program, says};
use super::site::{arg, options, refuses};

#[test]
fn a_ledger_is_not_half_made_on_a_full_disk() {
    in_own_mounts("refusals::full::child_that_creates");
}

#[test]
fn an_append_that_finds_no_room_for_a_segment_is_refused_until_there_is() {
    in_own_mounts("refusals::full::child_that_rolls");
}

#[test]
fn a_recovery_that_finds_no_room_for_a_segment_leaves_all_as_it_is() {
    in_own_mounts("refusals::full::child_that_recovers");
}

#[test]
fn an_import_that_runs_out_of_room_says_how_far_it_came_and_is_completed_later() {
    in_own_mounts("refusals::full::child_that_imports");
}

#[test]
fn a_program_whose_ledger_runs_out_of_room_has_what_was_answered_and_goes_on_when_there_is_some() {
    in_own_mounts("refusals::full::child_that_answers");
}

fn assert_no_space(error: &Error, path: &Path) {
    let Error::NoSpace { path: named, source } = error else { panic!("{error:?}") };
    assert_eq!((named.as_path(), error.code()), (path, "NO_SPACE"));
    let said = format!("no space to prepare a segment in {}; free some and append again", path.display());
    assert_eq!(error.to_string(), said);
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}

/// The message of a program that found no room.
fn assert_told(args: &[&str], input: &str, path: &Path) -> String {
    let told = Program::default().refused(args, input, 1, "NO_SPACE");
    assert_eq!(told["path"], arg(path));
    let message = told["message"].as_str().unwrap().to_owned();
    says(&message, &["no space to prepare a segment in ", arg(path), "; free some and append again"]);
    message
}

/// A file that takes all the room that is left.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = File::create(&path).expect("a name is free");
    let error = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    path
}

#[test]
#[ignore = "the child of another test"]
fn child_that_creates() {
    let Some(home) = home_of_child() else { return };
    let line = "{\"task\":\"b\",\"event\":\"created\"}\n";
    let disk = home.join("disk");
    // Room for a part of the first segment.
    mount(&disk, "size=512k");
    let dir = disk.join("ledger");
    for _ in 0..2 {
        assert_no_space(&Options::new().open(&dir).unwrap_err(), &dir.join("log"));
        assert_eq!(Files::all(&dir).names(), ["lock", "log"], "nothing takes room");
        assert_none_to_read(&dir, &disk);
    }
    says(&assert_told(&["import", "-D", arg(&dir)], line, &dir.join("log")), &["no space"]);
    assert_none_to_read(&dir, &disk);
    mount(&disk, "remount,size=4m");
    Program::default().run(&["import", "-D", arg(&dir)], line).good();
    assert_eq!(Ledger::open_read_only(&dir).unwrap().view().seq().0, 1);

    // Room for the first segment, and none for LEDGER.
    let disk = home.join("other");
    mount(&disk, "size=16k");
    let dir = disk.join("ledger");
    for _ in 0..2 {
        let error = options().open(&dir).unwrap_err();
        let Error::Io { path, source, .. } = &error else { panic!("{error:?}") };
        assert_eq!((path, source.kind()), (&dir.join("LEDGER.tmp"), std::io::ErrorKind::StorageFull));
        assert_none_to_read(&dir, &disk);
    }
    let args = ["import", "--segment-size", "16384", "-D", arg(&dir)];
    let told = Program::default().refused(&args, line, 1, "IO");
    assert_eq!(told["path"], arg(&dir.join("LEDGER.tmp")));
    assert_none_to_read(&dir, &disk);
    mount(&disk, "remount,size=4m");
    let ledger = options().open(&dir).expect("there is room");
    assert!(ledger.report().created);
    ledger.append("t", Event::created()).unwrap();
}

#[test]
#[ignore = "the child of another test"]
fn child_that_rolls() {
    let Some(home) = home_of_child() else { return };
    let disk = home.join("disk");
    mount(&disk, "size=128k");
    let (dir, log_dir) = (disk.join("ledger"), disk.join("ledger/log"));
    let ledger = options().open(&dir).unwrap();
    let ballast = fill(&disk);
    let event = || Event::updated().error("x".repeat(5000));
    ledger.append("t", Event::created()).unwrap();
    // What the segment has room for is taken: nothing of it is new to the disk.
    let mut taken = 1;
    let error = loop {
        match ledger.append("t", event()) {
            Ok(receipt) => taken = receipt.seq().0,
            Err(error) => break error,
        }
    };
    assert_no_space(&error, &log_dir);
    assert!((2..4).contains(&taken), "{taken} fit 16 KiB");
    for _ in 0..3 {
        assert_no_space(&refuses(&ledger, &dir, |ledger| ledger.append("t", event())), &log_dir);
        let mut batch = Batch::new();
        batch.push("u", Event::created(), Expect::Absent).push("t", event(), Expect::Version(taken));
        assert_no_space(&refuses(&ledger, &dir, |ledger| ledger.commit(batch)), &log_dir);
        // Not poisoned: other refusals are still told for what they are, and reading goes on.
        let illegal = refuses(&ledger, &dir, |ledger| ledger.append("t", Event::created()));
        assert_eq!(illegal.code(), "ILLEGAL");
        assert_eq!(ledger.history("t").unwrap().count() as u64, taken);
    }
    // A small one still fits the segment that there is.
    let before = Files::log(&dir);
    assert_eq!(ledger.append("t", Event::updated()).unwrap().seq().0, taken + 1);
    assert_no_space(&ledger.maintain().unwrap_err(), &log_dir);

    fs::remove_file(ballast).unwrap();
    let receipt = ledger.append("t", event()).expect("the same handle appends again");
    assert_eq!((receipt.seq().0, receipt.version()), (taken + 2, taken + 2));
    ledger.close().unwrap();
    before.assert_kept(&Files::log(&dir), "going on");
    let report = taskledger::verify(&dir, Level::Content).unwrap();
    assert_eq!((report.verdict(), report.checked_to.0), (Verdict::Sound, taken + 2), "{:?}", report.findings);
    assert_eq!(Files::all(&dir).names().iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
#[ignore = "the child of another test"]
fn child_that_recovers() {
    let Some(home) = home_of_child() else { return };
    let disk = home.join("disk");
    mount(&disk, "size=64k");
    let dir = disk.join("ledger");
    let ledger = options().open(&dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    ledger.close().unwrap();
    // The rest of a write that nobody was told is safe: a writer has to go on in a new segment.
    let segment = dir.join("log/0000000001-00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[9000..9100].fill(7);
    fs::write(&segment, bytes).unwrap();
    let ballast = fill(&disk);
    let before = Files::log(&dir);
    let line = "{\"task\":\"b\",\"event\":\"created\"}\n";
    for _ in 0..2 {
        assert_no_space(&options().open(&dir).unwrap_err(), &dir.join("log"));
        assert_told(&["import", "-D", arg(&dir)], line, &dir.join("log"));
        before.assert_same(&Files::log(&dir), "no room to recover");
        assert_eq!(Ledger::open_read_only(&dir).expect("reading takes no room").view().seq().0, 1);
    }
    fs::remove_file(ballast).unwrap();
    Program::default().run(&["import", "--segment-size", "16384", "-D", arg(&dir)], line).good();
    before.assert_kept(&Files::log(&dir), "recovered");
    assert_eq!(Ledger::open_read_only(&dir).unwrap().view().seq().0, 2);
}

#[test]
#[ignore = "the child of another test"]
fn child_that_imports() {
    let Some(home) = home_of_child() else { return };
    let input = lines(2000);
    let whole = undisturbed(&input);
    // From no room at all for a second segment to room for several; in batches that end with a line of a file or not.
    for (n, (size, batch)) in [("28k", 50), ("100k", 50), ("100k", 37), ("160k", 1)].into_iter().enumerate() {
        let disk = home.join(format!("disk {n}"));
        mount(&disk, &format!("size={size}"));
        let dir = disk.join("ledger");
        let batch = batch.to_string();
        let args = ["import", "--segment-size", "16384", "--batch", &batch, "-D", arg(&dir)];
        let ran = Program::default().run(&[&args[..], &["--json"]].concat(), &input);
        assert_eq!(ran.code, 1, "{ran:?}");
        let (acknowledged, seq) = last_acknowledged(&ran.out);
        assert!((1..2000).contains(&acknowledged), "it was in the middle: {acknowledged}");
        let in_so_far = format!("; lines 1 to {acknowledged} are in");
        says(&ran.err, &["\"code\":\"NO_SPACE\"", &in_so_far]);
        // Exactly what was acknowledged is in, and nothing of the next batch.
        let there = log(arg(&dir));
        assert_eq!((there.lines().count(), seq), (acknowledged, acknowledged));
        assert!(whole.starts_with(&there));

        // Again, as long as there is no more room: the same answer in both forms, and not a byte more.
        let before = Files::log(&dir);
        let message = assert_told(&args, &input, &dir.join("log"));
        assert!(message.ends_with(&in_so_far), "{message}");
        before.assert_same(&Files::log(&dir), "a full disk");

        mount(&disk, "remount,size=8m");
        let out = Program::default().run(&[&args[..], &["--json"]].concat(), &input).good();
        assert_eq!(last_acknowledged(&out), (2000, 2000));
        says(&out, &[&format!("\"appended\":{},\"skipped\":{acknowledged}}}", 2000 - acknowledged)]);
        assert!(log(arg(&dir)) == whole, "as if the disk had never been full");
        assert_eq!(taskledger::verify(&dir, Level::Content).unwrap().verdict(), Verdict::Sound);
    }
}

#[test]
#[ignore = "the child of another test"]
fn child_that_answers() {
    let Some(home) = home_of_child() else { return };
    // Of several sizes, so that what does not fit any more is followed by what would.
    let facts = |n: usize| {
        let reason = "x".repeat(20 + n % 5 * 100);
        format!("{{\"task\":\"task {n}\",\"event\":\"created\",\"reason\":\"{reason}\",\"key\":\"k\"}}\n")
    };
    let input: String = (0..3000).map(facts).collect();
    let disk = home.join("disk");
    mount(&disk, "size=400k");
    let dir = disk.join("ledger");
    // Some small segments; the program would have the next one of a megabyte.
    let ledger = options().open(&dir).unwrap();
    let before = 60;
    for n in 0..before {
        let event = Event::observed(TaskState::Completed).error("x".repeat(1000));
        ledger.append(format!("old {n}"), event).unwrap();
    }
    assert!(ledger.would_prune(&Prune::before(At::Seq(Seq(before + 1)))).unwrap().segments > 2);
    ledger.close().unwrap();
    let append = ["append", "--jsonl", "-", "-D", arg(&dir)];
    let ran = Program::default().run(&append, &input);
    let answered = ran.out.lines().filter(|line| line.contains("taskledger.receipt/1")).count();
    assert!(ran.code == 1 && (2..3000).contains(&answered) && ran.out.lines().count() == answered, "{ran:?}");
    let said = format!("; line {answered} is the last that was answered");
    says(&ran.err, &["\"code\":\"NO_SPACE\"", &said, &format!("\"answered\":{answered}")]);
    // Exactly what was answered is in, and can be read.
    let there = log(arg(&dir));
    assert_eq!(there.lines().count(), before as usize + answered);
    for reader in
        [&["info"][..], &["ls"], &["show", "task 0"], &["verify", "--level", "derived"], &["prune", "--before", "now"]]
    {
        Program::default().run(&[reader, &["-D", arg(&dir)]].concat(), "").good();
    }
    // What needs room is refused, and nothing has changed.
    let ballast = fill(&disk);
    for (writer, path) in [
        (&["prune", "--before", "now", "--force", "--yes", "-D", arg(&dir)][..], dir.join("floor")),
        (&["snapshot", "-D", arg(&dir)], dir.join("snap")),
    ] {
        let told = Program::default().refused(writer, "", 1, "NO_SPACE");
        let message = told["message"].as_str().unwrap();
        says(message, &["no space to ", arg(&path), "; nothing was changed"]);
        assert_eq!(log(arg(&dir)), there, "{writer:?}");
    }
    // What is in is answered again, and what still fits goes in.
    let ran = Program::default().run(&append, &input);
    let again = ran.out.lines().count();
    assert!(ran.code == 1 && (answered..answered + 10).contains(&again), "{ran:?}");
    assert_eq!(log(arg(&dir)).lines().count(), before as usize + again);
    fs::remove_file(ballast).unwrap();
    mount(&disk, "remount,size=8m");
    let out = Program::default().run(&append, &input).good();
    let replayed = out.lines().filter(|line| line.contains("\"replayed\":true")).count();
    assert_eq!((out.lines().count(), replayed), (3000, again));
    let whole = log(arg(&dir));
    assert!(whole.starts_with(&there) && whole.lines().count() == before as usize + 3000, "each once");
    assert_eq!(taskledger::verify(&dir, Level::Content).unwrap().verdict(), Verdict::Sound);
}
