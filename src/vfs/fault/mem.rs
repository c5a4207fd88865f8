//! The handle of the file system, with what a test asks and sets.
//!
//! Invariants:
//! - Nothing here is a call of the traits: it is not counted, never fails on schedule and is not traced.
//! - A handle made from another shares its world (`spawn`, `with_process`) or nothing (`fork`, `kill`, an image).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::content::{Content, MAX_LEN};
use super::disk::{Disk, Entry, absolute};
use super::replay::Damage;
use super::schedule::{CallKind, Fault, Schedule};
use super::trace::Op;
use super::world::{Carried, World, enter};
use crate::vfs::ops::Process;

/// A file system in memory, as one process of one machine sees it.
///
/// Clones are handles on the same file system and the same process. Relative paths start at the root, which is
/// there from the beginning; `..` is resolved by name alone.
///
/// ```
/// use std::path::Path;
/// use taskledger::vfs::fault::{Limits, MemVfs};
/// use taskledger::vfs::ops::Vfs;
///
/// let vfs = MemVfs::new();
/// let file = vfs.create(Path::new("/log"), 0o600)?;
/// vfs.sync_dir(Path::new("/"))?;
/// file.write_at(b"hello", 0)?;
///
/// // The power fails now: the length and the sector may each be kept or lost.
/// let mut found = Vec::new();
/// let at = vfs.trace_len();
/// vfs.crash_states(at, &Limits { tear: false, ..Limits::default() }, &mut |after, _choice| {
///     found.push(after.read_file(Path::new("/log")).unwrap_or_default());
/// });
/// assert_eq!(found, [b"".to_vec(), vec![0; 5], b"hello".to_vec()]);
///
/// // After a sync nothing is left to chance.
/// file.sync_data()?;
/// assert!(vfs.pending(vfs.trace_len()).is_certain());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct MemVfs {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) process: Process,
}

impl fmt::Debug for MemVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("MemVfs")
            .field("files", &world.live.named_files().count())
            .field("trace_len", &world.trace().len())
            .field("calls", &world.schedule.calls().len())
            .field("process", &self.process)
            .finish()
    }
}

impl Default for MemVfs {
    fn default() -> Self {
        Self::new()
    }
}

/// Making one, and further processes and copies of it.
impl MemVfs {
    /// An empty file system of unlimited size, with seed 0.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// The same, with another stream of random bytes and other boot ids.
    pub fn with_seed(seed: u64) -> Self {
        Self::start(Disk::new(), Carried::new(seed))
    }

    fn start(disk: Disk, mut carried: Carried) -> Self {
        let process = carried.process();
        let mut world = World::new(disk, carried);
        world.alive.push(process);
        Self { world: Arc::new(Mutex::new(world)), process }
    }

    pub(super) fn after_power_cut(disk: Disk, carried: &Carried) -> Self {
        let mut carried = carried.clone();
        carried.boot();
        Self::start(disk, carried)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        enter(&self.world)
    }

    /// Another process on the same file system, at the same time.
    #[must_use]
    pub fn spawn(&self) -> Self {
        let process = self.world().carried.process();
        self.with_process(process)
    }

    /// A handle on the same file system as this process, which then lives.
    #[must_use]
    pub fn with_process(&self, process: Process) -> Self {
        let mut world = self.world();
        if !world.alive.contains(&process) {
            world.alive.push(process);
        }
        Self { world: Arc::clone(&self.world), process }
    }

    /// This process is dead from now on for [`is_alive`](crate::vfs::ops::Vfs::is_alive), and its locks are free.
    /// Its handles stay usable.
    pub fn process_dies(&self) {
        self.world().end(self.process);
    }

    /// An independent copy of everything but the locks, which are free in it. Open files stay with the original.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { world: Arc::new(Mutex::new(self.world().copy())), process: self.process }
    }

    /// What the next process finds after this one was killed, as an independent copy.
    ///
    /// All that was written is there, in the same boot. What was not synced stays undecided: the trace goes on,
    /// so a later power cut may still take it. No lock is held, counting of calls starts anew, and no fault is
    /// scheduled.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.kill_world(self.world().copy())
    }

    /// As [`MemVfs::kill`], with the process killed after the first `at` operations of the trace.
    #[must_use]
    pub fn kill_at(&self, at: usize) -> Self {
        let mut world = self.world().copy();
        world.rewind(at);
        self.kill_world(world)
    }

    fn kill_world(&self, mut world: World) -> Self {
        world.schedule = Schedule::default();
        world.end(self.process);
        let process = world.carried.process();
        world.alive.push(process);
        Self { world: Arc::new(Mutex::new(world)), process }
    }
}

/// The trace, and what can be seen.
impl MemVfs {
    /// Every operation so far, in order.
    pub fn trace(&self) -> Vec<Op> {
        self.world().trace().to_vec()
    }

    /// How many operations there were so far.
    pub fn trace_len(&self) -> usize {
        self.world().trace().len()
    }

