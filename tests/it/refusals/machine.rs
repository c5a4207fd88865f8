//! What needs more of the machine than a process has: mounts of its own, and another user.
//!
//! Such a test runs again as a child with those rights. Mounts are made in a namespace of the child's, so that they
//! are gone with it, however it ends. Where the machine does not allow it the test says so and passes; with `CI=true`
//! it fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::program::{PATIENCE, Ran, finish_within};
use super::site::home;

/// Names the directory that a child is to work in, and so tells a child from a test that a person started.
const HOME: &str = "TASKLEDGER_REFUSALS_HOME";

/// The user that has no rights.
pub const NOBODY: u32 = 65534;

/// The way to become that user, for a process of root.
pub const AS_NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

/// Says that a test cannot run here.
pub fn skip(test: &str, why: &str) {
    crate::support::skip(&format!("refusals: {test}"), why);
}

/// The directory of a child; `None` where this is none.
pub fn home_of_child() -> Option<std::path::PathBuf> {
    std::env::var_os(HOME).map(Into::into)
}

/// Runs an ignored test of this crate in mounts of its own.
pub fn in_own_mounts(test: &str) {
    let works = |through: &[&str]| {
        let home = home();
        let script = "mount -t tmpfs -o size=64k none \"$0\" && mount -o remount,ro \"$0\"";
        let mut probe = Command::new(through[0]);
        probe.args(&through[1..]).args(["sh", "-c", script]).arg(home.path());
        probe.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
    };
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    match ways.into_iter().find(|way| works(way)) {
        Some(way) => {
            let home = home();
            child(test, way, &std::env::current_exe().expect("its own path"), home.path());
        }
        None => skip(test, "a mount namespace takes root, or user namespaces that may mount"),
    }
}

/// Runs an ignored test of this crate in a directory, through these commands, with this copy of its executable.
pub fn child(test: &str, through: &[&str], exe: &Path, home: &Path) {
    child_within(test, through, exe, home, PATIENCE);
}

/// The same for one that takes its time.
pub fn child_within(test: &str, through: &[&str], exe: &Path, home: &Path, patience: Duration) -> Ran {
    let words = through.iter().map(AsRef::<std::ffi::OsStr>::as_ref).chain([exe.as_os_str()]);
    let words: Vec<_> = words.collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--ignored", "--exact", test, "--nocapture"]).env(HOME, home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let ran = finish_within(started, patience);
    assert!(ran.code == 0 && ran.out.contains("1 passed"), "{test}: {}\n{}", ran.out, ran.err);
    ran
}

/// A system in memory of this size at a directory; again, to give it another size or to make it read-only.
pub fn mount(dir: &Path, options: &str) {
    std::fs::create_dir_all(dir).expect("a directory");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "none"]).arg(dir);
    assert!(command.status().expect("mount starts").success(), "{command:?}");
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
