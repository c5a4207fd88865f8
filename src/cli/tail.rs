//! The last bytes of what a command prints. Pure; memory holds no more than was asked for.

use std::collections::VecDeque;

use taskledger::limits;

/// The most that is kept of an output, in bytes.
pub(crate) const CAPTURE_MAX: usize = 1 << 20;

/// Each byte may be one that takes six in JSON, and some room is for the fields beside it.
const _: () = assert!(CAPTURE_MAX * 6 + 4096 <= limits::OUTPUT_BYTES_MAX);

/// The last bytes of all that was pushed.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: usize,
    kept: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Tail {
        Tail { limit, kept: VecDeque::new(), cut: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let last = bytes.get(bytes.len().saturating_sub(self.limit)..).unwrap_or_default();
        let over = (self.kept.len() + last.len()).saturating_sub(self.limit);
        self.cut |= over > 0 || last.len() < bytes.len();
        self.kept.drain(..over);
        self.kept.extend(last);
    }

    /// Whether something that was pushed is no longer there.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// What is kept, as text: bytes that are no UTF-8 are replaced, and a character that was cut is left out.
    pub(crate) fn text(&self) -> String {
        let mut bytes: Vec<u8> = self.kept.iter().copied().collect();
        if self.cut {
            let rest_of_one = bytes.iter().take(3).take_while(|&&byte| byte & 0xC0 == 0x80).count();
            bytes.drain(..rest_of_one);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// However it is cut into pieces, it is the end of the whole.
        #[test]
        fn what_is_kept_is_the_end_of_all(
            limit in 0_usize..20,
            pieces in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..12), 0..12),
        ) {
            let mut tail = Tail::new(limit);
            for piece in &pieces {
                tail.push(piece);
                assert!(tail.kept.len() <= limit);
            }
            let all = pieces.concat();
            let end = &all[all.len().saturating_sub(limit)..];
            assert_eq!(tail.kept.iter().copied().collect::<Vec<u8>>(), end);
            assert_eq!(tail.is_cut(), all.len() > limit);
        }
    }

    #[test]
    fn a_character_that_was_cut_is_left_out_and_what_is_none_is_replaced() {
        let text = |limit, bytes: &[u8]| {
            let mut tail = Tail::new(limit);
            tail.push(bytes);
            tail.text()
        };
        let euro = "a€b".as_bytes();
        assert_eq!([5, 4, 3, 2, 1].map(|limit| text(limit, euro)), ["a€b", "€b", "b", "b", "b"]);
        assert_eq!(text(9, b"\x80a\xffb"), "\u{fffd}a\u{fffd}b", "nothing was cut, so nothing is left out");
        assert_eq!(text(3, b"x\x80\x80\x80"), "");
    }
}
