//! Power cuts under load: an import by a process of its own appends and rolls on ext4 or XFS, and the file system is shut
//! down in the middle. Whatever was not synced is gone then. What the import has acknowledged must be there after
//! mounting again, what is there must be a prefix of its input and no half batch, and opening never refuses.
//!
//! `TASKLEDGER_CUTS` (100) is how many there are, half of them on each file system; `TASKLEDGER_SEED` chooses other
//! moments. A failure prints the seed and the round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskledger::{Ledger, Level, Options, Verdict};

use super::image::{Image, Kind};
use super::on_a_disk;
use crate::kill::import::{Import, Input, SEGMENT_BYTES};
use crate::kill::{Aim, Round, SEED, Site};
use crate::refusals::machine::home_of_child;
use crate::support::{Rng, number, say};

/// How many lines one import gets: more than it can append before the cut.
const WINDOW: usize = 600;
/// How many lines a ledger gets that is there for the cuts at its creation.
const FEW: usize = 30;
/// How many lines at a time bring a ledger to its end after the last cut.
const BULK: usize = 500;

/// How many cuts one file system gets.
fn cuts() -> usize {
    number("TASKLEDGER_CUTS").unwrap_or(100).div_ceil(2) as usize
}

/// Nothing here takes so long unless it hangs.
fn patience() -> Duration {
    Duration::from_secs(60 + 4 * cuts() as u64)
}

#[test]
fn power_cuts_on_ext4_lose_nothing() {
    on_a_disk("disk::cuts::child_on_ext4", Kind::Ext4, patience());
}

#[test]
fn power_cuts_on_xfs_lose_nothing() {
    on_a_disk("disk::cuts::child_on_xfs", Kind::Xfs, patience());
}

#[test]
#[ignore = "the child of another test"]
fn child_on_ext4() {
    cut_again_and_again(Kind::Ext4);
}

#[test]
#[ignore = "the child of another test"]
fn child_on_xfs() {
    cut_again_and_again(Kind::Xfs);
}

/// What the cuts came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: usize,
    /// Cuts while lines were sent and not acknowledged.
    outstanding: usize,
    /// Cuts before a new ledger had acknowledged anything.
    creation: usize,
    /// Cuts before a ledger that is there had acknowledged anything.
    opening: usize,
    /// Cuts after which there was more than was acknowledged.
    more_there: usize,
    acknowledged: usize,
    /// Segments at the end of ledgers that were brought to theirs.
    segments: usize,
}

fn cut_again_and_again(kind: Kind) {
    let Some(home) = home_of_child() else { return };
    let seed = number("TASKLEDGER_SEED").unwrap_or(SEED);
    let (mut rng, started, mut tally) = (Rng(seed), Instant::now(), Tally::default());
    let image = Image::new(kind, &home);
    let input = Arc::new(Input::new(seed));
    let mut sites = 0;
    let mut new_site = |lines: usize| {
        sites += 1;
        Site::new(image.root.join(format!("ledger-{sites}")), &input, lines)
    };
    let (mut main, mut fresh) = (new_site(input.lines.len()), new_site(FEW));
    // From the start to the first acknowledgement, as last seen: of a new ledger, and of one that is there.
    let mut first_acks = [Duration::from_millis(20); 2];
    let finish = |site: &mut Site| {
        site.finish(BULK);
        Ledger::open_read_only(&site.dir).expect("it opens").report().segments as usize
    };

    let mut disk = image.mount();
    while tally.cuts < cuts() {
        tally.cuts += 1;
        let mut micros = |end: u64| Duration::from_micros(rng.below(end));
        let percent = micros(120).as_micros() as u32;
        let pause = micros(3000);
        let is_new = rng.below(6) == 0;
        let site = if is_new { &mut fresh } else { &mut main };
        let is_there = site.acked > 0;
        let aim = match rng.below(8) {
            0 => Aim::After(first_acks[usize::from(is_there)] * percent / 100),
            _ if is_new => Aim::After(first_acks[0] * percent / 100),
            1..5 => Aim::Names(pause / 3),
            _ => Aim::Acked(rng.below(200) as usize + 1, pause),
        };
        let batch = [1, 1, 3, 20][rng.below(4) as usize];
        let from = site.acked.saturating_sub(rng.below(8) as usize);
        let to = (from + WINDOW).min(site.lines);
        let level = [Level::Structure, Level::Content][rng.below(2) as usize];
        let context = Round(format!(
            "TASKLEDGER_SEED={seed} on {kind:?}, cut {}: {aim:?}, lines {from} to {to} by {batch} into {}",
            tally.cuts,
            site.dir.display()
        ));

        let import = Import::start(&site.dir, &input, from..to, batch);
        aim.wait(&import, &site.dir, to - from);
        let (sent, acked) = (import.sent(), import.acked());
        disk.cut();
        // It goes on until a write or a sync fails, or the lines are at their end: what it says until then must be true.
        let fate = import.end();
        disk.unmount();
        disk = image.mount();

        let seen = site.seen;
        site.acked = site.acked.max(from + fate.acked);
        site.look(from + fate.sent_in_all, Some(level));
        let there = site.seen;
        let whole = there == seen || there == to || (there - from).is_multiple_of(batch);
        assert!(whole, "{there} entries are there, of batches of {batch} from {from} on: half a batch");
        if there > 0 && rng.below(3) == 0 {
            let ledger = Options::new().segment_size(SEGMENT_BYTES).open(&site.dir).expect("a writer opens it");
            assert_eq!(ledger.head().0 as usize, there, "a writer finds what a reader found");
            ledger.close().expect("it closes");
            let report = taskledger::verify(&site.dir, Level::Content).expect("it can be verified");
            assert_eq!(report.verdict(), Verdict::Sound, "{:?}", report.findings);
        }
        site.look(there, None);
        assert_eq!(site.seen, there, "it is the same at the second opening");

        tally.outstanding += usize::from(sent > acked);
        tally.creation += usize::from(!is_there && acked == 0);
        tally.opening += usize::from(is_there && acked == 0);
        tally.more_there += usize::from(there > site.acked);
        tally.acknowledged += fate.acked;
        if let Some(first) = fate.first_ack {
            first_acks[usize::from(is_there)] = first;
        }
        if is_new && (there > 0 || rng.below(3) == 0) {
            tally.segments += finish(site);
            fresh = new_site(FEW);
        } else if !is_new && site.lines - site.acked < WINDOW {
            tally.segments += finish(site);
            main = new_site(input.lines.len());
        }
        drop(context);
    }
    tally.segments += finish(&mut main) + finish(&mut fresh);
    disk.unmount();
    let target = cuts();
    assert!(tally.outstanding * 2 >= target, "too few cuts under load: {tally:?}");
    assert!(target < 50 || tally.creation + tally.opening > 0, "{tally:?}");
    say(&format!("disk: seed {seed} on {kind:?}: {tally:?}; {:.1?}", started.elapsed()));
}
