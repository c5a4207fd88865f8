//! Two ledgers live the same random life, and only one of them is pruned: every answer about what is left is the same.
//!
//! `TASKLEDGER_SEED=N cargo test --test it prune::twins` lives other lives. A failure names the seed of the life and the step.

use taskledger::TaskState;
use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::Vfs as _;
use taskledger::{At, Batch, Entry, Error, Event, EventKind, Expect, Ledger, Prune, Receipt, Seq, View};

use super::{open, present, verified};
use crate::support::Rng;

const LIVES: u64 = 60;
const STEPS: u64 = 120;

struct Twins {
    rng: Rng,
    vfs: [MemVfs; 2],
    /// The first one is pruned.
    ledgers: [Ledger; 2],
    /// The seqs that only the first one has.
    controls: Vec<u64>,
    tally: Tally,
}

/// How often what was to come up did.
#[derive(Debug, Default)]
struct Tally {
    prunes: u64,
    blocked: u64,
    forced: u64,
    replayed: u64,
    /// Batches whose receipt went with what was pruned.
    too_old: u64,
    refused: u64,
    cut_histories: u64,
    past: u64,
}

impl Twins {
    fn new(seed: u64) -> Twins {
        let vfs = [MemVfs::new(), MemVfs::new()];
        let ledgers = [open(&vfs[0]), open(&vfs[1])];
        Twins { rng: Rng(seed), vfs, ledgers, controls: Vec::new(), tally: Tally::default() }
    }

    fn event(&mut self) -> Event {
        let ended = [TaskState::Completed, TaskState::Failed, TaskState::Cancelled];
        let state = match self.rng.below(3) {
            0 => TaskState::ALL[self.rng.below(9) as usize],
            _ => ended[self.rng.below(3) as usize],
        };
        let event = match self.rng.below(8) {
            0 => Event::created(),
            1 => Event::removed(),
            2 => Event::updated(),
            _ => Event::observed(state),
        };
        let text: String = (0..self.rng.below(1800)).map(|_| char::from(b'a' + self.rng.below(26) as u8)).collect();
        if event.kind() == EventKind::Removed { event } else { event.meta("text", text) }
    }

    /// One to three events, of which none, the first or all have a key.
    fn append(&mut self) {
        let (count, keyed) = (1 + self.rng.below(3), self.rng.below(3));
        let mut batch = Batch::new();
        for n in 0..count {
            let (task, key) = (format!("t{}", self.rng.below(7)), format!("k{}", self.rng.below(4)));
            // What has a key says the same each time.
            let event = match n < keyed {
                true => Event::observed(TaskState::Completed).key(format!("{key}-{n}-{count}-{keyed}")),
                false => self.event(),
            };
            match self.rng.below(6) {
                0 => batch.push_note(task, Event::noted(self.rng.below(100)), Expect::Any),
                _ => batch.push(task, event, Expect::Any),
            };
        }
        let [here, there] = self.ledgers.each_ref().map(|ledger| ledger.commit(batch.clone()));
        let oldest = self.oldest();
        match (&here, &there) {
            (Ok(here), Ok(there)) => {
                self.tally.replayed += u64::from(here.replayed());
                let items = |of: &Receipt| of.items().iter().map(|item| (item.version, item.at)).collect::<Vec<_>>();
                assert_eq!((here.replayed(), items(here)), (there.replayed(), items(there)));
                assert_eq!(self.plain(here.seq()), there.seq());
            }
            (Err(Error::Pruned { .. }), Ok(there)) => {
                self.tally.too_old += 1;
                assert!(there.replayed() && there.items()[0].seq < self.plain(oldest), "nothing of it was pruned");
            }
            (Err(here), Err(there)) => {
                self.tally.refused += 1;
                assert_eq!(here.code(), there.code());
            }
            other => panic!("one takes it, and the other does not: {other:?}"),
        }
    }

    /// What the seq of an entry is where nothing is pruned.
    fn plain(&self, seq: Seq) -> Seq {
        Seq(seq.0 - self.controls.iter().filter(|control| **control <= seq.0).count() as u64)
    }

    fn oldest(&self) -> Seq {
        match self.ledgers[0].entries(Seq::FIRST).next() {
            Some(Err(Error::Pruned { oldest })) => oldest,
            _ => Seq::FIRST,
        }
    }

    fn prune(&mut self) {
        let ledger = &self.ledgers[0];
        let before = match self.rng.below(3) {
            0 => At::Millis(self.vfs[0].now_ms().saturating_sub(self.rng.below(60))),
            _ => At::Seq(Seq(ledger.head().0.saturating_sub(self.rng.below(40)))),
        };
        let forced = self.rng.below(3) == 0;
        let prune = Prune::before(before);
        let prune = if forced { prune.forced() } else { prune };
        let went = |task: &str| ledger.history(task).unwrap().pruned();
        let tasks = ledger.list(taskledger::Filter::new()).unwrap().tasks;
        let unended: Vec<_> = tasks.iter().filter(|task| !task.record.state.is_terminal()).collect();
        let held: Vec<u64> = unended.iter().map(|task| went(&task.record.id)).collect();
        let pruning = ledger.prune(&prune).unwrap();
        if !forced {
            let holds: Vec<u64> = unended.iter().map(|task| went(&task.record.id)).collect();
            assert_eq!(held, holds, "nothing goes of what has not come to its end");
        }
        self.controls.extend(pruning.entry.map(|seq| seq.0));
        self.tally.prunes += u64::from(pruning.entry.is_some());
        self.tally.forced += u64::from(pruning.entry.is_some() && forced);
        self.tally.blocked += u64::from(pruning.blocked.is_some());
        assert_eq!(self.oldest(), pruning.oldest);
    }

