//! What a ledger or a view answers, against what the model says. Every call may fail, where something is going to fail.

use std::collections::BTreeMap;

use taskledger::{Error, Filter, Seq, TaskState, View};

use crate::crash::oracle::{Answers, told};
use crate::model::ops::TASKS;
use crate::reference::Reference;

/// What is wrong with an answer.
#[derive(Debug)]
pub enum Wrong {
    /// A call failed, and there is no answer.
    Failed(Error),
    /// It is another one than the model's.
    Differs(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        Wrong::Failed(error)
    }
}

impl Wrong {
    pub fn told(&self) -> String {
        match self {
            Wrong::Failed(error) => told(error),
            Wrong::Differs(what) => what.clone(),
        }
    }
}

/// Entries, records, counts, lists, notes and a history.
pub fn compare(answers: &Answers<'_>, model: &Reference) -> Result<(), Wrong> {
    let entries = answers.entries(Seq::FIRST)?;
    for (got, expected) in entries.iter().zip(&model.entries) {
        expected.difference(got).map_or(Ok(()), |what| Err(Wrong::Differs(what)))?;
    }
    same("the entries are so many", entries.len(), model.entries.len())?;
    for task in TASKS {
        let got = answers.get(task)?.map(|task| (task.record, task.version, task.seq.0));
        let expected = model.tasks.get(task).and_then(|task| Some((task.record.clone()?, task.version, task.seq)));
        same(task, got, expected)?;
    }
    let counts = answers.counts();
    for state in TaskState::ALL {
        same(
            &format!("so many are {state}"),
            counts.of(state),
            model.list(|record| record.state == state).len() as u64,
        )?;
    }
    let list = answers.list(Filter::new())?.tasks;
    let mut ids: Vec<&str> = list.iter().map(|task| &*task.record.id).collect();
    ids.sort_unstable();
    same("the list", ids, model.list(|_| true).iter().map(|(record, _)| &*record.id).collect())?;
    let notes = answers.notes()?.notes;
    let notes: BTreeMap<&str, _> =
        notes.iter().map(|note| (&*note.key, (&note.value, note.version, note.seq.0))).collect();
    let expected = model.notes().into_iter().map(|(key, (value, note))| (key, (value, note.version, note.seq)));
    same("the notes", notes, expected.collect())?;
    let task = TASKS[model.entries.len() % TASKS.len()];
    let history: Vec<u64> = answers.history(task)?.iter().map(|entry| entry.seq.0).collect();
    same("a history", history, model.history(task).iter().map(|entry| entry.seq).collect())
}

/// The same of a view, which knows where it ends.
pub fn compare_view(view: &View, model: &Reference) -> Result<(), Wrong> {
    let expected = (model.head(), model.head_at(), model.ends_within_a_batch());
    same("a view ends", (view.seq().0, view.at(), view.splits_a_batch()), expected)?;
    compare(&Answers::View(view), model)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), Wrong> {
    if got == expected {
        return Ok(());
    }
    Err(Wrong::Differs(format!("{what}: {got:.300?}, and should be {expected:.300?}")))
}
