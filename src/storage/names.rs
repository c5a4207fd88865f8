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

/// Number and base seq of a segment, from its file name.
pub(crate) fn parse_segment(name: &str) -> Option<(u64, Seq)> {
    let (number, base) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(number, NUMBER_DIGITS) || !digits(base, SEQ_DIGITS) {
        return None;
    }
    Some((number.parse().ok()?, Seq(base.parse().ok()?)))
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
}
