//! Prunes, as the model has them: it forgets nothing, and knows below which entry it may not be asked.

use super::{RefEntry, RefEvent, RefKind, Reference};

/// A prune that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefPrune {
    /// The entry that tells of it.
    pub entry: u64,
    /// The oldest entry that it leaves.
    pub oldest: u64,
}

impl Reference {
    /// The oldest entry that may be asked for.
    pub fn oldest(&self) -> u64 {
        self.prunes.last().map_or(1, |prune| prune.oldest)
    }

    /// What was the oldest entry at some time.
    pub fn oldest_ever(&self) -> impl Iterator<Item = u64> {
        self.prunes.iter().map(|prune| prune.oldest).chain([1])
    }

    /// The entries that there still are.
    pub fn kept(&self) -> impl Iterator<Item = &RefEntry> {
        let oldest = self.oldest();
        self.entries.iter().filter(move |entry| entry.seq >= oldest)
    }

    /// Entries before this one go, which an entry tells.
    pub fn prune(&mut self, oldest: u64, actor: &str, now: u64) {
        let seq = self.head() + 1;
        self.prunes.push(RefPrune { entry: seq, oldest });
        let at = now.max(self.head_at());
        let event = RefEvent { actor: Some(actor.to_owned()), ..RefEvent::new(RefKind::Pruned) };
        self.entries.push(RefEntry {
            seq,
            task: String::new(),
            version: 0,
            at,
            said: (now != at).then_some(now),
            from: None,
            event: event.clone(),
            asked: event,
            batch: seq,
            last_of_batch: true,
        });
    }

    /// The same, but that this is the oldest entry.
    pub fn whose_oldest_is(&self, oldest: u64) -> Reference {
        let mut other = self.clone();
        other.prunes.push(RefPrune { entry: 0, oldest });
        other
    }

    /// Only so many entries were kept by a power cut, and only what they tell has happened.
    pub fn cut_to(&self, seq: u64) -> Reference {
        let mut cut = self.as_of_seq(seq);
        cut.prunes.retain(|prune| prune.entry <= seq);
        cut
    }
}
