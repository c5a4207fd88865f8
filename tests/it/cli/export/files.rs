//! `-o`: a file comes to be whole, or not at all, and nothing is left beside it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use taskledger::{Event, Options, TaskState};
use tempfile::TempDir;

use super::{FORMATS, export, random};
use crate::cli::terminal::{Output, on_terminal_with};
use crate::cli::{Demo, PROGRAM, command, not_tested, path, run};

/// What is in a directory, by name.
fn listed(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory with nothing but an old file in it.
fn old() -> (TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let file = path(home.path().join("file"));
    fs::write(&file, "old").unwrap();
    (home, file)
}

/// Several segments, of which the first is damaged, so that opening does not see it.
fn damaged() -> (TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    let ledger = Options::new().segment_size(16 << 10).open(&dir).unwrap();
    for n in 0..200 {
        ledger.append(format!("t{n}"), Event::observed(TaskState::Completed).error("x".repeat(300))).unwrap();
    }
    ledger.snapshot().unwrap();
    ledger.close().unwrap();
    let mut segments: Vec<_> =
        fs::read_dir(Path::new(&dir).join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "log"));
    segments.sort();
    assert!(segments.len() > 3);
    let mut bytes = fs::read(&segments[1]).unwrap();
    bytes[9000] ^= 0x10;
    fs::write(&segments[1], bytes).unwrap();
    (home, dir)
}

