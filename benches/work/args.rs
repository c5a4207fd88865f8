//! What the programs are told: how much work, for whom, and where.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::Outcome;

/// The workloads by name. W5 and W6 ask the same open store, and are one part.
pub const WORKLOADS: [&str; 8] = ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"];

/// How a run is done.
#[derive(Debug, Clone)]
pub struct Settings {
    pub events: u64,
    pub tasks: u32,
    pub rounds: usize,
    /// How long one timed part takes at most.
    pub part: Duration,
    pub seed: u64,
    /// Only peers whose name has one of these in it; all where there are none.
    pub only: Vec<String>,
    pub workloads: Vec<String>,
    pub json: bool,
    /// Where stores are made, and kept; a directory below the current one that goes again where it is not stated.
    pub dir: Option<PathBuf>,
}

pub const USAGE: &str = "\
  --quick         small, one round: to see that everything works; the figures mean little
  --json          the report as JSON
  --only NAME     only peers with that in their name (again for more); the ledger and the floor take part anyway
  --workload W    only this one of W1 to W8 (again for more)
  --events N      events of the store for W4 to W8, and the most of a timed part (1000000)
  --tasks N       tasks that they are of (100000)
  --rounds N      how often each part is done (3)
  --seconds S     how long a timed part takes (2)
  --seed N        what the events are made from (1)
  --dir DIR       where stores are made and results kept: the same command goes on where it was interrupted
";

impl Settings {
    /// What the arguments say, and those that are not known here.
    pub fn stated(arguments: impl Iterator<Item = String>) -> Outcome<(Settings, Vec<String>)> {
        let mut settings = Settings {
            events: 1_000_000,
            tasks: 100_000,
            rounds: 3,
            part: Duration::from_secs(2),
            seed: 1,
            only: Vec::new(),
            workloads: Vec::new(),
            json: false,
            dir: None,
        };
        let mut others = Vec::new();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
            match argument.as_str() {
                "--bench" => {} // cargo says so
                "--quick" => {
                    (settings.events, settings.tasks, settings.rounds) = (20_000, 2000, 1);
                    settings.part = Duration::from_millis(200);
                }
                "--json" => settings.json = true,
                "--only" => settings.only.push(value()?),
                "--workload" => {
                    let named = value()?.to_uppercase();
                    if !WORKLOADS.contains(&named.as_str()) {
                        return Err(format!("{named} is no workload: use one of {}", WORKLOADS.join(", ")).into());
                    }
                    settings.workloads.push(named);
                }
                "--events" => settings.events = value()?.parse()?,
                "--tasks" => settings.tasks = value()?.parse()?,
                "--rounds" => settings.rounds = value()?.parse()?,
                "--seconds" => settings.part = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--seed" => settings.seed = value()?.parse()?,
                "--dir" => settings.dir = Some(value()?.into()),
                _ => others.push(argument),
            }
        }
        if settings.tasks == 0 || settings.rounds == 0 || settings.events < u64::from(settings.tasks) {
            return Err("there is at least one task, one round, and one event a task".into());
        }
        // The script has as many events of each task.
        settings.events -= settings.events % u64::from(settings.tasks);
        Ok((settings, others))
    }

    /// Where it is done. A directory that nobody has stated goes again with what is given beside it.
    pub fn place(&self) -> Outcome<(PathBuf, Option<TempDir>)> {
        if let Some(dir) = &self.dir {
            return Ok((dir.clone(), None));
        }
        let own = tempfile::tempdir_in(".")?;
        Ok((own.path().to_owned(), Some(own)))
    }

    pub fn wants(&self, workload: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|wanted| wanted == workload)
    }
}
