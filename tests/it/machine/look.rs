//! What is seen: by the ledger itself, in the past, and by those who read beside it.

use std::sync::Arc;

use taskledger::{At, Error, Ledger, Reader, Seq};

use super::compare::{Wrong, compare, compare_view};
use super::world::{Checked, Met, World};
use crate::crash::oracle::Answers;
use crate::crash::script::DIR;

impl World<'_> {
    /// What is seen is right, or could not be read where something failed.
    pub fn seen(&mut self, what: &str, got: Result<(), Wrong>, met: Met) -> Checked {
        match got {
            Ok(()) => {
                self.came_to("as it should be");
                Ok(())
            }
            Err(Wrong::Failed(Error::Io { .. })) if met.any => {
                self.came_to("cannot be read");
                Ok(())
            }
            Err(Wrong::Failed(Error::Damaged { .. } | Error::Io { .. })) if self.unreadable => {
                self.came_to("cannot be read any more");
                Ok(())
            }
            Err(wrong) => Err(format!("{what}: {}", wrong.told())),
        }
    }

    /// Everything that the ledger shows is what the model has up to there; after a poison, too.
    pub fn look(&mut self) -> Checked {
        self.say("look".to_owned());
        let shown = self.model.as_of_seq(self.ledger()?.head().0);
        let (got, met) =
            self.watch(|world| compare(&Answers::Ledger(world.ledger.as_ref().expect("it is open")), &shown));
        self.seen("the ledger", got, met)
    }

    pub fn as_of(&mut self, seq: u64, millis: u64) -> Checked {
        let head = self.ledger()?.head().0;
        let shown = self.model.as_of_seq(head);
        let seq = seq % (head + 1);
        let first = shown.entries.first().map_or(0, |entry| entry.at);
        let millis = (first + millis % (shown.head_at() - first + 3)).saturating_sub(1);
        self.say(format!("as of seq {seq} and of {millis}"));
        for (at, then, is_final) in [
            (At::Seq(Seq(seq)), shown.as_of_seq(seq), true),
            (At::Millis(millis), shown.as_of_time(millis), shown.head_at() > millis),
        ] {
            self.tally.count_if("as of a moment within a batch", then.ends_within_a_batch());
            let (got, met) = self.watch(|world| {
                let view = world.ledger.as_ref().expect("it is open").as_of(at)?;
                if view.is_final() != is_final {
                    return Err(Wrong::Differs(format!("final is {}, and should be {is_final}", view.is_final())));
                }
                compare_view(&view, &then)
            });
            self.seen("the past", got, met)?;
        }
        Ok(())
    }

    /// Opens it as another process does that only reads.
    pub fn read_only(&self) -> Result<Reader, Error> {
        self.options().vfs(Arc::new(self.vfs.spawn())).open_read_only(DIR)
    }

    /// They see what is durable: all of it, where nothing has failed.
    pub fn beside(&mut self) -> Checked {
        self.say("read beside the writer".to_owned());
        let (opened, met) = self.watch(|world| world.read_only());
        let opened = opened.map_err(Wrong::from);
        let Ok(fresh) = opened else { return self.seen("a new reader", opened.map(drop), met) };
        self.seen_beside("a new reader", &fresh)?;
        let shown = fresh.view().seq().0;
        let Some((mut reader, before)) = self.reader.take() else {
            self.reader = Some((fresh, shown));
            return Ok(());
        };
        let (got, met) = self.watch(|world| compare_view(reader.view(), &world.model.as_of_seq(before)));
        self.seen("a reader before its refresh", got, met)?;
        let (got, met) = self.watch(|_| reader.refresh());
        match got {
            Ok(()) => {
                self.seen_beside("a reader after its refresh", &reader)?;
                let shown = reader.view().seq().0;
                if shown < before {
                    return Err(format!("a reader saw {before} entries, and sees {shown} after its refresh"));
                }
                self.tally.count_if("refreshes that show more", shown > before);
                self.reader = Some((reader, shown));
            }
            Err(error) => {
                self.seen("a refresh", Err(error.into()), met)?;
                self.reader = Some((reader, before));
            }
        }
        Ok(())
    }

    fn seen_beside(&mut self, who: &str, reader: &Reader) -> Checked {
        let (shown, lives) = (reader.view().seq().0, reader.report().writer.is_some());
        let (placed, durable) = (self.model.head(), self.ledger.as_ref().map(|ledger| Ledger::durable(ledger).0));
        if let Some(durable) = durable {
            if shown > durable || self.exact && shown < durable {
                return Err(format!("{who} sees {shown} entries, and {durable} are durable"));
            }
            if self.exact && !lives {
                return Err(format!("{who} does not know that the writer lives"));
            }
            self.tally.count_if("readers that see less than the writer has", shown < placed);
            self.tally.count_if("readers that miss what is durable since a call failed", shown < durable);
        } else if shown > placed {
            return Err(format!("{who} sees {shown} entries, and {placed} had a place"));
        }
        let then = self.model.as_of_seq(shown);
        if then.ends_within_a_batch() {
            return Err(format!("{who} sees half a batch: {shown} entries"));
        }
        let (got, met) = self.watch(|_| compare_view(reader.view(), &then));
        self.seen(who, got, met)
    }
}
