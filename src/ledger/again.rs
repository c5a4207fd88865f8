//! Entries of a damaged ledger on their way into a new one: appended again, each under the seq that it had.
//!
//! Invariants: what is appended goes through the rules of every append, and what they refuse is kept aside; each seq is placed once, in
//! order, by the entry that had it or by what stands in its place.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::error::{Error, Result};
use crate::ledger::batch::Batch;
use crate::ledger::gaps::{Gaps, stand_in};
use crate::ledger::handle::Ledger;
use crate::ledger::primitives::AtomicU64;
use crate::ledger::salvage::Salvaged;
use crate::model::canon::request_digest;
use crate::model::entry::Entry;
use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::limits::BATCH_EVENTS_MAX;
use crate::model::seq::Seq;
use crate::model::subject::Subject;

/// So many lost seqs are filled in one batch.
const FILL_EVENTS: usize = 1000;

/// Entries on their way into the new ledger.
pub(crate) struct Again<'a> {
    pub ledger: &'a Ledger,
    pub clock: &'a AtomicU64,
    pub hash_key: [u8; 16],
    /// The key of the notes that stand for lost entries.
    pub note: String,
    pub gaps: Gaps,
    /// The next seq to be placed.
    pub next: Seq,
    /// A batch as it was, or the part of it that is left.
    pub batch: Vec<Salvaged>,
    /// What is kept aside, as JSON lines.
    pub lines: Vec<u8>,
    pub refused: Vec<(Seq, String)>,
    /// Told how many more have been placed.
    pub placed: &'a mut dyn FnMut(u64),
}

