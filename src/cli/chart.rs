//! A picture of tasks in text: one line a task, time from left to right, running drawn dark and waiting light.
//!
//! Pure: bars in, lines out. No line is wider than it may be, as long as that is at least [`WIDTH_MIN`].

use std::ops::Range;

use taskledger::TaskState;

use crate::cli::bars::Bar;
use crate::cli::text::{clip, left, paint, safe, width};
use crate::cli::time::{clock, day};

/// What a picture needs at least: a name, a mark of time with what belongs to it, and a state.
pub(crate) const WIDTH_MIN: usize = 60;
/// So many columns at least stand for one part of the axis, at its beginning the time; the longest of these has 12.
const PART: usize = 15;

/// One task's line.
#[derive(Debug)]
pub(crate) struct Row {
    pub name: String,
    pub state: TaskState,
    pub bars: Vec<Bar>,
}

/// What a task was like in a column; the greatest of those that meet in one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Nothing,
    Waiting,
    Running,
    /// A try ended badly here.
    Lost,
}

/// With which characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letters {
    All,
    Ascii,
}

/// The lines of a picture of rows over a span of time, in milliseconds since the Unix epoch.
pub(crate) fn draw(rows: &[Row], window: &Range<u64>, columns: usize, letters: Letters) -> Vec<String> {
    let states = rows.iter().map(|row| row.state.name().len()).max().unwrap_or(0);
    let last = label(window.end, window);
    // The time of the end stands over the states.
    let right = states.max(width(&last));
    let names = rows.iter().map(|row| width(&safe(&row.name))).max().unwrap_or(0);
    let names = names.min(columns.saturating_sub(right + 4 + PART)).min(columns.max(WIDTH_MIN) / 3);
    let free = columns.saturating_sub(names + right + 4).max(PART);
    let parts = free / PART;
    let part = free / parts;
    let cells = parts * part;
    let ticks = (0..parts).map(|n| left(&label(time(n, parts, window), window), part)).collect::<String>();
    let mut lines = vec![format!("{}  {ticks}  {last}", left("", names))];
    for row in rows {
        let mut drawn = vec![Cell::Nothing; cells];
        for bar in &row.bars {
            fill(bar, window, &mut drawn);
        }
        let picture: String = drawn.into_iter().map(|cell| cell.text(letters)).collect();
        let mut name = clip(&safe(&row.name), names).into_owned();
        if letters == Letters::Ascii && name.ends_with('…') {
            name.pop();
            name.push('~');
        }
        lines.push(format!("{}  {picture}  {}", left(&name, names), paint(row.state, row.state.name())));
    }
    let [running, waiting, lost] = [Cell::Running, Cell::Waiting, Cell::Lost].map(|cell| cell.text(letters));
    lines.push(format!("{}  {running} running  {waiting} waiting  {lost} a try was lost", left("", names)));
    lines
}

/// When a part of the axis begins.
fn time(part: usize, parts: usize, window: &Range<u64>) -> u64 {
    let span = u128::from(window.end - window.start);
    window.start + (span * part as u128 / parts as u128) as u64
}

/// A time on the axis, as fine as its span asks for.
fn label(millis: u64, window: &Range<u64>) -> String {
    match (window.end - window.start) / 1000 {
        0..60 => format!("{}:{:02}.{:03}", clock(millis), millis / 1000 % 60, millis % 1000),
        60..1200 => format!("{}:{:02}", clock(millis), millis / 1000 % 60),
        1200..172_800 => clock(millis),
        _ => day(millis),
    }
}

/// Draws what lies within the window.
fn fill(bar: &Bar, window: &Range<u64>, drawn: &mut [Cell]) {
    let end = bar.end.unwrap_or(window.end);
    if end < window.start || bar.waits.or(bar.runs).is_some_and(|from| from > window.end) {
        return;
    }
    // What began before anything that is kept began before the window.
    let (waits, runs) = match (bar.waits, bar.runs) {
        (None, None) if bar.attempt.is_some() => (None, Some(0)),
        (None, None) => (Some(0), None),
        known => known,
    };
    let cells = drawn.len();
    let column = |when: u64| {
        let past = u128::from(when.saturating_sub(window.start));
        ((past * cells as u128 / u128::from((window.end - window.start).max(1))) as usize).min(cells.saturating_sub(1))
    };
    let spans = [(waits, runs.unwrap_or(end), Cell::Waiting), (runs, end, Cell::Running)];
    for (from, to, cell) in spans.into_iter().filter_map(|(from, to, cell)| Some((from?, to, cell))) {
        if to >= window.start && from <= window.end {
            for drawn in drawn.iter_mut().take(column(to) + 1).skip(column(from)) {
                *drawn = cell.max(*drawn);
            }
        }
    }
    if bar.lost
        && end <= window.end
        && let Some(drawn) = drawn.get_mut(column(end))
    {
        *drawn = Cell::Lost;
    }
}

