//! Whatever is damaged: a repair writes a sound ledger elsewhere, in which each entry that can still be read has its seq, version
//! and times, says what is lost, and leaves what is damaged as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taskledger::TaskState::{Completed, Failed, Pending, Ready, Retrying, Running};
use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::Vfs as _;
use taskledger::{
    At, Batch, DumpPiece, Entry, Error, Event, Expect, Ledger, Level, Prune, Repair, Result, Seq, Verdict,
};

use crate::crash::script::{DIR, EIO, options};
use crate::support::Rng;

const NEW: &str = "/mended";

/// Lives of some tasks at once, batches among them, over several segments: the entries of each are spread over all of them.
fn lived(vfs: &MemVfs, rounds: u64) -> Ledger {
    let ledger = options(vfs).open(DIR).unwrap();
    let text = |n: u64| -> String { (0..600).map(|at| char::from(b'a' + ((at * 7 + n * 13) % 26) as u8)).collect() };
    for n in 0..rounds {
        let task = format!("t{}", n % 5);
        ledger.append_if(&*task, Event::created().key(format!("k{n}")).meta("text", text(n)), Expect::Absent).unwrap();
        let mut batch = Batch::new();
        batch.push(&*task, Event::to(Ready).by("planner"), Expect::Any);
        batch.push(
            format!("slow{}", n / 7),
            if n % 7 == 0 { Event::created() } else { Event::updated().meta("n", text(n)) },
            Expect::Any,
        );
        batch.push_note(format!("note{}", n % 3), Event::noted(n), Expect::Any);
        ledger.commit(batch).unwrap();
        ledger.append(&*task, Event::to(Running).key(format!("run{n}"))).unwrap();
        if n % 3 == 0 {
            ledger.append(&*task, Event::to(Retrying).error("again")).unwrap();
            ledger.append(&*task, Event::to(Running)).unwrap();
        }
        if n % 4 == 0 {
            ledger.append(&*task, Event::to(Failed).error(text(n + 1))).unwrap();
        } else {
            ledger.append(&*task, Event::to(Completed).output(n)).unwrap();
        }
        ledger.append(&*task, Event::removed()).unwrap();
    }
    ledger
}

fn entries(vfs: &MemVfs, dir: &str) -> BTreeMap<Seq, Entry> {
    let reader = options(&vfs.spawn()).open_read_only(dir).unwrap();
    let oldest = reader.report().oldest;
    reader.view().entries(oldest).map(|entry| entry.unwrap()).map(|entry| (entry.seq, entry)).collect()
}

fn files(vfs: &MemVfs, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let there = vfs.files().into_iter().filter(|path| path.starts_with(dir));
    there.map(|path| (path.clone(), vfs.read_file(&path).unwrap())).collect()
}

fn segments(vfs: &MemVfs) -> Vec<PathBuf> {
    let log = Path::new(DIR).join("log");
    vfs.files()
        .into_iter()
        .filter(|path| path.starts_with(&log) && path.extension().is_some_and(|end| end == "log"))
        .collect()
}

/// Flips a bit in the body of one of a segment's frames with entries.
fn hit(vfs: &MemVfs, segment: &Path, n: usize) {
    let mut frames = options(vfs).dump(segment).unwrap().filter_map(|piece| match piece.unwrap() {
        DumpPiece::Frame(frame) if frame.count > 0 => Some(frame.bytes.start),
        _ => None,
    });
    let start = frames.nth(n).unwrap();
    vfs.flip_bit(segment, 8 * (start + 70)).unwrap();
}

fn opens(vfs: &MemVfs) -> Result<Seq> {
    options(&vfs.spawn()).open_read_only(DIR).map(|reader| reader.view().seq())
}

