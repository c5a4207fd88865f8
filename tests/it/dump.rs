//! `Options::dump`: a segment piece by piece, sound, damaged in every byte, cut at every length, and made up.

use std::collections::BTreeMap;
use std::path::Path;

use taskledger::{Batch, DumpFrame, DumpPiece, Entry, Error, Event, Expect, Maintenance, Options, Seq, TaskState};

use crate::support::{Rng, in_parallel};

/// A directory with a ledger in a few small segments, and all its entries by seq.
fn ledger() -> (tempfile::TempDir, BTreeMap<Seq, Entry>) {
    let home = tempfile::tempdir().unwrap();
    let ledger =
        Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual).open(home.path()).expect("a new ledger");
    for n in 0..40_u64 {
        let mut batch = Batch::new();
        for m in 0..6 {
            let event = Event::observed(TaskState::Ready).error(format!("{n} and {m} {}", "x".repeat(40)));
            batch.push(format!("task {}", (n * 7 + m) % 23), event, Expect::Any);
        }
        ledger.commit(batch).unwrap();
        ledger.append_note(format!("note {}", n % 5), Event::noted(n)).unwrap();
    }
    // One that is larger than any chunk that is looked at.
    let large = format!("\"{}\"", "y".repeat(200 << 10));
    ledger.append("large", Event::observed(TaskState::Ready).output_text(&large)).unwrap();
    ledger.append("last", Event::created()).unwrap();
    let entries = ledger.entries(Seq::FIRST).map(|entry| entry.unwrap()).map(|entry| (entry.seq, entry)).collect();
    ledger.close().unwrap();
    (home, entries)
}

fn pieces(path: &Path) -> Vec<DumpPiece> {
    Options::new().dump(path).expect("it opens").map(|piece| piece.expect("it can be read")).collect()
}

fn frames(pieces: &[DumpPiece]) -> impl Iterator<Item = &DumpFrame> {
    pieces.iter().filter_map(|piece| if let DumpPiece::Frame(frame) = piece { Some(&**frame) } else { None })
}

/// Each piece begins where the one before it ends.
fn assert_covers(pieces: &[DumpPiece], what: &str) {
    let mut here = 4096;
    for piece in pieces {
        assert_eq!(piece.bytes().start, here, "{what}: {piece:?}");
        assert!(piece.bytes().end > here, "{what}: {piece:?}");
        here = piece.bytes().end;
    }
}

/// What is shown is true: an entry is as it was, or its task or note is said to be unknown.
fn assert_true(pieces: &[DumpPiece], entries: &BTreeMap<Seq, Entry>, what: &str) {
    for frame in frames(pieces) {
        assert!(frame.checksum || frame.entries.is_empty(), "{what}");
        for shown in &frame.entries {
            let mut entry = entries.get(&shown.seq).unwrap_or_else(|| panic!("{what}: {shown:?}")).clone();
            if let Some((_, number)) = frame.unnamed.iter().find(|(seq, _)| *seq == shown.seq) {
                assert!(number.starts_with(if entry.task.is_some() { "task number " } else { "note number " }));
                (entry.task, entry.note) = (None, None);
            }
            assert_eq!(*shown, entry, "{what}");
        }
    }
}

#[test]
fn the_segments_of_a_sound_ledger_are_shown_whole() {
    let (home, entries) = ledger();
    let segments = Options::new().segments(home.path()).unwrap();
    assert!(segments.len() >= 3 && segments.iter().zip(1..).all(|((number, _), n)| *number == n), "{segments:?}");
    let mut all = Vec::new();
    for (number, path) in &segments {
        let dump = Options::new().dump(path).unwrap();
        assert_eq!((dump.number(), dump.base().0, dump.header_problem()), (*number, all.len() as u64 + 1, None));
        let length = std::fs::metadata(path).unwrap().len();
        assert_eq!(dump.length(), length);
        let pieces = pieces(path);
        assert_covers(&pieces, "sound");
        assert_eq!(pieces.last().map(|piece| piece.bytes().end), Some(length));
        assert!(pieces.iter().all(|piece| piece.problem().is_none()), "{pieces:?}");
        for frame in frames(&pieces) {
            assert_eq!((frame.entries.len() as u64, frame.unnamed.len()), (frame.count, 0));
            assert_eq!(frame.first.0, all.len() as u64 + 1);
            assert!(frame.count == 0 || frame.at == frame.entries[0].at);
            all.extend(frame.entries.iter().cloned());
        }
        let Some(DumpPiece::Seal { sealed, .. }) = pieces.last() else { panic!("the seal comes last: {pieces:?}") };
        let is_last = *number == segments.len() as u64;
        assert_eq!(sealed.is_none(), is_last);
        if let Some((successor, end, last)) = sealed {
            assert_eq!((*successor, last.0), (number + 1, all.len() as u64));
            assert!(frames(&pieces).any(|frame| frame.bytes.end == *end));
        }
    }
    assert!(all.iter().eq(entries.values()));
}

