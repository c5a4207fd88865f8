//! `prune`: whole sealed segments go from the beginning of the log, and a floor stands in their place.
//!
//! Invariants: nothing goes before both copies of the floor and the entry that tells of it are durable (`cut`); no append waits
//! for any of it but for that one entry; memory does not grow with the number of tasks.

use std::sync::Arc;

use serde_json::json;

use crate::error::{Error, Result};
use crate::ledger::core::Core;
use crate::ledger::cut::{self, Told};
use crate::ledger::derived::{Unmade, fold_sealed, header_of, index_of, make};
use crate::ledger::floor::COPIES;
use crate::ledger::handle::Ledger;
use crate::ledger::log::LogView;
use crate::ledger::maintain;
use crate::ledger::reader::Reader;
use crate::ledger::segments::Home;
use crate::ledger::spare::check_home;
use crate::ledger::tasks::Tasks;
use crate::ledger::view::At;
use crate::model::event::{Change, Event, EventKind};
use crate::model::json::Json;
use crate::model::rules::{OverLimit, check_event};
use crate::model::seq::Seq;
use crate::model::slot::Slot;
use crate::model::state::TaskState;
use crate::model::subject::Realm;
use crate::model::tasks::Counts;
use crate::storage::log::replay_sealed;
use crate::storage::names;
use crate::storage::segment::{Predecessor, Segment};
use crate::storage::table::page::{TableHeader, TableKind};
use crate::storage::table::read::Unfit;
use crate::storage::table::record::Class;

/// What is to be pruned, by whom and why.
///
/// ```
/// use taskledger::{At, Prune, Seq};
/// let prune = Prune::before(At::Seq(Seq(1_000))).by("ops").because("a year has passed");
/// ```
#[derive(Debug, Clone)]
pub struct Prune {
    before: At,
    forced: bool,
    actor: Option<String>,
    reason: Option<String>,
}

/// What a prune has dropped, or would drop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruning {
    /// How many segments; 0 where nothing goes.
    pub segments: u64,
    /// The first and the last entry that go; `None` where nothing does.
    pub seqs: Option<(Seq, Seq)>,
    /// When these were placed, in milliseconds since the Unix epoch.
    pub times: Option<(u64, u64)>,
    /// Size of the segments, in bytes. The floor that stands in their place takes room, too.
    pub bytes: u64,
    /// How many records were in each state after the last entry that goes.
    pub counts: Counts,
    /// The oldest entry that is kept then.
    pub oldest: Seq,
    /// How many sealed segments stay. The one that is being written always does.
    pub sealed: u64,
    /// What keeps more from going, where something does.
    pub blocked: Option<Blocked>,
    /// The entry that tells of it; `None` where nothing has gone.
    pub entry: Option<Seq>,
}

/// A task that has not come to its end, whose entries stay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// The task.
    pub task: String,
    /// Its state.
    pub state: TaskState,
    /// Its last entry in the segment that stays for it.
    pub seq: Seq,
}

impl Prune {
    /// Entries before this seq, or placed before this time. Segments go whole, so that some of them stay.
    #[must_use]
    pub fn before(moment: At) -> Prune {
        Prune { before: moment, forced: false, actor: None, reason: None }
    }

    /// Also the entries of tasks that have not come to their end. Their records stay, as all do.
    #[must_use]
    pub fn forced(mut self) -> Prune {
        self.forced = true;
        self
    }

    /// Who wants it.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Prune {
        self.actor = Some(actor.into());
        self
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Prune {
        self.reason = Some(reason.into());
        self
    }

    /// The entry that tells of it, without what it was.
    fn event(&self) -> Event {
        let mut event = Event::new(EventKind::Pruned, None);
        event.actor.clone_from(&self.actor);
        event.reason.clone_from(&self.reason);
        event
    }
}

impl Ledger {
    /// Drops the beginning of the history: all sealed segments that end before a moment, as long as no task has an entry in
    /// them that has not come to its end now (a state from which it is not terminal), or all where it is forced. A note, and a
    /// task that was removed, keep nothing. Records, notes, versions and the windows of idempotency keys stay as they are: a
    /// snapshot after the last entry that goes, in two copies, stands in its place from then on. An entry tells of it.
    ///
    /// Where nothing can go, nothing is done, and the answer says why. No append waits for it. A crash at any point leaves the
    /// ledger as before, or the next opening for writing finishes it. What is older is then [`Error::Pruned`] to whoever asks;
    /// a [`View`](crate::View) or [`Reader`](crate::Reader) that was made before goes on answering from the files that it has
    /// open.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use taskledger::{At, Event, Ledger, Prune, Seq};
    /// let ledger = Ledger::open(dir.path())?;
    /// ledger.append("a", Event::created())?;
    /// let prune = Prune::before(At::Seq(Seq(1_000))).by("ops");
    /// assert_eq!(ledger.would_prune(&prune)?.segments, 0, "there is one segment, and it is being written");
    /// assert_eq!(ledger.prune(&prune)?.entry, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Limit`] for an actor or a reason that is too long. [`Error::NoSpace`] or [`Error::Io`] where the floor, or
    /// room for the entry, cannot be made: nothing has changed. The same where a segment cannot be removed: the entry is there
    /// then, and the next prune or opening goes on. [`Error::Unknown`] where the entry could not be made durable; else as
    /// [`Ledger::append`].
    pub fn prune(&self, prune: &Prune) -> Result<Pruning> {
        run(self.core(), prune)
    }

