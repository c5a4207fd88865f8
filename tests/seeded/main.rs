//! Is the suite itself true? Each patch in `bugs/` puts one classic bug into a copy of the source, and a named test of
//! crashes, faults, rot, kills, schedules or the model must then fail.
//!
//! Plain `cargo test` only looks that every patch still applies and names a test that is there. With `TASKLEDGER_SEEDED`
//! the bugs are built and run, and a table is written to standard error: `all` of them, those whose names contain one of
//! `seal,watermark`, or so many, chosen by the commit (`3`).
//!
//! ```text
//! TASKLEDGER_SEEDED=all cargo test --test seeded
//! ```
//! A new bug is one more file: change the source, `git diff -U1 src > tests/seeded/bugs/NAME.patch`, put a head above it
//! (see `bug.rs`), and see it caught.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect is to stop there; clippy's own exceptions for tests do not reach helpers"
)]

mod bug;
mod copy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bug::{Bug, Program};
use copy::{Copy, Verdict, original};

/// Modules of `it` whose tests count, beside those of schedules in the library: those of crashes, faults, rot, kills, power
/// cuts, prunes, and of random histories. That the bytes have changed proves nothing.
const COUNT: [&str; 9] = ["bits", "crash", "disk", "kill", "machine", "model", "prune", "rot", "tickets"];
/// At least so many bugs.
const BUGS_MIN: usize = 20;

/// All bugs, by name.
fn bugs() -> Vec<Bug> {
    let dir = original().join("tests/seeded/bugs");
    let mut bugs = Vec::new();
    for entry in fs::read_dir(&dir).expect("the patches can be listed") {
        let path = entry.expect("the patches can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".patch")).expect("a patch");
        let text = fs::read_to_string(&path).expect("a patch can be read");
        bugs.push(Bug::parse(name, &text).unwrap_or_else(|what| panic!("{what}")));
    }
    bugs.sort_by(|one, other| one.name.cmp(&other.name));
    bugs
}

/// A file of the source.
fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(original().join(path)).map_err(|error| format!("{path} cannot be read: {error}"))
}

/// Writes a line to the real standard error: the test harness swallows what the print macros write.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
}

/// What is wrong with a bug, as far as that can be told without running it.
fn look(bug: &Bug) -> Result<(), String> {
    let Bug { name, test, .. } = bug;
    bug.apply(&read)?;
    if let Some(hunk) = bug.hunks.iter().find(|hunk| !hunk.path.starts_with("src/")) {
        return Err(format!("{name}: {} is no code of the product", hunk.path));
    }
    let (module, function) = test.rsplit_once("::").ok_or(format!("{name}: {test} names no module"))?;
    let folder = match bug.program() {
        Program::Lib => "src",
        Program::It if COUNT.contains(&module.split("::").next().unwrap_or_default()) => "tests/it",
        Program::It => return Err(format!("{name}: {test} is no test of crashes, faults, rot, kills or the model")),
    };
    let code = read(&format!("{folder}/{}.rs", module.replace("::", "/")))?;
    if !code.contains(&format!("#[test]\nfn {function}()")) {
        return Err(format!("{name}: there is no test {test}"));
    }
    Ok(())
}

