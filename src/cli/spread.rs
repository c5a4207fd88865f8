//! How times are spread, in memory that does not grow with their number.
//!
//! A time is counted in a bucket that is at most a 64th of it wide; below 128 ms each has its own. A percentile is the
//! upper edge of its bucket, so that it is never too low and less than 1.6 % too high. The greatest is exact.

use std::collections::BTreeMap;

/// Each power of two is parted into so many buckets, as a power of two.
const PARTS: u32 = 6;

/// Times in milliseconds, counted.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    buckets: BTreeMap<u64, u64>,
    pub count: u64,
    pub max: u64,
}

impl Spread {
    pub(crate) fn add(&mut self, millis: u64) {
        *self.buckets.entry(upper_edge(millis)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(millis);
    }

    /// The least time that so many of a hundred do not exceed; 0 where there are none.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut below = 0;
        for (&edge, &number) in &self.buckets {
            below += u128::from(number);
            if below >= rank {
                return edge.min(self.max);
            }
        }
        self.max
    }
}

/// The greatest time that is counted together with this one.
fn upper_edge(millis: u64) -> u64 {
    let spare = (u64::BITS - millis.leading_zeros()).saturating_sub(PARTS + 1);
    millis | ((1 << spare) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_too_low_and_hardly_too_high() {
        for factor in [1, 3, 1_000, 86_400_000, u64::MAX / 1000] {
            let mut spread = Spread::default();
            let times: Vec<u64> = (0..1000).map(|n| n * factor).collect();
            times.iter().for_each(|&time| spread.add(time));
            for percent in [1, 50, 90, 99, 100] {
                let (exact, told) = (times[percent as usize * 10 - 1], spread.percentile(percent));
                assert!(told >= exact && told - exact <= exact / 64, "p{percent} of {factor}: {told} for {exact}");
            }
            assert_eq!((spread.count, spread.max), (1000, 999 * factor));
        }
        assert_eq!(Spread::default().percentile(50), 0);
        assert_eq!((upper_edge(0), upper_edge(127), upper_edge(128), upper_edge(u64::MAX)), (0, 127, 129, u64::MAX));
    }
}
