//! Every limit that an appender can hit: what is at it is taken, what is one over is refused by name and number.

use std::path::Path;

use serde_json::{Map, Value, json};
use taskledger::limits::{
    ACTOR_BYTES_MAX, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, ERROR_BYTES_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX,
    META_KEY_BYTES_MAX, META_KEYS_MAX, META_VALUE_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_DEPTH_MAX, REASON_BYTES_MAX,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, TASK_ID_BYTES_MAX,
};
use taskledger::{Batch, Error, Event, Expect, Ledger};

use super::files::Files;
use super::program::{Program, says};
use super::site::{Site, options, refuses, task_of, untouched};

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn keys(event: Event, count: std::ops::Range<usize>) -> Event {
    count.fold(event, |event, n| event.meta(format!("k{n}"), ""))
}

fn empty_site() -> Site {
    Site::new(|_| ())
}

#[test]
fn no_limit_is_forgotten_here() {
    let tested = [
        "TASK_ID_BYTES_MAX",
        "META_KEY_BYTES_MAX",
        "META_VALUE_BYTES_MAX",
        "META_KEYS_MAX",
        "ACTOR_BYTES_MAX",
        "KEY_BYTES_MAX",
        "REASON_BYTES_MAX",
        "ERROR_BYTES_MAX",
        "OUTPUT_BYTES_MAX",
        "OUTPUT_DEPTH_MAX",
        "NOTE_KEY_BYTES_MAX",
        "NOTE_VALUE_BYTES_MAX",
        "NOTE_DEPTH_MAX",
        "BATCH_EVENTS_MAX",
        "BATCH_BYTES_MAX",
        "STATED_AHEAD_MS_MAX",
        "FRAME_BYTES_MAX",
        "SEGMENT_BYTES_MIN",
        "SEGMENT_BYTES_MAX",
    ];
    // A stated time meets STATED_AHEAD_MS_MAX long before TIME_MS_MAX, and no ledger comes near SEQ_MAX. The others
    // decide where a frame or a segment ends, and what is remembered: nothing is refused for them.
    let not_met = [
        "TIME_MS_MAX",
        "SEQ_MAX",
        "KEY_WINDOW",
        "FRAME_BYTES_TARGET",
        "FRAME_TEXT_BYTES_MAX",
        "SEGMENT_BYTES_DEFAULT",
        "SEGMENT_BYTES_YOUNG",
        "SEGMENT_EVENTS_MAX",
        "UNFLUSHED_BYTES_MAX",
        "CACHE_BYTES_DEFAULT",
    ];
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/limits.rs")).unwrap();
    let named =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':')).map(|(name, _)| name);
    let mut found: Vec<&str> = named.collect();
    let mut listed: Vec<&str> = tested.into_iter().chain(not_met).collect();
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed, "each limit is tested here, in `times` or in `notes`, or it is said why not");
}

