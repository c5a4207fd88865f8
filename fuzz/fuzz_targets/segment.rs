//! Any frames one after the other in one segment, each under right checksums, and any bytes behind them.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use taskledger_fuzz::bytes::{Frame, alone, frames, put, segment_name};
use taskledger_fuzz::{golden, judge};

/// A frame of the golden ledger with any of its fields changed.
#[derive(Debug, Arbitrary)]
struct Piece {
    like: u8,
    kind: Option<u8>,
    epoch: Option<u32>,
    first: Option<u32>,
    mark: Option<u32>,
    events: Option<u16>,
    time: Option<u64>,
    body: Option<Vec<u8>>,
}

#[derive(Debug, Arbitrary)]
struct Input {
    pieces: Vec<Piece>,
    behind: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let files = golden();
    let all = frames(&files[&segment_name(&files, 1)]);
    let like = |piece: Piece| {
        let frame = all[usize::from(piece.like) % all.len()].clone();
        Frame {
            kind: piece.kind.unwrap_or(frame.kind),
            epoch: piece.epoch.unwrap_or(frame.epoch),
            first: piece.first.unwrap_or(frame.first),
            mark: piece.mark.unwrap_or(frame.mark),
            events: piece.events.unwrap_or(frame.events),
            time: piece.time.unwrap_or(frame.time) & ((1 << 48) - 1),
            body: piece.body.unwrap_or(frame.body),
            offset: 0,
        }
    };
    let chosen: Vec<Frame> = input.pieces.into_iter().map(like).collect();
    let mut files = alone(&files, &chosen);
    let end = 4096 + chosen.iter().map(Frame::len).sum::<usize>();
    let name = segment_name(&files, 1);
    let segment = files.get_mut(&name).expect("it was made");
    let room = segment.len() - end;
    put(segment, end, &input.behind[..input.behind.len().min(room)]);
    judge(&files);
});
