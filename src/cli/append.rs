//! `append`: one event, and its receipt once the event is durable and the ledger is closed; `jsonl` does many.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use taskledger::{Error, Event, Expect, Receipt, limits};

use crate::cli::args::{AppendArgs, Setting};
use crate::cli::fact::{Happened, each};
use crate::cli::fail::Failure;
use crate::cli::input::Input;
use crate::cli::jsonl;
use crate::cli::out::{Form, Out};
use crate::cli::text::{safe, shell};
use crate::cli::time::stamp;
use crate::cli::writer;

pub(crate) fn run(args: &AppendArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    match (&args.jsonl, &args.task, args.happened) {
        (Some(file), ..) => jsonl::run(file, setting, out),
        (None, Some(task), Some(happened)) => one(args, task, happened, setting, out),
        _ => Err(Failure::new("USAGE", "a task and an event are needed, or --jsonl")),
    }
}

fn one(args: &AppendArgs, task: &str, happened: Happened, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    check(args, happened)?;
    let output = args.output.as_deref().map(|typed| output(typed, out.form)).transpose()?;
    let event = event(args, happened, output.as_deref());
    let expect = args.expect.clone().unwrap_or(Expect::Any);
    let ledger = writer::open(setting)?;
    let receipt = ledger.append_if(task, event, expect).map_err(|error| refused(error, task))?;
    let told = ledger.close().map_err(Failure::from).and_then(|()| tell(&receipt, task, out));
    match told {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(0),
        Err(failure) => Err(durable_all_the_same(failure, &receipt, task)),
    }
}

/// What only all arguments together show.
fn check(args: &AppendArgs, happened: Happened) -> Result<(), Failure> {
    if args.observed && !matches!(happened, Happened::To(_)) {
        return Err(Failure::new("USAGE", "--observed goes with a state: what is observed is a state")
            .hint("`taskledger append TASK completed --observed`"));
    }
    let mut seen = BTreeSet::new();
    let mut keys = args.meta.iter().map(|(key, _)| key).chain(&args.unset);
    match keys.find(|key| !seen.insert(*key)) {
        Some(key) => Err(Failure::new("USAGE", format!("the metadata key {key:?} is named twice"))
            .hint("name each key once, in --meta or in --unset")),
        None => Ok(()),
    }
}

/// The JSON text that is meant: itself, or what is in a file or on standard input.
fn output(typed: &str, form: Form) -> Result<String, Failure> {
    let file = match typed.strip_prefix('@') {
        // Not standard input, but a file of that name.
        Some("-") => "./-".into(),
        Some(file) => file.into(),
        None if typed == "-" => PathBuf::from(typed),
        None => return Ok(typed.to_owned()),
    };
    Input::open(&file, "the output", form)?.text(limits::OUTPUT_BYTES_MAX as u64)
}

fn event(args: &AppendArgs, happened: Happened, output: Option<&str>) -> Event {
    let event = match happened {
        Happened::Created => Event::created(),
        Happened::Updated => Event::updated(),
        Happened::Removed => Event::removed(),
        Happened::Requeued(state) => Event::requeued(state),
        Happened::To(state) if args.observed => Event::observed(state),
        Happened::To(state) => Event::to(state),
    };
    let event = each(event, args.attempts, Event::attempts);
    let event = each(event, output, Event::output_text);
    let event = if args.clear_output { event.clear_output() } else { event };
    let event = each(event, args.error.as_deref(), Event::error);
    let event = if args.clear_error { event.clear_error() } else { event };
    let event = each(event, &args.meta, |event, (key, value)| event.meta(key.as_str(), value.as_str()));
    let event = each(event, &args.unset, |event, key| event.unset(key.as_str()));
    let event = each(event, args.actor.as_deref(), Event::by);
    let event = each(event, args.reason.as_deref(), Event::because);
    let event = each(event, args.cause, Event::cause);
    let event = each(event, args.key.as_deref(), Event::key);
    each(event, args.at, Event::at)
}

fn refused(error: Error, task: &str) -> Failure {
    let unknown = matches!(error, Error::Unknown { .. });
    let failure = Failure::from(error);
    if !unknown {
        return failure;
    }
    // To start it again would append it twice, if it is there.
    failure.hint(format!("look first: `taskledger history {}`; with --key it can simply be run again", shell(task)))
}

fn tell(receipt: &Receipt, task: &str, out: &mut Out) -> Result<(), Failure> {
    match out.form {
        Form::Json => {
            for item in receipt.items() {
                out.json(&jsonl::receipt(None, receipt, item))?;
            }
        }
        Form::People => {
            let (task, seq, version) = (safe(task), receipt.seq(), receipt.version());
            let replayed = if receipt.replayed() { ", replayed" } else { "" };
            writeln!(out, "{task}: seq {seq}, version {version}, {}{replayed}", stamp(receipt.at()))?;
        }
    }
    Ok(out.flush()?)
}

/// A failure after the append, which says that there is nothing to append again.
fn durable_all_the_same(failure: Failure, receipt: &Receipt, task: &str) -> Failure {
    let seq = receipt.seq();
    failure
        .reword(|message| format!("the event is durable at seq {seq}, but: {message}"))
        .with("task", task)
        .with("seq", seq.0)
        .with("version", receipt.version())
        .hint("do not append it again: it is there, and the next opening finds it")
}