impl Cell {
    fn text(self, letters: Letters) -> &'static str {
        match (self, letters) {
            (Cell::Nothing, _) => " ",
            (Cell::Waiting, Letters::All) => "\x1b[2m·\x1b[0m",
            (Cell::Waiting, Letters::Ascii) => "\x1b[2m.\x1b[0m",
            (Cell::Running, Letters::All) => "█",
            (Cell::Running, Letters::Ascii) => "#",
            (Cell::Lost, Letters::All) => "\x1b[31m×\x1b[0m",
            (Cell::Lost, Letters::Ascii) => "\x1b[31mx\x1b[0m",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(waits: u64, runs: u64, end: Option<u64>, lost: bool) -> Bar {
        Bar { attempt: Some(1), waits: Some(waits), runs: Some(runs), end, ended: None, lost }
    }

    /// The cells of one task, in a window of ten columns or so.
    fn drawn(bars: &[Bar], window: Range<u64>) -> String {
        let mut cells = vec![Cell::Nothing; 10];
        bars.iter().for_each(|bar| fill(bar, &window, &mut cells));
        let plain = |cell: &Cell| [" ", ".", "#", "x"][*cell as usize];
        cells.iter().map(plain).collect()
    }

    #[test]
    fn a_bar_waits_then_runs_and_is_lost_where_it_ends() {
        assert_eq!(drawn(&[bar(0, 30, Some(69), false)], 0..100), "...####   ");
        assert_eq!(drawn(&[bar(10, 30, Some(69), true)], 0..100), " ..###x   ");
        assert_eq!(drawn(&[bar(20, 50, None, false)], 0..100), "  ...#####");
        assert_eq!(drawn(&[bar(0, 10, Some(35), true), bar(35, 60, Some(99), false)], 0..100), ".##x..####");
    }

    #[test]
    fn what_lies_outside_of_the_window_is_not_drawn() {
        assert_eq!(drawn(&[bar(0, 10, Some(20), true)], 100..200), "          ");
        assert_eq!(drawn(&[bar(300, 310, None, false)], 100..200), "          ");
        assert_eq!(drawn(&[bar(0, 50, None, false)], 100..200), "##########");
        assert_eq!(drawn(&[bar(0, 150, Some(400), true)], 100..200), ".....#####");
        let unknown = Bar { waits: None, runs: None, ..bar(0, 0, Some(149), false) };
        assert_eq!(drawn(std::slice::from_ref(&unknown), 100..200), "#####     ");
        assert_eq!(drawn(&[Bar { attempt: None, ..unknown }], 100..200), ".....     ");
    }

    #[test]
    fn no_window_is_too_short_or_too_long() {
        assert_eq!(drawn(&[bar(0, 5, Some(5), false)], 5..6), "#         ");
        assert_eq!(drawn(&[bar(0, u64::MAX / 2, None, false)], 0..u64::MAX), "....######");
        for window in [0..1, 5..6, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
            let rows =
                [Row { name: "a".repeat(300), state: TaskState::DeadLettered, bars: vec![bar(0, 0, None, true)] }];
            for columns in [WIDTH_MIN, 80, 200] {
                let lines = draw(&rows, &window, columns, Letters::Ascii);
                let plain = |line: &String| anstream::adapter::strip_str(line).to_string();
                let widest = lines.iter().map(|line| width(&plain(line))).max();
                assert!(widest <= Some(columns) && lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
            }
        }
    }

    #[test]
    fn the_axis_is_as_fine_as_its_span() {
        let start = 1_772_330_400_000;
        let of = |span: u64| label(start, &(start..start + span));
        assert_eq!(of(59_999), "02:00:00.000");
        assert_eq!((of(60_000).as_str(), of(1_200_000).as_str()), ("02:00:00", "02:00"));
        assert_eq!(of(172_800_000), "03-01 02:00");
    }
}
