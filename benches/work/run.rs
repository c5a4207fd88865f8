//! A run: every peer does every part, in turns, as often as there are rounds; what comes of it is reported.
//!
//! Within a round the peers follow each other directly, and each round begins with another one. Results are kept as they
//! come, so that the same command goes on where it was interrupted. A part that fails, by a wrong answer most of all, has no
//! figures: it is reported first, and the program ends with an error.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use super::args::Settings;
use super::child::{self, Figures};
use super::report::Report;
use super::{Outcome, Peer, floor, ledger, machine, syncs};

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    /// By peer, part and round.
    pub measured: BTreeMap<(String, String, usize), Figures>,
    pub failures: Vec<String>,
    kept: Option<File>,
}

impl Results {
    /// Those that the file has; more will be added to it.
    fn kept(path: &Path, settings: &Settings) -> Outcome<Results> {
        let mut results = Results::default();
        let what = json!({
            "events": settings.events, "tasks": settings.tasks, "seed": settings.seed, "seconds": settings.part.as_secs_f64(),
        });
        let mut lines = match File::open(path) {
            Ok(file) => BufReader::new(file).lines(),
            Err(_) => {
                let mut file = File::create(path)?;
                writeln!(file, "{what}")?;
                BufReader::new(File::open(path)?).lines()
            }
        };
        let first: Value = serde_json::from_str(&lines.next().ok_or("the results say nothing")??)?;
        if first != what {
            return Err(format!("{} has the results of another run: {first}", path.display()).into());
        }
        for line in lines {
            let line: Value = serde_json::from_str(&line?)?;
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let round = line["round"].as_u64().unwrap_or(0) as usize;
            let figures = serde_json::from_value(line["figures"].clone())?;
            results.measured.insert((text("peer"), text("part"), round), figures);
        }
        results.kept = Some(OpenOptions::new().append(true).open(path)?);
        Ok(results)
    }

    fn has(&self, peer: &str, part: &str, round: usize) -> bool {
        self.measured.contains_key(&(peer.to_owned(), part.to_owned(), round))
    }

    fn add(&mut self, peer: &str, part: &str, round: usize, figures: Figures) -> Outcome<()> {
        if let Some(kept) = &mut self.kept {
            writeln!(kept, "{}", json!({"peer": peer, "part": part, "round": round, "figures": figures}))?;
        }
        self.measured.insert((peer.to_owned(), part.to_owned(), round), figures);
        Ok(())
    }

    /// Does it unless it was done. A failure is noted, and is not the end.
    fn measure(
        &mut self,
        (peer, part, round): (&str, &str, usize),
        work: impl FnOnce() -> Outcome<Figures>,
    ) -> Outcome<()> {
        if self.has(peer, part, round) {
            return Ok(());
        }
        // What the one before has left to be written is no part of it.
        rustix::fs::sync();
        let started = Instant::now();
        match work() {
            Ok(figures) => self.add(peer, part, round, figures)?,
            Err(error) => {
                say(&format!("{part} of {peer} failed: {error}"))?;
                self.failures.push(format!("{peer}, {part}, round {}: {error}", round + 1));
            }
        }
        say(&format!("round {} {part:<13} {peer:<24} {:6.1} s", round + 1, started.elapsed().as_secs_f64()))
    }
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}

/// How a program ends.
pub fn ended(with: Outcome<()>) -> ExitCode {
    match with {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The report of a run.
pub struct Reported {
    pub markdown: String,
    pub json: Value,
    pub has_failures: bool,
}

/// Runs what the settings ask for.
pub fn report(peers: &[Box<dyn Peer>], settings: &Settings) -> Outcome<Reported> {
    let always = [floor::NAME, ledger::NAME];
    let asked = |peer: &str| settings.only.is_empty() || settings.only.iter().any(|only| peer.contains(only.as_str()));
    let peers: Vec<&dyn Peer> =
        peers.iter().map(AsRef::as_ref).filter(|peer| always.contains(&peer.name()) || asked(peer.name())).collect();
    let (dir, _own) = settings.place()?;
    let dir = dir.as_path();
    fs::create_dir_all(dir)?;
    let mut results = Results::kept(&dir.join("results.jsonl"), settings)?;
    let before = machine::load();
    let memory = floor::memory();
    appends(&peers, settings, dir, &mut results)?;
    stores(&peers, settings, dir, &mut results)?;
    let about = json!({
        "machine": machine::described(dir),
        "load_before": before,
        "load_after": machine::load(),
        "cold": machine::may_drop_caches(),
        "crc32_gb_per_second": memory.0 / 1e9,
        "copy_gb_per_second": memory.1 / 1e9,
    });
    let report = Report::new(&peers, settings, &results, about);
    let (markdown, json) = (report.markdown(), report.json());
    Ok(Reported { markdown, json, has_failures: !results.failures.is_empty() })
}

/// The peers that take part in a workload, in the order of a round.
fn turns<'a>(peers: &[&'a dyn Peer], workload: &str, round: usize) -> Vec<&'a dyn Peer> {
    let mut turns: Vec<&dyn Peer> = peers.iter().copied().filter(|peer| peer.takes_part(workload)).collect();
    let first = round % turns.len().max(1);
    turns.rotate_left(first);
    turns
}

