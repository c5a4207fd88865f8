//! `verify` at the level derived: indexes and snapshots say what the log says, or it is found.
//!
//! Tables are made wrong in two ways: by flipped bits, and with checksums that are right over something that is not.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::vfs::real::RealVfs;
use taskledger::{Event, Finding, Ledger, Level, Maintenance, Options, Severity, TaskState, Verdict, VerifyReport};

use crate::support::{Rng, forward, taskledger};

const BLOCK: usize = 4096;

fn options() -> Options {
    Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual)
}

/// Appends until so many more segments are sealed.
fn fill(ledger: &Ledger, dir: &Path, rng: &mut Rng, rolls: usize) {
    let until = segments(dir).len() + rolls;
    while segments(dir).len() < until {
        let task = format!("task {}", rng.below(40));
        let state = TaskState::ALL[rng.below(9) as usize];
        let text = "x".repeat(rng.below(900) as usize);
        let appended = match rng.below(10) {
            0 => ledger.append(&*task, Event::removed()),
            1 => ledger.append_note(&*task, Event::noted(json!(text))),
            2 => ledger.append_note(&*task, Event::removed()),
            3 => ledger.append(&*task, Event::observed(state).key(format!("key {}", rng.next()))),
            _ => ledger.append(&*task, Event::observed(state).error(text).meta("k", task.clone())),
        };
        if let Err(refused) = appended {
            assert_eq!(refused.code(), "ILLEGAL", "only what is not there cannot be removed");
        }
    }
}

/// A ledger with indexes, snapshots, and segments behind the newest of them.
fn made(dir: &Path) -> Ledger {
    let ledger = options().open(dir).unwrap();
    let mut rng = Rng(7);
    for rolls in [3, 2, 3] {
        fill(&ledger, dir, &mut rng, rolls);
        ledger.snapshot().unwrap();
    }
    fill(&ledger, dir, &mut rng, 2);
    ledger.maintain().unwrap();
    ledger
}

fn closed(dir: &Path) {
    made(dir).close().unwrap();
}

fn files(dir: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir.join("log")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    [files(dir.join("idx")), files(dir.join("snap"))].concat()
}

fn derived(dir: &Path) -> VerifyReport {
    options().verify(dir, Level::Derived, &mut |_| ()).unwrap()
}

/// The findings about tables, of a ledger in which nothing else is to be found.
fn found(dir: &Path, case: &str) -> Vec<Finding> {
    let report = derived(dir);
    assert_eq!(report.verdict(), Verdict::Sound, "{case}: the log is sound: {report:?}");
    report.findings
}

#[track_caller]
fn assert_found(dir: &Path, table: &Path, codes: &[&str], case: &str) -> Finding {
    let found = found(dir, case);
    assert!(!found.is_empty(), "{case}: nothing is found");
    for finding in &found {
        assert_eq!((finding.severity, &*finding.file), (Severity::Warning, table), "{case}: {finding:?}");
        assert!(codes.contains(&finding.code), "{case}: {finding:?}");
        assert!(finding.next.starts_with("delete this file"), "{case}: {finding:?}");
    }
    found[0].clone()
}

fn with<T>(path: &Path, bytes: &[u8], look: impl FnOnce() -> T) -> T {
    let before = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    let told = look();
    fs::write(path, before).unwrap();
    told
}

