//! One record of a table: a task or note, and what is known of it.
//!
//! ```text
//!   0  4  length of what follows    12  1  class: 0 to 8 the state of a task, 9 a task that was removed, 10 a note,
//!   4  8  hash                             11 a note that was removed
//!                                   13  2  length of the key
//!                                   15     the key, then the slot (codec/slot.rs)
//! ```

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::model::limits::{FRAME_BYTES_MAX, NOTE_KEY_BYTES_MAX, TASK_ID_BYTES_MAX};
use crate::model::slot::{Live, Slot};
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::codec::slot;

/// Bytes of a record before its key, without its length.
pub(crate) const RECORD_HEAD: usize = 11;
/// Longest record, in bytes: a slot whose every text is as long as it may be fits.
pub(crate) const RECORD_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// What a record is, as a number from 0 to 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u8);

/// Classes, one bit for each.
pub(crate) type Classes = u16;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub hash: u64,
    pub class: Class,
    pub key: Arc<str>,
    /// The slot, encoded.
    pub body: Vec<u8>,
}

/// Where a task or note stands in the order of all.
pub(crate) fn hash_of(hash_key: &[u8; 16], realm: Realm, key: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_key(hash_key);
    hasher.write_u8(match realm {
        Realm::Tasks => b't',
        Realm::Notes => b'n',
    });
    hasher.write(key.as_bytes());
    hasher.finish()
}

impl Class {
    const REMOVED_TASK: Class = Class(9);
    pub(crate) const NOTE: Class = Class(10);
    const REMOVED_NOTE: Class = Class(11);
    pub(crate) const ALL: Classes = (1 << 12) - 1;
    /// All that are tasks, also removed ones.
    pub(crate) const TASKS: Classes = (1 << 10) - 1;
    /// All that are live tasks.
    pub(crate) const LIVE_TASKS: Classes = (1 << 9) - 1;

    pub(crate) fn of(realm: Realm, live: Option<&Live>) -> Class {
        match (realm, live) {
            (_, Some(Live::Record(record))) => Class::of_state(record.state),
            (_, Some(Live::Value(_))) => Class::NOTE,
            (Realm::Tasks, None) => Class::REMOVED_TASK,
            (Realm::Notes, None) => Class::REMOVED_NOTE,
        }
    }

    pub(crate) fn of_state(state: TaskState) -> Class {
        Class(state.number())
    }

    pub(crate) fn from_number(number: u8) -> Option<Class> {
        (number <= 11).then_some(Class(number))
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn bit(self) -> Classes {
        1 << self.0
    }

    pub(crate) fn realm(self) -> Realm {
        if self.0 <= Class::REMOVED_TASK.0 { Realm::Tasks } else { Realm::Notes }
    }

    /// The state, where it is a live task.
    pub(crate) fn state(self) -> Option<TaskState> {
        TaskState::from_number(self.0)
    }

    pub(crate) fn is_note(self) -> bool {
        self == Class::NOTE
    }
}

impl Record {
    pub(crate) fn of(hash: u64, realm: Realm, key: &Arc<str>, slot: &Slot) -> Record {
        Record { hash, class: Class::of(realm, slot.live.as_ref()), key: Arc::clone(key), body: slot::encode(slot) }
    }

    /// What is known of it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn slot(&self) -> Result<Slot, String> {
        let slot = slot::decode(&self.body)?;
        if Class::of(self.class.realm(), slot.live.as_ref()) != self.class {
            return Err("its class is not that of what it says".to_owned());
        }
        Ok(slot)
    }

    /// Its place in the order of all tasks and notes.
    pub(crate) fn place(&self) -> (u64, Realm, &str) {
        (self.hash, self.class.realm(), &self.key)
    }

    /// Appends the bytes of the record, its length first.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let length = RECORD_HEAD + self.key.len() + self.body.len();
        assert!(length <= RECORD_BYTES_MAX, "a record of {length} bytes");
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.push(self.class.number());
        out.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.body);
    }

    /// Puts a record together from its head and the bytes behind the class.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn from_parts(hash: u64, class: Class, rest: &[u8]) -> Result<Record, String> {
        let key_max = match class.realm() {
            Realm::Tasks => TASK_ID_BYTES_MAX,
            Realm::Notes => NOTE_KEY_BYTES_MAX,
        };
        let length = rest.first_chunk().map(|&length| usize::from(u16::from_le_bytes(length)));
        let length = length.filter(|length| (1..=key_max).contains(length)).ok_or("a key has an impossible length")?;
        let key = rest.get(2..2 + length).and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or("the key of a record is malformed")?;
        Ok(Record { hash, class, key: Arc::from(key), body: rest.get(2 + length..).unwrap_or_default().to_vec() })
    }
}
