//! What can still be read of one segment, however damaged: its entries by seq, each with its task or note.
//!
//! Invariants: an entry is one only under good checksums; no entry gets a task by a guess. What named a number may be lost, and then
//! only the segment's index tells whose it is: by the last entry of each task, in seq and version.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::dump::DumpPiece;
use crate::ledger::options::Options;
use crate::model::entry::Entry;
use crate::model::seq::Seq;
use crate::model::subject::{Realm, Subject};
use crate::storage::codec::columns::Links;
use crate::storage::names;
use crate::storage::table::page::TableKind;
use crate::storage::table::read::Table;
use crate::storage::table::record::Class;

/// An entry that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Salvaged {
    pub entry: Entry,
    pub links: Links,
}

/// What is left of a segment.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// By seq, each once.
    pub entries: Vec<Salvaged>,
    /// Entries that can be read, but not whose they are.
    pub unnamed: Vec<Entry>,
    /// The highest seq that a frame names as durable.
    pub watermark: Seq,
    /// The highest epoch that a frame names.
    pub epoch: u32,
}

/// Reads what is left of a segment whose entries are below a seq. All of it is held: a segment has an upper size.
///
/// # Errors
/// It cannot be read, or is of a later format. Damage is no error.
pub(crate) fn remains(options: &Options, path: &Path, uuid: &[u8; 16], dir: &Path, below: Seq) -> Result<Remains> {
    let mut out = Remains::default();
    let dump = match options.dump(path) {
        Ok(dump) => dump,
        Err(Error::Damaged { .. }) => return Ok(out),
        Err(error) => return Err(error),
    };
    let (number, base) = (dump.number(), dump.base());
    let mut found: BTreeMap<Seq, (Salvaged, Option<(Realm, u32)>)> = BTreeMap::new();
    for piece in dump {
        let DumpPiece::Frame(frame) = piece? else { continue };
        out.watermark = out.watermark.max(frame.durable);
        out.epoch = out.epoch.max(frame.epoch);
        for (entry, beside) in frame.entries.into_iter().zip(frame.beside) {
            if (base..below).contains(&entry.seq) {
                let seq = entry.seq;
                found.entry(seq).or_insert((Salvaged { entry, links: beside.links }, beside.unnamed));
            }
        }
    }
    let mut lasts: HashMap<(Realm, u32), (Seq, Option<u64>)> = HashMap::new();
    for (salvaged, unnamed) in found.values() {
        if let Some(number) = unnamed {
            lasts.insert(*number, (salvaged.entry.seq, salvaged.entry.version));
        }
    }
    let names =
        if lasts.is_empty() { HashMap::new() } else { names_by_index(options, dir, uuid, (number, base), &lasts) };
    for (mut salvaged, unnamed) in found.into_values() {
        match unnamed.map(|number| names.get(&number)) {
            None => out.entries.push(salvaged),
            Some(Some(subject)) => {
                salvaged.entry.set_subject(Some(subject.clone()));
                out.entries.push(salvaged);
            }
            Some(None) => out.unnamed.push(salvaged.entry),
        }
    }
    Ok(out)
}

/// Whose the numbers are, by the index of the segment: each of its tasks and notes has its last entry there.
fn names_by_index(
    options: &Options,
    dir: &Path,
    uuid: &[u8; 16],
    (number, base): (u64, Seq),
    lasts: &HashMap<(Realm, u32), (Seq, Option<u64>)>,
) -> HashMap<(Realm, u32), Subject> {
    let by_last: HashMap<Seq, _> = lasts.iter().map(|(number, (seq, version))| (*seq, (*number, *version))).collect();
    let mut names = HashMap::new();
    let Ok(table) = Table::open(&*options.vfs, &names::index(dir, number, base), false) else { return names };
    let header = &table.header;
    if (header.kind, header.uuid, header.number, header.first) != (TableKind::Index, *uuid, number, base) {
        return names;
    }
    let table = Arc::new(table);
    for record in table.scan(0, Class::ALL) {
        let Ok(record) = record else { break };
        let Ok(slot) = table.slot_of(&record) else { continue };
        if let Some(((realm, number), version)) = by_last.get(&slot.seq)
            && *realm == record.class.realm()
            && *version == Some(slot.version)
        {
            names.insert((*realm, *number), realm.subject(&*record.key));
        }
    }
    names
}
