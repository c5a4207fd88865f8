//! `show`: one task's record.

use std::collections::BTreeMap;
use std::io::Write;

use taskledger::{Task, View};

use crate::cli::args::Setting;
use crate::cli::asking::ShowArgs;
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::ls::ran;
use crate::cli::out::{Form, Out};
use crate::cli::text::{left, paint, safe, safe_lines, width};
use crate::cli::time::stamp;

/// Where the values start.
const INDENT: usize = 12;

pub(crate) fn run(args: &ShowArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let task = look.view.get(&args.task)?.ok_or_else(|| look.not_found(&args.task))?;
    match out.form {
        Form::Json => out.json(&task)?,
        Form::People => {
            if !args.paging.no_pager {
                out.page();
            }
            print(&task, &look.view, out)?;
            writeln!(out, "{}", look.as_of())?;
        }
    }
    Ok(0)
}

fn print(task: &Task, view: &View, out: &mut Out) -> Result<(), Failure> {
    let record = &task.record;
    writeln!(out, "{}", safe(&record.id))?;
    section(out, "state", &paint(record.state, record.state.name()))?;
    if record.attempts > 0 {
        section(out, "tries", &record.attempts.to_string())?;
    }
    section(out, "version", &format!("{}, last at seq {}", task.version, task.seq))?;
    section(out, "created", &stamp(record.created_at))?;
    if let Some(started) = record.started_at {
        section(out, "started", &stamp(started))?;
    }
    if let Some(finished) = record.finished_at {
        section(out, "finished", &stamp(finished))?;
    }
    section(out, "updated", &stamp(record.updated_at))?;
    if record.started_at.is_some() {
        section(out, "ran", &ran(task, view))?;
    }
    if let Some(error) = &record.error {
        section(out, "error", &safe_lines(error))?;
    }
    if !record.metadata.is_empty() {
        let metadata: BTreeMap<_, _> = record.metadata.iter().map(|(key, value)| (safe(key), safe(value))).collect();
        let column = metadata.keys().map(|key| width(key)).max().unwrap_or(0);
        let lines: Vec<String> =
            metadata.iter().map(|(key, value)| format!("{}  {value}", left(key, column))).collect();
        section(out, "metadata", &lines.join("\n"))?;
    }
    if let Some(output) = &record.output {
        section(out, "output", &safe_lines(&format!("{output:#}")))?;
    }
    Ok(())
}

/// A name, and a value that may have several lines.
pub(crate) fn section(out: &mut Out, name: &str, value: &str) -> Result<(), Failure> {
    for (n, line) in value.split('\n').enumerate() {
        let name = if n == 0 { name } else { "" };
        writeln!(out, "{}", format!("  {}{line}", left(name, INDENT - 2)).trim_end())?;
    }
    Ok(())
}