    /// A number that tells what can be seen (names, kinds and bytes) from all else. Inodes and clocks do not
    /// count. It is the same in every run.
    pub fn fingerprint(&self) -> u128 {
        self.world().live.fingerprint()
    }
}

/// Faults, and the clock.
impl MemVfs {
    /// How many calls there were so far, of all kinds, by all processes.
    pub fn calls(&self) -> usize {
        self.world().schedule.calls().len()
    }

    /// The kinds of these calls, in order.
    pub fn call_kinds(&self) -> Vec<CallKind> {
        self.world().schedule.calls().to_vec()
    }

    /// The first call from number `call` on (from 0, as [`MemVfs::calls`] counts) that has the kind of the fault
    /// fails, and where it is sticky, all later ones. Of several faults that fit, the one added first counts.
    pub fn fail_at(&self, call: usize, fault: Fault) {
        self.world().schedule.add(call, fault);
    }

    /// Nothing that was scheduled fails any more.
    pub fn clear_faults(&self) {
        self.world().schedule.clear();
    }

    /// How many bytes all named files together may have; no limit where `None`. A write that does not fit takes
    /// what does, and one that finds no room at all fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().carried.capacity = bytes;
    }

    /// The wall clock, in milliseconds since the Unix epoch. It stands still between calls of this.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.world().carried.now_ms = now_ms;
    }

    /// Moves the wall clock on by so many milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        let carried = &mut self.world().carried;
        carried.now_ms = carried.now_ms.saturating_add(ms);
    }

    /// Another boot id.
    pub fn set_boot_id(&self, boot_id: [u8; 16]) {
        self.world().carried.boot_id = boot_id;
    }
}

/// Looking at the files from outside, and damaging them. What is changed here is changed for the live view and on
/// disk at once, and leaves nothing undecided about that file or path.
impl MemVfs {
    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let world = self.world();
        let paths = world.live.named_files().map(|(path, _)| path.to_path_buf());
        paths.collect()
    }

    /// The bytes of a file, as can be seen now.
    ///
    /// # Errors
    /// As [`open`](crate::vfs::ops::Vfs::open).
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world();
        let file = world.live.file(&absolute(path)?)?;
        Ok(world.live.content(file).to_vec())
    }

    /// Puts a file in place, in directories that are made where they are missing. It gets a new inode.
    ///
    /// # Errors
    /// `AlreadyExists` where the path is no file; `NotADirectory` where a parent is a file.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > MAX_LEN {
            return Err(Errno::FBIG.into());
        }
        self.world().put_file(absolute(path)?, Content::from_bytes(bytes))
    }

    /// Puts something in place that is neither a file nor a directory.
    ///
    /// # Errors
    /// As [`create`](crate::vfs::ops::Vfs::create).
    pub fn plant_other(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path)?;
        let mut world = self.world();
        world.live.vacant(&path)?;
        let entry = Entry::Other;
        world.do_damage(Damage::Plant { path, entry });
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As [`remove`](crate::vfs::ops::Vfs::remove).
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path)?;
        let mut world = self.world();
        world.live.file(&path)?;
        world.do_damage(Damage::Remove { path });
        Ok(())
    }

    /// Flips one bit of a file. Bit 0 is the lowest one of the first byte.
    ///
    /// # Errors
    /// As [`open`](crate::vfs::ops::Vfs::open); `InvalidInput` where the file is not as long.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.edit(path, |content| {
            let mut byte = [0];
            if content.read(bit / 8, &mut byte) == 0 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flipped = byte.map(|byte| byte ^ (1 << (bit % 8)));
            content.write(bit / 8, &flipped);
            Ok(())
        })
    }

    /// Cuts a file to so many bytes, or lets it grow by zeros.
    ///
    /// # Errors
    /// As [`open`](crate::vfs::ops::Vfs::open); `EFBIG` above 4 GiB.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.edit(path, |content| {
            if len > MAX_LEN {
                return Err(Errno::FBIG.into());
            }
            content.set_len(len);
            Ok(())
        })
    }

    /// Overwrites bytes of a file from byte `offset` on, growing it where needed.
    ///
    /// # Errors
    /// As [`open`](crate::vfs::ops::Vfs::open); `EFBIG` above 4 GiB.
    pub fn write_bytes(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.edit(path, |content| {
            let end = offset.checked_add(bytes.len() as u64);
            if end.is_none_or(|end| end > MAX_LEN) {
                return Err(Errno::FBIG.into());
            }
            content.write(offset, bytes);
            Ok(())
        })
    }

    fn edit(&self, path: &Path, change: impl FnOnce(&mut Content) -> io::Result<()>) -> io::Result<()> {
        let path = absolute(path)?;
        let mut world = self.world();
        let file = world.live.file(&path)?;
        let mut content = world.live.content(file);
        change(&mut content)?;
        world.do_damage(Damage::Put { path, file, content });
        Ok(())
    }
}
