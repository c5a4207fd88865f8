//! Scripts made from a seed: appends, tickets, notes, syncs, maintenance, rolls, closes, kills, power cuts and full disks in
//! any order.

use taskledger::Error;
use taskledger::TaskState::{Completed, Pending, Ready, Running};
use taskledger::vfs::fault::Limits;

use crate::crash::journal::{Fact, create, fold, go, large, note, note_removed, noted};
use crate::crash::script::{Script, count_on};
use crate::support::Rng;

/// Most steps of a script. Its states are many times as many.
const STEPS_MAX: u64 = 9;

/// Plays the script that this seed gives.
pub fn play(s: &mut Script, seed: u64) {
    let mut rng = Rng(seed);
    let buffered = rng.below(3) == 0;
    open(s, buffered);
    for _ in 0..=rng.below(STEPS_MAX) {
        step(s, &mut rng, buffered);
    }
    if rng.below(3) == 0 {
        s.close();
    }
}

fn open(s: &mut Script, buffered: bool) {
    if buffered { s.open_buffered() } else { s.open() }
}

fn step(s: &mut Script, rng: &mut Rng, buffered: bool) {
    match rng.below(20) {
        0..=7 => {
            let facts = facts(s, rng);
            if buffered { s.write(&facts) } else { s.batch(&facts) }
        }
        8..=10 => {
            let facts = facts(s, rng);
            s.submit(&facts);
        }
        11 => s.sync(),
        12 | 13 => s.maintain(),
        14 => {
            s.close();
            open(s, buffered);
        }
        15 | 16 => {
            s.kill();
            open(s, buffered);
        }
        17 | 18 => {
            cut(s, rng);
            open(s, buffered);
        }
        _ => {
            s.sync();
            s.vfs.set_capacity(Some(20_000 + rng.below(30_000)));
            let facts = facts(s, rng);
            let full = s.try_batch(&facts);
            s.vfs.set_capacity(None);
            if !matches!(full, Err(Error::NoSpace { .. })) {
                count_on(full, "appending on a disk that is nearly full");
            }
        }
    }
}

/// The power fails now, and leaves one of the states that it may.
fn cut(s: &mut Script, rng: &mut Rng) {
    let pending = s.vfs.pending(s.vfs.trace_len());
    let limits = Limits { exhaustive: 4, pairs: 0, samples: 8, tear: rng.below(4) == 0, seed: rng.next() };
    let mut images = Vec::new();
    pending.states(&limits, &mut |image, _| images.push(image));
    let chosen = rng.below(images.len() as u64) as usize;
    s.power_cut(images.swap_remove(chosen));
}

/// A batch of facts that may follow what is there.
fn facts(s: &Script, rng: &mut Rng) -> Vec<Fact> {
    let items = s.journal.items();
    let before = fold(&items);
    let mut states: Vec<_> = (0..4).map(|n| before.get(&*format!("t{n}")).and_then(|belief| belief.state)).collect();
    let mut noted_there = before.get("note k").is_some_and(|belief| belief.says.is_some());
    let mut facts = Vec::new();
    for _ in 0..=rng.below(4) {
        let n = rng.below(5) as usize;
        let size = [3, 60, 600, 2_000, 4_500, 9_000][rng.below(6) as usize] + rng.below(40) as usize;
        let Some(state) = states.get_mut(n) else {
            let removes = noted_there && rng.below(3) == 0;
            noted_there = !removes;
            facts.push(if removes { note_removed("k") } else { noted("k", size) });
            continue;
        };
        let task = format!("t{n}");
        let next = match *state {
            None => {
                *state = Some(Pending);
                facts.push(create(&task));
                continue;
            }
            Some(Pending) => Some(Ready),
            Some(Ready) => Some(Running),
            Some(Running) => Some(Completed),
            Some(_) => None,
        };
        facts.push(match (next, rng.below(3)) {
            (Some(next), 0) => {
                *state = Some(next);
                go(&task, next)
            }
            (_, 1) => note(&task, &"n".repeat(1 + size / 20)),
            _ => large(&task, size),
        });
    }
    facts
}
