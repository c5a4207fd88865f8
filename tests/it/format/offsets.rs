//! The tables of docs/format.md against the golden bytes: each documented field stands where the page says.

use taskledger::limits::SEGMENT_BYTES_MIN;

use super::bytes::{Files, HEADER, SEAL, crc, frames, number, page_crc, segment_name};
use super::golden::{T0, committed, dir};

/// Byte, size and field of each row of the table under a heading.
fn table(heading: &str) -> Vec<(usize, usize, String)> {
    let page = std::fs::read_to_string(dir().join("../../docs/format.md")).expect("the page is there");
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(heading)).expect("the heading");
    let rows = section.lines().skip_while(|line| !line.starts_with("| byte |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| match &cells(row)[..] {
        [byte, size, field] => (byte.parse().expect(row), size.parse().unwrap_or(0), field.clone()),
        _ => panic!("{row}"),
    })
    .collect()
}

/// A field that the page documents, and what it must hold.
struct Field {
    byte: usize,
    size: usize,
    says: &'static str,
    value: Vec<u8>,
}

fn field(byte: usize, size: usize, says: &'static str, value: u64) -> Field {
    Field { byte, size, says, value: value.to_le_bytes().into_iter().take(size).collect() }
}

fn bytes(byte: usize, says: &'static str, value: &[u8]) -> Field {
    Field { byte, size: value.len(), says, value: value.to_vec() }
}

/// The page must have exactly these rows, and the structure these values.
fn check(heading: &str, structure: &[u8], fields: &[Field]) {
    let rows = table(heading);
    let stated: Vec<_> = rows.iter().map(|(byte, size, _)| (*byte, *size)).collect();
    let known: Vec<_> = fields.iter().map(|field| (field.byte, field.size)).collect();
    assert_eq!(stated, known, "{heading}: bytes and sizes");
    for (Field { byte, size, says, value }, (.., text)) in fields.iter().zip(&rows) {
        assert!(text.contains(says), "{heading}, byte {byte}: {text:?} does not say {says:?}");
        assert_eq!(&structure[*byte..byte + size], value, "{heading}, byte {byte}: {text}");
    }
    // Nothing stands between the fields.
    let mut end = 0;
    for (byte, size) in stated {
        assert_eq!(byte, end, "{heading}: a gap or an overlap");
        end = byte + size;
    }
    assert!(structure[end..].iter().all(|&byte| byte == 0), "{heading}: zeros behind byte {end}");
}

fn identity(files: &Files) -> [Vec<u8>; 2] {
    let ledger = &files["LEDGER"];
    [ledger[32..48].to_vec(), ledger[48..64].to_vec()]
}

#[test]
fn the_page_says_where_everything_in_ledger_is() {
    let files = committed();
    let [uuid, key] = identity(&files);
    let page = &files["LEDGER"];
    assert_eq!(page.len(), HEADER);
    let fields = [
        bytes(0, "TLEDGER1", b"TLEDGER1"),
        field(8, 4, "CRC-32 of bytes 12 to 4096", page_crc(page).into()),
        field(12, 2, "major", 1),
        field(14, 2, "minor", 0),
        field(16, 4, "incompatible", 0),
        field(20, 4, "read-only compatible", 0),
        field(24, 4, "compatible", 0),
        field(28, 4, "zeros", 0),
        bytes(32, "uuid", &uuid),
        bytes(48, "hash key", &key),
        field(64, 8, "created", T0),
        field(72, 0, "zeros", 0),
    ];
    check("LEDGER", page, &fields);
}

#[test]
fn the_page_says_where_everything_in_a_segment_header_is() {
    let files = committed();
    // Creation, two rolls by the first writer, one by the second, and the recovery by the third.
    let made = [(1, 0, 0), (2, T0, 1), (2, T0, 1), (2, T0 + 9_000_000_000, 2), (3, T0 + 9_000_000_000, 3)];
    for (n, (reason, base_time, epoch)) in (1..).zip(made) {
        let name = segment_name(&files, n);
        let page = &files[&name][..HEADER];
        let mut versions = vec![0; 16];
        versions[0] = 1;
        let before = n.checked_sub(1).filter(|&n| n > 0).map(|n| &files[&segment_name(&files, n)]);
        // What the seal says of the end is what the header says of its predecessor.
        let seal = before.map_or(vec![0; SEAL], |segment| segment[segment.len() - SEAL..].to_vec());
        let base: u64 = name[15..35].parse().expect("the name holds the base seq");
        let fields = [
            bytes(0, "TLSEGMT1", b"TLSEGMT1"),
            field(8, 4, "CRC-32 of bytes 12 to 4096", page_crc(page).into()),
            bytes(12, "as in LEDGER", &versions),
            field(28, 4, "4096", 4096),
            bytes(32, "as in LEDGER", &files["LEDGER"][32..72]),
            field(72, 8, "number", n),
            field(80, 8, "base seq", base),
            field(88, 8, "base time", base_time),
            field(96, 8, "capacity", files[&name].len() as u64),
            field(104, 4, "salt", number(page, 104, 4)),
            field(108, 4, "reason", reason),
            field(112, 8, "predecessor: number", n - 1),
            bytes(120, "predecessor: byte", &seal[24..32]),
            field(128, 8, "predecessor: last seq", base - 1),
            bytes(136, "predecessor: chain", &seal[40..44]),
            field(140, 4, "epoch", epoch),
            field(144, 4, "length of the area", 0),
            field(148, 0, "area", 0),
        ];
        check("Segment header", page, &fields);
        assert!(files[&name].len() as u64 >= SEGMENT_BYTES_MIN);
    }
}

