//! Rot of a long ledger: bits, bytes, lengths, sectors and files, and rot of what a power cut left. Each outcome is the
//! truth, or the truth without an end that nothing undamaged vouches for, or a refusal that says where; and what is hit
//! where nothing counts is no reason to refuse.
//!
//! Two ledgers of more than 64 KiB in four segments: closed in order, and cut off by a power cut before anything vouches
//! for the last flush; and one whose beginning was pruned, of which the two copies of the floor are damaged, and files as such.
//! `TASKLEDGER_ROT=all` looks at every case. Else taken are: of bits, those of each frame's header, each
//! seal slot, `live`, and the fields of the first pages in the closed ledger, and one in sixteen of all others; of changed
//! bytes and cuts one in sixteen; of exchanged and misdirected sectors one in four; of the rest all. Which ones follows from
//! their numbers, so that each run takes the same. `TASKLEDGER_GOLDEN=closed,pruned` takes only ledgers with such names. A failure
//! prints the case.

mod cuts;
mod damage;
mod evidence;
mod golden;
pub mod judge;
mod run;

use std::time::Instant;

use damage::Case;
use golden::{CUT_OFF, Golden};
use judge::{Depth, Truth};
use run::{judge_all, on_all_cores, table};
use taskledger::vfs::fault::{Limits, SECTOR};
use taskledger::{Level, Verdict};

use crate::crash::journal::{create, large};
use crate::crash::script::{DIR, Script, options};
use crate::support::wanted;

/// So many cases of each kind of damage there are at least.
const CASES_MIN: u64 = 5;

/// Whether every case is wanted.
fn all() -> bool {
    std::env::var("TASKLEDGER_ROT").as_deref() == Ok("all")
}

/// One in so many cases, by their numbers, and all that are telling; all where that is wanted.
fn some(golden: &Golden, cases: Vec<Case>, one_in: usize) -> Vec<Case> {
    let one_in = if all() { 1 } else { one_in };
    let taken = |n: usize| (n.wrapping_mul(0x9e37_79b9) >> 7) % 0x1_0000 < 0x1_0000 / one_in;
    let floors = &golden.evidence.floors;
    let cases = cases.into_iter().enumerate().filter(|(_, case)| floors.is_empty() || case.hits(floors));
    cases.filter(|(n, case)| taken(*n) || case.is_telling(golden)).map(|(_, case)| case).collect()
}

fn rot(what: &str, one_in: usize, cases: fn(&Golden) -> Vec<Case>) -> String {
    let goldens = Golden::all().into_iter().filter(|golden| wanted("TASKLEDGER_GOLDEN", golden.name));
    let judged = goldens.map(|golden| {
        let start = Instant::now();
        let cases = some(&golden, cases(&golden), one_in);
        let tallies = judge_all(&golden, &cases);
        let few = tallies.iter().find(|(_, tally)| tally.total() < CASES_MIN);
        assert!(few.is_none() && !tallies.is_empty(), "{what} of {}: it looks at little: {few:?}", golden.name);
        let ambiguous: u64 = tallies.values().map(|tally| tally.ambiguous).sum();
        assert!(ambiguous == 0 || golden.name == CUT_OFF, "{what} of {}: {ambiguous} ambiguous", golden.name);
        table(&format!("{what}, {}", golden.name), &tallies, start)
    });
    judged.collect()
}

#[test]
fn every_bit_of_a_long_ledger() {
    println!("{}", rot("bits", 16, damage::bits));
}

#[test]
fn every_byte() {
    println!("{}", rot("bytes", 16, damage::bytes));
}

#[test]
fn every_length() {
    println!("{}", rot("lengths", 16, damage::cuts));
    println!("{}", rot("longer", 1, damage::longer));
}

#[test]
fn every_sector() {
    println!("{}", rot("sectors", 1, damage::sectors));
    println!("{}", rot("moved sectors", 4, damage::moved));
}

