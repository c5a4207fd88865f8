//! What tables will be asked is said to the disk before the first of it is asked: by opening, and by a view of the past.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::{Access, DirEntry, Lock, Process, Vfs, VfsFile};
use taskledger::{At, Event, Options, Reader, Seq};

use super::{DIR, observed, options, rounds};
use crate::support::{forward, say};

/// A block of a table: its file and number.
type Block = (PathBuf, u64);

/// What was said to be read soon of tables, and what was read of them.
#[derive(Debug, Clone, Default)]
struct Said {
    said: BTreeSet<Block>,
    /// How often each was read.
    read: BTreeMap<Block, usize>,
    /// The most that were said and not read yet.
    at_once: usize,
    /// Reads of what was not said before.
    untold: usize,
}

#[derive(Debug)]
struct SaidVfs(MemVfs, Arc<Mutex<Said>>);

#[derive(Debug)]
struct SaidFile(Arc<dyn VfsFile>, PathBuf, Arc<Mutex<Said>>);

impl SaidFile {
    /// Its blocks of 4 KiB without the header, which says where the others are.
    fn blocks(&self, offset: u64, len: u64) -> impl Iterator<Item = Block> {
        (offset / 4096..(offset + len).div_ceil(4096)).filter(|block| *block > 0).map(|block| (self.1.clone(), block))
    }
}

impl VfsFile for SaidFile {
    forward!(0: len write_at sync_data inode);

    fn will_read(&self, offset: u64, len: u64) {
        let mut all = self.2.lock().unwrap();
        all.said.extend(self.blocks(offset, len));
        let waiting = all.said.iter().filter(|block| !all.read.contains_key(block)).count();
        all.at_once = all.at_once.max(waiting);
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut all = self.2.lock().unwrap();
        for block in self.blocks(offset, buf.len() as u64) {
            all.untold += usize::from(!all.said.contains(&block));
            *all.read.entry(block).or_default() += 1;
        }
        self.0.read_at(buf, offset)
    }
}

impl Vfs for SaidVfs {
    forward!(0: absolute create_dir list create rename remove sync_dir try_lock now_ms boot_id process is_alive random);

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.0.open(path, access)?;
        let is_table = path.extension().is_some_and(|end| end == "idx" || end == "snap");
        Ok(if is_table { Arc::new(SaidFile(file, path.to_owned(), Arc::clone(&self.1))) } else { file })
    }
}

/// A ledger of 3000 tasks in tables, and behind them 2000 entries, which nobody has closed.
fn crashed(tail: &dyn Fn(u64) -> (String, Event)) -> (MemVfs, Seq) {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).segment_size(256 << 10).open(DIR).unwrap();
    rounds(&ledger, 3_000);
    ledger.maintain().unwrap();
    for n in 0..2_000 {
        let (task, event) = tail(n);
        ledger.append(task, event).unwrap();
    }
    ledger.maintain().unwrap();
    (vfs.clone(), ledger.head())
}

/// Opens it for reading, beside what that says and reads of tables.
fn watched(vfs: &MemVfs) -> (Reader, Arc<Mutex<Said>>) {
    let all = Arc::default();
    let reader = Options::new().vfs(Arc::new(SaidVfs(vfs.clone(), Arc::clone(&all)))).open_read_only(DIR);
    (reader.unwrap(), all)
}

/// Opens it for reading, and tells what that says and reads of tables, and how many of them are unfit.
fn opened((vfs, head): &(MemVfs, Seq)) -> (Said, usize) {
    let (reader, all) = watched(vfs);
    assert_eq!(reader.view().seq(), *head);
    let all = all.lock().unwrap().clone();
    (all, reader.report().unfit.len())
}

/// A disk answers a thousand questions at once in a few times what one takes. What the tasks at the end of the log were before,
/// which opening after a crash asks of tables for each of them, is therefore said before the first is asked.
#[test]
fn opening_after_a_crash_says_what_it_will_read_of_tables_before_it_does() {
    let crashed = crashed(&|n| (format!("task-{:06}", n * 1_103 % 3_000), observed(n)));
    let (Said { said, read, at_once, untold }, unfit) = opened(&crashed);
    say(&format!(
        "costs: opening after a crash: {} blocks of tables are said, {at_once} at once; {} are read, {untold} times one \
         that was not said",
        said.len(),
        read.len()
    ));
    assert_eq!((untold, unfit), (0, 0));
    assert!(at_once > 40 && said.len() < 2 * read.len(), "{said:?}, and read are {read:?}");
}

/// The same holds for a view of the past, which folds a part of a segment: its fold asked for one after the other.
#[test]
fn a_view_of_the_past_says_what_it_will_read_of_tables_before_it_does() {
    let (vfs, _) = crashed(&|n| (format!("task-{:06}", n * 1_103 % 3_000), observed(n)));
    let (reader, all) = watched(&vfs);
    let mut most = 0;
    for past in [Seq(19_999), Seq(24_000), Seq(30_500)] {
        *all.lock().unwrap() = Said::default();
        assert_eq!(reader.as_of(At::Seq(past)).unwrap().seq(), past);
        let Said { read, at_once, untold, .. } = all.lock().unwrap().clone();
        // Where the frames of its own segment are is read as one asks.
        assert!(untold <= 8, "{past}: {untold} of {} blocks", read.len());
        most = most.max(at_once);
    }
    say(&format!("costs: a view of the past: up to {most} blocks of tables are said at once"));
    assert!(most > 20, "{most} at once");
}

/// Folding one by one asks tables for nothing that only the end of the log names. Saying beforehand what a piece will read
/// once looked for the second entry of each such task, too, since the first was not folded yet.
#[test]
fn what_only_the_end_of_the_log_names_is_not_asked_of_tables() {
    let crashed = crashed(&|n| (format!("new-{:06}", n / 4), observed(n)));
    let (Said { said, read, .. }, _) = opened(&crashed);
    assert!(said.is_empty() && read.is_empty(), "{said:?}, and read are {read:?}");
}

/// A filter that is rotten at its end was once read again for each entry that might have asked it.
#[test]
fn a_rotten_filter_is_read_few_times_however_many_ask_it() {
    let crashed = crashed(&|n| (format!("task-{:06}", n * 1_103 % 3_000), observed(n)));
    let newest = crashed.0.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "idx")).max();
    let newest = newest.expect("there is an index");
    let last = crashed.0.open(&newest, Access::Read).unwrap().len().unwrap() - 4096;
    crashed.0.write_bytes(&newest, last + 100, &[0x5a; 64]).unwrap();
    let (Said { read, .. }, unfit) = opened(&crashed);
    let times = read.get(&(newest, last / 4096));
    assert!(unfit == 1 && times.is_some_and(|times| *times <= 2), "{unfit} are unfit, and it is read {times:?} times");
}
