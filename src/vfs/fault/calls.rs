//! The calls that a process makes: the two traits, over the shared world.
//!
//! Invariants:
//! - Every call that can fail goes through [`call`], so it is counted and may be made to fail.
//! - Nothing that enters the world when it is dropped is dropped inside it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::content::Content;
use super::disk::{Entry, FileId, absolute};
use super::mem::MemVfs;
use super::schedule::{CallKind, Verdict};
use super::world::{World, enter};
use crate::vfs::ops::{Access, DirEntry, Kind, Lock, Process, Vfs, VfsFile};

/// Counts a call, lets the schedule decide about it, and does it.
fn call<T>(
    world: &Mutex<World>,
    kind: CallKind,
    work: impl FnOnce(&mut World, Verdict) -> io::Result<T>,
) -> io::Result<T> {
    let mut entered = enter(world);
    let verdict = entered.schedule.begin(kind)?;
    let result = work(&mut entered, verdict);
    // What the call made may have to enter again when it is dropped.
    drop(entered);
    match verdict {
        Verdict::Late(errno) => {
            result?;
            Err(io::Error::from_raw_os_error(errno))
        }
        _ => result,
    }
}

impl MemVfs {
    fn handle(&self, file: FileId, access: Access) -> Arc<dyn VfsFile> {
        Arc::new(MemFile { world: Arc::clone(&self.world), file, access })
    }
}

impl Vfs for MemVfs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        // There is no working directory: relative paths start at the root.
        Ok(path.to_owned())
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        call(&self.world, CallKind::CreateDir, |world, _| world.create_dir(absolute(path)?, mode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        call(&self.world, CallKind::List, |world, _| {
            let dir = absolute(dir)?;
            world.live.dir(&dir)?;
            let entries = world.live.children(&dir).filter_map(|(path, entry)| {
                Some(DirEntry {
                    name: path.file_name()?.to_owned(),
                    kind: match entry {
                        Entry::Dir => Kind::Dir,
                        Entry::File(_) => Kind::File,
                        Entry::Other => Kind::Other,
                    },
                })
            });
            Ok(entries.collect())
        })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let file = call(&self.world, CallKind::Open, |world, _| world.live.file(&absolute(path)?))?;
        Ok(self.handle(file, access))
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn VfsFile>> {
        let file = call(&self.world, CallKind::Create, |world, _| world.create(absolute(path)?, mode))?;
        Ok(self.handle(file, Access::ReadWrite))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        call(&self.world, CallKind::Rename, |world, _| world.rename(absolute(from)?, absolute(to)?))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        call(&self.world, CallKind::Rename, |world, _| world.replace(absolute(from)?, absolute(to)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        call(&self.world, CallKind::Remove, |world, _| world.remove(absolute(path)?))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        call(&self.world, CallKind::SyncDir, |world, _| world.sync_dir(absolute(dir)?))
    }

    fn try_lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Lock>>> {
        let lock = call(&self.world, CallKind::Lock, |world, _| {
            let taken = world.try_lock(absolute(path)?, mode, self.process)?;
            Ok(taken.map(|(file, token)| MemLock { world: Arc::clone(&self.world), file, token }))
        })?;
        Ok(lock.map(|lock| -> Box<dyn Lock> { Box::new(lock) }))
    }

    fn now_ms(&self) -> u64 {
        enter(&self.world).carried.now_ms
    }

    fn boot_id(&self) -> [u8; 16] {
        enter(&self.world).carried.boot_id
    }

    fn process(&self) -> Process {
        self.process
    }

    fn is_alive(&self, process: Process) -> bool {
        enter(&self.world).alive.contains(&process)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        call(&self.world, CallKind::Random, |world, _| {
            world.carried.random.fill(bytes);
            Ok(())
        })
    }
}

/// An open file. It stays with the world in which it was opened.
struct MemFile {
    world: Arc<Mutex<World>>,
    file: FileId,
    access: Access,
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFile").field("file", &self.file).field("access", &self.access).finish_non_exhaustive()
    }
}

impl VfsFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        call(&self.world, CallKind::Len, |world, _| Ok(world.live.files.get(&self.file).map_or(0, Content::len)))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        call(&self.world, CallKind::Read, |world, verdict| {
            let most = match verdict {
                Verdict::Short(bytes) => bytes.min(buf.len()),
                _ => buf.len(),
            };
            let buf = buf.get_mut(..most).unwrap_or_default();
            let content = world.live.files.get(&self.file);
            Ok(content.map_or(0, |content| content.read(offset, buf)))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        call(&self.world, CallKind::Write, |world, verdict| {
            if self.access == Access::Read {
                return Err(Errno::BADF.into());
            }
            world.write(self.file, offset, buf, verdict)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        call(&self.world, CallKind::SyncData, |world, verdict| world.sync_data(self.file, verdict))
    }

    fn inode(&self) -> io::Result<u64> {
        call(&self.world, CallKind::Inode, |_, _| Ok(self.file))
    }
}

/// A lock that is held.
struct MemLock {
    world: Arc<Mutex<World>>,
    file: FileId,
    token: u64,
}

impl Lock for MemLock {}

impl fmt::Debug for MemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemLock").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        enter(&self.world).unlock(self.file, self.token);
    }
}
