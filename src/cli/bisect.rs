//! `bisect`: the first entry after which something holds, found by looking at few moments.
//!
//! It supposes that what holds goes on holding. Which moments are looked at is a pure matter of answers; whether it holds at one
//! a condition says, or a command that gets the tasks of that moment.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use serde::ser::{Serialize, SerializeMap, Serializer};
use taskledger::{At, Entry, Filter, Reader, Seq, View};

use crate::cli::args::Setting;
use crate::cli::asking::{BisectArgs, Moment};
use crate::cli::entry::{self, Naming};
use crate::cli::expr::{Condition, Count, World};
use crate::cli::fail::Failure;
use crate::cli::look;
use crate::cli::out::{Form, Out, Progress, remark, step};
use crate::cli::text::count;

/// So many tasks are given to a command at a time.
const PAGE: usize = 1000;
/// What a command says with its exit code if it cannot tell.
const SKIP: i32 = 125;

/// What a moment is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    NotYet,
    /// With the exit code of a command.
    Holds(Option<i32>),
    Skip,
}

/// Between which seqs it begins to hold: not yet after the first, and after the second. All in between were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    before: u64,
    holds: u64,
}

pub(crate) fn run(args: &BisectArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &Moment { at: None }, out.form)?;
    let reader = &look.reader;
    let oldest = reader.report().oldest.0.saturating_sub(1);
    let from = reader.as_of(args.from.unwrap_or(At::Seq(Seq(oldest))))?;
    let to = args.to.map_or_else(|| Ok(look.view.clone()), |to| reader.as_of(to))?;
    look::remark_on(&[&from, &to], out.form);
    if from.seq() > to.seq() {
        return Err(Failure::new(
            "USAGE",
            format!("--from is seq {}, and --to is seq {} before it", from.seq(), to.seq()),
        )
        .hint("the earlier moment is --from"));
    }
    let question = match (&args.condition, &args.run) {
        (Some(condition), _) => Question::Where(condition),
        (None, command) => Question::Run { command: command.as_deref().unwrap_or_default(), setting },
    };
    // The two ends, and each time the half of what is left.
    let expected = 2 + u64::from((to.seq().0 - from.seq().0).max(1).ilog2());
    let mut progress = Progress::of_steps(out.form);
    let (mut looks, mut skipped) = (0, 0);
    let mut ask = |seq: u64| -> Result<Answer, Failure> {
        match question {
            Question::Where(_) => progress.show(looks, Some(expected.max(looks + 1))),
            Question::Run { .. } => step(out.form, &format!("step {} of about {expected}: seq {seq}", looks + 1)),
        }
        looks += 1;
        let answer = question.ask(&reader.as_of(At::Seq(Seq(seq)))?)?;
        skipped += u64::from(answer == Answer::Skip);
        Ok(answer)
    };
    check_ends(&from, &to, &mut ask)?;
    let found = search(from.seq().0, to.seq().0, &mut ask)?;
    drop(progress);
    let told = Told { question, found, entry: entry_of(reader, found)?, to: to.seq(), looks, skipped };
    match out.form {
        Form::Json => out.json(&told)?,
        Form::People => told.print(reader, out)?,
    }
    Ok(0)
}

/// That it does not hold at the first moment, and does at the second.
fn check_ends(from: &View, to: &View, ask: &mut dyn FnMut(u64) -> Result<Answer, Failure>) -> Result<(), Failure> {
    let refused = |seq: Seq, what: String, hint: &str| {
        Err(Failure::new("NOT_FOUND", what).hint(hint.to_owned()).with("seq", seq.0))
    };
    let skips = |seq: Seq, end: &str| {
        let what = format!("the command cannot tell (exit code {SKIP}) at the {end}, seq {seq}, which must be known");
        refused(seq, what, "name another moment with --from or --to")
    };
    let start = from.seq();
    match ask(start.0)? {
        Answer::NotYet => {}
        Answer::Skip => return skips(start, "start"),
        Answer::Holds(code) => {
            let code = code.map_or(String::new(), |code| format!(" (the command ended with {code})"));
            let what = format!("it holds already at the start, seq {start}{code}");
            return refused(start, what, "name an earlier moment with --from, if there is one");
        }
    }
    let end = to.seq();
    match if end == start { Answer::NotYet } else { ask(end.0)? } {
        Answer::Holds(_) => Ok(()),
        Answer::Skip => skips(end, "end"),
        Answer::NotYet => {
            let what = format!("it does not hold at the end, seq {end}");
            refused(end, what, "name a moment at which it holds with --to; it may have held in between")
        }
    }
}