    /// By dropping, or by a kill.
    fn reopen(&mut self) {
        let kill = self.rng.below(2) == 0;
        let after = self.vfs.each_ref().map(|vfs| if kill { vfs.kill() } else { vfs.clone() });
        // The old ones end here, where it is no kill.
        self.ledgers = [open(&MemVfs::new()), open(&MemVfs::new())];
        self.vfs = after;
        self.ledgers = [open(&self.vfs[0]), open(&self.vfs[1])];
        assert_eq!(self.ledgers[0].report().oldest, self.oldest());
    }

    fn step(&mut self) {
        for vfs in &self.vfs {
            vfs.advance_ms(1);
        }
        match self.rng.below(40) {
            0..4 => self.prune(),
            4 => self.ledgers.iter().for_each(|ledger| ledger.maintain().unwrap()),
            5 => self.ledgers.iter().for_each(|ledger| assert!(ledger.snapshot().unwrap() <= ledger.head())),
            6 => self.reopen(),
            7..9 => self.compare(),
            _ => self.append(),
        }
    }

    fn compare(&mut self) {
        let [here, there] = &self.ledgers;
        assert_eq!(present(here), present(there));
        assert_eq!(here.counts().total(), there.counts().total());
        let oldest = self.oldest();
        let kept: Vec<Entry> = here.entries(oldest).map(Result::unwrap).collect();
        let all: Vec<Entry> = there.entries(self.plain(Seq(oldest.0 - 1))).skip(1).map(Result::unwrap).collect();
        let all = if oldest == Seq::FIRST { there.entries(oldest).map(Result::unwrap).collect() } else { all };
        let (controls, kept): (Vec<Entry>, Vec<Entry>) =
            kept.into_iter().partition(|entry| entry.event.kind() == EventKind::Pruned);
        assert!(controls.iter().all(|entry| self.controls.contains(&entry.seq.0)));
        assert_eq!(kept.len(), all.len());
        for (kept, all) in kept.iter().zip(&all) {
            let mut same = kept.clone();
            same.seq = self.plain(kept.seq);
            assert_eq!(same, *all);
        }
        for task in 0..7 {
            let task = format!("t{task}");
            let (mut mine, whole) = (here.history(&task).unwrap(), there.history(&task).unwrap());
            let whole: Vec<Entry> = whole.map(Result::unwrap).collect();
            let cut = mine.pruned() as usize;
            self.tally.cut_histories += u64::from(cut > 0);
            let mine: Vec<Option<u64>> = mine.by_ref().map(|entry| entry.unwrap().version).collect();
            assert_eq!(mine, whole[cut..].iter().map(|entry| entry.version).collect::<Vec<_>>());
            assert!(whole[..cut].iter().all(|entry| entry.seq < self.plain(oldest)), "it counts what is there");
        }
        // A moment that is kept.
        let moment = Seq(oldest.0 - 1 + self.rng.below(here.head().0 + 2 - oldest.0));
        let [mine, theirs]: [View; 2] =
            [(here, moment), (there, self.plain(moment))].map(|(ledger, seq)| ledger.as_of(At::Seq(seq)).unwrap());
        let all = |view: &View| {
            let mut tasks = view.list(taskledger::Filter::new()).unwrap().tasks;
            tasks.sort_by(|one, other| one.record.id.cmp(&other.record.id));
            tasks.into_iter().map(|task| (format!("{:?}", task.record), task.version)).collect::<Vec<_>>()
        };
        assert_eq!(all(&mine), all(&theirs), "as of seq {moment}");
        self.tally.past += 1;
    }
}

#[test]
fn one_of_two_that_live_alike_is_pruned() {
    let seed = std::env::var("TASKLEDGER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut sum = [0; 8];
    for life in 0..LIVES {
        let mut twins = Twins::new(seed + life * 7919);
        for step in 0..STEPS {
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| twins.step()));
            lived.unwrap_or_else(|_| panic!("TASKLEDGER_SEED={} fails at step {step}", seed + life * 7919));
        }
        twins.compare();
        let Twins { vfs, ledgers, tally, .. } = twins;
        drop(ledgers);
        let report = verified(&vfs[0]);
        assert_eq!(report.findings.len(), 0, "life {life}: {:?}", report.findings);
        let Tally { prunes, blocked, forced, replayed, too_old, refused, cut_histories, past } = tally;
        let counts = [prunes, blocked, forced, replayed, too_old, refused, cut_histories, past];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    println!("prunes, blocked, forced, replayed, too old, refused, cut histories, past: {sum:?}");
    assert!(sum.iter().all(|&count| count >= 20), "too little comes up: {sum:?}");
}
