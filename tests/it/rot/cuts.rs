//! Rot after a power cut: in states that one may leave, each frame of the last segment has a bit flipped in its header
//! and in its body, and its first sector zeroed and garbled. What opening showed before is shown again, or without an end
//! that nothing undamaged vouches for, or it is refused. Counted apart is an end that nobody was told is safe.

use std::collections::HashSet;

use taskledger::vfs::fault::{Limits, MemVfs, SECTOR};

use super::damage::garbage;
use super::evidence::{Evidence, Files, Hit};
use super::judge::{Depth, Truth};
use super::run::{Tallies, Tally, on_all_cores};
use crate::crash::script::Script;
use crate::crash::traces;
use crate::support::{Rng, wanted};

/// What a power cut left.
pub struct State {
    story: String,
    image: MemVfs,
    truth: Truth,
    /// How many entries were acknowledged.
    acked: usize,
}

/// Some of the states of each power cut in all traces of `crash`.
pub fn states(limits: &Limits) -> Vec<State> {
    let mut states = Vec::new();
    for (name, _, run) in traces::all() {
        // What threads do at once is not the same in every run.
        let skipped = name.starts_with("creation") || name.contains("threads");
        if skipped || !wanted("TASKLEDGER_CRASH_TRACE", name) {
            continue;
        }
        let mut script = Script::new();
        run(&mut script);
        script.drop_ledger();
        let mut seen = HashSet::new();
        for pending in script.vfs.cuts().skip(script.journal.created_at()) {
            let want = script.journal.want(pending.at);
            // What a sync that lied lost is damage already.
            if want.may_refuse || !want.born {
                continue;
            }
            let truth = Truth::of(&want);
            pending.states(limits, &mut |image, choice| {
                let print = image.fingerprint();
                if seen.insert((print, truth.len(), want.acked)) {
                    let story =
                        format!("trace {name:?}, power cut behind operation {}, leaving {choice:?}", pending.at);
                    states.push(State { story, image, truth: truth.clone(), acked: want.acked });
                }
            });
        }
    }
    states
}

const KINDS: [&str; 4] = ["header bit flipped", "body bit flipped", "sector zeroed", "sector garbled"];

/// The damage of a kind to a frame: where, and the bytes then.
fn damage(kind: usize, (file, frame): &Hit, bytes: &[u8], rng: &mut Rng) -> (usize, Vec<u8>) {
    let flip = |at: usize, rng: &mut Rng| (at, vec![bytes[at] ^ 1 << rng.below(8)]);
    let sector = frame.start / SECTOR;
    let zeros = vec![0; SECTOR];
    match kind {
        0 => flip(frame.start + rng.below(32) as usize, rng),
        1 if frame.len() > 32 => flip(frame.start + 32 + rng.below(frame.len() as u64 - 32) as usize, rng),
        1 | 2 => (sector * SECTOR, zeros),
        _ => (sector * SECTOR, garbage((*file, sector))),
    }
}

/// Judges each damage to each frame of each state.
pub fn judge_all(states: &[State]) -> Tallies {
    on_all_cores(states.len(), |n, tallies| {
        let state = &states[n];
        if let Err(what) = judge(state, n as u64, tallies) {
            tallies.entry("before the damage").or_default().is_wrong(format!("{}: {what}", state.story));
        }
    })
}

fn judge(state: &State, seed: u64, tallies: &mut Tallies) -> Result<(), String> {
    let State { image, truth, .. } = state;
    let files: Files = image.files().into_iter().map(|path| (path.clone(), image.read_file(&path).unwrap())).collect();
    let evidence = Evidence::of(&files);
    let shown = truth.shown_by(&image.fork(), Depth::Answers)?.ok_or("it is refused before the damage")?;
    tallies.entry("before the damage").or_default().whole += 1;
    let mut rng = Rng(seed);
    for frame in &evidence.frames {
        for (kind, name) in KINDS.iter().enumerate() {
            let (path, bytes) = &files[frame.0];
            let (offset, new) = damage(kind, frame, bytes, &mut rng);
            let hit = (frame.0, offset..offset + new.len());
            let rotten = image.fork();
            rotten.write_bytes(path, offset as u64, &new).expect("the file is there");
            let tally = tallies.entry(name).or_default();
            let judged = truth.shown_by(&rotten, Depth::Answers).and_then(|found| match found {
                Some(kept) if kept > shown => Err(format!("{kept} entries are shown, and {shown} before the damage")),
                found => tally.count(found, shown, state.acked.min(shown), evidence.floor(&[hit])),
            });
            if let Err(what) = judged {
                tally.is_wrong(format!("{}, then {name} at {offset}: {what}", state.story));
            }
        }
    }
    Ok(())
}

/// How many damages were judged.
pub fn total(tallies: &Tallies) -> u64 {
    KINDS.iter().filter_map(|kind| tallies.get(kind)).map(Tally::total).sum()
}
