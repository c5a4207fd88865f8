//! The model's words in the product's, and the product's answers held against the model's.

use taskledger::{Batch, Entry, Error, Event, EventKind, Expect, Receipt, Seq};

use super::{RefEntry, RefEvent, RefExpect, RefItem, RefKind, RefReceipt, RefRefusal, key_of_note};

/// The same batch in the product's words.
pub fn batch_of(items: &[RefItem]) -> Batch {
    let mut batch = Batch::new();
    for RefItem { task, event, expect } in items {
        let expect = expect.to_expect();
        match (key_of_note(task), event) {
            (Some(key), Some(event)) => batch.push_note(key, event.to_event(), expect),
            (Some(key), None) => batch.check_note(key, expect),
            (None, Some(event)) => batch.push(task, event.to_event(), expect),
            (None, None) => batch.check(task, expect),
        };
    }
    batch
}

impl RefReceipt {
    /// A receipt of the product's in the model's words.
    pub fn of(receipt: &Receipt) -> RefReceipt {
        let items = receipt.items().iter();
        let places = items.map(|item| (item.subject.to_string(), item.seq.0, item.version, item.at)).collect();
        RefReceipt { places, replayed: receipt.replayed() }
    }
}

impl RefRefusal {
    /// Whether the product refuses for this reason, and found the same.
    pub fn is(&self, refused: &Error) -> bool {
        match (self, refused) {
            (RefRefusal::Key, Error::Key { .. }) => true,
            (
                RefRefusal::Conflict { task, version, state, seq, actor, at },
                Error::Conflict { subject, version: is, state: found, seq: moved, actor: who, at: when, .. },
            ) => {
                (subject.to_string(), is, found, moved.0, who, when) == (task.clone(), version, state, *seq, actor, at)
            }
            (RefRefusal::Rules(codes), refused) => codes.contains(&refused.code()),
            _ => false,
        }
    }
}

impl RefEntry {
    /// How the product's entry differs from this one.
    pub fn difference(&self, got: &Entry) -> Option<String> {
        let found =
            (got.seq.0, got.subject().map(|subject| subject.to_string()), got.version, got.at, got.said, got.from);
        let (task, version) = match self.event.kind {
            RefKind::Pruned => (None, None),
            _ => (Some(self.task.clone()), Some(self.version)),
        };
        let expected = (self.seq, task, version, self.at, self.said, self.from);
        if found != expected {
            return Some(format!("an entry is {found:?}, and should be {expected:?}"));
        }
        if self.event.kind == RefKind::Pruned {
            // What it has as output is said where prunes are tested.
            let same = got.event.kind() == EventKind::Pruned && got.event.actor() == self.event.actor.as_deref();
            return (!same).then(|| format!("seq {} is {:?}, and should tell of a prune", got.seq, got.event));
        }
        let event = self.event.to_event();
        if got.event != event {
            Some(format!("the event of seq {} is {:?}, and should be {event:?}", got.seq, got.event))
        } else {
            None
        }
    }
}

impl RefEvent {
    /// The same fact in the product's words.
    pub fn to_event(&self) -> Event {
        let mut event = match self.kind {
            RefKind::Created => Event::created(),
            RefKind::To(state) => Event::to(state),
            RefKind::Updated => Event::updated(),
            RefKind::Requeued(state) => Event::requeued(state),
            RefKind::Observed(state) => Event::observed(state),
            RefKind::Removed => Event::removed(),
            RefKind::Noted => Event::noted(self.value.clone().unwrap_or_default()),
            RefKind::Pruned => unreachable!("nobody but the ledger can say so"),
        };
        if self.inferred {
            event = event.inferred();
        }
        if let Some(attempts) = self.attempts {
            event = event.attempts(attempts);
        }
        event = match &self.output {
            None => event,
            Some(None) => event.clear_output(),
            Some(Some(value)) => event.output(value.clone()),
        };
        event = match &self.error {
            None => event,
            Some(None) => event.clear_error(),
            Some(Some(text)) => event.error(text),
        };
        for (key, value) in &self.metadata {
            event = match value {
                Some(value) => event.meta(key, value),
                None => event.unset(key),
            };
        }
        if let Some(millis) = self.created {
            event = event.created_at(millis);
        }
        if let Some(millis) = self.updated {
            event = event.updated_at(millis);
        }
        if let Some(millis) = self.started {
            event = event.started_at(millis);
        }
        if let Some(millis) = self.finished {
            event = event.finished_at(millis);
        }
        if let Some(actor) = &self.actor {
            event = event.by(actor);
        }
        if let Some(reason) = &self.reason {
            event = event.because(reason);
        }
        if let Some(cause) = self.cause {
            event = event.cause(Seq(cause));
        }
        if let Some(key) = &self.key {
            event = event.key(key);
        }
        if let Some(millis) = self.stated {
            event = event.at(millis);
        }
        event
    }
}

impl RefExpect {
    /// The same belief in the product's words.
    pub fn to_expect(&self) -> Expect {
        match self {
            RefExpect::Any => Expect::Any,
            RefExpect::Absent => Expect::Absent,
            RefExpect::Exists => Expect::Exists,
            RefExpect::Version(version) => Expect::Version(*version),
            RefExpect::StateIn(states) => Expect::state_in(states),
            RefExpect::Attempt(attempts) => Expect::Attempt(*attempts),
        }
    }
}
