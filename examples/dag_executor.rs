//! dag-executor on a ledger: its workflow as before, and afterwards the history of every task.
//!
//! `cargo run --example dag_executor` in a checkout. In a program of your own, with these in Cargo.toml:
//!
//! ```toml
//! dag-executor = "0.1"
//! serde_json = "1"
//! taskledger = { version = "0.1", default-features = false, features = ["dag-executor"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```

use std::io::Write;
use std::sync::Arc;

use dag_executor::context::Context;
use dag_executor::prelude::{BasicTask, Dag, DagExecutor, TaskError};
use taskledger::LedgerStorage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut dag = Dag::new();
    dag.add_task(Arc::new(BasicTask::new("extract", |_| async { Ok(serde_json::json!({"rows": 100})) })))?;
    let double = |context: Arc<Context>| async move {
        let rows = context.get("extract").and_then(|extracted| extracted.get("rows")?.as_u64()).unwrap_or(0);
        Ok(serde_json::json!({"rows": rows * 2}))
    };
    dag.add_task(Arc::new(BasicTask::new("transform", double).with_deps(["extract"])))?;
    let refuse = |_| async { Err(TaskError::execution("the warehouse is closed")) };
    dag.add_task(Arc::new(BasicTask::new("load", refuse).with_deps(["transform"])))?;
    dag.add_task(Arc::new(BasicTask::new("report", |_| async { Ok(true.into()) }).with_deps(["load"])))?;

    // The only lines that differ: where the records go.
    let storage = Arc::new(LedgerStorage::open("dag-ledger")?);
    let executor = DagExecutor::builder().storage(storage.clone()).build();

    let report = executor.run(dag).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "completed: {}", report.count_in(dag_executor::state::TaskState::Completed))?;
    for task in ["extract", "transform", "load", "report"] {
        for entry in storage.ledger().history(task)? {
            let entry = entry?;
            let state = entry.event.state().map_or("-", |state| state.name());
            let inferred = if entry.event.is_inferred() { " (inferred)" } else { "" };
            writeln!(out, "{:>3} {} {task:<10} {state}{inferred}", entry.seq.0, entry.happened_at())?;
        }
    }
    writeln!(out, "Run it again: nothing runs twice. Look: taskledger -D dag-ledger history load")?;
    Ok(())
}
