//! The bytes on disk: golden ones that the code must still write and read, a second reader in Python that knows only
//! the page docs/format.md, a second codec for the bodies, and bytes that no writer writes.

mod bounds;
pub mod bytes;
mod codec;
mod golden;
mod hostile;
mod listing;
mod mended;
pub mod mutated;
mod offsets;
mod pruned;
mod second;
