//! Reading a table whole, before it is published and when it is verified.

use std::io;

use crate::storage::table::fences::Fences;
use crate::storage::table::filter::filter_of;
use crate::storage::table::page::TableKind;
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::Record;
use crate::storage::table::scan::Cursor;

/// `pause` is called once for so many records.
const PAUSE_EVERY: u64 = 1024;

/// Checks that every block is sound, that the records are in order and fold to what their class says, and that header,
/// fences and places are those of such records. `pause` is called every now and then, for what cannot wait until the end; its
/// error ends it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(table: &Table, pause: &mut dyn FnMut() -> io::Result<()>) -> Result<(), Unfit> {
    let header = &table.header;
    let unfit = |what: String| Err(Unfit { path: table.path.clone(), what });
    let (mut counts, mut noted, mut records) = ([0_u64; 9], 0_u64, 0_u64);
    let mut fences = Fences::default();
    let mut hashes = Vec::new();
    let mut before: Option<Record> = None;
    let mut cursor = Cursor::new(0);
    while let Some(head) = cursor.head(table)? {
        fences.begin(head.block, head.hash, head.class);
        let record = cursor.take(table, head)?;
        if before.as_ref().is_some_and(|before| before.place() >= record.place()) {
            return unfit(format!("the record of {:?} is not in order", record.key));
        }
        let slot = table.slot_of(&record)?;
        let from = if header.kind == TableKind::Index { header.first.0 } else { 1 };
        if !(from..=header.last.0).contains(&slot.seq.0) {
            return unfit(format!("the record of {:?} is of seq {}, which it does not cover", record.key, slot.seq));
        }
        if let Some(count) = record.class.state().and_then(|state| counts.get_mut(usize::from(state.number()))) {
            *count += 1;
        }
        noted += u64::from(record.class.is_note());
        if header.kind == TableKind::Index {
            hashes.push(record.hash);
        }
        records += 1;
        if records.is_multiple_of(PAUSE_EVERY) {
            pause().or_else(|error| unfit(error.to_string()))?;
        }
        before = Some(record);
    }
    if records != header.records {
        return unfit(format!("it has {records} records, and its header says {}", header.records));
    }
    // An index has only what its segment touched, and counts what there is in all.
    if header.kind == TableKind::Snapshot && (counts, noted) != (header.counts, header.noted) {
        return unfit("its counts are not those of its records".to_owned());
    }
    for (block, (found, fence)) in table.all_fences().zip(fences.finish(header.blocks)).enumerate() {
        if found? != fence {
            return unfit(format!("the fence of block {block} is not that of its records"));
        }
    }
    if table.filter()? != filter_of(&hashes) {
        return unfit("its filter is not that of its records".to_owned());
    }
    let mut last = None;
    for (n, place) in table.all_places().enumerate() {
        let place = place?;
        let follows =
            last.is_none_or(|(first, offset, at)| first < place.first && offset < place.offset && at <= place.at);
        if !follows || place.first > header.last || place.offset >= header.end {
            return unfit(format!("the place of frame {n} is not behind the one before"));
        }
        last = Some((place.first, place.offset, place.at));
    }
    Ok(())
}
