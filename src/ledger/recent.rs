//! Files of a ledger that were used lately, by the number of their segment: few stay open, however many there are.
//!
//! Which of them goes for another is quick_cache's to say, as in `model/warm.rs`.

use quick_cache::unsync::Cache;

/// So many segments are kept open beside the last two, and so many indexes to find frames by.
const RECENT_MAX: usize = 126;

/// What was used lately.
#[derive(Debug)]
pub(crate) struct Recent<T>(Cache<u64, T>);

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent(Cache::new(RECENT_MAX))
    }
}

impl<T: Clone> Recent<T> {
    pub(crate) fn get(&self, number: u64) -> Option<T> {
        self.0.get(&number).cloned()
    }

    pub(crate) fn put(&mut self, number: u64, file: T) {
        self.0.insert(number, file);
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// The same without those before a number.
    pub(crate) fn from(&self, number: u64) -> Recent<T> {
        let mut later = Recent::default();
        self.0.iter().filter(|(kept, _)| **kept >= number).for_each(|(kept, file)| later.put(*kept, file.clone()));
        later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_stays_and_few_are_kept() {
        let mut recent = Recent::default();
        for number in 0..10_000 {
            recent.put(number, number);
            // A few are asked for all the time.
            (0..8).for_each(|often| assert_eq!(recent.get(often), (often <= number).then_some(often), "{number}"));
        }
        assert_eq!((0..10_000).filter(|number| recent.get(*number).is_some()).count(), RECENT_MAX);
        recent.remove(3);
        assert_eq!(recent.get(3), None);
        let later = recent.from(9_000);
        assert!((0..9_000).all(|number| later.get(number).is_none()));
        assert!((9_000..10_000).all(|number| later.get(number) == recent.get(number)));
    }
}
