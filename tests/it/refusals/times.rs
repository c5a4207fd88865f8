//! Stated times: as late as one likes, and at most 5 minutes ahead of the clock.

use serde_json::{Value, json};
use taskledger::vfs::real::RealVfs;
use taskledger::{Error, Event, Ledger, Seq};

use super::program::{Program, says};
use super::site::Site;
use crate::support::ClockVfs;

const NOON: u64 = 1_772_366_400_000;
const AHEAD: u64 = 5 * 60 * 1000;

#[test]
fn a_stated_time_is_taken_up_to_five_minutes_ahead_and_refused_beyond() {
    let clock = ClockVfs::new(RealVfs, NOON);
    let site = Site::on(clock, |ledger| drop(ledger.append("a", Event::created()).unwrap()));
    for stated in [NOON + AHEAD + 1, u64::MAX] {
        let error = site.refuses(|ledger| ledger.append("a", Event::updated().at(stated)));
        let Error::Time { subject, stated: named, now } = &error else { panic!("{error:?}") };
        assert_eq!((subject.task(), *named, *now, error.code()), (Some("a"), stated, NOON, "TIME"));
        let said = format!("a: the stated time {stated} is more than 300000 ms ahead of the clock, {NOON}");
        assert_eq!(error.to_string(), said);
    }
    let receipt = site.open().append("a", Event::updated().at(NOON + AHEAD)).expect("not a moment too far");
    assert_eq!(receipt.at(), NOON + AHEAD);
    site.goes_on();
}

#[test]
fn the_program_says_by_how_much_the_clock_would_have_to_be_set() {
    let site = Site::new(|ledger| drop(ledger.append("a", Event::created()).unwrap()));
    let ahead = 32_472_144_000_000_u64;
    for at in [json!(ahead), json!("2999-01-01T00:00:00Z")] {
        let error = site.refuses_line("TIME", &json!({"task": "a", "event": "updated", "version": 2, "at": at}));
        assert_eq!((&error["task"], &error["found"]), (&json!("a"), &json!(ahead)), "{error}");
        let clock = error["expected"].as_u64().expect("the clock");
        assert!((NOON / 2..ahead - AHEAD).contains(&clock), "{error}");
        says(error["message"].as_str().unwrap(), &["300000 ms", &ahead.to_string(), &clock.to_string()]);
    }
    site.goes_on();
}

#[test]
fn late_reports_are_taken_with_their_own_times() {
    let clock = ClockVfs::new(RealVfs, NOON);
    let site = Site::on(clock, |ledger| drop(ledger.append("a", Event::created()).unwrap()));
    let late = [NOON - 1, NOON - 86_400_000, 1, 0];
    {
        let ledger = site.open();
        for stated in late {
            let receipt = ledger.append("a", Event::updated().at(stated)).expect("late is not wrong");
            assert_eq!(receipt.at(), NOON, "placed after the entry before");
        }
    }
    let reader = Ledger::open_read_only(&site.dir).unwrap();
    let entries: Vec<_> = reader.view().entries(Seq(2)).map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.iter().map(|entry| entry.said).collect::<Vec<_>>(), late.map(Some));
    assert_eq!(reader.view().get("a").unwrap().expect("a record").record.updated_at, 0, "the last one said so");
    site.goes_on();
}

#[test]
fn late_lines_are_taken_with_their_own_times() {
    let site = Site::new(|_| ());
    let times = [NOON, NOON - 1, NOON - 86_400_000, 0];
    let lines: String =
        times.iter().map(|at| format!("{}\n", json!({"task": at.to_string(), "event": "created", "at": at}))).collect();
    Program::default().run(&["import", "-D", site.arg()], &lines).good();
    let log = Program::default().run(&["log", "--json", "-D", site.arg()], "").good();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (stated, entry) in times.iter().zip(&entries) {
        let said = (*stated != NOON).then(|| json!(stated));
        assert_eq!((&entry["at"], entry.get("said")), (&json!(NOON), said.as_ref()), "{entry}");
    }
    assert_eq!(entries.len(), times.len());
    site.goes_on();
}