#[test]
fn every_patch_applies_and_names_a_test() {
    let bugs = bugs();
    assert!(bugs.len() >= BUGS_MIN, "only {} bugs", bugs.len());
    let wrong: Vec<String> = bugs.iter().filter_map(|bug| look(bug).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_document_tells_of_every_bug() {
    let document = read("docs/testing.md").unwrap();
    let rows: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let missing: Vec<String> = bugs().into_iter().map(|bug| bug.name).filter(|name| !rows.contains(&**name)).collect();
    assert!(missing.is_empty(), "docs/testing.md has no row for {missing:?}");
}

/// The bugs that are asked for.
fn chosen(asked: &str, commit: &dyn Fn() -> String) -> Vec<Bug> {
    let mut bugs = bugs();
    if let Ok(count) = asked.parse() {
        let commit = commit();
        bugs.sort_by_key(|bug| crc32fast::hash(format!("{commit} {}", bug.name).as_bytes()));
        bugs.truncate(count);
    } else if asked != "all" {
        bugs.retain(|bug| asked.split(',').any(|part| bug.name.contains(part)));
    }
    assert!(!bugs.is_empty(), "TASKLEDGER_SEEDED={asked} names no bug; all, a number, or parts of names");
    bugs
}

fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(original()).output();
    let told = asked.ok().filter(|told| told.status.success()).expect("a number of bugs is chosen by git's commit");
    String::from_utf8(told.stdout).expect("a hash")
}

#[test]
fn seeded_bugs_are_caught() {
    let Ok(asked) = std::env::var("TASKLEDGER_SEEDED") else {
        return say("seeded: SKIPPED: the bugs are run with TASKLEDGER_SEEDED=all, and take some minutes");
    };
    let mut bugs = chosen(&asked, &commit);
    let copy = Copy::new();
    let started = Instant::now();
    let programs: BTreeSet<Program> = bugs.iter().map(Bug::program).collect();
    let build = |&program| {
        let sound = copy.build(program).unwrap_or_else(|told| panic!("the sound code does not compile:\n{told}"));
        (program, sound)
    };
    let sound: BTreeMap<Program, PathBuf> = programs.iter().map(build).collect();
    say(&format!("seeded: the sound code was built in {:.0} s", started.elapsed().as_secs_f64()));
    let tests: BTreeSet<_> = bugs.iter().map(|bug| (bug.program(), bug.test.clone(), bug.env.clone())).collect();
    for (program, test, env) in tests {
        match copy.run(&sound[&program], &test, env.as_ref()) {
            Verdict::Passed => {}
            Verdict::Skipped(why) => {
                say(&format!("seeded: SKIPPED, with all bugs that it has to find: {why}"));
                bugs.retain(|bug| bug.test != test);
            }
            other => panic!("without any bug {test} ({env:?}) must pass: {other:?}"),
        }
    }
    assert!(!bugs.is_empty(), "every test that should have found one was skipped");
    say("| bug | what is wrong | what it breaks | caught by | s |\n|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for bug in &bugs {
        let started = Instant::now();
        let caught = catch(&copy, bug);
        let seconds = started.elapsed().as_secs_f64();
        let by = if caught.is_ok() { bug.test.as_str() } else { "NOT CAUGHT" };
        say(&format!("| `{}` | {} | {} | `{by}` | {seconds:.0} |", bug.name, bug.what, bug.breaks));
        wrong.extend(caught.err().map(|what| format!("TASKLEDGER_SEEDED={}: {what}", bug.name)));
    }
    copy.restore();
    say(&format!("seeded: {} of {} bugs caught", bugs.len() - wrong.len(), bugs.len()));
    assert!(wrong.is_empty(), "{} bugs were not caught:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Puts a bug into the copy, and demands that its test fails as it should.
fn catch(copy: &Copy, bug: &Bug) -> Result<(), String> {
    copy.restore();
    for (path, text) in bug.apply(&read)? {
        copy.write(Path::new(&path), text.as_bytes());
    }
    let program = copy.build(bug.program()).map_err(|told| format!("it does not compile:\n{told}"))?;
    let test = &bug.test;
    match copy.run(&program, test, bug.env.as_ref()) {
        Verdict::Failed(output) if output.contains(&bug.says) => Ok(()),
        Verdict::Failed(output) => Err(format!("{test} fails, and does not say {:?}:\n{output}", bug.says)),
        Verdict::Passed => Err(format!("{test} passes all the same")),
        Verdict::Skipped(why) | Verdict::Neither(why) => Err(format!("{test} neither passes nor fails: {why}")),
    }
}
