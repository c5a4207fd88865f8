//! JSON: records travel between this crate and dag-executor without a change, and each line has its promised shape.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dag_executor::prelude as theirs;
use serde_json::{Value, json};
use taskledger::vfs::fault::MemVfs;
use taskledger::{
    Change, Entry, Event, Expect, Ledger, Level, Maintenance, Options, Seq, Task, TaskRecord, TaskState, VerifyReport,
    verify,
};

use crate::support::ClockVfs;

const NOON: u64 = 1_772_366_400_000;

/// JSON texts whose numbers, depth or letters are easily lost.
const OUTPUTS: [&str; 17] = [
    "1e-7",
    "-0.0",
    "0.1",
    "1.7976931348623157e308",
    "5e-324",
    "2.2250738585072014e-308",
    "123456789.12345679",
    "0.30000000000000004",
    "9007199254740993",
    "18446744073709551615",
    "-9223372036854775808",
    r#"{"a":[null,{"b":null}],"c":{}}"#,
    r#"[[],[[]],{"":""}]"#,
    r#""\u0000\t\"\\ ünï ✓ 𝄞 \u007f""#,
    "true",
    r#"{"z":1,"a":2.50,"m":[1E2,-1.0]}"#,
    r#"" null""#,
];

/// A new ledger in memory, with a clock that stands at noon.
fn noon() -> Ledger {
    let vfs: Arc<ClockVfs> = ClockVfs::new(MemVfs::new(), NOON);
    Options::new().maintenance(Maintenance::Manual).vfs(vfs).open("/runs").expect("a new ledger")
}

fn task(ledger: &Ledger, id: &str) -> Task {
    ledger.get(id).unwrap().expect("it was appended")
}

fn last_entry(ledger: &Ledger) -> Entry {
    ledger.entries(ledger.head()).next().expect("there is one").unwrap()
}

/// Records of every state, with all kinds of output and metadata.
fn records() -> Vec<TaskRecord> {
    let mut records = Vec::new();
    for state in TaskState::ALL {
        for (n, output) in OUTPUTS.iter().enumerate() {
            let metadata = [("k", ""), ("schlüssel", "✓ \"quoted\"\n"), ("", "empty key")];
            records.push(TaskRecord {
                id: format!("{state}/ünï \"{n}\"\u{1}"),
                state,
                attempts: [0, 1, u32::MAX][n % 3],
                created_at: [0, NOON, u64::MAX][n % 3],
                updated_at: NOON,
                started_at: [None, Some(0), Some(u64::MAX)][n % 3],
                finished_at: [Some(NOON), None][n % 2],
                output: Some(serde_json::from_str(output).unwrap()).filter(|_| n != 14),
                error: [None, Some(String::new()), Some("what ✗".to_owned())][n % 3].clone(),
                metadata: metadata.into_iter().take(n % 4).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            });
        }
    }
    records
}

/// The JSON of a record with every number's text.
fn text(record: &impl serde::Serialize) -> String {
    serde_json::to_string(&serde_json::to_value(record).unwrap()).unwrap()
}

fn to_theirs(ours: &TaskRecord) -> theirs::TaskRecord {
    serde_json::from_str(&serde_json::to_string(ours).unwrap()).expect("they read ours")
}

fn to_ours(other: &theirs::TaskRecord) -> TaskRecord {
    serde_json::from_str(&serde_json::to_string(other).unwrap()).expect("we read theirs")
}

#[test]
fn our_records_are_the_same_json_after_dag_executor_has_read_and_written_them() {
    for ours in records() {
        let other = to_theirs(&ours);
        assert_eq!(text(&other), text(&ours));
        assert_eq!(to_ours(&other), ours);
    }
}

