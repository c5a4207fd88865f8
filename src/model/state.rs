//! `TaskState`: the nine states of a task and the table of legal moves.
//!
//! States, names and table are those of the crate dag-executor 0.1.0, so that records travel between the two.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a task.
///
/// ```
/// use taskledger::TaskState;
/// assert!(TaskState::Running.can_move_to(TaskState::Completed));
/// assert!(!TaskState::Completed.can_move_to(TaskState::Running));
/// assert_eq!(TaskState::DeadLettered.to_string(), "dead_lettered");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Known, but what it waits for has not happened yet.
    Pending,
    /// Free to start.
    Ready,
    /// At work.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Failed, and to be tried again.
    Retrying,
    /// Called off.
    Cancelled,
    /// Not run, since something before it failed.
    Skipped,
    /// Given up and set aside for a person.
    DeadLettered,
}

impl TaskState {
    /// All states, in the order of their numbers on disk.
    pub const ALL: [TaskState; 9] = [
        TaskState::Pending,
        TaskState::Ready,
        TaskState::Running,
        TaskState::Completed,
        TaskState::Failed,
        TaskState::Retrying,
        TaskState::Cancelled,
        TaskState::Skipped,
        TaskState::DeadLettered,
    ];

    /// The state's name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TaskState::Pending => "pending",
            TaskState::Ready => "ready",
            TaskState::Running => "running",
            TaskState::Completed => "completed",
            TaskState::Failed => "failed",
            TaskState::Retrying => "retrying",
            TaskState::Cancelled => "cancelled",
            TaskState::Skipped => "skipped",
            TaskState::DeadLettered => "dead_lettered",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Its number on disk: 0 for pending to 8 for dead-lettered.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The state with this number on disk.
    pub(crate) fn from_number(number: u8) -> Option<TaskState> {
        TaskState::ALL.get(usize::from(number)).copied()
    }

    /// Whether entering it ends an attempt for good: completed, failed, cancelled, skipped, dead-lettered.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            TaskState::Completed
                | TaskState::Failed
                | TaskState::Cancelled
                | TaskState::Skipped
                | TaskState::DeadLettered
        )
    }

    /// Whether an executor has it: running or retrying. Only such a task can be requeued.
    pub(crate) const fn has_executor(self) -> bool {
        matches!(self, TaskState::Running | TaskState::Retrying)
    }

    /// Whether it is a good end: completed.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, TaskState::Completed)
    }

    /// Whether it is a bad end: failed or dead-lettered.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, TaskState::Failed | TaskState::DeadLettered)
    }

    /// Whether the table allows this move. A state may always move to itself.
    #[must_use]
    pub const fn can_move_to(self, to: TaskState) -> bool {
        use TaskState::{Cancelled, Completed, DeadLettered, Failed, Pending, Ready, Retrying, Running, Skipped};
        match self {
            Pending => matches!(to, Pending | Ready | Skipped | Cancelled),
            Ready => matches!(to, Ready | Running | Skipped | Cancelled),
            Running => matches!(to, Running | Completed | Failed | Retrying | Cancelled),
            Retrying => matches!(to, Retrying | Running | Ready | Failed | DeadLettered | Cancelled),
            Failed => matches!(to, Failed | Retrying | DeadLettered),
            Completed => matches!(to, Completed),
            Cancelled => matches!(to, Cancelled),
            Skipped => matches!(to, Skipped),
            DeadLettered => matches!(to, DeadLettered),
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
