//! The integration tests: one crate, one file for each thing that is promised.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect is to stop there; clippy's own exceptions for tests do not reach helpers"
)]

mod backup;
mod bits;
mod busy;
mod cli;
mod closing;
mod costs;
mod crash;
mod dag_executor;
mod derived;
mod disk;
mod dump;
mod follow;
mod format;
mod house;
mod json;
mod kill;
mod ledger;
mod machine;
mod maps;
mod model;
mod moved;
mod notes;
mod orphans;
mod past;
mod prune;
mod reference;
mod refusals;
mod repair;
mod rot;
mod snapshots;
mod support;
mod tickets;
mod unnamed;
mod workflows;
