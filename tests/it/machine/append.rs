//! Appends, submits and tickets: what each may come to, where calls fail.

use taskledger::{Error, Receipt};

use super::ops::Fact;
use super::words;
use super::world::{Checked, Health, Met, Waiting, World};
use crate::crash::oracle::told;
use crate::model::ops::time;
use crate::reference::{RefExpect, RefItem, RefReceipt, RefRefusal, Reference, batch_of};

/// What the model says, and what the product said.
type Expected = Result<RefReceipt, RefRefusal>;

/// What became of a batch.
enum Fate {
    /// As the model says.
    AsExpected,
    /// It is there or not.
    Unknown,
    /// It has no place, since something failed.
    Nothing,
}

impl World<'_> {
    /// The items of a batch, each drawn from what is there before the batch.
    pub fn resolve(&self, facts: Vec<Fact>) -> Vec<RefItem> {
        facts.into_iter().map(|fact| fact.resolve(&self.model, self.now)).collect()
    }

    /// An earlier batch with a key.
    pub fn again(&self, which: usize, stated: Option<i64>, changed: bool) -> Option<Vec<RefItem>> {
        let mut items = self.keyed.get(which % self.keyed.len().max(1))?.clone();
        let len = items.len();
        for (n, item) in items.iter_mut().enumerate() {
            item.expect = RefExpect::Any;
            let Some(event) = &mut item.event else { continue };
            event.stated = time(self.now, stated);
            if changed && n == which % len {
                event.reason = Some("changed".to_owned());
            }
        }
        Some(items)
    }

    fn keep(&mut self, items: &[RefItem]) {
        let has_key = |item: &RefItem| item.event.as_ref().is_some_and(|event| event.key.is_some());
        if items.iter().any(has_key) && !self.keyed.iter().any(|batch| batch == items) {
            self.keyed.push(items.to_vec());
        }
    }

    /// A batch without an event is refused, whatever else is the matter.
    fn is_empty(&mut self, items: &[RefItem]) -> Checked<bool> {
        let batch = batch_of(items);
        if !batch.is_empty() {
            return Ok(false);
        }
        match self.ledger()?.commit(batch) {
            Err(Error::Limit { .. }) => self.came_to("LIMIT"),
            other => return Err(format!("a batch without an event came to {other:?}")),
        }
        Ok(true)
    }

    pub fn append(&mut self, items: Vec<RefItem>) -> Checked {
        self.say(format!("append {}", words::batch(&items)));
        if self.is_empty(&items)? {
            return Ok(());
        }
        let (before, expected, at) = self.place(&items);
        let batch = batch_of(&items);
        let segments = self.segments();
        let (got, met) = self.watch(|world| world.ledger().map(|ledger| ledger.commit(batch)));
        self.tally.count_if("rolls", self.segments() > segments);
        self.settle(before, at, &items, &expected, got?, met)?;
        self.keep(&items);
        self.learn()
    }

    pub fn submit(&mut self, items: Vec<RefItem>) -> Checked {
        self.say(format!("submit {}", words::batch(&items)));
        if self.is_empty(&items)? {
            return Ok(());
        }
        let (before, expected, at) = self.place(&items);
        let batch = batch_of(&items);
        let segments = self.segments();
        let (got, met) = self.watch(|world| world.ledger().map(|ledger| ledger.submit_batch(batch)));
        self.tally.count_if("rolls", self.segments() > segments);
        match got? {
            Ok(_) if self.health == Health::Poisoned => return Err("a submit after the poison is taken".to_owned()),
            Ok(_) if met.sync => return Err("a submit hides a sync that failed".to_owned()),
            Ok(ticket) => {
                self.came_to("a ticket");
                self.health = Health::Sound;
                self.tickets.push(Waiting { ticket, items: items.clone(), expected });
            }
            Err(error) => self.settle(before, at, &items, &expected, Err(error), met)?,
        }
        self.keep(&items);
        self.learn()
    }

    /// Does it in the model: that, and its moment, is what it goes back to if the batch gets no place.
    fn place(&mut self, items: &[RefItem]) -> (Reference, Expected, usize) {
        let before = self.model.clone();
        let expected = self.model.apply(items, self.now);
        let at = self.vfs.trace_len();
        self.journal.places(at, self.model.head());
        (before, expected, at)
    }

    /// Takes down what an append came to.
    fn settle(
        &mut self,
        before: Reference,
        at: usize,
        items: &[RefItem],
        expected: &Expected,
        got: Result<Receipt, Error>,
        met: Met,
    ) -> Checked {
        let was = self.health;
        match self.judge(items, expected, got, met)? {
            Fate::AsExpected if was == Health::Poisoned && !is_limit(expected) => {
                Err("an append after the poison is taken, or refused for another reason".to_owned())
            }
            Fate::Unknown if was == Health::Poisoned => Err("a batch after the poison is unknown".to_owned()),
            // Whoever looks at a batch has seen that it takes appends; its limits are looked at before.
            Fate::AsExpected if !is_limit(expected) => {
                self.health = Health::Sound;
                Ok(())
            }
            Fate::AsExpected | Fate::Unknown => Ok(()),
            Fate::Nothing => {
                self.journal.takes_back(at, before.head());
                self.model = before;
                Ok(())
            }
        }
    }

    pub fn wait_all(&mut self) -> Checked {
        if !self.tickets.is_empty() {
            self.say(format!("wait for {} tickets", self.tickets.len()));
        }
        for Waiting { ticket, items, expected } in std::mem::take(&mut self.tickets) {
            let (got, met) = self.watch(|_| ticket.wait());
            let fate = self.judge(&items, &expected, got, met)?;
            if let (Fate::Nothing, Ok(RefReceipt { replayed: false, .. })) = (fate, &expected) {
                return Err("a batch with a ticket has lost its place".to_owned());
            }
            if self.ledger.is_some() {
                self.learn()?;
            }
        }
        Ok(())
    }

    /// Whether an answer is right. An error that says that something failed is, where something did.
    fn judge(
        &mut self,
        items: &[RefItem],
        expected: &Expected,
        got: Result<Receipt, Error>,
        met: Met,
    ) -> Checked<Fate> {
        match (expected, got) {
            (Ok(expected), Ok(got)) if RefReceipt::of(&got) == *expected => {
                if met.sync {
                    return Err("an append hides a sync that failed".to_owned());
                }
                self.taken(expected, &got)?;
                Ok(Fate::AsExpected)
            }
            (Err(expected), Err(got)) if expected.is(&got) => {
                self.came_to(got.code());
                self.tally.count(refused_by(expected, items));
                Ok(Fate::AsExpected)
            }
            (expected, Err(Error::Unknown { first, last, .. })) if self.excused(met) => {
                if let Ok(RefReceipt { places, replayed: false }) = expected {
                    let seqs = (places.first().map(|place| place.1), places.last().map(|place| place.1));
                    if seqs != (Some(first.0), Some(last.0)) {
                        return Err(format!("seq {first} to {last} is unknown, and {seqs:?} was asked for"));
                    }
                }
                if self.ledger.as_ref().is_some_and(|ledger| ledger.head() >= last) {
                    return Err(format!("seq {last} is unknown, and it is shown"));
                }
                self.tally.count("unknown");
                self.poisoned("unknown");
                Ok(Fate::Unknown)
            }
            (_, Err(Error::Poisoned { .. })) if self.excused(met) => {
                self.poisoned("poisoned");
                self.tally.count("refused after a poison");
                Ok(Fate::Nothing)
            }
            (_, Err(Error::NoSpace { .. })) if met.no_space && self.health != Health::Poisoned => {
                self.came_to("no space");
                self.tally.count("refused for want of space");
                self.health = Health::Sound;
                self.no_space = true;
                Ok(Fate::Nothing)
            }
            (_, Err(Error::Io { .. })) if met.any && self.health != Health::Poisoned => {
                self.came_to("refused, since something failed");
                self.health = Health::Sound;
                self.tally.count("refused since a call failed");
                Ok(Fate::Nothing)
            }
            // What a receipt of several events is read back from is gone.
            (Ok(RefReceipt { replayed: true, .. }), Err(Error::Damaged { .. } | Error::Io { .. }))
                if self.unreadable || met.any =>
            {
                self.came_to("cannot be read back");
                Ok(Fate::Nothing)
            }
            (expected, got) => {
                let got = got.map_or_else(|error| told(&error), |receipt| format!("{receipt:?}"));
                Err(format!("it came to {got}\n    instead of {expected:?}"))
            }
        }
    }

    fn taken(&mut self, expected: &RefReceipt, got: &Receipt) -> Checked {
        let last = got.seq().0;
        if expected.replayed {
            self.came_to(&format!("seq {last} again"));
            self.tally.count("replayed by its key");
            let first = self.receipts.iter().find(|(seq, ..)| *seq == last);
            if first.is_some_and(|(_, epoch, _)| *epoch != got.epoch()) {
                return Err("a replayed receipt has another epoch than the first".to_owned());
            }
            return Ok(());
        }
        self.came_to(&format!("seq {last}"));
        self.tally.count("appended");
        self.tally.count_if("appended once there was room again", std::mem::take(&mut self.no_space));
        if got.epoch() <= self.epoch_before {
            return Err(format!("the epoch is {}, and {} was before it", got.epoch(), self.epoch_before));
        }
        self.receipts.push((last, got.epoch(), self.vfs.trace_len()));
        // What was written once and is gone for everybody since then is told, and need not be there.
        if !self.unreadable {
            self.journal.tells(self.vfs.trace_len(), last, if self.syncs() { last } else { 0 });
        }
        Ok(())
    }
}

fn is_limit(expected: &Expected) -> bool {
    matches!(expected, Err(RefRefusal::Rules(codes)) if codes.contains(&"LIMIT"))
}

/// The class of a refusal.
fn refused_by(refusal: &RefRefusal, items: &[RefItem]) -> &'static str {
    match refusal {
        RefRefusal::Key => "refused: another content under a key",
        RefRefusal::Rules(_) => "refused by a rule",
        RefRefusal::Conflict { task, .. } => {
            let mut expects = items.iter().filter(|item| item.task == *task).map(|item| &item.expect);
            match expects.find(|expect| **expect != RefExpect::Any) {
                Some(RefExpect::Absent) => "refused: expected to be absent",
                Some(RefExpect::Exists) => "refused: expected to exist",
                Some(RefExpect::Version(_)) => "refused: expected another version",
                Some(RefExpect::StateIn(_)) => "refused: expected another state",
                Some(RefExpect::Attempt(_)) => "refused: expected another attempt",
                Some(RefExpect::Any) | None => "refused without an expectation",
            }
        }
    }
}
