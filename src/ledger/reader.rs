//! `Reader`: a ledger opened for reading, beside a live writer or after it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ledger::follow::Follow;
use crate::ledger::open::{self, OpenReport};
use crate::ledger::options::Options;
use crate::ledger::view::{At, View};
use crate::model::seq::Seq;

/// A ledger opened for reading: no lock, no write permission, and a live writer may go on beside it.
///
/// It answers as of the moment it was opened or last refreshed: up to the durable end while a writer lives, else up
/// to the last valid frame.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use taskledger::{Event, Ledger};
/// let ledger = Ledger::open(dir.path())?;
/// ledger.append("a", Event::created())?;
/// let mut reader = Ledger::open_read_only(dir.path())?;
/// ledger.append("b", Event::created())?;
/// assert!(reader.view().get("b")?.is_none(), "as of when it was opened");
/// reader.refresh()?;
/// assert!(reader.view().get("b")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    options: Options,
    view: View,
    report: OpenReport,
}

impl Reader {
    pub(crate) fn open_with(dir: &Path, options: Options) -> Result<Reader> {
        let dir = options.vfs.absolute(dir).map_err(Error::io("find", dir))?;
        let (view, report) = open::read_only(&dir, &options)?;
        Ok(Reader { dir, options, view, report })
    }

    /// All tasks as of when it was opened or last refreshed.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What opening found.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// All tasks as of a moment.
    ///
    /// # Errors
    /// As [`Ledger::as_of`](crate::Ledger::as_of).
    pub fn as_of(&self, at: At) -> Result<View> {
        View::as_of(&self.view.log, self.view.at(), at)
    }

    /// The entries from a seq on, and then each that comes, once it is known to be durable, whichever process writes it and
    /// however often the writer ends and another comes. It may begin ahead of the head, and waits there. It goes by what the
    /// files say, not by this view: after a writer that did not close the view may show more, until the next writer has
    /// made that durable. Needs no write permission.
    ///
    /// # Errors
    /// As [`Ledger::open_read_only`](crate::Ledger::open_read_only).
    pub fn follow(&self, from: Seq) -> Result<Follow> {
        Follow::beside(&self.dir, &self.options, from)
    }

    /// Reads what was appended since. Reads the whole log again.
    ///
    /// # Errors
    /// As [`Ledger::open_read_only`](crate::Ledger::open_read_only); the view is then as before.
    pub fn refresh(&mut self) -> Result<()> {
        (self.view, self.report) = open::read_only(&self.dir, &self.options)?;
        Ok(())
    }
}