/// Every byte of a segment with what is written, flipped in one bit: it is seen, and nothing that is shown is wrong.
#[test]
fn each_flipped_byte_is_seen_and_makes_no_false_entry() {
    let (home, entries) = ledger();
    let segments = Options::new().segments(home.path()).unwrap();
    let path = &segments[1].1;
    let good = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..good.len()).collect();
    let dir = tempfile::tempdir().unwrap();
    in_parallel(&places.chunks(1024).collect::<Vec<_>>(), |places| {
        let place = dir.path().join(places[0].to_string());
        std::fs::create_dir(&place).unwrap();
        let path = place.join(path.file_name().unwrap());
        for &place in *places {
            let what = format!("byte {place}");
            let mut bytes = good.clone();
            bytes[place] ^= 1 << (place % 8);
            std::fs::write(&path, &bytes).unwrap();
            let dump = match Options::new().dump(&path) {
                Ok(dump) => dump,
                // Not known as a segment, or as one that this version reads.
                Err(Error::Damaged { .. } | Error::Format { .. }) if place < 4096 => continue,
                Err(error) => panic!("{what}: {error}"),
            };
            let header = dump.header_problem().is_some();
            assert_eq!(header, place < 4096, "{what}");
            assert!(!(72..88).contains(&place), "{what}: number and base are not known then");
            let pieces: Vec<DumpPiece> = dump.map(|piece| piece.expect("it can be read")).collect();
            assert_true(&pieces, &entries, &what);
            if header {
                continue;
            }
            assert_covers(&pieces, &what);
            let bad: Vec<&DumpPiece> = pieces.iter().filter(|piece| piece.problem().is_some()).collect();
            assert!(bad.iter().any(|piece| piece.bytes().contains(&(place as u64))), "{what}: {bad:?}");
            assert_eq!(bad.len(), 1, "{what}: what is behind it is sound: {bad:?}");
        }
    });
}

/// What a broken header page still says is used where the checksums of frames prove it.
#[test]
fn frames_are_shown_under_a_broken_header_page() {
    let (home, entries) = ledger();
    let path = &Options::new().segments(home.path()).unwrap()[0].1;
    let good = std::fs::read(path).unwrap();
    let sound: Vec<Entry> = frames(&pieces(path)).flat_map(|frame| frame.entries.clone()).collect();
    // Under another name nobody but the page says which seqs they are.
    let elsewhere = home.path().join("elsewhere");
    let mut bytes = good.clone();
    bytes[2000] ^= 1;
    std::fs::write(&elsewhere, bytes).unwrap();
    assert!(matches!(Options::new().dump(&elsewhere), Err(Error::Damaged { .. })));
    std::fs::write(&elsewhere, &good).unwrap();
    assert!(Options::new().dump(&elsewhere).is_ok(), "a sound one is shown under any name");
    for (place, is_readable) in [(2000, true), (33, true), (104, false)] {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        std::fs::write(path, &bytes).unwrap();
        let pieces = pieces(path);
        assert_true(&pieces, &entries, "a header page");
        let shown: Vec<Entry> = frames(&pieces).flat_map(|frame| frame.entries.clone()).collect();
        assert_eq!(shown, if is_readable { sound.clone() } else { Vec::new() }, "byte {place}");
    }
}

