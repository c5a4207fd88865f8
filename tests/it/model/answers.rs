//! The questions that a ledger, a view and a reader all answer, and the model's answers to them.

use taskledger::{Counts, Entry, Error, Filter, Ledger, Page, Seq, Task, TaskRecord, TaskState, View};

use super::ops::{KEYS, TASKS, VALUES};
use super::tally::Tally;
use crate::reference::{RefEntry, RefTask, Reference};

/// What is asked of a list.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub states: Vec<TaskState>,
    pub prefix: &'static str,
    pub metadata: Vec<(&'static str, &'static str)>,
    pub since: Option<u64>,
}

impl Asked {
    pub fn filter(&self) -> Filter {
        let filter = self.states.iter().fold(Filter::new().prefix(self.prefix), |filter, &state| filter.state(state));
        let filter = self.metadata.iter().fold(filter, |filter, &(key, value)| filter.meta(key, value));
        self.since.into_iter().fold(filter, Filter::updated_since)
    }

    pub fn lets(&self, record: &TaskRecord) -> bool {
        (self.states.is_empty() || self.states.contains(&record.state))
            && record.id.starts_with(self.prefix)
            && self.metadata.iter().all(|meta| has(record, meta))
            && self.since.is_none_or(|since| record.updated_at >= since)
    }
}

fn has(record: &TaskRecord, (key, value): &(&str, &str)) -> bool {
    record.metadata.get(*key).is_some_and(|found| found == value)
}

pub struct Answers<'a> {
    pub get: &'a dyn Fn(&str) -> taskledger::Result<Option<Task>>,
    pub list: &'a dyn Fn(Filter) -> taskledger::Result<Page>,
    pub counts: Counts,
    pub history: &'a dyn Fn(&str) -> taskledger::Result<Vec<Entry>>,
    pub entries: &'a dyn Fn(Seq) -> taskledger::Result<Vec<Entry>>,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Whole,
    /// Everything but most of the entries.
    Quick,
}

pub fn check_ledger(ledger: &Ledger, model: &Reference, limit: usize, depth: Depth, tally: &Tally) {
    let answers = Answers {
        get: &|task| ledger.get(task),
        list: &|filter| ledger.list(filter),
        counts: ledger.counts(),
        history: &|task| ledger.history(task)?.collect(),
        entries: &|from| ledger.entries(from).collect(),
    };
    answers.check(model, limit, depth, tally);
}

pub fn check_view(view: &View, model: &Reference, limit: usize, depth: Depth, tally: &Tally) {
    assert_eq!((view.seq().0, view.at()), (model.head(), model.head_at()));
    assert_eq!(view.splits_a_batch(), model.ends_within_a_batch(), "at seq {}", view.seq());
    let answers = Answers {
        get: &|task| view.get(task),
        list: &|filter| view.list(filter),
        counts: view.counts(),
        history: &|task| view.history(task)?.collect(),
        entries: &|from| view.entries(from).collect(),
    };
    answers.check(model, limit, depth, tally);
}