/// Repairs, and holds the result against what was there before the damage.
fn mended(vfs: &MemVfs, before: &BTreeMap<Seq, Entry>, what: &str) -> Repair {
    let damaged = files(vfs, DIR);
    let plan = options(vfs).would_repair(DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(files(vfs, DIR) == damaged && files(vfs, NEW).is_empty(), "{what}: a plan writes nothing");
    assert!(plan.is_needed(), "{what}");
    let mut shown = Vec::new();
    let done = options(vfs).repair(DIR, NEW, &mut |progress| shown.push((progress.done, progress.all)));
    let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(files(vfs, DIR) == damaged, "{what}: what is damaged stays as it is");
    assert_eq!(
        (&plan.lost, plan.last, plan.kept),
        (&done.lost, done.last, done.kept + done.refused.len() as u64),
        "{what}"
    );
    assert!(shown.last().is_none_or(|(done, all)| done == all), "{what}: {:?}", shown.last());

    let verified = options(vfs).verify(NEW, Level::Derived, &mut |_| {}).unwrap();
    assert_eq!(verified.verdict(), Verdict::Sound, "{what}: {:?}", verified.findings);
    let after = entries(vfs, NEW);
    let is_lost = |seq: &Seq| done.lost.iter().any(|(from, to)| (from..=to).contains(&seq));
    let refused = |seq: &Seq| done.refused.iter().any(|(refused, _)| refused == seq);
    for (seq, entry) in before.iter().filter(|(seq, _)| **seq <= done.last) {
        let now = after.get(seq).unwrap_or_else(|| panic!("{what}: seq {seq} is gone"));
        if is_lost(seq) || refused(seq) {
            assert_eq!(now.event.actor(), Some("taskledger repair"), "{what}: seq {seq}");
        } else {
            assert_eq!(now, entry, "{what}");
        }
    }
    // What tells of it is the last entry, and holds what the answer says.
    let key = done.note.clone().unwrap();
    let reader = options(&vfs.spawn()).open_read_only(NEW).unwrap();
    let note = reader.view().note(&key).unwrap().unwrap();
    assert_eq!(note.seq, reader.view().seq());
    assert_eq!(note.seq.0, done.last.0 + 1, "{what}: it is the only entry that is new");
    let value = &note.value;
    assert_eq!(value["lost"], serde_json::json!(done.lost.iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>()));
    assert_eq!(value["kept"], serde_json::json!(done.kept));
    drop(reader);
    // It goes on as any other, and needs no repair.
    let ledger = options(&vfs.spawn()).open(NEW).unwrap();
    assert_eq!(ledger.append("new", Event::created()).unwrap().seq().0, note.seq.0 + 1);
    ledger.close().unwrap();
    assert!(!options(vfs).would_repair(NEW).unwrap().is_needed(), "{what}");
    done
}

/// That a kind of damage is refused when it is opened, and mended.
fn refused_and_mended(vfs: &MemVfs, before: &BTreeMap<Seq, Entry>, what: &str) -> Repair {
    let opened = opens(vfs);
    assert!(matches!(opened, Err(Error::Damaged { .. })), "{what}: {opened:?}");
    mended(vfs, before, what)
}

#[test]
fn each_row_of_the_table_that_refuses_is_mended() {
    let vfs = MemVfs::new();
    let ledger = lived(&vfs, 40);
    ledger.maintain().unwrap();
    ledger.append("tail", Event::created()).unwrap();
    for n in 0..12 {
        ledger.append("tail", Event::updated().meta("n", n.to_string())).unwrap();
    }
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    let all = segments(&vfs);
    assert!(all.len() > 5, "{}", all.len());
    let live = Path::new(DIR).join("live");

    // A bad frame, with evidence behind it, in the last segment; and the same without `live`.
    for without_live in [false, true] {
        let rotten = vfs.fork();
        hit(&rotten, all.last().unwrap(), 1);
        if without_live {
            rotten.remove_file(&live).unwrap();
        }
        let done = refused_and_mended(&rotten, &before, "a bad frame in the last segment");
        assert!((1..60).contains(&done.lost_entries()), "{:?}", done.lost);
        assert!(rotten.files().contains(&Path::new(NEW).join("aside").join(all.last().unwrap().file_name().unwrap())));
    }

    // The end is gone, and `live` says that it was durable.
    let short = vfs.fork();
    let kept = short.read_file(all.last().unwrap()).unwrap();
    let middle = 4096 + (kept.iter().rposition(|byte| *byte != 0).unwrap() - 4096) / 2;
    short.write_bytes(all.last().unwrap(), middle as u64, &vec![0; kept.len() - middle]).unwrap();
    let done = refused_and_mended(&short, &before, "the tail is missing");
    assert_eq!(done.lost.len(), 1);
    assert_eq!(done.lost[0].1, done.last, "up to what was durable");
    assert_eq!(done.last, *before.keys().last().unwrap(), "no seq is given twice");

    // Each segment missing: the first, one between, the last. And its header bad, and the file too short.
    for (n, path) in all.iter().enumerate() {
        let missing = vfs.fork();
        missing.remove_file(path).unwrap();
        let done = refused_and_mended(&missing, &before, &format!("segment {} is missing", n + 1));
        assert!(done.lost_entries() > 10, "{n}: {:?}", done.lost);

        let header = vfs.fork();
        header.flip_bit(path, 8 * 300).unwrap();
        if opens(&header).is_err() {
            let done = refused_and_mended(&header, &before, &format!("the header of segment {} is bad", n + 1));
            assert_eq!(done.lost_entries(), 0, "what it says is known from elsewhere: {:?}", done.lost);
        }

        let cut = vfs.fork();
        cut.truncate(path, cut.read_file(path).unwrap().len() as u64 - 4096).unwrap();
        let verdict = options(&cut).verify(DIR, Level::Structure, &mut |_| {}).unwrap().verdict();
        if verdict == Verdict::Damaged {
            mended(&cut, &before, &format!("segment {} is too short", n + 1));
        }
    }

    // A seal in the last segment, of which nobody is the successor; with the names of tasks still there.
    let sealed = vfs.fork();
    let seal = sealed.read_file(&all[1]).unwrap();
    sealed.remove_file(all.last().unwrap()).unwrap();
    sealed.remove_file(&live).unwrap();
    let done = refused_and_mended(&sealed, &before, "the newest segment is missing");
    assert!(done.remarks.iter().any(|remark| remark.contains("is missing")), "{:?}", done.remarks);
    drop(seal);

    // The newest two segments are missing, and `live`: what a snapshot has of them says how far the seqs went.
    let known = vfs.fork();
    let ledger = options(&known).open(DIR).unwrap();
    let snapshot = ledger.snapshot().unwrap();
    drop(ledger);
    let newest = segments(&known);
    newest[newest.len() - 2..].iter().for_each(|path| known.remove_file(path).unwrap());
    known.remove_file(&live).unwrap();
    let done = refused_and_mended(&known, &before, "what a snapshot has is missing");
    assert_eq!(done.last, snapshot, "no seq is given twice");

    // LEDGER bad, and missing.
    let ledger_path = Path::new(DIR).join("LEDGER");
    let bad = vfs.fork();
    bad.flip_bit(&ledger_path, 8 * 40).unwrap();
    assert_eq!(refused_and_mended(&bad, &before, "LEDGER is bad").lost_entries(), 0);
    let gone = vfs.fork();
    gone.remove_file(&ledger_path).unwrap();
    let done = refused_and_mended(&gone, &before, "LEDGER is missing");
    assert_eq!((done.lost_entries(), done.copied), (0, all.len() as u64 - 1));

    // A segment of another ledger in the place of one.
    let other = MemVfs::with_seed(99);
    lived(&other, 40).close().unwrap();
    let foreign = vfs.fork();
    let strange = segments(&other).remove(2);
    foreign.remove_file(&all[2]).unwrap();
    foreign.write_file(&strange, &other.read_file(&strange).unwrap()).unwrap();
    assert_eq!(strange, all[2], "they have the same name");
    let done = mended(&foreign, &before, "a foreign segment");
    assert!(done.lost_entries() > 10, "what it says is of another ledger, however alike: {:?}", done.lost);
    assert!(done.remarks.iter().any(|remark| remark.contains("another ledger")), "{:?}", done.remarks);

    // A segment under another name.
    let misnamed = vfs.fork();
    let bytes = misnamed.read_file(&all[3]).unwrap();
    misnamed.remove_file(&all[3]).unwrap();
    let name = all[3].to_str().unwrap().replace("0000000004-", "0000000040-");
    misnamed.write_file(Path::new(&name), &bytes).unwrap();
    assert_eq!(mended(&misnamed, &before, "a misnamed segment").lost_entries(), 0);
}

/// What stands on a floor: both copies of it bad, the header of the first segment bad, a frame of it bad.
#[test]
fn what_stands_on_a_floor_is_mended() {
    let vfs = MemVfs::new();
    let ledger = lived(&vfs, 40);
    ledger.maintain().unwrap();
    let pruned = ledger.prune(&Prune::before(At::Seq(Seq(120))).forced()).unwrap();
    assert!(pruned.entry.is_some());
    ledger.append("t0", Event::created()).unwrap();
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    let first = segments(&vfs).remove(0);
    let records = |vfs: &MemVfs, dir: &str| {
        let reader = options(&vfs.spawn()).open_read_only(dir).unwrap();
        let tasks = reader.view().list(taskledger::Filter::new()).unwrap().tasks;
        tasks.into_iter().map(|task| (task.record.id.clone(), task.version)).collect::<BTreeMap<_, _>>()
    };

    let frame = vfs.fork();
    hit(&frame, &first, 0);
    let done = mended(&frame, &before, "a bad frame right behind the floor");
    assert_eq!(entries(&frame, NEW).keys().next(), before.keys().next(), "it stands on the same floor");
    assert!(done.lost_entries() > 0 && done.lost_entries() < 40, "{:?}", done.lost);

    let header = vfs.fork();
    header.flip_bit(&first, 8 * 200).unwrap();
    let done = mended(&header, &before, "the header right behind the floor is bad");
    assert_eq!(done.lost_entries(), 0);
    let mut expected = records(&vfs, DIR);
    expected.insert("new".to_owned(), 1);
    assert_eq!(records(&header, NEW), expected, "all records are there");

    let floors = vfs.fork();
    let paths: Vec<_> = floors.files().into_iter().filter(|path| path.starts_with("/ledger/floor")).collect();
    assert_eq!(paths.len(), 2);
    floors.flip_bit(&paths[0], 8 * 5000).unwrap();
    assert!(!options(&floors).would_repair(DIR).unwrap().is_needed(), "one good copy is enough");
    floors.flip_bit(&paths[1], 8 * 100).unwrap();
    floors.flip_bit(&paths[0], 8 * 100).unwrap();
    let done = refused_and_mended(&floors, &before, "both copies of the floor are bad");
    assert_eq!(done.lost, [(Seq::FIRST, Seq(before.keys().next().unwrap().0 - 1))]);
    assert!(!done.missing.is_empty());
}

/// Bytes rot anywhere, in one place or several, with the file `live` and the tables or without. Whatever is refused is mended,
/// and no more is said to be lost than what lies in frames that are hurt, or has lost its name with them.
#[test]
fn random_damage_is_mended() {
    let vfs = MemVfs::new();
    let ledger = lived(&vfs, 40);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    let all = segments(&vfs);
    let (mut needed, mut lost, mut missing) = (0, 0, 0);
    for seed in 0..150 {
        let mut rng = Rng(seed);
        let rotten = vfs.fork();
        let mut what = format!("seed {seed}:");
        for _ in 0..1 + rng.below(3) {
            let path = &all[rng.below(all.len() as u64) as usize];
            let length = rotten.read_file(path).unwrap().len() as u64;
            let most = if rng.below(4) == 0 { 3000 } else { 3 };
            let (at, run) = (rng.below(length), 1 + rng.below(most));
            let bytes: Vec<u8> =
                (0..run.min(length - at)).map(|_| if rng.below(2) == 0 { 0 } else { rng.next() as u8 }).collect();
            rotten.write_bytes(path, at, &bytes).unwrap();
            what += &format!(" {} bytes at {at} of {}", bytes.len(), path.display());
        }
        if rng.below(3) == 0 {
            rotten.remove_file(&Path::new(DIR).join("live")).unwrap();
        }
        let has_tables = rng.below(3) > 0;
        if !has_tables {
            for path in rotten
                .files()
                .into_iter()
                .filter(|path| path.starts_with("/ledger/idx") || path.starts_with("/ledger/snap"))
            {
                rotten.remove_file(&path).unwrap();
            }
        }
        if options(&rotten).would_repair(DIR).unwrap().is_needed() {
            let done = mended(&rotten, &before, &what);
            assert_eq!(done.refused, [], "{what}");
            if has_tables && done.unnamed == 0 {
                assert!(done.lost_entries() < 150, "{what}: {:?}", done.lost);
            }
            (needed, lost, missing) = (needed + 1, lost + done.lost_entries(), missing + done.missing.len());
        }
    }
    println!("{needed} repairs, {lost} entries lost, {missing} tasks and notes with some missing");
    assert!(needed > 60 && lost > 500 && missing > 100, "{needed} {lost} {missing}");
}

/// A copy of a segment's own frame, written over another place of it, under good checksums: what is behind is not lost.
#[test]
fn a_write_that_went_elsewhere_hides_only_what_it_hit() {
    let vfs = MemVfs::new();
    let ledger = lived(&vfs, 40);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    let path = segments(&vfs).remove(1);
    let frames: Vec<_> = options(&vfs).dump(&path).unwrap().map(|piece| piece.unwrap().bytes().clone()).collect();
    let bytes = vfs.read_file(&path).unwrap();
    let (from, to) = (frames[frames.len() - 6].clone(), frames[3].clone());
    let rotten = vfs.fork();
    rotten.write_bytes(&path, to.start, &bytes[from.start as usize..from.end as usize]).unwrap();
    let done = mended(&rotten, &before, "a frame over another");
    assert!((1..30).contains(&done.lost_entries()), "{:?}", done.lost);
}

/// Frames name a task by the number that the segment gave it. A frame of the same length, good by itself, over the one that
/// gave a number: what is behind it must not count on as if that task had got it.
#[test]
fn no_entry_is_given_to_another_task() {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).open(DIR).unwrap();
    for n in 0..8 {
        ledger.append(format!("t{n}"), Event::created()).unwrap();
    }
    for n in 0..8 {
        ledger.append(format!("t{n}"), Event::to(Ready)).unwrap();
    }
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    let path = segments(&vfs).remove(0);
    let frames: Vec<_> = options(&vfs).dump(&path).unwrap().map(|piece| piece.unwrap()).collect();
    let birth_of = |task: &str| {
        let mut births = frames.iter().filter_map(|piece| match piece {
            DumpPiece::Frame(frame) if frame.entries.first()?.task.as_deref() == Some(task) => {
                Some(frame.bytes.clone())
            }
            _ => None,
        });
        births.next().unwrap()
    };
    let (from, to) = (birth_of("t6"), birth_of("t2"));
    assert_eq!(from.end - from.start, to.end - to.start, "they are of the same length");
    let bytes = vfs.read_file(&path).unwrap();
    vfs.write_bytes(&path, to.start, &bytes[from.start as usize..from.end as usize]).unwrap();
    let done = mended(&vfs, &before, "the birth of a task over that of another");
    assert!(done.lost.contains(&(Seq(3), Seq(3))), "{:?}", done.lost);
}