#[test]
fn their_records_are_read_and_written_without_a_change() {
    for state in TaskState::ALL {
        let mut other = theirs::TaskRecord::new("theirs");
        other.state = serde_json::from_value(json!(state)).unwrap();
        other.output = Some(json!({"p": 1e-7, "q": u64::MAX, "r": null}));
        other.metadata = HashMap::from([("host".to_owned(), "ci-7".to_owned())]);
        let ours = to_ours(&other);
        assert_eq!(text(&ours), text(&other));
        assert_eq!(ours.state, state);
        assert_eq!((&ours.id, ours.created_at, &ours.output), (&other.id, other.created_at, &other.output));
    }
}

#[test]
fn a_record_has_the_ten_fields_in_their_order_and_unset_ones_as_null() {
    let mut record = TaskRecord::new("a");
    (record.created_at, record.updated_at) = (1, 2);
    let mut other = theirs::TaskRecord::new("a");
    (other.created_at, other.updated_at) = (1, 2);
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(
        line,
        r#"{"id":"a","state":"pending","attempts":0,"created_at":1,"updated_at":2,"started_at":null,"finished_at":null,"output":null,"error":null,"metadata":{}}"#
    );
    assert_eq!(line, serde_json::to_string(&other).unwrap());
}

#[test]
fn an_output_goes_through_the_ledger_and_dag_executor_to_the_last_bit() {
    let ledger = noon();
    for (n, output) in OUTPUTS.into_iter().enumerate() {
        let given: Value = serde_json::from_str(output).unwrap();
        for (how, event) in
            [("text", Event::created().output_text(output)), ("value", Event::created().output(given.clone()))]
        {
            let id = format!("{how} {n}");
            ledger.append(&*id, event).unwrap();
            let record = task(&ledger, &id).record;
            let got = record.output.clone().expect("it was given");
            assert_eq!(got.to_string(), given.to_string(), "{how} {output}");
            if let (Some(got), Some(given)) = (got.as_f64(), given.as_f64()) {
                assert_eq!(got.to_bits(), given.to_bits(), "{how} {output}");
            }
            let read: theirs::TaskRecord = serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
            assert_eq!(text(&read), text(&record), "{how} {output}");
            assert_eq!(text(&to_theirs(&record)), text(&record), "{how} {output}");
        }
    }
}