impl Answers<'_> {
    fn check(&self, model: &Reference, limit: usize, depth: Depth, tally: &Tally) {
        let head = model.head();
        for (n, task) in TASKS.into_iter().chain(["never there", ""]).enumerate() {
            let expected = model.tasks.get(task).and_then(|task| Some((task.record.as_ref()?, task)));
            let got = (self.get)(task).expect("it can be read");
            assert_eq!(got.is_some(), expected.is_some(), "{task} is there");
            if let (Some(got), Some(expected)) = (got, expected) {
                assert_same_task(&got, expected);
            }
            if depth == Depth::Whole || n == head as usize % TASKS.len() {
                let history = (self.history)(task).expect("it can be read");
                assert_same_entries(&history, &model.history(task), task);
            }
        }
        self.check_states(model, limit);
        for prefix in ["", "a", "a/1", "b/", "nightly/", "zzz"] {
            self.check_list(&Asked { prefix, ..Asked::default() }, model, limit);
        }
        self.check_metadata(model, limit, tally);
        self.check_times(model, tally);
        let froms = [head.saturating_sub(2), head + 1, 0, 1, head / 3, head];
        for &from in &froms[..if depth == Depth::Whole { 6 } else { 2 }] {
            let got = (self.entries)(Seq(from));
            if from.max(1) < model.oldest() {
                let refused = got.expect_err("what was pruned is not there");
                let said = matches!(refused, Error::Pruned { oldest } if oldest.0 == model.oldest());
                assert!(said, "from {from}: {refused}, and {} is the oldest", model.oldest());
                continue;
            }
            let expected: Vec<_> = model.kept().filter(|entry| entry.seq >= from).collect();
            assert_same_entries(&got.expect("they can be read"), &expected, "all tasks");
        }
    }

    fn check_states(&self, model: &Reference, limit: usize) {
        for state in TaskState::ALL {
            let count = model.list(|record| record.state == state).len() as u64;
            assert_eq!(self.counts.of(state), count, "count of {state}");
            self.check_list(&Asked { states: vec![state], ..Asked::default() }, model, limit);
        }
        assert_eq!((self.counts.total(), self.counts.seq().0), (model.list(|_| true).len() as u64, model.head()));
    }

    /// Each pair of a key and a value, and each two of these.
    fn check_metadata(&self, model: &Reference, limit: usize, tally: &Tally) {
        let pairs: Vec<_> = KEYS.into_iter().flat_map(|key| VALUES.map(|value| (key, value))).collect();
        for (n, &one) in pairs.iter().enumerate() {
            let found = self.check_list(&Asked { metadata: vec![one], ..Asked::default() }, model, limit);
            tally.count_if("metadata found", found > 0);
            tally.count_if("metadata not found", found == 0);
            for &other in &pairs[n + 1..] {
                let metadata = vec![one, other];
                let found = self.check_list(&Asked { metadata, ..Asked::default() }, model, limit);
                let any = model.list(|record| has(record, &one) || has(record, &other)).len();
                tally.count_if("two metadata found", found > 0);
                tally.count_if("all metadata is not any", found < any);
            }
        }
        let states = vec![TaskState::Pending, TaskState::Ready, TaskState::Running];
        let asked = Asked { states, metadata: vec![pairs[0]], ..Asked::default() };
        self.check_list(&asked, model, limit);
    }

    /// At each time of an update, and a millisecond before and behind it.
    fn check_times(&self, model: &Reference, tally: &Tally) {
        for (record, _) in model.list(|_| true) {
            let at = record.updated_at;
            for since in [at.saturating_sub(1), at, at.saturating_add(1)] {
                let found = self.check_whole(&Asked { since: Some(since), ..Asked::default() }, model).len();
                tally.count_if("listed since some update", since == at && found < model.list(|_| true).len());
                tally.count_if("no update since then", found == 0);
            }
        }
    }

    /// The whole list in one page.
    fn check_whole(&self, asked: &Asked, model: &Reference) -> Vec<Task> {
        let page = (self.list)(asked.filter()).expect("it can be read");
        assert!(page.next.is_none(), "without a limit there is one page");
        assert_eq!(page.seq.0, model.head());
        let mut sorted: Vec<&Task> = page.tasks.iter().collect();
        sorted.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        let expected = model.list(|record| asked.lets(record));
        assert_eq!(sorted.len(), expected.len(), "{asked:?}");
        sorted.iter().zip(expected).for_each(|(got, expected)| assert_same_task(got, expected));
        page.tasks
    }

    /// The pages of a list give each task once, whatever their order; how many there are.
    fn check_list(&self, asked: &Asked, model: &Reference, limit: usize) -> usize {
        let whole = self.check_whole(asked, model);
        let mut paged = Vec::new();
        let mut next = asked.filter().limit(limit);
        loop {
            let page = (self.list)(next).expect("it can be read");
            assert!(page.tasks.len() <= limit, "{asked:?} gave {} tasks for {limit}", page.tasks.len());
            assert_eq!(page.seq.0, model.head());
            paged.extend(page.tasks);
            assert!(paged.len() <= whole.len(), "{asked:?} gave a task twice in pages of {limit}");
            let Some(token) = page.next else { break };
            next = asked.filter().limit(limit).after(token);
        }
        assert_eq!(paged, whole, "pages of {limit} and the whole of {asked:?}");
        whole.len()
    }
}

pub fn assert_same_task(got: &Task, (record, task): (&TaskRecord, &RefTask)) {
    assert_eq!((&got.record, got.version, got.seq.0), (record, task.version, task.seq));
}

fn assert_same_entries(got: &[Entry], expected: &[&RefEntry], of: &str) {
    assert_eq!(got.len(), expected.len(), "entries of {of}");
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(expected.difference(got), None, "entries of {of}");
    }
}
