//! The command line: one file for each subcommand, and around them
//!
//! - `args`, `asking`, `doing`, `making`: what may be typed; `fact`: the words for events and expectations; `expr`, `token`: conditions;
//!   `moment`: moments in words; `time`:
//!   times and spans as they are printed; `input`, `output`: files that the user names, to be read and to be written;
//! - `look`: opening a ledger for reading, at a moment; `writer`: opening one that is there for writing; `entry`: one entry as one line of text;
//! - `line`, `lines`: what `import` and `append --jsonl` read; `known`: how that compares with what is there; `jsonl`: facts
//!   from a program, each answered in turn;
//! - `spread`: how times are spread, for `stats`;
//! - `csv`, `cloudevents`, `trace`: entries in formats of other programs, for `export`; `redact`: entries without what is not to
//!   leave the ledger;
//! - `hold`: a ledger that is open for a moment only, `claim`: who may have a task, `orphan`: whether a run still lives; `child`: one
//!   attempt of a command, `signals`, `foreground`: what it is sent and its terminal, `relay`, `tail`: what it prints; for `run`;
//! - `bars`, `chart`: attempts over time, and their picture, for `timeline` and `demo`; `story`: what `demo` writes;
//! - `out`: the only writer to standard output and standard error, `pager`: who shows what it writes; `text`: making foreign text safe to print;
//!   `glob`: patterns for ids; `fail`: errors, their exit codes and hints.

mod text;

mod glob;

mod pager;

mod out;

mod time;

mod moment;

mod fail;

mod fact;

mod token;

mod expr;

mod redact;

mod bars;

mod chart;

mod tail;

mod making;

mod asking;

mod doing;

mod args;

mod input;

mod output;

mod look;

mod writer;

mod entry;

mod line;

mod lines;

mod known;

mod story;

mod spread;

mod signals;

mod relay;

mod foreground;

mod child;

mod orphan;

mod claim;

mod hold;

mod csv;

mod cloudevents;

mod trace;

mod init;

mod jsonl;

mod append;

mod import;

mod run;

mod ls;

mod show;

mod info;

mod history;

mod notes;

mod log;

mod diff;

mod bisect;

mod dump;

mod verify;

mod repair;

mod backup;

mod prune;

mod snapshot;

mod stats;

mod timeline;

mod export;

mod demo;

mod schema;

mod manual;

mod version;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::cli::args::{Args, Command};
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Out, complain};

/// The exit code of all that `run` itself fails at, so that it can be told from what its command ends with.
const OWN_FAILURE: u8 = 125;

/// Parses, runs, and turns the end into an exit code.
pub(crate) fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    let form = args.form();
    args.setting.color.choose();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut out = Out::new(form);
        let ended = run(&args, &mut out);
        // Before the error, so that the two appear in the order in which they came to be.
        let flushed = out.finish().map_err(Failure::from);
        match (ended, flushed) {
            (Ok(code), Ok(()) | Err(Failure::ClosedPipe)) => Ok(code),
            (Ok(_), Err(failure)) | (Err(failure), _) => Err(failure),
        }
    }));
    match ended {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(failure)) => failure.tell(form),
        Err(_) => {
            let failure =
                Failure::new("INTERNAL", "the program broke one of its own rules; what was acknowledged is safe");
            let is_run = matches!(args.command, Command::Run(_));
            if is_run { failure.ends_with(OWN_FAILURE) } else { failure }.tell(form)
        }
    }
}

fn run(all: &Args, out: &mut Out) -> Result<u8, Failure> {
    let setting = &all.setting;
    match &all.command {
        Command::Init(args) => init::run(args, setting, out),
        Command::Append(args) => append::run(args, setting, out),
        Command::Import(args) => import::run(args, setting, out),
        Command::Run(args) => run::run(args, setting),
        Command::Info => info::run(setting, out),
        Command::Ls(args) => ls::run(args, setting, out),
        Command::Show(args) => show::run(args, setting, out),
        Command::History(args) => history::run(args, setting, out),
        Command::Notes(args) => notes::list(args, setting, out),
        Command::Note(args) => notes::show(args, setting, out),
        Command::Log(args) => log::run(args, setting, out),
        Command::Diff(args) => diff::run(args, setting, out),
        Command::Bisect(args) => bisect::run(args, setting, out),
        Command::Dump(args) => dump::run(args, setting, out),
        Command::Stats(args) => stats::run(args, setting, out),
        Command::Timeline(args) => timeline::run(args, setting, out),
        Command::Export(args) => export::run(args, setting, out),
        Command::Verify(args) => verify::run(args, setting, out),
        Command::Repair(args) => repair::run(args, setting, out),
        Command::Backup(args) => backup::run(args, setting, out),
        Command::Prune(args) => prune::run(args, setting, out),
        Command::Snapshot => snapshot::run(setting, out),
        Command::Demo(args) => demo::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Completions(args) => manual::completions(args, out),
        Command::Man(args) => manual::man(args, out),
        Command::Version => version::run(out),
    }
}

/// Help and version go to standard output and are a success; everything else that clap says is a usage error.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let mut out = Out::new(Form::People);
        let told = write!(out, "{}", error.render().ansi()).and_then(|()| out.flush());
        return match told.map_err(Failure::from) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(Form::People),
        };
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    // As far as the arguments are understood.
    let typed = Args::command().ignore_errors(true).try_get_matches();
    let is_run = typed.is_ok_and(|typed| typed.subcommand_name() == Some("run"));
    let failed = |text: &str| {
        let failure = Failure::new("USAGE", text);
        if is_run { failure.ends_with(OWN_FAILURE) } else { failure }
    };
    // The arguments were not understood, so this asks only whether the word is there, before the arguments of another command.
    if std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json") {
        let first = text.split("\n\n").next().unwrap_or(text);
        let words: Vec<&str> = first.split_whitespace().collect();
        failed(&words.join(" ")).hint("`taskledger --help` lists what there is").tell(Form::Json)
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        complain(text);
        ExitCode::from(2)
    } else {
        failed(text).tell(Form::People)
    }
}
