//! The long ledger that rots: four segments of 16 KiB with tasks, notes, keys, batches over several frames, large outputs,
//! vouches, recoveries and a torn tail that was left out; closed, or cut off by a power cut before anything vouches for
//! its last flush. And what each of its sectors held earlier in its life.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::fault::{MemVfs, Op, SECTOR};
use taskledger::vfs::ops::Vfs as _;

use super::evidence::{Evidence, Files};
use super::judge::Truth;
use crate::crash::journal::{create, go, keyed, large, note, note_removed, noted};
use crate::crash::script::{Script, everything};
use crate::support::Rng;

/// The one whose beginning was pruned.
pub const PRUNED: &str = "pruned";
/// The one that a power cut ended.
pub const CUT_OFF: &str = "cut off";

/// A ledger before the damage.
pub struct Golden {
    pub name: &'static str,
    pub is_closed: bool,
    pub vfs: MemVfs,
    pub truth: Truth,
    pub files: Files,
    pub evidence: Evidence,
    /// Earlier contents of sectors, by file and sector.
    pub older: BTreeMap<(usize, usize), Vec<Vec<u8>>>,
}

/// Segments of the long ledger at least, and bytes of all its files.
const SEGMENTS_MIN: usize = 3;
const BYTES_MIN: usize = 64 << 10;

/// So much happens before the end that differs.
fn long_life(s: &mut Script) {
    let mut rng = Rng(5);
    s.open();
    let mut tasks = 0;
    while s.segments() < 4 {
        let task = format!("task-{tasks}");
        s.batch(&[create(&task), keyed(note(&task, "planned by the night shift"), &format!("key-{tasks}"))]);
        s.append(noted(&format!("note-{}", tasks % 3), 40 + rng.below(200) as usize));
        s.batch(&[go(&task, Ready), go(&task, Running)]);
        match tasks % 5 {
            // A batch over three frames.
            0 => s.batch(&[large(&task, 2600), large(&task, 2100), note(&task, "x"), large(&task, 900)]),
            1 => s.append(large(&task, 1500 + rng.below(900) as usize)),
            2 => s.batch(&[note_removed("note-1"), noted("note-2", 700)]),
            3 => s.maintain(),
            _ => {
                s.kill();
                s.open();
            }
        }
        s.append(keyed(go(&task, Completed), &format!("done-{tasks}")));
        tasks += 1;
    }
}

fn closed(s: &mut Script) {
    long_life(s);
    s.append(large("task-1", 3000));
    s.maintain();
    s.append(note("task-1", "the last word"));
    s.close();
}

/// All but one segment went; the floor has a block more than it needs for its header.
fn pruned(s: &mut Script) {
    s.open();
    for n in 0..8 {
        let task = format!("task-{n}");
        s.batch(&[create(&task), keyed(note(&task, "planned"), &format!("key-{n}")), large(&task, 1500)]);
        s.batch(&[go(&task, Ready), go(&task, Running), noted(&format!("note-{n}"), 300)]);
        s.append(go(&task, Completed));
    }
    s.append(note_removed("note-1"));
    s.prune(&everything(true));
    s.append(create("behind it"));
    s.close();
}

fn cut_off(s: &mut Script) {
    long_life(s);
    s.append(large("task-1", 3000));
    s.maintain();
    s.batch(&[note("task-1", "the last flush"), large("task-2", 1200), create("last")]);
}

impl Golden {
    /// Of what a script came to; `cut` for a power cut behind it that takes all that is not synced.
    fn of(name: &'static str, make: fn(&mut Script), cut: bool) -> Golden {
        let mut s = Script::new();
        make(&mut s);
        let want = s.journal.want(usize::MAX);
        assert_eq!(want.acked, want.items.len(), "all is acknowledged");
        let pending = s.vfs.pending(s.vfs.trace_len());
        let choice = if cut { pending.none_kept() } else { pending.all_kept() };
        // Without a trace, so that copies cost little.
        let vfs = pending.image(&choice).expect("keeping all or nothing is always possible");
        if !cut {
            vfs.set_boot_id(s.vfs.boot_id());
        }
        let truth = Truth::of(&want);
        let files: Files = vfs.files().into_iter().map(|path| (path.clone(), vfs.read_file(&path).unwrap())).collect();
        let older = older(&s.vfs.trace(), &files);
        let evidence = Evidence::of(&files);
        let golden = Golden { name, is_closed: !cut, vfs, truth, files, evidence, older };
        let segments = golden.files.iter().filter(|(path, _)| path.extension().is_some()).count();
        let bytes: usize = golden.files.iter().map(|(_, bytes)| bytes.len()).sum();
        let is_long = segments >= SEGMENTS_MIN && bytes >= BYTES_MIN;
        assert!(is_long || name == PRUNED, "{segments} segments with {bytes} bytes");
        golden
    }

    /// Closed in order, with `live` there.
    pub fn closed() -> Golden {
        Golden::of("closed", closed, false)
    }

    /// Nothing vouches for the last flush but `live`, which the power cut took.
    pub fn cut_off() -> Golden {
        Golden::of(CUT_OFF, cut_off, true)
    }

    /// With a floor in two copies; closed in order.
    pub fn pruned() -> Golden {
        let golden = Golden::of(PRUNED, pruned, false);
        let [one, two] = golden.evidence.floors[..] else { panic!("a floor has two copies") };
        assert_eq!(golden.files[one].1, golden.files[two].1, "they are the same");
        golden
    }

    pub fn all() -> [Golden; 3] {
        [Golden::closed(), Golden::cut_off(), Golden::pruned()]
    }
}

/// What each sector of each file held before, other than now.
fn older(trace: &[Op], files: &Files) -> BTreeMap<(usize, usize), Vec<Vec<u8>>> {
    let (mut names, mut contents) = (BTreeMap::<PathBuf, u64>::new(), BTreeMap::<u64, Vec<u8>>::new());
    let mut held = BTreeMap::<(u64, usize), BTreeSet<Vec<u8>>>::new();
    for op in trace {
        match op {
            Op::Create { path, file, .. } => drop(names.insert(path.to_path_buf(), *file)),
            Op::Rename { from, to, file } | Op::Replace { from, to, file, .. } => {
                names.remove(&**from);
                names.insert(to.to_path_buf(), *file);
            }
            Op::Write { file, offset, bytes } => {
                let content = contents.entry(*file).or_default();
                let end = *offset as usize + bytes.len();
                content.resize(content.len().max(end.next_multiple_of(SECTOR)), 0);
                for sector in *offset as usize / SECTOR..end.div_ceil(SECTOR) {
                    let now = content[sector * SECTOR..][..SECTOR].to_vec();
                    held.entry((*file, sector)).or_default().insert(now);
                }
                content[*offset as usize..end].copy_from_slice(bytes);
            }
            _ => {}
        }
    }
    let mut older = BTreeMap::new();
    for (n, (path, bytes)) in files.iter().enumerate() {
        let Some(file) = names.get(path) else { continue };
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let now = &bytes[sector * SECTOR..bytes.len().min((sector + 1) * SECTOR)];
            let versions = held.get(&(*file, sector)).into_iter().flatten();
            let versions: BTreeSet<Vec<u8>> = versions.map(|old| old[..now.len()].to_vec()).collect();
            let versions: Vec<_> = versions.into_iter().filter(|old| old != now).collect();
            if !versions.is_empty() {
                older.insert((n, sector), versions);
            }
        }
    }
    older
}
