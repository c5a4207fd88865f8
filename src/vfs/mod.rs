//! The file system as this crate uses it: a dozen operations, the real one, and one that fails on schedule.

pub mod map;
pub mod ops;

pub mod reopened;

#[cfg(feature = "fault")]
pub mod fault;
pub mod real;
