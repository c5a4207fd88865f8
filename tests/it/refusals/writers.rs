//! A second writer: told who the first one is, and kept from every byte.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Error, Event, Ledger, Level, Verdict};

use super::files::Files;
use super::program::{Program, READERS, says};
use super::site::{Site, arg, home, options, refuses};

/// A process that has a ledger open for writing, and does nothing until it is dropped.
struct Holder(Child);

impl Holder {
    /// Starts it and waits until it has appended a task.
    fn new(dir: &str) -> Holder {
        let mut command = Program::default().command(&["import", "--json", "--batch", "1", "-D", dir]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.as_mut().unwrap().write_all(b"{\"task\":\"held\",\"event\":\"created\"}\n").expect("it reads");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).expect("it answers");
        says(&line, &["taskledger.imported/1"]);
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Library and program are locked out by this process, and nothing of the log changes meanwhile.
fn assert_locked(dir: &std::path::Path, pid: Option<u32>) {
    let before = Files::log(dir);
    let error = options().open(dir).expect_err("it is locked");
    let Error::Locked { path, pid: named, since } = &error else { panic!("{error:?}") };
    assert_eq!((path.as_path(), *named, since.is_some()), (dir, pid, pid.is_some()));
    // It was opened by this test, moments ago.
    let now = RealVfs.now_ms();
    assert!(since.is_none_or(|since| since <= now && now - since < 600_000), "{since:?} at {now}");
    assert_eq!(error.code(), "LOCKED");
    let holder = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    let message = format!("{} is open for writing in {holder}; reading beside it works", dir.display());
    assert_eq!(error.to_string(), message);

    let line = "{\"task\":\"locked out\",\"event\":\"created\"}\n";
    let told = Program::default().refused(&["import", "-D", arg(dir)], line, 11, "LOCKED");
    assert_eq!(told["path"], arg(dir));
    assert_eq!(told.get("pid").map(|pid| pid.as_u64()), pid.map(|pid| Some(u64::from(pid))), "{told}");
    assert_eq!(told["message"], message.as_str());
    assert_eq!(told.get("since").and_then(serde_json::Value::as_u64), *since, "{told}");
    let until = pid
        .map_or("wait until it is closed; ".to_owned(), |pid| format!("wait until process {pid}, which opened it at "));
    says(told["hint"].as_str().unwrap(), &[&until, "all commands that only read work beside it"]);
    before.assert_same(&Files::log(dir), "locked out");

    // What the hint says is true.
    for reader in READERS.into_iter().filter(|reader| !matches!(reader[0], "show" | "history")) {
        Program::default().run(&[reader, &["-D", arg(dir)]].concat(), "").good();
    }
    assert!(Ledger::open_read_only(dir).unwrap().view().get("locked out").unwrap().is_none());
    before.assert_same(&Files::log(dir), "read beside the writer");
}

/// Waits until the process has come to rest: its vouch is written a moment after the last append.
fn at_rest(dir: &std::path::Path) {
    super::interrupts::wait_until("the vouch", || {
        Ledger::open_read_only(dir).is_ok_and(|reader| reader.report().vouched >= reader.view().seq() && has_vouch(dir))
    });
}

/// Whether the last frame of the only segment is a vouch: kind 4, and no body.
fn has_vouch(dir: &std::path::Path) -> bool {
    let segment = std::fs::read(dir.join("log/0000000001-00000000000000000001.log")).unwrap();
    let mut at = 4096;
    let mut last = 0;
    while let Some(header) = segment.get(at..at + 32).filter(|header| header.iter().any(|&byte| byte != 0)) {
        last = header[11];
        at += (32 + u32::from_le_bytes([header[8], header[9], header[10], 0]) as usize).next_multiple_of(8);
    }
    last == 4
}

#[test]
fn another_process_that_writes_is_named_and_not_disturbed() {
    let site = Site::new(|ledger| drop(ledger.append("t", Event::created()).unwrap()));
    let holder = Holder::new(site.arg());
    at_rest(&site.dir);
    assert_locked(&site.dir, Some(holder.0.id()));
    // Without the page that tells, nobody is named; the lock holds all the same.
    std::fs::remove_file(site.dir.join("live")).unwrap();
    assert_locked(&site.dir, None);
    // The lock goes with its process, even by a kill.
    drop(holder);
    let ledger = site.open();
    assert_eq!(ledger.head().0, 2);
    drop(ledger);
    site.goes_on();
}

#[test]
fn a_second_handle_in_the_same_process_is_refused_and_the_first_goes_on() {
    let site = Site::new(|_| ());
    let first = site.open();
    first.append("t", Event::created()).unwrap();
    first.maintain().unwrap();
    assert_locked(&site.dir, Some(std::process::id()));
    let error = refuses(&first, &site.dir, |_| options().open(&site.dir)?.append("t", Event::removed()));
    assert_eq!(error.code(), "LOCKED");
    first.append("t", Event::updated()).expect("the first is not disturbed");
    drop(first);
    site.goes_on();
    assert_eq!(taskledger::verify(&site.dir, Level::Content).unwrap().verdict(), Verdict::Sound);
}

/// A writer that was killed leaves its number in the page that tells. Whoever has the lock next and has not written the
/// page yet was called by that number once, and an operator would have looked for a process that is gone.
#[test]
fn a_writer_that_is_gone_is_not_named() {
    let site = Site::new(|_| ());
    let holder = Holder::new(site.arg());
    drop(holder);
    let lock = std::fs::File::open(site.dir.join("lock")).unwrap();
    lock.lock().unwrap();
    assert_locked(&site.dir, None);
    lock.unlock().unwrap();
    site.goes_on();
}

#[test]
fn whoever_holds_the_lock_before_there_is_a_ledger_keeps_others_from_creating_it() {
    let home = home();
    let lock = std::fs::File::create(home.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = super::site::untouched(home.path(), || options().open(home.path()));
    assert!(matches!(error, Error::Locked { pid: None, .. }), "{error:?}");
    let told = Program::default().refused(&["import", "-D", arg(home.path())], "", 11, "LOCKED");
    assert_eq!((told.get("pid"), &told["path"]), (None, &arg(home.path()).into()));
    assert_eq!(Files::all(home.path()).names(), ["lock"]);
    // Explicitly: another test may just be starting a process, which has a copy of it.
    lock.unlock().unwrap();
    options().open(home.path()).expect("the lock is free");
}
