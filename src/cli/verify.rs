//! `verify`: checks the files of a ledger and says what is wrong with them, and what to do.

use std::io::Write;
use std::time::Instant;

use taskledger::{Finding, Level, Options, Seq, Severity, Subject, Verdict, VerifyReport};

use crate::cli::args::{Setting, VerifyArgs};
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Out, Progress};
use crate::cli::text::{bytes, count, safe};

pub(crate) fn run(args: &VerifyArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let started = Instant::now();
    let mut progress = Progress::of_bytes(out.form);
    let report = Options::new()
        .verify(&setting.dir, args.level.into(), &mut |so_far| progress.show(so_far.done, Some(so_far.all)))?;
    drop(progress);
    let told = match out.form {
        Form::Json => json(&report, out),
        Form::People => print(&report, started.elapsed().as_millis(), out),
    };
    // The verdict counts also where nobody reads the rest of it.
    match told.and_then(|()| Ok(out.flush()?)) {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(match report.verdict() {
            Verdict::Sound => 0,
            Verdict::TornTail => 4,
            _ => 5,
        }),
        Err(failure) => Err(failure),
    }
}

fn json(report: &VerifyReport, out: &mut Out) -> Result<(), Failure> {
    for finding in &report.findings {
        out.json(finding)?;
    }
    Ok(out.json(report)?)
}

fn print(report: &VerifyReport, millis: u128, out: &mut Out) -> Result<(), Failure> {
    print_findings(&report.findings, out)?;
    let verdict = match report.verdict() {
        Verdict::Sound => "\x1b[32msound\x1b[0m",
        Verdict::TornTail => "\x1b[33mtorn tail, nothing acknowledged is lost\x1b[0m",
        _ => "\x1b[31mdamaged\x1b[0m",
    };
    let level = match report.level {
        Level::Structure => "structure",
        Level::Content => "content",
        _ => "derived",
    };
    let found = match report.findings.len() as u64 {
        0 => String::new(),
        n => format!("{}, ", count(n, "finding", "findings")),
    };
    let kept = match report.oldest {
        Seq::FIRST => String::new(),
        oldest => format!(" from seq {oldest} on"),
    };
    let writer = report.writer.map_or(String::new(), |pid| format!("; process {pid} has it open for writing"));
    writeln!(
        out,
        "{verdict}: {found}{}{kept} in {} and {}, {}, {level} checked up to seq {}, {millis} ms{writer}",
        count(report.entries, "entry", "entries"),
        count(report.frames, "frame", "frames"),
        count(report.segments, "segment", "segments"),
        bytes(report.bytes),
        report.checked_to,
    )?;
    Ok(())
}

/// Each with its place, and what to do.
pub(crate) fn print_findings(findings: &[Finding], out: &mut Out) -> Result<(), Failure> {
    for finding in findings {
        writeln!(out, "{}", place(finding))?;
        writeln!(out, "  {}", safe(&finding.what))?;
        writeln!(out, "  next: {}", finding.next)?;
    }
    Ok(())
}

/// How bad, what, and where.
fn place(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Remark => "remark",
        Severity::Warning => "warning",
        Severity::Tail => "tail",
        _ => "damage",
    };
    let mut place = format!("{severity}  {}  {}", finding.code, safe(&finding.file.to_string_lossy()));
    if let Some(bytes) = &finding.bytes {
        place.push_str(&format!("  bytes {} to {}", bytes.start, bytes.end));
    }
    match finding.seqs {
        Some((first, last)) if first == last => place.push_str(&format!("  seq {first}")),
        Some((first, last)) => place.push_str(&format!("  seq {first} to {last}")),
        None => {}
    }
    match &finding.subject {
        None => {}
        Some(Subject::Task(id)) => place.push_str(&format!("  task {}", safe(id))),
        Some(Subject::Note(key)) => place.push_str(&format!("  note {}", safe(key))),
    }
    place
}
