//! What `--help`, `man`, `completions` and `version` say, and that it is so: examples, and every exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use super::{PROGRAM, Ran, run};

/// The help of each command, by name.
fn helps() -> &'static BTreeMap<String, String> {
    static HELPS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    HELPS.get_or_init(|| {
        let help = |args: &[&str]| {
            let output = Command::new(PROGRAM).args(args).arg("--help").stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let all = help(&[]);
        let listed = all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names: Vec<&str> = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
        let names = names.into_iter().filter(|name| !["", "help"].contains(name));
        names.map(|name| (name.to_owned(), help(&[name]))).collect()
    })
}

/// The exit codes that a help names.
fn codes(help: &str) -> BTreeSet<i32> {
    let line = help.split("Exit codes: ").nth(1).unwrap_or_default().split(';').next().unwrap_or_default();
    let mut depth = 0;
    let plain: String = line
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        })
        .collect();
    plain.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// That the help of a command names the exit code with which it ended, and that a failure says what to do next.
pub fn check(command: &Command, ran: &Ran) {
    let named = command.get_args().filter_map(|arg| helps().get_key_value(arg.to_str()?)).next();
    let (Some((name, help)), Some(code)) = (named, ran.code) else { return };
    // It ends as its command does, and so with any code.
    let is_any = name == "run" && ![125, 126, 127].contains(&code);
    if is_any {
        return;
    }
    assert!(codes(help).contains(&code), "{name} ended with {code}, and its help does not say so: {help}\n{ran:?}");
    // These end so because of what they found, and say it of each.
    let is_found = ["verify", "dump", "repair"].contains(&name.as_str()) && [4, 5].contains(&code)
        || name == "append" && code == 13 && ran.err.is_empty() && ran.out.contains("\"hint\":");
    let says_what_is_next =
        ["hint: ", "\"hint\":", "For more information, try '--help'."].iter().any(|next| ran.err.contains(next));
    assert!(code == 0 || is_found || says_what_is_next, "{name} does not say what to do next: {ran:?}");
}

#[test]
fn every_command_says_how_it_ends_and_gives_examples() {
    let all = run(&["--help"]).good();
    let table: BTreeSet<i32> = all
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1)
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(table, BTreeSet::from([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 124, 125, 126, 127, 130]));
    assert!(helps().len() >= 20, "{:?}", helps().keys());
    for (name, help) in helps() {
        assert!(name == "version" || help.contains(&format!("Examples:\n  taskledger {name}")), "{help}");
        let codes = codes(help);
        if name == "run" {
            // Its own; all others are its command's.
            assert_eq!(codes, BTreeSet::from([124, 125, 126, 127, 128]), "{help}");
            continue;
        }
        assert!(codes.is_superset(&BTreeSet::from([0, 1, 2])) && codes.is_subset(&table), "{name}: {codes:?}");
        let longest = help.split("Examples:").nth(1).unwrap_or_default().lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(92), "{name}: {longest:?}");
    }
}

#[test]
fn the_codes_of_a_help_are_found_between_what_explains_them() {
    assert_eq!(codes("Exit codes: 0, 1, 3 (no 7th) and\n12; `x` 5"), BTreeSet::from([0, 1, 3, 12]));
    assert_eq!(codes("nothing"), BTreeSet::new());
}

#[test]
fn every_page_of_the_manual_can_be_written_and_names_its_command() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    let written = run(&["man", "--output", dir]).good();
    assert_eq!(written.lines().count(), helps().len() + 1, "{written}");
    for (name, help) in helps() {
        let page = fs::read_to_string(home.path().join(format!("taskledger-{name}.1"))).unwrap();
        assert_eq!(page, run(&["man", name]).good());
        assert!(page.contains(&format!(".TH TASKLEDGER-{}", name.to_uppercase())), "{page}");
        // Of the examples, too, which it has from the help.
        assert_eq!(page.contains("Exit codes"), help.contains("Exit codes"), "{page}");
    }
    let whole = fs::read_to_string(home.path().join("taskledger.1")).unwrap();
    assert!(whole == run(&["man"]).good() && whole.contains("taskledger\\-bisect(1)"), "{whole}");
    assert_eq!(run(&["man", "nothing"]).code, Some(2));
    let nowhere = run(&["man", "-o", &format!("{dir}/none"), "--json"]);
    assert_eq!((nowhere.code, &nowhere.error()["code"]), (Some(1), &json!("IO")));
}

#[test]
fn shells_take_the_completions_and_know_the_commands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).good();
        assert!(script.contains("bisect") && script.contains("since"), "{shell}: {script}");
    }
    let script = home.path().join("completions");
    fs::write(&script, run(&["completions", "bash"]).good()).unwrap();
    // What bash would offer behind `taskledger bis`.
    let asked = r#"source "$1"; COMP_WORDS=(taskledger bis); COMP_CWORD=1; _taskledger taskledger bis taskledger; echo "${COMPREPLY[@]}""#;
    match Command::new("bash").args(["-c", asked, "-"]).arg(&script).output() {
        Ok(offered) => assert_eq!(String::from_utf8_lossy(&offered.stdout), "bisect\n", "{offered:?}"),
        Err(error) => super::not_tested("completions in bash", &error.to_string()),
    }
    assert_eq!(run(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn the_version_names_the_format() {
    let said = format!("taskledger {}, which writes ledgers of format 1.0\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["version"]).good(), said);
    let object = json!({"type": "taskledger.version/1", "version": env!("CARGO_PKG_VERSION"), "format": "1.0"});
    assert_eq!(run(&["version", "--json"]).good_json(), [object]);
    assert_eq!(run(&["--version"]).good(), format!("taskledger {}\n", env!("CARGO_PKG_VERSION")));
}
