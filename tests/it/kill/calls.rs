//! A kill at each system call: an import makes a ledger, appends, rolls and closes, and is killed right before the n-th
//! call of a kind, for each kind that has to do with files and each n, until it ends unharmed. The same for one that
//! first has to recover what a kill left.
//!
//! strace counts the calls of a kind in each thread by itself, and kills at the first thread that gets so far. What is
//! killed before one call was killed after the one before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use taskledger::Level;

use super::import::{Input, SEGMENT_BYTES};
use super::trace::{Class, Trace};
use super::{BULK, Home, Round, SEED, Site};
use crate::support::{say, skip, taskledger};

/// Those that may have to do with files; one with `?` is not there on every machine.
const KINDS: &str = "?open,openat,?mkdir,mkdirat,?rename,?renameat,renameat2,?unlink,unlinkat,read,write,pread64,\
                     pwrite64,fsync,fdatasync,flock,?ftruncate,?fallocate,close,statx,?newfstatat,?fstat,getdents64,lseek";
/// Enough for a roll.
const LINES: usize = 200;
/// How many lines are one batch of the ledger.
const BATCH: usize = 40;

/// What became of an import under strace.
struct Traced {
    killed: bool,
    /// How many lines it acknowledged.
    acked: usize,
}

/// Imports the lines of a file under strace.
fn trace(dir: &Path, lines: &Path, options: &[&str]) -> Traced {
    let mut import = taskledger();
    import.args(["import", "--batch", &BATCH.to_string(), "--segment-size", &SEGMENT_BYTES.to_string()]);
    import.args(["--json", "-", "-D"]).arg(dir);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).arg(import.get_program()).args(import.get_args());
    strace.env_remove("TASKLEDGER_DIR").env("NO_COLOR", "1");
    strace.stdin(File::open(lines).expect("the lines are there")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = strace.output().expect("strace starts");
    let killed = ended.status.signal() == Some(9);
    assert!(killed || ended.status.success(), "{options:?}: {}", String::from_utf8_lossy(&ended.stderr));
    // What is not whole has not been said.
    let told = ended.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let acked = told.filter_map(|told| told["line"].as_u64()).max().unwrap_or(0);
    Traced { killed, acked: acked as usize }
}

/// How many calls of each kind the busiest thread makes, by what strace wrote.
fn count(written: &str) -> BTreeMap<String, usize> {
    let mut calls: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in written.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((kind, _)) = call.trim_start().split_once('(') else { continue };
        if kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *calls.entry((kind, thread)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((kind, _), count) in calls {
        let most = most.entry(kind.to_owned()).or_default();
        *most = count.max(*most);
    }
    most
}

/// Copies a ledger that nobody has open.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

/// Where the imports of a sweep begin.
struct Start<'a> {
    name: &'a str,
    /// The ledger that is there; `None` where it is made.
    ledger: Option<&'a Path>,
    /// How many lines it had acknowledged.
    acked: usize,
}

/// What a sweep came to.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Kills after which there was more than was acknowledged.
    more_there: usize,
    /// Kills after the last acknowledgement, while it closed.
    closing: usize,
    by_kind: BTreeMap<String, usize>,
    by_class: BTreeMap<Class, usize>,
}

struct Sweep<'a> {
    home: &'a Path,
    lines: &'a Path,
    input: &'a Arc<Input>,
    start: Start<'a>,
    /// The kinds that are still to be swept, the longest last.
    kinds: Mutex<Vec<(usize, String)>>,
    tally: Mutex<Tally>,
}