#[test]
fn the_page_says_where_everything_in_a_seal_slot_is() {
    let files = committed();
    let segment = &files[&segment_name(&files, 1)];
    let successor = &files[&segment_name(&files, 2)];
    let slot = &segment[segment.len() - SEAL..];
    let fields = [
        bytes(0, "TLSEAL01", b"TLSEAL01"),
        field(8, 4, "salt (4 bytes), then bytes 12 to 64", crc(&[&segment[104..108], &slot[12..]]).into()),
        bytes(12, "epoch", &successor[140..144]),
        field(16, 8, "successor", 2),
        bytes(24, "accepted frames end", &successor[120..128]),
        bytes(32, "last seq", &successor[128..136]),
        bytes(40, "chain", &successor[136..140]),
        field(44, 0, "zeros", 0),
    ];
    check("Seal slot", slot, &fields);
    let chain = frames(segment)
        .iter()
        .fold(0, |chain: u32, frame| crc(&[&chain.to_le_bytes(), &segment[frame.offset..frame.offset + 32]]));
    assert_eq!(u64::from(chain), number(slot, 40, 4), "the chain runs over all headers, from 0");
}

#[test]
fn the_page_says_where_everything_in_a_frame_header_is() {
    let files = committed();
    let segment = &files[&segment_name(&files, 1)];
    let salt = &segment[104..108];
    let all = frames(segment);
    for frame in &all {
        let header = &segment[frame.offset..frame.offset + 32];
        let epoch = frame.epoch.to_le_bytes();
        let fields = [
            field(0, 4, "salt (4 bytes), epoch (4 bytes)", crc(&[salt, &epoch, &header[4..]]).into()),
            field(4, 4, "body without its padding", crc(&[salt, &epoch, &frame.body]).into()),
            field(8, 3, "length of the body", frame.body.len() as u64),
            field(11, 1, "kind", frame.kind.into()),
            field(12, 4, "epoch", frame.epoch.into()),
            field(16, 4, "first seq less base seq", frame.first.into()),
            field(20, 4, "durable watermark plus 1 less base seq", frame.mark.into()),
            field(24, 2, "number of events", frame.events.into()),
            field(26, 6, "time", frame.time),
        ];
        check("Frame", header, &fields);
        assert_eq!(frame.offset % 8, 0);
        assert!(
            segment[frame.offset + 32 + frame.body.len()..][..frame.len() - 32 - frame.body.len()]
                .iter()
                .all(|&byte| byte == 0)
        );
    }
    let [open, first, second, ..] = &all[..] else { panic!("there are frames") };
    assert_eq!((open.kind, open.epoch, open.first, open.mark, open.events, open.time), (3, 1, 0, 0, 0, 0));
    // The boot id as it is, then pid 1 and the start of that process, both as varints.
    assert_eq!((open.body.len(), &open.body[16..]), (16 + 1 + 3, &[1, 251, 0xe9, 3][..]));
    assert_eq!((first.kind, first.first, first.mark, first.events, first.time), (1, 0, 0, 1, T0));
    assert_eq!((second.kind, second.first, second.mark, second.events, second.time), (1, 1, 1, 1, T0));
}

#[test]
fn the_page_says_where_everything_in_live_is() {
    let files = committed();
    let live = &files["live"];
    let uuid = &files["LEDGER"][32..48];
    assert_eq!(live.len(), 584, "two slots, at bytes 0 and 512");
    let counts = [number(live, 56, 8), number(live, 512 + 56, 8)];
    assert_eq!(counts[0].abs_diff(counts[1]), 1, "they are written in turn");
    for (offset, count) in [0, 512].into_iter().zip(counts) {
        let slot = &live[offset..offset + 72];
        let fields = [
            field(0, 4, "the uuid (16 bytes), then bytes 4 to 72", crc(&[uuid, &slot[4..]]).into()),
            field(4, 4, "epoch", 3),
            field(8, 8, "durable seq", number(slot, 8, 8)),
            bytes(16, "boot id", &slot[16..32]),
            field(32, 4, "pid", number(slot, 32, 4)),
            field(36, 4, "zeros", 0),
            field(40, 8, "when that process started", 1000 + number(slot, 32, 4)),
            field(48, 8, "inode number of LEDGER", number(slot, 48, 8)),
            field(56, 8, "count of writes", count),
            field(64, 8, "when the writer opened the ledger", T0 + 9_000_000_000),
        ];
        check("live", slot, &fields);
    }
    let newest = usize::from(counts[1] > counts[0]) * 512;
    let lines = std::fs::read_to_string(dir().join("golden/entries.jsonl")).expect("it is there").lines().count();
    assert_eq!(number(live, newest + 8, 8), lines as u64, "durable up to the last entry");
}
