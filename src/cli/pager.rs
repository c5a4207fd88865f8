//! The program that shows what is longer than the terminal is high.
//!
//! It gets standard output while it runs; an interrupt is for it then, and must not take its input away.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice, StripStream};
use signal_hook::consts::{SIGINT, SIGQUIT};

/// Where the caller states none.
const PAGER: &str = "less";
/// What `less` is to do where the caller does not say: end where one screen is enough, show colours, leave the screen as it is.
const LESS: &str = "FRX";

/// One that runs.
#[derive(Debug)]
pub(crate) struct Pager {
    name: String,
    process: Child,
}

impl Pager {
    /// Starts it, if standard output is a terminal and there is one; with where to write.
    pub(crate) fn start() -> Option<(Pager, Box<dyn Write>)> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let stated = ["TASKLEDGER_PAGER", "PAGER"].into_iter().find_map(|name| env::var(name).ok());
        let mut command = match stated.as_deref().map(str::trim) {
            Some("" | "cat") => return None,
            Some(stated) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(stated);
                command
            }
            None => Command::new(PAGER),
        };
        if env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        let alone = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGQUIT] {
            // What cannot be registered ends both, as without it.
            let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&alone));
        }
        let Ok(mut process) = command.stdin(Stdio::piped()).spawn() else {
            // Where there is no `less`, the terminal shows it.
            alone.store(true, Ordering::Relaxed);
            return None;
        };
        let input = process.stdin.take().expect("it was asked for");
        let to: Box<dyn Write> = Box::new(input);
        let to = match AutoStream::choice(&io::stdout()) {
            ColorChoice::Never => Box::new(StripStream::new(to)),
            _ => to,
        };
        Some((Pager { name: stated.unwrap_or_else(|| PAGER.to_owned()), process }, to))
    }

    /// Waits until its user has seen enough. What was written to it must be flushed, and where to write dropped.
    ///
    /// # Errors
    /// Where it could not be waited for, or was no program.
    pub(crate) fn wait(mut self) -> io::Result<()> {
        let ended = self.process.wait()?;
        match ended.code() {
            // As shells say that there is no such program, or that it is none.
            Some(126 | 127) => Err(io::Error::other(format!(
                "{} could not be started; TASKLEDGER_PAGER or PAGER names it, and --no-pager does without",
                self.name
            ))),
            _ => Ok(()),
        }
    }
}