/// Looks for the first seq at which it holds, where it does not at `before` and does at `holds`.
fn search(before: u64, holds: u64, ask: &mut dyn FnMut(u64) -> Result<Answer, Failure>) -> Result<Found, Failure> {
    let mut found = Found { before, holds };
    let mut skipped = BTreeSet::new();
    loop {
        let Found { before, holds } = found;
        let middle = before.midpoint(holds);
        let is_open = |seq: &u64| *seq > before && *seq < holds && !skipped.contains(seq);
        // Around what was skipped in steps that grow, and at last whatever is left.
        let steps = (0..u64::BITS).map(|power| 1_u64 << power);
        let around = steps.flat_map(|far| [middle.saturating_add(far), middle.saturating_sub(far)]);
        let near = [middle].into_iter().chain(around).find(is_open);
        let Some(seq) = near.or_else(|| (before + 1..holds).find(is_open)) else { return Ok(found) };
        match ask(seq)? {
            Answer::NotYet => found.before = seq,
            Answer::Holds(_) => found.holds = seq,
            Answer::Skip => drop(skipped.insert(seq)),
        }
    }
}

/// The entry that it is, if that is known.
fn entry_of(reader: &Reader, found: Found) -> Result<Option<Entry>, Failure> {
    if found.holds - found.before > 1 {
        return Ok(None);
    }
    Ok(reader.view().entries(Seq(found.holds)).next().transpose()?)
}

/// What is asked of each moment.
#[derive(Clone, Copy)]
enum Question<'a> {
    Where(&'a Condition),
    Run { command: &'a str, setting: &'a Setting },
}

impl Question<'_> {
    fn ask(self, view: &View) -> Result<Answer, Failure> {
        match self {
            Question::Where(condition) => look_at(condition, view),
            Question::Run { command, setting } => run_at(command, setting, view),
        }
    }
}

/// What a command says of a moment.
fn run_at(command: &str, setting: &Setting, view: &View) -> Result<Answer, Failure> {
    let failed = |error: io::Error| Failure::io("run", command, &error);
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("TASKLEDGER_DIR", look::whole_path(&setting.dir)?)
        .env("TASKLEDGER_SEQ", view.seq().to_string())
        .stdin(Stdio::piped())
        // Standard output is for the answer.
        .stdout(Stdio::from(io::stderr()))
        .spawn()
        .map_err(failed)?;
    let fed = child.stdin.take().map_or(Ok(()), |stdin| feed(view, BufWriter::new(stdin)));
    let ended = child.wait().map_err(failed)?;
    if let Err(failure @ Failure::Told(_)) = fed {
        return Err(failure);
    }
    match ended.code() {
        Some(0) => Ok(Answer::NotYet),
        Some(SKIP) => Ok(Answer::Skip),
        Some(code @ 1..=127) => Ok(Answer::Holds(Some(code))),
        code => {
            let signal = ended.signal().map_or(String::new(), |signal| format!("was ended by signal {signal}"));
            let how = code.map_or(signal, |code| format!("ended with {code}"));
            Err(Failure::new("IO", format!("the command {how} at seq {}, which is no answer", view.seq()))
                .hint("0 says not yet, 125 that it cannot tell, any other code up to 127 that it holds")
                .with("seq", view.seq().0))
        }
    }
}

/// What a condition says of a moment.
fn look_at(condition: &Condition, view: &View) -> Result<Answer, Failure> {
    let counts = view.counts();
    let count = |count| match count {
        Count::Total => counts.total(),
        Count::Notes => view.note_count(),
        Count::In(state) => counts.of(state),
    };
    let holds = condition.holds(&World { count: &count, task: &|id| Ok(view.get(id)?) })?;
    Ok(if holds { Answer::Holds(None) } else { Answer::NotYet })
}

/// Gives all tasks of a moment, then the counts, as `ls --json` does.
fn feed(view: &View, mut to: impl Write) -> Result<(), Failure> {
    let mut next = Some(Filter::new().limit(PAGE));
    while let Some(filter) = next.take() {
        let page = view.list(filter)?;
        page.tasks.iter().try_for_each(|task| give(task, &mut to))?;
        next = page.next.map(|token| Filter::new().limit(PAGE).after(token));
    }
    give(&view.counts(), &mut to)?;
    to.flush().map_err(not_given)
}

