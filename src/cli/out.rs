//! The only writer to standard output and standard error.
//!
//! Data goes to standard output, locked and buffered; notes, progress and errors to standard error. A closed pipe is
//! an error like any other here, and `fail` makes it a quiet end.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::cli::pager::Pager;
use crate::cli::text::safe_lines;

/// For whom to write. It depends on `--json` only, never on where the output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

/// How often a line that only says the time is drawn.
const TICK: Duration = Duration::from_millis(250);

/// So many bytes are written at a time.
const BUFFER: usize = 64 << 10;

/// Standard output.
pub(crate) struct Out {
    pub form: Form,
    /// How many columns the terminal has, where it is one.
    pub columns: Option<usize>,
    to: BufWriter<Box<dyn Write>>,
    pager: Option<Pager>,
}

impl Out {
    pub(crate) fn new(form: Form) -> Out {
        let to: Box<dyn Write> = match form {
            // Takes colours out where no terminal would show them.
            Form::People => Box::new(anstream::stdout().lock()),
            Form::Json => Box::new(io::stdout().lock()),
        };
        let size = io::stdout().is_terminal().then(|| tcgetwinsize(io::stdout()).ok()).flatten();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
        Out { form, columns, to: BufWriter::with_capacity(BUFFER, to), pager: None }
    }

    /// From here on every byte goes out as it is: it is data in a form of its own. Nothing may have been written before.
    pub(crate) fn as_is(&mut self) {
        self.to = BufWriter::with_capacity(BUFFER, Box::new(io::stdout().lock()));
    }

    /// From here on a person can page through what is written, on a terminal. Nothing may have been written before.
    pub(crate) fn page(&mut self) {
        if self.form == Form::People
            && let Some((pager, to)) = Pager::start()
        {
            self.to = BufWriter::with_capacity(BUFFER, to);
            self.pager = Some(pager);
        }
    }

    /// Writes out what is written so far, and waits until it is read where somebody pages through it.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody reads it.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        let Some(pager) = self.pager.take() else { return flushed };
        // Its input ends here.
        self.to = BufWriter::new(Box::new(io::sink()));
        pager.wait().and(flushed)
    }

    /// Writes one object as one line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, object)?;
        self.to.write_all(b"\n")
    }

    /// Writes out what is written so far, and looks whether somebody still reads it. A pipe tells that of itself only to who
    /// writes into it.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody does.
    pub(crate) fn flush_to_reader(&mut self) -> io::Result<()> {
        self.to.flush()?;
        let stdout = io::stdout();
        let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
        // Where it cannot be told, somebody is taken to read.
        let told = poll(&mut asked, Some(&Timespec::default())).is_ok_and(|told| told > 0);
        if told && asked.iter().any(|one| one.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

/// An object whose fields keep their order: `type` comes first.
pub(crate) struct Object(Vec<(String, Value)>);

impl Object {
    pub(crate) fn new(kind: &str) -> Object {
        Object(vec![("type".to_owned(), kind.into())])
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Object {
        self.0.push((name.to_owned(), value.into()));
        self
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // A terminal goes back to the caller only when nobody pages any more, whatever went wrong here.
        let _ = self.finish();
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Says something beside the data; to people only.
pub(crate) fn remark(form: Form, text: &str) {
    if form == Form::People {
        complain(&format!("taskledger: remark: {}", safe_lines(text)));
    }
}

/// Says how far work has come on a line of its own, where something else writes to the terminal, too. Only to people, and on a
/// terminal only.
pub(crate) fn step(form: Form, text: &str) {
    if form == Form::People && io::stderr().is_terminal() {
        complain(text);
    }
}

/// Writes to standard error. There is nowhere to say that this failed.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar over bytes of which the number is known; it takes what the terminal's width leaves to it.
const OF_BYTES: &str = "{wide_bar}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
/// A count of lines that end some day.
const OF_LINES: &str = "{human_pos} lines  {per_sec}";

/// Entries of which the number is known.
const OF_ENTRIES: &str = "{wide_bar}  {human_pos} of {human_len} entries  {per_sec}  {eta} left";

/// Steps of which the number is about known.
const OF_STEPS: &str = "{wide_bar}  step {human_pos} of {human_len}";

/// Work of which nobody knows how much there is.
const OF_TIME: &str = "{spinner} {msg}  {elapsed}";

/// How far work has come, on one line of the terminal that is overwritten as it goes on; nothing where standard error
/// is no terminal, and nothing for programs. It is wiped when it is dropped, which must be before anything is said.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// How much there is in all, as far as the bar was told.
    all: u64,
}

impl Progress {
    pub(crate) fn of_bytes(form: Form) -> Progress {
        Progress::new(form, OF_BYTES)
    }

    pub(crate) fn of_lines(form: Form) -> Progress {
        Progress::new(form, OF_LINES)
    }

    pub(crate) fn of_entries(form: Form) -> Progress {
        Progress::new(form, OF_ENTRIES)
    }

    pub(crate) fn of_steps(form: Form) -> Progress {
        Progress::new(form, OF_STEPS)
    }

    /// Says what is being done, and for how long by now; it needs no word of how far it is.
    pub(crate) fn of_time(form: Form, what: &'static str) -> Progress {
        let progress = Progress::new(form, OF_TIME);
        if let Some(bar) = &progress.bar {
            bar.set_message(what);
            bar.enable_steady_tick(TICK);
        }
        progress
    }

    fn new(form: Form, template: &str) -> Progress {
        let on = form == Form::People && io::stderr().is_terminal();
        let bar = on.then(|| {
            let style = ProgressStyle::with_template(template).expect("the templates are those above");
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
        });
        Progress { bar, all: 0 }
    }

    /// Shows how much is done, of how much where that is known.
    pub(crate) fn show(&mut self, done: u64, all: Option<u64>) {
        let Some(bar) = &self.bar else { return };
        // Each change is drawn; the number of all rarely is one.
        if let Some(all) = all.filter(|&all| all != self.all) {
            bar.set_length(all);
            self.all = all;
        }
        bar.set_position(done);
    }

    /// Wipes the line. What is shown afterwards is not seen.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
