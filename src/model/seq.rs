//! `Seq`: a place in the ledger.

use std::fmt;

/// A place in the ledger: dense, from 1. `Seq(0)` is before everything.
///
/// ```
/// use taskledger::Seq;
/// assert_eq!(Seq::FIRST, Seq(1));
/// assert!(Seq::ZERO < Seq::FIRST);
/// assert_eq!(Seq(7).to_string(), "7");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before everything.
    pub const ZERO: Seq = Seq(0);
    /// The first entry of a ledger.
    pub const FIRST: Seq = Seq(1);

    /// The next place.
    pub(crate) fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
