//! Files that no writer writes, with right checksums: refused with the right word, or passed over where the page says
//! so, and never with more memory than their content is worth.

use taskledger::limits::FRAME_TEXT_BYTES_MAX;
use taskledger::{Entry, Error, Verdict};

use super::bytes::{
    EVENTS, EVENTS_MORE, Files, Frame, alone, frames, read_files, segment_name, set_in_page, verify_files, write_files,
};
use super::codec::{Body, Rare, encode};
use super::golden::committed;

/// The open frame and the first frame of events of the golden ledger.
pub fn start(files: &Files) -> (Frame, Frame) {
    let all = frames(&files[&segment_name(files, 1)]);
    let [open, first, ..] = &all[..] else { panic!("the golden ledger has frames") };
    (open.clone(), first.clone())
}

/// A ledger whose first and only events are this body.
pub fn with_body(body: Vec<u8>, events: u16) -> Files {
    let files = committed();
    let (open, first) = start(&files);
    alone(&files, &[open, Frame { body, events, kind: EVENTS, ..first }])
}

fn is_damaged(result: &Result<Vec<Entry>, Error>, message: &str) -> bool {
    matches!(result, Err(Error::Damaged { seq: Some(_), what, .. }) if what.contains(message))
}

pub fn is_format<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Format { .. }))
}

/// Events of so many new tasks, each the whole of its batch.
pub fn created(count: usize) -> Body {
    Body {
        heads: vec![0x61; count],
        moves: vec![0xf0; count],
        flags: vec![0; count],
        ids: (0..count).map(|n| format!("t{n}")).collect(),
        versions: vec![1; count],
        times: vec![0; count - 1],
        ..Body::default()
    }
}

