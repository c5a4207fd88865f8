//! How an opening ends, and what the next one must find: all that was acknowledged, nothing that had no place, in order,
//! whole batches; and what it shows is what the model goes on from.

use taskledger::vfs::fault::MemVfs;
use taskledger::{Error, TaskState};

use super::compare::compare_view;
use super::ops::{End, Failing, How};
use super::world::{Checked, Health, World};
use crate::crash::oracle::{log_files, not_damaged, nothing_destroyed, told};
use crate::crash::script::DIR;
use crate::model::cut::{Journal, Known, power_cut};
use crate::reference::{RefEvent, RefExpect, RefItem, RefKind};

/// How often opening is tried: what was going to fail has failed by then, and so has what a sync that lied left behind.
const TRIES: usize = 6;

/// What happened while it was opened.
struct Opened {
    /// A sync has lied.
    lied: bool,
    /// Some call has failed.
    failed: bool,
}

impl World<'_> {
    /// The first opening.
    pub fn create(&mut self, failing: Option<Failing>) -> Checked {
        if let Some(failing) = failing.filter(|failing| !failing.lies()) {
            self.fail(failing);
        }
        self.say("create".to_owned());
        self.try_open()?;
        let report = self.ledger()?.report();
        if report.last.0 != 0 {
            return Err(format!("a new ledger has {} entries", report.last));
        }
        self.journal = Journal::new(self.vfs.trace_len(), 0);
        self.learn()
    }

    /// Opens; where that says that something failed, nothing fails any more, and it is opened again.
    fn try_open(&mut self) -> Checked<Opened> {
        let mut opened = Opened { lied: false, failed: false };
        for _ in 0..TRIES {
            let (tried, met) = self.watch(|world| world.options().open(DIR));
            opened.lied |= met.lie;
            opened.failed |= met.any;
            match tried {
                Ok(ledger) => {
                    self.ledger = Some(ledger);
                    self.exact = !met.no_space;
                    return Ok(opened);
                }
                Err(Error::Damaged { .. }) if self.journal.last().may_refuse => {
                    self.came_to("refused: a sync has lied");
                    self.tally.count("refused since a sync lied");
                    self.over = true;
                    return Ok(opened);
                }
                // Where the disk is full it may also be `live` that cannot grow.
                Err(Error::Io { .. } | Error::NoSpace { .. }) if met.no_space => {}
                Err(error) => return Err(format!("opening says {}", told(&error))),
            }
            self.tally.count("openings that failed and worked then");
            self.came_to("failed; nothing is to fail any more, and it is opened again");
            self.heal_calls();
            self.make_room();
        }
        Err(format!("opening fails {TRIES} times, and there is no reason left"))
    }

    pub fn end(&mut self, end: End) -> Checked {
        let trace = self.vfs.trace();
        let at = self.journal.moment(end.cut, &trace);
        let ago = trace.len() - at;
        let known = match end.how {
            How::Close => self.close()?,
            How::Drop => {
                self.say("the last handle is dropped".to_owned());
                self.watch(|world| {
                    world.tickets.clear();
                    world.ledger = None;
                });
                self.journal.last()
            }
            How::Kill => {
                self.say(format!("the process is killed, {ago} operations ago"));
                let (killed, known) = (self.vfs.kill_at(at), self.journal.of(at));
                self.leave_for(killed, at, known);
                self.journal.rewind(at);
                known
            }
            How::Cut => {
                self.say(format!("the power fails, {ago} operations ago (seed {})", end.cut.seed));
                let (left, known) = (power_cut(&self.vfs, at, end.cut.seed), self.journal.of(at));
                self.leave_for(left, at, known);
                self.journal = Journal::after(known);
                self.receipts.iter_mut().for_each(|(.., at)| *at = 0);
                self.lied = false;
                self.journal.last()
            }
        };
        self.tally.count(match end.how {
            How::Close => "closes",
            How::Drop => "drops",
            How::Kill => "kills",
            How::Cut => "power cuts",
        });
        self.reopen(end, known)
    }

    /// Goes on in another world, where what came after this moment never happened.
    fn leave_for(&mut self, other: MemVfs, at: usize, known: Known) {
        // These still write, into the world that is thrown away.
        self.tickets.clear();
        self.ledger = None;
        self.reader = None;
        self.forget_fault();
        self.vfs = other;
        self.model = self.journal.model(known, &self.model).clone();
        self.receipts.retain(|(.., told_at)| *told_at <= at);
    }

    fn close(&mut self) -> Checked<Known> {
        self.say("close".to_owned());
        let ledger = self.ledger.take().ok_or("it is not open")?;
        let (closed, met) = self.watch(|_| ledger.close());
        match closed {
            Ok(()) if met.sync || self.health == Health::Poisoned => {
                return Err("closing hides a sync that failed".to_owned());
            }
            Ok(()) => {
                self.came_to("ok");
                let head = self.model.head();
                self.journal.tells(self.vfs.trace_len(), head, head);
                self.wait_all()?;
            }
            Err(Error::Poisoned { .. }) if self.excused(met) => {
                self.poisoned("poisoned");
                self.wait_all()?;
            }
            Err(Error::Io { .. } | Error::NoSpace { .. }) if met.no_space && self.health != Health::Poisoned => {
                self.came_to("a call failed");
                self.tickets.clear();
            }
            Err(error) => return Err(format!("closing says {}", told(&error))),
        }
        Ok(self.journal.last())
    }

    /// Opens it anew: `known.told` is what must be there, `known.placed` what may.
    fn reopen(&mut self, end: End, known: Known) -> Checked {
        let read = self.read_before(known)?;
        if let Some(failing) = end.then {
            self.fail(failing);
        }
        let before = log_files(&self.vfs);
        self.say("open".to_owned());
        let opened = self.try_open()?;
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let (report, head) = (ledger.report().clone(), ledger.head());
        let kept = report.last.0;
        self.came_to(&format!("{kept} entries"));
        // A call that failed meanwhile may have taken what was written away from everybody.
        let known = self.journal.last();
        self.check_kept("the ledger", kept, known.told, known.placed)?;
        if report.created || head.0 != kept {
            return Err(format!("it shows {head} entries, and reports {report:?}"));
        }
        if read.is_some_and(|read| read != kept) && !opened.failed {
            return Err(format!("a reader saw {read:?} entries, and opening shows {kept}"));
        }
        if !opened.failed {
            nothing_destroyed(&self.vfs, &before)?;
        }
        self.count(end.how, known, kept);
        self.tally.count_if("bytes left out", report.left_out.is_some());
        self.tally.count_if("openings with several segments", report.segments > 1);
        let shown = self.model.as_of_seq(kept);
        let left = std::mem::replace(&mut self.model, shown);
        let now = self.vfs.trace_len();
        self.journal.opened(now, kept, left);
        if opened.lied {
            self.journal.lies(now);
        }
        if self.unreadable {
            self.reader = None;
        }
        (self.health, self.no_space, self.unreadable) = (Health::Sound, false, false);
        self.receipts.retain(|(last, ..)| *last <= kept);
        self.epoch_before = self.receipts.iter().map(|(_, epoch, _)| *epoch).max().unwrap_or(0);
        self.look()?;
        self.learn()
    }

    fn check_kept(&self, who: &str, kept: u64, told: u64, placed: u64) -> Checked {
        if kept < told {
            return Err(format!("ACKNOWLEDGED ENTRIES ARE LOST: {who} has {kept}, and {told} were told"));
        }
        if kept > placed {
            return Err(format!("{who} has {kept} entries, and {placed} had a place by then"));
        }
        if self.model.as_of_seq(kept).ends_within_a_batch() {
            return Err(format!("half a batch: {who} has {kept} entries"));
        }
        Ok(())
    }

    /// Reads what is there before a writer touches it; how much it is, where nobody lives.
    fn read_before(&mut self, known: Known) -> Checked<Option<u64>> {
        self.say("read before it is opened".to_owned());
        let (opened, met) = self.watch(|world| world.read_only());
        let reader = match opened {
            Ok(reader) => reader,
            Err(Error::Damaged { .. }) if known.may_refuse => {
                self.came_to("refused: a sync has lied");
                return Ok(None);
            }
            Err(error) => return self.seen("a reader before it is opened", Err(error.into()), met).map(|()| None),
        };
        let kept = reader.view().seq().0;
        let lives = reader.report().writer.is_some();
        // Whoever was poisoned has left a mark, and still lives: what it names is shown, and no more.
        let told = if lives { 0 } else { known.told };
        self.check_kept("a reader", kept, told, known.placed)?;
        let then = self.model.as_of_seq(kept);
        let (got, met) = self.watch(|_| compare_view(reader.view(), &then));
        self.seen("a reader before it is opened", got, met)?;
        Ok((!lives).then_some(kept))
    }

    fn count(&self, how: How, known: Known, kept: u64) {
        let lost = kept < known.placed;
        let crashed = matches!(how, How::Kill | How::Cut);
        self.tally.count_if("crashes that lost what had a place", crashed && lost);
        self.tally.count_if("crashes that kept what nobody was told", crashed && kept > known.told);
        let unknown = self.health == Health::Poisoned && known.placed > known.told;
        self.tally.count_if("unknown and kept", unknown && kept > known.told);
        self.tally.count_if("unknown and lost", unknown && lost);
    }

    /// At the end nothing fails any more, and all is in order.
    pub fn goes_on(&mut self) -> Checked {
        self.heal_calls();
        self.make_room();
        self.say("nothing fails any more".to_owned());
        let event = RefEvent::new(RefKind::Observed(TaskState::Pending));
        self.append(vec![RefItem { task: "z".to_owned(), event: Some(event), expect: RefExpect::Any }])?;
        self.wait_all()?;
        self.look()?;
        if !self.journal.last().may_refuse {
            not_damaged(&self.vfs)?;
        }
        Ok(())
    }
}
