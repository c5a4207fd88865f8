//! How openings end, what the next one finds, and what is seen by those who look: at the past, beside a writer and
//! after it.

use std::sync::Arc;

use taskledger::{At, Error, Ledger, Options, Reader, Seq};

use super::answers::{Depth, check_ledger, check_view};
use super::cut::{Journal, power_cut};
use super::ops::{Cut, Ending};
use super::pair::{Pair, Place};
use crate::reference::Reference;
use crate::support::ClockVfs;

impl Pair<'_> {
    pub fn reopen(&mut self, ending: Ending) {
        let ledger = self.ledger.take().expect("open between operations");
        self.epoch_before = self.epoch_before.max(self.epoch.take().unwrap_or(0));
        match (ending, &self.place) {
            (Ending::Close, _) => ledger.close().expect("nothing fails"),
            (Ending::Kill, Place::Memory(vfs)) => {
                let killed = vfs.kill();
                drop(ledger);
                self.move_to(Place::Memory(killed));
            }
            (Ending::Cut(cut), Place::Memory(_)) => self.cut(ledger, cut),
            (Ending::Drop | Ending::Kill | Ending::Cut(_), _) => drop(ledger),
        }
        self.look_from_outside();
        self.open();
        let report = self.ledger().report();
        assert_eq!((report.created, report.last.0), (false, self.model.head()));
        assert_eq!(report.oldest.0, self.model.oldest(), "what a prune has told has happened, and nothing else");
        self.tally.count_if("bytes left out", report.left_out.is_some());
        // What opening shows stays, whatever comes.
        self.journal.tells(self.moment(), self.model.head(), self.model.head());
        self.look(self.model.head() / 2, 1, 2);
    }

    /// Goes on in another world, in which nobody lives.
    fn move_to(&mut self, place: Place) {
        self.reader = None;
        if let Place::Memory(vfs) = &place {
            self.vfs = ClockVfs::new(vfs.clone(), self.now);
        }
        self.place = place;
    }

    /// The power fails. What is left begins as the model does, and has all that must be there; the model goes on from it.
    fn cut(&mut self, ledger: Ledger, cut: Cut) {
        let Place::Memory(vfs) = &self.place else { return };
        let moment = self.journal.moment(cut, &vfs.trace());
        let known = self.journal.of(moment);
        let image = power_cut(vfs, moment, cut.seed);
        drop(ledger);
        self.move_to(Place::Memory(image));
        let kept = self.read_only().view().seq().0;
        assert!(kept >= known.safe, "ACKNOWLEDGED ENTRIES ARE LOST: seq {kept} is the last, after {known:?}");
        assert!(kept <= known.placed, "seq {kept} was not appended by then: {known:?}");
        self.model = self.model.cut_to(kept);
        assert!(!self.model.ends_within_a_batch(), "half a batch: seq {kept} is the last");
        for (_, receipt) in &mut self.submitted {
            // Nobody may remember what is gone.
            *receipt = receipt.take().filter(|(receipt, _)| receipt.places.iter().all(|place| place.1 <= kept));
        }
        let epochs = self.submitted.iter().filter_map(|(_, receipt)| Some(receipt.as_ref()?.1));
        self.epoch_before = epochs.max().unwrap_or(0);
        // All that is left is on the disk.
        self.journal = Journal::new(0, kept);
        self.tally.count("cuts");
        self.tally.count_if("cuts that lost what had a place", kept < known.placed);
        self.tally.count_if("cuts that kept what nobody was told", kept > known.told);
        self.tally.count_if("cuts that lost what was told", kept < known.told);
        self.tally.count_if("cuts with something that must stay", known.safe > 0);
    }

    pub fn look(&mut self, seq: u64, millis: u64, limit: usize) {
        let ledger = self.ledger();
        check_ledger(ledger, &self.model, limit, Depth::Whole, self.tally);
        self.look_beside();
        // Then those who only read see everything.
        self.sync();
        self.look_beside();

        let (ledger, model) = (self.ledger(), &self.model);
        let seq = seq % (model.head() + 1);
        self.look_back(At::Seq(Seq(seq)), &model.as_of_seq(seq), limit);
        let first = model.entries.first().map_or(0, |entry| entry.at);
        let span = model.head_at() - first + 3;
        let millis = (first + millis % span).saturating_sub(1);
        self.look_back(At::Millis(millis), &model.as_of_time(millis), limit);

        let ahead = ledger.as_of(At::Seq(Seq(model.head() + 1))).expect_err("nothing is there yet");
        assert_eq!(ahead.code(), "AHEAD");
    }

    /// The past, of which the model is this.
    fn look_back(&self, at: At, then: &Reference, limit: usize) {
        let got = self.ledger().as_of(at);
        if then.head() + 1 < then.oldest() {
            let refused = got.expect_err("nobody can say how it was before what was pruned");
            let said = matches!(refused, Error::Pruned { oldest } if oldest.0 == then.oldest());
            assert!(said, "{at:?}: {refused}, and {} is the oldest", then.oldest());
            self.tally.count("asked for what was pruned");
            return;
        }
        let view = got.expect("it is there, and times are never ahead");
        match at {
            At::Millis(millis) => {
                assert_eq!(view.is_final(), self.model.head_at() > millis, "the ledger has passed {millis}");
            }
            _ => assert!(view.is_final(), "an entry that is there stays where it is"),
        }
        check_view(&view, then, limit, Depth::Whole, self.tally);
    }

    /// Those who read beside the writer see what is durable: one who comes now, and one who was there before.
    pub fn look_beside(&mut self) {
        let durable = self.ledger().durable().0;
        assert!(durable >= self.journal.last().safe, "what was durable stays so");
        self.tally.count_if("readers beside what is not durable", durable < self.ledger().head().0);
        self.look_read_only(durable, true);
    }

    /// Nobody writes: all that is there is seen.
    fn look_from_outside(&mut self) {
        self.look_read_only(self.model.head(), false);
    }

    fn look_read_only(&mut self, seen: u64, beside: bool) {
        let model = self.model.as_of_seq(seen);
        let check = |reader: &Reader| {
            assert_eq!(reader.report().writer.is_some(), beside, "a writer lives");
            let oldest = reader.report().oldest.0;
            // Where a power cut has interrupted a prune, the next writer finishes it.
            let may_be = if beside { vec![model.oldest()] } else { model.oldest_ever().collect() };
            assert!(may_be.contains(&oldest), "{oldest} is the oldest, and may be {may_be:?}");
            self.tally.count_if("prunes left unfinished by a power cut", oldest != model.oldest());
            let model = model.whose_oldest_is(oldest);
            check_view(reader.view(), &model, 1 + seen as usize % 3, Depth::Quick, self.tally);
        };
        let fresh = self.read_only();
        check(&fresh);
        let reader = match self.reader.take() {
            None => fresh,
            Some((mut reader, before, oldest)) => {
                // What was pruned since then it may have, or not.
                if oldest == self.model.oldest() {
                    check_view(reader.view(), &self.model.as_of_seq(before), 2, Depth::Quick, self.tally);
                }
                reader.refresh().expect("nothing is damaged");
                check(&reader);
                self.tally.count_if("refreshes that show more", seen > before);
                self.tally.count_if("refreshes after a prune", oldest != self.model.oldest());
                reader
            }
        };
        let oldest = reader.report().oldest.0;
        self.reader = Some((reader, seen, oldest));
    }

    /// Opens it as another process does that only reads.
    fn read_only(&self) -> Reader {
        let options = match &self.place {
            Place::Memory(vfs) => Options::new().vfs(Arc::new(vfs.spawn())),
            Place::Real(_) => Options::new(),
        };
        options.open_read_only(&self.dir).expect("nothing is damaged")
    }
}
