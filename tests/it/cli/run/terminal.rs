//! A command reads from the terminal of its run, which has it again afterwards.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use super::{Live, Place, signals_are_ignored};
use crate::cli::{PROGRAM, not_tested};
use crate::kill::wait_until;

/// Says that it has begun once the run is done with lending it the terminal: only then a run passes on what it is sent. It starts
/// nothing afterwards: a shell that is stopped in the middle of a vfork, its child stopped before it is another program, is not told
/// of as stopped; and dash forgets an interrupt that it gets on its way to another program.
const BEGUN: &str = "trap \": > begun\" USR1; kill -USR1 $PPID; until test -e begun; do :; done";

/// A shell whose terminal this is, in a session of its own; and what types there.
fn shell(place: &Place, script: &str) -> Option<(Live, File)> {
    if !Command::new("setsid").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        not_tested("the terminal of a run", "there is no setsid");
        return None;
    }
    let opened = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).and_then(|terminal| {
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?;
        Ok((File::from(terminal), name))
    });
    let (typing, name) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            not_tested("the terminal of a run", &format!("there is no pseudo-terminal: {error}"));
            return None;
        }
    };
    let side = || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "sh", "-c", script]).current_dir(place.home.path());
    command.env("RUN", format!("{PROGRAM} run -D {} --id t", place.dir()));
    let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    Some((Live(child), typing))
}

#[test]
fn a_command_reads_what_is_typed_and_gives_the_terminal_back() {
    let place = Place::new();
    let script = r#"$RUN --retries 1 -- sh -c 'touch asks; read line; echo "$line" >> got; test "$line" = two'
        echo $? > code; touch after; read line; echo "$line" >> got"#;
    let Some((mut shell, mut typing)) = shell(&place, script) else { return };
    for (line, asks) in [("one", "asks"), ("two", "asks"), ("three", "after")] {
        wait_until(line, || place.has(asks));
        typing.write_all(format!("{line}\n").as_bytes()).unwrap();
        wait_until("what was typed", || place.read("got").ends_with(&format!("{line}\n")));
        let _ = std::fs::remove_file(place.file("asks"));
    }
    assert_eq!(shell.end(), Some(0));
    assert_eq!((place.read("got").as_str(), place.read("code").as_str()), ("one\ntwo\nthree\n", "0\n"));
}

#[test]
fn what_is_typed_to_end_a_command_ends_the_task() {
    let place = Place::new();
    if signals_are_ignored() {
        return;
    }
    let script = format!("trap : INT; $RUN --retries 3 -- sh -c '{BEGUN}; while :; do :; done'; echo $? > code");
    let Some((mut shell, mut typing)) = shell(&place, &script) else { return };
    wait_until("the command", || place.has("begun"));
    typing.write_all(b"\x03").unwrap();
    shell.end();
    assert_eq!((place.read("code").as_str(), place.words().as_str()), ("130\n", "created ready running cancelled"));
    assert_eq!(place.history()[3]["reason"], json!("SIGINT was typed"));
}

/// Ctrl-Z stops the run with its command, so that a shell can go on; and both go on again.
#[test]
fn a_command_that_is_stopped_at_the_terminal_stops_its_run() {
    let place = Place::new();
    // With job control the shell gives each job a group and the terminal, as for a person.
    let script = format!(
        "set -m; $RUN -- sh -c '{BEGUN}; until test -e end; do :; done'; echo $? > stopped; touch end; fg; echo $? > code"
    );
    let Some((mut shell, mut typing)) = shell(&place, &script) else { return };
    wait_until("the command", || place.has("begun"));
    typing.write_all(b"\x1a").unwrap();
    shell.end();
    assert_eq!(place.words(), "created ready running completed");
    assert_eq!(place.read("code"), "0\n");
    assert!(!["", "0\n"].contains(&place.read("stopped").as_str()), "{}", place.read("stopped"));
}