/// A change of one thing, and a piece of what must be said about it.
type Change = (fn(&mut Body), &'static str);

/// The same for the rare columns, with the flags and the bits of the head that ask for them.
type RareChange = (fn(&mut Rare), u16, u8, &'static str);

#[test]
fn a_body_of_two_made_by_hand_is_read() {
    let entries = read_files(&with_body(encode(&created(2)), 2)).expect("it is legal");
    assert_eq!(entries.iter().map(|entry| entry.task.as_deref()).collect::<Vec<_>>(), [Some("t0"), Some("t1")]);
}

#[test]
fn a_body_whose_columns_do_not_fit_each_other_is_damage() {
    let rare = |body: &mut Body, change: fn(&mut Rare)| change(body.rare.get_or_insert_default());
    let changes: &[Change] = &[
        (|body| body.heads.truncate(1), "number of events"),
        (|body| body.moves.truncate(1), "moves"),
        (|body| body.moves.push(0), "longer"),
        (|body| body.moves = vec![0xf9, 0xf0], "state"),
        (|body| body.flags = vec![1 << 11, 0], "flags"),
        (|body| body.flags = vec![2, 0], "outputs"),
        (|body| body.heads[1] &= !0x20, "batch"),
        (|body| body.heads[1] &= !0x40, "numbers"),
        (|body| (body.heads[1], body.numbers, body.ids) = (0x21, vec![1], vec!["t0".to_owned()]), "task number 1"),
        (|body| body.ids[1].clear(), "task id is empty"),
        (|body| body.ids[1] = "x".repeat(1281), "task id has 1281"),
        (|body| body.versions[1] = 0, "version is 0"),
        (|body| body.versions[1] = 2, "backs"),
        (|body| (body.versions[1], body.backs) = (2, vec![2]), "before the first seq"),
        (|body| (body.versions[1], body.backs) = (2, vec![0]), "before the first seq"),
        (|body| (body.versions[1], body.backs) = (u64::MAX, vec![1]), "version"),
        (|body| body.times = vec![u64::MAX], "overflow"),
        (|body| body.times = vec![1 << 48], "overflow"),
        (|body| body.times.push(0), "longer"),
        (|body| (body.flags[0], body.outputs) = (2, vec!["{".to_owned()]), "not JSON"),
        (|body| (body.flags[0], body.outputs) = (2, vec!["[".repeat(65) + &"]".repeat(65)]), "65 deep"),
        (|body| (body.flags[0], body.errors) = (4, vec!["e".repeat(65_537)]), "error has 65537"),
        (|body| (body.flags[0], body.actors) = (16, vec![0]), "word"),
        (|body| (body.flags[0], body.actors, body.words) = (16, vec![0], vec![String::new()]), "actor is empty"),
        (|body| (body.flags[0], body.metas) = (8, vec![1]), "metadata keys"),
        (|body| (body.flags[0], body.metas, body.meta_keys) = (8, vec![1], vec![0]), "metadata values"),
        (|body| body.words = vec!["never used".to_owned()], ""),
    ];
    for (n, (change, message)) in changes.iter().enumerate() {
        let mut body = created(2);
        change(&mut body);
        let result = read_files(&with_body(encode(&body), 2));
        if message.is_empty() {
            assert_eq!(result.expect("words may be left over").len(), 2);
        } else {
            assert!(is_damaged(&result, message), "change {n}: {result:?}");
        }
    }
    let rares: &[RareChange] = &[
        (|rare| rare.causes.push(1), 0, 0, "longer"),
        (|rare| rare.causes.push(0), 512, 0, "before the first seq"),
        (|rare| rare.causes.push(1), 512, 0, "before the first seq"),
        (|rare| rare.keys.push("k".to_owned()), 0, 0x80, "digests"),
        (|rare| rare.time_masks.push(64), 1024, 0, "not known"),
        (|rare| rare.time_masks.push(1), 1024, 0, "time stamps"),
    ];
    for (n, (change, flags, head, message)) in rares.iter().enumerate() {
        let mut body = created(2);
        rare(&mut body, *change);
        body.flags[0] |= flags;
        body.heads[0] |= head;
        let result = read_files(&with_body(encode(&body), 2));
        assert!(is_damaged(&result, message), "rare change {n}: {result:?}");
    }
    for extra in [vec![0], vec![0; 9000]] {
        let result = read_files(&with_body([encode(&created(2)), extra].concat(), 2));
        assert!(is_damaged(&result, "left over"), "{result:?}");
    }
}

#[test]
fn a_body_that_claims_more_than_it_has_is_damage_and_costs_nothing() {
    for column in 0..27 {
        // Empty columns, the option that there are rare ones, then a claim.
        let before: Vec<u8> = (0..column).map(|n| u8::from(n == 18)).collect();
        for claim in [u64::MAX, 1 << 60, 1 << 40, 1 << 32, (1 << 32) - 1, 1 << 24, 70_000, 251] {
            for (behind, large) in [(2, false), (200, false), (20_000, true), (1 << 20, true)] {
                let mut body = before.clone();
                body.push(253);
                body.extend_from_slice(&claim.to_le_bytes());
                body.resize(body.len() + behind, 0);
                let result = read_files(&with_body(body, 1));
                assert!(is_damaged(&result, ""), "column {column}, claim {claim}, large {large}: {result:?}");
            }
        }
    }
    // A text that claims more, and numbers that no varint starts with or that are too large for their column.
    let text = |claim: u64| [vec![0, 0, 0, 0, 1, 253], claim.to_le_bytes().to_vec()].concat();
    for body in [text(1 << 60), text(u64::MAX), vec![0, 0, 1, 254], vec![0, 0, 1, 255], vec![0, 0, 1, 252, 0, 0, 1, 0]]
    {
        let result = read_files(&with_body(body.clone(), 1));
        assert!(is_damaged(&result, ""), "{body:?}: {result:?}");
    }
}

#[test]
fn words_that_expand_over_the_limit_are_damage() {
    const WORD: usize = 60_000;
    let repeated = |count: usize| {
        let mut body = created(count);
        body.words = vec!["k".to_owned(), "v".repeat(WORD)];
        (body.flags, body.metas) = (vec![8; count], vec![1; count]);
        (body.meta_keys, body.meta_values) = (vec![0; count], vec![2; count]);
        read_files(&with_body(encode(&body), count as u16))
    };
    let most = FRAME_TEXT_BYTES_MAX / (WORD + 1);
    assert_eq!(repeated(most).expect("as many as may be").len(), most);
    assert!(is_damaged(&repeated(most + 1), "texts"));
    assert!(is_damaged(&repeated(65_535), "texts"));
}

#[test]
fn an_event_of_a_later_version_is_a_later_format() {
    for kind in [0, 12, 13, 14, 15] {
        let mut body = created(1);
        body.heads[0] = body.heads[0] & 0xf0 | kind;
        let files = with_body(encode(&body), 1);
        assert!(is_format(&read_files(&files)) && is_format(&write_files(&files)), "kind {kind}");
    }
    // Control entries are reserved: they have no task, and a reader knows them.
    for (kind, name) in [(8, "pruned"), (9, "redacted"), (10, "key_rotated")] {
        let body = Body { heads: vec![0x20 | kind], moves: vec![0xff], flags: vec![0], ..Body::default() };
        let entries = read_files(&with_body(encode(&body), 1)).expect("it is known");
        assert_eq!((entries[0].event.kind().name(), &entries[0].task, entries[0].version), (name, &None, None));
    }
}

/// A task `t0`, a note under the same key, and the note removed.
fn noted() -> Body {
    Body {
        heads: vec![0x61, 0x67, 0x2b],
        moves: vec![0xf0, 0xff, 0xff],
        flags: vec![0, 2, 0],
        numbers: vec![0],
        ids: vec!["t0".to_owned(), "t0".to_owned()],
        versions: vec![1, 1, 2],
        backs: vec![1],
        times: vec![0; 2],
        outputs: vec!["null".to_owned()],
        ..Body::default()
    }
}

/// Ledgers in which a note is what no note can be, and what opening says of each.
pub fn impossible_notes() -> Vec<(Files, &'static str)> {
    let changes: &[Change] = &[
        // What is named is a note, and number 1 is of neither kind, though two keys were named.
        (|body| body.numbers = vec![1], "note number 1"),
        // A task's event with the number of the second key.
        (|body| (body.heads[2], body.moves[2], body.numbers) = (0x26, 0x0f, vec![1]), "task number 1"),
        // Before any note was named.
        (
            |body| {
                (body.heads[1], body.ids, body.numbers) = (0x27, vec!["t0".to_owned()], vec![0, 0]);
            },
            "note number 0",
        ),
        // Versions and removals are of the note, not of the task.
        (|body| (body.heads[1], body.moves[1], body.flags[1], body.outputs) = (0x6b, 0xff, 0, vec![]), "note it meets"),
        (|body| (body.versions, body.backs) = (vec![1, 2, 3], vec![1, 1]), "version"),
        (|body| body.heads[2] = 0x26, "state"),
        // What a note does not have.
        (|body| body.moves[1] = 0x0f, "a note has none"),
        (|body| body.moves[1] = 0xf0, "none of the fields"),
        (|body| body.heads[1] |= 0x10, "none of the fields"),
        (|body| (body.flags[1], body.attempts) = (3, vec![1]), "none of the fields"),
        (|body| body.flags[2] = 128, "none of the fields"),
        (|body| body.flags[2] = 256, "none of the fields"),
        (|body| (body.flags[2], body.outputs) = (2, vec!["1".to_owned(), "2".to_owned()]), "none of the fields"),
        (|body| (body.flags[1], body.outputs) = (0, vec![]), "without a value"),
        (|body| (body.flags[1], body.outputs) = (128, vec![]), "none of the fields"),
        // Limits.
        (|body| body.ids[1].clear(), "note key is empty"),
        (|body| body.ids[1] = "x".repeat(1281), "note key has 1281"),
        (|body| body.outputs[0] = "{".to_owned(), "value is not JSON"),
        (|body| body.outputs[0] = "[".repeat(128) + &"]".repeat(128), "value nests 128 deep"),
        (|body| body.outputs[0] = format!("\"{}\"", "x".repeat((12 << 20) - 1)), "value has 12582913 bytes"),
    ];
    let changed = changes.iter().map(|(change, message)| {
        let mut body = noted();
        change(&mut body);
        (with_body(encode(&body), 3), *message)
    });
    changed.collect()
}

#[test]
fn a_number_of_a_note_never_leads_to_a_task_nor_one_of_a_task_to_a_note() {
    let entries = read_files(&with_body(encode(&noted()), 3)).expect("it is legal");
    let about: Vec<_> = entries.iter().map(|entry| (entry.task.as_deref(), entry.note.as_deref())).collect();
    assert_eq!(about, [(Some("t0"), None), (None, Some("t0")), (None, Some("t0"))]);
    for (n, (files, message)) in impossible_notes().into_iter().enumerate() {
        let (read, written) = (read_files(&files), write_files(&files));
        assert!(is_damaged(&read, message) && is_damaged(&written, message), "change {n}: {read:?}");
        assert_eq!(verify_files(&files).expect("it can be read").verdict(), Verdict::Damaged, "change {n}");
    }
}

/// The golden first segment alone, with one more frame behind its frames.
pub fn with_last(kind: u8, body: &[u8], events: u16) -> Files {
    let files = committed();
    let mut all = frames(&files[&segment_name(&files, 1)]);
    let last = all.last().expect("there are frames").clone();
    let first = last.first + u32::from(last.events);
    all.push(Frame { kind, first, events, body: body.to_vec(), ..last });
    alone(&files, &all)
}

#[test]
fn frames_of_later_versions_are_refused_or_passed_over_by_their_kind() {
    let all = read_files(&with_last(4, b"", 0)).expect("a vouch is known").len();
    for kind in [6, 7, 100, 127] {
        for events in [0, 1] {
            let files = with_last(kind, b"\x01 later", events);
            assert!(is_format(&read_files(&files)) && is_format(&write_files(&files)), "kind {kind}");
            assert!(is_format(&verify_files(&files)) || verify_files(&files).is_ok(), "kind {kind}");
        }
    }
    for kind in [128, 200, 255] {
        let files = with_last(kind, b"\x01 later", 0);
        let read = read_files(&files).expect("it may be passed over");
        let written = write_files(&files).expect("it may be passed over");
        assert_eq!((read.len(), written.len()), (all, all), "kind {kind}");
    }
    // Kind 0 is never valid: what stands there was not written to its end.
    assert_eq!(read_files(&with_last(0, b"", 0)).expect("a torn tail").len(), all);
}

#[test]
fn a_batch_without_its_last_event_is_left_out() {
    let files = committed();
    let (open, first) = start(&files);
    let mut body = created(2);
    body.heads[1] &= !0x20;
    let more = Frame { kind: EVENTS_MORE, events: 2, body: encode(&body), ..first };
    let found = read_files(&alone(&files, &[open.clone(), more.clone()]));
    assert_eq!(found.expect("it is a torn tail").len(), 0);
    // Where a vouch for it is found, entries are lost.
    let vouched = Frame { kind: EVENTS, first: 2, mark: 1, events: 1, body: vec![1], ..more.clone() };
    let mut files = alone(&files, &[open, more, vouched]);
    let name = segment_name(&files, 1);
    let place = frames(&files[&name]).last().expect("three frames").offset + 33;
    files.get_mut(&name).expect("it is there")[place - 1] ^= 1;
    assert!(is_damaged(&read_files(&files), "seq 1 cannot be read"), "{:?}", read_files(&files));
}

/// A field of `LEDGER` or of a segment's header with an unknown value, and whether readers and writers refuse it.
const VERSIONS: [(usize, &[u8], bool, bool); 6] = [
    (12, &[2, 0], true, true),
    (12, &[0, 0], true, true),
    (14, &[9, 0], false, false),
    (16, &[0, 0, 0, 128], true, true),
    (20, &[1, 0, 0, 0], false, true),
    (24, &[1, 0, 0, 0], false, false),
];

#[test]
fn unknown_versions_and_features_of_the_ledger_are_minded() {
    for (offset, value, refuses_readers, refuses_writers) in VERSIONS {
        let mut files = committed();
        set_in_page(files.get_mut("LEDGER").expect("it is there"), offset, value);
        let (read, written) = (read_files(&files), write_files(&files));
        assert_eq!((is_format(&read), is_format(&written)), (refuses_readers, refuses_writers), "{offset}: {value:?}");
        assert!(read.is_ok() || refuses_readers);
        assert!(written.is_ok() || refuses_writers);
    }
}

#[test]
fn unknown_versions_and_features_of_a_segment_are_minded() {
    for (offset, value, refuses_readers, refuses_writers) in VERSIONS {
        for n in 1..=5 {
            let mut files = committed();
            let name = segment_name(&files, n);
            set_in_page(files.get_mut(&name).expect("it is there"), offset, value);
            let (read, written) = (read_files(&files), write_files(&files));
            assert_eq!(is_format(&read), refuses_readers, "{name}, {offset}: {value:?}");
            assert!(read.is_ok() || refuses_readers);
            // A writer only reads what is behind the last two.
            let refuses = if n < 4 { refuses_readers } else { refuses_writers };
            assert_eq!(is_format(&written), refuses, "{name}, {offset}: {value:?}: writing");
            assert!(written.is_ok() || refuses);
        }
    }
}
