//! A golden ledger whose beginning was pruned: the entry that tells of it, and the floor, which says of every task and note
//! what no entry says any more. The second reader reads both by the page, and goes by the floor.

use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Event, EventKind, Ledger, Prune, Seq, TaskState};

use super::bytes::{DIR, Files, in_memory, of_world, options, read_files, set_in_page};
use super::golden::{T0, check_files, dir};
use super::listing;
use super::second::{both_read, both_refuse};

/// Tasks in each state, with all that a record may hold, a removed one, notes, and keys; over segments that can go.
fn live(ledger: &Ledger) {
    let add = |task: &str, event: Event| ledger.append(task, event).unwrap_or_else(|error| panic!("{task}: {error}"));
    let note =
        |key: &str, event: Event| ledger.append_note(key, event).unwrap_or_else(|error| panic!("{key}: {error}"));
    add("kept", Event::created().meta("host", "ci-7").meta("täsk", "").key("first").by("planner").at(T0 - 251));
    add("gone", Event::created().key("g"));
    add("gone", Event::removed().by("janitor"));
    for state in TaskState::ALL {
        let event = Event::observed(state).attempts(251).output_text("[1.0, null]").error("no route");
        let event = event.created_at(1).updated_at(u64::MAX >> 1).started_at(Some(T0 + 1)).finished_at(Some(T0 - 1));
        add(&format!("was {}", state.name()), event.because("seen").key(state.name()));
    }
    note("dlq:kept", Event::noted_text("{\"tries\": 3.0}").key("n").by("worker-7"));
    note("gone", Event::noted(1));
    note("gone", Event::removed());
    // More keyed events than the window holds.
    for n in 0..20 {
        add("kept", Event::updated().key(format!("k{n}")));
    }
    add("kept", Event::observed(TaskState::Completed).output_text(&format!("\"{}\"", "x".repeat(9000))));
    for n in 0..4 {
        let text = char::from(b'a' + n).to_string().repeat(5000);
        add("wide", Event::observed(TaskState::Completed).meta(format!("m{n}"), text));
    }
}

/// What goes on behind a prune: entries that follow those that have gone.
fn go_on(ledger: &Ledger, oldest: Seq) {
    ledger.append("kept", Event::observed(TaskState::Running).key("later").cause(Seq(1))).expect("it is legal");
    ledger.append("gone", Event::created().key("again")).expect("it is legal");
    ledger.append_note("gone", Event::noted(2)).expect("it is legal");
    ledger.append_note("dlq:kept", Event::removed().key("m")).expect("it is legal");
    let again = ledger.append("kept", Event::updated().key("k19")).expect("it is legal");
    assert!(again.replayed() && again.seq() < oldest, "the window of keys is the floor's");
    for n in 0..4 {
        let event = Event::updated().meta(format!("m{n}"), "z".repeat(4500));
        ledger.append("wide", event).expect("it is legal");
    }
    ledger.maintain().expect("it makes the index of what was sealed");
}

/// The world in which the story below ends.
fn world() -> MemVfs {
    let vfs = MemVfs::with_seed(0x7a5c_1ed7);
    vfs.set_now_ms(T0);
    let ledger = options(&vfs).open(DIR).expect("it opens");
    live(&ledger);
    vfs.set_now_ms(T0 + 9_000);
    let prune = Prune::before(At::Seq(ledger.head())).forced().by("ops").because("a year has passed");
    let oldest = ledger.prune(&prune).expect("it prunes").oldest;
    drop(ledger);
    // Opening finds the end of the log again.
    let ledger = options(&vfs).open(DIR).expect("it opens");
    go_on(&ledger, oldest);
    ledger.close().expect("it closes in order");
    vfs
}

fn committed() -> Files {
    listing::read(&dir().join("pruned"))
}

fn floors(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("floor/")).cloned().collect()
}

#[test]
fn the_code_still_writes_and_reads_the_golden_bytes_of_a_prune() {
    let files = of_world(&world());
    check_files("pruned", &files);
    let entries = read_files(&files).expect("it can be read");
    let told = entries.iter().find(|entry| entry.event.kind() == EventKind::Pruned).expect("a prune is told");
    assert!(entries.first().is_some_and(|first| first.seq > Seq(30)), "the beginning has gone: {:?}", entries.first());
    assert_eq!((told.task.as_deref(), told.event.actor()), (None, Some("ops")));
    assert_eq!(floors(&files).len(), 2, "{:?}", floors(&files));
}

#[test]
fn the_second_reader_goes_by_the_floor() {
    let Some((lines, summary)) = both_read(&committed()) else { return };
    assert!(lines.contains("\"event\":\"pruned\"") && summary.contains("torn=0"), "{summary}");
    // The floor, and the indexes of what is left.
    let tables = 1 + committed().keys().filter(|name| name.starts_with("idx/")).count();
    assert!(summary.contains(&format!("tables={tables} ")), "{summary}");
    // One copy is enough, whichever it is; an index is not needed.
    for lost in floors(&committed()) {
        let mut files = committed();
        files.retain(|name, _| *name != lost && !name.starts_with("idx/"));
        assert_eq!(both_read(&files).expect("Python was there").0, lines, "without {lost}");
    }
}

#[test]
fn both_readers_refuse_what_stands_on_no_floor() {
    // An index; of another ledger; of another log; a header that has rotted.
    for (offset, value) in [(14, 1), (16, 0), (88, 0), (9, 0)] {
        let mut files = committed();
        for name in floors(&files) {
            let floor = files.get_mut(&name).expect("it is there");
            if offset == 9 { floor[9] ^= 1 } else { set_in_page(floor, offset, &[value]) }
        }
        assert!(files != committed(), "byte {offset} was {value} before");
        both_refuse(&files, 1);
    }
    let mut files = committed();
    files.retain(|name, _| !name.starts_with("floor/"));
    both_refuse(&files, 1);
}

#[test]
fn both_readers_pass_over_segments_that_a_prune_had_yet_to_remove() {
    let vfs = MemVfs::with_seed(3);
    vfs.set_now_ms(T0);
    let ledger = options(&vfs).open(DIR).expect("it opens");
    live(&ledger);
    let before = of_world(&vfs);
    let prune = Prune::before(At::Seq(ledger.head())).forced();
    let pruning = ledger.prune(&prune).expect("it prunes");
    assert!(pruning.segments > 2, "{pruning:?}");
    go_on(&ledger, pruning.oldest);
    ledger.close().expect("it closes in order");
    let after = of_world(&vfs);
    let Some((lines, _)) = both_read(&after) else { return };
    let gone: Vec<&String> =
        before.keys().filter(|name| name.starts_with("log/") && !after.contains_key(*name)).collect();
    // They go oldest first, so a crash leaves the later ones of them; the first one is there while nothing has gone.
    for left in 1..gone.len() {
        let mut files = after.clone();
        for name in gone.iter().rev().take(left) {
            files.insert((*name).clone(), before[*name].clone());
        }
        assert_eq!(both_read(&files).expect("Python was there").0, lines, "{left} are left");
        let writer = options(&in_memory(&files)).open(DIR).expect("the next writer finishes the prune");
        assert_eq!(writer.report().oldest, read_files(&after).expect("it can be read")[0].seq);
    }
}