    /// What [`Ledger::prune`] would drop now. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where what there is cannot be read back.
    pub fn would_prune(&self, prune: &Prune) -> Result<Pruning> {
        check(prune)?;
        Ok(choose_of(self.core(), prune)?.pruning)
    }
}

impl Reader {
    /// What [`Ledger::prune`] would drop, as of when this was opened or last refreshed. Takes no lock; where an index is
    /// missing, the entries of its segment are read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # taskledger::Ledger::open(dir.path())?.close()?;
    /// use taskledger::{At, Ledger, Prune, Seq};
    /// let reader = Ledger::open_read_only(dir.path())?;
    /// assert_eq!(reader.would_prune(&Prune::before(At::Seq(Seq(1_000))))?.segments, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Ledger::would_prune`]; [`Error::Pruned`] where a writer has pruned meanwhile.
    pub fn would_prune(&self, prune: &Prune) -> Result<Pruning> {
        check(prune)?;
        let view = self.view();
        Ok(choose(&view.log, &|task| view.slot(Realm::Tasks, task), &[], prune)?.pruning)
    }
}

/// Gives what is known of a task.
type SlotOf<'a> = dyn Fn(&str) -> Result<Option<Arc<Slot>>> + 'a;

/// What is to go.
struct Choice {
    pruning: Pruning,
    /// The last segment that goes, and how its successor names it.
    last: Option<(Predecessor, Tasks)>,
}

fn check(prune: &Prune) -> Result<()> {
    let over = |OverLimit { what, problem }| Error::Limit { subject: None, what, problem };
    check_event(&prune.event()).map_err(over)
}

fn run(core: &Core, prune: &Prune) -> Result<Pruning> {
    check(prune)?;
    core.commit().usable()?;
    // With an index of each segment it is known without reading the log which tasks it has.
    maintain::derive(core)?;
    let _only_one = core.deriving.lock().expect("nobody panics with it");
    let mut pause = maintain::pace(core);
    loop {
        let Choice { mut pruning, last: Some((named, tasks)) } = choose_of(core, prune)? else {
            // What an earlier one could not remove goes now.
            cut::drop_below(core)?;
            return choose_of(core, prune).map(|choice| choice.pruning);
        };
        check_home(&*core.vfs, &core.dir, core.inode)?;
        let parts = tasks.parts();
        let end = parts.first().expect("a sealed segment makes a part").end();
        let made = core.gate.head();
        let header = TableHeader { made, ..header_of(TableKind::Snapshot, &core.home, Seq::FIRST, end, &named) };
        let modes = (core.options.dir_mode, core.options.file_mode);
        let paths = COPIES.map(|copy| names::floor(&core.dir, named.last, copy));
        let copies = paths.each_ref().map(|path| make(&core.home, modes, path.clone(), header, parts, &[], &mut pause));
        let floor = match copies {
            [Ok(floor), Ok(_)] => floor,
            [Err(Unmade::Unfit(unfit)), _] | [_, Err(Unmade::Unfit(unfit))] => {
                undo(core, &paths);
                core.unfit.lock().expect("nobody panics with it").push(unfit);
                continue;
            }
            [Err(Unmade::Failed(error)), _] | [_, Err(Unmade::Failed(error))] => {
                undo(core, &paths);
                return Err(error);
            }
        };
        // One that failed may have made their directory, and not its name durable.
        if let Err(error) = cut::sync_dir(core, &core.dir) {
            undo(core, &paths);
            return Err(error);
        }
        let mut event = prune.event();
        event.output = Change::Set(told(&pruning, &floor.header));
        match core.append_control(event) {
            Ok(seq) => pruning.entry = Some(seq),
            // It may be there after opening anew, which decides by that.
            Err(error @ (Error::Unknown { .. } | Error::Poisoned { .. })) => return Err(error),
            Err(error) => {
                undo(core, &paths);
                return Err(error);
            }
        }
        cut::stand_on(core, &floor);
        cut::drop_below(core)?;
        return Ok(pruning);
    }
}

/// Removes a floor on which nothing stands. Where that fails, the next writer does.
fn undo(core: &Core, paths: &[std::path::PathBuf]) {
    for path in paths {
        let _ = core.vfs.remove(path);
    }
}

