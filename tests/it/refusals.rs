//! The table of bad input: facts that the rules forbid, values beyond their limits, places that are no ledger, files
//! that are no files, and a system that refuses.
//!
//! Each case is asked for through the library and through the program. Of both the code is checked, what they name,
//! and what they say to do next; of the program also its exit code, and that both forms say the same. Around each
//! refusal all bytes of `LEDGER` and `log/` are compared: a refusal writes none.
//!
//! What needs mounts or another user runs in a process of its own (`machine`): nothing stays mounted behind it.
#![cfg(feature = "cli")]

pub mod files;
pub mod machine;
mod program;
pub mod site;

mod batches;
mod expectations;
mod formats;
mod full;
mod interrupts;
mod keys;
mod kinds;
mod limits;
mod lines;
mod modes;
mod moves;
mod names;
mod notes;
mod pipes;
mod places;
mod readonly;
mod rights;
mod swaps;
mod times;
mod unborn;
mod writers;
