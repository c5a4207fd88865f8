//! `Home`: where a ledger is, and how its tables are looked at.

use std::path::PathBuf;
use std::sync::Arc;

use crate::storage::identity::Identity;
use crate::vfs::ops::Vfs;

/// Where a ledger is, and how its tables are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub vfs: Arc<dyn Vfs>,
    pub dir: PathBuf,
    pub identity: Identity,
    pub mmap: bool,
}
