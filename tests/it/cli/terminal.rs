//! Progress, on a real pseudo-terminal: seen while work goes on, gone when anything is said, and nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::cli::{Demo, command, lines, not_tested, path, run};

/// What a run left on a terminal, and on a pipe.
pub struct Seen {
    pub code: Option<i32>,
    /// Every byte that the terminal was sent.
    pub terminal: String,
    out: String,
}

/// Where standard output goes; standard error goes to the terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Terminal,
    Pipe,
}

/// What a command leaves on a terminal of so many columns; `None` where none can be had.
pub fn screen_of(args: &[&str], columns: u16) -> Option<String> {
    let seen = on_terminal_of(columns, args, None, Output::Terminal)?;
    assert_eq!(seen.code, Some(0), "{}", seen.terminal);
    Some(screen(&seen.terminal))
}

/// How many columns a line takes, where each East Asian letter of these tests takes two.
pub fn columns_of(line: &str) -> usize {
    line.chars().map(|c| if ('\u{4e00}'..'\u{a000}').contains(&c) { 2 } else { 1 }).sum()
}

/// Runs on a terminal; `None` where none can be had.
fn on_terminal(args: &[&str], input: Option<&str>, output: Output) -> Option<Seen> {
    on_terminal_of(0, args, input, output)
}

/// On one of so many columns; of 0, one that does not say. Nothing is paged.
fn on_terminal_of(columns: u16, args: &[&str], input: Option<&str>, output: Output) -> Option<Seen> {
    on_terminal_with(columns, args, input, output, &[("TASKLEDGER_PAGER", "cat")])
}

/// With more in the environment.
pub fn on_terminal_with(
    columns: u16,
    args: &[&str],
    input: Option<&str>,
    output: Output,
    environment: &[(&str, &str)],
) -> Option<Seen> {
    let opened = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).and_then(|terminal| {
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&terminal, Vec::new())?;
        Ok((File::from(terminal), name))
    });
    let (mut terminal, name) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            not_tested("progress", &format!("there is no pseudo-terminal: {error}"));
            return None;
        }
    };
    let side = || OpenOptions::new().read(true).write(true).open(name.to_str().expect("a path")).expect("it opens");
    let mut run = command(args);
    run.env("TERM", "xterm").envs(environment.iter().copied()).stderr(side());
    match output {
        Output::Terminal => run.stdout(side()),
        Output::Pipe => run.stdout(Stdio::piped()),
    };
    if input.is_some() {
        run.stdin(Stdio::piped());
    }
    let mut child = run.spawn().expect("the program starts");
    // The command still holds the program's side of the terminal.
    drop(run);
    if let Some(input) = input {
        child.stdin.take().expect("it is a pipe").write_all(input.as_bytes()).expect("it is read");
    }
    let mut bytes = Vec::new();
    // At its end a terminal answers with an error.
    let _ = terminal.read_to_end(&mut bytes);
    let ended = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    Some(Seen { code: ended.status.code(), terminal: text(bytes), out: text(ended.stdout) })
}

/// What a terminal shows in the end: lines that were overwritten or wiped are not there.
fn screen(sent: &str) -> String {
    let mut lines = vec![String::new()];
    let (mut row, mut column) = (0, 0);
    let mut rest = sent;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(String::new());
                }
            }
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence ends");
                let (sequence, behind) = rest.split_at(end + 1);
                rest = behind;
                match sequence {
                    "[2K" => lines[row].clear(),
                    "[K" | "[0K" => lines[row] = lines[row].chars().take(column).collect(),
                    "[1A" => row -= 1,
                    "[1B" => row += 1,
                    colour if colour.ends_with('m') => {}
                    other => panic!("the terminal was sent {other:?}, which this test does not know: {sent:?}"),
                }
            }
            c => {
                let mut chars: Vec<char> = lines[row].chars().collect();
                chars.resize(chars.len().max(column + 1), ' ');
                chars[column] = c;
                lines[row] = chars.into_iter().collect();
                column += 1;
            }
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// So many new tasks, as lines.
fn tasks(count: usize) -> String {
    let objects: Vec<_> = (0..count).map(|n| json!({"task": format!("t{n:05}"), "event": "created"})).collect();
    lines(&objects)
}

#[test]
fn a_screen_is_what_is_left_of_what_was_sent() {
    for (sent, left) in [
        ("a\r\nb\r\n", "a\nb\n"),
        ("12 %\r100 %\r\u{1b}[2Kdone\r\n", "done\n"),
        ("12 %\rab\u{1b}[K\r\n", "ab\n"),
        ("a\r\nb\u{1b}[1A\r\u{1b}[2Kc", "c\nb"),
        ("left over\rbad\r\n", "badt over\n"),
        ("\u{1b}[31mred\u{1b}[0m", "red"),
    ] {
        assert_eq!(screen(sent), left, "{sent:?}");
    }
}

