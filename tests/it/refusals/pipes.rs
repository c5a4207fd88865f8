//! Output that nobody reads: every command ends well and quietly.

use std::process::Stdio;

use taskledger::{Event, Ledger};

use super::files::Files;
use super::interrupts::lines;
use super::program::{Program, Ran, finish};
use super::site::{Site, arg};

/// Runs it with a standard output that was closed before it starts.
fn unread(args: &[&str], input: &str) -> Ran {
    let home = super::site::home();
    let file = home.path().join("input");
    std::fs::write(&file, input).unwrap();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Program::default().command(args);
    command.stdin(std::fs::File::open(file).unwrap()).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    drop(command);
    finish(child)
}

#[test]
fn every_command_whose_output_is_not_read_ends_well_and_says_nothing() {
    let input = lines(40);
    // Enough for several writes, and for a single one at the very end.
    for padding in [0, 3000] {
        let site = Site::new(|ledger| {
            ledger.append("t", Event::created().because("x".repeat(padding))).unwrap();
            for n in 0..60 {
                ledger.append(format!("t{n}"), Event::created().because("x".repeat(padding))).unwrap();
            }
        });
        let before = Files::log(&site.dir);
        let demo = site.dir.with_file_name("demo");
        for form in [&[][..], &["--json"]] {
            let printing: [&[&str]; 8] = [
                &["ls"],
                &["show", "t"],
                &["history", "t"],
                &["log"],
                &["log", "--from", "2"],
                &["verify"],
                &["verify", "--level", "structure"],
                &["demo", arg(&demo)],
            ];
            for args in printing {
                let ran = unread(&[args, form, &["-D", site.arg()]].concat(), "");
                assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?} {form:?}");
            }
        }
        before.assert_same(&Files::log(&site.dir), "commands that nobody listened to");
        assert_eq!(Ledger::open_read_only(&demo).unwrap().view().seq().0, 128, "the demo is there all the same");
        for args in [["--help"].as_slice(), &["--version"], &["help", "import"]] {
            let ran = unread(args, "");
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        }
        for form in [&[][..], &["--json"]] {
            let fresh = Site::new(|_| ());
            let ran = unread(&[&["import", "--batch", "3", "-D", fresh.arg()], form].concat(), &input);
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{form:?}");
            assert_eq!(Ledger::open_read_only(&fresh.dir).unwrap().view().seq().0, 40, "every line is in");
        }
    }
}

#[test]
fn a_refusal_and_a_verdict_count_even_where_nobody_reads_the_rest() {
    let site = Site::new(|ledger| drop(ledger.append("t", Event::created()).unwrap()));
    let missing = unread(&["show", "nobody", "-D", site.arg()], "");
    assert!(missing.code == 3 && missing.err.contains("there is no task nobody"), "{missing:?}");
    let ledger = site.dir.join("LEDGER");
    let mut bytes = std::fs::read(&ledger).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&ledger, bytes).unwrap();
    for form in [&[][..], &["--json"]] {
        let damaged = unread(&[&["verify", "-D", site.arg()], form].concat(), "");
        assert_eq!((damaged.code, damaged.err.as_str()), (5, ""), "{form:?}");
    }
}
