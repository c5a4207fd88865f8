//! `repair`: says what is lost of a damaged ledger; with `--apply` it writes a new one with all the rest.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taskledger::{Options, Repair, Seq, Subject};

use crate::cli::args::Setting;
use crate::cli::doing::RepairArgs;
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Object, Out, Progress};
use crate::cli::output;
use crate::cli::text::{count, safe, shell};
use crate::cli::verify;

/// So many tasks, ranges and refusals are named to people.
const NAMED: usize = 10;

pub(crate) fn run(args: &RepairArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let Some(to) = &args.apply else {
        let looking = Progress::of_time(out.form, "looking at what is left");
        let would = Options::new().would_repair(&setting.dir);
        drop(looking);
        let would = would?;
        tell(&would, setting, None, out)?;
        return Ok(if would.is_needed() { 5 } else { 0 });
    };
    output::check_new_dir(to)?;
    // It gets its name when it is whole: one that is interrupted is not taken for it.
    let unfinished = unfinished(to);
    let mut progress = Progress::of_entries(out.form);
    let done = args
        .making
        .options()
        .repair(&setting.dir, &unfinished, &mut |so_far| progress.show(so_far.done, Some(so_far.all)))
        .map_err(|error| begun(Failure::from(error), &unfinished));
    drop(progress);
    let done = done?;
    if done.is_needed() {
        output::rename_dir(&unfinished, to)?;
    }
    tell(&done, setting, Some(to), out)?;
    Ok(0)
}

fn unfinished(to: &Path) -> PathBuf {
    // A name that ends with a slash is the same directory.
    let mut name = to.components().collect::<PathBuf>().into_os_string();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// A failure that may have left something behind.
fn begun(failure: Failure, unfinished: &Path) -> Failure {
    if !unfinished.exists() {
        return failure;
    }
    let path = unfinished.to_string_lossy();
    failure.reword(|message| format!("{message}; nothing was changed but {path}, which is not finished: remove it"))
}

fn tell(repair: &Repair, setting: &Setting, to: Option<&PathBuf>, out: &mut Out) -> Result<(), Failure> {
    let path = match to.filter(|_| repair.is_needed()) {
        Some(to) => Some(look::whole_path(to)?),
        None => None,
    };
    match out.form {
        Form::Json => {
            for finding in &repair.findings {
                out.json(finding)?;
            }
            out.json(&object(repair, path))?;
        }
        Form::People => print(repair, setting, path.as_deref(), out)?,
    }
    Ok(out.flush()?)
}

fn object(repair: &Repair, path: Option<String>) -> Object {
    let range = |(from, to): &(Seq, Seq)| json!([from.0, to.0]);
    let missing = |(subject, count): &(Subject, u64)| match subject {
        Subject::Task(id) => json!({"task": id, "count": count}),
        Subject::Note(key) => json!({"note": key, "count": count}),
    };
    let refused = |(seq, why): &(Seq, String)| json!({"seq": seq.0, "message": why});
    let list = |values: Vec<Value>| Some(Value::from(values)).filter(|_| repair.is_needed());
    let fields = [
        ("needed", Some(Value::from(repair.is_needed()))),
        ("done", Some(path.is_some().into())),
        ("path", path.map(Value::from)),
        ("copied", Some(repair.copied.into())),
        ("kept", Some(repair.kept.into())),
        ("last", Some(repair.last.0.into())),
        ("lost", list(repair.lost.iter().map(range).collect())),
        ("lost_entries", Some(repair.lost_entries().into())),
        ("unnamed", Some(repair.unnamed.into())),
        ("unvouched", Some(repair.unvouched.into())),
        ("missing", list(repair.missing.iter().map(missing).collect())),
        ("refused", list(repair.refused.iter().map(refused).collect())),
        ("remarks", list(repair.remarks.iter().map(|remark| remark.as_str().into()).collect())),
        ("note", repair.note.as_deref().map(Value::from)),
    ];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.fold(Object::new("taskledger.repair/1"), |object, (name, value)| object.with(name, value))
}

fn print(repair: &Repair, setting: &Setting, path: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    if !repair.is_needed() {
        writeln!(out, "nothing is damaged, and nothing is to be repaired")?;
        return Ok(());
    }
    verify::print_findings(&repair.findings, out)?;
    for remark in &repair.remarks {
        writeln!(out, "{}", safe(remark))?;
    }
    let (kept, lost) = (count(repair.kept, "entry", "entries"), repair.lost_entries());
    let whole = match repair.copied {
        0 => String::new(),
        1 => ", 1 segment as it is".to_owned(),
        copied => format!(", {copied} segments as they are"),
    };
    let tense = if path.is_some() { "kept" } else { "can be kept" };
    writeln!(out, "\x1b[32m{tense}\x1b[0m  {kept} up to seq {}{whole}", repair.last)?;
    if lost > 0 {
        let ranges = some(repair.lost.iter().map(|(from, to)| match from == to {
            true => format!("{from}"),
            false => format!("{from} to {to}"),
        }));
        writeln!(out, "\x1b[31mlost\x1b[0m  {}: seq {ranges}", count(lost, "entry", "entries"))?;
    } else {
        writeln!(out, "no entry is lost")?;
    }
    if !repair.missing.is_empty() {
        let named =
            some(repair.missing.iter().map(|(subject, count)| format!("{} ({count})", safe(&subject.to_string()))));
        writeln!(out, "  of tasks and notes that have later entries: {named}")?;
    }
    if repair.unnamed > 0 {
        let unnamed = count(repair.unnamed, "entry", "entries");
        writeln!(out, "  {unnamed} of them can be read, but not whose they are: what named these tasks is lost")?;
    }
    if repair.unvouched > 0 {
        let unvouched = count(repair.unvouched, "entry is", "entries are");
        writeln!(out, "left out  {unvouched} behind the end that nobody was told is safe")?;
    }
    if !repair.refused.is_empty() {
        let refused = some(repair.refused.iter().map(|(seq, why)| format!("seq {seq} ({})", safe(why))));
        writeln!(out, "refused by the rules, and kept aside: {refused}")?;
    }
    match path {
        None => {
            let dir = shell(&setting.dir.to_string_lossy());
            writeln!(out, "nothing was changed; `taskledger repair -D {dir} --apply NEWDIR` writes a new ledger")?;
        }
        Some(path) => {
            let note = repair.note.as_deref().unwrap_or_default();
            writeln!(out, "{} is sound; what was damaged is kept in its directory aside", safe(path))?;
            writeln!(out, "`taskledger note -D {} {}` says what was lost", shell(path), shell(note))?;
        }
    }
    Ok(())
}

/// The first few, and how many more there are.
fn some(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named: Vec<String> = all.take(NAMED).collect();
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
