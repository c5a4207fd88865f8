//! The bodies of frames. The only folder that knows bincode; everything around a body is laid by hand.

mod bodies;

pub mod columns;

pub mod walk;

pub mod decode;

pub mod fact;

pub mod slot;

#[cfg(test)]
mod tests;
