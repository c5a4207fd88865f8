//! `Subject`: what an entry is about. Tasks and notes have namespaces of their own, so that a task and a note may have
//! the same key and are never taken for each other.

use std::fmt;

/// What an entry is about: a task by its id, or a note by its key.
///
/// ```
/// use taskledger::Subject;
/// let note = Subject::Note("dlq:7".to_owned());
/// assert_eq!((note.task(), note.note()), (None, Some("dlq:7")));
/// assert_eq!(note.to_string(), "note dlq:7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The task with this id.
    Task(String),
    /// The note under this key.
    Note(String),
}

/// A namespace of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Realm {
    Tasks,
    Notes,
}

/// One for each namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Each<T> {
    pub tasks: T,
    pub notes: T,
}

impl Subject {
    /// The id, where it is a task.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        match self {
            Subject::Task(id) => Some(id),
            Subject::Note(_) => None,
        }
    }

    /// The key, where it is a note.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match self {
            Subject::Task(_) => None,
            Subject::Note(key) => Some(key),
        }
    }

    pub(crate) fn realm(&self) -> Realm {
        match self {
            Subject::Task(_) => Realm::Tasks,
            Subject::Note(_) => Realm::Notes,
        }
    }

    /// Its key within its namespace.
    pub(crate) fn key(&self) -> &str {
        match self {
            Subject::Task(key) | Subject::Note(key) => key,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Task(id) => f.write_str(id),
            Subject::Note(key) => write!(f, "note {key}"),
        }
    }
}

impl Realm {
    /// The subject with this key.
    pub(crate) fn subject(self, key: impl Into<String>) -> Subject {
        match self {
            Realm::Tasks => Subject::Task(key.into()),
            Realm::Notes => Subject::Note(key.into()),
        }
    }

    /// The word for one of its subjects, for messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Realm::Tasks => "task",
            Realm::Notes => "note",
        }
    }
}

impl<T> Each<T> {
    pub(crate) fn of(&self, realm: Realm) -> &T {
        match realm {
            Realm::Tasks => &self.tasks,
            Realm::Notes => &self.notes,
        }
    }

    pub(crate) fn of_mut(&mut self, realm: Realm) -> &mut T {
        match realm {
            Realm::Tasks => &mut self.tasks,
            Realm::Notes => &mut self.notes,
        }
    }
}
