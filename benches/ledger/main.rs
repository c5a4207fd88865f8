//! How fast the ledger is, beside the bare system calls: the workloads W1 to W8 (../work), and what they do not show.
//!
//! `cargo bench --bench ledger` prints tables, `-- --json` one JSON object; `-- --help` has the sizes. `-- --growth
//! 100000,1000000` measures ledgers of these sizes (growth.rs), `-- --plot FILE` draws what came of it (plot.rs).
//! Rates depend on the machine and its load, quotients much less. docs/performance.md says how to read them.

mod details;
mod growth;
mod plot;
#[path = "../work/mod.rs"]
mod work;

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;
use work::args::{Settings, USAGE};
use work::floor::Floor;
use work::ledger::Taskledger;
use work::{Outcome, Peer, child, run};

const MORE: &str = "\
  --growth N,N    in place of all that: ledgers of so many events, ten to a task; a line of JSON each
  --plot FILE     in place of all that: draws those lines as SVG
  --out PATH      the file that the lines are added to (growth.jsonl); the directory of the pictures (.)
";

fn main() -> ExitCode {
    run::ended(begin())
}

fn begin() -> Outcome<()> {
    let peers: Vec<Box<dyn Peer>> = vec![Box::new(Floor), Box::new(Taskledger::new()), Box::new(Taskledger::mapped())];
    if child::main(&peers)? || growth::child()? {
        return Ok(());
    }
    let (settings, others) = Settings::stated(std::env::args().skip(1))?;
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    match others.as_slice() {
        [] => both(&peers, &settings),
        ["--help" | "-h", ..] => Ok(write!(std::io::stdout(), "Options:\n{USAGE}{MORE}")?),
        ["--growth", sizes] => growth::run(sizes, "growth.jsonl".as_ref(), &settings),
        ["--growth", sizes, "--out", out] => growth::run(sizes, out.as_ref(), &settings),
        ["--plot", file] => plot::draw(file.as_ref(), ".".as_ref()),
        ["--plot", file, "--out", out] => plot::draw(file.as_ref(), out.as_ref()),
        [other, ..] => Err(format!("{other} is not known, or in the wrong place. Options:\n{USAGE}{MORE}").into()),
    }
}

/// The workloads, then what they do not show.
fn both(peers: &[Box<dyn Peer>], settings: &Settings) -> Outcome<()> {
    let reported = run::report(peers, settings)?;
    let details = if settings.workloads.is_empty() { details::all(settings)? } else { Vec::new() };
    let mut out = std::io::stdout().lock();
    if settings.json {
        let details: serde_json::Map<String, serde_json::Value> =
            details.iter().map(|detail| (detail.name.to_owned(), json!(detail.value))).collect();
        writeln!(out, "{}", json!({"workloads": reported.json, "details": details}))?;
    } else {
        write!(out, "{}", reported.markdown)?;
        if !details.is_empty() {
            writeln!(out, "\n## Details\n\n| what | |  |\n|---|---|---|")?;
        }
        for details::Detail { name, value, note } in &details {
            writeln!(out, "| {name} | {value:.2} | {note} |")?;
        }
    }
    if reported.has_failures { Err("there were failures: see the report".into()) } else { Ok(()) }
}