#[test]
fn the_window_of_keys_survives_a_repair() {
    let vfs = MemVfs::new();
    let ledger = lived(&vfs, 30);
    ledger.append("last", Event::created()).unwrap();
    ledger.append("last", Event::to(Ready)).unwrap();
    let first = ledger.append("last", Event::to(Running).key("once")).unwrap();
    ledger.close().unwrap();
    let before = entries(&vfs, DIR);
    hit(&vfs, &segments(&vfs)[0], 3);
    mended(&vfs, &before, "a bad frame in the first segment");
    let ledger = options(&vfs).open(NEW).unwrap();
    let again = ledger.append("last", Event::to(Running).key("once")).unwrap();
    assert!(again.replayed() && again.seq() == first.seq());
    assert!(matches!(ledger.append("last", Event::to(Pending).key("once")), Err(Error::Key { .. })));
}

/// A batch over two frames of which only the first reached the disk never was, and the next writer gives its seqs to others.
/// Where the segment with that frame is hurt elsewhere, what is read of it ends where its successor begins.
#[test]
fn half_of_a_batch_does_not_come_again() {
    let vfs = MemVfs::new();
    let ledger = options(&vfs).open(DIR).unwrap();
    for n in 0..3 {
        ledger.append(format!("t{n}"), Event::created()).unwrap();
    }
    let mut batch = Batch::new();
    for n in 0..2 {
        batch.push(format!("never{n}"), Event::created().meta("text", "x".repeat(4200)), Expect::Any);
    }
    ledger.commit(batch).unwrap();
    let killed = vfs.fork();
    drop(ledger);
    let first = segments(&killed).remove(0);
    let frames: Vec<_> = options(&killed).dump(&first).unwrap().map(|piece| piece.unwrap()).collect();
    let bytes = frames.iter().rev().find_map(|piece| match piece {
        DumpPiece::Frame(frame) if frame.count > 0 => Some(frame.bytes.clone()),
        _ => None,
    });
    let start = bytes.unwrap().start;
    let length = killed.read_file(&first).unwrap().len();
    killed.write_bytes(&first, start, &vec![0; length - start as usize]).unwrap();
    killed.remove_file(&Path::new(DIR).join("live")).unwrap();

    let ledger = options(&killed.spawn()).open(DIR).unwrap();
    assert_eq!(ledger.append("t3", Event::created()).unwrap().seq(), Seq(4), "the batch never was");
    ledger.append("t4", Event::created()).unwrap();
    ledger.close().unwrap();
    let before = entries(&killed, DIR);
    let there = options(&killed).dump(&first).unwrap().any(|piece| match piece.unwrap() {
        DumpPiece::Frame(frame) => frame.entries.iter().any(|entry| entry.task.as_deref() == Some("never0")),
        _ => false,
    });
    assert!(there, "half of the batch is still to be read");
    hit(&killed, &first, 1);
    let done = refused_and_mended(&killed, &before, "half of a batch at the end of a damaged segment");
    assert_eq!(done.lost_entries(), 1, "{:?}", done.lost);
}

