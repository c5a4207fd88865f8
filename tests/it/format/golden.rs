//! A ledger that uses all of the format, made in a world without chance, and its bytes as they were once blessed.
//!
//! `TASKLEDGER_BLESS=1 cargo test --test it format` writes the files under tests/format/golden anew. That is right
//! when the ledger below grows, and never right when only the code has changed: then the format has changed.

use std::path::{Path, PathBuf};

use taskledger::limits::TIME_MS_MAX;
use taskledger::vfs::fault::{MemVfs, Op};
use taskledger::{Batch, Entry, Event, Expect, Ledger, Receipt, Seq, TaskState, canon};

use super::bytes::{self, DIR, Files, frames, number, options};
use super::listing::{self, from_hex, hex, to_hex};

/// When the story begins, in milliseconds since the Unix epoch.
pub const T0: u64 = 1_600_000_000_000;
const SEED: u64 = 0x7a5c_1ed6;

/// A ledger and the world it is in.
struct Story {
    vfs: MemVfs,
    ledger: Ledger,
}

impl Story {
    fn open(vfs: MemVfs) -> Story {
        Story { ledger: options(&vfs).open(DIR).expect("it opens"), vfs }
    }

    fn note(&self, key: &str, event: Event) -> Receipt {
        self.ledger.append_note(key, event).unwrap_or_else(|error| panic!("note {key}: {error}"))
    }

    fn add(&self, task: &str, event: Event) -> Receipt {
        self.ledger.append(task, event).unwrap_or_else(|error| panic!("{task}: {error}"))
    }

    fn batch(&self, events: impl IntoIterator<Item = (String, Event)>) -> Receipt {
        let mut batch = Batch::new();
        for (task, event) in events {
            batch.push(task, event, Expect::Any);
        }
        self.ledger.commit(batch).expect("the batch is legal")
    }

    fn clock(&self, ms: u64) {
        self.vfs.set_now_ms(ms);
    }

    /// Empty updates of the task `v`, in batches over several frames, until the next seq is this one.
    fn fill_to(&self, next: u64) {
        while self.ledger.head().0 + 1 < next {
            let count = (next - 1 - self.ledger.head().0).min(90);
            self.batch((0..count).map(|_| ("v".to_owned(), Event::updated())));
        }
    }
}

/// The files that the story comes to.
pub fn make() -> Files {
    let vfs = MemVfs::with_seed(SEED);
    vfs.set_now_ms(T0);
    let story = Story::open(vfs);
    kinds(&story);
    texts(&story);
    numbers(&story);
    story.ledger.maintain().expect("it vouches");
    story.clock(T0 + 9_000_000_000);
    story.add("after the vouch", Event::created());
    let Story { vfs, ledger } = story;
    ledger.close().expect("it closes in order");

    let story = Story::open(vfs);
    distances(&story);
    story.ledger.maintain().expect("it vouches");
    let torn = tear(&story);

    let story = Story::open(torn);
    end(&story);
    bytes::of_world(&story.vfs)
}

/// Every kind of event, every state, keys, causes, attempts given and counted.
fn kinds(story: &Story) {
    use TaskState::{Completed, Failed, Pending, Ready, Retrying, Running};
    story.add("a", Event::created().meta("host", "ci-7").meta("empty", "").by("planner").because("first"));
    story.add("a", Event::to(Ready).at(T0 - 1000).by("planner"));
    story.add("a", Event::to(Running).key("run 1").by("worker-7"));
    story.add("a", Event::to(Retrying).error("no route").key("retry 1").unset("host"));
    story.add("a", Event::requeued(Pending).cause(Seq(4)).because("the worker is gone"));
    story.add("a", Event::to(Ready).inferred());
    story.add("a", Event::to(Running).attempts(7).key("run 2").cause(Seq(1)));
    let done = serde_json::json!({"rows": 1204, "ok": [true, null]});
    story.add("a", Event::to(Completed).output(done).clear_error().unset("never there"));
    story.add("a", Event::removed().by("janitor").because(""));
    story.add("a", Event::created().key("again"));
    let again = story.add("a", Event::created().key("again"));
    assert!(again.replayed() && again.version() == 10, "the same request under the same key adds nothing");
    for state in TaskState::ALL {
        story.add("seen", Event::observed(state).output_text("null"));
    }
    story.add("b", Event::observed(Failed).attempts(3).error("").output_text("\"x\""));
    story.add("b", Event::observed(Running).inferred());
    let mut batch = Batch::new();
    batch.push("one", Event::created(), Expect::Absent);
    batch.push("two", Event::created().key("k"), Expect::Any);
    batch.push("one", Event::updated().meta("k", "v").key("k"), Expect::Version(1));
    batch.check("a", Expect::Exists);
    story.ledger.commit(batch).expect("the batch is legal");
    story.add("one", Event::updated().key("k2"));
}

