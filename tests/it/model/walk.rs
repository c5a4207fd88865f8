//! Walking through a list page by page while the ledger goes on: what was shown is not shown again, and what is there
//! all along is shown once.

use std::collections::BTreeSet;

use taskledger::{Ledger, PageToken, TaskState};

use super::answers::{Asked, assert_same_task};
use super::ops::{KEYS, VALUES};
use super::tally::Tally;
use crate::reference::Reference;

/// A list, part of which was shown.
#[derive(Debug)]
pub struct Walk {
    asked: Asked,
    shown: Vec<String>,
    /// Those that the list has had since it began.
    throughout: BTreeSet<String>,
    next: Option<PageToken>,
    /// The ids in the list when the last page was made, and the head then.
    ids: BTreeSet<String>,
    head: u64,
}

impl Walk {
    /// Shows the first page.
    pub fn start(ledger: &Ledger, model: &Reference, which: usize, limit: usize, tally: &Tally) -> Walk {
        let times: Vec<u64> = model.list(|_| true).iter().map(|(record, _)| record.updated_at).collect();
        let any = Asked::default();
        let asked = match which % 8 {
            0..4 => any,
            4 => Asked { prefix: ["a", "b", "a/1"][which / 8 % 3], ..any },
            5 => Asked { states: vec![TaskState::Pending, TaskState::Running, TaskState::Ready], ..any },
            6 => Asked { metadata: vec![(KEYS[which / 8 % 2], VALUES[which / 16 % 2])], ..any },
            _ => Asked { since: times.get(which / 8 % times.len().max(1)).copied(), ..any },
        };
        let ids = ids(&asked, model);
        let throughout = ids.clone();
        let mut walk = Walk { asked, shown: Vec::new(), throughout, next: None, ids, head: model.head() };
        walk.page(ledger, model, limit, tally);
        walk
    }

    /// Something happened to the ledger, between two pages.
    pub fn passes(&mut self, model: &Reference) {
        let ids = ids(&self.asked, model);
        self.throughout.retain(|id| ids.contains(id));
    }

    pub fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Shows the next page.
    pub fn go_on(&mut self, ledger: &Ledger, model: &Reference, limit: usize, tally: &Tally) {
        let now = ids(&self.asked, model);
        tally.count_if("page tokens used late", model.head() != self.head);
        tally.count_if("page tokens used in a list with other tasks", now != self.ids);
        (self.ids, self.head) = (now, model.head());
        self.page(ledger, model, limit, tally);
    }

    fn page(&mut self, ledger: &Ledger, model: &Reference, limit: usize, tally: &Tally) {
        let filter = self.asked.filter().limit(limit);
        let filter = self.next.take().into_iter().fold(filter, taskledger::Filter::after);
        let page = ledger.list(filter).expect("it can be read");
        assert!(page.tasks.len() <= limit, "{} tasks for {limit}", page.tasks.len());
        assert_eq!(page.seq.0, model.head());
        assert!(!page.tasks.is_empty() || page.next.is_none(), "a page without a task leads to another one");
        for got in page.tasks {
            let id = &got.record.id;
            assert!(!self.shown.contains(id), "{id} is shown again in {self:?}");
            let expected = model.tasks.get(id).and_then(|task| Some((task.record.as_ref()?, task)));
            let expected = expected.filter(|(record, _)| self.asked.lets(record));
            assert_same_task(&got, expected.unwrap_or_else(|| panic!("{id} is not in {self:?}")));
            self.shown.push(got.record.id);
        }
        self.next = page.next;
        self.check_order(ledger);
        if self.next.is_none() {
            let missed: Vec<_> = self.throughout.iter().filter(|&id| !self.shown.contains(id)).collect();
            assert!(missed.is_empty(), "{missed:?} were there all along, and are not shown in {self:?}");
            tally.count("lists walked through to the end");
        }
    }

    /// What was shown is in the order of the whole list.
    fn check_order(&self, ledger: &Ledger) {
        let whole = ledger.list(self.asked.filter()).expect("it can be read").tasks;
        let place = |id: &String| whole.iter().position(|task| task.record.id == *id);
        let places: Vec<usize> = self.shown.iter().filter_map(place).collect();
        assert!(places.is_sorted(), "the order of {self:?} is not that of the list");
    }
}

fn ids(asked: &Asked, model: &Reference) -> BTreeSet<String> {
    model.list(|record| asked.lets(record)).into_iter().map(|(record, _)| record.id.clone()).collect()
}
