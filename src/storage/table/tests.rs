//! What was written into a table is found again, in order, also where records are longer than blocks and where hashes are
//! equal; what was damaged is noticed whenever it is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use crate::model::fold::Folded;
use crate::model::json::Json;
use crate::model::seq::Seq;
use crate::model::slot::{Live, Slot};
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::storage::segment::FramePlace;
use crate::storage::table::check::check;
use crate::storage::table::merge::{Merge, Source};
use crate::storage::table::page::{BLOCK_BYTES, TableHeader, TableKind};
use crate::storage::table::read::{Table, Unfit};
use crate::storage::table::record::{Class, Classes, Record};
use crate::storage::table::write::write;
use crate::vfs::fault::MemVfs;
use crate::vfs::ops::{Access, Vfs, read_full_at, write_all_at};

const LAST: Seq = Seq(1_000_000);

/// A record that takes about so many bytes.
fn record(hash: u64, realm: Realm, key: &str, class: u8, seq: u64, bytes: usize) -> Record {
    let text = Json::unchecked(&format!("\"{}\"", "x".repeat(bytes)));
    let live = match (realm, TaskState::from_number(class)) {
        (Realm::Tasks, Some(state)) => Some(Live::Record(Folded {
            state,
            attempts: 1,
            created_at: 5,
            updated_at: 7,
            started_at: None,
            finished_at: Some(9),
            output: Some(text),
            error: None,
            metadata: Arc::default(),
        })),
        (Realm::Notes, Some(_)) => Some(Live::Value(text)),
        (_, None) => None,
    };
    let slot = Slot { live, version: 1, seq: Seq(seq), at: 8, actor: None, keys: Arc::default() };
    Record::of(hash, realm, &Arc::from(key), &slot)
}

fn header(kind: TableKind, records: &[Record]) -> TableHeader {
    let mut counts = [0; 9];
    for state in records.iter().filter_map(|record| record.class.state()) {
        *counts.get_mut(usize::from(state.number())).unwrap() += 1;
    }
    TableHeader {
        kind,
        uuid: [7; 16],
        number: 3,
        first: Seq(1),
        last: LAST,
        made: Seq::ZERO,
        at: 99,
        end: 1 << 20,
        chain: 5,
        counts,
        noted: records.iter().filter(|record| record.class.is_note()).count() as u64,
        records: 0,
        blocks: 0,
        places: 0,
    }
}

fn sorted(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut records: Vec<_> = records.into_iter().collect();
    records.sort_by(|a, b| a.place().cmp(&b.place()));
    records.dedup_by(|a, b| a.place() == b.place());
    records
}

fn table(vfs: &MemVfs, path: &Path, records: &[Record], places: &[FramePlace]) -> Arc<Table> {
    let kind = if places.is_empty() { TableKind::Snapshot } else { TableKind::Index };
    let file = vfs.create(path, 0o600).unwrap();
    let header = header(kind, records);
    let mut source = records.iter().cloned().map(Ok);
    let header = write(path, &*file, header, &mut source, places, &mut || Ok(())).unwrap();
    let table = Table::open(vfs, path, false).unwrap();
    assert_eq!(table.header, header);
    Arc::new(table)
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let hash = prop_oneof![any::<u64>(), 0..3_u64, u64::MAX - 2..=u64::MAX];
    let bytes = prop_oneof![8 => 0..200_usize, 2 => 200..9000_usize, 1 => 20_000..40_000_usize];
    let one = (hash, any::<bool>(), "[a-c]{1,2}", 0..10_u8, 1..LAST.0, bytes);
    let one = one.prop_map(|(hash, note, key, class, seq, bytes)| {
        record(hash, if note { Realm::Notes } else { Realm::Tasks }, &key, class, seq, bytes)
    });
    proptest::collection::vec(one, 0..60).prop_map(sorted)
}

fn merged(tables: &[Arc<Table>], classes: Classes) -> Vec<Record> {
    let sources = tables.iter().map(Source::Table).collect();
    Merge::new(sources, 0, classes).map(|known| known.unwrap().into_record()).collect()
}