fn give(object: &impl Serialize, to: &mut impl Write) -> Result<(), Failure> {
    let written = serde_json::to_writer(&mut *to, object).map_err(io::Error::from);
    written.and_then(|()| to.write_all(b"\n")).map_err(not_given)
}

/// One that has seen enough need not read the rest.
fn not_given(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::io("write to", "the command", &error),
    }
}

/// `taskledger.bisect/1`.
struct Told<'a> {
    question: Question<'a>,
    found: Found,
    entry: Option<Entry>,
    to: Seq,
    looks: u64,
    skipped: u64,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "taskledger.bisect/1")?;
        match self.question {
            Question::Where(condition) => map.serialize_entry("where", &condition.text)?,
            Question::Run { command, .. } => map.serialize_entry("run", command)?,
        }
        map.serialize_entry("first", &(self.found.before + 1))?;
        map.serialize_entry("last", &self.found.holds)?;
        map.serialize_entry("to", &self.to)?;
        map.serialize_entry("looks", &self.looks)?;
        map.serialize_entry("skipped", &self.skipped)?;
        if let Some(entry) = &self.entry {
            map.serialize_entry("entry", entry)?;
        }
        map.end()
    }
}

impl Told<'_> {
    fn print(self, reader: &Reader, out: &mut Out) -> Result<(), Failure> {
        let Found { before, holds } = self.found;
        match self.entry {
            Some(entry) => {
                writeln!(out, "It holds after seq {holds}, and not before:")?;
                entry::print([Ok(entry)].into_iter(), Naming::EachTask, out)?;
                if reader.as_of(At::Seq(Seq(holds)))?.splits_a_batch() {
                    remark(out.form, "this entry is within a batch, all of which came to be seen at once");
                }
            }
            None => {
                writeln!(out, "It holds after seq {holds}, and not yet after seq {before}; all between were skipped.")?
            }
        }
        let looks = count(self.looks, "moment", "moments");
        let skipped = if self.skipped > 0 { format!(", {} of them skipped", self.skipped) } else { String::new() };
        writeln!(out, "Looked at {looks}{skipped}, supposing that it goes on holding up to seq {}.", self.to)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of `0..=last` where it begins to hold at a seq, and what must be skipped; and how often was asked.
    fn found(last: u64, begins: u64, skipped: &[u64]) -> (Found, u64) {
        let mut asked = BTreeSet::new();
        let mut ask = |seq: u64| {
            assert!(seq > 0 && seq < last && asked.insert(seq), "seq {seq} is known");
            Ok(match () {
                () if skipped.contains(&seq) => Answer::Skip,
                () if seq >= begins => Answer::Holds(None),
                () => Answer::NotYet,
            })
        };
        let found = search(0, last, &mut ask).unwrap();
        (found, asked.len() as u64)
    }

    #[test]
    fn the_first_is_found_in_few_steps() {
        for last in [1, 2, 3, 7, 64, 1000, u64::MAX] {
            for begins in [1, 2, 3, last / 2, last - 1, last].into_iter().filter(|&begins| (1..=last).contains(&begins))
            {
                let (Found { before, holds }, asked) = found(last, begins, &[]);
                assert_eq!((before, holds), (begins - 1, begins), "{begins} of {last}");
                assert!(asked <= u64::from(last.ilog2()) + 1, "{asked} for {begins} of {last}");
            }
        }
    }

    /// Every set of skipped seqs of a few, and every beginning.
    #[test]
    fn what_is_skipped_leaves_a_range_that_is_as_small_as_can_be() {
        let last = 9;
        for set in 0..1_u64 << 8 {
            let skipped: Vec<u64> = (1..last).filter(|seq| set >> (seq - 1) & 1 == 1).collect();
            for begins in 1..=last {
                let (Found { before, holds }, _) = found(last, begins, &skipped);
                let known = |seq: &u64| !skipped.contains(seq);
                assert_eq!(Some(before), (0..begins).rev().find(known), "{begins} without {skipped:?}");
                assert_eq!(Some(holds), (begins..=last).find(known), "{begins} without {skipped:?}");
            }
        }
    }
}
