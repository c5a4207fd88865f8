//! The peers, one file each.
//!
//! Those that keep rows or keys hold three of each event, written in one transaction: the event by its seq, its seq by
//! task and version, and the task's record, which is the first 88 bytes of its last event: everything but the text, and
//! how that begins.

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
