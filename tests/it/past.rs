//! The past of single tasks and notes, of histories in pages, and of what differs between two moments: against the questions
//! that answer the same at length, and against the reference model.

mod diff;
mod kept;
mod one;
mod pages;
mod world;
