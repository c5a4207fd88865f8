//! What the user names to be read, a file or standard input: never the ledger's own, and never more than a limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use crate::cli::fail::Failure;
use crate::cli::out::{Form, remark};

/// Something that is open for reading.
pub(crate) struct Input {
    from: BufReader<Box<dyn Read>>,
    name: String,
    /// In bytes; only a file has one.
    pub size: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input for `-`. `what` is for a note to whoever would have to type it.
    pub(crate) fn open(file: &Path, what: &str, form: Form) -> Result<Input, Failure> {
        if file == Path::new("-") {
            if io::stdin().is_terminal() {
                remark(form, &format!("reading {what} from the terminal; Ctrl-D ends it"));
            }
            let from = buffered(Box::new(io::stdin().lock()));
            return Ok(Input { from, name: "standard input".to_owned(), size: None });
        }
        let name = file.display().to_string();
        let failed = |error: io::Error| Failure::io("open", &name, &error);
        let opened = File::open(file).map_err(failed)?;
        let metadata = opened.metadata().map_err(failed)?;
        // What the system makes up as it is read says that it has none.
        let size = Some(metadata.len()).filter(|&bytes| metadata.is_file() && bytes > 0);
        Ok(Input { from: buffered(Box::new(opened)), name, size })
    }

    /// Reads a line, or as much of it as one byte beyond the limit; empty at the end.
    pub(crate) fn line(&mut self, limit: u64, line: &mut Vec<u8>) -> Result<(), Failure> {
        line.clear();
        let read = (&mut self.from).take(limit + 1).read_until(b'\n', line);
        read.map(drop).map_err(|error| Failure::io("read", &self.name, &error))
    }

    /// Whether a whole line was read already, and is only to be taken.
    pub(crate) fn has_line(&self) -> bool {
        self.from.buffer().contains(&b'\n')
    }

    /// Passes over what comes up to the end of the line.
    pub(crate) fn skip_line(&mut self) -> Result<(), Failure> {
        self.from.skip_until(b'\n').map(drop).map_err(|error| Failure::io("read", &self.name, &error))
    }

    /// Reads everything as text, without the space around it. More than so many bytes and a line break are refused,
    /// and not read further.
    pub(crate) fn text(self, limit: u64) -> Result<String, Failure> {
        let Input { from, name, .. } = self;
        let refused = |problem: String| Failure::new("LIMIT", format!("{name} {problem}")).with("path", name.as_str());
        let most = limit + 2;
        let mut bytes = Vec::new();
        from.take(most + 1).read_to_end(&mut bytes).map_err(|error| Failure::io("read", &name, &error))?;
        if bytes.len() as u64 > most {
            return Err(refused(format!("has more than {limit} bytes")));
        }
        let text = str::from_utf8(&bytes).map_err(|error| refused(format!("is not UTF-8: {error}")))?;
        Ok(text.trim().to_owned())
    }
}

/// Reads as much at a time as there is, up to the size of this buffer; that of standard input itself is passed by.
fn buffered(from: Box<dyn Read>) -> BufReader<Box<dyn Read>> {
    BufReader::with_capacity(256 << 10, from)
}
