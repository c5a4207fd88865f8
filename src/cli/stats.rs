//! `stats`: how many tasks are in which state, how often they were tried, how long they waited and ran.
//!
//! Of the tasks a share is in memory at a time, and the log is read once for each share; of times only their spread is
//! kept, and of values of a metadata key so many as fit on a page, with the others in one row.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use serde_json::{Map, Value, json};
use taskledger::{Filter, PageToken, TaskState};

use crate::cli::args::Setting;
use crate::cli::asking::StatsArgs;
use crate::cli::fail::Failure;
use crate::cli::look::{self, Look};
use crate::cli::out::{Form, Object, Out, Progress, remark};
use crate::cli::spread::Spread;
use crate::cli::text::{clip, count, left, paint, right, safe, width};
use crate::cli::time::span;

/// So many tasks are in memory at a time.
const SHARE: usize = 200_000;
const PAGE: usize = 1000;
/// How far it has come is shown after so many entries.
const SHOWN_EVERY: u64 = 8192;
/// So many values of a metadata key have a row of their own.
const VALUES_MAX: usize = 100;
const VALUE_COLUMNS: usize = 28;
/// Attempts from here on are counted together.
const MANY: u32 = 5;

/// What is counted of some tasks.
#[derive(Debug, Default)]
struct Sum {
    states: BTreeMap<&'static str, u64>,
    tasks: u64,
    attempts: u64,
    /// How many tasks had 0, 1, 2, ... attempts.
    tried: [u64; MANY as usize + 1],
    waited: Spread,
    ran: Spread,
    /// How many have not started, and how many run.
    waiting: u64,
    running: u64,
}

/// A task of the share that is in memory.
struct Life {
    row: usize,
    created_at: u64,
    /// Whether its first entry is still in the log.
    whole: bool,
    first_run: Option<u64>,
    running_since: Option<u64>,
}

/// The longest times, the longest first.
struct Longest {
    most: usize,
    times: Vec<(u64, String, bool)>,
}

impl Longest {
    fn add(&mut self, millis: u64, task: &str, goes_on: bool) {
        let place = self.times.partition_point(|(time, id, _)| (*time, task) >= (millis, id.as_str()));
        if place < self.most {
            self.times.insert(place, (millis, task.to_owned(), goes_on));
            self.times.truncate(self.most);
        }
    }
}

/// All that is found out.
struct Stats {
    all: Sum,
    /// By value; `None` is without the key.
    values: BTreeMap<Option<String>, usize>,
    /// The first is of what has no row of its own.
    rows: Vec<Sum>,
    runs: Longest,
    waits: Longest,
    /// How many tasks began before what is kept of the log.
    cut: u64,
}

pub(crate) fn run(args: &StatsArgs, setting: &Setting, out: &mut Out) -> Result<u8, Failure> {
    let look = look::open(setting, &args.moment, out.form)?;
    let longest = || Longest { most: args.slowest as usize, times: Vec::new() };
    let mut stats = Stats {
        all: Sum::default(),
        values: BTreeMap::new(),
        rows: vec![Sum::default()],
        runs: longest(),
        waits: longest(),
        cut: 0,
    };
    let mut after = None;
    loop {
        let (mut share, next) = stats.share(args, &look, after)?;
        if !share.is_empty() {
            stats.read(&mut share, args, &look, out.form)?;
        }
        let Some(next) = next else { break };
        after = Some(next);
    }
    if stats.others().tasks > 0 {
        remark(out.form, &format!("more than {VALUES_MAX} values: the tasks with other ones are in one row"));
    }
    if stats.cut > 0 {
        let them = count(stats.cut, "task began", "tasks began");
        remark(out.form, &format!("{them} before what is kept of the log: waits and runs from then are left out"));
    }
    match out.form {
        Form::People => stats.print(args, &look, out)?,
        Form::Json => stats.write(args, &look, out)?,
    }
    Ok(0)
}

impl Stats {
    fn others(&self) -> &Sum {
        self.rows.first().expect("it is there from the start")
    }

