//! A copy of the source below `target/`, in which bugs are put, built and run. The original is never touched.
//!
//! It has a place and a target directory of its own that stay, and only files that differ are written: so a build takes
//! what it can from the one before. Whoever uses it holds its lock.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bug::Program;

/// No test here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(150);

pub fn original() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub struct Copy {
    home: PathBuf,
    _lock: File,
}

/// What a run of one test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// It passed, since it cannot run here; what it said.
    Skipped(String),
    /// With what it wrote.
    Failed(String),
    /// It says neither that it passed nor that it failed; why.
    Neither(String),
}

impl Copy {
    /// The copy, once nobody else uses it, equal to the original.
    pub fn new() -> Copy {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded");
        fs::create_dir_all(&home).expect("a directory below target/ can be made");
        let lock = File::create(home.join("lock")).expect("its lock can be made");
        lock.lock().expect("it can be locked");
        let copy = Copy { home, _lock: lock };
        copy.restore();
        copy.take_what_is_built();
        copy
    }

    /// Takes over what cargo has built for this very test, so that other people's code is not built once more. Where that does not
    /// fit, cargo builds it.
    fn take_what_is_built(&self) {
        let to = self.home.join("target/debug");
        let program = std::env::current_exe().expect("this program has a path");
        let Some(from) = program.parent().and_then(Path::parent).filter(|_| !to.exists()) else { return };
        fs::create_dir_all(&to).expect("a directory below target/ can be made");
        // Fingerprints last: what has none is built. With their times, by which cargo knows what is older than what.
        for part in ["deps", "build", ".fingerprint"] {
            let _ = Command::new("cp").arg("-a").args([from.join(part), to.join(part)]).status();
        }
    }

    fn source(&self) -> PathBuf {
        self.home.join("source")
    }

    /// Makes it equal to the original again.
    pub fn restore(&self) {
        fs::create_dir_all(self.source()).expect("a directory below target/ can be made");
        let files = files(original());
        for path in &files {
            self.write(path, &fs::read(original().join(path)).expect("a listed file can be read"));
        }
        for path in self::files(&self.source()).difference(&files) {
            fs::remove_file(self.source().join(path)).expect("a file of the copy can be removed");
        }
    }

    /// Gives a file this content; one that has it keeps its time.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let path = self.source().join(path);
        if !fs::read(&path).is_ok_and(|old| old == bytes) {
            fs::create_dir_all(path.parent().expect("it lies within the copy")).expect("a directory can be made");
            fs::write(&path, bytes).expect("a file of the copy can be written");
        }
    }

    /// Builds a program with tests, and says where it is; the message is what the compiler says.
    pub fn build(&self, program: Program) -> Result<PathBuf, String> {
        let target: &[&str] = match program {
            Program::It => &["--test", "it"],
            Program::Lib => &["--lib"],
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"])
            // Nobody debugs these, and without it they are built sooner.
            .args(["--config", "profile.test.package.taskledger.debug=0"])
            .args(target)
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.home.join("target"))
            .env("CARGO_INCREMENTAL", "1")
            .stdin(Stdio::null())
            .output()
            .expect("cargo starts");
        let messages = String::from_utf8_lossy(&built.stdout);
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let program = messages
            // The command line tool is built for the tests of `it`, and is none.
            .filter(|message| message["profile"]["test"] == true)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        match program {
            Some(program) if built.status.success() => Ok(program),
            _ => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
        }
    }

    /// Runs one test.
    pub fn run(&self, program: &Path, test: &str, env: Option<&(String, String)>) -> Verdict {
        let (out, err) = (self.home.join("stdout"), self.home.join("stderr"));
        let mut command = Command::new(program);
        // What is set outside must not make it another test.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TASKLEDGER_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--exact", test])
            .envs(env.map(|(name, value)| (name, value)))
            // A bug that panics in thousands of cases would take its time to tell where each time.
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.source())
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file of the copy can be written"))
            .stderr(File::create(&err).expect("a file of the copy can be written"))
            .spawn()
            .expect("what was built starts");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if started.elapsed() > PATIENCE {
                child.kill().expect("a child can be killed");
                child.wait().expect("a child can be waited for");
                return Verdict::Neither(format!("it hangs: killed after {} seconds", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let read = |path: &Path| {
            let bytes = fs::read(path).expect("a file of the copy can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        verdict(&read(&out), &read(&err), status.code())
    }
}

/// What the output of a run of one test says, and what it told people.
fn verdict(output: &str, told: &str, code: Option<i32>) -> Verdict {
    let skipped = told.lines().find(|line| line.contains(" did not run: "));
    let ended = |result: &str| output.lines().any(|line| line.starts_with(result));
    match code {
        Some(0) if ended("test result: ok. 1 passed; 0 failed;") => {
            skipped.map_or(Verdict::Passed, |line| Verdict::Skipped(line.to_owned()))
        }
        Some(101) if ended("test result: FAILED. 0 passed; 1 failed;") => Verdict::Failed(output.to_owned()),
        Some(0) if ended("test result: ok. 0 passed; 0 failed;") => {
            Verdict::Neither("there is no such test".to_owned())
        }
        _ => Verdict::Neither(format!("it ended with {code:?} and without a result:\n{output}")),
    }
}

/// All files below a directory, but for hidden ones and what cargo has made: it marks its directory only where it makes that itself.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    fn walk(dir: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory can be listed") {
            let entry = entry.expect("a directory can be listed");
            let (path, below) = (entry.path(), below.join(entry.file_name()));
            let kind = entry.file_type().expect("a kind of file");
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_file() {
                found.insert(below);
            } else if kind.is_dir() && entry.file_name() != "target" && !path.join("CACHEDIR.TAG").exists() {
                walk(&path, &below, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(dir, Path::new(""), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::{Verdict, verdict};

    #[test]
    fn only_a_test_that_ran_has_failed() {
        let failed = "running 1 test\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored;";
        let (passed, skip) = ("test result: ok. 1 passed; 0 failed; 0 ignored;", "disk::a did not run: no root");
        assert_eq!(verdict(failed, skip, Some(101)), Verdict::Failed(failed.to_owned()));
        assert_eq!(verdict(passed, "disk: 50 cuts", Some(0)), Verdict::Passed);
        assert_eq!(verdict(passed, skip, Some(0)), Verdict::Skipped(skip.to_owned()));
        let neither = [
            ("test result: ok. 0 passed; 0 failed; 0 ignored;", Some(0)),
            ("running 1 test\nmemory allocation of 13 bytes failed", None),
            ("running 1 test\n", Some(101)),
            (failed, None),
        ];
        for (output, code) in neither {
            assert!(matches!(verdict(output, "", code), Verdict::Neither(_)), "{output}");
        }
    }
}
