//! `notes`: which notes there are. `note`: what one of them says, or its entries.

use std::io::Write;

use taskledger::{Note, NoteFilter};

use crate::cli::args::{NoteArgs, NotesArgs, Setting};
use crate::cli::entry::{self, Naming};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Out, remark};
use crate::cli::show::section;
use crate::cli::text::{clip, left, safe, safe_lines, width};
use crate::cli::time::stamp;

/// How many notes are asked for at a time, and fitted into columns together.
const PAGE: usize = 1000;
/// So many are sorted by key at most: what they say may be long.
const SORTED_MAX: usize = 10_000;
/// A key longer than this pushes its own line only.
const KEY_COLUMNS: usize = 40;
/// How much of a value is shown.
const VALUE_COLUMNS: usize = 80;

/// `notes`: one line each.
pub(crate) fn list(args: &NotesArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let filter = NoteFilter::new().prefix(args.prefix.as_str());
    let page = look.view.notes(filter.clone().limit(SORTED_MAX))?;
    let (mut notes, mut next) = (page.notes, page.next);
    if next.is_none() {
        notes.sort_by(|a, b| a.key.cmp(&b.key));
    } else {
        remark(out.form, "more than ten thousand notes: they come in the ledger's own order, not sorted by key");
    }
    let mut shown = 0;
    loop {
        shown += notes.len();
        match out.form {
            Form::Json => notes.iter().try_for_each(|note| out.json(note))?,
            Form::People => print(&notes, out)?,
        }
        let Some(token) = next.take() else { break };
        let page = look.view.notes(filter.clone().limit(PAGE).after(token))?;
        (notes, next) = (page.notes, page.next);
    }
    if out.form == Form::People {
        writeln!(out, "{shown} of {} notes, {}", look.view.note_count(), look.as_of())?;
    }
    Ok(0)
}

fn print(notes: &[Note], out: &mut Out) -> Result<(), Failure> {
    let columns = notes.iter().map(|note| width(&safe(&note.key)).min(KEY_COLUMNS)).max().unwrap_or(0);
    for note in notes {
        let value = note.value.to_string();
        writeln!(out, "{}  {}", left(&safe(&note.key), columns), clip(&safe(&value), VALUE_COLUMNS))?;
    }
    Ok(())
}

/// `note`: one of them.
pub(crate) fn show(args: &NoteArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let key = args.key.as_str();
    let not_found = || {
        Failure::new("NOT_FOUND", format!("there is no note {key} {}", look.as_of()))
            .hint("`taskledger notes` lists the notes there are; `taskledger note KEY --history` shows a removed one, too")
            .with("note", key)
    };
    if args.history {
        let mut entries = look.view.note_history(key)?.peekable();
        if entries.peek().is_none() {
            return Err(not_found());
        }
        entry::print(entries, Naming::OneTask, out)?;
        return Ok(0);
    }
    let note = look.view.note(key)?.ok_or_else(not_found)?;
    match out.form {
        Form::Json => out.json(&note)?,
        Form::People => {
            writeln!(out, "{}", safe(&note.key))?;
            section(out, "version", &format!("{}, last at seq {} ({})", note.version, note.seq, stamp(note.at)))?;
            section(out, "value", &safe_lines(&format!("{:#}", note.value)))?;
            writeln!(out, "{}", look.as_of())?;
        }
    }
    Ok(0)
}