#[test]
fn what_is_sound_or_open_or_no_ledger_is_not_repaired() {
    let vfs = MemVfs::new();
    assert!(matches!(options(&vfs).would_repair(DIR), Err(Error::NoLedger { .. })));
    let ledger = lived(&vfs, 3);
    assert!(matches!(options(&vfs.spawn()).would_repair(DIR), Err(Error::Locked { .. })), "a writer lives");
    ledger.close().unwrap();
    let done = options(&vfs).repair(DIR, NEW, &mut |_| {}).unwrap();
    assert!(!done.is_needed() && done.note.is_none() && files(&vfs, NEW).is_empty());
    hit(&vfs, &segments(&vfs)[0], 3);
    vfs.create_dir(Path::new("/taken"), 0o700).unwrap();
    vfs.write_file(Path::new("/taken/letter"), b"dear").unwrap();
    for taken in ["/taken", DIR] {
        let error = options(&vfs).repair(DIR, taken, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("could not repair into"), "{error}");
    }
    // A full disk is said, and what is damaged is as it was.
    let before = files(&vfs, DIR);
    vfs.set_capacity(Some(before.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + 9000));
    let error = options(&vfs).repair(DIR, NEW, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. } | Error::Io { .. }), "{error}");
    assert!(files(&vfs, DIR) == before);
    assert_eq!(EIO, 5);
}
