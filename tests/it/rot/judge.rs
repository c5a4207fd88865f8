//! The one judgement of a damaged ledger: what it still shows is the beginning of the truth in whole batches, or it is
//! refused with coordinates; a reader and a writer agree, and reading changes nothing. How much may be missing is for
//! the caller to say.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use taskledger::vfs::fault::MemVfs;
use taskledger::{Entry, Error, History, Level, Seq, Verdict};

use crate::crash::journal::{Item, Want};
use crate::crash::oracle::{Answers, entries_prefix, fold_matches, from_oldest, message_of, told};
use crate::crash::script::{DIR, dir, options};

/// What a ledger held before the damage.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Everything, with nothing demanded.
    want: Want,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All entries, records, notes and counts, read and written.
    Answers,
    /// Also `verify`, and the history of each task.
    All,
}

impl Truth {
    pub fn of(want: &Want) -> Truth {
        Truth { want: Want { acked: 0, ..want.clone() } }
    }

    /// How many entries there were.
    pub fn len(&self) -> usize {
        self.want.items.len()
    }

    /// How many entries a damaged ledger shows; `None` where it is refused. The image is written to.
    pub fn shown_by(&self, image: &MemVfs, depth: Depth) -> Result<Option<usize>, String> {
        catch_unwind(AssertUnwindSafe(|| self.judge(image, depth)))
            .unwrap_or_else(|panic| Err(format!("a panic: {}", message_of(&*panic))))
    }

    fn judge(&self, image: &MemVfs, depth: Depth) -> Result<Option<usize>, String> {
        let before = (image.trace_len(), (depth == Depth::All).then(|| image.fingerprint()));
        let read = self.read(image, depth)?;
        if depth == Depth::All {
            self.verify(image, read)?;
        }
        if before != (image.trace_len(), before.1.map(|_| image.fingerprint())) {
            return Err("reading has changed something".to_owned());
        }
        let written = self.write(image)?;
        if written != read {
            return Err(format!("a reader gets {read:?} entries, and a writer {written:?}"));
        }
        Ok(read)
    }

    fn read(&self, image: &MemVfs, depth: Depth) -> Result<Option<usize>, String> {
        let reader = match options(image).open_read_only(DIR) {
            Ok(reader) => reader,
            Err(error) => {
                return with_coordinates(&error).map(|()| None).map_err(|wrong| format!("read-only: {wrong}"));
            }
        };
        let view = reader.view();
        self.entries(&Answers::View(view), view.seq(), |gone, items| {
            let told = items.iter().filter(|item| item.prunes.is_none());
            let tasks: BTreeSet<&str> = told.map(|item| item.task.as_str()).collect();
            for task in tasks.into_iter().filter(|task| depth == Depth::All && !task.starts_with("note ")) {
                history_matches(view.history(task), task, gone, items)?;
            }
            Ok(())
        })
        .map_err(|wrong| format!("read-only: {wrong}"))
    }

    /// How many entries there are; `None` where reading one is refused. Opening reads what no table stands for, so that
    /// damage to the rest is met here; and what tables say is right all the same.
    fn entries(
        &self,
        answers: &Answers<'_>,
        last: Seq,
        more: impl Fn(usize, &[Item]) -> Result<(), String>,
    ) -> Result<Option<usize>, String> {
        let mut refused = None;
        let (gone, entries) = from_oldest(answers);
        let entries = entries.map_while(|entry| match entry {
            Err(error @ Error::Damaged { .. }) => {
                refused = Some(error);
                None
            }
            entry => Some(entry),
        });
        let kept = entries_prefix(gone, entries, &self.want);
        let Some(error) = refused else {
            let kept = kept?;
            let items = &self.want.items[..kept];
            return match fold_matches(answers, items) {
                // No entry is left of what a floor stands for.
                Err(wrong) if gone > 0 && wrong.starts_with("DAMAGED") => Ok(None),
                other => other.and_then(|()| more(gone, items)).map(|()| Some(kept)),
            };
        };
        with_coordinates(&error)?;
        // It may be refused in the middle of a batch.
        kept.map(drop).or_else(|wrong| if wrong.starts_with("half a batch") { Ok(()) } else { Err(wrong) })?;
        let items = self.want.items.get(..last.0 as usize).ok_or("it has more than was submitted")?;
        match fold_matches(answers, items) {
            Err(wrong) if !wrong.starts_with("DAMAGED") => Err(wrong),
            _ => Ok(None),
        }
    }

    fn verify(&self, image: &MemVfs, read: Option<usize>) -> Result<(), String> {
        let verdict = match options(image).verify(dir(), Level::Content, &mut |_| ()) {
            Ok(report) => report.verdict(),
            Err(error) => {
                with_coordinates(&error).map_err(|wrong| format!("verify: {wrong}"))?;
                Verdict::Damaged
            }
        };
        match read {
            None if verdict != Verdict::Damaged => Err(format!("a reader is refused, and verify says {verdict:?}")),
            Some(kept) if kept < self.len() && verdict == Verdict::Sound => {
                Err("entries are left out, and verify says that all is sound".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn write(&self, image: &MemVfs) -> Result<Option<usize>, String> {
        match options(image).open(DIR) {
            Ok(ledger) if ledger.report().created => Err("it was created anew".to_owned()),
            Ok(ledger) => {
                let kept = self.entries(&Answers::Ledger(&ledger), ledger.report().last, |_, _| Ok(()));
                kept.map_err(|wrong| format!("writing: {wrong}"))
            }
            Err(error) => with_coordinates(&error).map(|()| None).map_err(|wrong| format!("writing: {wrong}")),
        }
    }
}

fn history_matches(history: Result<History, Error>, task: &str, gone: usize, items: &[Item]) -> Result<(), String> {
    let mut found = history.map_err(|error| told(&error))?;
    let (went, kept) = items.split_at(gone);
    let went = went.iter().filter(|item| item.task == task).count() as u64;
    if found.pruned() != went {
        return Err(format!("the history of {task} says that {} entries went, and {went} did", found.pruned()));
    }
    for item in kept.iter().filter(|item| item.task == task) {
        let entry: Entry = match found.next() {
            None => return Err(format!("the history of {task} is too short")),
            Some(entry) => entry.map_err(|error| told(&error))?,
        };
        item.check(&entry)?;
    }
    match found.next() {
        None => Ok(()),
        Some(entry) => Err(format!("the history of {task} goes on with {entry:?}")),
    }
}

/// Whether an error says where the damage is.
fn with_coordinates(error: &Error) -> Result<(), String> {
    match error {
        Error::Damaged { offset: None, seq: None, path, .. } if !path.ends_with("LEDGER") => {
            Err(format!("it does not say where: {}", told(error)))
        }
        Error::Damaged { .. } | Error::Format { .. } => Ok(()),
        other => Err(format!("it is refused as {}", told(other))),
    }
}