fn crc(parts: &[&[u8]], from: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(from);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Gives header and blocks of a table the checksums that they should have.
fn seal(table: &mut [u8]) {
    let sum = crc(&[&table[12..BLOCK]], 0);
    table[8..12].copy_from_slice(&sum.to_le_bytes());
    let seed = crc(&[&table[16..32], &table[14..16], &table[32..40], &table[48..56]], 0);
    for n in 1..table.len() / BLOCK {
        let block = &mut table[n * BLOCK..(n + 1) * BLOCK];
        let sum = crc(&[&(n as u64).to_le_bytes(), &block[4..]], seed);
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn number(table: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(table[at..at + 8].try_into().unwrap())
}

#[test]
fn a_sound_ledger_is_sound_with_any_number_of_threads_and_any_memory() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let one = options().verify_threads(1).verify(home.path(), Level::Derived, &mut |_| ()).unwrap();
    assert_eq!(one.findings, []);
    assert_eq!((one.tables, one.passes), (tables(home.path()).len() as u64, 1));
    assert!(one.tables > 12, "{one:?}");
    for (threads, memory) in [(4, 1 << 30), (1, 4 << 10), (4, 4 << 10)] {
        let mut last = None;
        let options = options().verify_threads(threads).verify_memory(memory);
        let report = options.verify(home.path(), Level::Derived, &mut |progress| last = Some(progress)).unwrap();
        assert!(memory > 4 << 10 || report.passes > 3, "{report:?}");
        let progress = last.expect("it tells how far it has come");
        assert!(progress.done <= progress.all && progress.entries >= report.entries, "{progress:?}");
        let mut same = report;
        same.passes = 1;
        assert_eq!(same, one, "{threads} threads, {memory} bytes");
    }
    for level in [Level::Structure, Level::Content] {
        let report = options().verify(home.path(), level, &mut |_| ()).unwrap();
        assert_eq!((report.findings, report.tables), (Vec::new(), 0));
    }
}

#[test]
fn each_flipped_bit_of_a_table_is_found_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let mut rng = Rng(11);
    for table in tables(home.path()) {
        let bytes = fs::read(&table).unwrap();
        for block in 0..bytes.len() / BLOCK {
            let at = block * BLOCK + rng.below(BLOCK as u64) as usize;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << rng.below(8);
            let case = format!("byte {at} of {}", table.display());
            let finding = with(&table, &flipped, || assert_found(home.path(), &table, &["TABLE_DAMAGED"], &case));
            assert!(finding.bytes.clone().is_some_and(|bytes| bytes.contains(&(at as u64))), "{case}: {finding:?}");
        }
        for length in [0, 1, BLOCK, bytes.len() - 1, bytes.len() - BLOCK] {
            let case = format!("{length} bytes of {}", table.display());
            with(&table, &bytes[..length], || assert_found(home.path(), &table, &["TABLE_DAMAGED"], &case));
        }
    }
    assert_eq!(found(home.path(), "as it was"), []);
}

#[test]
fn each_wrong_number_of_a_table_with_right_checksums_is_found() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    // Header: number, first, last, time, end, chain, counts by state, notes, records.
    let fields = [32, 40, 48, 72, 80, 88].into_iter().chain((96..168).step_by(8)).chain([168, 176]);
    let fields: Vec<usize> = fields.collect();
    for table in tables(home.path()) {
        let bytes = fs::read(&table).unwrap();
        let mut same = bytes.clone();
        seal(&mut same);
        assert_eq!(same, bytes, "the checksums are those of the document");
        for &at in &fields {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            seal(&mut wrong);
            let case = format!("field {at} of {}", table.display());
            let codes = ["TABLE_DAMAGED", "TABLE_WRONG", "TABLE_FOREIGN"];
            with(&table, &wrong, || assert_found(home.path(), &table, &codes, &case));
        }
        // Each place of a frame: its seq, its byte, its time.
        let (blocks, places) = (number(&bytes, 184) as usize, number(&bytes, 192) as usize);
        let from = (1 + blocks + blocks.div_ceil(409)) * BLOCK + 6;
        for field in (0..places).flat_map(|n| [0, 4, 8].map(|field| from + 16 * n + field)) {
            let mut wrong = bytes.clone();
            wrong[field] ^= 1;
            seal(&mut wrong);
            let case = format!("place at byte {field} of {}", table.display());
            let finding = with(&table, &wrong, || assert_found(home.path(), &table, &["TABLE_WRONG"], &case));
            assert!(finding.what.contains("frame"), "{case}: {finding:?}");
        }
    }
}

/// Where records begin in a table whose records are shorter than its blocks, with their lengths.
fn records(table: &[u8]) -> Vec<(usize, usize)> {
    let payload = |at: usize| (1 + at / (BLOCK - 6)) * BLOCK + 6 + at % (BLOCK - 6);
    let byte = |at: usize| table[payload(at)];
    let area = number(table, 184) as usize * (BLOCK - 6);
    let (mut at, mut found) = (0, Vec::new());
    while at + 4 <= area {
        let length = u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]) as usize;
        if length == 0 {
            break;
        }
        found.push((at, length));
        at += 4 + length;
    }
    found
}

