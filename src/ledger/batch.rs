//! `Batch` and `Receipt`: what a caller asks for, and what it is told.

use crate::model::event::Event;
use crate::model::expect::Expect;
use crate::model::seq::Seq;
use crate::model::subject::Subject;

/// Events that are appended together: all of them or none, next to each other, visible at once.
///
/// Expectations are checked in the order in which they were pushed, each as if the items before it had been
/// appended.
///
/// ```
/// use taskledger::{Batch, Event, Expect};
/// let mut batch = Batch::new();
/// batch.push("parent", Event::created(), Expect::Absent);
/// batch.push("child", Event::created(), Expect::Any);
/// batch.check("quota", Expect::Exists);
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) items: Vec<Item>,
    events: usize,
}

/// One step of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub subject: Subject,
    pub expect: Expect,
    /// `None` only looks.
    pub event: Option<Event>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Appends an event to a task, where the expectation holds.
    pub fn push(&mut self, task: impl Into<String>, event: Event, expect: Expect) -> &mut Batch {
        self.push_to(Subject::Task(task.into()), event, expect)
    }

    /// Appends an event to a note, where the expectation holds.
    ///
    /// ```
    /// use taskledger::{Batch, Event, Expect, TaskState};
    /// let mut batch = Batch::new(); // the task and its letter, or neither
    /// batch.push("a", Event::to(TaskState::DeadLettered), Expect::Any);
    /// batch.push_note("dlq:a", Event::noted(serde_json::json!({"tries": 3})), Expect::Absent);
    /// ```
    pub fn push_note(&mut self, key: impl Into<String>, event: Event, expect: Expect) -> &mut Batch {
        self.push_to(Subject::Note(key.into()), event, expect)
    }

    fn push_to(&mut self, subject: Subject, event: Event, expect: Expect) -> &mut Batch {
        self.items.push(Item { subject, expect, event: Some(event) });
        self.events += 1;
        self
    }

    /// Demands that the expectation holds for a task, which is not written.
    pub fn check(&mut self, task: impl Into<String>, expect: Expect) -> &mut Batch {
        self.items.push(Item { subject: Subject::Task(task.into()), expect, event: None });
        self
    }

    /// Demands that the expectation holds for a note, which is not written.
    pub fn check_note(&mut self, key: impl Into<String>, expect: Expect) -> &mut Batch {
        self.items.push(Item { subject: Subject::Note(key.into()), expect, event: None });
        self
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether it has no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
}

/// What an append came to: durable when the caller holds it (written, with [`Durability::Buffered`](crate::Durability)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) epoch: u32,
    pub(crate) items: Vec<ReceiptItem>,
    pub(crate) replayed: bool,
}

/// The place that one event of a batch got.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiptItem {
    /// Its task or note.
    pub subject: Subject,
    /// Its place in the ledger.
    pub seq: Seq,
    /// The version of its task or note with it.
    pub version: u64,
    /// When it was placed, in milliseconds since the Unix epoch.
    pub at: u64,
}

impl Receipt {
    fn last(&self) -> &ReceiptItem {
        self.items.last().expect("a batch without events has no receipt")
    }

    /// Which writer placed it: a number that grows with each opening. A seq that was never made durable may be
    /// given again by a later writer; with the epoch it is unique.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The seq of the last event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.last().seq
    }

    /// The version of the last event's task or note.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.last().version
    }

    /// When the last event was placed, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.last().at
    }

    /// The place of each event, in order.
    #[must_use]
    pub fn items(&self) -> &[ReceiptItem] {
        &self.items
    }

    /// Whether it was appended before, under the same key.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed
    }
}
