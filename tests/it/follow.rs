//! `follow`: the past, then what comes; each durable entry once, in order, and none before it is durable.

mod killed;
mod lives;
mod quiet;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use taskledger::vfs::fault::{CallKind, Effect, Fault, MemVfs};
use taskledger::{Batch, Durability, Entry, Error, Event, Expect, Follow, Followed, Ledger, Maintenance, Options, Seq};

const DIR: &str = "/ledger";
const EIO: i32 = 5;
/// Nothing is synced before it is asked for.
const BUFFERED: Durability = Durability::Buffered { sync_every: Duration::from_secs(3600) };

fn manual(vfs: &MemVfs) -> Options {
    Options::new().vfs(Arc::new(vfs.clone())).segment_size(16 << 10).maintenance(Maintenance::Manual)
}

fn buffered(vfs: &MemVfs) -> Options {
    manual(vfs).durability(BUFFERED)
}

/// What there is now, without waiting; and the head that is told with it.
fn drain(follow: &mut Follow) -> (Vec<Entry>, Seq) {
    let (mut entries, mut heads) = (Vec::new(), Vec::new());
    // A frame that is not whole is looked behind at the second look only.
    while heads.len() < 3 {
        match follow.next_within(Duration::ZERO).expect("nothing is damaged") {
            Followed::Entry(entry) => entries.push(*entry),
            Followed::CaughtUp { head } => heads.push(head),
            other => panic!("{other:?}"),
        }
    }
    (entries, heads[2])
}

fn seqs(follow: &mut Follow) -> Vec<u64> {
    drain(follow).0.iter().map(|entry| entry.seq.0).collect()
}

fn two(vfs: &MemVfs, ledger: &Ledger, from: Seq) -> [Follow; 2] {
    let beside = manual(&vfs.spawn()).open_read_only(DIR).unwrap().follow(from).unwrap();
    [ledger.follow(from).unwrap(), beside]
}

/// An event that leaves no room for many more in a segment.
fn large() -> Event {
    Event::created().meta("text", "x".repeat(9000))
}

#[test]
fn being_caught_up_is_told_at_once_and_then_after_the_time() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open(DIR).unwrap();
    for mut follow in two(&vfs, &ledger, Seq::ZERO) {
        let told = |follow: &mut Follow, time: u64| format!("{:?}", follow.next_within(Duration::from_millis(time)));
        let head = ledger.head();
        for seq in 1..=head.0 {
            assert!(told(&mut follow, 60_000).starts_with(&format!("Ok(Entry(Entry {{ seq: Seq({seq})")));
        }
        let caught_up = format!("Ok(CaughtUp {{ head: {head:?} }})");
        assert_eq!(told(&mut follow, 3_600_000), caught_up, "at once");
        assert_eq!(told(&mut follow, 1), caught_up, "and then after the time");
        ledger.append(format!("t{head}"), Event::created()).unwrap();
        assert!(told(&mut follow, 60_000).starts_with("Ok(Entry("));
        assert!(told(&mut follow, 3_600_000).starts_with("Ok(CaughtUp"), "at once again");
    }
}

#[test]
fn it_begins_anywhere_and_waits_ahead_of_the_head() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs).open(DIR).unwrap();
    let mut batch = Batch::new();
    for n in 0..4 {
        ledger.append(format!("t{n}"), large()).unwrap();
        batch.push(format!("b{n}"), Event::created(), Expect::Any);
    }
    ledger.commit(batch).unwrap();
    ledger.append_note("n", Event::noted(serde_json::json!(1))).unwrap();
    for from in 0..=9 {
        for mut follow in two(&vfs, &ledger, Seq(from)) {
            assert_eq!(seqs(&mut follow), (from.max(1)..=9).collect::<Vec<_>>(), "from {from}");
        }
    }
    let [mut here, mut beside] = two(&vfs, &ledger, Seq(12));
    for n in 10..=13 {
        assert_eq!((seqs(&mut here), seqs(&mut beside)), (vec![], vec![]), "up to {}", n - 1);
        ledger.append(format!("u{n}"), large()).unwrap();
        if n >= 12 {
            assert_eq!((seqs(&mut here), seqs(&mut beside)), (vec![n], vec![n]));
        }
    }
    let [mut here, mut beside] = two(&vfs, &ledger, Seq(u64::MAX));
    assert_eq!((seqs(&mut here), seqs(&mut beside)), (vec![], vec![]));
}

