//! A ledger at rest, and what it refuses: through the library and through the program, with all bytes compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use taskledger::vfs::ops::Vfs;
use taskledger::vfs::real::RealVfs;
use taskledger::{Error, Event, Filter, Ledger, Level, Maintenance, Options, Receipt, Seq, Subject, Verdict};
use tempfile::TempDir;

use super::files::Files;
use super::program::{Program, says};

/// A directory in memory where there is one, as syncs take their time elsewhere.
pub fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary directory")
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("temporary directories are UTF-8")
}

/// The id, where an error names a task.
pub fn task_of(subject: &Option<Subject>) -> Option<&str> {
    subject.as_ref().and_then(Subject::task)
}

/// Small segments, and no thread that writes at a time of its own.
pub fn options() -> Options {
    Options::new().segment_size(16 << 10).maintenance(Maintenance::Manual)
}

/// A ledger that nobody has open.
pub struct Site {
    _home: TempDir,
    pub dir: PathBuf,
    vfs: Arc<dyn Vfs>,
}

impl Site {
    /// Makes a ledger, fills it and closes it.
    pub fn new(fill: impl FnOnce(&Ledger)) -> Site {
        Site::on(Arc::new(RealVfs), fill)
    }

    /// The same on a file layer with another clock.
    pub fn on(vfs: Arc<dyn Vfs>, fill: impl FnOnce(&Ledger)) -> Site {
        let home = home();
        let site = Site { dir: home.path().join("ledger"), _home: home, vfs };
        let ledger = site.open();
        fill(&ledger);
        ledger.close().unwrap();
        site
    }

    pub fn open(&self) -> Ledger {
        options().vfs(Arc::clone(&self.vfs)).open(&self.dir).expect("it opens")
    }

    pub fn arg(&self) -> &str {
        arg(&self.dir)
    }

    /// What the library says to an attempt that it must refuse. Nothing is different afterwards: not for the writer
    /// that refused, not in the files, and not once it has closed.
    pub fn refuses(&self, attempt: impl FnOnce(&Ledger) -> taskledger::Result<Receipt>) -> Error {
        let at_rest = Files::log(&self.dir);
        let ledger = self.open();
        let error = refuses(&ledger, &self.dir, attempt);
        ledger.close().unwrap();
        at_rest.assert_same(&Files::log(&self.dir), &format!("opened, refused, closed: {error}"));
        error
    }

    /// What the program says to the import of one line that the ledger refuses.
    pub fn refuses_line(&self, code: &str, line: &Value) -> Value {
        self.refuses_text(code, &line.to_string())
    }

    /// The same with a line that may be no JSON.
    pub fn refuses_text(&self, code: &str, line: &str) -> Value {
        let before = Files::log(&self.dir);
        let error = Program::default().refused(&["import", "-D", self.arg()], &format!("{line}\n"), 13, code);
        before.assert_same(&Files::log(&self.dir), &format!("refused {line:.100}"));
        assert_eq!(error["line"], json!(1), "{error}");
        let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
        assert!(message.starts_with("line 1: ") && message.ends_with("; no line is in"), "{message}");
        if code != "TIME" {
            says(hint, &["correct line 1 and import the whole file again"]);
        }
        error
    }

    /// The next event gets the next seq, what was there is still there, and all is sound.
    pub fn goes_on(&self) {
        let before = Files::log(&self.dir);
        let ledger = self.open();
        let head = ledger.head();
        let receipt = ledger.append("afterwards", Event::created()).expect("it goes on");
        assert_eq!((receipt.seq(), receipt.version()), (Seq(head.0 + 1), 1), "no refusal took a seq or a version");
        ledger.close().unwrap();
        before.assert_kept(&Files::log(&self.dir), "going on");
        let report = taskledger::verify(&self.dir, Level::Content).expect("it can be verified");
        assert_eq!((report.verdict(), report.checked_to), (Verdict::Sound, receipt.seq()), "{:?}", report.findings);
    }
}

/// An attempt that an open ledger must refuse, and that changes nothing.
pub fn refuses(ledger: &Ledger, dir: &Path, attempt: impl FnOnce(&Ledger) -> taskledger::Result<Receipt>) -> Error {
    let state = || (ledger.head(), ledger.counts(), ledger.list(Filter::new()).expect("a list").tasks);
    let (before, files) = (state(), Files::log(dir));
    let error = attempt(ledger).expect_err("it is refused");
    assert!(state() == before, "it shows something else after: {error}");
    files.assert_same(&Files::log(dir), &error.to_string());
    error
}

/// The code of a refused opening or reading, which leaves everything below a directory as it was.
pub fn untouched<T: std::fmt::Debug>(dir: &Path, attempt: impl FnOnce() -> taskledger::Result<T>) -> Error {
    let before = Files::all(dir);
    let error = attempt().expect_err("it is refused");
    before.assert_same(&Files::all(dir), &error.to_string());
    error
}
