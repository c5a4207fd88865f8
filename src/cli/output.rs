//! What the user names to be written: a file that comes to be all at once, or not at all.
//!
//! It is written beside the one that is named, synced, and then renamed over it. Whatever goes wrong before, an interrupt too,
//! takes the unfinished file away and leaves the old one as it was. The ledger's own directory is not written into.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::fail::Failure;

/// So many bytes are written at a time.
const BUFFER: usize = 256 << 10;
/// So many names are tried for the unfinished file.
const NAMES: u32 = 100;

/// A file that is not finished.
pub(crate) struct Output {
    to: BufWriter<File>,
    unfinished: PathBuf,
    path: PathBuf,
    dir: PathBuf,
    is_kept: bool,
    /// The number of the signal that asked to end; 0 for none.
    interrupt: Arc<AtomicUsize>,
}

impl Output {
    /// Begins a file of this name. `ledger` is the directory of a ledger, which must be there.
    pub(crate) fn create(file: &Path, ledger: &Path) -> Result<Output, Failure> {
        let failed = |error: &io::Error| failed("create", file, error);
        let path = target(file)?;
        let dir = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = fs::canonicalize(dir).map_err(|error| failed(&error))?;
        let within = fs::canonicalize(ledger).is_ok_and(|ledger| dir.starts_with(ledger));
        if within {
            let message = format!("{} is in the ledger's own directory", file.display());
            return Err(Failure::new("USAGE", message)
                .with("path", file.to_string_lossy())
                .hint("name a file elsewhere: what lies beside a ledger's files may be taken for one of them"));
        }
        let interrupt = Arc::new(AtomicUsize::new(0));
        let is_second = Arc::new(AtomicBool::new(false));
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0) {
            // A second one ends the program at once. What cannot be registered does so the first time.
            let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_second));
            let _ = signal_hook::flag::register(signal, Arc::clone(&is_second));
            let _ = signal_hook::flag::register_usize(signal, Arc::clone(&interrupt), signal as usize);
        }
        let (to, unfinished) = beside(&dir).map_err(|error| failed(&error))?;
        let output =
            Output { to: BufWriter::with_capacity(BUFFER, to), unfinished, path, dir, is_kept: false, interrupt };
        // Who may read the old one may read the new one, and nobody else.
        if let Ok(old) = fs::metadata(&output.path) {
            let changed = output.to.get_ref().set_permissions(old.permissions());
            changed.map_err(|error| failed(&error))?;
        }
        Ok(output)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(|error| failed("write", &self.path, &error))
    }

    /// Ends the program as an interrupt does, without the unfinished file, where one came.
    pub(crate) fn heed_interrupts(&self) {
        let signal = self.interrupt.load(Ordering::Relaxed);
        if signal != 0 {
            let _ = fs::remove_file(&self.unfinished);
            // Where even that is refused, the next signal ends it.
            let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
        }
    }

    /// Puts it under its name, durably.
    pub(crate) fn keep(mut self) -> Result<(), Failure> {
        let synced = self.to.flush().and_then(|()| self.to.get_ref().sync_all());
        synced.map_err(|error| failed("write", &self.path, &error))?;
        self.heed_interrupts();
        fs::rename(&self.unfinished, &self.path).map_err(|error| failed("replace", &self.path, &error))?;
        self.is_kept = true;
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| {
            let path = self.path.to_string_lossy();
            let message = format!("{path} is written, but may not outlast a power cut: {error}");
            Failure::new("IO", message).with("path", path)
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

/// Whether a directory can be made under this name: there is nothing, or an empty one.
pub(crate) fn check_new_dir(dir: &Path) -> Result<(), Failure> {
    let refused = |what: &str| {
        Err(Failure::new("IO", format!("could not write into {}: {what}", dir.display()))
            .with("path", dir.to_string_lossy())
            .hint("name a directory that is not there yet, or an empty one"))
    };
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("create", dir, &error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => refused("it has files in it"),
        },
    }
}

/// Gives a directory that is finished its name, durably; an empty one that has it makes room.
pub(crate) fn rename_dir(from: &Path, to: &Path) -> Result<(), Failure> {
    let renamed = fs::rename(from, to).and_then(|()| {
        let parent = fs::canonicalize(to)?;
        parent.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    });
    renamed.map_err(|error| {
        let failure = Failure::io("rename", &from.to_string_lossy(), &error);
        failure.hint(format!("it is whole: rename it to {} by hand", to.display()))
    })
}

/// The file that a name leads to, through links. What is there must be a file: a device must not be replaced by one.
fn target(file: &Path) -> Result<PathBuf, Failure> {
    let path = match fs::canonicalize(file) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(file.to_owned()),
        Err(error) => return Err(failed("create", file, &error)),
    };
    if path.is_file() {
        return Ok(path);
    }
    let what = if path.is_dir() { "a directory" } else { "no ordinary file" };
    Err(Failure::new("IO", format!("could not write {}: it is {what}", file.display()))
        .with("path", file.to_string_lossy())
        .hint("name a file; without -o the output goes to standard output"))
}

/// The signals that whoever started this program wants ignored (as `nohup` does), a bit for each, where the system tells.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A new file in a directory, under a name that nobody else has.
fn beside(dir: &Path) -> io::Result<(File, PathBuf)> {
    let mut n = 0;
    loop {
        let path = dir.join(format!(".taskledger-{}-{n}.unfinished", std::process::id()));
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < NAMES => n += 1,
            Err(error) => return Err(error),
            Ok(file) => return Ok((file, path)),
        }
    }
}

fn failed(action: &str, file: &Path, error: &io::Error) -> Failure {
    let name = file.to_string_lossy();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new("NO_SPACE", format!("could not {action} {name}: {error}")).with("path", name)
        }
        _ => Failure::io(action, &name, error).hint("name a file in a directory that is there and may be written to"),
    }
}
