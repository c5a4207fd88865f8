//! The same work on taskledger, on what a user might take in its place, and on the bare system calls, in one run.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- [--quick] [--json] [--only NAME]`: `--help` has the rest,
//! docs/performance.md what the workloads are and how to read the report. What is done with a store is in ../work; here is
//! what is done with each peer (stores/), set as its own documentation says.

mod grouped;
mod stores;
#[path = "../../work/mod.rs"]
mod work;

use std::io::Write;
use std::process::ExitCode;

use grouped::Grouped;
use stores::dag_executor::DagExecutor;
use stores::fjall::Fjall;
use stores::lmdb::Lmdb;
use stores::okaywal::OkayWal;
use stores::raft_engine::RaftEngine;
use stores::redb::Redb;
use stores::sqlite::Sqlite;
use work::args::{Settings, USAGE};
use work::floor::Floor;
use work::ledger::Taskledger;
use work::{Outcome, Peer, child, run};

/// Everybody, in the order of the report.
fn peers() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(Floor),
        Box::new(Taskledger::new()),
        Box::new(Taskledger::mapped()),
        Box::new(Sqlite),
        Box::new(Grouped::new("sqlite +gc", Sqlite)),
        Box::new(Redb),
        Box::new(Grouped::new("redb +gc", Redb)),
        Box::new(Fjall),
        Box::new(Grouped::new("fjall +gc", Fjall)),
        Box::new(Lmdb),
        Box::new(Grouped::new("lmdb +gc", Lmdb)),
        Box::new(RaftEngine),
        Box::new(Grouped::new("raft-engine +gc", RaftEngine)),
        Box::new(OkayWal),
        Box::new(Grouped::new("okaywal +gc", OkayWal)),
        Box::new(DagExecutor::durable_and_fast()),
        Box::new(DagExecutor::atomic()),
    ]
}

fn main() -> ExitCode {
    run::ended(begin())
}

fn begin() -> Outcome<()> {
    let peers = peers();
    if child::main(&peers)? {
        return Ok(());
    }
    let (settings, others) = Settings::stated(std::env::args().skip(1))?;
    match others.first().map(String::as_str) {
        None => {
            let reported = run::report(&peers, &settings)?;
            let text = if settings.json { reported.json.to_string() } else { reported.markdown };
            writeln!(std::io::stdout(), "{text}")?;
            if reported.has_failures { Err("there were failures: see the report".into()) } else { Ok(()) }
        }
        Some("--help" | "-h") => Ok(write!(std::io::stdout(), "Options:\n{USAGE}")?),
        Some(other) => Err(format!("{other} is not known. Options:\n{USAGE}").into()),
    }
}
