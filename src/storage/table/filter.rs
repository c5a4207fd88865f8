//! Filters: whether an index may know a task or note, without a look at its blocks.
//!
//! A Bloom filter in lines of 64 bytes (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters",
//! 2007): each hash chooses a line and seven bits of it. With two bytes a record, about one in 500 that is not there passes.

/// Size of a line, in bytes.
pub(crate) const LINE_BYTES: usize = 64;
/// Bits that a hash sets in its line, of nine bits of the product each.
const BITS: u32 = 7;

/// Size of the filter of so many records, in bytes.
pub(crate) fn filter_bytes(records: u64) -> u64 {
    records.saturating_mul(2).div_ceil(LINE_BYTES as u64).saturating_mul(LINE_BYTES as u64)
}

/// The filter of these hashes.
pub(crate) fn filter_of(hashes: &[u64]) -> Vec<u8> {
    let mut filter = vec![0; filter_bytes(hashes.len() as u64) as usize];
    for hash in hashes {
        for (byte, mask) in bits(filter.len(), *hash) {
            if let Some(byte) = filter.get_mut(byte) {
                *byte |= mask;
            }
        }
    }
    filter
}

/// Whether a record with this hash may be there.
pub(crate) fn may_hold(filter: &[u8], hash: u64) -> bool {
    !filter.is_empty() && bits(filter.len(), hash).all(|(at, mask)| filter.get(at).is_some_and(|byte| byte & mask != 0))
}

/// The bytes and bits that a hash sets.
fn bits(filter: usize, hash: u64) -> impl Iterator<Item = (usize, u8)> {
    // The high bits, in which the hashes of one table differ, choose the line.
    let line = ((u128::from(hash) * (filter / LINE_BYTES) as u128) >> 64) as usize * LINE_BYTES;
    // The multiplier is that of Fibonacci hashing (Knuth, TAOCP 6.4): the low bits of the product are spread anew.
    let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BITS).map(move |n| {
        let bit = (spread >> (9 * n)) as usize % (8 * LINE_BYTES);
        (line + bit / 8, 1 << (bit % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_passes_and_little_else_does() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        assert!(!may_hold(&filter_of(&[]), 1), "an empty one holds nothing");
        let hashes: Vec<u64> = (0..if cfg!(miri) { 100 } else { 20_000 }).map(|_| next()).collect();
        let filter = filter_of(&hashes);
        assert!(hashes.iter().all(|hash| may_hold(&filter, *hash)));
        let asked = if cfg!(miri) { 500 } else { 100_000 };
        let passed = (0..asked).filter(|_| may_hold(&filter, next())).count();
        assert!(passed <= asked / 100, "{passed} of {asked} pass that are not there");
    }
}