/// Texts and outputs with all that is hard to carry.
fn texts(story: &Story) {
    let nasty = "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}\u{10000}é😀";
    story.add("täsk/😀\0", Event::created().error(nasty).by("größer").because(nasty).meta(nasty, nasty).key(nasty));
    let order = Event::created().meta("\u{ffff}", "1").meta("\u{10000}", "2").meta("é", "3").meta("z", "4");
    story.add("order", order.unset("a").unset("\u{1f980}"));
    let outputs = [
        "{\"big\":18446744073709551615,\"low\":-9223372036854775808,\"huge\":123456789012345678901234567890}",
        "[1e308,-0.0,5e-324,0.1,1.7976931348623157e308,2.2250738585072014E-308,1E+2,123456789.000000001]",
        " {\n\t\"a\" :\r\n [ 1 , \"two\\nlines\" ] } ",
        "\"\\u0000\\ud83e\\udd80 \\u00e9 é 🦀 \\/ \\\\\"",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "false",
    ];
    for output in outputs {
        story.add("order", Event::updated().output_text(output));
    }
    story.add("order", Event::updated().output_text(&format!("{}{}", "[".repeat(64), "]".repeat(64))));
    story.add("order", Event::updated().clear_output().clear_error());
    let many = (0..256).fold(Event::created(), |event, n| event.meta(format!("{n:03}"), format!("v{}", n / 2)));
    story.add("many", many);
    let taken = (0..256).fold(Event::updated(), |event, n| event.unset(format!("{n:03}")));
    story.add("many", taken);
    for length in [250, 251] {
        story.add("lengths", Event::observed(TaskState::Ready).error("x".repeat(length)).by("y".repeat(length)));
    }
}

/// Numbers on both sides of every border between two lengths of a varint.
fn numbers(story: &Story) {
    for attempts in [0, 250, 251, 65_535, 65_536, u32::MAX] {
        story.add("b", Event::updated().attempts(attempts));
    }
    let early = [1, 125, 126, 32_768, 32_769, 1 << 31, (1 << 31) + 1];
    for early in early {
        story.add("b", Event::updated().at(T0 - early));
    }
    let all = Event::observed(TaskState::Ready).created_at(0).updated_at(u64::MAX);
    story.add("times", all.started_at(Some(T0)).finished_at(Some(T0 + 1)));
    let back = [125, 126, 32_767, 32_768, (1 << 31) - 1, 1 << 31];
    for by in back {
        let event = Event::observed(TaskState::Running).created_at(T0 + by).updated_at(T0 - by);
        story.add("times", event.started_at(Some(T0 - by - 1)).finished_at(None));
    }
    story.add("times", Event::observed(TaskState::Failed).created_at(T0).finished_at(Some(T0 - 6)).at(T0 - 5));
    story.add("times", Event::observed(TaskState::Running).started_at(None));
    story.add("times", Event::observed(TaskState::Running).started_at(None).finished_at(None).updated_at(T0));
    story.add("times", Event::observed(TaskState::Completed).finished_at(Some(1 << 63)));
    // Times that rise by exactly these steps, in one batch.
    story.clock(T0 + 8_900_000_000);
    let mut at = T0;
    let steps = [0, 250, 251, 65_535, 65_536, u64::from(u32::MAX), 1 << 32].map(|step| {
        at += step;
        ("b".to_owned(), Event::updated().at(at))
    });
    story.batch(steps);
}

