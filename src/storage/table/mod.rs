//! Tables: what is known of tasks and notes after some seq, in one file that is written once and read in place.
//!
//! An *index* has those that one sealed segment touched, as of its end, and where the segment's frames are; a *snapshot* has
//! all of them. Both are derived from the log: where one is missing, damaged or not of this log, it is made again.
//!
//! Invariants: records are sorted by hash, realm and key, each there once; every block is checked whenever it is read;
//! nothing of a table is believed before its header is found to fit the log.

pub mod filter;

pub mod page;

pub mod record;

pub mod fences;

pub mod read;

pub mod scan;

pub mod check;

pub mod compare;

pub mod merge;

pub mod write;

#[cfg(test)]
mod tests;
