//! The second reader: Python, by the page docs/format.md, sharing no code. It must find what this crate finds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use taskledger::limits::{ERROR_BYTES_MAX, TIME_MS_MAX};
use taskledger::vfs::fault::MemVfs;
use taskledger::{Batch, Error, Event, Expect, Finding, Ledger, Options, Severity, TaskState};

use super::bytes::{
    DIR, EVENTS, FRAME_HEADER, Files, frames, of_world, options, put, read, read_files, segment_name, set_in_page,
    verify_files,
};
use super::golden::{canon_lines, committed, dir, json_lines, make, same_lines};
use super::hostile::{impossible_notes, with_last};
use super::mutated::{in_place, mutated};
use crate::support::{Rng, say};

/// Runs the reader; `None` where there is no Python, which CI must have.
fn reader(arguments: &[&str], ledger: &Path) -> Option<Output> {
    let mut command = Command::new("python3");
    command.args(["-E", "-s", "-B"]).arg(dir().join("reader.py")).args(arguments).arg(ledger);
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("CI").is_some_and(|value| value == "true") => {
            panic!("CI must have python3, the second reader needs it: {error}")
        }
        Err(error) => {
            say(&format!("NOT TESTED: the second reader needs python3, and starting it says: {error}"));
            None
        }
    }
}

