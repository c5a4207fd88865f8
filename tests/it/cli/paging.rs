//! Paging and colours: on a terminal only, and as asked for.

use super::terminal::{Output, Seen, on_terminal_with};
use super::{Demo, command, finish, run};

fn paged(args: &[&str], pager: &str) -> Option<Seen> {
    on_terminal_with(80, args, None, Output::Terminal, &[("TASKLEDGER_PAGER", pager)])
}

/// A pager that marks what it was given.
const MARKING: &str = "sed 's/^/PAGED /'";

#[test]
fn log_and_show_are_paged_on_a_terminal_only() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let lines = |seen: &Seen| seen.terminal.lines().filter(|line| line.starts_with("PAGED ")).count();
    for (args, is) in [
        (vec!["log", "--oneline"], true),
        (vec!["show", "train/churn"], true),
        (vec!["log", "--no-pager"], false),
        (vec!["show", "train/churn", "--no-pager"], false),
        (vec!["log", "--json"], false),
        (vec!["ls"], false),
        (vec!["history", "train/churn"], false),
    ] {
        let args = [args, vec!["-D", dir]].concat();
        let Some(seen) = paged(&args, MARKING) else { return };
        assert_eq!(seen.code, Some(0), "{}", seen.terminal);
        let expected = if is { seen.terminal.lines().count() } else { 0 };
        assert_eq!(lines(&seen), expected, "{args:?}\n{}", seen.terminal);
        assert!(seen.terminal.lines().count() > 5, "{}", seen.terminal);
    }
    let piped = finish(command(&["log", "-D", dir]).env("TASKLEDGER_PAGER", MARKING)).good();
    assert_eq!(piped, run(&["log", "-D", dir]).good());
}

#[test]
fn no_pager_and_one_that_ends_early_are_no_failure_and_one_that_cannot_start_is() {
    let demo = Demo::new();
    let args = ["log", "--oneline", "-D", &demo.dir()];
    for none in ["", "cat"] {
        let Some(seen) = paged(&args, none) else { return };
        assert_eq!((seen.code, seen.terminal.lines().count()), (Some(0), 128), "{none:?}");
    }
    let Some(seen) = paged(&args, "head -n 2") else { return };
    assert_eq!((seen.code, seen.terminal.lines().count()), (Some(0), 2), "{}", seen.terminal);
    let Some(seen) = paged(&args, "no-such-program-1a2b3c") else { return };
    assert_eq!(seen.code, Some(1));
    assert!(
        seen.terminal.contains("no-such-program-1a2b3c could not be started; TASKLEDGER_PAGER"),
        "{}",
        seen.terminal
    );
}

/// Who pages presses ^C to stop a search. That must not take the rest of the text away, nor the terminal back.
#[test]
fn an_interrupt_is_the_pagers() {
    let demo = Demo::new();
    let args = ["log", "--oneline", "-D", &demo.dir()];
    let Some(seen) = paged(&args, "kill -INT $PPID; kill -QUIT $PPID; cat; echo the end") else { return };
    assert_eq!(seen.code, Some(0), "{}", seen.terminal);
    assert_eq!((seen.terminal.lines().count(), seen.terminal.lines().last()), (129, Some("the end")));
}

#[test]
fn colours_are_where_somebody_sees_them_or_asked_for_them() {
    let demo = Demo::new();
    let dir = &demo.dir();
    let coloured = |text: &str| text.contains("\u{1b}[3");
    for pager in ["cat", "tee"] {
        for (colour, variable, is) in [
            ("auto", "", true),
            ("always", "", true),
            ("never", "", false),
            ("auto", "1", false),
            ("always", "1", true),
        ] {
            let args = ["log", "-D", dir, "--color", colour];
            let set = [("TASKLEDGER_PAGER", pager), ("NO_COLOR", variable)];
            let set = if variable.is_empty() { &set[..1] } else { &set[..] };
            let Some(seen) = on_terminal_with(80, &args, None, Output::Terminal, set) else { return };
            assert_eq!(seen.code, Some(0));
            assert_eq!(coloured(&seen.terminal), is, "{colour} {variable} {pager}\n{}", seen.terminal);
        }
    }
    for (colour, is) in [("auto", false), ("always", true), ("never", false)] {
        assert_eq!(coloured(&run(&["ls", "-D", dir, "--color", colour]).good()), is, "{colour}");
    }
    // Never in what programs read.
    assert!(!run(&["ls", "-D", dir, "--color", "always", "--json"]).good().contains('\u{1b}'));
    assert_eq!(run(&["ls", "-D", dir, "--color", "green"]).code, Some(2));
}