#[test]
fn an_output_given_as_text_is_kept_as_written_and_shown_on_one_line() {
    let ledger = noon();
    for output in
        OUTPUTS.into_iter().chain(["1.50", "1E5", "-0", "[1,\n 2]", " {\"a\" : 1} ", "0.1000000000000000055511"])
    {
        ledger.append("a", Event::observed(TaskState::Ready).output_text(output)).unwrap();
        let entry = last_entry(&ledger);
        let Change::Set(json) = entry.event.output_change() else { panic!("{output:?} was set") };
        assert_eq!(json.as_str(), output);
        let line = serde_json::to_string(&entry).unwrap();
        let shown = output.trim().replace('\n', " ");
        assert!(line.ends_with(&format!(r#""output":{shown}}}"#)), "{output:?} in {line}");
        assert!(!line.contains('\n'));
    }
}

#[test]
fn every_finite_float_survives_appending() {
    // Bit patterns all over the range; the multiplier is odd, so none comes twice.
    let floats = (0..400_u64).map(|n| f64::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).filter(|f| f.is_finite());
    let floats: Vec<f64> = floats.collect();
    let ledger = noon();
    ledger.append("a", Event::created().output(json!(floats))).unwrap();
    let got = task(&ledger, "a").record.output.unwrap();
    let got: Vec<u64> = got.as_array().unwrap().iter().map(|number| number.as_f64().unwrap().to_bits()).collect();
    assert_eq!(got, floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>());
}

#[test]
fn an_entry_is_one_line_in_the_promised_order() {
    let ledger = noon();
    ledger.append("a", Event::created()).unwrap();
    let first = last_entry(&ledger);
    assert_eq!(
        serde_json::to_string(&first).unwrap(),
        format!(
            r#"{{"type":"taskledger.entry/1","seq":1,"task":"a","version":1,"at":{NOON},"event":"created","to":"pending"}}"#
        )
    );
    let event = Event::to(TaskState::Ready)
        .inferred()
        .attempts(3)
        .output_text("1.50")
        .error("e")
        .meta("z", "2")
        .meta("a", "1")
        .unset("m")
        .by("worker-7")
        .because("30 s")
        .cause(Seq(1))
        .key("k")
        .at(5);
    ledger.append("a", event).unwrap();
    assert_eq!(
        serde_json::to_string(&last_entry(&ledger)).unwrap(),
        [
            r#"{"type":"taskledger.entry/1","seq":2,"task":"a","version":2,"at":1772366400000,"said":5,"#,
            r#""event":"transitioned","inferred":true,"from":"pending","to":"ready","attempts":3,"output":1.50,"#,
            r#""error":"e","metadata":{"a":"1","m":null,"z":"2"},"actor":"worker-7","reason":"30 s","cause":1,"key":"k"}"#,
        ]
        .concat()
    );
}

#[test]
fn an_entry_names_its_event_and_shows_what_it_cleared_as_null() {
    let ledger = noon();
    let shown = |event: Event| {
        ledger.append("a", event).unwrap();
        serde_json::to_value(last_entry(&ledger)).unwrap()
    };
    let events = [
        (Event::created(), "created", json!(null), json!("pending")),
        (Event::updated(), "updated", json!("pending"), json!(null)),
        (Event::to(TaskState::Ready), "transitioned", json!("pending"), json!("ready")),
        (Event::to(TaskState::Running), "transitioned", json!("ready"), json!("running")),
        (Event::requeued(TaskState::Pending), "requeued", json!("running"), json!("pending")),
        (Event::observed(TaskState::DeadLettered), "observed", json!("pending"), json!("dead_lettered")),
        (Event::removed(), "removed", json!("dead_lettered"), json!(null)),
    ];
    for (event, name, from, to) in events {
        let line = shown(event);
        let get = |field: &str| line.get(field).cloned().unwrap_or_default();
        assert_eq!((get("event"), get("from"), get("to")), (json!(name), from, to));
        assert_eq!(get("attempts"), if get("to") == "running" { json!(1) } else { json!(null) }, "{name}");
    }
    let seen = Event::observed(TaskState::Ready).clear_output().clear_error();
    let line = shown(seen.created_at(1).updated_at(2).started_at(Some(3)).finished_at(None));
    for (field, value) in [
        ("output", json!(null)),
        ("error", json!(null)),
        ("created_at", json!(1)),
        ("updated_at", json!(2)),
        ("started_at", json!(3)),
        ("finished_at", json!(null)),
    ] {
        assert_eq!(line.get(field), Some(&value), "{field} of {line}");
    }
    let line = shown(Event::updated().output(Value::Null));
    assert_eq!(line.get("output"), Some(&json!(null)), "JSON null as output is no output");
    let unset = ["said", "inferred", "metadata", "error", "started_at", "actor", "reason", "cause", "key"];
    assert!(unset.iter().all(|field| line.get(field).is_none()), "{line}");
}

#[test]
fn a_task_is_one_line_with_its_record_version_and_seq() {
    let ledger = noon();
    ledger.append("other", Event::created()).unwrap();
    ledger.append("a", Event::created().meta("z", "1").meta("a", "2").meta("k", "3")).unwrap();
    assert_eq!(
        serde_json::to_string(&task(&ledger, "a")).unwrap(),
        [
            r#"{"type":"taskledger.task/1","id":"a","state":"pending","attempts":0,"created_at":1772366400000,"#,
            r#""updated_at":1772366400000,"metadata":{"a":"2","k":"3","z":"1"},"version":1,"seq":2}"#,
        ]
        .concat()
    );
    let seen = Event::observed(TaskState::Failed).attempts(2).created_at(1).updated_at(4).started_at(Some(2));
    ledger.append("b", seen.finished_at(Some(3)).output_text("1.5").error("e")).unwrap();
    assert_eq!(
        serde_json::to_string(&task(&ledger, "b")).unwrap(),
        [
            r#"{"type":"taskledger.task/1","id":"b","state":"failed","attempts":2,"created_at":1,"updated_at":4,"#,
            r#""started_at":2,"finished_at":3,"output":1.5,"error":"e","metadata":{},"version":1,"seq":3}"#,
        ]
        .concat()
    );
}

#[test]
fn counts_are_one_line_with_a_number_for_each_state() {
    let ledger = noon();
    for (n, state) in TaskState::ALL.into_iter().enumerate() {
        for copy in 0..n {
            ledger.append_if(format!("{state} {copy}"), Event::observed(state), Expect::Absent).unwrap();
        }
    }
    assert_eq!(
        serde_json::to_string(&ledger.counts()).unwrap(),
        [
            r#"{"type":"taskledger.counts/1","pending":0,"ready":1,"running":2,"completed":3,"failed":4,"#,
            r#""retrying":5,"cancelled":6,"skipped":7,"dead_lettered":8,"total":36,"seq":36}"#,
        ]
        .concat()
    );
}

/// The names of a JSON object in the order of its text.
fn names(line: &str) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, Value>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Names>(line).expect("a line is an object").0
}

/// Verifies a ledger in one of whose entries a byte was flipped.
fn damaged(dir: &Path) -> VerifyReport {
    let ledger = Options::new().maintenance(Maintenance::Manual).open(dir).unwrap();
    for n in 0..9 {
        ledger.append("a", Event::observed(TaskState::Ready).error(format!("marked {n}"))).unwrap();
    }
    ledger.close().unwrap();
    let log = std::fs::read_dir(dir.join("log")).unwrap();
    let segment = log.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|ext| ext == "log"));
    let segment = segment.expect("there is one");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|window| window == b"marked 4").expect("texts are stored as they are");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    verify(dir, Level::Content).unwrap()
}

