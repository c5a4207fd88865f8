//! `Expect`: what a caller believes of a task or a note when it appends, and how that is compared with what is there.

use std::fmt;

use crate::model::state::TaskState;
use crate::model::subject::Realm;

/// What a caller expects of a task or a note. A batch whose expectations do not all hold changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// Nothing in particular.
    Any,
    /// There is no live record, or no note: never there, or removed.
    Absent,
    /// There is a live record, or a note.
    Exists,
    /// The last version that the task or note ever had; 0 for one that never was.
    Version(u64),
    /// There is a live record in one of these states; never holds of a note.
    StateIn(Vec<TaskState>),
    /// There is a live record with this number of attempts; never holds of a note.
    Attempt(u32),
}

/// What is known of a task or a note when an expectation is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub realm: Realm,
    pub version: u64,
    /// Whether there is a live record, or a note.
    pub exists: bool,
    /// State and attempts of the live record.
    pub record: Option<(TaskState, u32)>,
}

impl Expect {
    /// Expects a live record in one of these states.
    #[must_use]
    pub fn state_in(states: &[TaskState]) -> Expect {
        Expect::StateIn(states.to_vec())
    }

    pub(crate) fn holds(&self, found: Found) -> bool {
        match self {
            Expect::Any => true,
            Expect::Absent => !found.exists,
            Expect::Exists => found.exists,
            Expect::Version(version) => found.version == *version,
            Expect::StateIn(states) => found.record.is_some_and(|(state, _)| states.contains(&state)),
            Expect::Attempt(attempts) => found.record.is_some_and(|(_, found)| found == *attempts),
        }
    }

    /// In words, of a task or of a note.
    pub(crate) fn words(&self, realm: Realm) -> String {
        match self {
            Expect::Absent => format!("no {}", thing(realm)),
            Expect::Exists => format!("a {}", thing(realm)),
            other => other.to_string(),
        }
    }
}

/// What is there, or is not.
fn thing(realm: Realm) -> &'static str {
    match realm {
        Realm::Tasks => "record",
        Realm::Notes => "note",
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Any => f.write_str("anything"),
            Expect::Absent => f.write_str("no record"),
            Expect::Exists => f.write_str("a record"),
            Expect::Version(version) => write!(f, "version {version}"),
            Expect::Attempt(attempts) => write!(f, "attempt {attempts}"),
            Expect::StateIn(states) => {
                f.write_str("state ")?;
                for (n, state) in states.iter().enumerate() {
                    write!(f, "{}{state}", if n == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = thing(self.realm);
        match self.record {
            Some((state, attempts)) => write!(f, "{state} at version {}, attempt {attempts}", self.version),
            None if self.exists => write!(f, "a {what} at version {}", self.version),
            None if self.version == 0 => write!(f, "no {what}, and there never was one"),
            None => write!(f, "no {what} (removed at version {})", self.version),
        }
    }
}
