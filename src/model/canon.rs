//! `canon`: one entry as bytes that depend on nothing else.
//!
//! The bytes are the same wherever the entry is stored: the id is written out, numbers are absolute, metadata is
//! sorted, JSON is the text as written. Digests of keyed requests use them; hashes and proofs will, and nothing
//! else may. They are a promise (docs/format.md, "Canonical bytes") and have golden vectors.
//!
//! Layout: the version byte 1, then fields in the order of their tags: tag (1 byte), length (4 bytes,
//! little-endian), that many bytes. A field that is not there is left out.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::model::entry::Entry;
use crate::model::event::{Change, Event};
use crate::model::subject::Subject;

/// The first byte of the canonical bytes.
pub(crate) const CANON_VERSION: u8 = 1;

/// The canonical bytes of an entry.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let ledger = taskledger::Ledger::open(dir.path())?;
/// ledger.append("a", taskledger::Event::created().at(1_000))?;
/// let entry = ledger.history("a")?.next().expect("appended above")?;
/// let bytes = taskledger::canon(&entry);
/// assert_eq!(bytes[..14], [1, 1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "version 1, then seq 1 in 8 bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn canon(entry: &Entry) -> Vec<u8> {
    let mut out = vec![CANON_VERSION];
    field(&mut out, 1, &entry.seq.0.to_le_bytes());
    if let Some(task) = &entry.task {
        field(&mut out, 2, task.as_bytes());
    }
    if let Some(version) = entry.version {
        field(&mut out, 3, &version.to_le_bytes());
    }
    field(&mut out, 4, &entry.at.to_le_bytes());
    if let Some(said) = entry.said {
        field(&mut out, 5, &said.to_le_bytes());
    }
    field(&mut out, 6, &[entry.kind().number()]);
    if entry.event.inferred {
        field(&mut out, 7, &[1]);
    }
    if let Some(from) = entry.from {
        field(&mut out, 8, &[from.number()]);
    }
    push_facts(&mut out, &entry.event);
    push_note(&mut out, entry.note.as_deref(), &entry.event);
    out
}

/// A digest of what a caller asked for under an idempotency key, without time, place and expectation: SipHash-1-3
/// with the ledger's hash key over the canonical bytes of the fields that the caller gave.
pub(crate) fn request_digest(hash_key: &[u8; 16], subject: &Subject, event: &Event) -> u64 {
    let mut out = vec![CANON_VERSION];
    if let Some(task) = subject.task() {
        field(&mut out, 2, task.as_bytes());
    }
    field(&mut out, 6, &[event.kind.number()]);
    if event.inferred {
        field(&mut out, 7, &[1]);
    }
    push_facts(&mut out, event);
    push_note(&mut out, subject.note(), event);
    let mut hasher = SipHasher13::new_with_key(hash_key);
    hasher.write(&out);
    hasher.finish()
}

/// The key of a note, and what it says.
fn push_note(out: &mut Vec<u8>, note: Option<&str>, event: &Event) {
    if let Some(note) = note {
        field(out, 27, note.as_bytes());
    }
    if let Some(value) = &event.value {
        field(out, 28, value.as_str().as_bytes());
    }
}

/// The fields from `to` to the key, which an entry and a request share.
fn push_facts(out: &mut Vec<u8>, event: &Event) {
    if let Some(to) = event.to {
        field(out, 9, &[to.number()]);
    }
    if let Some(attempts) = event.attempts {
        field(out, 10, &attempts.to_le_bytes());
    }
    change(out, 11, &event.output, |json| json.as_str().as_bytes().to_vec());
    change(out, 13, &event.error, |text| text.as_bytes().to_vec());
    for (key, value) in &event.metadata {
        if let Some(value) = value {
            let mut pair = (u32::try_from(key.len()).unwrap_or(u32::MAX)).to_le_bytes().to_vec();
            pair.extend_from_slice(key.as_bytes());
            pair.extend_from_slice(value.as_bytes());
            field(out, 15, &pair);
        }
    }
    for (key, value) in &event.metadata {
        if value.is_none() {
            field(out, 16, key.as_bytes());
        }
    }
    if let Some(created) = event.times.created {
        field(out, 17, &created.to_le_bytes());
    }
    if let Some(updated) = event.times.updated {
        field(out, 18, &updated.to_le_bytes());
    }
    change(out, 19, &event.times.started, |time| time.to_le_bytes().to_vec());
    change(out, 21, &event.times.finished, |time| time.to_le_bytes().to_vec());
    if let Some(actor) = &event.actor {
        field(out, 23, actor.as_bytes());
    }
    if let Some(reason) = &event.reason {
        field(out, 24, reason.as_bytes());
    }
    if let Some(cause) = event.cause {
        field(out, 25, &cause.0.to_le_bytes());
    }
    if let Some(key) = &event.key {
        field(out, 26, key.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    let length = u32::try_from(bytes.len()).expect("every field has a limit far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A field that may be set (`tag`) or cleared (`tag + 1`, no bytes).
fn change<T>(out: &mut Vec<u8>, tag: u8, change: &Change<T>, bytes: impl Fn(&T) -> Vec<u8>) {
    match change {
        Change::Keep => {}
        Change::Set(value) => field(out, tag, &bytes(value)),
        Change::Clear => field(out, tag + 1, &[]),
    }
}
