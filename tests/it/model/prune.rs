//! Prunes in the middle of a history: only what may go does, and what went and what is left is told.

use taskledger::{At, Prune, Pruning, Seq};

use super::pair::Pair;

impl Pair<'_> {
    /// So many entries stay, and more where segments hold others with them.
    pub fn prune(&mut self, kept: u64, forced: bool) {
        let before = (self.model.head() + 1).saturating_sub(kept);
        let prune = Prune::before(At::Seq(Seq(before))).by("janitor");
        let prune = if forced { prune.forced() } else { prune };
        let would = self.ledger().would_prune(&prune).expect("nothing is damaged");
        assert_eq!(would.entry, None, "nothing has gone yet");
        let there = self.model.oldest();
        if would.segments > 0 {
            self.check(&would, before, forced);
            self.model.prune(would.oldest.0, "janitor", self.now);
            self.places();
            self.tally.count(if forced { "forced prunes" } else { "prunes" });
        } else {
            assert_eq!((would.oldest.0, would.seqs), (there, None));
        }
        self.tally.count_if("blocked prunes", would.blocked.is_some());
        let did = self.ledger().prune(&prune).expect("there is room");
        let told = |of: &Pruning| (of.segments, of.seqs, of.times, of.bytes, of.counts, of.oldest, of.blocked.clone());
        assert_eq!(told(&did), told(&would), "what was said before");
        assert_eq!(did.entry.map(|seq| seq.0), (would.segments > 0).then(|| self.model.head()));
        self.tells(self.model.head());
    }

    /// What is said to go may go.
    fn check(&self, would: &Pruning, before: u64, forced: bool) {
        let (there, oldest) = (self.model.oldest(), would.oldest.0);
        assert!(there <= oldest && oldest <= before, "{oldest} is to be the oldest, after {there} and up to {before}");
        let then = self.model.as_of_seq(oldest - 1);
        assert_eq!(would.seqs.map(|(first, last)| (first.0, last.0)), (oldest > there).then_some((there, oldest - 1)));
        let at = |seq: u64| self.model.entries[seq as usize - 1].at;
        assert!(would.times.is_none_or(|times| oldest == there || times == (at(there), at(oldest - 1))));
        for state in taskledger::TaskState::ALL {
            assert_eq!(would.counts.of(state), then.list(|record| record.state == state).len() as u64, "{state}");
        }
        for (record, _) in self.model.list(|record| !forced && !record.state.is_terminal()) {
            let entries = self.model.history(&record.id);
            let first = entries.first().map_or(u64::MAX, |entry| entry.seq);
            assert!(first >= oldest, "seq {first} of {}, which is {}, would go with {oldest}", record.id, record.state);
        }
    }
}
