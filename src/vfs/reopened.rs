//! A file that is open only while it is read, so that any number of them can be at hand.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::vfs::ops::{Access, Vfs, VfsFile};

/// A file by its path, for reading.
#[derive(Debug)]
pub(crate) struct Reopened {
    pub vfs: Arc<dyn Vfs>,
    pub path: PathBuf,
}

impl Reopened {
    fn open(&self) -> io::Result<Arc<dyn VfsFile>> {
        self.vfs.open(&self.path, Access::Read)
    }
}

impl VfsFile for Reopened {
    fn len(&self) -> io::Result<u64> {
        self.open()?.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.open()?.read_at(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn inode(&self) -> io::Result<u64> {
        self.open()?.inode()
    }
}
