//! bincode as this crate uses it: version 2 of the crate, its standard configuration, always with a limit.
//!
//! A limit that is constant cannot follow the size of a body, so there are two: a body of the usual size may claim
//! what its densest content can expand to, a larger one holds a large text and expands little.

use bincode::config::{self, Config};
use bincode::{BorrowDecode, Encode};

use crate::model::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET};

const SMALL_BODY: usize = 2 * FRAME_BYTES_TARGET;
/// An empty text takes one byte on disk and 24 in memory where it is copied; nothing expands more.
const SMALL_LIMIT: usize = 32 * SMALL_BODY;
const LARGE_LIMIT: usize = 2 * FRAME_BYTES_MAX;

/// The bytes of a body.
pub(super) fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_to(value, &mut bytes);
    bytes
}

/// Adds the bytes of a body to others.
pub(super) fn encode_to<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, bytes, config::standard())
        .expect("columns of numbers and texts always encode, and memory takes them");
}

/// Decodes a body, all of it; what borrows is not copied.
///
/// # Errors
/// What the decoder says, or that bytes are left over.
pub(super) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, String> {
    if bytes.len() <= SMALL_BODY {
        decode_with(bytes, config::standard().with_limit::<SMALL_LIMIT>())
    } else {
        decode_with(bytes, config::standard().with_limit::<LARGE_LIMIT>())
    }
}

fn decode_with<'a, T: BorrowDecode<'a, ()>, C: Config>(bytes: &'a [u8], config: C) -> Result<T, String> {
    let (value, read) = bincode::borrow_decode_from_slice(bytes, config).map_err(|error| error.to_string())?;
    if read != bytes.len() {
        return Err(format!("{} bytes are left over", bytes.len() - read));
    }
    Ok(value)
}
