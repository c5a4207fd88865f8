//! What a ledger costs when it is large: opening, asking, the past, and appending while tables are written.
//!
//! `cargo run --release --example scale -- --tasks N --events-per-task M --dir DIR [--json]` builds a ledger in DIR, or takes
//! the one that is there if the same version built it from the same numbers, measures it, and prints a table, or one JSON
//! object whose keys say what is measured and end with the unit. The ledger stays in DIR, and each run
//! appends some more to it: those whose times are measured, and as many as fill a segment.

mod build;
mod measure;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

type Outcome<T> = Result<T, Box<dyn Error>>;
/// What was measured, in the order in which it is told.
type Figures = Vec<(String, f64)>;

/// How large the ledger is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    tasks: u64,
    events_per_task: u64,
}

const USAGE: &str = "usage: scale --tasks N --events-per-task M --dir DIR [--json]";

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Each opening is measured in a process of its own, which is this program again.
    if let [word, what, dir] = args.as_slice()
        && word == "measure"
    {
        return tell_json(&measure::in_new_process(what, Path::new(dir))?);
    }
    let mut named = BTreeMap::new();
    let mut json = false;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--tasks" | "--events-per-task" | "--dir" => {
                named.insert(arg.as_str(), rest.next().ok_or(USAGE)?.clone());
            }
            _ => return Err(USAGE.into()),
        }
    }
    let number = |name: &str| named.get(name).ok_or(USAGE)?.replace('_', "").parse::<u64>().map_err(|_| USAGE);
    let size = Size { tasks: number("--tasks")?, events_per_task: number("--events-per-task")? };
    if size.tasks == 0 || size.events_per_task < 4 {
        return Err("there must be a task, and four events of each at least".into());
    }
    let dir = PathBuf::from(named.get("--dir").ok_or(USAGE)?);
    let mut figures = build::build_or_reuse(size, &dir)?;
    figures.extend(measure::all(size, &dir)?);
    if json { tell_json(&figures) } else { tell_table(&figures) }
}

fn tell_json(figures: &Figures) -> Outcome<()> {
    let map: serde_json::Map<_, _> = figures.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    writeln!(std::io::stdout().lock(), "{}", serde_json::Value::Object(map))?;
    Ok(())
}

fn tell_table(figures: &Figures) -> Outcome<()> {
    let width = figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in figures {
        let digits = if value.fract() == 0.0 || *value >= 1000.0 { 0 } else { 3 };
        writeln!(text, "{name:width$}  {value:>16.digits$}")?;
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