#[test]
fn a_finding_is_one_line_that_says_where_and_what_to_do_next() {
    let dir = tempfile::tempdir().unwrap();
    let report = damaged(dir.path());
    let lines: Vec<String> = report.findings.iter().map(|finding| serde_json::to_string(finding).unwrap()).collect();
    let line = lines.iter().find(|line| line.contains("damage")).expect("a byte was flipped");
    let order = ["type", "severity", "code", "file", "from", "to", "seqs", "task", "message", "next"];
    let names = names(line);
    assert!(order.into_iter().filter(|&name| names.iter().any(|has| has == name)).eq(names.iter()), "{line}");
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&value["type"], &value["severity"]), (&json!("taskledger.finding/1"), &json!("damage")));
    assert!(value["from"].as_u64() < value["to"].as_u64(), "{line}");
    let seqs = value["seqs"].as_array().unwrap_or_else(|| panic!("{line} names the entries")).clone();
    assert!(seqs[0].as_u64() <= Some(5) && Some(5) <= seqs[1].as_u64(), "the flipped byte is in seq 5: {line}");
    for name in ["code", "file", "message", "next"] {
        assert!(value[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {line}");
    }
}

#[test]
fn a_verify_report_is_one_line_with_the_verdict_and_how_far_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let report = damaged(dir.path());
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["verdict"], json!("damaged"));
    assert_eq!(value["findings"], json!(report.findings.len()));

    let sound = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(sound.path()).unwrap();
    ledger.append("a", Event::created()).unwrap();
    ledger.close().unwrap();
    let line = serde_json::to_string(&verify(sound.path(), Level::Content).unwrap()).unwrap();
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(names(&line)[..3], ["type", "verdict", "level"]);
    assert_eq!((&value["type"], &value["verdict"]), (&json!("taskledger.verify/1"), &json!("sound")));
    assert_eq!((&value["level"], &value["checked_to"], &value["entries"]), (&json!("content"), &json!(1), &json!(1)));
    assert_eq!((&value["segments"], value.get("writer")), (&json!(1), None));
}
