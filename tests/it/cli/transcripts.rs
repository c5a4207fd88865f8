//! The transcripts of the documents: each command in a block marked `console` is run, and prints what stands below it.
//!
//! The blocks of one document follow each other in one empty directory, as a shell would run them; standard error is shown
//! with the rest. In what is expected `[..]` stands for any characters of a line, and a line `...` for any lines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::PROGRAM;

/// A command, its line in the document, and what is to be printed.
struct Told<'a> {
    line: usize,
    command: &'a str,
    expected: Vec<&'a str>,
}

fn told(document: &str) -> Vec<Told<'_>> {
    let mut all: Vec<Told<'_>> = Vec::new();
    let mut is_within = false;
    for (n, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            is_within = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_within) {
            all.push(Told { line: n + 1, command, expected: Vec::new() });
        } else if is_within {
            all.last_mut().unwrap_or_else(|| panic!("line {}: no command is above it", n + 1)).expected.push(line);
        }
    }
    all
}

/// Whether a line is what a pattern says.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    true
}

fn are_like(lines: &[&str], patterns: &[&str]) -> bool {
    match (lines, patterns) {
        ([], []) => true,
        (_, ["...", others @ ..]) => (0..=lines.len()).any(|skipped| are_like(&lines[skipped..], others)),
        ([line, lines @ ..], [pattern, patterns @ ..]) => is_like(line, pattern) && are_like(lines, patterns),
        _ => false,
    }
}

/// What is not as it is told.
fn differences(document: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut differences = String::new();
    for Told { line, command, expected } in told(document) {
        let ran = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(home.path())
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", home.path().to_str().unwrap()), ("TZ", "UTC")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        let mut lines: Vec<&str> = out.lines().map(str::trim_end).collect();
        let code = ran.status.code().map_or("a signal".to_owned(), |code| format!("exit {code}"));
        if code != "exit 0" {
            lines.push(&code);
        }
        if !are_like(&lines, &expected) {
            writeln!(
                differences,
                "line {line}: {command}\nprints\n{}\nand not\n{}",
                lines.join("\n"),
                expected.join("\n")
            )
            .unwrap();
        }
    }
    differences
}

#[test]
fn the_transcripts_of_the_documents_are_what_the_program_prints() {
    for name in ["README.md", "docs/cli.md", "docs/operations.md"] {
        let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        assert!(told(&document).len() > 2, "{name} has transcripts");
        let differences = differences(&document);
        assert!(differences.is_empty(), "{name}\n{differences}");
    }
}

#[test]
fn a_transcript_that_is_not_so_is_found_out() {
    let block = |text: &str| format!("```console\n{text}\n```\n");
    for right in
        ["$ echo a\na", "$ echo a\n...", "$ seq 9\n1\n...\n9", "$ echo xay\nx[..]y", "$ exit 3\nexit 3", "$ true"]
    {
        assert_eq!(differences(&block(right)), "", "{right}");
    }
    for wrong in [
        "$ echo a\nb",
        "$ echo a",
        "$ true\na",
        "$ seq 9\n1\n...\n8",
        "$ echo xay\nx[..]z",
        "$ exit 3",
        "$ echo ab\na[..]b[..]b",
    ] {
        assert!(!differences(&block(wrong)).is_empty(), "{wrong}");
    }
    assert_eq!(told("```sh\n$ false\n```\n").len(), 0, "another block");
}
