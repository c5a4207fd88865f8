//! Everything that the processes of one machine share: views, trace, locks, faults, clock.
//!
//! Invariants:
//! - `live` is what `base`, the damage and the trace give when replayed: a change goes into both or neither.
//! - A copy of a world shares no state with it, and holds no lock.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::content::{Content, MAX_LEN};
use super::disk::{Disk, Entry, FileId};
use super::random::SplitMix;
use super::replay::{Damage, Replay};
use super::schedule::{Schedule, SyncFailure, Verdict};
use super::trace::{Op, SyncOutcome};
use crate::vfs::ops::Process;

/// What a power cut does not take: the clock, the numbers not given yet, the size of the disk.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) now_ms: u64,
    pub(super) random: SplitMix,
    pub(super) boot_id: [u8; 16],
    pub(super) next_file: FileId,
    pub(super) next_pid: u32,
    pub(super) capacity: Option<u64>,
}

impl Carried {
    pub(super) fn new(seed: u64) -> Self {
        let mut carried = Self {
            now_ms: 1_700_000_000_000,
            random: SplitMix::new(seed),
            boot_id: [0; 16],
            next_file: 1,
            next_pid: 1,
            capacity: None,
        };
        carried.boot();
        carried
    }

    /// The next boot id, which follows from the last one only, so that it does not shift the random stream.
    pub(super) fn boot(&mut self) {
        let mut last = [0; 8];
        for (byte, id) in last.iter_mut().zip(self.boot_id) {
            *byte = id;
        }
        SplitMix::new(u64::from_le_bytes(last)).fill(&mut self.boot_id);
    }

    pub(super) fn process(&mut self) -> Process {
        let pid = self.next_pid;
        self.next_pid += 1;
        Process { pid, start: 1000 + u64::from(pid) }
    }

    fn file(&mut self) -> FileId {
        let file = self.next_file;
        self.next_file += 1;
        file
    }
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy)]
struct Held {
    token: u64,
    by: Process,
}

#[derive(Debug)]
pub(super) struct World {
    /// What was durable before the trace.
    base: Disk,
    pub(super) live: Disk,
    trace: Vec<Op>,
    /// Each with the number of operations before it.
    damage: Vec<(usize, Damage)>,
    /// By lock file.
    locks: BTreeMap<FileId, Held>,
    next_token: u64,
    /// Errors of syncs that said `Ok`, for the next sync of the file.
    late: BTreeMap<FileId, i32>,
    pub(super) schedule: Schedule,
    pub(super) alive: Vec<Process>,
    pub(super) carried: Carried,
}

impl World {
    /// All of `disk` is durable, and nobody lives.
    pub(super) fn new(disk: Disk, carried: Carried) -> Self {
        Self {
            base: disk.clone(),
            live: disk,
            trace: Vec::new(),
            damage: Vec::new(),
            locks: BTreeMap::new(),
            next_token: 0,
            late: BTreeMap::new(),
            schedule: Schedule::default(),
            alive: Vec::new(),
            carried,
        }
    }

    /// An independent copy, without locks, as nobody has the guards that would give them back.
    pub(super) fn copy(&self) -> Self {
        Self {
            base: self.base.clone(),
            live: self.live.clone(),
            trace: self.trace.clone(),
            damage: self.damage.clone(),
            locks: BTreeMap::new(),
            next_token: self.next_token,
            late: self.late.clone(),
            schedule: self.schedule.clone(),
            alive: self.alive.clone(),
            carried: self.carried.clone(),
        }
    }

    pub(super) fn trace(&self) -> &[Op] {
        &self.trace
    }

    pub(super) fn damage(&self) -> &[(usize, Damage)] {
        &self.damage
    }

    /// The start of a replay: before the trace, and before all damage.
    pub(super) fn start(&self) -> Replay {
        Replay::new(&self.base)
    }

    /// Follows the trace up to its first `at` operations.
    pub(super) fn replay(&self, at: usize) -> Replay {
        let mut replay = self.start();
        for (before, op) in self.trace.iter().take(at).enumerate() {
            do_damage_before(before, &self.damage, &mut replay);
            replay.step(op);
        }
        do_damage_before(at, &self.damage, &mut replay);
        replay
    }

    /// Goes back to the state after the first `at` operations.
    pub(super) fn rewind(&mut self, at: usize) {
        let at = at.min(self.trace.len());
        self.live = self.replay(at).live;
        self.trace.truncate(at);
        self.damage.retain(|(before, _)| *before <= at);
    }

    pub(super) fn do_damage(&mut self, damage: Damage) {
        damage.apply(&mut self.live);
        self.damage.push((self.trace.len(), damage));
    }

    pub(super) fn put_file(&mut self, path: Arc<Path>, content: Content) -> io::Result<()> {
        match self.live.entry(&path) {
            Ok(Entry::Dir | Entry::Other) => return Err(Errno::EXIST.into()),
            Ok(Entry::File(_)) => {}
            Err(_) => self.plant_parents(&path)?,
        }
        let file = self.carried.file();
        self.do_damage(Damage::Put { path, file, content });
        Ok(())
    }