#[test]
fn a_file_that_was_cut_shows_what_is_left() {
    let (home, entries) = ledger();
    let path = &Options::new().segments(home.path()).unwrap()[0].1;
    let good = std::fs::read(path).unwrap();
    for length in (0..good.len()).rev().step_by(97) {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
        let what = format!("{length} bytes");
        if length < 4096 {
            assert!(matches!(Options::new().dump(path), Err(Error::Damaged { .. })), "{what}");
            continue;
        }
        let pieces = pieces(path);
        assert_covers(&pieces, &what);
        assert_true(&pieces, &entries, &what);
        assert!(pieces.last().is_some_and(|piece| piece.problem().is_some()), "{what}");
    }
}

/// Behind a real header page: noise, frames in another order, and frames whose bodies are noise with good checksums.
#[test]
fn what_is_made_up_is_read_to_its_end() {
    let (home, _) = ledger();
    let path = &Options::new().segments(home.path()).unwrap()[0].1;
    let good = std::fs::read(path).unwrap();
    let places: Vec<(usize, usize)> =
        frames(&pieces(path)).map(|frame| (frame.bytes.start as usize, frame.bytes.end as usize)).collect();
    let salt = &good[104..108];
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let mut bytes = good[..4096].to_vec();
        while bytes.len() < good.len() - 512 {
            let (start, end) = places[rng.below(places.len() as u64) as usize];
            let from = bytes.len();
            bytes.extend_from_slice(&good[start..end]);
            match rng.below(4) {
                0 => bytes.extend((0..rng.below(90)).map(|_| rng.next() as u8)),
                1 => {
                    // Its body is noise, and its checksums are right.
                    let length = u32::from_le_bytes([bytes[from + 8], bytes[from + 9], bytes[from + 10], 0]) as usize;
                    for byte in &mut bytes[from + 32..from + 32 + length] {
                        if rng.below(3) == 0 {
                            *byte = rng.next() as u8;
                        }
                    }
                    let crc = |epoch: &[u8], part: &[u8]| crc32fast::hash(&[salt, epoch, part].concat()).to_le_bytes();
                    let epoch = bytes[from + 12..from + 16].to_vec();
                    let body = crc(&epoch, &bytes[from + 32..from + 32 + length]);
                    bytes[from + 4..from + 8].copy_from_slice(&body);
                    let header = crc(&epoch, &bytes[from + 4..from + 32]);
                    bytes[from..from + 4].copy_from_slice(&header);
                }
                2 => bytes.extend([0; 48]),
                _ => {}
            }
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.resize(good.len(), 0);
        std::fs::write(path, &bytes).unwrap();
        let pieces = pieces(path);
        assert_covers(&pieces, &format!("seed {seed}"));
        assert!(frames(&pieces).any(|frame| frame.problem.is_some()), "seed {seed}");
    }
    for (name, bytes) in [("text", vec![b'x'; 9000]), ("zeros", vec![0; 9000]), ("empty", Vec::new())] {
        std::fs::write(path, bytes).unwrap();
        assert!(matches!(Options::new().dump(path), Err(Error::Damaged { .. })), "{name}");
    }
    assert!(matches!(Options::new().dump(home.path().join("nowhere")), Err(Error::Io { .. })));
}

/// Wherever the next frame begins behind bytes that are none, also where a look of 64 KiB ends.
#[test]
fn the_next_frame_is_found_behind_any_number_of_bytes() {
    let home = tempfile::tempdir().unwrap();
    Options::new().open(home.path()).unwrap().append("a", Event::created()).unwrap();
    let path = &Options::new().segments(home.path()).unwrap()[0].1;
    let good = std::fs::read(path).unwrap();
    let frame = frames(&pieces(path)).find(|frame| frame.count > 0).expect("it has events").bytes.clone();
    let frame = &good[frame.start as usize..frame.end as usize];
    for noise in (65_536 - 64..65_536 + 64).step_by(8) {
        for byte in [0, 0xff] {
            let mut bytes = [&good[..4096], &vec![byte; noise], frame].concat();
            assert!(bytes.len() < good.len(), "the segment has room for it");
            bytes.resize(good.len(), 0);
            std::fs::write(path, &bytes).unwrap();
            let pieces = pieces(path);
            assert_covers(&pieces, &format!("{noise} bytes"));
            let found: Vec<u64> = frames(&pieces).map(|frame| frame.bytes.start).collect();
            assert_eq!(found, [4096 + noise as u64], "{byte}");
            assert!(matches!(&pieces[0], DumpPiece::Bad { .. }), "{:?}", pieces[0]);
        }
    }
}
