//! The only place that prints or parses a file name.
//!
//! Names are canonical: what [`parse_segment`] takes is what [`segment`] prints, to the letter. Nothing that a caller
//! stores ever becomes a part of a path.

use std::path::{Path, PathBuf};

use crate::model::seq::Seq;

const LOG_DIR: &str = "log";
const NUMBER_DIGITS: usize = 10;
const SEQ_DIGITS: usize = 20;
const SEGMENT_SUFFIX: &str = ".log";
const INDEX_DIR: &str = "idx";
const INDEX_SUFFIX: &str = ".idx";
const SNAPSHOT_DIR: &str = "snap";
const SNAPSHOT_SUFFIX: &str = ".snap";
const FLOOR_DIR: &str = "floor";
const UNFINISHED_SUFFIX: &str = ".tmp";

/// The identity of the ledger, published last at creation.
pub(crate) fn ledger(dir: &Path) -> PathBuf {
    dir.join("LEDGER")
}

/// The identity while it is being written.
pub(crate) fn ledger_unfinished(dir: &Path) -> PathBuf {
    dir.join("LEDGER.tmp")
}

/// The writer's lock.
pub(crate) fn lock(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// The advisory page with the durable seq.
pub(crate) fn live(dir: &Path) -> PathBuf {
    dir.join("live")
}

/// The directory of the segments.
pub(crate) fn log_dir(dir: &Path) -> PathBuf {
    dir.join(LOG_DIR)
}

/// A segment that is being prepared.
pub(crate) fn spare(dir: &Path) -> PathBuf {
    dir.join(LOG_DIR).join("spare.tmp")
}

/// A segment.
pub(crate) fn segment(dir: &Path, number: u64, base: Seq) -> PathBuf {
    dir.join(LOG_DIR).join(format!("{number:0NUMBER_DIGITS$}-{:0SEQ_DIGITS$}{SEGMENT_SUFFIX}", base.0))
}

/// The directory of the indexes.
pub(crate) fn index_dir(dir: &Path) -> PathBuf {
    dir.join(INDEX_DIR)
}

/// The index of a segment.
pub(crate) fn index(dir: &Path, number: u64, base: Seq) -> PathBuf {
    dir.join(INDEX_DIR).join(format!("{number:0NUMBER_DIGITS$}-{:0SEQ_DIGITS$}{INDEX_SUFFIX}", base.0))
}

/// The directory of the snapshots.
pub(crate) fn snapshot_dir(dir: &Path) -> PathBuf {
    dir.join(SNAPSHOT_DIR)
}

/// The snapshot after a seq.
pub(crate) fn snapshot(dir: &Path, last: Seq) -> PathBuf {
    dir.join(SNAPSHOT_DIR).join(format!("{:0SEQ_DIGITS$}{SNAPSHOT_SUFFIX}", last.0))
}

/// The directory of the floors, where something was pruned.
pub(crate) fn floor_dir(dir: &Path) -> PathBuf {
    dir.join(FLOOR_DIR)
}

/// A copy, 1 or 2, of the floor after a seq.
pub(crate) fn floor(dir: &Path, last: Seq, copy: u8) -> PathBuf {
    dir.join(FLOOR_DIR).join(format!("{:0SEQ_DIGITS$}-{copy}{SNAPSHOT_SUFFIX}", last.0))
}

/// A table that is being written, beside where it is published.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    PathBuf::from(name)
}

/// Number and base seq of a segment, from its file name.
pub(crate) fn parse_segment(name: &str) -> Option<(u64, Seq)> {
    let (number, base) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
    Some((digits(number, NUMBER_DIGITS)?, Seq(digits(base, SEQ_DIGITS)?)))
}

/// Number and base seq of the segment of an index, from its file name.
pub(crate) fn parse_index(name: &str) -> Option<(u64, Seq)> {
    let (number, base) = name.strip_suffix(INDEX_SUFFIX)?.split_once('-')?;
    Some((digits(number, NUMBER_DIGITS)?, Seq(digits(base, SEQ_DIGITS)?)))
}

/// The last seq that a snapshot covers, from its file name.
pub(crate) fn parse_snapshot(name: &str) -> Option<Seq> {
    digits(name.strip_suffix(SNAPSHOT_SUFFIX)?, SEQ_DIGITS).map(Seq)
}

/// The last seq that a floor covers, and which copy it is, from its file name.
pub(crate) fn parse_floor(name: &str) -> Option<(Seq, u8)> {
    let (last, copy) = name.strip_suffix(SNAPSHOT_SUFFIX)?.split_once('-')?;
    let copy = digits(copy, 1).and_then(|copy| u8::try_from(copy).ok()).filter(|copy| matches!(copy, 1 | 2))?;
    Some((Seq(digits(last, SEQ_DIGITS)?), copy))
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let canonical = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| canonical)
}

/// Whether a name is that of something unfinished, which the next writer removes.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_segments() {
        let path = segment(Path::new("d"), 7, Seq(123));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert_eq!(name, "0000000007-00000000000000000123.log");
        assert_eq!(parse_segment(name), Some((7, Seq(123))));
        for stray in [
            "7-123.log",
            "0000000007-00000000000000000123.LOG",
            "+000000007-00000000000000000123.log",
            "0000000007-00000000000000000123.log.tmp",
            "0000000007-99999999999999999999.log",
        ] {
            assert_eq!(parse_segment(stray), None, "{stray}");
        }
    }

    #[test]
    fn a_floor_has_two_copies() {
        for copy in [1, 2] {
            let path = floor(Path::new("d"), Seq(123), copy);
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            assert_eq!(parse_floor(name), Some((Seq(123), copy)), "{name}");
            assert_eq!(parse_snapshot(name), None, "{name}");
        }
        for stray in
            ["00000000000000000123-3.snap", "00000000000000000123-0.snap", "00000000000000000123.snap", "1-1.snap"]
        {
            assert_eq!(parse_floor(stray), None, "{stray}");
        }
    }
}
