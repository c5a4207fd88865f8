//! How long it takes from an append that has returned to its entry at a follower: of another process, and of this one.
//!
//! `cargo run --release --example follow -- [EVENTS [MICROSECONDS BETWEEN TWO]]`, by default 2000 events, 2000 µs apart.
//! Times below zero are right: a follower may be told before the append has returned to its caller.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use taskledger::{Event, Follow, Ledger, Seq};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default: u64| args.get(n).map_or(Ok(default), |text| text.parse());
    if let [first, dir, ..] = args.as_slice()
        && first == "write"
    {
        let mut out = std::io::stdout();
        // The moments as lines, for the other process.
        for moment in append(&Ledger::open(dir)?, number(2, 0)?, number(3, 0)?)? {
            writeln!(out, "{moment}")?;
        }
        return Ok(());
    }
    let (events, pause) = (number(0, 2000)?, number(1, 2000)?);
    let home = tempfile::tempdir_in(".")?;

    let dir = home.path().join("of-another");
    Ledger::open(&dir)?.close()?;
    let follow = Ledger::open_read_only(&dir)?.follow(Seq::FIRST)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("write").arg(&dir).args([events.to_string(), pause.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let given = arrivals(follow, events)?;
    let lines = BufReader::new(child.stdout.take().ok_or("there is no pipe")?).lines();
    let returned = lines.map(|line| Ok(line?.parse()?)).collect::<Outcome<Vec<i128>>>()?;
    child.wait()?;
    tell("of another process", &returned, &given)?;

    let ledger = Ledger::open(home.path().join("of-this"))?;
    let follow = ledger.follow(Seq::FIRST)?;
    let following = std::thread::spawn(move || arrivals(follow, events).map_err(|error| error.to_string()));
    let returned = append(&ledger, events, pause)?;
    let given = following.join().map_err(|_| "the follower panicked")??;
    tell("of this process", &returned, &given)
}

/// Nanoseconds since the Unix epoch: a clock that all processes of a machine share.
fn now() -> Outcome<i128> {
    Ok(i128::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())?)
}

/// Appends, and says when each append had returned.
fn append(ledger: &Ledger, events: u64, pause: u64) -> Outcome<Vec<i128>> {
    let mut moments = Vec::new();
    for n in 0..events {
        let started = Instant::now();
        ledger.append(format!("task-{n}"), Event::created())?;
        moments.push(now()?);
        std::thread::sleep(Duration::from_micros(pause).saturating_sub(started.elapsed()));
    }
    Ok(moments)
}

/// Follows so many entries, and says when each was given.
fn arrivals(follow: Follow, events: u64) -> Outcome<Vec<i128>> {
    let mut moments = Vec::new();
    for entry in follow.take(events as usize) {
        entry?;
        moments.push(now()?);
    }
    Ok(moments)
}

fn tell(who: &str, returned: &[i128], given: &[i128]) -> Outcome<()> {
    let mut delays: Vec<i128> = given.iter().zip(returned).map(|(given, returned)| given - returned).collect();
    delays.sort_unstable();
    let at = |percent: usize| delays.get((delays.len() * percent / 100).min(delays.len().saturating_sub(1)));
    let micros = |delay: Option<&i128>| delay.map_or(f64::NAN, |&delay| delay as f64 / 1000.0);
    writeln!(
        std::io::stdout(),
        "{} entries at a follower {who}: p50 {:.0} µs, p99 {:.0} µs, most {:.0} µs after the append had returned",
        delays.len(),
        micros(at(50)),
        micros(at(99)),
        micros(delays.last()),
    )?;
    Ok(())
}