impl Again<'_> {
    /// Takes the next entry; what is missing before it is filled, and its batch is appended once it is whole.
    ///
    /// # Errors
    /// The new ledger cannot be written.
    pub(crate) fn take(&mut self, salvaged: Salvaged) -> Result<()> {
        let seq = salvaged.entry.seq;
        let waiting = self.next.0 + self.batch.len() as u64;
        if seq.0 != waiting || self.batch.len() == BATCH_EVENTS_MAX {
            self.commit()?;
            self.fill(seq)?;
        }
        let is_last = salvaged.links.last_of_batch;
        self.batch.push(salvaged);
        if is_last { self.commit() } else { Ok(()) }
    }

    /// Fills the seqs up to one with what stands for lost entries.
    ///
    /// # Errors
    /// As [`Again::take`].
    pub(crate) fn fill(&mut self, end: Seq) -> Result<()> {
        while self.next < end {
            let mut batch = Batch::new();
            while self.next < end && batch.len() < FILL_EVENTS {
                let event = match self.gaps.next(self.next).map(|(missing, is_last)| (missing.clone(), is_last)) {
                    Some((missing, is_last)) => {
                        let attempts = self.attempts(&missing.subject)?;
                        let event = stand_in(&missing, is_last, attempts);
                        Some((missing.subject, event))
                    }
                    None => None,
                };
                match event {
                    Some((Subject::Task(id), event)) => drop(batch.push(id, event, Expect::Any)),
                    Some((Subject::Note(key), event)) => drop(batch.push_note(key, event, Expect::Any)),
                    None => {
                        let lost = Event::noted(json!({ "lost": self.next.0 })).by("taskledger repair");
                        batch.push_note(&*self.note, lost, Expect::Any);
                    }
                }
                self.next = self.next.next();
            }
            let count = batch.len() as u64;
            let receipt = self.ledger.commit(batch)?;
            assert_eq!(receipt.seq().next(), self.next, "what stands for lost entries has their seqs");
            (self.placed)(count);
        }
        Ok(())
    }

    fn attempts(&self, subject: &Subject) -> Result<Option<u32>> {
        let Subject::Task(id) = subject else { return Ok(None) };
        Ok(self.ledger.get(id)?.map(|task| task.record.attempts))
    }

    /// Appends what waits.
    ///
    /// # Errors
    /// As [`Again::take`].
    pub(crate) fn commit(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        if self.try_commit(&batch)?.is_none() {
            return Ok(());
        }
        // Something in it is refused: each by itself, and a note in place of what is.
        for salvaged in batch {
            if let Some(why) = self.try_commit(std::slice::from_ref(&salvaged))? {
                let seq = salvaged.entry.seq;
                self.aside(&salvaged.entry, &why);
                self.refused.push((seq, why));
                self.fill(seq.next())?;
            }
        }
        Ok(())
    }

    /// Appends entries as one batch; why not, where the rules refuse it.
    fn try_commit(&mut self, entries: &[Salvaged]) -> Result<Option<String>> {
        let Some(last) = entries.last() else { return Ok(None) };
        let latest = entries.iter().map(|salvaged| salvaged.entry.at.max(salvaged.entry.happened_at())).max();
        let before = self.clock.load(Ordering::Relaxed);
        self.clock.store(latest.unwrap_or(before), Ordering::Relaxed);
        if let [Salvaged { entry, .. }] = entries
            && entry.subject().is_none()
        {
            // The clock makes its time.
            self.clock.store(entry.happened_at(), Ordering::Relaxed);
            let seq = self.ledger.core().append_control(entry.event.clone())?;
            assert_eq!(seq, entry.seq, "a control entry has its seq");
            self.clock.store(entry.at, Ordering::Relaxed);
            self.next = seq.next();
            (self.placed)(1);
            return Ok(None);
        }
        let mut batch = Batch::new();
        for salvaged in entries {
            let expect = Expect::Version(salvaged.entry.version.unwrap_or(1).saturating_sub(1));
            let event = self.request(salvaged)?;
            match salvaged.entry.subject() {
                Some(Subject::Task(id)) => drop(batch.push(id, event, expect)),
                Some(Subject::Note(key)) => drop(batch.push_note(key, event, expect)),
                None => return Ok(Some("an entry of the ledger itself is within a batch".to_owned())),
            }
        }
        let why = match self.ledger.commit(batch) {
            Ok(receipt) if !receipt.replayed() => {
                assert_eq!(receipt.seq(), last.entry.seq, "what is appended again has its seq");
                self.next = last.entry.seq.next();
                self.clock.store(last.entry.at, Ordering::Relaxed);
                (self.placed)(entries.len() as u64);
                return Ok(None);
            }
            Ok(receipt) => format!("its key was used at seq {}", receipt.seq()),
            Err(error) => match error {
                Error::Illegal { .. }
                | Error::Conflict { .. }
                | Error::Key { .. }
                | Error::Time { .. }
                | Error::Limit { .. } => error.to_string(),
                _ => return Err(error),
            },
        };
        self.clock.store(before, Ordering::Relaxed);
        Ok(Some(why))
    }

    /// The event as it was asked for, as far as that can be told: one under a key must be known again when it is repeated.
    fn request(&self, salvaged: &Salvaged) -> Result<Event> {
        let entry = &salvaged.entry;
        let mut event = entry.event.clone().at(entry.happened_at());
        if let (Some(digest), Some(subject), Some(attempts)) = (salvaged.links.digest, entry.subject(), event.attempts)
        {
            let counted = Event { attempts: None, ..event.clone() };
            let is_counted = request_digest(&self.hash_key, &subject, &counted) == digest;
            if is_counted && self.attempts(&subject)?.is_some_and(|before| before + 1 == attempts) {
                event = counted;
            }
        }
        Ok(event)
    }

    /// Keeps an entry aside, as a line that says why.
    pub(crate) fn aside(&mut self, entry: &Entry, why: &str) {
        let mut line = serde_json::to_value(entry).unwrap_or_default();
        if let Some(fields) = line.as_object_mut() {
            fields.insert("refused".to_owned(), json!(why));
        }
        self.lines.extend_from_slice(line.to_string().as_bytes());
        self.lines.push(b'\n');
    }
}