/// W1 to W3: into empty directories.
fn appends(peers: &[&dyn Peer], settings: &Settings, dir: &Path, results: &mut Results) -> Outcome<()> {
    let scratch = dir.join("scratch");
    for (workload, part) in [("W1", "w1"), ("W2", "w2"), ("W3", "w3")] {
        if !settings.wants(workload) {
            continue;
        }
        for round in 0..settings.rounds {
            for peer in turns(peers, workload, round) {
                results.measure((peer.name(), part, round), || {
                    make_empty(&scratch)?;
                    child::measure(part, peer.name(), &scratch, settings)
                })?;
            }
        }
        for peer in turns(peers, workload, 0).into_iter().filter(|_| workload == "W1") {
            results.measure((peer.name(), "syncs", 0), || {
                make_empty(&scratch)?;
                Ok(syncs::per_event(peer.name(), &scratch, settings)?.unwrap_or_default())
            })?;
        }
    }
    remove(&scratch)
}

/// W4 to W8: on copies of stores that are built once, closed or killed.
fn stores(peers: &[&dyn Peer], settings: &Settings, dir: &Path, results: &mut Results) -> Outcome<()> {
    let wanted: Vec<&str> = ["W4", "W5", "W6", "W7", "W8"].into_iter().filter(|name| settings.wants(name)).collect();
    let scratch = dir.join("scratch");
    let built = |peer: &dyn Peer, ending: &str| dir.join(format!("{}-{ending}", peer.name().replace([' ', ','], "-")));
    let takes_part = |peer: &dyn Peer| wanted.iter().any(|workload| peer.takes_part(workload));
    for peer in peers.iter().copied().filter(|peer| takes_part(*peer)) {
        for ending in ["closed", "killed"] {
            // Where each task is a file by itself, nothing is there to recover.
            if ending == "killed" && !(peer.keeps_events() && peer.takes_part("W4") && settings.wants("W4")) {
                continue;
            }
            let (part, target) = (format!("build-{ending}"), built(peer, ending));
            results.measure((peer.name(), &part, 0), || {
                make_empty(&target)?;
                let mut figures = child::measure(&part, peer.name(), &target, settings)?;
                if ending == "killed" {
                    return Ok(Figures::new());
                }
                let bytes = machine::allocated(&target)? as f64;
                if peer.keeps_events() {
                    figures.insert("w8.bytes".into(), bytes / settings.events as f64);
                } else {
                    figures.insert("w8.task_bytes".into(), bytes / f64::from(settings.tasks));
                }
                if let Some(used) = peer.log_bytes(&target)? {
                    figures.insert("w8.log".into(), used as f64 / settings.events as f64);
                }
                Ok(figures)
            })?;
        }
    }
    for round in 0..settings.rounds {
        for peer in turns(peers, "W4", round) {
            for ending in ["closed", "killed"] {
                let mut parts = vec![("W4", format!("w4-{ending}"))];
                if ending == "closed" {
                    parts.extend([("W5", "ask".to_owned()), ("W7", "check".to_owned())]);
                }
                let is_asked = |workload: &str| match workload {
                    "W5" => ["W5", "W6", "W8"].iter().any(|workload| wanted.contains(workload)),
                    workload => wanted.contains(&workload),
                };
                parts.retain(|(workload, part)| {
                    is_asked(workload) && peer.takes_part(workload) && !results.has(peer.name(), part, round)
                });
                let from = built(peer, ending);
                if parts.is_empty() || !results.has(peer.name(), &format!("build-{ending}"), 0) {
                    continue;
                }
                remove(&scratch)?;
                machine::copy(&from, &scratch)?;
                for (_, part) in parts {
                    results.measure((peer.name(), &part, round), || {
                        child::measure(part.split('-').next().unwrap_or(&part), peer.name(), &scratch, settings)
                    })?;
                }
            }
        }
    }
    remove(&scratch)
}

fn make_empty(dir: &Path) -> Outcome<()> {
    remove(dir)?;
    Ok(fs::create_dir_all(dir)?)
}

fn remove(dir: &Path) -> Outcome<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}