/// What the entry says of it, in its output.
fn told(pruning: &Pruning, floor: &TableHeader) -> Json {
    let Told { last, chain } = Told::of(floor);
    let counts: serde_json::Map<_, _> =
        TaskState::ALL.map(|state| (state.name().to_owned(), pruning.counts.of(state).into())).into_iter().collect();
    let (first, _) = pruning.seqs.unwrap_or((last, last));
    let (from, to) = pruning.times.unwrap_or_default();
    Json::of(&json!({
        "first": first.0, "last": last.0, "first_at": from, "last_at": to, "segments": pruning.segments,
        "bytes": pruning.bytes, "counts": counts, "notes": floor.noted, "end": floor.end, "chain": chain,
    }))
}

/// What goes of a ledger that is open for writing.
fn choose_of(core: &Core, prune: &Prune) -> Result<Choice> {
    let unfit = core.unfit.lock().expect("nobody panics with it").clone();
    choose(&core.log(), &|task| core.slot(Realm::Tasks, task), &unfit, prune)
}

/// Finds how many segments go, and what stands in their way.
fn choose(log: &LogView, slot_of: &SlotOf<'_>, unfit: &[Unfit], prune: &Prune) -> Result<Choice> {
    let segments = &log.segments;
    let (mut count, mut blocked) = (0, None);
    let mut bytes = 0;
    for n in 0..segments.len() - 1 {
        let (segment, named) = segments.sealed(n)?;
        let next = segments.get(n + 1)?;
        let is_before = match prune.before {
            At::Seq(seq) => named.last < seq,
            // The base time is that of the entry before.
            At::Millis(time) => next.header.base_at < time,
        };
        // Beside a writer there may be a segment that ends ahead of what is known.
        if !is_before || named.last > log.head {
            break;
        }
        if !prune.forced {
            blocked = blocker(&log.home, slot_of, unfit, &segment, &named)?;
        }
        if blocked.is_some() {
            break;
        }
        count += 1;
        bytes += segment.header.capacity;
    }
    let oldest = segments.first_base();
    let named = segments.get(count)?.header.predecessor.filter(|named| named.last >= oldest);
    let nothing = Counts { seq: Seq(oldest.0 - 1), by_state: [0; 9] };
    let sealed = (segments.len() - 1 - named.map_or(0, |_| count)) as u64;
    let mut pruning = Pruning {
        segments: 0,
        seqs: None,
        times: None,
        bytes: 0,
        counts: nothing,
        oldest,
        sealed,
        blocked,
        entry: None,
    };
    let Some(named) = named else { return Ok(Choice { pruning, last: None }) };

    let tasks = fold_sealed(&log.home, segments, count, None, unfit)?.tasks;
    let first_at = log.stored(oldest).next().transpose()?.map_or(tasks.at, |first| first.entry.at);
    pruning.segments = count as u64;
    pruning.seqs = Some((oldest, named.last));
    pruning.times = Some((first_at, tasks.at));
    pruning.bytes = bytes;
    pruning.counts = tasks.counts();
    pruning.oldest = named.last.next();
    Ok(Choice { pruning, last: Some((named, tasks)) })
}

/// Of the tasks with an entry in a segment that have not come to their end, the first by id.
fn blocker(
    home: &Home,
    slot_of: &SlotOf<'_>,
    unfit: &[Unfit],
    segment: &Segment,
    named: &Predecessor,
) -> Result<Option<Blocked>> {
    let mut blocked: Option<Blocked> = None;
    let mut meet = |task: &str, seq: Seq| -> Result<()> {
        match &mut blocked {
            Some(first) if first.task.as_str() < task => return Ok(()),
            Some(first) if first.task == task => {
                first.seq = first.seq.max(seq);
                return Ok(());
            }
            _ => {}
        }
        let slot = slot_of(task)?;
        let state = slot.as_ref().and_then(|slot| slot.record()).map(|record| record.state);
        if let Some(state) = state.filter(|state| !state.is_terminal()) {
            blocked = Some(Blocked { task: task.to_owned(), state, seq });
        }
        Ok(())
    };
    if let Some(index) = index_of(home, segment, named, &mut unfit.to_vec()) {
        let mut read = true;
        // A task that was removed then may be another one now.
        for record in index.scan(0, Class::TASKS) {
            match record.and_then(|record| index.slot_of(&record).map(|slot| (record, slot))) {
                Ok((record, slot)) => meet(&record.key, slot.seq)?,
                Err(_) => {
                    read = false;
                    break;
                }
            }
        }
        if read {
            return Ok(blocked);
        }
    }
    replay_sealed(segment, named, &mut |stored, _| match &stored.entry.task {
        Some(task) => meet(task, stored.entry.seq),
        None => Ok(()),
    })?;
    Ok(blocked)
}