/// Puts files on the disk.
fn on_disk(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("a directory can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }
    dir
}

/// Both readers must read the same, to the letter.
pub fn both_read(files: &Files) -> Option<(String, String)> {
    let ledger = on_disk(files);
    let entries = read(Options::new(), ledger.path()).expect("this crate reads it");
    let found = reader(&[], ledger.path())?;
    let summary = String::from_utf8_lossy(&found.stderr).into_owned();
    assert_eq!(found.status.code(), Some(0), "{summary}");
    let lines = String::from_utf8(found.stdout).expect("JSON is UTF-8");
    same_lines("entries", &lines, &json_lines(&entries));
    let canons = reader(&["--canon"], ledger.path())?;
    let canons = String::from_utf8(canons.stdout).expect("hex is UTF-8");
    same_lines("canon", &canons, &canon_lines(&entries));
    Some((lines, summary))
}

/// Both readers must refuse, and the second one must print nothing from the lost seq on.
pub fn both_refuse(files: &Files, first_lost: u64) {
    let ledger = on_disk(files);
    let refused = read(Options::new(), ledger.path());
    assert!(matches!(refused, Err(Error::Damaged { seq: Some(seq), .. }) if seq.0 == first_lost), "{refused:?}");
    let Some(found) = reader(&[], ledger.path()) else { return };
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert_eq!(found.status.code(), Some(5), "{said}");
    assert!(said.starts_with("damaged: file=") && said.contains(&format!(" seq={first_lost}: ")), "{said}");
    let printed = String::from_utf8_lossy(&found.stdout).lines().count() as u64;
    assert!(printed < first_lost, "{printed} lines, and seq {first_lost} is lost");
}

#[test]
fn the_second_reader_reads_the_golden_ledger() {
    let Some((lines, summary)) = both_read(&committed()) else { return };
    let golden = std::fs::read_to_string(dir().join("golden/entries.jsonl")).expect("it is there");
    same_lines("entries.jsonl", &lines, &golden);
    assert!(summary.contains("segments=5 ") && summary.contains("gaps=0 torn=0 tables=4"), "{summary}");
}

#[test]
fn both_readers_leave_a_torn_tail_out_and_refuse_damage() {
    let mut files = committed();
    let name = files.keys().next_back().expect("there are segments").clone();
    let all = frames(&files[&name]);
    let flip = |files: &mut Files, name: &str, offset: usize| {
        let byte = files[name][offset] ^ 4;
        put(files.get_mut(name).expect("it is there"), offset, &[byte]);
    };
    // The last flight: no frame names it as durable, and `live` is that of another copy.
    let last = all.last().expect("there are frames");
    assert_eq!(last.kind, EVENTS);
    flip(&mut files, &name, last.offset + FRAME_HEADER + 3);
    let before = both_read(&committed()).map_or(0, |(lines, _)| lines.lines().count());
    if let Some((lines, summary)) = both_read(&files) {
        assert!(summary.contains("torn=1"), "{summary}");
        assert_eq!(lines.lines().count() + usize::from(last.events), before);
    }
    // A frame that the vouch behind it names as durable.
    let mut files = committed();
    let vouched = all.iter().find(|frame| frame.has_events()).expect("there are frames with events");
    assert!(all.iter().any(|frame| frame.mark > vouched.first + u32::from(vouched.events) - 1));
    flip(&mut files, &name, vouched.offset + FRAME_HEADER + 3);
    let base: u64 = name[15..35].parse().expect("a name holds the base seq");
    both_refuse(&files, base + u64::from(vouched.first));
    // The same in a segment before, whose successor vouches for it; also where a later reader could resume.
    let first = segment_name(&files, 1);
    for frame in frames(&committed()[&first]).iter().filter(|frame| frame.has_events()) {
        let mut files = committed();
        flip(&mut files, &first, frame.offset + 5);
        both_refuse(&files, 1 + u64::from(frame.first));
    }
}

#[test]
fn both_readers_pass_over_a_rotten_vouch() {
    let mut files = committed();
    let name = files.keys().next_back().expect("there are segments").clone();
    let vouch = frames(&files[&name]).into_iter().find(|frame| frame.kind == 4).expect("there is a vouch");
    let byte = files[&name][vouch.offset + 14] ^ 1;
    put(files.get_mut(&name).expect("it is there"), vouch.offset + 14, &[byte]);
    if let Some((_, summary)) = both_read(&files) {
        assert!(summary.contains("gaps=1"), "{summary}");
    }
}

/// Damage, but for moves that the table of moves forbids: that is not on the page.
fn is_lost(finding: &Finding) -> bool {
    finding.severity == Severity::Damage && !["ILLEGAL", "LIMIT"].contains(&finding.code)
}

/// The verdict of this crate, as the exit code of the second reader; what `verify` finds counts, too.
fn verdict(files: &Files) -> i32 {
    match read_files(files) {
        Ok(_) if verify_files(files).expect("it was read").findings.iter().any(is_lost) => 5,
        Ok(_) => 0,
        Err(Error::Format { .. }) => 12,
        Err(Error::Damaged { .. }) => 5,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn both_readers_judge_hostile_ledgers_alike() {
    let golden = committed();
    let mut rng = Rng(11);
    let mut verdicts = BTreeMap::new();
    for round in 0..rounds() {
        let files = if round % 2 == 0 { mutated(&golden, &mut rng) } else { in_place(&golden, &mut rng) };
        let ledger = on_disk(&files);
        let Some(found) = reader(&[], ledger.path()) else { return };
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        // Only the second reader computes digests again.
        let expected = if said.contains(": digest does not fit") { 5 } else { verdict(&files) };
        assert_eq!(found.status.code(), Some(expected), "round {round}: {said} {:?}", read_files(&files).err());
        if expected == 0 {
            let entries = read_files(&files).expect("it was read above");
            same_lines("entries", &String::from_utf8_lossy(&found.stdout), &json_lines(&entries));
        }
        *verdicts.entry(expected).or_insert(0) += 1;
    }
    assert!(verdicts.len() >= 2 || rounds() < 100, "some are read, and some refused: {verdicts:?}");
}

#[test]
fn both_readers_refuse_notes_that_cannot_be() {
    for (n, (files, message)) in impossible_notes().into_iter().enumerate() {
        assert_eq!(verdict(&files), 5);
        let Some(found) = reader(&[], on_disk(&files).path()) else { return };
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        assert_eq!(found.status.code(), Some(5), "change {n}, {message}: {said}");
    }
}

#[test]
fn both_readers_refuse_a_later_format() {
    let golden = committed();
    let mut all = vec![with_last(6, b"later", 0), with_last(127, b"later", 1)];
    for name in ["LEDGER".to_owned(), segment_name(&golden, 1), segment_name(&golden, 5)] {
        for (offset, value) in [(12, 2), (16, 1), (19, 128)] {
            let mut files = golden.clone();
            set_in_page(files.get_mut(&name).expect("it is there"), offset, &[value]);
            all.push(files);
        }
    }
    for files in all {
        assert_eq!(verdict(&files), 12);
        let Some(found) = reader(&[], on_disk(&files).path()) else { return };
        assert_eq!(found.status.code(), Some(12), "{}", String::from_utf8_lossy(&found.stderr));
    }
}

/// How many ledgers; each takes a process.
fn rounds() -> u64 {
    crate::support::number("TASKLEDGER_FORMAT_ROUNDS").unwrap_or(150)
}

/// A ledger too large to commit: the longest texts, hundreds of tasks in a segment, and what chance brings.
fn wide() -> Files {
    let vfs = MemVfs::with_seed(1);
    let ledger = options(&vfs).open(DIR).expect("it opens");
    for length in [65_534, 65_535, ERROR_BYTES_MAX] {
        ledger.append("long", Event::observed(TaskState::Failed).error("e".repeat(length))).expect("it is legal");
    }
    let long = format!("[{}]", vec!["1234.5678"; 100_000].join(","));
    ledger.append("long", Event::updated().output_text(&long)).expect("it is legal");
    let mut batch = Batch::new();
    (0..300).for_each(|n| {
        batch.push(format!("task {n}"), Event::created(), Expect::Absent);
    });
    ledger.commit(batch).expect("it is legal");
    let mut rng = Rng(7);
    for _ in 0..400 {
        let mut batch = Batch::new();
        for _ in 0..=rng.below(4) {
            batch.push(format!("task {}", rng.below(300)), by_chance(&mut rng, &ledger), Expect::Any);
        }
        // Notes under the keys of tasks, known and new ones in turn.
        let value = format!("[{}, \"{}\"]", rng.next(), "v".repeat(rng.below(300) as usize));
        batch.push_note(format!("task {}", rng.below(300)), Event::noted_text(&value), Expect::Any);
        // A key may have been used for something else, which is a refusal like any other.
        let _ = ledger.commit(batch);
        if rng.below(40) == 0 {
            ledger.maintain().expect("it vouches");
        }
    }
    ledger.close().expect("it closes");
    of_world(&vfs)
}

fn by_chance(rng: &mut Rng, ledger: &Ledger) -> Event {
    let state = TaskState::ALL[rng.below(9) as usize];
    let mut event = if rng.below(2) == 0 { Event::updated() } else { Event::observed(state) };
    let seq = ledger.head();
    let word = |rng: &mut Rng| ["α", "", "long ".repeat(60).as_str(), "\u{7}"][rng.below(4) as usize].to_owned();
    for _ in 0..rng.below(5) {
        event = match rng.below(11) {
            0 => event.attempts(rng.next() as u32 >> rng.below(32)),
            1 => event.output_text(&format!("{{\"{}\":{}}}", rng.below(99), rng.next())),
            2 => event.error(word(rng)),
            3 => event.because(word(rng)),
            4 => event.by(format!("w{}", rng.below(3))),
            5 => event.meta(format!("m{}", rng.below(300)), word(rng)),
            6 => event.unset(format!("m{}", rng.below(300))),
            7 => event.cause(taskledger::Seq(1 + rng.below(seq.0))),
            8 => event.key(format!("k{}", rng.next())),
            9 => event.at((rng.next() >> 16 >> rng.below(48)).min(1_700_000_000_000)),
            _ if event.kind().name() == "observed" => event.created_at(rng.next()).started_at(Some(TIME_MS_MAX)),
            _ => event.clear_error(),
        };
    }
    event
}

#[test]
fn both_readers_read_a_wide_ledger_alike() {
    if let Some((lines, summary)) = both_read(&wide()) {
        assert!(lines.lines().count() > 900 && summary.contains("torn=0"), "{summary}");
    }
    assert!(make() == make(), "the same story makes the same bytes");
}
