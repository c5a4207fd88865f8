//! `man` and `completions`: what `--help` says, as manual pages, and for shells that complete what is typed.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::args::Args;
use crate::cli::asking::{CompletionsArgs, ManArgs};
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Out};
use crate::cli::text::safe;

const PROGRAM: &str = "taskledger";

pub(crate) fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), PROGRAM, &mut script);
    out.write_all(&script)?;
    Ok(0)
}

pub(crate) fn man(args: &ManArgs, out: &mut Out) -> Result<u8, Failure> {
    let mut all = Args::command();
    // Gives each command its full name and the arguments that all have.
    all.build();
    if let Some(dir) = &args.output {
        return pages(&all, dir, out);
    }
    let page = match &args.command {
        None => page(all),
        Some(name) => match all.find_subcommand(name) {
            Some(command) => page(command.clone()),
            None => {
                return Err(Failure::new("USAGE", format!("there is no command {name}"))
                    .hint("`taskledger --help` lists the commands"));
            }
        },
    };
    out.write_all(&page)?;
    Ok(0)
}

/// Writes the page of the whole and one for each command into a directory that is there.
fn pages(all: &Command, dir: &Path, out: &mut Out) -> Result<u8, Failure> {
    for command in std::iter::once(all).chain(all.get_subcommands().filter(|command| command.get_name() != "help")) {
        let path = dir.join(format!("{}.1", command.get_display_name().unwrap_or(PROGRAM)));
        let name = path.to_string_lossy().into_owned();
        fs::write(&path, page(command.clone())).map_err(|error| {
            Failure::io("write", &name, &error).hint("name a directory that is there, and that may be written to")
        })?;
        if out.form == Form::People {
            writeln!(out, "{}", safe(&name))?;
        }
    }
    Ok(0)
}

fn page(command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(PROGRAM).to_owned();
    let man = Man::new(command).title(name.to_uppercase());
    man.render(&mut page).expect("a vector takes what is written into it");
    page
}