fn scanned(table: &Arc<Table>, from: u64, classes: Classes) -> Vec<Record> {
    table.scan(from, classes).map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_written_is_found(records in records(), from in any::<u64>(), classes in 0..=Class::ALL) {
        let vfs = MemVfs::new();
        // An index, or a snapshot, which has no places.
        let place = FramePlace { first: Seq(1), offset: 40, at: 1 };
        let table = table(&vfs, Path::new("/t"), &records, &[place][..from as usize % 2]);
        check(&table, &mut || Ok(())).unwrap();
        for record in &records {
            let found = table.find(record.hash, record.class.realm(), &record.key).unwrap();
            prop_assert_eq!(found.as_ref(), Some(record));
            prop_assert!(table.find(record.hash, record.class.realm(), "no such key").unwrap().is_none());
            prop_assert!(table.find(record.hash ^ 1, record.class.realm(), "no such key").unwrap().is_none());
        }
        for from in [0, from, records.last().map_or(0, |record| record.hash)] {
            for classes in [Class::ALL, Class::LIVE_TASKS, classes] {
                let wanted = records.iter().filter(|record| record.hash >= from && record.class.bit() & classes != 0);
                prop_assert_eq!(scanned(&table, from, classes), wanted.cloned().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_newest_record_counts(tables in proptest::collection::vec(records(), 0..5), classes in 0..=Class::ALL) {
        let vfs = MemVfs::new();
        let mut newest = BTreeMap::new();
        let mut opened = Vec::new();
        for (n, records) in tables.iter().enumerate() {
            for record in records {
                newest.insert((record.hash, record.class.realm() == Realm::Notes, Arc::clone(&record.key)), record.clone());
            }
            opened.insert(0, table(&vfs, Path::new(&format!("/t{n}")), records, &[]));
        }
        for classes in [Class::ALL, classes] {
            let merged: Vec<_> = merged(&opened, classes);
            let wanted = newest.values().filter(|record| record.class.bit() & classes != 0);
            prop_assert_eq!(merged, wanted.cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn places_are_found(seqs in proptest::collection::btree_map(2..LAST.0, 0..3_u64, 0..1200), ask in 0..LAST.0 + 9) {
        let mut at = 50;
        let places = [(1, 0)].into_iter().chain(seqs).zip(1..).map(|((seq, later), n)| {
            at += later;
            FramePlace { first: Seq(seq), offset: n * 40, at }
        });
        let places: Vec<_> = places.collect();
        let vfs = MemVfs::new();
        let table = table(&vfs, Path::new("/t"), &[], &places);
        check(&table, &mut || Ok(())).unwrap();
        let last = |holds: &dyn Fn(&FramePlace) -> bool| places.iter().rev().find(|place| holds(place)).copied();
        prop_assert_eq!(table.place_of(Seq(ask)).unwrap(), last(&|place| place.first.0 <= ask));
        let ask = ask % 1500;
        prop_assert_eq!(table.place_at(ask).unwrap(), last(&|place| place.at <= ask));
    }
}

/// Every reading of a table; what it tells.
fn read_all(vfs: &MemVfs, path: &Path, records: &[Record]) -> Result<(), Unfit> {
    let table = Arc::new(Table::open(vfs, path, false)?);
    for record in records {
        let found = table.find(record.hash, record.class.realm(), &record.key)?;
        assert_eq!(found.as_ref(), Some(record), "a wrong answer");
    }
    for (n, record) in table.scan(0, Class::LIVE_TASKS).enumerate() {
        let record = record?;
        let wanted = records.iter().filter(|record| record.class.state().is_some()).nth(n);
        assert_eq!(Some(&record), wanted, "a wrong answer");
    }
    assert!(table.place_of(LAST)?.is_some_and(|place| place.offset == 80), "a wrong answer");
    check(&table, &mut || Ok(()))
}

#[test]
fn every_flipped_bit_is_noticed() {
    let records = sorted((0..40).map(|n| {
        let realm = if n % 5 == 0 { Realm::Notes } else { Realm::Tasks };
        record(n * (u64::MAX / 40), realm, &format!("k{n}"), (n % 10) as u8, 1 + n, (n * 37 % 400) as usize)
    }));
    let places = [40, 80].map(|offset| FramePlace { first: Seq(offset), offset, at: 1 });
    let vfs = MemVfs::new();
    let path = Path::new("/t");
    let table = table(&vfs, path, &records, &places);
    read_all(&vfs, path, &records).expect("it is sound");
    let file = vfs.open(path, Access::ReadWrite).unwrap();
    let mut bytes = vec![0; table.header.file_bytes() as usize];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    assert!(bytes.len() >= 5 * BLOCK_BYTES, "header, records, fences, places");
    for (offset, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            write_all_at(&*file, &[byte ^ 1 << bit], offset as u64).unwrap();
            assert!(read_all(&vfs, path, &records).is_err(), "bit {bit} of byte {offset} goes unnoticed");
        }
        write_all_at(&*file, &[*byte], offset as u64).unwrap();
    }
    // A block in the place of another, also where its bytes are sound.
    let blocks: Vec<&[u8]> = bytes.chunks(BLOCK_BYTES).collect();
    for (to, _) in blocks.iter().enumerate() {
        for (from, block) in blocks.iter().enumerate().filter(|(from, _)| *from != to) {
            write_all_at(&*file, block, (to * BLOCK_BYTES) as u64).unwrap();
            assert!(read_all(&vfs, path, &records).is_err(), "block {from} in the place of {to} goes unnoticed");
        }
        write_all_at(&*file, blocks.get(to).unwrap(), (to * BLOCK_BYTES) as u64).unwrap();
    }
    read_all(&vfs, path, &records).expect("it is sound again");
}

/// A table whose checksums are good and whose content is hostile is an error or an answer, and nothing else.
#[test]
fn hostile_content_ends_nothing() {
    let records =
        sorted((0..60).map(|n| record(n * (u64::MAX / 60), Realm::Tasks, &format!("k{n}"), (n % 9) as u8, 1 + n, 300)));
    let vfs = MemVfs::new();
    let path = Path::new("/t");
    let table = table(&vfs, path, &records, &[FramePlace { first: Seq(1), offset: 40, at: 1 }]);
    let file = vfs.open(path, Access::ReadWrite).unwrap();
    let mut bytes = vec![0; table.header.file_bytes() as usize];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    let seed = table.header.seed();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..20_000 {
        let number = next() as usize % (bytes.len() / BLOCK_BYTES);
        let mut block = bytes.chunks(BLOCK_BYTES).nth(number).unwrap().to_vec();
        for _ in 0..1 + next() % 3 {
            let at = 4 + next() as usize % (BLOCK_BYTES - 4);
            *block.get_mut(at).unwrap() = [0, 1, 0xff, next() as u8][next() as usize % 4];
        }
        let crc = if number == 0 {
            crate::storage::bytes::put(&mut block, 8, &[0; 4]);
            crate::storage::bytes::crc32(&block, 12)
        } else {
            crate::storage::table::page::block_crc(seed, number as u64, &block)
        };
        crate::storage::bytes::put(&mut block, if number == 0 { 8 } else { 0 }, &crc.to_le_bytes());
        write_all_at(&*file, &block, (number * BLOCK_BYTES) as u64).unwrap();
        if let Ok(table) = Table::open(&vfs, path, false) {
            let table = Arc::new(table);
            for record in records.iter().take(9) {
                let _ = table.find(record.hash, Realm::Tasks, &record.key);
            }
            let _ = table
                .scan(next(), next() as Classes)
                .map_while(Result::ok)
                .filter(|record| record.slot().is_ok())
                .count();
            let _ = table.place_of(Seq(next())).and(table.place_at(next()));
            let _ = check(&table, &mut || Ok(()));
        }
        let sound = bytes.chunks(BLOCK_BYTES).nth(number).unwrap();
        write_all_at(&*file, sound, (number * BLOCK_BYTES) as u64).unwrap();
    }
}
