//! LMDB (heed): three databases in one environment.

use std::path::Path;
use std::time::Instant;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::{record, seq_key, state, version_key};
use crate::work::events::{Counts, Payload, Told};
use crate::work::{Checked, Extent, Mode, Outcome, Peer, Store};

pub struct Lmdb;

/// The most that the file may come to: `mdb_env_set_mapsize` wants it stated ahead, and takes only address space for it.
const MAP: usize = 8 << 30;

type Numbered = Database<'static, U64<BigEndian>, Bytes>;
type Table = Database<'static, Bytes, Bytes>;

#[allow(unsafe_code)]
fn open(dir: &Path, mode: Mode, tasks: u32) -> Outcome<Open> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP).max_dbs(3);
    if mode != Mode::Durable {
        // SAFETY: what the flag gives up is the file's soundness after a crash of the system, and none is made here.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: nobody else has or changes the file while it is mapped: a store is opened once, by one process.
    let env = unsafe { options.open(dir)? };
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        let events = opener.create_database::<U64<BigEndian>, Bytes>(transaction, Some("events"))?;
        let versions = opener.create_database::<Bytes, Bytes>(transaction, Some("versions"))?;
        let table = opener.create_database::<Bytes, Bytes>(transaction, Some("tasks"))?;
        heed::Result::Ok(CommitOrAbort::<_, ()>::Commit((events, versions, table)))
    })?;
    let (events, versions, table) = created.commit().ok_or("it was committed")?;
    Ok(Open { env, events, versions, table, tasks })
}

impl Peer for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn about(&self) -> &'static str {
        "heed 0.23 (LMDB): events by seq, seqs by task and version, tasks, in one transaction, a map of 8 GB. Durable: the \
         default, a commit syncs; relaxed: MDB_NOSYNC, after which a crash of the system can corrupt the file (lmdb.h, \
         mdb_env_open)"
    }

    fn open(&self, dir: &Path, mode: Mode, extent: Extent) -> Outcome<Option<Box<dyn Store>>> {
        Ok(Some(Box::new(open(dir, mode, extent.tasks)?)))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["nothing: it has no checksums; all databases read"]
    }

    fn check(&self, dir: &Path, _: usize, extent: Extent) -> Outcome<Checked> {
        let open = open(dir, Mode::Durable, extent.tasks)?;
        let started = Instant::now();
        let transaction = open.env.read_txn()?;
        let (mut events, mut sum) = (0, 0_u64);
        for table in [open.events.remap_key_type::<Bytes>(), open.versions, open.table] {
            for entry in table.iter(&transaction)? {
                let (_, value) = entry?;
                events += u64::from(value.len() == crate::work::events::BYTES);
                sum = value.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into()));
            }
        }
        std::hint::black_box(sum);
        Ok(Checked { took: started.elapsed(), events: Some(events) })
    }
}

struct Open {
    env: Env,
    events: Numbered,
    versions: Table,
    table: Table,
    tasks: u32,
}

impl Store for Open {
    fn append(&self, event: &Payload) -> Outcome<()> {
        self.append_all(std::slice::from_ref(event))
    }

    fn append_all(&self, events: &[Payload]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for event in events {
            self.events.put(&mut transaction, &event.seq(), event.bytes())?;
            let version = version_key(event.task(), event.version());
            self.versions.put(&mut transaction, &version, &seq_key(event.seq()))?;
            self.table.put(&mut transaction, &event.task().to_be_bytes(), record(event))?;
        }
        Ok(transaction.commit()?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.env.force_sync()?)
    }

    fn counts(&self) -> Outcome<Counts> {
        let transaction = self.env.read_txn()?;
        let mut counts = Counts::default();
        for entry in self.table.iter(&transaction)? {
            counts.add(state(entry?.1), 1);
        }
        Ok(counts)
    }

    fn history(&self, task: u32, seen: &mut dyn FnMut(Told<'_>)) -> Outcome<bool> {
        let transaction = self.env.read_txn()?;
        for entry in self.versions.prefix_iter(&transaction, &task.to_be_bytes())? {
            let seq = u64::from_be_bytes(entry?.1.try_into()?);
            let event = self.events.get(&transaction, &seq)?.ok_or("an event is not there")?;
            seen(Payload::read(event)?.told());
        }
        Ok(true)
    }

    fn states_at(&self, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        let mut states = vec![0; self.tasks as usize];
        for entry in self.events.range(&transaction, &(..=seq))? {
            let event = Payload::read(entry?.1)?;
            states[event.task() as usize] = event.to();
        }
        Ok(Some(states))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
