//! A run is killed at any moment: the ledger is sound, what it says can be gone on from, and no two commands run side by side.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use taskledger::TaskState;

use super::Place;
use crate::kill::Round;
use crate::support::{Rng, number, say};

/// Each command looks whether one of the last before it is still there, and says so in a file; one that only waits for its parent
/// to look has ended.
const ALONE: &str =
    r#"grep -hs '^State:[[:space:]]*[^ZX[:space:]]' $(tail -n 9 pids) >> beside; echo /proc/$$/status >> pids"#;

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_what_the_next_one_can_go_on_from() {
    let seed = number("TASKLEDGER_SEED").unwrap_or(0x0DD);
    let rounds = number("TASKLEDGER_KILLS").unwrap_or(120).min(2000);
    let mut rng = Rng(seed);
    let place = Place::new();
    std::fs::write(place.file("pids"), "/dev/null\n").unwrap();
    let (mut unborn, mut orphans, mut ended, mut left) = (0, 0, 0, 0);
    let mut orphaned = false;
    // What a whole run takes here, so that kills come before, within and after one.
    let begun = Instant::now();
    assert_eq!(place.run(&[], ALONE).code, Some(0));
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let (mut round, mut lacks) = (0, true);
    while round < rounds || lacks {
        assert!(round < rounds * 10, "seed {seed}: the kills hit too little: {unborn} {orphans} {ended} {left}");
        round += 1;
        let line = match rng.below(4) {
            0 => format!("{ALONE}; exit 0"),
            1 => format!("{ALONE}; exit 1"),
            _ => format!("{ALONE}; echo begun; trap '' TERM HUP; sleep 60"),
        };
        let delay = Duration::from_micros(rng.below(took * 5 / 2));
        let context = Round(format!("TASKLEDGER_SEED={seed}, round {round}: {line} killed after {delay:?}"));
        let before = place.history().len();
        let mut run = place.start(&["--retries", "1"], &line);
        std::thread::sleep(delay);
        run.send(Signal::KILL);
        let _ = run.0.wait();
        place.is_sound();
        let state = place.state();
        let added = place.history().len() - before;
        match state {
            None => panic!("a task that was there is gone"),
            Some(TaskState::Running | TaskState::Retrying | TaskState::Completed | TaskState::Failed) => {}
            Some(other) => panic!("no kill leaves it {other}"),
        }
        if added > 0 {
            let words = place.words();
            let settled = words.split(' ').skip(before).any(|word| word == "requeued:ready");
            assert_eq!(settled, orphaned, "what the one before left is settled first: {words}");
            orphaned = matches!(state, Some(TaskState::Running | TaskState::Retrying));
        }
        unborn += u32::from(added == 0);
        orphans += u32::from(added > 0 && orphaned);
        ended += u32::from(added > 0 && !orphaned);
        left += u32::from(!place.carriers("TASKLEDGER_TASK=t").is_empty());
        assert_eq!(place.read("beside"), "", "no two run side by side");
        lacks = unborn < 3 || orphans < 10 || ended < 3 || left < 5;
        drop(context);
    }
    let last = place.run(&[], ALONE);
    assert_eq!((last.code, place.read("beside").as_str()), (Some(0), ""), "{last:?}");
    assert_eq!((place.state(), place.carriers("TASKLEDGER_TASK=t")), (Some(TaskState::Completed), vec![]));
    say(&format!(
        "run: seed {seed}: of {round} kills {unborn} came before the start, {orphans} left an orphan, {left} a command, and {ended} \
         came after the end"
    ));
}
