//! Any bytes as the body of one frame of the golden ledger, under right checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taskledger_fuzz::bytes::{alone, frames, segment_name};
use taskledger_fuzz::{golden, judge};

fuzz_target!(|input: (u8, u16, Vec<u8>)| {
    let (frame, events, body) = input;
    let files = golden();
    let mut all = frames(&files[&segment_name(&files, 1)]);
    // What is behind it stays, so that it is vouched for, or nothing does, so that it is the end.
    let chosen = usize::from(frame >> 1) % all.len();
    if frame & 1 == 1 {
        all.truncate(chosen + 1);
    }
    all[chosen].body = body;
    if events > 0 {
        all[chosen].events = events;
    }
    judge(&alone(&files, &all));
});
