//! Draws what growth.rs has measured: SVG, both axes logarithmic, a picture for each kind of figure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::work::Outcome;

/// A picture: its file, its title, its unit, and its lines: the name of a figure and what it is called.
type Picture = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const PICTURES: [Picture; 5] = [
    (
        "open.svg",
        "opening until the tasks by state are known",
        "ms",
        &[
            ("open_clean_cold_ms", "after a close, cold"),
            ("open_clean_warm_ms", "after a close, warm"),
            ("open_unclean_cold_ms", "after a kill, cold"),
        ],
    ),
    (
        "asks.svg",
        "answers about one task, median",
        "µs",
        &[
            ("get_p50_us", "its record"),
            ("history_p50_us", "its history of ten events"),
            ("task_as_of_p50_us", "its record at a past moment"),
        ],
    ),
    (
        "appends.svg",
        "appends by one thread, one event a call",
        "a second",
        &[("buffered_appends_per_second", "buffered"), ("durable_appends_per_second", "durable")],
    ),
    ("memory.svg", "private memory of an open ledger", "bytes", &[("private_bytes_after_open", "after opening")]),
    (
        "disk.svg",
        "bytes on disk",
        "bytes",
        &[
            ("disk_bytes", "log, indexes and snapshots, with what is allocated ahead"),
            ("log_bytes", "frames of the log"),
        ],
    ),
];

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// What is left free around the axes: left, right, above, below.
const ROOM: [f64; 4] = [80.0, 20.0, 40.0, 50.0];
const COLOURS: [&str; 3] = ["#1f6feb", "#d1242f", "#2da44e"];

/// Reads the lines of the file (the last one of each size) and writes the pictures into the directory.
pub fn draw(file: &Path, out: &Path) -> Outcome<()> {
    let mut lines = BTreeMap::new();
    for line in fs::read_to_string(file)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let events = line.get("events").and_then(Value::as_u64).ok_or("a line says no number of events")?;
        lines.insert(events, line);
    }
    fs::create_dir_all(out)?;
    for (name, title, unit, curves) in PICTURES {
        let curves: Vec<(&str, Vec<(f64, f64)>)> = curves
            .iter()
            .map(|(figure, title)| {
                let points = lines.iter().filter_map(|(&events, line)| {
                    let value = line.get("figures")?.get(figure)?.as_f64().filter(|value| *value > 0.0)?;
                    Some((events as f64, value))
                });
                (*title, points.collect())
            })
            .collect();
        fs::write(out.join(name), picture(title, unit, &curves)?)?;
    }
    Ok(())
}

/// An axis: decades from the one below the least value to the one above the greatest, and where they lie in the picture.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Outcome<Axis> {
        let least = values.clone().min_by(f64::total_cmp).ok_or("there is nothing to draw")?;
        let most = values.max_by(f64::total_cmp).ok_or("there is nothing to draw")?;
        let first = least.log10().floor() as i32;
        Ok(Axis { first, last: (most.log10().ceil() as i32).max(first + 1), from, to })
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + part * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = (f64, String)> {
        (self.first..=self.last).map(|decade| (self.at(10_f64.powi(decade)), short(10_f64.powi(decade))))
    }
}

/// A power of ten as people write it.
fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{} G", value / 1e9),
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn picture(title: &str, unit: &str, curves: &[(&str, Vec<(f64, f64)>)]) -> Outcome<String> {
    let [left, right, above, below] = ROOM;
    let points = curves.iter().flat_map(|(_, points)| points);
    let across = Axis::over(points.clone().map(|point| point.0), left, WIDTH - right)?;
    let up = Axis::over(points.map(|point| point.1), HEIGHT - below, above)?;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"22\" font-size=\"14\">{title} ({unit})</text>\n"
    );
    let (top, bottom) = (above, HEIGHT - below);
    for (x, label) in across.decades() {
        writeln!(svg, "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"#ddd\"/>")?;
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", bottom + 18.0)?;
    }
    for (y, label) in up.decades() {
        writeln!(svg, "<path d=\"M{left} {y:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - right)?;
        writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 8.0, y + 4.0)?;
    }
    let middle = (left + WIDTH - right) / 2.0;
    writeln!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">events</text>", HEIGHT - 10.0)?;
    for (n, ((name, points), colour)) in curves.iter().zip(COLOURS).enumerate() {
        let path: Vec<String> = points.iter().map(|&(x, y)| format!("{:.1} {:.1}", across.at(x), up.at(y))).collect();
        writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"))?;
        for &(x, y) in points {
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", across.at(x), up.at(y))?;
        }
        let y = above + 16.0 + 16.0 * n as f64;
        writeln!(svg, "<path d=\"M{} {y}h16\" stroke=\"{colour}\" stroke-width=\"2\"/>", left + 10.0)?;
        writeln!(svg, "<text x=\"{}\" y=\"{}\">{name}</text>", left + 32.0, y + 4.0)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