    /// Counts the next tasks, and keeps what their entries are to be compared with.
    fn share(
        &mut self,
        args: &StatsArgs,
        look: &Look,
        mut after: Option<PageToken>,
    ) -> Result<(HashMap<String, Life>, Option<PageToken>), Failure> {
        let mut share = HashMap::new();
        while share.len() < SHARE {
            let filter = Filter::new().prefix(args.prefix.as_str()).limit(PAGE);
            let filter = args.state.iter().fold(filter, |filter, &state| filter.state(state));
            let page = look.view.list(after.take().into_iter().fold(filter, Filter::after))?;
            for task in page.tasks {
                let mut record = task.record;
                let value = args.by.as_ref().map(|key| record.metadata.remove(key));
                let row = value.map_or(0, |value| self.row(value));
                for sum in [Some(&mut self.all), args.by.as_ref().and(self.rows.get_mut(row))].into_iter().flatten() {
                    sum.tasks += 1;
                    sum.attempts += u64::from(record.attempts);
                    *sum.states.entry(record.state.name()).or_default() += 1;
                    if let Some(tried) = sum.tried.get_mut(record.attempts.min(MANY) as usize) {
                        *tried += 1;
                    }
                }
                let created_at = record.created_at;
                let life = Life { row, created_at, whole: false, first_run: None, running_since: None };
                share.insert(record.id, life);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((share, None)),
            }
        }
        Ok((share, after))
    }

    /// The place of the row of a value.
    fn row(&mut self, value: Option<String>) -> usize {
        if let Some(&row) = self.values.get(&value) {
            return row;
        }
        if self.values.len() == VALUES_MAX {
            return 0;
        }
        self.rows.push(Sum::default());
        self.values.insert(value, self.rows.len() - 1);
        self.rows.len() - 1
    }

    /// Reads all entries, and adds the waits and runs of a share.
    fn read(
        &mut self,
        share: &mut HashMap<String, Life>,
        args: &StatsArgs,
        look: &Look,
        form: Form,
    ) -> Result<(), Failure> {
        let since = args.since.unwrap_or(0);
        let (oldest, last) = (look.reader.report().oldest, look.view.seq());
        let mut progress = Progress::of_entries(form);
        for entry in look.view.entries(oldest) {
            let entry = entry?;
            if entry.seq.0 % SHOWN_EVERY == 0 {
                progress.show(entry.seq.0 - oldest.0, Some(last.0 - oldest.0));
            }
            let Some((task, life)) = entry.task.as_ref().and_then(|id| Some((id, share.get_mut(id)?))) else {
                continue;
            };
            let Some(to) = entry.event.state() else { continue };
            let when = entry.happened_at();
            if entry.from.is_none() {
                (life.whole, life.first_run, life.running_since) = (true, None, None);
            }
            if to == TaskState::Running && entry.from != Some(TaskState::Running) {
                life.first_run.get_or_insert(when);
                life.running_since = Some(when);
            } else if to != TaskState::Running
                && let Some(started) = life.running_since.take()
                && when >= since
            {
                let ran = when.saturating_sub(started);
                self.all.ran.add(ran);
                self.rows.get_mut(life.row).into_iter().for_each(|sum| sum.ran.add(ran));
                self.runs.add(ran, task, false);
            }
        }
        let now = look.view.at();
        for (task, life) in share {
            self.cut += u64::from(!life.whole);
            let row = self.rows.get_mut(life.row);
            for sum in [Some(&mut self.all), row].into_iter().flatten() {
                sum.running += u64::from(life.running_since.is_some());
                match life.first_run {
                    Some(first) if life.whole && first >= since => {
                        sum.waited.add(first.saturating_sub(life.created_at))
                    }
                    None if life.whole => sum.waiting += 1,
                    _ => {}
                }
            }
            if let Some(first) = life.first_run.filter(|&first| life.whole && first >= since) {
                self.waits.add(first.saturating_sub(life.created_at), task, false);
            }
            if let Some(started) = life.running_since {
                self.runs.add(now.saturating_sub(started), task, true);
            }
        }
        Ok(())
    }

    /// The rows with what each is called, the one of the others last.
    fn named(&self) -> impl Iterator<Item = (Option<&Option<String>>, &Sum)> {
        let own = self.values.iter().filter_map(|(value, &row)| Some((Some(value), self.rows.get(row)?)));
        own.chain(Some((None, self.others())).filter(|(_, others)| others.tasks > 0))
    }