/// Notes: one with the key of a task, null, removed and begun again, texts as written, and in one batch with tasks.
fn notes(story: &Story) {
    let noted = || Event::noted(serde_json::json!({"task": "a", "tries": 3}));
    story.note("dlq:a", noted().by("worker-7").because("no try is left").cause(Seq(4)).key("dead 1"));
    let again = story.note("dlq:a", noted().by("worker-7").because("no try is left").cause(Seq(4)).key("dead 1"));
    assert!(again.replayed() && again.version() == 1, "the same request under the same key adds nothing");
    story.note("a", Event::noted(serde_json::Value::Null));
    story.note("dlq:a", Event::removed().by("janitor").key("dead 2"));
    story.note("dlq:a", Event::noted_text(" {\n \"b\" : 1.0,\r\n\t\"a\": -0.0 } ").at(T0 - 7));
    story.note("täsk/😀\0", Event::noted_text(&format!("{}{}", "[".repeat(127), "]".repeat(127))));
    let mut batch = Batch::new();
    batch.push("one", Event::updated(), Expect::Exists);
    batch.push_note("one", Event::noted("x"), Expect::Absent);
    batch.push_note("one", Event::removed(), Expect::Version(1));
    batch.push_note("two", Event::noted(7), Expect::Any);
    batch.check_note("dlq:a", Expect::Exists);
    story.ledger.commit(batch).expect("the batch is legal");
}

/// Versions, distances to the entry before and to causes around 250; batches over several frames; rolls.
fn distances(story: &Story) {
    story.add("v", Event::created());
    let start = story.add("far", Event::created().key("far 1")).seq();
    story.fill_to(start.0 + 2);
    story.add("near", Event::created());
    story.fill_to(start.0 + 251);
    story.add("far", Event::updated().cause(start).key("far 2"));
    story.add("near", Event::updated().cause(Seq(start.0 + 2)));
    story.add("v", Event::updated().by("nobody"));
    story.fill_to(start.0 + 262);
}

/// A batch of two frames whose second one was not written to its end when the process was killed.
fn tear(story: &Story) -> MemVfs {
    let before = story.vfs.trace_len();
    story.batch((0..100).map(|n| (format!("lost {n}"), Event::created())));
    let trace = story.vfs.trace();
    let begins_batch = |op: &Op| matches!(op, Op::Write { bytes, .. } if bytes.get(11) == Some(&bytes::EVENTS_MORE));
    let written = before + trace.iter().skip(before).position(begins_batch).expect("the batch was written");
    let torn = story.vfs.kill_at(written + 1);
    let Some(Op::Write { offset, bytes, .. }) = trace.get(written) else { unreachable!("it is a write") };
    let first = (bytes::FRAME_HEADER + number(bytes, 8, 3) as usize).next_multiple_of(8);
    let kept = first + bytes::FRAME_HEADER + 9;
    let path = story.vfs.files().into_iter().rfind(|path| path.extension().is_some_and(|it| it == "log"));
    let lost = vec![0; bytes.len() - kept];
    torn.write_bytes(&path.expect("there is a log"), offset + kept as u64, &lost).expect("the file is there");
    torn
}

/// After the recovery: a clock that went back, and one that is past the end of time.
fn end(story: &Story) {
    story.clock(T0 + 1);
    story.add("far", Event::updated().key("far 3").cause(Seq(1)));
    story.batch((0..3).map(|n| (format!("found {n}"), Event::created().by("recovery"))));
    notes(story);
    story.ledger.maintain().expect("it vouches");
    story.note("a", Event::noted(true));
    for late in [125, 126, 40_000] {
        story.clock(TIME_MS_MAX + late);
        story.add("late", Event::observed(TaskState::Skipped).created_at(TIME_MS_MAX));
    }
}

/// Where the golden files are.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format")
}

/// The golden files as they are committed.
pub fn committed() -> Files {
    listing::read(&dir().join("golden"))
}

