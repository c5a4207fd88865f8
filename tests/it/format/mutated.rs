//! Fuzzing without a fuzzer: golden frames with changed bodies and right checksums. Opening never panics, never takes
//! much memory, and says that it is damage or a later format, or reads something.
//!
//! The work is done in a child process whose memory is bounded, so that a wild allocation is a failure.

use std::process::Command;

use taskledger::{Entry, Error};

use super::bytes::{
    Files, Frame, HEADER, alone, frames, get, put, read_files, segment_name, verify_files, write_files,
};
use super::golden::committed;
use crate::support::{Rng, say};

const CHILD: &str = "TASKLEDGER_FORMAT_CHILD";
/// Address space of the child, in KiB: threads and the test itself take a part of it.
const MEMORY_KIB: u32 = 768 << 10;
const ROUNDS: u64 = 6000;

/// Runs a test in a child with bounded memory; whether this is the child.
pub fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("the test knows its program");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"")]).arg(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = command.output().expect("a shell can be started");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "the child failed: {}\n{}\n{}", output.status, said[0], said[1]);
    assert!(said[0].contains("1 passed"), "the child ran no test:\n{}", said[0]);
    said[1].lines().for_each(say);
    false
}

/// Bytes that mean something in a body: varint markers, borders, the ends of flags.
const TELLING: [u8; 16] = [0, 1, 2, 7, 15, 16, 0x20, 0x40, 0x60, 127, 128, 0xe0, 250, 251, 252, 253];

fn mutate(body: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let place = rng.below(body.len().max(1) as u64) as usize;
        match rng.below(9) {
            _ if body.is_empty() => body.push(rng.next() as u8),
            0 | 1 => body[place] ^= 1 << rng.below(8),
            2 | 3 => body[place] = TELLING[rng.below(16) as usize],
            4 => body[place] = rng.next() as u8,
            5 => body.truncate(place),
            6 => drop(body.remove(place)),
            7 => body.insert(place, TELLING[rng.below(16) as usize]),
            _ => {
                let other = rng.below(body.len() as u64) as usize;
                let piece: Vec<u8> = body[other..].iter().take(rng.below(40) as usize).copied().collect();
                body.splice(place..place, piece);
            }
        }
    }
}

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    read: u64,
    damaged: u64,
    format: u64,
}

impl Tally {
    fn count(&mut self, result: &Result<Vec<Entry>, Error>, round: u64) {
        match result {
            Ok(entries) => {
                assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq.0 == seq), "round {round}: seqs");
                self.read += 1;
            }
            Err(Error::Damaged { path, .. }) => {
                assert!(path.extension().is_some_and(|extension| extension == "log"), "round {round}: {path:?}");
                self.damaged += 1;
            }
            Err(Error::Format { .. }) => self.format += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
    }
}

fn mutated_bodies(verify_all: bool) {
    let golden = committed();
    let mut rng = Rng(2024);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let files = if round % 3 == 0 { in_place(&golden, &mut rng) } else { mutated(&golden, &mut rng) };
        let read = read_files(&files);
        tally.count(&read, round);
        if round % 8 == 0 {
            tally.count(&write_files(&files), round);
        }
        if read.is_ok() || verify_all {
            assert!(matches!(verify_files(&files), Ok(_) | Err(Error::Format { .. })), "round {round}");
        }
    }
    assert!(tally.read > 100 && tally.damaged > 1000 && tally.format > 10, "{tally:?}");
    say(&format!("{ROUNDS} rounds of mutated bodies: {tally:?}"));
}

#[test]
fn mutated_bodies_are_refused_or_read_and_nothing_worse() {
    if in_child("format::mutated::mutated_bodies_are_refused_or_read_and_nothing_worse") {
        mutated_bodies(false);
    }
}

#[test]
fn mutated_bodies_are_verified_and_nothing_worse() {
    if in_child("format::mutated::mutated_bodies_are_verified_and_nothing_worse") {
        mutated_bodies(true);
    }
}

/// The golden first segment with one body changed.
pub fn mutated(golden: &Files, rng: &mut Rng) -> Files {
    let mut all = frames(&golden[&segment_name(golden, 1)]);
    let chosen = rng.below(all.len() as u64) as usize;
    mutate(&mut all[chosen].body, rng);
    alone(golden, &all)
}

/// The golden ledger with a frame of any segment changed, as long as before.
pub fn in_place(golden: &Files, rng: &mut Rng) -> Files {
    let mut files = golden.clone();
    let name = segment_name(golden, 1 + rng.below(5));
    let all = frames(&golden[&name]);
    let mut frame = all[rng.below(all.len() as u64) as usize].clone();
    let length = frame.body.len();
    mutate(&mut frame.body, rng);
    frame.body.resize(length, 0);
    let segment = files.get_mut(&name).expect("it is there");
    let bytes = frame.encode(get(segment, 104));
    put(segment, frame.offset, &bytes);
    files
}

#[test]
fn mutated_headers_are_refused_or_read_and_nothing_worse() {
    if !in_child("format::mutated::mutated_headers_are_refused_or_read_and_nothing_worse") {
        return;
    }
    let golden = committed();
    let first = frames(&golden[&segment_name(&golden, 1)]);
    let mut rng = Rng(2025);
    let mut tally = Tally::default();
    for round in 0..ROUNDS / 2 {
        let mut all: Vec<Frame> = first.clone();
        let chosen = rng.below(all.len() as u64) as usize;
        let frame = &mut all[chosen];
        let small = rng.below(4) as u32;
        match rng.below(7) {
            0 => frame.kind = rng.next() as u8,
            1 => frame.epoch = frame.epoch.wrapping_add(small).wrapping_sub(1),
            2 => frame.first = frame.first.wrapping_add(small).wrapping_sub(1),
            3 => frame.mark = if small == 0 { rng.next() as u32 } else { frame.mark.wrapping_add(small) },
            4 => frame.events = frame.events.wrapping_add(small as u16).wrapping_sub(1),
            5 => frame.time = rng.next() >> 16 >> rng.below(48),
            _ => frame.body.clear(),
        }
        let files = alone(&golden, &all);
        tally.count(&read_files(&files), round);
        if round % 8 == 0 {
            tally.count(&write_files(&files), round);
            assert!(matches!(verify_files(&files), Ok(_) | Err(Error::Format { .. })), "round {round}");
        }
    }
    // A page header with any number in any field: nothing is believed here either.
    for round in 0..ROUNDS / 2 {
        let mut files = golden.clone();
        let name = segment_name(&golden, 1 + rng.below(5));
        let segment = files.get_mut(&name).expect("it is there");
        let (offset, size) =
            [(72, 8), (80, 8), (88, 8), (96, 8), (108, 4), (112, 8), (120, 8), (128, 8), (136, 4), (140, 4)]
                [rng.below(10) as usize];
        let value = (rng.next() >> rng.below(64)).to_le_bytes();
        super::bytes::set_in_page(segment, offset, &value[..size]);
        assert!(segment.len() >= HEADER);
        tally.count(&read_files(&files), round);
        tally.count(&write_files(&files), round);
        assert!(matches!(verify_files(&files), Ok(_) | Err(Error::Format { .. })), "round {round}");
    }
    assert!(tally.read > 100 && tally.damaged > 1000 && tally.format > 10, "{tally:?}");
    say(&format!("{ROUNDS} rounds of mutated headers: {tally:?}"));
}
