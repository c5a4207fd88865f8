//! Power cuts in the middle of a history: what is known of each moment, and one of the states that may be left of it.

use taskledger::vfs::fault::{Choice, MemVfs, Op, Pending, Torn};

use super::ops::{Cut, Moment};
use crate::reference::Reference;
use crate::support::Rng;

/// So many operations are the latest ones.
const LATELY: usize = 24;
/// The first sector of a segment that frames are in.
const FIRST_SECTOR: u64 = 8;

/// What is known of a moment, in entries from the first one on.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// How many operations of the file system came before.
    at: usize,
    /// In which opening it was, from the beginning of the journal on.
    opening: usize,
    /// They had their place or were about to get it: no other may be there.
    pub placed: u64,
    /// An append or a wait has returned for them: a kill does not take them.
    pub told: u64,
    /// The ledger has called them durable: they must be there.
    pub safe: u64,
    /// A sync of this opening has said `Ok` and was lost: nothing is safe.
    pub lied: bool,
    /// The same, in this opening or in an earlier one: a refusal is in order after a power cut.
    pub may_refuse: bool,
}

/// What is known, from the creation or the last power cut on.
#[derive(Debug)]
pub struct Journal {
    known: Vec<Known>,
    /// What the openings before the present one may have left.
    left: Vec<Reference>,
}

impl Journal {
    /// All that is there now can be taken by nothing.
    pub fn new(at: usize, entries: u64) -> Journal {
        let (lied, may_refuse) = (false, false);
        let known = Known { at, opening: 0, placed: entries, told: entries, safe: entries, lied, may_refuse };
        Journal { known: vec![known], left: Vec::new() }
    }

    pub fn last(&self) -> Known {
        *self.known.last().expect("there is a beginning")
    }

    /// From here on up to so many entries may be there.
    pub fn places(&mut self, at: usize, placed: u64) {
        self.known.push(Known { at, placed, ..self.last() });
    }

    /// What was placed last, at this moment, was refused, and never got its place: so many entries have one.
    pub fn takes_back(&mut self, since: usize, placed: u64) {
        let refused = self.known.iter_mut().rev().take_while(|known| known.at >= since);
        refused.for_each(|known| known.placed = known.placed.min(placed));
    }

    /// From here on so many entries are told, and so many must be there.
    pub fn tells(&mut self, at: usize, told: u64, safe: u64) {
        let last = self.last();
        let safe = if last.lied { 0 } else { last.safe.max(safe) };
        self.known.push(Known { at, told: last.told.max(told), safe, ..last });
    }

    /// From here on nothing is safe, until it is opened anew.
    pub fn lies(&mut self, at: usize) {
        self.known.push(Known { at, safe: 0, lied: true, may_refuse: true, ..self.last() });
    }

    /// From here on what was written and is not safe is gone for everybody.
    pub fn reverts(&mut self, at: usize) {
        let last = self.last();
        self.known.push(Known { at, told: last.safe, ..last });
    }

    /// Another opening has shown so many entries of those that the last one has left: they must not go away again.
    pub fn opened(&mut self, at: usize, entries: u64, left: Reference) {
        self.left.push(left);
        let (opening, may_refuse) = (self.left.len(), self.last().may_refuse);
        let (placed, told, safe) = (entries, entries, entries);
        self.known.push(Known { at, opening, placed, told, safe, lied: false, may_refuse });
    }

    /// After a power cut where this was known: what must be there cannot be taken any more, and the rest may be there.
    pub fn after(cut: Known) -> Journal {
        let known = Known { at: 0, opening: 0, told: cut.safe, lied: false, ..cut };
        Journal { known: vec![known], left: Vec::new() }
    }

    /// What came after this moment never happened.
    pub fn rewind(&mut self, at: usize) {
        self.known.retain(|known| known.at <= at);
        self.left.truncate(self.last().opening);
    }

    /// What was known when so many operations had been made.
    pub fn of(&self, moment: usize) -> Known {
        *self.known.iter().rfind(|known| known.at <= moment).expect("no moment is before the beginning")
    }

    /// What may be there where this is known; `now` is what the present opening has.
    pub fn model<'a>(&'a self, known: Known, now: &'a Reference) -> &'a Reference {
        self.left.get(known.opening).unwrap_or(now)
    }

    /// How many operations come before the power cut.
    pub fn moment(&self, cut: Cut, trace: &[Op]) -> usize {
        let (first, now) = (self.known.first().expect("there is a beginning").at, trace.len());
        let lately = first.max(now.saturating_sub(LATELY));
        let moments: Vec<usize> = match cut.when {
            Moment::Now => Vec::new(),
            Moment::Lately => (lately..=now).collect(),
            Moment::Unsynced => (lately..now).filter(|&at| matches!(trace[at], Op::SyncData { .. })).collect(),
            Moment::Ever => (first..=now).collect(),
        };
        if moments.is_empty() { now } else { moments[(cut.pick % moments.len() as u64) as usize] }
    }
}

/// One of the file systems that the power may leave when it fails at this moment.
pub fn power_cut(vfs: &MemVfs, moment: usize, seed: u64) -> MemVfs {
    let pending = vfs.pending(moment);
    let mut rng = Rng(seed);
    // Names are not kept without those they come from: such a choice is no state.
    let image = (0..8).find_map(|_| pending.image(&choose(&pending, &mut rng)));
    image.unwrap_or_else(|| pending.image(&pending.none_kept()).expect("keeping nothing is always possible"))
}

/// Nothing, little, half, most or all is kept, or the first sectors only; of half of the other states one sector is torn.
fn choose(pending: &Pending, rng: &mut Rng) -> Choice {
    let kept = [0, 4, 8, 12, 16, 17][rng.below(6) as usize];
    if kept >= 16 {
        let mut choice = pending.all_kept();
        if kept == 17 {
            let first = rng.below(choice.sectors.len() as u64 + 1) as usize;
            choice.sectors[first..].fill(0);
        }
        return choice;
    }
    let mut version = |newer: usize| if rng.below(16) < kept { 1 + rng.below(newer as u64) as u32 } else { 0 };
    let lens = pending.lens.iter().map(|len| version(len.newer.len())).collect();
    let sectors = pending.sectors.iter().map(|sector| version(sector.newer.len())).collect();
    let names = pending.names.iter().map(|_| rng.below(16) < kept).collect();
    let frames = |n: &usize| pending.sectors[*n].index >= FIRST_SECTOR;
    let frames: Vec<usize> = (0..pending.sectors.len()).filter(frames).collect();
    let torn = (!frames.is_empty() && rng.below(2) == 0).then(|| {
        let sector = frames[rng.below(frames.len() as u64) as usize];
        let versions = pending.sectors[sector].newer.len() as u64 + 1;
        let words = 1 + rng.below(63) as usize;
        let front = rng.below(versions);
        Torn { sector, words, front: front as u32, back: ((front + 1 + rng.below(versions - 1)) % versions) as u32 }
    });
    Choice { names, lens, sectors, torn }
}
