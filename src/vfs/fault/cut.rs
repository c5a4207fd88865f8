//! Power cuts as the handle offers them: what is undecided at a moment, and the states that may come of it.

use super::crash::{Choice, Pending};
use super::mem::MemVfs;
use super::replay::{Damage, Replay};
use super::states::Limits;
use super::trace::Op;
use super::world::{Carried, do_damage_before};

/// Power cuts.
impl MemVfs {
    /// How many moments there are for a power cut: before, between and after the operations. Each number below
    /// this one is good for [`MemVfs::pending`].
    pub fn crash_points(&self) -> usize {
        self.trace_len() + 1
    }

    /// What is undecided after the first `at` operations, or after all where there are fewer.
    ///
    /// This follows the trace from its start. For all moments in turn, [`MemVfs::cuts`] follows it once.
    pub fn pending(&self, at: usize) -> Pending {
        let world = self.world();
        let at = at.min(world.trace().len());
        Pending::new(at, &world.replay(at), world.carried.clone())
    }

    /// [`MemVfs::pending`] at every moment, from before the first operation to after the last.
    pub fn cuts(&self) -> Cuts {
        let world = self.world();
        Cuts {
            at: 0,
            replay: world.start(),
            trace: world.trace().to_vec(),
            damage: world.damage().to_vec(),
            carried: world.carried.clone(),
        }
    }

    /// The file system after a power cut behind the first `at` operations; `None` where the choice is not
    /// possible there. See [`Pending::image`], which is faster for many choices at one moment.
    pub fn image(&self, at: usize, choice: &Choice) -> Option<Self> {
        self.pending(at).image(choice)
    }

    /// Visits the states after a power cut behind the first `at` operations, and says how many there were. See
    /// [`Pending::states`].
    pub fn crash_states(&self, at: usize, limits: &Limits, visit: &mut dyn FnMut(Self, &Choice)) -> u64 {
        self.pending(at).states(limits, visit)
    }
}

/// The undecided parts at every moment of a trace; see [`MemVfs::cuts`].
#[derive(Debug)]
pub struct Cuts {
    at: usize,
    replay: Replay,
    trace: Vec<Op>,
    damage: Vec<(usize, Damage)>,
    carried: Carried,
}

impl Iterator for Cuts {
    type Item = Pending;

    fn next(&mut self) -> Option<Pending> {
        let at = self.at;
        if at > self.trace.len() {
            return None;
        }
        do_damage_before(at, &self.damage, &mut self.replay);
        let pending = Pending::new(at, &self.replay, self.carried.clone());
        if let Some(op) = self.trace.get(at) {
            self.replay.step(op);
        }
        self.at += 1;
        Some(pending)
    }
}
