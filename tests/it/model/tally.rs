//! How often each thing came up, so that a test that never gets there is noticed.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Tally(RefCell<BTreeMap<&'static str, u64>>);

impl Tally {
    pub fn count(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub fn count_if(&self, what: &'static str, happened: bool) {
        if happened {
            self.count(what);
        }
    }

    /// Counts what another has counted.
    pub fn add(&self, other: &Tally) {
        for (what, times) in other.0.borrow().iter() {
            *self.0.borrow_mut().entry(what).or_default() += times;
        }
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }

    /// All of it in one line.
    pub fn told(&self) -> String {
        let told: Vec<String> = self.0.borrow().iter().map(|(what, times)| format!("{what} {times}")).collect();
        told.join(", ")
    }
}