/// A field and its limit: what it is called, the event with so much of it, and the line with so much of it.
struct Field {
    what: &'static str,
    most: usize,
    event: fn(usize) -> Event,
    line: fn(usize) -> (&'static str, Value),
}

const FIELDS: [Field; 9] = [
    Field {
        what: "metadata key",
        most: META_KEY_BYTES_MAX,
        event: |n| Event::created().meta(text(n), ""),
        line: |n| ("metadata", json!({text(n): ""})),
    },
    Field {
        what: "metadata value",
        most: META_VALUE_BYTES_MAX,
        event: |n| Event::created().meta("k", text(n)),
        line: |n| ("metadata", json!({"k": text(n)})),
    },
    Field {
        what: "metadata",
        most: META_KEYS_MAX,
        event: |n| keys(Event::created(), 0..n),
        line: |n| ("metadata", (0..n).map(|n| (format!("k{n}"), json!(""))).collect::<Map<_, _>>().into()),
    },
    Field {
        what: "actor",
        most: ACTOR_BYTES_MAX,
        event: |n| Event::created().by(text(n)),
        line: |n| ("actor", json!(text(n))),
    },
    Field {
        what: "key",
        most: KEY_BYTES_MAX,
        event: |n| Event::created().key(text(n)),
        line: |n| ("key", json!(text(n))),
    },
    Field {
        what: "reason",
        most: REASON_BYTES_MAX,
        event: |n| Event::created().because(text(n)),
        line: |n| ("reason", json!(text(n))),
    },
    Field {
        what: "error",
        most: ERROR_BYTES_MAX,
        event: |n| Event::created().error(text(n)),
        line: |n| ("error", json!(text(n))),
    },
    Field {
        what: "output",
        most: OUTPUT_BYTES_MAX,
        event: |n| Event::created().output_text(&format!("\"{}\"", text(n - 2))),
        line: |n| ("output", json!(text(n - 2))),
    },
    Field {
        what: "output",
        most: OUTPUT_DEPTH_MAX,
        event: |n| Event::created().output_text(&format!("{}{}", "[".repeat(n), "]".repeat(n))),
        line: |n| ("output", (1..n).fold(json!([]), |inner, _| json!([inner]))),
    },
];

#[test]
fn each_field_is_taken_at_its_limit_and_refused_one_above() {
    let (by_library, by_program) = (empty_site(), empty_site());
    for (n, Field { what, most, event, line }) in FIELDS.into_iter().enumerate() {
        let task = format!("task {n}");
        let with = |amount: usize| {
            let (field, value) = line(amount);
            json!({"task": task, "event": "created", field: value})
        };
        let error = by_library.refuses(|ledger| ledger.append(&*task, event(most + 1)));
        let Error::Limit { subject, what: field, problem } = &error else { panic!("{error:?}") };
        assert_eq!((task_of(subject), *field, error.code()), (Some(task.as_str()), what, "LIMIT"));
        says(problem, &[&(most + 1).to_string(), &format!("at most {most} are allowed")]);
        assert_eq!(error.to_string(), format!("{task}: {what} {problem}"));
        let told = by_program.refuses_line("LIMIT", &with(most + 1));
        assert_eq!(told["task"], json!(task), "{told:.300}");
        assert_eq!(told["message"], json!(format!("line 1: {error}; no line is in")));

        by_library.open().append(&*task, event(most)).unwrap_or_else(|error| panic!("the most for {what}: {error}"));
        Program::default().run(&["import", "-D", by_program.arg()], &format!("{}\n", with(most))).good();
    }
    for site in [by_library, by_program] {
        assert_eq!(Ledger::open_read_only(&site.dir).unwrap().view().seq().0, FIELDS.len() as u64);
        site.goes_on();
    }
}

#[test]
fn names_must_not_be_empty_and_ids_not_too_long() {
    let site = empty_site();
    let longest = "ä".repeat(TASK_ID_BYTES_MAX / 2);
    let table = [
        ("", Event::created(), "task id is empty", json!({"task": "", "event": "created"})),
        ("a", Event::created().by(""), "a: actor is empty", json!({"task": "a", "event": "created", "actor": ""})),
        ("a", Event::created().key(""), "a: key is empty", json!({"task": "a", "event": "created", "key": ""})),
        (
            "a",
            Event::created().meta("", "v"),
            "a: metadata key is empty",
            json!({"task": "a", "event": "created", "metadata": {"": "v"}}),
        ),
        (
            "a",
            Event::created().cause(taskledger::Seq(0)),
            "a: cause is 0, and entries count from 1",
            json!({"task": "a", "event": "created", "cause": 0}),
        ),
    ];
    for (task, event, message, line) in table {
        let error = site.refuses(|ledger| ledger.append(task, event));
        assert_eq!((error.code(), error.to_string().as_str()), ("LIMIT", message));
        let told = site.refuses_line("LIMIT", &line);
        assert_eq!(told["message"], json!(format!("line 1: {message}; no line is in")));
        assert_eq!(told.get("task"), Some(&json!(task)).filter(|task| **task != json!("")));
    }

    let over = format!("{longest}x");
    // Named by its beginning: 40 letters of two bytes.
    let named = "ä".repeat(40);
    let problem = format!("has {} bytes, at most {TASK_ID_BYTES_MAX} are allowed", TASK_ID_BYTES_MAX + 1);
    let mut looks = Batch::new();
    looks.push("a", Event::created(), Expect::Any).check(&*over, Expect::Absent);
    let errors =
        [site.refuses(|ledger| ledger.append(&*over, Event::created())), site.refuses(|ledger| ledger.commit(looks))];
    for error in errors {
        let Error::Limit { subject, what, problem: found } = &error else { panic!("{error:?}") };
        assert_eq!((task_of(subject), *what, found), (Some(named.as_str()), "task id", &problem));
        assert_eq!(error.to_string(), format!("{named}: task id {problem}"));
    }
    let told = site.refuses_line("LIMIT", &json!({"task": over, "event": "created"}));
    assert_eq!((&told["task"], told["message"].as_str().unwrap().contains(&problem)), (&json!(named), true));
    site.open().append(&*longest, Event::created()).expect("as long as allowed");
    let line = json!({"task": "y".repeat(TASK_ID_BYTES_MAX), "event": "created"});
    Program::default().run(&["import", "-D", site.arg()], &format!("{line}\n")).good();
    site.goes_on();
}

#[test]
fn a_task_has_at_most_256_metadata_keys_over_all_its_events() {
    let site = Site::new(|ledger| drop(ledger.append("a", keys(Event::created(), 0..200)).unwrap()));
    let message = "a: metadata has 257 keys, at most 256 are allowed";
    let error = site.refuses(|ledger| ledger.append("a", keys(Event::updated(), 150..257)));
    assert_eq!((error.code(), error.to_string().as_str()), ("LIMIT", message));
    let metadata: Map<String, Value> = (150..257).map(|n| (format!("k{n}"), json!("new"))).collect();
    let line = json!({"task": "a", "event": "updated", "version": 2, "metadata": metadata});
    says(site.refuses_line("LIMIT", &line)["message"].as_str().unwrap(), &[message]);

    site.open().append("a", keys(Event::updated(), 150..256)).expect("256 in all");
    site.refuses(|ledger| ledger.append("a", Event::updated().meta("one more", "")));
    site.open().append("a", Event::updated().meta("one more", "").unset("k0")).expect("one for another");
    site.goes_on();
}

#[test]
fn a_batch_has_at_most_65535_events() {
    let site = empty_site();
    let of = |events: usize| {
        let mut batch = Batch::new();
        for n in 0..events {
            let event = if n == 0 { Event::created() } else { Event::updated() };
            batch.push("a", event, Expect::Any);
        }
        batch
    };
    let error = site.refuses(|ledger| ledger.commit(of(BATCH_EVENTS_MAX + 1)));
    assert!(matches!(&error, Error::Limit { subject: None, what: "batch", .. }), "{error:?}");
    assert_eq!(error.to_string(), "batch has 65536 events, at most 65535 are allowed");
    assert_eq!(site.open().commit(of(BATCH_EVENTS_MAX)).unwrap().seq().0, BATCH_EVENTS_MAX as u64);
    site.goes_on();

    let before = Files::log(&site.dir);
    let args = ["import", "-D", site.arg(), "--batch", "65536"];
    let usage = Program::default().refused(&args, "", 2, "USAGE");
    says(usage["message"].as_str().unwrap(), &["65536", "--batch", "1..=65535"]);
    before.assert_same(&Files::log(&site.dir), "wrong usage");
    Program::default().run(&["import", "-D", site.arg(), "--batch", "65535"], "").good();
}

/// The first number behind a word of a message.
fn number_behind(word: &str, error: &Error) -> usize {
    let text = error.to_string();
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("{word:?} is not said: {text}"));
    rest.split_whitespace().next().unwrap().parse().unwrap_or_else(|_| panic!("no number behind {word:?}: {text}"))
}

