//! Opening a ledger for reading, at a moment, and saying what a reader should know about that moment.

use std::path::Path;

use taskledger::{At, Entry, Error, Ledger, Reader, Seq, View};

use crate::cli::args::Setting;
use crate::cli::asking::Moment;
use crate::cli::fail::Failure;
use crate::cli::out::{Form, remark};
use crate::cli::text::{count, safe};
use crate::cli::time::stamp;

/// A ledger as of a moment.
pub(crate) struct Look {
    /// All that there is.
    pub reader: Reader,
    /// What was asked for.
    pub view: View,
}

/// Opens for reading, and remarks on standard error what may still change or is not whole.
pub(crate) fn open(setting: &Setting, moment: &Moment, form: Form) -> Result<Look, Failure> {
    let reader = Ledger::open_read_only(&setting.dir)?;
    let view = match moment.at {
        Some(at) => reader.as_of(at)?,
        None => reader.view().clone(),
    };
    let mut remarks = about(&view);
    let report = reader.report();
    let unvouched = view.seq().0.saturating_sub(report.vouched.0);
    if report.writer.is_none() && unvouched > 0 {
        let them = count(unvouched, "entry was", "entries were");
        remarks.push(format!(
            "the last {them} written, but nobody was told that they are safe; opening for writing keeps them"
        ));
    }
    for (path, what) in &report.unfit {
        let path = safe(&path.to_string_lossy()).into_owned();
        remarks
            .push(format!("{path} could not be used ({what}), and was done without; the next writer makes it again"));
    }
    if !remarks.is_empty() {
        remark(form, &remarks.join("; "));
    }
    Ok(Look { reader, view })
}

/// Refuses a range that ends before it begins, as far as that shows before the ledger is asked.
pub(crate) fn check_order(since: Option<At>, until: Option<At>, example: &str) -> Result<(), Failure> {
    let backwards = match (since, until) {
        (Some(At::Millis(since)), Some(At::Millis(until))) => since > until,
        (Some(At::Seq(since)), Some(At::Seq(until))) => since > until,
        _ => false,
    };
    if backwards {
        return Err(Failure::new("USAGE", "--since is after the moment up to which entries are asked for")
            .hint(format!("`{example} --since 2h --until 1h`: the earlier moment is --since")));
    }
    Ok(())
}

/// Where the entries since a moment begin; without one with the oldest that is kept.
pub(crate) fn first_since(reader: &Reader, since: Option<At>) -> Result<Seq, Failure> {
    Ok(match since {
        Some(At::Seq(since)) => since,
        // Behind the last entry that is older.
        Some(At::Millis(since)) if since > 0 => Seq(reader.as_of(At::Millis(since - 1))?.seq().0 + 1),
        _ => reader.report().oldest,
    })
}

/// Refuses to begin further ahead than right behind the head, where whoever has read everything goes on.
pub(crate) fn check_begun(from: Seq, reader: &Reader) -> Result<(), Failure> {
    let head = reader.view().seq();
    if from.0.checked_sub(1).is_some_and(|before| before > head.0) {
        return Err(Error::Ahead { asked: from, head }.into());
    }
    Ok(())
}

/// Remarks on standard error what a reader should know about each of these moments.
pub(crate) fn remark_on(views: &[&View], form: Form) {
    let remarks: Vec<String> = views.iter().flat_map(|view| about(view)).collect();
    if !remarks.is_empty() {
        remark(form, &remarks.join("; "));
    }
}

fn about(view: &View) -> Vec<String> {
    let mut remarks = Vec::new();
    if !view.is_final() {
        remarks.push("the ledger has not passed this moment yet, so more may come to belong to it".to_owned());
    }
    if view.splits_a_batch() {
        remarks.push(format!("seq {} is within a batch, of which the rest is left out", view.seq()));
    }
    remarks
}

/// A ledger's directory as it is named from everywhere.
pub(crate) fn whole_path(dir: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(dir).map_err(|error| Failure::io("find", &dir.to_string_lossy(), &error))?;
    Ok(path.to_string_lossy().into_owned())
}

impl Look {
    /// The last line for people: as of when.
    pub(crate) fn as_of(&self) -> String {
        match self.view.seq() {
            Seq::ZERO => "as of seq 0 (before everything)".to_owned(),
            seq => format!("as of seq {seq} ({})", stamp(self.view.at())),
        }
    }

    /// Why there is no record, or no entry, of a task at this moment.
    pub(crate) fn not_found(&self, task: &str) -> Failure {
        let edge = |entry: Option<taskledger::Result<Entry>>| entry.and_then(Result::ok);
        let here = self.view.history(task).ok().and_then(|entries| edge(entries.last()));
        let later = self.reader.view().history(task).ok().and_then(|mut entries| edge(entries.next()));
        let failure = match (&here, &later) {
            (Some(removed), _) => Failure::new("NOT_FOUND", format!("{task} was removed at seq {}", removed.seq))
                .hint(format!("`taskledger history {}` shows what it was", safe(task)))
                .with("seq", removed.seq.0),
            (None, Some(first)) => Failure::new("NOT_FOUND", format!("there was no task {task} {} yet", self.as_of()))
                .hint(format!("it begins at seq {} ({})", first.seq, stamp(first.happened_at())))
                .with("seq", first.seq.0),
            (None, None) => Failure::new("NOT_FOUND", format!("there is no task {task} {}", self.as_of()))
                .hint("`taskledger ls` lists the tasks there are, `taskledger ls --prefix P` those that begin with P"),
        };
        failure.with("task", task)
    }
}
