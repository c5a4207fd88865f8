//! Directories without `LEDGER`: what a creation that was cut off leaves counts as nothing, and a log is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taskledger::{Error, Event, Ledger, Level, Severity, Verdict};

use super::files::Files;
use super::places::{assert_none_to_read, assert_writing_creates};
use super::program::{Program, READERS, WRITERS, says};
use super::site::{arg, home, options, untouched};

const FIRST: &str = "log/0000000001-00000000000000000001.log";

/// The files of a ledger in which nothing was ever appended.
fn fresh_files() -> (Vec<u8>, Vec<u8>) {
    let home = home();
    drop(options().open(home.path()).unwrap());
    (fs::read(home.path().join("LEDGER")).unwrap(), fs::read(home.path().join(FIRST)).unwrap())
}

#[test]
fn every_prefix_of_a_creation_counts_as_nothing() {
    let (ledger, segment) = fresh_files();
    let zeros = vec![0; segment.len()];
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    // The files that are there, in the order in which a creation makes them.
    type Left = Vec<(&'static str, Option<Vec<u8>>)>;
    let (lock, log) = (("lock", Some(Vec::new())), ("log", None));
    let published = [lock.clone(), log.clone(), (FIRST, Some(segment.clone()))];
    let prefixes: Vec<Left> = vec![
        vec![lock.clone()],
        vec![lock.clone(), log.clone()],
        vec![lock.clone(), log.clone(), ("log/spare.tmp", Some(Vec::new()))],
        vec![lock.clone(), log.clone(), ("log/spare.tmp", Some(cut(&zeros)))],
        vec![lock.clone(), log.clone(), ("log/spare.tmp", Some(zeros))],
        vec![lock.clone(), log.clone(), ("log/spare.tmp", Some(segment))],
        published.to_vec(),
        [&published[..], &[("LEDGER.tmp", Some(Vec::new()))]].concat(),
        [&published[..], &[("LEDGER.tmp", Some(cut(&ledger)))]].concat(),
        [&published[..], &[("LEDGER.tmp", Some(ledger.clone()))]].concat(),
        // A crash may leave names in another order than they were made in.
        vec![log],
        vec![("LEDGER.tmp", Some(ledger.clone()))],
        published[1..].to_vec(),
    ];
    for left in prefixes {
        let home = home();
        let dir = home.path().join("ledger");
        let make = || {
            fs::create_dir(&dir).unwrap();
            for (name, bytes) in &left {
                match bytes {
                    Some(bytes) => fs::write(dir.join(name), bytes).unwrap(),
                    None => fs::create_dir(dir.join(name)).unwrap(),
                }
            }
        };
        make();
        assert_none_to_read(&dir, home.path());
        assert_writing_creates(&dir, make);
        let names = Files::all(&dir);
        assert_eq!(names.names(), ["LEDGER", "live", "lock", "log", FIRST], "nothing unfinished is left");
    }
}

/// A closed ledger with one entry, of which `LEDGER` is gone.
fn lost(change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let home = home();
    let dir = home.path().join("ledger");
    let ledger = options().open(&dir).unwrap();
    ledger.append("t", Event::created()).unwrap();
    ledger.close().unwrap();
    fs::remove_file(dir.join("LEDGER")).unwrap();
    change(&dir);
    (home, dir)
}

#[test]
fn segments_with_events_and_no_ledger_are_damage() {
    let (_, fresh) = fresh_files();
    let without_live = |dir: &Path| fs::remove_file(dir.join("live")).unwrap();
    type Step<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Step<'_>); 4] = [
        ("a writer has been here", &|_| ()),
        ("there are segments with events", &without_live),
        // No event is there, but a writer makes `live` only in a ledger that is whole.
        ("a writer has been here", &|dir| fs::write(dir.join(FIRST), &fresh).unwrap()),
        ("there are segments with events", &|dir| {
            without_live(dir);
            fs::copy(dir.join(FIRST), dir.join("LEDGER.tmp")).unwrap();
        }),
    ];
    for (why, change) in cases {
        let (home, dir) = lost(change);
        let (path, within) = (dir.join("LEDGER"), home.path());
        let what = format!("it is missing, and {why}");
        let said = format!("{} is damaged: {what}; keep the files and run `taskledger verify`", path.display());
        let attempts: [&dyn Fn() -> taskledger::Result<()>; 2] =
            [&|| options().open(&dir).map(|_| ()), &|| Ledger::open_read_only(&dir).map(|_| ())];
        for attempt in attempts {
            let error = untouched(within, attempt);
            let Error::Damaged { path: named, offset: None, seq: None, what: found } = &error else {
                panic!("{error:?}")
            };
            assert_eq!((named, found, error.code()), (&path, &what, "DAMAGED"));
            assert_eq!(error.to_string(), said);
        }
        let before = Files::all(within);
        let report = taskledger::verify(&dir, Level::Content).unwrap();
        let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
        assert_eq!((report.verdict(), finding.severity, finding.code), (Verdict::Damaged, Severity::Damage, "MISSING"));
        assert_eq!((&finding.file, &finding.what), (&path, &what));
        says(finding.next, &["keep all files", "restore this one from a copy"]);

        for command in READERS.into_iter().filter(|reader| reader[0] != "verify").chain(WRITERS) {
            let error = Program::default().refused(&[command, &["-D", arg(&dir)]].concat(), "", 5, "DAMAGED");
            assert_eq!((&error["path"], &error["message"]), (&json!(arg(&path)), &json!(said)));
            says(error["hint"].as_str().unwrap(), &["copy the directory first", "taskledger verify"]);
        }
        let ran = Program::default().run(&["verify", "--json", "-D", arg(&dir)], "");
        let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((ran.code, ran.err.as_str(), lines.len()), (5, "", 2), "{}", ran.out);
        assert_eq!((&lines[0]["code"], &lines[0]["file"]), (&json!("MISSING"), &json!(arg(&path))));
        assert_eq!(lines[1]["verdict"], "damaged");
        before.assert_same(&Files::all(within), "looked at by verify and the program");
    }
}
