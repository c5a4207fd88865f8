//! The lines of an input, one at a time, each within a limit.

use crate::cli::fail::Failure;
use crate::cli::input::Input;
use crate::cli::line::BadLine;

/// The longest line, in bytes: an entry of the largest size with every character escaped still fits.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// An input, and the line of it that was read last.
pub(crate) struct Lines {
    input: Input,
    text: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(input: Input) -> Lines {
        Lines { input, text: Vec::new() }
    }

    /// Reads the next line; `false` at the end. Of one that is too long only the beginning is read.
    pub(crate) fn advance(&mut self) -> Result<bool, Failure> {
        self.input.line(LINE_BYTES_MAX, &mut self.text)?;
        Ok(!self.text.is_empty())
    }

    /// Whether all of the next line was read from the input already, so that nobody waits for it.
    pub(crate) fn is_next_there(&self) -> bool {
        self.input.has_line()
    }

    /// How many bytes of the line were read.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The line that was read, without the space around it.
    pub(crate) fn line(&self) -> Result<&str, BadLine> {
        if self.is_too_long() {
            return Err(BadLine::whole(format!("is longer than {LINE_BYTES_MAX} bytes")));
        }
        str::from_utf8(&self.text).map(str::trim).map_err(|error| BadLine::whole(format!("is not UTF-8: {error}")))
    }

    /// Passes over the rest of the line that was read, where it is too long.
    pub(crate) fn pass_rest(&mut self) -> Result<(), Failure> {
        if self.is_too_long() && !self.text.ends_with(b"\n") {
            self.input.skip_line()?;
        }
        Ok(())
    }

    fn is_too_long(&self) -> bool {
        self.text.len() as u64 > LINE_BYTES_MAX
    }
}
