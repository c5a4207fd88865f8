//! Traces in which indexes and snapshots are made, used, lost and made again. None of it may change an answer.

use taskledger::Error;
use taskledger::TaskState::{Completed, Ready, Running};
use taskledger::vfs::ops::Vfs as _;

use super::journal::{create, go, note, note_removed, noted};
use super::oracle::tables;
use super::script::{Script, count_on, demand, everything};

fn has_tables(s: &Script, ends: &[(&str, usize)]) {
    for (end, count) in ends {
        let there = tables(&s.vfs).iter().filter(|path| path.extension().is_some_and(|is| is == *end)).count();
        demand(there == *count, format!("{there} tables end with {end}, and {count} should"));
    }
}

/// Fills half a segment with what no table has to keep.
fn fill(s: &mut Script) {
    s.batch(&[noted("gone", 6400), note_removed("gone")]);
}

/// Two segments, and a third that is being written.
fn two_rolls(s: &mut Script) {
    s.batch(&[create("a"), create("b"), noted("n", 30)]);
    fill(s);
    fill(s);
    fill(s);
    s.append(go("a", Ready));
    demand(s.segments() == 3, "there should be three segments");
    s.append(go("a", Running));
}

pub fn indexes(s: &mut Script) {
    s.open();
    two_rolls(s);
    s.maintain();
    has_tables(s, &[("idx", 2), ("snap", 0)]);
    s.batch(&[go("a", Completed), noted("n", 9)]);
    s.kill();
    s.open();
    s.append(note("b", "x"));
}

pub fn a_snapshot(s: &mut Script) {
    s.open();
    two_rolls(s);
    s.snapshot();
    has_tables(s, &[("idx", 2), ("snap", 1)]);
    fill(s);
    fill(s);
    s.kill();
    s.open();
    s.append(go("a", Completed));
    s.snapshot();
}

pub fn tables_that_are_lost(s: &mut Script) {
    s.open();
    two_rolls(s);
    s.snapshot();
    s.kill();
    for path in tables(&s.vfs) {
        count_on(s.vfs.remove(&path), "removing a table");
    }
    s.open();
    has_tables(s, &[("idx", 0), ("snap", 0)]);
    s.append(go("a", Completed));
    s.maintain();
    has_tables(s, &[("idx", 2), ("snap", 0)]);
}

pub fn no_room_for_an_index(s: &mut Script) {
    s.open();
    two_rolls(s);
    s.vfs.set_capacity(Some(3 * (16 << 10) + 3 * 4096));
    let full = s.try_maintain();
    demand(matches!(full, Err(Error::NoSpace { .. })), full);
    has_tables(s, &[("idx", 0)]);
    s.append(go("a", Completed));
    s.vfs.set_capacity(None);
    s.maintain();
    has_tables(s, &[("idx", 2)]);
    s.append(note("b", "x"));
}

/// Two prunes, with a kill between them: the first takes two segments, the second one more and an end that no task has come to.
pub fn a_prune(s: &mut Script) {
    s.open();
    s.batch(&[create("a"), noted("n", 30), go("a", Ready)]);
    fill(s);
    fill(s);
    s.append(go("a", Running));
    s.append(go("a", Completed));
    fill(s);
    demand(s.segments() == 3, "there should be three segments");
    s.prune(&everything(false));
    demand(s.segments() == 1, "there should be one segment");
    s.append(create("b"));
    fill(s);
    s.kill();
    s.open();
    s.prune(&everything(true));
    demand(s.segments() == 1, "there should be one segment");
    s.append(go("b", Ready));
}