    pub(super) fn plant_parents(&mut self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        match self.live.names.get(parent) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_) | Entry::Other) => Err(Errno::NOTDIR.into()),
            None => {
                self.plant_parents(parent)?;
                self.do_damage(Damage::Plant { path: Arc::from(parent), entry: Entry::Dir });
                Ok(())
            }
        }
    }

    pub(super) fn create_dir(&mut self, path: Arc<Path>, mode: u32) -> io::Result<()> {
        self.live.vacant(&path)?;
        self.live.names_mut().insert(Arc::clone(&path), Entry::Dir);
        self.trace.push(Op::CreateDir { path, mode });
        Ok(())
    }

    pub(super) fn create(&mut self, path: Arc<Path>, mode: u32) -> io::Result<FileId> {
        self.live.vacant(&path)?;
        let file = self.carried.file();
        self.live.names_mut().insert(Arc::clone(&path), Entry::File(file));
        self.live.files_mut().insert(file, Content::default());
        self.trace.push(Op::Create { path, file, mode });
        Ok(file)
    }

    pub(super) fn rename(&mut self, from: Arc<Path>, to: Arc<Path>) -> io::Result<()> {
        let file = self.live.file(&from)?;
        self.live.vacant(&to)?;
        let names = self.live.names_mut();
        names.remove(&from);
        names.insert(Arc::clone(&to), Entry::File(file));
        self.trace.push(Op::Rename { from, to, file });
        Ok(())
    }

    pub(super) fn replace(&mut self, from: Arc<Path>, to: Arc<Path>) -> io::Result<()> {
        let (file, replaced) = (self.live.file(&from)?, self.live.file(&to)?);
        let names = self.live.names_mut();
        names.remove(&from);
        // The bytes of the one that was there stay, as those of one that was removed do.
        names.insert(Arc::clone(&to), Entry::File(file));
        self.trace.push(Op::Replace { from, to, file, replaced });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: Arc<Path>) -> io::Result<()> {
        let file = self.live.file(&path)?;
        // The bytes stay, for those who have it open and for a power cut that loses the removal.
        self.live.names_mut().remove(&path);
        self.trace.push(Op::Remove { path, file });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: Arc<Path>) -> io::Result<()> {
        self.live.dir(&path)?;
        self.trace.push(Op::SyncDir { path });
        Ok(())
    }

    /// Takes the lock and gives its token; `None` while it is held.
    pub(super) fn try_lock(&mut self, path: Arc<Path>, mode: u32, by: Process) -> io::Result<Option<(FileId, u64)>> {
        let file = match self.live.file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path, mode)?,
            Err(error) => return Err(error),
        };
        if self.locks.contains_key(&file) {
            return Ok(None);
        }
        self.next_token += 1;
        let token = self.next_token;
        self.locks.insert(file, Held { token, by });
        self.trace.push(Op::Lock { file });
        Ok(Some((file, token)))
    }

    /// Gives the lock back, where this token still holds it.
    pub(super) fn unlock(&mut self, file: FileId, token: u64) {
        if self.locks.get(&file).is_some_and(|held| held.token == token) {
            self.locks.remove(&file);
            self.trace.push(Op::Unlock { file });
        }
    }

    /// A process is dead, and holds nothing.
    pub(super) fn end(&mut self, process: Process) {
        self.alive.retain(|alive| *alive != process);
        let held: Vec<(FileId, u64)> =
            self.locks.iter().filter(|(_, held)| held.by == process).map(|(file, held)| (*file, held.token)).collect();
        for (file, token) in held {
            self.unlock(file, token);
        }
    }

    pub(super) fn write(&mut self, file: FileId, offset: u64, buf: &[u8], verdict: Verdict) -> io::Result<usize> {
        let (most, failure) = match verdict {
            Verdict::Short(bytes) => (bytes, None),
            Verdict::ErrorAfter(bytes, errno) => (bytes, Some(errno)),
            Verdict::Go | Verdict::Late(_) | Verdict::Sync(..) => (usize::MAX, None),
        };
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > MAX_LEN) {
            return Err(Errno::FBIG.into());
        }
        let room = self.room(file, offset);
        let count = buf.len().min(most).min(room);
        if room == 0 && !buf.is_empty() && most != 0 {
            return Err(Errno::NOSPC.into());
        }
        if let Some(bytes) = buf.get(..count).filter(|bytes| !bytes.is_empty()) {
            if let Some(content) = self.live.files_mut().get_mut(&file) {
                content.write(offset, bytes);
            }
            self.trace.push(Op::Write { file, offset, bytes: Arc::from(bytes) });
        }
        match failure {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(count),
        }
    }

    /// How many bytes a write at `offset` may have before the disk is full.
    fn room(&self, file: FileId, offset: u64) -> usize {
        let Some(capacity) = self.carried.capacity else {
            return usize::MAX;
        };
        let free = capacity.saturating_sub(self.live.used());
        let len = self.live.files.get(&file).map_or(0, Content::len);
        usize::try_from((len + free).saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    pub(super) fn sync_data(&mut self, file: FileId, verdict: Verdict) -> io::Result<()> {
        if let Some(errno) = self.late.remove(&file) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let (outcome, result) = match verdict {
            Verdict::Sync(SyncFailure::LiveNewDiskOld, errno) => {
                (SyncOutcome::Lost, Err(io::Error::from_raw_os_error(errno)))
            }
            Verdict::Sync(SyncFailure::LiveOldDiskOld, errno) => {
                (SyncOutcome::Reverted, Err(io::Error::from_raw_os_error(errno)))
            }
            Verdict::Sync(SyncFailure::ReportedLate, errno) => {
                self.late.insert(file, errno);
                (SyncOutcome::Lost, Ok(()))
            }
            _ => (SyncOutcome::Durable, Ok(())),
        };
        self.trace.push(Op::SyncData { file, outcome });
        if outcome == SyncOutcome::Reverted {
            // What is on disk follows from the whole trace only.
            self.live = self.replay(self.trace.len()).live;
        }
        result
    }
}

/// Does the damage that was done when there were `at` operations.
pub(super) fn do_damage_before(at: usize, damage: &[(usize, Damage)], replay: &mut Replay) {
    for (before, damage) in damage {
        if *before == at {
            replay.damage(damage);
        }
    }
}

/// A panic of another thread does not make the state wrong: each change is made whole.
pub(super) fn enter(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