#[test]
fn every_file() {
    println!("{}", rot("files", 1, damage::files));
}

#[test]
fn after_a_power_cut() {
    let start = Instant::now();
    let limits = match all() {
        true => Limits { exhaustive: 8, pairs: 0, samples: 40, tear: false, seed: 0 },
        false => Limits { exhaustive: 4, pairs: 0, samples: 6, tear: false, seed: 0 },
    };
    let tallies = cuts::judge_all(&cuts::states(&limits));
    println!("{}", table("power cuts", &tallies, start));
    let ambiguous: u64 = tallies.values().map(|tally| tally.ambiguous).sum();
    let all_traces = std::env::var_os("TASKLEDGER_CRASH_TRACE").is_none();
    assert!(!all_traces || cuts::total(&tallies) > 1000 && ambiguous > 0, "it looks at little: {tallies:?}");
}

/// The same bit of both copies of a floor: nothing says what they said, so that it is refused, or was not asked for.
#[test]
fn every_bit_of_both_copies_of_a_floor() {
    let golden = Golden::pruned();
    let [one, two] = golden.evidence.floors[..] else { panic!("a floor has two copies") };
    let one_in = if all() { 1 } else { 61 };
    let bits: Vec<usize> = (0..golden.files[one].1.len() * 8).step_by(one_in).collect();
    let tallies = on_all_cores(bits.len(), |n, tallies| {
        let (at, bit) = (bits[n] / 8, (bits[n] % 8) as u8);
        let image = golden.vfs.fork();
        for file in [one, two] {
            Case::Bit { file, at, bit }.apply(&golden, &image);
        }
        let report = options(&image).verify(DIR, Level::Structure, &mut |_| ()).expect("it can be read");
        let tally = tallies.entry(if at < 4096 { "header" } else { "blocks" }).or_default();
        let len = golden.truth.len();
        match golden.truth.shown_by(&image, Depth::All).and_then(|shown| tally.count(shown, len, len, len)) {
            Ok(()) if report.verdict() == Verdict::Damaged => {}
            other => tally.is_wrong(format!("bit {bit} of byte {at}: {other:?}, and verify says {report:?}")),
        }
    });
    println!("{}", table("both copies", &tallies, Instant::now()));
    assert!(tallies.len() == 2 && tallies.values().all(|tally| tally.refused > 100), "{tallies:?}");
}

/// A frame does not say where it stands. Where the sector with the first frames was written to a place behind all others,
/// the walk went on there, and called the frames between a gap that hides no entry; what they said was durable was not
/// heard, so that the log ended early in silence.
#[test]
fn a_write_that_went_elsewhere_is_noticed() {
    let mut s = Script::new();
    s.open();
    s.append(create("a"));
    for _ in 0..4 {
        s.append(large("a", 700));
    }
    s.maintain();
    let pending = s.vfs.pending(s.vfs.trace_len());
    let golden = pending.image(&pending.none_kept()).expect("keeping nothing is always possible");
    let truth = Truth::of(&s.journal.want(usize::MAX));
    let path = golden.files().into_iter().find(|path| path.extension().is_some()).expect("a segment");
    let bytes = golden.read_file(&path).expect("it is there");
    let sector = |n: usize| &bytes[n * SECTOR..][..SECTOR];
    let mut cases = 0;
    for from in (8..28).filter(|n| sector(*n).iter().any(|byte| *byte != 0)) {
        for to in (from + 1..31).filter(|n| sector(*n).iter().all(|byte| *byte == 0)) {
            let image = golden.fork();
            image.write_bytes(&path, (to * SECTOR) as u64, sector(from)).expect("it is there");
            image.write_bytes(&path, (from * SECTOR) as u64, &[0; SECTOR]).expect("it is there");
            let shown = truth.shown_by(&image, Depth::All);
            assert_eq!(shown, Ok(None), "sector {from} went to {to}");
            cases += 1;
        }
    }
    assert!(cases > 20, "only {cases} writes went elsewhere");
}
