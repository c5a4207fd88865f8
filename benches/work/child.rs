//! A measurement in a process of its own: the program starts itself, and the child prints its figures as one line of JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::args::Settings;
use super::events::Script;
use super::{Outcome, Peer, drive};

/// What was measured, by name.
pub type Figures = BTreeMap<String, f64>;

/// The first argument of a child; then come the part, the peer's name, and the directory.
const CHILD: &str = "--child";
const KILLED: i32 = 9;

/// The command that measures a part.
pub fn command(part: &str, peer: &str, dir: &Path, settings: &Settings) -> Outcome<Vec<String>> {
    started(&[CHILD, part, peer], dir, settings)
}

/// The command that starts this program with these words, a directory, and the settings.
pub fn started(words: &[&str], dir: &Path, settings: &Settings) -> Outcome<Vec<String>> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("the program's own path is not text")?;
    let dir = dir.to_str().ok_or("the path of the directory is not text")?;
    let words = std::iter::once(program).chain(words.iter().copied()).chain([dir]);
    let mut command: Vec<String> = words.map(str::to_owned).collect();
    for (name, value) in [
        ("--events", settings.events.to_string()),
        ("--tasks", settings.tasks.to_string()),
        ("--seconds", settings.part.as_secs_f64().to_string()),
        ("--seed", settings.seed.to_string()),
    ] {
        command.extend([name.to_owned(), value]);
    }
    Ok(command)
}

/// Runs a command and reads its figures; one that ends by killing itself is as good as one that returns.
pub fn figures(command: &[String]) -> Outcome<Figures> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() && output.status.signal() != Some(KILLED) {
        return Err(format!("it ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().ok_or("it said nothing")?;
    Ok(serde_json::from_str(line)?)
}

/// What a child says.
pub fn tell(figures: &Figures) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(figures)?)?;
    Ok(out.flush()?)
}

/// Ends this process as a crash does: no destructor runs, nothing is flushed.
pub fn kill_self() -> Outcome<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?)
}

pub fn measure(part: &str, peer: &str, dir: &Path, settings: &Settings) -> Outcome<Figures> {
    figures(&command(part, peer, dir, settings)?)
}

/// The child's side, where this process is one. Whether it was.
pub fn main(peers: &[Box<dyn Peer>]) -> Outcome<bool> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CHILD) {
        return Ok(false);
    }
    let mut next = || arguments.next().ok_or("a child is told part, peer and directory");
    let (part, peer, dir) = (next()?, next()?, PathBuf::from(next()?));
    let (settings, _) = Settings::stated(arguments)?;
    let peer = peers.iter().find(|known| known.name() == peer).ok_or_else(|| format!("there is no peer {peer}"))?;
    let script = Script::new(settings.seed, settings.tasks, settings.events);
    let (part, ending) = part.split_once('-').unwrap_or((&part, ""));
    let work = drive::Work { peer: peer.as_ref(), script: &script, part: settings.part, dir: &dir };
    let mut figures = Figures::new();
    let store = work.run(part, &mut figures)?;
    tell(&figures)?;
    match store {
        Some(_) if ending == "killed" => kill_self()?,
        Some(store) => store.close()?,
        None => {}
    }
    Ok(true)
}
