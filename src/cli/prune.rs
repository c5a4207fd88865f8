//! `prune`: drops the beginning of the history; without `--yes` it only says what would go, without a lock.

use std::io::Write;

use serde_json::{Map, Value, json};
use taskledger::{At, Ledger, Prune, Pruning, TaskState};

use crate::cli::args::Setting;
use crate::cli::doing::PruneArgs;
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Object, Out, Progress};
use crate::cli::show::section;
use crate::cli::text::{by_state, bytes, count, safe, shell};
use crate::cli::time::stamp;
use crate::cli::writer;

pub(crate) fn run(args: &PruneArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let prune = wish(args);
    if !args.yes {
        let progress = Progress::of_time(out.form, "looking at what would go");
        let would = Ledger::open_read_only(&setting.dir)?.would_prune(&prune)?;
        drop(progress);
        return tell(args, &would, out).map(|()| 0);
    }
    let ledger = writer::open(setting)?;
    let progress = Progress::of_time(out.form, "pruning");
    let did = ledger.prune(&prune);
    drop(progress);
    let did = did.map_err(|error| writer::failed(error, "prune"))?;
    match ledger.close().map_err(Failure::from).and_then(|()| tell(args, &did, out)) {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(0),
        Err(failure) => Err(gone_all_the_same(failure, &did)),
    }
}

fn wish(args: &PruneArgs) -> Prune {
    let prune = Prune::before(args.before);
    let prune = if args.force { prune.forced() } else { prune };
    let prune = args.actor.iter().fold(prune, |prune, actor| prune.by(actor));
    args.reason.iter().fold(prune, |prune, reason| prune.because(reason))
}

/// A failure after the prune, which says that it has happened.
fn gone_all_the_same(failure: Failure, did: &Pruning) -> Failure {
    let Some(entry) = did.entry else { return failure };
    failure
        .reword(|message| format!("it is pruned, and seq {entry} tells of it, but: {message}"))
        .with("seq", entry.0)
        .hint("nothing is to be done again: the next opening finds it so")
}

fn tell(args: &PruneArgs, pruning: &Pruning, out: &mut Out) -> Result<(), Failure> {
    match out.form {
        Form::Json => out.json(&object(args, pruning))?,
        Form::People => print(args, pruning, out)?,
    }
    Ok(out.flush()?)
}

fn object(args: &PruneArgs, pruning: &Pruning) -> Object {
    let counts = pruning.counts;
    let states = || -> Map<String, Value> {
        TaskState::ALL.map(|state| (state.name().to_owned(), counts.of(state).into())).into_iter().collect()
    };
    let blocked = pruning.blocked.as_ref();
    let blocked = blocked.map(|by| json!({"task": by.task, "state": by.state, "seq": by.seq.0}));
    let fields: [(&str, Option<Value>); 13] = [
        ("done", Some(args.yes.into())),
        ("segments", Some(pruning.segments.into())),
        ("first", pruning.seqs.map(|(first, _)| first.0.into())),
        ("last", pruning.seqs.map(|(_, last)| last.0.into())),
        ("first_at", pruning.times.map(|(first, _)| first.into())),
        ("last_at", pruning.times.map(|(_, last)| last.into())),
        ("bytes", Some(pruning.bytes.into())),
        ("total", pruning.seqs.map(|_| counts.total().into())),
        ("states", pruning.seqs.map(|_| states().into())),
        ("oldest", Some(pruning.oldest.0.into())),
        ("sealed", Some(pruning.sealed.into())),
        ("blocked", blocked),
        ("entry", pruning.entry.map(|seq| seq.0.into())),
    ];
    let there = fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    there.fold(Object::new("taskledger.pruned/1"), |object, (name, value)| object.with(name, value))
}

fn print(args: &PruneArgs, pruning: &Pruning, out: &mut Out) -> Result<(), Failure> {
    let segments = count(pruning.segments, "segment", "segments");
    let size = bytes(pruning.bytes);
    match (pruning.segments, args.yes) {
        (0, _) => writeln!(out, "nothing {}", if args.yes { "was pruned" } else { "would go" })?,
        (_, true) => writeln!(out, "pruned {segments}, {size}")?,
        (_, false) => writeln!(out, "{segments}, {size}, would go")?,
    }
    if let Some((first, last)) = pruning.seqs {
        let entries = count(last.0 + 1 - first.0, "entry", "entries");
        section(out, "entries", &format!("seq {first} to {last}, {entries}"))?;
    }
    if let Some((from, to)) = pruning.times {
        section(out, "placed", &format!("{} to {}", stamp(from), stamp(to)))?;
    }
    if pruning.seqs.is_some() {
        let states = by_state(pruning.counts);
        let states = if states.is_empty() { String::new() } else { format!(": {states}") };
        section(out, "tasks", &format!("{}{states}, after the last of them", pruning.counts.total()))?;
    }
    section(out, "kept", &format!("from seq {} on{}", pruning.oldest, why(args, pruning)))?;
    if let Some(entry) = pruning.entry {
        section(out, "told", &format!("by seq {entry}"))?;
    }
    match (pruning.segments, args.yes) {
        (_, true) => {}
        (0, false) => writeln!(out, "nothing was changed")?,
        (_, false) => writeln!(out, "nothing was changed; with --yes it is done")?,
    }
    Ok(())
}

/// Why no more goes, and what to do where something can be done.
fn why(args: &PruneArgs, pruning: &Pruning) -> String {
    if let Some(by) = &pruning.blocked {
        let (task, state) = (safe(&by.task), by.state);
        return format!(
            ": {task} is {state}, and seq {} is of it\nbring it to its end (`taskledger history {}`), or use --force: its record stays then",
            by.seq,
            shell(&by.task),
        );
    }
    let moment = match args.before {
        At::Seq(seq) => format!("seq {seq}"),
        At::Millis(time) => stamp(time),
        _ => "that moment".to_owned(),
    };
    match pruning.sealed {
        0 => ": that segment is being written, and only sealed ones go".to_owned(),
        _ => format!(": segments go whole, and that one does not end before {moment}"),
    }
}