    fn print(&self, args: &StatsArgs, look: &Look, out: &mut Out) -> Result<(), Failure> {
        let all = &self.all;
        let states: Vec<String> = all.by_state().map(|(state, n)| paint(state, &format!("{n} {state}"))).collect();
        let colon = if states.is_empty() { "" } else { ": " };
        writeln!(out, "{}{colon}{}", count(all.tasks, "task", "tasks"), states.join(", "))?;
        let tried = all.tried.iter().enumerate().filter(|&(_, &n)| n > 0);
        let tried: Vec<String> = tried.map(|(attempts, n)| format!("{n} with {}", many(attempts))).collect();
        let colon = if tried.is_empty() { "" } else { "; tasks: " };
        writeln!(out, "{}{colon}{}", count(all.attempts, "attempt", "attempts"), tried.join(", "))?;
        writeln!(out, "{} retried, {} not started, {} running\n", all.retried(), all.waiting, all.running)?;
        writeln!(out, "              N      P50      P90      P99      MAX")?;
        for (name, spread) in [("waited", &all.waited), ("ran", &all.ran)] {
            let times = [50, 90, 99].map(|percent| spread.percentile(percent));
            let times = times.into_iter().chain([spread.max]).map(|time| right(&shown(spread, time), 9));
            writeln!(out, "{}{}{}", left(name, 7), right(&spread.count.to_string(), 8), times.collect::<String>())?;
        }
        for (title, longest) in [("Longest runs", &self.runs), ("Longest waits", &self.waits)] {
            if !longest.times.is_empty() {
                writeln!(out, "\n{title}")?;
            }
            for (millis, task, goes_on) in &longest.times {
                let goes_on = if *goes_on { "  (running)" } else { "" };
                writeln!(out, "{}  {}{goes_on}", right(&span(*millis), 9), safe(task))?;
            }
        }
        if let Some(key) = &args.by {
            let name = |value: Option<&Option<String>>| match value {
                None => "(others)".to_owned(),
                Some(None) => "(none)".to_owned(),
                Some(Some(value)) => clip(&safe(value), VALUE_COLUMNS).into_owned(),
            };
            let title = clip(&safe(key), VALUE_COLUMNS).into_owned();
            let columns = self.named().map(|(value, _)| width(&name(value))).chain([width(&title)]).max().unwrap_or(0);
            writeln!(out, "\n{}   TASKS RETRIED  WAIT P50  WAIT MAX   RUN P50   RUN MAX", left(&title, columns))?;
            for (value, sum) in self.named() {
                let times =
                    [&sum.waited, &sum.ran].map(|spread| [(spread, spread.percentile(50)), (spread, spread.max)]);
                let times = times.into_iter().flatten().map(|(spread, time)| right(&shown(spread, time), 10));
                let (tasks, retried) = (right(&sum.tasks.to_string(), 8), right(&sum.retried().to_string(), 8));
                writeln!(out, "{}{tasks}{retried}{}", left(&name(value), columns), times.collect::<String>())?;
            }
        }
        Ok(writeln!(out, "\n{}", look.as_of())?)
    }

    fn write(&self, args: &StatsArgs, look: &Look, out: &mut Out) -> Result<(), Failure> {
        let longest = |longest: &Longest| -> Vec<Value> {
            let times = longest.times.iter();
            times.map(|(millis, task, on)| json!({"task": task, "millis": millis, "running": on})).collect()
        };
        let object = self.all.object(look).with("slowest", longest(&self.runs));
        out.json(&object.with("waited_longest", longest(&self.waits)).with("cut", self.cut))?;
        let Some(key) = &args.by else { return Ok(()) };
        for (value, sum) in self.named() {
            let object = sum.object(look).with("by", format!("meta.{key}"));
            out.json(&match value {
                None => object.with("others", true),
                Some(value) => object.with("value", value.clone()),
            })?;
        }
        Ok(())
    }
}

impl Sum {
    fn by_state(&self) -> impl Iterator<Item = (TaskState, u64)> {
        TaskState::ALL.into_iter().filter_map(|state| Some((state, *self.states.get(state.name())?)))
    }

    /// How many tasks had more than one attempt.
    fn retried(&self) -> u64 {
        self.tried.iter().skip(2).sum()
    }

    fn object(&self, look: &Look) -> Object {
        let spread = |spread: &Spread| {
            let [p50, p90, p99] = [50, 90, 99].map(|percent| spread.percentile(percent));
            json!({"count": spread.count, "p50": p50, "p90": p90, "p99": p99, "max": spread.max})
        };
        let states: Map<String, Value> =
            self.by_state().map(|(state, number)| (state.name().to_owned(), number.into())).collect();
        Object::new("taskledger.stats/1")
            .with("seq", look.view.seq().0)
            .with("tasks", self.tasks)
            .with("states", states)
            .with("attempts", self.attempts)
            .with("tried", self.tried.as_slice())
            .with("retried", self.retried())
            .with("not_started", self.waiting)
            .with("running", self.running)
            .with("wait", spread(&self.waited))
            .with("run", spread(&self.ran))
    }
}

/// A time of a spread; nothing where it has none.
fn shown(spread: &Spread, millis: u64) -> String {
    if spread.count == 0 { "-".to_owned() } else { span(millis) }
}

fn many(attempts: usize) -> String {
    if attempts == MANY as usize { format!("{attempts} or more") } else { attempts.to_string() }
}
