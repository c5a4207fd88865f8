//! `demo`: writes a ledger worth looking at, draws it, and says what to try.
//!
//! Run again on the same directory it appends nothing, or what an interrupted run had left out. Any other ledger is
//! left alone.

use std::io::Write;
use std::path::Path;

use taskledger::{At, Batch, Entry, Error, Expect, Filter, Ledger, Seq, TaskState, View};

use crate::cli::args::DemoArgs;
use crate::cli::chart::WIDTH_MIN;
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Object, Out};
use crate::cli::story::{self, END, START, Step};
use crate::cli::text::{by_state, left, shell};
use crate::cli::time::stamp;
use crate::cli::timeline;

/// The picture has so many columns at most.
const COLUMNS: usize = 80;

pub(crate) fn run(args: &DemoArgs, out: &mut Out) -> Result<u8, Failure> {
    let steps = story::steps();
    let there = match Ledger::open_read_only(&args.dir) {
        Ok(reader) => told(&steps, reader.view(), &args.dir)?,
        Err(Error::NoLedger { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    if there < steps.len() {
        write(&steps, &args.dir)?;
    }
    // Later entries, if somebody went on with it, are no part of the story.
    let view = Ledger::open_read_only(&args.dir)?.as_of(At::Seq(Seq(steps.len() as u64)))?;
    let commands = commands(&args.dir);
    match out.form {
        Form::People => print(&view, &commands, out)?,
        Form::Json => {
            for task in view.list(Filter::new())?.tasks {
                out.json(&task)?;
            }
            out.json(&view.counts())?;
            let commands = commands.map(|(command, _)| command);
            let object = Object::new("taskledger.demo/1")
                .with("seq", view.seq().0)
                .with("appended", steps.len() - there)
                .with("commands", commands.as_slice());
            out.json(&object)?;
        }
    }
    Ok(0)
}

/// How many steps of the story a ledger has.
fn told(steps: &[Step], view: &View, dir: &Path) -> Result<usize, Failure> {
    let mut told = 0;
    for (step, entry) in steps.iter().zip(view.entries(Seq::FIRST)) {
        let entry = entry?;
        if !is_step(step, &entry) {
            return Err(Failure::new(
                "USAGE",
                format!("{} is another ledger: its seq {} is not that of the demo", dir.display(), entry.seq),
            )
            .hint("name a directory that is empty or not there yet")
            .with("path", dir.to_string_lossy())
            .with("seq", entry.seq.0));
        }
        told += 1;
    }
    Ok(told)
}

/// Whether an entry is what a step of the story becomes. The ledger may have counted the attempts.
fn is_step(step: &Step, entry: &Entry) -> bool {
    let counted = entry.event.attempts_set().filter(|_| step.event.state() == Some(TaskState::Running));
    let event = counted.map_or(step.event.clone(), |attempts| step.event.clone().attempts(attempts));
    entry.task.as_deref() == Some(step.task) && entry.happened_at() == step.stated && entry.event == event
}

/// Appends what is missing of the story: what was reported at one moment is one batch.
fn write(steps: &[Step], dir: &Path) -> Result<(), Failure> {
    let ledger = Ledger::open(dir)?;
    // Looked at again under the lock.
    let view = ledger.as_of(At::Seq(ledger.head()))?;
    let there = told(steps, &view, dir)?;
    let missing = steps.get(there..).unwrap_or_default();
    for together in missing.chunk_by(|a, b| a.reported == b.reported) {
        let mut batch = Batch::new();
        for step in together {
            batch.push(step.task, step.event.clone().at(step.stated), Expect::Any);
        }
        ledger.commit(batch)?;
    }
    Ok(ledger.close()?)
}

/// What to try, and what for.
fn commands(dir: &Path) -> [(String, &'static str); 5] {
    let program = std::env::args_os().next().unwrap_or_else(|| "taskledger".into());
    let (program, dir) = (shell(&program.to_string_lossy()), shell(&dir.to_string_lossy()));
    let half_past = stamp(START + 1_800_000);
    [
        (format!("{program} ls -D {dir} --at {half_past}"), "how it stood at half past two"),
        (format!("{program} show -D {dir} extract/ad-spend"), "one task: what came of it"),
        (format!("{program} history -D {dir} train/churn"), "one task: how it came to that, with a crash"),
        (format!("{program} log -D {dir} -n 12 --at seq:70"), "what happened before a moment"),
        (format!("{program} verify -D {dir}"), "whether every byte is as it was written"),
    ]
}

fn print(view: &View, commands: &[(String, &str)], out: &mut Out) -> Result<(), Failure> {
    writeln!(out, "A night of a data pipeline, {} to {}: {} entries.\n", stamp(START), stamp(END), view.seq())?;
    timeline::draw(view, &(START..END), out.columns.unwrap_or(COLUMNS).clamp(WIDTH_MIN, COLUMNS), out)?;
    let counts = view.counts();
    writeln!(out, "\n{} tasks: {}\n\nTry:", counts.total(), by_state(counts))?;
    let column = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    for (command, what_for) in commands {
        writeln!(out, "  {}  # {what_for}", left(command, column))?;
    }
    Ok(())
}
