//! What other programs keep their state by, over a ledger. One file for each of their traits.

mod plan;

pub mod dag_executor;
