//! Which task or note each lost seq is given to, where entries behind the gap say that theirs are missing. Pure.
//!
//! An entry names the seq of the one before it of its task and its version, so that of the lost ones between two entries of a task
//! the number is known, and the place of the last. Where each of them was is one of several answers; there always is one, as the
//! lost entries had their places. Taking at each seq the task whose next entry comes first finds one (earliest deadline first,
//! Horn 1974).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::event::Event;
use crate::model::seq::Seq;
use crate::model::state::TaskState;
use crate::model::subject::{Realm, Subject};

/// Entries of one task or note that are missing before one that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub subject: Subject,
    /// The entry before them that is there; `Seq(0)` for none.
    pub after: Seq,
    /// The seq of the last of them.
    pub last: Seq,
    /// How many they are.
    pub count: u64,
    /// The state that the entry behind them says was before it; `None` where there was no record.
    pub next_from: Option<TaskState>,
}

/// Gives lost seqs away, in order.
#[derive(Debug)]
pub(crate) struct Gaps {
    missing: Vec<Missing>,
    /// How many seqs each still needs before its last.
    open: Vec<u64>,
    /// By the seq of the last.
    lasts: BTreeMap<Seq, usize>,
    /// Those that are not begun yet, the next one at the end.
    later: Vec<usize>,
    /// Those that may be given a seq, by that of their last.
    begun: BinaryHeap<Reverse<(Seq, usize)>>,
}

impl Gaps {
    pub(crate) fn new(missing: Vec<Missing>) -> Gaps {
        let mut later: Vec<usize> = (0..missing.len()).collect();
        let after = |n: &usize| missing.get(*n).map(|missing| Reverse(missing.after));
        later.sort_by_key(after);
        Gaps {
            open: missing.iter().map(|missing| missing.count.saturating_sub(1)).collect(),
            lasts: missing.iter().enumerate().map(|(n, missing)| (missing.last, n)).collect(),
            later,
            begun: BinaryHeap::new(),
            missing,
        }
    }

    /// To whom a lost seq goes, and whether it is the last of theirs; `None` for nobody that is known.
    pub(crate) fn next(&mut self, seq: Seq) -> Option<(&Missing, bool)> {
        while let Some(n) = self.later.pop_if(|n| self.missing.get(*n).is_some_and(|missing| missing.after < seq)) {
            if let (Some(missing), Some(1..)) = (self.missing.get(n), self.open.get(n)) {
                self.begun.push(Reverse((missing.last, n)));
            }
        }
        if let Some(n) = self.lasts.get(&seq) {
            return self.missing.get(*n).map(|missing| (missing, true));
        }
        while let Some(Reverse((last, n))) = self.begun.pop() {
            let Some(open) = self.open.get_mut(n).filter(|_| last > seq) else { continue };
            *open -= 1;
            if *open > 0 {
                self.begun.push(Reverse((last, n)));
            }
            return self.missing.get(n).map(|missing| (missing, false));
        }
        None
    }
}

/// What stands in the place of a lost entry of a task or note, so that what is behind it can follow. `attempts` are those of
/// its record now, where there is one.
pub(crate) fn stand_in(missing: &Missing, is_last: bool, attempts: Option<u32>) -> Event {
    let Missing { subject, next_from, .. } = missing;
    let event = match (subject.realm(), next_from) {
        (Realm::Notes, _) => Event::noted_text(r#"{"lost":true}"#),
        // There was no record before the next one.
        (Realm::Tasks, None) if is_last => Event::removed(),
        (Realm::Tasks, from) => Event::observed(from.unwrap_or(TaskState::Pending)).attempts(attempts.unwrap_or(0)),
    };
    event.by("taskledger repair").because("lost: what was here could not be read; this stands in its place")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(after: u64, last: u64, count: u64) -> Missing {
        Missing {
            subject: Subject::Task(format!("t{last}")),
            after: Seq(after),
            last: Seq(last),
            count,
            next_from: Some(TaskState::Ready),
        }
    }

    /// Random logs with random losses: whatever is lost, every task gets as many seqs as it had, each between the entries of its own
    /// that are there, and the last of them where it was.
    #[test]
    fn every_task_gets_as_many_lost_seqs_as_it_had_and_where_it_had_room() {
        let mut seed = 1_u64;
        let mut below = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        let mut given = 0;
        for _ in 0..3000 {
            let (entries, tasks) = (1 + below(60), 1 + below(8));
            let whose: Vec<u64> = (0..entries).map(|_| below(tasks)).collect();
            let mut lost: Vec<bool> = vec![false; entries as usize];
            for _ in 0..1 + below(3) {
                let from = below(entries);
                (from..(from + 1 + below(20)).min(entries)).for_each(|n| *lost.get_mut(n as usize).unwrap() = true);
            }
            let mut all = Vec::new();
            for task in 0..tasks {
                let (mut after, mut gone) = (0, Vec::new());
                for (n, _) in whose.iter().enumerate().filter(|(_, whose)| **whose == task) {
                    if *lost.get(n).unwrap() {
                        gone.push(n as u64 + 1);
                    } else {
                        if let Some(last) = gone.last() {
                            all.push(missing(after, *last, gone.len() as u64));
                        }
                        gone.clear();
                        after = n as u64 + 1;
                    }
                }
            }
            let mut got: BTreeMap<Seq, Vec<u64>> = BTreeMap::new();
            let mut gaps = Gaps::new(all.clone());
            for (seq, _) in (1..).zip(&lost).filter(|(_, lost)| **lost) {
                if let Some((missing, is_last)) = gaps.next(Seq(seq)) {
                    assert_eq!(is_last, missing.last == Seq(seq));
                    got.entry(missing.last).or_default().push(seq);
                    given += 1;
                }
            }
            for missing in &all {
                let got = got.get(&missing.last).cloned().unwrap_or_default();
                assert_eq!(got.len() as u64, missing.count, "{missing:?} got {got:?}");
                assert_eq!(got.last(), Some(&missing.last.0));
                assert!(got.iter().all(|seq| *seq > missing.after.0));
            }
        }
        assert!(given > 10_000, "{given}");
    }
}
