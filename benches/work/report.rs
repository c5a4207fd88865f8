//! The report: where a peer is ahead of the ledger first, then a table for each workload, then who took part and on what.
//!
//! A figure is the median of the rounds with the least and the most; quotients are those of medians, to the floor and to
//! the ledger. A peer counts as ahead by its median; where the ranges overlap, the report says so.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::args::Settings;
use super::catalogue::{FIGURES, Figure, TITLES};
use super::run::Results;
use super::{Peer, floor, ledger};

/// A figure over all rounds.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

pub struct Report<'a> {
    peers: &'a [&'a dyn Peer],
    settings: &'a Settings,
    results: &'a Results,
    about: Value,
    /// By peer and figure.
    spreads: BTreeMap<(String, String), Spread>,
}

/// A figure by which a peer is ahead of the ledger.
struct Ahead<'a> {
    peer: &'a str,
    figure: &'a Figure,
    theirs: Spread,
    ours: Spread,
    times: f64,
}

impl<'a> Report<'a> {
    pub fn new(peers: &'a [&'a dyn Peer], settings: &'a Settings, results: &'a Results, about: Value) -> Report<'a> {
        let mut values: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        for ((peer, part, _), figures) in results.measured.iter().filter(|((_, part, _), _)| part != "syncs") {
            for (name, &value) in figures {
                let name = match part.as_str() {
                    "w4-closed" => name.replace("w4.", "w4.clean_"),
                    "w4-killed" => name.replace("w4.", "w4.killed_"),
                    _ => name.clone(),
                };
                values.entry((peer.clone(), name)).or_default().push(value);
            }
        }
        let spreads = values.into_iter().map(|(of, mut values)| {
            values.sort_by(f64::total_cmp);
            let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
            (of, Spread { median: at(values.len() / 2), least: at(0), most: at(values.len() - 1) })
        });
        Report { peers, settings, results, about, spreads: spreads.collect() }
    }

    fn spread(&self, peer: &str, figure: &Figure) -> Option<Spread> {
        self.spreads.get(&(peer.to_owned(), figure.name.clone())).copied()
    }

    /// The floor is no peer, nor is the ledger itself.
    fn is_rival(peer: &str) -> bool {
        peer != floor::NAME && !peer.starts_with(ledger::NAME)
    }

    fn ahead(&self) -> Vec<Ahead<'_>> {
        let mut ahead = Vec::new();
        for figure in FIGURES.iter().filter(|figure| figure.is_compared) {
            let Some(ours) = self.spread(ledger::NAME, figure) else { continue };
            for peer in self.peers.iter().map(|peer| peer.name()).filter(|peer| Self::is_rival(peer)) {
                let Some(theirs) = self.spread(peer, figure) else { continue };
                let times = if figure.is_rate { theirs.median / ours.median } else { ours.median / theirs.median };
                if times > 1.0 {
                    ahead.push(Ahead { peer, figure, theirs, ours, times });
                }
            }
        }
        ahead.sort_by(|a, b| b.times.total_cmp(&a.times));
        ahead
    }

    fn syncs(&self, peer: &str) -> String {
        match self.results.measured.get(&(peer.to_owned(), "syncs".to_owned(), 0)) {
            None => String::new(),
            Some(calls) if calls.is_empty() => "none counted".to_owned(),
            Some(calls) => {
                calls.iter().map(|(name, count)| format!("{count:.2} {name}")).collect::<Vec<_>>().join(", ")
            }
        }
    }

    pub fn json(&self) -> Value {
        let quotient = |of: Option<Spread>, to: Option<Spread>| Some(of?.median / to?.median);
        let peers = self.peers.iter().map(|peer| {
            let figures: serde_json::Map<String, Value> = FIGURES
                .iter()
                .filter_map(|figure| {
                    let spread = self.spread(peer.name(), figure)?;
                    let value = json!({
                        "workload": figure.workload, "what": figure.title,
                        "median": spread.median, "min": spread.least, "max": spread.most,
                        "to_floor": quotient(Some(spread), self.spread(floor::NAME, figure)),
                        "to_taskledger": quotient(Some(spread), self.spread(ledger::NAME, figure)),
                    });
                    Some((figure.name.clone(), value))
                })
                .collect();
            let syncs = self.results.measured.get(&(peer.name().to_owned(), "syncs".to_owned(), 0));
            json!({"name": peer.name(), "about": peer.about(), "checks": peer.checks(), "syncs_per_event": syncs,
                "figures": figures})
        });
        let ahead = self.ahead().into_iter().map(|ahead| {
            json!({"peer": ahead.peer, "figure": ahead.figure.name, "theirs": ahead.theirs.median,
                "ours": ahead.ours.median, "times": ahead.times})
        });
        let settings = self.settings;
        json!({
            "failures": self.results.failures,
            "ahead_of_taskledger": ahead.collect::<Vec<_>>(),
            "peers": peers.collect::<Vec<_>>(),
            "settings": {"events": settings.events, "tasks": settings.tasks, "rounds": settings.rounds,
                "seconds": settings.part.as_secs_f64(), "seed": settings.seed},
            "about": self.about,
        })
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let settings = self.settings;
        if !self.results.failures.is_empty() {
            text += "## Failures\n\n";
            for failure in &self.results.failures {
                let _ = writeln!(text, "- {failure}");
            }
            text.push('\n');
        }
        let ahead = self.ahead();
        if self.peers.iter().any(|peer| Self::is_rival(peer.name())) {
            text += "## Where a peer is ahead of taskledger\n\n";
            if ahead.is_empty() {
                text += "Nowhere in this run.\n\n";
            } else {
                text += "| times | what | peer | theirs | taskledger |  |\n|---|---|---|---|---|---|\n";
            }
            for Ahead { peer, figure, theirs, ours, times } in &ahead {
                let overlap = theirs.least <= ours.most && ours.least <= theirs.most;
                let overlap = if overlap && settings.rounds > 1 { "ranges overlap" } else { "" };
                let (theirs, ours) = (number(theirs.median), number(ours.median));
                let (workload, title) = (figure.workload, &figure.title);
                let _ = writeln!(text, "| {times:.2} | {workload} {title} | {peer} | {theirs} | {ours} | {overlap} |");
            }
            if !ahead.is_empty() {
                text.push('\n');
            }
        }
        text += "In the tables a figure is the median of the rounds [least..most]; then its quotient to the floor (F) and to \
                 taskledger (T).\n\n";
        for (workload, title) in TITLES {
            self.table(workload, title, &mut text);
        }
        self.who(&mut text);
        text
    }

    fn table(&self, workload: &str, title: &str, text: &mut String) {
        let columns: Vec<&Figure> = FIGURES
            .iter()
            .filter(|figure| figure.workload == workload)
            .filter(|figure| self.peers.iter().any(|peer| self.spread(peer.name(), figure).is_some()))
            .collect();
        if columns.is_empty() || !self.settings.wants(workload) {
            return;
        }
        let has_syncs = workload == "W1";
        let _ = writeln!(text, "## {workload}: {title}\n");
        let titles: Vec<&str> = columns.iter().map(|figure| figure.title.as_str()).collect();
        let _ = write!(text, "| | {} |", titles.join(" | "));
        text.push_str(if has_syncs { " syncs per event |\n" } else { "\n" });
        let _ = writeln!(text, "{}|", "|---".repeat(columns.len() + 1 + usize::from(has_syncs)));
        for peer in self.peers {
            let cells: Vec<Option<String>> = columns.iter().map(|figure| self.cell(peer.name(), figure)).collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into())).collect();
            let _ = write!(text, "| {} | {} |", peer.name(), cells.join(" | "));
            text.push_str(&if has_syncs { format!(" {} |\n", self.syncs(peer.name())) } else { "\n".into() });
        }
        text.push('\n');
        if workload == "W7" {
            for peer in self.peers.iter().filter(|peer| peer.takes_part(workload)) {
                let _ = writeln!(text, "- {}: {}", peer.name(), peer.checks().join("; then "));
            }
            text.push('\n');
        }
    }

    fn cell(&self, peer: &str, figure: &Figure) -> Option<String> {
        let spread = self.spread(peer, figure)?;
        let mut cell = number(spread.median);
        if spread.least < spread.most {
            let _ = write!(cell, " [{}..{}]", number(spread.least), number(spread.most));
        }
        for (name, sign) in [(floor::NAME, 'F'), (ledger::NAME, 'T')] {
            if let Some(to) = self.spread(name, figure).filter(|_| peer != name) {
                let _ = write!(cell, " {}{sign}", number(spread.median / to.median));
            }
        }
        Some(cell)
    }

    fn who(&self, text: &mut String) {
        let Settings { events, tasks, rounds, part, seed, .. } = self.settings;
        let about = &self.about;
        let machine = &about["machine"];
        let of = |value: &Value, name: &str| match &value[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.push_str("## How\n\n");
        let _ = writeln!(
            text,
            "{events} events of {tasks} tasks (seed {seed}), {rounds} rounds, at most {} s a timed part. \
             Opening in W4 is {}.",
            part.as_secs_f64(),
            if about["cold"] == json!(true) {
                "cold: the page cache was dropped"
            } else {
                "warm: the page cache could not be dropped"
            },
        );
        let _ = writeln!(
            text,
            "\nMachine: {}, {} cores, {}, {}, {}. Load (1, 5, 15 minutes) before {}, after {}. In memory: crc32 of records \
             {:.1} GB/s, copying {:.1} GB/s.\n",
            of(machine, "processor"),
            of(machine, "cores"),
            of(machine, "memory"),
            of(machine, "system"),
            of(machine, "file_system"),
            of(about, "load_before"),
            of(about, "load_after"),
            about["crc32_gb_per_second"].as_f64().unwrap_or(f64::NAN),
            about["copy_gb_per_second"].as_f64().unwrap_or(f64::NAN),
        );
        for peer in self.peers {
            let _ = writeln!(text, "- **{}**: {}.", peer.name(), peer.about());
        }
    }
}

/// Three digits that count, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        100_000.0.. => format!("{:.0}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