#[test]
fn each_record_that_is_not_what_the_log_makes_is_found_and_named() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let payload = |at: usize| (1 + at / (BLOCK - 6)) * BLOCK + 6 + at % (BLOCK - 6);
    let mut named = BTreeSet::new();
    for table in tables(home.path()) {
        let bytes = fs::read(&table).unwrap();
        let records = records(&bytes);
        assert_eq!(records.len() as u64, number(&bytes, 176));
        for (at, _) in records {
            let byte = |n: usize| bytes[payload(at + n)];
            let key_length = usize::from(u16::from_le_bytes([byte(13), byte(14)]));
            let key: Vec<u8> = (0..key_length).map(|n| byte(15 + n)).collect();
            // The version is the first number of the body, and below 251.
            let version = payload(at + 15 + key_length);
            let mut wrong = bytes.clone();
            assert!(wrong[version] < 249);
            wrong[version] += 1;
            seal(&mut wrong);
            let case = format!("version at byte {version} of {}", table.display());
            let finding = with(&table, &wrong, || assert_found(home.path(), &table, &["TABLE_WRONG"], &case));
            let subject = finding.subject.clone().expect("it is about a task or note");
            let is_key = subject.task().or(subject.note()).is_some_and(|has| has.as_bytes() == key);
            assert!(is_key && finding.seqs.is_some(), "{case}: {finding:?}");
            assert!(finding.bytes.as_ref().is_some_and(|bytes| {
                bytes.contains(&(payload(at) as u64)) && bytes.end - bytes.start == BLOCK as u64
            }));
            // Its class: another state than the one that is kept, for a task that is there.
            if byte(12) < 9 {
                let mut wrong = bytes.clone();
                wrong[payload(at + 12)] = (byte(12) + 1) % 9;
                seal(&mut wrong);
                with(&table, &wrong, || assert_found(home.path(), &table, &["TABLE_WRONG"], &format!("class: {case}")));
            }
            named.insert(subject);
        }
    }
    assert!(named.iter().any(|subject| subject.note().is_some()) && named.len() > 30, "{named:?}");
}

#[test]
fn several_wrong_records_are_one_finding_in_any_number_of_passes() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let table = files(home.path().join("snap")).pop().unwrap();
    let bytes = fs::read(&table).unwrap();
    let payload = |at: usize| (1 + at / (BLOCK - 6)) * BLOCK + 6 + at % (BLOCK - 6);
    let mut wrong = bytes.clone();
    let records = records(&bytes);
    for (at, _) in &records {
        let key_length = usize::from(bytes[payload(at + 13)]);
        wrong[payload(at + 15 + key_length)] += 1;
    }
    seal(&mut wrong);
    with(&table, &wrong, || {
        let one = derived(home.path());
        assert_eq!(one.findings.len(), 1, "{one:?}");
        assert!(one.findings[0].what.contains(&format!("{} records differ", records.len())), "{one:?}");
        let many = options().verify_memory(4 << 10).verify_threads(3).verify(home.path(), Level::Derived, &mut |_| ());
        let many = many.unwrap();
        assert_eq!(many.findings, one.findings);
        assert!(many.passes > 5, "{many:?}");
    });
}

#[test]
fn a_table_that_is_elsewhere_or_of_another_ledger_is_found() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed(home.path());
    closed(other.path());
    let here = tables(home.path());
    for pair in here.windows(2).filter(|pair| pair[0].extension() == pair[1].extension()) {
        let bytes = fs::read(&pair[0]).unwrap();
        with(&pair[1], &bytes, || assert_found(home.path(), &pair[1], &["TABLE_FOREIGN"], "that of another segment"));
    }
    for (ours, theirs) in here.iter().zip(tables(other.path())) {
        let bytes = fs::read(theirs).unwrap();
        with(ours, &bytes, || assert_found(home.path(), ours, &["TABLE_FOREIGN"], "that of another ledger"));
    }
    // Names that no segment has.
    for (table, name) in
        [(&here[0], "0000000099-00000000000000000001.idx"), (&here[here.len() - 1], "00000000000000000003.snap")]
    {
        let path = table.with_file_name(name);
        fs::copy(table, &path).unwrap();
        assert_found(home.path(), &path, &["TABLE_FOREIGN"], name);
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(found(home.path(), "as it was"), []);
}

#[test]
fn what_is_missing_or_does_not_belong_is_a_remark() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let indexes = files(home.path().join("idx"));
    let (newest, older) = indexes.split_last().unwrap();
    fs::remove_file(newest).unwrap();
    assert_eq!(found(home.path(), "the newest index may not be there yet"), []);
    fs::remove_file(&older[2]).unwrap();
    fs::write(home.path().join("idx/readme"), "?").unwrap();
    fs::write(home.path().join("snap/00000000000000000003.snap.tmp"), "?").unwrap();
    let found = found(home.path(), "two remarks");
    let told: BTreeSet<_> = found.iter().map(|finding| (finding.severity, finding.code)).collect();
    let remarks = ["STRAY", "TABLE_MISSING", "UNFINISHED"].map(|code| (Severity::Remark, code));
    assert_eq!(told, remarks.into_iter().collect(), "{found:?}");
}

