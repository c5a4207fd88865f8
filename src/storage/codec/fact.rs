//! The bodies of local facts: frames about this copy's files, without a seq.

use bincode::{Decode, Encode};

use crate::storage::codec::bodies;
use crate::vfs::ops::Process;

/// The body of an open frame: which process of which boot began to write.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct OpenFact {
    boot_id: [u8; 16],
    pid: u32,
    started: u64,
}

impl OpenFact {
    pub(crate) fn new(boot_id: [u8; 16], process: Process) -> OpenFact {
        OpenFact { boot_id, pid: process.pid, started: process.start }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        bodies::encode(self)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<OpenFact, String> {
        bodies::decode(bytes)
    }
}