#[test]
fn a_batch_takes_at_most_64_mib() {
    let site = empty_site();
    let output = |bytes: usize| Event::created().output_text(&format!("\"{}\"", text(bytes - 2)));
    let of = |last: usize| {
        let mut batch = Batch::new();
        for n in 0..7 {
            batch.push(format!("task {n}"), output(OUTPUT_BYTES_MAX), Expect::Any);
        }
        batch.push("last", output(last), Expect::Any);
        batch
    };
    let ledger = site.open();
    // What is said to be taken tells how much is too much.
    let error = refuses(&ledger, &site.dir, |ledger| ledger.commit(of(OUTPUT_BYTES_MAX)));
    let most = OUTPUT_BYTES_MAX - (number_behind("takes ", &error) - BATCH_BYTES_MAX);
    let error = refuses(&ledger, &site.dir, |ledger| ledger.commit(of(most + 1)));
    assert!(matches!(&error, Error::Limit { subject: None, what: "batch", .. }), "{error:?}");
    assert_eq!(error.code(), "LIMIT");
    assert_eq!(error.to_string(), "batch takes 67108865 bytes, at most 67108864 are allowed");
    ledger.commit(of(most)).expect("64 MiB to the byte");
    ledger.close().unwrap();
    let reader = Ledger::open_read_only(&site.dir).unwrap();
    assert_eq!((reader.view().seq().0, reader.view().counts().total()), (8, 8));
}

