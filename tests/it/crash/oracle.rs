//! The one judgement of a state after a crash, the same for every test here.

use std::collections::HashMap;
use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use taskledger::vfs::fault::MemVfs;
use taskledger::vfs::ops::{Process, Vfs as _};
use taskledger::{
    Counts, Entries, Entry, Error, Filter, Followed, Ledger, Level, NoteFilter, NotePage, OpenReport, Page, Reader,
    Seq, Task, TaskState, Verdict, View,
};

use super::journal::{Belief, Item, Want, create, fold, key_of_note};
use super::pruned::{base_of, nothing_is_left, pruned_again};
use super::script::{DIR, GivenUp, batch_of, dir, options};
use super::search::one_in;

/// What opening made of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// There was nothing yet, and the ledger was created anew.
    Anew,
    /// Closed in order, nothing left out.
    Clean,
    /// Only zeros behind the end: the segment is continued.
    Zeros,
    /// Something is left out: a successor is started.
    Torn,
    /// Refused, which is in order only after a sync that lied.
    Refused,
}

pub const CLASSES: [Class; 5] = [Class::Anew, Class::Clean, Class::Zeros, Class::Torn, Class::Refused];

/// A state that passed.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    pub class: Class,
    /// How many entries are there; 0 where it is refused.
    pub kept: usize,
    /// Whether something that was submitted is gone, or something unacknowledged is there.
    pub discarded: bool,
    pub extra: bool,
}

/// Opens the state in every way and compares. `Err` says what is wrong with it.
pub fn judge(image: &MemVfs, want: &Want) -> Result<Judged, String> {
    match catch_unwind(AssertUnwindSafe(|| judged(image, want))) {
        Ok(result) => result,
        Err(panic) => Err(format!("a panic: {}", message_of(&*panic))),
    }
}

/// What a caught panic said.
pub fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<GivenUp>().map(|given_up| &*given_up.0));
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// One state in so many is also verified where it is opened only in the others, chosen by its fingerprint.
const THOROUGH_ONE_IN: u64 = 8;

fn judged(image: &MemVfs, want: &Want) -> Result<Judged, String> {
    let thorough = one_in(image.fingerprint(), 3, THOROUGH_ONE_IN);
    let read = reads(image, want, true)?;
    if thorough {
        nothing_hangs_on_tables(image, want, read)?;
    }
    let mut before = log_files(image);
    let ledger = match options(image).open(DIR) {
        Ok(ledger) => ledger,
        Err(Error::Damaged { .. }) if want.may_refuse && read.is_none() => {
            return Ok(Judged { class: Class::Refused, kept: 0, discarded: true, extra: false });
        }
        Err(error) => return Err(format!("opening refuses: {}", told(&error))),
    };
    let report = ledger.report().clone();
    if report.created && want.born {
        return Err("the ledger is gone and was created anew".to_owned());
    }
    let kept = entries_match(&Answers::Ledger(&ledger), want)?;
    if read.is_some_and(|read| read != kept && !report.created) {
        return Err(format!("a reader saw {read:?} entries, and the writer has {kept}"));
    }
    if report.last != Seq(kept as u64) || ledger.head() != report.last || report.vouched > report.last {
        return Err(format!("the report says {report:?}, and there are {kept} entries"));
    }
    fold_matches(&Answers::Ledger(&ledger), &want.items[..kept])?;
    let gone = ledger.report().oldest.0 as usize - 1;
    nothing_is_left(image, gone)?;
    before.retain(|(path, _)| base_of(path).is_none_or(|base| base > gone));
    // What was shown must not go away again, even if the power fails right now.
    let shown = want.shown(kept);
    let now = image.pending(image.trace_len());
    let bare = now.image(&now.none_kept()).ok_or("keeping nothing is always possible")?;
    let read =
        reads(&bare, &shown, thorough).map_err(|what| format!("after a power cut right after opening: {what}"))?;
    if read.is_some() || !want.may_refuse {
        same(read, kept)?;
    }
    drop(ledger);

    let ledger = options(image).open(DIR).map_err(|error| format!("the second opening: {}", told(&error)))?;
    let again =
        entries_match(&Answers::Ledger(&ledger), &shown).map_err(|what| format!("at the second opening: {what}"))?;
    same(Some(again), kept)?;
    fold_matches(&Answers::Ledger(&ledger), &want.items[..kept])?;
    let mut want_more = shown;
    for task in ["after-1", "after-2", "after-3"] {
        image.advance_ms(1);
        let fact = [create(task)];
        want_more.submit(&fact, image.now_ms());
        ledger.commit(batch_of(&fact)).map_err(|error| format!("appending after it: {}", told(&error)))?;
    }
    want_more.acked = want_more.items.len();
    let now = image.pending(image.trace_len());
    let bare = now.image(&now.none_kept()).ok_or("keeping nothing is always possible")?;
    reads(&bare, &want_more, thorough).map_err(|what| format!("after three more and a power cut: {what}"))?;
    if thorough {
        newest_is_missed(&bare)?;
    }
    drop(ledger);
    let ledger = options(image).open(DIR).map_err(|error| format!("the third opening: {}", told(&error)))?;
    same(Some(entries_match(&Answers::Ledger(&ledger), &want_more)?), kept + 3)?;
    if thorough && want.items.iter().any(|item| item.prunes.is_some()) {
        pruned_again(image, &ledger, &want_more.items).map_err(|what| format!("pruned after all that: {what}"))?;
        return Ok(judged_as(&report, want, kept));
    }
    drop(ledger);
    if !report.created {
        // What was left out is still there, also now that others have gone on behind it, three times.
        nothing_destroyed(image, &before).map_err(|what| format!("after three more: {what}"))?;
    }

    Ok(judged_as(&report, want, kept))
}

