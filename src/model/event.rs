//! `Event`: the fact that a caller states of a task or a note, before it has a place.
//!
//! An event is only a value. Whether it may follow what is there is said by `rules`, what it does to a record by
//! `fold`.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::json::Json;
use crate::model::seq::Seq;
use crate::model::state::TaskState;

/// What kind of fact an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The task came to be, pending.
    Created,
    /// It moved to another state, by the table.
    Transitioned,
    /// Fields changed, the state did not.
    Updated,
    /// A crashed attempt was taken back: running or retrying to pending or ready.
    Requeued,
    /// Whatever was seen from outside; any jump, marked as such for ever.
    Observed,
    /// The record, or the note, left the view. Its history stays.
    Removed,
    /// The note has this value now.
    Noted,
    /// Control entry: a part of the history was dropped.
    Pruned,
    /// Control entry: the content of an entry was blacked out.
    Redacted,
    /// Control entry: a key was replaced.
    KeyRotated,
}

impl EventKind {
    pub(crate) const ALL: [EventKind; 10] = [
        EventKind::Created,
        EventKind::Transitioned,
        EventKind::Updated,
        EventKind::Requeued,
        EventKind::Observed,
        EventKind::Removed,
        EventKind::Noted,
        EventKind::Pruned,
        EventKind::Redacted,
        EventKind::KeyRotated,
    ];

    /// The kind's name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Created => "created",
            EventKind::Transitioned => "transitioned",
            EventKind::Updated => "updated",
            EventKind::Requeued => "requeued",
            EventKind::Observed => "observed",
            EventKind::Removed => "removed",
            EventKind::Noted => "noted",
            EventKind::Pruned => "pruned",
            EventKind::Redacted => "redacted",
            EventKind::KeyRotated => "key_rotated",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its number on disk: 1 to 6 for facts about a task, 7 for one about a note, 8 to 10 for control entries.
    pub(crate) const fn number(self) -> u8 {
        match self {
            EventKind::Created => 1,
            EventKind::Transitioned => 2,
            EventKind::Updated => 3,
            EventKind::Requeued => 4,
            EventKind::Observed => 5,
            EventKind::Removed => 6,
            EventKind::Noted => 7,
            EventKind::Pruned => 8,
            EventKind::Redacted => 9,
            EventKind::KeyRotated => 10,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether it is about the ledger itself, and neither about a task nor a note.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, EventKind::Pruned | EventKind::Redacted | EventKind::KeyRotated)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an event does to one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Takes its value away.
    Clear,
    /// Gives it this value.
    Set(T),
}

impl<T> Change<T> {
    /// The new value, where there is one.
    pub fn set(&self) -> Option<&T> {
        match self {
            Change::Set(value) => Some(value),
            Change::Keep | Change::Clear => None,
        }
    }

    /// `None` to clear, `Some` to set.
    pub(crate) fn from_option(value: Option<T>) -> Change<T> {
        value.map_or(Change::Clear, Change::Set)
    }
}

/// The four times that an observed event may state, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Times {
    pub created: Option<u64>,
    pub updated: Option<u64>,
    pub started: Change<u64>,
    pub finished: Change<u64>,
}