#[test]
fn one_event_takes_at_most_a_frame() {
    let site = empty_site();
    let of = |last: usize| {
        let full =
            (0..255).fold(Event::created(), |event, n| event.meta(format!("k{n:03}"), text(META_VALUE_BYTES_MAX)));
        full.meta("last", text(last))
    };
    let ledger = site.open();
    let error = refuses(&ledger, &site.dir, |ledger| ledger.append("a", of(META_VALUE_BYTES_MAX)));
    let Error::Limit { subject, what, .. } = &error else { panic!("{error:?}") };
    assert_eq!((task_of(subject), *what, error.code()), (Some("a"), "event", "LIMIT"));
    // A frame also has a header and what goes around its columns.
    let most = number_behind("at most ", &error);
    assert!(most < FRAME_BYTES_MAX && most > FRAME_BYTES_MAX - 1024, "{error}");
    says(&error.to_string(), &["a: event takes ", &format!("at most {most} fit a frame")]);
    let over = number_behind("takes ", &error) - most;
    assert!(over > 0, "what is refused is more than what is allowed: {error}");
    refuses(&ledger, &site.dir, |ledger| ledger.append("a", of(META_VALUE_BYTES_MAX - over + 1)));
    ledger.append("a", of(META_VALUE_BYTES_MAX - over)).expect("all of what is allowed");
    ledger.close().unwrap();

    let metadata: Map<String, Value> =
        (0..256).map(|n| (format!("k{n:03}"), json!(text(META_VALUE_BYTES_MAX)))).collect();
    let told = site.refuses_line("LIMIT", &json!({"task": "b", "event": "created", "metadata": metadata}));
    assert_eq!(told["task"], "b");
    says(told["message"].as_str().unwrap(), &["b: event takes ", "fit a frame"]);
    site.goes_on();
}

#[test]
fn a_segment_has_16_kib_to_1_gib() {
    let site = empty_site();
    let elsewhere = site.dir.with_file_name("elsewhere");
    for bytes in [0, SEGMENT_BYTES_MIN - 1, SEGMENT_BYTES_MAX + 1, u64::MAX] {
        let home = elsewhere.parent().unwrap();
        let error = untouched(home, || options().segment_size(bytes).open(&elsewhere));
        let Error::Limit { subject, what, problem } = &error else { panic!("{error:?}") };
        assert_eq!((task_of(subject), *what, error.code()), (None, "segment size", "LIMIT"));
        assert_eq!(*problem, format!("is {bytes} bytes, allowed are {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"));
        let args = ["import", "-D", elsewhere.to_str().unwrap(), "--segment-size", &bytes.to_string()];
        let usage = Program::default().refused(&args, "", 2, "USAGE");
        says(usage["message"].as_str().unwrap(), &[&bytes.to_string(), "--segment-size", "16384..=1073741824"]);
        assert!(!elsewhere.exists());
    }
    for bytes in [SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX] {
        options().segment_size(bytes).open(&site.dir).expect("at the limit");
        let args = ["import", "-D", site.arg(), "--segment-size", &bytes.to_string()];
        Program::default().run(&args, "").good();
    }
    site.goes_on();
}
