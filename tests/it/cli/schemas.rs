//! `schema`: every object that any test here makes the program print is what its schema says, and nothing more.
//!
//! [`check`] is called for each run of the program. The printed schemas allow fields that are not known, since fields
//! may be added; here they are an error, so that none is added without being described.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Ran, run};

/// What stands at the beginning of each object.
const MARK: &str = r#"{"type":"taskledger."#;

fn printed() -> &'static BTreeMap<String, Value> {
    static SCHEMAS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let output = Command::new(super::PROGRAM).args(["schema", "--json"]).stdin(Stdio::null()).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let schemas = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        schemas.map(|schema| (schema["title"].as_str().expect("a title").to_owned(), schema)).collect()
    })
}

/// The schema, with which a field that it does not name is an error.
fn strict(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut() {
                *value = strict(value.take());
            }
            // Not a map of fields, one of which is called so.
            if fields.get("properties").is_some_and(|named| named.is_object()) && fields.contains_key("required") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = strict(value.take())),
        _ => {}
    }
    schema
}

fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let strict = printed().iter().map(|(kind, schema)| (kind.clone(), strict(schema.clone())));
        strict.map(|(kind, schema)| (kind, jsonschema::draft202012::new(&schema).expect("it is a schema"))).collect()
    })
}

/// The kinds that were seen, in this process.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Holds every line that says which kind of object it is against the schema of that kind.
pub fn check(ran: &Ran) {
    for line in ran.out.lines().chain(ran.err.lines()).filter(|line| line.starts_with(MARK)) {
        let object: Value = match serde_json::from_str(line) {
            Ok(object) => object,
            // A note's value may be as deep as the parser takes, and the line that holds it is one deeper.
            Err(error) if error.to_string().starts_with("recursion limit exceeded") => continue,
            Err(error) => panic!("{error}: {line}"),
        };
        let kind = object["type"].as_str().expect(line);
        let validator = validators().get(kind).unwrap_or_else(|| panic!("no schema describes {kind}: {line}"));
        if let Err(error) = validator.validate(&object) {
            let (line, at) = (line.chars().take(500).collect::<String>(), error.instance_path());
            panic!("{kind} is not what its schema says: {error} at {at:?}\n{line}");
        }
        SEEN.lock().unwrap().insert(kind.to_owned());
    }
}

/// A run that prints each of the kinds, so that no schema is held against nothing.
#[test]
fn every_kind_is_printed_and_is_what_its_schema_says() {
    let demo = super::Demo::new();
    let (dir, other) = (demo.dir(), demo.other());
    let noted = json!({"note": "plan", "event": "noted", "value": {"a": [1, null]}, "at": 1_772_334_000_000_u64});
    run(&["init", &other, "--json"]).good();
    super::run_on(&(demo.log() + &noted.to_string()), &["import", "--json", "-D", &other]).good();
    run(&["demo", &dir, "--json"]).good();
    run(&["append", "x", "created", "--json", "-D", &other]).good();
    for args in [
        vec!["ls"],
        vec!["show", "train/churn"],
        vec!["history", "train/churn"],
        vec!["notes"],
        vec!["note", "plan", "--history"],
        vec!["log"],
        vec!["diff", "seq:20", "seq:90"],
        vec!["bisect", "--where", "failed > 0"],
        vec!["dump", "1", "--hex"],
        vec!["stats", "--by", "meta.owner"],
        vec!["timeline"],
        vec!["info"],
        vec!["verify", "--level", "derived"],
        vec!["prune", "--before", "now"],
        vec!["snapshot"],
        vec!["version"],
    ] {
        let args = [args, vec!["--json", "-D", &other]].concat();
        assert!(!run(&args).good().is_empty(), "{args:?}");
    }
    run(&["show", "nobody", "--json", "-D", &other]).error();
    // A damaged byte, for a finding.
    let first = fs::read_dir(Path::new(&dir).join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&first).unwrap();
    bytes[5000] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(run(&["verify", "--json", "-D", &dir]).code, Some(5));
    let seen = SEEN.lock().unwrap().clone();
    assert_eq!(seen, printed().keys().cloned().collect(), "the kinds that were printed, and those that are described");
}

#[test]
fn a_field_that_no_schema_names_and_a_value_that_none_allows_are_noticed() {
    let object = json!({"type": "taskledger.version/1", "version": "1", "format": "1.0"});
    let is_valid = |object: &Value| validators()["taskledger.version/1"].is_valid(object);
    assert!(is_valid(&object));
    for (field, value) in [("more", json!(1)), ("format", json!(1)), ("version", json!(null))] {
        let mut wrong = object.clone();
        wrong[field] = value;
        assert!(!is_valid(&wrong), "{wrong}");
    }
    let mut without = object;
    without.as_object_mut().unwrap().remove("format");
    assert!(!is_valid(&without));
}

