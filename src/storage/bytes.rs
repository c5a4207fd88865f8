//! Fixed layouts: numbers at an offset of a page, little-endian, and the checksum of a page.

/// CRC-32 of `bytes[from..]`.
pub(crate) fn crc32(bytes: &[u8], from: usize) -> u32 {
    crc32fast::hash(bytes.get(from..).unwrap_or_default())
}

/// Writes `bytes` into a page at an offset that the layout guarantees to fit.
pub(crate) fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    page.get_mut(offset..offset + bytes.len()).expect("the layout fits its page").copy_from_slice(bytes);
}

/// Reads `N` bytes of a page at an offset that the layout guarantees to fit.
pub(crate) fn get_array<const N: usize>(page: &[u8], offset: usize) -> [u8; N] {
    page.get(offset..).and_then(|rest| rest.first_chunk()).copied().expect("the layout fits its page")
}

pub(crate) fn get_u16(page: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(get_array(page, offset))
}

pub(crate) fn get_u32(page: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(get_array(page, offset))
}

pub(crate) fn get_u64(page: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(get_array(page, offset))
}
