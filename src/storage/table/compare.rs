//! Comparing a table with what entries come to, record by record, within a range of hashes. Nothing is kept but the first
//! that differs and how many do.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use crate::model::layer::Held;
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::subject::Subject;
use crate::storage::table::page::{BLOCK_BYTES, PLACES, TableHeader};
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, Record};
use crate::storage::table::scan::{Cursor, Head};

/// The first record that is not what entries come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub subject: Subject,
    /// Of the entry that the table or the log names as the last.
    pub seq: Seq,
    /// The block in which it begins; of a record that is missing, the block in which the next one begins.
    pub bytes: Option<Range<u64>>,
    pub what: String,
}

/// How many records differ, and the first that does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub count: u64,
    pub first: Option<Difference>,
}

impl Differences {
    fn add(&mut self, difference: impl FnOnce() -> Difference) {
        self.count += 1;
        self.first.get_or_insert_with(difference);
    }

    /// Adds those of a later range.
    pub(crate) fn join(&mut self, later: Differences) {
        self.count += later.count;
        self.first = self.first.take().or(later.first);
    }
}

/// Compares the records of a table that have such hashes with what is held, in order, of all those.
///
/// # Errors
/// The table cannot be read.
pub(crate) fn compare<'a>(
    table: &Table,
    hashes: &RangeInclusive<u64>,
    held: impl Iterator<Item = &'a Held>,
) -> Result<Differences, Unfit> {
    let mut found = Differences::default();
    let mut held = held.peekable();
    let mut cursor = Cursor::new(table.first_block_from(*hashes.start())?.saturating_sub(1));
    while let Some(head) = cursor.head(table)?.filter(|head| head.hash <= *hashes.end()) {
        if head.hash < *hashes.start() {
            cursor.pass(head);
            continue;
        }
        let record = cursor.take(table, head)?;
        while let Some(missing) = held.next_if(|held| held.place() < record.place()) {
            found.add(|| lacks(missing, Some(head)));
        }
        match held.next_if(|held| held.place() == record.place()) {
            Some(held) => {
                let slot = table.slot_of(&record)?;
                if slot != *held.slot || record.class != Class::of(held.realm, held.slot.live.as_ref()) {
                    found.add(|| differs(&record, &slot, &held.slot, head));
                }
            }
            None => {
                let slot = table.slot_of(&record)?;
                found.add(|| Difference {
                    subject: subject_of(&record),
                    seq: slot.seq,
                    bytes: Some(block_of(head)),
                    what: format!("it has a record of the {}, and the log makes none", named(&subject_of(&record))),
                });
            }
        }
    }
    for missing in held {
        found.add(|| lacks(missing, None));
    }
    Ok(found)
}

fn lacks(held: &Held, next: Option<Head>) -> Difference {
    let subject = held.realm.subject(&*held.key);
    let what = format!("it has no record of the {}", named(&subject));
    Difference { subject, seq: held.slot.seq, bytes: next.map(block_of), what }
}

fn differs(record: &Record, has: &Slot, wanted: &Slot, head: Head) -> Difference {
    let subject = subject_of(record);
    let of = |slot: &Slot| format!("version {} of seq {}", slot.version, slot.seq);
    let what = if (has.version, has.seq) == (wanted.version, wanted.seq) {
        format!("its record of the {}, {}, is not what the log makes of it", named(&subject), of(has))
    } else {
        format!("its record of the {} is {}, and the log makes {}", named(&subject), of(has), of(wanted))
    };
    Difference { subject, seq: wanted.seq, bytes: Some(block_of(head)), what }
}

fn subject_of(record: &Record) -> Subject {
    record.class.realm().subject(String::from(&*Arc::clone(&record.key)))
}

fn named(subject: &Subject) -> String {
    format!("{} {:?}", subject.realm().word(), subject.key())
}

fn block_of(head: Head) -> Range<u64> {
    block_bytes(1 + head.block)
}

/// The bytes of a block of the file.
pub(crate) fn block_bytes(number: u64) -> Range<u64> {
    let start = number * BLOCK_BYTES as u64;
    start..start + BLOCK_BYTES as u64
}

/// The block with the place of a frame, counted from 0.
pub(crate) fn block_of_place(header: &TableHeader, n: u64) -> Range<u64> {
    block_bytes(header.places_from() + n / PLACES)
}

/// The first block that cannot be read or whose checksum does not match, and why.
pub(crate) fn first_bad_block(table: &Table) -> Option<(Range<u64>, Unfit)> {
    let blocks = 1..table.header.file_bytes() / BLOCK_BYTES as u64;
    blocks.into_iter().find_map(|number| Some((block_bytes(number), table.block(number).err()?)))
}
