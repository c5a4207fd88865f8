//! The peers, one file each.
//!
//! Those that keep rows or keys hold three of each event, written in one transaction: the event by its seq, its seq by
//! task and version, and the task's record, which is the first 88 bytes of its last event: everything but the text, and
//! how that begins.

pub mod dag_executor;
pub mod fjall;
pub mod lmdb;
pub mod okaywal;
pub mod raft_engine;
pub mod redb;
pub mod sqlite;

use crate::work::events::Payload;

const RECORD: usize = 88;
/// Where a record has the state.
const STATE: usize = 25;

/// The task's record after an event.
fn record(event: &Payload) -> &[u8] {
    &event.bytes()[..RECORD]
}

fn state(record: &[u8]) -> u8 {
    record[STATE]
}

/// Keys of bytes are in the order of the numbers.
fn seq_key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

fn version_key(task: u32, version: u32) -> [u8; 8] {
    (u64::from(task) << 32 | u64::from(version)).to_be_bytes()
}
