//! Bytes with good checksums that once made the code panic, or pass over what it must not; each in its smallest form.

use std::path::Path;

use taskledger::{Error, Event, Seq, Verdict};

use super::bytes::{
    DIR, EVENTS, EVENTS_MORE, Frame, alone, crc, frames, in_memory, options, put, read, read_files, segment_name,
    set_in_page, verify_files, write_files,
};
use super::codec::{Rare, encode};
use super::golden::committed;
use super::hostile::{created, is_format, start, with_body};

#[test]
fn verify_reports_an_event_that_no_constructor_makes() {
    let mut body = created(2);
    (body.heads[1], body.moves[1]) = (0x20 | 3, 0x00);
    (body.ids, body.numbers, body.versions, body.backs) = (vec!["t".to_owned()], vec![0], vec![1, 2], vec![1]);
    let files = with_body(encode(&body), 2);
    assert!(read_files(&files).is_err());
    assert!(!verify_files(&files).expect("damage is a finding").findings.is_empty());
}

#[test]
fn a_read_only_feature_of_a_segment_refuses_writers() {
    let mut files = committed();
    let name = segment_name(&files, 5);
    set_in_page(files.get_mut(&name).expect("it is there"), 20, &[1, 0, 0, 0]);
    assert!(read_files(&files).is_ok());
    assert!(is_format(&write_files(&files)));
}

#[test]
fn a_local_fact_does_not_finish_a_batch() {
    let files = committed();
    let (open, first) = start(&files);
    let mut body = created(2);
    body.heads[1] &= !0x20;
    let more = Frame { kind: EVENTS_MORE, events: 2, body: encode(&body), ..first };
    let fact = Frame { kind: 4, first: 2, mark: 0, events: 0, body: Vec::new(), ..more.clone() };
    let found = read_files(&alone(&files, &[open, more, fact]));
    assert_eq!(found.map_or(0, |entries| entries.len()), 0, "its last event is not there");
}

#[test]
fn a_frame_of_a_later_version_is_refused_where_another_follows() {
    let files = committed();
    let (open, first) = start(&files);
    let later = Frame { kind: 6, events: 0, body: b"later".to_vec(), ..first.clone() };
    assert!(is_format(&read_files(&alone(&files, &[open, later, first]))));
}

#[test]
fn the_highest_epoch_is_no_panic() {
    let files = committed();
    let (open, first) = start(&files);
    let files = alone(&files, &[open, Frame { epoch: u32::MAX, ..first }]);
    assert_eq!(read_files(&files).expect("it can be read").len(), 1);
    assert!(write_files(&files).is_err());
}

/// A local fact of a later time than any entry: opening for writing put frames of an earlier time behind it, and what the
/// writer had acknowledged could not be read any more.
#[test]
fn a_writer_goes_on_behind_a_local_fact_of_a_later_time() {
    let files = committed();
    let (open, _) = start(&files);
    let files = alone(&files, &[Frame { time: open.time + 10_000_000_000_000, ..open }]);
    let vfs = in_memory(&files);
    let ledger = options(&vfs).open(DIR).expect("it is legal");
    ledger.append("a", Event::created()).expect("it goes on");
    ledger.close().expect("there is room");
    assert_eq!(read(options(&vfs), Path::new(DIR)).expect("what was acknowledged is read").len(), 1);
}

/// Three entries of one task, the third of which names the first as the one before: a ledger that only `verify` refused,
/// and whose history of the task had two entries.
#[test]
fn an_entry_that_does_not_name_the_one_before_is_damage() {
    let third_names = |seq_of_keyed: Option<u64>, back: u64| {
        let mut body = created(3);
        for n in [1, 2] {
            (body.heads[n], body.moves[n], body.flags[n]) = (0x20 | 3, 0x0f, 4);
        }
        (body.ids, body.numbers, body.errors) = (vec!["t".to_owned()], vec![0, 0], vec!["e".to_owned(); 2]);
        (body.versions, body.backs) = (vec![1, 2, 3], vec![1, back]);
        if let Some(seq) = seq_of_keyed {
            body.heads.iter_mut().for_each(|head| *head |= 0x80);
            let keys = vec!["k0".to_owned(), "k1".to_owned(), "k2".to_owned()];
            body.rare = Some(Rare { keys, key_backs: vec![0, 1, 3 - seq], digests: vec![7; 3], ..Rare::default() });
        }
        with_body(encode(&body), 3)
    };
    for sound in [third_names(None, 1), third_names(Some(2), 1)] {
        assert_eq!(read_files(&sound).expect("it is legal").len(), 3);
        assert_eq!(verify_files(&sound).expect("it is read").verdict(), Verdict::Sound);
    }
    for (wrong, keyed) in [(third_names(None, 2), false), (third_names(Some(1), 1), true)] {
        for found in [read_files(&wrong), write_files(&wrong)] {
            let Err(Error::Damaged { seq: Some(Seq(3)), what, .. }) = &found else { panic!("it opens: {found:?}") };
            assert!(what.contains("does not name"), "{what}");
        }
        let report = verify_files(&wrong).expect("damage is a finding");
        assert_eq!(report.findings[0].code, "LINK");

        // And where it comes to be while a reader has it open, the history is refused, not short.
        let vfs = in_memory(&third_names(None, 1));
        let reader = options(&vfs).open_read_only(DIR).expect("it is legal");
        let segment = segment_name(&wrong, 1);
        vfs.write_bytes(&Path::new(DIR).join(&segment), 0, &wrong[&segment]).expect("it is there");
        let history = reader.view().history("t").map(Iterator::count);
        assert!(matches!(history, Err(Error::Damaged { .. })) || keyed, "{history:?}");
    }
}

#[test]
fn the_highest_seq_is_no_panic() {
    let mut files = committed();
    files.retain(|name, _| !name.starts_with("log/") || name.starts_with("log/0000000001"));
    let name = segment_name(&files, 1);
    let mut segment = files[&name].clone();
    let first = frames(&segment).into_iter().find(|frame| frame.kind == EVENTS).expect("there are events");
    segment.truncate(4096);
    segment.resize(16 << 10, 0);
    for (offset, value) in [(72, 2), (80, u64::MAX), (112, 1), (120, 4096), (128, u64::MAX - 1)] {
        set_in_page(&mut segment, offset, &value.to_le_bytes());
    }
    let frame = Frame { first: 0, mark: 0, ..first }.encode(super::bytes::get(&segment, 104));
    put(&mut segment, 4096, &frame);
    files.insert(format!("log/0000000002-{}.log", u64::MAX), segment);
    assert!(read_files(&files).is_err());
    assert!(!verify_files(&files).expect("damage is a finding").findings.is_empty());
}

#[test]
fn the_highest_count_of_live_is_no_panic() {
    let files = committed();
    let vfs = in_memory(&files);
    let path = Path::new(DIR).join("live");
    let inode = {
        use taskledger::vfs::ops::{Access, Vfs as _};
        let ledger = vfs.open(&Path::new(DIR).join("LEDGER"), Access::Read).expect("it is there");
        ledger.inode().expect("it has an inode")
    };
    let mut slot = vec![0; 72];
    put(&mut slot, 48, &inode.to_le_bytes());
    put(&mut slot, 56, &u64::MAX.to_le_bytes());
    let sum = crc(&[&files["LEDGER"][32..48], &slot[4..]]);
    put(&mut slot, 0, &sum.to_le_bytes());
    vfs.write_file(&path, &slot).expect("it can be put in place");
    assert!(options(&vfs).open_read_only(DIR).is_ok());
    assert!(options(&vfs).open(DIR).is_ok());
}