fn judged_as(report: &OpenReport, want: &Want, kept: usize) -> Judged {
    Judged {
        class: match report {
            _ if report.created => Class::Anew,
            _ if report.left_out.is_some() => Class::Torn,
            _ if report.clean => Class::Clean,
            _ => Class::Zeros,
        },
        kept,
        discarded: kept < want.items.len(),
        extra: kept > want.acked,
    }
}

/// The indexes and snapshots of a ledger.
pub fn tables(image: &MemVfs) -> Vec<PathBuf> {
    let is_table = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "idx" || end == "snap") && !path.starts_with(dir().join("floor"))
    };
    image.files().into_iter().filter(is_table).collect()
}

/// Indexes and snapshots cost time where they are gone, and never an answer.
fn nothing_hangs_on_tables(image: &MemVfs, want: &Want, read: Option<usize>) -> Result<(), String> {
    let tables = tables(image);
    if tables.is_empty() {
        return Ok(());
    }
    let without = image.fork();
    for path in tables {
        without.remove(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let again = reads(&without, want, false).map_err(|what| format!("without indexes and snapshots: {what}"))?;
    if again == read { Ok(()) } else { Err(format!("{read:?} entries are there with indexes, and {again:?} without")) }
}

fn same(found: Option<usize>, kept: usize) -> Result<(), String> {
    if found == Some(kept) { Ok(()) } else { Err(format!("{found:?} entries are there, and {kept} were shown before")) }
}

/// Opens for reading, and verifies where that is wanted, without changing anything; how many entries there are, `None`
/// without a ledger.
fn reads(image: &MemVfs, want: &Want, verify: bool) -> Result<Option<usize>, String> {
    let (print, ops) = (image.fingerprint(), image.trace_len());
    let kept = match options(image).open_read_only(DIR) {
        Ok(reader) => {
            let kept = match entries_match(&Answers::View(reader.view()), want) {
                Ok(kept) => kept,
                // What an index stands for is read only when it is asked for, and refused then.
                Err(what) if want.may_refuse && what.starts_with("DAMAGED") => return Ok(None),
                Err(what) => return Err(format!("read-only: {what}")),
            };
            fold_matches(&Answers::View(reader.view()), &want.items[..kept])?;
            let vouched = reader.report().vouched.0 as usize;
            if verify && followed(&reader, want)? != vouched {
                return Err(format!("a follower does not stop at seq {vouched}, up to which the log vouches"));
            }
            Some(kept)
        }
        Err(Error::NoLedger { .. }) if !want.born => None,
        Err(Error::Damaged { .. }) if want.may_refuse => return Ok(None),
        Err(error) => return Err(format!("opening read-only refuses: {}", told(&error))),
    };
    match if verify { not_damaged(image) } else { Ok(kept.is_some()) } {
        Err(what) => return Err(format!("verify before recovery: {what}")),
        Ok(there) if there != kept.is_some() => {
            return Err("verify and a reader differ on whether it is there".to_owned());
        }
        Ok(_) => {}
    }
    if image.fingerprint() != print || image.trace_len() != ops {
        return Err("reading has changed something".to_owned());
    }
    Ok(kept)
}

/// A reader beside the writer, which lives: it sees all that was acknowledged, and nothing that is not durable.
pub fn judge_beside(image: &MemVfs, writer: Process, want: &Want) -> Result<(), String> {
    let now = image.pending(image.trace_len());
    let bare = now.image(&now.none_kept()).ok_or("keeping nothing is always possible")?;
    let alive = image.with_process(writer);
    let reader = match options(&alive).open_read_only(DIR) {
        Ok(reader) if reader.report().writer.is_some() => reader,
        // It is not the writer of this moment, or not yet.
        Ok(_) => return Ok(()),
        Err(Error::NoLedger { .. }) if !want.born => return Ok(()),
        Err(error) => return Err(format!("a reader beside the writer is refused: {}", told(&error))),
    };
    let shown =
        entries_match(&Answers::View(reader.view()), want).map_err(|what| format!("beside the writer: {what}"))?;
    fold_matches(&Answers::View(reader.view()), &want.items[..shown])?;
    let followed = followed(&reader, want)?;
    not_damaged(&alive).map_err(|what| format!("verify beside the writer: {what}"))?;
    let durable = match options(&bare).open_read_only(DIR) {
        Ok(reader) => reader.report().last.0 as usize,
        Err(error) => return Err(format!("after a power cut: {}", told(&error))),
    };
    if shown > durable {
        return Err(format!("a reader was shown {shown} entries, of which a power cut leaves {durable}"));
    }
    // It also goes by what frames say, where the mark is behind.
    if !(shown..=durable).contains(&followed) {
        return Err(format!("a follower got {followed} entries, a reader {shown}, and a power cut leaves {durable}"));
    }
    Ok(())
}

/// How many entries a follower gets that begins now.
fn followed(reader: &Reader, want: &Want) -> Result<usize, String> {
    let failed = |error: Error| format!("a follower: {}", told(&error));
    let from = match reader.follow(Seq::FIRST) {
        Err(Error::Pruned { oldest }) => oldest,
        other => other.map(|_| Seq::FIRST).map_err(failed)?,
    };
    let mut follow = reader.follow(from).map_err(failed)?;
    let (mut entries, mut caught_up) = (Vec::new(), 0);
    // What is behind a torn frame is looked at the second time.
    while caught_up < 3 {
        match follow.next_within(Duration::ZERO).map_err(failed)? {
            Followed::Entry(entry) => entries.push(Ok(*entry)),
            Followed::CaughtUp { .. } => caught_up += 1,
            other => return Err(format!("a follower: {other:?}")),
        }
    }
    entries_prefix(from.0 as usize - 1, entries.into_iter(), want)
}

/// Whether there is a ledger, and that `verify` finds no damage.
pub fn not_damaged(image: &MemVfs) -> Result<bool, String> {
    match options(image).verify(dir(), Level::Content, &mut |_| ()) {
        Ok(report) if report.verdict() == Verdict::Damaged => Err(format!("damage is found: {:?}", report.findings)),
        Ok(_) => Ok(true),
        Err(Error::NoLedger { .. }) => Ok(false),
        Err(error) => Err(told(&error)),
    }
}

/// The entries that are kept, and how many have gone before them.
pub fn from_oldest(answers: &Answers<'_>) -> (usize, Peekable<Entries>) {
    let mut entries = answers.all(Seq::FIRST).peekable();
    match entries.peek() {
        Some(Err(Error::Pruned { oldest })) => (oldest.0 as usize - 1, answers.all(*oldest).peekable()),
        _ => (0, entries),
    }
}

/// A dense prefix in order, of whole batches, with all that was acknowledged and did not go with a prune; how many entries,
/// with those.
pub fn entries_match(answers: &Answers<'_>, want: &Want) -> Result<usize, String> {
    let (gone, entries) = from_oldest(answers);
    let kept = entries_prefix(gone, entries, want)?;
    if !want.may_be_gone(gone, kept, matches!(answers, Answers::Ledger(_))) {
        let must = want.gone;
        return Err(format!(
            "THE BEGINNING HAS MOVED: {gone} entries are gone, of {kept} in all; {must} had gone before"
        ));
    }
    if kept < want.acked {
        return Err(format!("ACKNOWLEDGED ENTRIES ARE LOST: {kept} are there, {} were acknowledged", want.acked));
    }
    Ok(kept)
}

/// A dense prefix in order, of whole batches, but for the first ones, which have gone; how many entries, with those.
pub fn entries_prefix(
    gone: usize,
    entries: impl Iterator<Item = Result<Entry, Error>>,
    want: &Want,
) -> Result<usize, String> {
    if gone > 0 && !want.may_refuse && !want.items.iter().any(|item| item.prunes == Some(gone)) {
        return Err(format!("the first {gone} entries are gone, and nobody has pruned them"));
    }
    let mut kept = gone;
    for entry in entries {
        let entry = entry.map_err(|error| told(&error))?;
        let Some(item) = want.items.get(kept) else {
            return Err(format!("entry {entry:?} was never submitted, or not in this place"));
        };
        item.check(&entry)?;
        kept += 1;
    }
    if kept > 0 && !want.items[kept - 1].last_of_batch {
        return Err(format!("half a batch: it ends after seq {kept}"));
    }
    Ok(kept)
}

/// Who is asked.
pub enum Answers<'a> {
    Ledger(&'a Ledger),
    View(&'a View),
}

impl Answers<'_> {
    pub fn get(&self, task: &str) -> taskledger::Result<Option<Task>> {
        match self {
            Answers::Ledger(ledger) => ledger.get(task),
            Answers::View(view) => view.get(task),
        }
    }

    pub fn list(&self, filter: Filter) -> taskledger::Result<Page> {
        match self {
            Answers::Ledger(ledger) => ledger.list(filter),
            Answers::View(view) => view.list(filter),
        }
    }

    pub fn notes(&self) -> taskledger::Result<NotePage> {
        match self {
            Answers::Ledger(ledger) => ledger.notes(NoteFilter::new()),
            Answers::View(view) => view.notes(NoteFilter::new()),
        }
    }

    pub fn counts(&self) -> Counts {
        match self {
            Answers::Ledger(ledger) => ledger.counts(),
            Answers::View(view) => view.counts(),
        }
    }

    pub fn history(&self, task: &str) -> taskledger::Result<Vec<Entry>> {
        match self {
            Answers::Ledger(ledger) => ledger.history(task)?.collect(),
            Answers::View(view) => view.history(task)?.collect(),
        }
    }

    fn all(&self, from: Seq) -> Entries {
        match self {
            Answers::Ledger(ledger) => ledger.entries(from),
            Answers::View(view) => view.entries(from),
        }
    }

    pub fn entries(&self, from: Seq) -> taskledger::Result<Vec<Entry>> {
        self.all(from).collect()
    }
}

/// Records, notes and counts equal the independent fold.
pub fn fold_matches(answers: &Answers<'_>, items: &[Item]) -> Result<(), String> {
    let fold = fold(items);
    let mut counts = HashMap::<TaskState, u64>::new();
    for (task, belief) in &fold {
        let Some(state) = belief.state else { continue };
        *counts.entry(state).or_default() += 1;
        let Some(found) = answers.get(task).map_err(|error| told(&error))? else {
            return Err(format!("there is no record of {task}"));
        };
        let record = &found.record;
        let same = found.version == belief.version
            && record.state == state
            && record.attempts == belief.attempts
            && record.updated_at == belief.updated_at
            && record.metadata.get("note") == belief.note.as_ref();
        if !same {
            return Err(format!("the record of {task} is {found:.300?}, and should be as {belief:?}"));
        }
    }
    notes_match(answers, &fold)?;
    let found = answers.counts();
    for state in [TaskState::Pending, TaskState::Ready, TaskState::Running, TaskState::Completed] {
        let expected = counts.get(&state).copied().unwrap_or_default();
        if found.of(state) != expected {
            return Err(format!("{} tasks count as {state}, and {expected} are", found.of(state)));
        }
    }
    Ok(())
}

fn notes_match(answers: &Answers<'_>, fold: &HashMap<&str, &Belief>) -> Result<(), String> {
    let found = answers.notes().map_err(|error| told(&error))?.notes;
    let found: HashMap<_, _> = found.iter().map(|note| (&*note.key, (note.value.as_str(), note.version))).collect();
    let expected = fold.iter().filter_map(|(subject, belief)| {
        let says = belief.says.as_deref()?;
        Some((key_of_note(subject)?, (Some(says), belief.version)))
    });
    let expected: HashMap<_, _> = expected.collect();
    if found == expected { Ok(()) } else { Err(format!("the notes are {found:.300?}, and should be {expected:.300?}")) }
}

pub type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

/// The published files that hold the truth.
pub fn log_files(image: &MemVfs) -> Files {
    let files = image.files().into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|ext| ext == "log") || path.ends_with("LEDGER"));
    files.map(|path| (path.clone(), image.read_file(&path).expect("a listed file"))).collect()
}