#[test]
fn a_file_takes_the_place_of_the_old_one_and_has_what_standard_output_has() {
    let demo = Demo::new();
    let (home, file) = old();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for format in FORMATS {
        let told = export(&demo.dir(), format, &["-o", &file]).good();
        let bytes = fs::read_to_string(&file).unwrap();
        assert_eq!(bytes, export(&demo.dir(), format, &[]).good());
        assert!(told.starts_with(&format!("{file}: 128 entries, ")) && told.lines().count() == 1, "{told}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640, "who may read it stays so");
        assert_eq!(export(&demo.dir(), format, &["-o", &file, "--json"]).good(), "");
        assert_eq!(export(&demo.dir(), format, &["-o", "-"]).good(), bytes);
        assert_eq!(listed(home.path()), ["file"]);
    }
    // A new one, named without a directory.
    let named = crate::cli::finish(
        command(&["export", "--to", "csv", "-o", "new", "-D", &demo.dir()]).current_dir(home.path()),
    );
    assert!(named.good().starts_with("new: 128 entries, "));
    assert_eq!(listed(home.path()), ["file", "new"]);
    // Through a link to what it leads to.
    symlink("file", home.path().join("link")).unwrap();
    export(&demo.dir(), "csv", &["-o", &path(home.path().join("link"))]).good();
    assert!(fs::symlink_metadata(home.path().join("link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), export(&demo.dir(), "csv", &[]).good());
}

#[test]
fn what_must_not_be_written_is_not() {
    let demo = Demo::new();
    let (home, file) = old();
    let dir = demo.dir();
    let (link, file_link) = (path(home.path().join("link")), path(home.path().join("file-link")));
    symlink(&dir, &link).unwrap();
    symlink(format!("{dir}/LEDGER"), &file_link).unwrap();
    let before = listed(Path::new(&dir));
    let identity = fs::read(format!("{dir}/LEDGER")).unwrap();
    for within in [
        format!("{dir}/out"),
        format!("{dir}/LEDGER"),
        format!("{dir}/log/out"),
        format!("{dir}/../demo/out"),
        format!("{link}/out"),
        file_link,
    ] {
        let ran = export(&dir, "jsonl", &["-o", &within, "--json"]);
        let error = ran.error();
        assert_eq!((ran.code, &error["code"], &error["path"]), (Some(2), &json!("USAGE"), &json!(within)));
    }
    assert_eq!((listed(Path::new(&dir)), fs::read(format!("{dir}/LEDGER")).unwrap()), (before, identity));
    for bad in
        [path(home.path().to_owned()), "/dev/null".to_owned(), format!("{file}/x"), "/no/such/dir/file".to_owned()]
    {
        let ran = export(&dir, "jsonl", &["-o", &bad, "--json"]);
        assert_eq!((ran.code, &ran.error()["code"], ran.out.as_str()), (Some(1), &json!("IO"), ""), "{bad}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    // Nothing is written where there is nothing to write.
    let nowhere = path(home.path().join("nowhere"));
    for args in [&["-D", &nowhere][..], &["-D", &dir, "--at", "seq:129"]] {
        let ran = run(&[&["export", "--to", "csv", "-o", &file], args].concat());
        assert!([Some(3), Some(10)].contains(&ran.code), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(listed(home.path()), ["file", "file-link", "link"]);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_beside_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    random::write(&dir, 3, 3000);
    let (out, file) = old();
    for format in FORMATS {
        // 16 blocks of 512 or 1024 bytes, which none of them fits into; told by an error and not by a signal.
        let limited = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", limited, "-", PROGRAM, "export", "--json", "--to", format, "-o", &file, "-D", &dir]);
        let ended = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{format}: {text}");
        assert!(text.contains(&format!("could not write {file}: ")), "{text}");
        assert_eq!((listed(out.path()), fs::read_to_string(&file).unwrap().as_str()), (vec!["file".to_owned()], "old"));
    }
}

#[test]
fn damage_in_the_middle_is_five_and_leaves_no_file() {
    let (_home, dir) = damaged();
    let (out, file) = old();
    for format in FORMATS {
        let ran = export(&dir, format, &["--json", "-o", &file]);
        assert_eq!((ran.code, &ran.error()["code"], ran.out.as_str()), (Some(5), &json!("DAMAGED"), ""), "{format}");
        let fresh = path(out.path().join("new"));
        assert_eq!(export(&dir, format, &["-o", &fresh]).code, Some(5));
        assert_eq!((listed(out.path()), fs::read_to_string(&file).unwrap().as_str()), (vec!["file".to_owned()], "old"));
        // On standard output whole lines up to there, and no trace at all.
        let ran = export(&dir, format, &["--json"]);
        assert_eq!((ran.code, &ran.error()["code"]), (Some(5), &json!("DAMAGED")), "{format}");
        let whole = ran.out.is_empty() || ran.out.ends_with('\n');
        assert!(whole && ran.out.lines().count() < 200, "{format}: {}", ran.out.lines().count());
        assert_eq!(ran.out.is_empty(), format == "chrome-trace", "{format}");
    }
}

/// Waits until there is something beside the one file of a directory, or the child has ended; whether it still runs.
fn has_begun(child: &mut Child, dir: &Path) -> bool {
    while listed(dir).len() == 1 {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn an_interrupt_takes_the_unfinished_file_away() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    random::write(&dir, 5, 6000);
    let (out, file) = old();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        // Whoever runs the tests may want it ignored, and then the program does so, too.
        if ignored.is_some_and(|ignored| ignored >> (number - 1) & 1 == 1) {
            not_tested("an interrupted export", &format!("signal {number} is ignored here"));
            continue;
        }
        // One that was done before the signal came proves nothing.
        let interrupted = (0..100).any(|_| {
            fs::write(&file, "old").unwrap();
            let mut child = command(&["export", "--to", "cloudevents", "-o", &file, "-D", &dir])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Until it is waited for, nobody else has its number.
            if has_begun(&mut child, out.path()) {
                kill_process(Pid::from_child(&child), signal).unwrap();
            }
            let ended = child.wait().unwrap();
            assert_eq!(listed(out.path()), ["file"], "{ended}");
            if ended.success() {
                return false;
            }
            assert_eq!((ended.signal(), fs::read_to_string(&file).unwrap().as_str()), (Some(number), "old"));
            true
        });
        assert!(interrupted, "{signal:?} never came in time");
    }
}

#[test]
fn an_interrupt_that_is_to_be_ignored_is() {
    let home = tempfile::tempdir().unwrap();
    let dir = path(home.path().join("ledger"));
    random::write(&dir, 5, 3000);
    let (out, file) = old();
    let mut ignoring = Command::new("sh");
    ignoring.args([
        "-c",
        "trap '' INT HUP; exec \"$@\"",
        "-",
        PROGRAM,
        "export",
        "--to",
        "csv",
        "-o",
        &file,
        "-D",
        &dir,
    ]);
    let mut child = ignoring.stdout(Stdio::null()).spawn().unwrap();
    if has_begun(&mut child, out.path()) {
        for signal in [Signal::INT, Signal::HUP] {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&file).unwrap(), export(&dir, "csv", &[]).good());
}

#[test]
fn a_file_shows_how_far_it_has_come_and_standard_output_does_not() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (path(home.path().join("ledger")), path(home.path().join("file")));
    let ledger = Options::new().open(&dir).unwrap();
    let mut batch = taskledger::Batch::new();
    for n in 0..20_000 {
        batch.push(format!("t{n}"), Event::created(), taskledger::Expect::Any);
    }
    ledger.commit(batch).unwrap();
    ledger.close().unwrap();
    let mut args = vec!["export", "--to", "jsonl", "-D", &dir, "-o", &file];
    let Some(seen) = on_terminal_with(80, &args, None, Output::Pipe, &[]) else { return };
    assert!(seen.code == Some(0) && seen.terminal.contains(" of 20,000 entries"), "{:?}", seen.terminal);
    args.truncate(5);
    let seen = on_terminal_with(80, &args, None, Output::Terminal, &[]).expect("there was one just now");
    assert!(seen.code == Some(0) && seen.terminal.lines().count() == 20_000 && !seen.terminal.contains(" entries"));
}
