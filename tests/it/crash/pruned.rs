//! What the files and the answers must be once a prune is finished or undone, and once all that may go is pruned.

use std::path::Path;

use taskledger::Ledger;
use taskledger::vfs::fault::MemVfs;

use super::journal::{Item, fold, key_of_note};
use super::oracle::{Answers, fold_matches, not_damaged, told};
use super::script::{dir, everything};

/// The seq with which a segment begins, by its name; `None` for another file.
pub fn base_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    name.split_once('-')?.1.parse().ok()
}

/// A writer has finished a prune, or undone it: no segment is left of what has gone, and no floor but the one that stands for it.
pub fn nothing_is_left(image: &MemVfs, gone: usize) -> Result<(), String> {
    let files = image.files();
    if let Some(path) = files.iter().find(|path| base_of(path).is_some_and(|base| base <= gone)) {
        return Err(format!("the first {gone} entries have gone, and {} has not", path.display()));
    }
    let floors: Vec<_> = files.into_iter().filter(|path| path.starts_with(dir().join("floor"))).collect();
    let expected: Vec<_> = [1, 2].map(|copy| dir().join(format!("floor/{gone:020}-{copy}.snap"))).into();
    let expected = if gone == 0 { Vec::new() } else { expected };
    if floors == expected { Ok(()) } else { Err(format!("{gone} entries have gone, and the floors are {floors:?}")) }
}

/// A prune of all that may go works, changes nothing but what is below, and leaves no damage.
pub fn pruned_again(image: &MemVfs, ledger: &Ledger, items: &[Item]) -> Result<(), String> {
    let pruning = ledger.prune(&everything(true)).map_err(|error| told(&error))?;
    fold_matches(&Answers::Ledger(ledger), items)?;
    for task in fold(items).into_keys().filter(|subject| key_of_note(subject).is_none()) {
        let (gone, total) = (pruning.oldest.0 as usize - 1, items.iter().filter(|item| item.task == task).count());
        let mut history = ledger.history(task).map_err(|error| told(&error))?;
        let went = items[..gone].iter().filter(|item| item.task == task).count();
        if (history.pruned() as usize, history.by_ref().count()) != (went, total - went) {
            return Err(format!(
                "the history of {task} says that {} of {total} went, and {went} did",
                history.pruned()
            ));
        }
    }
    nothing_is_left(image, pruning.oldest.0 as usize - 1)?;
    not_damaged(image).map(drop)
}