impl Sweep<'_> {
    /// Sweeps over kinds as long as there are some.
    fn work(&self) {
        loop {
            let Some((_, kind)) = self.kinds.lock().expect("nobody panics").pop() else { return };
            for nth in 1.. {
                if !self.kill(&kind, nth) {
                    break;
                }
            }
        }
    }

    /// One import, killed right before this call; `false` where it never comes so far.
    fn kill(&self, kind: &str, nth: usize) -> bool {
        let Start { name, ledger, acked } = &self.start;
        let context = Round(format!("{name}, killed at call {nth} of {kind}"));
        let dir = self.home.join(format!("{kind}-{nth}"));
        if let Some(ledger) = ledger {
            copy(ledger, &dir);
        }
        let mut site = Site::new(dir.clone(), self.input, LINES);
        (site.acked, site.seen) = (*acked, *acked);
        let before = Trace::of(&dir);
        let (traced, inject) = (format!("trace={kind}"), format!("inject={kind}:signal=SIGKILL:when={nth}"));
        let traced = trace(&dir, self.lines, &["-o", "/dev/null", "-e", &traced, "-e", &inject]);
        site.acked = site.acked.max(traced.acked);
        let after = Trace::of(&dir);
        let level = if nth.is_multiple_of(2) { Level::Structure } else { Level::Content };
        site.look(LINES, Some(level));
        let there = site.seen;
        site.look(LINES, None);
        assert_eq!(site.seen, there, "it is the same at the second opening");
        assert!(there.is_multiple_of(BATCH), "{there} entries are there: half a batch of {BATCH}");
        let mut tally = self.tally.lock().expect("nobody panics");
        if traced.killed {
            tally.kills += 1;
            tally.more_there += usize::from(there > site.acked);
            tally.closing += usize::from(traced.acked == LINES);
            *tally.by_kind.entry(kind.to_owned()).or_default() += 1;
            *tally.by_class.entry(after.class(&before, traced.acked, there > *acked)).or_default() += 1;
        } else {
            assert_eq!(traced.acked, LINES, "unharmed");
        }
        drop(tally);
        site.finish(BULK);
        fs::remove_dir_all(&dir).expect("it can be removed");
        drop(context);
        traced.killed
    }
}

fn sweep(home: &Path, lines: &Path, input: &Arc<Input>, start: Start<'_>) -> Tally {
    let (dir, written) = (home.join("unharmed"), home.join("calls"));
    if let Some(ledger) = start.ledger {
        copy(ledger, &dir);
    }
    let traced = trace(&dir, lines, &["-e", &format!("trace={KINDS}"), "-o", written.to_str().expect("UTF-8")]);
    assert_eq!((traced.killed, traced.acked), (false, LINES));
    fs::remove_dir_all(dir).expect("it can be removed");
    let counts = count(&fs::read_to_string(written).expect("strace wrote"));
    let mut kinds: Vec<(usize, String)> = counts.iter().map(|(kind, count)| (*count, kind.clone())).collect();
    kinds.sort();
    let sweep = Sweep { home, lines, input, start, kinds: Mutex::new(kinds), tally: Mutex::default() };
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|_| scope.spawn(|| sweep.work()));
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let tally = sweep.tally.into_inner().expect("nobody panics");
    for (kind, count) in counts {
        let kills = tally.by_kind.get(&kind).copied().unwrap_or(0);
        // Other runs make a few calls less: it depends on the time which thread makes the next segment.
        assert!(kills * 2 >= count, "{kind}: {count} calls, {kills} kills: {tally:?}");
    }
    tally
}

#[test]
fn an_import_survives_a_kill_at_each_system_call() {
    let probe = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !probe.as_ref().is_ok_and(|status| status.success()) {
        return skip("kills at each system call", &format!("strace is not there, or may not trace: {probe:?}"));
    }
    let (home, started) = (Home::in_memory(), Instant::now());
    let input = Arc::new(Input::new(SEED));
    let lines = home.0.join("lines");
    fs::write(&lines, input.lines[..LINES].join("\n") + "\n").expect("lines can be written");

    let made = sweep(&home.0, &lines, &input, Start { name: "a ledger is made", ledger: None, acked: 0 });
    for class in [Class::Creation, Class::FirstOpening, Class::Roll, Class::Steady] {
        assert!(made.by_class.contains_key(&class), "no kill hit {class:?}: {made:?}");
    }

    // Killed before the sync of a late batch: it was written, and not acknowledged.
    let (mut nth, left, mut acked) = (0, home.0.join("left"), 0);
    while acked < 2 * BATCH {
        nth += 1;
        let _ = fs::remove_dir_all(&left);
        let inject = format!("inject=fdatasync:signal=SIGKILL:when={nth}");
        let traced = trace(&left, &lines, &["-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject]);
        assert!(traced.killed, "there are syncs after the acknowledgement of {acked} lines");
        acked = traced.acked;
    }
    let start = Start { name: "a killed ledger goes on", ledger: Some(&left), acked };
    let recovered = sweep(&home.0, &lines, &input, start);
    for class in [Class::Recovery, Class::Roll, Class::Steady] {
        assert!(recovered.by_class.contains_key(&class), "no kill hit {class:?}: {recovered:?}");
    }
    for tally in [&made, &recovered] {
        assert!(tally.more_there > 0 && tally.closing > 0, "{tally:?}");
    }
    say(&format!(
        "kill: at each system call: of a new ledger {made:?}; of one that was killed {recovered:?}; {:.1?}",
        started.elapsed()
    ));
}