#[test]
fn one_kind_is_printed_to_be_read_and_stands_alone() {
    for name in ["change", "taskledger.change/1"] {
        let text = run(&["schema", name]).good();
        assert!(text.lines().count() > 20 && text.starts_with("{\n  \"$schema\": "), "{text}");
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema, printed()["taskledger.change/1"]);
        let parts: Vec<&String> = schema["$defs"].as_object().unwrap().keys().collect();
        assert_eq!(parts, ["millis", "seq", "state", "task"]);
    }
    let listed = run(&["schema"]).good();
    assert!(listed.lines().count() == printed().len() && listed.contains("\ntask "), "{listed}");
    let unknown = run(&["schema", "nothing", "--json"]);
    assert_eq!((unknown.code, unknown.error()["code"].as_str()), (Some(2), Some("USAGE")));
}

/// What a value may be, in a word or a few.
fn shape(value: &Value) -> String {
    if let Some(name) = value["$ref"].as_str() {
        return match name.rsplit('/').next().unwrap() {
            "millis" => "ms".to_owned(),
            "millis_or_null" => "ms or null".to_owned(),
            value @ ("seq" | "state") => value.to_owned(),
            kind => format!("`taskledger.{kind}/1`"),
        };
    }
    let alternatives = |values: &[Value]| values.iter().map(shape).collect::<Vec<_>>().join(" or ");
    if let Some(values) = value["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", value.as_str().unwrap())).collect::<Vec<_>>().join(", ");
    }
    if let Some(values) = value["oneOf"].as_array() {
        return alternatives(values);
    }
    if let Some(constant) = value.get("const") {
        return format!("`{}`", constant.to_string().trim_matches('"'));
    }
    match &value["type"] {
        Value::String(name) if name == "array" && !value["prefixItems"].is_null() => "a list".to_owned(),
        Value::String(name) if name == "array" => format!("a list of: {}", shape(&value["items"])),
        Value::String(name) if name == "object" => match value["properties"].as_object() {
            Some(fields) if fields.contains_key("dead_lettered") => "a number for each state".to_owned(),
            Some(_) => {
                let names = value["required"].as_array().unwrap().iter();
                names.map(|name| format!("`{}`", name.as_str().unwrap())).collect::<Vec<_>>().join(", ")
            }
            None => "an object".to_owned(),
        },
        Value::String(name) => match name.as_str() {
            "integer" => "number",
            "string" => "text",
            "boolean" => "true or false",
            other => panic!("{other}"),
        }
        .to_owned(),
        Value::Array(names) => {
            let all: Vec<String> = names
                .iter()
                .map(|name| if name == "null" { "null".to_owned() } else { shape(&json!({ "type": name })) })
                .collect();
            all.join(" or ")
        }
        Value::Null => "any JSON".to_owned(),
        other => panic!("{other}"),
    }
}

/// docs/json.md, from the schemas.
fn document() -> String {
    let mut text = String::from(
        "# JSON\n\nWith `--json` a command prints one object a line; `type` says which kind it is. Times are in \
         milliseconds since the Unix epoch (ms).\nA field without a value is absent, and fields are only ever added. \
         Those in italics may be absent. `taskledger schema KIND` prints\nthe JSON Schema of a kind; this page is made \
         from them.\n",
    );
    for (title, schema) in printed() {
        let required = schema["required"].as_array().unwrap();
        write!(text, "\n## {title}\n\n{}\n\n| field | value | |\n|---|---|---|\n", capital(&schema["description"]))
            .unwrap();
        // Printed in the order of the file, which a map of this test does not keep.
        let raw = run(&["schema", title]).good();
        let fields = schema["properties"].as_object().unwrap();
        let mut names: Vec<&String> = fields.keys().filter(|name| *name != "type").collect();
        let place =
            |name: &str| raw.find(&format!("\n        \"{name}\": ")).unwrap_or_else(|| panic!("{name} in {raw}"));
        names.sort_by_key(|name| place(name));
        for name in names {
            let field = &fields[name];
            let shown = if required.contains(&json!(name)) { format!("`{name}`") } else { format!("*`{name}`*") };
            writeln!(text, "| {shown} | {} | {} |", shape(field), field["description"].as_str().unwrap_or("")).unwrap();
        }
    }
    text
}

fn capital(text: &Value) -> String {
    let text = text.as_str().unwrap();
    text[..1].to_uppercase() + &text[1..]
}

#[test]
fn the_page_of_kinds_is_made_from_the_schemas() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let text = document();
    if std::env::var_os("TASKLEDGER_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    let differs = text.lines().zip(there.lines()).find(|(made, there)| made != there);
    assert!(text == there, "TASKLEDGER_BLESS=1 writes it anew; the first line that differs: {differs:?}");
}