/// A fact about a task or a note, as its caller states it.
///
/// ```
/// use taskledger::{Event, TaskState};
/// let done = Event::to(TaskState::Completed)
///     .output(serde_json::json!({"rows": 1204}))
///     .meta("host", "ci-7")
///     .by("worker-7");
/// assert_eq!(done.kind().name(), "transitioned");
/// assert_eq!(done.state(), Some(TaskState::Completed));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub(crate) kind: EventKind,
    pub(crate) to: Option<TaskState>,
    pub(crate) inferred: bool,
    pub(crate) attempts: Option<u32>,
    pub(crate) output: Change<Json>,
    /// What a note says; of `noted` only.
    pub(crate) value: Option<Json>,
    pub(crate) error: Change<String>,
    pub(crate) metadata: BTreeMap<String, Option<String>>,
    pub(crate) times: Times,
    pub(crate) actor: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) cause: Option<Seq>,
    pub(crate) key: Option<String>,
    pub(crate) stated: Option<u64>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, to: Option<TaskState>) -> Event {
        Event {
            kind,
            to,
            inferred: false,
            attempts: None,
            output: Change::Keep,
            value: None,
            error: Change::Keep,
            metadata: BTreeMap::new(),
            times: Times::default(),
            actor: None,
            reason: None,
            cause: None,
            key: None,
            stated: None,
        }
    }

    /// The task comes to be, pending.
    #[must_use]
    pub fn created() -> Event {
        Event::new(EventKind::Created, Some(TaskState::Pending))
    }

    /// The task moves to `state`, by the table of legal moves. Entering running counts an attempt.
    #[must_use]
    pub fn to(state: TaskState) -> Event {
        Event::new(EventKind::Transitioned, Some(state))
    }

    /// Fields change, the state does not.
    #[must_use]
    pub fn updated() -> Event {
        Event::new(EventKind::Updated, None)
    }

    /// A crashed attempt is taken back: running or retrying to pending or ready. Clears `started_at`.
    #[must_use]
    pub fn requeued(state: TaskState) -> Event {
        Event::new(EventKind::Requeued, Some(state))
    }

    /// What was seen from outside, whatever the table says. May start a record and may set its four times.
    #[must_use]
    pub fn observed(state: TaskState) -> Event {
        Event::new(EventKind::Observed, Some(state))
    }

    /// The record, or the note, leaves the view; its history stays, and a later event that starts it again goes on
    /// counting its versions.
    #[must_use]
    pub fn removed() -> Event {
        Event::new(EventKind::Removed, None)
    }

    /// The note has this value from now on, whether it was there before or not. JSON null is a value like any other.
    #[must_use]
    pub fn noted(value: impl Into<serde_json::Value>) -> Event {
        Event::noted_json(Json::of(&value.into()))
    }

    /// As [`Event::noted`], with this JSON text, which is kept as written. It is checked when the event is appended.
    #[must_use]
    pub fn noted_text(text: &str) -> Event {
        Event::noted_json(Json::unchecked(text))
    }

    fn noted_json(json: Json) -> Event {
        Event { value: Some(json), ..Event::new(EventKind::Noted, None) }
    }

    /// Sets the output. JSON null means that there is none.
    #[must_use]
    pub fn output(self, value: impl Into<serde_json::Value>) -> Event {
        self.output_json(Json::of(&value.into()))
    }

    /// Sets the output to this JSON text, which is kept as written. It is checked when the event is appended.
    #[must_use]
    pub fn output_text(self, text: &str) -> Event {
        self.output_json(Json::unchecked(text))
    }

    fn output_json(mut self, json: Json) -> Event {
        self.output = if json.is_null() { Change::Clear } else { Change::Set(json) };
        self
    }

    /// Takes the output away.
    #[must_use]
    pub fn clear_output(mut self) -> Event {
        self.output = Change::Clear;
        self
    }

    /// Sets the error.
    #[must_use]
    pub fn error(mut self, text: impl Into<String>) -> Event {
        self.error = Change::Set(text.into());
        self
    }

    /// Takes the error away.
    #[must_use]
    pub fn clear_error(mut self) -> Event {
        self.error = Change::Clear;
        self
    }

    /// Sets the number of attempts, instead of counting.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Event {
        self.attempts = Some(attempts);
        self
    }

    /// Sets one metadata key.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Event {
        self.metadata.insert(key.into(), Some(value.into()));
        self
    }

    /// Takes one metadata key away.
    #[must_use]
    pub fn unset(mut self, key: impl Into<String>) -> Event {
        self.metadata.insert(key.into(), None);
        self
    }

    /// Who states it.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Event {
        self.actor = Some(actor.into());
        self
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Event {
        self.reason = Some(reason.into());
        self
    }

    /// Which earlier entry led to it.
    #[must_use]
    pub fn cause(mut self, seq: Seq) -> Event {
        self.cause = Some(seq);
        self
    }

    /// The idempotency key: the same event under the same key is appended once.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Event {
        self.key = Some(key.into());
        self
    }

    /// When it happened, in milliseconds since the Unix epoch, instead of now.
    #[must_use]
    pub fn at(mut self, millis: u64) -> Event {
        self.stated = Some(millis);
        self
    }

    /// Marks a step that nobody stated, added to bridge a jump that was observed.
    #[must_use]
    pub fn inferred(mut self) -> Event {
        self.inferred = true;
        self
    }

    /// States when the record was created (observed events only), in milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_at(mut self, millis: u64) -> Event {
        self.times.created = Some(millis);
        self
    }

    /// States when the record last changed (observed events only), in milliseconds since the Unix epoch.
    #[must_use]
    pub fn updated_at(mut self, millis: u64) -> Event {
        self.times.updated = Some(millis);
        self
    }

    /// States when it last started, or that it never did (observed events only); milliseconds since the Unix epoch.
    #[must_use]
    pub fn started_at(mut self, millis: Option<u64>) -> Event {
        self.times.started = Change::from_option(millis);
        self
    }

    /// States when it last finished, or that it never did (observed events only); milliseconds since the Unix epoch.
    #[must_use]
    pub fn finished_at(mut self, millis: Option<u64>) -> Event {
        self.times.finished = Change::from_option(millis);
        self
    }

    /// What kind of fact it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// The state that it moves the task to, where it does.
    #[must_use]
    pub fn state(&self) -> Option<TaskState> {
        self.to
    }

    /// The attempts it sets; in an entry also those that the ledger counted.
    #[must_use]
    pub fn attempts_set(&self) -> Option<u32> {
        self.attempts
    }

    /// What it does to the output.
    #[must_use]
    pub fn output_change(&self) -> &Change<Json> {
        &self.output
    }

    /// What a note says with it: in every `noted` event, and in no other.
    #[must_use]
    pub fn value(&self) -> Option<&Json> {
        self.value.as_ref()
    }

    /// What it does to the error.
    #[must_use]
    pub fn error_change(&self) -> &Change<String> {
        &self.error
    }

    /// The metadata keys it sets (`Some`) or takes away (`None`), by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    /// When the record was created, where an observed event states it; milliseconds since the Unix epoch.
    #[must_use]
    pub fn created_at_set(&self) -> Option<u64> {
        self.times.created
    }

    /// When it last changed, where an observed event states it; milliseconds since the Unix epoch.
    #[must_use]
    pub fn updated_at_set(&self) -> Option<u64> {
        self.times.updated
    }

    /// What an observed event does to when it last started; milliseconds since the Unix epoch.
    #[must_use]
    pub fn started_at_change(&self) -> &Change<u64> {
        &self.times.started
    }

    /// What an observed event does to when it last finished; milliseconds since the Unix epoch.
    #[must_use]
    pub fn finished_at_change(&self) -> &Change<u64> {
        &self.times.finished
    }

    /// Who stated it.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Which earlier entry led to it.
    #[must_use]
    pub fn cause_seq(&self) -> Option<Seq> {
        self.cause
    }

    /// Its idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether nobody stated it and it only bridges an observed jump.
    #[must_use]
    pub fn is_inferred(&self) -> bool {
        self.inferred
    }
}
