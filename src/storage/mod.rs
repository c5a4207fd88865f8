//! Bytes and files: how entries are kept, found again and told apart from damage. Promises are made one layer up.

pub mod names;

pub mod bytes;

pub mod identity;

pub mod segment;

pub mod live;

pub mod frame;

pub mod codec;

pub mod table;

pub mod buffer;

pub mod floors;

pub mod scan;

pub mod decoder;

pub mod log;

pub mod cursor;

pub mod ahead;
