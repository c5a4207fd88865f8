//! The scripts that the crash tests run. A new one is one more line in [`all`].

use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::fault::{CallKind, Choice, Effect, Pending, SyncFailure};
use taskledger::{Durability, Error};

use super::beside;
use super::company::together;
use super::derived;
use super::journal::{create, go, large, note, note_removed, noted};
use super::script::{BUFFERED, Script, count_on, demand};

/// What must come out at least once, so that a trace that tests nothing is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// Some state discards what was submitted, and some keeps what was not acknowledged.
    Both,
    Anything,
}

/// Whether tables are made in the trace with this name.
pub fn makes_tables(name: &str) -> bool {
    ["index", "snapshot", "tables", "prune"].iter().any(|made| name.contains(made))
}

/// Whether sectors are torn in the trace with this name. A floor is many sectors, each of which would be torn at each word
/// before anybody looks at it; frames are torn in all other traces.
pub fn is_torn(name: &str) -> bool {
    !name.contains("prune")
}

pub type Trace = (&'static str, Meant, fn(&mut Script));

pub fn all() -> Vec<Trace> {
    use Meant::{Anything, Both};
    vec![
        ("creation", Anything, |s| s.open()),
        ("creation and close", Anything, |s| {
            s.open();
            s.close();
        }),
        ("single appends", Both, single_appends),
        ("a batch", Both, |s| {
            s.open();
            s.append(create("a"));
            s.batch(&[create("b"), go("a", Ready), create("c"), go("a", Running)]);
            s.append(go("a", Completed));
        }),
        ("a batch over two frames", Both, |s| {
            s.open();
            s.append(create("a"));
            s.batch(&[large("a", 4200), note("a", "in the second frame"), create("b")]);
            s.append(go("a", Ready));
        }),
        ("a batch over three frames", Both, |s| {
            s.open();
            s.append(create("a"));
            s.batch(&[large("a", 4100), create("b"), large("b", 4100), note("a", "x"), go("b", Ready)]);
        }),
        ("a batch larger than a segment", Both, |s| {
            s.open();
            s.append(create("a"));
            s.batch(&[large("a", 7000), create("b"), large("b", 9000), go("b", Ready)]);
            s.append(go("a", Ready));
        }),
        ("an event larger than a segment", Both, |s| {
            s.open();
            s.append(create("a"));
            s.append(large("a", 17_000));
            s.append(go("a", Ready));
        }),
        ("several threads at once", Both, |s| {
            s.open();
            s.close();
            let life =
                |task: &str| vec![vec![create(task)], vec![go(task, Ready), note(task, "r")], vec![go(task, Running)]];
            together(&s.vfs, &mut s.journal, ["a", "b", "c", "d"].map(life).to_vec());
        }),
        ("notes beside tasks", Both, |s| {
            s.open();
            s.append(create("a"));
            s.append(noted("a", 20));
            s.batch(&[go("a", Ready), noted("dlq", 4200), note_removed("a"), create("b")]); // over two frames
            s.kill();
            s.open();
            s.batch(&[noted("b", 30), noted("dlq", 5), go("a", Running)]);
            s.batch(&[noted("b", 6), note_removed("b")]);
            s.append(noted("dlq", 9000)); // this one rolls
            demand(s.segments() == 2, "it did not roll");
            s.append(note_removed("dlq"));
            s.append(noted("a", 10));
        }),
        ("placed beside a flight", Both, beside::placed_beside_a_flight),
        ("written beside a sync", Both, beside::written_beside_a_sync),
        ("written beside a sync that fails", Both, beside::written_beside_a_sync_that_fails),
        ("followed", Both, |s| beside::followed(s, Durability::Sync)),
        ("followed, buffered", Both, |s| beside::followed(s, BUFFERED)),
        ("roll", Both, |s| roll(s, false)),
        ("roll with a spare made ahead", Both, |s| roll(s, true)),
        ("close and reopen", Both, |s| {
            s.open();
            s.append(create("a"));
            s.close();
            s.open();
            s.append(go("a", Ready));
            s.close();
            s.open();
            s.close();
        }),
        ("killed and continued in place", Both, |s| {
            s.open();
            s.append(create("a"));
            s.append(create("b"));
            s.kill();
            s.open();
            s.append(go("a", Ready));
            s.kill();
            s.open();
            s.append(go("b", Ready));
        }),
        ("killed right after a roll", Both, |s| {
            roll(s, true);
            s.kill();
            s.open();
            s.append(create("x"));
        }),
        ("indexes", Both, derived::indexes),
        ("a snapshot, and more behind it", Both, derived::a_snapshot),
        ("tables that are lost", Both, derived::tables_that_are_lost),
        ("no room for an index", Both, derived::no_room_for_an_index),
        ("a prune, a kill, and another", Both, derived::a_prune),
        ("a full disk, then room again", Both, |s| {
            s.open();
            s.batch(&[create("a"), large("a", 6000)]);
            s.vfs.set_capacity(Some(30_000));
            for _ in 0..2 {
                let full = s.try_batch(&[large("a", 6500)]);
                demand(matches!(full, Err(Error::NoSpace { .. })), full);
            }
            s.append(go("a", Ready)); // this one fits
            s.vfs.set_capacity(None);
            s.append(large("a", 5000));
            s.append(go("a", Running));
        }),
        ("vouch", Both, |s| {
            s.open();
            s.append(create("a"));
            s.maintain();
            s.append(go("a", Ready));
            s.maintain();
            s.kill();
            s.open();
            s.maintain();
            s.append(create("b"));
        }),
        ("buffered", Both, |s| {
            s.open_buffered();
            s.write(&[create("a")]);
            s.write(&[go("a", Ready), create("b")]);
            s.sync();
            s.write(&[go("a", Running)]);
            s.maintain();
            s.write(&[create("c"), large("c", 1200)]);
            s.write(&[go("a", Completed)]);
        }),
        ("buffered, with a roll", Both, |s| {
            s.open_buffered();
            s.write(&[create("a"), large("a", 3000)]);
            s.write(&[large("a", 3900)]);
            s.write(&[large("a", 5000)]); // this one rolls
            demand(s.segments() == 2, "it did not roll");
            s.write(&[go("a", Ready)]);
            s.write(&[go("a", Running)]);
            s.close();
        }),
        ("buffered, killed, and synced by the next", Both, |s| {
            s.open_buffered();
            s.write(&[create("a")]);
            s.write(&[create("b"), large("b", 700)]);
            s.kill();
            s.open_buffered();
            s.write(&[go("a", Ready)]);
            s.kill();
            s.open();
            s.append(go("a", Running));
        }),
        ("tickets", Both, |s| {
            s.open();
            s.submit(&[create("a")]);
            s.submit(&[create("b"), go("a", Ready)]);
            s.maintain();
            s.submit(&[go("a", Running)]);
            s.append(create("c"));
            s.submit(&[large("c", 6000), large("a", 3000)]);
            s.submit(&[large("b", 5000)]); // this one rolls
            demand(s.segments() == 2, "it did not roll");
            s.submit(&[go("a", Completed)]);
            s.sync();
            s.submit(&[note("b", "placed, and never flushed")]);
        }),
        ("a torn tail, a successor, and on", Both, torn_tail),
        ("two torn tails", Both, |s| {
            torn_tail(s);
            let tear = [create("y"), large("y", 2000)];
            s.batch(&tear);
            s.kill();
            s.open();
            s.append(go("y", Ready));
        }),
        ("half of a batch of frames, and on", Both, |s| {
            s.open();
            s.append(create("a"));
            lose(s, &[large("a", 4200), note("a", "never"), create("b")], half_of_the_sectors);
            s.open();
            s.append(create("c"));
        }),
        ("poisoned, read back, lost", Both, |s| poisoned(s, Effect::Sync(SyncFailure::LiveNewDiskOld))),
        ("poisoned and reverted", Both, |s| poisoned(s, Effect::Sync(SyncFailure::LiveOldDiskOld))),
        ("a sync that lied", Anything, |s| {
            s.open();
            s.append(create("a"));
            s.fail_next(CallKind::SyncData, Effect::Sync(SyncFailure::ReportedLate));
            s.journal.lied();
            s.append(create("b"));
            let late = s.try_batch(&[create("c")]);
            demand(matches!(late, Err(Error::Unknown { .. })), late);
            s.drop_ledger();
            s.open();
            s.append(create("d"));
        }),
        ("poisoned by half a write", Both, |s| {
            s.open();
            s.append(create("a"));
            s.fail_next(CallKind::Write, Effect::ErrorAfter(600));
            let failed = s.try_batch(&[create("b"), large("b", 1500)]);
            demand(matches!(failed, Err(Error::Unknown { .. })), failed);
            s.drop_ledger();
            s.open();
            s.append(create("c"));
            s.append(create("d"));
        }),
        ("recovery that fails, then one that works", Both, |s| {
            s.open();
            s.append(create("a"));
            s.fail_next(CallKind::SyncData, Effect::Error);
            let failed = s.try_batch(&[create("b"), large("b", 700)]);
            demand(matches!(failed, Err(Error::Unknown { .. })), failed);
            s.drop_ledger();
            s.fail_next(CallKind::SyncData, Effect::Error);
            demand(s.try_open().is_err(), "what recovery cannot sync is not shown");
            s.open();
            s.append(create("c"));
        }),
    ]
}

fn single_appends(s: &mut Script) {
    s.open();
    s.append(create("a"));
    s.append(go("a", Ready));
    s.append(go("a", Running));
    s.append(note("a", &"half a sector of text ".repeat(12)));
    s.append(go("a", Completed));
}

/// Fills the first segment and goes on in the second.
fn roll(s: &mut Script, spare: bool) {
    s.open();
    s.batch(&[create("a"), large("a", 3000)]);
    s.append(large("a", 3900));
    if spare {
        s.maintain();
    }
    s.append(large("a", 3800));
    s.append(go("a", Ready));
    s.append(large("a", 900));
    s.append(go("a", Running));
}

/// The power fails while these are being appended, and leaves what `choose` says.
fn lose(s: &mut Script, facts: &[super::journal::Fact], choose: fn(&Pending) -> Option<Choice>) {
    let effect = Effect::Error;
    s.fail_next(CallKind::SyncData, effect);
    let failed = s.try_batch(facts);
    demand(matches!(failed, Err(Error::Unknown { .. })), failed);
    // The moment before that sync.
    let at = s.vfs.trace_len() - 1;
    let pending = s.vfs.pending(at);
    let choice = count_on(choose(&pending).ok_or(()), "the flight is pending");
    let after = count_on(pending.image(&choice).ok_or(()), "the choice is possible");
    s.power_cut(after);
}

/// Every second sector is kept, the first one lost.
fn half_of_the_sectors(pending: &Pending) -> Option<Choice> {
    let mut choice = pending.all_kept();
    for version in choice.sectors.iter_mut().step_by(2) {
        *version = 0;
    }
    Some(choice)
}

/// All but the first sector is lost.
fn torn_tail(s: &mut Script) {
    s.open();
    s.append(create("a"));
    s.append(create("b"));
    lose(s, &[large("a", 1500)], |pending| {
        let mut choice = pending.none_kept();
        let last = pending.sectors.iter().rposition(|sector| sector.newer.len() == 1 && sector.index >= 8);
        choice.sectors[last?] = 1;
        Some(choice)
    });
    s.open();
    s.append(create("c"));
    s.append(go("c", Ready));
}

fn poisoned(s: &mut Script, effect: Effect) {
    s.open();
    s.append(create("a"));
    s.fail_next(CallKind::SyncData, effect);
    let failed = s.try_batch(&[create("b"), large("b", 700)]);
    demand(matches!(failed, Err(Error::Unknown { .. })), failed);
    let after = s.try_batch(&[create("c")]);
    demand(matches!(after, Err(Error::Poisoned { .. })), after);
    s.drop_ledger();
    s.open();
    s.append(create("c"));
    s.append(go("a", Ready));
}