#[test]
fn an_import_of_a_file_shows_bytes_rate_and_time_left_and_then_only_its_result() {
    let home = tempfile::tempdir().unwrap();
    let file = &path(home.path().join("lines.jsonl"));
    let input = tasks(3000);
    std::fs::write(file, &input).unwrap();
    let dir = &path(home.path().join("ledger"));
    let args = ["import", file, "--batch", "100", "-D", dir];
    let Some(seen) = on_terminal(&args, None, Output::Terminal) else { return };
    let result = "3000 lines: 3000 appended, 0 skipped since they were there; the ledger ends at seq 3000\n";
    assert_eq!((seen.code, screen(&seen.terminal).as_str()), (Some(0), result), "{:?}", seen.terminal);
    let total = format!(" of {:.2} KiB", input.len() as f64 / 1024.0);
    for part in [&total, "/s", " left", "█"] {
        assert!(seen.terminal.contains(part), "no {part:?} in {:?}", seen.terminal);
    }

    // Standard error alone is a terminal: the result is elsewhere, and nothing of the bar stays.
    let again = on_terminal(&args, None, Output::Pipe).expect("there was a terminal just now");
    assert_eq!((again.code, screen(&again.terminal).as_str()), (Some(0), ""), "{:?}", again.terminal);
    assert!(again.terminal.contains(&total), "{:?}", again.terminal);
    assert!(again.out.starts_with("3000 lines: 0 appended, 3000 skipped"), "{}", again.out);
}

#[test]
fn an_import_of_standard_input_shows_lines_and_their_rate() {
    let home = tempfile::tempdir().unwrap();
    let dir = &path(home.path().join("ledger"));
    let args = ["import", "--batch", "100", "-D", dir];
    let Some(seen) = on_terminal(&args, Some(&tasks(3000)), Output::Terminal) else { return };
    assert_eq!(seen.code, Some(0));
    assert!(screen(&seen.terminal).starts_with("3000 lines: 3000 appended"), "{:?}", seen.terminal);
    assert!(seen.terminal.contains("00 lines  ") && seen.terminal.contains("/s"), "{:?}", seen.terminal);
    assert!(!seen.terminal.contains(" left"), "nobody knows how much is left: {:?}", seen.terminal);
}

#[test]
fn the_bar_is_wiped_before_an_error_is_told() {
    let home = tempfile::tempdir().unwrap();
    let file = &path(home.path().join("lines.jsonl"));
    std::fs::write(file, tasks(500) + "{\n").unwrap();
    let dir = &path(home.path().join("ledger"));
    let Some(seen) = on_terminal(&["import", file, "--batch", "100", "-D", dir], None, Output::Terminal) else {
        return;
    };
    assert_eq!(seen.code, Some(13));
    let left = screen(&seen.terminal);
    assert!(left.starts_with("taskledger: line 501: ") && left.lines().count() == 2, "{left}");
    assert!(seen.terminal.contains("KiB of "), "{:?}", seen.terminal);
}

#[test]
fn verify_shows_a_bar_and_then_only_its_verdict() {
    let demo = Demo::new();
    let Some(seen) = on_terminal(&["verify", "-D", &demo.dir()], None, Output::Terminal) else { return };
    let left = screen(&seen.terminal);
    assert_eq!(seen.code, Some(0), "{left}");
    assert!(left.starts_with("sound: 128 entries in ") && left.lines().count() == 1, "{left}");
    assert!(seen.terminal.contains(" KiB of ") && seen.terminal.contains(" left"), "{:?}", seen.terminal);
}

#[test]
fn programs_and_pipes_get_not_a_byte_of_it() {
    let home = tempfile::tempdir().unwrap();
    let file = &path(home.path().join("lines.jsonl"));
    std::fs::write(file, tasks(3000)).unwrap();
    let (dir, other) = (&path(home.path().join("ledger")), &path(home.path().join("other")));
    // `good` refuses whatever is on standard error.
    let told = run(&["import", file, "--batch", "100", "-D", dir]).good();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(run(&["verify", "-D", dir]).good().lines().count(), 1);
    for args in [&["import", file, "--json", "--batch", "100", "-D", other][..], &["verify", "--json", "-D", other]] {
        let Some(seen) = on_terminal(args, None, Output::Pipe) else { return };
        assert_eq!((seen.code, seen.terminal.as_str()), (Some(0), ""), "{args:?}");
        assert!(seen.out.lines().all(|line| line.starts_with('{')), "{}", seen.out);
    }
}
