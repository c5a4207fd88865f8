//! An embeddable, append-only, event-sourced ledger of task transitions.
//!
//! Every transition of a task is an event with a checksum in a segmented log that is never rewritten. Records are
//! folds of the events; the past can be asked like the present; anyone can check the files.
//!
//! ```
//! use taskledger::{At, Batch, Event, Expect, Filter, Ledger, Seq, TaskState};
//! # let dir = tempfile::tempdir()?;
//! # let runs = dir.path().join("runs");
//! let ledger = Ledger::open(&runs)?; // creates it where nothing is yet
//! ledger.append("import-42", Event::created().meta("host", "ci-7").by("planner"))?;
//! ledger.append("import-42", Event::to(TaskState::Ready))?;
//! ledger.append("import-42", Event::to(TaskState::Running).by("worker-7"))?;
//! let output = serde_json::json!({"rows": 1204});
//! let receipt = ledger.append("import-42", Event::to(TaskState::Completed).output(output))?;
//! assert_eq!(receipt.version(), 4); // and it is durable now
//!
//! let mut batch = Batch::new(); // all of it or none of it
//! batch.push("parent", Event::created(), Expect::Absent);
//! batch.push("child", Event::created(), Expect::Any);
//! batch.check("import-42", Expect::state_in(&[TaskState::Completed]));
//! ledger.commit(batch)?;
//!
//! assert_eq!(ledger.list(Filter::new().state(TaskState::Pending))?.tasks.len(), 2);
//! for entry in ledger.history("import-42")? {
//!     println!("{}", entry?.seq);
//! }
//! let then = ledger.as_of(At::Seq(Seq(3)))?; // a view: get, list, counts, history
//! assert_eq!(then.counts().of(TaskState::Running), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Layers, from the bottom: `model` says what happened, `vfs` is the file system as we use it, `storage` keeps bytes,
//! `ledger` makes promises. The docs folder has the map (architecture.md), the bytes (format.md) and the promises
//! (durability.md).

#[cfg(feature = "dag-executor")]
mod adapter;
mod error;
mod ledger;
mod model;
mod storage;
/// The file system as this crate uses it: the traits, the real one, and (feature `fault`) one that fails on schedule.
pub mod vfs;

#[cfg(feature = "dag-executor")]
pub use adapter::dag_executor::LedgerStorage;
pub use error::{Error, Result};
pub use ledger::backup::{Backup, BackupProgress};
pub use ledger::batch::{Batch, Receipt, ReceiptItem};
pub use ledger::diff::Diff;
pub use ledger::dump::{Dump, DumpFrame, DumpPiece};
pub use ledger::follow::{Follow, Followed};
pub use ledger::handle::Ledger;
pub use ledger::history::{Entries, History};
pub use ledger::open::{OpenReport, Writer};
pub use ledger::options::{Durability, Maintenance, Options};
pub use ledger::orphans::Recovered;
pub use ledger::prune::{Blocked, Prune, Pruning};
pub use ledger::reader::Reader;
pub use ledger::repair::{Repair, RepairProgress};
pub use ledger::report::{Finding, Level, Severity, Verdict, VerifyProgress, VerifyReport};
pub use ledger::ticket::Ticket;
pub use ledger::verify::verify;
pub use ledger::view::{At, View};
pub use model::canon::canon;
pub use model::diff::{DiffFilter, DiffPage, Difference, Side};
pub use model::entry::Entry;
pub use model::event::{Change, Event, EventKind};
pub use model::expect::Expect;
pub use model::history::{HistoryFilter, HistoryPage, HistoryToken};
pub use model::json::Json;
pub use model::limits;
pub use model::notes::{Note, NoteFilter, NotePage, NoteToken};
pub use model::record::TaskRecord;
pub use model::seq::Seq;
pub use model::state::TaskState;
pub use model::subject::Subject;
pub use model::tasks::{Counts, Filter, Page, PageToken, Task};
pub use storage::identity::{FORMAT_MAJOR, FORMAT_MINOR};