#[test]
fn what_is_only_written_is_not_given() {
    let vfs = MemVfs::new();
    let ledger = buffered(&vfs).open(DIR).unwrap();
    let follows = &mut two(&vfs, &ledger, Seq::FIRST);
    let given = |follows: &mut [Follow; 2]| follows.each_mut().map(seqs);
    for n in 0..3 {
        ledger.append(format!("t{n}"), Event::created()).unwrap();
        assert_eq!(given(follows), [[0; 0]; 2], "it is only written");
    }
    assert_eq!(ledger.head(), Seq(3));
    ledger.sync().unwrap();
    ledger.append("u", Event::created()).unwrap();
    assert_eq!(given(follows), [[1, 2, 3]; 2]);
    // A roll syncs what is before it, and nothing of what it makes room for.
    ledger.append("v", large()).unwrap();
    ledger.append("w", large()).unwrap();
    assert_eq!(ledger.durable(), Seq(5));
    assert_eq!(given(follows), [[4, 5]; 2]);
    ledger.close().unwrap();
    assert_eq!(seqs(&mut follows[1]), [6]);
}

#[test]
fn it_ends_with_the_ledger_in_its_process_and_outlives_it_elsewhere() {
    let vfs = MemVfs::new();
    let open = || manual(&vfs.spawn()).open(DIR).unwrap();
    let ledger = open();
    let [mut here, mut beside] = two(&vfs, &ledger, Seq::FIRST);
    ledger.append("a", Event::created()).unwrap();
    let other = ledger.clone();
    ledger.close().unwrap();
    let given: Vec<Seq> = (&mut here).map(|entry| entry.unwrap().seq).collect();
    assert_eq!(given, [Seq(1)]);
    assert!(matches!(here.next_within(Duration::MAX), Ok(Followed::Ended)));
    assert_eq!(other.follow(Seq::FIRST).unwrap().count(), 1, "also one that comes later");
    drop((here, other));

    // Nobody closes this one, and a submit that nobody flushed goes with the last handle.
    let ledger = open();
    let here = ledger.follow(Seq::FIRST).unwrap();
    drop(ledger.submit("b", Event::created()).unwrap());
    drop(ledger);
    assert_eq!(here.count(), 2);
    assert_eq!(seqs(&mut beside), [1, 2]);

    // The ledger is free, although somebody follows it still.
    let ledger = open();
    let here = ledger.follow(Seq::FIRST).unwrap();
    drop(ledger);
    let ledger = open();
    ledger.append("c", Event::created()).unwrap();
    assert_eq!(here.count(), 2, "what another writer appends is not its ledger's");
    assert_eq!(seqs(&mut beside), [3]);
}

#[test]
fn a_poisoned_ledger_gives_what_is_durable_and_then_its_error() {
    let vfs = MemVfs::new();
    let ledger = manual(&vfs.spawn()).open(DIR).unwrap();
    let [mut here, mut beside] = two(&vfs, &ledger, Seq::FIRST);
    ledger.append("a", Event::created()).unwrap();
    vfs.fail_at(vfs.calls(), Fault::new(EIO).only(CallKind::SyncData).with(Effect::Error));
    assert!(matches!(ledger.append("b", Event::created()), Err(Error::Unknown { .. })));
    assert_eq!(here.next().unwrap().unwrap().seq, Seq(1));
    assert!(matches!(here.next(), Some(Err(Error::Poisoned { .. }))));
    assert!(here.next().is_none());
    assert!(matches!(here.next_within(Duration::ZERO), Err(Error::Poisoned { .. })), "it stays");
    assert_eq!(seqs(&mut beside), [1], "what was written and not synced is not given");
    drop(ledger);
    assert_eq!(seqs(&mut beside), [0; 0]);
    let ledger = manual(&vfs.spawn()).open(DIR).unwrap();
    assert_eq!(ledger.durable(), Seq(2), "the next writer keeps what it finds");
    assert_eq!(seqs(&mut beside), [2]);
}

/// Without `live` frames and successors tell, one step later.
#[test]
fn without_live_the_log_tells() {
    let vfs = MemVfs::new();
    let live = std::path::Path::new(DIR).join("live");
    let writer = vfs.spawn();
    let ledger = manual(&writer).open(DIR).unwrap();
    vfs.remove_file(&live).unwrap();
    let mut beside = manual(&vfs.spawn()).open_read_only(DIR).unwrap().follow(Seq::FIRST).unwrap();
    ledger.append("a", Event::created()).unwrap();
    assert_eq!(seqs(&mut beside), [0; 0]);
    ledger.append("b", Event::created()).unwrap();
    assert_eq!(seqs(&mut beside), [1], "the frame of the second names the first");
    ledger.maintain().unwrap();
    assert_eq!(seqs(&mut beside), [2], "a vouch");
    ledger.append("c", large()).unwrap();
    ledger.append("d", large()).unwrap();
    assert_eq!(seqs(&mut beside), [3], "a successor");
    // The writer is killed; the next one makes the page anew.
    writer.process_dies();
    std::mem::forget(ledger);
    assert_eq!(seqs(&mut beside), [0; 0]);
    let ledger = manual(&vfs.spawn()).open(DIR).unwrap();
    assert_eq!(seqs(&mut beside), [4]);
    drop(ledger);
}