/// The folder `name` holds these files and what must be read from them.
pub fn check_files(name: &str, files: &Files) {
    let folder = dir().join(name);
    if blesses() {
        // Names change with the seqs in them.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
    }
    for (path, bytes) in files {
        let file = path.rsplit('/').next().unwrap_or(path);
        check(&format!("{name}/{file}.hex"), &to_hex(bytes));
        assert!(from_hex(&to_hex(bytes)) == *bytes, "{path}: what is committed loses nothing");
    }
    let committed = listing::read(&folder);
    assert!(committed.keys().eq(files.keys()) && committed == *files, "as many files, and the same");
    let entries = bytes::read_files(&committed).expect("the golden ledger can be read");
    check(&format!("{name}/entries.jsonl"), &json_lines(&entries));
}

/// One line of JSON for each entry.
pub fn json_lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| serde_json::to_string(entry).expect("an entry is JSON") + "\n").collect()
}

/// Seq and canonical bytes of each entry.
pub fn canon_lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{} {}\n", entry.seq, hex(&canon(entry)))).collect()
}

/// Whether the files are to be written anew.
fn blesses() -> bool {
    std::env::var_os("TASKLEDGER_BLESS").is_some_and(|value| value == "1")
}

/// Compares with what is committed, or commits it where that was asked for.
fn check(name: &str, text: &str) {
    let path = dir().join(name);
    if blesses() {
        std::fs::write(&path, text).expect("the file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    same_lines(name, text, &golden);
}

/// Fails at the first line that differs.
pub fn same_lines(name: &str, found: &str, golden: &str) {
    let mut pairs = found.lines().zip(golden.lines()).enumerate();
    if let Some((n, (found, golden))) = pairs.find(|(_, (found, golden))| found != golden) {
        panic!("{name}, line {}:\n found {found}\ngolden {golden}", n + 1);
    }
    let counts = (found.lines().count(), golden.lines().count());
    assert_eq!(counts.0, counts.1, "{name}: one has more lines");
}

#[test]
fn the_code_still_writes_and_reads_the_golden_bytes() {
    check_files("golden", &make());
    let entries = bytes::read_files(&committed()).expect("the golden ledger can be read");
    check("canon.txt", &canon_lines(&entries));
}

#[test]
fn the_golden_ledger_uses_all_of_the_format() {
    let files = make();
    let segments: Vec<&Vec<u8>> = files.iter().filter(|(name, _)| name.ends_with(".log")).map(|it| it.1).collect();
    let reasons: Vec<u64> = segments.iter().map(|segment| number(segment, 108, 4)).collect();
    assert!(reasons.contains(&2) && reasons.first() == Some(&1) && reasons.last() == Some(&3), "{reasons:?}");
    let bases: std::collections::BTreeSet<u64> = segments.iter().map(|segment| number(segment, 80, 8)).collect();
    assert!(bases.len() < segments.len(), "a segment without an event: {bases:?}");
    let all: Vec<_> = segments.iter().flat_map(|segment| frames(segment)).collect();
    let kinds: std::collections::BTreeSet<u8> = all.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let epochs: std::collections::BTreeSet<u32> = all.iter().map(|frame| frame.epoch).collect();
    assert_eq!(epochs.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    let entries = bytes::read_files(&files).expect("it can be read");
    let count = |has: &dyn Fn(&Entry) -> bool| entries.iter().filter(|entry| has(entry)).count();
    for kind in ["created", "transitioned", "updated", "requeued", "observed", "removed", "noted"] {
        assert!(count(&|entry| entry.event.kind().name() == kind) > 0, "{kind}");
    }
    assert!(count(&|entry| entry.said.is_some_and(|said| said > entry.at)) > 0);
    assert!(count(&|entry| entry.note.is_some() && entry.event.kind().name() == "removed") > 1);
    assert!(count(&|entry| entry.version == Some(250)) > 0 && count(&|entry| entry.version == Some(251)) > 0);
    let lines = json_lines(&entries);
    let fields = [
        "note",
        "value",
        "inferred",
        "from",
        "attempts",
        "output",
        "error",
        "metadata",
        "created_at",
        "updated_at",
        "started_at",
        "finished_at",
        "actor",
        "reason",
        "cause",
        "key",
        "said",
    ];
    let cleared = ["output", "error", "started_at", "finished_at"].map(|field| format!("\"{field}\":null"));
    for field in fields.map(|field| format!("\"{field}\":")).iter().chain(&cleared) {
        assert!(lines.contains(field), "{field}");
    }
}
