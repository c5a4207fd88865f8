//! Which moment a kill hit, told by what it left: files and acknowledgements, before and after.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// What was under way when a kill came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Nothing that left a trace: the process had hardly begun.
    Nothing,
    /// A new ledger: there was none before, and `LEDGER` is not there yet.
    Creation,
    /// A new ledger that is there, before its first entry.
    FirstOpening,
    /// Opening again after an unclean end: something was rewritten, and `live` does not name the new writer yet.
    Recovery,
    /// Opened again after an unclean end, before the first entry and acknowledgement.
    Reopened,
    /// A new segment or spare in the making, one that has no frame yet, or whose predecessor has no seal.
    Roll,
    /// Appends, one after the other.
    Steady,
}

/// The files of a ledger as they lie there.
#[derive(Debug, Default)]
pub struct Trace {
    dir: bool,
    ledger: bool,
    live: Vec<u8>,
    spare: Option<Spare>,
    names: Vec<String>,
    /// The last two segments, oldest first.
    last: Vec<Segment>,
}

/// A segment in the making.
#[derive(Debug, PartialEq)]
struct Spare {
    stamp: (u64, i64, i64),
    bytes: u64,
    has_header: bool,
}

/// A segment, by the bytes of docs/format.md.
#[derive(Debug)]
struct Segment {
    name: String,
    /// Inode, and when it was last written.
    stamp: (u64, i64, i64),
    by_roll: bool,
    has_frames: bool,
    has_seal: bool,
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

impl Segment {
    fn of(log: &Path, name: &str) -> Segment {
        const HEADER: usize = 4096;
        const SEAL: usize = 64;
        let file = File::open(log.join(name)).expect("a segment can be opened");
        let metadata = file.metadata().expect("a segment has metadata");
        let mut bytes = vec![0; metadata.len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("a segment can be read");
        let area_end = bytes.len() - SEAL;
        let some = |bytes: &[u8]| bytes.iter().any(|&byte| byte != 0);
        Segment {
            name: name.to_owned(),
            stamp: stamp(&metadata),
            by_roll: bytes[108..112] == 2_u32.to_le_bytes(),
            has_frames: some(&bytes[HEADER..area_end]),
            has_seal: some(&bytes[area_end..]),
        }
    }
}

impl Trace {
    /// The names in `log/`; none where it is not there.
    pub fn names(dir: &Path) -> Vec<String> {
        let Ok(listed) = std::fs::read_dir(dir.join("log")) else { return Vec::new() };
        let names = listed.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Looks at a directory in which nothing runs.
    pub fn of(dir: &Path) -> Trace {
        let log = dir.join("log");
        let mut names = Trace::names(dir);
        names.retain(|name| name.ends_with(".log"));
        let spare = File::open(log.join("spare.tmp")).ok().map(|file| {
            let metadata = file.metadata().expect("a file has metadata");
            let mut magic = [0; 8];
            let has_header = file.read_exact_at(&mut magic, 0).is_ok() && magic != [0; 8];
            Spare { stamp: stamp(&metadata), bytes: metadata.len(), has_header }
        });
        Trace {
            dir: dir.is_dir(),
            ledger: dir.join("LEDGER").is_file(),
            live: std::fs::read(dir.join("live")).unwrap_or_default(),
            spare,
            last: names.iter().skip(names.len().saturating_sub(2)).map(|name| Segment::of(&log, name)).collect(),
            names,
        }
    }

    pub fn has_ledger(&self) -> bool {
        self.ledger
    }

    /// What was under way, given the files before the process began; `grew` says whether there are more entries now.
    pub fn class(&self, before: &Trace, acked: usize, grew: bool) -> Class {
        let began = acked > 0 || grew;
        if !began && !before.ledger {
            return match (self.dir, self.ledger) {
                (false, _) => Class::Nothing,
                (true, false) if self.untouched(before) => Class::Nothing,
                (true, false) => Class::Creation,
                (true, true) => Class::FirstOpening,
            };
        }
        if !began {
            return match () {
                () if self.live != before.live => Class::Reopened,
                () if self.untouched(before) => Class::Nothing,
                () => Class::Recovery,
            };
        }
        if self.mid_roll(before) { Class::Roll } else { Class::Steady }
    }

    /// Whether no file has come, gone or been written since.
    fn untouched(&self, before: &Trace) -> bool {
        let stamps = |trace: &Trace| trace.last.iter().map(|segment| segment.stamp).collect::<Vec<_>>();
        self.dir == before.dir
            && self.names == before.names
            && self.spare == before.spare
            && stamps(self) == stamps(before)
    }

    /// Whether a roll has begun since and is not complete.
    fn mid_roll(&self, before: &Trace) -> bool {
        let unfinished_spare = self.spare.as_ref().is_some_and(|spare| {
            before.spare.as_ref() != Some(spare) && (spare.bytes % 4096 != 0 || spare.bytes == 0 || spare.has_header)
        });
        let unfinished_segment = match self.last.as_slice() {
            [old, new] if new.by_roll && before.names.last() != Some(&new.name) => !new.has_frames || !old.has_seal,
            _ => false,
        };
        unfinished_spare || unfinished_segment
    }
}