/// No byte that was not zero has changed, but for seal slots; no file is gone or shorter.
pub fn nothing_destroyed(image: &MemVfs, before: &Files) -> Result<(), String> {
    for (path, old) in before {
        let new = image.read_file(path).map_err(|error| format!("{} is gone: {error}", path.display()))?;
        if new.len() != old.len() {
            return Err(format!("{} has {} bytes, and had {}", path.display(), new.len(), old.len()));
        }
        let kept = old.len().saturating_sub(64);
        if new[..kept] != old[..kept]
            && let Some(at) = (0..kept).find(|&at| old[at] != 0 && old[at] != new[at])
        {
            return Err(format!("byte {at} of {}, which was not zero, was overwritten", path.display()));
        }
    }
    Ok(())
}

/// Where the newest of several segments goes missing, and `live` with it, that is noticed.
fn newest_is_missed(image: &MemVfs) -> Result<(), String> {
    let files = image.files().into_iter();
    let segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    let [.., _, newest] = segments.as_slice() else { return Ok(()) };
    image.remove_file(newest).expect("a listed file");
    let _ = image.remove_file(&dir().join("live"));
    match options(image).open_read_only(DIR) {
        Err(Error::Damaged { .. }) => Ok(()),
        other => Err(format!("{} goes missing, and opening says {:?}", newest.display(), other.map(|_| ()))),
    }
}

/// An error with its causes.
pub fn told(error: &Error) -> String {
    let mut text = format!("{}: {error}", error.code());
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text += &format!(": {source}");
        cause = source.source();
    }
    text
}