#[test]
fn damage_of_the_log_is_told_alike_by_any_threads_and_in_any_passes_and_no_table_is_blamed_for_it() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let mut rng = Rng(5);
    let mut damaged = 0;
    for segment in segments(home.path()) {
        let bytes = fs::read(&segment).unwrap();
        for _ in 0..6 {
            let at = rng.below(bytes.len() as u64) as usize;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << rng.below(8);
            with(&segment, &flipped, || {
                let told = |threads, memory| {
                    let options = options().verify_threads(threads).verify_memory(memory);
                    options.verify(home.path(), Level::Derived, &mut |_| ()).unwrap().findings
                };
                let one = told(1, 1 << 30);
                let case = format!("byte {at} of {}", segment.display());
                assert_eq!(told(4, 1 << 30), one, "{case}");
                assert_eq!(told(4, 8 << 10), one, "{case}");
                assert!(one.iter().all(|finding| finding.severity != Severity::Warning), "{case}: {one:?}");
                damaged += u32::from(one.iter().any(|finding| finding.severity == Severity::Damage));
            });
        }
    }
    assert!(damaged > 20, "{damaged}");
}

/// Beside each look at the tables the writer rolls, makes a snapshot and takes old ones away.
#[derive(Debug)]
struct Restless {
    inner: RealVfs,
    ledger: Ledger,
    looks: Arc<AtomicUsize>,
}

impl Restless {
    fn go_on(&self, path: &Path) {
        if path.ends_with("idx") || path.ends_with("snap") || path.extension().is_some_and(|end| end == "snap") {
            self.looks.fetch_add(1, Ordering::SeqCst);
            for n in 0..30 {
                self.ledger
                    .append(format!("new {n}"), Event::observed(TaskState::Ready).error("x".repeat(600)))
                    .unwrap();
            }
            self.ledger.snapshot().unwrap();
        }
    }
}

impl Vfs for Restless {
    forward!(inner: absolute create_dir create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let listed = self.inner.list(dir);
        self.go_on(dir);
        listed
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        self.go_on(path);
        self.inner.open(path, access)
    }
}

#[test]
fn nothing_is_found_beside_a_writer_that_rolls_and_takes_tables_away_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let ledger = made(home.path());
    let (before, listed) = (ledger.head(), tables(home.path()));
    let looks = Arc::new(AtomicUsize::new(0));
    let vfs = Restless { inner: RealVfs, ledger: ledger.clone(), looks: Arc::clone(&looks) };
    let options = options().vfs(Arc::new(vfs)).verify_threads(2);
    let report = options.verify(home.path(), Level::Derived, &mut |_| ()).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.checked_to >= before && report.tables > 8, "{report:?}");
    assert!(looks.load(Ordering::SeqCst) > 4);
    let gone = listed.iter().filter(|path| !path.exists()).count();
    assert!(gone > 0, "no snapshot was taken away, and the test shows nothing");
}

#[test]
fn the_command_tells_a_wrong_table_and_ends_with_0() {
    let home = tempfile::tempdir().unwrap();
    closed(home.path());
    let table = files(home.path().join("snap")).pop().unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[BLOCK + 9] ^= 1;
    fs::write(&table, bytes).unwrap();
    let run = |more: &[&str]| {
        let args = [&["-D", home.path().to_str().unwrap(), "verify", "--level", "derived"], more].concat();
        taskledger().args(args).output().unwrap()
    };
    let output = run(&["--json"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = (&lines[0]["severity"], &lines[0]["code"], &lines[0]["from"]);
    assert_eq!(told, (&json!("warning"), &json!("TABLE_DAMAGED"), &json!(BLOCK)));
    assert_eq!((&lines[1]["level"], &lines[1]["verdict"]), (&json!("derived"), &json!("sound")));
    assert_eq!(lines[1]["tables"], json!(tables(home.path()).len() - 1));
    let output = run(&[]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("warning  TABLE_DAMAGED  ") && told.contains("derived checked up to seq"), "{told}");
}

/// Each segment was kept open until all of them were read, so that a ledger with more segments than a process may have files
/// open could not be verified.
#[test]
fn there_may_be_more_segments_than_files_may_be_open() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let ledger = options().open(&dir).unwrap();
    fill(&ledger, &dir, &mut Rng(9), 40);
    ledger.snapshot().unwrap();
    ledger.close().unwrap();
    let script = "ulimit -n 24 && exec \"$0\" -D \"$1\" verify --level derived";
    let verified =
        std::process::Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_taskledger")]).arg(&dir).output();
    let verified = verified.unwrap();
    let told = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && segments(&dir).len() > 40, "{told}");
}
