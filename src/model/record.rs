//! `TaskRecord`: the folded task, with the fields, names and JSON of dag-executor 0.1.0.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::model::clock;
use crate::model::state::TaskState;

/// A task as its entries have left it. All times are milliseconds since the Unix epoch.
///
/// A ledger hands these out; [`TaskRecord::new`] and [`TaskRecord::transition`] are there for programs that keep
/// such records themselves, as with dag-executor, and stamp with the wall clock.
///
/// ```
/// use taskledger::{TaskRecord, TaskState};
/// let mut record = TaskRecord::new("a");
/// assert!(record.transition(TaskState::Ready));
/// assert!(!record.transition(TaskState::Completed), "only a running task completes");
/// assert_eq!(record.state, TaskState::Ready);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task's id.
    pub id: String,
    /// Its state.
    pub state: TaskState,
    /// How many attempts were started.
    pub attempts: u32,
    /// When it was created.
    pub created_at: u64,
    /// When it last changed.
    pub updated_at: u64,
    /// When it last entered running, if ever.
    pub started_at: Option<u64>,
    /// When it last entered a terminal state, if ever.
    pub finished_at: Option<u64>,
    /// What it produced.
    pub output: Option<serde_json::Value>,
    /// What went wrong last.
    pub error: Option<String>,
    /// Whatever its owner wants to be kept with it.
    pub metadata: HashMap<String, String>,
}

impl TaskRecord {
    /// A pending record, created now.
    #[must_use]
    pub fn new(id: impl Into<String>) -> TaskRecord {
        let now = clock::now_ms();
        TaskRecord {
            id: id.into(),
            state: TaskState::Pending,
            attempts: 0,
            created_at: now,
            updated_at: now,
            started_at: None,
            finished_at: None,
            output: None,
            error: None,
            metadata: HashMap::new(),
        }
    }

    /// Moves to `to` and stamps the times with the wall clock; `false` where the table forbids the move, and then
    /// nothing changes. A move to the same state is allowed and stamps again. Attempts are not counted here.
    pub fn transition(&mut self, to: TaskState) -> bool {
        if !self.state.can_move_to(to) {
            return false;
        }
        let now = clock::now_ms();
        self.state = to;
        self.updated_at = now;
        if to == TaskState::Running {
            self.started_at = Some(now);
        } else if to.is_terminal() {
            self.finished_at = Some(now);
        }
        true
    }

    /// From start to finish, in milliseconds; `None` while one of the two is missing or they are out of order.
    #[must_use]
    pub fn duration_millis(&self) -> Option<u64> {
        self.finished_at?.checked_sub(self.started_at?)
    }
}
